"""Objects of the chart: least rights, Restricted pods, what the processes read and expose."""

from __future__ import annotations

import json
import re
import runpy
from base64 import b64decode
from datetime import UTC, datetime

import pytest
import yaml
from chart_builders import (
    CHART,
    EVERYTHING_ON,
    environment_of,
    kinds,
    only,
    pod_specs,
    render,
    rights,
)
from geopod.api import crd, deployment
from geopod.api.runtime import ComputeRuntimeSpec

CLUSTER_SCOPED = {
    "ClusterRole",
    "ClusterRoleBinding",
    "ComputeRuntime",
    "CustomResourceDefinition",
    "PriorityClass",
}
NAMESPACED = {"rbac": {"scope": "namespace"}}

CHILDREN = {
    "apps": ["statefulsets", "deployments"],
    "batch": ["jobs"],
    "policy": ["poddisruptionbudgets"],
    "networking.k8s.io": ["networkpolicies"],
    "rbac.authorization.k8s.io": ["roles", "rolebindings"],
    "": ["services", "serviceaccounts", "configmaps"],
}

OPERATOR_RIGHTS = {
    *(
        ("geopod.dev", kind, verb)
        for kind in ("computeenvironments", "computeruns", "layers")
        for verb in ("get", "list", "watch", "delete")
    ),
    *(
        ("geopod.dev", f"{kind}/status", verb)
        for kind in ("computeenvironments", "computeruns", "layers")
        for verb in ("get", "patch")
    ),
    ("geopod.dev", "computeenvironments", "patch"),
    ("geopod.dev", "computeenvironments/finalizers", "update"),
    *(
        (group, kind, verb)
        for group, found in CHILDREN.items()
        for kind in found
        for verb in ("get", "list", "watch", "create", "patch", "delete")
    ),
    *(("", "secrets", verb) for verb in ("get", "create", "patch", "delete")),
    *(("", "pods", verb) for verb in ("get", "list", "delete")),
    *(
        (group, "events", verb)
        for group in ("", "events.k8s.io")
        for verb in ("list", "create", "patch")
    ),
}
"""Source: the project's operator design, §10."""


@pytest.fixture(scope="module")
def defaults():
    return render()


@pytest.fixture(scope="module")
def everything():
    return render({}, EVERYTHING_ON)


@pytest.fixture(scope="module")
def namespaced():
    return render({**NAMESPACED, "watchNamespaces": ["one", "two"]})


# ---- rights


def test_operator_may_do_what_the_design_lists_and_nothing_else(defaults, namespaced):
    assert rights(only(defaults, "ClusterRole", "geopod-operator")["rules"]) == OPERATOR_RIGHTS
    roles = [it for it in namespaced if it["kind"] == "Role"]
    own = {
        it["metadata"]["namespace"]: it
        for it in roles
        if it["metadata"]["name"] == "geopod-operator"
    }
    assert own.keys() == {"one", "two"}
    assert all(rights(it["rules"]) == OPERATOR_RIGHTS for it in own.values())


def test_operator_may_hold_its_own_lease_and_no_other(namespaced):
    role = only(namespaced, "Role", "geopod-operator-lease")
    assert role["metadata"]["namespace"] == "geopod-system"
    making, keeping = role["rules"]
    assert rights([making]) == {("coordination.k8s.io", "leases", "create")}
    assert rights([keeping]) == {
        ("coordination.k8s.io", "leases", verb) for verb in ("get", "patch")
    }
    assert keeping["resourceNames"] == ["geopod-operator"]
    without = render({"operator": {"lease": False}})
    assert not [it for it in without if it["metadata"]["name"] == "geopod-operator-lease"]
    assert render({"operator": {"lease": None}})  # as `helm upgrade --reuse-values` of before


def test_operator_holds_every_right_that_it_gives_a_coordinator(defaults):
    desired = pytest.importorskip("geopod_operator.environment.desired.access")
    resolved = pytest.importorskip("geopod_operator.environment.resolved")
    identity = resolved.Identity(
        name="env",
        namespace="team",
        uid="u",
        generation=1,
        created=datetime(2026, 1, 1, tzinfo=UTC),
        annotations={},
    )
    _, role, _ = desired.coordinator_rights(identity)
    assert rights(role["rules"]) <= OPERATOR_RIGHTS


