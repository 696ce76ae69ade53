"""Paths of objects, and the token bucket of the API client."""

import pytest
from geopod.api.crd import KINDS
from geopod.cluster import kinds
from geopod.cluster.limits import Limits, TokenBucket


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (kinds.PODS.path("geo", "p"), "/api/v1/namespaces/geo/pods/p"),
        (kinds.PODS.path(), "/api/v1/pods"),
        (kinds.RUNS.path("geo"), "/apis/geopod.dev/v1alpha1/namespaces/geo/computeruns"),
        (
            kinds.RUNS.path("geo", "r", "status"),
            "/apis/geopod.dev/v1alpha1/namespaces/geo/computeruns/r/status",
        ),
        (
            kinds.RUNTIMES.path("geo", "default"),
            "/apis/geopod.dev/v1alpha1/computeruntimes/default",
        ),
        (kinds.PODS.path("geo", "../x"), "/api/v1/namespaces/geo/pods/..%2Fx"),
    ],
    ids=["object", "everywhere", "namespace", "subresource", "cluster-scoped", "hostile name"],
)
def test_path_of(path, expected):
    assert path == expected


def test_own_kinds_are_those_of_the_contract():
    own = {kind.kind: kind for kind in kinds.ALL if kind.group == "geopod.dev"}
    for said, *_ in KINDS:
        assert own[said.kind].plural == said.plural
        assert own[said.kind].namespaced == said.namespaced
    assert len(own) == len(KINDS)


def test_kind_of_an_object_is_found():
    assert kinds.kind_of({"apiVersion": "apps/v1", "kind": "Deployment"}) is kinds.DEPLOYMENTS
    assert kinds.kind_of({"apiVersion": "v1", "kind": "Event"}) is kinds.CORE_EVENTS


def test_burst_goes_at_once_and_the_rest_stands_in_line():
    now = [0.0]
    bucket = TokenBucket(Limits(qps=10, burst=3), lambda: now[0])
    assert [bucket.take() for _ in range(5)] == pytest.approx([0, 0, 0, 0.1, 0.2])
    now[0] = 0.2
    assert bucket.take() == pytest.approx(0.1)


def test_pause_fills_the_bucket_to_its_brim_only():
    now = [0.0]
    bucket = TokenBucket(Limits(qps=10, burst=3), lambda: now[0])
    for _ in range(3):
        bucket.take()
    now[0] = 1000.0
    assert [bucket.take() for _ in range(4)] == pytest.approx([0, 0, 0, 0.1])
