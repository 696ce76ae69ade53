"""What a resource refuses is told by the keyword that was written, and by its value."""

from __future__ import annotations

import asyncio
import sys

import pytest
from geopod.client import aio
from geopod.client.options import environment_spec
from geopod.errors import InvalidInputError
from geopod.testing import ScriptedBackend
from local_builders import story

LEAST = "is refused: input should be greater than or equal to"
ENVIRONMENTS = [
    ({"idle_after": "2s"}, f"idle_after='2s' {LEAST} 60 seconds."),
    ({"ttl": 0}, f"ttl=0 {LEAST} 60 seconds."),
    ({"ttl": "10m", "idle_after": "30m"}, "ttl must be at least idle_after."),
    (
        {"keep_results": "999w"},
        "keep_results='999w' is refused: input should be less than or equal to 31536000 seconds.",
    ),
    (
        {"large_result": "perhaps"},
        (
            "large_result='perhaps' is refused: input should be a valid boolean, unable to "
            "interpret input."
        ),
    ),
    (
        {"enable_gpu": 3},
        "enable_gpu=3 is refused: input should be a valid boolean, unable to interpret input.",
    ),
    ({"gpu": {}}, "gpu needs enable_gpu=True."),
    ({"gpu": {"count": 0}, "enable_gpu": True}, f"gpu['count']=0 {LEAST} 1."),
    ({"overlap": -1}, f"overlap=-1 {LEAST} 0."),
    ({"partitioning": {"headroom": 0}}, f"partitioning['headroom']=0 {LEAST} 1."),
    (
        {"balance": "x"},
        "balance='x' is refused: input should be 'mixed', 'bytes', 'features' or 'area'.",
    ),
    (
        {"extent": {"mode": 3}},
        (
            "extent={'mode': 3} is refused: input should be 'reference', 'intersection', 'union' "
            "or 'bbox'."
        ),
    ),
    (
        {"env": {"A B": 1}},
        "env='A B' is refused: string should match pattern '^[-._a-zA-Z][-._a-zA-Z0-9]*$'.",
    ),
    ({"secrets": [{"nam": "x"}]}, "secrets[0]['name']={'nam': 'x'} is refused: field required."),
    (
        {"labels": {"tries": 3}},
        (
            "labels={'tries': 3} is no label: texts of at most 63 letters, digits, '-', '_' and "
            "'.', with a letter or digit at either end."
        ),
    ),
    ({"template": {"foo": 1}}, "template['foo']=1 is refused: extra inputs are not permitted."),
]


@pytest.mark.parametrize(
    ("keywords", "fact"), ENVIRONMENTS, ids=[fact[:20] for _, fact in ENVIRONMENTS]
)
def test_environment_names_the_keyword(keywords, fact):
    backend = ScriptedBackend([1], python=f"3.{sys.version_info.minor}")
    with pytest.raises(InvalidInputError) as caught:
        asyncio.run(aio.Client(backend).environment(**keywords))
    assert caught.value.fact == fact
    assert not backend.environments


LAYERS = [
    ({"path_id": "Dem_2"}, "path_id='Dem_2' is no resource name"),
    ({"timestamp": "t" * 64}, f"timestamp='{'t' * 64}' is refused: string should have at most 63"),
    ({"timestamp": 3}, "timestamp=3 is refused: input should be a valid string"),
    ({"uri": "s3://b/" + "x" * 1100}, "uri='s3://b/xxx"),
    ({"secret": "A_b"}, "secret='A_b' is refused: string should match pattern"),
    ({"write_to": "s3://b/" + "x" * 1100}, "write_to='s3://b/xxx"),
    ({"type": "netcdf"}, "type='netcdf' is refused: input should be 'raster' or 'vector'."),
]


@pytest.mark.parametrize(("keywords", "fact"), LAYERS, ids=[fact[:15] for _, fact in LAYERS])
def test_layer_names_the_keyword(tmp_path, keywords, fact):
    async def act(backend):
        with pytest.raises(InvalidInputError) as caught:
            await aio.Client(backend).add_layer(
                **{"path_id": "dem", "uri": "s3://bucket/dem.tif", "timestamp": "2024"} | keywords
            )
        assert await backend.list_layers() == []
        return caught.value.fact

    assert story(tmp_path / "home", act).startswith(fact)


@pytest.mark.parametrize(("ttl", "idle_s"), [("10m", 600), ("2h", 1800), (None, 1800)])
def test_environment_that_lives_shortly_idles_no_longer(ttl, idle_s):
    assert environment_spec({"ttl": ttl}, layers=(), files=())["idle"]["afterSeconds"] == idle_s


@pytest.mark.parametrize("labels", [{"team": ""}, {"geopod.example/team": "geo-1.a_b"}])
def test_labels_are_taken_as_kubernetes_takes_them(labels):
    backend = ScriptedBackend([1], python=f"3.{sys.version_info.minor}")
    asyncio.run(aio.Client(backend).environment("e", labels=labels, progress=False))
    assert backend.environments["e"].labels == labels


WRONG = [{"a b": "c"}, {"a": "c d"}, {"a": None}, {"": "c"}, {"A B/c": "d"}, {"a": "x" * 64}]


@pytest.mark.parametrize("labels", WRONG, ids=str)
def test_labels_that_kubernetes_would_refuse_are_none(labels):
    backend = ScriptedBackend([1], python=f"3.{sys.version_info.minor}")
    with pytest.raises(InvalidInputError, match="is no label"):
        asyncio.run(aio.Client(backend).environment("e", labels=labels, progress=False))
    assert not backend.environments
