"""The rendered child objects: golden texts, Pod Security, network policies, names and owners."""

from __future__ import annotations

import itertools

import pytest
import yaml
from geopod_operator.environment.desired.addresses import blocks, is_closed
from geopod_operator.environment.observed import Ref
from operator_builders import (
    NAMESPACE,
    UID,
    World,
    a_layer,
    a_runtime,
    an_environment,
    golden,
    settings,
)

PROFILE = {
    "name": "a100",
    "resourceName": "nvidia.com/gpu",
    "nodeSelector": {"gpu": "a100"},
    "tolerations": [{"key": "gpu", "operator": "Exists"}],
}


def everything_on():
    environment = an_environment(
        enableGpu=True,
        gpu={"count": 2},
        env=[
            {"name": "PLAIN", "value": "1"},
            {"name": "HIDDEN", "secretKeyRef": {"name": "mine", "key": "k"}},
        ],
        secrets=[{"name": "mine"}, {"name": "more", "as": "Env"}],
        network={"egress": [{"cidr": "10.0.0.0/8", "ports": [443]}]},
        requirements=["xarray"],
        template={"labels": {"team": "x"}, "nodeSelector": {"kubernetes.io/arch": "arm64"}},
    )
    layer = a_layer(
        credentials={"secretName": "s3"},
        volumeClaim="tiles",
        endpoints=[{"cidr": "192.0.2.0/24", "port": 443}],
    )
    world = World(
        environment,
        runtime=a_runtime(
            gpuProfiles=[PROFILE],
            imagePullSecrets=[{"name": "team"}],
            index={"url": "https://pypi.example/simple", "secretName": "index"},
        ),
        layers=[layer],
        settings=settings(
            coordinator_pdb=True,
            coordinator_priority_class="geopod-coordinator",
            dns_cidrs=("169.254.20.10/32",),
            api_server_cidrs=("10.96.0.1/32",),
            image_pull_secrets=("own",),
        ),
    )
    world.settle()
    record = next(ref for ref in world.known if ref.kind == "ConfigMap")
    key = world.status["runtime"]["bundleKey"]
    labels = {
        "app.kubernetes.io/name": "geopod",
        "app.kubernetes.io/instance": key[:16],
        "app.kubernetes.io/component": "builder",
        "app.kubernetes.io/managed-by": "geopod",
    }
    world.job = next(it for ref, it in world.objects.items() if ref.kind == "Job")
    world.objects[record] = {
        "kind": "ConfigMap",
        "metadata": {"name": record.name, "labels": labels},
        "data": {"key": key, "bundleSha256": "b" * 64, "lockSha256": "c" * 64},
    }
    world.start_coordinator()
    world.settle()
    return world


class Plain(yaml.SafeDumper):
    """Writes equal parts out each time: nobody reads anchors."""

    def ignore_aliases(self, data):
        return True


def shown(found):
    """Return an object as YAML, without what a server adds and without tokens."""
    found = {**found, "metadata": dict(found["metadata"])}
    for key in ("uid", "generation"):
        found["metadata"].pop(key, None)
    found.pop("status", None)
    if found["kind"] == "Secret":
        found["data"] = sorted(found["data"])
    return yaml.dump(found, Dumper=Plain, sort_keys=True, width=100)


@pytest.mark.parametrize(
    ("target", "is_writable"),
    [("file:///results", True), ("s3://results", False), (None, False)],
)
def test_volume_is_writable_for_results_of_its_layer_and_in_the_coordinator_alone(
    target, is_writable
):
    layer = a_layer(volumeClaim="tiles", **({"writeTo": {"uri": target}} if target else {}))
    world = World(an_environment(), layers=[layer]).run_until_ready()
    pods = {
        ref.kind: found["spec"]["template"]["spec"]
        for ref, found in world.objects.items()
        if ref.kind in {"Deployment", "StatefulSet"}
    }
    mounted = {
        (kind, container["name"]): mounted.get("readOnly", False)
        for kind, pod in pods.items()
        for container in pod["containers"]
        for mounted in container["volumeMounts"]
        if mounted["mountPath"].endswith("/tiles")
    }
    assert mounted == {
        ("Deployment", "coordinator"): not is_writable,
        ("StatefulSet", "agent"): True,
    }


@pytest.mark.parametrize("kind", ["plain", "everything"])
def test_children_are_as_they_were_read(kind):
    world = World().run_until_ready() if kind == "plain" else everything_on()
    found = [*world.objects.values(), *([world.job] if kind == "everything" else [])]
    found.sort(key=lambda it: (it["kind"], it["metadata"]["name"]))
    text = "---\n".join(shown(it) for it in found if it["kind"] != "ConfigMap")
    assert text == golden(f"children_{kind}.yaml", text)


