"""What installing requirements printed: its text, or its lines while they come."""

from __future__ import annotations

import asyncio
import sys

import msgspec
from click.testing import CliRunner
from geopod.api.runs import EnvironmentState
from geopod.cli.command import geopod as command
from geopod.client import aio, sync
from geopod.client.loop import shared_loop
from geopod.testing import ScriptedBackend

PYTHON = "{}.{}".format(*sys.version_info)
RESOLVING = EnvironmentState(uid="u", name="e", phase="Starting", reason="Resolving")


class Installing(ScriptedBackend):
    """An environment whose log is longer each time that it is read."""

    def __init__(self, *texts, states=None):
        known = [RESOLVING] * len(texts) if states is None else states
        super().__init__([1], states=known, python=PYTHON)
        self._texts = list(texts)

    async def build_log(self, name):
        await self.get_environment(name)
        return self._texts.pop(0) if len(self._texts) > 1 else self._texts[0]


def lines_of(backend, *, follow):
    async def work():
        env = await aio.Client(backend).environment("e", wait=False)
        return [line async for line in env.build_log(follow=follow)]

    return asyncio.run(work())


def test_lines_come_whole_and_once():
    backend = Installing("", "one\ntw", "one\ntwo\n", "one\ntwo\nthree")

    assert lines_of(backend, follow=True) == ["one", "two", "three"]


def test_log_that_is_begun_anew_is_told_from_its_start():
    backend = Installing("first try\nfailed\n", "second try\n", "second try\ndone\n")

    assert lines_of(backend, follow=True) == ["first try", "failed", "second try", "done"]


def test_without_follow_nothing_is_waited_for():
    backend = Installing("one\n", "one\ntwo\n")

    assert lines_of(backend, follow=False) == ["one"]


def test_following_ends_when_nothing_is_installed_any_more():
    staging = msgspec.structs.replace(RESOLVING, reason="Staging")
    backend = Installing("one\n", "one\ntwo\n", states=[RESOLVING, staging, RESOLVING])

    assert lines_of(backend, follow=True) == ["one", "two"]
    assert backend._texts == ["one\ntwo\n"]


def test_environment_that_was_ready_before_its_requirements_changed_is_followed():
    changed = msgspec.structs.replace(RESOLVING, phase="Pending", reason="Ready")
    backend = Installing("old\n", "new\n", "new\nend\n", states=[changed, RESOLVING])

    assert lines_of(backend, follow=True) == ["old", "new", "end"]


def test_lines_that_come_without_a_change_of_state_are_heard_on_this_machine():
    class Still(Installing):
        name = "local"
        last_was_read = asyncio.Event()

        async def build_log(self, name):
            text = await super().build_log(name)
            if text.endswith("end\n"):
                self.last_was_read.set()
            return text

        async def watch_environment(self, name):
            yield RESOLVING
            await self.last_was_read.wait()
            yield msgspec.structs.replace(RESOLVING, phase="Ready", reason="")

    backend = Still("one\n", "one\ntwo\n", "one\ntwo\nend\n")

    assert lines_of(backend, follow=True) == ["one", "two", "end"]


def test_plain_client_gives_text_or_an_iterator():
    backend = Installing("one\n", "one\ntwo\n")
    env = sync.Client(aio.Client(backend), shared_loop()).environment("e", wait=False)

    assert env.build_log() == "one\n"
    assert list(env.build_log(follow=True)) == ["one", "two"]


def test_awaited_with_follow_it_is_the_whole_text_of_the_end():
    async def work():
        backend = Installing("one\ntwo\n", states=[RESOLVING])
        env = await aio.Client(backend).environment("e", wait=False)
        return await env.build_log(follow=True)

    assert asyncio.run(work()) == "one\ntwo\n"


def test_command_follows_too(monkeypatch):
    backend = Installing("one\n", "one\ntwo\n")
    client = sync.Client(aio.Client(backend), shared_loop())
    client.environment("e", wait=False)
    monkeypatch.setattr("geopod.cli.env.open_client", lambda _chosen: client)

    assert CliRunner().invoke(command, ["env", "build-log", "-f", "e"]).stdout == "one\ntwo\n"
