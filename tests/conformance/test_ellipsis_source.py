"""Ellipsis Drive as a layer's source, beside its genuine package: equal pixels, equal features."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections import Counter

import geopod
import numpy as np
import pytest
import rasterio
from ellipsis_drive import (
    FOLDER,
    JUNE,
    MAY,
    RASTER,
    TRASHED,
    VECTOR,
    TiledRaster,
    a_feature,
    a_raster,
    ellipsis_drive,
)
from geopod.api.plan import encode_plan
from geopod.coordinator.planning import PlanRequest, plan_layers
from geopod.errors import LayerAccessError, SourceChangedError
from geopod.faces import ellipsis as el
from geopod.layers.headers import read_header
from geopod.layers.stage import stage_partition
from source_builders import quick_access
from staging_builders import stage_job, web_source

with warnings.catch_warnings():  # it silences the warnings of the whole process
    import ellipsis

FIELDS = "0b7c5a52-93c2-4f7c-8d51-5d1d7f2f0a11"
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
TOKEN = "t0ken-of-ana"  # noqa: S105  # of a server in this test
LONG_NUMBER = b'{"result":{"features":[{"properties":{"n":%b}}]}}' % (b"9" * 5000)
FEATURES = [a_feature(number, name="" if number % 3 else f"n{number}") for number in range(30)]


@pytest.fixture
def drive():
    with ellipsis_drive(features=FEATURES) as served:
        yield served


def source_of(drive, path=RASTER, timestamp=MAY, **changes):
    href = drive.uri(path, timestamp)
    return web_source(href, **{"key": "it", "path_id": "it", **changes})


def in_all_pixels(values):
    """Return what a layer of these pixels holds: nothing where the last band is 0."""
    fill = np.nan if values.dtype.kind == "f" else 0
    return np.where(values[-1] > 0, values[:-1], fill)


def genuine_raster(drive, monkeypatch, rows, columns):
    """Return what the genuine client reads of a window of the raster's pixels, all bands."""
    monkeypatch.setattr(ellipsis.apiManager, "baseUrl", drive.url)
    x, y = drive.raster.corner(columns.start + 0.5, rows.start + 0.5)
    right, bottom = drive.raster.corner(columns.stop - 0.5, rows.stop - 0.5)
    extent = {"xMin": x, "xMax": right, "yMin": bottom, "yMax": y}
    # Its own fails with pandas 3, where `.values` may not be written to.
    told = {"status": "200", "message": extent}
    monkeypatch.setattr(ellipsis.path.raster.timestamp.root, "getActualExtent", lambda *_: told)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = ellipsis.path.raster.timestamp.getRaster(
            RASTER, MAY, extent, token=TOKEN, showProgress=False
        )
    return found["raster"]


@pytest.mark.parametrize(
    ("dtype", "pages_of_bands"), [("float32", False), ("uint8", True), ("uint16", False)]
)
def test_pixels_are_those_of_the_genuine_client(tmp_path, monkeypatch, dtype, pages_of_bands):
    raster = a_raster(bands=3, dtype=dtype)
    with ellipsis_drive(raster, token=TOKEN, pages_of_bands=pages_of_bands) as drive:
        access = quick_access(credentials={"it": {"ELLIPSIS_TOKEN": TOKEN}})
        job = stage_job(tmp_path, source_of(drive), nodes=1, access=access)
        rows, columns = slice(30, 290), slice(250, 600)

        theirs = genuine_raster(drive, monkeypatch, rows, columns)

    ours = job.array(0, "it")
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours[:, rows, columns], in_all_pixels(theirs))
    np.testing.assert_array_equal(ours, in_all_pixels(raster.values))
    assert rasterio.Affine(*job.record(0, "it")["transform"]).almost_equals(raster.transform)


def test_features_are_those_of_the_genuine_client(drive, tmp_path, monkeypatch):
    monkeypatch.setattr(ellipsis.apiManager, "baseUrl", drive.url)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = ellipsis.path.vector.timestamp.listFeatures(VECTOR, MAY)["result"]
    job = stage_job(tmp_path, source_of(drive, VECTOR), nodes=1)

    rows = job.rows(0, "it").to_pandas().set_index("id").sort_index()
    theirs = theirs.set_index("id").sort_index()
    assert list(rows.index) == list(theirs.index)
    for name in ("number", "height", "name"):
        assert rows[name].tolist() == theirs[name].tolist()
    assert rows["geometry"].tolist() == theirs.geometry.to_wkb().tolist()


