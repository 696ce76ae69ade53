"""A real API server takes every object of the chart, and its roles let people do what they say."""

from __future__ import annotations

import json
import re
import subprocess

import pytest
import yaml
from chart_builders import CHART, EVERYTHING_ON, HelmError, find_helm, helm, render
from cluster.testcluster import binaries
from cluster.testcluster.image_contexts import PROJECT
from cluster.testcluster.kubectl import KubectlError
from cluster.testcluster.policies import Connection, Peer, allowed
from cluster.testcluster.readiness import wait_until

NEEDS_ANOTHER_PROGRAM = {"ServiceMonitor", "PodMonitor", "PrometheusRule"}


@pytest.fixture(scope="session", autouse=True)
def helm_is_there():
    if find_helm() is None:
        binaries.build("helm", print)


def test_chart_passes_lint(cluster):
    for files in ((), (f"--values={EVERYTHING_ON}",)):
        assert "0 chart(s) failed" in helm("lint", "--strict", str(CHART), *files)


@pytest.mark.parametrize(
    "values",
    [{}, yaml.safe_load(EVERYTHING_ON.read_text("utf-8")), {"rbac": {"scope": "namespace"}}],
    ids=["defaults", "everything on", "namespaced"],
)
def test_server_takes_every_object(definitions, namespace, values):
    where = namespace.namespace
    if "watchNamespaces" in values:
        values = {**values, "watchNamespaces": [where]}
    objects = render(values, namespace=where)
    # An account is looked up when the pod is created, and here nothing is.
    sent = [it for it in objects if it["kind"] not in {*NEEDS_ANOTHER_PROGRAM, "Pod"}]
    stream = "\n---\n".join(map(json.dumps, sent))
    how = ["--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict"]
    said = namespace("apply", *how, "--filename=-", stdin=stream)
    assert said.count("(server dry run)") == len(sent)


def test_manifests_of_those_without_helm_are_taken(definitions, namespace, tmp_path):
    command = ["make", "--no-print-directory", "manifests"]
    subprocess.run(command, cwd=PROJECT, check=True)
    for name in ("geopod.yaml", "kustomization.yaml"):
        text = (PROJECT / "helm/manifests" / name).read_text("utf-8")
        text = text.replace("geopod-system", namespace.namespace)
        (tmp_path / name).write_text(text, "utf-8")
    how = ["--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict"]
    said = namespace("apply", *how, f"--kustomize={tmp_path}")
    count = len(list(filter(None, yaml.safe_load_all((tmp_path / "geopod.yaml").read_text()))))
    assert said.count("(server dry run)") == count > 20


def test_pods_pass_the_restricted_standard(definitions, namespace):
    for it in render(namespace=namespace.namespace):
        if it["kind"] in {"Deployment", "Pod"}:
            template = it["spec"].get("template", it)
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "try"}}
            spec = {**template["spec"], "serviceAccountName": "default"}
            content = json.dumps({**pod, "spec": spec})
            namespace("create", "--dry-run=server", "--filename=-", stdin=content)


def test_notes_say_what_is_missing(definitions, namespace, cluster):
    arguments = ["install", "geopod", str(CHART), f"--namespace={namespace.namespace}"]
    arguments += ["--dry-run=server", "--server-side=true", "--take-ownership"]
    arguments += [f"--kubeconfig={cluster.kubeconfig}", "--set=gateway.storage.kind=emptyDir"]
    arguments += ["--set=metrics.rules.enabled=true", "--force-conflicts"]
    said = helm(*arguments)
    assert "helm test geopod" in said
    assert "lost with the gateway's pod" in said
    has_monitoring = "monitoring.coreos.com" in namespace("api-versions")
    assert ("no monitoring.coreos.com/v1" in said) != has_monitoring
    if cluster.name == "process":
        assert "no CNI that is known to enforce" in said


@pytest.fixture
def roles(definitions, namespace):
    """The chart's roles under names of this test's own; a cluster may have the chart already."""
    where = namespace.namespace
    objects = [it for it in render(namespace=where) if re.search("Role", it["kind"])]
    own = {name: f"{name}-{where}" for name in (it["metadata"]["name"] for it in objects)}
    for it in objects:
        it["metadata"] = {**it["metadata"], "name": own[it["metadata"]["name"]]}
        it["metadata"].get("labels", {})["test"] = where
        if "roleRef" in it:
            it["roleRef"]["name"] = own[it["roleRef"]["name"]]
    namespace("apply", "--server-side", "-f", "-", stdin="\n---\n".join(map(json.dumps, objects)))
    yield namespace
    namespace("delete", "clusterroles,clusterrolebindings", f"--selector=test={where}")


def may(kubectl, who, *question):
    try:
        return kubectl("auth", "can-i", *question, *who).strip() == "yes"
    except KubectlError:  # "no" is exit status 1
        return False


def until_may(kubectl, who, *question):
    """Roles are aggregated by a controller, and the API server reads them from a watch."""
    wait_until(lambda: may(kubectl, who, *question), timeout_s=180)


