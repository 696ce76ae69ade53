"""The layers of this machine: records in the state folder, and what an environment asks of them."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from geopod.api import names
from geopod.backends import LayerRecord
from geopod.backends.local.admission import check_layer
from geopod.backends.local.secrets import bind
from geopod.backends.local.state import StateFolder, unusable, write_whole
from geopod.errors import DuplicateKeyError, InvalidInputError, LayerNotFoundError

LATEST = "latest"
NEAREST_LIMIT = 3


class Catalogue:
    """Layers by pathId."""

    def __init__(self, folder: StateFolder) -> None:
        self._folder = folder

    def apply(self, path_id: str, spec: Mapping[str, Any]) -> LayerRecord:
        """Create a layer or update it: timestamps are joined by id, other fields replaced.

        Raises InvalidInputError (or LayerAccessError) for what cannot be a layer here.
        """
        with self._folder.locked(f"layer-{path_id}"):
            known = self._read(path_id)
            check_layer(path_id, spec, known=known.spec if known is not None else None)
            secret = (spec.get("credentials") or {}).get("secretName")
            if secret is not None:
                bind(self._folder, path_id, secret)
            return self._join(path_id, spec, known)

    def published(self, path_id: str, stamp: Mapping[str, Any]) -> LayerRecord:
        """Join a timestamp that was published here; its files need no other look."""
        with self._folder.locked(f"layer-{path_id}"):
            return self._join(path_id, {"timestamps": [stamp]}, self._read(path_id))

    def _join(
        self, path_id: str, spec: Mapping[str, Any], known: LayerRecord | None
    ) -> LayerRecord:
        old = dict(known.spec) if known is not None else {}
        stamps = {stamp["id"]: stamp for stamp in old.get("timestamps", ())}
        stamps |= {stamp["id"]: dict(stamp) for stamp in spec.get("timestamps", ())}
        record = LayerRecord(
            path_id=path_id, spec={**old, **spec, "timestamps": list(stamps.values())}
        )
        folder = self._folder.layer(path_id)
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            write_whole(folder / "layer.json", msgspec.json.encode(record.spec))
        except OSError as error:
            raise unusable(self._folder.root, error) from error
        return record

    def get(self, path_id: str, *, timestamp_id: str = LATEST) -> LayerRecord:
        """Return a layer; raises LayerNotFoundError with the nearest names."""
        record = self._read(path_id)
        if record is None:
            raise self._missing(path_id, timestamp_id)
        return record

    def all(self) -> list[LayerRecord]:
        """Return the whole catalogue by name."""
        names_there = sorted(path.name for path in (self._folder.root / "layers").iterdir())
        found = [self._read(name) for name in names_there]
        return [record for record in found if record is not None]

    def sources(
        self, wanted: Sequence[Mapping[str, Any]], files: Mapping[str, str]
    ) -> list[dict[str, Any]]:
        """Return what planning opens, one source (`LayerSource`) per entry of `spec.layers`.

        `files`: pathId -> file, of layers that are plain files. Raises LayerNotFoundError.
        """
        return [self._source(entry, files) for entry in wanted]

    def _source(self, entry: Mapping[str, Any], files: Mapping[str, str]) -> dict[str, Any]:
        path_id, key = entry["pathId"], entry.get("timestampId", LATEST)
        source: dict[str, Any] = {"key": key, "pathId": path_id, "timestamp": key}
        source |= {name: entry[name] for name in ("bands", "resampling") if entry.get(name)}
        if path_id in files:
            return source | {"hrefs": [files[path_id]]}
        spec = self.get(path_id, timestamp_id=key).spec
        stamp = _timestamp(spec, key)
        if stamp is None:
            raise self._missing(path_id, key)
        kind = spec.get("type")
        return {
            **source,
            "timestamp": stamp["id"],
            "hrefs": list(stamp.get("uris") or [stamp["uri"]]),
            **({"kind": kind} if kind in {"raster", "vector"} else {}),
            **{name: spec[name] for name in ("crs", "nodata") if spec.get(name) is not None},
            **({"date": stamp["date"]} if stamp.get("date") else {}),
        }

    def _read(self, path_id: str) -> LayerRecord | None:
        try:
            data = (self._folder.layer(path_id) / "layer.json").read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return LayerRecord(path_id=path_id, spec=msgspec.json.decode(data))

    def _missing(self, path_id: str, timestamp_id: str) -> LayerNotFoundError:
        stamps = {
            record.path_id: [stamp["id"] for stamp in record.spec.get("timestamps", ())]
            for record in self.all()
        }
        near = difflib.get_close_matches(path_id, stamps, n=NEAREST_LIMIT, cutoff=0.4)
        return LayerNotFoundError.missing(
            path_id=path_id,
            timestamp_id=timestamp_id,
            namespace="local",
            nearest={name: stamps[name] for name in near},
        )


def check_keys(layers: Sequence[Mapping[str, Any]], files: Sequence[str]) -> None:
    """Raise DuplicateKeyError when two layers or files would have the same key in `params`."""
    counts = Counter([*(entry.get("timestampId", LATEST) for entry in layers), *files])
    for key, times in counts.items():
        if times > 1:
            raise DuplicateKeyError.repeated(key=key, times=times)


def file_sources(folder: StateFolder, files: Sequence[str]) -> list[dict[str, Any]]:
    """Return where the plain files of an environment lie; raises InvalidInputError for others."""
    found = []
    for sha256 in files:
        path = folder.store / names.file_key(sha256)
        if "/" in sha256 or not path.is_file():
            raise InvalidInputError(
                f"There is no file {sha256!r} in the store.",
                fixes=("files=[Path('weights.bin')] uploads one",),
                details={"file": sha256},
            )
        found.append(
            {"key": sha256, "href": str(path), "sha256": sha256, "bytes": path.stat().st_size}
        )
    return found


def _timestamp(spec: Mapping[str, Any], wanted: str) -> Mapping[str, Any] | None:
    """Return a timestamp by id; `latest`: the one with the highest date, else the last given."""
    stamps: Sequence[Mapping[str, Any]] = spec.get("timestamps", ())
    if wanted != LATEST:
        return next((stamp for stamp in stamps if stamp["id"] == wanted), None)
    dated = [stamp for stamp in stamps if stamp.get("date")]
    if dated and len(dated) == len(stamps):
        return max(dated, key=lambda stamp: str(stamp["date"]))
    return stamps[-1] if stamps else None
