"""The command line against a scripted backend: what is printed where, and exit codes."""

from __future__ import annotations

import io
import json
import sys

import pytest
from geopod.backends import Finding
from geopod.cli import command as cli
from geopod.client import aio, sync
from geopod.client.loop import shared_loop
from geopod.testing import ScriptedBackend

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
SCRIPT = """
def fine(params):
    return 1

async def nothing(params):
    pass
"""


@pytest.fixture
def backend(monkeypatch):
    """Make every command talk to one scripted backend whose tasks return 1, None, "x"."""
    scripted = ScriptedBackend([1, None, "x"], python=PYTHON)

    def connect(target, *, namespace):
        assert target == "local"
        return sync.Client(aio.Client(scripted), shared_loop())

    monkeypatch.setattr("geopod.cli.target.connect", connect)
    monkeypatch.setenv("GEOPOD_PROGRESS", "0")
    return scripted


@pytest.fixture
def script(tmp_path, monkeypatch):
    """Give a file to run; what loading it leaves in the interpreter goes with the test."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    path = tmp_path / "analysis_of_cli.py"
    path.write_text(SCRIPT)
    yield path
    sys.modules.pop(path.stem, None)


def call(*arguments):
    with pytest.raises(SystemExit) as left:
        cli.main([str(argument) for argument in arguments])
    return left.value.code


def test_run_prints_results_on_stdout_and_the_target_on_stderr(backend, script, capsys):
    assert call("run", f"{script}:fine", "--nodes", 3) == 0
    out, err = capsys.readouterr()
    assert out == '0\t1\n1\tnull\n2\t"x"\n'
    assert "this machine" in err
    assert backend.environments.popitem()[1].state.phase == "Terminated"


def test_run_prints_json(backend, script, capsys):
    assert call("--target", "local", "run", f"{script}:fine", "-o", "json") == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == [1, None, "x"]
    assert err == ""


@pytest.mark.parametrize("output", ["table", "json"])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_result_that_stdout_has_no_characters_for_is_printed(
    backend, script, monkeypatch, output, encoding
):
    backend._script[:] = ["a\ud800b", "\N{N-ARY SUMMATION}"]
    printed = io.BytesIO()
    stdout = io.TextIOWrapper(printed, encoding)
    monkeypatch.setattr(sys, "stdout", stdout)

    assert call("run", f"{script}:fine", "-o", output, "--nodes", 2) == 0

    stdout.flush()
    text = printed.getvalue().decode(encoding)
    found = [line.split("\t")[1] for line in text.splitlines()] if output == "table" else text
    values = [json.loads(one) for one in found] if output == "table" else json.loads(found)
    assert values == ["a\ud800b", "\N{N-ARY SUMMATION}"]


def test_detached_run_prints_its_name_and_goes_on(backend, script, capsys):
    assert call("run", f"{script}:fine", "--detach") == 0
    assert capsys.readouterr().out.strip() in backend.orders
    assert backend.environments.popitem()[1].state.phase == "Ready"


def test_map_reads_arguments_from_lines(backend, script, tmp_path):
    lines = tmp_path / "args.jsonl"
    lines.write_text("1\n[2]\n\n")
    assert call("run", f"{script}:fine", "--map", lines) == 0
    assert backend.orders.popitem()[1].count == 2


def test_failed_run_exits_with_one(backend, script, capsys):
    backend._script = [ValueError("empty geometry")]
    assert call("run", f"{script}:fine") == 1
    err = capsys.readouterr().err
    assert "GP-E309 1 of 1 task failed" in err
    (name,) = backend.orders
    assert err.endswith(f"\nsee: geopod runs show {name}\n")


def test_failures_of_a_run_are_shown_with_their_tracebacks(backend, script, capsys):
    backend._script = [ValueError("empty geometry")]
    call("run", f"{script}:fine", "--nodes", 1, "--detach")
    (name,) = backend.orders
    capsys.readouterr()
    assert call("runs", "show", name) == 0
    out = capsys.readouterr().out
    assert "GP-E307 empty geometry (task 0 of 1, node 0, attempt 1)" in out
    assert out.endswith("Traceback of task 0 on node 0:\nValueError: empty geometry\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "nothing.py:f"], "there is no file nothing.py"),
        (["run", "analysis"], "is not FILE.py:FUNC"),
        (["env", "terminate"], "give a NAME, or --all"),
        (["env", "show", "lost"], "No environment 'lost'"),
        (["runs", "show", "lost"], "No run 'lost'"),
        (["nonsense"], "No such command"),
        (["run", "a.py:f", "--env", "e", "--nodes", "4"], "--nodes describe a new environment"),
        (
            ["run", "a.py:f", "--env", "e", "--layer", "x", "--cpus", "1"],
            "--layer, --cpus describe",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_use_exits_with_two_and_says_why(backend, capsys, arguments, words):
    assert call(*arguments) == 2
    assert words in capsys.readouterr().err


def test_missing_function_names_those_that_are_there(backend, script, capsys):
    assert call("run", f"{script}:other") == 2
    assert "has no function 'other'; it has fine, nothing" in capsys.readouterr().err


def test_environments_are_listed_in_every_format(backend, capsys):
    assert call("env", "create", "demo", "--nodes", 4, "-o", "name") == 0
    assert capsys.readouterr().out == "demo\n"
    assert call("env", "list") == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["NAME", "PHASE", "READY", "NODES", "PYTHON", "LAYERS", "AGE"]
    assert row.split()[:4] == ["demo", "Ready", "4", "4"]
    assert call("env", "list", "-o", "yaml") == 0
    assert "name: demo" in capsys.readouterr().out


def test_runs_can_be_listed_shown_and_read(backend, script, capsys):
    call("run", f"{script}:fine", "--detach")
    name = capsys.readouterr().out.strip()
    assert call("runs", "list", "-o", "name") == 0
    assert capsys.readouterr().out.strip() == name
    assert call("runs", "results", name) == 0
    assert capsys.readouterr().out.startswith("0\t1\n")
    assert call("runs", "logs", name) == 0
    assert capsys.readouterr().err.endswith("no output was written\n")
    assert call("runs", "delete", name) == 0
    assert backend.orders == {}


def test_layers_are_added_and_listed(backend, tmp_path, capsys):
    assert call("layer", "add", "dem", tmp_path / "srtm.tif", "--type", "raster") == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["dem", "raster", "srtm"]


def test_help_names_every_command(capsys):
    assert call("--help") == 0
    out = capsys.readouterr().out
    for name in cli.COMMANDS:
        assert f"  {name} " in out


def test_target_and_namespace_reach_the_client(backend, monkeypatch):
    asked = []

    def connect(target, *, namespace):
        asked.append((target, namespace))
        return sync.Client(aio.Client(backend), shared_loop())

    monkeypatch.setattr("geopod.cli.target.connect", connect)
    assert call("--target", "prod", "--namespace", "geo", "env", "list", "-o", "json") == 0
    assert asked == [("prod", "geo")]


def test_doctor_prints_what_it_found_and_says_so_by_its_code(backend, monkeypatch, capsys):
    async def broken(environment=None):
        fixes = ("helm install geopod …",)
        return [Finding(about="operator", ok=False, fact="there is none.", fixes=fixes)]

    assert call("doctor") == 0
    assert "all is well" in capsys.readouterr().out
    monkeypatch.setattr(backend, "diagnose", broken)
    assert call("doctor", "--output", "json") == 3
    told = json.loads(capsys.readouterr().out)
    assert told["facts"] == [
        {
            "about": "operator",
            "ok": False,
            "fact": "there is none.",
            "fixes": ["helm install geopod …"],
        }
    ]
    assert told["fixes"] == ["helm install geopod …"]


def test_capacity_prints_interpreters(backend, capsys):
    assert call("capacity") == 0
    assert f"python{PYTHON}" in capsys.readouterr().out
    assert call("capacity", "-o", "json") == 0
    assert json.loads(capsys.readouterr().out)["interpreters"] == [f"python{PYTHON}"]


def test_environment_and_run_are_explained(backend, script, capsys):
    assert call("env", "create", "e", "--nodes", 3) == 0
    assert call("run", f"{script}:fine", "--env", "e", "--detach") == 0
    name = capsys.readouterr().out.split()[-1]
    assert call("env", "explain", "e") == 0
    assert "'e' is Ready" in capsys.readouterr().out
    assert call("env", "scale", "e", 0) == 0
    assert call("env", "explain", "e") == 0
    told = capsys.readouterr().out
    assert "it has none; runs wait for some." in told
    assert told.endswith("fix: 1) geopod env scale e 1\n")
    assert call("env", "scale", "e", 3) == 0
    capsys.readouterr()
    assert call("runs", "explain", name, "-o", "json") == 0
    assert "3 of 3 tasks done" in json.loads(capsys.readouterr().out)["summary"]
    assert call("runs", "stats", name, "-o", "json") == 0
    assert json.loads(capsys.readouterr().out)["finished"] == 3
    assert call("runs", "provenance", name) == 0
    assert json.loads(capsys.readouterr().out)["function"]["name"] == "fine"


def test_task_is_reproduced_here(backend, script, capsys):
    assert call("env", "create", "e", "--nodes", 3) == 0
    assert call("run", f"{script}:fine", "--env", "e", "--detach") == 0
    name = capsys.readouterr().out.split()[-1]
    assert call("runs", "reproduce", name, 2) == 0
    assert json.loads(capsys.readouterr().out) == 1
    assert call("runs", "reproduce", name, 9) == 2


@pytest.mark.parametrize(
    ("keys", "code", "last"), [("c\n", 0, "1"), ("q\n", 130, "(Pdb) "), ("", 130, "(Pdb) ")]
)
def test_debugger_that_is_left_prints_no_result(
    backend, script, monkeypatch, capsys, keys, code, last
):
    assert call("env", "create", "e", "--nodes", 3) == 0
    assert call("run", f"{script}:fine", "--env", "e", "--detach") == 0
    name = capsys.readouterr().out.split()[-1]
    monkeypatch.setattr(sys, "stdin", io.StringIO(keys))

    assert call("runs", "reproduce", name, 2, "--debug") == code

    out = capsys.readouterr().out
    assert "-> return 1" in out
    assert out.splitlines()[-1].endswith(last)


def test_environment_is_put_to_sleep_and_woken(backend):
    assert call("env", "create", "e") == 0
    assert call("env", "suspend", "e") == 0
    assert backend.environments["e"].state.phase == "Suspended"
    assert call("env", "resume", "e") == 0
    assert backend.environments["e"].state.phase == "Ready"


def test_check_prints_its_report_as_json(backend, script, capsys):
    assert call("env", "create", "e", "--nodes", 3) == 0
    capsys.readouterr()
    assert call("check", f"{script}:fine", "--env", "e", "-o", "json") == 0
    assert json.loads(capsys.readouterr().out)["function"] == "fine"


def test_file_brings_its_own_requirements(backend, script, capsys):
    script.write_text('# /// script\n# dependencies = ["shapely"]\n# ///\n' + SCRIPT)
    assert call("run", f"{script}:fine", "--detach") == 0
    assert "requirements of analysis_of_cli.py: shapely" in capsys.readouterr().err
    assert backend.environments.popitem()[1].spec["requirements"] == ["shapely"]


def test_file_for_another_python_starts_nothing(backend, script, capsys):
    script.write_text('# /// script\n# requires-python = ">=3.99"\n# ///\n' + SCRIPT)
    assert call("run", f"{script}:fine", "--detach") == 2
    assert "analysis_of_cli.py requires Python >=3.99; its nodes" in capsys.readouterr().err
    assert backend.environments == {}
