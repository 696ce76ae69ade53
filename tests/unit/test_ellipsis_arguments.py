"""Arguments of the Ellipsis face: both spellings, both orders, and sentences for what is wrong."""

from __future__ import annotations

import io
import re
import uuid

import pytest
from geopod.errors import DuplicateKeyError, InvalidInputError, NotAFileResultError
from geopod.faces.ellipsis import arguments, compute, file_ids
from geopod.faces.ellipsis.compute import root

LAYER = {"pathId": "dem", "timestampId": "2024"}
RUN = "0b8f5c9e-2f5e-4d55-9d3e-0c5a8b1f6e11"


def f(params):
    return len(params)


@pytest.fixture
def nobody_is_asked(monkeypatch):
    """Fail the test when a call goes as far as connecting."""

    def client_for(token):
        raise AssertionError("connected before the arguments were checked")

    monkeypatch.setattr(root, "client_for", client_for)


@pytest.mark.parametrize(
    ("spellings", "expected"),
    [
        ({"nodes": None, "Nodes": None}, None),
        ({"nodes": 4, "Nodes": None}, 4),
        ({"nodes": None, "Nodes": 4}, 4),
        ({"nodes": 4, "Nodes": 4}, 4),
        ({"nodes": None, "Nodes": None, "the third argument": 3}, 3),
    ],
)
def test_number_of_nodes_has_one_value_however_it_is_spelled(spellings, expected):
    assert arguments.choose_nodes(spellings) == expected


def test_two_different_numbers_of_nodes_are_refused():
    with pytest.raises(ValueError, match=r"nodes=2 and Nodes=4 are one argument"):
        arguments.choose_nodes({"nodes": 2, "Nodes": 4})


@pytest.mark.parametrize("order", [(f, "token"), ("token", f)])
def test_execute_takes_function_and_token_in_either_order(order):
    assert arguments.order_execute(*order) == (f, "token")


def test_execute_takes_no_token_in_either_order():
    assert arguments.order_execute(f, None) == arguments.order_execute(None, f) == (f, None)


@pytest.mark.parametrize(
    ("token", "read"),
    [("abc", "abc"), ("Bearer abc", "abc"), (" Bearer  abc ", "abc"), (None, None)],
)
def test_token_is_read_with_and_without_the_word_bearer(token, read):
    assert arguments.read_token(token) == read


@pytest.mark.parametrize(
    ("token", "shape"),
    [
        ("", "empty"),
        ("Bearer", "empty"),
        ("my s3cret", "a text with spaces"),
        (b"s3cret", "of type bytes"),
        (["s3cret"], "of type list"),
    ],
)
def test_refused_token_is_not_repeated(token, shape):
    with pytest.raises(InvalidInputError, match=f"token is {shape}; a token is one word") as caught:
        arguments.read_token(token)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("compute_id", "read"),
    [(RUN, RUN), ({"id": RUN}, RUN), (uuid.UUID(RUN), RUN), ("ndvi-env", "ndvi-env")],
    ids=["uuid", "what createCompute returned", "UUID object", "name"],
)
def test_compute_is_named_by_id_dictionary_or_name(compute_id, read):
    assert arguments.read_compute_id(compute_id) == read


def test_layers_keep_their_order_and_further_fields():
    wanted = [{**LAYER, "bands": [1]}, {"pathId": "roads", "timestampId": "latest"}]
    assert arguments.read_layers(iter(wanted), has_files=False) == wanted


def test_no_layers_are_fine_beside_files():
    assert arguments.read_layers([], has_files=True) == []


def test_callers_dictionary_of_the_target_stays_as_it_is():
    given = {"pathId": "ndvi", "timestampId": "2024"}
    read = arguments.read_target(given)
    read["file"] = {"format": "tif"}
    assert given == {"pathId": "ndvi", "timestampId": "2024"}


def test_none_stands_for_no_requirements_and_no_files():
    assert arguments.read_requirements(None) == arguments.read_files(None) == []


def create(**changed):
    return compute.createCompute(**{"layers": [LAYER], "token": None, **changed})


def run(**changed):
    return compute.execute(**{"computeId": RUN, "f": f, "token": None, **changed})


