"""The Job that deletes an environment's folder in the store, and the Secret with its token."""

from __future__ import annotations

from base64 import b64encode

from geopod.api import deployment, names

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
from geopod_operator.environment.observed import Raw, Settings
from geopod_operator.environment.resolved import Identity

DEADLINE_S = 300
_PURGE = (
    "import os,urllib.error,urllib.request as r\n"
    f"t=open({f'{deployment.LINK_DIR}/{deployment.STORE_TOKEN_FILE}'!r}).read().strip()\n"
    f"u=os.environ[{deployment.ENV_STORE!r}].rstrip('/')+{deployment.OBJECTS_PATH!r}"
    f"+os.environ[{deployment.ENV_ENVIRONMENT_UID!r}]+'/'\n"
    f"q=r.Request(u,method='DELETE',headers={{{deployment.TOKEN_HEADER!r}:t}})\n"
    "try: r.urlopen(q,timeout=240)\n"
    "except urllib.error.HTTPError as e:\n"
    " if e.code!=404: raise\n"
)
"""Standard library only; the folder may be gone already."""


def purge_name(identity: Identity) -> str:
    """Return the name of the Job and its Secret."""
    return f"{identity.name}-purge"


def purge_secret(identity: Identity, token: str) -> Raw:
    """Return the Secret with a token that deletes the environment's folder and no other."""
    data = {deployment.STORE_TOKEN_FILE: b64encode(token.encode()).decode()}
    return {**_unowned("v1", "Secret", identity), "type": "Opaque", "data": data}


def purge_job(identity: Identity, settings: Settings) -> Raw:
    """Return the Job; without an owner, because its owner is being deleted."""
    job = _unowned("batch/v1", "Job", identity)
    pod: Raw = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security(),
        "containers": [_container(identity, settings)],
        "volumes": [secret_volume("link", purge_name(identity)), empty_dir(TMP, TMP_SIZE)],
    }
    if settings.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": it} for it in sorted(set(settings.image_pull_secrets))]
    job["spec"] = {
        "backoffLimit": 3,
        "activeDeadlineSeconds": DEADLINE_S,
        "ttlSecondsAfterFinished": DEADLINE_S,
        "template": {"metadata": {"labels": job["metadata"]["labels"]}, "spec": pod},
    }
    return job


def _container(identity: Identity, settings: Settings) -> Raw:
    values = {
        deployment.ENV_STORE: settings.store,
        deployment.ENV_ENVIRONMENT_UID: identity.uid,
        "HOME": "/tmp",  # noqa: S108  # the container's own emptyDir
    }
    return {
        "name": "purge",
        "image": settings.agent_image,
        "command": ["python", "-c", _PURGE],
        "env": variables(values),
        "resources": {
            "requests": {"cpu": "50m", "memory": "64Mi"},
            "limits": {"memory": "256Mi"},
        },
        "securityContext": container_security(deployment.AGENT_UID),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            mount("link", deployment.LINK_DIR, read_only=True),
            mount(TMP, "/tmp"),  # noqa: S108  # the container's own emptyDir
        ],
    }


def _unowned(api_version: str, kind: str, identity: Identity) -> Raw:
    # The builder's labels, so that the builder's policy lets it reach the gateway.
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {
            "name": purge_name(identity),
            "namespace": identity.namespace,
            "labels": names.child_labels(identity.name, "builder"),
        },
    }
