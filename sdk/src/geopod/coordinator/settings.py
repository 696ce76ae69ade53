"""What a coordinator process is told at its start: one JSON file, re-read on Configure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from geopod.coordinator.plans import PlanFailed


class CoordinatorSettings(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One environment's coordinator: who it serves, where it listens, where its bytes lie."""

    environment_uid: str
    name: str
    nodes: int
    """`spec.nodes`: how many agents are expected and how many partitions are cut."""
    python: str
    """Minor version of the nodes' interpreter, `3.12`."""
    store: str
    """Root folder of the store."""
    link_key: str
    """Hex; agents prove that they hold it."""
    control_socket: str = ""
    """Unix socket for local clients; empty: none."""
    agent_socket: str = ""
    """Unix socket that agents of this machine dial; empty: none."""
    agent_host: str = "127.0.0.1"
    agent_port: int | None = None
    """TCP port for agents; None: none. 0: any free one, named in the log."""
    planning: dict[str, Any] = {}
    """`geopod.coordinator.planning.PlanRequest` as JSON, without `nodes`; no layers: `{}`."""
    refreshed: str = ""
    """Names the last time that the layers were asked to be planned anew; empty: never."""
    unplannable: PlanFailed | None = None
    """Why planning cannot even begin: a layer that is in no catalogue."""
    state_file: str = ""
    """Where the environment's state is kept for readers without a socket; empty: nowhere."""
    max_concurrent_runs: int = 8
    max_queued_runs: int = 1000
    min_ready_nodes: int = 1
    suspended: bool = False
    """`spec.suspend`: nodes finish what they run and get no more."""
    fsync: bool = False
    """Whether results reach the disk before they count (`GEOPOD_FSYNC=1`)."""
    lost_after_s: float = 30.0
    """Silence after which a connected node is lost."""
    redial_grace_s: float = 2.0
    """How long a node whose socket closed may take to dial again before it is lost.

    Short on one machine, where a closed socket means a dead process; 30 s across machines.
    """
    recovery_wait_s: float = 20.0
    """After a start with unfinished runs: how long agents may take to say what they still hold."""

    def limits_over(self, kept: CoordinatorSettings) -> CoordinatorSettings:
        """Return `kept` with what may change here while nodes and plan stay as they are."""
        return msgspec.structs.replace(
            kept,
            python=self.python,
            max_concurrent_runs=self.max_concurrent_runs,
            max_queued_runs=self.max_queued_runs,
            min_ready_nodes=self.min_ready_nodes,
            suspended=self.suspended,
        )


def read_settings(path: Path) -> CoordinatorSettings:
    """Return the settings in a JSON file; raises `msgspec.ValidationError` naming the field."""
    return msgspec.json.decode(path.read_bytes(), type=CoordinatorSettings)


def write_settings(path: Path, settings: CoordinatorSettings) -> None:
    """Write settings where `read_settings` finds them whole: a new file, then a rename."""
    part = path.with_suffix(".part")
    part.touch(mode=0o600)  # the link key is in it
    part.write_bytes(msgspec.json.encode(settings))
    part.replace(path)
