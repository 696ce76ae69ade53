"""CF conventions: where an array's pixels lie, how its steps are called, what is no number."""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass

import numpy as np
import pytest
from geopod.errors import LayerAccessError
from geopod.layers.cf import read_meaning
from geopod.layers.chunks import ArrayVariable, ChunkedArray, Layout, each
from geopod.layers.variables import step_names
from hypothesis import given
from hypothesis import strategies as st

EAST = {"units": "degrees_east"}
NORTH = {"units": "degrees_north"}


@dataclass
class Arrays:
    """A file of arrays in memory: path -> (dimensions, attributes, values)."""

    held: dict

    def find(self, path):
        if path not in self.held:
            return None
        dimensions, attributes, values = self.held[path]
        group = path.rpartition("/")[0]
        layout = Layout(values.shape, values.shape, values.dtype, attributes.get("fill", 0))
        return ArrayVariable(
            path=path,
            dimensions=tuple(f"{group}/{name}" if group else name for name in dimensions),
            attributes=attributes,
            array=ChunkedArray(layout, each(lambda _: values)),
        )

    def attributes(self, path):
        return self.held[path][1] if path in self.held else None

    def refused(self, words):
        return LayerAccessError.unreachable(path_id="t2m", words=words)


def meaning_of(*, x, y, dimensions=("y", "x"), attributes=None, dtype="f4", **others):
    """Of `t2m` over `x` and `y`, each (attributes, values); `others`: more arrays."""
    held = {name: ((name,), one[0], np.asarray(one[1])) for name, one in (("x", x), ("y", y))}
    held |= {name: ((name,) if len(one[1]) else (), *one) for name, one in others.items()}
    sizes = tuple(len(held[name][2]) for name in dimensions)
    held["t2m"] = (dimensions, attributes or {}, np.zeros(sizes, dtype))
    file = Arrays(held)
    return read_meaning(file, file.find("t2m"), dtype=np.dtype(dtype))


def mapping(**attributes):
    return attributes, np.zeros(0)


def test_degrees_north_and_east_are_told_from_their_units():
    found = meaning_of(x=(EAST, [5.0, 6.0, 7.0]), y=(NORTH, [50.0, 49.0]))

    assert found.transform == (1.0, 0.0, 4.5, 0.0, -1.0, 50.5)
    assert found.is_geographic
    assert found.crs is None


def test_axes_are_found_wherever_they_stand():
    found = meaning_of(
        dimensions=("x", "level", "y"), x=(EAST, [5.0, 6.0]), y=(NORTH, [50.0, 49.0]),
        level=({}, np.array([1000.0, 500.0, 100.0])),
    )  # fmt: skip

    assert (found.row_axis, found.column_axis) == (2, 0)
    assert [step["level"] for step in found.steps] == ["1000", "500", "100"]


@pytest.mark.parametrize(
    ("first", "west"), [(234.0, -126.5), (0.0, -0.5), (179.0, 178.5), (-170.0, -170.5)]
)
def test_longitudes_past_180_alone_are_the_same_places_in_the_west(first, west):
    found = meaning_of(x=(EAST, first + np.arange(4.0)), y=(NORTH, [50.0, 49.0]))

    assert found.transform[2] == west


def test_metres_are_no_longitudes():
    found = meaning_of(
        x=({"axis": "X"}, [5e5, 5.1e5]), y=({"axis": "Y"}, [5e6, 4.9e6]),
        attributes={"grid_mapping": "crs"},
        crs=mapping(grid_mapping_name="transverse_mercator", longitude_of_central_meridian=15.0,
                    latitude_of_projection_origin=0.0, scale_factor_at_central_meridian=0.9996,
                    false_easting=5e5, false_northing=0.0),
    )  # fmt: skip

    assert found.transform[2] == 495_000
    assert found.crs.is_projected


def test_kilometres_are_a_thousand_metres():
    found = meaning_of(
        x=({"axis": "X", "units": "km"}, [500.0, 510.0]),
        y=({"axis": "Y", "units": "km"}, [5000.0, 4990.0]),
    )

    assert found.transform == (10_000, 0, 495_000, 0, -10_000, 5_005_000)


def test_scanning_angles_of_a_satellite_are_metres_at_its_height():
    packed = {"units": "rad", "scale_factor": 1e-3, "add_offset": -0.1, "axis": "X"}
    found = meaning_of(
        x=(packed, np.arange(3, dtype="i2")),
        y=({"units": "rad", "axis": "Y"}, [0.1, 0.099]),
        attributes={"grid_mapping": "goes"},
        goes=mapping(grid_mapping_name="geostationary", perspective_point_height=35_786_023.0,
                     longitude_of_projection_origin=-75.0, sweep_angle_axis="x",
                     semi_major_axis=6_378_137.0, semi_minor_axis=6_356_752.31414),
    )  # fmt: skip

    assert found.transform[0] == pytest.approx(35_786.023)
    assert found.transform[2] == pytest.approx(-0.1005 * 35_786_023)


def test_float32_coordinates_are_even_as_far_as_they_can_be():
    places = np.arange(36_000, dtype=np.float32) * np.float32(0.01)

    assert meaning_of(x=(EAST, places), y=(NORTH, [50.0, 49.0])).uneven is None


def test_gaussian_latitudes_are_uneven():
    nodes = np.degrees(np.arcsin(np.polynomial.legendre.leggauss(64)[0]))

    smallest, largest = meaning_of(x=(EAST, [5.0, 6.0]), y=(NORTH, nodes[::-1])).uneven

    assert smallest < largest < 2.8


