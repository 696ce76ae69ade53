"""Every row of bad input: class, code, and a sentence with numbers and the fix.

Source: the project's geodata design, §9. Returned values (E301, E307, E310, E311) are tested with
the runner and with publishing.
"""

from __future__ import annotations

import numpy as np
import pytest
from geopod import errors
from geopod.coordinator.planning import PlanRequest, plan_layers
from geopod.layers.publish import RasterGrid, RasterPart, assemble_raster
from geopod.layers.stage import stage_partition
from layer_builders import raster_spec, scene_polygons, write_raster
from source_builders import file_server, quick_access
from staging_builders import layer_source, web_source


@pytest.fixture
def dem(tmp_path):
    return layer_source(write_raster(tmp_path / "dem.tif", raster_spec()))


def plan(*sources, nodes=4, **changes):
    return plan_layers(PlanRequest(layers=sources, nodes=nodes, **changes))[0]


def caught(kind, code, call):
    with pytest.raises(kind) as found:
        call()
    error = found.value
    assert isinstance(error, errors.GeopodError)
    assert isinstance(error, ValueError)
    assert error.code == code
    return error


def test_auth_failed(tmp_path):
    with file_server(tmp_path) as server:
        server.tell(always={"/x.tif": "403"})
        access = quick_access(secrets={"x": "x-key"})

        def call():
            plan_layers(PlanRequest(layers=(web_source(server.url("x.tif")),), nodes=1), access)

        error = caught(errors.LayerAccessError, "E122", call)
    assert error.fact == "Layer 'x' cannot be read: 403 Forbidden from http (secret 'x-key')."
    assert error.fixes == ("renew the secret",)
    assert error.details["reason"] == "AuthFailed"
    assert error.details["host"].startswith("127.0.0.1:")
    assert {"href", "tries", "seconds", "secret"} <= set(error.details)


def test_layer_unreachable(tmp_path):
    source = layer_source(tmp_path / "gone.tif")

    error = caught(errors.LayerAccessError, "E122", lambda: plan(source))

    assert error.fact == (
        f"Layer 'gone' cannot be read: {tmp_path}/gone.tif: No such file or directory."
    )
    assert error.details["reason"] == "LayerUnreachable"


def test_overlap_too_large(dem):
    error = caught(
        errors.PartitionError, "E123", lambda: plan(dem, nodes=16, options={"overlap": 40})
    )

    side = min(error.details["smallestCore"])
    assert error.fact == (f"overlap=40 is more than half of the smallest partition ({side} px).")
    largest = error.details["largestOverlap"]
    assert plan(dem, nodes=16, options={"overlap": largest})
    with pytest.raises(errors.PartitionError):
        plan(dem, nodes=16, options={"overlap": largest + 1})


def test_partition_too_large_names_the_node_count_that_fits(dem):
    limit = 220_070_000
    error = caught(errors.PartitionError, "E123", lambda: plan(dem, nodes=1, memory_bytes=limit))

    fitting = error.details["nmin"]
    assert f"nodes={fitting} fits" in error.fixes
    assert plan(dem, nodes=fitting, memory_bytes=limit)
    with pytest.raises(errors.PartitionError):
        plan(dem, nodes=fitting - 1, memory_bytes=limit)


def test_duplicate_key(dem):
    error = caught(errors.DuplicateKeyError, "E124", lambda: plan(dem, dem))

    assert error.fact == ("timestampId dem is given 2 times; params has one value per timestampId.")
    assert error.fixes == ("Remove one, or name it instead of latest",)


def test_missing_crs(tmp_path):
    source = layer_source(write_raster(tmp_path / "x.tif", raster_spec(crs=None)))

    error = caught(errors.LayerCRSError, "E125", lambda: plan(source))

    assert error.fact.startswith("x has no CRS (bounds ")
    assert error.fixes[0] == "set spec.crs on Layer x"


def test_unsupported_crs(tmp_path):
    path = write_raster(tmp_path / "x.tif", raster_spec(crs=None))

    error = caught(
        errors.LayerCRSError, "E125", lambda: plan(layer_source(path, crs="EPSG:999999"))
    )

    assert error.fact.startswith("CRS EPSG:999999 cannot be used: ")


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_no_transform(tmp_path):
    path = write_raster(tmp_path / "x.tif", raster_spec(), transform=None)

    error = caught(errors.UnsupportedGridError, "E126", lambda: plan(layer_source(path)))

    assert error.fact == "x: no transform."
    assert error.fixes == ("convert to a regular grid",)


@pytest.mark.parametrize("kind", ["raster", "vector"])
def test_no_overlap(tmp_path, dem, kind):
    far = raster_spec(origin=(900_000.0, 5_000_000.0))
    if kind == "raster":
        other = write_raster(tmp_path / "far.tif", far)
    else:
        other = tmp_path / "far.gpkg"
        scene_polygons(50, far).to_file(other, engine="pyogrio")

    error = caught(errors.NoOverlapError, "E127", lambda: plan(dem, layer_source(other)))

    unit = "6144 pixels" if kind == "raster" else "50 features"
    assert error.fact.startswith("far covers ")
    assert error.fact.endswith(f": 0 of {unit} inside.")
    assert error.fixes == ("wrong CRS, swapped axes or extent?",)


def test_unknown_band(tmp_path):
    path = write_raster(tmp_path / "x.tif", raster_spec(bands=2))

    error = caught(
        errors.UnknownBandError, "E128", lambda: plan(layer_source(path, bands=("nir",)))
    )

    assert error.fact == "x has 2 bands 1, 2; nir is not one of them."


def test_source_changed(tmp_path, dem):
    made = plan(dem)
    write_raster(tmp_path / "dem.tif", raster_spec(rows=32))

    error = caught(
        errors.SourceChangedError, "E129", lambda: stage_partition(made, "sha", 0, tmp_path)
    )

    assert error.fact.startswith("dem: etag mtime ")
    assert error.fixes == ("env.refresh() plans on the new bytes",)


def save(path, array):
    with path.open("wb") as file:
        np.lib.format.write_array(file, array, allow_pickle=False)
    return path


GRID = RasterGrid(crs="EPSG:32616", transform=(10.0, 0.0, 0.0, 0.0, -10.0, 0.0))


def test_shape_mismatch(tmp_path):
    part = RasterPart(
        node=3,
        path=save(tmp_path / "a.npy", np.zeros((1, 9, 9), "u1")),
        core=(0, 0, 4, 4),
        padded=(-1, -1, 6, 6),
    )

    error = caught(
        errors.ShapeMismatchError,
        "E310",
        lambda: assemble_raster([part], GRID, tmp_path / "out.tif"),
    )

    assert error.fact == "node 3 returned (1, 9, 9); core is (4, 4), padded (6, 6)."
    assert not (tmp_path / "out.tif").exists()


def test_inconsistent_parts(tmp_path):
    parts = [
        RasterPart(
            node=node,
            path=save(tmp_path / f"{node}.npy", np.zeros((1, 4, 4), dtype)),
            core=(0, 4 * node, 4, 4),
        )
        for node, dtype in enumerate(("u1", "u1", "f4"))
    ]

    with pytest.raises(errors.InconsistentPartsError) as found:
        assemble_raster(parts, GRID, tmp_path / "out.tif")

    assert found.value.code == "E312"
    assert found.value.fact.startswith("1 of 3 parts differ: node 2 has ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.npy", "1.npy", "2.npy"]
