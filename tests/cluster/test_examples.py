"""Examples as they stand in `examples/`, on a cluster: the same output as on one machine.

The folder that an example writes to is a bucket of the cluster's store: its files are objects.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import geopod
import numpy as np
import pandas as pd
import pytest
import rasterio
from cluster.bucket_builders import SECRET
from cluster.namespace_builders import client_within, fresh_namespace
from cluster.testcluster.image_contexts import PROJECT

EXAMPLES = PROJECT / "examples"
OWN = f"python{sys.version_info.major}.{sys.version_info.minor}"
SMALL = {"interpreter": OWN, "memory": "512Mi", "cpus": 0.3, "progress": False}
CHOSEN = ("field_sums", "moving_window")
"""Rasters with features, and a result that becomes a layer; others differ in their functions."""


class OnCluster:
    """What an example calls its client: layers in a folder become layers in the bucket."""

    def __init__(self, client, folder: Path) -> None:
        self._client = client
        self._folder = folder

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def environment(self, *, layers, **options):
        references = [self._reference(layer) for layer in layers]
        return self._client.environment(layers=references, **options, **SMALL)

    def add_layer(self, path_id, path=None, *, write_to=None, **options):
        target = None if write_to is None else self._uri(write_to)
        place = None if path is None else self._uri(path)
        return self._client.add_layer(path_id, place, write_to=target, secret=SECRET, **options)

    def __getattr__(self, name):
        return getattr(self._client, name)

    def _reference(self, layer):
        if not isinstance(layer, Path):
            return layer
        self.add_layer(layer.stem, layer, timestamp=layer.stem)
        return layer.stem, layer.stem

    def _uri(self, path):
        return f"s3://{self._folder.name}/{path.relative_to(self._folder)}"


@pytest.fixture(scope="module")
def home(installed, kubectl, object_store):
    with fresh_namespace(kubectl, "examples") as within:
        within.apply(object_store.secret())
        yield within


@pytest.fixture
def bucket(object_store):
    return object_store.bucket("example")


@pytest.fixture
def example(monkeypatch):
    """Load an example as a script is loaded: its own folder first on the path."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.delitem(sys.modules, "sample_layers", raising=False)
    return lambda name: runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"]


@pytest.mark.parametrize("name", CHOSEN)
def test_example_gives_the_same_as_on_one_machine(
    example, home, bucket, monkeypatch, geopod_home, tmp_path, name
):
    here = tmp_path / "here"
    here.mkdir()
    local = example(name)(here)
    with client_within(home) as client, monkeypatch.context() as patch:
        patch.setattr(geopod, "connect", lambda _target: OnCluster(client, bucket))
        assert_same(example(name)(bucket), local, buckets=bucket.parent)


def assert_same(found, local, *, buckets):
    """Compare what two runs of an example returned; s3:// lies below `buckets`."""
    match local:
        case Path():
            written = buckets.joinpath(*found.parts[1:])
            with rasterio.open(written) as one, rasterio.open(local) as other:
                np.testing.assert_array_equal(one.read(), other.read())
                assert (one.transform, one.crs) == (other.transform, other.crs)
        case pd.DataFrame():
            pd.testing.assert_frame_equal(found, local)
        case tuple():
            for one, other in zip(found, local, strict=True):
                np.testing.assert_array_equal(one, other)
        case _:
            raise AssertionError(type(local))
