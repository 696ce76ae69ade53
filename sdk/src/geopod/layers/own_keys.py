"""Keys of layers on a user's own machine: one file per secret, which its owner alone may read.

`<name>.json` holds an object of strings, `<name>.env` lines `NAME=value`. Files are read where a
store is opened and never copied: a renewed key counts from then on.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec
from typing_extensions import override

from geopod.errors import InvalidInputError
from geopod.errors.wording import items_text

CREDENTIAL_NAMES = frozenset(
    {
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_REGION",
        "AWS_ENDPOINT_URL",
        "AWS_REQUEST_PAYER",
        "GOOGLE_APPLICATION_CREDENTIALS_JSON",
        "GOOGLE_STORAGE_ENDPOINT_URL",
        "AZURE_STORAGE_ACCOUNT",
        "AZURE_STORAGE_ENDPOINT_URL",
        "AZURE_STORAGE_KEY",
        "AZURE_STORAGE_SAS_TOKEN",
        "GDAL_HTTP_HEADERS",
        "GDAL_HTTP_BEARER",
        "GDAL_HTTP_USERPWD",
        "ELLIPSIS_TOKEN",
    }
)
"""Keys of a Secret that are read; any other is left alone: GDAL has options that load plugins."""
SUFFIXES: Final = (".json", ".env")


class OwnKeys(Mapping[str, Mapping[str, str]]):
    """pathId -> keys, read when they are asked for; `files`: pathId -> file."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self._files = files

    @override
    def __getitem__(self, path_id: str) -> Mapping[str, str]:
        return read_keys(Path(self._files[path_id]))

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    @override
    def __len__(self) -> int:
        return len(self._files)


def read_index(path: Path) -> dict[str, str]:
    """Return which file each layer's keys are in; no keys are in the index."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except FileNotFoundError:
        return {}


def find_keys(folder: Path, name: str) -> Path:
    """Return the file of a secret whose keys can be read; raises InvalidInputError."""
    places = [folder / f"{name}{suffix}" for suffix in SUFFIXES]
    found = [path for path in places if path.exists()]
    if len(found) == 1:
        read_keys(found[0])
        return found[0]
    there = sorted({path.stem for path in folder.glob("*") if path.suffix in SUFFIXES})
    kept = f"there are {items_text(there)}" if there else "there is none yet"
    why = "is there twice" if found else f"is not in {folder}; {kept}"
    raise InvalidInputError(
        f"Secret {name!r} {why}.",
        fixes=(
            f"write NAME=value lines to {places[1]} and `chmod 600` it",
            "secret={'AWS_ACCESS_KEY_ID': …, 'AWS_SECRET_ACCESS_KEY': …}",
        ),
        details={"secret": name},
    )


def read_keys(path: Path) -> dict[str, str]:
    """Return the keys in a file; raises InvalidInputError, which names the file and no value."""
    try:
        with path.open("rb") as file:
            _check_private(path, os.fstat(file.fileno()))
            data = file.read()
    except OSError as error:
        raise _refused(path, f"cannot be read: {error.strerror}") from error
    keys = _from_json(path, data) if path.suffix == ".json" else _from_lines(path, data)
    check_keys(keys, name=str(path))
    return keys


def check_keys(keys: Mapping[str, str], *, name: str) -> None:
    """Raise InvalidInputError unless these are keys that layers have; it names no value."""
    strange = sorted(set(keys) - CREDENTIAL_NAMES)
    if strange or not keys:
        what = f"has {items_text(strange)}, which no layer uses" if strange else "has no keys"
        raise InvalidInputError(
            f"Secret {name!r} {what}.",
            fixes=(f"names are: {', '.join(sorted(CREDENTIAL_NAMES))}",),
            details={"secret": name},
        )


def _check_private(path: Path, seen: os.stat_result) -> None:
    if seen.st_uid != os.geteuid():
        raise _refused(path, "belongs to another user")
    if stat.S_IMODE(seen.st_mode) & 0o077:
        raise _refused(path, "can be read by others", f"chmod 600 {path}")


def _from_json(path: Path, data: bytes) -> dict[str, str]:
    try:
        return msgspec.json.decode(data, type=dict[str, str])
    except msgspec.MsgspecError:  # its words may hold a value
        raise _refused(path, "is no JSON object of strings") from None


def _from_lines(path: Path, data: bytes) -> dict[str, str]:
    keys = {}
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), start=1):
        text = line.strip().removeprefix("export ")
        if not text or text.startswith("#"):
            continue
        name, mark, value = text.partition("=")
        if not mark:
            raise _refused(path, f"has no NAME=value in line {number}")
        value = value.strip()
        if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
            value = value[1:-1]
        keys[name.strip()] = value
    return keys


def _refused(path: Path, why: str, fix: str = "") -> InvalidInputError:
    return InvalidInputError(
        f"Secret {path.stem!r} {why} ({path}).",
        fixes=(fix,) if fix else (),
        details={"secret": path.stem},
    )
