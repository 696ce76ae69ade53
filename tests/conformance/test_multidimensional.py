"""Zarr and netCDF as rasters: a variable over time is bands, or one timestamp per step."""

from __future__ import annotations

import json
import shutil

import geopod
import numpy as np
import pytest
from geopod.errors import LayerAccessError, LayerCRSError, SourceChangedError, UnknownBandError
from geopod.layers.access import Access
from geopod.layers.headers import read_header
from geopod.layers.sources import find_source
from geopod.layers.stage import stage_partition
from geopod.layers.variables import Variable, split_variable
from layer_builders import raster_spec, write_raster
from netcdf_builders import write_netcdf
from source_builders import file_server, quick_access
from staging_builders import layer_source, plan_of, stage_job, web_source
from zarr_builders import change_json, temperatures, write_array, write_zarr

DAYS = ("2024-05-01", "2024-05-02", "2024-05-03")


def zarr_source(store, fragment="t2m", **changes):
    usual = {"key": "t2m", "path_id": "t2m", "hrefs": (f"{store}#{fragment}",)}
    return layer_source(store, **{**usual, **changes})


def test_variable_of_a_zarr_is_staged_as_bands_named_by_their_days(tmp_path):
    store = write_zarr(tmp_path / "era.zarr")

    job = stage_job(tmp_path, zarr_source(store), nodes=1)

    header = job.plan.layers[0].raster
    assert header.bands == DAYS
    assert header.crs == "EPSG:4326"
    assert header.transform == pytest.approx((1 / 3, 0, 5 - 1 / 6, 0, -0.5, 50.25))
    np.testing.assert_array_equal(job.core(0, "t2m"), temperatures())


def test_nodes_together_read_each_pixel_of_a_zarr_once(tmp_path):
    store = write_zarr(tmp_path / "era.zarr")

    job = stage_job(tmp_path, zarr_source(store), nodes=3)

    cores = [job.core(partition, "t2m") for partition in job]
    assert len(cores) == 3
    found = np.concatenate([core.reshape(3, -1) for core in cores], axis=1)
    np.testing.assert_array_equal(np.sort(found), temperatures().reshape(3, -1))


@pytest.mark.parametrize(
    ("step", "days"), [("2024-05-02", DAYS[1:2]), ("2024-05", DAYS), ("2024", DAYS)]
)
def test_step_of_a_variable_is_a_timestamp(tmp_path, step, days):
    store = write_zarr(tmp_path / "era.zarr")

    job = stage_job(tmp_path, zarr_source(store, f"t2m@{step}"), nodes=1)

    assert job.plan.layers[0].raster.bands == days
    first = DAYS.index(days[0])
    np.testing.assert_array_equal(job.core(0, "t2m"), temperatures()[first : first + len(days)])


def test_step_that_there_is_not_is_told_with_those_there_are(tmp_path):
    store = write_zarr(tmp_path / "era.zarr")

    with pytest.raises(UnknownBandError, match="2024-05-01"):
        read_header(zarr_source(store, "t2m@2031"))


def test_function_gets_one_key_per_step(tmp_path, geopod_home):
    def warming(params):
        first, last = params.values()
        return float((last["raster"] - first["raster"]).mean())

    store = write_zarr(tmp_path / "era.zarr")
    with geopod.connect("local") as client:
        for day in (DAYS[0], DAYS[2]):
            client.add_layer("t2m", f"file://{store}#t2m@{day}", timestamp=day)
        with client.environment(layers=[("t2m", DAYS[0]), ("t2m", DAYS[2])], nodes=2) as env:
            assert env.execute(warming) == [2 * 21 * 31.0] * 2


def test_zarr_on_the_web_is_the_store_read_whole(tmp_path):
    store = write_zarr(tmp_path / "era.zarr")
    with file_server(tmp_path) as server:
        source = web_source(server.url(f"{store.name}#t2m"), key="t2m", path_id="t2m")
        job = stage_job(tmp_path / "scratch", source, nodes=2, access=quick_access())

        found = np.concatenate([job.core(part, "t2m").ravel() for part in job])
        np.testing.assert_array_equal(np.sort(found), temperatures().ravel())


