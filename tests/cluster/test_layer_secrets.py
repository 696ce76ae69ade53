"""Keys of a layer on a real cluster: refused ones are told by the name of their Secret alone."""

from __future__ import annotations

import pytest
from cluster.namespace_builders import client_within, fresh_namespace
from cluster.testcluster.control import S3_USER
from cluster.testcluster.places import Places
from geopod.errors import LayerAccessError
from layer_builders import raster_spec, write_raster

WRONG = "not-the-key-of-this-bucket"
PODS = "pods,deployments,statefulsets,configmaps,events,layers,computeenvironments"


@pytest.fixture
def home(installed, kubectl):
    with fresh_namespace(kubectl, "keys") as within:
        yield within


@pytest.fixture
def dem(process_cluster, addresses, home):
    """A Layer in a bucket whose Secret has another bucket's key."""
    bucket = Places.of(process_cluster).data("s3") / "keys"
    bucket.mkdir(exist_ok=True)
    write_raster(bucket / "dem.tif", raster_spec())
    address, _, port = addresses.s3.removeprefix("http://").partition(":")
    keys = {
        "AWS_ACCESS_KEY_ID": S3_USER,
        "AWS_SECRET_ACCESS_KEY": WRONG,
        "AWS_ENDPOINT_URL": addresses.s3,
        "AWS_REGION": "us-east-1",
    }
    metadata = {"name": "bucket-keys"}
    home.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": keys})
    spec = {
        "type": "raster",
        "timestamps": [{"id": "2024", "uri": "s3://keys/dem.tif"}],
        "credentials": {"secretName": "bucket-keys"},
        "endpoints": [{"cidr": f"{address}/32", "port": int(port)}],
    }
    kind = {"apiVersion": "geopod.dev/v1alpha1", "kind": "Layer"}
    home.apply({**kind, "metadata": {"name": "dem"}, "spec": spec})
    return ("dem", "2024")


@pytest.mark.timeout(300)
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
