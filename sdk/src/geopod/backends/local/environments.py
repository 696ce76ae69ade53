"""Environments of this machine as their clients see them: records in, states out."""

from __future__ import annotations

import asyncio
import getpass
import os
import shutil
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from geopod.api.runs import EnvironmentState
from geopod.backends import EnvironmentRecord
from geopod.backends.local import launch
from geopod.backends.local.admission import check_files
from geopod.backends.local.catalogue import Catalogue, check_keys, file_sources
from geopod.backends.local.fallback import Asked, remember
from geopod.backends.local.interpreters import Interpreter, find_interpreter, own_interpreter
from geopod.backends.local.packages import (
    check_requirements,
    describe_packages,
    packages_key,
    remove_unused,
)
from geopod.backends.local.presence import is_alive
from geopod.backends.local.standing import is_settled, standing
from geopod.backends.local.state import StateFolder, StoredEnvironment, new_uid
from geopod.backends.local.unfinished import cancel_unfinished
from geopod.errors import ConfigError, InvalidInputError, UnschedulableError
from geopod.errors.wording import items_text

LOOK_AGAIN_S = 0.25
"""How often a watcher looks at a sleeping environment: nobody is there to tell it."""
Change = Callable[[StoredEnvironment], StoredEnvironment]


class Environments:
    """All environments of one state folder."""

    def __init__(self, folder: StateFolder) -> None:
        self._folder = folder
        self._catalogue = Catalogue(folder)
        self._asked = Asked()

    async def apply(
        self,
        name: str,
        spec: Mapping[str, Any],
        *,
        labels: Mapping[str, str],
        sources: Mapping[str, Path],
    ) -> EnvironmentRecord:
        """Create or update an environment and start it, once everything it names is there.

        An environment that runs as asked is left alone; any other one starts or changes.
        """
        interpreter = await asyncio.to_thread(find_interpreter, spec.get("interpreter") or _own())
        files = {path_id: str(path) for path_id, path in sources.items()}
        await asyncio.to_thread(self._check, spec, files)
        wanted = {
            "spec": {**spec, "interpreter": f"python{interpreter.minor}"},
            "labels": dict(labels),
            "sources": files,
            "interpreter": interpreter.minor,
            "python": interpreter.executable,
        }
        with self._folder.locked(name):
            known = next((it for it in self._folder.environments() if it.name == name), None)
            record = self._merge(name, known, wanted, interpreter)
        self._asked.note(record)
        await launch.ask(self._folder, record)
        is_new = known is None or known.terminated is not None
        return replace(self.describe(record), is_new=is_new)

    def _check(self, spec: Mapping[str, Any], files: Mapping[str, str]) -> None:
        """Raise what is wrong with a spec on this machine, before anything is started."""
        check_requirements(spec.get("requirements", ()))
        check_keys(spec.get("layers", ()), spec.get("files", ()))
        for source in self._catalogue.sources(spec.get("layers", ()), files):
            check_files(source["pathId"], source["hrefs"], kind=source.get("kind"))
        file_sources(self._folder, spec.get("files", ()))
        _check_secrets(spec)
        if spec.get("enableGpu") and shutil.which("nvidia-smi") is None:
            nodes = spec.get("nodes", 1)
            raise UnschedulableError.no_machine(
                waiting=nodes,
                total=nodes,
                after_s=0,
                missing="nvidia.com/gpu (1 each)",
                scheduler="this machine has no nvidia-smi.",
                fix="enable_gpu=False",
            )

    def _merge(
        self,
        name: str,
        known: StoredEnvironment | None,
        wanted: Mapping[str, Any],
        interpreter: Interpreter,
    ) -> StoredEnvironment:
        """Return the record to serve, written if it says anything else than before."""
        requirements = wanted["spec"].get("requirements", ())
        key = packages_key(interpreter, requirements, refreshed=known.refreshed if known else 0)
        fields = {**wanted, "requirements_key": key, "terminated": None, "terminated_by": ""}
        fields["refused"] = None
        if known is None:
            record = StoredEnvironment(uid=new_uid(), name=name, created=time.time(), **fields)
        else:
            record = msgspec.structs.replace(known, **fields)
            if record == known and is_alive(self._folder, name):
                return known
            now = known.generation + 1
            anew = known.replanned if known.terminated is None else now  # it begins again
            record = msgspec.structs.replace(record, generation=now, replanned=anew)
            record = remember(self._folder, known, record)
        self._folder.write_environment(record)
        return record

    def describe(self, record: StoredEnvironment) -> EnvironmentRecord:
        """Return an environment as clients know it."""
        requirements = record.spec.get("requirements", ())
        interpreter = Interpreter(record.python, (0, 0, 0))
        return EnvironmentRecord(
            uid=record.uid,
            name=record.name,
            spec=record.spec,
            state=standing(self._folder, record),
            labels=record.labels,
            created=record.created,
            interpreter=record.interpreter,
            same_minor=record.interpreter == own_interpreter().minor,
            packages=describe_packages(record.requirements_key, interpreter, requirements),
            sources=record.sources,
        )

    async def watch(self, name: str) -> AsyncGenerator[EnvironmentState, None]:
        """Yield an environment's state at once and on every change, until it is gone.

        Processes that should run and do not are started again; what sleeps is left asleep.
        """
        starts = 0
        while (record := self._find(name)) is not None:
            if (refused := self._asked.refusal(record)) is not None:
                yield refused
            async with aclosing(launch.reports(self._folder, record)) as heard:
                async for report in heard:
                    starts = 0 if report.state.phase == "Ready" else starts
                    if report.generation > record.generation:
                        break  # the record is another one by now
                    if report.generation >= record.generation:
                        yield report.state
            if self._find(name) != record:
                continue
            if is_settled(self._folder, record):
                yield standing(self._folder, record)
                await self._changed(record)
                continue
            if starts >= launch.STARTS_LIMIT:
                raise launch.never_stays(self._folder, record.name)
            starts += 1
            await launch.ensure_supervisor(self._folder, record)

    def _find(self, name: str) -> StoredEnvironment | None:
        try:
            return self._folder.read_environment(name)
        except LookupError:
            return None

    async def _changed(self, record: StoredEnvironment) -> None:
        """Return when a settled environment has woken, changed or gone."""
        while self._find(record.name) == record and not is_alive(self._folder, record.name):  # noqa: ASYNC110  # any process may change it
            await asyncio.sleep(LOOK_AGAIN_S)

    async def change(self, name: str, change: Change, *, wake: bool = True) -> StoredEnvironment:
        """Change a record and have it served; `wake`: also if the environment sleeps."""
        with self._folder.locked(self._folder.read_environment(name).name):
            known = self._folder.read_environment(name)
            record = msgspec.structs.replace(change(known), generation=known.generation + 1)
            if known.before is not None:  # it may have to serve on: the change is meant for it too
                record = msgspec.structs.replace(record, before=change(known.before))
            record = remember(self._folder, known, record)
            self._folder.write_environment(record)
        if wake or is_alive(self._folder, record.name):
            await launch.ask(self._folder, record)
        return record

    async def scale(self, name: str, nodes: int) -> None:
        """Change the number of nodes."""
        await self.change(name, lambda known: _with_spec(known, nodes=nodes), wake=False)

    async def suspend(self, name: str, *, suspended: bool) -> None:
        """Put the nodes to sleep, or wake them."""

        def change(known: StoredEnvironment) -> StoredEnvironment:
            woken = _with_spec(known, suspend=suspended)
            if suspended:
                return woken
            return msgspec.structs.replace(woken, terminated=None, terminated_by="")

        await self.change(name, change, wake=not suspended)

    async def refresh(self, name: str) -> None:
        """Resolve requirements and plan the layers anew."""

        def change(known: StoredEnvironment) -> StoredEnvironment:
            now = known.generation + 1
            interpreter = find_interpreter(f"python{known.interpreter}")
            key = packages_key(interpreter, known.spec.get("requirements", ()), refreshed=now)
            anew = {"refreshed": now, "replanned": now, "requirements_key": key}
            return msgspec.structs.replace(known, **anew)

        known = self._folder.read_environment(name)
        await asyncio.to_thread(self._check, known.spec, known.sources)
        self._asked.note(await self.change(name, change))

    async def terminate(self, name: str, *, wait: bool) -> None:
        """Cancel the environment's runs and end its processes; `wait`: until they are gone."""
        now = time.time()

        def change(known: StoredEnvironment) -> StoredEnvironment:
            if known.terminated is not None:
                return known
            return msgspec.structs.replace(known, terminated=now, terminated_by=user_name())

        try:
            record = await self.change(name, change, wake=False)
        except ConfigError:
            record = await self._terminate_unwritten(name, change)
        if wait:
            await launch.until_ended(self._folder, record)
        with self._folder.locked(f"start-{record.name}"):
            if not is_alive(self._folder, record.name):
                cancel_unfinished(self._folder.store, record.uid, now=now)

    async def _terminate_unwritten(self, name: str, change: Change) -> StoredEnvironment:
        """End the processes though the disk is full: what they have staged may be the room."""
        record = self._folder.read_environment(name)
        await launch.stop(self._folder, record)
        scratch = self._folder.environment(record.name) / "scratch"
        await asyncio.to_thread(shutil.rmtree, scratch, True)  # noqa: FBT003  # ignore_errors
        try:
            return await self.change(name, change, wake=False)
        except ConfigError as error:
            fact = f"{error.fact} The nodes of {record.name!r} have ended; the next run wakes them."
            raise ConfigError(fact, fixes=error.fixes, details=error.details) from error

    async def delete(self, name: str, *, results: bool) -> StoredEnvironment:
        """End an environment and forget it; its runs' results stay unless `results`."""
        with suppress(ConfigError):  # its nodes have ended; removing it makes room
            await self.terminate(name, wait=True)
        record = self._folder.read_environment(name)
        with self._folder.locked(record.name):
            self._folder.remove_environment(record, by=user_name())
        if results:
            await asyncio.to_thread(shutil.rmtree, self._folder.store / record.uid, True)  # noqa: FBT003  # ignore_errors
        await asyncio.to_thread(remove_unused, self._folder)
        return record

    def build_log(self, name: str) -> str:
        """Return what installing the requirements printed; empty if nothing was installed."""
        record = self._folder.read_environment(name)
        try:
            log = self._folder.environment(record.name) / "build.log"
            return log.read_text("utf-8", "replace")
        except FileNotFoundError:
            return ""


def _check_secrets(spec: Mapping[str, Any]) -> None:
    """Raise InvalidInputError for what only a cluster keeps."""
    names = [entry["name"] for entry in spec.get("secrets", ())]
    names += [entry["name"] for entry in spec.get("env", ()) if "secretKeyRef" in entry]
    if names:
        raise InvalidInputError(
            f"This machine keeps no secrets: {items_text(names)}.",
            fixes=("env={'NAME': os.environ['NAME']}",),
            details={"secrets": names},
        )


def _with_spec(record: StoredEnvironment, **fields: Any) -> StoredEnvironment:
    return msgspec.structs.replace(record, spec={**record.spec, **fields})


def user_name() -> str:
    """Return who runs this client; the numeric id of a user without a name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _own() -> str:
    return f"python{own_interpreter().minor}"
