"""The Ellipsis face over a scripted backend: what is sent, what comes back, what is raised."""

from __future__ import annotations

import asyncio
import io
import re
import sys
import uuid
from hashlib import sha256

import msgspec
import pytest
from geopod import errors
from geopod.api.results import Entry, Failure, TaskReason, TaskRecord
from geopod.api.runs import Condition, EnvironmentState
from geopod.backends import EnvironmentRecord, LayerRecord
from geopod.client import aio
from geopod.errors import (
    EnvironmentNotFoundError,
    EnvironmentTerminatedError,
    NotAFileResultError,
    OutOfMemoryError,
    PermissionDeniedError,
    ResultTooLargeError,
    RunFailedError,
    UnschedulableError,
    WaitTimeoutError,
)
from geopod.errors.base import GeopodError
from geopod.faces.ellipsis import compute, computes
from geopod.faces.ellipsis.compute import root
from geopod.faces.ellipsis.value_errors import become_value_error
from geopod.testing import ScriptedBackend

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
LAYERS = [{"pathId": "dem", "timestampId": "2024"}]
TARGET = {"pathId": "ndvi", "timestampId": "2024"}
OUT_OF_MEMORY = Failure(
    reason=TaskReason.OUT_OF_MEMORY,
    code="E304",
    fact="was killed at its 4.0 GiB memory limit (exit 137).",
    fixes=["memory='8Gi'"],
)
TOO_LARGE = Failure(
    reason=TaskReason.RESULT_TOO_LARGE,
    code="E301",
    fact="returned 2.0 MiB; the limit with large_result=False is 2 MiB.",
    fixes=["large_result=True"],
)


SUSPENDED = Condition(type="Suspended", status=True, reason="UserRequested")


class FilesBackend(ScriptedBackend):
    """Plays entries too: an `Entry` of the script is the task's, its bytes are in `data`."""

    async def _record(self, order, index):
        outcome = self._script[index % len(self._script)]
        if not isinstance(outcome, Entry):
            return await super()._record(order, index)
        return TaskRecord(index=index, attempt=1, epoch=1, node=index, entry=outcome)


def a_file(data=b"II*\0 a raster", codec="bytes", **meta):
    return Entry(
        codec=codec, sha256=sha256(data).hexdigest(), bytes=len(data), data=data, meta=meta
    )


def f(params):
    return len(params)


@pytest.fixture
def play(monkeypatch):
    """Return a function that makes a backend of a script, which all calls then go to."""

    def begin(*script, states=()):
        backend = FilesBackend(script, python=PYTHON, states=states)
        client = aio.Client(backend)
        monkeypatch.setattr(root, "client_for", lambda token: client)
        return backend

    return begin


def create(nodes=1, **changed):
    return compute.createCompute(LAYERS, None, nodes=nodes, **changed)["id"]


def the_only_environment(backend):
    (record,) = backend.environments.values()
    return record


def test_create_names_and_labels_the_environment_by_the_id_it_returns(play):
    backend = play()
    found = create(nodes=3, requirements=["numpy"], largeResult=True, interpreter="python3.13")
    record = the_only_environment(backend)
    assert str(uuid.UUID(found)) == found
    assert record.name == f"env-{found}"
    assert record.labels == {"geopod.dev/compute-id": found}
    spec = record.spec
    assert (spec["nodes"], spec["interpreter"], spec["requirements"], spec["largeResult"]) == (
        3,
        "python3.13",
        ["numpy"],
        True,
    )
    assert [(it["pathId"], it["timestampId"]) for it in spec["layers"]] == [("dem", "2024")]


@pytest.mark.parametrize(
    ("crs", "expected"),
    [({}, "EPSG:3857"), ({"crs": "native"}, "native"), ({"crs": "EPSG:28992"}, "EPSG:28992")],
)
def test_nodes_get_web_mercator_unless_told_otherwise(play, crs, expected):
    backend = play()
    create(**crs)
    assert the_only_environment(backend).spec["partitioning"]["crs"] == expected


@pytest.mark.parametrize("nodes", [{"Nodes": 4}, {"nodes": 4}, {"files": 4}])
def test_nodes_are_taken_from_either_spelling_and_the_third_place(play, nodes):
    backend = play()
    compute.createCompute(LAYERS, None, **nodes)
    assert the_only_environment(backend).spec["nodes"] == 4


def test_execute_returns_a_plain_list_in_node_order(play):
    play({"a": 1}, None, [3])
    found = compute.execute(create(nodes=3), f, None)
    assert type(found) is list
    assert found == [{"a": 1}, None, [3]]


