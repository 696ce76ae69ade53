"""What a caller gave for a keyword: of the right kind, or an error that says what is."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from numbers import Real
from pathlib import Path
from typing import Any, SupportsIndex

from geopod.api.compact import join_ranges
from geopod.api.names import DNS_SUBDOMAIN
from geopod.errors import DuplicateKeyError, InvalidInputError
from geopod.errors.wording import items_text

ROW_OF_INDEXES = 1000
"""So many indexes are told in a message at most: they join to few ranges."""
LABEL = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
VARIABLE = re.compile(r"[^=\0]+")
"""Name of an environment variable, as the system takes it."""


def texts(value: Any, *, name: str, example: str) -> list[str]:
    """Return a list of texts; one text is no list of its letters."""
    items = listed(value, name=name, example=example)
    if any(not isinstance(item, str) for item in items):
        raise InvalidInputError.value(
            name=name, value=value, why="holds something that is no text", fix=example
        )
    return items


def text(value: Any, *, name: str, example: str) -> str:
    """Return a text."""
    if not isinstance(value, str):
        raise InvalidInputError.value(name=name, value=value, why="is no text", fix=example)
    return value


def number(value: Any, *, name: str, example: str) -> float:
    """Return a finite number; NaN is none that a resource could carry."""
    try:
        is_number = isinstance(value, Real) and not isinstance(value, bool)
        found = float(value) if is_number else math.nan
    except OverflowError:  # of a whole number with more than 308 digits
        found = math.inf
    if not math.isfinite(found):
        raise InvalidInputError.value(
            name=name, value=value, why="is no finite number", fix=example
        )
    return found


def crs(value: Any, *, path_id: str) -> str:
    """Return a CRS that PROJ can use; where there is no PROJ, planning looks at it."""
    named = text(value, name="crs", example="crs='EPSG:32632'")
    if find_spec("pyproj") is not None:
        from geopod.layers.crs import canonical_crs  # only where a CRS is given

        canonical_crs(named, path_id=path_id)
    return named


def listed(value: Any, *, name: str, example: str) -> list[Any]:
    """Return the items of a list; raises InvalidInputError for one text, a mapping, no list."""
    if isinstance(value, (str, bytes, Path, Mapping)) or not isinstance(value, Iterable):
        raise InvalidInputError.value(name=name, value=value, why="is no list", fix=example)
    return list(value)


def mapping(value: Any, *, name: str, example: str) -> dict[str, Any]:
    """Return a mapping with texts as its names."""
    if not isinstance(value, Mapping):
        raise InvalidInputError.value(name=name, value=value, why="is no dict", fix=example)
    if any(not isinstance(key, str) for key in value):
        raise InvalidInputError.value(
            name=name, value=value, why="has a name that is no text", fix=example
        )
    return dict(value)


def labels(value: Any) -> dict[str, str]:
    """Return labels, which have the form that Kubernetes gives them."""
    example = "labels={'team': 'geo'}"
    for key, text in (found := mapping(value, name="labels", example=example)).items():
        prefix, _, name = key.rpartition("/")
        is_key = LABEL.fullmatch(name) and (not prefix or re.fullmatch(DNS_SUBDOMAIN, prefix))
        if not (is_key and isinstance(text, str) and (not text or LABEL.fullmatch(text))):
            raise InvalidInputError.value(
                name="labels",
                value={key: text},
                why="is no label: texts of at most 63 letters, digits, '-', '_' and '.', with a "
                "letter or digit at either end",
                fix=example,
            )
    return found


def variables(value: Any, *, name: str, example: str) -> list[dict[str, str]]:
    """Return environment variables, one dict per task; None is a task without any."""
    found = [
        mapping({} if item is None else item, name=name, example=example)
        for item in listed(value, name=name, example=example)
    ]
    for key, text in (pair for item in found for pair in item.items()):
        if not VARIABLE.fullmatch(key) or not isinstance(text, str) or "\0" in text:
            raise InvalidInputError.value(
                name=name, value={key: text}, why="is no environment variable", fix=example
            )
    return found


def indexes(value: Any, allowed: Sequence[int], *, name: str, whole: str) -> list[int]:
    """Return indexes, sorted and each once; raises InvalidInputError for what `whole` lacks."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise InvalidInputError.value(
            name=name, value=value, why="is no list of indexes", fix=f"{name}=[0, 1]"
        )
    items = list(value)
    if any(isinstance(item, bool) or not isinstance(item, SupportsIndex) for item in items):
        raise InvalidInputError.value(
            name=name, value=items, why="holds something that is no index", fix=f"{name}=[0, 1]"
        )
    chosen = sorted({item.__index__() for item in items})
    known = allowed if isinstance(allowed, range) else frozenset(allowed)
    strange = [index for index in chosen if index not in known]
    if strange or not chosen:
        there = join_ranges(sorted(allowed)[:ROW_OF_INDEXES]) or "none"
        more = " …" if len(allowed) > ROW_OF_INDEXES else ""
        why = (
            f"names {items_text(strange)}; {whole} has {len(allowed)}, counted from 0: "
            f"{there}{more}"
            if strange
            else f"chooses none of the {len(allowed)} of {whole}"
        )
        raise InvalidInputError.value(name=name, value=chosen[:ROW_OF_INDEXES], why=why)
    return chosen


def one_of(value: Any, choices: Sequence[str], *, name: str) -> Any:
    """Return one of the choices."""
    if value not in choices:
        raise InvalidInputError.value(
            name=name, value=value, why=f"is none of {', '.join(choices)}"
        )
    return value


def check_keys(layers: Iterable[Mapping[str, Any]], files: Iterable[str]) -> None:
    """Raise DuplicateKeyError if two values of `params` would have one key.

    A span of timestamps is left to the plan: it alone knows which there are.
    """
    keys = [str(layer["timestampId"]) for layer in layers if "timestamps" not in layer]
    for key, times in Counter([*keys, *files]).items():
        if times > 1:
            raise DuplicateKeyError.repeated(key=key, times=times)
