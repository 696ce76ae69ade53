"""Installs geopod's chart into the running test cluster, with the images that were built for it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from . import binaries
from .errors import ClusterError
from .image_contexts import PROJECT, run
from .kubectl import Kubectl, KubectlError
from .places import Addresses, Places
from .process_cluster import is_running
from .spec import read_spec

Say = Callable[[str], None]

CHART = PROJECT / "helm" / "geopod"
RELEASE = "geopod"
NAMESPACE = "geopod-system"
DEPLOYMENTS = ("geopod-gateway", "geopod-operator")
AVAILABLE_S = 420
"""For images of 1 GB that the node pulls and unpacks on two busy cores; 20 s is usual."""

LOOK_S = 10
"""Between two looks at what keeps a pod from running."""

RESTARTS = 3
"""So many deaths are no accident."""

SMALL = {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}}


def deploy(name: str, say: Say, *, settings: Sequence[str] = ()) -> None:
    """Install or upgrade the release and wait until operator and gateway are available.

    `settings`: more values, `path=value`, as Helm's `--set` takes them.

    Raises:
        ClusterError: no cluster runs, no images were built, Helm refused, or a pod does not run.
    """
    places = _running(name)
    images = _images(places)
    kubectl = Kubectl(str(places.commands / "kubectl"), places.kubeconfig, NAMESPACE)
    _apply_namespace(kubectl)
    values = places.settings / "deploy.json"
    index = Addresses(read_spec(places.spec).slot).index
    values.write_text(json.dumps(chart_values(images, index=index), indent=1), "utf-8")
    chosen = [part for setting in settings for part in ("--set", setting)]
    started = time.monotonic()
    _helm(
        places,
        say,
        "upgrade",
        *(RELEASE, str(CHART), "--install", f"--values={values}", *chosen, "--hide-notes"),
        # The definitions may be there already, applied by kubectl.
        *("--take-ownership", "--server-side=true", "--force-conflicts"),
    )
    for image, reference in sorted(images.items()):
        say(f"image {image}: {reference}")
    for deployment in DEPLOYMENTS:
        _wait_until_available(kubectl, deployment)
        say(f"deployment {NAMESPACE}/{deployment} is available")
    runtimes = kubectl("get", "computeruntimes", "--output=name").split()
    say(f"runtimes: {', '.join(runtimes) or 'in a file'}")
    say(f"release {RELEASE} is deployed after {time.monotonic() - started:.1f} s")


def undeploy(name: str, say: Say) -> None:
    """Uninstall the release and delete its namespace; definitions and what users made stay.

    Raises:
        ClusterError: no cluster runs, or Helm or kubectl refused.
    """
    places = _running(name)
    kubectl = Kubectl(str(places.commands / "kubectl"), places.kubeconfig, NAMESPACE)
    _helm(places, say, "uninstall", RELEASE, "--ignore-not-found", "--wait")
    try:
        # Those of a first install are hooks, which Helm leaves in place.
        own = f"app.kubernetes.io/instance={RELEASE}"
        kubectl("delete", "computeruntimes", f"--selector={own}", "--ignore-not-found")
        kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found")
    except KubectlError as error:
        raise ClusterError(f"kubectl refused: {error}", fix="run `make cluster-status`") from error
    say(f"release {RELEASE} and namespace {NAMESPACE} are gone; the CRDs stay")


def chart_values(images: dict[str, str], *, index: str) -> dict[str, Any]:
    """Values of the chart for a small cluster: images by digest, a store that ends with its pod.

    `index`: where requirements come from; `cluster-up UP=--index` fills the cluster's own.
    """
    pythons = sorted(image for image in images if image.startswith("runtime-"))
    interpreters = [
        {
            "name": f"python{image.removeprefix('runtime-')}",
            "image": images[image],
            "basePackages": True,
        }
        for image in pythons
    ]
    runtime = {
        "imagePolicy": "Digest",
        "interpreters": interpreters,
        "resources": {"cpu": "200m", "memory": "512Mi", "ephemeralStorage": "1Gi"},
        "agentResources": {"cpu": "50m", "memory": "512Mi"},
        "index": {"url": index},
    }
    return {
        "images": {
            "operator": _by_digest(images["operator"]),
            "agent": _by_digest(images["agent"]),
        },
        "operator": {"resources": SMALL},
        "gateway": {"resources": SMALL, "storage": {"kind": "emptyDir"}, "reserveBytes": 0},
        "runtimes": {"default": runtime},
        "test": {"interpreter": interpreters[-1]["name"]},
    }


def _by_digest(reference: str) -> dict[str, str]:
    repository, _, digest = reference.partition("@")
    return {"repository": repository, "digest": digest}


def _running(name: str) -> Places:
    if not is_running(name):
        raise ClusterError(f"cluster {name} is not running", fix="run `make cluster-up` first")
    return Places.of(name)


def _images(places: Places) -> dict[str, str]:
    try:
        images: dict[str, str] = json.loads(places.images.read_text("utf-8"))
    except FileNotFoundError as error:
        raise ClusterError(
            "no images were built for this cluster", fix="run `make images` first"
        ) from error
    missing = {"operator", "agent"} - images.keys()
    if missing or not any(image.startswith("runtime-") for image in images):
        raise ClusterError(
            f"{places.images} names only {', '.join(sorted(images)) or 'nothing'}",
            fix="run `make images` again",
        )
    return images


def _apply_namespace(kubectl: Kubectl) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    metadata = {"name": NAMESPACE, "labels": labels}
    try:
        kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    except KubectlError as error:
        raise ClusterError(
            f"namespace {NAMESPACE} was refused: {error}", fix="if it is being deleted, wait"
        ) from error


def _helm(places: Places, say: Say, *arguments: str) -> None:
    helm = str(Path(binaries.build("helm", say)) / "helm")
    folders = {  # nothing of the machine's own Helm is read or changed
        f"HELM_{kind}_HOME": str(places.root / "helm") for kind in ("CACHE", "CONFIG", "DATA")
    }
    where = [f"--namespace={NAMESPACE}", f"--kubeconfig={places.kubeconfig}"]
    run([helm, *arguments, *where], environment=folders)


def _wait_until_available(kubectl: Kubectl, deployment: str) -> None:
    target = f"deployment/{deployment}"
    deadline = time.monotonic() + AVAILABLE_S
    while True:
        try:
            kubectl("rollout", "status", target, f"--timeout={LOOK_S}s")
        except KubectlError as error:
            if time.monotonic() < deadline and not _keeps_dying(kubectl, deployment):
                continue
            raise ClusterError(
                f"{deployment} is not available: {_trouble(kubectl, deployment)}",
                fix=f"kubectl -n {NAMESPACE} describe pods, logs {target}",
            ) from error
        return


def _pods(kubectl: Kubectl, deployment: str) -> list[dict[str, Any]]:
    component = deployment.removeprefix("geopod-")
    selector = f"--selector=app.kubernetes.io/component={component}"
    pods: list[dict[str, Any]] = kubectl.get("pods", selector)["items"]
    return pods


def _keeps_dying(kubectl: Kubectl, deployment: str) -> bool:
    restarts = [
        container["restartCount"]
        for pod in _pods(kubectl, deployment)
        for container in pod.get("status", {}).get("containerStatuses", ())
    ]
    return max(restarts, default=0) >= RESTARTS


def _trouble(kubectl: Kubectl, deployment: str) -> str:
    """What the containers of a Deployment wait for or died of, and the last lines they wrote."""
    words = []
    for pod in _pods(kubectl, deployment):
        status = pod.get("status", {})
        for container in status.get("containerStatuses", ()):
            for state in (container.get("state", {}), container.get("lastState", {})):
                for kind in ("waiting", "terminated"):
                    found = state.get(kind, {})
                    words += [found[key][-700:] for key in ("reason", "message") if found.get(key)]
        words += [entry["message"] for entry in status.get("conditions", ()) if "message" in entry]
    try:
        lines = kubectl("logs", f"deployment/{deployment}", "--tail=3").strip().splitlines()
    except KubectlError:
        lines = []
    return " | ".join(dict.fromkeys([*words, *lines])) or "it has no pods"
