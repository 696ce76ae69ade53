"""What the command line promises of every command: formats, colours, exit codes, completion."""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml
from geopod import errors
from geopod.api.results import LogLine
from geopod.cli import command as cli
from geopod.cli.fixes import COMMANDS as COMMANDS_OF_FIXES
from geopod.client import aio, sync
from geopod.client.loop import shared_loop
from geopod.errors import GeopodError
from geopod.testing import ScriptedBackend

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
ANSI = re.compile(r"\x1b\[[\d;]*m")


@pytest.fixture
def backend(monkeypatch):
    """Make every command talk to one scripted backend whose tasks return 1, None, "x"."""
    scripted = ScriptedBackend([1, None, "x"], python=PYTHON)

    def connect(target, **_):
        return sync.Client(aio.Client(scripted), shared_loop())

    monkeypatch.setattr("geopod.cli.target.connect", connect)
    monkeypatch.setattr("geopod.client.sync.connect", connect)
    monkeypatch.setenv("GEOPOD_PROGRESS", "0")
    for name in ("NO_COLOR", "FORCE_COLOR"):  # whatever a command sets goes with the test
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("TERM", "xterm")
    return scripted


@pytest.fixture
def told(backend, tmp_path, monkeypatch, capsys):
    """An environment `demo` and the name of a run in it."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    path = tmp_path / "analysis_of_face.py"
    path.write_text("def fine(params):\n    return 1\n")
    call("env", "create", "demo", "--nodes", 3)
    call("run", f"{path}:fine", "--env", "demo", "--detach")
    sys.modules.pop(path.stem)
    name = capsys.readouterr().out.split()[-1]
    return {"FUNCTION": f"{path}:fine", "RUN": name, "DEM": str(tmp_path / "dem.tif")}


def call(*arguments):
    with pytest.raises(SystemExit) as left:
        cli.main([str(argument) for argument in arguments])
    return left.value.code


def leaves(command, path=()):
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from leaves(command.get_command(context, name), (*path, name))
    else:
        yield path, command


COMMANDS = dict(leaves(cli.geopod))
NO_DATA = {("completion",), ("crds",)}
"""They print a script and YAML, whose form is given."""


@pytest.mark.parametrize("path", sorted(COMMANDS.keys() - NO_DATA), ids=" ".join)
def test_every_command_has_a_choice_of_output(path):
    options = {option for given in COMMANDS[path].params for option in given.opts}

    assert {"-o", "--output"} <= options
    assert COMMANDS[path].help


ACTS = [
    "env create other --nodes 2", "env list", "env show demo", "env explain demo",
    "env build-log demo", "env scale demo 2", "env refresh demo", "env suspend demo",
    "env resume demo", "env terminate demo", "env terminate --all", "env delete demo",
    "runs list", "runs show RUN", "runs results RUN", "runs explain RUN", "runs stats RUN",
    "runs provenance RUN", "runs reproduce RUN 0", "runs cancel RUN", "runs rerun RUN --all",
    "runs delete RUN", "layer add dem DEM", "layer list", "doctor", "capacity",
    "run FUNCTION --env demo", "run FUNCTION --env demo --detach", "check FUNCTION --env demo",
]  # fmt: skip


@pytest.mark.parametrize("line", ACTS)
def test_json_and_yaml_are_the_same_data(told, capsys, line):
    words = [told.get(word, word) for word in line.split()]

    assert call(*words, "-o", "json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found is not None
    if "delete" not in words and "create" not in words:
        assert call(*words, "-o", "yaml") == 0
        assert type(yaml.safe_load(capsys.readouterr().out)) is type(found)


def test_closed_stdout_is_no_failure(told, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert call("env", "list") == 0
    assert call("env", "explain", "demo") == 0


@pytest.mark.parametrize(
    ("variables", "arguments", "coloured"),
    [
        ({}, [], False),
        ({"FORCE_COLOR": "1"}, [], True),
        ({"FORCE_COLOR": "1"}, ["--no-color"], False),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, [], False),
    ],
    ids=["pipe", "forced", "--no-color", "NO_COLOR"],
)
def test_colours_are_for_who_wants_them(told, monkeypatch, capsys, variables, arguments, coloured):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert call(*arguments, "env", "list") == 0
    assert call(*arguments, "env", "explain", "demo") == 0
    assert call(*arguments, "env", "show", "lost") == 2

    out, err = capsys.readouterr()
    assert bool(ANSI.search(out)) is coloured
    assert bool(ANSI.search(err)) is coloured
    assert "GP-E201 No environment 'lost'" in ANSI.sub("", err)
    assert "demo   Ready" in ANSI.sub("", out)


CODES = {
    0: (),
    1: (
        errors.TaskError, errors.RunFailedError, errors.SchedulingError,
        errors.RequirementsBuildError,
    ),
    2: (errors.CaptureError, errors.InvalidInputError, errors.NotFoundError, errors.ConfigError,
        errors.MissingExtraError),
    3: (errors.AuthError, errors.PermissionDeniedError, errors.ClusterError),
    4: (errors.WaitTimeoutError,),
}  # fmt: skip
"""Source: the project's SDK design, §7."""


