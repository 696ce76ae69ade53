"""netCDF-4, HDF5 and Zarr 3 as rasters; GDAL on the same pixels is the oracle."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio
import zarr
from affine import Affine
from array_builders import (
    DAYS,
    HDF5,
    add_array,
    small_scene,
    wavy,
    write_geotiff,
    write_netcdf4,
    write_zarr3,
)
from geopod.errors import LayerAccessError, LayerCRSError, UnsupportedGridError
from geopod.layers import stage_rasters
from geopod.layers.arrays import open_array
from geopod.layers.headers import read_header
from geopod.layers.raster import open_raster
from geopod.layers.sources import find_source
from rasterio.windows import Window
from source_builders import file_server, quick_access
from staging_builders import layer_source, stage_job, web_source
from zarr_builders import change_json


def source_of(place, fragment="t2m", **changes):
    href = f"{place}#{fragment}" if fragment else str(place)
    return layer_source(place, **{"key": "t2m", "path_id": "t2m", "hrefs": (href,), **changes})


def opened(place, fragment):
    return open_array(find_source(f"{place}#{fragment}", path_id="t2m"), path_id="t2m")


def whole(dataset):
    return dataset.read(dataset.indexes, window=Window(0, 0, dataset.width, dataset.height))


@pytest.fixture(params=["netCDF-4", "Zarr 3", "Zarr 3 in shards"])
def small(request, tmp_path):
    """The small scene in one of the formats."""
    if request.param == "netCDF-4":
        return write_netcdf4(tmp_path / "era.nc", small_scene())
    shards = {"shards": (3, 20, 20)} if "shards" in request.param else {}
    return write_zarr3(tmp_path / "era.zarr", small_scene(), chunks=(1, 10, 10), **shards)


def test_variable_is_bands_named_by_their_days(small, tmp_path):
    job = stage_job(tmp_path, source_of(small), nodes=1)

    header = job.plan.layers[0].raster
    assert (header.bands, header.crs, header.nodata) == (DAYS, "EPSG:4326", -5)
    assert header.transform == pytest.approx(small_scene().transform[:6])
    np.testing.assert_array_equal(job.core(0, "t2m"), small_scene().values)


def test_nodes_together_read_each_pixel_once(small, tmp_path):
    job = stage_job(tmp_path, source_of(small), nodes=3)

    found = np.concatenate([job.core(part, "t2m").reshape(3, -1) for part in job], axis=1)
    np.testing.assert_array_equal(np.sort(found), small_scene().values.reshape(3, -1))


def test_step_of_a_variable_is_a_timestamp(small, tmp_path):
    job = stage_job(tmp_path, source_of(small, "t2m@2024-05-02"), nodes=1)

    assert job.plan.layers[0].raster.bands == DAYS[1:2]
    np.testing.assert_array_equal(job.core(0, "t2m"), small_scene().values[1:2])


def test_gdal_reads_the_same_from_the_same_netcdf(tmp_path):
    path = write_netcdf4(tmp_path / "era.nc", small_scene())
    with opened(path, "t2m") as ours, rasterio.open(path) as theirs:
        np.testing.assert_array_equal(whole(ours)[:, ::-1], theirs.read())
        assert ours.nodatavals == list(theirs.nodatavals)
        assert ours.tags(2)["NETCDF_DIM_time"] == theirs.tags(2)["NETCDF_DIM_time"]


def test_only_variable_of_a_file_needs_no_name(tmp_path):
    path = write_netcdf4(tmp_path / "era.nc", small_scene())

    assert read_header(source_of(path, "")).header.bands == DAYS


WARPS = {
    "many blocks": (
        {"values": wavy(2, 700, 600), "transform": Affine(0.002, 0, 10, 0, -0.002, 50)},
        {"crs": "EPSG:3857"},
    ),
    "coarser": (
        {"values": wavy(1, 700, 600), "transform": Affine(0.002, 0, 10, 0, -0.002, 50)},
        {"crs": "EPSG:32632", "grid": {"resolution": 700.0, "anchor": [0, 0]}, "align": True},
    ),
    "south up, no nodata": (
        {
            "values": wavy(1, 300, 400, dtype=np.float32),
            "transform": Affine(0.002, 0, 10, 0, 0.002, 40),
            "nodata": None,
        },
        {"crs": "EPSG:3857"},
    ),
    "0 to 360": (
        {
            "values": wavy(1, 140, 720, dtype=np.uint8),
            "transform": Affine(0.5, 0, 0, 0, -0.5, 70),
            "nodata": 0,
        },
        {"crs": "EPSG:3035"},
    ),
}


@pytest.mark.parametrize("name", WARPS)
@pytest.mark.parametrize("resampling", ["nearest", "cubic", "average"])
def test_warped_array_is_what_gdal_makes_of_the_same_geotiff(tmp_path, name, resampling):
    changes, options = WARPS[name]
    scene = small_scene(**changes)
    plain = write_geotiff(tmp_path / "plain.tif", scene)
    store = write_zarr3(tmp_path / "era.zarr", scene, chunks=(1, 128, 128))

    expected, found = (
        stage_job(
            tmp_path / folder,
            source_of(place, fragment, resampling=resampling),
            nodes=1,
            **options,
        ).core(0, "t2m")
        for folder, place, fragment in (("a", plain, ""), ("b", store, "t2m"))
    )

    # Of the same numbers added to another origin the last bit of a float may differ.
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-5)


def test_warped_blocks_do_not_depend_on_how_many_nodes_there_are(tmp_path):
    scene = small_scene(values=wavy(1, 700, 600), transform=Affine(0.002, 0, 10, 0, -0.002, 50))
    store = write_zarr3(tmp_path / "era.zarr", scene, chunks=(1, 128, 128))
    source = source_of(store, resampling="cubic")

    one = stage_job(tmp_path / "one", source, nodes=1, crs="EPSG:3857")
    many = stage_job(tmp_path / "many", source, nodes=7, crs="EPSG:3857")

    alone = one.core(0, "t2m")
    left, bottom, right, top = one.record(0, "t2m")["coreExtent"]
    step = (right - left) / alone.shape[2], (top - bottom) / alone.shape[1]
    for part in many:
        west, _, _, north = many.record(part, "t2m")["coreExtent"]
        row, column = round((top - north) / step[1]), round((west - left) / step[0])
        core = many.core(part, "t2m")
        rows, columns = slice(row, row + core.shape[1]), slice(column, column + core.shape[2])
        np.testing.assert_array_equal(core, alone[:, rows, columns])


def test_rotated_grid_is_the_one_of_its_grid_mapping(tmp_path):
    turned = Affine.translation(3e5, 5e6) @ Affine.rotation(20) @ Affine.scale(30, -30)
    scene = small_scene(values=wavy(1, 200, 250), transform=turned, crs="EPSG:32633")
    plain = write_geotiff(tmp_path / "plain.tif", scene)
    store = write_zarr3(tmp_path / "era.zarr", scene, with_coordinates=False)

    expected = stage_job(tmp_path / "a", source_of(plain, ""), nodes=1).core(0, "t2m")
    found = stage_job(tmp_path / "b", source_of(store), nodes=1).core(0, "t2m")

    np.testing.assert_array_equal(found, expected)


def test_coarse_grid_over_too_many_pixels_says_how_many(tmp_path):
    group = zarr.create_group(store=str(tmp_path / "fine.zarr"), zarr_format=3)
    for name, size in (("y", 20_000), ("x", 20_000)):
        attributes = {"units": "degrees_north" if name == "y" else "degrees_east"}
        add_array(group, name, 40 + np.arange(size) * 1e-4, (name,), attributes)
    group.create_array(
        "t2m", shape=(20_000, 20_000), chunks=(500, 500), dtype="i2", dimension_names=("y", "x")
    )
    grid = {"resolution": 5000.0, "anchor": [0, 0]}

    with pytest.raises(LayerAccessError, match="one block of the work grid takes"):
        stage_job(
            tmp_path, source_of(tmp_path / "fine.zarr"), nodes=1, crs="EPSG:3857", grid=grid,
            align=True,
        )  # fmt: skip


def test_many_steps_are_staged_in_groups(tmp_path):
    """A block of all bands would take 40 MB: more than is read at once."""
    values = np.broadcast_to(
        np.arange(40, dtype=np.float32)[:, None, None], (40, 512, 512)
    ) + np.arange(512, dtype=np.float32)
    scene = small_scene(values=values, transform=Affine(0.01, 0, 5, 0, -0.01, 50))
    store = write_zarr3(tmp_path / "era.zarr", scene, chunks=(3, 512, 512))

    job = stage_job(tmp_path, source_of(store), nodes=1)

    np.testing.assert_array_equal(job.core(0, "t2m"), values)


def test_band_of_validity_is_put_together_from_groups_of_steps(tmp_path, monkeypatch):
    monkeypatch.setattr(stage_rasters, "PART_BYTES", 4000)  # one step of these pixels
    scene = small_scene(nodata=-1.0)
    scene.values[0, :10] = scene.values[1, 5:, :20] = scene.values[2, :15] = -1
    store = write_zarr3(tmp_path / "era.zarr", scene)

    job = stage_job(tmp_path, source_of(store), nodes=2, grid={"preset": "ellipsis"})

    for node in job:
        *steps, validity = job.array(node, "t2m")
        np.testing.assert_array_equal(validity, (np.array(steps) != -1).any(axis=0))
        assert set(np.unique(validity)) == {0, 1}
    layer = job.plan.layers[0]
    with open_raster(layer, with_validity=True) as raster:
        window = (0, 0, *raster.shape)
        pieces = [(first, len(part)) for first, _, part in raster.pieces(window, most_bytes=4000)]
    assert pieces == [(0, 1), (1, 1), (2, 1), (3, 1)]


NUMBERS = np.arange(35).reshape(5, 7)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("checked", NUMBERS.astype(np.float64)),
        ("big_endian", NUMBERS.astype(np.int16)),
        ("one_piece", NUMBERS.astype(np.int32)),
        ("unsigned", (NUMBERS * 7).astype(np.uint8)),
        ("g/turned", NUMBERS.T.astype(np.float32)),
        ("sparse", np.where((NUMBERS % 7 < 3) & (NUMBERS < 14), NUMBERS, -1).astype(np.float32)),
    ],
)
def test_array_is_read_however_hdf5_stores_it(name, expected):
    with opened(HDF5 / "types.h5", name) as dataset:
        found = whole(dataset)[0]
        part = dataset.read([1], window=Window(1, 2, 3, 3))[0]

    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(part, expected[2:5, 1:4])


@pytest.mark.parametrize(
    ("file", "name", "words"),
    [
        ("external_link.h5", "outside", "a link of it leads to another file"),
        ("external_storage.h5", "d", "lie in other files (external storage)"),
        ("virtual.h5", "d", "lie in other files (a virtual dataset)"),
        ("lzf.h5", "d", "filter 32000 is LZF; write it with deflate or zstd"),
        ("latest.h5", "d", "it is in the form of HDF5 1.10 and later"),
        ("link_loop.h5", "d", "maximum recursion depth"),
        ("types.h5", "empty", "has no pixels"),
        ("types.h5", "huge", "per axis is the limit"),
        ("types.h5", "coarse", "one chunk takes 2.0 GiB to decode"),
        ("types.h5", "words", "no type of numbers"),
        ("types.h5", "../types.h5/checked", "there is no array"),
        ("types.h5", "missing", "there is no array 'missing' (big_endian, checked"),
        ("unusual.h5", "twelve_bits", "its numbers of 2 bytes are of an unusual form"),
        ("unusual.h5", "bfloat16", "its numbers of 2 bytes are of an unusual form"),
        ("unusual.h5", "missing", "there is no array 'missing' (bfloat16, plain, twelve_bits)"),
    ],
)
def test_hdf5_that_must_not_be_read_is_refused_by_name(file, name, words):
    with pytest.raises(LayerAccessError) as caught:
        opened(HDF5 / file, name)

    assert words in caught.value.fact


@pytest.mark.parametrize("seed", range(40))
def test_damaged_hdf5_is_refused_or_read_and_never_anything_else(tmp_path, seed):
    random = np.random.default_rng(seed)
    data = bytearray((HDF5 / "types.h5").read_bytes())
    for place in random.integers(0, 6000, 20):
        data[place] = random.integers(0, 256)
    path = tmp_path / "damaged.h5"
    path.write_bytes(data[: random.integers(3000, len(data))])

    refusals = []
    for name in ("checked", "one_piece", "g/turned"):
        try:
            with opened(path, name) as dataset:
                whole(dataset)
        except LayerAccessError as error:
            refusals.append(error.fact)

    assert all(str(path) in fact for fact in refusals)


def named(name, **about):
    return {"name": name, "configuration": about}


ENDIAN = named("bytes", endian="little")


def sharded(**about):
    usual = {"chunk_shape": [1, 7, 31], "codecs": [ENDIAN], "index_codecs": [ENDIAN]}
    return [named("sharding_indexed", **(usual | about))]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"codecs": [{"name": "numcodecs.pickle"}]}, "codec 'numcodecs.pickle' is not one that"),
        ({"codecs": [ENDIAN, {"name": "numcodecs.zlib"}]}, "codec 'numcodecs.zlib' is not one"),
        ({"codecs": [{"name": "vlen-utf8"}]}, "codec 'vlen-utf8' is not one"),
        ({"codecs": []}, "its codecs make no bytes"),
        ({"codecs": [*sharded(), {"name": "gzip"}]}, "shards go alone"),
        ({"codecs": sharded(codecs=sharded())}, "its shards hold shards"),
        ({"codecs": sharded(chunk_shape=[1, 8, 31])}, "chunks of (1, 8, 31) in shards"),
        ({"codecs": sharded(index_codecs=[ENDIAN, {"name": "gzip"}])}, "the index of its shards"),
        ({"data_type": "string"}, "'string' is no type of numbers"),
        ({"data_type": {"name": "numpy.datetime64"}}, "is no type of numbers"),
        ({"storage_transformers": [{"name": "chunk-manifest-json"}]}, "storage transformers"),
        ({"extension": {"must_understand": True}}, "extension is not known"),
        ({"chunk_grid": {"name": "rectilinear"}}, "not regular"),
        ({"chunk_grid": named("regular", chunk_shape=[1, 1 << 20, 1 << 20])}, "takes 4.0 TiB to"),
        ({"chunk_key_encoding": named("v2", separator="/../")}, "named by"),
        ({"chunk_key_encoding": {"name": "url"}}, "its chunks are named by 'url'"),
        ({"dimension_names": ["../time", "y", "x"]}, "'../time' is no name"),
        ({"dimension_names": ["time"]}, "of 3 axes"),
        ({"shape": [3, 1 << 40, 31]}, "per axis is the limit"),
        ({"shape": "x"}, "cannot be read"),
        ({"fill_value": {"a": 1}}, "cannot be read"),
        ({"zarr_format": 4}, "it is of version 4"),
        ({"node_type": "group"}, "there is no array"),
    ],
)  # fmt: skip
def test_zarr_that_must_not_be_read_is_refused_by_name(tmp_path, changes, words):
    store = write_zarr3(tmp_path / "era.zarr", small_scene())
    change_json(store / "t2m" / "zarr.json", **changes)

    with pytest.raises(LayerAccessError) as caught:
        find_source(f"{store}#t2m", path_id="t2m")

    assert words in caught.value.fact


def test_extension_that_need_not_be_understood_is_left_alone(tmp_path):
    store = write_zarr3(tmp_path / "era.zarr", small_scene())
    change_json(store / "t2m" / "zarr.json", extension={"must_understand": False})

    assert read_header(source_of(store)).header.bands == DAYS


@pytest.mark.filterwarnings("ignore:Consolidated metadata")
def test_what_the_root_says_of_its_arrays_is_not_used(tmp_path):
    """Consolidated metadata that say otherwise count for nothing."""
    store = write_zarr3(tmp_path / "era.zarr", small_scene())
    zarr.consolidate_metadata(str(store))
    root = json.loads((store / "zarr.json").read_text())
    root["consolidated_metadata"]["metadata"]["t2m"]["shape"] = [9, 9, 9]
    (store / "zarr.json").write_text(json.dumps(root))

    assert read_header(source_of(store)).header.shape == (21, 31)


@pytest.mark.parametrize(
    "storage",
    [
        {"compressors": zarr.codecs.GzipCodec()},
        {"compressors": zarr.codecs.BloscCodec(cname="lz4")},
        {"compressors": (zarr.codecs.ZstdCodec(), zarr.codecs.Crc32cCodec())},
        {"compressors": None, "filters": zarr.codecs.TransposeCodec(order=(2, 0, 1))},
        {"serializer": zarr.codecs.BytesCodec(endian="big")},
        {"chunk_key_encoding": {"name": "v2", "separator": "."}},
        {"shards": (2, 16, 16), "chunks": (1, 8, 8)},
    ],
    ids=["gzip", "blosc", "checksum", "transposed", "big-endian", "names of Zarr 2", "shards"],
)
def test_array_is_read_however_zarr_stores_it(tmp_path, storage):
    store = write_zarr3(tmp_path / "era.zarr", small_scene(), **{"chunks": (1, 10, 10), **storage})

    with opened(store, "t2m") as dataset:
        np.testing.assert_array_equal(whole(dataset), small_scene().values)


@pytest.mark.parametrize("fill", [-1.5, float("nan"), float("inf")])
def test_chunks_that_were_never_written_are_the_fill_value(tmp_path, fill):
    store = write_zarr3(tmp_path / "era.zarr", small_scene(), chunks=(1, 10, 10), fill_value=fill)
    (store / "t2m" / "c" / "1" / "0" / "0").unlink()
    expected = small_scene().values.copy()
    expected[1, :10, :10] = fill

    with opened(store, "t2m") as dataset:
        np.testing.assert_array_equal(whole(dataset), expected)


def test_chunk_that_is_cut_off_is_named(tmp_path):
    store = write_zarr3(tmp_path / "era.zarr", small_scene(), chunks=(1, 10, 10))
    chunk = store / "t2m" / "c" / "1" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-9])

    with pytest.raises(LayerAccessError, match="t2m/c/1/0/0 cannot be read: a chunk is"):
        stage_job(tmp_path / "scratch", source_of(store), nodes=1)


def test_chunk_that_is_there_and_cannot_be_read_is_no_fill_value(tmp_path):
    store = write_zarr3(tmp_path / "era.zarr", small_scene(), chunks=(1, 10, 10))
    chunk = store / "t2m" / "c" / "1" / "0" / "0"
    chunk.unlink()
    chunk.mkdir()

    with pytest.raises(LayerAccessError, match="t2m/c/1/0/0: Is a directory"):
        stage_job(tmp_path / "scratch", source_of(store), nodes=1)


def test_shard_that_says_a_chunk_lies_beyond_all_files_is_refused(tmp_path):
    shards = {"shards": (3, 30, 40), "chunks": (1, 10, 10)}
    store = write_zarr3(tmp_path / "era.zarr", small_scene(), **shards)
    change_json(store / "t2m" / "zarr.json", codecs=sharded(chunk_shape=[1, 10, 10]))
    shard = store / "t2m" / "c" / "0" / "0" / "0"
    shard.write_bytes(np.full(2 * 3 * 3 * 4, (1 << 64) - 2, np.uint64).tobytes())
    with opened(store, "t2m") as dataset, pytest.raises(LayerAccessError, match="a chunk in"):
        whole(dataset)

    shard.write_bytes(np.array([[(1 << 64) - 2, 400]] * 36, np.uint64).tobytes())
    with opened(store, "t2m") as dataset, pytest.raises(LayerAccessError, match="a chunk in"):
        whole(dataset)


def test_uneven_rows_are_refused_with_their_steps(tmp_path):
    group = zarr.open_group(str(write_zarr3(tmp_path / "era.zarr", small_scene())))
    group["y"][:] = np.linspace(50, 40, 21) ** 1.1

    with pytest.raises(UnsupportedGridError, match="irregular"):
        read_header(source_of(tmp_path / "era.zarr"))


def test_array_without_coordinates_or_crs_says_so(tmp_path):
    with pytest.raises(UnsupportedGridError, match="no transform"):
        read_header(source_of(HDF5 / "types.h5", "checked"))
    group = zarr.open_group(str(write_zarr3(tmp_path / "era.zarr", small_scene())))
    del group["crs"]

    with pytest.raises(LayerCRSError, match="no CRS"):
        read_header(source_of(tmp_path / "era.zarr"))


def test_planner_reads_the_headers_and_coordinates_alone(tmp_path):
    scene = small_scene()
    write_zarr3(tmp_path / "era.zarr", scene, chunks=(1, 10, 10))
    with file_server(tmp_path) as server:
        source = web_source(server.url("era.zarr#t2m"), key="t2m", path_id="t2m")
        read_header(source, quick_access())

        paths = [request["path"].removeprefix("/era.zarr/") for request in server.asked()]
        # Found, dated and opened: five metadata files each time.
        assert {path for path in paths if "/c/" in path} == {"x/c/0", "y/c/0", "time/c/0"}
        assert len(paths) <= 18


def test_zarr_on_the_web_is_the_store_read_whole(tmp_path):
    write_zarr3(tmp_path / "era.zarr", small_scene(), chunks=(1, 10, 10))
    with file_server(tmp_path) as server:
        source = web_source(server.url("era.zarr#t2m"), key="t2m", path_id="t2m")
        job = stage_job(tmp_path / "scratch", source, nodes=2, access=quick_access())

    found = np.concatenate([job.core(part, "t2m").ravel() for part in job])
    np.testing.assert_array_equal(np.sort(found), small_scene().values.ravel())


def test_netcdf_on_the_web_is_read_by_ranges(tmp_path):
    write_netcdf4(tmp_path / "era.nc", small_scene())
    with file_server(tmp_path) as server:
        source = web_source(server.url("era.nc#t2m"), key="t2m", path_id="t2m")
        job = stage_job(tmp_path / "scratch", source, nodes=1, access=quick_access())

    np.testing.assert_array_equal(job.core(0, "t2m"), small_scene().values)