def pods_of(world):
    templates = [it["spec"]["template"]["spec"] for it in (world.deployment, world.stateful_set)]
    return [*templates, world.job["spec"]["template"]["spec"]]


def test_every_pod_passes_restricted():
    for pod in pods_of(everything_on()):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["enableServiceLinks"] is False
        assert not any("hostPath" in it for it in pod["volumes"])
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            context = container["securityContext"]
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["runAsUser"] in {10001, 10002}


def test_every_directory_on_disk_is_bounded():
    for pod in pods_of(everything_on()):
        directories = [it["emptyDir"] for it in pod["volumes"] if "emptyDir" in it]
        assert directories
        assert all(it["sizeLimit"] for it in directories)


def test_every_mount_has_a_volume_and_every_volume_a_mount():
    for pod in pods_of(everything_on()):
        containers = [*pod.get("initContainers", []), *pod["containers"]]
        mounted = {mount["name"] for it in containers for mount in it["volumeMounts"]}
        assert mounted == {it["name"] for it in pod["volumes"]}
        for container in containers:
            paths = [it["mountPath"] for it in container["volumeMounts"]]
            assert len(paths) == len(set(paths))


def test_no_child_of_a_living_environment_has_a_term_of_its_own():
    """One that ended by itself would be made again: kubeflow/trainer#3779."""
    world = everything_on()
    objects = [world.job, *world.objects.values()]
    assert {"Deployment", "Job", "StatefulSet"} <= {it["kind"] for it in objects}
    assert [it["kind"] for it in objects if "ttlSecondsAfterFinished" in it.get("spec", {})] == []


def test_nodes_have_two_containers_side_by_side_and_no_service_account_token():
    pod = everything_on().stateful_set["spec"]["template"]["spec"]
    assert [it["name"] for it in pod["containers"]] == ["agent", "runner"]
    assert "initContainers" not in pod
    assert pod["automountServiceAccountToken"] is False


def test_runner_holds_no_credential_of_geopod():
    world = everything_on()
    _, runner = world.stateful_set["spec"]["template"]["spec"]["containers"]
    names = {it["name"] for it in runner["volumeMounts"]}
    assert not names & {"link", "layer-secret-0", "layer-volume-0", "agent-tmp"}
    assert not any(it["name"].startswith("GEOPOD_") for it in runner["env"])
    assert {it["name"]: it.get("readOnly", False) for it in runner["volumeMounts"]} == {
        "bin": True,
        "bundle": True,
        "socket": False,
        "scratch": False,
        "runner-tmp": False,
        "shared-memory": False,
        "user-secret-0": True,
    }


def test_coordinator_alone_reads_the_environments_key():
    world = everything_on()

    def files(pod):
        link = next(it for it in pod["volumes"] if it["name"] == "link")
        return [it["key"] for it in link["secret"]["items"]]

    assert files(world.deployment["spec"]["template"]["spec"]) == ["environment-key", "link-key"]
    assert files(world.stateful_set["spec"]["template"]["spec"]) == [
        "link-key", "store-token", "shared-token",
    ]  # fmt: skip


