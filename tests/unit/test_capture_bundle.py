"""A function sent with files: what the zip holds, and what is refused before anything is sent."""

import io
import json
import os
import sys
import zipfile
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest
from capture_builders import OTHER, OWN, user_module
from geopod.capture import Inclusion, capture_function
from geopod.capture import bundle as bundle_module
from geopod.errors import (
    BoundGlobalError,
    FunctionTooLargeError,
    InvalidInputError,
    SourceUnavailableError,
)

TEXT = """
import json
from pathlib import Path
import helpers

def f(params):
    return helpers.twice(json.loads(Path(__file__).with_name('model.json').read_text())['x'])

anonymous = lambda params: 1

class Model:
    def predict(self, params):
        return 1

def outer():
    def inner(params):
        return 1
    return inner
"""


@pytest.fixture
def analysis(tmp_path):
    """Return a user's module that imports another one and reads a file beside it."""
    (tmp_path / "helpers.py").write_text("def twice(x):\n    return 2 * x\n")
    (tmp_path / "model.json").write_text('{"x": 21}')
    with user_module(tmp_path, TEXT) as module:
        yield module
    sys.modules.pop("helpers", None)


def captured(f, *, node_python=OWN, modules=("helpers",), data=()):
    return capture_function(f, node_python=node_python, include=Inclusion(modules, data))


def files_of(bundle):
    with zipfile.ZipFile(io.BytesIO(bundle.payload)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_files_travel_as_they_are_to_any_minor(analysis, tmp_path):
    data = (tmp_path / "model.json",)
    bundles = [captured(analysis.f, node_python=minor, data=data) for minor in (OWN, OTHER)]
    assert bundles[0] == bundles[1]
    assert (bundles[0].format, bundles[0].name) == ("bundle", "f")
    files = files_of(bundles[0])
    assert json.loads(files.pop(".geopod.json")) == {"module": "analysis", "qualname": "f"}
    names = ("analysis.py", "helpers.py", "model.json")
    assert files == {name: (tmp_path / name).read_bytes() for name in names}
    rows = [(part.name, part.kind, part.type) for part in bundles[0].captured]
    assert rows == [
        ("analysis", "module", "1 file"),
        ("helpers", "module", "1 file"),
        (str(tmp_path / "model.json"), "file", "1 file"),
    ]


def test_same_files_make_the_same_bytes_whenever_they_were_written(analysis, tmp_path):
    first = captured(analysis.f)
    os.utime(tmp_path / "helpers.py", (1, 1))
    (tmp_path / "helpers.py").chmod(0o600)
    assert captured(analysis.f).sha256 == first.sha256


def test_changed_file_is_sent_anew(analysis, tmp_path):
    first = captured(analysis.f)
    (tmp_path / "helpers.py").write_text("def twice(x):\n    return x + x\n")
    assert captured(analysis.f).sha256 != first.sha256


def test_package_travels_whole_but_for_what_python_wrote(analysis, tmp_path):
    package = tmp_path / "model_kit"
    (package / "__pycache__").mkdir(parents=True)
    for name in ("__init__.py", "weights.bin", "__pycache__/x.pyc", ".hidden"):
        (package / name).write_bytes(b"")
    bundle = captured(analysis.f, modules=("helpers", "model_kit.layers"))
    there = [name for name in files_of(bundle) if name.startswith("model_kit")]
    assert there == ["model_kit/__init__.py", "model_kit/weights.bin"]


def test_data_folder_keeps_its_shape(analysis, tmp_path):
    (tmp_path / "data" / "a").mkdir(parents=True)
    (tmp_path / "data" / "a" / "b.txt").write_text("b")
    bundle = captured(analysis.f, data=(tmp_path / "data",))
    assert files_of(bundle)["data/a/b.txt"] == b"b"


def test_data_from_elsewhere_lie_beside_the_module(analysis, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "weights.pt"
    elsewhere.write_bytes(b"w")
    assert files_of(captured(analysis.f, data=(elsewhere,)))["weights.pt"] == b"w"


def test_own_module_that_is_imported_and_not_included_is_refused(analysis, tmp_path):
    with pytest.raises(BoundGlobalError) as caught:
        captured(analysis.f, modules=(), data=(tmp_path / "model.json",))
    assert caught.value.fact == (
        "'f' does not stand alone: analysis.py:3 imports your module 'helpers', which is not "
        "included."
    )
    assert caught.value.fixes == ("include_modules=['helpers']",)


@pytest.mark.parametrize(
    ("module", "why"),
    [
        ("no_such_module", "there is no such module here"),
        ("json", "it is part of Python, and there on every node"),
        ("native", "it is no Python file"),
    ],
)
def test_module_that_cannot_be_included_is_refused(analysis, tmp_path, module, why):
    (tmp_path / f"native{EXTENSION_SUFFIXES[0]}").write_bytes(b"")
    with pytest.raises(SourceUnavailableError) as caught:
        captured(analysis.f, modules=("helpers", module))
    assert caught.value.fact == f"Module {module!r} cannot be included: {why}."


@pytest.mark.parametrize(
    ("pick", "why"),
    [
        (lambda it: it.anonymous, "it is a lambda"),
        (lambda it: it.outer(), "it is a nested function"),
        (lambda it: it.Model().predict, "it is a bound method"),
    ],
)
def test_function_that_cannot_be_imported_by_name_is_refused(analysis, pick, why):
    with pytest.raises(SourceUnavailableError) as caught:
        captured(pick(analysis))
    assert f"a node imports it by name, and {why}." in caught.value.fact


def test_missing_data_are_refused(analysis):
    with pytest.raises(InvalidInputError, match=r"there is no file gone\.pt"):
        captured(analysis.f, data=("gone.pt",))


def test_two_files_of_one_name_are_refused(analysis, tmp_path, tmp_path_factory):
    other = tmp_path_factory.mktemp("other") / "model.json"
    other.write_text("{}")
    with pytest.raises(InvalidInputError, match=r"would both be 'model\.json'"):
        captured(analysis.f, data=(tmp_path / "model.json", other))


def test_too_large_a_bundle_names_its_largest_part(analysis, tmp_path, monkeypatch):
    monkeypatch.setattr(bundle_module, "MAX_BUNDLE_BYTES", 64)
    with pytest.raises(FunctionTooLargeError) as caught:
        captured(analysis.f, data=(tmp_path / "model.json",))
    assert "the limit is 64" in caught.value.fact
    assert "Largest: analysis" in caught.value.fact


def test_one_text_for_a_list_is_refused():
    import geopod  # the decorator loads the client

    remote = geopod.function(include_modules="helpers")(lambda x: x)
    with pytest.raises(InvalidInputError, match=r"include_modules='helpers' is no list"):
        remote.capture()


def test_data_of_a_working_folder_are_found(analysis, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "model.json" in files_of(captured(analysis.f, data=(Path("model.json"),)))
