"""What an environment's processes import, told by its layers alone."""

import pytest
from geopod.backends.local.imports import agent_modules, find_drivers, runner_modules

TIFF = b"II*\0" + bytes(64)


@pytest.mark.parametrize(
    ("href", "kind", "expected"),
    [
        ("s3://dems/dem.tif", None, ("raster", "GTiff")),
        ("https://host/dem?key=1", "raster", ("raster", "GTiff")),
        ("gs://maps/towns.GPKG", None, ("vector", "GPKG")),
        ("az://maps/towns/", "vector", ("vector", "Parquet")),
        ("https://host/towns.parquet", None, ("vector", "Parquet")),
    ],
)
def test_file_elsewhere_is_told_by_its_name_and_not_asked_for(href, kind, expected):
    source = {"pathId": "dem", "hrefs": [href], **({"kind": kind} if kind else {})}
    assert find_drivers([source]) == {expected}


def test_local_file_is_told_by_its_first_bytes(tmp_path):
    path = tmp_path / "dem.bin"
    path.write_bytes(TIFF)
    gone = {"pathId": "gone", "hrefs": [str(tmp_path / "gone.tif")]}
    assert find_drivers([{"pathId": "dem", "hrefs": [str(path)]}, gone]) == {("raster", "GTiff")}


def test_rasters_alone_ask_for_no_tables():
    drivers = frozenset({("raster", "GTiff")})
    assert runner_modules(drivers) == ["numpy", "affine"]
    assert not any("vector" in name or "ogr" in name for name in agent_modules(drivers))
