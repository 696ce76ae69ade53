"""What `f` receives: a dict of layers and files whose values are read at first touch."""

# mypy: disable-error-code="explicit-override"
# `typing.override` came with 3.12; the runner runs on 3.10.

from __future__ import annotations

import io
import json
from collections.abc import Callable, ItemsView, Iterator, Mapping, ValuesView
from pathlib import Path
from typing import Any

from .raster import read_raster
from .vector import read_vector

READERS = {"raster": read_raster, "vector": read_vector}


class Unread:
    """Stands in the dict for a value that nothing has touched."""

    __slots__ = ("kind", "read")

    def __init__(self, kind: str, read: Callable[[], Any]) -> None:
        self.kind = kind
        self.read = read

    def __repr__(self) -> str:
        return f"<{self.kind}, not read>"


class _Items(ItemsView[Any, Any]):
    """Pairs whose values are read as they are reached."""

    def __init__(self, params: Params) -> None:
        super().__init__(params)
        self._params = params

    def __reversed__(self) -> Iterator[tuple[Any, Any]]:
        return ((key, self._params[key]) for key in reversed(self._params))


class _Values(ValuesView[Any]):
    """Values that are read as they are reached."""

    def __init__(self, params: Params) -> None:
        super().__init__(params)
        self._params = params

    def __reversed__(self) -> Iterator[Any]:
        return (self._params[key] for key in reversed(self._params))


class Params(dict):  # type: ignore[type-arg]  # `dict[str, Any]` as a base differs on 3.10
    """A dict of layers and files that reads each value at first touch.

    Overriding `__iter__` turns CPython's raw copy path off for subclasses, so `dict(p)`, `{**p}`,
    `f(**p)` and `d |= p` come through here too; `in`, `len`, `list(p)` and `repr` read nothing.
    """

    def __init__(self, unread: Mapping[str, Unread] | None = None) -> None:
        super().__init__(unread or {})
        self._touched: list[str] = []

    def __getitem__(self, key: Any) -> Any:
        value = super().__getitem__(key)
        return self._read(key, value) if isinstance(value, Unread) else value

    def _read(self, key: Any, unread: Unread) -> Any:
        value = unread.read()
        self._touched.append(key)
        super().__setitem__(key, value)
        return value

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value)

    def __delitem__(self, key: Any) -> None:
        super().__delitem__(key)

    def __iter__(self) -> Iterator[Any]:
        return super().__iter__()

    def items(self) -> ItemsView[Any, Any]:  # type: ignore[override]  # reads as it goes
        """Return a view whose values are read as they are reached."""
        return _Items(self)

    def values(self) -> ValuesView[Any]:  # type: ignore[override]  # reads as it goes
        """Return a view whose values are read as they are reached."""
        return _Values(self)

    def get(self, key: Any, default: Any = None) -> Any:
        """Return the value of `key`, or `default`."""
        return self[key] if key in self else default  # noqa: SIM401  # it is what dict.get becomes

    def pop(self, key: Any, *default: Any) -> Any:
        """Remove `key` and return its value, or the default."""
        if key not in self:
            return super().pop(key, *default)
        value = self[key]
        del self[key]
        return value

    def popitem(self) -> tuple[Any, Any]:
        """Remove and return the last key and its value."""
        if not self:
            return super().popitem()
        key = next(reversed(self))
        return key, self.pop(key)

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """Return the value of `key`, set to `default` if it is missing."""
        if key not in self:
            super().__setitem__(key, default)
        return self[key]

    def copy(self) -> dict[Any, Any]:
        """Return a plain dict of all values."""
        return dict(self)

    def __eq__(self, other: object) -> bool:
        return dict(self) == other if isinstance(other, dict) else NotImplemented

    def __ne__(self, other: object) -> bool:
        return dict(self) != other if isinstance(other, dict) else NotImplemented

    __hash__ = None

    def __or__(self, other: Any) -> Any:
        return dict(self) | dict(other) if isinstance(other, dict) else NotImplemented

    def __ror__(self, other: Any) -> Any:
        return dict(other) | dict(self) if isinstance(other, dict) else NotImplemented

    def __reduce__(self) -> Any:
        return dict, (dict(self),)

    def __repr__(self) -> str:
        pairs = (f"{key!r}: {dict.__getitem__(self, key)!r}" for key in self)
        return "{" + ", ".join(pairs) + "}"


def touched(params: Params) -> list[str]:
    """Return the keys whose values were read, in the order of their first touch."""
    return params._touched  # noqa: SLF001  # no public name: every one could be a user's typo


class Staged:
    """A staged partition and plain files, from which each task gets fresh params."""

    def __init__(self, folder: str | None, files: Mapping[str, str]) -> None:
        """Read the folder's `DONE`; raises OSError or ValueError if it is not what it should be."""
        self.folder = Path(folder) if folder else None
        done: dict[str, Any] = {}
        if self.folder is not None:
            done = json.loads((self.folder / "DONE").read_text("utf-8"))
            if done["version"] != 1:
                raise ValueError(f"staged by version {done['version']}; this runner reads 1")
        self.layers: list[dict[str, Any]] = done.get("layers", [])
        self.files = {entry["key"]: self._path(entry["file"]) for entry in done.get("files", [])}
        self.files.update((key, Path(path)) for key, path in files.items())
        self.core: list[float] | None = done.get("core") or next(
            (layer["coreExtent"] for layer in self.rasters), None
        )

    @property
    def rasters(self) -> list[dict[str, Any]]:
        """The raster layers as `DONE` describes them."""
        return [layer for layer in self.layers if layer["kind"] == "raster"]

    def params(self) -> Params:
        """Return new params: layers in their order, then files."""
        unread: dict[str, Unread] = {}
        for layer in self.layers:
            unread[layer["key"]] = Unread(layer["kind"], self._reader(layer))
        for key, path in self.files.items():
            unread[key] = Unread("file", _file_reader(path))
        return Params(unread)

    def _path(self, name: str) -> Path:
        if self.folder is None:
            raise ValueError(f"file {name!r} of no staged folder")
        return self.folder / name

    def _reader(self, layer: dict[str, Any]) -> Callable[[], Any]:
        folder = self.folder or Path()
        return lambda: READERS[layer["kind"]](folder, layer)


def _file_reader(path: Path) -> Callable[[], io.BytesIO]:
    return lambda: io.BytesIO(path.read_bytes())
