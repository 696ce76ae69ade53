"""What one request to the fake API server asks for, and what it is answered."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import dataclass, field

from aiohttp import web
from geopod.cluster import kinds

BY_PATH = {(kind.api_version, kind.plural): kind for kind in kinds.ALL}


@dataclass(frozen=True)
class Seen:
    """One request, as RBAC would name it."""

    verb: str
    kind: str
    namespace: str
    name: str
    subresource: str
    headers: dict = field(compare=False, default_factory=dict)
    query: dict = field(compare=False, default_factory=dict)


def event_of(kind, seen, entry):
    """One line of a watch, or nothing if the change does not concern it."""
    at, plural, type_, before, found = entry
    if type_ == "BOOKMARK":
        return line("BOOKMARK", {"kind": kind.kind, "metadata": {"resourceVersion": str(at)}})
    if plural != kind.plural:
        return b""
    is_in = matches(found, seen)
    was_in = type_ == "DELETED" or (before is not None and matches(before, seen))
    if not is_in and not (was_in and type_ == "MODIFIED"):
        return b""
    if not is_in:
        type_ = "DELETED"
    elif type_ == "MODIFIED" and not was_in:
        type_ = "ADDED"
    return line(type_, found)


def parse(parts):
    """Kind, namespace, name, subresource of a path."""
    version, rest = (
        (parts[1], parts[2:]) if parts[0] == "api" else ("/".join(parts[1:3]), parts[3:])
    )
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    plural, name, subresource = (*rest, "", "")[:3]
    return BY_PATH[version, plural], namespace, name, subresource


def verb_of(request, name):
    if request.method == "GET":
        if request.query.get("watch") == "true":
            return "watch"
        return "get" if name else "list"
    return {"POST": "create", "PATCH": "patch", "DELETE": "delete"}[request.method]


def discovery(root, *path):
    groups = defaultdict(list)
    for kind in kinds.ALL:
        groups[kind.group].append(kind)
    if root == "api" and not path:
        return {"kind": "APIVersions", "versions": ["v1"]}
    if not path:
        entries = []
        for group in filter(None, groups):
            version = {"groupVersion": f"{group}/v", "version": groups[group][0].version}
            entries.append({"name": group, "versions": [version], "preferredVersion": version})
        return {"kind": "APIGroupList", "groups": entries}
    verbs = ["get", "list", "watch", "patch", "create", "delete"]
    resources = [
        {"name": k.plural, "kind": k.kind, "singularName": k.kind.lower()}
        | {"namespaced": k.namespaced, "verbs": verbs}
        for k in groups["" if root == "api" else path[0]]
    ]
    return {"kind": "APIResourceList", "resources": resources}


def schemas(statuses):
    """An OpenAPI document with these schemas of the statuses of these kinds."""
    told = {"group": "geopod.dev", "version": "v1alpha1"}
    known = {
        kind: {
            "x-kubernetes-group-version-kind": [told | {"kind": kind}],
            "properties": {"status": status},
        }
        for kind, status in statuses.items()
    }
    return {"components": {"schemas": known}}


BETWEEN_LABELS = re.compile(r",(?![^(]*\))")
"""A comma that is not within the parentheses of a set."""


def matches(found, seen):
    meta = found["metadata"]
    if seen.namespace and meta.get("namespace") != seen.namespace:
        return False
    labels = meta.get("labels") or {}
    for wanted in filter(None, BETWEEN_LABELS.split(seen.query.get("labelSelector", ""))):
        name, _, value = wanted.replace(" in ", "=").partition("=")
        if labels.get(name) not in value.strip("()").split(","):
            return False
    return all(
        field_matches(found, wanted)
        for wanted in filter(None, seen.query.get("fieldSelector", "").split(","))
    )


def field_matches(found, wanted):
    path, _, value = wanted.partition("=")
    value_at = found
    for part in path.removesuffix("!").split("."):
        value_at = (value_at or {}).get(part)
    return ((value_at or "") == value) != path.endswith("!")


def content(found):
    """What a no-op apply leaves as it is."""
    meta = {
        k: v for k, v in found["metadata"].items() if k not in ("resourceVersion", "generation")
    }
    return {**found, "metadata": meta}


def answer(found, status=200):
    return web.json_response(found, status=status)


def refusal(status, reason, kind, name, message="refused", headers=None):
    details = {"name": name, "kind": kind.plural}
    body = {"kind": "Status", "code": status, "reason": reason, "message": message}
    return web.json_response({**body, "details": details}, status=status, headers=headers)


def line(type_, found):
    return json.dumps({"type": type_, "object": found}).encode() + b"\n"
