"""Tokens of folders, resources as they are written, and how a cluster is found."""

from __future__ import annotations

import asyncio
import time

import pytest
from geopod.api import deployment, names
from geopod.api.run_report import timestamp
from geopod.backends import Target, open_backend
from geopod.backends.kubernetes.artifacts import ArtifactStore, TokenBook
from geopod.backends.kubernetes.backend import gateway_route
from geopod.backends.kubernetes.manifests import (
    LIMIT_BYTES,
    environment_manifest,
    holds,
    layer_spec,
    merged_layer,
    state_of,
)
from geopod.client import aio
from geopod.cluster.client import ProxyTarget
from geopod.errors import (
    ConfigError,
    EnvironmentNotFoundError,
    GatewayUnavailableError,
    InvalidInputError,
    PermissionDeniedError,
)
from geopod.store.directory import DirectoryStore
from geopod_gateway.app import Gateway
from kubernetes_builders import HASTY, FakeApi, ready_status
from store_builders import UID, Faults, a_token, running, some_settings

RUN = "run-1"
KEY = f"{UID}/runs/{RUN}/value"
MANIFEST = {
    "metadata": {"uid": UID, "name": "e", "namespace": "geo", "generation": 1},
    "spec": {"nodes": 1},
}


def with_tokens(**access):
    status = {"access": {"expiresAt": timestamp(time.time() + 600), **access}}
    return {**MANIFEST, "status": status}


def read(tmp_path, refresh, *, learn=None, key=KEY):
    """Read one object through a gateway; `refresh` answers who asks for tokens."""

    async def work():
        settings = some_settings(tmp_path / "store")
        await DirectoryStore(tmp_path / "store").put(key, b"data")
        book = TokenBook()
        for manifest in learn or ():
            book.learn_environment(manifest)
            book.learn_run(manifest)
        async with running(Gateway(settings)) as url:
            store = ArtifactStore(url, book, refresh, cache=tmp_path / "cache", patience=HASTY)
            try:
                return await store.get(key)
            finally:
                await store.close()

    return asyncio.run(work())


def never(owner):
    raise AssertionError(owner)


def answers(*manifests):
    """Return a refresh that gives these in turn, and the owners that were asked for."""
    asked, left = [], list(manifests)

    async def refresh(owner):
        asked.append(owner)
        return left.pop(0)

    return refresh, asked


def test_known_token_is_used_without_asking(tmp_path):
    known = with_tokens(token=a_token(f"{UID}/"))
    assert read(tmp_path, never, learn=[known]) == b"data"


def test_token_is_asked_for_when_it_is_missing_or_near_its_end(tmp_path):
    good = with_tokens(token=a_token(f"{UID}/"))
    ending = with_tokens(token=a_token(f"{UID}/"), expiresAt=timestamp(time.time() + 5))
    for learn in ([], [ending]):
        refresh, asked = answers(good)
        assert read(tmp_path, refresh, learn=learn) == b"data"
        assert asked == [UID]


def test_refused_token_is_replaced_once(tmp_path):
    refused = with_tokens(token=a_token(f"{UID}/", key=b"x" * 32))
    refresh, asked = answers(with_tokens(token=a_token(f"{UID}/")))
    assert read(tmp_path, refresh, learn=[refused]) == b"data"
    assert asked == [UID]


def test_runs_own_token_opens_its_folder_when_the_environment_is_gone(tmp_path):
    token = a_token(names.run_prefix(UID, RUN), key_id=UID, may=("get",))
    run = {"metadata": {"uid": RUN}, "status": {"results": {"token": token}}}
    assert read(tmp_path, never, learn=[run]) == b"data"


def test_way_that_one_token_found_open_may_be_shut_for_a_moment_to_another(tmp_path):
    token = a_token(names.run_prefix(UID, RUN), key_id=UID, may=("get",))
    run = {"metadata": {"uid": RUN}, "status": {"results": {"token": token}}}
    faults = Faults("ok", "403")

    async def work():
        book = TokenBook()
        book.learn_environment(with_tokens(token=a_token(f"{UID}/")))
        async with running(Gateway(some_settings(tmp_path / "store")), faults) as url:
            store = ArtifactStore(url, book, never, cache=tmp_path / "cache", patience=HASTY)
            await store.put(KEY, b"data")
            book.learn_run(run)
            found = await store.get(KEY)
            await store.close()
            return found

    assert asyncio.run(work()) == b"data"
    opened_by = [request.headers[deployment.TOKEN_HEADER] == token for request in faults.seen]
    assert opened_by == [False, True, True]


def test_shared_folder_has_a_token_of_its_own(tmp_path):
    key = names.file_key("a" * 64, namespace="geo")
    known = with_tokens(
        token=a_token(f"{UID}/"), sharedToken=a_token("shared/geo/", key_id="shared/geo")
    )
    assert read(tmp_path, never, learn=[known], key=key) == b"data"


def test_folder_of_a_deleted_environment_is_said_to_be_closed(tmp_path):
    async def gone(owner):
        raise EnvironmentNotFoundError.missing(name=owner, namespace="geo", target="prod")

    with pytest.raises(PermissionDeniedError, match="nothing opens its folder"):
        read(tmp_path, gone)


