"""An environment's partition plan: as it is stored, as features for a map, as a picture."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from geopod.api import names
from geopod.api.plan import Plan, Totals, decode_plan
from geopod.backends import Backend, EnvironmentRecord
from geopod.errors import InvalidInputError, MissingExtraError

if TYPE_CHECKING:
    from geopod.client.aio.environment import Environment


class Planned:
    """What an `Environment` says of its plan."""

    _backend: Backend
    record: EnvironmentRecord
    known_plan: Plan | None = None
    """The plan that was read last, of its sha256."""
    _known_sha256 = ""

    async def plan(self) -> Plan:
        """Return the partition plan; raises InvalidInputError while there is none."""
        spec = self.record.spec
        if not spec.get("layers") and not spec.get("files"):
            return Plan(
                planner={},
                nodes=spec.get("nodes", 1),
                options={},
                work=None,
                layers=(),
                partitions=(),
                totals=Totals(),
            )
        self.record = await self._backend.get_environment(self.record.name)
        state = self.record.state
        if not state.plan_sha256:
            raise InvalidInputError(
                f"{self.record.name!r} has no plan yet (phase {state.phase}).",
                fixes=("env.wait_ready()", "env.explain()"),
            )
        return await self.read_plan(state.plan_sha256)

    async def read_plan(self, sha256: str) -> Plan:
        """Return the plan of this sha256; what was read last is kept."""
        if self.known_plan is None or self._known_sha256 != sha256:
            store = self._backend.store(self.record.uid)
            data = await store.get(names.plan_key(self.record.uid, sha256))
            self.known_plan, self._known_sha256 = decode_plan(data), sha256
        return self.known_plan

    async def partitions(self) -> Any:
        """Return a GeoDataFrame with a row per node: its core in the work CRS, and what it holds.

        Columns: `cost` (bytes), `share` (of the mean cost), `est_bytes`, `est_features`,
        `geometry` (None: the node has no part).
        """
        plan, show = await self.plan(), _show()
        return await asyncio.to_thread(show.partitions_frame, plan)

    async def draw(self, path: str | Path) -> Path:
        """Write a picture of the partitions, coloured by their cost; the suffix is the format.

        Raises MissingExtraError where matplotlib is not installed.
        """
        plan, show = await self.plan(), _show()
        drawn: Path = await asyncio.to_thread(show.draw_partitions, plan, Path(path))
        return drawn

    def _repr_html_(self) -> str:
        """Return a card for notebooks, of what was heard so far."""
        from geopod.client.aio.showing import environment_card  # only in a notebook

        return environment_card(cast("Environment", self))


def _show() -> Any:
    try:
        from geopod.layers import show  # loads shapely
    except ImportError as error:
        raise MissingExtraError.needed(
            extra="geo", purpose="Showing partitions", module=error.name or "shapely"
        ) from error
    return show
