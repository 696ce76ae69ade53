"""Modules as users write them, made from text; and a loader equal to the documented payload."""

import importlib
import json
import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

from geopod.api.bundles import FunctionBundle

OWN = f"{sys.version_info.major}.{sys.version_info.minor}"
OTHER = "3.12" if OWN != "3.12" else "3.13"


REMOTE = '''
import functools

class Remote:
    """Stands for what `@geopod.function` makes."""
    def __init__(self, f):
        functools.update_wrapper(self, f)
        self.__geopod_function__ = f
    def __call__(self, *args):
        return self.__geopod_function__(*args)

class sdk:
    @staticmethod
    def function(f=None, **options):
        return Remote(f) if f else Remote

sdk.function.__module__ = "geopod.client.function"

def twice(g):
    @functools.wraps(g)
    def run(x):
        return g(x) * 2
    return run
'''
"""The head of a module in which `@sdk.function` is geopod's decorator."""


def program(text: str) -> str:
    """Return the text of a module, written in a test as an indented string."""
    return dedent(text).lstrip("\n")


@contextmanager
def user_module(folder: Path, text: str, name: str = "analysis") -> Iterator[ModuleType]:
    """Yield the module `name` that holds `text`, imported from a file of the user's own."""
    (folder / f"{name}.py").write_text(program(text))
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield importlib.import_module(name)
    finally:
        sys.path.remove(str(folder))
        for loaded in [key for key in sys.modules if key.partition(".")[0] == name]:
            del sys.modules[loaded]


def load_source(bundle: FunctionBundle) -> Callable[..., Any]:
    """Return the function of a source bundle, as `api.bundles` says that a child loads it."""
    payload = json.loads(bundle.payload)
    namespace: dict[str, Any] = {"__name__": "__main__", **payload["constants"]}
    for module, attribute, alias in payload["imports"]:
        loaded = importlib.import_module(module)
        namespace[alias] = loaded if attribute is None else getattr(loaded, attribute)
    for piece in payload["pieces"]:
        text = "\n" * (piece["firstLine"] - 1) + piece["text"]
        exec(compile(text, piece["filename"], "exec", dont_inherit=True), namespace)  # noqa: S102
    return namespace[payload["entry"]]


def unpickled(payload: bytes) -> Any:
    """Return what a pickle holds, as the runner's child loads it."""
    return pickle.loads(payload)  # noqa: S301, TID251  # made by the test


def captured_names(bundle: FunctionBundle) -> dict[str, str]:
    """Return name → kind of what a bundle holds."""
    return {item.name: item.kind for item in bundle.captured}
