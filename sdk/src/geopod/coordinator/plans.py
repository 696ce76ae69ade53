"""The partition plan: made by a child process that may load GDAL, stored, and found again.

The coordinator itself never opens a layer: it hands the request to
`python -m geopod.coordinator.planning` and reads the plan, or why there is none.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Sequence
from functools import partial
from hashlib import sha256
from typing import Any

import msgspec

from geopod.api import names
from geopod.api.plan import Plan, Totals, decode_plan, plan_sha256
from geopod.coordinator.patience import until_served
from geopod.store import KeyMissingError, Store

PLANNING = (sys.executable, "-m", "geopod.coordinator.planning")
TRIES = 3
"""A planning child that a signal ended (out of memory, a stray kill) said nothing of the layers."""


log = logging.getLogger(__name__)


class PlanFailed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why there is no plan, as `GeopodError.to_wire` says it."""

    code: str
    fact: str
    fixes: list[str] = []
    details: dict[str, Any] = {}


class StoredPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A plan and its name."""

    sha256: str
    plan: Plan


def plan_without_layers(nodes: int) -> StoredPlan:
    """Return the plan of an environment without layers and files: nothing to stage."""
    plan = Plan(
        planner={}, nodes=nodes, options={}, work=None, layers=(), partitions=(), totals=Totals()
    )
    return StoredPlan(sha256="", plan=plan)


class PlanKey(msgspec.Struct, frozen=True, kw_only=True):
    """Which plan answers which request: a restarted coordinator does not plan again."""

    request_sha256: str
    plan_sha256: str


class Planner:
    """Makes and finds the plans of one environment."""

    def __init__(
        self, store: Store, environment_uid: str, *, command: Sequence[str] = PLANNING
    ) -> None:
        self._store = store
        self._environment_uid = environment_uid
        self._command = command

    async def make(
        self, request: dict[str, Any], *, nodes: int, anew: bool, refreshed: str = ""
    ) -> StoredPlan | PlanFailed:
        """Return the plan of these layers for `nodes` nodes; `anew`: read the headers again.

        `refreshed`: names the last time that this was asked for. A plan from before is none of it,
        though whoever was asked had no time to make another, or nobody was there.
        """
        asked = {**request, "nodes": nodes} | ({"refreshed": refreshed} if refreshed else {})
        data = msgspec.json.encode(asked, order="sorted")
        request_sha256 = sha256(data).hexdigest()
        if not anew:
            known = await self._recall(request_sha256)
            if known is not None:
                return known
        answer = await self._ask(data)
        if isinstance(answer, PlanFailed):
            return answer
        name = plan_sha256(answer)
        await self._keep(names.plan_key(self._environment_uid, name), answer)
        key = PlanKey(request_sha256=request_sha256, plan_sha256=name)
        await self._keep(self._latest, msgspec.json.encode(key))
        return StoredPlan(sha256=name, plan=decode_plan(answer))

    async def read(self, name: str) -> StoredPlan:
        """Return a stored plan by its sha256; raises KeyMissingError."""
        data = await self._store.get(names.plan_key(self._environment_uid, name))
        return StoredPlan(sha256=name, plan=decode_plan(data))

    async def _keep(self, key: str, data: bytes) -> None:
        await until_served(partial(self._store.put, key, data), f"No room for {key}")

    async def _ask(self, request: bytes) -> bytes | PlanFailed:
        """Return what a planning child answers; one that a signal ended is asked again."""
        code: int | None = None
        for _ in range(TRIES):
            code, answer = await self._run(request)
            if code == 0 and answer:
                return _read_answer(answer)
            if code is None or code >= 0:
                break
            log.warning("The planning process ended by signal %d.", -code)
        fact = f"Planning the layers ended with exit code {code}."
        return PlanFailed(code="E122", fact=fact, fixes=["see the coordinator's log"])

    async def _run(self, request: bytes) -> tuple[int | None, bytes]:
        """Run one planning child; it ends with the task that asked."""
        child = await asyncio.create_subprocess_exec(
            *self._command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        try:
            answer, _ = await child.communicate(request)
        finally:
            if child.returncode is None:
                child.kill()
        return child.returncode, answer

    @property
    def _latest(self) -> str:
        return names.plan_key(self._environment_uid, "latest")

    async def _recall(self, request_sha256: str) -> StoredPlan | None:
        """Return the plan that an earlier coordinator made for the very same request."""
        try:
            key = msgspec.json.decode(await self._store.get(self._latest), type=PlanKey)
            if key.request_sha256 != request_sha256:
                return None
            return await self.read(key.plan_sha256)
        except KeyMissingError:
            return None


def _read_answer(answer: bytes) -> bytes | PlanFailed:
    """Return the plan's own bytes, or the error, out of the planning child's answer."""
    fields = msgspec.json.decode(answer, type=dict[str, msgspec.Raw])
    if "error" in fields:
        return msgspec.json.decode(fields["error"], type=PlanFailed)
    return bytes(fields["plan"])
