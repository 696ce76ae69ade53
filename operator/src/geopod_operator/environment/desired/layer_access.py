"""What coordinator and agents need of the layers: credentials and volumes.

They are read-only, but for volumes that results go to, in the coordinator alone.
"""

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


def layer_access(resolved: Resolved, *, writes: bool = False) -> LayerAccess:
    """Return what one container needs to read the layers; user code gets none of it.

    `writes`: it makes results files of layers that say `writeTo` on their volume.
    """
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
        read_only = not (writes and claim in resolved.written_claims)
        mounts.append(mount(name, f"{deployment.VOLUMES_DIR}/{claim}", read_only=read_only))
    said = json.dumps(resolved.layer_secrets, sort_keys=True)
    return LayerAccess(volumes, mounts, {deployment.ENV_SECRETS: said})
