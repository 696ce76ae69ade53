"""What coordinator and agents need to read the layers: credentials and volumes, read-only."""

from __future__ import annotations

import json
from typing import NamedTuple

from geopod.api import deployment

from geopod_operator.environment.desired.common import mount, secret_volume
from geopod_operator.environment.observed import Raw
from geopod_operator.environment.resolved import Resolved


class LayerAccess(NamedTuple):
    """Volumes of the pod, mounts and variables of the one container that may read layers."""

    volumes: list[Raw]
    mounts: list[Raw]
    variables: dict[str, str]


def layer_access(resolved: Resolved) -> LayerAccess:
    """Return what one container needs to read the layers; user code gets none of it."""
    volumes: list[Raw] = []
    mounts: list[Raw] = []
    for number, secret in enumerate(sorted(set(resolved.layer_secrets.values()))):
        name = f"layer-secret-{number}"
        volumes.append(secret_volume(name, secret))
        path = f"{deployment.LAYER_SECRETS_DIR}/{secret}"
        mounts.append(mount(name, path, read_only=True))
    for number, claim in enumerate(resolved.volume_claims):
        name = f"layer-volume-{number}"
        # readOnly on the mount alone: on the claim it would fail for volumes attached read-write.
        volumes.append({"name": name, "persistentVolumeClaim": {"claimName": claim}})
        mounts.append(mount(name, f"{deployment.VOLUMES_DIR}/{claim}", read_only=True))
    said = json.dumps(resolved.layer_secrets, sort_keys=True)
    return LayerAccess(volumes, mounts, {deployment.ENV_SECRETS: said})
