"""Which uris are opened, with which driver, and what counts as a change."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import urllib.request
from pathlib import Path

import pytest
import rasterio
import rasterio.env
from geopod.errors import LayerAccessError, SourceChangedError
from geopod.layers.companions import _list_folder
from geopod.layers.gdal import gdal_settings
from geopod.layers.sources import check_versions, find_source, local_path, read_versions
from geopod.layers.web import _CheckedRedirects
from layer_builders import raster_spec, scene_polygons, write_raster, write_vector_formats
from source_builders import quick_access


@pytest.mark.parametrize(
    ("href", "words"),
    [
        pytest.param("/vsicurl/http://169.254.169.254/x.tif", "virtual path", id="vsicurl"),
        pytest.param("file:///vsizip/x.zip/x.tif", "virtual path", id="vsi in a file uri"),
        pytest.param("ftp://host/x.tif", "neither an absolute path", id="other scheme"),
        pytest.param("relative/x.tif", "neither an absolute path", id="relative"),
        pytest.param("file://host/x.tif", "neither an absolute path", id="other host"),
        pytest.param("NETCDF:/data/x.nc:dem", "neither an absolute path", id="GDAL prefix"),
        pytest.param("<VRTDataset></VRTDataset>", "neither an absolute path", id="inline VRT"),
        pytest.param("/no/such/file.tif", "No such file", id="missing"),
    ],
)
def test_uri_that_is_no_plain_file_is_refused(href, words):
    with pytest.raises(LayerAccessError, match=words) as caught:
        find_source(href, path_id="dem")

    assert caught.value.code == "E122"
    assert caught.value.details["reason"] == "LayerUnreachable"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("a.vrt", b"<VRTDataset rasterXSize='1'/>", id="VRT"),
        pytest.param("a.tif", b"<VRTDataset rasterXSize='1'/>", id="VRT named tif"),
        pytest.param("a.xml", b"<GDAL_WMS/>", id="WMS"),
        pytest.param("a.json", b'{"type": "gdal_streamed_alg"}', id="GDAL pipeline"),
        pytest.param("a.json", b'{"stac_version": "1.1.0"}', id="STAC tile index"),
        pytest.param("a.zip", b"PK\x03\x04", id="archive"),
        pytest.param("a.csv", b"x,y\n", id="table"),
    ],
)
def test_format_that_may_reach_elsewhere_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)

    with pytest.raises(LayerAccessError, match="cannot be read"):
        find_source(str(tmp_path / name), path_id="dem")


def test_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.tif")

    with pytest.raises(LayerAccessError, match="is no plain file"):
        find_source(str(tmp_path / "a.tif"), path_id="dem")


def test_pipe_among_the_files_of_a_folder_is_refused(tmp_path):
    os.mkfifo(tmp_path / "a.parquet")

    with pytest.raises(LayerAccessError, match=r"a\.parquet is no plain file"):
        find_source(str(tmp_path), path_id="dem")


@pytest.mark.parametrize(
    ("layer", "beside"),
    [
        pytest.param("r.tif", "r.tif.ovr", id="overviews"),
        pytest.param("r.tif", "R.TIF.MSK", id="mask in upper case"),
        pytest.param("r.tif", "r.tif.aux.xml", id="metadata"),
        pytest.param("r.tif", "r.tfw", id="world file"),
        pytest.param("r.tif", "r_rpc.txt", id="coefficients"),
        pytest.param("IMG_r.tif", "DIM_r.XML", id="product of another stem"),
        pytest.param("a.shp", "a.dbf", id="table"),
        pytest.param("a.shp", "a.qix", id="index"),
        pytest.param("x.gpkg", "x.gpkg-wal", id="log"),
    ],
)
def test_pipe_beside_a_file_is_refused(tmp_path, layer, beside):
    magic = {".tif": b"II*\0", ".shp": b"\0\0\x27\x0a", ".gpkg": b"SQLite format 3\0"}
    (tmp_path / layer).write_bytes(magic[Path(layer).suffix])
    os.mkfifo(tmp_path / "far")
    (tmp_path / beside).symlink_to("far")

    with pytest.raises(LayerAccessError, match=rf"{beside}, which is read with {layer}, is no"):
        find_source(str(tmp_path / layer), path_id="dem")


def test_pipe_of_another_name_is_no_companion(tmp_path):
    path = write_raster(tmp_path / "r.tif", raster_spec())
    os.mkfifo(tmp_path / "rest")
    (tmp_path / "r.tif.ovr").symlink_to("gone")
    (tmp_path / "r.d").mkdir()

    assert find_source(str(path), path_id="dem").driver == "GTiff"


def test_folder_of_a_mosaic_is_listed_once(tmp_path):
    paths = [write_raster(tmp_path / f"{number}.tif", raster_spec()) for number in range(5)]
    before = _list_folder.cache_info().misses

    for path in paths:
        find_source(str(path), path_id="dem")

    assert _list_folder.cache_info().misses == before + 1


def test_driver_follows_from_the_bytes(tmp_path):
    paths = write_vector_formats(tmp_path, scene_polygons(5))
    paths["tif"] = write_raster(tmp_path / "raster.png", raster_spec())

    found = {name: find_source(str(path), path_id="x").driver for name, path in paths.items()}

    assert found == {
        "parquet": "Parquet",
        "parquet without covering": "Parquet",
        "fgb": "FlatGeobuf",
        "gpkg": "GPKG",
        "geojson": "GeoJSON",
        "tif": "GTiff",
    }


def test_file_uri_is_decoded():
    assert local_path("file:///data/a%20b.tif", path_id="x") == Path("/data/a b.tif")


def test_changed_file_is_a_changed_source(tmp_path):
    path = write_raster(tmp_path / "dem.tif", raster_spec())
    planned = read_versions((str(path),), path_id="dem")
    check_versions(planned, key="dem", path_id="dem")

    later = path.stat().st_mtime_ns + 1
    os.utime(path, ns=(later, later))

    with pytest.raises(SourceChangedError, match=r"etag mtime \d+ size \d+ at plan time") as caught:
        check_versions(planned, key="dem", path_id="dem")
    assert caught.value.code == "E129"


def test_changed_companion_is_a_changed_source(tmp_path):
    path = write_raster(tmp_path / "dem.tif", raster_spec())
    planned = read_versions((str(path),), path_id="dem")

    (tmp_path / "dem.tif.msk").write_bytes(b"mask")

    with pytest.raises(SourceChangedError):
        check_versions(planned, key="dem", path_id="dem")


@pytest.mark.parametrize("name", ["fields.shp", "FIELDS.SHP", "fields.shx"])
@pytest.mark.parametrize("changed", [".shp", ".shx", ".dbf", ".prj", ".cpg"])
def test_shapefile_is_another_one_when_any_file_of_it_is(tmp_path, name, changed):
    """Also when the file is replaced by a copy that kept its time, of the same size."""
    scene_polygons(4).to_file(tmp_path / "fields.shp", engine="pyogrio")
    for part in tmp_path.iterdir():
        part.rename(part.with_name(part.name.upper() if name.isupper() else part.name))
    planned = read_versions((str(tmp_path / name),), path_id="fields")
    check_versions(planned, key="fields", path_id="fields")

    os.utime(
        (tmp_path / name).with_suffix(changed.upper() if name.isupper() else changed), ns=(7, 7)
    )

    with pytest.raises(SourceChangedError, match=r"size \d+ of 5 files \w+ at plan time"):
        check_versions(planned, key="fields", path_id="fields")


def test_geopackage_that_is_written_to_is_a_changed_source(tmp_path):
    """Software that has it open keeps what it wrote in a log beside it, and GDAL reads that too."""
    path = tmp_path / "fields.gpkg"
    scene_polygons(4).to_file(path, engine="pyogrio", layer="fields")
    with contextlib.closing(sqlite3.connect(path)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        planned = read_versions((str(path),), path_id="fields")
        check_versions(planned, key="fields", path_id="fields")
        writer.execute("DELETE FROM fields WHERE fid = 3")
        writer.commit()

        with pytest.raises(SourceChangedError, match="fields"):
            check_versions(planned, key="fields", path_id="fields")


def test_gdal_options_are_there_again_after_reading():
    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"):
        with gdal_settings():
            inside = rasterio.env.getenv()["GDAL_DISABLE_READDIR_ON_OPEN"]
        assert inside == "FALSE"
        assert rasterio.env.getenv()["GDAL_DISABLE_READDIR_ON_OPEN"] == "EMPTY_DIR"
    assert not rasterio.env.hasenv()


@pytest.mark.parametrize(
    ("url", "are_kept"),
    [
        ("https://127.0.0.1/moved", True),
        ("http://127.0.0.1/moved", False),
        ("https://localhost/moved", False),
        ("https://127.0.0.1:8443/moved", False),
    ],
)
def test_keys_follow_a_redirect_to_the_same_host_alone(url, are_kept):
    keys = {"Authorization": "Bearer t0ken", "X-api-key": "k3y"}
    asked = urllib.request.Request("https://127.0.0.1/", headers={"Range": "bytes=0-1", **keys})

    redirects = _CheckedRedirects(quick_access(), "it")
    follower = redirects.redirect_request(asked, None, 302, "", {}, url)

    assert follower.headers == {"Range": "bytes=0-1", **(keys if are_kept else {})}


def test_name_that_the_system_does_not_take_is_refused(tmp_path):
    with pytest.raises(LayerAccessError, match="File name too long"):
        find_source(str(tmp_path / ("x" * 300 + ".tif")), path_id="dem")


def test_name_is_looked_up_whatever_pathlib_says_of_it(tmp_path, monkeypatch):
    """From Python 3.14 on these are False where they raised that a name is too long."""
    for question in ("exists", "is_dir", "is_file"):
        monkeypatch.setattr(Path, question, lambda *_, **__: False)

    with pytest.raises(LayerAccessError, match="File name too long"):
        local_path(str(tmp_path / ("x" * 300 + ".tif")), path_id="dem")
    assert local_path(str(tmp_path / "absent.tif"), path_id="dem") == tmp_path / "absent.tif"


@pytest.mark.parametrize("ring", ["dem.tif", "dem.tif.msk"])
def test_links_in_a_ring_are_told(tmp_path, ring):
    """Of the file, or beside it where GDAL finds nothing then."""
    if ring != "dem.tif":
        write_raster(tmp_path / "dem.tif", raster_spec())
    (tmp_path / ring).symlink_to("other")
    (tmp_path / "other").symlink_to(ring)
    href = str(tmp_path / "dem.tif")

    for access in (quick_access(), quick_access(volumes=tmp_path)):
        if ring == "dem.tif":
            with pytest.raises(LayerAccessError, match="Too many levels of symbolic links"):
                find_source(href, path_id="dem", access=access)
        else:
            assert find_source(href, path_id="dem", access=access).driver == "GTiff"