def public_errors():
    found = [value for value in vars(errors).values() if isinstance(value, type)]
    return sorted(
        (it for it in found if issubclass(it, GeopodError) and it is not GeopodError),
        key=lambda kind: kind.__name__,
    )


@pytest.mark.parametrize("kind", public_errors(), ids=lambda kind: kind.__name__)
def test_exit_code_of_every_error_is_as_documented(kind):
    first = min(
        (
            (kind.__mro__.index(base), code)
            for code, bases in CODES.items()
            for base in bases
            if issubclass(kind, base)
        ),
        default=(0, None),
    )

    assert cli.exit_code(kind("fact")) == first[1]


SENTENCES = runpy.run_path(str(Path(__file__).with_name("test_error_sentences.py")))["SENTENCES"]
FIXES = {fix for _, error, _ in SENTENCES for fix in error.fixes}


def test_every_command_stands_for_a_fix_that_errors_tell():
    others = {  # told elsewhere
        "run.explain()",
        "run.download(folder)",
        "run.results(errors='return')",
        "run.rerun(tasks='all')",
        "env.scale(1)",
        "free some space: env.delete(results=True)",
    }
    assert set(COMMANDS_OF_FIXES) <= FIXES | others
    python = {fix for fix in FIXES if fix.startswith(("client.", "env.", "run.", "task."))}
    calls = {fix for fix in python if fix.endswith("()")}
    assert calls <= set(COMMANDS_OF_FIXES)


def test_fixes_are_told_as_commands(told, capsys):
    assert call("layer", "show", "nowhere") == 2
    assert "fix: 1) geopod layer list\n" in capsys.readouterr().err
    lost = errors.NodeLostError(
        "was lost.",
        fixes=("run.rerun()", "task.reproduce()", "run.download(folder)"),
        run="r",
        task=3,
    )
    cli.tell(lost)
    assert (
        "1) geopod runs rerun r 2) geopod runs reproduce r 3 3) geopod runs results r --download "
        "FOLDER\n"
    ) in capsys.readouterr().err


