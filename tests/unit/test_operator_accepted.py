"""What a spec may ask for: the rest is named in Accepted=False, and nothing is started."""

from __future__ import annotations

import pytest
from geopod_operator.environment.observed import Ref
from operator_builders import World, a_layer, a_runtime, an_environment, settings


def refused(environment=None, **more):
    """Return (reason, message) of a spec that is refused, and check that nothing is started."""
    world = World(environment or an_environment(), **more)
    world.settle()
    assert [ref for kind, ref in world.log if kind == "apply"] == []
    status, reason = world.condition("Accepted")
    assert status == "False"
    assert world.condition("Ready") == ("False", reason)
    assert world.condition("Stalled") == ("True", reason)
    assert world.status["phase"] == "Failed"
    return reason, world.message("Ready")


def test_runtime_that_is_not_there():
    assert refused(runtime=None) == (
        "RuntimeNotFound",
        "no ComputeRuntime 'default' (there are: gpu).",
    )


def test_interpreter_that_is_not_offered():
    assert refused(an_environment(interpreter="python3.9")) == (
        "UnknownInterpreter",
        "ComputeRuntime default does not offer python3.9. Offered: python3.12.",
    )


def test_layer_that_is_not_there():
    reason, message = refused(layers=[a_layer("other")])
    assert reason == "LayerNotFound"
    assert message.startswith("No layer 'dem' with timestamp '2024' in namespace 'tenant'.")


def test_requirement_that_no_installer_understands():
    reason, message = refused(an_environment(requirements=["numpy=1", "xarray"]))
    assert reason == "InvalidRequirement"
    assert "'numpy=1' (use '==')" in message


def a_template(**template):
    return an_environment(template=template)


