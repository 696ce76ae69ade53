"""The catalogue of a namespace: Layer resources."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from geopod.api.layer_sources import catalogue_spec
from geopod.api.names import check_path_id
from geopod.backends import LayerRecord
from geopod.backends.kubernetes.manifests import (
    FIELD_MANAGER,
    Manifest,
    layer_manifest,
    layer_spec,
    merged_layer,
)
from geopod.backends.kubernetes.refusals import callers_error
from geopod.cluster.client import ApiClient
from geopod.cluster.kinds import LAYERS
from geopod.cluster.problems import ConflictApiError, NotFoundApiError
from geopod.errors import LayerNotFoundError

TRIES = 5
NEAREST_LIMIT = 3


class Layers:
    """All layers of one namespace."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api

    async def apply(self, path_id: str, spec: Mapping[str, Any]) -> LayerRecord:
        """Create a layer or update it: timestamps are joined by id, other fields replaced.

        What somebody else wrote meanwhile is read and joined again. Raises InvalidInputError.
        """
        check_path_id(path_id)
        for last in (*([False] * (TRIES - 1)), True):
            known = await self._read(path_id)
            old = known["spec"] if known is not None else {}
            wanted = merged_layer(old, layer_spec(path_id, spec, known_type=old.get("type")))
            _check(wanted)
            manifest = layer_manifest(path_id, wanted, namespace=self._api.namespace)
            if known is not None:
                manifest["metadata"]["resourceVersion"] = known["metadata"]["resourceVersion"]
            try:
                with callers_error(f"layer {path_id!r}"):
                    applied = await self._api.apply(LAYERS, manifest, field_manager=FIELD_MANAGER)
                return _record(applied)
            except ConflictApiError:
                if last:
                    raise
        raise AssertionError(path_id)

    async def get(self, path_id: str) -> LayerRecord:
        """Return a layer; raises LayerNotFoundError with the nearest names."""
        known = await self._read(path_id)
        if known is not None:
            return _record(known)
        stamps = {
            record.path_id: [stamp["id"] for stamp in record.spec.get("timestamps", ())]
            for record in await self.all()
        }
        near = difflib.get_close_matches(path_id, stamps, n=NEAREST_LIMIT, cutoff=0.4)
        raise LayerNotFoundError.missing(
            path_id=path_id,
            timestamp_id="latest",
            namespace=self._api.namespace,
            nearest={name: stamps[name] for name in near},
        )

    async def all(self) -> list[LayerRecord]:
        """Return the whole catalogue by name."""
        listing = await self._api.list(LAYERS)
        return sorted(map(_record, listing.items), key=lambda record: record.path_id)

    async def _read(self, path_id: str) -> Manifest | None:
        try:
            return await self._api.get(LAYERS, path_id)
        except NotFoundApiError:
            return None


def _check(spec: Mapping[str, Any]) -> None:
    """Raise InvalidInputError for what the schema would refuse, in the SDK's words."""
    from pydantic import ValidationError  # only where a layer is made

    from geopod.api.common import invalid_input
    from geopod.api.layer import LayerSpec  # loads pydantic

    try:
        LayerSpec.model_validate(spec)
    except ValidationError as error:
        raise invalid_input(error) from error


def _record(manifest: Manifest) -> LayerRecord:
    """Return a layer with the timestamps that runs published beside those of its spec."""
    spec = catalogue_spec(manifest, as_files=True)
    return LayerRecord(path_id=manifest["metadata"]["name"], spec=spec)
