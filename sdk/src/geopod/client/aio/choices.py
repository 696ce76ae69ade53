"""The `layers` argument, read with the catalogue where a text alone does not tell."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from geopod.backends import Backend
from geopod.client.layerlike import LayerChoice, ambiguous_path_id, read_layers
from geopod.errors import LayerNotFoundError


async def choose_layers(layers: Any, backend: Backend) -> list[LayerChoice]:
    """Return what the layers name; of a text that may be a file too, a known pathId wins."""
    known: set[str] = set()
    for layer in layers if isinstance(layers, (list, tuple)) else ():
        if (path_id := ambiguous_path_id(layer)) is not None:
            with suppress(LayerNotFoundError):
                await backend.get_layer(path_id)
                known.add(path_id)
    return read_layers(layers, known=known)
