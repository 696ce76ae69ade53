"""Everything that can be known to be wrong is said before anything is sent, in one sentence."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading

import geopod
import pytest
from geopod.capture import LargeCaptureWarning
from geopod.client import aio, sync
from geopod.client.loop import LoopThread, shared_loop
from geopod.client.quantities import seconds
from geopod.errors import (
    DuplicateKeyError,
    InvalidInputError,
    RequirementsError,
    ResultNotSerializableError,
)
from geopod.testing import ScriptedBackend, call

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def plain(params):
    return len(params)


def told(work):
    return asyncio.run(work)


ENVIRONMENTS = [
    ({"name": 3}, "GP-E110 name=3 is no text.\nfix: 1) name='ndvi-env'"),
    ({"layers": None}, "GP-E110 layers=None is not a list."),
    ({"layers": [""]}, "GP-E110 layers[0]['pathId']='' is refused: string should have at le"),
    ({"layers": [("dem", "")]}, "GP-E110 layers[0]['timestampId']='' is refused: string sho"),
    (
        {"layers": [{"pathId": "dem", "timestampId": "t", "band": 1}]},
        "GP-E110 layers[0]['band']=1 is refused: extra inputs are not permitted.",
    ),
    (
        {"layers": [("dem", "2024"), ("slope", "2024")]},
        (
            "GP-E124 timestampId 2024 is given 2 times; params has one value per timestampId.\n"
            "fix: 1) Remove one, or name it instead of latest"
        ),
    ),
    (
        {"layers": ["dem", "slope"]},
        "GP-E124 timestampId latest is given 2 times; params has one value per timestampId.",
    ),
    (
        {"layers": [("dem", "roads")], "files": ["roads"]},
        "GP-E124 timestampId roads is given 2 times; params has one value per timestampId.",
    ),
    ({"files": "x"}, "GP-E110 files='x' is no list.\nfix: 1) files=['model.pt']"),
    ({"files": [3]}, "GP-E110 files=3 is no file and no id.\nfix: 1) files=['model.pt']"),
    (
        {"requirements": ["numpy --index-url=https://elsewhere"]},
        (
            "GP-E111 1 of 1 requirements is not valid: 'numpy --index-url=https://elsewhere' (not "
            "a name with versions, as in 'numpy>=2').\n"
            "fix: 1) correct them 2) for one string: requirements=['numpy']"
        ),
    ),
    (
        {"requirements": ["--extra-index-url https://elsewhere", "numpy"]},
        (
            "GP-E111 1 of 2 requirements are not valid: '--extra-index-url https://elsewhere' "
            "(options are not taken)."
        ),
    ),
    ({"requirements": ["-r other.txt"]}, "GP-E111 1 of 1 requirements is not valid: '-r other"),
    ({"requirements": ["numpy\nscipy"]}, "GP-E111 1 of 1 requirements is not valid: 'numpy\\n"),
    ({"requirements": None}, "GP-E110 requirements=None is no list.\nfix: 1) requirements=['nu"),
    ({"requirements": [3]}, "GP-E110 requirements=[3] holds something that is no text."),
    (
        {"interpreter": "3.12"},
        "GP-E110 interpreter='3.12' is no interpreter.\nfix: 1) interpreter='python3.12'",
    ),
    ({"interpreter": 3.13}, "GP-E110 interpreter=3.13 is no interpreter.\nfix: 1) interpreter='p"),
    ({"interpreter": "ruby"}, "GP-E110 interpreter='ruby' is no interpreter.\nfix: 1) interpret"),
    ({"nodes": 1.5}, "GP-E110 nodes=1.5 is refused: input should be a valid integer"),
    ({"nodes": 100_000}, "GP-E110 nodes=100000 is refused: input should be less than or equal"),
    ({"cpus": "many"}, "GP-E110 cpus='many' is no number of cpus.\nfix: 1) cpus=2"),
    ({"cpus": -1}, "GP-E110 cpus=-1 is no number of cpus.\nfix: 1) cpus=2"),
    ({"cpus": True}, "GP-E110 cpus=True is no number of cpus.\nfix: 1) cpus=2"),
    ({"memory": "4 gigs"}, "GP-E110 memory='4 gigs' is no quantity of memory.\nfix: 1) memory='"),
    ({"env": ["A"]}, "GP-E110 env=['A'] is no dict.\nfix: 1) env={'NAME': 'value'}"),
    ({"env": 0}, "GP-E110 env=0 is no dict.\nfix: 1) env={'NAME': 'value'}"),
    ({"env": {"A": None}}, "GP-E110 env={'A': None} has no value.\nfix: 1) env={'A': ''}"),
    ({"env": {1: "A"}}, "GP-E110 env={1: 'A'} has a name that is no text."),
    ({"secrets": "keys"}, "GP-E110 secrets='keys' is no list.\nfix: 1) secrets=['s3-keys']"),
    ({"secrets": [1]}, "GP-E110 secrets=1 is no dict.\nfix: 1) secrets=['s3-keys']"),
    ({"labels": ["a"]}, "GP-E110 labels=['a'] is no dict.\nfix: 1) labels={'team': 'geo'}"),
    ({"partitioning": [1]}, "GP-E110 partitioning=[1] is no dict."),
    ({"partitioning": ""}, "GP-E110 partitioning='' is no dict."),
    ({"labels": ()}, "GP-E110 labels=() is no dict."),
    ({"partitioning": {"unti": 1}}, "GP-E110 partitioning['unti']=1 is refused: extra inputs"),
    ({"extent": (1, 2, 3)}, "GP-E110 extent=(1, 2, 3) is refused: tuple should have at"),
    ({"extent": "abcd"}, "GP-E110 extent='abcd' is refused: input should be 'reference', 'int"),
    ({"extent": 7}, "GP-E110 extent=7 is no list.\nfix: 1) extent=(xmin, ymin, xmax, ymax)"),
    ({"extent": (1, 2, "x", 4)}, "GP-E110 extent='x' is no finite number.\nfix: 1) extent=(xmin"),
    ({"features": "all"}, "GP-E110 features='all' is refused: input should be 'owned', 'inters"),
    ({"idle_after": float("inf")}, "GP-E110 idle_after=inf is not a duration."),
    ({"ttl": object}, "GP-E110 ttl=<class 'object'> is not a duration."),
    ({"gpu": 1}, "GP-E110 gpu=1 is refused: input should be a valid dictionary"),
]


LAYERS = [
    ({"path_id": 3}, "GP-E110 path_id=3 is no text.\nfix: 1) path_id='dem'"),
    ({"path_id": "Dem_2024"}, "GP-E110 path_id='Dem_2024' is no resource name: at most 63 of a-z"),
    ({"uri": 7}, "GP-E110 uri=7 is no list.\nfix: 1) uri='dem.tif'"),
    ({"uri": ["dem.tif", 3]}, "GP-E110 uri=3 is no path and no URL."),
    ({"write_to": 3}, "GP-E110 write_to=3 is no path and no URL."),
    ({"secret": 3}, "GP-E110 secret=3 is no dict.\nfix: 1) secret='s3-keys'"),
    ({"crs": 32632}, "GP-E110 crs=32632 is no text.\nfix: 1) crs='EPSG:32632'"),
    ({"crs": "nonsense"}, "GP-E125 CRS nonsense cannot be used: Invalid projection: nonsense"),
    ({"nodata": "none"}, "GP-E110 nodata='none' is no finite number.\nfix: 1) nodata=-9999"),
    ({"nodata": 10**400}, "GP-E110 nodata=10000"),
    ({"nodata": 10**5000}, "GP-E110 nodata=<int> is no finite number."),
    ({"nodata": float("nan")}, "GP-E110 nodata=nan is no finite number."),
]


@pytest.mark.parametrize(
    ("keywords", "sentence"), LAYERS, ids=[sentence[:40] for _, sentence in LAYERS]
)
def test_bad_layer_is_said_before_anything_is_asked_for(keywords, sentence):
    backend = ScriptedBackend([1], python=PYTHON)

    with pytest.raises(InvalidInputError) as caught:
        told(aio.Client(backend).add_layer(**{"path_id": "dem", **keywords}))

    assert str(caught.value).startswith(sentence), str(caught.value)
    assert len(str(caught.value)) < 1000
    assert backend.layers == {}


@pytest.mark.parametrize(
    ("keywords", "sentence"), ENVIRONMENTS, ids=[str(given) for given, _ in ENVIRONMENTS]
)
def test_bad_environment_is_said_before_anything_is_asked_for(keywords, sentence):
    backend = ScriptedBackend([1], python=PYTHON)

    with pytest.raises(InvalidInputError) as caught:
        told(aio.Client(backend).environment(**{"name": "e", **keywords}))

    assert str(caught.value).startswith(sentence), str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, RequirementsError) == ("E111" in sentence)
    assert isinstance(caught.value, DuplicateKeyError) == ("E124" in sentence)
    assert backend.calls == []


RUNS = [
    ({"tags": "survey"}, "GP-E110 tags='survey' is no list.\nfix: 1) tags=['survey']"),
    ({"tags": [1]}, "GP-E110 tags=[1] holds something that is no text."),
    ({"on_empty": "maybe"}, "GP-E110 on_empty='maybe' is none of skip, call, error."),
    ({"task_timeout": 0}, "GP-E110 task_timeout=0 leaves a task no time.\nfix: 1) task_timeout='3"),
    ({"task_timeout": -1}, "GP-E110 task_timeout=-1 is not a duration."),
    ({"retries": "2"}, "GP-E110 retries='2' is neither a number nor a Retry.\nfix: 1) retries=2"),
    ({"retries": 99}, "GP-E110 Retry(limit=99, on=('infra', 'timeout', 'oom', 'exception')) is"),
    ({"write_to": 3}, "GP-E110 3 does not name a layer."),
    ({"write_to": "/data/ndvi"}, "GP-E110 write_to='/data/ndvi' is a path; results are written to"),
    ({"write_to": "./ndvi"}, "GP-E110 write_to='./ndvi' is a path; results are written to a layer"),
    (
        {"write_to": {"pathId": "ndvi", "partail": True}},
        "GP-E110 write_to={'pathId': 'ndvi', 'partail': True} is not understood; beside pathId",
    ),
    ({"write_to": {"pathId": "ndvi", "partial": "yes"}}, "GP-E110 write_to={'pathId': 'ndvi', 'p"),
]


@pytest.mark.parametrize(("keywords", "sentence"), RUNS, ids=[str(given) for given, _ in RUNS])
def test_bad_run_is_said_before_anything_is_sent(keywords, sentence):
    backend = ScriptedBackend([1], python=PYTHON)

    async def work():
        env = await aio.Client(backend).environment("e")
        await env.submit(plain, **keywords)

    with pytest.raises(InvalidInputError) as caught:
        told(work())
    assert str(caught.value).startswith(sentence), str(caught.value)
    assert backend.orders == {}


@pytest.mark.parametrize(
    ("known", "keywords"),
    [
        ({"batch": 1}, {"batch": True}),
        ({"batch": 1}, {"batch": 1.0}),
        ({"retries": 1}, {"retries": True}),
        ({"retries": geopod.Retry(1)}, {"retries": geopod.Retry(limit=True)}),
    ],
    ids=str,
)
def test_value_that_equals_a_good_one_is_no_good_one(known, keywords):
    backend = ScriptedBackend([1], python=PYTHON)

    async def work():
        env = await aio.Client(backend).environment("e")
        await env.submit(plain, **known)
        with pytest.raises(InvalidInputError, match="is not valid"):
            await env.submit(plain, **keywords)

    told(work())
    assert len(backend.orders) == 1


@pytest.mark.parametrize("variables", [0, "", (), {"A": 1}, {"A=B": "c"}], ids=repr)
def test_what_are_no_environment_variables_are_refused(variables):
    backend = ScriptedBackend([1], python=PYTHON)

    async def work():
        env = await aio.Client(backend).environment("e")
        await env.submit_map(plain, [(1,), (2,)], environments=[None, variables])

    with pytest.raises(InvalidInputError, match=r"is no (dict|environment variable)") as caught:
        told(work())
    assert "fix: 1) environments=[{'TILE': '31UFU'}, None]" in str(caught.value)
    assert backend.orders == {}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (None, "GP-E110 args=None is no list.\nfix: 1) args=[(1,), (2,)]"),
        ("abc", "GP-E110 args='abc' is no list.\nfix: 1) args=[(1,), (2,)]"),
        (["abc"], "GP-E110 args='abc' holds something that is no tuple of arguments."),
        ([(1,), 3], "GP-E110 args=3 holds something that is no tuple of arguments."),
    ],
    ids=str,
)
def test_arguments_that_are_no_tuples_are_refused(arguments, sentence):
    backend = ScriptedBackend([1], python=PYTHON)

    async def work():
        env = await aio.Client(backend).environment("e")
        await env.submit_map(plain, arguments)

    with pytest.raises(InvalidInputError) as caught:
        told(work())
    assert str(caught.value).startswith(sentence)
    assert backend.orders == {}


def test_keyword_arguments_are_one_dict_for_all_tasks():
    backend = ScriptedBackend([1], python=PYTHON)

    async def work():
        env = await aio.Client(backend).environment("e")
        await env.submit_map(plain, [(1,), (2,)], [{"scale": 1}, {"scale": 2}])

    with pytest.raises(InvalidInputError, match=r"^GP-E110 kwargs=\[.* is no dict"):
        told(work())
    assert backend.orders == {}


@pytest.mark.parametrize("turns", [True, False], ids=["here", "in the thread"])
def test_large_capture_is_warned_of_at_the_users_line(turns):
    loop = LoopThread()
    env = sync.Client(aio.Client(ScriptedBackend([1], python=PYTHON)), loop).environment("e")
    table = b"x" * (300 << 10)

    def ask():
        with pytest.warns(LargeCaptureWarning, match="'table'") as caught:
            env.submit(lambda params: table)
        return caught[0].filename

    async def notebook():
        return ask()

    assert (ask() if turns else asyncio.run(notebook())) == __file__


@pytest.mark.parametrize("value", [float("inf"), float("nan"), True, "1e3", "", "2 hours", None])
def test_what_is_no_duration_is_refused(value):
    with pytest.raises(InvalidInputError, match="is not a duration"):
        seconds(value, name="timeout")


UNSUPPORTED = [
    (lambda: (number for number in range(3)), "a generator"),
    (threading.Lock, "a _thread.lock"),
    (sys._getframe, "a frame"),
    (threading.current_thread, "a threading."),
    (contextvars.copy_context, "a _contextvars.Context"),
    (lambda: [1, threading.Lock()], "a list"),
]


@pytest.mark.parametrize(("make", "kind"), UNSUPPORTED, ids=[str(kind) for _, kind in UNSUPPORTED])
def test_value_that_no_codec_takes_is_refused_by_its_type(make, kind):
    with pytest.raises(ResultNotSerializableError) as caught:
        call(make, index=0, total=2)

    said = caught.value.fact
    assert said.startswith(f"Task 0 returned {kind}"), said
    assert said.endswith("results are JSON, arrays, tables, rasters, bytes."), said
    assert caught.value.fixes[0].startswith("return ")
    assert isinstance(caught.value, TypeError)


def test_input_that_raises_names_the_runs_that_were_sent(monkeypatch):
    monkeypatch.setattr("geopod.client.aio.mapping.CHUNK", 2)
    backend = ScriptedBackend([1, 1], python=PYTHON)
    client = sync.Client(aio.Client(backend), shared_loop())
    env = client.environment("e", progress=False)

    def numbers():
        yield from range(3)
        raise OSError("the list of scenes ended early")

    with pytest.raises(OSError, match="ended early") as caught:
        list(env.map(plain, numbers(), progress=False))

    assert list(caught.value.runs) == list(backend.orders)
    assert len(backend.orders) == 1
    assert caught.value.__notes__ == [f"sent before: {next(iter(backend.orders))}"]


NAMES = [
    (lambda client, env: client.get_run(4), InvalidInputError, "name=4 is no text"),
    (lambda client, env: client.get_environment(None), InvalidInputError, "name=None is no text"),
    (lambda client, env: env.submit(plain, name=3), InvalidInputError, "name=3 is no text"),
    (lambda client, env: env.submit(plain, name=""), InvalidInputError, "name='' is no resource"),
    (lambda client, env: env.submit(plain, name="Run_1"), InvalidInputError, "name='Run_1' is no"),
    (
        lambda client, env: env.submit(plain, nodes=3),
        TypeError,
        "submit() got an unexpected keyword argument 'nodes'",
    ),
    (
        lambda client, env: env.submit_map(plain, [(1,)], nodes=3),
        TypeError,
        "submit_map() got an unexpected keyword argument 'nodes'",
    ),
    (
        lambda client, env: geopod.function(node=3)(plain),
        TypeError,
        "function() got an unexpected keyword argument 'node'",
    ),
    (
        lambda client, env: geopod.function(plain).with_options(node=3),
        TypeError,
        "with_options() got an unexpected keyword argument 'node'",
    ),
    (
        lambda client, env: env.submit_map(plain, [(threading.Lock(),)]),
        TypeError,
        "GP-E102 Cannot send task 0: argument 0 (_thread.lock) cannot be pickled.",
    ),
    (
        lambda client, env: env.submit(plain).logs(tail=-1),
        InvalidInputError,
        "tail=-1 is no number",
    ),
    (lambda client, env: geopod.wait([3]), InvalidInputError, "runs=3 is no run"),
    (lambda client, env: geopod.gather("a"), InvalidInputError, "runs='a' is no run"),
]


@pytest.mark.parametrize(("act", "kind", "words"), NAMES, ids=[words for *_, words in NAMES])
def test_wrong_call_is_told_in_the_callers_words(act, kind, words):
    client = sync.Client(aio.Client(ScriptedBackend([1], python=PYTHON)), shared_loop())
    env = client.environment("e", progress=False)

    with pytest.raises(kind) as caught:
        list(act(client, env))

    assert words in str(caught.value)