def test_metadata_that_changed_are_a_changed_source(tmp_path):
    store = write_zarr(tmp_path / "era.zarr")
    plan = plan_of(zarr_source(store), nodes=1)
    change_json(store / "lat" / ".zattrs", units="degrees_south")

    with pytest.raises(SourceChangedError):
        stage_partition(plan, "sha", 0, tmp_path)


def test_grid_mapping_gives_the_crs(tmp_path):
    store = write_zarr(tmp_path / "era.zarr")
    (store / "crs").mkdir()
    wkt = write_raster_crs(tmp_path)
    (store / "crs" / ".zattrs").write_text(json.dumps({"crs_wkt": wkt}))
    change_json(store / "t2m" / ".zattrs", grid_mapping="crs")

    assert read_header(zarr_source(store)).header.crs == "EPSG:32616"


def write_raster_crs(folder):
    import rasterio

    with rasterio.open(write_raster(folder / "utm.tif", raster_spec())) as source:
        return source.crs.to_wkt()


def refused(store, fragment="t2m", access=None):
    with pytest.raises(LayerAccessError) as caught:
        find_source(f"{store}#{fragment}", path_id="t2m", access=access or quick_access())
    return caught.value.fact


def test_store_without_a_variable_says_which_there_are(tmp_path):
    store = write_zarr(tmp_path / "era.zarr")

    with pytest.raises(LayerAccessError, match=r"name one of its arrays \(lat, lon, t2m, time\)"):
        find_source(str(store), path_id="t2m")


@pytest.mark.parametrize("name", ["../other/t2m", "/t2m", "a//b", "t2m:0", 't2m":', "", "."])
def test_variable_that_is_a_path_out_of_the_store_is_refused(tmp_path, name):
    assert "name one of its arrays" in refused(write_zarr(tmp_path / "era.zarr"), name)


@pytest.mark.parametrize(
    ("file", "changes", "words"),
    [
        pytest.param(
            "t2m/.zattrs", {"_ARRAY_DIMENSIONS": ["../../o.zarr/x", "lat", "lon"]}, "is no name",
            id="dimension",
        ),
        pytest.param(
            "t2m/.zattrs", {"_ARRAY_DIMENSIONS": ["above", "lat", "lon"]}, "has no coordinates",
            id="dimension of a folder above",
        ),
        pytest.param("t2m/.zattrs", {"coordinates": "/etc/x lon"}, "is no name", id="coordinates"),
        pytest.param("t2m/.zattrs", {"grid_mapping": "../crs"}, "is no name", id="grid mapping"),
        pytest.param(".zgroup", {"_NCZARR_GROUP": {}}, "not a plain group", id="NC group"),
        pytest.param("lat/.zattrs", {"coordinates": "../../x"}, "is no name", id="of coordinates"),
        pytest.param(
            "t2m/.zarray", {"dimension_separator": "/../../o.zarr/"}, "separator", id="separator"
        ),
        pytest.param("t2m/.zarray", {"_NCZARR_ARRAY": {}}, "_NCZARR_ARRAY is not known", id="NC"),
        pytest.param(
            "t2m/.zarray", {"chunks": [3, 1 << 15, 1 << 15]}, "one chunk takes 12", id="bomb"
        ),
        pytest.param("t2m/.zarray", {"chunks": [0, 1, 1]}, "one chunk takes 0", id="no chunk"),
        pytest.param("t2m/.zarray", {"dtype": "|O"}, "no type of numbers", id="objects"),
        pytest.param("lat/.zarray", {"shape": [1 << 40]}, "other coordinates", id="size"),
        pytest.param("t2m/.zarray", {"shape": "x"}, "cannot be read", id="text"),
    ],
)  # fmt: skip
def test_metadata_that_lead_out_of_the_store_are_refused(tmp_path, file, changes, words):
    store = write_zarr(tmp_path / "era.zarr")
    write_array(tmp_path / "above", np.arange(3, dtype="<i4"), ["above"])
    change_json(store / file, **changes)

    assert words in refused(store)


