"""Partitions before and after an environment has them: `geopod plan`, `env.partitions`, `draw`."""

import asyncio
import json
from dataclasses import replace

import msgspec
import pytest
from geopod import cli
from geopod.api import names
from geopod.api.plan import encode_plan, plan_sha256
from geopod.client import aio, sync
from geopod.client.loop import shared_loop
from geopod.errors import InvalidInputError
from geopod.testing import ScriptedBackend
from layer_builders import raster_spec, scene_polygons, write_raster
from plan_builders import plan_of, raster_input


@pytest.fixture
def layers(tmp_path, monkeypatch):
    """A raster and features as files; a state folder of its own."""
    monkeypatch.setenv("GEOPOD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "80")
    spec = raster_spec()
    towns = tmp_path / "towns.gpkg"
    scene_polygons(100, spec).to_file(towns)
    return [write_raster(tmp_path / "dem.tif", spec), towns]


def call(*arguments):
    with pytest.raises(SystemExit) as left:
        cli.main([str(argument) for argument in arguments])
    return left.value.code


def a_backend(plan=None):
    """Return a backend whose environment `env` has this plan."""
    backend = ScriptedBackend([], python="3.12")

    async def fill():
        record = await backend.apply_environment(
            "env", {"nodes": 3, "layers": [{"pathId": "dem"}]}, labels={}, sources={}
        )
        if plan is not None:
            data = encode_plan(plan)
            await backend.store(record.uid).put(names.plan_key(record.uid, plan_sha256(data)), data)
            state = msgspec.structs.replace(record.state, plan_sha256=plan_sha256(data))
            backend.environments["env"] = replace(record, state=state)

    asyncio.run(fill())
    return backend


class TestCommand:
    def test_table_and_map_are_printed_and_nothing_is_started(self, layers, capsys):
        assert call("plan", *layers, "--nodes", 4) == 0
        out, err = capsys.readouterr()
        table, _, picture = out.partition("\n\n")
        assert table.splitlines()[0].lower().split()[:2] == ["partition", "west"]
        assert len(table.splitlines()) == 5
        *rows, facts = picture.strip().splitlines()
        assert set("".join(rows)) == set("0123")
        assert facts.startswith("4 partitions; ")
        assert facts.endswith("100 features")
        assert "edges in EPSG:32616" in err

    def test_what_is_worth_knowing_of_a_layer_is_said(self, tmp_path, capsys):
        path = tmp_path / "fields.geojson"
        scene_polygons(5).to_crs(4326).to_file(path, driver="GeoJSON")

        assert call("plan", path, "--nodes", 1) == 0
        assert "fields: every node reads it whole: it has no" in capsys.readouterr().err

    def test_programs_get_windows_and_bytes(self, layers, capsys):
        assert call("plan", layers[0], "-o", "json", "--overlap", 8) == 0
        rows = json.loads(capsys.readouterr().out)
        assert len(rows) == 4
        assert all(row["windows"]["dem"][2:] != [0, 0] for row in rows)
        assert all(row["bytes"] > 0 for row in rows)
        assert [row["partition"] for row in rows] == [0, 1, 2, 3]
        assert all(row["west"] < row["east"] and row["south"] < row["north"] for row in rows)
        assert sum(row["share"] for row in rows) == pytest.approx(4)

    def test_picture_goes_to_a_file(self, layers, tmp_path, capsys):
        pytest.importorskip("matplotlib")
        assert call("plan", layers[0], "--png", tmp_path / "plan.png") == 0
        assert (tmp_path / "plan.png").read_bytes().startswith(b"\x89PNG")
        assert "drawn: " in capsys.readouterr().err

    def test_layer_of_the_catalogue_is_planned_by_name(self, layers, capsys):
        assert call("layer", "add", "height", layers[0], "--timestamp", "2024") == 0
        assert call("plan", "height/2024", "--nodes", 2) == 0
        assert "2 partitions; " in capsys.readouterr().out

    @pytest.mark.parametrize("given", [[], ["dem.tif", "--env", "env"]])
    def test_files_or_an_environment_are_given(self, layers, capsys, given):
        assert call("plan", *given) == 2
        assert "give FILEs, or --env NAME" in capsys.readouterr().err

    def test_missing_layer_is_named(self, layers, capsys):
        assert call("plan", "nothing/2024") == 2
        assert "No layer 'nothing' with timestamp '2024'" in capsys.readouterr().err

    def test_plan_of_an_environment_is_the_stored_one(self, monkeypatch, capsys):
        backend = a_backend(plan_of(raster_input(raster_spec()), nodes=3))
        monkeypatch.setattr(
            "geopod.cli.plan.open_client", lambda _: sync.Client(aio.Client(backend), shared_loop())
        )
        assert call("plan", "--env", "env") == 0
        assert "3 partitions; " in capsys.readouterr().out


class TestEnvironment:
    def test_partitions_are_a_frame_with_a_row_per_node(self):
        backend = a_backend(plan_of(raster_input(raster_spec()), nodes=3))
        with sync.Client(aio.Client(backend), shared_loop()) as client:
            frame = client.get_environment("env").partitions
        assert frame.index.tolist() == [0, 1, 2]
        assert frame.crs == "EPSG:32616"

    def test_picture_is_drawn_where_it_is_wanted(self, tmp_path):
        pytest.importorskip("matplotlib")
        backend = a_backend(plan_of(raster_input(raster_spec()), nodes=3))
        with sync.Client(aio.Client(backend), shared_loop()) as client:
            path = client.get_environment("env").draw(tmp_path / "plan.svg")
        assert "<svg" in path.read_text()

    def test_environment_that_is_not_planned_says_so(self):
        with (
            sync.Client(aio.Client(a_backend()), shared_loop()) as client,
            pytest.raises(InvalidInputError, match="'env' has no plan yet"),
        ):
            client.get_environment("env").plan()
