"""What each process of an environment is told: settings files, command lines, variables."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from geopod.agent.settings import AgentSettings
from geopod.agent.settings import read_settings as read_agents
from geopod.agent.settings import write_settings as write_agents
from geopod.api import deployment
from geopod.backends.local.catalogue import Catalogue, file_sources
from geopod.backends.local.imports import (
    Drivers,
    agent_modules,
    find_drivers,
    load,
    runner_modules,
)
from geopod.backends.local.interpreters import own_interpreter
from geopod.backends.local.packages import node_python
from geopod.backends.local.presence import AGENTS_SOCKET, CONTROL_SOCKET
from geopod.backends.local.state import StateFolder, StoredEnvironment
from geopod.coordinator.settings import CoordinatorSettings
from geopod.coordinator.settings import write_settings as write_coordinator

RUNNER_FILE = "geopod.runner.pyz"
"""Its name is what people see in a list of processes."""
DEFAULT_MEMORY_BYTES = 4 << 30
"""A node's memory when the spec names none: the default of a cluster's runtime."""
MEMORY_SHARE = 0.8
"""No node may take more of this machine's memory than this share of it."""
RECOVERY_WAIT_S = 5.0
"""Agents of one machine dial a coordinator's socket again within milliseconds."""
GDAL_CACHE_MIB = 64
_UNITS = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40, "k": 10**3, "M": 10**6}
_UNITS |= {"G": 10**9, "T": 10**12}


class Orders:
    """The files that one environment's processes read at their start."""

    def __init__(self, folder: StateFolder, sockets: Path, *, link_key: str) -> None:
        self._folder = folder
        self._sockets = sockets
        self._link_key = link_key
        self._drivers: Drivers = frozenset()
        self._agents = Path()
        self._coordinator = Path()
        self.runner = Path()
        """The runner's zipapp."""

    def write(self, record: StoredEnvironment) -> None:
        """Write all of them for a record; the coordinator reads its own again on Configure."""
        home = self._folder.environment(record.name)
        planning = planning_request(self._folder, record)
        self._drivers = find_drivers(planning.get("layers", ()))
        fsync = os.environ.get("GEOPOD_FSYNC") == "1"
        self._coordinator = home / "coordinator.json"
        write_coordinator(
            self._coordinator,
            CoordinatorSettings(
                environment_uid=record.uid,
                name=record.name,
                nodes=record.spec.get("nodes", 1),
                python=record.interpreter,
                store=str(self._folder.store),
                link_key=self._link_key,
                control_socket=str(self._sockets / CONTROL_SOCKET),
                agent_socket=str(self._sockets / AGENTS_SOCKET),
                planning=planning,
                refreshed=str(record.replanned or ""),
                max_concurrent_runs=record.spec.get("maxConcurrentRuns", 8),
                max_queued_runs=record.spec.get("maxQueuedRuns", 1000),
                suspended=record.spec.get("suspend", False),
                fsync=fsync,
                recovery_wait_s=RECOVERY_WAIT_S,
            ),
        )
        self._agents = home / "agents.json"
        write_agents(
            self._agents,
            AgentSettings(
                environment_uid=record.uid,
                link_key=self._link_key,
                coordinator=f"unix:{self._sockets / AGENTS_SOCKET}",
                store=str(self._folder.store),
                scratch=str(home / "scratch"),
                sockets=str(self._sockets),
                memory_bytes=memory_limit(record.spec),
                fsync=fsync,
            ),
        )
        self.runner = home / RUNNER_FILE

    def coordinator_command(self) -> list[str]:
        """Return the coordinator's command line."""
        python = own_interpreter().executable
        return [python, "-P", "-m", "geopod.coordinator", "--settings", str(self._coordinator)]

    def runner_command(self, record: StoredEnvironment, nodes: range) -> list[str]:
        """Return the command line of a runner for these nodes; writes its zipapp first."""
        from geopod.agent.unpack import write_runner  # after the coordinator's start

        write_runner(self.runner)
        sockets = [str(self._sockets / str(node) / "runner.sock") for node in nodes]
        options = [word for path in sockets for word in ("--socket", path)]
        if modules := runner_modules(self._drivers):
            options += ["--preload", ",".join(modules)]
        return [node_python(self._folder, record), str(self.runner), *options]

    def load_agent(self) -> None:
        """Import what agents need, once for all of them; later calls cost nothing."""
        load(agent_modules(self._drivers))

    def be_agent(self, node: int) -> None:
        """Be the agent of one node until it ends."""
        import setproctitle  # supervisors and agents only

        from geopod.agent.node import main  # loaded by load_agent

        setproctitle.setproctitle(f"geopod.agent --node {node}")
        os.environ.setdefault("GDAL_CACHEMAX", str(GDAL_CACHE_MIB))
        os.environ.setdefault("GDAL_DISABLE_READDIR_ON_OPEN", "EMPTY_DIR")
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
        main(read_agents(self._agents, node=node))


def planning_request(folder: StateFolder, record: StoredEnvironment) -> dict[str, Any]:
    """Return what the coordinator's planning reads; `{}` without layers and files."""
    layers = record.spec.get("layers", ())
    files = record.spec.get("files", ())
    if not layers and not files:
        return {}
    return {
        "layers": Catalogue(folder).sources(layers, record.sources),
        "files": file_sources(folder, files),
        "options": record.spec.get("partitioning", {}),
        "memoryBytes": memory_limit(record.spec),
    }


def runner_environment(record: StoredEnvironment) -> dict[str, str]:
    """Return the variables of the process that runs users' functions: the client's and its own.

    Another interpreter than the client's must not look for modules where the client's do.
    """
    variables = dict(os.environ)
    variables.pop(deployment.ENV_OWN_SECRETS, None)  # keys are for what opens layers
    if record.requirements_key or record.python != own_interpreter().executable:
        for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
            variables.pop(name, None)
    threads = str(thread_limit(record.spec))
    for name in ("OMP", "OPENBLAS", "MKL", "GDAL"):
        variables.setdefault(f"{name}_NUM_THREADS", threads)
    variables.setdefault("NUMEXPR_MAX_THREADS", threads)
    variables |= {"PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"}
    declared = {entry["name"]: entry.get("value", "") for entry in record.spec.get("env", ())}
    return variables | declared


def thread_limit(spec: dict[str, Any]) -> int:
    """Return how many threads a node's libraries may start: its CPUs, else its share of them."""
    asked = (spec.get("resources") or {}).get("cpu")
    if asked is not None:
        text = str(asked)
        cpus = float(text[:-1]) / 1000 if text.endswith("m") else float(text)
        return max(1, int(cpus))
    return max(1, (os.cpu_count() or 1) // max(1, int(spec.get("nodes", 1))))


def memory_limit(spec: dict[str, Any]) -> int:
    """Return a node's memory in bytes: as the spec says, else 4 GiB or what the machine has."""
    asked = (spec.get("resources") or {}).get("memory")
    if asked is not None:
        return quantity(str(asked))
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(DEFAULT_MEMORY_BYTES, int(machine * MEMORY_SHARE))


def quantity(text: str) -> int:
    """Return the bytes of a Kubernetes quantity: `512Mi`, `4Gi`, `1000000`."""
    for unit, factor in _UNITS.items():
        if text.endswith(unit):
            return int(float(text.removesuffix(unit)) * factor)
    return int(float(text))
