"""The entry: environments, layers and runs of one target."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, Unpack, cast

from typing_extensions import override

from geopod.api.names import check_environment_name, check_path_id, environment_name
from geopod.backends import Backend, Capacity, LayerRecord, Target, open_backend
from geopod.client import given
from geopod.client.aio.choices import choose_layers
from geopod.client.aio.connection import Connection
from geopod.client.aio.drive import name_timestamps
from geopod.client.aio.environment import Environment
from geopod.client.aio.explain import Explanation, explain_target
from geopod.client.aio.opening import Opening
from geopod.client.aio.run import Run
from geopod.client.aio.showing import environment_row, layer_row, run_row
from geopod.client.keywords import LAYER, in_words_of
from geopod.client.layerlike import LayerChoice, LayerRef, layer_ref
from geopod.client.options import EnvironmentOptions, environment_spec
from geopod.client.quantities import seconds
from geopod.display.lists import Search
from geopod.errors import InvalidInputError, SchedulingError

NAME_IT = "client.environment('my-env', …) goes on starting; its env.explain() says why"


def connect(
    target: str | None = None,
    *,
    namespace: str | None = None,
    token: str | None = None,
    gateway: str | None = None,
    request_timeout: float | str = "30s",
) -> Opening[Client]:
    """Open a client; `await` it, or enter it with `async with`.

    `target`: `"local"`, or a kubeconfig context. Without one: GEOPOD_TARGET, the cluster that this
    process runs in, the kubeconfig's current context. Raises ConfigError (GP-E001) when there is
    none of these; this machine is never picked silently. `gateway`: a URL, or `namespace/service`;
    without one GEOPOD_GATEWAY, else the API server's service proxy. On this machine `token`,
    `gateway` and `request_timeout` are accepted and unused.
    """
    return Opening(
        _connect(
            Target(
                context=target or os.environ.get("GEOPOD_TARGET") or None,
                namespace=namespace,
                token=token,
                gateway=gateway or os.environ.get("GEOPOD_GATEWAY") or None,
                request_timeout_s=seconds(request_timeout, name="request_timeout"),
            )
        )
    )


async def _connect(target: Target) -> Client:
    return Client(await open_backend(target))


class Client:
    """A connection to one target; `async with` closes it."""

    def __init__(self, backend: Backend) -> None:
        self._connection = Connection(backend)
        self._backend = cast("Backend", self._connection)

    @override
    def __repr__(self) -> str:
        return f"<Client {self._backend.name} namespace={self._backend.namespace}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def environment(
        self,
        name: str | None = None,
        *,
        layers: Sequence[Any] = (),
        files: Sequence[str | Path] = (),
        start_timeout: float | str = "10m",
        labels: Mapping[str, str] | None = None,
        wait: bool = True,
        progress: bool | None = None,
        **options: Unpack[EnvironmentOptions],
    ) -> Opening[Environment]:
        """Create an environment, or take and update the one of this `name`, and wait for its nodes.

        Everything that can be known to be wrong is said before anything is started. `await` it, or
        enter it: `async with client.environment(…) as env` terminates it in the end. Ctrl-C while
        it starts terminates one that this call created, and so does `start_timeout` for one without
        a name: nobody holds it.
        """

        async def make() -> Environment:
            limit_s = seconds(start_timeout, name="start_timeout")
            made = await self._apply(name, layers, files, {} if labels is None else labels, options)
            try:
                if wait:
                    await made.wait_ready(limit_s, progress=progress)
            except asyncio.CancelledError:
                if made.is_created:
                    await self._backend.terminate_environment(made.name, wait=False)
                raise
            except SchedulingError as error:
                # One that failed has ended by itself, and keeps saying why.
                if name is None and made.phase != "Failed":
                    await self._backend.terminate_environment(made.name, wait=False)
                    kept = (fix for fix in error.fixes if fix != "env.explain()")
                    error.fixes = (*kept, NAME_IT)
                raise
            return made

        return Opening(make())

    async def _apply(
        self,
        name: str | None,
        layers: Sequence[Any],
        files: Sequence[str | Path],
        labels: Mapping[str, str],
        options: EnvironmentOptions,
    ) -> Environment:
        """Check everything, then create or update."""
        choices = await choose_layers(layers, self._backend)
        if name is not None:
            check_environment_name(given.text(name, name="name", example="name='ndvi-env'"))
        labels = given.labels(labels)
        files = given.listed(files, name="files", example="files=['model.pt']")
        wanted = [choice.spec() for choice in choices]
        given.check_keys(wanted, ())
        if options.get("nodes", 1) is None:
            options["nodes"] = await self._backend.default_nodes()
        environment_spec(options, layers=wanted, files=[])
        if not options.get("interpreter"):
            options["interpreter"] = await self._backend.default_interpreter()
        file_ids = [await self._file_id(file) for file in files]
        given.check_keys(wanted, file_ids)
        spec = environment_spec(options, layers=wanted, files=file_ids)
        record = await self._backend.apply_environment(
            name or environment_name(str(uuid.uuid4())),
            spec,
            labels=labels,
            sources=_sources(choices),
        )
        return Environment(self._backend, record, created=name is None or record.is_new)

    async def _file_id(self, file: str | Path) -> str:
        if not isinstance(file, (str, Path)):
            raise InvalidInputError.value(
                name="files", value=file, why="is no file and no id", fix="files=['model.pt']"
            )
        path = Path(file)
        if path.is_file():
            return await self._backend.upload_file(path)
        if isinstance(file, Path) or len(path.parts) > 1 or path.suffix:
            raise InvalidInputError(f"files: there is no file {path}.")
        return file

    async def get_environment(self, name: str) -> Environment:
        """Return an environment by name or id; raises EnvironmentNotFoundError."""
        given.text(name, name="name", example="name='ndvi-env'")
        return Environment(self._backend, await self._backend.get_environment(name), created=False)

    async def environments(self) -> Search[Environment]:
        """Return all environments."""
        found = await self._backend.list_environments()
        known = (Environment(self._backend, record, created=False) for record in found)
        return Search(known, row=environment_row)

    async def get_run(self, name: str) -> Run:
        """Return a run by name or id, from any process; raises RunNotFoundError."""
        given.text(name, name="name", example="name='ndvi-7f3a9c'")
        order, state = await self._backend.get_run(name)
        base = await self.get_run(order.rerun_of) if order.rerun_of else None
        return Run(self._backend, order, state, base=base)

    async def runs(self, *, environment: str | None = None) -> Search[Run]:
        """Return all runs, newest first."""
        found = await self._backend.list_runs(environment=environment)
        return Search((Run(self._backend, order, state) for order, state in found), row=run_row)

    async def terminate_all(self, *, wait: bool = True) -> None:
        """End the nodes of every environment."""
        known = await self._backend.list_environments()
        await asyncio.gather(
            *(self._backend.terminate_environment(record.name, wait=wait) for record in known)
        )

    async def add_layer(
        self,
        path_id: str,
        uri: str | Path | Sequence[str | Path] | None = None,
        *,
        timestamp: str = "",
        type: str | None = None,  # noqa: A002  # the field's name
        secret: str | Mapping[str, str] | None = None,
        write_to: str | Path | None = None,
        crs: str | None = None,
        nodata: float | None = None,
    ) -> LayerRef:
        """Add a layer, or a timestamp to it. `write_to`: where results for this layer go.

        `crs` (`"EPSG:32632"`, or WKT) and `nodata` are those of files that do not say theirs.
        `secret` opens its object store: the name of a Secret of the cluster; on this machine the
        name of a file `<name>.env` or `<name>.json` (mode 0600) in the folder `secrets` of the
        user's configuration, or the keys themselves, which are kept there. Without `uri` the layer
        has no timestamp yet; results give it some. With `ellipsis://<pathId>` it has the path's.
        """
        check_path_id(given.text(path_id, name="path_id", example="path_id='dem'"), name="path_id")
        uris = [uri] if isinstance(uri, (str, Path)) else _listed(uri)
        spec: dict[str, Any] = {"timestamps": []}
        if uris:
            named = [_place(place) for place in uris]
            first = Path(named[0].partition("?")[0]).stem
            spec["timestamps"] = [{"id": timestamp or first, "uris": named}]
        if type is not None:
            spec["type"] = type
        if secret is not None:
            spec["credentials"] = {"secretName": _secret_name(self._backend, path_id, secret)}
        if uris and not timestamp:
            await name_timestamps(spec, path_id, self._backend)
        if write_to is not None:
            spec["writeTo"] = {"uri": _place(write_to, "write_to")}
        if crs is not None:
            spec["crs"] = given.crs(crs, path_id=path_id)
        if nodata is not None:
            spec["nodata"] = given.number(nodata, name="nodata", example="nodata=-9999")
        with in_words_of(LAYER, {"timestamp": timestamp, "write_to": write_to, "secret": secret}):
            return _reference(await self._backend.apply_layer(path_id, spec))

    async def get_layer(self, path_id: str) -> LayerRef:
        """Return a layer of the catalogue; raises LayerNotFoundError."""
        return _reference(await self._backend.get_layer(path_id))

    async def layers(self) -> Search[LayerRef]:
        """Return the catalogue."""
        found = await self._backend.list_layers()
        return Search((_reference(record) for record in found), row=layer_row)

    async def capacity(self) -> Capacity:
        """Return the machines, quotas and interpreters there are to run on."""
        return await self._backend.capacity()

    async def doctor(self) -> Explanation:
        """Look at every part of the target, and say what is wrong and what mends it."""
        return await explain_target(self._backend)

    async def close(self) -> None:
        """Close the connection; environments and runs go on, this client's objects do not."""
        await self._connection.close()