def test_no_rule_is_a_wildcard_or_lets_anyone_become_more(defaults, everything, namespaced):
    for it in [*defaults, *everything, *namespaced]:
        for rule in it.get("rules", ()) if it["kind"].endswith("Role") else ():
            words = [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
            assert not {"*", "escalate", "bind", "impersonate"} & set(words)


def test_operator_never_lists_secrets(defaults, namespaced):
    for it in [*defaults, *namespaced]:
        if it["kind"].endswith("Role"):
            assert not {("", "secrets", "list"), ("", "secrets", "watch")} & rights(it["rules"])


def test_users_get_view_and_edit_by_aggregation(defaults):
    view, edit = (only(defaults, "ClusterRole", f"geopod-{name}") for name in ("view", "edit"))
    prefix = "rbac.authorization.k8s.io/aggregate-to-"
    assert view["metadata"]["labels"][f"{prefix}view"] == "true"
    assert {edit["metadata"]["labels"][f"{prefix}{to}"] for to in ("edit", "admin")} == {"true"}
    assert {verb for _, _, verb in rights(view["rules"])} == {"get", "list", "watch"}
    writes = {"create", "update", "patch", "delete", "deletecollection"}
    assert {("geopod.dev", "computeruns", verb) for verb in writes} <= rights(edit["rules"])
    assert ("geopod.dev", "computeenvironments/scale", "patch") in rights(edit["rules"])
    assert rights(view["rules"]) < rights(edit["rules"])  # it is enough by itself
    assert not any(kind == "computeruntimes" for _, kind, _ in rights(edit["rules"]))


def test_signed_in_users_reach_the_gateway_and_see_runtimes(defaults, everything):
    role = only(defaults, "Role", "geopod-gateway-users")
    (rule,) = role["rules"]
    assert role["metadata"]["namespace"] == "geopod-system"
    assert f"{deployment.SERVICE_NAME}:{deployment.GATEWAY_PORT}" in rule["resourceNames"]
    assert all(deployment.SERVICE_NAME in name for name in rule["resourceNames"])
    assert rights(role["rules"]) == {
        ("", "services/proxy", verb) for verb in ("get", "create", "update", "delete")
    }
    assert "Role/geopod-gateway-users" not in {
        f"{it['kind']}/{it['metadata']['name']}" for it in everything
    }


def test_namespaced_install_has_no_cluster_scoped_object(namespaced):
    assert kinds(namespaced) & CLUSTER_SCOPED == set()
    bindings = [it for it in namespaced if it["kind"] == "RoleBinding"]
    assert {it["roleRef"]["kind"] for it in bindings} == {"Role"}


def test_watched_namespaces_alone_are_bound(everything):
    names = {it["metadata"]["name"] for it in everything if it["kind"] == "ClusterRoleBinding"}
    assert names == {"geopod-operator-runtimes"}
    bound = {
        it["metadata"]["namespace"]
        for it in everything
        if it["kind"] == "RoleBinding" and it["metadata"]["name"] == "geopod-operator"
    }
    assert bound == {"geopod-system", "team"}


def test_without_rbac_there_is_none():
    objects = render({"rbac": {"create": False}})
    roles = {it["metadata"]["name"] for it in objects if "Role" in it["kind"]}
    assert roles == {"geopod-test"}


# ---- pods


@pytest.mark.parametrize("values", [{}, NAMESPACED], ids=["cluster", "namespace"])
@pytest.mark.parametrize("files", [(), (EVERYTHING_ON,)], ids=["defaults", "everything on"])
def test_every_pod_is_restricted(values, files):
    specs = pod_specs(render(values, *files))
    assert specs.keys() == {
        "Deployment/geopod-operator",
        "Deployment/geopod-gateway",
        "Pod/geopod-test",
    }
    for spec in specs.values():
        security = spec["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] == deployment.AGENT_UID
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["enableServiceLinks"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert all("hostPath" not in volume for volume in spec["volumes"])
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {"requests", "limits"} <= container["resources"].keys()


def test_gateway_holds_no_token_of_kubernetes(defaults):
    specs = pod_specs(defaults)
    assert specs["Deployment/geopod-gateway"]["automountServiceAccountToken"] is False
    assert specs["Deployment/geopod-operator"]["automountServiceAccountToken"] is True


def test_there_is_never_a_second_operator(defaults):
    spec = only(defaults, "Deployment", "geopod-operator")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


def test_digest_wins_over_tag(everything, defaults):
    for objects, pattern in ((everything, "@sha256:[0-9a-f]{64}$"), (defaults, ":0.1.0$")):
        images = [
            container["image"]
            for spec in pod_specs(objects).values()
            for container in spec["containers"]
        ]
        images.append(
            environment_of(only(objects, "Deployment", "geopod-operator"))["GEOPOD_AGENT_IMAGE"]
        )
        assert all(re.search(pattern, image) for image in images), images


# ---- what the processes read


class Recorded(dict):
    """A mapping that remembers what it was asked for."""

    def __init__(self, values):
        super().__init__(values)
        self.asked = set()

    def get(self, name, default=None):
        self.asked.add(name)
        return super().get(name, default)


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "key"
    path.write_bytes(b"k" * 32)
    return str(path)


@pytest.mark.parametrize("values", [{}, NAMESPACED], ids=["cluster", "namespace"])
@pytest.mark.parametrize("files", [(), (EVERYTHING_ON,)], ids=["defaults", "everything on"])
def test_operator_reads_every_variable_that_it_is_given(values, files, key_file):
    module = pytest.importorskip("geopod_operator.settings")
    objects = render({**values, "operator": {"extraEnv": []}}, *files)
    given = environment_of(only(objects, "Deployment", "geopod-operator"))
    environment = Recorded({**given, "GEOPOD_SIGNING_KEY_FILE": key_file})
    settings = module.read_settings(environment)
    assert given.keys() == {name for name in environment.asked if name.startswith("GEOPOD_")}
    assert (settings.runtimes_file is None) == (not values)
    assert settings.store == f"http://geopod-gateway.geopod-system.svc:{deployment.GATEWAY_PORT}"
    assert settings.metrics_port == deployment.METRICS_PORT


@pytest.mark.parametrize("files", [(), (EVERYTHING_ON,)], ids=["volume", "bucket"])
def test_gateway_reads_every_variable_that_it_is_given(files, key_file):
    module = pytest.importorskip("geopod_gateway.settings")
    given = environment_of(only(render({}, *files), "Deployment", "geopod-gateway"))
    environment = Recorded({**given, "GEOPOD_SIGNING_KEY_FILE": key_file})
    settings = module.Settings.read(environment)
    own = {name for name in given if name.startswith("GEOPOD_")}
    assert own <= environment.asked
    assert settings.port == deployment.GATEWAY_PORT
    assert settings.storage == ("s3://geopod/store" if files else "/store")


def test_bucket_comes_with_its_keys(everything):
    (container,) = pod_specs(everything)["Deployment/geopod-gateway"]["containers"]
    given = environment_of(only(everything, "Deployment", "geopod-gateway"))
    assert given["AWS_ENDPOINT_URL"] == "http://s3.example.org:7070"
    assert (given["AWS_REGION"], given["AWS_ALLOW_HTTP"]) == ("eu-west-1", "true")
    assert container["envFrom"] == [{"secretRef": {"name": "s3-keys"}}]
    assert "store" not in {it["name"] for it in container["volumeMounts"]}


def test_commands_ports_and_names_are_those_of_the_contract(defaults):
    for name, command, port in (
        ("operator", deployment.OPERATOR_COMMAND, deployment.METRICS_PORT),
        ("gateway", deployment.GATEWAY_COMMAND, deployment.GATEWAY_PORT),
    ):
        (container,) = pod_specs(defaults)[f"Deployment/geopod-{name}"]["containers"]
        assert tuple(container["command"]) == command
        assert [it["containerPort"] for it in container["ports"]] == [port]
    service = only(defaults, "Service", deployment.SERVICE_NAME)
    pod = only(defaults, "Deployment", "geopod-gateway")["spec"]["template"]["metadata"]
    assert service["spec"]["selector"].items() <= pod["labels"].items()


def test_environments_find_the_gateway_by_its_labels(defaults):
    network = pytest.importorskip("geopod_operator.environment.desired.network")
    pod = only(defaults, "Deployment", "geopod-gateway")["spec"]["template"]["metadata"]

    class Named:
        gateway_namespace = "geopod-system"

    (peer,) = network.gateway_rule(Named)["to"]
    assert peer["podSelector"]["matchLabels"].items() <= pod["labels"].items()


def test_key_is_made_once_and_kept(defaults, everything):
    secret = only(defaults, "Secret", "geopod-signing-key")
    assert len(b64decode(secret["data"]["key"])) == 32
    assert secret["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    again = only(render(), "Secret", "geopod-signing-key")
    assert again["data"] != secret["data"]  # without a cluster there is nothing to look up
    assert "Secret" not in kinds(everything)


def test_definitions_are_those_of_the_models(defaults, everything):
    wanted = {it["metadata"]["name"]: it["spec"] for it in crd.all_crds()}
    for objects, marks in (
        (defaults, {"helm.sh/resource-policy": "keep"}),
        (everything, None),
    ):
        found = [it for it in objects if it["kind"] == "CustomResourceDefinition"]
        assert {it["metadata"]["name"]: it["spec"] for it in found} == wanted
        assert {json.dumps(it["metadata"].get("annotations")) for it in found} == {
            json.dumps(marks)
        }


def test_runtimes_are_valid_as_objects_and_as_a_file(defaults, everything, namespaced, tmp_path):
    for objects in (defaults, everything):
        ComputeRuntimeSpec.model_validate(only(objects, "ComputeRuntime", "default")["spec"])
    text = only(namespaced, "ConfigMap", "geopod-runtimes")["data"]["runtimes.yaml"]
    (found,) = [it for it in yaml.safe_load_all(text) if it]
    assert found["spec"] == only(defaults, "ComputeRuntime", "default")["spec"]


def test_runtimes_come_after_their_definition_and_then_belong_to_the_release(defaults):
    # Helm looks up all kinds before it creates anything: on the first install this one is a hook.
    first = only(defaults, "ComputeRuntime", "default")["metadata"]["annotations"]
    assert first["helm.sh/hook"] == "post-install,post-upgrade"
    assert first["meta.helm.sh/release-name"] == "geopod"
    later = render(apis="geopod.dev/v1alpha1/ComputeRuntime")
    assert "annotations" not in only(later, "ComputeRuntime", "default")["metadata"]


# ---- monitoring


METRICS_OF_COORDINATORS = {
    f"geopod_{name}"
    for name in (
        "run_queue_seconds", "run_dispatch_seconds", "run_duration_seconds", "tasks_total",
        "task_retries_total", "nodes_connected", "heartbeat_age_seconds", "payload_bytes_total",
        "result_bytes_total", "status_writes_total", "epoch",
    )
}  # fmt: skip  # names read best in lines
"""Source: the project's operator design, §9."""


def exposed(metrics):
    """Names in what a process answers on /metrics."""
    lines = metrics.decode().splitlines()
    families = [line.split()[2:4] for line in lines if line.startswith("# TYPE")]
    return {name for name, _ in families}


def test_dashboard_and_alerts_ask_for_metrics_that_there_are(everything):
    operator = pytest.importorskip("geopod_operator.metrics").Metrics()
    operator.watch_queue(lambda: 0, lambda: 0)
    operator.watch_objects(list, dict)
    gateway = pytest.importorskip("geopod_gateway.metrics").Metrics()
    generate = pytest.importorskip("prometheus_client").generate_latest
    known = METRICS_OF_COORDINATORS | exposed(operator.render())
    known |= exposed(generate(gateway.registry))
    text = json.dumps(only(everything, "PrometheusRule", "geopod")["spec"])
    text += only(everything, "ConfigMap", "geopod-dashboard")["data"]["geopod.json"]
    asked = set(re.findall(r"geopod_[a-z0-9_]+", text))
    assert len(asked) > 20
    assert {re.sub(r"_(bucket|count|sum)$", "", name) for name in asked} - known == set()


def test_every_alert_says_what_to_do(everything):
    (group,) = only(everything, "PrometheusRule", "geopod")["spec"]["groups"]
    assert len(group["rules"]) >= 5
    for rule in group["rules"]:
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"].keys() == {"summary", "description"}


def test_monitors_are_left_out_where_nobody_reads_them():
    values = {"metrics": {"serviceMonitor": {"enabled": True}, "rules": {"enabled": True}}}
    assert {"ServiceMonitor", "PrometheusRule"} & kinds(render(values, apis="v1")) == set()


# ---- helm test


def test_life_cycle_test_is_in_the_chart_and_makes_valid_objects(defaults):
    from geopod.api.environment import ComputeEnvironmentSpec
    from geopod.api.run import ComputeRunSpec
    from geopod.runner.loading import load_source

    script = CHART / "files" / "life_cycle.py"
    mounted = only(defaults, "ConfigMap", "geopod-test")["data"]["life_cycle.py"]
    assert mounted.strip() == script.read_text("utf-8").strip()
    names = runpy.run_path(str(script))
    ComputeEnvironmentSpec.model_validate(names["environment"]("python3.12"))
    run = ComputeRunSpec.model_validate(names["run"]("python3.12"))
    assert load_source(b64decode(run.function.inline))({}) == 42
