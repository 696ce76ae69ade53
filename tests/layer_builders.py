"""Small layers made by code, from written seeds: rasters by rasterio, features by geopandas.

Each builder makes a valid layer; a test names the one thing that differs. The grid that everything
starts from: EPSG:32616, 10 m pixels, 64 rows x 96 columns, upper-left corner (500000, 4000000),
tiles of 16 px.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from math import cos, radians, sin
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import rasterio
import rasterio.shutil
import shapely
from affine import Affine
from numpy.typing import NDArray

SEED = 7
UTM = "EPSG:32616"
ORIGIN = (500_000.0, 4_000_000.0)


@dataclass(frozen=True)
class RasterSpec:
    """How a raster is laid out; `block` None writes strips of one row."""

    rows: int = 64
    cols: int = 96
    pixel: float = 10.0
    origin: tuple[float, float] = ORIGIN
    """Upper-left corner."""
    rotation: float = 0.0
    """Degrees, about the upper-left corner."""
    crs: str | None = UTM
    dtype: str = "uint32"
    bands: int = 1
    nodata: float | None = None
    block: int | None = 16

    @property
    def transform(self) -> Affine:
        (x, y), turn = self.origin, radians(self.rotation)
        across, down = self.pixel * cos(turn), self.pixel * sin(turn)
        return Affine(across, down, x, down, -across, y)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        x, y = self.origin
        return (x, y - self.rows * self.pixel, x + self.cols * self.pixel, y)

    def values(self) -> NDArray[Any]:
        """Band b of pixel (row, col) is `row * cols + col + b * rows * cols`."""
        count = self.bands * self.rows * self.cols
        return np.arange(count).reshape(self.bands, self.rows, self.cols).astype(self.dtype)


def raster_spec(**changes: Any) -> RasterSpec:
    return RasterSpec(**changes)


def shifted_spec(across: float, down: float, **changes: Any) -> RasterSpec:
    """A grid that lies `across` and `down` metres off the usual one."""
    return raster_spec(origin=(ORIGIN[0] + across, ORIGIN[1] - down), **changes)


def spec_30m_off_by_7m() -> RasterSpec:
    """The fixed case: 30 m pixels whose grid lies 7 m off the 10 m lattice."""
    return shifted_spec(7.0, 7.0, pixel=30.0, rows=20, cols=30)


def antimeridian_spec(**changes: Any) -> RasterSpec:
    """A raster from 179.6 E to 179.1 W in its own UTM zone."""
    return raster_spec(
        **{"crs": "EPSG:32660", "origin": (700_000.0, 5_100_000.0), "pixel": 1000.0, **changes}
    )


def write_raster(
    path: Path, spec: RasterSpec, values: NDArray[Any] | None = None, **options: Any
) -> Path:
    """Write `values` (band, row, col; default: the pixel's number) as a GeoTIFF."""
    layout: dict[str, Any] = {"blockysize": 1}
    if spec.block is not None:
        layout = {"tiled": True, "blockxsize": spec.block, "blockysize": spec.block}
    profile = {
        "driver": "GTiff",
        "height": spec.rows,
        "width": spec.cols,
        "count": spec.bands,
        "dtype": spec.dtype,
        "crs": spec.crs,
        "transform": spec.transform,
        "nodata": spec.nodata,
        **layout,
        **options,
    }
    with rasterio.open(path, "w", **profile) as target:
        target.write(spec.values() if values is None else values)
    return path


def write_with_nodata(path: Path, spec: RasterSpec, nodata: int, **options: Any) -> Path:
    """Write a raster with a nodata of all its digits: rasterio itself would take it as a double."""
    plain = write_raster(path.with_suffix(".plain.tif"), spec, **options)
    described = path.with_suffix(".vrt")
    rasterio.shutil.copy(plain, described, driver="VRT")
    text = described.read_text()
    band = "<VRTRasterBand "
    head, *bands = text.split(band)
    said = [re.sub(">", f"><NoDataValue>{nodata}</NoDataValue>", one, count=1) for one in bands]
    described.write_text(band.join([head, *said]))
    rasterio.shutil.copy(described, path, driver="GTiff")
    return path


def write_south_up(path: Path, spec: RasterSpec) -> Path:
    """Write the same pixels in the same places, the southern row first."""
    x_min, y_min, _, _ = spec.bounds
    upward = Affine(spec.pixel, 0.0, x_min, 0.0, spec.pixel, y_min)
    return write_raster(path, spec, spec.values()[:, ::-1], transform=upward)


def write_sparse(path: Path, spec: RasterSpec) -> Path:
    """Write only the blocks of the left half; the others never get bytes."""
    assert spec.block is not None
    half = spec.cols // 2 // spec.block * spec.block
    options = {"tiled": True, "blockxsize": spec.block, "blockysize": spec.block}
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=spec.rows,
        width=spec.cols,
        count=spec.bands,
        dtype=spec.dtype,
        crs=spec.crs,
        transform=spec.transform,
        nodata=spec.nodata,
        sparse_ok=True,
        **options,
    ) as target:
        window = rasterio.windows.Window(0, 0, half, spec.rows)
        target.write(spec.values()[:, :, :half], window=window)
    return path


