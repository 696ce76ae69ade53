"""Rasters as GeoTIFF: what rasterio reads back equals what `f` returned."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import rasterio
from affine import Affine
from codec_builders import encoded, round_trip
from geopod import codecs
from geopod.codecs import MalformedValueError, RasterFile
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.io import MemoryFile

SLANTED = Affine(30.0, 0.5, 500_000.0, 0.25, -30.0, 4_600_000.0)
NORTH_UP = Affine(1 / 1200, 0, -84.41375, 0, -1 / 1200, 36.73292)


def raster(array, **changes):
    """Return a raster as `f` returns it."""
    return {"raster": array, "transform": NORTH_UP, "crs": "EPSG:4326", **changes}


def open_result(result):
    """Open an encoded raster with rasterio."""
    return (
        MemoryFile(result.data).open()
        if isinstance(result.data, bytes)
        else rasterio.open(result.data)
    )


DTYPES = (
    "uint8",
    "int8",
    "uint16",
    "int16",
    "uint32",
    "int32",
    "uint64",
    "int64",
    "float32",
    "float64",
    "complex64",
    "complex128",
)


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(DTYPES),
    st.integers(1, 3),
    st.sampled_from([(1, 1), (7, 300), (256, 256), (300, 513)]),
    st.sampled_from([NORTH_UP, SLANTED]),
    st.sampled_from([None, 0, 7]),
)
def test_pixels_transform_crs_and_nodata_are_equal(dtype, bands, size, transform, nodata):
    numbers = np.random.default_rng(7).integers(0, 100, (bands, *size))
    array = numbers.astype(dtype)
    with TemporaryDirectory() as folder:
        result = encoded(raster(array, transform=transform, nodata=nodata), Path(folder))
        with open_result(result) as source:
            assert np.array_equal(source.read(), array)
            assert source.dtypes == (dtype,) * bands
            assert source.transform.almost_equals(transform, 1e-12)
            assert source.crs == CRS.from_epsg(4326)
            assert source.nodata == nodata


NODATA = {
    "nan": ("float32", float("nan")),
    "infinity": ("float32", float("-inf")),
    "negative": ("int16", -9999),
    "numpy scalar": ("float32", np.float32(-1)),
    "largest": ("uint32", 2**32 - 1),
}


@pytest.mark.parametrize(("dtype", "nodata"), NODATA.values(), ids=NODATA)
def test_nodata_is_kept(tmp_path, dtype, nodata):
    with open_result(encoded(raster(np.ones((2, 2), dtype), nodata=nodata), tmp_path)) as source:
        assert np.array_equal(source.nodata, nodata, equal_nan=True)


@pytest.mark.parametrize("bands", [2, 3, 4, 5])
def test_no_band_is_taken_for_transparency(tmp_path, bands):
    """GDAL's default for four bands of 8 bits: where the last is 0, no software shows a pixel."""
    array = np.zeros((bands, 3, 3), "u1")
    with open_result(encoded(raster(array), tmp_path)) as source:
        assert ColorInterp.alpha not in source.colorinterp
        assert (source.dataset_mask() == 255).all()


@pytest.mark.parametrize("dtype", [">i2", ">f4", ">u8", ">c8"])
def test_pixels_of_another_byte_order_are_equal(tmp_path, dtype):
    array = np.arange(6).reshape(1, 2, 3).astype(dtype)
    with open_result(encoded(raster(array, nodata=-1 if "i" in dtype else 0), tmp_path)) as source:
        assert source.dtypes == (np.dtype(dtype).name,)
        assert np.array_equal(source.read(), array)


def test_nodata_that_would_be_written_as_another_is_refused(tmp_path):
    whole = np.ones((2, 2), "int64")
    with open_result(encoded(raster(whole, nodata=-(2**53)), tmp_path)) as source:
        assert source.nodata == -(2**53)

    with pytest.raises(MalformedValueError, match="nodata -9223372036854775808 of int64 is"):
        encoded(raster(whole, nodata=-(2**63)), tmp_path)
    with pytest.raises(MalformedValueError, match="nodata 9007199254740993 of int64 is"):
        encoded(raster(whole, nodata=2**53 + 1), tmp_path)


WIDENED = {"bool": ("bool", "uint8"), "float16": ("float16", "float32")}


@pytest.mark.parametrize(("dtype", "stored"), WIDENED.values(), ids=WIDENED)
def test_type_that_geotiff_lacks_is_widened_without_loss(tmp_path, dtype, stored):
    array = np.array([[0, 1], [1, 0]], dtype)
    with open_result(encoded(raster(array), tmp_path)) as source:
        assert source.dtypes == (stored,)
        assert np.array_equal(source.read(1), array)


def test_two_dimensions_are_one_band(tmp_path):
    with open_result(encoded(raster(np.eye(3, dtype="u1")), tmp_path)) as source:
        assert (source.count, source.shape) == (1, (3, 3))


def test_masked_array_is_written_with_its_fill_value(tmp_path):
    array = np.ma.masked_equal(np.array([[1, 2]], "i2"), 2)
    with open_result(encoded(raster(array, nodata=-1), tmp_path)) as source:
        assert source.read(1).tolist() == [[1, -1]]