def test_transform_that_gdal_wrote_counts_only_without_coordinates():
    stale = {"grid_mapping": "crs"}
    crs = mapping(GeoTransform="0 9 0 0 0 -9")
    with_places = meaning_of(x=(EAST, [5.0, 6.0]), y=(NORTH, [2.0, 1.0]), attributes=stale, crs=crs)
    file = Arrays({"t2m": (("y", "x"), stale, np.zeros((2, 2))), "crs": ((), crs[0], np.zeros(0))})
    without = read_meaning(file, file.find("t2m"), dtype=np.dtype("f8"))

    assert with_places.transform[0] == 1.0
    assert without.transform == (9.0, 0.0, 0.0, 0.0, -9.0, 0.0)


@pytest.mark.parametrize(
    ("dtype", "attributes", "expected"),
    [
        ("f4", {"_FillValue": -9999.0}, -9999.0),
        ("f4", {"_FillValue": [1e20]}, float(np.float32(1e20))),
        ("f8", {"missing_value": -1}, -1),
        ("i2", {"_FillValue": -1, "missing_value": 5}, -1),
        ("f4", {"fill": float(np.float32(9.969209968386869e36))}, float(np.float32(9.9692e36))),
        ("f4", {"fill": 0.0}, None),
        ("i4", {"fill": -2_147_483_647}, -2_147_483_647),
        ("u1", {"fill": 255}, None),
        ("f8", {"_FillValue": base64.b64encode(struct.pack("<d", -5.5)).decode()}, -5.5),
        ("f8", {"_FillValue": "none"}, None),
    ],
)
def test_value_for_none(dtype, attributes, expected):
    found = meaning_of(
        x=(EAST, [5.0, 6.0]), y=(NORTH, [2.0, 1.0]), attributes=attributes, dtype=dtype
    )

    assert found.nodata == (pytest.approx(expected, rel=1e-4) if expected else expected)


def test_nan_that_fills_an_array_is_its_value_for_none():
    found = meaning_of(
        x=(EAST, [5.0, 6.0]), y=(NORTH, [2.0, 1.0]), attributes={"fill": float("nan")}
    )

    assert np.isnan(found.nodata)


def test_scale_and_offset_are_told_and_not_applied():
    attributes = {"scale_factor": 0.01, "add_offset": 273.15}
    found = meaning_of(x=(EAST, [5.0, 6.0]), y=(NORTH, [2.0, 1.0]), attributes=attributes)

    assert (found.scale, found.offset) == (0.01, 273.15)


def test_grid_mapping_that_is_no_crs_is_refused():
    with pytest.raises(LayerAccessError, match="its grid mapping is no CRS"):
        meaning_of(
            x=(EAST, [5.0, 6.0]), y=(NORTH, [2.0, 1.0]), attributes={"grid_mapping": "crs"},
            crs=mapping(crs_wkt="https://somewhere.example/crs"),
        )  # fmt: skip


class Steps:
    """The part of a dataset that names its bands."""

    def __init__(self, meaning):
        self.meaning = meaning
        self.indexes = range(1, len(meaning.steps) + 1)

    def tags(self, index=None):
        if index is None:
            return self.meaning.tags
        found = self.meaning.steps[index - 1]
        return {f"NETCDF_DIM_{name}": value for name, value in found.items()}


def test_several_dimensions_name_a_band_together():
    found = meaning_of(
        dimensions=("time", "level", "y", "x"), x=(EAST, [5.0, 6.0]), y=(NORTH, [2.0, 1.0]),
        time=({"units": "hours since 2024-05-01", "calendar": "standard"}, np.array([0, 6])),
        level=({}, np.array([500.5])),
    )  # fmt: skip

    assert step_names(Steps(found)) == (
        "2024-05-01T00:00:00Z,level=500.5",
        "2024-05-01T06:00:00Z,level=500.5",
    )


@given(st.data())
def test_box_of_a_chunked_array_is_the_box_of_the_array(data):
    shape = tuple(data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=4)))
    chunks = tuple(data.draw(st.integers(1, 10)) for _ in shape)
    values = np.arange(np.prod(shape), dtype=">i4").reshape(shape)
    box = []
    for size in shape:
        start = data.draw(st.integers(0, size))
        box.append(slice(start, data.draw(st.integers(start, size))))

    def chunk(place):
        whole = np.zeros(chunks, ">i4")
        part = values[
            tuple(slice(at * step, (at + 1) * step) for at, step in zip(place, chunks, strict=True))
        ]
        whole[tuple(map(slice, part.shape))] = part
        return whole

    array = ChunkedArray(Layout(shape, chunks, values.dtype), each(chunk))

    np.testing.assert_array_equal(array.read(tuple(box)), values[tuple(box)])


@pytest.mark.parametrize(
    ("units", "value", "name"),
    [
        ("days since 1850-1-1", 1.0, "1850-01-02"),
        ("hours since 1900-01-01 00:00:0.0", 1.0, "1900-01-01T01:00:00Z"),
        ("days since 1900-01-01", 44_000 + 1 / 24, "2020-06-20T01:00:00Z"),
        ("days since 0001-01-01", 738_000 + 1 / 24, "2021-07-30T01:00:00Z"),
    ],
)
def test_time_is_the_second_that_its_number_means(units, value, name):
    found = meaning_of(
        dimensions=("time", "y", "x"), x=(EAST, [5.0, 6.0]), y=(NORTH, [50.0, 49.0]),
        time=({"units": units}, np.array([value])),
    )  # fmt: skip

    assert step_names(Steps(found)) == (name,)


def test_more_steps_than_bands_may_be_are_not_written_down():
    level = ({}, np.zeros(70_000, np.uint8))
    found = meaning_of(
        dimensions=("level", "y", "x"), x=(EAST, [5.0, 6.0]), y=(NORTH, [50.0, 49.0]), level=level
    )

    assert found.steps == ()
