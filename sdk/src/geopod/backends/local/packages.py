"""Packages of an environment's nodes: the client's own, or a set that uv installs once per key."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from geopod.backends.local import processes
from geopod.backends.local.interpreters import Interpreter, find_uv, own_interpreter
from geopod.backends.local.state import StateFolder, StoredEnvironment, write_whole
from geopod.errors import RequirementsBuildError, RequirementsError

BASE_PACKAGES = ("affine", "geopandas", "numpy", "pyarrow", "rasterio")
"""What `params` and users' functions need; installed with every set of requirements."""


@dataclass(frozen=True, slots=True)
class BuildFailure:
    """Why there are no packages: a condition's reason, and the public error."""

    reason: str
    error: RequirementsBuildError


def packages_key(interpreter: Interpreter, requirements: Sequence[str], *, refreshed: int) -> str:
    """Return the name of a set of packages; empty: the packages the interpreter has are taken.

    Only the client's own interpreter is known to have the base packages, so any other one gets a
    set of its own. `refreshed` enters the key: a refresh resolves anew.
    """
    own = own_interpreter()
    if not requirements and interpreter.executable == own.executable:
        return ""
    parts = [
        interpreter.executable,
        ".".join(map(str, interpreter.version)),
        platform.platform(),
        *sorted(_normalized(line) for line in requirements),
        str(refreshed),
    ]
    return sha256("\n".join(parts).encode()).hexdigest()[:20]


def check_requirements(requirements: Sequence[str]) -> None:
    """Raise RequirementsError naming every string that is no requirement."""
    from packaging.requirements import InvalidRequirement, Requirement  # seldom

    wrong: list[tuple[str, str]] = []
    for line in requirements:
        try:
            Requirement(line)
        except InvalidRequirement as error:
            wrong.append((line, _why(line, str(error).splitlines()[0])))
    if wrong:
        raise RequirementsError.invalid(total=len(requirements), wrong=wrong)


def describe_packages(key: str, interpreter: Interpreter, requirements: Sequence[str]) -> str:
    """Return where the nodes' packages come from, in words."""
    if not key:
        return f"those of this client ({interpreter.executable})"
    return f"{', '.join([*BASE_PACKAGES, *requirements])}, installed by uv"


def node_python(folder: StateFolder, record: StoredEnvironment) -> str:
    """Return the executable that runs the nodes' functions."""
    if not record.requirements_key:
        return record.python
    return str(folder.packages / record.requirements_key / "bin" / "python")


def is_installed(folder: StateFolder, record: StoredEnvironment) -> bool:
    """Say whether the packages that a record asks for are there."""
    key = record.requirements_key
    return not key or (folder.packages / key / "bin" / "python").exists()


class Build:
    """The installation of one environment's packages, as a child of its supervisor."""

    def __init__(
        self, folder: StateFolder, record: StoredEnvironment, *, private: Callable[[], list[int]]
    ) -> None:
        self._folder = folder
        self._record = record
        self._private = private
        self._pid: int | None = None
        self._target = (
            folder.packages / record.requirements_key if record.requirements_key else None
        )
        self._failed = False
        home = folder.environment(record.name)
        self._request, self._outcome = home / "build.json", home / "build-outcome.json"
        self._log = home / "build.log"

    @property
    def key(self) -> str:
        """Which packages it is about."""
        return self._record.requirements_key

    @property
    def is_needed(self) -> bool:
        """Packages are missing and nothing installs them yet."""
        if self._pid is not None or self._failed:
            return False
        return not is_installed(self._folder, self._record)

    @property
    def is_running(self) -> bool:
        """The installation goes on."""
        return self._pid is not None

    @property
    def pids(self) -> set[int]:
        """The installation's process, while it runs."""
        return set() if self._pid is None else {self._pid}

    def start(self) -> None:
        """Start it in a process of its own."""
        assert self._target is not None  # noqa: S101  # is_needed
        self._folder.packages.mkdir(mode=0o700, exist_ok=True)
        self._outcome.unlink(missing_ok=True)
        self._log.unlink(missing_ok=True)
        request = {
            "uv": find_uv(),
            "python": self._record.python,
            "requirements": [*BASE_PACKAGES, *self._record.spec.get("requirements", ())],
            "target": str(self._target),
            # No "bytecode": the first import writes what it needs, in a tenth of the time.
        }
        write_whole(self._request, json.dumps(request).encode())
        install = Path(__file__).parents[2] / "builder" / "install.py"
        command = [own_interpreter().executable, "-I", str(install)]
        become = processes.execute(
            [*command, str(self._request), str(self._outcome)], dict(os.environ)
        )
        self._pid = processes.fork_child(
            become, log=self._log, close=self._private(), death_signal=signal.SIGKILL
        )

    def stop(self) -> None:
        """End it: the environment is wanted no more, or changed meanwhile."""
        if self._pid is not None:
            processes.send(self._pid, signal.SIGKILL)

    def ended(self, pid: int, code: int) -> bool:
        """Note that a process has ended; False: it was another one."""
        if pid != self._pid:
            return False
        self._pid = None
        self._failed = code != 0
        return True

    def failure(self) -> BuildFailure | None:
        """Return why there are no packages, after the end of the installation."""
        if not self._failed:
            return None
        try:
            outcome: dict[str, Any] = json.loads(self._outcome.read_text("utf-8"))
        except (OSError, ValueError):
            outcome = {"reason": "BuilderFailed", "lines": ["the installation was killed"]}
        error = RequirementsBuildError.unresolvable(
            environment=self._record.name,
            python=self._record.interpreter,
            lines="\n".join(outcome["lines"]),
        )
        return BuildFailure(outcome["reason"], error)


def remove_unused(folder: StateFolder) -> list[str]:
    """Remove package sets that no environment names any more; return their keys."""
    records = folder.environments()
    used = {record.requirements_key for record in records}
    used |= {
        record.before.requirements_key
        for record in records
        if record.before is not None and not is_installed(folder, record)
    }
    if not folder.packages.is_dir():
        return []
    unused = [
        path for path in folder.packages.iterdir() if path.name[0] != "." and path.name not in used
    ]
    for path in unused:
        shutil.rmtree(path, ignore_errors=True)
    return [path.name for path in unused]


def _normalized(requirement: str) -> str:
    """Return a requirement with its project's name as indexes spell it, and no spaces."""
    name = re.match(r"[A-Za-z0-9._-]*", requirement)
    head = name[0] if name else ""
    rest = re.sub(r"\s+", "", requirement[len(head) :])
    return re.sub(r"[-_.]+", "-", head).lower() + rest


def _why(line: str, words: str) -> str:
    """Return in a few words what is wrong with a requirement."""
    if re.search(r"(?<![=<>!~])=(?!=)", line):
        return "use '=='"
    if re.search(r"[=<>!~]=?\s*$", line):
        return "version missing"
    return words
