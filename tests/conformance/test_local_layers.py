"""Layers through the local backend's processes: planned, staged, used, and published again."""

import asyncio
import zlib
from contextlib import aclosing
from pathlib import Path

import geopandas
import geopod
import numpy as np
import pystac
import pytest
import rasterio
from geopod.backends.local.launch import until_ended
from geopod.errors import (
    InconsistentPartsError,
    LayerNotFoundError,
    NotAFileResultError,
    RunFailedError,
)
from geopod.errors.runs import TIMES
from layer_builders import UTM, raster_spec, scene_polygons, write_raster
from local_builders import (
    an_order,
    applied,
    asleep,
    ended,
    finished,
    left_of,
    ready,
    story,
    until,
    values_of,
)
from zarr_builders import temperatures, write_zarr

SPEC = raster_spec()
DEM = {"pathId": "dem", "timestampId": "2024"}
DOUBLE = {"pathId": "double", "timestampId": "2024"}
TOWNS = {"pathId": "towns", "timestampId": "now"}
COUNT = """
def f(params):
    raster = params["2024"]
    rows, columns = raster["core"]
    pixels = raster["raster"][:, rows, columns]
    return [int(pixels.sum()), pixels.size]
"""
LIST = "def f(params): return sorted(params['now'].index.tolist())"


@pytest.fixture
def dem(tmp_path):
    return write_raster(tmp_path / "dem.tif", SPEC)


@pytest.fixture
def towns(tmp_path):
    path = tmp_path / "towns.gpkg"
    scene_polygons(200, SPEC).to_file(path)
    return path


@pytest.fixture
def act_on(local_home, dem, towns):
    """Return what runs a coroutine function on a backend that knows both layers."""

    def run(act):
        async def begin(backend):
            stamps = [{"id": "2024", "uris": [str(dem)]}]
            await backend.apply_layer("dem", {"type": "raster", "timestamps": stamps})
            stamps = [{"id": "now", "uris": [str(towns)]}]
            await backend.apply_layer("towns", {"type": "vector", "timestamps": stamps})
            return await act(backend)

        return story(local_home, begin)

    return run


async def sum_of_pixels(backend, record):
    """Run COUNT on every node, and add up what each of them has seen."""
    order = an_order(record.uid, COUNT)
    state = await finished(backend, order)
    assert state.phase == "Succeeded", state.failures
    return sum(total for total, _ in await values_of(backend, order))


def test_each_node_sees_its_own_pixels_and_features(act_on, towns):
    async def act(backend):
        record = await ready(backend, nodes=4, layers=[DEM, TOWNS])
        results = []
        for text in (COUNT, LIST):
            order = an_order(record.uid, text)
            state = await finished(backend, order)
            assert state.phase == "Succeeded", state.failures
            results.append(await values_of(backend, order))
        return results

    pixels, features = act_on(act)
    whole = SPEC.values()
    assert len(pixels) == len(features) == 4
    assert sum(total for total, _ in pixels) == int(whole.sum())
    assert sum(size for _, size in pixels) == whole.size
    found = [index for indexes in features for index in indexes]
    assert len(found) == len(set(found)) == len(geopandas.read_file(towns))


def test_plain_file_is_a_layer(act_on, dem):
    async def act(backend):
        layers = [{"pathId": "dem", "timestampId": "dem"}]
        record = await ready(backend, nodes=2, layers=layers, sources={"dem": dem})
        order = an_order(record.uid, "def f(params): return int(params['dem']['raster'].sum())")
        assert (await finished(backend, order)).phase == "Succeeded"
        return sum(await values_of(backend, order))

    assert act_on(act) == int(SPEC.values().sum())


def test_broken_layer_fails_the_environment_with_its_error_and_ends_its_nodes(act_on, dem):
    async def act(backend):
        dem.write_bytes(b"II*\0 and nothing more")
        await backend.apply_environment("env", {"nodes": 2, "layers": [DEM]}, labels={})
        heard = await until(backend, "env", "Ready", "Failed")
        await until_ended(backend.folder, backend.folder.read_environment("env"))
        found = await backend.get_environment("env")
        return heard, found.state, left_of(found.uid)

    heard, kept, left = act_on(act)
    assert (heard.phase, heard.code) == ("Failed", "E122"), heard
    assert (kept.phase, kept.code, kept.connected, kept.ready) == ("Failed", "E122", 0, 0), kept
    assert not left


