"""The builder of one bundle: Job, Secret with its token and request, ConfigMap of what came out.

They belong to the namespace, not to one environment: no owner, and a name that is the key's.
What runs in the Job, with which files: `geopod.api.deployment`.
"""

from __future__ import annotations

import json
from base64 import b64encode

from geopod.api import deployment, names
from geopod.api.runtime import PackageIndex

from geopod_operator.environment.bundle import ARCHITECTURE, architecture, wanted_packages
from geopod_operator.environment.desired.common import (
    TMP,
    TMP_SIZE,
    container_security,
    empty_dir,
    mount,
    pod_security,
    secret_volume,
    variables,
)
from geopod_operator.environment.masking import mask, shortened
from geopod_operator.environment.observed import Raw, Settings
from geopod_operator.environment.resolved import Resolved

BUILD, REQUEST, TOKEN, INDEX = "build", "request", "token", "index"
BUILD_SIZE = "40Gi"
"""Cache, tree and packed bundle of the largest environments, side by side."""
DEADLINE_S = 1200
INSTALL_RESOURCES = {
    "requests": {"cpu": "250m", "memory": "512Mi"},
    "limits": {"memory": "4Gi"},
}
UPLOAD_RESOURCES = {
    "requests": {"cpu": "100m", "memory": "256Mi"},
    "limits": {"memory": "2Gi"},
}
FULL_KEY, BUNDLE_SHA256, LOCK_SHA256 = "key", "bundleSha256", "lockSha256"
BUNDLE_BYTES, BUNDLE_IMAGE, TIME = "bundleBytes", "bundleImage", "time"
REGISTRY_PROBLEM = "registryProblem"
"""Why there is no image of the bundle, although the ComputeRuntime names a registry."""
PROBLEM_WORDS = 512


def builder_labels(key: str) -> dict[str, str]:
    """Return the labels of a bundle's builder objects; the key stands for the environment."""
    return names.child_labels(key[:16], "builder")


def build_secret(resolved: Resolved, key: str, token: str) -> Raw:
    """Return the Secret with the token of the upload, and what to install."""
    index = resolved.runtime.index or PackageIndex()
    request = deployment.build_request(
        python=resolved.interpreter.python,
        requirements=wanted_packages(resolved),
        index_url=index.url or "",
        extra_urls=index.extra_urls,
        allow_sdists=index.allow_sdists,
    )
    files = {
        deployment.STORE_TOKEN_FILE: token,
        deployment.BUILD_REQUEST_FILE: json.dumps(request, sort_keys=True),
    }
    return {
        **_shared("v1", "Secret", names.build_name(key), resolved, key),
        "type": "Opaque",
        "data": {name: b64encode(text.encode()).decode() for name, text in files.items()},
    }


def build_job(resolved: Resolved, settings: Settings, key: str) -> Raw:
    """Return the Job that builds a bundle; it ends in a second if the store has it."""
    labels = builder_labels(key)
    return {
        **_shared("batch/v1", "Job", names.build_name(key), resolved, key),
        "spec": {
            "backoffLimit": 1,
            "activeDeadlineSeconds": DEADLINE_S,
            "podFailurePolicy": {
                "rules": [
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]},
                    {
                        "action": "FailJob",
                        "onExitCodes": {
                            "containerName": "upload",
                            "operator": "In",
                            "values": [
                                deployment.BUILD_EXIT_UNRESOLVABLE,
                                deployment.BUILD_EXIT_INDEX,
                            ],
                        },
                    },
                ]
            },
            "template": {"metadata": {"labels": labels}, "spec": _pod(resolved, settings, key)},
        },
    }


def bundle_record(resolved: Resolved, key: str, result: Raw, time: str) -> Raw:
    """Return the ConfigMap that says that a bundle is in the store; it never changes."""
    image = result.get(BUNDLE_IMAGE)
    problem = shortened(mask(str(result.get(REGISTRY_PROBLEM) or "")), PROBLEM_WORDS)
    return {
        **_shared("v1", "ConfigMap", names.bundle_name(key), resolved, key),
        "immutable": True,
        "data": {
            FULL_KEY: key,
            BUNDLE_SHA256: str(result["bundleSha256"]),
            LOCK_SHA256: str(result["lockSha256"]),
            BUNDLE_BYTES: str(result.get("bundleBytes", 0)),
            TIME: time,
            **({BUNDLE_IMAGE: str(image)} if image else {}),
            **({REGISTRY_PROBLEM: problem} if problem else {}),
        },
    }


