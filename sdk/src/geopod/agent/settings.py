"""What an agent process is told at its start: one JSON file for all nodes of an environment."""

from __future__ import annotations

from pathlib import Path

import msgspec


class AgentSettings(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One environment's agents; `node` says which of them a process is."""

    environment_uid: str
    node: int = 0
    """Index of this node, 0-based; `--node` overrides it."""
    instance: str = ""
    """The pod's uid; empty: a new one per process, so that a restarted agent is a new instance."""
    link_key: str
    """Hex; proves to the coordinator that this agent is a member."""
    coordinator: str
    """`unix:/path/agents.sock`, or `ws://host:7420/v1`."""
    store: str
    """Root folder of the store."""
    scratch: str
    """Folder of all nodes' scratch; node k uses `<scratch>/<k>`. Same file system as the store:
    large results are moved, not copied."""
    sockets: str
    """Folder of all nodes' runner sockets; node k listens on `<sockets>/<k>/runner.sock`.

    A Unix socket's path holds at most 107 bytes: keep this folder's name short.
    """
    memory_bytes: int | None = None
    """The runner's memory limit; None: only the machine's."""
    fsync: bool = False
    template_hash: str = ""
    """Of the pod template that the node was made from; empty: it is no pod."""
    runner_uid: int | None = None
    """User that the runner runs as; None: the agent's own. Nobody else may dial its socket."""
    own_scratch: str = ""
    """This node's scratch where it is not `<scratch>/<node>`."""
    own_socket: str = ""
    """This node's runner socket where it is not below `sockets`."""

    @property
    def scratch_dir(self) -> Path:
        """This node's scratch: staged partitions, and the folders of running tasks."""
        if self.own_scratch:
            return Path(self.own_scratch)
        return Path(self.scratch) / str(self.node)

    @property
    def runner_socket(self) -> Path:
        """Where this node's agent listens for its runner's template."""
        if self.own_socket:
            return Path(self.own_socket)
        return Path(self.sockets) / str(self.node) / "runner.sock"


def read_settings(path: Path, *, node: int | None = None) -> AgentSettings:
    """Return the settings in a JSON file, for `node` if given; raises `msgspec.ValidationError`."""
    settings = msgspec.json.decode(path.read_bytes(), type=AgentSettings)
    return settings if node is None else msgspec.structs.replace(settings, node=node)


def write_settings(path: Path, settings: AgentSettings) -> None:
    """Write settings where `read_settings` finds them whole: a new file, then a rename."""
    part = path.with_suffix(".part")
    part.touch(mode=0o600)  # the link key is in it
    part.write_bytes(msgspec.json.encode(settings))
    part.replace(path)
