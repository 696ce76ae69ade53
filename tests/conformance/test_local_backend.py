"""The local backend with its real processes: environments, runs, and what outlives a client."""

import asyncio
import subprocess
import sys
from contextlib import aclosing
from pathlib import Path

import pytest
from geopod.backends.local.interpreters import offered
from geopod.errors import (
    DuplicateKeyError,
    EnvironmentNotFoundError,
    EnvironmentTerminatedError,
    GeopodError,
    InterpreterNotFoundError,
    InvalidInputError,
    LayerNotFoundError,
    RequirementsBuildError,
    RequirementsError,
)
from local_builders import (
    OWN,
    a_map,
    an_order,
    asleep,
    ended,
    finished,
    left_of,
    processes_of,
    ready,
    story,
    submitted,
    until,
    values_of,
)

SLOW = "import time\ndef f(x):\n    time.sleep(0.05)\n    return x"


class TestEnvironments:
    @pytest.mark.parametrize("nodes", [1, 4])
    def test_every_node_becomes_ready_and_returns_one_result(self, local_home, nodes):
        async def act(backend):
            record = await ready(backend, nodes=nodes)
            order = an_order(record.uid, "def f(params, ctx): return ctx.index")
            state = await finished(backend, order)
            assert (state.phase, state.succeeded) == ("Succeeded", nodes), state
            return await values_of(backend, order)

        assert story(local_home, act) == list(range(nodes))

    def test_processes_can_be_found_and_counted(self, local_home):
        async def act(backend):
            record = await ready(backend, nodes=2)
            return sorted(processes_of(record.uid).values())

        commands = story(local_home, act)
        for part, count in (
            ("geopod.supervisor", 1),
            ("geopod.coordinator", 1),
            ("geopod.agent", 2),
        ):
            assert sum(part in command for command in commands) == count, commands
        assert any("geopod.runner" in command for command in commands)

    def test_same_name_and_spec_is_the_same_environment(self, local_home):
        async def act(backend):
            first = await ready(backend)
            before = processes_of(first.uid)
            second = await ready(backend)
            assert second.uid == first.uid
            assert processes_of(first.uid) == before

        story(local_home, act)

    def test_of_clients_that_make_it_at_once_one_made_it(self, local_home):
        spec = {"nodes": 1, "interpreter": OWN}

        async def act(backend):
            async def at_once():
                making = [backend.apply_environment("env", spec, labels={}) for _ in range(3)]
                return sorted([record.is_new for record in await asyncio.gather(*making)])

            made = await at_once()
            await backend.terminate_environment("env", wait=False)
            return made, await at_once(), await at_once()

        one, none = [False, False, True], [False] * 3
        assert story(local_home, act) == (one, one, none)

    def test_environment_is_shared_between_processes(self, local_home):
        async def act(backend):
            return (await ready(backend)).uid

        uid = story(local_home, act)
        assert story(local_home, lambda backend: backend.get_environment("env")).uid == uid

    def test_scaled_environment_runs_on_its_new_nodes(self, local_home):
        async def act(backend):
            record = await ready(backend, nodes=1)
            counts = []
            for nodes in (3, 2):
                await backend.scale_environment("env", nodes)
                await until(backend, "env", "Ready")
                order = an_order(record.uid)
                assert (await finished(backend, order)).phase == "Succeeded"
                counts.append(len(await values_of(backend, order)))
            return counts

        assert story(local_home, act) == [3, 2]

    def test_changed_variables_reach_the_next_run(self, local_home):
        async def act(backend):
            seen = []
            for word in ("one", "two"):
                record = await ready(backend, env=[{"name": "WORD", "value": word}])
                order = an_order(record.uid, "import os\ndef f(params): return os.environ['WORD']")
                assert (await finished(backend, order)).phase == "Succeeded"
                seen += await values_of(backend, order)
            return seen

        assert story(local_home, act) == ["one", "two"]

    def test_idle_environment_falls_asleep_and_the_next_run_wakes_it(self, local_home):
        async def act(backend):
            record = await asleep(backend, idle={"afterSeconds": 0.5})
            assert (await until(backend, "env", "Suspended")).reason == "IdleTimeout"
            assert left_of(record.uid) == {}
            order = an_order(record.uid)
            assert (await finished(backend, order)).phase == "Succeeded"

        story(local_home, act)

    def test_environment_of_a_killed_client_falls_asleep(self, local_home):
        script = (
            "import asyncio, os, signal, sys\n"
            "sys.path.insert(0, sys.argv[1])\n"
            "from local_builders import open_local, until\n"
            "from pathlib import Path\n"
            "async def main():\n"
            "    backend = open_local(Path(sys.argv[2]))\n"
            "    spec = {'nodes': 1, 'idle': {'afterSeconds': 0.5}}\n"
            "    record = await backend.apply_environment('env', spec, labels={})\n"
            "    await until(backend, 'env', 'Ready', 'Suspended')\n"
            "    os.kill(os.getpid(), signal.SIGKILL)\n"
            "asyncio.run(main())\n"
        )
        tests = str(Path(__file__).parents[1])
        subprocess.run([sys.executable, "-c", script, tests, str(local_home)], check=False)

        async def act(backend):
            state = await until(backend, "env", "Suspended")
            return state.reason, left_of(state.uid)

        assert story(local_home, act) == ("IdleTimeout", {})

    def test_suspended_environment_lets_runs_wait_until_it_is_resumed(self, local_home):
        async def act(backend):
            record = await ready(backend)
            await backend.suspend_environment("env", suspended=True)
            order = an_order(record.uid)
            assert (await submitted(backend, order)).phase == "Queued"
            impatient = await finished(backend, an_order(record.uid, queue_timeout_s=0.1))
            await backend.suspend_environment("env", suspended=False)
            last = await ended(backend, order.name)
            return impatient.reason, last.phase, last.retried

        assert story(local_home, act) == ("QueueDeadlineExceeded", "Succeeded", 0)

    def test_terminated_environment_refuses_runs_until_it_is_resumed(self, local_home):
        async def act(backend):
            record = await ready(backend)
            await backend.terminate_environment("env", wait=True)
            assert left_of(record.uid) == {}
            assert (await backend.get_environment("env")).state.phase == "Terminated"
            with pytest.raises(
                EnvironmentTerminatedError, match="Environment 'env' was terminated"
            ):
                await submitted(backend, an_order(record.uid))
            await backend.suspend_environment("env", suspended=False)
            assert (await finished(backend, an_order(record.uid))).phase == "Succeeded"

        story(local_home, act)

    def test_termination_cancels_what_is_running_and_keeps_what_is_done(self, local_home):
        async def act(backend):
            record = await ready(backend)
            done = an_order(record.uid)
            await finished(backend, done)
            order = await a_map(backend, record.uid, SLOW, 500)
            await submitted(backend, order)
            await backend.terminate_environment("env", wait=True)
            state = (await backend.get_run(order.name))[1]
            assert state.phase == "Cancelled"
            assert state.pending == state.running == 0
            return await values_of(backend, done)

        assert story(local_home, act) == [1]

    def test_deleted_environment_is_gone_and_says_so(self, local_home):
        async def act(backend):
            record = await ready(backend)
            order = an_order(record.uid)
            await finished(backend, order)
            await backend.delete_environment("env", results=False)
            with pytest.raises(EnvironmentNotFoundError, match="results of 1 run stay"):
                await backend.get_environment("env")
            assert await values_of(backend, order) == [1]
            assert left_of(record.uid) == {}

        story(local_home, act)

    def test_environment_past_its_ttl_is_removed(self, local_home):
        async def act(backend):
            await ready(backend, ttlSeconds=1)
            async with aclosing(backend.watch_environment("env")) as states:
                async for _ in states:
                    pass
            with pytest.raises(EnvironmentNotFoundError, match="by ttl"):
                await backend.get_environment("env")

        story(local_home, act)


