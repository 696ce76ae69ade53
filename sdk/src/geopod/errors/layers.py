"""Errors of layers: found in the catalogue, in their headers or in the plan, before a node starts.

Source of the sentences: the project's geodata design, §9; the fact is what was seen, the fix is
what stands after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Self

from geopod.errors.inputs import InvalidInputError
from geopod.errors.wording import bounds_text, items_text

Details = Mapping[str, Any]


class LayerNotFoundError(InvalidInputError):
    """The catalogue has no such layer, or the layer no such timestamp."""

    code = "E121"

    @classmethod
    def missing(
        cls,
        *,
        path_id: str,
        timestamp_id: str,
        namespace: str,
        nearest: Mapping[str, Sequence[str]] | None = None,
    ) -> Self:
        """`nearest`: layers of a similar name (or the layer itself) and their timestamps."""
        near = "; ".join(
            f"{name!r} ({items_text(stamps)})" if stamps else f"{name!r}"
            for name, stamps in (nearest or {}).items()
        )
        return cls(
            f"No layer {path_id!r} with timestamp {timestamp_id!r} in namespace {namespace!r}."
            + (f" Nearest: {near}." if near else ""),
            fixes=("client.layers()",),
            details={
                "pathId": path_id,
                "timestampId": timestamp_id,
                "timestamps": list((nearest or {}).get(path_id, ()))[:5],
            },
        )


class LayerAccessError(InvalidInputError):
    """The layer is known and its bytes cannot be read."""

    code = "E122"

    @classmethod
    def refused(
        cls, *, path_id: str, answer: str, secret: str | None, details: Details | None = None
    ) -> Self:
        """The storage said no (reason AuthFailed); `answer` reads `403 from s3`."""
        held = f"secret {secret!r}" if secret else "no secret"
        return cls(
            f"Layer {path_id!r} cannot be read: {answer} ({held}).",
            fixes=("renew the secret",),
            details={**(details or {}), "reason": "AuthFailed", "secret": secret},
        )

    @classmethod
    def unreachable(cls, *, path_id: str, words: str, details: Details | None = None) -> Self:
        """The bytes are not there or not a layer (reason LayerUnreachable).

        `words`: the driver's own; `details`: href, driver message, tries, seconds, host to open.
        """
        return cls(
            f"Layer {path_id!r} cannot be read: {words.rstrip('.')}.",
            fixes=("correct its uri: client.add_layer(…)",),
            details={**(details or {}), "reason": "LayerUnreachable"},
        )


class DuplicateKeyError(InvalidInputError):
    """Two layers would have the same key in `params`."""

    code = "E124"

    @classmethod
    def repeated(cls, *, key: str, times: int) -> Self:
        """TimestampId `key` is given `times` times."""
        return cls(
            f"timestampId {key} is given {times} times; params has one value per timestampId.",
            fixes=("Remove one, or name it instead of latest",),
            details={"reason": "DuplicateKey", "key": key, "times": times},
        )


class LayerCRSError(InvalidInputError):
    """The layer's coordinate reference system is missing or not usable."""

    code = "E125"

    @classmethod
    def missing(cls, *, key: str, path_id: str, bounds: Iterable[float]) -> Self:
        """The layer under `key` names no CRS; its bounds may tell which one it is."""
        return cls(
            f"{key} has no CRS (bounds {bounds_text(bounds)}).",
            fixes=_crs_fixes(path_id),
            details={"reason": "MissingCRS", "key": key, "pathId": path_id},
        )

    @classmethod
    def unsupported(cls, *, crs: str, path_id: str, words: str) -> Self:
        """PROJ cannot use `crs`; `words` are its own."""
        return cls(
            f"CRS {crs} cannot be used: {words.rstrip('.')}.",
            fixes=_crs_fixes(path_id),
            details={"reason": "UnsupportedCRS", "crs": crs, "pathId": path_id},
        )


class UnsupportedGridError(InvalidInputError):
    """The raster's pixels do not lie on a regular grid."""

    code = "E126"

    @classmethod
    def irregular(cls, *, key: str, smallest: float, largest: float) -> Self:
        """Rows or columns are `smallest` to `largest` units apart."""
        return cls(
            f"{key}: irregular spacing {smallest:.6g}..{largest:.6g}.",
            fixes=("convert to a regular grid",),
            details={"reason": "UnsupportedGrid", "key": key, "spacing": [smallest, largest]},
        )

    @classmethod
    def no_transform(cls, *, key: str) -> Self:
        """The raster says nowhere where its pixels lie."""
        return cls(
            f"{key}: no transform.",
            fixes=("convert to a regular grid",),
            details={"reason": "UnsupportedGrid", "key": key},
        )

    @classmethod
    def no_area(cls, *, key: str, transform: Sequence[float]) -> Self:
        """Pixels of this transform have no size, or lie nowhere."""
        return cls(
            f"{key}: no transform that gives pixels an area: {items_text(transform, limit=6)}.",
            fixes=("convert to a regular grid",),
            details={"reason": "UnsupportedGrid", "key": key},
        )

    @classmethod
    def no_plane(cls, *, key: str, points: int) -> Self:
        """Control points lie in one place or in a row, or nowhere."""
        return cls(
            f"{key}: no transform: its control points ({points}) do not span an area.",
            fixes=("convert to a regular grid",),
            details={"reason": "UnsupportedGrid", "key": key, "points": points},
        )


class NoOverlapError(InvalidInputError):
    """The layer has nothing inside the job extent."""

    code = "E127"

    @classmethod
    def outside(
        cls,
        *,
        key: str,
        bounds: Iterable[float],
        crs: str,
        extent: Iterable[float],
        count: int,
        unit: Literal["pixels", "features"],
    ) -> Self:
        """None of the layer's `count` pixels or features lies in `extent` (job CRS)."""
        return cls(
            f"{key} covers {bounds_text(bounds)} in {crs}, job extent is {bounds_text(extent)}: "
            f"0 of {count} {unit} inside.",
            fixes=("wrong CRS, swapped axes or extent?",),
            details={"reason": "NoOverlap", "key": key, "crs": crs},
        )


class UnknownBandError(InvalidInputError):
    """A band was asked for that the layer does not have."""

    code = "E128"

    @classmethod
    def unknown(cls, *, key: str, names: Sequence[str], asked: str) -> Self:
        """The layer under `key` has bands `names`."""
        return cls(
            f"{key} has {len(names)} bands {items_text(names, limit=16)}; "
            f"{asked} is not one of them.",
            details={"reason": "UnknownBand", "key": key, "bands": list(names), "asked": asked},
        )


class SourceChangedError(InvalidInputError):
    """The layer's bytes are not those that the plan was made on."""

    code = "E129"

    @classmethod
    def changed(cls, *, key: str, planned: str, found: str) -> Self:
        """`planned`, `found`: the version (etag, version id, or mtime and size) then and now."""
        return cls(
            f"{key}: etag {planned} at plan time, {found} now.",
            fixes=("env.refresh() plans on the new bytes",),
            details={"reason": "SourceChanged", "key": key, "planned": planned, "found": found},
        )


def _crs_fixes(path_id: str) -> tuple[str, ...]:
    """Return how a layer gets a CRS: as a resource, and from Python."""
    return (
        f"set spec.crs on Layer {path_id}",
        f"client.add_layer({path_id!r}, crs='EPSG:…')",
    )
