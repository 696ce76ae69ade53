"""Runs kubectl against a cluster and returns what it says, for tests."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TIMEOUT_S = 120


class KubectlError(Exception):
    """kubectl refused or failed; the text is what it wrote to standard error."""


@dataclass(frozen=True, slots=True)
class Kubectl:
    """A kubectl with its kubeconfig and a namespace."""

    command: str
    kubeconfig: Path
    namespace: str = "default"

    def within(self, namespace: str) -> Kubectl:
        """The same cluster, another namespace."""
        return Kubectl(self.command, self.kubeconfig, namespace)

    def __call__(self, *arguments: str, stdin: str = "", timeout_s: float = TIMEOUT_S) -> str:
        """Standard output of a command.

        Raises:
            KubectlError: kubectl ended with another status than 0.
        """
        done = subprocess.run(
            [self.command, f"--namespace={self.namespace}", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig)},
            check=False,
        )
        if done.returncode != 0:
            raise KubectlError(done.stderr.strip())
        return done.stdout

    def apply(self, *objects: dict[str, Any]) -> None:
        """Create objects or make them what is given."""
        content = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        self("apply", "--server-side", "-f", "-", stdin=content)

    def get(self, *arguments: str) -> dict[str, Any]:
        """One object or a list."""
        found: dict[str, Any] = json.loads(self("get", *arguments, "--output=json"))
        return found

    def wait(self, target: str, condition: str, *, timeout_s: int = 180) -> None:
        """Watch `target` until `condition` holds, as `kubectl wait --for` reads it."""
        self(
            "wait",
            target,
            f"--for={condition}",
            f"--timeout={timeout_s}s",
            timeout_s=timeout_s + 10,
        )