def test_interrupt_exits_with_130(backend, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(backend, "list_environments", interrupted)
    assert call("env", "list") == 130


@pytest.mark.parametrize("group", ["env", "runs", "layer"])
def test_help_of_a_group_cuts_no_description(capsys, group):
    assert call(group, "--help") == 0
    assert "..." not in capsys.readouterr().out.partition("Commands:")[2]


@pytest.mark.parametrize(
    ("typed", "meant"), [("runn", "'run' or 'runs'"), ("layers", "'layer'"), ("zzz", "")]
)
def test_command_that_there_is_not_names_the_nearest(capsys, typed, meant):
    assert call(typed) == 2
    said = capsys.readouterr().err
    assert f"No such command {typed!r}." in said
    assert (f"Did you mean {meant}?" in said) == bool(meant)


BROKEN = {
    "import": ("import no_such_module_of_geopod\n", "ModuleNotFoundError: No module named"),
    "raise": ("raise OSError('the disk is gone')\n", "OSError: the disk is gone"),
    "exit": ("raise SystemExit(3)\n", "SystemExit: 3"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_file_that_cannot_be_loaded_shows_its_own_lines_alone(backend, tmp_path, capsys, kind):
    first_line, words = BROKEN[kind]
    path = tmp_path / "broken_of_face.py"
    path.write_text(first_line + "def f(params):\n    return 1\n")

    assert call("run", f"{path}:f") == 2

    said = capsys.readouterr().err
    assert words in said
    assert f'File "{path}", line 1' in said
    assert said.count("File ") == 1
    assert said.endswith(f"{path} cannot be loaded; nothing was started\n")
    assert backend.environments == {}


def test_failure_that_is_reproduced_shows_the_users_lines_alone(told, tmp_path, capsys):
    path = tmp_path / "failing_of_face.py"
    path.write_text("def boom(params):\n    raise KeyError('parcel')\n")
    call("run", f"{path}:boom", "--env", "demo", "--detach")
    name = capsys.readouterr().out.split()[-1]

    assert call("runs", "reproduce", name, 0) == 1

    said = capsys.readouterr().err
    assert said.count("File ") == 1
    assert said.endswith(f"KeyError: 'parcel'\ntask 0 of {name} failed here too\n")
    sys.modules.pop(path.stem)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [("--map", "{bad\n", "line 1 is not JSON"), ("--timeout", "soon", "is not a duration")],
)
def test_wrong_options_are_said_before_anything_starts(
    backend, tmp_path, capsys, monkeypatch, option, value, words
):
    monkeypatch.setattr(sys, "path", list(sys.path))
    path = tmp_path / "early_of_face.py"
    path.write_text("def f(params):\n    return 1\n")
    (tmp_path / "args.jsonl").write_text(value)

    assert (
        call("run", f"{path}:f", option, tmp_path / "args.jsonl" if option == "--map" else value)
        == 2
    )

    assert words in capsys.readouterr().err
    assert backend.environments == {}
    sys.modules.pop(path.stem)


def test_size_of_a_node_is_an_option(backend):
    assert call("env", "create", "sized", "--memory", "2Gi", "--cpus", "500m") == 0
    resources = backend.environments["sized"].spec["resources"]
    assert (resources["memory"], resources["cpu"]) == ("2Gi", "500m")


def test_layer_is_shown_with_a_line_for_each_file(backend, capsys):
    call("layer", "add", "dem", "s3://b/1.tif", "s3://b/2.tif", "--timestamp", "t")
    capsys.readouterr()
    assert call("layer", "show", "dem") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["NAME", "TYPE", "TIMESTAMP", "FILE"]
    assert [line[-2:] for line in lines[1:]] == [["t", "s3://b/1.tif"], ["t", "s3://b/2.tif"]]


def test_without_requirements_there_is_no_build_log_and_that_is_said(told, capsys):
    assert call("env", "build-log", "demo") == 0
    out, err = capsys.readouterr()
    assert (out, err.splitlines()[-1]) == ("", "nothing was installed for demo")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_asks_geopod(capsys, shell):
    assert call("completion", shell) == 0
    script = capsys.readouterr().out
    assert f"_GEOPOD_COMPLETE={shell}_complete" in script
    assert "geopod" in script


def completed(monkeypatch, capsys, words):
    monkeypatch.setenv("_GEOPOD_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
    monkeypatch.setattr(sys, "argv", ["geopod"])
    with pytest.raises(SystemExit):
        cli.main()
    return [line.partition(",")[2] for line in capsys.readouterr().out.split()]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("geopod ca", ["capacity"]),
        ("geopod env re", ["refresh", "resume"]),
        ("geopod runs results --no", ["--no-wait"]),
        ("geopod completion f", ["fish"]),
        ("geopod run ana", ["ana"]),
    ],
)
def test_commands_and_options_are_completed(backend, monkeypatch, capsys, words, expected):
    assert completed(monkeypatch, capsys, words) == expected


def test_names_are_completed_by_the_target(told, monkeypatch, capsys):
    assert completed(monkeypatch, capsys, "geopod env show de") == ["demo"]
    assert completed(monkeypatch, capsys, "geopod runs show fine-") == [told["RUN"]]


def test_target_that_does_not_answer_completes_nothing(monkeypatch, capsys):
    def connect(target, **_):
        raise errors.ClusterUnreachableError("the cluster 'prod' did not answer.")

    monkeypatch.setattr("geopod.client.sync.connect", connect)
    assert completed(monkeypatch, capsys, "geopod env show de") == []


def test_reader_that_has_stopped_is_no_traceback():
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        [sys.executable, "-c", "from geopod.cli import main; main()", "completion", "bash"],
        stdout=writing, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    os.close(writing)
    assert ended.stderr == ""


def test_help_needs_no_client(tmp_path):
    code = (
        "import sys\nfrom geopod.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(*sorted(name for name in sys.modules if name.startswith('geopod')), file=sys.stderr)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONPATH": str(Path(cli.__file__).parents[2])},
    )  # fmt: skip
    assert ended.stderr.split() == ["geopod", "geopod.cli", "geopod.cli.command"]


def test_ctrl_c_while_the_command_is_loaded_is_no_traceback():
    code = (
        "import sys\n"
        "class CtrlC:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'click':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, CtrlC())\n"
        "from geopod.cli import main\n"
        "main(['--help'])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


def test_log_lines_are_objects_and_a_missing_log_says_why(told, backend, monkeypatch, capsys):
    name = told["RUN"]
    assert call("runs", "logs", name, "--task", 9) == 2
    assert f"task=[9] names 9; run {name!r} has " in capsys.readouterr().err
    assert call("runs", "logs", name) == 0
    assert capsys.readouterr().err.endswith(f"run {name}: no output was written\n")

    async def lines(self, **chosen):
        yield LogLine(time=1.0, task=2, attempt=1, node=0, stream="stdout", text="hello")

    monkeypatch.setattr(aio.Run, "logs", lines)
    assert call("runs", "logs", name, "-o", "json") == 0
    assert json.loads(capsys.readouterr().out)["text"] == "hello"
    assert call("runs", "logs", name) == 0
    assert capsys.readouterr().out == "2.1 node 0 stdout: hello\n"
