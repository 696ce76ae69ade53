"""A function that means harm, in a pod: what it can see and reach, and what it is told.

What it may do to its own child, and how each of that is named, is in tests/conformance/test_runner.
"""

from __future__ import annotations

import re

import pytest
import runner_functions as functions
from cluster.namespace_builders import client_within
from cluster.testcluster import binaries
from cluster.testcluster.policies import Connection, Peer, allowed
from geopod.api import deployment, tokens

MINOR = "python3.13"
SMALL = {"interpreter": MINOR, "memory": "512Mi", "cpus": 0.3, "progress": False}
GATEWAY = f"http://geopod-gateway.geopod-system.svc:{deployment.GATEWAY_PORT}"
ATTACKS = {
    "forges frames": (functions.forge_frames, "announces 4,294,967,295"),
    "forges an answer": (functions.forge_an_answer, "task 999, which it was not given"),
    "floods its node": (functions.flood_with_nothing, "flooded its node"),
    "says what no report carries": (functions.forge_a_long_failure, "the limit is 524,288"),
    "writes a link": (functions.hand_over_a_link, "no plain file"),
    "announces a huge file": (functions.announce_a_huge_file, "1,099,511,627,776"),
    "kills the runner": (functions.kill_the_template, "lost its runner"),
}
"""Attack -> the function, and the words by which its task fails."""


def look_around(_params):
    """Return what a function in a pod sees that it should not."""
    import os
    import pathlib

    readable = []
    for place in ("/geopod/link", "/geopod/layers", "/var/run/secrets/kubernetes.io", "/root"):
        try:
            readable += [str(path) for path in pathlib.Path(place).rglob("*") if path.is_file()]
        except OSError:
            continue
    writable = [it for it in ("/", "/usr", "/geopod/bin", "/geopod/env") if os.access(it, os.W_OK)]
    words = [name for name in os.environ if any(w in name for w in ("TOKEN", "SECRET", "LINK"))]
    others = set()
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            others.add(folder.joinpath("cmdline").read_bytes().split(b"\0")[0].decode())
        except OSError:  # it has just ended
            continue
    return [os.getuid(), readable, writable, words, [it for it in others if "agent" in it]]


def ask_api_server(_params):
    """Return what the API server answers to somebody without a token."""
    import ssl
    import urllib.error
    import urllib.request

    url = "https://kubernetes.default.svc/api/v1/namespaces/default/secrets"
    try:
        context = ssl._create_unverified_context()  # noqa: S323  # nobody's secret is sent
        with urllib.request.urlopen(url, timeout=60, context=context) as answer:
            return answer.status
    except urllib.error.HTTPError as refused:
        return refused.code


def ask_store(token, path):
    """Return what the store answers to this token."""
    import urllib.error
    import urllib.request

    headers = {"X-Geopod-Token": token} if token else {}
    request = urllib.request.Request(path, headers=headers)  # noqa: S310  # the gateway
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310  # the gateway
            return [answer.status, ""]
    except urllib.error.HTTPError as refused:
        return [refused.code, refused.read().decode().partition(":")[0]]


@pytest.fixture(scope="module")
def environment(home):
    with client_within(home) as client:
        yield client.environment("hostile", nodes=1, **SMALL)


@pytest.mark.parametrize("attack", ATTACKS)
def test_attack_fails_its_own_task_by_name_and_costs_nobody_else(environment, attack):
    function, words = ATTACKS[attack]
    run = environment.submit(function, retries=0)
    run.wait(120)
    (failure,) = run.results(errors="return")
    assert words in str(failure)
    (honest,) = environment.execute(functions.answer, progress=False)
    assert honest["answer"] == 42


def test_function_in_a_pod_sees_no_secret_and_writes_nowhere_else(environment):
    (seen,) = environment.execute(look_around, progress=False)
    assert seen == [deployment.RUNNER_UID, [], [], [], []]


def test_api_server_does_not_know_who_asks(environment):
    (status,) = environment.execute(ask_api_server, progress=False)
    assert status in {401, 403}


def test_store_refuses_stolen_forged_and_missing_tokens_and_counts_them(environment, home, kubectl):
    run = environment.submit(functions.answer)
    run.wait(120)
    stolen = home.get("computerun", run.name)["status"]["results"]["token"]
    forged = tokens.mint(
        bytes(32), key_id=environment.id, path=f"{environment.id}/", may=("get",), now=0.0,
        lifetime_s=1e10,
    )  # fmt: skip
    wider = f"{GATEWAY}{deployment.OBJECTS_PATH}{environment.id}/epochs/"
    before = refusals(kubectl)
    asked = [
        (stolen, wider),
        (forged, wider),
        ("", wider),
        (stolen, wider.replace("epochs/", "..")),
    ]
    answers = list(environment.map(ask_store, *zip(*asked, strict=True), progress=False))
    assert answers == [
        [403, "OutOfScope"],
        [401, "BadSignature"],
        [401, "NoToken"],
        [400, "BadKey"],
    ]
    after = refusals(kubectl)
    for _, reason in answers:
        assert after[reason] > before.get(reason, 0)


def refusals(kubectl):
    """What the gateway has refused, by reason."""
    service = f"geopod-gateway:{deployment.GATEWAY_PORT}"
    path = f"/api/v1/namespaces/geopod-system/services/{service}/proxy/metrics"
    found = re.findall(
        r'geopod_gateway_refusals_total\{reason="(\w+)"\} (\S+)', kubectl("get", "--raw", path)
    )
    return {reason: int(float(count)) for reason, count in found}


def test_policies_let_a_node_reach_its_coordinator_and_the_store_alone(
    environment, home, addresses
):
    policies = home.get("networkpolicies")["items"]
    node, coordinator = (
        a_peer(home, f"app.kubernetes.io/component={it}") for it in ("node", "coordinator")
    )
    stranger = Peer("10.244.1.77", "another-team", dict(node.labels))
    expected = [
        (node, coordinator, deployment.COORDINATOR_PORT, True),
        (node, Peer("169.254.169.254"), 80, False),
        (node, Peer(addresses.control), 6443, False),
        (node, Peer("10.96.0.1"), 443, False),
        (node, Peer("203.0.113.5"), 443, False),
        (node, stranger, 80, False),
        (stranger, node, 80, False),
        (node, node, 80, False),
        (node, coordinator, deployment.METRICS_PORT, False),
    ]
    analyser = str(binaries.build("cyclonus", print) / "cyclonus")
    questions = [Connection(*question) for *question, _ in expected]
    assert allowed(analyser, policies, questions) == [answer for *_, answer in expected]


def a_peer(kubectl, selector):
    """One of the pods of a selector."""
    pod = kubectl.get("pods", f"--selector={selector}")["items"][0]
    labels = dict(pod["metadata"]["labels"])
    return Peer(pod["status"]["podIP"], pod["metadata"]["namespace"], labels)