def write_alpha(path: Path, spec: RasterSpec) -> Path:
    """Write the values and an alpha band that hides the upper-left quarter."""
    wide = replace(spec, bands=spec.bands + 1)
    alpha = np.full((1, spec.rows, spec.cols), 255)
    alpha[:, : spec.rows // 2, : spec.cols // 2] = 0
    values = np.concatenate([spec.values(), alpha.astype(spec.dtype)])
    return write_raster(path, wide, values, alpha="yes")


def write_mask_band(path: Path, spec: RasterSpec) -> Path:
    """Write the values and an internal mask that hides the upper-left quarter."""
    mask = np.full((spec.rows, spec.cols), 255, np.uint8)
    mask[: spec.rows // 2, : spec.cols // 2] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        write_raster(path, spec)
        with rasterio.open(path, "r+") as target:
            target.write_mask(mask)
    return path


def write_dates_on_two_grids(folder: Path) -> tuple[Path, Path, Path]:
    """Write three dates of one path: two on the usual grid, the last one on one 4 m off."""
    specs = (raster_spec(), raster_spec(), shifted_spec(4.0, 4.0))
    first, second, third = (
        write_raster(folder / f"date{number}.tif", spec, spec.values() + number)
        for number, spec in enumerate(specs)
    )
    return first, second, third


def write_overlapping(folder: Path) -> tuple[Path, Path]:
    """Write two rasters of one grid, the second 32 columns further east, with other values."""
    east = shifted_spec(320.0, 0.0)
    return (
        write_raster(folder / "west.tif", raster_spec()),
        write_raster(folder / "east.tif", east, east.values() + 1_000_000),
    )


def scene_values(size: int) -> NDArray[np.uint16]:
    """Four bands of scene S in small: noise, and a slanted swath of nodata (0) on either side."""
    rng = np.random.default_rng(SEED)
    values = rng.integers(1, 4000, (4, size, size), dtype=np.uint16)
    rows, cols = np.mgrid[:size, :size]
    slant = cols + rows * 0.3
    values[:, (slant < size * 0.2) | (slant > size * 1.1)] = 0
    return values


def write_scene(path: Path, size: int = 512) -> Path:
    spec = raster_spec(rows=size, cols=size, bands=4, dtype="uint16", nodata=0, block=64)
    return write_raster(path, spec, scene_values(size), compress="deflate")


def scene_points(
    count: int, bounds: tuple[float, float, float, float], seed: int = SEED
) -> NDArray[np.float64]:
    """Feature centres of scene S: 60 % in six round towns, the rest anywhere."""
    rng = np.random.default_rng(seed)
    low, high = np.array(bounds[:2]), np.array(bounds[2:])
    townsfolk = int(count * 0.6)
    towns = rng.uniform(0.1, 0.9, (6, 2))[rng.integers(0, 6, townsfolk)]
    angle, distance = rng.uniform(0, 2 * np.pi, townsfolk), rng.uniform(0, 1, townsfolk)
    around = np.stack([np.cos(angle), np.sin(angle)], axis=1) * np.sqrt(distance)[:, None]
    anywhere = rng.uniform(0, 1, (count - townsfolk, 2))
    places = np.concatenate([towns + 0.05 * around, anywhere])
    return low + np.clip(places, 0.001, 0.999) * (high - low)


def scene_polygons(count: int = 400, spec: RasterSpec | None = None) -> geopandas.GeoDataFrame:
    """Squares of 5 to 30 m around the centres of scene S, with their number as `id`."""
    spec = spec or raster_spec()
    centres = scene_points(count, spec.bounds)
    half = np.random.default_rng(SEED + 1).uniform(2.5, 15.0, count)
    x, y = centres.T
    squares = shapely.box(x - half, y - half, x + half, y + half)
    values = np.random.default_rng(SEED + 2).integers(0, 1000, count)
    frame = {"id": np.arange(count), "value": values}
    return geopandas.GeoDataFrame(frame, geometry=squares, crs=spec.crs)


def edge_points(spec: RasterSpec, step: int = 16) -> geopandas.GeoDataFrame:
    """Points on every lattice line and corner, and on the extent's own four edges."""
    x_min, y_min, x_max, y_max = spec.bounds
    xs = np.append(np.arange(x_min, x_max, step * spec.pixel / 2), x_max)
    ys = np.append(np.arange(y_min, y_max, step * spec.pixel / 2), y_max)
    x, y = (values.ravel() for values in np.meshgrid(xs, ys))
    return geopandas.GeoDataFrame(
        {"id": np.arange(len(x))}, geometry=geopandas.points_from_xy(x, y), crs=spec.crs
    )


def with_null_and_empty(frame: geopandas.GeoDataFrame) -> geopandas.GeoDataFrame:
    """The same rows, and three more: null, empty polygon, empty collection."""
    added = [None, shapely.Polygon(), shapely.GeometryCollection()]
    geometry = np.concatenate([frame.geometry.to_numpy(), np.array(added, dtype=object)])
    ids = np.arange(len(geometry))
    return geopandas.GeoDataFrame({"id": ids}, geometry=geometry, crs=frame.crs)


def invalid_polygons(spec: RasterSpec) -> geopandas.GeoDataFrame:
    """A bow tie and a polygon without area, inside the raster."""
    x, y = spec.origin[0] + 100, spec.origin[1] - 200
    bow_tie = shapely.Polygon([(x, y), (x + 50, y + 50), (x + 50, y), (x, y + 50)])
    flat = shapely.Polygon([(x + 100, y), (x + 150, y), (x + 100, y)])
    return geopandas.GeoDataFrame({"id": [0, 1]}, geometry=[bow_tie, flat], crs=spec.crs)


def write_vector_formats(folder: Path, frame: geopandas.GeoDataFrame) -> dict[str, Path]:
    """Write the same features in every format; the GeoPackage has a column `fid`, from 100 on."""
    paths = {
        "parquet": folder / "features.parquet",
        "parquet without covering": folder / "plain.parquet",
        "fgb": folder / "features.fgb",
        "gpkg": folder / "features.gpkg",
        "geojson": folder / "features.geojson",
    }
    frame.to_parquet(paths["parquet"], write_covering_bbox=True, schema_version="1.1.0")
    frame.to_parquet(paths["parquet without covering"])
    has_missing = bool((frame.geometry.isna() | frame.geometry.is_empty).any())
    index = "NO" if has_missing else "YES"  # FlatGeobuf's index refuses missing geometries
    frame.to_file(paths["fgb"], driver="FlatGeobuf", engine="pyogrio", SPATIAL_INDEX=index)
    numbered = frame.assign(fid=np.arange(100, 100 + len(frame)))
    numbered.to_file(paths["gpkg"], driver="GPKG", engine="pyogrio")
    frame.to_file(paths["geojson"], driver="GeoJSON", engine="pyogrio")
    return paths