WRONG = {
    "layer alone": (lambda: create(layers=LAYER), "layers={'pathId'", "layers=[{'pathId'"),
    "layers a text": (lambda: create(layers="dem"), "layers='dem' is no list", "layers=["),
    "layers None": (lambda: create(layers=None), "layers=None is no list", "layers=["),
    "no layers": (lambda: create(layers=[]), "layers=[] names no layer", "layers=["),
    "layer a pair": (lambda: create(layers=[("a", "b")]), "layers[0]=('a', 'b')", "layers=["),
    "no timestampId": (
        lambda: create(layers=[LAYER, {"pathId": "dem"}]),
        "layers[1]={'pathId': 'dem'} has no 'timestampId'",
        "'timestampId': '2024'",
    ),
    "pathId a number": (
        lambda: create(layers=[{"pathId": 7, "timestampId": "a"}]),
        "layers[0]['pathId']=7 is no text",
        "'pathId': 'dem'",
    ),
    "pathId a path": (
        lambda: create(layers=[{"pathId": "../a b", "timestampId": "a"}]),
        "layers[0]['pathId']='../a b' has a space or a slash",
        "'pathId': 'dem'",
    ),
    "nodes a text": (lambda: create(nodes="4"), "nodes='4' is no whole number", "nodes=4"),
    "nodes a boolean": (lambda: create(nodes=True), "nodes=True is no whole number", "nodes=4"),
    "nodes zero": (lambda: create(nodes=0), "nodes=0 is not within 1", "nodes=4"),
    "nodes too many": (lambda: create(nodes=1001), "nodes=1001 is not within 1 … 1000", "nodes=4"),
    "third negative": (lambda: compute.createCompute([LAYER], None, -1), "nodes=-1", "nodes=4"),
    "files a text": (lambda: create(files="model.json"), "files='model.json' is no", "files=["),
    "files of numbers": (lambda: create(files=[7]), "files[0]=7 is neither", "files=["),
    "interpreter": (lambda: create(interpreter="3.12"), "interpreter='3.12'", "'python3.12'"),
    "requirements a text": (
        lambda: create(requirements="numpy"),
        "requirements='numpy' is one string",
        "requirements=['numpy']",
    ),
    "requirements of numbers": (
        lambda: create(requirements=[1]),
        "requirements[0]=1 is no text",
        "requirements=['numpy'",
    ),
    "flag": (lambda: create(largeResult="yes"), "largeResult='yes' is neither", "largeResult=True"),
    "crs": (lambda: create(crs=3857), "crs=3857 names no CRS", "crs='EPSG:3857'"),
    "f a text": (lambda: run(f="f"), "f='f' is no function", "def f(params)"),
    "two functions": (lambda: run(token=f), "both functions", "execute(computeId, f, token)"),
    "computeId": (lambda: run(computeId={}), "computeId={} is no id", "createCompute(…)['id']"),
    "target a text": (lambda: run(writeToLayer="ndvi"), "writeToLayer='ndvi'", "writeToLayer={"),
    "target half": (
        lambda: run(writeToLayer={"pathId": "ndvi"}),
        "has no 'timestampId'",
        "writeToLayer={",
    ),
    "target's format": (
        lambda: run(writeToLayer={**LAYER, "file": {"format": "png"}}),
        "names none of the formats tif, parquet, gpkg, fgb, geojson",
        "{'format': 'tif'}",
    ),
    "target's typing mistake": (
        lambda: run(writeToLayer={**LAYER, "format": "tif"}),
        "writeToLayer has format; it takes pathId, timestampId and file",
        "writeToLayer={",
    ),
    "flags of termination": (
        lambda: compute.terminateAll(None, awaitTillTerminated=False, awaitTillCompleted=True),
        "are one argument",
        "awaitTillTerminated=False alone",
    ),
    "nowhere to write": (
        lambda: compute.downloadFile(f"/compute/{RUN}/file/{RUN}-0", None),
        "nowhere to write to",
        "memfile=io.BytesIO()",
    ),
    "memfile a text": (
        lambda: compute.downloadFile(f"/compute/{RUN}/file/{RUN}-0", None, memfile="out"),
        "memfile='out' is no file object",
        "memfile=io.BytesIO()",
    ),
    "pathId None": (lambda: compute.addLayer([], None, "a", None), "pathId=None", "pathId='ndvi'"),
    "added to latest": (
        lambda: compute.addLayer([], "ndvi", "latest", None),
        "timestampId='latest' is the newest timestamp that is there",
        "timestampId='2024'",
    ),
    "written to latest": (
        lambda: run(writeToLayer={"pathId": "ndvi", "timestampId": "latest"}),
        "results need a name of their own",
        "timestampId='2024'",
    ),
    "nothing to add": (
        lambda: compute.addLayer([None, None], "ndvi", "a", None),
        "response holds no file",
        "wait()",
    ),
    "response a text": (
        lambda: compute.addLayer("/compute", "ndvi", "a", None),
        "is not the list that execute returned",
        "addLayer(execute(…)",
    ),
}


@pytest.mark.usefixtures("nobody_is_asked")
@pytest.mark.parametrize("case", WRONG)
def test_wrong_argument_is_named_with_an_example_before_any_request(case):
    call, says, example = WRONG[case]
    with pytest.raises(InvalidInputError, match=re.escape(says)) as caught:
        call()
    assert any(example in fix for fix in caught.value.fixes), caught.value.fixes


@pytest.mark.usefixtures("nobody_is_asked")
def test_equal_timestamps_are_refused_with_their_number():
    with pytest.raises(DuplicateKeyError, match="2024 is given 2 times"):
        create(layers=[LAYER, {"pathId": "roads", "timestampId": "2024"}])


@pytest.mark.parametrize(
    "file", [file_ids.FileId(RUN, 3), file_ids.FileId(RUN, 0, 12)], ids=["one", "of several"]
)
def test_file_id_is_read_back_from_its_url(file):
    assert file_ids.read_url(file.url("ndvi-env")) == file


@pytest.mark.parametrize(
    "entry", ["result.tif", 4.2, b"II*", {"pathId": "a"}, f"/compute/x/file/{RUN}", io.BytesIO()]
)
def test_what_is_no_file_is_named_by_its_place_in_the_response(entry):
    with pytest.raises(NotAFileResultError, match=re.escape("response[1] is ")):
        file_ids.read_response([f"/compute/x/file/{RUN}-0", entry])


def test_response_skips_empty_partitions_and_flattens_a_nodes_files():
    urls = [f"/compute/x/file/{RUN}-{end}" for end in ("0", "2-0", "2-1")]
    read = file_ids.read_response([urls[0], None, urls[1:]])
    assert [file.url("x") for file in read] == urls
