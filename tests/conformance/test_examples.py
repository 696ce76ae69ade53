"""Every example runs as a user runs it, and its result is what other code computes on the whole."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import geopandas as gpd
import nbformat
import numpy as np
import pytest
import rasterio
import shapely
from nbclient import NotebookClient
from rasterio.features import geometry_mask, shapes

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def example(monkeypatch, tmp_path, geopod_home):
    """Load an example as a script is loaded: its own folder first on the path."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.delitem(sys.modules, "sample_layers", raising=False)
    return lambda name: runpy.run_path(str(EXAMPLES / f"{name}.py"))


def test_demo(example, tmp_path, capsys):
    results = example("demo")["main"](tmp_path)
    with rasterio.open(tmp_path / "srtm.tif") as source:
        whole = source.read(1)
    assert sum(found["pixels"] for found in results) == whole.size == 344 * 403
    assert sum(found["sum"] for found in results) == int(whole.sum(dtype="int64")) == 73_617_913
    assert max(found["highest"] for found in results) == whole.max() == 1076
    assert {found["country"] for found in results} == {"United States of America"}
    printed = capsys.readouterr().out
    assert f"0 of {whole.size} pixels differ" in printed
    assert (tmp_path / "demo.png").stat().st_size > 10_000


def test_band_maths(example, tmp_path):
    mean, histogram = example("band_maths")["main"](tmp_path)
    with rasterio.open(tmp_path / "scene.tif") as source:
        _, _, red, nir = source.read().astype("float64")
        valid = source.dataset_mask().astype(bool)
    ndvi = (nir[valid] - red[valid]) / (nir[valid] + red[valid])
    assert mean == pytest.approx(ndvi.mean(), rel=1e-12)
    assert histogram.sum() == valid.sum()


def fields_of(folder):
    return gpd.read_file(folder / "fields.gpkg").set_index("field").geometry


def test_field_sums(example, tmp_path):
    table = example("field_sums")["main"](tmp_path)
    with rasterio.open(tmp_path / "scene.tif") as source:
        nir, shape, transform = source.read(4), source.shape, source.transform
    for field, geometry in fields_of(tmp_path).items():
        inside = geometry_mask([geometry], shape, transform, invert=True) & (nir != 0)
        assert table.loc[field, "count"] == inside.sum()
        assert table.loc[field, "sum"] == nir[inside].sum(dtype="int64")


def test_zonal_statistics(example, tmp_path):
    table = example("zonal_statistics")["main"](tmp_path)
    assert list(table.index) == list(range(64))
    with rasterio.open(tmp_path / "scene.tif") as source:
        nir, shape, transform = source.read(4), source.shape, source.transform
    # The fields' edges are those of pixels: whole pixels count, whoever weighs them.
    for field, geometry in fields_of(tmp_path).items():
        inside = geometry_mask([geometry], shape, transform, invert=True) & (nir != 0)
        assert table.loc[field, "count"] == pytest.approx(inside.sum())
        assert table.loc[field, "mean"] == pytest.approx(nir[inside].mean())
        assert table.loc[field, "max"] == nir[inside].max()


def test_moving_window(example, tmp_path):
    module = example("moving_window")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    module["main"](elsewhere)  # its layer has this file too, below the next one's
    cog = module["main"](tmp_path)
    with rasterio.open(tmp_path / "srtm.tif") as source, rasterio.open(cog) as result:
        whole = module["median"](source.read(1), source.nodata)
        np.testing.assert_array_equal(result.read(1), whole)
        assert result.transform == source.transform
        assert result.profile["tiled"]


def test_classification(example, tmp_path):
    module = example("classification")
    cog, forest, learned = module["main"](tmp_path)
    with rasterio.open(tmp_path / "scene.tif") as source, rasterio.open(cog) as result:
        whole, found = source.read(), result.read(1)
        shape, transform = source.shape, source.transform
    known = fields_of(tmp_path)[list(module["KNOWN"])]
    masks = {
        field: geometry_mask([shape_], shape, transform, invert=True)
        for field, shape_ in known.items()
    }
    expected = [
        (cover, *pixel)
        for field, cover in module["KNOWN"].items()
        for pixel in whole[:, masks[field] & (whole != 0).all(axis=0)].T
    ]
    assert sorted(map(tuple, learned)) == sorted(map(tuple, np.array(expected, "uint16")))
    np.testing.assert_array_equal(found, module["classify_pixels"](forest, whole, 0)[0])
    assert set(np.unique(found)) == {0, *module["COVER"]}
    for field, cover in module["KNOWN"].items():
        assert (found[masks[field]] == cover).mean() > 0.9


def test_polygonise(example, tmp_path):
    module = example("polygonise")
    heights = gpd.read_file(module["main"](tmp_path)).set_index("above")
    with rasterio.open(tmp_path / "srtm.tif") as source:
        bands = np.digitize(source.read(1), module["ABOVE_M"]).astype("uint8")
        whole = list(shapes(bands, mask=bands > 0, transform=source.transform))
        shape, transform = source.shape, source.transform
    assert len(heights) == len({band for _, band in whole})
    for band, above in enumerate(module["ABOVE_M"], start=1):
        inside = geometry_mask([heights.geometry[above]], shape, transform, invert=True)
        np.testing.assert_array_equal(inside, bands == band)
        parts = [shapely.geometry.shape(outline) for outline, value in whole if value == band]
        area = sum(part.area for part in parts)
        assert heights.geometry[above].area == pytest.approx(area, rel=1e-9)


def test_time_series(example, tmp_path):
    module = example("time_series")
    with rasterio.open(module["main"](tmp_path)) as result:
        found = result.read(1)
    months = []
    for month in module["MONTHS"]:
        with rasterio.open(tmp_path / f"{month}.tif") as source:
            months.append(source.read(1))
    stack = np.ma.masked_equal(np.stack(months), module["NODATA"])
    for row, col in [(0, 0), (100, 30), (255, 255), (128, 200)]:
        there = ~np.ma.getmaskarray(stack)[:, row, col]
        fitted = np.polyfit(np.arange(12)[there], stack[there, row, col].astype("float64"), 1)
        assert found[row, col] == pytest.approx(fitted[0], rel=1e-4, abs=1e-6)
    np.testing.assert_array_equal(found, module["slopes"](np.stack(months), module["NODATA"]))


def test_notebook(tmp_path, monkeypatch, geopod_home):
    """It is kept without outputs; run from the top it shows its maps and no seam."""
    notebook = nbformat.read(EXAMPLES / "relief.ipynb", as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    monkeypatch.setenv("TMPDIR", str(tmp_path))

    NotebookClient(
        notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": EXAMPLES}}
    ).execute()

    outputs = [output for cell in code for output in cell.outputs]
    maps = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(maps) == 2
    printed = "".join(output.text for output in outputs if output.output_type == "stream")
    assert f"0 of {342 * 401} pixels differ" in printed
    assert "1076" in str(outputs[-1]["data"]["text/plain"]), "the highest metre of the model"
