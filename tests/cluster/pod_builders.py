"""Valid objects for the smoke tests; a test changes one thing."""

from cluster.testcluster.settings import PROBE_IMAGE

RESTRICTED = {
    "runAsNonRoot": True,
    "runAsUser": 10001,
    "seccompProfile": {"type": "RuntimeDefault"},
}

CONFINED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def a_container(*arguments, **changes):
    return {
        "name": "probe",
        "image": PROBE_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "args": list(arguments or ["pause"]),
        "securityContext": CONFINED,
        "resources": {"requests": {"cpu": "1m", "memory": "8Mi"}},
        **changes,
    }


def a_pod_spec(*arguments, container=None, **changes):
    return {
        "securityContext": RESTRICTED,
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
        "containers": [a_container(*arguments, **(container or {}))],
        **changes,
    }


def a_pod(name, *arguments, container=None, **changes):
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": a_pod_spec(*arguments, container=container, **changes),
    }


def a_stateful_set(name, replicas, spec):
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": name},
        "spec": {
            "serviceName": f"{name}-nodes",
            "replicas": replicas,
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def a_service(name, *, app, headless=False):
    spec = {"selector": {"app": app}, "ports": [{"name": "http", "port": 8080}]}
    if headless:
        spec |= {"clusterIP": "None", "publishNotReadyAddresses": True}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}
