"""What planning opens for an entry of `spec.layers`: a timestamp of a Layer, resolved. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from geopod.api import deployment

LATEST = "latest"
LOCAL = ("file://", "/")
MAX_PUBLISHED_FILES = 16
"""Named in a Layer's status for one timestamp: an object of 500 of them stays below 1 MiB."""


def find_timestamp(spec: Mapping[str, Any], wanted: str) -> Mapping[str, Any] | None:
    """Return a Layer's timestamp by id; `latest`: the one of the latest date, else the last one."""
    stamps: Sequence[Mapping[str, Any]] = spec.get("timestamps", ())
    if wanted != LATEST:
        return next((stamp for stamp in stamps if stamp["id"] == wanted), None)
    dated = [stamp for stamp in stamps if stamp.get("date")]
    if dated and len(dated) == len(stamps):
        return max(dated, key=lambda stamp: str(stamp["date"]))
    return stamps[-1] if stamps else None


def catalogue_spec(manifest: Mapping[str, Any], *, as_files: bool = False) -> dict[str, Any]:
    """Return a Layer's spec with the timestamps that runs published.

    These are folders below `writeTo.uri`; whoever reads one follows its highest revision.
    `as_files`: the files of that revision in their place, where the status names them.
    """
    spec = dict(manifest["spec"])
    root = str((spec.get("writeTo") or {}).get("uri", "")).rstrip("/")
    stamps = {stamp["id"]: dict(stamp) for stamp in spec.get("timestamps", ())}
    for published in (manifest.get("status") or {}).get("timestamps", ()):
        # The slash says that it is a folder, which a name alone does not in an object store.
        folder = f"{root}/{published['id']}"
        uri = folder if root.startswith(LOCAL) else f"{folder}/"
        files = [f"{folder}/{name}" for name in published.get("files", ()) if as_files]
        known = stamps.setdefault(published["id"], {"id": published["id"]})
        before = known.pop("uris", None) or ([known.pop("uri")] if "uri" in known else [])
        others = [it for it in before if it.rstrip("/") != folder]
        known["uris"] = [*others, *(files or [uri])]
    return {**spec, "timestamps": list(stamps.values())}


def layer_source(entry: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a `LayerSource` as JSON for an entry of `spec.layers`, `spec` being its Layer's.

    None: the Layer has no such timestamp.
    """
    key = entry.get("timestampId", LATEST)
    stamp = find_timestamp(spec, key)
    if stamp is None:
        return None
    kind = spec.get("type")
    return {
        "key": key,
        "pathId": entry["pathId"],
        "timestamp": stamp["id"],
        **{name: entry[name] for name in ("bands", "resampling") if entry.get(name)},
        "hrefs": list(stamp.get("uris") or [stamp["uri"]]),
        **({"kind": kind} if kind in {"raster", "vector"} else {}),
        **{name: spec[name] for name in ("crs", "nodata") if spec.get(name) is not None},
        **({"date": stamp["date"]} if stamp.get("date") else {}),
    }


def on_volume(href: str, claim: str | None) -> str:
    """Return where a pod finds a file of a Layer that lies on a volume; others stay as they are.

    `file:///dem.tif` of claim `maps` is `/geopod/volumes/maps/dem.tif`.
    """
    path = urlsplit(href).path if href.startswith("file://") else href
    if claim is None or not path.startswith("/"):
        return href
    root = f"{deployment.VOLUMES_DIR}/{claim}"
    return path if path.startswith(f"{root}/") else f"{root}{path}"
