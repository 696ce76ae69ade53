"""The Ellipsis face on a cluster: published scripts with the import changed, signed in by a token.

The cases are those of tests/conformance/ellipsis, word for word.
"""

from __future__ import annotations

from pathlib import Path

import geopod.faces.ellipsis as el
import pytest
from cluster.bucket_builders import SECRET
from cluster.namespace_builders import client_within, fresh_namespace
from ellipsis_cases import (
    CASES,
    FIELDS,
    FIELDS_TIME,
    FRAME,
    LAYERS,
    RESULTS,
    SENTINEL,
    SENTINEL_TIME,
    SPEC,
    VALUES,
    Drive,
    a_model,
)
from layer_builders import write_raster

INTERPRETER = "python3.13"
"""Another minor than the tests' own: functions travel as source, as upstream sends them."""


@pytest.fixture(scope="module")
def bucket(object_store):
    """A bucket with both layers, as the folder that it is."""
    folder = object_store.bucket("drive")
    write_raster(folder / "sentinel.tif", SPEC, VALUES)
    FRAME.to_parquet(folder / "fields.parquet")
    return folder


@pytest.fixture(scope="module")
def home(installed, kubectl, object_store):
    """A namespace where ana may edit, and the keys of the bucket."""
    with fresh_namespace(kubectl, "drive") as within:
        within.apply(object_store.secret())
        within("create", "serviceaccount", "ana")
        ana = f"--serviceaccount={within.namespace}:ana"
        within("create", "rolebinding", "ana", "--clusterrole=geopod-edit", ana)
        yield within


@pytest.fixture(scope="module")
def drive(home, bucket, tmp_path_factory):
    folder = tmp_path_factory.mktemp("drive")
    token = home("create", "token", "ana").strip()
    with client_within(home) as client:
        for path_id, file, timestamp in (
            (SENTINEL, "sentinel.tif", SENTINEL_TIME),
            (FIELDS, "fields.parquet", FIELDS_TIME),
        ):
            uri = f"s3://{bucket.name}/{file}"
            client.add_layer(path_id, uri, timestamp=timestamp, secret=SECRET)
        for name, kind in RESULTS.items():
            write_to = f"s3://{bucket.name}/{name}"
            client.add_layer(name, type=kind, write_to=write_to, secret=SECRET)

        def file_of(path_id, timestamp_id):
            (uri,) = client.get_layer(path_id).files(timestamp_id)
            return bucket.parent / Path(uri.removeprefix("s3://"))

        el.connect(namespace=home.namespace)
        made = el.compute.createCompute(
            LAYERS, token, [a_model(folder)], 2, INTERPRETER, largeResult=True, timeout="5m"
        )
        yield Drive(made["id"], token, folder, file_of)
        el.connect()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_published_script(drive, case):
    case(drive)


def test_compute_that_was_ended_is_listed_as_stopped_and_takes_nothing_more(drive):
    assert el.getComputeInfo(drive.compute, drive.token)["status"] == "completed"
    assert el.terminateCompute(drive.compute, drive.token) == {}
    (ended,) = el.listComputes(drive.token)["result"]
    assert (ended["id"], ended["status"]) == (drive.compute, "stopped")
    with pytest.raises(ValueError, match="GP-E204"):
        el.execute(drive.compute, lambda params: 1, drive.token)