class TestInterpreters:
    @pytest.fixture
    def other(self):
        """Return another minor version than the client's own."""
        names = [name for name in offered() if name != OWN]
        if not names:
            pytest.skip("no other interpreter on this machine")
        return names[-1]

    def test_other_minor_runs_functions_with_packages_that_uv_installs(self, local_home, other):
        text = (
            "import sys\n"
            "def f(params):\n"
            "    import geopandas, rasterio\n"
            "    return [sys.version_info[1], rasterio.__file__]\n"
        )

        async def act(backend):
            record = await ready(backend, interpreter=other)
            assert not record.same_minor
            order = an_order(record.uid, text)
            assert (await finished(backend, order)).phase == "Succeeded"
            return await values_of(backend, order)

        ((minor, path),) = story(local_home, act)
        assert f"python3.{minor}" == other
        assert path.startswith(str(local_home / "packages"))


class TestBadInput:
    """Nothing is started for an environment that cannot be."""

    @pytest.mark.parametrize(
        ("spec", "error"),
        [
            pytest.param(
                {"layers": [{"pathId": "dem", "timestampId": "2024"}]},
                LayerNotFoundError,
                id="E121",
            ),
            pytest.param({"interpreter": "python3.9"}, InterpreterNotFoundError, id="E113"),
            pytest.param({"requirements": ["numpy=1"]}, RequirementsError, id="E111"),
            pytest.param({"files": ["0" * 64]}, InvalidInputError, id="file"),
            pytest.param({"secrets": [{"name": "key"}]}, InvalidInputError, id="secret"),
            pytest.param(
                {
                    "layers": [
                        {"pathId": "a", "timestampId": "2024"},
                        {"pathId": "b", "timestampId": "2024"},
                    ]
                },
                DuplicateKeyError,
                id="E124",
            ),
        ],
    )
    def test_is_said_before_anything_is_started(self, local_home, spec, error):
        async def act(backend):
            with pytest.raises(error):
                await backend.apply_environment("env", {"nodes": 1, **spec}, labels={})
            return await backend.list_environments()

        assert story(local_home, act) == []

    def test_missing_layer_names_the_nearest(self, local_home):
        async def act(backend):
            stamps = [{"id": stamp, "uri": "s3://dems/dem.tif"} for stamp in ("2023", "2024-06")]
            await backend.apply_layer("dem-30m", {"type": "raster", "timestamps": stamps})
            spec = {"layers": [{"pathId": "dem", "timestampId": "2024"}]}
            with pytest.raises(LayerNotFoundError) as caught:
                await backend.apply_environment("env", spec, labels={})
            return caught.value.fact

        assert story(local_home, act) == (
            "No layer 'dem' with timestamp '2024' in namespace 'local'. "
            "Nearest: 'dem-30m' (2023, 2024-06)."
        )

    def test_requirements_that_cannot_be_installed_fail_with_uvs_lines(
        self, local_home, monkeypatch
    ):
        monkeypatch.setenv("UV_OFFLINE", "1")

        async def act(backend):
            spec = {"nodes": 1, "requirements": ["no-such-package-of-geopod"]}
            record = await backend.apply_environment("env", spec, labels={})
            state = await until(backend, "env", "Failed")
            error = GeopodError.from_wire(state.code, state.message, state.fixes, state.details)
            assert isinstance(error, RequirementsBuildError)
            words = "No solution found when resolving dependencies"
            assert words in error.fact
            assert words in await backend.build_log("env")
            assert left_of(record.uid) == {}

        story(local_home, act)


