"""How a client is opened, closed and told wrong numbers; nothing wrong is sent."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import geopod
import pytest
from geopod.api.runs import EnvironmentState
from geopod.client import aio, sync
from geopod.client.aio.client import NAME_IT
from geopod.client.aio.opening import Opening
from geopod.client.loop import shared_loop
from geopod.errors import (
    ConfigError,
    EnvironmentStartTimeout,
    InvalidInputError,
    QuotaExceededError,
    RequirementsError,
    UnschedulableError,
)
from geopod.testing import ScriptedBackend

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def plain(params):
    return len(params)


def scripted(*script):
    return ScriptedBackend(script or [1], python=PYTHON)


def opened(backend):
    """Return what `connect` returns, over a scripted backend."""

    async def work():
        return aio.Client(backend)

    return Opening(work())


def test_connection_is_entered_without_an_await():
    async def work():
        async with (
            opened(scripted(7)) as client,
            client.environment("e", progress=False) as environment,
        ):
            return await environment.execute(plain, progress=False)

    assert asyncio.run(work()) == [7]


def test_connection_is_awaited_as_well():
    async def work():
        client = await opened(scripted())
        return repr(client)

    assert asyncio.run(work()) == "<Client scripted namespace=testing>"


def test_block_closes_the_connection():
    backend = scripted()

    async def work():
        async with opened(backend):
            pass

    asyncio.run(work())
    assert backend.calls == ["close"]


def test_folder_that_cannot_be_used_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GEOPOD_HOME", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match=f"geopod's folder {tmp_path}/file cannot be used: not a"):
        geopod.connect("local")


def test_local_target_is_entered_without_an_await(tmp_path, monkeypatch):
    monkeypatch.setenv("GEOPOD_HOME", str(tmp_path))

    async def work():
        async with aio.connect("local") as client:
            return await client.environments()

    assert asyncio.run(work()) == []


def test_environment_that_is_interrupted_while_it_starts_is_ended():
    class Starting(ScriptedBackend):
        async def watch_environment(self, name):
            yield EnvironmentState(uid="u", name=name, phase="Starting", nodes=1)
            watched.set()
            await asyncio.Event().wait()

    watched = asyncio.Event()
    backend = Starting([1], python=PYTHON)

    async def work():
        client = aio.Client(backend)
        opening = asyncio.ensure_future(client.environment("e", progress=False))
        await watched.wait()
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening

    asyncio.run(work())
    assert backend.environments["e"].state.phase == "Terminated"


def test_closed_client_says_so():
    client = sync.Client(aio.Client(scripted()), shared_loop())
    environment = client.environment("e", progress=False)
    client.close()
    client.close()
    for use in (client.environments, lambda: environment.submit(plain)):
        with pytest.raises(ConfigError, match="client of 'scripted' is closed"):
            use()
    assert "scripted" in repr(client)


BAD_INDEXES = [
    pytest.param([4], "names 4; environment 'e' has 4, counted from 0: 0-3", id="too high"),
    pytest.param([-1], "names -1", id="negative"),
    pytest.param([], "chooses none of the 4", id="none"),
    pytest.param(["a"], "no index", id="text"),
    pytest.param("12", "no list of indexes", id="one text"),
]


@pytest.mark.parametrize(("partitions", "words"), BAD_INDEXES)
def test_partitions_that_are_not_there_are_refused(partitions, words):
    backend = scripted()

    async def work():
        environment = await aio.Client(backend).environment("e", nodes=4)
        await environment.submit(plain, partitions=partitions)

    with pytest.raises(InvalidInputError, match=words):
        asyncio.run(work())
    assert backend.orders == {}


def test_partitions_are_sorted_and_sent_once():
    backend = scripted()

    async def work():
        environment = await aio.Client(backend).environment("e", nodes=4)
        return (await environment.submit(plain, partitions=[3, 1, 3])).order.partitions

    assert asyncio.run(work()) == [1, 3]


@pytest.mark.parametrize("act", ["rerun", "cancel"])
def test_tasks_that_are_not_there_are_refused(act):
    backend = scripted(1, 2)

    async def work():
        environment = await aio.Client(backend).environment("e", nodes=2)
        run = await environment.submit(plain)
        await run.wait(progress=False)
        await getattr(run, act)(tasks=[7])

    with pytest.raises(InvalidInputError, match=r"names 7; run '\S+' has 2, counted from 0: 0-1"):
        asyncio.run(work())
    assert len(backend.orders) == 1


def test_misspelt_choice_of_tasks_is_refused():
    async def work():
        environment = await aio.Client(scripted(1)).environment("e")
        await (await environment.submit(plain)).rerun(tasks="faild")

    with pytest.raises(InvalidInputError, match="neither 'failed', 'all'"):
        asyncio.run(work())


MEMORY = [
    ("1", "memory='1' is 1 byte; a node needs at least 16 MiB.", "memory='1Gi'"),
    (4, "memory=4 is 4 bytes; a node needs at least 16 MiB.", "memory='4Gi'"),
    ("512Ki", "memory='512Ki' is 512 KiB; a node needs at least 16 MiB.", "memory='4Gi'"),
    ("much", "memory='much' is no quantity of memory.", "memory='4Gi'"),
]


@pytest.mark.parametrize(("memory", "fact", "fix"), MEMORY, ids=[str(row[0]) for row in MEMORY])
def test_memory_in_which_nothing_starts_is_refused_with_what_was_meant(memory, fact, fix):
    backend = scripted()
    with pytest.raises(InvalidInputError) as caught:
        asyncio.run(aio.Client(backend).environment("e", memory=memory))
    assert caught.value.fact.replace("512.0", "512") == fact
    assert caught.value.fixes == (fix,)
    assert backend.calls == []


def test_interpreter_that_nobody_named_is_the_targets_choice():
    backend = ScriptedBackend([1], python="3.13")

    async def work():
        return (await aio.Client(backend).environment("e")).record.spec["interpreter"]

    assert asyncio.run(work()) == "python3.13"


LATE = [
    ("Unschedulable", UnschedulableError, "0/6 nodes are available."),
    ("QuotaExceeded", QuotaExceededError, "quota team refuses pods."),
    ("Scaling", EnvironmentStartTimeout, "'e' has 0 of 2 nodes ready after 0.01 s: 1 of 2."),
]


def never_ready(phase="Starting"):
    """Return a backend whose environments stay as they are."""

    class Waiting(ScriptedBackend):
        async def watch_environment(self, name):
            yield EnvironmentState(
                uid="u", name=name, phase=phase, reason="Scaling", message="1 of 2.", nodes=2
            )
            await asyncio.Event().wait()

        async def terminate_environment(self, name, *, wait):
            self.calls.append("terminate_environment")

    return Waiting([1], python=PYTHON)


GIVEN_UP = [
    pytest.param(None, "Starting", True, id="nobody_knows_its_name"),
    pytest.param("e", "Starting", False, id="named"),
    pytest.param(None, "Failed", False, id="failed"),
]


@pytest.mark.parametrize(("name", "phase", "ends"), GIVEN_UP)
def test_environment_that_is_late_ends_if_nobody_knows_its_name(name, phase, ends):
    backend = never_ready(phase)

    async def work():
        await aio.Client(backend).environment(name, nodes=2, start_timeout=0.01, progress=False)

    with pytest.raises(EnvironmentStartTimeout) as caught:
        asyncio.run(work())
    assert ("terminate_environment" in backend.calls) is ends
    if ends:
        assert caught.value.fixes == ("start_timeout='30m'", NAME_IT)


def test_start_timeout_is_looked_at_before_anything_is_made():
    backend = scripted()

    async def work():
        await aio.Client(backend).environment("e", start_timeout="soon", wait=False)

    with pytest.raises(InvalidInputError, match="start_timeout='soon' is not a duration"):
        asyncio.run(work())
    assert not backend.environments


@pytest.mark.parametrize(("reason", "error", "fact"), LATE, ids=[row[0] for row in LATE])
def test_environment_that_is_late_says_what_it_waits_for(reason, error, fact):
    message = "1 of 2." if reason == "Scaling" else fact
    waiting = EnvironmentState(
        uid="u", name="e", phase="Starting", reason=reason, message=message, nodes=2
    )

    class Waiting(ScriptedBackend):
        async def watch_environment(self, name):
            yield waiting
            await asyncio.Event().wait()

    async def work():
        client = aio.Client(Waiting([1], python=PYTHON))
        await client.environment("e", nodes=2, start_timeout=0.01, progress=False)

    with pytest.raises(error) as caught:
        asyncio.run(work())
    assert caught.value.fact == fact
    assert caught.value.fixes


@pytest.mark.parametrize("nodes", ["3", 3.0])
def test_number_of_nodes_is_kept_as_a_whole_number(nodes):
    async def work():
        environment = await aio.Client(scripted()).environment("e", progress=False)
        await environment.scale(nodes)
        return environment.record.spec["nodes"]

    kept = asyncio.run(work())
    assert (kept, type(kept)) == (3, int)


def test_more_requirements_join_those_there_are():
    backend = scripted()

    async def work():
        environment = await aio.Client(backend).environment("e", requirements=["numpy>=2"])
        await environment.add_requirements("shapely", "numpy>=2")
        return environment.record.spec["requirements"]

    assert asyncio.run(work()) == ["numpy>=2", "shapely"]
    with pytest.raises(RequirementsError):
        asyncio.run(
            aio.Client(backend).environment("e", requirements=["geopandas=0.14"], progress=False)
        )


def test_layers_of_a_url_keep_it(tmp_path):
    backend = scripted()

    async def work():
        client = aio.Client(backend)
        await client.add_layer("dem", "https://host/dem.tif?sig=1", write_to="s3://bucket/out")
        return backend.layers["dem"].spec

    spec = asyncio.run(work())
    assert spec["timestamps"] == [{"id": "dem", "uris": ["https://host/dem.tif?sig=1"]}]
    assert spec["writeTo"] == {"uri": "s3://bucket/out"}


def test_what_files_do_not_say_is_kept_with_the_layer():
    backend = scripted()

    async def work():
        client = aio.Client(backend)
        await client.add_layer("dem", "s3://b/dem.tif", crs="EPSG:32632", nodata=-9999)
        for wrong, why in (
            ({"crs": 32632}, "crs=32632 is no text"),
            ({"nodata": float("nan")}, "nodata=nan is no finite number"),
            ({"nodata": True}, "nodata=True is no finite number"),
        ):
            with pytest.raises(InvalidInputError, match=why):
                await client.add_layer("dem", **wrong)
        return backend.layers["dem"].spec

    spec = asyncio.run(work())
    assert (spec["crs"], spec["nodata"]) == ("EPSG:32632", -9999)


LEFT_OPEN = """
import os
import geopod
from geopod.client.sync import client as opened

