"""Keys of a layer on a real cluster: refused ones are told by the name of their Secret alone."""

from __future__ import annotations

import pytest
from cluster.bucket_builders import SECRET
from cluster.namespace_builders import client_within, fresh_namespace
from geopod.errors import LayerAccessError
from layer_builders import raster_spec, write_raster

WRONG = "not-the-key-of-this-bucket"
PODS = "pods,deployments,statefulsets,configmaps,events,layers,computeenvironments"


@pytest.fixture
def home(installed, kubectl):
    with fresh_namespace(kubectl, "keys") as within:
        yield within


@pytest.fixture
def dem(object_store, home):
    """A Layer in a bucket whose Secret has another bucket's key."""
    bucket = object_store.bucket("keys")
    write_raster(bucket / "dem.tif", raster_spec())
    home.apply(object_store.secret(AWS_SECRET_ACCESS_KEY=WRONG))
    spec = {
        "type": "raster",
        "timestamps": [{"id": "2024", "uri": f"s3://{bucket.name}/dem.tif"}],
        "credentials": {"secretName": SECRET},
        "endpoints": [object_store.address],
    }
    kind = {"apiVersion": "geopod.dev/v1alpha1", "kind": "Layer"}
    home.apply({**kind, "metadata": {"name": "dem"}, "spec": spec})
    return ("dem", "2024")


def test_refused_keys_are_named_by_their_secret_and_start_no_node(home, dem):
    with client_within(home) as client, pytest.raises(LayerAccessError) as caught:
        client.environment("relief", layers=[dem], nodes=2)

    assert caught.value.fact == (
        "Layer 'dem' cannot be read: 403 SignatureDoesNotMatch from s3 (secret 'bucket-keys')."
    )
    log = home("logs", "deployment/relief-coordinator")
    told = str(caught.value) + log + home("get", PODS, "-o", "yaml")
    assert "relief-coordinator" in told
    assert "relief-node-0" not in told
    assert WRONG not in told