def test_compute_is_found_by_id_dictionary_name_and_uid(play):
    backend = play(7)
    compute_id = create()
    record = the_only_environment(backend)
    named = [compute_id, {"id": compute_id}, record.name, record.uid]
    assert [compute.execute(name, f, None) for name in named] == [[7]] * 4


def test_files_come_back_as_urls_and_values_as_themselves(play):
    entries = {"items": [{"start": 0, "stop": 2}, {"start": 2, "stop": 5}]}
    backend = play(a_file(), a_file(b"abcde", "list", **entries), {"mean": 1}, a_file(codec="npy"))
    compute_id = create(nodes=4, largeResult=True)
    one, several, value, array = compute.execute(compute_id, f, None)
    (order,) = backend.orders.values()
    prefix = f"/compute/{compute_id}/file/{order.uid}"
    assert one == f"{prefix}-0"
    assert several == [f"{prefix}-1-0", f"{prefix}-1-1"]
    assert value == {"mean": 1}
    assert array == f"{prefix}-3"


def test_files_are_downloaded_byte_for_byte_and_rewound(play, tmp_path):
    items = {"items": [{"start": 0, "stop": 2}, {"start": 2, "stop": 5}]}
    play(a_file(), a_file(b"abcde", "list", **items))
    one, several = compute.execute(create(nodes=2, largeResult=True), f, None)
    memfile = io.BytesIO()
    target = tmp_path / "one.tif"
    assert compute.downloadFile(one, None, filePath=target, memfile=memfile) is memfile
    assert memfile.tell() == 0
    assert memfile.read() == target.read_bytes() == b"II*\0 a raster"
    parts = [compute.downloadFile(url, None, memfile=io.BytesIO()).read() for url in several]
    assert parts == [b"ab", b"cde"]
    assert compute.downloadFile(one, None, str(target)) is None


@pytest.mark.parametrize(
    ("ending", "says"),
    [("-7", "has 3 nodes"), ("-0-0", "returned one file"), ("-1", "returned several files")],
)
def test_file_that_is_not_there_is_said_to_be_missing(play, ending, says):
    items = {"items": [{"start": 0, "stop": 5}]}
    backend = play(a_file(), a_file(b"abcde", "list", **items), None)
    compute_id = create(nodes=3, largeResult=True)
    compute.execute(compute_id, f, None)
    (order,) = backend.orders.values()
    url = f"/compute/{compute_id}/file/{order.uid}{ending}"
    with pytest.raises(NotAFileResultError, match=says):
        compute.downloadFile(url, None, memfile=io.BytesIO())


def test_download_into_a_missing_folder_is_a_value_error(play, tmp_path):
    play(a_file())
    (url,) = compute.execute(create(largeResult=True), f, None)
    with pytest.raises(ValueError, match="cannot be written: No such file or directory"):
        compute.downloadFile(url, None, str(tmp_path / "no" / "out.tif"))


def test_results_written_to_a_layer_are_described(play):
    backend = play(a_file(), a_file(b"12345"))
    given = dict(TARGET)
    found = compute.execute(create(nodes=2, largeResult=True), f, None, writeToLayer=given)
    (order,) = backend.orders.values()
    assert order.write_to == given == TARGET
    assert found == [
        {**TARGET, "fileId": f"{order.uid}-0", "bytes": 13},
        {**TARGET, "fileId": f"{order.uid}-1", "bytes": 5},
    ]


def test_format_of_the_target_is_sent(play):
    backend = play(a_file())
    target = {**TARGET, "file": {"format": "gpkg"}}
    compute.execute(create(largeResult=True), f, None, writeToLayer=target)
    (order,) = backend.orders.values()
    assert order.write_to == {**TARGET, "format": "gpkg"}


def test_pending_result_is_empty_until_it_was_waited_for(play):
    play(1, 2)
    pending = compute.execute(create(nodes=2), f, None, awaitTillCompleted=False)
    assert pending == []
    assert "PendingResult" in repr(pending)
    assert pending.wait() is pending
    assert pending == [1, 2]
    assert pending.run.name.startswith("f-")


def test_failed_node_is_told_first_and_the_others_results_are_kept(play):
    play(1, ValueError("empty geometry"), 3, ValueError("empty geometry"))
    with pytest.raises(ValueError, match="empty geometry") as caught:
        compute.execute(create(nodes=4), f, None)
    error = caught.value
    assert isinstance(error, RunFailedError)
    assert str(error).startswith(
        "GP-E309 ValueError: empty geometry (node 1, of 0..3). 1 other node failed too. "
        "2 of 4 results are kept in .completed."
    )
    assert error.completed == [1, None, 3, None]
    assert sorted(error.exceptions) == [1, 3]
    assert error.run.tasks[1].state == "failed"
    assert error.hint == "1) error.run.tasks[1].reproduce() 2) error.run.logs()"


