"""What the operator has seen, as plain dicts: filled by watches and lists, read by plans.

Pure: no I/O. An older version of an object never replaces a newer one, whoever brings it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

Raw = dict[str, Any]
Key = tuple[str, str]
"""Namespace and name."""
WorkKey = tuple[str, str, str]
"""Kind, namespace and name of what has a plan: ComputeEnvironment, Layer, ComputeRuntime."""
Ref = tuple[str, str]
"""Kind and name."""

ENVIRONMENT, RUN, LAYER, RUNTIME = "ComputeEnvironment", "ComputeRun", "Layer", "ComputeRuntime"
OWN = frozenset({ENVIRONMENT, RUN, LAYER, RUNTIME})
INSTANCE, COMPONENT = "app.kubernetes.io/instance", "app.kubernetes.io/component"
DEPENDENCIES_READY = "DependenciesReady"
WHOLE = OWN | {"StatefulSet", "ConfigMap"}
"""Plans read these from end to end: specs, a template that is applied again, records of builds."""
COUNTED = frozenset({"Deployment", "Job"})
"""Of these they read how far they are, of every other child only whose it is."""
APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
"""The whole spec once more, as `kubectl apply` leaves it."""


def key_of(found: Raw) -> Key:
    """Return namespace and name of an object."""
    return found["metadata"].get("namespace", ""), found["metadata"]["name"]


def ref_of(found: Raw) -> Ref:
    """Return kind and name of an object."""
    return found["kind"], found["metadata"]["name"]


def component_of(found: Raw) -> str:
    """Return which part of geopod a child object is: node, coordinator, builder."""
    labels: dict[str, str] = found["metadata"].get("labels") or {}
    return labels.get(COMPONENT, "")


def _instance_of(found: Raw) -> str:
    labels: dict[str, str] = found["metadata"].get("labels") or {}
    return labels.get(INSTANCE, "")


def _version(found: Raw) -> int:
    """Versions of one kind can be compared as numbers (Kubernetes KEP-5504)."""
    text = found["metadata"].get("resourceVersion", "")
    return int(text) if text.isdigit() else 0


def _is_successor(held: Raw | None, gone: Raw) -> bool:
    """Whether what is held is a later object of the same name."""
    if held is None or held["metadata"].get("uid") == gone["metadata"].get("uid"):
        return False
    return _version(held) > _version(gone)


def kept(found: Raw) -> Raw:
    """Return of an object what plans read of it; the rest is most of its size."""
    metadata = {name: it for name, it in found["metadata"].items() if name != "managedFields"}
    if APPLIED in (annotations := metadata.get("annotations") or {}):
        metadata["annotations"] = {name: it for name, it in annotations.items() if name != APPLIED}
    if found["kind"] in WHOLE:
        return {**found, "metadata": metadata}
    parts = ("apiVersion", "kind", "status") if found["kind"] in COUNTED else ("apiVersion", "kind")
    slim = {part: found[part] for part in parts if part in found} | {"metadata": metadata}
    if found["kind"] in COUNTED:
        slim["spec"] = {"replicas": (found.get("spec") or {}).get("replicas", 1)}
    return slim


class Stores:
    """All objects that plans need, by kind."""

    def __init__(self) -> None:
        """Start empty."""
        self._objects: dict[str, dict[Key, Raw]] = {kind: {} for kind in OWN}
        self._runs: dict[Key, dict[str, Raw]] = {}
        self._children: dict[str, dict[Ref, Raw | None]] = {}

    # ---- reading

    def environment(self, key: Key) -> Raw | None:
        """Return one ComputeEnvironment."""
        return self._objects[ENVIRONMENT].get(key)

    def is_on_its_way(self, key: Key) -> bool:
        """Whether an environment was begun and is not Ready yet, as its spec is now."""
        found = self.environment(key)
        return found is not None and bool(found.get("status")) and not _has(found, "Ready")

    def environments(self) -> Mapping[Key, Raw]:
        """Return all ComputeEnvironments."""
        return MappingProxyType(self._objects[ENVIRONMENT])

    def runs(self, key: Key) -> tuple[Raw, ...]:
        """Return the new and the finished runs of one environment, in the order of names."""
        return tuple(run for _, run in sorted(self._runs.get(key, {}).items()))

    def keys_of_runs(self) -> list[Key]:
        """Return every environment that runs name, also those that do not exist."""
        return [key for key, runs in self._runs.items() if runs]

    def layer(self, key: Key) -> Raw | None:
        """Return one Layer."""
        return self._objects[LAYER].get(key)

    def layers(self, namespace: str) -> tuple[Raw, ...]:
        """Return the Layers of a namespace, in the order of names."""
        found = self._objects[LAYER]
        return tuple(found[key] for key in sorted(found) if key[0] == namespace)

    def runtimes(self) -> dict[str, Raw]:
        """Return all ComputeRuntimes by name."""
        return {key[1]: found for key, found in sorted(self._objects[RUNTIME].items())}

    def children(self, namespace: str) -> Mapping[Ref, Raw | None]:
        """Return child objects of a namespace; None: looked for and absent."""
        return MappingProxyType(self._children.get(namespace, {}))

    def namespaces_of_children(self) -> list[str]:
        """Return the namespaces in which geopod made something."""
        return sorted(self._children)

    def held(self, like: Raw) -> Raw | None:
        """Return what is held of an object, however old."""
        if like["kind"] in OWN:
            return self._objects[like["kind"]].get(key_of(like))
        return self._children.get(key_of(like)[0], {}).get(ref_of(like))

    # ---- writing

    def put(self, found: Raw) -> bool:
        """Keep an object unless a newer one is here; return whether it is news."""
        namespace, _ = key = key_of(found)
        kind = found["kind"]
        held = self.held(found)
        if held is not None and _version(held) >= _version(found):
            return False
        slim = kept(found)
        if kind not in OWN:
            self._children.setdefault(namespace, {})[ref_of(found)] = slim
            return True
        self._objects[kind][key] = slim
        if kind == RUN:
            self._runs.setdefault((namespace, found["spec"]["environment"]), {})[key[1]] = slim
        return True

    def drop(self, found: Raw) -> None:
        """Forget an object that is gone (or left the filter of its watch)."""
        namespace, name = key = key_of(found)
        kind = found["kind"]
        if _is_successor(self.held(found), found):
            return
        if kind not in OWN:
            self._children.get(namespace, {}).pop(ref_of(found), None)
            return
        self._objects[kind].pop(key, None)
        if kind == RUN:
            owner = (namespace, found["spec"]["environment"])
            runs = self._runs.get(owner, {})
            runs.pop(name, None)
            if not runs:
                self._runs.pop(owner, None)

    def put_absent(self, namespace: str, ref: Ref) -> None:
        """Remember that a child was looked for and is not there."""
        self._children.setdefault(namespace, {})[ref] = None

    def forget_children(self, namespace: str, refs: Iterable[Ref]) -> None:
        """Forget children, so that they are looked for again."""
        held = self._children.get(namespace, {})
        for ref in refs:
            held.pop(ref, None)

    def forget_children_of(self, key: Key) -> None:
        """Forget the children of one environment: nobody tells when Secrets are gone."""
        namespace, name = key
        held = self._children.get(namespace, {})
        gone = [ref for ref, it in held.items() if it is None or _instance_of(it) == name]
        self.forget_children(namespace, gone)

    def sweep(
        self, kind: str, namespaces: Iterable[str], items: Iterable[Raw], *, version: str
    ) -> set[WorkKey]:
        """Take a whole list; return whose plans its news concern.

        What is here, older than the list and not in it, is gone: a watch that broke may have
        missed the deletion. `namespaces` empty: the list is of all.
        """
        listed = {key_of(item): item for item in items}
        where = set(namespaces)
        limit = int(version) if version.isdigit() else 0
        concerned: set[WorkKey] = set()
        for held in self._held(kind):
            namespace = held["metadata"].get("namespace", "")
            is_covered = not where or not namespace or namespace in where
            if is_covered and key_of(held) not in listed and _version(held) <= limit:
                concerned |= self.concerned(held)
                self.drop(held)
        for item in listed.values():
            if self.put(item):
                concerned |= self.concerned(item)
        return concerned

    def _held(self, kind: str) -> list[Raw]:
        if kind in OWN:
            return list(self._objects[kind].values())
        return [
            held
            for children in self._children.values()
            for held in children.values()
            if held is not None and held["kind"] == kind
        ]

    # ---- who is concerned

    def concerned(self, found: Raw) -> set[WorkKey]:
        """Return whose plan may change with this object."""
        namespace, name = key_of(found)
        match found["kind"]:
            case "ComputeEnvironment":
                return {(ENVIRONMENT, namespace, name)}
            case "ComputeRun":
                return {(ENVIRONMENT, namespace, found["spec"]["environment"])}
            case "Layer":
                users = self._that(namespace, lambda spec: _names_layer(spec, name))
                return users | {(LAYER, namespace, name)}
            case "ComputeRuntime":
                users = self._that("", lambda spec: spec.get("runtime", "default") == name)
                return users | {(RUNTIME, "", name)}
            case "Job" | "ConfigMap":  # a build, the record of one
                return self._waiting_for_dependencies(namespace) | self._users(found)
            case _:
                key = (namespace, _instance_of(found))
                return {(ENVIRONMENT, *key)} if key in self._objects[ENVIRONMENT] else set()

    def _that(self, namespace: str, matches: Callable[[Raw], bool]) -> set[WorkKey]:
        return {
            (ENVIRONMENT, *key)
            for key, found in self._objects[ENVIRONMENT].items()
            if (not namespace or key[0] == namespace) and matches(found["spec"])
        }

    def _users(self, record: Raw) -> set[WorkKey]:
        """Return the environments whose bundle a record is about."""
        if record["kind"] != "ConfigMap":
            return set()
        namespace, key = key_of(record)[0], _instance_of(record)
        return {
            (ENVIRONMENT, *each)
            for each, found in self._objects[ENVIRONMENT].items()
            if each[0] == namespace and _bundle_of(found)[: len(key)] == key
        }

    def _waiting_for_dependencies(self, namespace: str) -> set[WorkKey]:
        """A build is shared by the namespace: whoever has no dependencies yet may wait for it."""
        return {
            (ENVIRONMENT, *key)
            for key, found in self._objects[ENVIRONMENT].items()
            if key[0] == namespace and not _has(found, DEPENDENCIES_READY)
        }


def _bundle_of(environment: Raw) -> str:
    """Return the key of an environment's bundle; empty: it has none."""
    runtime = (environment.get("status") or {}).get("runtime") or {}
    return str(runtime.get("bundleKey") or "")


def _names_layer(spec: Raw, path_id: str) -> bool:
    return any(layer.get("pathId") == path_id for layer in spec.get("layers") or ())


def _has(found: Raw, condition: str) -> bool:
    """Whether a condition is True for the generation at hand."""
    status = found.get("status") or {}
    return any(
        held["type"] == condition
        and held["status"] == "True"
        and held.get("observedGeneration") == found["metadata"].get("generation")
        for held in status.get("conditions") or ()
    )