def test_band_names_are_kept(tmp_path):
    result = encoded(raster(np.zeros((2, 4, 4), "u1"), bands=["red", "nir"]), tmp_path)
    with open_result(result) as source:
        assert source.descriptions == ("red", "nir")


@pytest.mark.parametrize("crs", [None, CRS.from_epsg(32633).to_wkt()], ids=["none", "wkt"])
def test_crs_is_kept(tmp_path, crs):
    with open_result(encoded(raster(np.zeros((2, 2)), crs=crs), tmp_path)) as source:
        assert source.crs == (crs and CRS.from_wkt(crs))


def test_extent_of_a_rotated_raster_is_that_of_its_corners(tmp_path):
    read = round_trip(raster(np.zeros((10, 20)), transform=SLANTED), tmp_path).read()
    assert read["transform"] == SLANTED
    assert read["extent"] == {
        "xMin": 5e5,
        "yMin": 4_599_700.0,
        "xMax": 500_605.0,
        "yMax": 4_600_005.0,
    }


def test_identity_transform_is_kept(tmp_path):
    file = round_trip(raster(np.zeros((2, 2)), transform=Affine.identity()), tmp_path)
    assert file.read()["transform"] == Affine.identity()


@pytest.mark.parametrize("as_file", [False, True], ids=["inline", "file"])
def test_caller_gets_a_file_that_is_parsed_on_read(tmp_path, as_file):
    array = np.arange(12, dtype="f4").reshape(1, 3, 4)
    file = round_trip(raster(array, nodata=float("nan")), tmp_path, as_file=as_file)
    assert isinstance(file, RasterFile)
    assert file.bytes[:4] == b"II*\0"
    assert file.path.suffix in {".tif", ""}
    read = file.read()
    assert np.array_equal(read["raster"], array)
    assert read["transform"].almost_equals(NORTH_UP)
    assert (read["crs"], read["dtype"], read["bands"]) == ("EPSG:4326", "float32", ["1"])
    assert np.isnan(read["nodata"])
    assert read["extent"]["xMin"] == NORTH_UP.c
    assert read["extent"]["yMax"] == NORTH_UP.f


def test_what_was_read_can_be_returned_again(tmp_path):
    first = round_trip(raster(np.ones((1, 2, 2), "i2"), nodata=-1), tmp_path).read()
    second = round_trip(first, tmp_path).read()
    assert second.keys() == first.keys()
    assert np.array_equal(second["raster"], first["raster"])
    assert second["transform"] == first["transform"]


def test_large_raster_is_tiled_and_a_file(tmp_path):
    array = np.random.default_rng(7).integers(0, 255, (3, 600, 700), "u1")
    result = encoded(raster(array), tmp_path)
    assert isinstance(result.data, Path)
    with rasterio.open(result.data) as source:
        assert source.profile["tiled"]
        assert np.array_equal(source.read(), array)


def test_meta_says_where_it_lies(tmp_path):
    meta = encoded(raster(np.zeros((2, 1200, 1200), "u1")), tmp_path).meta
    assert (meta["shape"], meta["dtype"], meta["crs"]) == ([2, 1200, 1200], "uint8", "EPSG:4326")
    assert meta["bounds"] == pytest.approx([-84.41375, 35.73292, -83.41375, 36.73292])


BAD = {
    "no pixels": (np.zeros((1, 0, 3)), {}),
    "text": (np.array([["a"]]), {}),
    "dates": (np.array([["2026-01-03"]], "M8[D]"), {}),
    "unknown crs": (np.zeros((2, 2)), {"crs": "EPSG:0"}),
    "nodata out of range": (np.zeros((2, 2), "u1"), {"nodata": -9999}),
}


@pytest.mark.parametrize(("array", "changes"), BAD.values(), ids=BAD)
def test_raster_that_geotiff_cannot_hold_is_refused_and_leaves_no_file(tmp_path, array, changes):
    with pytest.raises(MalformedValueError):
        encoded(raster(array, **changes), tmp_path)
    assert not list(tmp_path.glob("*.tif"))


def test_unknown_crs_is_named(tmp_path):
    with pytest.raises(MalformedValueError, match=r"hold: its 'crs' is none that GDAL knows$"):
        encoded(raster(np.zeros((2, 2)), crs="EPSG:0"), tmp_path)


BAD_META = {
    "short transform": {"transform": [1, 2], "crs": None},
    "no transform": {"crs": None},
    "transform of text": {"transform": list("abcdef"), "crs": None},
}


@pytest.mark.parametrize("meta", BAD_META.values(), ids=BAD_META)
def test_hostile_meta_is_refused(tmp_path, meta):
    array = codecs.encode("npy", npy_of(np.zeros((2, 2))), {}, workdir=tmp_path).data
    with pytest.raises(MalformedValueError):
        codecs.encode("raster", array, meta, workdir=tmp_path)


def npy_of(array) -> bytes:
    """Return an array as `.npy`."""
    with TemporaryDirectory() as folder:
        data = encoded(array, Path(folder)).data
        assert isinstance(data, bytes)
        return data


def test_file_that_is_no_raster_is_refused_on_read():
    with pytest.raises(MalformedValueError):
        RasterFile(b"II*\0 junk").read()
