"""Plan layers in this process, without an environment: what N nodes would get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from geopod.api.plan import Plan
from geopod.client.layerlike import ambiguous_path_id, read_layer
from geopod.errors import LayerNotFoundError, MissingExtraError

if TYPE_CHECKING:
    from geopod.backends.local.catalogue import Catalogue


def plan_here(layers: Sequence[Any], *, nodes: int, options: Mapping[str, Any]) -> Plan:
    """Return the plan of layers of this machine: files, addresses, names of its catalogue.

    Reads headers alone. Raises what planning an environment raises, E121 to E129.
    """
    try:
        from geopod.coordinator.planning import PlanRequest, plan_layers  # loads GDAL
    except ImportError as error:
        raise MissingExtraError.needed(
            extra="geo", purpose="Planning layers", module=error.name or "rasterio"
        ) from error
    from geopod.backends.local.catalogue import Catalogue
    from geopod.backends.local.secrets import own_keys
    from geopod.backends.local.state import StateFolder, state_root

    folder = StateFolder(state_root())
    catalogue = Catalogue(folder)
    sources: list[dict[str, Any]] = []
    for layer in layers:
        if isinstance(layer, str) and "://" in layer:
            sources.append(_address(layer))
            continue
        choice = read_layer(layer, known=_known(layer, catalogue))
        files = {} if choice.file is None else {choice.path_id: str(choice.file)}
        sources += catalogue.sources([choice.spec()], files)
    wanted = {"layers": sources, "nodes": nodes, "options": dict(options)}
    plan, _ = plan_layers(msgspec.convert(wanted, PlanRequest), own_keys(folder))
    return plan


def _known(layer: Any, catalogue: Catalogue) -> set[str]:
    """Return the pathId of a text that may be a file too, if the catalogue has it."""
    path_id = ambiguous_path_id(layer)
    try:
        return {catalogue.get(path_id).path_id} if path_id is not None else set()
    except LayerNotFoundError:
        return set()


def _address(href: str) -> dict[str, Any]:
    stem = Path(href.partition("?")[0]).stem
    return {"key": stem, "pathId": stem, "timestamp": stem, "hrefs": [href]}
