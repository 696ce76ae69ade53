"""What a CRD says beside its schema: names, scope, printer columns, subresources."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Column:
    """One column of `kubectl get`; `wide`: with `-o wide` only."""

    name: str
    path: str
    type: str = "string"
    wide: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What a CRD says beside the schema: names, scope, columns, subresources."""

    kind: str
    plural: str
    short: str
    namespaced: bool
    name_pattern: str
    name_max: int
    columns: tuple[Column, ...]
    selectable: tuple[str, ...] = ()
    scale: tuple[str, str, str] | None = None
    """JSON paths of spec replicas, status replicas and label selector."""


def condition_column(name: str, condition: str, member: str, *, wide: bool = False) -> Column:
    """Return a column that shows one member of one condition."""
    return Column(name, f'.status.conditions[?(@.type=="{condition}")].{member}', wide=wide)


AGE = Column("AGE", ".metadata.creationTimestamp", "date")
