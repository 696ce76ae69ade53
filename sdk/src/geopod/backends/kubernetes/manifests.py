"""Resources as a client writes them, and environments as it reads them. Pure."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any

import msgspec

from geopod.api import names
from geopod.api.environment_resource import environment_state
from geopod.api.run_report import seconds
from geopod.api.run_resource import order_from_resource, write_target
from geopod.api.runs import EnvironmentState, RunOrder
from geopod.backends import EnvironmentRecord
from geopod.errors import InvalidInputError
from geopod.errors.wording import limit_text, size_text

FIELD_MANAGER = "geopod-sdk"
LIMIT_BYTES = 1 << 20
"""etcd refuses objects over 1.5 MiB; a status and its managed fields must fit beside the spec."""
Manifest = dict[str, Any]
OWN_MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"
RASTERS = frozenset(
    {
        ".tif", ".tiff", ".vrt", ".jp2", ".img", ".zarr", ".grib", ".grib2",
        ".nc", ".nc4", ".h5", ".hdf5", ".he5",
    }
)  # fmt: skip
VECTORS = frozenset(
    {".parquet", ".geoparquet", ".gpkg", ".fgb", ".geojson", ".json", ".shp", ".gml", ".kml"}
)


def environment_manifest(
    name: str, spec: Mapping[str, Any], *, namespace: str, labels: Mapping[str, str]
) -> Manifest:
    """Return the ComputeEnvironment to apply; raises InvalidInputError if it is too large."""
    metadata: Manifest = {"name": name, "namespace": namespace}
    if labels:
        metadata["labels"] = dict(labels)
    return _checked("ComputeEnvironment", metadata, spec)


def layer_manifest(path_id: str, spec: Mapping[str, Any], *, namespace: str) -> Manifest:
    """Return the Layer to apply; raises InvalidInputError if it is too large."""
    return _checked("Layer", {"name": path_id, "namespace": namespace}, spec)


def publish_manifest(  # one value per field of the spec
    name: str,
    *,
    environment: str,
    runs: Sequence[str],
    target: Mapping[str, str],
    namespace: str,
) -> Manifest:
    """Return the ComputeRun that makes results of earlier runs (their uids) a layer timestamp."""
    labels = {names.LABEL_ENVIRONMENT: environment}
    spec = {
        "environment": environment,
        "mode": "Publish",
        "publish": list(runs),
        "writeToLayer": write_target(target),
    }
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    return _checked("ComputeRun", metadata, spec)


def check_size(manifest: Manifest) -> Manifest:
    """Return the manifest; raises InvalidInputError if the API server could not keep it."""
    size = len(msgspec.json.encode(manifest))
    if size > LIMIT_BYTES:
        raise InvalidInputError(
            f"{manifest['kind']} {manifest['metadata']['name']!r} takes {size_text(size)}; "
            f"a resource holds {limit_text(LIMIT_BYTES)}.",
            fixes=("files=[…] for what is large",),
            details={"bytes": size, "limit": LIMIT_BYTES},
        )
    return manifest


def merged_layer(known: Mapping[str, Any], wanted: Mapping[str, Any]) -> Manifest:
    """Return a Layer's spec with timestamps joined by their id and other fields replaced."""
    stamps = {stamp["id"]: dict(stamp) for stamp in known.get("timestamps", ())}
    stamps |= {stamp["id"]: dict(stamp) for stamp in wanted.get("timestamps", ())}
    return {**known, **wanted, "timestamps": list(stamps.values())}


def layer_spec(path_id: str, spec: Mapping[str, Any], *, known_type: str | None) -> Manifest:
    """Return a Layer's spec as a cluster can use it; raises InvalidInputError for what it cannot.

    Files must lie where the nodes reach them; a type that is not given follows from their suffix.
    """
    places = [
        uri
        for stamp in spec.get("timestamps", ())
        for uri in stamp.get("uris") or [stamp.get("uri", "")]
    ]
    places += [spec["writeTo"]["uri"]] if spec.get("writeTo") else []
    for place in places:
        if "://" not in place:
            raise InvalidInputError(
                f"Layer {path_id!r}: {place!r} is a file of this machine; a cluster's nodes cannot "
                "read it.",
                fixes=("upload it and give s3://…, gs://…, az:// or https://…",),
                details={"uri": place},
            )
    kind = spec.get("type") or known_type or _type_of(places)
    if kind is None:
        raise InvalidInputError(
            f"Layer {path_id!r}: its type cannot be told from {places[0] if places else 'no file'}"
            ".",
            fixes=("type='raster'", "type='vector'"),
        )
    return {**spec, "type": kind}