def test_roles_let_people_do_what_they_say_and_no_more(roles):
    where = roles.namespace
    roles("create", "rolebinding", "mary-edits", "--clusterrole=edit", "--user=mary")
    roles("create", "rolebinding", "john-views", "--clusterrole=view", "--user=john")
    mary, john = ([f"--as={name}", "--as-group=system:authenticated"] for name in ("mary", "john"))
    operator = [f"--as=system:serviceaccount:{where}:geopod-operator"]
    gateway = "services/geopod-gateway:8080"
    cases = [
        (mary, ("create", "computeruns.geopod.dev"), True),
        (mary, ("delete", "computeenvironments.geopod.dev"), True),
        (mary, ("update", "computeenvironments.geopod.dev", "--subresource=scale"), True),
        (mary, ("patch", "computeruns.geopod.dev", "--subresource=status"), False),
        (mary, ("create", "computeruntimes.geopod.dev"), False),
        (mary, ("list", "computeruntimes.geopod.dev"), True),
        (john, ("watch", "computeruns.geopod.dev"), True),
        (john, ("create", "computeruns.geopod.dev"), False),
        (john, ("create", gateway, "--subresource=proxy"), True),
        (john, ("get", "services/other:80", "--subresource=proxy"), False),
        (operator, ("create", "statefulsets.apps", "--namespace=default"), True),
        (operator, ("get", "secrets", "--namespace=default"), True),
        (operator, ("list", "secrets"), False),
        (operator, ("patch", "computeruns.geopod.dev", "--subresource=status"), True),
        (operator, ("create", "pods"), False),
        (operator, ("create", "clusterroles.rbac.authorization.k8s.io"), False),
        (operator, ("watch", "computeruntimes.geopod.dev"), True),
    ]
    for who, question, wanted in cases:
        if wanted:
            until_may(roles, who, *question)
    too_many = [(who[0], it) for who, it, wanted in cases if not wanted and may(roles, who, *it)]
    assert too_many == []


def test_operator_can_give_a_coordinator_its_rights_and_no_others(roles):
    where = roles.namespace
    who = [f"--as=system:serviceaccount:{where}:geopod-operator"]
    kind = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role"}
    until_may(roles, who, "create", "roles.rbac.authorization.k8s.io")
    until_may(roles, who, "patch", "computeruns.geopod.dev", "--subresource=status")

    def give(name, resource, verbs, group="geopod.dev"):
        rule = {"apiGroups": [group], "resources": [resource], "verbs": verbs}
        content = {**kind, "metadata": {"name": name}, "rules": [rule]}
        roles("create", "--filename=-", *who, stdin=json.dumps(content))

    give("coordinator", "computeruns/status", ["patch"])
    with pytest.raises(KubectlError, match="attempting to grant RBAC permissions not currently"):
        give("more", "secrets", ["list"], group="")


def test_wrong_values_stop_before_the_cluster_is_asked(cluster):
    with pytest.raises(HelmError, match="not allowed"):
        helm("install", "geopod", str(CHART), "--set=operator.replicas=2", "--dry-run=client")


@pytest.fixture(scope="session")
def cyclonus():
    return str(binaries.build("cyclonus", print) / "cyclonus")


GEOPOD = {"app.kubernetes.io/name": "geopod", "app.kubernetes.io/instance": "geopod"}
OPERATOR, GATEWAY = (
    Peer(address, "geopod-system", {**GEOPOD, "app.kubernetes.io/component": component})
    for address, component in (("10.244.0.3", "operator"), ("10.244.0.4", "gateway"))
)
NODE = Peer("10.244.0.7", "team", {"app.kubernetes.io/name": "geopod"})
DNS = Peer("10.244.0.2", "kube-system", {"k8s-app": "kube-dns"})
API_SERVER = Peer("172.31.100.2")
WORLD = Peer("203.0.113.5")
METADATA = Peer("169.254.169.254")

OPEN = {"networkPolicy": {"apiServerCIDRs": ["172.31.100.2/32"]}}
BUCKET = {"gateway": {"storage": {"kind": "s3", "s3": {"bucket": "b", "secretName": "keys"}}}}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (
            {},
            [
                (NODE, GATEWAY, 8080, True),
                (NODE, GATEWAY, 22, False),
                (API_SERVER, GATEWAY, 8080, True),  # the service proxy
                (GATEWAY, WORLD, 443, False),
                (GATEWAY, METADATA, 80, False),
                (OPERATOR, API_SERVER, 6443, True),
                (OPERATOR, DNS, 53, True),
                (OPERATOR, METADATA, 80, False),
                (NODE, OPERATOR, 9090, True),
                (WORLD, OPERATOR, 9090, False),
            ],
        ),
        (
            OPEN,
            [
                (OPERATOR, API_SERVER, 6443, True),
                (OPERATOR, WORLD, 443, False),
                (API_SERVER, GATEWAY, 8080, True),
                (WORLD, GATEWAY, 8080, False),
                (NODE, GATEWAY, 8080, True),
            ],
        ),
        (
            BUCKET,
            [
                (GATEWAY, WORLD, 443, True),
                (GATEWAY, DNS, 53, True),
                (GATEWAY, METADATA, 80, False),
            ],
        ),
    ],
    ids=["defaults", "known API server", "bucket with keys"],
)
def test_policies_open_what_is_needed_and_nothing_else(cyclonus, values, expected):
    policies = [it for it in render(values) if it["kind"] == "NetworkPolicy"]
    questions = [
        Connection(source, target, port, "UDP" if port == 53 else "TCP")
        for source, target, port, _ in expected
    ]
    answers = allowed(cyclonus, policies, questions)
    assert list(zip(questions, answers, strict=True)) == [
        (question, row[3]) for question, row in zip(questions, expected, strict=True)
    ]
