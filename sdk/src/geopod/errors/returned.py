"""Errors of what a task returned: too large, no form as bytes, no part of a layer."""

from __future__ import annotations

from typing import Self

from geopod.errors.tasks import TaskError
from geopod.errors.wording import limit_text, size_text

LAZY_TYPES = frozenset({"generator", "map", "filter", "zip", "range", "set", "frozenset"})
"""Types of return values that `list(…)` alone makes a result of."""


class ResultTooLargeError(TaskError, ValueError):
    """The value is over the limit of `large_result=False`; it is kept in the store."""

    code = "E301"
    names_total = True

    @classmethod
    def returned(  # one value per number of the sentence
        cls,
        *,
        size: int,
        codec: str,
        limit: int,
        over: int | None = None,
        task: int | None = None,
        total: int | None = None,
    ) -> Self:
        """`size` encoded bytes as `codec`; `over`: how many tasks of the run are over the limit."""
        return cls(
            f"{cls.subject(task, total)}returned {size_text(size)} ({size:,} bytes as {codec}); "
            f"the limit with large_result=False is {limit_text(limit)} ({limit:,} bytes)."
            + (f" {cls.over_text(over)}" if over else ""),
            fixes=(
                "large_result=True",
                "return a summary or a smaller dtype",
                "write_to=…",
            ),
            details={"bytes": size, "codec": codec, "limit": limit},
            task=task,
        )

    @staticmethod
    def over_text(over: int) -> str:
        """Return what became of all values over the limit."""
        if over == 1:
            return "1 task is over it; it is kept until it expires."
        return f"{over} tasks are over it; all are kept until they expire."


class ResultNotSerializableError(TaskError, TypeError):
    """The value has no form as bytes."""

    code = "E303"

    @classmethod
    def returned(cls, *, type_name: str, task: int | None = None, total: int | None = None) -> Self:
        """`type_name`: the type of the value, `generator`."""
        article = "an" if type_name[:1].lower() in "aeiou" else "a"
        fix = (
            "return list(…)"
            if type_name in LAZY_TYPES
            else "return a list, an array, a table, a raster or bytes"
        )
        return cls(
            f"{cls.subject(task, total)}returned {article} {type_name}; "
            "results are JSON, arrays, tables, rasters, bytes.",
            fixes=(fix,),
            details={"type": type_name},
            task=task,
        )


class ShapeMismatchError(TaskError, ValueError):
    """The returned array fits neither the partition nor its padded window."""

    code = "E310"

    @classmethod
    def returned(
        cls,
        *,
        node: int,
        shape: tuple[int, ...],
        core: tuple[int, ...],
        padded: tuple[int, ...],
    ) -> Self:
        """Shapes in pixels, (rows, cols) last; `core` without, `padded` with halo."""
        return cls(
            f"node {node} returned {shape}; core is {core}, padded {padded}.",
            fixes=("Return one of these or {'raster','transform','crs'}",),
            details={"node": node, "shape": list(shape)},
        )


class NotAFileResultError(TaskError, ValueError):
    """The result cannot become a file of a layer."""

    code = "E311"

    @classmethod
    def returned(cls, *, node: int, type_name: str) -> Self:
        """`type_name`: the type of the value that `node` returned."""
        return cls(
            f"node {node} returned {type_name}; writeToLayer/addLayer need files.",
            fixes=("largeResult=True, return an array, GeoDataFrame or BytesIO",),
            details={"node": node, "type": type_name},
        )