def test_refreshed_environment_sees_the_bytes_that_are_there_now(act_on, dem):
    async def act(backend):
        record = await ready(backend, nodes=2, layers=[DEM])
        write_raster(dem, SPEC, SPEC.values() * 0 + 1)
        await backend.refresh_environment("env")
        await until(backend, "env", "Ready")
        return await sum_of_pixels(backend, record)

    assert act_on(act) == SPEC.values().size


@pytest.mark.parametrize("change", ["bytes", "layers"])
def test_run_that_follows_a_change_at_once_waits_for_its_plan(act_on, dem, change):
    async def act(backend):
        record = await ready(backend, nodes=2, layers=[DEM])
        assert (await finished(backend, an_order(record.uid, COUNT))).phase == "Succeeded"
        ones = write_raster(dem.with_name("ones.tif"), SPEC, SPEC.values() * 0 + 1)
        if change == "bytes":
            ones.replace(dem)
            await backend.refresh_environment("env")
        else:
            stamps = [{"id": "2024", "uris": [str(ones)]}]
            await backend.apply_layer("ones", {"type": "raster", "timestamps": stamps})
            await applied(backend, "env", nodes=2, layers=[{**DEM, "pathId": "ones"}])
        return await sum_of_pixels(backend, record)

    assert act_on(act) == SPEC.values().size


def test_refresh_wakes_an_environment_that_sees_the_bytes_that_are_there_now(act_on, dem):
    async def act(backend):
        record = await asleep(backend, nodes=2, layers=[DEM], idle={"afterSeconds": 0.5})
        write_raster(dem, SPEC, SPEC.values() * 0 + 1)
        await backend.refresh_environment("env")
        return await sum_of_pixels(backend, record)

    assert act_on(act) == SPEC.values().size


def test_run_that_follows_a_change_of_processes_waits_for_those_to_come(act_on, dem):
    told = (
        "import os\ndef f(params): return [int(params['2024']['raster'].sum()), os.environ['SIDE']]"
    )
    ones = write_raster(dem.with_name("ones.tif"), SPEC, SPEC.values() * 0 + 1)

    async def act(backend):
        sides = [[{"name": "SIDE", "value": side}] for side in ("left", "right")]
        record = await ready(backend, nodes=2, layers=[DEM], env=sides[0])
        busy = an_order(record.uid, "import time\ndef f(params): time.sleep(4)")
        running = asyncio.ensure_future(finished(backend, busy))
        await asyncio.sleep(1.5)  # the supervisor has heard of it
        stamps = [{"id": "2024", "uris": [str(ones)]}]
        await backend.apply_layer("ones", {"type": "raster", "timestamps": stamps})
        await applied(backend, "env", nodes=2, layers=[{**DEM, "pathId": "ones"}], env=sides[1])
        order = an_order(record.uid, told)
        state = await finished(backend, order)
        assert state.phase == "Succeeded", state.failures
        assert (await running).phase == "Succeeded"
        return await values_of(backend, order)

    half = SPEC.values().size // 2
    assert act_on(act) == [[half, "right"], [half, "right"]]


def test_environment_that_begins_again_sees_the_bytes_that_are_there_now(act_on, dem):
    async def act(backend):
        record = await ready(backend, nodes=2, layers=[DEM])
        await backend.terminate_environment("env", wait=True)
        write_raster(dem, SPEC, SPEC.values() * 0 + 1)
        record = await ready(backend, nodes=2, layers=[DEM])
        return await sum_of_pixels(backend, record)

    assert act_on(act) == SPEC.values().size