def test_without_gpu_none_is_visible():
    world = World().run_until_ready()
    for container in world.stateful_set["spec"]["template"]["spec"]["containers"]:
        assert {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"} in container["env"]


def test_runner_has_a_user_name_in_any_image_which_users_may_replace():
    """getpass.getuser() reads variables first; no foreign image knows geopod's uid."""

    def names_of(world):
        world.run_until_ready()
        containers = world.stateful_set["spec"]["template"]["spec"]["containers"]
        runner = next(it for it in containers if it["name"] == "runner")
        values = {it["name"]: it.get("value") for it in runner["env"]}
        return [values[name] for name in ("LOGNAME", "USER")]

    assert names_of(World()) == ["geopod", "geopod"]
    own = World(an_environment(env=[{"name": "USER", "value": "ana"}]))
    assert names_of(own) == ["geopod", "ana"]


def test_names_labels_and_owners_follow_from_the_environment():
    longest = "e" * 40
    world = World(an_environment(longest)).run_until_ready()
    for ref, found in world.objects.items():
        metadata = found["metadata"]
        assert len(ref.name) <= 63
        assert metadata["namespace"] == NAMESPACE
        assert metadata["labels"]["app.kubernetes.io/instance"] == longest
        assert metadata["labels"]["app.kubernetes.io/managed-by"] == "geopod"
        (owner,) = metadata["ownerReferences"]
        assert (owner["uid"], owner["controller"], owner["blockOwnerDeletion"]) == (UID, True, True)
        assert metadata["annotations"]["geopod.dev/spec-hash"]
    assert len(f"{longest}-node-" + "0" * 10) <= 63


def test_coordinator_may_little():
    world = World().run_until_ready()
    rules = world.objects[Ref("Role", "ndvi-coordinator")]["rules"]
    verbs = {verb for rule in rules for verb in rule["verbs"]}
    assert verbs == {"get", "list", "watch", "patch", "create"}
    assert {"pods", "secrets"}.isdisjoint(it for rule in rules for it in rule["resources"])
    status = next(it for it in rules if it["resources"] == ["computeenvironments/status"])
    assert status["resourceNames"] == ["ndvi"]
    assert not any("*" in itertools.chain(it["verbs"], it["resources"]) for it in rules)


# ---- network


def policy_of(name, **more):
    world = World(**more)
    world.settle()
    return world.objects[Ref("NetworkPolicy", name)]["spec"]


def cidrs(policy):
    peers = [peer for rule in policy["egress"] for peer in rule.get("to", [])]
    return [peer["ipBlock"]["cidr"] for peer in peers if "ipBlock" in peer]


def test_nodes_hear_nobody_and_reach_geopod_alone():
    policy = policy_of("ndvi-nodes")
    assert ("ingress" in policy, policy["policyTypes"]) == (False, ["Ingress", "Egress"])
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    ports = [[it["port"] for it in rule["ports"]] for rule in policy["egress"]]
    assert ports == [[53, 53], [7420], [8080]]
    assert cidrs(policy) == []


def test_no_rule_opens_everything_by_being_empty():
    for mode in ("Restricted", "Open", "None"):
        for name in ("ndvi-nodes", "ndvi-coordinator"):
            for rule in policy_of(name, environment=an_environment(network={"mode": mode}))[
                "egress"
            ]:
                assert rule["to"]


def test_open_nodes_reach_the_world_but_no_metadata_and_no_api_server():
    policy = policy_of(
        "ndvi-nodes",
        environment=an_environment(network={"mode": "Open"}),
        settings=settings(api_server_cidrs=("10.96.0.1/32",)),
    )
    blocks_ = [peer["ipBlock"] for peer in policy["egress"][-1]["to"]]
    assert blocks_[0] == {"cidr": "0.0.0.0/0", "except": ["10.96.0.1/32", "169.254.0.0/16"]}
    assert blocks_[1]["cidr"] == "::/0"
    assert "fe80::/10" in blocks_[1]["except"]


def test_layers_are_open_unless_there_is_no_network():
    layer = a_layer(endpoints=[{"cidr": "192.0.2.0/24", "port": 443}])
    assert cidrs(policy_of("ndvi-nodes", layers=[layer])) == ["192.0.2.0/24"]
    closed = an_environment(network={"mode": "None", "egress": [{"cidr": "10.0.0.0/8"}]})
    assert cidrs(policy_of("ndvi-nodes", layers=[layer], environment=closed)) == []
    coordinator = policy_of("ndvi-coordinator", layers=[layer], environment=closed)
    assert "192.0.2.0/24" in cidrs(coordinator)


def test_coordinator_hears_its_own_nodes():
    agents, metrics = policy_of("ndvi-coordinator")["ingress"]
    labels = agents["from"][0]["podSelector"]["matchLabels"]
    assert labels["app.kubernetes.io/instance"] == "ndvi"
    assert labels["app.kubernetes.io/component"] == "node"
    assert [it["port"] for it in agents["ports"]] == [7420]
    assert [it["port"] for it in metrics["ports"]] == [9090]


def test_index_is_reached_by_the_builder_alone():
    world = everything_on()
    policy = world.objects[Ref("NetworkPolicy", "geopod-build")]["spec"]
    assert policy["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "builder"
    labels = world.job["spec"]["template"]["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    assert "0.0.0.0/0" in cidrs(policy)


@pytest.mark.parametrize(
    ("cidr", "block"),
    [
        ("10.0.0.0/8", {"cidr": "10.0.0.0/8"}),
        ("10.1.2.3/8", {"cidr": "10.0.0.0/8"}),
        ("169.254.169.254/32", None),
        ("169.254.0.0/16", None),
        ("169.0.0.0/8", {"cidr": "169.0.0.0/8", "except": ["169.254.0.0/16"]}),
        ("fd00::/8", {"cidr": "fd00::/8", "except": ["fd00:ec2::254/128", "fd20:ce::254/128"]}),
        ("fe80::1/128", None),
        ("999.0.0.0/8", None),
    ],
)
def test_addresses_that_are_never_open(cidr, block):
    found = blocks([cidr])
    assert found == ([{"ipBlock": block}] if block else [])
    assert is_closed(cidr) is (block is None)
