"""What the guides say of clusters: blocks run against the double, names are those of the code."""

from __future__ import annotations

import ast
import re
import runpy
import shlex
import sys
import tomllib

import geopandas
import geopod
import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from geopod import errors
from geopod.api.crd import all_crds
from geopod.api.runtime import ComputeRuntimeSpec
from geopod.cli import command as cli
from geopod.client import aio, sync
from geopod.client.loop import shared_loop
from geopod.testing import ScriptedBackend, execute, raster
from guide_builders import CLUSTER, DOCS, GUIDES, NETWORK, blocks, is_as_printed, script
from jsonschema import Draft202012Validator
from shapely import LineString

ROOT = DOCS.parent
README = ROOT / "README.md"
CHART = ROOT / "helm" / "geopod"
ADMINISTRATION = DOCS / "guides" / "administration.md"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
DEFINITIONS = (ast.FunctionDef, ast.Import, ast.ImportFrom)


def is_definition(block):
    return all(isinstance(it, DEFINITIONS) for it in ast.parse(block.text).body)


def is_elsewhere(block):
    return block.mark in (CLUSTER, NETWORK)


def elsewhere(page):
    """The Python of a page that needs more than this machine, and the functions it calls."""
    found = [it for it in blocks(page) if it.language == "python"]
    if not any(is_elsewhere(it) for it in found):
        return []
    return [it for it in found if is_elsewhere(it) or (not it.mark and is_definition(it))]


@pytest.fixture
def double(monkeypatch):
    """A cluster that knows what the guides take for granted; every `connect` finds it."""
    backend = ScriptedBackend([{"lowest": 1.0, "highest": 2.0}], python=PYTHON)

    def connect(*target, **options):
        return sync.Client(aio.Client(backend), shared_loop())

    with connect() as client:
        env = client.environment("alps")
        env.submit(len, name="relief-7f3a9c").wait(progress=False)
    monkeypatch.setattr(geopod, "connect", connect)
    monkeypatch.setenv("GEOPOD_PROGRESS", "0")
    return connect


@pytest.mark.parametrize("page", [it for it in GUIDES if elsewhere(it)], ids=lambda it: it.stem)
def test_blocks_for_a_cluster_run_against_the_double(page, double, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dem.tif").touch()  # which the page has made by then
    file = tmp_path / f"{page.stem}.py"
    file.write_text(script(elsewhere(page)), "utf-8")
    given = {"geopod": geopod, "client": double(), "end": lambda: None}
    runpy.run_path(str(file), given, run_name="__main__")


def commands():
    """Every command that a page prints, in blocks and in running text."""
    for page in (README, *GUIDES):
        text = page.read_text("utf-8")
        shells = ("shell", "")
        lines = [line for it in blocks(page) if it.language in shells for line in it.lines]
        lines += [line for it in blocks(page) for line in it.commands]
        lines += re.findall(r"^    ((?:kubectl|helm|python) .+)$", text, re.MULTILINE)
        lines += re.findall(r"`((?:geopod|helm|kubectl|pip) [^`]+)`", text)
        for line in lines:
            yield from line.split(" | ")


OWN_COMMANDS = sorted({line for line in commands() if line.startswith("geopod ")})


@pytest.mark.parametrize("command", OWN_COMMANDS)
def test_commands_of_geopod_are_understood(command):
    words = shlex.split(command, comments=True)[1:]
    printed = CliRunner().invoke(cli.geopod, [*words, "--help"])
    assert printed.exit_code == 0, printed.output


def test_fifteen_lines_of_the_readme_are_true(tmp_path):
    (block, imported) = [it for it in blocks(README) if it.language == "python"]
    for number, each in enumerate((block, imported)):
        (tmp_path / f"readme_{number}.py").write_text(each.text)
    steepest = runpy.run_path(str(tmp_path / "readme_0.py"))["steepest"]
    runpy.run_path(str(tmp_path / "readme_1.py"))
    west, north = 500_000, 5_600_000
    road = LineString([(west + 10, north - 10), (west + 90, north - 50)])
    layers = {
        "dem": raster(np.arange(8192, dtype="float32").reshape(128, 64), origin=(west, north)),
        "roads": geopandas.GeoDataFrame({"name": ["A1"]}, geometry=[road], crs="EPSG:32632"),
    }
    first, second = execute(steepest, layers, nodes=2, overlap=1)
    assert first["highest"] < second["highest"] == 8191
    assert (first["roads"], second["roads"]) == (1, 0)


def chart_values():
    return yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))


