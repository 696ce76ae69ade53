"""A backend that plays a script instead of running.

backend = ScriptedBackend([{"mean": 4.2}, ValueError("empty geometry")], python="3.12")
client = geopod.client.aio.Client(backend)
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from geopod.api.names import manifest_key, result_key
from geopod.api.results import (
    Entry,
    Failure,
    ManifestChunk,
    RemoteException,
    TaskReason,
    TaskRecord,
)
from geopod.api.runs import EnvironmentState, RunOrder, RunState
from geopod.backends import Capacity, EnvironmentRecord, Finding, LayerRecord
from geopod.errors import EnvironmentNotFoundError, LayerNotFoundError, RunNotFoundError
from geopod.testing.store import MemoryStore

TARGET = {"namespace": "testing", "target": "scripted"}


class ScriptedBackend:
    """A backend whose runs end as the script says: one value or exception per task, in order.

    Nothing is captured into a child and nothing runs; what is sent stays in `.orders`.
    """

    name = "scripted"
    namespace = "testing"

    def __init__(
        self, script: Sequence[Any], *, python: str, states: Sequence[EnvironmentState] = ()
    ) -> None:
        self._script = list(script)
        self._python = python
        self._states = list(states)
        self._store = MemoryStore()
        self.environments: dict[str, EnvironmentRecord] = {}
        self.layers: dict[str, LayerRecord] = {}
        self.orders: dict[str, RunOrder] = {}
        self.run_states: dict[str, RunState] = {}
        self.calls: list[str] = []
        """What was asked of the backend, in order, by the method's name."""

    def store(self, environment_uid: str) -> MemoryStore:
        """Return the one store."""
        del environment_uid
        return self._store

    async def apply_environment(
        self,
        name: str,
        spec: Mapping[str, Any],
        *,
        labels: Mapping[str, str],
        sources: Mapping[str, Path],
    ) -> EnvironmentRecord:
        """Keep the spec; the environment is ready unless the script has other states."""
        del sources
        self.calls.append("apply_environment")
        nodes = int(spec["nodes"])
        state = EnvironmentState(
            uid=f"uid-{name}", name=name, phase="Ready", nodes=nodes, ready=nodes
        )
        known = self.environments.get(name)
        self.environments[name] = EnvironmentRecord(
            uid=state.uid,
            name=name,
            spec=dict(spec),
            state=state,
            labels=dict(labels),
            interpreter=self._python,
        )
        is_new = known is None or known.state.phase == "Terminated"
        return replace(self.environments[name], is_new=is_new)

    async def get_environment(self, name: str) -> EnvironmentRecord:
        """Return an environment by name or uid."""
        for record in self.environments.values():
            if name in (record.name, record.uid):
                return record
        raise EnvironmentNotFoundError.missing(name=name, **TARGET)

    async def list_environments(self) -> list[EnvironmentRecord]:
        """Return all environments."""
        return list(self.environments.values())

    async def watch_environment(self, name: str) -> AsyncGenerator[EnvironmentState, None]:
        """Yield the scripted states, then the environment's own."""
        for state in self._states:
            yield state
        yield (await self.get_environment(name)).state

    async def scale_environment(self, name: str, nodes: int) -> None:
        """Change the number of nodes."""
        record = await self.get_environment(name)
        self.environments[record.name] = replace(record, spec={**record.spec, "nodes": nodes})

    async def refresh_environment(self, name: str) -> None:
        """Note the call."""
        self.calls.append(f"refresh_environment {name}")

    async def suspend_environment(self, name: str, *, suspended: bool) -> None:
        """Change the phase."""
        await self._phase(name, "Suspended" if suspended else "Ready")

    async def terminate_environment(self, name: str, *, wait: bool) -> None:
        """Change the phase."""
        del wait
        await self._phase(name, "Terminated")

    async def _phase(self, name: str, phase: str) -> None:
        record = await self.get_environment(name)
        state = msgspec.structs.replace(record.state, phase=phase)
        self.environments[record.name] = replace(record, state=state)

    async def delete_environment(self, name: str, *, results: bool) -> None:
        """Forget the environment."""
        del results
        self.environments.pop((await self.get_environment(name)).name)

    async def build_log(self, name: str) -> str:
        """Return nothing: nothing is installed."""
        del name
        return ""

    async def submit(self, order: RunOrder) -> AsyncIterator[RunState]:
        """Play the script; the run has as many tasks as the script, or as it was ordered."""
        self.calls.append("submit")
        indexes = order.partitions or range(order.count or len(self._script))
        total = len(indexes)
        self.orders[order.name] = order
        state = RunState(uid=order.uid, name=order.name, environment=order.environment, total=total)
        records = [await self._record(order, index) for index in indexes]
        chunk = ManifestChunk(epoch=1, sequence=0, accepts=[], records=records)
        key = manifest_key(order.environment, order.uid, 1, 0)
        await self._store.put(key, msgspec.json.encode(chunk), if_absent=True)
        failed = [record for record in records if record.failure is not None]
        ended = msgspec.structs.replace(
            state,
            phase="Failed" if failed else "Succeeded",
            reason="TaskFailed" if failed else "",
            succeeded=total - len(failed),
            failed=len(failed),
            failures=failed[:10],
            chunks=1,
        )
        self.run_states[order.name] = ended
        yield msgspec.structs.replace(state, phase="Queued")
        yield ended

    async def _record(self, order: RunOrder, index: int) -> TaskRecord:
        outcome = self._script[index % len(self._script)]
        record = TaskRecord(index=index, attempt=1, epoch=1, node=index)
        if isinstance(outcome, Failure):
            return msgspec.structs.replace(record, failure=outcome)
        if isinstance(outcome, Exception):
            return msgspec.structs.replace(record, failure=_failure(outcome))
        data = json.dumps(outcome).encode()
        key = result_key(order.environment, order.uid, f"{index}-1-1", "value")
        await self._store.put(key, data)
        entry = Entry(codec="json", sha256=sha256(data).hexdigest(), bytes=len(data), key=key)
        return msgspec.structs.replace(record, entry=entry)

    async def watch_run(self, name: str) -> AsyncIterator[RunState]:
        """Yield the run's final state."""
        yield (await self.get_run(name))[1]

    async def get_run(self, name: str) -> tuple[RunOrder, RunState]:
        """Return a run by name or uid."""
        for order in self.orders.values():
            if name in (order.name, order.uid):
                return order, self.run_states[order.name]
        raise RunNotFoundError.missing(name=name, **TARGET)

    async def list_runs(self, *, environment: str | None = None) -> list[tuple[RunOrder, RunState]]:
        """Return all runs, newest first."""
        del environment
        return [(order, self.run_states[name]) for name, order in reversed(self.orders.items())]

    async def cancel_run(self, name: str, *, indexes: list[int] | None = None) -> None:
        """Note the call."""
        self.calls.append(f"cancel_run {name} {indexes}")

    async def delete_run(self, name: str, *, results: bool) -> None:
        """Forget the run."""
        del results
        self.orders.pop(name)

    async def apply_layer(self, path_id: str, spec: Mapping[str, Any]) -> LayerRecord:
        """Keep the layer."""
        self.layers[path_id] = LayerRecord(path_id=path_id, spec=dict(spec))
        return self.layers[path_id]

    async def get_layer(self, path_id: str) -> LayerRecord:
        """Return a layer."""
        if path_id not in self.layers:
            raise LayerNotFoundError.missing(
                path_id=path_id, timestamp_id="latest", namespace=self.namespace
            )
        return self.layers[path_id]

    async def list_layers(self) -> list[LayerRecord]:
        """Return all layers."""
        return list(self.layers.values())

    async def publish(self, runs: list[str], target: Mapping[str, str]) -> LayerRecord:
        """Note the call."""
        self.calls.append(f"publish {runs} {target['pathId']}/{target['timestampId']}")
        return await self.get_layer(target["pathId"])

    async def upload_file(self, path: Path) -> str:
        """Return the file's sha256."""
        data = await asyncio.to_thread(path.read_bytes)
        return sha256(data).hexdigest()

    async def default_interpreter(self) -> str:
        """Return the scripted minor version."""
        return f"python{self._python}"

    async def default_nodes(self) -> int:
        """Return one."""
        return 1

    async def diagnose(self, environment: str | None = None) -> list[Finding]:
        """Find that all is well."""
        return [Finding(about=environment or "target", ok=True, fact="scripted.")]

    async def capacity(self) -> Capacity:
        """Return one interpreter."""
        return Capacity(interpreters=(f"python{self._python}",))

    async def close(self) -> None:
        """Note the call."""
        self.calls.append("close")


def _failure(error: Exception) -> Failure:
    exception = RemoteException(
        type=type(error).__name__,
        module=type(error).__module__,
        message=str(error),
        text=f"{type(error).__name__}: {error}\n",
        args=list(error.args),
    )
    return Failure(reason=TaskReason.EXCEPTION, code="E307", fact=str(error), exception=exception)
