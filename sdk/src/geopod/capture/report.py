"""What was captured, for people: one line, or a table of names and sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from typing_extensions import override

from geopod.api.bundles import Captured, FunctionBundle
from geopod.errors.wording import size_text


@dataclass(frozen=True, slots=True, repr=False)
class CaptureReport:
    """What a captured function sends to the nodes: `f.capture()`."""

    name: str
    format: str
    """`cloudpickle`, or `source` for another Python minor."""
    python: str
    """Minor version it was captured on."""
    size: int
    """Bytes of the payload."""
    sha256: str
    captured: tuple[Captured, ...]

    @classmethod
    def of(cls, bundle: FunctionBundle) -> Self:
        """Return the report of a bundle."""
        return cls(
            name=bundle.name,
            format=bundle.format,
            python=bundle.python,
            size=len(bundle.payload),
            sha256=bundle.sha256,
            captured=bundle.captured,
        )

    @override
    def __repr__(self) -> str:
        """Return one plain line."""
        names = f"{len(self.captured)} captured name{'' if len(self.captured) == 1 else 's'}"
        return (
            f"<CaptureReport {self.name}: {self.format} from Python {self.python}, "
            f"{size_text(self.size)}, {names}>"
        )

    def _repr_html_(self) -> str:
        """Return a card for notebooks: a row per captured name, largest first."""
        from geopod.display.html import card, facts, table  # only in a notebook

        rows = sorted(self.captured, key=lambda item: (-item.bytes, item.name))
        cells = [(row.name, row.kind, row.type, size_text(row.bytes)) for row in rows]
        known = {"sent as": self.format, "Python": self.python, "size": size_text(self.size)}
        listed = table(("name", "kind", "type", "size"), cells, total=len(cells)) if cells else ""
        return card("Capture of", self.name, facts(known), listed)

    @override
    def __str__(self) -> str:
        """Return the line and, below it, one row per captured name, largest first."""
        rows = sorted(self.captured, key=lambda item: (-item.bytes, item.name))
        cells = [("NAME", "KIND", "TYPE", "SIZE")]
        cells += [(row.name, row.kind, row.type, size_text(row.bytes)) for row in rows]
        widths = [max(len(row[column]) for row in cells) for column in range(4)]
        lines = (
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in cells
        )
        return "\n".join([repr(self), *lines]) if rows else repr(self)
