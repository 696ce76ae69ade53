"""What the writers of statuses share: the API server, the environment, tokens, the clock."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from geopod.api import names
from geopod.api.runs import RunState
from geopod.cluster.kinds import Kind
from geopod.cluster.problems import ConflictApiError, InvalidApiError, NotFoundApiError
from geopod.coordinator.pod.settings import PodSettings
from geopod.coordinator.pod.tokens import TokenMint
from geopod.errors import GeopodError

RETRY_S = (0.5, 30.0)
"""First and longest pause after a write that failed; a status is written until it is there."""

log = logging.getLogger(__name__)
Object = dict[str, Any]


class Api(Protocol):
    """The part of `geopod.cluster.client.ApiClient` that writes, and reads one object."""

    async def get(self, kind: Kind, name: str, *, namespace: str | None = None) -> Object:
        """Return one object."""

    async def apply(
        self,
        kind: Kind,
        manifest: Object,
        *,
        field_manager: str,
        force: bool = True,
        subresource: str = "",
    ) -> Object:
        """Return the object after server-side apply."""


class Counter(Protocol):
    """Who counts: a pod's metrics, or a double in tests."""

    def wrote(self) -> None:
        """A status was written."""

    def ended(self, state: RunState, accepted: float | None) -> None:
        """A run has ended, that was accepted at this time."""


@dataclass(slots=True)
class Office:
    """One coordinator's desk for status writes."""

    api: Api
    pod: PodSettings
    mint: TokenMint
    counter: Counter
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def write_status(
        self,
        kind: Kind,
        name: str,
        status: Object,
        *,
        uid: str,
        version: str = "",
        manager: str = names.COORDINATOR,
    ) -> Object | None:
        """Return the object with its status applied; None: there is no such object any more.

        `version`: its resourceVersion, as a precondition. A refusal is raised, anything else is
        tried again until the server takes it.
        """
        metadata = {"name": name, "namespace": self.pod.namespace, "uid": uid}
        manifest = {
            "apiVersion": kind.api_version,
            "kind": kind.kind,
            "metadata": metadata | ({"resourceVersion": version} if version else {}),
            "status": status,
        }

        async def apply() -> Object:
            self.counter.wrote()
            return await self.api.apply(kind, manifest, field_manager=manager, subresource="status")

        return await self._patiently(f"Status of {kind.kind} {name}", apply)

    async def read(self, kind: Kind, name: str) -> Object | None:
        """Return an object as it is now; None: there is none."""
        return await self._patiently(f"{kind.kind} {name}", partial(self.api.get, kind, name))

    async def _patiently(self, what: str, call: Callable[[], Awaitable[Object]]) -> Object | None:
        """Make a call until the server answers it; None: there is no such object."""
        pause = RETRY_S[0]
        while True:
            try:
                return await call()
            except NotFoundApiError:
                return None
            except (ConflictApiError, InvalidApiError):
                raise
            except GeopodError as error:
                log.warning("%s: %s Again in %.1f s.", what, error, pause)
                await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311  # spreads calls
                pause = min(2 * pause, RETRY_S[1])

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something beside everything else; a defect in it is logged."""
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._judge)
        return task

    async def settle(self, timeout_s: float) -> None:
        """Return when everything spawned has ended, or when the time is over."""
        if self.tasks:
            await asyncio.wait(list(self.tasks), timeout=timeout_s)

    def _judge(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("A status could not be written.", exc_info=error)


Cover = Callable[[str], Awaitable[None]]
"""Makes sure that the environment says it is in use, before a run of this phase does."""


def later_version(known: str, seen: str) -> str:
    """Return the later of two resource versions: watches tell old ones late."""
    if known.isdecimal() and seen.isdecimal():
        return max(known, seen, key=int)
    return seen or known
