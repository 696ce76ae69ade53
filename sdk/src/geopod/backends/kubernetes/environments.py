"""ComputeEnvironments as their clients see them: applied by server-side apply, read, watched."""

from __future__ import annotations

import asyncio
import getpass
import os
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from geopod.api import names
from geopod.api.run_report import timestamp
from geopod.api.runs import EnvironmentState
from geopod.backends import EnvironmentRecord
from geopod.backends.kubernetes.artifacts import SHARED, TokenBook
from geopod.backends.kubernetes.manifests import (
    FIELD_MANAGER,
    Manifest,
    environment_manifest,
    gives_token,
    has_no_nodes,
    has_status,
    record_of,
    state_of,
    terminated_mark,
    terminated_text,
)
from geopod.backends.kubernetes.operator_watch import OperatorWatch
from geopod.backends.kubernetes.refusals import callers_error
from geopod.cluster.client import ApiClient
from geopod.cluster.kinds import ENVIRONMENTS
from geopod.cluster.problems import ConflictApiError, NotFoundApiError
from geopod.errors import ClusterError, EnvironmentNotFoundError, InvalidInputError
from geopod.errors.wording import about_text

ENDING_S = 300.0
"""Nodes that were told to end take their grace time and what the kubelet needs."""
ACCESS_S = 120.0
"""The operator writes tokens in its first round; a cluster's sleeping node may carry it."""
YOURS_SHOWN = 20