def test_environment_without_tokens_is_the_gateways_fault(tmp_path):
    refresh, _ = answers(MANIFEST)
    with pytest.raises(GatewayUnavailableError, match="holds no token"):
        read(tmp_path, refresh)


# ---- resources


def test_resource_that_etcd_would_refuse_is_refused_with_its_size():
    spec = {"env": [{"name": "A", "value": "x" * LIMIT_BYTES}]}
    with pytest.raises(InvalidInputError, match=r"'e' takes 1\.0 MiB; a resource holds 1 MiB"):
        environment_manifest("e", spec, namespace="geo", labels={})


@pytest.mark.parametrize(
    ("uri", "kind"),
    [
        ("s3://b/dem.tif", "raster"),
        ("https://host/a.TIF?sig=1", "raster"),
        ("s3://b/era.nc#t2m@2024-05", "raster"),
        ("gs://b/roads.gpkg", "vector"),
        ("s3://b/parcels.parquet", "vector"),
    ],
)
def test_type_of_a_layer_follows_from_its_suffix(uri, kind):
    assert layer_spec("l", {"timestamps": [{"id": "1", "uris": [uri]}]}, known_type=None)[
        "type"
    ] == (kind)


def test_layer_of_unknown_type_asks_for_it():
    spec = {"timestamps": [{"id": "1", "uris": ["s3://b/things"]}]}
    with pytest.raises(InvalidInputError, match="cannot be told") as caught:
        layer_spec("l", spec, known_type=None)
    assert caught.value.fixes == ("type='raster'", "type='vector'")
    assert layer_spec("l", spec, known_type="raster")["type"] == "raster"


def test_timestamps_are_joined_by_their_id():
    known = {"type": "raster", "timestamps": [{"id": "1", "uri": "a"}, {"id": "2", "uri": "b"}]}
    joined = merged_layer(known, {"timestamps": [{"id": "2", "uri": "c"}], "nodata": 0})
    assert [stamp["uri"] for stamp in joined["timestamps"]] == ["a", "c"]
    assert (joined["type"], joined["nodata"]) == ("raster", 0)


def test_same_spec_may_have_defaults_of_the_server():
    assert holds({"a": 1, "b": [{"c": 2}]}, {"a": 1, "b": [{"c": 2, "d": 3}], "e": 4})
    assert not holds({"a": 1}, {"a": 2})
    assert not holds({"b": [1]}, {"b": [1, 2]})


@pytest.mark.parametrize(
    ("text", "at", "user"),
    [
        ('{"time": "2026-01-03T10:00:00Z", "user": "ana"}', 1767434400.0, "ana"),
        ("yes", 0.0, "its owner"),
        ("[1]", 0.0, "its owner"),
    ],
)
def test_mark_of_an_ended_environment_is_read_whatever_it_holds(text, at, user):
    annotations = {names.ANNOTATION_TERMINATED: text}
    metadata = {**MANIFEST["metadata"], "annotations": annotations}
    state = state_of({**MANIFEST, "metadata": metadata, "status": ready_status(MANIFEST)})
    assert state.phase == "Terminated"
    assert state.details == {"terminatedAt": at, "terminatedBy": user}


# ---- connecting


def test_gateway_is_a_url_or_a_service_behind_the_api_server():
    api = FakeApi()
    assert gateway_route(api, "https://gateway.example/") == "https://gateway.example"
    for given, path in (
        (None, "geopod-system/geopod-gateway:8080"),
        ("tools", "tools/geopod-gateway:8080"),
        ("tools/store", "tools/store:8080"),
    ):
        route = gateway_route(api, given)
        assert isinstance(route, ProxyTarget)
        assert route.base_url.endswith(path)
    with pytest.raises(ConfigError, match="neither a URL nor namespace/service"):
        gateway_route(api, "a/b/c")


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """No target in the environment, no cluster around, no kubeconfig."""
    for name in ("GEOPOD_TARGET", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    return monkeypatch


def test_without_a_cluster_this_machine_is_named_and_not_taken(nowhere):
    with pytest.raises(ConfigError) as caught:
        asyncio.run(aio.connect())
    assert caught.value.code == "E001"
    assert 'connect("local")' in caught.value.hint


def test_context_that_is_not_there_is_named(nowhere):
    with pytest.raises(ConfigError, match="'nowhere'"):
        asyncio.run(open_backend(Target(context="nowhere")))


def test_argument_comes_before_the_variable(nowhere, tmp_path):
    nowhere.setenv("GEOPOD_HOME", str(tmp_path / "home"))
    nowhere.setenv("GEOPOD_TARGET", "nowhere")

    async def name():
        async with aio.connect("local") as client:
            return repr(client)

    assert asyncio.run(name()) == "<Client local namespace=local>"
    with pytest.raises(ConfigError, match="'nowhere'"):
        asyncio.run(aio.connect())
    nowhere.setenv("GEOPOD_TARGET", "local")
    assert repr(asyncio.run(aio.connect())) == "<Client local namespace=local>"
