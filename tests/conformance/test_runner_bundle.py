"""A function sent with files runs in a real runner of every minor, with or without geopod there."""

import asyncio
import sys

import pytest
from capture_builders import OWN, user_module
from geopod.agent.runner_link import Outcome
from geopod.api.bundles import FunctionBundle
from geopod.capture import Inclusion, capture_function
from runner_builders import a_runner, interpreter, value_of

TEXT = """
import json
from pathlib import Path

import geopod
import helpers


@geopod.function(retries=geopod.Retry(3), include_modules=["helpers"])
def f(params, ctx):
    x = json.loads(Path("model.json").read_text())["x"]
    beside = json.loads(Path(__file__).with_name("model.json").read_text())["x"]
    ctx.log(geopod.current_context().index)
    return [helpers.twice(x), beside, "%d.%d" % sys.version_info[:2]]


import sys
"""


@pytest.fixture
def bundle(tmp_path):
    (tmp_path / "helpers.py").write_text("def twice(x):\n    return 2 * x\n")
    (tmp_path / "model.json").write_text('{"x": 21}')
    with user_module(tmp_path, TEXT) as module:
        include = Inclusion(("helpers",), (tmp_path / "model.json",))
        yield capture_function(module.f, node_python=OWN, include=include)
    sys.modules.pop("helpers", None)


def run(bundle: FunctionBundle, *, python: str = sys.executable) -> Outcome:
    async def scenario() -> Outcome:
        async with a_runner(python=python) as runner:
            return await runner.call(bundle)

    return asyncio.run(scenario())


@pytest.mark.parametrize("minor", ["3.10", "3.11", "3.12", "3.13", "3.14"])
def test_function_finds_its_modules_and_data_on_every_minor(bundle, minor):
    outcome = run(bundle, python=interpreter(minor))
    assert value_of(outcome) == [42, 21, minor]
    assert outcome.log is not None
    assert outcome.log.err == b"0\n"


def test_packages_of_an_environment_come_before_those_of_the_image(tmp_path):
    for name, text in {"terrain": "VERSION = 1", "yaml": "OWN = 2", "json": "OWN = 3"}.items():
        (tmp_path / f"{name}.py").write_text(text)
    text = """
def f(params):
    import json, terrain, yaml
    return [terrain.VERSION, yaml.OWN, hasattr(json, "OWN")]
"""

    async def scenario() -> Outcome:
        async with a_runner(arguments=["--packages", str(tmp_path)]) as runner:
            return await runner.call(text)

    assert value_of(asyncio.run(scenario())) == [1, 2, False]


def test_function_runs_where_geopod_is_installed_too(bundle):
    assert value_of(run(bundle))[:2] == [42, 21]


def test_module_that_is_missing_on_the_node_is_named(tmp_path):
    text = """
    def f(params):
        return 1

    if __name__ == "analysis":
        import sys
        if "_geopod_runner" in str(sys.modules):
            import no_such_module_anywhere
    """
    with user_module(tmp_path, text) as module:
        include = Inclusion(("analysis",))
        sent = capture_function(module.f, node_python=OWN, include=include)
    failure = run(sent).failure
    assert failure is not None
    assert failure.reason == "FunctionNotLoadable"
    assert "No module named 'no_such_module_anywhere'" in failure.fact
    assert failure.fixes[:2] == [
        "requirements=['no_such_module_anywhere']",
        "@geopod.function(include_modules=['no_such_module_anywhere']) if yours",
    ]
