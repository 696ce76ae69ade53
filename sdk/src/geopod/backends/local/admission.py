"""What this machine refuses of a layer before anything is stored or started.

It reads names, the schema of `Layer` and the first bytes of local files; places elsewhere are left
to planning, which has the time to ask them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from geopod.api import names
from geopod.errors import InvalidInputError, LayerAccessError
from geopod.errors.wording import items_text

KINDS = ("raster", "vector")


def check_layer(path_id: str, spec: Mapping[str, Any], *, known: Mapping[str, Any] | None) -> None:
    """Raise InvalidInputError, or LayerAccessError for a file that no layer can be.

    `known`: the layer's spec in the catalogue; None: the layer is not there yet.
    """
    kind = spec.get("type")
    was = (known or {}).get("type")
    if kind is not None and was is not None and kind != was:
        raise InvalidInputError.value(
            name="type", value=kind, why=f"cannot be changed: {path_id!r} is {was}"
        )
    _check_schema(path_id, spec)
    stamps = spec.get("timestamps", ())
    counts = Counter(stamp["id"] for stamp in stamps)
    if twice := [stamp for stamp, count in counts.items() if count > 1]:
        raise InvalidInputError(f"Layer {path_id!r} has timestamps twice: {items_text(twice)}.")
    for stamp in stamps:
        check_files(path_id, stamp.get("uris") or [stamp["uri"]], kind=kind or was)


def check_files(path_id: str, hrefs: Iterable[str], *, kind: str | None = None) -> None:
    """Raise LayerAccessError for a file of this machine that is missing or no layer.

    `kind`: what the layer is said to be. It reads the beginning of each file and no more.
    """
    from geopod.layers.remote import ELSEWHERE  # only where layers are named
    from geopod.layers.sources import find_source

    for href in hrefs:
        if href.partition("://")[0] in ELSEWHERE:
            continue
        file = find_source(href, path_id=path_id)
        if kind in KINDS and file.kind != kind:
            raise LayerAccessError.unreachable(
                path_id=path_id, words=f"{href} is a {file.kind} file, the layer is {kind}"
            )


def _check_schema(path_id: str, spec: Mapping[str, Any]) -> None:
    """Raise InvalidInputError for what `Layer` on a cluster would not take either.

    A type may be left out here: the first file tells it.
    """
    from pydantic import ValidationError  # only where a layer is added

    from geopod.api.common import invalid_input
    from geopod.api.layer import LayerSpec

    names.check_path_id(path_id)
    try:
        LayerSpec.model_validate({"type": KINDS[0], **spec})
    except ValidationError as error:
        raise invalid_input(error) from error