@pytest.mark.parametrize(
    ("failure", "kind", "headline"),
    [
        (OUT_OF_MEMORY, OutOfMemoryError, "GP-E304 "),
        (TOO_LARGE, ResultTooLargeError, "GP-E301 "),
    ],
)
def test_failures_of_one_kind_are_caught_by_it_and_as_value_error(play, failure, kind, headline):
    play(1, failure)
    compute_id = create(nodes=2)
    for caught in (kind, ValueError, RunFailedError):
        with pytest.raises(caught, match=headline):
            compute.execute(compute_id, f, None)


def test_sentences_name_arguments_as_they_are_called_here(play):
    play(TOO_LARGE)
    with pytest.raises(ValueError, match="the limit with largeResult=False") as caught:
        compute.execute(create(), f, None)
    assert caught.value.hint == "1) largeResult=True"


def test_added_files_are_published_once_for_a_run(play):
    backend = play(a_file(), None, a_file(b"b"))
    backend.layers["ndvi"] = LayerRecord(path_id="ndvi", spec={})
    compute.addLayer(
        compute.execute(create(nodes=3, largeResult=True), f, None), **TARGET, token=None
    )
    (order,) = backend.orders.values()
    assert backend.calls[-1] == f"publish ['{order.name}'] ndvi/2024"


def test_files_that_were_left_out_are_named(play):
    play(a_file(), a_file(b"b"), a_file(b"c"))
    response = compute.execute(create(nodes=3, largeResult=True), f, None)
    with pytest.raises(ValueError, match=r"leaves out what run .* returned on nodes 1, 2; a run"):
        compute.addLayer(response[:1], **TARGET, token=None)


def a_record(phase="Ready", *, spec=None, **state):
    known = EnvironmentState(uid="u", name="e", phase=phase, **state)
    return EnvironmentRecord(uid="u", name="e", spec=spec or {}, state=known)


class Ended:
    """A newest run; its end is all that the word depends on."""

    done = True


class Going:
    done = False


@pytest.mark.parametrize(
    ("phase", "spec", "newest", "word"),
    [
        ("Pending", {}, None, "starting"),
        ("Starting", {}, None, "starting"),
        ("Ready", {}, None, "available"),
        ("Ready", {}, Going, "executing"),
        ("Ready", {}, Ended, "completed"),
        ("Suspended", {}, None, "available"),
        ("Suspended", {}, Ended, "completed"),
        ("Suspended", {"suspend": True}, Ended, "stopped"),
        ("Failed", {}, None, "errored"),
        ("Terminated", {}, Ended, "stopped"),
    ],
)
def test_status_words(phase, spec, newest, word):
    record = a_record(phase, spec=spec)
    assert computes.status_of(record, newest) == word


@pytest.mark.parametrize(
    ("state", "word"),
    [
        ({"connected": 1}, "stopping"),
        ({"connected": 1, "conditions": [SUSPENDED]}, "stopped"),
        ({"conditions": [msgspec.structs.replace(SUSPENDED, status=False)]}, "stopping"),
    ],
    ids=["counted", "a cluster says that no pod is left", "a cluster says that some are"],
)
def test_ended_compute_is_stopping_until_its_nodes_have_left(state, word):
    assert computes.status_of(a_record("Terminated", **state), None) == word


def test_message_says_what_is_wrong_and_fits():
    message = "4 of 4 nodes cannot be scheduled. " * 40
    record = a_record("Failed", reason="Unschedulable", message=message)
    told = computes.message_of(record, "errored")
    assert told.startswith("GP-E401 4 of 4 nodes cannot be scheduled.")
    assert len(told.encode()) <= 512
    assert computes.message_of(record, "completed") is None


def test_info_has_the_documented_keys_and_result_only_after_a_run(play):
    play(4, ValueError("empty"))
    compute_id = create(nodes=2)
    before = compute.getComputeInfo(compute_id, None)
    assert (before["status"], before["message"]) == ("available", None)
    assert "result" not in before
    with pytest.raises(ValueError, match="empty"):
        compute.execute(compute_id, f, None)
    after = compute.getComputeInfo({"id": compute_id}, None)
    assert after["status"] == "completed"
    assert after["result"] == [
        {"type": "json", "value": 4},
        {"type": "exception", "value": "ValueError: empty"},
    ]
    assert after["layers"] == LAYERS
    assert after["run"].startswith("f-")