class Environments:
    """All environments of one namespace."""

    def __init__(self, api: ApiClient, book: TokenBook, operator: OperatorWatch) -> None:
        self._api = api
        self._book = book
        self._operator = operator
        self._names: dict[str, str] = {}
        """uid -> name, of every environment that was seen."""
        self._large: dict[str, bool] = {}
        """uid -> whether its results may be large: runs do not say so themselves."""

    async def apply(
        self,
        name: str,
        spec: Mapping[str, Any],
        *,
        labels: Mapping[str, str],
        sources: Mapping[str, Path],
    ) -> EnvironmentRecord:
        """Create an environment or make it what is asked; one that was ended is woken."""
        for path_id, path in sources.items():
            raise InvalidInputError(
                f"Layer {path_id!r} is a file of this machine ({path}); a cluster's nodes cannot "
                "read it.",
                fixes=(f"client.add_layer({path_id!r}, 's3://…')", 'connect("local")'),
                details={"layer": path_id},
            )
        namespace = self._api.namespace
        manifest = environment_manifest(name, spec, namespace=namespace, labels=labels)
        with callers_error(f"environment {name!r}"):
            while True:
                found, is_new = await self._api.make(
                    ENVIRONMENTS, manifest, field_manager=FIELD_MANAGER
                )
                if terminated_mark(found) is None:
                    return replace(self.take(found), is_new=is_new)
                if (woken := await self._wake(found)) is not None:
                    return replace(self.take(woken), is_new=True)

    async def _wake(self, found: Manifest) -> Manifest | None:
        """Take the mark of its end from an environment; None: somebody changed it meanwhile."""
        metadata = found["metadata"]
        change = _annotated(names.ANNOTATION_TERMINATED, None)
        change["metadata"]["resourceVersion"] = metadata["resourceVersion"]
        with suppress(ConflictApiError, NotFoundApiError):
            return await self._api.patch(
                ENVIRONMENTS, metadata["name"], change, field_manager=FIELD_MANAGER
            )
        return None

    async def get(self, name: str) -> EnvironmentRecord:
        """Return an environment by name or uid; raises EnvironmentNotFoundError."""
        return self.take(await self.read(name))

    async def all(self) -> list[EnvironmentRecord]:
        """Return all environments, oldest first."""
        listing = await self._api.list(ENVIRONMENTS)
        found = [self.take(manifest) for manifest in listing.items]
        return sorted(found, key=lambda record: (record.created, record.name))

    async def read(self, name: str) -> Manifest:
        """Return the resource of a name or uid; raises EnvironmentNotFoundError."""
        try:
            found = await self._api.get(ENVIRONMENTS, self._names.get(name, name))
        except NotFoundApiError:
            found = await self._search(name)
        self.take(found)
        return found

    async def name_of(self, uid: str) -> str:
        """Return the name of an environment's uid; asks only for one that was never seen."""
        known = self._names.get(uid)
        return known if known is not None else str((await self.read(uid))["metadata"]["name"])

    def is_large(self, uid: str) -> bool | None:
        """Say whether results of an environment may be large; None: it was never seen."""
        return self._large.get(uid)

    async def uids(self) -> dict[str, str]:
        """Return name -> uid of all environments, in one list."""
        return {record.name: record.uid for record in await self.all()}

    def take(self, manifest: Mapping[str, Any]) -> EnvironmentRecord:
        """Return a manifest's record, and keep its name and tokens."""
        record = record_of(manifest)
        self._names[record.uid] = record.name
        self._large[record.uid] = bool(record.spec.get("largeResult", False))
        self._book.learn_environment(manifest)
        return record

    async def watch(self, name: str) -> AsyncGenerator[EnvironmentState, None]:
        """Yield the state at once and on every change, until the environment is gone.

        Raises OperatorNotRunningError when nobody writes a status.
        """
        async with aclosing(self.follow(name)) as manifests:
            async for manifest in manifests:
                yield state_of(manifest)

    async def follow(self, name: str) -> AsyncGenerator[Manifest, None]:
        """Yield an environment's resource at once and on every change."""
        first = await self.read(name)
        metadata = first["metadata"]
        yield first
        changes = self._changes(metadata["name"], metadata["uid"], metadata["resourceVersion"])
        patient = self._operator.patient(
            changes,
            name=metadata["name"],
            is_touched=has_status,
            first=first,
        )
        async with aclosing(patient) as following:
            async for manifest in following:
                self.take(manifest)
                yield manifest

    async def _changes(self, name: str, uid: str, since: str) -> AsyncGenerator[Manifest, None]:
        """Yield what a watch tells of one object, until it is gone."""
        is_listed = False
        events = self._api.watch(ENVIRONMENTS, field_selector=f"metadata.name={name}", since=since)
        async with aclosing(events) as changes:
            async for event in changes:
                if event.type == "SYNCED":  # listed again
                    if not is_listed:
                        return
                    is_listed = False
                    continue
                if event.type == "DELETED" or event.object["metadata"]["uid"] != uid:
                    return
                is_listed = event.type == "ADDED"
                yield event.object

    async def until(
        self, name: str, wanted: Callable[[Manifest], bool], *, within_s: float
    ) -> Manifest | None:
        """Return the resource once it is as wanted; None: it is gone, or time is over."""
        try:
            async with asyncio.timeout(within_s), aclosing(self.follow(name)) as manifests:
                async for manifest in manifests:
                    if wanted(manifest):
                        return manifest
        except TimeoutError:
            return None
        return None

    async def access(self, owner: str) -> Manifest:
        """Return an environment with its tokens (`shared`: any that has some), waiting if due."""
        if owner == SHARED:
            listing = await self._api.list(ENVIRONMENTS, cached=True)
            for manifest in listing.items:
                if (manifest.get("status") or {}).get("access", {}).get("sharedToken"):
                    return manifest
            raise EnvironmentNotFoundError(
                f"No environment of namespace {self._api.namespace!r} gives a token yet.",
                fixes=("create one",),
            )
        found = await self.read(owner)
        if not gives_token(found):
            name = found["metadata"]["name"]
            found = await self.until(name, gives_token, within_s=ACCESS_S) or found
        return found

    async def scale(self, name: str, nodes: int) -> None:
        """Change the number of nodes."""
        await self._patch(name, {"spec": {"nodes": nodes}})

    async def refresh(self, name: str) -> None:
        """Resolve dependencies and plan the layers anew."""
        text = f"{timestamp(time.time())} {secrets.token_hex(4)}"
        await self._patch(name, _annotated(names.ANNOTATION_REFRESH, text))

    async def suspend(self, name: str, *, suspended: bool) -> None:
        """Put the nodes to sleep, or wake them (also after `mark_terminated`)."""
        change: Manifest = {"spec": {"suspend": suspended}}
        if not suspended:
            change |= _annotated(names.ANNOTATION_TERMINATED, None)
        await self._patch(name, change)

    async def mark_terminated(self, name: str) -> str:
        """Put the nodes to sleep until a person wakes them; return the environment's name."""
        found = await self.read(name)
        if terminated_mark(found) is None:
            text = terminated_text(time.time(), _user_name())
            change = {"spec": {"suspend": True}, **_annotated(names.ANNOTATION_TERMINATED, text)}
            await self._patch(name, change)
        return str(found["metadata"]["name"])

    async def until_asleep(self, name: str) -> None:
        """Return when no node pod is left; raises ClusterError if that takes too long."""
        asleep = await self.until(name, has_no_nodes, within_s=ENDING_S)
        if asleep is not None:
            return
        try:
            found = await self.read(name)
        except EnvironmentNotFoundError:
            return
        await self._operator.require(name, waited_s=ENDING_S)
        left = (found.get("status") or {}).get("replicas", 0)
        raise ClusterError(
            f"{name!r} was told to end {about_text(ENDING_S)} ago; {left} pods are still there.",
            fixes=("env.explain()", f"kubectl -n {self._api.namespace} get pods"),
        )

    async def delete(self, name: str, *, results: bool) -> str:
        """Delete an environment; `results`: everything that its runs wrote goes with it."""
        found = await self.read(name)
        name = found["metadata"]["name"]
        if results:
            await self._patch(name, {"spec": {"results": {"onDelete": "Purge"}}})
        await self._api.delete(ENVIRONMENTS, name, uid=found["metadata"]["uid"])
        return str(name)

    async def _patch(self, name: str, change: Manifest) -> Manifest:
        known = self._names.get(name, name)
        try:
            with callers_error(f"environment {name!r}"):
                return await self._api.patch(
                    ENVIRONMENTS, known, change, field_manager=FIELD_MANAGER
                )
        except NotFoundApiError:
            found = str((await self._search(name))["metadata"]["name"])
        return await self._api.patch(ENVIRONMENTS, found, change, field_manager=FIELD_MANAGER)

    async def _search(self, uid: str) -> Manifest:
        """Return the environment of a uid; raises EnvironmentNotFoundError naming those there."""
        listing = await self._api.list(ENVIRONMENTS)
        for manifest in listing.items:
            if manifest["metadata"]["uid"] == uid:
                return manifest
        raise EnvironmentNotFoundError.missing(
            name=uid,
            namespace=self._api.namespace,
            target=self._api.context,
            yours=sorted(it["metadata"]["name"] for it in listing.items)[:YOURS_SHOWN],
        )


def _annotated(annotation: str, text: str | None) -> Manifest:
    return {"metadata": {"annotations": {annotation: text}}}


def _user_name() -> str:
    """Return who runs this client; the numeric id of a user without a name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
