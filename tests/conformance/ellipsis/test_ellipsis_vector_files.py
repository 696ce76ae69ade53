"""Vector files that functions wrote themselves are read as what they are, or refused by node."""

from __future__ import annotations

import geopandas
import pytest
from geopandas.testing import assert_geodataframe_equal
from geopod.api.results import Entry
from geopod.coordinator.publishing import Part, PublishRequest, publish_parts
from geopod.errors import NotAFileResultError
from geopod.layers.vector_files import as_geoparquet
from layer_builders import scene_polygons

DRIVERS = {"gpkg": "GPKG", "fgb": "FlatGeobuf", "geojson": "GeoJSON"}
FEATURES = scene_polygons(40)


def written(folder, suffix):
    """Write the features; return what GDAL reads, and a link whose name says no format."""
    path = folder / f"features.{suffix}"
    FEATURES.to_file(path, driver=DRIVERS[suffix], engine="pyogrio")
    link = folder / "0.bin"
    link.symlink_to(path)
    return geopandas.read_file(path), link


@pytest.mark.parametrize("suffix", DRIVERS)
def test_file_becomes_geoparquet_with_the_same_rows(tmp_path, suffix):
    expected, link = written(tmp_path, suffix)
    found = geopandas.read_parquet(as_geoparquet(link, workdir=tmp_path))
    assert found.crs == expected.crs
    found, expected = (it.sort_values("id", ignore_index=True) for it in (found, expected))
    assert_geodataframe_equal(found[list(expected)], expected, check_dtype=False)


def test_geoparquet_is_taken_as_it_is(tmp_path):
    path = tmp_path / "0.bin"
    FEATURES.to_parquet(path)
    assert as_geoparquet(path, workdir=tmp_path) == path


def publish(folder, kind, entry, data=b"garbage"):
    """Publish one node's result to a layer of `kind`, which must be refused."""
    path, work = folder / "value", folder / "work"
    path.write_bytes(data)
    work.mkdir()
    request = PublishRequest(
        folder=str(folder / "layer"),
        path_id="ndvi",
        timestamp="2024",
        kind=kind,
        format="tif" if kind == "raster" else "parquet",
        parts=(Part(node=3, path=str(path), entry=entry),),
        run="r",
        function_sha256="0",
        created="2026-01-01T00:00:00Z",
    )
    with pytest.raises(NotAFileResultError) as caught:
        publish_parts(request, work)
    assert not list((folder / "layer").glob("*"))
    return caught.value.fact


@pytest.mark.parametrize("kind", ["vector", "raster"])
def test_bytes_of_no_format_are_refused_by_their_node(tmp_path, kind):
    entry = Entry(
        codec="bytes", sha256="0", bytes=7, meta={"mediaType": "application/octet-stream"}
    )
    told = publish(tmp_path, kind, entry)
    assert told.startswith("node 3 returned application/octet-stream, 7 bytes, which no layer can")


@pytest.mark.parametrize(
    ("codec", "kind", "says"),
    [
        ("npy", "vector", "node 3 returned an array, which a vector layer cannot take"),
        ("geoparquet", "raster", "node 3 returned geoparquet, which a raster layer cannot take"),
    ],
)
def test_results_of_the_other_kind_are_refused_by_their_node(tmp_path, codec, kind, says):
    assert publish(tmp_path, kind, Entry(codec=codec, sha256="0", bytes=7)).startswith(says)
