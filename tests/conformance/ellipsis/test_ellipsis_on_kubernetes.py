"""The face over the Kubernetes backend: the resources it makes, and a compute's whole life there.

An API server in memory, a real gateway; operator and coordinators are played.
"""

from __future__ import annotations

import io
import subprocess
import sys
from contextlib import AsyncExitStack
from hashlib import sha256

import geopod
import pytest
from geopod.api.names import result_key
from geopod.api.results import Entry, Failure, TaskReason, TaskRecord
from geopod.client.loop import shared_loop
from geopod.cluster.kinds import ENVIRONMENTS, RUNS, RUNTIMES
from geopod.cluster.kinds import LAYERS as LAYER_KIND
from geopod.errors import EnvironmentNotFoundError, EnvironmentTerminatedError, UnschedulableError
from geopod.faces.ellipsis import compute, target
from geopod.faces.ellipsis.compute import root
from kubernetes_builders import a_condition, connected, ready_status

INTERPRETER = f"python{sys.version_info.major}.{sys.version_info.minor}"
LAYERS = [{"pathId": "dem", "timestampId": "2024"}]
FAILED = Failure(reason=TaskReason.OUT_OF_MEMORY, code="E304", fact="was killed at 4.0 GiB.")


def f(params):
    return len(params)


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Return a function that starts a cluster's parts; all calls of the face then go there."""
    loop, stack = shared_loop(), AsyncExitStack()

    def start(**script):
        client, api, play = loop.run(stack.enter_async_context(connected(tmp_path, **script)))
        monkeypatch.setattr(root, "client_for", lambda token: client)
        return api, play

    yield start
    loop.run(stack.aclose())


def create(nodes=1, **changed):
    options = {"interpreter": INTERPRETER, **changed}
    return compute.createCompute(LAYERS, None, nodes=nodes, timeout="1m", **options)["id"]


def the_only(api, kind):
    (manifest,) = shared_loop().run(api.list(kind)).items
    return manifest


def test_compute_is_a_resource_found_by_its_id(cluster):
    api, _ = cluster(script=["a", "b"])
    compute_id = create(nodes=2, requirements=["numpy"], enableGpu=True)
    manifest = the_only(api, ENVIRONMENTS)
    assert manifest["metadata"]["name"] == f"env-{compute_id}"
    assert manifest["metadata"]["labels"] == {"geopod.dev/compute-id": compute_id}
    spec = manifest["spec"]
    assert (spec["nodes"], spec["requirements"], spec["enableGpu"]) == (2, ["numpy"], True)
    assert spec["partitioning"]["crs"] == "EPSG:3857"
    named = [compute_id, {"id": compute_id}, f"env-{compute_id}", manifest["metadata"]["uid"]]
    assert [compute.execute(name, f, None) for name in named] == [["a", "b"]] * 4


@pytest.mark.parametrize(
    ("runtime", "nodes"), [({"defaultNodes": 6}, 6), ({}, 1), (None, 1)], ids=["6", "unset", "none"]
)
def test_unsaid_number_of_nodes_is_the_runtimes(cluster, runtime, nodes):
    api, _ = cluster()
    if runtime is not None:
        shared_loop().run(api.put(RUNTIMES, "default", spec=runtime))
    create(nodes=None)
    assert the_only(api, ENVIRONMENTS)["spec"]["nodes"] == nodes


def test_life_of_a_compute_in_status_words(cluster):
    cluster(script=[4.2])
    compute_id = create()
    assert compute.getComputeInfo(compute_id, None)["status"] == "available"
    assert compute.execute(compute_id, f, None) == [4.2]
    info = compute.getComputeInfo(compute_id, None)
    assert (info["status"], info["result"]) == ("completed", [{"type": "json", "value": 4.2}])
    assert compute.terminateCompute(compute_id, None) == {}
    (ended,) = compute.listComputes(None)["result"]
    assert (ended["id"], ended["status"]) == (compute_id, "stopped")
    assert "resume() wakes it" in ended["message"]
    with pytest.raises(EnvironmentTerminatedError):
        compute.execute(compute_id, f, None)


