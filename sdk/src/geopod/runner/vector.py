"""What `f` gets per vector layer: a GeoDataFrame that also answers to `['vector']`."""

# mypy: disable-error-code="explicit-override"
# `typing.override` came with 3.12; the runner runs on 3.10.

from __future__ import annotations

import importlib
from functools import lru_cache
from pathlib import Path
from typing import Any

INDEX = "_fid"


def read_vector(folder: Path, layer: dict[str, Any]) -> Any:
    """Return a fresh GeoDataFrame of a staged layer, indexed by `_fid`, in `_fid` order."""
    arrow = importlib.import_module("pyarrow")
    shapely = importlib.import_module("shapely")
    pandas = importlib.import_module("pandas")
    with arrow.memory_map(str(folder / layer["file"])) as source:
        table = arrow.ipc.open_file(source).read_all()
        geometry_name = layer["geometry"]
        well_known = table.column(geometry_name).to_numpy(zero_copy_only=False)
        place = table.schema.get_field_index(geometry_name)
        table = table.remove_column(place)
        index = pandas.Index(table.column(INDEX).to_numpy(), name=INDEX)
        frame = table.drop_columns([INDEX]).to_pandas(split_blocks=True, self_destruct=True)
    frame = frame.copy()
    frame.index = index
    frame.insert(min(place, frame.shape[1]), geometry_name, shapely.from_wkb(well_known))
    features = frame_class()(frame, geometry=geometry_name, crs=layer["crs"])
    features.attrs["timestamp"] = layer["timestamp"]
    return features


@lru_cache(maxsize=1)
def frame_class() -> type:
    """Return the GeoDataFrame subclass; made at first touch because geopandas loads then."""
    geopandas = importlib.import_module("geopandas")

    class VectorLayer(geopandas.GeoDataFrame):  # type: ignore[name-defined,misc]  # loaded late
        """Features of a layer: `layer['vector']` is the layer, unless it has such a column."""

        def __getitem__(self, key: Any) -> Any:
            if isinstance(key, str) and key == "vector" and "vector" not in self.columns:
                return self
            return super().__getitem__(key)

        def __reduce_ex__(self, _protocol: Any) -> Any:
            return geopandas.GeoDataFrame, (geopandas.GeoDataFrame(self),)

    return VectorLayer
