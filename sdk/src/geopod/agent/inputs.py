"""What a run's tasks take: the function's bytes and each task's arguments, never opened here."""

from __future__ import annotations

from geopod.agent.arguments import Arguments
from geopod.api import names
from geopod.api.bundles import ArgumentsRef, FunctionRef
from geopod.store import Store


class RunInputs:
    """The functions and arguments of the runs that this node works on."""

    def __init__(self, store: Store, *, environment_uid: str) -> None:
        self._store = store
        self._environment_uid = environment_uid
        self._payloads: dict[str, bytes] = {}
        self._arguments: dict[str, Arguments] = {}

    def remember(self, run: str, function: FunctionRef) -> None:
        """Keep a function that came inline: it comes once per run."""
        if function.inline is not None:
            self._payloads[run] = function.inline

    def forget(self, run: str) -> None:
        """No more tasks of this run will come."""
        self._payloads.pop(run, None)
        self._arguments.pop(run, None)

    async def payload(self, run: str, function: FunctionRef) -> bytes:
        """Return the function's bytes; raises KeyMissingError if they came neither way."""
        if run not in self._payloads:
            key = names.function_key(self._environment_uid, function.sha256)
            self._payloads[run] = await self._store.get(key)
        return self._payloads[run]

    async def arguments(self, run: str, reference: ArgumentsRef) -> Arguments:
        """Return the run's arguments; raises KeyMissingError, or ValueError if they are damaged."""
        if run not in self._arguments:
            key = names.arguments_key(self._environment_uid, reference.sha256)
            self._arguments[run] = Arguments(await self._store.fetch(key), reference.format)
        return self._arguments[run]