def _secret_name(backend: Backend, path_id: str, secret: str | Mapping[str, str]) -> str:
    """Return a secret's name; keys themselves are kept first. Raises InvalidInputError."""
    if isinstance(secret, str):
        return secret
    secret = given.mapping(secret, name="secret", example="secret='s3-keys'")
    if backend.name != "local":
        raise InvalidInputError(
            f"A cluster keeps keys as a Secret: layer {path_id!r} was given {len(secret)} keys.",
            fixes=(
                "kubectl create secret generic s3-keys --from-literal=AWS_ACCESS_KEY_ID=…",
                "secret='s3-keys'",
            ),
        )
    from geopod.backends.local.secrets import keep_keys  # only where keys are given

    return keep_keys(path_id, secret)


def _listed(uris: Sequence[str | Path] | None) -> list[Any]:
    return given.listed(() if uris is None else uris, name="uri", example="uri='dem.tif'")


def _place(uri: str | Path, name: str = "uri") -> str:
    """Return a URL as it is, and a path from the root of this machine; `name`: the keyword's."""
    if not isinstance(uri, (str, Path)):
        raise InvalidInputError.value(name=name, value=uri, why="is no path and no URL")
    return str(uri) if "://" in str(uri) else str(Path(uri).absolute())


def _sources(choices: Sequence[LayerChoice]) -> dict[str, Path]:
    return {choice.path_id: choice.file for choice in choices if choice.file is not None}


def _reference(record: LayerRecord) -> LayerRef:
    return layer_ref(record.path_id, record.spec)
