"""What a cluster is asked to be, as it is written to disk and read by its process 1."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Spec:
    """One cluster. `cluster-up` again with more nodes changes the running one."""

    name: str
    slot: int
    kubernetes: str
    """Minor version, "1.37"."""
    binaries: dict[str, str]
    """Group → folder of its built commands."""
    nodes: int = 1
    simulated: int = 0
    gpus: int = 0
    """Of `nvidia.com/gpu`, offered by the first node."""
    fast_failure: bool = False
    """A lost node is noticed within 5 s instead of 50 s; a busy machine may lose nodes by it."""
    fast_controllers: bool = False
    """Controllers may send 400 requests/s instead of 20."""

    def binary(self, group: str, name: str) -> str:
        """Path of one built command."""
        return f"{self.binaries[group]}/{name}"

    @property
    def kubernetes_group(self) -> str:
        return f"kubernetes-{self.kubernetes}"


def write_spec(path: Path, spec: Spec) -> None:
    """Replace the file in one step, because process 1 may be reading it."""
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(asdict(spec), indent=1), "utf-8")
    draft.replace(path)


def read_spec(path: Path) -> Spec:
    """Read what `write_spec` wrote.

    Raises:
        FileNotFoundError: there is no such cluster.
    """
    return Spec(**json.loads(path.read_text("utf-8")))