def test_compute_that_cannot_start_is_errored_and_ends_the_waiting(cluster):
    api, _ = cluster(ready=False)
    compute_id = create(awaitTillStarted=False)
    assert compute.getComputeInfo(compute_id, None)["status"] == "starting"
    status = ready_status(the_only(api, ENVIRONMENTS))
    message = "4 of 4 nodes cannot be scheduled: no machine offers nvidia.com/gpu."
    status["conditions"] = [
        a_condition("Ready", status=False, reason="Unschedulable", message=message),
        a_condition("Stalled", status=True, reason="Unschedulable", message=message),
    ]
    shared_loop().run(api.say(ENVIRONMENTS, f"env-{compute_id}", status))
    info = compute.getComputeInfo(compute_id, None)
    assert info["status"] == "errored"
    assert info["message"].startswith("GP-E401 4 of 4 nodes cannot be scheduled")
    with pytest.raises(UnschedulableError):
        compute.execute(compute_id, f, None)
    with pytest.raises(UnschedulableError) as caught:
        root._wait_ready(root._find(compute_id, None), "1m")
    assert message.rstrip(".") in str(caught.value)
    assert compute.terminateAll(None, awaitTillTerminated=False) is None


def test_one_failed_node_keeps_the_results_of_the_others(cluster):
    cluster(script=["a", FAILED, "c"])
    with pytest.raises(ValueError, match=r"GP-E304 Task 1 was killed") as caught:
        compute.execute(create(nodes=3), f, None)
    assert caught.value.completed == ["a", None, "c"]
    assert caught.value.run.name.startswith("f-")


def test_file_comes_through_the_gateway_byte_for_byte(cluster):
    api, play = cluster()
    data = bytes(range(256)) * 1000

    async def record(uid, run, index):
        key = result_key(uid, run, f"{index}-1-1", "value")
        await play.store.put(key, data)
        entry = Entry(codec="bytes", sha256=sha256(data).hexdigest(), bytes=len(data), key=key)
        return TaskRecord(index=index, attempt=1, epoch=1, node=index, entry=entry), b""

    play.inline, play._record = False, record
    compute_id = create(largeResult=True)
    (url,) = compute.execute(compute_id, f, None)
    assert url == f"/compute/{compute_id}/file/{the_only(api, RUNS)['metadata']['uid']}-0"
    memfile = compute.downloadFile(url, None, memfile=io.BytesIO())
    assert memfile.read() == data


def test_response_is_added_by_a_run_that_publishes(cluster):
    api, _ = cluster()
    compute_id = create(largeResult=True)
    compute.execute(compute_id, f, None)
    uid = the_only(api, RUNS)["metadata"]["uid"]
    layer = {"type": "raster", "timestamps": []}
    shared_loop().run(api.put(LAYER_KIND, "ndvi", spec=layer))
    compute.addLayer([f"/compute/{compute_id}/file/{uid}-0"], "ndvi", "2024", None)
    runs = shared_loop().run(api.list(RUNS)).items
    (added,) = [it["spec"] for it in runs if it["spec"].get("mode") == "Publish"]
    assert added["publish"] == [uid]
    assert added["writeToLayer"] == {"pathId": "ndvi", "timestampId": "2024"}
    assert compute.getComputeInfo(compute_id, None)["result"] == [{"type": "json", "value": 1}]


def test_unknown_compute_names_those_there_are(cluster):
    cluster()
    compute_id = create()
    with pytest.raises(EnvironmentNotFoundError, match=f"Yours: env-{compute_id}") as caught:
        compute.getComputeInfo("0b8f5c9e-2f5e-4d55-9d3e-0c5a8b1f6e11", None)
    assert isinstance(caught.value, ValueError)


class Connected:
    """What `geopod.connect` was asked for, and whether the client was closed."""

    def __init__(self, *args, **options):
        self.asked, self._aio, self.closed = (args, options), self, False

    def close(self):
        self.closed = True


def test_one_client_is_kept_for_a_token_and_the_oldest_is_closed(monkeypatch):
    made = []

    def connect(*args, **options):
        made.append(Connected(*args, **options))
        return made[-1]

    monkeypatch.setattr(target, "_clients", {})
    monkeypatch.setattr(geopod, "connect", connect)
    target.connect("prod", namespace="geo", gateway="https://gateway")
    try:
        first = target.client_for("a")
        assert target.client_for("a") is first
        assert first.asked == (
            ("prod",),
            {"namespace": "geo", "token": "a", "gateway": "https://gateway"},
        )
        for number in range(target.OPEN_CLIENTS):
            target.client_for(str(number))
    finally:
        target.connect()
    assert [client.closed for client in made] == [True] + [False] * target.OPEN_CLIENTS


def test_importing_the_face_stays_light():
    absent = {"ellipsis", "geopandas", "kubernetes", "numpy", "pandas", "pydantic", "rasterio"}
    code = f"import geopod.faces.ellipsis, sys; print(*({absent!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_importing_geopod_loads_no_face():
    code = "import geopod, sys; geopod.connect; print('geopod.faces' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