def has_path(value, path):
    for name in path.split("."):
        if not isinstance(value, dict) or name not in value:
            return False
        value = value[name]
    return True


def test_helm_sets_values_that_the_chart_has():
    lines = [line for line in commands() if line.startswith("helm ")]
    named = [it for line in lines for it in re.findall(r"--set(?:-string)? ([\w.]+)=", line)]
    assert all(has_path(chart_values(), name) for name in named)
    charts = {word for line in lines for word in shlex.split(line) if word.startswith("helm/")}
    assert charts == {"helm/geopod"}


def test_files_that_commands_name_are_there():
    named = {word for line in commands() for word in re.findall(r"examples/[\w./-]+", line)}
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_extras_that_guides_install_exist():
    project = tomllib.loads((ROOT / "sdk" / "pyproject.toml").read_text("utf-8"))["project"]
    text = "".join(page.read_text("utf-8") for page in GUIDES)
    extras = {it for found in re.findall(r"geopod\[([\w,]+)\]", text) for it in found.split(",")}
    assert extras
    assert extras <= project["optional-dependencies"].keys()


def properties(schema):
    """A schema as nested dictionaries of names."""
    while schema.get("type") == "array":
        schema = schema["items"]
    return {name: properties(it) for name, it in schema.get("properties", {}).items()}


@pytest.mark.parametrize("page", [ADMINISTRATION, DOCS / "guides" / "kubernetes.md"])
def test_values_and_fields_in_running_text_exist(page):
    text = page.read_text("utf-8")
    specs = [
        properties(it["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"])
        for it in all_crds()
    ]
    known = [chart_values(), *specs, *({"spec": it} for it in specs)]
    tops = {name for it in known for name in it} - {"crds"}
    named = re.findall(r"`([a-z]\w*(?:\.\w+)+)(?:[:=][^`]*)?`", text)
    named = [name.removeprefix("runtimes.default.") for name in named]  # a name of the user's
    ours = [name for name in named if name.partition(".")[0] in tops]
    assert len(ours) > 2
    assert [name for name in ours if not any(has_path(it, name) for it in known)] == []


def test_values_that_the_administrator_is_shown_are_taken():
    (shown,) = [yaml.safe_load(it.text) for it in blocks(ADMINISTRATION) if it.language == "yaml"]
    schema = yaml.safe_load((CHART / "values.schema.json").read_text("utf-8"))
    Draft202012Validator(schema).validate(shown)
    for runtime in shown["runtimes"].values():
        ComputeRuntimeSpec.model_validate(runtime)


def test_metrics_and_alerts_in_running_text_exist():
    text = ADMINISTRATION.read_text("utf-8")
    sources = [*ROOT.glob("operator/src/*/metrics.py"), *ROOT.glob("sdk/src/geopod/**/metrics.py")]
    code = "".join(path.read_text("utf-8") for path in sources)
    named = set(re.findall(r"`(geopod_\w+?)(?:_total)?(?:\{[^`]*\})?`", text))
    assert len(named) > 5
    assert [name for name in named if f'"{name}"' not in code] == []
    alerts = (CHART / "files" / "alerts.yaml").read_text("utf-8")
    assert set(re.findall(r"`(Geopod[A-Z]\w+)`", text)) <= set(re.findall(r"alert: (\w+)", alerts))


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_codes_are_linked_to_their_own_section(page):
    text = page.read_text("utf-8")
    known = {found.code for found in vars(errors).values() if hasattr(found, "from_wire")}
    for code, target in re.findall(r"\[GP-(E\d+)\]\(([^)]*)\)", text):
        assert code in known
        assert target == f"../reference/errors.md#gp-{code.lower()}"


def test_dots_of_a_page_stand_for_anything_and_nothing_else_does():
    assert is_as_printed("run …\n3 done", "run a-7f\n and more\n3 done\n")
    assert not is_as_printed("run …\n3 done", "run a-7f\n4 done")
    assert not is_as_printed("3 done", "3 done, 1 failed")


def test_lines_of_a_script_are_those_of_its_page():
    page = DOCS / "guides" / "first-steps.md"
    chosen = [it for it in blocks(page) if it.language == "python"]
    written = script(chosen).splitlines()
    shown = page.read_text("utf-8").splitlines()
    for block in chosen:
        if not block.file:
            first, last = block.line - 1, block.line - 1 + len(block.lines)
            assert written[first:last] == shown[first:last]