def _type_of(places: Sequence[str]) -> str | None:
    for place in places:
        bare = place.partition("?")[0]
        # `<file>.nc#<variable>`: the variable is not the end of the file's name.
        suffixes = {PurePath(name).suffix.lower() for name in (bare, bare.partition("#")[0])}
        if suffixes & RASTERS:
            return "raster"
        if suffixes & VECTORS:
            return "vector"
    return None


def record_of(manifest: Mapping[str, Any]) -> EnvironmentRecord:
    """Return an environment as clients know it."""
    metadata = manifest["metadata"]
    spec = {"layers": [], "nodes": 1, **manifest["spec"]}
    state = state_of(manifest)
    return EnvironmentRecord(
        uid=metadata["uid"],
        name=metadata["name"],
        spec=spec,
        state=state,
        labels=dict(metadata.get("labels") or {}),
        created=seconds(metadata.get("creationTimestamp")) or 0.0,
        interpreter=state.python,
        same_minor=state.python == OWN_MINOR,
        packages=_packages(manifest),
        image=str(((manifest.get("status") or {}).get("runtime") or {}).get("image") or ""),
    )


def state_of(manifest: Mapping[str, Any]) -> EnvironmentState:
    """Return an environment's state, with who ended it and when."""
    state = environment_state(manifest)
    mark = terminated_mark(manifest)
    if mark is None:
        return state
    at, user = mark
    message = f"terminated by {user}; resume() wakes it"
    details = {"terminatedAt": at, "terminatedBy": user}
    return msgspec.structs.replace(
        state, phase="Terminated", reason="UserRequested", message=message, details=details
    )


def terminated_mark(manifest: Mapping[str, Any]) -> tuple[float, str] | None:
    """Return when (seconds since the epoch) and by whom an environment was ended; None: it runs."""
    text = (manifest["metadata"].get("annotations") or {}).get(names.ANNOTATION_TERMINATED)
    if text is None:
        return None
    try:
        mark = json.loads(text)
        return seconds(str(mark["time"])) or 0.0, str(mark.get("user") or "its owner")
    except (ValueError, KeyError, TypeError, AttributeError):
        return 0.0, "its owner"


def terminated_text(now: float, user: str) -> str:
    """Return the annotation of an environment that a person ends."""
    time = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return json.dumps({"time": time, "user": user})


def gives_token(manifest: Mapping[str, Any]) -> bool:
    """Say whether an environment's status has a token for the store."""
    return bool(((manifest.get("status") or {}).get("access") or {}).get("token"))


def has_no_nodes(manifest: Mapping[str, Any]) -> bool:
    """Say whether an environment sleeps and its last pod has left."""
    status = manifest.get("status") or {}
    asleep = any(
        it["type"] == "Suspended" and it["status"] == "True" for it in status.get("conditions", ())
    )
    return asleep and not status.get("replicas")


def has_status(manifest: Mapping[str, Any]) -> bool:
    """Say whether anybody has said anything of a resource."""
    return bool((manifest.get("status") or {}).get("conditions"))


def holds(wanted: Any, found: Any) -> bool:
    """Say whether `found` says all that `wanted` says; defaults of the server may be added."""
    if isinstance(wanted, Mapping) and isinstance(found, Mapping):
        return all(name in found and holds(value, found[name]) for name, value in wanted.items())
    if isinstance(wanted, list) and isinstance(found, list):
        return len(wanted) == len(found) and all(map(holds, wanted, found))
    return bool(wanted == found)


def is_same_run(wanted: Manifest, found: Manifest, *, environment_uid: str = "") -> bool:
    """Say whether a run that was found is the one that is wanted of this environment.

    One that belongs to an earlier environment of this name is another run. Empty: of any.
    """
    bound = (found.get("status") or {}).get("environmentUID")
    if bound and environment_uid and bound != environment_uid:
        return False
    spec, known = wanted["spec"], found["spec"]
    if spec["mode"] == "Publish" or known.get("mode") == "Publish":
        return holds(spec, known)
    return spec["environment"] == known["environment"] and _order(wanted) == _order(found)


def _order(manifest: Manifest) -> RunOrder:
    """Return what a run orders, without who and when it is: a cancellation is no part of it."""
    metadata = {**manifest["metadata"], "uid": "", "creationTimestamp": None}
    return order_from_resource({**manifest, "metadata": metadata}, environment_uid="")


def _checked(kind: str, metadata: Manifest, spec: Mapping[str, Any]) -> Manifest:
    return check_size(
        {
            "apiVersion": names.API_VERSION,
            "kind": kind,
            "metadata": metadata,
            "spec": dict(spec),
        }
    )


def _packages(manifest: Mapping[str, Any]) -> str:
    runtime = (manifest.get("status") or {}).get("runtime") or {}
    requirements = ", ".join(manifest["spec"].get("requirements", ()))
    image = f"image {runtime['image']}" if runtime.get("image") else "the runtime's image"
    return f"{image}, and {requirements}" if requirements else image
