"""What the kubelet and Prometheus are answered."""

import asyncio
import re

import pytest
from aiohttp.test_utils import TestClient, TestServer
from geopod.api import names
from geopod_operator.metrics import Metrics
from geopod_operator.probes import SILENT_S, Health, WatchStamps, probe_app, watch_of
from shell_builders import Clock, an_environment


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def stamps(clock):
    made = WatchStamps(clock)
    made.expect([("layers", ""), ("jobs", "geo"), ("jobs", "maps")])
    return made


def health(stamps, *, stuck=False, synced=True):
    return Health(
        stamps=stamps,
        is_stuck=lambda: stuck,
        oldest_s=lambda: 130.0 if stuck else 0.0,
        is_synced=lambda: synced,
    )


def ask(made, path):
    async def drive():
        async with TestClient(TestServer(probe_app(made, Metrics().render))) as client:
            answer = await client.get(path)
            return answer.status, await answer.text()

    return asyncio.run(drive())


@pytest.mark.parametrize(
    ("path", "watch"),
    [
        ("/apis/apps/v1/namespaces/geo/deployments", ("deployments", "geo")),
        ("/apis/geopod.dev/v1alpha1/computeruntimes", ("computeruntimes", "")),
        ("/api/v1/namespaces", ("namespaces", "")),
    ],
    ids=["namespace", "everywhere", "namespaces"],
)
def test_watch_is_known_by_its_path(path, watch):
    assert watch_of(path) == watch


def test_most_silent_namespace_counts_for_its_kind(stamps, clock):
    clock.at += 10
    stamps.told(("jobs", "geo"))
    assert stamps.ages_s() == {"layers": 10, "jobs": 10}
    stamps.told(("jobs", "maps"))
    assert stamps.ages_s() == {"layers": 10, "jobs": 0}


def test_opening_a_watch_again_and_again_is_no_sign_of_life(stamps, clock):
    for _ in range(4):
        stamps.opened(("layers", ""))
        clock.at += SILENT_S / 3
    assert "layers" in health(stamps).illness()


def test_process_lives_before_its_watches_are_begun(clock):
    made = health(WatchStamps(clock), synced=False)
    assert ask(made, "/livez") == (200, "ok\n")
    assert ask(made, "/readyz") == (503, "not every kind was listed yet\n")


def test_process_is_ready_when_every_watch_is_open(stamps):
    assert ask(health(stamps), "/readyz")[0] == 503
    for watch in (("layers", ""), ("jobs", "geo"), ("jobs", "maps")):
        stamps.opened(watch)
    assert ask(health(stamps), "/readyz") == (200, "ok\n")


def test_stuck_work_fails_both_probes(stamps):
    for path in ("/livez", "/readyz"):
        status, text = ask(health(stamps, stuck=True), path)
        assert (status, text) == (503, "work is 130 s old and nothing is finished\n")


def test_metrics_carry_the_names_of_the_dashboard():
    metrics = Metrics()
    metrics.watch_queue(lambda: 3, lambda: 4.5)
    ready = {"type": "Ready", "status": "True", "reason": "Ready"}
    ready["lastTransitionTime"] = "2026-03-01T12:00:00Z"
    made = an_environment()
    made |= {"kind": "ComputeEnvironment", "status": {"conditions": [ready], "nodes": {"ready": 2}}}
    made["metadata"] |= {"uid": "u1", "creationTimestamp": "2026-03-01T11:59:00Z"}
    metrics.watch_objects(lambda: [made], lambda: {"layers": 7.0})
    metrics.reconciled("ComputeEnvironment", "ok", 0.1)
    metrics.answered("patch", "Deployment", 201)
    metrics.saw({**made, "status": {}})
    metrics.saw(made)
    metrics.saw(made)
    text = metrics.render().decode()
    for line in (
        'geopod_reconcile_duration_seconds_count{kind="ComputeEnvironment",result="ok"} 1.0',
        "geopod_reconcile_queue_depth 3.0",
        "geopod_reconcile_oldest_seconds 4.5",
        'geopod_watch_last_byte_age_seconds{kind="layers"} 7.0',
        'geopod_api_requests_total{code="201",kind="Deployment",verb="patch"} 1.0',
        "geopod_environment_ready_seconds_count 1.0",
        "geopod_environment_ready_seconds_sum 60.0",
        'geopod_environments{condition="Ready",reason="Ready"} 1.0',
        'geopod_nodes{state="ready"} 2.0',
    ):
        assert line in text.splitlines(), line


@pytest.mark.parametrize(("ended", "result"), [("Complete", "ok"), ("Failed", "failed")])
def test_build_is_counted_once_when_it_ends(ended, result):
    metrics = Metrics()
    job = a_job(names.build_name("0" * 64))
    metrics.saw(job)
    assert builds(metrics) == {"ok": 0, "failed": 0}
    job = a_job(names.build_name("0" * 64), ended)
    metrics.saw(job)
    metrics.saw(job)
    assert builds(metrics) == {"ok": 0, "failed": 0, result: 1}


def test_job_that_deletes_results_is_no_build():
    metrics = Metrics()
    metrics.saw(a_job("e1-purge", "Failed"))
    assert builds(metrics) == {"ok": 0, "failed": 0}


def a_job(name, ended=None):
    over = {"type": ended, "status": "True", "lastTransitionTime": "2026-03-01T12:00:00Z"}
    status = {"startTime": "2026-03-01T11:59:00Z", "conditions": [over] if ended else []}
    return {"kind": "Job", "metadata": {"uid": "j1", "name": name}, "status": status}


def builds(metrics):
    """How many builds were counted, by result."""
    told = re.findall(
        r'geopod_build_seconds_count\{result="(\w+)"\} (\S+)', metrics.render().decode()
    )
    return {result: float(count) for result, count in told}
