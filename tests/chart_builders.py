"""Renders the chart as Helm does, and looks at what comes out."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml
from cluster.testcluster import binaries
from cluster.testcluster.errors import ClusterError
from cluster.testcluster.places import cache_folder

CHART = Path(__file__).parents[1] / "helm" / "geopod"
EVERYTHING_ON = CHART / "ci" / "everything-on.yaml"
MONITORING = "monitoring.coreos.com/v1"

Raw = dict[str, Any]


def find_helm() -> str | None:
    """The test cluster's Helm if it was built, else one on PATH."""
    try:
        built = cache_folder() / "bin" / binaries.key("helm") / "helm"
    except ClusterError:  # no Go, hence none was built
        return shutil.which("helm")
    return str(built) if built.exists() else shutil.which("helm")


class HelmError(Exception):
    """Helm refused; the text is what it said."""


def helm(*arguments: str, stdin: str = "", timeout_s: float = 180) -> str:
    """What a Helm command prints."""
    command = find_helm()
    assert command is not None
    done = subprocess.run(
        [command, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    if done.returncode != 0:
        raise HelmError(done.stderr.strip())
    return done.stdout


def render(
    values: Raw | None = None,
    *files: Path,
    namespace: str = "geopod-system",
    apis: str = MONITORING,
) -> list[Raw]:
    """All objects of the chart; `values` win over `files`."""
    chosen = [f"--values={path}" for path in files]
    where = ["template", "geopod", str(CHART), f"--namespace={namespace}", f"--api-versions={apis}"]
    text = helm(*where, *chosen, "--values=-", stdin=json.dumps(values or {}))
    return [it for it in yaml.load_all(text, Loader=yaml.CSafeLoader) if it]


def only(objects: list[Raw], kind: str, name: str) -> Raw:
    """The one object of a kind with a name."""
    (found,) = [it for it in objects if it["kind"] == kind and it["metadata"]["name"] == name]
    return found


def kinds(objects: list[Raw]) -> set[str]:
    return {it["kind"] for it in objects}


def pod_specs(objects: list[Raw]) -> dict[str, Raw]:
    """Kind/name → pod spec of everything that runs."""
    specs = {}
    for it in objects:
        if it["kind"] == "Pod":
            specs[f"Pod/{it['metadata']['name']}"] = it["spec"]
        elif "template" in it.get("spec", {}):
            specs[f"{it['kind']}/{it['metadata']['name']}"] = it["spec"]["template"]["spec"]
    return specs


def environment_of(deployment: Raw) -> dict[str, str]:
    """Variables of the only container of a Deployment."""
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return {it["name"]: it.get("value", "") for it in container["env"]}


def rights(rules: list[Raw]) -> set[tuple[str, str, str]]:
    """(group, resource, verb) of rules, resource names aside."""
    return {
        (group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def leaves(tree: Raw, above: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    """Path and value of every value; lists and empty maps are values."""
    found = []
    for name, value in tree.items():
        path = (*above, name)
        if isinstance(value, dict) and value:
            found += leaves(value, path)
        else:
            found.append((path, value))
    return found


def at(tree: Raw, path: tuple[str, ...]) -> Any:
    for name in path:
        tree = tree[name]
    return tree