class TestFailedUpdate:
    BAD = ("no-such-package-of-geopod",)

    @pytest.fixture(autouse=True)
    def _offline(self, monkeypatch):
        monkeypatch.setenv("UV_OFFLINE", "1")

    async def refused(self, backend, **spec):
        """Ask for what cannot be installed; return what the caller is told."""
        spec = {"nodes": 1, "interpreter": OWN, "requirements": list(self.BAD), **spec}
        await backend.apply_environment("env", spec, labels={})
        return await until(backend, "env", "Ready", "Failed")

    def test_is_told_to_who_asked_and_the_old_packages_serve_on(self, local_home):
        async def act(backend):
            record = await ready(backend)
            before = processes_of(record.uid)
            state = await self.refused(backend, nodes=2)
            assert (state.phase, state.code) == ("Failed", "E112"), state
            order = an_order(record.uid)
            assert (await finished(backend, order)).phase == "Succeeded"
            kept = await backend.get_environment("env")
            assert (kept.spec["nodes"], kept.spec.get("requirements")) == (1, None)
            assert kept.state.phase == "Ready"
            told = {one.type: one for one in kept.state.conditions}["DependenciesReady"]
            assert (told.status, "No solution found" in told.message) == (False, True)
            agents = {pid for pid, command in before.items() if "geopod.agent" in command}
            assert agents <= processes_of(record.uid).keys()

        story(local_home, act)

    def test_is_told_to_nobody_else(self, local_home):
        async def act(backend):
            await ready(backend)
            await self.refused(backend)
            return (await until(backend, "env", "Ready", "Failed")).phase

        async def look(backend):
            return (await until(backend, "env", "Ready", "Failed")).phase

        assert story(local_home, act) == "Ready"
        assert story(local_home, look) == "Ready"

    def test_leaves_a_sleeping_environment_as_it_was(self, local_home):
        async def act(backend):
            record = await asleep(backend, idle={"afterSeconds": 0.1})
            assert (await self.refused(backend)).code == "E112"
            order = an_order(record.uid)
            return (await finished(backend, order)).phase

        assert story(local_home, act) == "Succeeded"

    def test_can_be_mended_by_asking_again(self, local_home):
        async def act(backend):
            await ready(backend)
            await self.refused(backend)
            record = await ready(backend, nodes=2)
            conditions = {one.type for one in record.state.conditions}
            assert "DependenciesReady" not in conditions
            order = an_order(record.uid)
            assert (await finished(backend, order)).succeeded == 2

        story(local_home, act)
