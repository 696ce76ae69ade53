"""The ways to name a layer: a reference, a dict, a pair, `"pathId/timestampId"`, a file path."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typing_extensions import override

from geopod.api.names import DNS_SUBDOMAIN
from geopod.errors import InvalidInputError, LayerNotFoundError
from geopod.errors.wording import items_text, value_text

FORMS = (
    "{'pathId': 'dem', 'timestampId': '2024'}",
    "('dem', '2024')",
    "'dem/2024'",
    "Path('dem.tif') with connect('local')",
)

PATH_STARTS = ("/", "./", "../", "~")
"""No name of a layer begins so."""
VERSION_ENDING = re.compile(r"\.[0-9]+[A-Za-z]?")
"""Of `dem/v1.2`, `dem/2024.05`: no file's format."""


@dataclass(frozen=True, slots=True, repr=False)
class LayerRef:
    """A layer of the catalogue: its pathId, and the timestamps it has."""

    path_id: str
    type: str = ""
    timestamps: tuple[str, ...] = ()
    uris: Mapping[str, tuple[str, ...]] | None = None

    def files(self, timestamp: str = "latest") -> tuple[str, ...]:
        """Return where one timestamp's files lie, the one on top last.

        Raises LayerNotFoundError if there is no such timestamp.
        """
        name = self.timestamps[-1] if timestamp == "latest" and self.timestamps else timestamp
        found = (self.uris or {}).get(name)
        if found is None:
            there = items_text([repr(stamp) for stamp in self.timestamps]) or "none"
            raise LayerNotFoundError(
                f"Layer {self.path_id!r} has no timestamp {timestamp!r}; it has {there}.",
                fixes=("client.layers()",),
                details={"pathId": self.path_id, "timestampId": timestamp},
            )
        return found

    @override
    def __repr__(self) -> str:
        kind = f" {self.type}" if self.type else ""
        stamps = ", ".join(self.timestamps[-3:]) or "none"
        noun = "timestamp" if len(self.timestamps) == 1 else "timestamps"
        return f"<Layer {self.path_id}{kind}, {len(self.timestamps)} {noun}: {stamps}>"

    def _repr_html_(self) -> str:
        """Return a card for notebooks: one row per timestamp, the newest first."""
        from geopod.display.html import card, table  # only in a notebook

        stamps = list(reversed(self.timestamps))
        rows = [(stamp, ", ".join(self.files(stamp))) for stamp in stamps]
        listed = table(("timestamp", "files"), rows, total=len(rows)) if rows else ""
        return card(f"Layer {self.type}".rstrip(), self.path_id, listed)


@dataclass(frozen=True, slots=True)
class LayerChoice:
    """One entry of `layers`: what `spec.layers` says, or a file for the local backend."""

    path_id: str
    timestamp_id: str
    extra: Mapping[str, Any]
    file: Path | None = None

    def spec(self) -> dict[str, Any]:
        """Return the entry of `spec.layers`."""
        return {"pathId": self.path_id, "timestampId": self.timestamp_id, **self.extra}


def looks_like_file(text: str) -> bool:
    """Say whether a text reads as a path: by how it begins, or by the ending of a format."""
    ending = Path(text).suffix
    return text.startswith(PATH_STARTS) or bool(ending and not VERSION_ENDING.fullmatch(ending))


def ambiguous_path_id(layer: Any) -> str | None:
    """Return the pathId of a text that may be a file's path as well; None: it is only one."""
    if not isinstance(layer, str) or layer.startswith(PATH_STARTS):
        return None
    path_id = layer.partition("/")[0]
    may_be_file = bool(Path(layer).suffix) or Path(layer).exists()
    return path_id if may_be_file and re.fullmatch(DNS_SUBDOMAIN, path_id) else None


def read_layer(layer: Any, *, known: Container[str] | None = None) -> LayerChoice:
    """Return what a user's word for a layer means; raises InvalidInputError for anything else.

    A text is `pathId[/timestampId]` if its pathId is `known` in the catalogue, else a file path if
    such a file exists. Otherwise its ending decides; where the catalogue was looked at, a text with
    one is neither.
    """
    match layer:
        case LayerRef():
            return LayerChoice(layer.path_id, "latest", {})
        case Path():
            return _file(layer)
        case str():
            return _text(layer, known)
        case {"pathId": str(path_id), **rest}:
            extra: dict[str, Any] = {str(key): value for key, value in rest.items()}
            return LayerChoice(path_id, str(extra.pop("timestampId", "latest")), extra)
        case (str(path_id), str(timestamp_id)):
            return LayerChoice(path_id, timestamp_id, {})
        case _:
            raise InvalidInputError(f"{value_text(layer)} does not name a layer.", fixes=FORMS)


def _text(text: str, known: Container[str] | None) -> LayerChoice:
    path, (path_id, _, timestamp_id) = Path(text), text.partition("/")
    if "://" in text:
        stem = Path(text.partition("?")[0]).stem.lower() or "dem"
        raise InvalidInputError(
            f"{value_text(text)} is an address; environments take layers of the catalogue.",
            fixes=(f"client.add_layer({stem!r}, {text!r})", f"then layers=[{stem!r}]"),
        )
    if not (known and path_id in known):
        if path.exists() or text.startswith(PATH_STARTS):
            return _file(path)
        if known is not None and path.suffix:
            raise LayerNotFoundError(
                f"{text!r} is neither a file nor a layer: there is no file {path.absolute()}, and "
                f"no layer {path_id!r} is known.",
                fixes=("client.layers()", f"an absolute path: Path('/…/{path.name}')"),
                details={"pathId": path_id, "timestampId": timestamp_id or "latest"},
            )
        if looks_like_file(text):
            return _file(path)
    return LayerChoice(path_id, timestamp_id or "latest", {})


def read_layers(layers: Any, *, known: Container[str] | None = None) -> list[LayerChoice]:
    """Return what the `layers` argument names; one layer alone is refused, it must be a list."""
    if isinstance(layers, (str, Path, Mapping, LayerRef)) or not isinstance(layers, Sequence):
        raise InvalidInputError(
            f"layers={value_text(layers)} is not a list.",
            fixes=("layers=['dem/2024']", "layers=[Path('dem.tif')]"),
        )
    return [read_layer(layer, known=known) for layer in layers]


def _file(path: Path) -> LayerChoice:
    return LayerChoice(path.stem, path.stem, {}, file=path.absolute())


def layer_ref(path_id: str, spec: Mapping[str, Any]) -> LayerRef:
    """Return the reference of a catalogue entry."""
    places = {
        stamp["id"]: tuple(stamp.get("uris") or [stamp["uri"]])
        for stamp in spec.get("timestamps", ())
    }
    return LayerRef(path_id, spec.get("type", ""), tuple(places), places)
