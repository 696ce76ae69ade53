"""Pure parts of a coordinator in a pod: settings, planning request, roll-out, throttle, tokens."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from coordinator_builders import an_order
from geopod.api import names, tokens
from geopod.api.layer_sources import catalogue_spec, find_timestamp, on_volume
from geopod.api.results import Entry, TaskRecord
from geopod.api.runs import EnvironmentState
from geopod.coordinator.figures import SAMPLES, RunFigures
from geopod.coordinator.pod.admission import complete_target, refusal_of
from geopod.coordinator.pod.rollout import choose, max_unavailable
from geopod.coordinator.pod.settings import PodSettings, read_pod
from geopod.coordinator.pod.spec import coordinator_settings, planning_request
from geopod.coordinator.pod.throttle import ProgressBudget, environment_pause, progress_interval
from geopod.coordinator.pod.tokens import LIFETIME_S, TokenMint
from geopod.errors import InvalidInputError
from geopod.process.pod import Pod, PodVariableError

KEY = bytes(32)
DEM = {
    "type": "raster",
    "timestamps": [{"id": "2023", "uri": "/d/23.tif"}, {"id": "2024", "uri": "/d/24.tif"}],
}
POD = PodSettings(
    namespace="team", environment="ndvi", environment_uid="uid-1", pod_name="p", store="http://g",
    cache=Path("cache"), environment_key=KEY, link_key="00", node_memory=1 << 30,
)  # fmt: skip  # pairs read better side by side


def mounted(tmp_path) -> dict[str, str]:
    """The variables and files that the operator gives a coordinator."""
    folder = tmp_path / "geopod" / "link"
    folder.mkdir(parents=True)
    (folder / "environment-key").write_text("ab" * 32 + "\n")
    (folder / "link-key").write_text("cd" * 32)
    return {
        "GEOPOD_ROOT": str(tmp_path), "GEOPOD_NAMESPACE": "team", "GEOPOD_ENVIRONMENT": "ndvi",
        "GEOPOD_ENVIRONMENT_UID": "uid-1", "GEOPOD_STORE": "http://gateway:8080",
        "GEOPOD_POD_NAME": "ndvi-coordinator-x", "GEOPOD_NODE_MEMORY_BYTES": "4096",
    }  # fmt: skip  # pairs read better side by side


def test_settings_are_read_from_variables_and_files(tmp_path):
    pod = read_pod(Pod(mounted(tmp_path)))
    assert (pod.environment, pod.environment_key) == ("ndvi", b"\xab" * 32)
    assert (pod.node_memory, pod.node_scratch, pod.port) == (4096, None, 7420)


@pytest.mark.parametrize("missing", ["GEOPOD_STORE", "GEOPOD_ENVIRONMENT_UID"])
def test_missing_variable_is_named(tmp_path, missing):
    variables = mounted(tmp_path)
    del variables[missing]
    with pytest.raises(PodVariableError, match=missing):
        read_pod(Pod(variables))


def test_missing_file_is_named(tmp_path):
    variables = mounted(tmp_path)
    (tmp_path / "geopod" / "link" / "link-key").unlink()
    with pytest.raises(PodVariableError, match="link-key"):
        read_pod(Pod(variables))


def test_number_that_is_none_is_named():
    with pytest.raises(PodVariableError, match="GEOPOD_NODE='x'"):
        Pod({"GEOPOD_NODE": "x"}).number("GEOPOD_NODE")


def test_planning_reads_layers_files_options_and_limits():
    spec = {
        "layers": [{"pathId": "dem", "timestampId": "latest", "bands": [1]}],
        "files": ["f" * 64],
        "partitioning": {"overlap": 8},
    }
    request, failed = planning_request(spec, {"dem": DEM}, POD)
    assert failed is None
    (layer,) = request["layers"]
    assert (layer["key"], layer["timestamp"], layer["hrefs"]) == ("latest", "2024", ["/d/24.tif"])
    assert layer["bands"] == [1]
    assert request["files"][0]["href"] == f"shared/team/files/{'f' * 64}"
    assert (request["options"], request["memoryBytes"]) == ({"overlap": 8}, 1 << 30)


def test_layer_that_is_in_no_catalogue_is_named_with_the_nearest():
    spec = {"layers": [{"pathId": "dme", "timestampId": "2024"}]}
    request, failed = planning_request(spec, {"dem": DEM}, POD)
    assert request == {}
    assert failed is not None
    assert (failed.code, failed.details["reason"]) == ("E121", "LayerUnreachable")


def test_environment_without_layers_needs_no_planning():
    assert planning_request({"nodes": 3}, {}, POD) == ({}, None)
    manifest = {"metadata": {}, "spec": {"nodes": 3, "minReadyNodes": 2}}
    settings = coordinator_settings(manifest, {}, POD)
    assert (settings.nodes, settings.min_ready_nodes, settings.redial_grace_s) == (3, 2, 30.0)
    assert not settings.refreshed


def test_a_coordinator_that_starts_later_knows_of_the_last_refresh():
    asked = {"annotations": {names.ANNOTATION_REFRESH: "2026-05-05T12:00:00Z"}}
    settings = coordinator_settings({"metadata": asked, "spec": {}}, {}, POD)
    assert settings.refreshed == "2026-05-05T12:00:00Z"


@pytest.mark.parametrize(
    ("href", "claim", "found"),
    [
        ("file:///dem.tif", "maps", "/geopod/volumes/maps/dem.tif"),
        ("/a/dem.tif", "maps", "/geopod/volumes/maps/a/dem.tif"),
        ("file:///geopod/volumes/maps/dem.tif", "maps", "/geopod/volumes/maps/dem.tif"),
        ("s3://bucket/dem.tif", "maps", "s3://bucket/dem.tif"),
        ("file:///dem.tif", None, "file:///dem.tif"),
    ],
)
def test_files_of_a_volume_lie_below_its_mount(href, claim, found):
    assert on_volume(href, claim) == found


def test_latest_is_the_one_of_the_latest_date():
    stamps = [{"id": "a", "date": "2025", "uri": "a"}, {"id": "b", "date": "2024", "uri": "b"}]
    found = find_timestamp({"timestamps": stamps}, "latest")
    assert found is not None
    assert found["id"] == "a"


@pytest.mark.parametrize(
    ("outdated", "busy", "away", "allowed", "chosen"),
    [
        ([0, 1, 2], set(), set(), 2, [0, 1]),
        ([0, 1, 2], {0, 1}, set(), 2, [2]),
        ([0, 1, 2], {0, 1, 2}, set(), 2, [0, 1]),
        ([0, 1, 2], set(), {5}, 2, [0]),
        ([0, 1, 2], set(), {5, 6}, 2, []),
        ([0, 1], set(), {0}, 2, [1]),
    ],
)
def test_idle_nodes_are_drained_first_and_few_at_once(outdated, busy, away, allowed, chosen):
    found = choose(outdated=outdated, busy=busy, away=away, allowed=allowed)
    assert found == chosen


@pytest.mark.parametrize(("rule", "nodes", "found"), [("10%", 100, 10), ("10%", 4, 1), (3, 4, 3)])
def test_share_of_nodes_is_rounded_up(rule, nodes, found):
    assert max_unavailable(rule, nodes) == found


def test_ten_minutes_of_progress_are_at_most_ninety_writes():
    elapsed, writes = 0.0, 0
    while elapsed < 600:
        elapsed += progress_interval(elapsed)
        writes += 1
    assert writes <= 87  # Queued, Running and the end come on top


WRITTEN = EnvironmentState(uid="u", name="e", phase="Starting", nodes=2, ready=1, busy=1)


@pytest.mark.parametrize(
    ("changes", "pause"),
    [
        ({}, None),
        ({"phase": "Ready", "ready": 2, "last_activity": 9.0}, 0.0),
        ({"phase": "Failed"}, 1.0),
        ({"phase": "Pending"}, 1.0),
        ({"ready": 2}, 1.0),
        ({"active_runs": 1, "busy": 2}, 1.0),
        ({"lost": "1"}, 1.0),
        ({"busy": 2, "last_activity": 9.0}, 10.0),
        ({"connected": 2, "message": "1 of 2 nodes are ready, 2 are connected."}, 10.0),
        ({"last_activity": 9.0}, 30.0),
    ],
    ids=[
        *("nothing", "ready", "failed", "read anew", "a node", "a run", "lost", "busy nodes"),
        *("connected", "activity"),
    ],
)
def test_steps_towards_ready_are_told_at_once_and_what_decides_nothing_seldom(changes, pause):
    assert environment_pause(msgspec.structs.replace(WRITTEN, **changes), WRITTEN) == pause


def test_many_runs_share_two_progress_writes_a_second():
    budget = ProgressBudget()
    moments = [budget.reserve(10.0) for _ in range(10)]
    assert moments[0] == 10.0
    assert moments[-1] == pytest.approx(14.5)


def test_store_token_opens_the_environments_folder_and_is_renewed_in_time():
    now = [1000.0]
    mint = TokenMint(KEY, "uid-1", clock=lambda: now[0])
    first = mint.store_token()
    now[0] += LIFETIME_S / 2
    assert mint.store_token() == first
    now[0] += LIFETIME_S / 4
    second = mint.store_token()
    assert second != first
    grant = tokens.verify(second, key_of=lambda _: KEY, now=now[0])
    assert grant.allows("put", "uid-1/runs/r/x")
    assert not grant.allows("get", "uid-2/runs/r/x")


def test_results_token_reads_one_run_and_writes_nothing():
    mint = TokenMint(KEY, "uid-1", clock=lambda: 1000.0)
    token = mint.results_token("r", keep_s=86_400)
    grant = tokens.verify(token, key_of=lambda _: KEY, now=1000.0)
    assert grant.allows("get", "uid-1/runs/r/manifest/1")
    assert not grant.allows("put", "uid-1/runs/r/manifest/1")
    assert not grant.allows("get", "uid-1/runs/other/manifest/1")
    assert grant.expires == 1000 + 86_400


def test_source_runs_on_any_python_and_bytecode_on_its_own():
    spec = {"interpreter": "python3.12"}
    order = an_order()  # cloudpickle of 3.11
    refused = refusal_of(order, spec)
    assert refused is not None
    assert refused.reason == "InterpreterMismatch"
    assert refusal_of(order, {"interpreter": "python3.11"}) is None


@pytest.mark.parametrize(
    ("root", "folder"), [("s3://b/out/", "s3://b/out/2024"), ("file:///out", "file:///out/2024")]
)
def test_published_timestamp_is_planned_as_a_folder_and_shown_as_its_files(root, folder):
    published = {"id": "2024", "revision": 2, "files": ["data-1/data.tif", "data-2/data.tif"]}
    spec = {**DEM, "writeTo": {"uri": root}}
    layer = {"spec": spec, "status": {"timestamps": [published]}}

    planned, shown = catalogue_spec(layer), catalogue_spec(layer, as_files=True)

    (planned_uri,) = find_timestamp(planned, "2024")["uris"][1:]
    assert planned_uri.rstrip("/") == folder
    assert find_timestamp(shown, "2024")["uris"] == [
        "/d/24.tif", f"{folder}/data-1/data.tif", f"{folder}/data-2/data.tif",
    ]  # fmt: skip  # what was there, and what runs added
    del published["files"]
    assert catalogue_spec(layer, as_files=True) == planned


def test_target_layer_gives_kind_and_format():
    order = an_order(write_to={"pathId": "dem", "timestampId": "2025"})
    assert complete_target(order, {"dem": DEM}).write_to == {
        "pathId": "dem", "timestampId": "2025", "kind": "raster", "format": "tif",
    }  # fmt: skip  # one line less


@pytest.mark.parametrize("target", [("slope", "2025"), ("dem", "latest")])
def test_target_that_names_nothing_is_refused(target):
    order = an_order(write_to={"pathId": target[0], "timestampId": target[1]})
    with pytest.raises(InvalidInputError, match="writeToLayer"):
        complete_target(order, {"dem": DEM})


def test_format_that_a_layer_cannot_have_is_refused():
    order = an_order(write_to={"pathId": "dem", "timestampId": "2025", "format": "gpkg"})
    with pytest.raises(InvalidInputError, match="A raster layer cannot be written as 'gpkg'"):
        complete_target(order, {"dem": DEM})


def test_figures_stay_bounded_and_near_the_truth():
    figures = RunFigures()
    entry = Entry(codec="json", sha256="", bytes=3)
    for index in range(10_000):
        record = TaskRecord(
            index=index, attempt=1, epoch=1, node=0, entry=entry, runtime_s=index / 10_000
        )
        figures.take([record])
    assert figures.result_bytes == 30_000
    assert len(figures._durations) <= SAMPLES  # the bound itself
    assert figures.quantile(0.5) == pytest.approx(0.5, abs=0.02)
    assert figures.quantile(0.99) == pytest.approx(0.99, abs=0.02)