def _shared(api_version: str, kind: str, name: str, resolved: Resolved, key: str) -> Raw:
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": resolved.identity.namespace,
            "labels": builder_labels(key),
        },
    }


def _pod(resolved: Resolved, settings: Settings, key: str) -> Raw:
    name = names.build_name(key)
    index = resolved.runtime.index
    volumes = [
        empty_dir(BUILD, BUILD_SIZE),
        secret_volume(TOKEN, name, keys=(deployment.STORE_TOKEN_FILE,)),
        secret_volume(REQUEST, name, keys=(deployment.BUILD_REQUEST_FILE,)),
        *(empty_dir(f"{TMP}-{step}", TMP_SIZE) for step in ("prepare", "install", "upload")),
    ]
    if index is not None and index.secret_name:
        volumes.append(secret_volume(INDEX, index.secret_name))
    volumes += (_login_volume(name, secret) for name, secret in _logins(resolved))
    pod: Raw = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 5,
        "securityContext": pod_security(),
        "initContainers": [
            _own_step("prepare", deployment.PREPARE_COMMAND, resolved, settings, key),
            _install(resolved),
        ],
        "containers": [_upload(resolved, settings, key)],
        "volumes": volumes,
    }
    if architecture(resolved):
        pod["nodeSelector"] = {ARCHITECTURE: architecture(resolved)}
    if resolved.pull_secrets:
        pod["imagePullSecrets"] = [{"name": it} for it in resolved.pull_secrets]
    return pod


def _own_step(
    name: str, command: tuple[str, ...], resolved: Resolved, settings: Settings, key: str
) -> Raw:
    """Return a step in geopod's image: alone with the token."""
    values = {
        deployment.ENV_STORE: settings.store,
        deployment.ENV_NAMESPACE: resolved.identity.namespace,
        deployment.ENV_BUNDLE_KEY: key,
        "HOME": "/tmp",  # noqa: S108  # the container's own emptyDir
    }
    return {
        "name": name,
        "image": settings.agent_image,
        "command": list(command),
        "env": variables(values),
        "resources": UPLOAD_RESOURCES,
        "securityContext": container_security(deployment.AGENT_UID),
        "volumeMounts": [
            mount(BUILD, deployment.BUILD_DIR),
            mount(TOKEN, deployment.LINK_DIR, read_only=True),
            mount(f"{TMP}-{name}", "/tmp"),  # noqa: S108  # the container's own emptyDir
        ],
    }


def _upload(resolved: Resolved, settings: Settings, key: str) -> Raw:
    """Return the last step; where the runtime names a registry it pushes the bundle there too."""
    step = _own_step("upload", deployment.UPLOAD_COMMAND, resolved, settings, key)
    registry = resolved.runtime.bundle_registry
    if registry:
        step["env"] += variables({deployment.ENV_BUNDLE_REGISTRY: registry})
        step["volumeMounts"] += (
            mount(name, f"{deployment.BUILD_REGISTRY_DIR}/{secret}", read_only=True)
            for name, secret in _logins(resolved)
        )
    return step


def _logins(resolved: Resolved) -> list[tuple[str, str]]:
    """Return (volume, Secret) of the logins that may open the bundles' registry."""
    if not resolved.runtime.bundle_registry:
        return []
    return [(f"registry-{number}", it) for number, it in enumerate(resolved.pull_secrets)]


def _login_volume(name: str, secret: str) -> Raw:
    """Return a login as a file; kubelets ignore pull Secrets that are not there, so do we."""
    volume = secret_volume(name, secret, keys=(deployment.DOCKER_CONFIG,))
    volume["secret"]["optional"] = True
    return volume


def _install(resolved: Resolved) -> Raw:
    """Return the step in the interpreter's image: packages' own code may run, no token is near."""
    index = resolved.runtime.index
    credentials = [mount(INDEX, deployment.BUILD_INDEX_DIR, read_only=True)]
    has_credentials = index is not None and bool(index.secret_name)
    return {
        "name": "install",
        "image": resolved.image,
        "command": list(deployment.install_command(resolved.interpreter.python)),
        "env": variables(deployment.BUILD_ENVIRONMENT),
        "resources": INSTALL_RESOURCES,
        "securityContext": container_security(deployment.RUNNER_UID),
        "volumeMounts": [
            mount(BUILD, deployment.BUILD_DIR),
            mount(REQUEST, deployment.BUILD_REQUEST_DIR, read_only=True),
            mount(f"{TMP}-install", "/tmp"),  # noqa: S108  # the container's own emptyDir
            *(credentials if has_credentials else []),
        ],
    }