def test_group_of_version_3_in_a_store_of_version_2_is_refused(tmp_path):
    store = write_zarr(tmp_path / "era.zarr")
    write_array(store / "g" / "t2m", temperatures(), ["time", "lat", "lon"])
    (store / "g" / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group"}')

    assert "g is not a plain group of Zarr 2" in refused(store, "g/t2m")


def test_what_gdal_reads_is_what_was_checked(tmp_path):
    """Consolidated metadata that say otherwise count for nothing."""
    store = write_zarr(tmp_path / "era.zarr")
    other = write_zarr(tmp_path / "other.zarr")
    shutil.rmtree(other / "t2m")
    write_array(other / "t2m", temperatures() + 1000, ["time", "lat", "lon"], chunks=(1, 10, 10))
    array = json.loads((store / "t2m" / ".zarray").read_text())
    consolidated = {
        "zarr_consolidated_format": 1,
        "metadata": {
            ".zgroup": {"zarr_format": 2},
            "t2m/.zarray": array | {"dimension_separator": "/../../other.zarr/t2m/"},
            "t2m/.zattrs": {"_ARRAY_DIMENSIONS": ["../other.zarr/time", "lat", "lon"]},
        },
    }
    (store / ".zmetadata").write_text(json.dumps(consolidated))

    job = stage_job(tmp_path, zarr_source(store), nodes=1)

    np.testing.assert_array_equal(job.core(0, "t2m"), temperatures())


def test_crs_that_is_an_address_is_not_fetched(tmp_path):
    store = write_zarr(tmp_path / "era.zarr")
    with file_server(tmp_path) as server:
        change_json(store / "t2m" / ".zattrs", _CRS={"url": server.url("crs.wkt")})
        change_json(store / "t2m" / ".zattrs", grid_mapping="crs")
        (store / "crs").mkdir()
        (store / "crs" / ".zattrs").write_text(json.dumps({"crs_wkt": server.url("crs.wkt")}))

        with pytest.raises(LayerCRSError):
            read_header(zarr_source(store))

        assert server.asked() == []


def test_array_at_the_root_is_refused(tmp_path):
    store = write_zarr(tmp_path / "era.zarr")
    shutil.copy(store / "lat" / ".zarray", store / ".zarray")

    assert "not a plain group" in refused(store)


def test_link_out_of_a_volume_is_refused_however_deep(tmp_path):
    volumes = tmp_path / "volumes"
    volumes.mkdir()
    store = write_zarr(volumes / "era.zarr")
    (tmp_path / "secret").write_bytes(b"x")
    (store / "t2m" / "0.0.0").unlink()
    (store / "t2m" / "0.0.0").symlink_to(tmp_path / "secret")

    assert "is not on a volume" in refused(store, access=Access(volumes=volumes))


def test_classic_netcdf_names_its_variable(tmp_path):
    values = np.arange(12.0).reshape(3, 4)
    path = write_netcdf(tmp_path / "dem.nc", values, np.linspace(10, 13, 4), np.linspace(50, 48, 3))

    job = stage_job(tmp_path, zarr_source(path, "elevation", crs="EPSG:4326"), nodes=1)

    np.testing.assert_array_equal(job.core(0, "t2m")[0], values)
    assert job.plan.layers[0].raster.transform == pytest.approx((1, 0, 9.5, 0, -1, 50.5))


@pytest.mark.parametrize(
    ("href", "address", "variable"),
    [
        ("/data/a#b.tif", "/data/a#b.tif", None),
        ("/data/x.nc", "/data/x.nc", None),
        ("s3://b/x.zarr/#g/t2m@2024", "s3://b/x.zarr", Variable("g/t2m", "2024")),
        ("https://h/x.zarr#t%202", "https://h/x.zarr", Variable("t 2")),
    ],
)
def test_fragment_names_a_variable_where_files_have_several(href, address, variable):
    assert split_variable(href) == (address, variable)
