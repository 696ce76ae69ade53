"""The YAML files of the guides are valid, belong together, and are what the guides name."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from base64 import b64decode
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import yaml
from geopod.api.environment import ComputeEnvironment
from geopod.api.layer import Layer
from geopod.api.run import ComputeRun
from geopod.runner.loading import load_source

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "kubernetes"
GUIDES = sorted((ROOT / "docs" / "guides").glob("ku*.md"))
MODELS = {"layer": Layer, "environment": ComputeEnvironment, "run": ComputeRun}


def example(name):
    content = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text("utf-8"))
    return MODELS[name].model_validate(content)


def test_files_are_valid_and_belong_together():
    layer, environment, run = (example(name) for name in MODELS)
    (reference,) = environment.spec.layers
    assert reference.path_id == layer.metadata.name
    assert reference.timestamp_id in {it.id for it in layer.spec.timestamps}
    assert run.spec.environment == environment.metadata.name
    assert f"python{run.spec.function.python_version}" == environment.spec.interpreter


def test_run_carries_the_function_of_its_file():
    command = [sys.executable, "write_run.py", "relief.py:relief", "alps"]
    done = subprocess.run(command, cwd=EXAMPLES, capture_output=True, text=True, check=True)
    assert done.stdout == (EXAMPLES / "run.yaml").read_text("utf-8")


def test_function_in_the_run_gives_what_the_guide_prints():
    function = example("run").spec.function
    payload = b64decode(function.inline)
    assert sha256(payload).hexdigest() == function.sha256
    heights = np.arange(12, dtype="float32").reshape(1, 3, 4)
    params = {"2021": {"raster": heights, "core": (slice(0, 2), slice(1, 4))}}
    wanted = {"lowest": 1.0, "highest": 7.0, "pixels": 6}
    assert load_source(payload)(params) == wanted
    assert runpy.run_path(str(EXAMPLES / "relief.py"))["relief"](params) == wanted


@pytest.mark.parametrize("guide", GUIDES, ids=lambda it: it.name)
def test_guide_names_files_that_there_are(guide):
    text = guide.read_text("utf-8")
    linked = [guide.parent / path for path in re.findall(r"\]\(([^)#]+)\)", text)]
    named = [ROOT / path for path in re.findall(r"(?:examples|helm)/[\w./-]+\w", text)]
    assert named
    assert [path for path in (*linked, *named) if not path.exists()] == []