@pytest.mark.parametrize("nodes", [1, 2, 3, 7])
def test_pixels_and_features_are_there_once_whatever_the_nodes(drive, tmp_path, nodes):
    features = web_source(drive.uri(VECTOR, MAY), key="fields", path_id="fields")
    job = stage_job(tmp_path, source_of(drive), features, nodes=nodes, access=quick_access())

    found = Counter(np.concatenate([job.core(k, "it").ravel() for k in job]).tolist())
    whole = in_all_pixels(drive.raster.values)
    assert sum(found.values()) == whole.size
    assert set(found) - {np.nan} >= set(whole[~np.isnan(whole)].tolist())
    numbers = [number for k in job for number in job.rows(k, "fields")["number"].to_pylist()]
    outside = job.plan.totals.features_outside["fields"]
    assert len(numbers) == len(set(numbers)) == len(FEATURES) - outside
    assert numbers


def test_planning_asks_for_no_tile_and_a_node_for_each_of_its_own_once(drive, tmp_path):
    plan, _ = plan_layers(PlanRequest(layers=(source_of(drive),), nodes=4), quick_access())
    assert not drive.tiles()
    assert len(drive.asked) == 4

    for k in range(4):
        drive.asked.clear()
        stage_partition(plan, "sha", k, tmp_path, access=quick_access())
        row, column, height, width = plan.partitions[k].padded["it"]
        rows = range(row // 256, -(-(row + height) // 256))
        columns = range(column // 256, -(-(column + width) // 256))
        x, y, zoom = drive.raster.x, drive.raster.y, drive.raster.zoom
        expected = [f"{zoom}/{x + c}/{y + r}" for r in rows for c in columns]
        assert sorted(drive.tiles()) == sorted(expected)


def test_warped_blocks_do_not_depend_on_the_nodes(drive, tmp_path):
    options = {"crs": "EPSG:32631", "access": quick_access()}
    source = source_of(drive, resampling="bilinear")
    alone = stage_job(tmp_path / "one", source, nodes=1, **options).core(0, "it")
    many = stage_job(tmp_path / "many", source, nodes=3, **options)

    assert 0.5 < np.isfinite(alone).mean() < 1.0
    for k in many:
        row, column, height, width = many.plan.partitions[k].windows["it"]
        part = alone[:, row : row + height, column : column + width]
        np.testing.assert_array_equal(many.core(k, "it"), part)


def test_warped_pixels_are_those_of_the_same_raster_as_a_file(drive, tmp_path):
    values = drive.raster.values
    path = tmp_path / "same.tif"
    with rasterio.open(
        path, "w", driver="GTiff", count=len(values) - 1, height=512, width=768, dtype="float32",
        crs="EPSG:3857", transform=drive.raster.transform,
    ) as file:  # fmt: skip
        file.write(values[:-1])
        file.write_mask(values[-1] > 0)
    options = {"crs": "EPSG:32631", "access": quick_access(), "nodes": 1}
    same = web_source(str(path), key="it", path_id="it")

    ours = stage_job(tmp_path / "drive", source_of(drive), **options).core(0, "it")
    theirs = stage_job(tmp_path / "file", same, **options).core(0, "it")

    np.testing.assert_array_equal(ours, theirs)


def test_features_are_listed_once_for_all_who_share_a_folder(drive, tmp_path):
    access = quick_access(listings=tmp_path / "listings")
    for nodes in (2, 3):
        stage_job(tmp_path / str(nodes), source_of(drive, VECTOR), nodes=nodes, access=access)

    pages = [path for path in drive.routes() if path.endswith("/listFeatures")]
    assert len(pages) == -(-len(FEATURES) // drive.page)
    assert len(list((tmp_path / "listings").iterdir())) == 1

    unused = tmp_path / "listings" / "ellipsis-of-another-path.parquet"
    unused.touch()
    os.utime(unused, (0, 0))
    drive.features = FEATURES[:20]
    job = stage_job(tmp_path / "again", source_of(drive, VECTOR), nodes=1, access=access)
    assert job.rows(0, "it").num_rows == 20
    assert len(list((tmp_path / "listings").iterdir())) == 1, "what is old is let go"


def test_preset_of_the_drive_appends_where_there_are_pixels(drive, tmp_path):
    grid = {"preset": "ellipsis"}
    job = stage_job(tmp_path, source_of(drive), nodes=1, grid=grid, access=quick_access())

    record, whole = job.record(0, "it"), job.core(0, "it")
    assert record["bands"] == ["band 1", "band 2", "validity"]
    np.testing.assert_array_equal(whole[-1], drive.raster.values[-1])
    np.testing.assert_array_equal(whole[:-1], in_all_pixels(drive.raster.values))


def test_bands_are_chosen_by_name_and_the_last_one_by_its_own(drive, tmp_path):
    source = source_of(drive, bands=("band 2", 3))
    job = stage_job(tmp_path, source, nodes=1, access=quick_access())

    there = drive.raster.values[-1] > 0
    second, last = job.core(0, "it")
    np.testing.assert_array_equal(second[there], drive.raster.values[1][there])
    assert (last[there] == 1.0).all()


def test_listing_over_the_limit_is_refused(drive, monkeypatch):
    monkeypatch.setattr("geopod.layers.ellipsis_features._MOST_BYTES", 2000)

    with pytest.raises(LayerAccessError, match="export it as GeoParquet"):
        read_header(source_of(drive, VECTOR), quick_access())

    assert sum(path.endswith("/listFeatures") for path in drive.routes()) <= 2


def test_path_without_a_timestamp_is_its_newest_active_one(drive):
    opened = read_header(source_of(drive, timestamp=""), quick_access())

    assert opened.source.hrefs == (drive.uri(RASTER, JUNE),)


def test_timestamps_make_a_mosaic_with_the_later_one_on_top(drive, tmp_path):
    hrefs = (drive.uri(RASTER, MAY), drive.uri(RASTER, JUNE))
    newer = np.where(drive.raster.values[-1] > 0, drive.raster.values, 0)
    newer[:, :, :400] = 0
    drive.others[JUNE] = TiledRaster(newer + (newer > 0))

    job = stage_job(tmp_path, source_of(drive, hrefs=hrefs), nodes=2, access=quick_access())

    below, above = in_all_pixels(drive.raster.values), in_all_pixels(drive.others[JUNE].values)
    whole = np.where(np.isnan(above), below, above)
    for k in job:
        row, column, height, width = job.plan.partitions[k].windows["it"]
        part = whole[:, row : row + height, column : column + width]
        np.testing.assert_array_equal(job.core(k, "it"), part)


def test_drive_and_a_file_make_no_mosaic(drive):
    hrefs = (drive.uri(RASTER, MAY), "/data/scene.tif")

    with pytest.raises(LayerAccessError, match="make no mosaic"):
        read_header(source_of(drive, hrefs=hrefs), quick_access())


def test_timestamp_that_changes_after_planning_is_told(drive, tmp_path):
    plan, _ = plan_layers(PlanRequest(layers=(source_of(drive),), nodes=1), quick_access())
    drive.changes[MAY] = {"description": "told anew", "styles": [1]}
    stage_partition(plan, "sha", 0, tmp_path / "same", access=quick_access())

    drive.changes[MAY] = {"uploads": {"completed": 2}}
    with pytest.raises(SourceChangedError):
        stage_partition(plan, "sha", 0, tmp_path / "other", access=quick_access())


@pytest.mark.parametrize("keys", [{}, {"ELLIPSIS_TOKEN": "wrong"}, {"GDAL_HTTP_BEARER": TOKEN}])
def test_token_that_does_not_suffice_names_the_secret(drive, keys):
    drive.token = TOKEN
    access = quick_access(credentials={"it": keys}, secrets={"it": "drive-key"})

    with pytest.raises(LayerAccessError, match=r"403 .*\(secret 'drive-key'\)") as caught:
        read_header(source_of(drive), access)

    assert (caught.value.code, caught.value.details["reason"]) == ("E122", "AuthFailed")
    assert "wrong" not in str(caught.value.to_wire())


@pytest.mark.parametrize("path", [RASTER, VECTOR])
def test_token_is_in_a_header_and_nowhere_else(drive, tmp_path, caplog, path):
    drive.token = TOKEN
    access = quick_access(credentials={"it": {"ELLIPSIS_TOKEN": f"Bearer {TOKEN}"}})

    with caplog.at_level(logging.DEBUG):
        job = stage_job(tmp_path, source_of(drive, path), nodes=2, access=access)

    assert TOKEN not in caplog.text + repr(access)
    assert TOKEN.encode() not in encode_plan(job.plan)
    for asked_path, query, headers in drive.asked:
        assert headers["Authorization"] == f"Bearer {TOKEN}"
        assert TOKEN not in f"{asked_path} {query}"


@pytest.mark.parametrize(
    ("path", "timestamp", "changes", "words"),
    [
        pytest.param(JUNE, MAY, {}, "404", id="unknown path"),
        pytest.param(FOLDER, "", {}, "type 'folder'", id="folder"),
        pytest.param(RASTER, FOLDER, {}, f"no such timestamp, but {JUNE}", id="unknown time"),
        pytest.param(RASTER, TRASHED, {}, "is in the trash", id="trashed"),
        pytest.param(RASTER, MAY, {MAY: {"status": "passive"}}, "activate it", id="passive"),
        pytest.param(
            RASTER, MAY, {MAY: {"availability": {"blocked": True, "reason": "reindexing"}}},
            r"blocked \(reindexing\)", id="blocked",
        ),
        pytest.param(RASTER, "", {RASTER: {"timestamps": []}}, "none of .* is active", id="empty"),
        pytest.param(RASTER, MAY, {MAY: {"zoom": 99}}, "zoom 99", id="zoom"),
        pytest.param(RASTER, MAY, {MAY: {"zoom": "9"}}, "zoom '9'", id="zoom as text"),
        pytest.param(RASTER, MAY, {RASTER: {"format": "object"}}, "format 'object'", id="format"),
        pytest.param(RASTER, MAY, {RASTER: {"bands": [{}] * 5000}}, "1 to 256", id="bands"),
        pytest.param(RASTER, MAY, {RASTER: {"timestamps": {}}}, "which timestamps", id="no list"),
    ],
)  # fmt: skip
def test_path_that_is_no_layer_says_why_before_a_node_starts(
    drive, path, timestamp, changes, words
):
    drive.changes = changes

    with pytest.raises(LayerAccessError, match=words) as caught:
        read_header(source_of(drive, path, timestamp), quick_access())

    assert caught.value.code == "E122"
    assert not drive.tiles()


def test_path_of_the_other_kind_is_refused_by_its_uri(drive):
    source = source_of(drive, VECTOR, kind="raster")

    with pytest.raises(LayerAccessError, match=f"{drive.uri(VECTOR, MAY)[9:]} is Parquet, not a"):
        read_header(source, quick_access())


@pytest.mark.parametrize(
    ("path", "instead", "words"),
    [
        (RASTER, {RASTER: b"<html>"}, "is not JSON"),
        (RASTER, {RASTER: b"[1]"}, "not a JSON object"),
        (RASTER, {RASTER: b"[" * 100_000}, "is not JSON"),
        (RASTER, {RASTER: b" " * (17 << 20)}, "whole files|limit"),
        (RASTER, {"/bounds": {"coordinates": []}}, "bounds cannot be read"),
        (RASTER, {"/bounds": {"coordinates": [500, 100]}}, "no degrees"),
        (RASTER, {"/tile/12/2101/1300": b"no tiff"}, "a tile cannot be read"),
        (RASTER, {"/tile/12/2101/1300": b""}, "a tile cannot be read"),
        (RASTER, {"/tile/12/2101/1300": 500}, "500"),
        (VECTOR, {"/listFeatures": {"result": {}}}, "page of its features cannot be read"),
        (
            VECTOR,
            {"/listFeatures": {"result": {"features": [{"geometry": {"type": "P"}}]}}},
            "page",
        ),
        (VECTOR, {"/listFeatures": {"result": {"features": []}, "nextPageStart": 1}}, "nowhere"),
        (VECTOR, {"/listFeatures": LONG_NUMBER}, "its features cannot be read"),
    ],
)
def test_answer_that_makes_no_sense_is_told(drive, tmp_path, path, instead, words):
    drive.instead = instead

    with pytest.raises(LayerAccessError, match=words) as caught:
        stage_job(tmp_path, source_of(drive, path), nodes=1, access=quick_access())

    assert caught.value.code == "E122"


def test_tile_of_another_shape_is_refused(drive, tmp_path):
    drive.raster.tile = lambda *_: np.ones((3, 128, 256), "float32")

    with pytest.raises(LayerAccessError, match="not 3 x 256 x 256"):
        stage_job(tmp_path, source_of(drive), nodes=1, access=quick_access())


def test_server_that_is_busy_or_cut_off_for_a_moment_is_asked_again(drive, tmp_path):
    drive.instead = {RASTER: [503], "/tile/12/2101/1300": [429, "cut"]}

    job = stage_job(tmp_path, source_of(drive), nodes=1, access=quick_access())

    np.testing.assert_array_equal(job.core(0, "it"), in_all_pixels(drive.raster.values))


def test_answer_that_is_always_cut_says_how_often_it_was_asked_for(drive):
    drive.instead = {"/bounds": "cut"}

    with pytest.raises(LayerAccessError, match="did not answer") as caught:
        read_header(source_of(drive), quick_access())

    assert caught.value.details["tries"] == 3
    assert sum(path.endswith("/bounds") for path in drive.routes()) == 3


def test_drive_that_is_away_is_told_with_its_address(drive, tmp_path):
    with ellipsis_drive() as away:
        source = source_of(away)

    with pytest.raises(LayerAccessError, match="did not answer") as caught:
        read_header(source, quick_access())

    assert caught.value.details["host"] == away.url.removeprefix("http://")


def test_drive_that_leads_to_the_metadata_address_is_not_followed(drive):
    drive.instead = {RASTER: "-> http://169.254.169.254/latest"}

    with pytest.raises(LayerAccessError, match="an address that layers may not have"):
        read_header(source_of(drive), quick_access())


def test_block_over_too_many_tiles_names_a_grid_that_is_finer(drive, tmp_path):
    ring = [[0, 50], [12, 50], [12, 58], [0, 58], [0, 50]]
    drive.instead = {"/bounds": {"type": "Polygon", "coordinates": [ring]}}
    coarse = tmp_path / "coarse.tif"
    with rasterio.open(
        coarse, "w", driver="GTiff", count=1, height=64, width=64, dtype="uint8",
        crs="EPSG:32631", transform=rasterio.Affine(9000, 0, 300_000, 0, -9000, 6_400_000),
    ):  # fmt: skip
        pass
    like = web_source(str(coarse), key="coarse", path_id="coarse")
    options = {"grid": {"like": "coarse"}, "align": True, "nodes": 1, "access": quick_access()}

    with pytest.raises(LayerAccessError, match="take a finer grid"):
        stage_job(tmp_path, like, source_of(drive), **options)

    assert not drive.tiles()


def test_script_of_the_drive_runs_over_its_own_paths(drive, geopod_home):
    drive.token = TOKEN

    def describe(params):
        import numpy as np

        raster, fields = params[MAY]["raster"], params[FIELDS]
        return int(np.isfinite(raster).sum()), sorted(fields["number"])

    with geopod.connect("local") as client:
        secret = {"ELLIPSIS_TOKEN": TOKEN}
        added = client.add_layer(RASTER, drive.uri(RASTER), secret=secret)
        client.add_layer(
            VECTOR, drive.uri(VECTOR, MAY), timestamp=FIELDS, secret=secret, type="vector"
        )
    assert (added.type, list(added.timestamps)) == ("raster", [MAY, JUNE])

    el.connect("local")
    layers = [
        {"pathId": RASTER, "timestampId": MAY},
        {"pathId": VECTOR, "timestampId": FIELDS},
    ]
    compute = el.createCompute(layers, None, nodes=2, interpreter=PYTHON)["id"]
    results = el.execute(compute, describe, None)
    el.terminateCompute(compute, None)

    assert sum(count for count, _ in results) == 2 * int(drive.raster.values[-1].sum())
    numbers = [number for _, found in results for number in found]
    assert len(numbers) == len(set(numbers)) > 0
    pages = [path for path in drive.routes() if path.endswith("/listFeatures")]
    assert len(pages) == -(-len(FEATURES) // drive.page), "planner and nodes share one listing"
