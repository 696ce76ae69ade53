"""PURE. What a resource's model found wrong → the keyword that the user wrote."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from geopod.errors import InvalidInputError
from geopod.errors.wording import value_text

Names = Mapping[tuple[str, ...], str]
ENVIRONMENT: Names = {
    ("idle", "afterSeconds"): "idle_after",
    ("ttlSeconds",): "ttl",
    ("results", "keepSeconds"): "keep_results",
    ("largeResult",): "large_result",
    ("enableGpu",): "enable_gpu",
    ("resources", "cpu"): "cpus",
    ("resources", "memory"): "memory",
    ("env", "name"): "env",
    ("env", "value"): "env",
    ("partitioning", "overlap"): "overlap",
    ("partitioning", "features"): "features",
    ("partitioning", "balance"): "balance",
    ("partitioning", "extent"): "extent",
    ("partitioning", "extent", "mode"): "extent",
    ("partitioning", "extent", "bbox"): "extent",
}
"""Fields of `ComputeEnvironment.spec` that are keywords of another name."""
LAYER: Names = {
    ("timestamps", "id"): "timestamp",
    ("timestamps", "uri"): "uri",
    ("timestamps", "uris"): "uri",
    ("timestamps",): "uri",
    ("writeTo", "uri"): "write_to",
    ("credentials", "secretName"): "secret",
}
"""Fields of `Layer.spec` that are keywords of another name."""
DURATIONS = frozenset({"idle_after", "ttl", "keep_results"})
RULES = (
    ("idle.afterSeconds", "idle_after"),
    ("ttlSeconds", "ttl"),
    ("enableGpu: true", "enable_gpu=True"),
)
"""How rules over several fields name them."""


@contextmanager
def in_words_of(names: Names, given: Mapping[str, Any]) -> Iterator[None]:
    """Have errors about fields name the keywords, and the values `given` for them."""
    try:
        yield
    except InvalidInputError as error:
        if type(error) is not InvalidInputError:  # a subclass has its own words
            raise
        raise in_keywords(error, names, given) from error.__cause__


def in_keywords(
    error: InvalidInputError, names: Names, given: Mapping[str, Any]
) -> InvalidInputError:
    """Return the error in the words of the call: its keyword, and the value `given` for it."""
    if "path" not in error.details:
        fact = error.fact
        for field, keyword in RULES:
            fact = fact.replace(field, keyword)
        return InvalidInputError(fact, fixes=error.fixes, details=error.details)
    path = tuple(error.details["path"])
    keyword, rest = _keyword(path, names)
    shown, why = error.details["value"], error.details["why"]
    if not rest and keyword in given and keyword != "env":
        shown = value_text(given[keyword])
    seconds = " seconds" if keyword in DURATIONS else ""
    name = keyword + "".join(f"[{part!r}]" for part in rest)
    return InvalidInputError(
        f"{name}={shown} {why}{seconds}.", fixes=error.fixes, details={"name": keyword}
    )


def _keyword(path: tuple[str | int, ...], names: Names) -> tuple[str, tuple[str | int, ...]]:
    """Return the keyword whose field the path leads to, and the way that is left from there."""
    for end in range(len(path), 0, -1):
        fields = tuple(part for part in path[:end] if isinstance(part, str))
        if fields in names:
            return names[fields], path[end:] if isinstance(path[end - 1], str) else ()
    return str(path[0]), path[1:]