HOSTILE = {
    "hostPath": a_template(volumes=[{"name": "v", "hostPath": {"path": "/"}}]),
    "nfs": a_template(volumes=[{"name": "v", "nfs": {"server": "s", "path": "/"}}]),
    "projected token": a_template(
        volumes=[{"name": "v", "projected": {"sources": [{"serviceAccountToken": {}}]}}]
    ),
    "geopod's volume": a_template(volumes=[{"name": "layer-secret-0", "emptyDir": {}}]),
    "link Secret as volume": a_template(
        volumes=[{"name": "v", "secret": {"secretName": "ndvi-link"}}]
    ),
    "another's link Secret": a_template(
        volumes=[{"name": "v", "secret": {"secretName": "other-link"}}]
    ),
    "builder's Secret": a_template(
        volumes=[{"name": "v", "secret": {"secretName": "geopod-build-0"}}]
    ),
    "Secret through csi": a_template(
        volumes=[
            {"name": "v", "csi": {"driver": "d", "nodePublishSecretRef": {"name": "ndvi-link"}}}
        ]
    ),
    "link Secret as files": an_environment(secrets=[{"name": "ndvi-link"}]),
    "link Secret as variable": an_environment(
        env=[{"name": "A", "secretKeyRef": {"name": "ndvi-link", "key": "link-key"}}]
    ),
    "layer's Secret": an_environment(secrets=[{"name": "s3"}]),
    "service account": a_template(serviceAccountName="admin"),
    "runtime class": a_template(runtimeClassName="runc-privileged"),
    "mount over geopod": a_template(
        volumes=[{"name": "v", "emptyDir": {}}],
        volumeMounts=[{"name": "v", "mountPath": "/geopod/bin"}],
    ),
    "own label": a_template(labels={"app.kubernetes.io/instance": "other"}),
    "no AppArmor": a_template(
        annotations={"container.apparmor.security.beta.kubernetes.io/runner": "unconfined"}
    ),
    "privileged": a_template(securityContext={"privileged": True}),
    "host network": a_template(hostNetwork=True),
    "init container": a_template(initContainers=[{"name": "x", "image": "y"}]),
    "memory as GPU": an_environment(enableGpu=True, gpu={"resourceName": "memory"}),
    "cpu of the cluster": an_environment(
        enableGpu=True, gpu={"resourceName": "kubernetes.io/batch-cpu"}
    ),
    "metadata address": an_environment(network={"egress": [{"cidr": "169.254.169.254/32"}]}),
    "reserved variable": an_environment(env=[{"name": "GEOPOD_STORE", "value": "x"}]),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_spec_is_refused_by_name(name):
    layers = [a_layer(credentials={"secretName": "s3"})]
    reason, message = refused(HOSTILE[name], layers=layers)
    assert reason == "LimitExceeded"
    assert len(message) > 30


@pytest.mark.parametrize(
    ("limits", "spec", "what"),
    [
        ({"limits": {"maxNodes": 3}}, {}, "maxNodes=3; the spec asks 4"),
        ({"limits": {"cpu": "500m"}}, {}, "cpu=500m; the spec asks 1"),
        ({"limits": {"memory": "1Gi"}}, {"resources": {"memory": "1025Mi"}}, "asks 1025Mi"),
        (
            {"limits": {"gpus": 7}},
            {"enableGpu": True, "gpu": {"count": 2}},
            "gpus=7; the spec asks 8",
        ),
        ({"gpuProfiles": []}, {"enableGpu": True}, "gpuProfiles=none"),
        ({"allow": {"networkModes": ["Restricted"]}}, {"network": {"mode": "Open"}}, "asks Open"),
        (
            {"allow": {"egress": False}},
            {"network": {"egress": [{"cidr": "10.0.0.0/8"}]}},
            "egress=none",
        ),
    ],
    ids=str,
)
def test_limit_of_the_runtime_is_named(limits, spec, what):
    profile = {"name": "a", "resourceName": "nvidia.com/gpu"}
    runtime = a_runtime(**{"gpuProfiles": [profile], **limits})
    reason, message = refused(an_environment(**spec), runtime=runtime)
    assert reason == "LimitExceeded"
    assert what in message


def test_what_the_runtime_allows_is_accepted():
    allow = {"serviceAccounts": ["reader"], "runtimeClasses": ["gvisor"]}
    world = World(
        a_template(serviceAccountName="reader", runtimeClassName="gvisor"),
        runtime=a_runtime(allow=allow),
    ).run_until_ready()
    pod = world.stateful_set["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == "reader"
    assert pod["automountServiceAccountToken"] is False
    assert pod["runtimeClassName"] == "gvisor"


def test_template_is_merged_over_the_runtimes_and_geopods_keys_win():
    runtime = a_runtime(
        podTemplate={
            "labels": {"team": "all", "zone": "a"},
            "nodeSelector": {"pool": "geo"},
            "tolerations": [{"key": "geo", "operator": "Exists"}],
            "volumes": [{"name": "v", "configMap": {"name": "admin"}}],
            "volumeMounts": [{"name": "v", "mountPath": "/etc/v"}],
            "affinity": {"nodeAffinity": {"a": 1}, "podAffinity": {"b": 1}},
            "imagePullSecrets": [{"name": "z"}],
            "priorityClassName": "low",
        },
        imagePullSecrets=[{"name": "team"}],
    )
    environment = a_template(
        labels={"team": "mine"},
        nodeSelector={"disk": "ssd"},
        tolerations=[{"key": "spot", "operator": "Exists"}],
        volumes=[{"name": "v", "configMap": {"name": "mine"}}],
        affinity={"nodeAffinity": {"a": 2}},
        imagePullSecrets=[{"name": "a"}],
        topologySpreadConstraints=[{"topologyKey": "zone"}],
    )
    world = World(environment, runtime=runtime, settings=settings(image_pull_secrets=("own",)))
    world.run_until_ready()
    template = world.stateful_set["spec"]["template"]
    pod = template["spec"]
    labels = template["metadata"]["labels"]
    assert (labels["team"], labels["zone"]) == ("mine", "a")
    assert labels["app.kubernetes.io/instance"] == "ndvi"
    assert pod["nodeSelector"] == {"pool": "geo", "disk": "ssd"}
    assert [it["key"] for it in pod["tolerations"]] == [
        "geo", "spot", "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable",
    ]  # fmt: skip
    volumes = {it["name"]: it for it in pod["volumes"]}
    assert volumes["v"]["configMap"] == {"name": "mine"}
    assert pod["affinity"] == {"nodeAffinity": {"a": 2}, "podAffinity": {"b": 1}}
    assert [it["name"] for it in pod["imagePullSecrets"]] == ["a", "own", "team", "z"]
    assert pod["priorityClassName"] == "low"
    (spread,) = pod["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"]["app.kubernetes.io/component"] == "node"
    runner = pod["containers"][1]
    assert runner["volumeMounts"][-1]["mountPath"] == "/etc/v"
    assert not any(it["mountPath"] == "/etc/v" for it in pod["containers"][0]["volumeMounts"])


def test_refused_spec_changes_nothing_that_runs():
    world = World().run_until_ready()
    before = dict(world.objects)
    world.change(interpreter="python3.9")
    world.settle()
    assert world.objects == before
    assert world.condition("Ready") == ("False", "UnknownInterpreter")
    assert world.condition("NodesReady") == ("True", "AllReady")
    world.change(interpreter="python3.12")
    world.settle()
    assert world.condition("Ready") == ("True", "Ready")


def test_layer_that_comes_later_is_taken():
    world = World(layers=[])
    world.settle()
    world.layers = [a_layer()]
    world.settle()
    assert world.condition("Accepted") == ("True", "Accepted")
    assert Ref("Deployment", "ndvi-coordinator") in world.objects
