"""Pod overrides: an environment's template merged over its runtime's; what none may set.

Strategic as Kubernetes merges: objects key by key, lists by the key of their items, `affinity` in
depth. Tolerations add up, so that an environment never loses the administrator's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from geopod.api.pod import PodTemplate, Volume

from geopod_operator.environment.observed import Raw

LIST_KEYS = {
    "imagePullSecrets": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "topologySpreadConstraints": "topologyKey",
}
VOLUME_SOURCES = frozenset({
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim",
    "secret",
})  # fmt: skip  # a set of words reads best in lines
"""No hostPath; no projected volume, which could carry a service-account token."""
CONFINEMENT = "container.apparmor.security.beta.kubernetes.io/"
"""Annotations that take a container out of its AppArmor profile. Kubernetes still obeys them."""
OWN_VOLUMES = ("layer-", "user-secret-")
"""How geopod's numbered volumes begin."""


def merge_templates(runtime: PodTemplate | None, environment: PodTemplate | None) -> Raw:
    """Return one pod template as JSON; the environment's values win."""
    merged: Raw = {}
    for template in (runtime, environment):
        if template is None:
            continue
        for key, value in template.to_wire().items():
            merged[key] = _merged(key, merged.get(key), value)
    return merged


def _merged(key: str, old: Any, new: Any) -> Any:
    if old is None:
        return new
    if key == "tolerations":
        return [*old, *(item for item in new if item not in old)]
    if key in LIST_KEYS:
        name = LIST_KEYS[key]
        by_key = {item[name]: item for item in old} | {item[name]: item for item in new}
        return list(by_key.values())
    if isinstance(old, dict) and isinstance(new, dict):
        return {**old, **{name: _merged("", old.get(name), value) for name, value in new.items()}}
    return new


def unsafe_volumes(template: PodTemplate) -> Iterator[str]:
    """Yield why volumes of a template are refused."""
    for volume in template.volumes:
        sources = set((volume.model_extra or {}).keys()) | (
            {"hostPath"} if volume.host_path is not None else set()
        )
        for source in sorted(sources - VOLUME_SOURCES):
            allowed = ", ".join(sorted(VOLUME_SOURCES))
            yield f"volume {volume.name} is a {source}; allowed: {allowed}"
        if volume.name.startswith(OWN_VOLUMES):
            yield f"volume {volume.name} begins like geopod's own; rename it"


def secrets_of_volume(volume: Volume) -> Iterator[str]:
    """Yield the Secrets that a volume shows to user code."""
    extra = volume.model_extra or {}
    secret = extra.get("secret")
    if isinstance(secret, dict) and secret.get("secretName"):
        yield str(secret["secretName"])
    csi = extra.get("csi")
    if isinstance(csi, dict) and isinstance(csi.get("nodePublishSecretRef"), dict):
        yield str(csi["nodePublishSecretRef"].get("name", ""))
