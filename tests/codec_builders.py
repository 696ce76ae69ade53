"""Values as a child hands them over, encoded as the agent does and decoded as the client does."""

import json
import pickle
from pathlib import Path
from typing import Any

from geopod import codecs
from geopod.api.bundles import digest
from geopod.api.results import Entry
from geopod.codecs import Encoded
from geopod.runner.handover import Writer
from geopod.runner.returned import hand_over


def encoded(value: Any, folder: Path, *, as_file: bool = False) -> Encoded:
    """Return `value` as the agent commits it, after the child has handed it over."""
    writer = Writer(str(folder), "0")
    handed = hand_over(value, writer, rasters=[], write_to=None, pickle=pickle.dumps)
    meta = json.loads(json.dumps(handed.meta))  # as it crosses the socket
    source = handed.inline if handed.file is None else folder / handed.file
    if as_file and isinstance(source, bytes):
        path = folder / "inline"
        path.write_bytes(source)
        source = path
    return codecs.encode(handed.kind, source, meta, workdir=folder)


def entry_of(result: Encoded) -> Entry:
    """Return the manifest's entry of an encoded result."""
    data = result.data if isinstance(result.data, bytes) else result.data.read_bytes()
    meta = json.loads(json.dumps(result.meta))
    return Entry(codec=result.codec, sha256=digest(data), bytes=len(data), meta=meta)


def round_trip(value: Any, folder: Path, *, as_file: bool = False, **options: bool) -> Any:
    """Return what the caller gets when `f` returned `value`."""
    result = encoded(value, folder, as_file=as_file)
    source = result.data
    if as_file and isinstance(source, bytes):
        source = folder / "fetched"
        source.write_bytes(result.data)
    return codecs.decode(entry_of(result), source, **options)
