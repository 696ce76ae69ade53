"""Errors of what the caller asks for: values, requirements, interpreters, partitions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from geopod.errors.base import GeopodError
from geopod.errors.wording import (
    bare_text,
    items_text,
    limit_text,
    offered_text,
    quantity_text,
    size_text,
    value_text,
)


class InvalidInputError(GeopodError, ValueError):
    """A value that cannot be used, found before anything is started."""

    code = "E110"

    @classmethod
    def value(cls, *, name: str, value: Any, why: str, fix: str | None = None) -> Self:
        """Keyword or field `name` was given `value`; `why` reads `must be at least 0`."""
        return cls(
            f"{name}={value_text(value)} {why}.",
            fixes=(fix,) if fix else (),
            details={"name": name},
        )


class RequirementsError(InvalidInputError):
    """A requirement string that no installer understands."""

    code = "E111"

    @classmethod
    def invalid(cls, *, total: int, wrong: Sequence[tuple[str, str]]) -> Self:
        """`wrong`: (requirement, why), as in `geopandas=0.14`, `use '=='`."""
        listed = items_text([f"{text!r} ({why})" for text, why in wrong])
        verb = "is" if total == 1 else "are"
        return cls(
            f"{len(wrong)} of {total} requirements {verb} not valid: {listed}.",
            fixes=("correct them", "for one string: requirements=['numpy']"),
            details={"requirements": [text for text, _ in wrong]},
        )

    @classmethod
    def bare_string(cls, *, text: str) -> Self:
        """The caller gave one string where a list belongs; iterating it would give letters."""
        return cls(
            f"requirements={text!r} is one string, not a list.",
            fixes=(f"requirements=[{text!r}]",),
            details={"requirements": [text]},
        )


class RequirementsBuildError(RequirementsError, RuntimeError):
    """Requirements that are well-formed and cannot be installed."""

    code = "E112"

    @classmethod
    def unresolvable(cls, *, environment: str, python: str, lines: str) -> Self:
        """`lines`: uv's own error lines."""
        return cls(
            f"Dependencies of {environment!r} cannot be resolved for Python {python}: {lines}",
            fixes=("change requirements", "env.build_log()"),
            details={"python": python},
        )


class InterpreterNotFoundError(InvalidInputError):
    """No runtime, or no installation on this machine, has the interpreter."""

    code = "E113"

    @classmethod
    def not_offered(cls, *, interpreter: str, offered: Sequence[str]) -> Self:
        """`offered`: what there is, in order, `python3.10` first."""
        return cls(
            f"No runtime offers {interpreter!r}. Offered: {offered_text(offered)}.",
            fixes=("one of these", "ask an administrator for a ComputeRuntime"),
            details={"interpreter": interpreter, "offered": list(offered)},
        )


class PartitionError(InvalidInputError):
    """The layers cannot be split as asked."""

    code = "E123"

    @classmethod
    def overlap_too_large(
        cls,
        *,
        overlap: int,
        node: int,
        smallest: tuple[int, int],
        largest_overlap: int,
        fitting_nodes: int | None = None,
    ) -> Self:
        """`smallest`: (height, width) of the smallest core, node `node`'s; pixels.

        `largest_overlap`, `fitting_nodes`: what would work alone, found by planning; None: nothing.
        """
        fits = () if fitting_nodes is None else (f"nodes={fitting_nodes} fits",)
        return cls(
            f"overlap={overlap} is more than half of the smallest partition ({min(smallest)} px).",
            fixes=(f"overlap={largest_overlap} fits", *fits),
            details={
                "overlap": overlap,
                "node": node,
                "smallestCore": list(smallest),
                "largestOverlap": largest_overlap,
                "fittingNodes": fitting_nodes,
            },
        )

    @classmethod
    def too_large(
        cls,
        *,
        partition: int,
        need: int,
        limit: int,
        fitting_nodes: int | None,
        resource: str = "memory",
        details: dict[str, Any] | None = None,
    ) -> Self:
        """Partition `partition` needs `need` bytes of `resource`, a node has `limit`.

        `fitting_nodes`: the smallest number of nodes that works, found by planning; None: none.
        `resource`: `memory`, or `scratch` when the staged files do not fit.
        """
        what = "" if resource == "memory" else f" of {resource}"
        keyword = "memory" if resource == "memory" else "ephemeral_storage"
        fits = () if fitting_nodes is None else (f"nodes={fitting_nodes} fits",)
        return cls(
            f"Partition {partition} needs {size_text(need)}{what}, "
            f"a node has {_node_text(limit, need)}.",
            fixes=(*fits, f"{keyword}='{quantity_text(need)}'"),
            details={
                **(details or {}),
                "node": partition,
                "need": need,
                "limit": limit,
                "nmin": fitting_nodes,
            },
        )


def _node_text(limit: int, need: int) -> str:
    """Return the limit as `4` beside `9.1 GiB`; with its own unit where the units differ."""
    if size_text(limit).rpartition(" ")[2] == size_text(need).rpartition(" ")[2]:
        return bare_text(limit, need)
    return limit_text(limit)
