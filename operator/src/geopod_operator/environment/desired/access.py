"""Accounts, rights and the link Secret of an environment."""

from __future__ import annotations

from base64 import b64encode

from geopod.api import deployment, names

from geopod_operator.environment.access import Tokens
from geopod_operator.environment.desired.common import child
from geopod_operator.environment.observed import Raw
from geopod_operator.environment.resolved import Identity

RBAC = "rbac.authorization.k8s.io"


def link_secret(identity: Identity, minted: Tokens) -> Raw:
    """Return the Secret with the environment's keys and tokens.

    The coordinator mounts the two keys, agents the link key and the two tokens.
    """
    manifest = child(
        "v1",
        "Secret",
        names.link_name(identity.name),
        identity=identity,
        component="coordinator",
    )
    files = {
        deployment.ENVIRONMENT_KEY_FILE: minted.environment_key,
        deployment.LINK_KEY_FILE: minted.link_key,
        deployment.STORE_TOKEN_FILE: minted.store,
        deployment.SHARED_TOKEN_FILE: minted.shared,
    }
    manifest["type"] = "Opaque"
    manifest["data"] = {name: b64encode(text.encode()).decode() for name, text in files.items()}
    return manifest


def node_account(identity: Identity) -> Raw:
    """Return the nodes' ServiceAccount: no rights, and its token is never mounted."""
    manifest = child(
        "v1",
        "ServiceAccount",
        names.node_name(identity.name),
        identity=identity,
        component="node",
    )
    manifest["automountServiceAccountToken"] = False
    return manifest


def coordinator_rights(identity: Identity) -> tuple[Raw, Raw, Raw]:
    """Return the coordinator's ServiceAccount, Role and RoleBinding. Source: design, §10."""
    name = names.coordinator_name(identity.name)
    account, role, binding = (
        child(api_version, kind, name, identity=identity, component="coordinator")
        for api_version, kind in (
            ("v1", "ServiceAccount"),
            (f"{RBAC}/v1", "Role"),
            (f"{RBAC}/v1", "RoleBinding"),
        )
    )
    only = [identity.name]
    role["rules"] = [
        _rule(["computeruns", "layers"], ["get", "list", "watch"]),
        _rule(["computeruns/status", "layers/status"], ["patch"]),
        # A name in a rule lets `list` and `watch` pass with a field selector of that name.
        _rule(["computeenvironments"], ["get", "list", "watch"], only=only),
        _rule(["computeenvironments/status"], ["get", "patch"], only=only),
        _rule(["events"], ["create", "patch"], group=""),
        _rule(["events"], ["create", "patch"], group="events.k8s.io"),
    ]
    binding["roleRef"] = {"apiGroup": RBAC, "kind": "Role", "name": name}
    binding["subjects"] = [
        {"kind": "ServiceAccount", "name": name, "namespace": identity.namespace}
    ]
    return account, role, binding


def _rule(
    resources: list[str],
    verbs: list[str],
    *,
    group: str = names.GROUP,
    only: list[str] | None = None,
) -> Raw:
    rule: Raw = {"apiGroups": [group], "resources": resources, "verbs": verbs}
    return {**rule, "resourceNames": only} if only else rule
