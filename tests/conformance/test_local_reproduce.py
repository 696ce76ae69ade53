"""Looking closer on this machine: one task again here, explanations, numbers, origins."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import geopod
import pytest
from capture_builders import user_module
from geopod.errors import InvalidInputError, RunFailedError, SourceChangedError
from layer_builders import raster_spec, write_raster


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("reproduce")


@pytest.fixture(scope="module")
def dem(folder):
    return write_raster(folder / "dem.tif", raster_spec())


@pytest.fixture(scope="module")
def env(folder, dem):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEOPOD_HOME", str(folder / "home"))
        patch.setenv("GEOPOD_PROGRESS", "0")
        with geopod.connect("local") as client:
            yield client.environment("closer", layers=[dem], nodes=2, overlap=1, memory="512Mi")
            client.terminate_all()


def fragile(params, ctx):
    raster = params["dem"]
    rows, columns = raster["core"]
    total = int(raster["raster"][:, rows, columns].sum())
    if ctx.index == 1:
        raise ValueError(f"total {total}")
    return [total, ctx.core_extent["xMin"]]


def test_task_gives_here_what_it_gave_on_its_node(env):
    run = env.submit(fragile)
    results = run.results(errors="return")
    first, second = run.tasks
    assert first.reproduce() == results[0]
    with pytest.raises(ValueError, match="total") as here:
        second.reproduce()
    assert str(here.value) in str(results[1])


ANALYSIS = """
from pathlib import Path
import geopod
import helper_of_reproduce

@geopod.function(include_modules=["helper_of_reproduce"], include_data=[DATA])
def f(x):
    import late_of_reproduce
    return helper_of_reproduce.twice(x) + late_of_reproduce.NUMBER + int(Path("n.txt").read_text())
"""


def test_function_with_files_has_them_here_too_and_leaves_ours_alone(env, folder):
    (folder / "helper_of_reproduce.py").write_text("def twice(x):\n    return 2 * x\n")
    (folder / "late_of_reproduce.py").write_text("NUMBER = 10\n")
    (folder / "n.txt").write_text("100")
    text = ANALYSIS.replace("DATA", repr(str(folder / "n.txt")))
    text = text.replace('"helper_of_reproduce"]', '"helper_of_reproduce", "late_of_reproduce"]')
    with user_module(folder, text, name="analysis_of_reproduce") as analysis:
        run = env.submit_map(analysis.f, [(1,), (2,)])
        assert run.results() == [112, 114]
        (folder / "helper_of_reproduce.py").write_text("def twice(x):\n    return 0\n")
        (folder / "n.txt").write_text("0")
        place, path = Path.cwd(), list(sys.path)
        helper = sys.modules["helper_of_reproduce"]
        assert [task.reproduce() for task in run.tasks] == [112, 114]
        assert (Path.cwd(), sys.path) == (place, path)
        assert sys.modules["helper_of_reproduce"] is helper
        assert sys.modules["analysis_of_reproduce"] is analysis
        assert "late_of_reproduce" not in sys.modules
    del sys.modules["helper_of_reproduce"]


def test_changed_source_is_not_staged_again(env, dem, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    run = env.submit(fragile)
    run.wait()
    kept = dem.read_bytes()
    try:
        dem.write_bytes(kept + b"\0")
        with pytest.raises(SourceChangedError):
            run.tasks[0].reproduce()
    finally:
        dem.write_bytes(kept)
    assert list(tmp_path.iterdir()) == []


def test_environment_run_and_machine_are_explained(env):
    run = env.submit(fragile)
    run.wait()
    about_env, about_run = env.explain(), run.explain()
    assert about_env.summary.startswith("'closer' is Ready, 2 of 2 nodes ready")
    assert "processes: its supervisor runs." in about_env.facts
    assert "2 of 2 tasks done, 1 failed" in about_run.summary
    assert any("ValueError" in fact or "total" in fact for fact in about_run.facts)


def test_doctor_and_capacity_look_at_this_machine(env):
    client = geopod.connect("local")
    found = client.doctor()
    assert {"disk", "memory", "uv", "environments"} <= {it.about for it in found.findings}
    (machine,) = client.capacity().machines
    assert machine.cpus >= 1
    assert machine.memory_bytes > 1 << 28
    assert f"python{env.python_version}" in client.capacity().interpreters


def test_numbers_and_origins_of_a_run(env, dem):
    run = env.submit(fragile)
    run.wait()
    stats, origins = run.stats(), run.provenance()
    assert (stats.tasks, stats.finished, stats.failed) == (2, 2, 1)
    assert stats.runtime_max_s >= stats.runtime_p50_s > 0
    assert stats.peak_max_bytes > 1 << 20
    (layer,) = origins["layers"]
    assert layer["hrefs"] == [str(dem)]
    assert set(origins["results"]) == {0}
    assert origins["results"][0]["used"] == ["dem"]


def test_partition_that_is_not_there_is_refused_before_it_is_sent(env):
    with pytest.raises(InvalidInputError, match="names 2; environment 'closer' has 2"):
        env.submit(fragile, partitions=[2])
    with pytest.raises(RunFailedError):
        env.submit(fragile, partitions=[1]).results()
