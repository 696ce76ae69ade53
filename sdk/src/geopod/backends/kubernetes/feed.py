"""One watch over the runs of one environment, shared by all who follow one of them.

Followers are told the latest of each run and may miss what lay between. The watch starts where
the first of them saw its run, so nothing is listed, and ends some time after the last has left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing, contextmanager, suppress
from typing import Any

from geopod.cluster.client import ApiClient
from geopod.cluster.kinds import RUNS
from geopod.cluster.problems import NotFoundApiError

LINGER_S = 30.0
"""A watch that nobody needs is kept so long: the next `execute` then costs one request less."""
Manifest = dict[str, Any]


class Deleted(Exception):  # noqa: N818  # not an error: the run's object is gone
    """The run of this uid (empty: whichever) does not exist any more."""


class Follower:
    """The latest that one follower has not seen."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._latest: Manifest | BaseException | None = None

    def tell(self, news: Manifest | BaseException) -> None:
        """Put the news in the place of what was not read."""
        self._latest = news
        self._event.set()

    async def next(self) -> Manifest:
        """Wait for news; raises Deleted, or what ended the watch."""
        await self._event.wait()
        self._event.clear()
        news, self._latest = self._latest, None
        if isinstance(news, BaseException):
            raise news
        if news is None:
            raise AssertionError
        return news


class RunFeed:
    """The watch of one environment's runs."""

    def __init__(self, api: ApiClient, environment: str, *, linger_s: float = LINGER_S) -> None:
        self._api = api
        self._environment = environment
        self._linger_s = linger_s
        self._followers: dict[str, list[Follower]] = {}
        self._task: asyncio.Task[None] | None = None
        self._stopping: asyncio.TimerHandle | None = None

    @contextmanager
    def following(self, run: str) -> Iterator[Follower]:
        """Give a follower of one run; it hears from now on what a started watch tells."""
        follower = Follower()
        self._followers.setdefault(run, []).append(follower)
        if self._stopping is not None:
            self._stopping.cancel()
            self._stopping = None
        try:
            yield follower
        finally:
            self._leave(run, follower)

    def start(self, since: str) -> None:
        """Start the watch at a resourceVersion, unless it runs already."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._pump(since))

    async def close(self) -> None:
        """End the watch."""
        if self._stopping is not None:
            self._stopping.cancel()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def _leave(self, run: str, follower: Follower) -> None:
        followers = self._followers.get(run, [])
        if follower in followers:
            followers.remove(follower)
        if not followers:
            self._followers.pop(run, None)
        if not self._followers and self._task is not None and not self._task.done():
            with suppress(RuntimeError):  # the loop has ended before its generators
                loop = asyncio.get_running_loop()
                self._stopping = loop.call_later(self._linger_s, self._stop)

    def _stop(self) -> None:
        """Let the watch go; whoever follows from now on starts another."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()

    async def _pump(self, since: str) -> None:
        """Tell followers what the watch tells; an error ends it and goes to all of them."""
        try:
            await self._watch(since)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001  # raised by every follower
            for run in tuple(self._followers):
                self._tell(run, error)

    async def _watch(self, since: str) -> None:
        chosen = f"spec.environment={self._environment}"
        events = self._api.watch(RUNS, field_selector=chosen, since=since)
        told: set[str] = set()
        async with aclosing(events) as changes:
            async for event in changes:
                if event.type == "SYNCED":  # listed again: what it left out may be gone
                    await self._check(self._followers.keys() - told)
                    told.clear()
                    continue
                name = event.object["metadata"]["name"]
                if event.type == "DELETED":
                    self._tell(name, Deleted(event.object["metadata"]["uid"]))
                    continue
                if event.type == "ADDED":
                    told.add(name)
                else:  # within a list there are no changes: what was told before it is old
                    told.clear()
                self._tell(name, event.object)

    async def _check(self, runs: set[str]) -> None:
        for run in runs:
            try:
                self._tell(run, await self._api.get(RUNS, run))
            except NotFoundApiError:
                self._tell(run, Deleted(""))

    def _tell(self, run: str, news: Manifest | BaseException) -> None:
        for follower in self._followers.get(run, ()):
            follower.tell(news)
