"""Says whether network policies allow a connection, by an analyser: for clusters that enforce none.

A test that asks here evaluates what was applied. On an enforcing cluster it should connect instead,
and the report must say which of the two happened.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import ClusterError


@dataclass(frozen=True, slots=True)
class Peer:
    """One end of a connection: a pod, or an address outside the cluster."""

    address: str
    namespace: str | None = None
    """None: not a pod."""
    labels: dict[str, str] = field(default_factory=dict)
    namespace_labels: dict[str, str] = field(default_factory=dict)

    @property
    def as_traffic(self) -> dict[str, Any]:
        """As cyclonus reads it."""
        if self.namespace is None:
            return {"IP": self.address}
        automatic = {"kubernetes.io/metadata.name": self.namespace}
        inside = {
            "Namespace": self.namespace,
            "NamespaceLabels": {**self.namespace_labels, **automatic},
            "PodLabels": self.labels,
        }
        return {"IP": self.address, "Internal": inside}


@dataclass(frozen=True, slots=True)
class Connection:
    """A question: may `source` open this port of `target`?"""

    source: Peer
    target: Peer
    port: int
    protocol: str = "TCP"

    @property
    def as_traffic(self) -> dict[str, Any]:
        """As cyclonus reads it."""
        return {
            "Source": self.source.as_traffic,
            "Destination": self.target.as_traffic,
            "Protocol": self.protocol,
            "ResolvedPort": self.port,
            "ResolvedPortName": "",
        }


def allowed(
    cyclonus: str, policies: list[dict[str, Any]], connections: list[Connection]
) -> list[bool]:
    """Answer each connection under all policies together.

    Raises:
        ClusterError: the analyser failed or did not answer every question.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "policies"
        folder.mkdir()
        # Of a file with several documents the analyser reads the first alone.
        for number, policy in enumerate(policies):
            (folder / f"{number}.yaml").write_text(json.dumps(policy), "utf-8")
        traffic = Path(name) / "traffic.json"
        traffic.write_text(json.dumps([entry.as_traffic for entry in connections]), "utf-8")
        where = ["--policy-path", str(folder), "--traffic-path", str(traffic)]
        done = subprocess.run(
            [cyclonus, "analyze", "--mode", "query-traffic", *where],
            capture_output=True,
            text=True,
            check=False,
        )
    answers = re.findall(r"IS ALLOWED\?\s*\|\s*(TRUE|FALSE)", done.stdout)
    if done.returncode != 0 or len(answers) != len(connections):
        raise ClusterError(
            f"cyclonus answered {len(answers)} of {len(connections)}: {done.stderr[-99:]}",
            fix="look at the policies: every one needs apiVersion, kind and metadata",
        )
    return [answer == "TRUE" for answer in answers]
