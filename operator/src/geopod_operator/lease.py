"""One operator at a time: a Lease that this process holds while it works.

Two operators of one version end in the same objects; two of different images would overwrite each
other's work for ever. So the second one waits and says so. An API server that is away costs nobody
the Lease: an operator that cannot renew it cannot write anything else either. Source: the rules of
client-go's leader election, whose expiry is measured on the watcher's own clock.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from geopod.errors import GeopodError

Raw = dict[str, Any]
RELEASES = 3
"""The last renewal, which nobody waits for any more, may come between a look and the release."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Terms:
    """How long a Lease lasts, and how often it is renewed and looked at."""

    lasts_s: int = 30
    renew_s: float = 10.0
    look_s: float = 2.0
    answer_s: float = 5.0
    """A renewal that takes longer hangs: another connection may answer while the Lease lasts."""


class Leases(Protocol):
    """Reads and writes one Lease."""

    async def get(self, namespace: str, ref: tuple[str, str]) -> Raw | None:
        """Return it; None: there is none."""

    async def write_lease(self, lease: Raw) -> Raw | None:
        """Return it as written, on the very version it names; None: somebody was faster."""

    def may_answer_later(self, error: GeopodError) -> bool:
        """Whether an error says nothing of the Lease: the server is away, or ill."""


class Clocks(Protocol):
    """Time, read in one place."""

    def now(self) -> datetime:
        """Return the time of day."""

    def monotonic(self) -> float:
        """Return seconds that only grow."""


@dataclass(slots=True)
class Watched:
    """Another's Lease, and since when it has not been renewed."""

    version: str = ""
    since: float = 0.0

    def is_over(self, lease: Raw, at: float) -> bool:
        """Whether it has stood still for as long as it lasts."""
        version = lease["metadata"]["resourceVersion"]
        if version != self.version:
            self.version, self.since = version, at
        return at - self.since >= float(lease["spec"].get("leaseDurationSeconds") or 0)


class Lease:
    """This process's hold on the right to work."""

    def __init__(
        self,
        leases: Leases,
        name: tuple[str, str],
        *,
        holder: str,
        clocks: Clocks,
        terms: Terms | None = None,
    ) -> None:
        """`name`: namespace and name; `holder`: the pod. Nothing is asked of the cluster yet."""
        self._leases = leases
        self._namespace, self._name = name
        self._ref = ("Lease", self._name)
        self._holder = holder
        self._clocks = clocks
        self._terms = terms or Terms()

    async def acquire(self) -> None:
        """Return when the Lease is ours; say once per holder who has it."""
        watched, told = Watched(), ""
        while True:
            try:
                found = await self._leases.get(self._namespace, self._ref)
                other = self._other(found)
                if found is None or not other or watched.is_over(found, self._clocks.monotonic()):
                    if await self._take(found):
                        return
                    other = ""  # somebody was faster: the next look tells who
            except GeopodError as error:
                if not self._leases.may_answer_later(error):
                    raise
                watched = Watched()  # its holder could not renew it either
                logger.warning("the Lease is asked for again: %s", error.fact)
            else:
                if other and other != told:
                    told = other
                    logger.warning("the operator %s works already; this one waits", other)
            await asyncio.sleep(self._terms.look_s)

    async def _take(self, found: Raw | None) -> bool:
        """Write it in this holder's name; who is cancelled meanwhile gives back what was taken."""
        writing = asyncio.ensure_future(self._write(found, self._holder))
        try:
            return await asyncio.shield(writing)
        except asyncio.CancelledError:
            with suppress(GeopodError, TimeoutError):
                if await asyncio.wait_for(writing, self._terms.answer_s):
                    await self.release()
            raise

    async def keep(self) -> None:
        """Renew it until somebody else has it."""
        pause_s = self._terms.renew_s
        while True:
            await asyncio.sleep(pause_s)
            pause_s = self._terms.look_s
            try:
                async with asyncio.timeout(self._terms.answer_s):
                    other = await self._renew()
            except GeopodError as error:
                logger.warning("the Lease is renewed later: %s", error.fact)
            except TimeoutError:
                logger.warning(
                    "the Lease is renewed later: no answer in %g s", self._terms.answer_s
                )
            else:
                if other:
                    logger.error("the operator %s has taken over; this one ends", other)
                    return
                pause_s = self._terms.renew_s

    async def _renew(self) -> str:
        """Renew it unless somebody else has it; return who."""
        found = await self._leases.get(self._namespace, self._ref)
        other = self._other(found)
        if not other:
            await self._write(found, self._holder)
        return other

    async def release(self) -> None:
        """Give it back, so that the next operator need not wait until it is over."""
        try:
            for _ in range(RELEASES):
                found = await self._leases.get(self._namespace, self._ref)
                if found is None or self._other(found) or await self._write(found, ""):
                    return
        except GeopodError as error:
            logger.warning("the Lease ends by itself: %s", error.fact)

    def _other(self, lease: Raw | None) -> str:
        """Return who else holds it, empty if nobody does."""
        holder = str((lease or {}).get("spec", {}).get("holderIdentity") or "")
        return "" if holder == self._holder else holder

    async def _write(self, found: Raw | None, holder: str) -> bool:
        spec = (found or {}).get("spec", {})
        is_new = spec.get("holderIdentity") != holder
        now = self._clocks.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        told = {
            "holderIdentity": holder,
            "leaseDurationSeconds": self._terms.lasts_s,
            "acquireTime": now if is_new else spec.get("acquireTime"),
            "renewTime": now,
            "leaseTransitions": int(spec.get("leaseTransitions") or 0) + bool(is_new and holder),
        }
        metadata = {"name": self._name, "namespace": self._namespace}
        if found is not None:
            metadata["resourceVersion"] = found["metadata"]["resourceVersion"]
        return await self._leases.write_lease({"metadata": metadata, "spec": told}) is not None