def test_refreshed_environment_sees_new_chunks_under_the_same_metadata(act_on, tmp_path):
    store = write_zarr(tmp_path / "era.zarr")
    total = "def f(params): return float(params['now']['raster'].sum(dtype='f8'))"

    async def act(backend):
        stamps = [{"id": "now", "uris": [f"{store}#t2m"]}]
        await backend.apply_layer("t2m", {"type": "raster", "timestamps": stamps})
        layers = [{"pathId": "t2m", "timestampId": "now"}]
        record = await ready(backend, nodes=2, layers=layers)
        sums = []
        for _ in range(2):
            order = an_order(record.uid, total)
            assert (await finished(backend, order)).phase == "Succeeded"
            sums.append(sum(await values_of(backend, order)))
            for chunk in (store / "t2m").glob("[0-9]*"):
                chunk.write_bytes(zlib.compress(bytes(10 * 10 * 4)))
            await backend.refresh_environment("env")
        return sums

    assert act_on(act) == [float(temperatures().sum(dtype="f8")), 0.0]


def test_woken_environment_does_not_stage_again(act_on):
    async def act(backend):
        record = await asleep(backend, nodes=4, layers=[DEM], idle={"afterSeconds": 0.5})
        folder = backend.folder.environment("env") / "scratch"
        before = {path: path.stat().st_mtime_ns for path in folder.rglob("DONE")}
        assert len(before) == 4
        order = an_order(record.uid, COUNT)
        assert (await finished(backend, order)).phase == "Succeeded"
        assert {path: path.stat().st_mtime_ns for path in folder.rglob("DONE")} == before

    act_on(act)


def test_raster_results_become_a_layer_whose_pixels_are_those_of_the_whole(act_on, local_home):
    double = "def f(params): return params['2024']['raster'] * 2"

    async def act(backend):
        record = await ready(backend, nodes=4, layers=[DEM], partitioning={"overlap": 2})
        await backend.apply_layer("double", {"type": "raster"})
        order = an_order(record.uid, double, write_to=DOUBLE)
        state = await finished(backend, order)
        assert state.phase == "Succeeded", (state.message, state.failures)
        first = (await backend.get_layer("double")).spec["timestamps"]
        await backend.publish([order.name], DOUBLE)
        assert (await backend.get_layer("double")).spec["timestamps"] == first
        layers = [{"pathId": "double", "timestampId": "2024"}]
        record = await ready(backend, nodes=2, name="next", layers=layers)
        text = "def f(params): return int(params['2024']['raster'].sum())"
        order = an_order(record.uid, text)
        assert (await finished(backend, order)).phase == "Succeeded"
        return first, sum(await values_of(backend, order))

    stamps, total = act_on(act)
    (href,) = stamps[0]["uris"]
    with rasterio.open(href) as source:
        np.testing.assert_array_equal(source.read(), SPEC.values() * 2)
        assert source.transform == SPEC.transform
        assert source.crs == UTM
    assert total == int(SPEC.values().sum()) * 2
    assert href.startswith(str(local_home))


def test_features_become_a_layer(act_on, towns):
    target = {"pathId": "marked", "timestampId": "now"}
    mark = "def f(params): return params['now'].assign(marked=True)"

    async def act(backend):
        record = await ready(backend, nodes=4, layers=[TOWNS])
        await backend.apply_layer("marked", {"type": "vector"})
        order = an_order(record.uid, mark, write_to=target)
        state = await finished(backend, order)
        assert state.phase == "Succeeded", (state.message, state.failures)
        return (await backend.get_layer("marked")).spec["timestamps"][0]["uris"]

    (href,) = act_on(act)
    assert len(geopandas.read_parquet(href)) == len(geopandas.read_file(towns))


def test_result_that_is_no_file_cannot_be_added_to_a_layer(act_on):
    async def act(backend):
        record = await ready(backend, nodes=2, layers=[DEM])
        order = an_order(record.uid, "def f(params): return 1")
        await finished(backend, order)
        await backend.apply_layer("double", {"type": "raster"})
        with pytest.raises(NotAFileResultError, match="node 0 returned"):
            await backend.publish([order.name], DOUBLE)
        return (await backend.get_layer("double")).spec["timestamps"]

    assert act_on(act) == []


def test_parts_that_do_not_fit_fail_the_run_by_name(act_on):
    text = (
        "def f(params, ctx):\n"
        "    array = params['2024']['raster']\n"
        "    return array.astype('float32') if ctx.index else array\n"
    )

    async def act(backend):
        record = await ready(backend, nodes=2, layers=[DEM])
        await backend.apply_layer("double", {"type": "raster"})
        order = an_order(record.uid, text, write_to=DOUBLE)
        state = await finished(backend, order)
        again = await ended(backend, order.name)
        assert (again.phase, again.reason) == (state.phase, state.reason)
        assert state.succeeded == 2
        return state

    state = act_on(act)
    assert (state.phase, state.reason) == ("Failed", "InconsistentParts")
    assert "1 of 2 parts differ" in state.message