class Told:
    name, namespace = "told", "told"
    async def close(self):
        print("closed", flush=True)

async def open_backend(target):
    return Told()

geopod.client.aio.client.open_backend = open_backend
client = geopod.connect("local")
if os.fork() == 0:
    raise SystemExit
os.wait()
if os.fork() == 0:
    geopod.connect("local").close()
    raise SystemExit
os.wait()
"""


def test_client_that_was_left_open_is_closed_once_at_the_end():
    ended = subprocess.run(
        [sys.executable, "-c", LEFT_OPEN], capture_output=True, text=True, timeout=180, check=False
    )
    assert (ended.stdout, ended.stderr, ended.returncode) == ("closed\n" * 2, "", 0)


def test_download_onto_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()

    async def work():
        environment = await aio.Client(scripted()).environment("e", progress=False)
        run = await environment.submit(plain)
        await run.download(tmp_path / "file")

    with pytest.raises(InvalidInputError, match=r"folder=.* is no folder"):
        asyncio.run(work())


def test_environment_is_asked_anew_before_it_refuses_what_it_did_not_hear_of():
    async def work():
        client = aio.Client(scripted(5, 6, 7))
        one = await client.environment("e", nodes=1, progress=False)
        await one.terminate()
        other = await client.get_environment("e")
        await other.resume()
        await other.scale(3)
        run = await one.submit(plain, partitions=[2])
        return await run.results(progress=False)

    assert asyncio.run(work()) == [7]
