"""Every root cause for real: the resource names it in words that its user can act on.

All environments are created at once, and while other files run (`stages.WAITS`), because a
cause is looked for after ten seconds and counts as stalled after a minute; each test then waits
for its own.
"""

from __future__ import annotations

import json

import pytest
from cluster.process_builders import until
from cluster.testcluster.kubectl import KubectlError
from cluster.trouble_builders import TROUBLES

TOLD_S = 800
"""Of a loaded machine: coordinator and node start, a build, a minute until a cause counts."""
HEALED = "missing-secret"


@pytest.fixture(scope="module", autouse=True)
def ended(ward):
    """Nobody is sick after this module."""
    yield
    ward.end()


@pytest.mark.parametrize("name", [name for name in TROUBLES if name != HEALED])
def test_cause_is_named_in_words_to_act_on(ward, name):
    is_named(ward, name)
    ward.names[name]("delete", "cenv", name, "--wait=false")


def is_named(ward, name):
    """Assert that all commands tell why an environment is not ready."""
    trouble, kubectl = TROUBLES[name], ward.names[name]
    reason = 'jsonpath={.status.conditions[?(@.type=="Ready")].reason}'
    kubectl.wait(f"cenv/{name}", f"{reason}={trouble.reason}", timeout_s=TOLD_S)
    if trouble.stalls:
        kubectl.wait(f"cenv/{name}", "condition=Stalled", timeout_s=TOLD_S)
    until(lambda: trouble.told_by(ward.environment(name)), timeout_s=TOLD_S)
    # What is counted in the words, and what is tried again, changes from look to look.
    until(lambda: {"False", trouble.reason} <= set(line_of(kubectl, name)))
    until(lambda: sentence(ward.environment(name)) in kubectl("describe", "cenv", name))
    if trouble.event:
        until(lambda: trouble.event in reasons_of_events(kubectl, name))


def test_environment_heals_when_its_cause_is_gone(ward):
    is_named(ward, HEALED)
    kubectl = ward.names[HEALED]
    with pytest.raises(KubectlError, match="condition not met"):
        kubectl.wait(f"cenv/{HEALED}", "condition=Ready", timeout_s=0)
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "no-such-secret"}}
    kubectl.apply({**secret, "stringData": {"word": "there now"}})
    kubectl.wait(f"cenv/{HEALED}", "condition=Ready", timeout_s=TOLD_S)
    kubectl.wait(f"cenv/{HEALED}", "condition=Stalled=False")
    until(lambda: "failures" not in ward.environment(HEALED)["status"])


def line_of(kubectl, name):
    """The words of the table's line."""
    return kubectl("get", "cenv", name).splitlines()[1].split()


def sentence(environment):
    """The first line of why it is not ready."""
    return condition(environment, "Ready")["message"].partition("\n")[0]


def condition(environment, kind):
    found = environment.get("status", {}).get("conditions", ())
    return next((it for it in found if it["type"] == kind), {"status": "", "message": ""})


def reasons_of_events(kubectl, name):
    about = f"--field-selector=regarding.name={name}"
    found = json.loads(kubectl("get", "events.events.k8s.io", about, "--output=json"))
    return {it["reason"] for it in found["items"]}
