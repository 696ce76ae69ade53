"""An environment's own life: packages, number of nodes, sleep and end."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from geopod.backends import Finding
from geopod.client.aio.building import BuildLog
from geopod.client.aio.plans import Planned
from geopod.client.options import read_requirements, validate


class Kept(Planned):
    """What an `Environment` does to itself; running functions is not here."""

    @property
    def name(self) -> str:
        """The name, as given or made: `env-<uuid>`."""
        return self.record.name

    async def refresh_state(self) -> Self:
        """Ask the backend for the environment's present state."""
        self.record = await self._backend.get_environment(self.name)
        return self

    async def diagnose(self) -> list[Finding]:
        """Return what the backend can find out beyond the environment's own state."""
        return await self._backend.diagnose(self.name)

    def build_log(self, *, follow: bool = False) -> BuildLog:
        """Return what installing the requirements printed: `await` its text, or go through lines.

        `follow`: until nothing is being installed. On this machine lines come as uv writes them; a
        cluster's builder stores its log when it ends, and then they come at once.
        """
        return BuildLog(self._backend, self.name, follow=follow)

    async def scale(self, nodes: int) -> None:
        """Change the number of nodes (0 to 1000); later runs have as many partitions."""
        wanted = validate({**self.record.spec, "nodes": nodes})
        await self._backend.scale_environment(self.name, wanted["nodes"])
        await self.refresh_state()

    async def refresh(self) -> None:
        """Resolve dependencies and plan the layers anew: the bytes at their sources changed."""
        await self._backend.refresh_environment(self.name)
        await self.refresh_state()

    async def add_requirements(self, *requirements: str) -> None:
        """Install more packages; nodes take them over one by one, idle ones first."""
        known = self.record.spec.get("requirements", ())
        more = read_requirements(list(requirements))
        wanted = {**self.record.spec, "requirements": list(dict.fromkeys([*known, *more]))}
        self.record = await self._backend.apply_environment(
            self.name,
            validate(wanted),
            labels=self.record.labels,
            sources={name: Path(file) for name, file in self.record.sources.items()},
        )

    async def suspend(self) -> None:
        """Put the nodes to sleep until `resume()`."""
        await self._backend.suspend_environment(self.name, suspended=True)
        await self.refresh_state()

    async def resume(self) -> None:
        """Wake the nodes."""
        await self._backend.suspend_environment(self.name, suspended=False)
        await self.refresh_state()

    async def terminate(self, *, wait: bool = True) -> None:
        """Cancel runs and end the nodes; the record and all results stay until its ttl."""
        await self._backend.terminate_environment(self.name, wait=wait)
        await self.refresh_state()

    async def delete(self, *, results: bool = False) -> None:
        """Remove the environment; `results=True` removes its runs' results too."""
        await self._backend.delete_environment(self.name, results=results)
