"""Processes of geopod's own that never load pandas: it takes more than a second, and no table here.

pyarrow and pyogrio import it, and geopandas, when they can; neither needs them for Arrow data.
Source: `_PandasAPIShim` of pyarrow, `pyogrio/_compat.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType

from typing_extensions import override

HEAVY = frozenset({"geopandas", "pandas"})


class _Refusing(MetaPathFinder):
    """Finds every module but the heavy ones; None in `sys.modules` would crash pyarrow."""

    @override
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> None:
        if fullname in HEAVY:
            raise ModuleNotFoundError(f"{fullname} is not for this process", name=fullname)


def never_load_pandas() -> None:
    """Make `import pandas` fail in this process, unless it is loaded already.

    Only for a process that is geopod's alone, never for a client's or a runner's.
    """
    if not any(isinstance(finder, _Refusing) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Refusing())