def test_file_items_of_the_info_are_ids(play):
    backend = play(a_file())
    compute_id = create(largeResult=True)
    compute.execute(compute_id, f, None)
    (order,) = backend.orders.values()
    items = compute.getComputeInfo(compute_id, None)["result"]
    assert items == [{"type": "file", "value": f"{order.uid}-0"}]


def test_list_has_all_computes_or_pages_of_them(play, monkeypatch):
    monkeypatch.setattr(computes, "PAGE", 2)
    play(1)
    ids = [create() for _ in range(3)]
    everything = compute.listComputes(None)
    assert [it["id"] for it in everything["result"]] == ids
    assert (everything["size"], everything["nextPageStart"]) == (3, None)
    first = compute.listComputes(None, listAll=False)
    assert ([it["id"] for it in first["result"]], first["nextPageStart"]) == (ids[:2], ids[2])
    last = compute.listComputes(None, first["nextPageStart"], False)  # noqa: FBT003  # documented
    assert ([it["id"] for it in last["result"]], last["nextPageStart"]) == (ids[2:], None)
    with pytest.raises(ValueError, match="pageStart='gone' is no compute"):
        compute.listComputes(None, "gone")


def test_terminate_all_ends_what_create_made_and_nothing_else(play):
    backend = play(1)
    ids = [create(), create()]
    made = backend.apply_environment("sdk-env", {"nodes": 1}, labels={}, sources={})
    asyncio.run(made)
    assert compute.terminateAll(None) is None
    phases = {record.name: record.state.phase for record in backend.environments.values()}
    ended = {f"env-{compute_id}": "Terminated" for compute_id in ids}
    assert phases == {**ended, "sdk-env": "Ready"}


def test_compute_that_cannot_be_ended_keeps_no_other_from_it(play, monkeypatch):
    backend = play(1)
    first, second = create(), create()
    end = backend.terminate_environment

    async def terminate(name, *, wait):
        if name == f"env-{first}":
            raise PermissionDeniedError("You may not patch computeenvironments.")
        await end(name, wait=wait)

    monkeypatch.setattr(backend, "terminate_environment", terminate)
    with pytest.raises(ValueError, match="You may not patch"):
        compute.terminateAll(None)
    assert backend.environments[f"env-{second}"].state.phase == "Terminated"


def test_terminated_compute_is_refused_and_unknown_ones_name_those_there(play):
    play(1)
    compute_id = create()
    assert compute.terminateCompute(compute_id, None) == {}
    with pytest.raises(EnvironmentTerminatedError):
        compute.execute(compute_id, f, None)
    with pytest.raises(EnvironmentNotFoundError) as caught:
        compute.execute(str(uuid.uuid4()), f, None)
    assert isinstance(caught.value, ValueError)


def test_compute_that_cannot_start_raises_its_own_error(play):
    failed = EnvironmentState(
        uid="u", name="e", phase="Failed", reason="Unschedulable", message="no machine has a GPU"
    )
    play(states=[failed])
    with pytest.raises(UnschedulableError, match="no machine has a GPU") as caught:
        create(enableGpu=True)
    assert isinstance(caught.value, ValueError)


class SlowBackend(FilesBackend):
    """Its environments never get ready."""

    async def watch_environment(self, name):
        record = await self.get_environment(name)
        yield msgspec.structs.replace(record.state, phase="Starting", ready=0)
        await asyncio.Event().wait()


def test_timeout_of_create_ends_the_waiting_alone(monkeypatch):
    client = aio.Client(SlowBackend([], python=PYTHON))
    monkeypatch.setattr(root, "client_for", lambda token: client)
    with pytest.raises(WaitTimeoutError, match="The start goes on") as caught:
        create(timeout=0.01)
    assert isinstance(caught.value, ValueError)
    assert re.search(r"getComputeInfo\('[-0-9a-f]{36}', token\)", caught.value.hint)


def every_error():
    found = [GeopodError]
    for kind in found:
        found += [it for it in kind.__subclasses__() if it.__module__.startswith("geopod.errors")]
    return sorted(set(found), key=lambda kind: kind.__qualname__)


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__qualname__)
def test_every_public_error_becomes_a_value_error_and_stays_what_it_was(kind):
    error = kind("a fact", fixes=("a fix",))
    told = str(error)
    become_value_error(error)
    assert isinstance(error, ValueError)
    assert isinstance(error, kind)
    assert (str(error), error.hint, type(error).__name__) == (told, "1) a fix", kind.__name__)


@pytest.mark.parametrize("user", [KeyError("k"), OSError(2, "gone"), ImportError("i")])
def test_users_own_class_is_caught_as_well(play, user):
    play(user)
    with pytest.raises(type(user)) as caught:
        compute.execute(create(), f, None)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, errors.RunFailedError)