def test_partial_layer_lacks_what_failed_until_a_rerun_fills_it(tmp_path, dem, geopod_home):
    mended = tmp_path / "mended"

    def double(params, ctx):
        if ctx.index == 1 and not mended.exists():
            raise ValueError("not yet")
        return params["dem"]["raster"] * 2

    with geopod.connect("local") as client:
        client.add_layer("dem", dem, type="raster")
        client.add_layer("doubled", type="raster")
        with client.environment(layers=[("dem", "dem")], nodes=2) as env:
            target = {"pathId": "doubled", "timestampId": "2024", "partial": True}
            run = env.submit(double, write_to=target)
            with pytest.raises(RunFailedError, match="not yet"):
                run.results()
            assert run.message == (
                f'1 of 2 tasks failed: 1 {TIMES} ValueError "not yet" (task 1). 1 result kept. '
                "Layer 'doubled/2024' has the other results; task 1 is missing there."
            )
            (holed,) = client.get_layer("doubled").files("2024")
            row, column, height, width = env.plan().partitions[1].windows["dem"]
            mended.touch()
            run.rerun().results()
            (whole,) = client.get_layer("doubled").files("2024")
    expected = SPEC.values() * 2
    with rasterio.open(whole) as source:
        np.testing.assert_array_equal(source.read(), expected)
    with rasterio.open(holed) as source:
        assert source.shape == expected.shape[1:]
        expected[0, row : row + height, column : column + width] = 0
        np.testing.assert_array_equal(source.read(), expected)
    (item,) = Path(holed).parents[1].glob("item-1-*.json")
    assert pystac.Item.from_file(item).properties["geopod:missing_tasks"] == [1]


def test_missing_target_layer_is_said_before_anything_runs(act_on):
    async def act(backend):
        record = await ready(backend, layers=[DEM])
        target = {"pathId": "nowhere", "timestampId": "2024"}
        order = an_order(record.uid, write_to=target)
        with pytest.raises(LayerNotFoundError, match="No layer 'nowhere'"):
            async with aclosing(backend.submit(order)) as states:
                await anext(states)
        return await backend.list_runs()

    assert act_on(act) == []


def test_reruns_finish_the_layer_that_failed_nodes_kept_from_being_one(tmp_path, dem, geopod_home):
    """Each rerun publishes with what the runs before it had; chosen partitions, what they cover."""
    mended = tmp_path / "mended"
    mended.mkdir()

    def double(params, ctx):
        if ctx.index > len(list(mended.iterdir())):
            raise ValueError("not yet")
        return params["dem"]["raster"] * 2

    with geopod.connect("local") as client:
        client.add_layer("dem", dem, type="raster")
        client.add_layer("doubled", type="raster")
        with client.environment(layers=[("dem", "dem")], nodes=3) as env:
            run = env.submit(double, write_to=("doubled", "whole"))
            for node in (1, 2):
                with pytest.raises(RunFailedError, match="not yet"):
                    run.results()
                with pytest.raises(InconsistentPartsError, match=r"of 3 tasks .* have no result"):
                    run.add_to_layer(("doubled", "whole"))
                assert client.get_layer("doubled").timestamps == ()
                (mended / str(node)).touch()
                run = run.rerun()
            assert len(run.results()) == 3
            whole = client.get_layer("doubled").files("whole")
            assert run.add_to_layer(("doubled", "whole")).files("whole") == whole
            env.submit(double, write_to=("doubled", "part"), partitions=[1]).results()
            (part,) = client.get_layer("doubled").files("part")
    with rasterio.open(*whole) as source, rasterio.open(part) as piece:
        np.testing.assert_array_equal(source.read(), SPEC.values() * 2)
        there = source.window(*piece.bounds)
        np.testing.assert_array_equal(piece.read(), source.read(window=there))
        assert piece.width * piece.height < source.width * source.height
