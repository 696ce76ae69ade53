"""Returned tables: DataFrames, Series, Arrow tables and their geometric kin, as Arrow files."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from .handover import HandedOver, Writer
from .returned_rasters import crs_text


def hand_over_table(value: Any, writer: Writer) -> HandedOver | None:
    """Hand over a table as an Arrow IPC file; None: no table, or one that Arrow cannot hold."""
    geopandas, pandas = sys.modules.get("geopandas"), sys.modules.get("pandas")
    if geopandas is not None and isinstance(value, geopandas.GeoSeries):
        meta = {"type": "GeoSeries", "name": _column_name(value.name)}
        return _geometric(geopandas.GeoDataFrame(geometry=value), writer, meta)
    if geopandas is not None and isinstance(value, geopandas.GeoDataFrame):
        return _geometric(value, writer, {"type": "GeoDataFrame"})
    if pandas is not None and isinstance(value, pandas.Series):
        frame = value.to_frame(SERIES_COLUMN)
        return _frame(frame, "arrow", writer, {"type": "Series", "name": _column_name(value.name)})
    if pandas is not None and isinstance(value, pandas.DataFrame):
        return _frame(value, "arrow", writer, {"type": "DataFrame"})
    return _arrow(value, writer)


SERIES_COLUMN = "values"
"""The one column of a Series; its own name, if it has one, is `meta.name`."""


def _column_name(name: Any) -> str | int | None:
    return name if isinstance(name, str | int) else None


def _geometric(features: Any, writer: Writer, meta: dict[str, Any]) -> HandedOver | None:
    """Geometry columns as WKB; their names and CRS in the meta, the active one first."""
    geometries = [
        name
        for name, dtype in zip(features.columns, features.dtypes, strict=True)
        if str(dtype) == "geometry"
    ]
    if not geometries or not all(isinstance(name, str) for name in geometries):
        return _frame(
            importlib.import_module("pandas").DataFrame(features),
            "arrow",
            writer,
            {"type": "DataFrame"},
        )
    active = features.active_geometry_name or geometries[0]
    return _frame(
        features.to_wkb(),
        "geoarrow",
        writer,
        {
            **meta,
            "geometry": active,
            "crs": crs_text(features[active].crs),
            "geometries": {name: crs_text(features[name].crs) for name in geometries},
        },
    )


def _frame(frame: Any, kind: str, writer: Writer, meta: dict[str, Any]) -> HandedOver | None:
    arrow = _pyarrow()
    if arrow is None:
        return None
    try:
        table = arrow.Table.from_pandas(frame)
    except (arrow.ArrowException, OverflowError, TypeError, ValueError):
        return None
    return _write(table, kind, writer, meta)


def _arrow(value: Any, writer: Writer) -> HandedOver | None:
    arrow = sys.modules.get("pyarrow")
    if arrow is None or not isinstance(value, arrow.Table | arrow.RecordBatch):
        return None
    table = value if isinstance(value, arrow.Table) else arrow.Table.from_batches([value])
    return _write(table, "arrow", writer, {"type": "Table"})


def _write(table: Any, kind: str, writer: Writer, meta: dict[str, Any]) -> HandedOver:
    ipc = importlib.import_module("pyarrow.ipc")
    with writer.open() as (file, name), ipc.new_file(file, table.schema) as sink:
        sink.write_table(table)
    return HandedOver(kind, meta={**meta, "rows": table.num_rows}, file=name)


def _pyarrow() -> Any:
    try:
        return importlib.import_module("pyarrow")
    except ImportError:
        return None
