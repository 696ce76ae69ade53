"""A bundle's function in this process: its modules and files as a node has them, while it runs."""

from __future__ import annotations

import importlib
import io
import json
import os
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from geopod.api.bundles import BUNDLE_ENTRY


class Bundle:
    """An unpacked bundle; this process has its own modules of the same names back outside."""

    def __init__(self, payload: bytes, folder: Path) -> None:
        """`folder` is made; what the bundle holds lies below it then."""
        with zipfile.ZipFile(io.BytesIO(payload)) as archive:
            self._entry: dict[str, str] = json.loads(archive.read(BUNDLE_ENTRY))
            archive.extractall(folder)  # zipfile keeps names below the folder
        self._folder = folder
        self._names = frozenset(path.name.removesuffix(".py") for path in folder.iterdir())
        self._modules: dict[str, ModuleType] = {}

    def load(self) -> Callable[..., Any]:
        """Import the function by its name."""
        with self.entered():
            found: Any = importlib.import_module(self._entry["module"])
            for name in self._entry["qualname"].split("."):
                found = getattr(found, name)
        return getattr(found, "__geopod_function__", found)  # type: ignore[no-any-return]  # as sent

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Work in the bundle's folder, with its modules before those of the same names here."""
        before, path = Path.cwd(), str(self._folder)
        own = self._taken()
        sys.modules.update(self._modules)
        sys.path.insert(0, path)
        importlib.invalidate_caches()
        os.chdir(self._folder)
        try:
            yield
        finally:
            os.chdir(before)
            sys.path.remove(path)
            self._modules = self._taken()
            sys.modules.update(own)

    def _taken(self) -> dict[str, ModuleType]:
        """Take all modules of the bundle's names out of this process."""
        named = [name for name in sys.modules if name.partition(".")[0] in self._names]
        return {name: sys.modules.pop(name) for name in named}
