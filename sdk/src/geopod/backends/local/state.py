"""The state folder of one user: environments, layers, runs and the store, for every process.

Each record is one JSON file that appears whole (a new file, then a rename). Several processes
may write at once: what must read, decide and write holds the lock of that name. What each run
passes through has strings for paths: `pathlib` alone took half of its time.
"""

# ruff: noqa: PTH103, PTH108, PTH110  # see above
from __future__ import annotations

import errno
import fcntl
import itertools
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from geopod.api import names
from geopod.api.runs import RunOrder
from geopod.backends.local.records import Gone, Report, Running, StoredEnvironment
from geopod.errors import ConfigError, EnvironmentNotFoundError, RunNotFoundError
from geopod.errors.wording import about_text

__all__ = [
    "Gone",
    "Report",
    "Running",
    "StateFolder",
    "StoredEnvironment",
    "unusable",
    "write_whole",
]

ENVIRONMENT_NAME_LIMIT = 253
"""No name is longer on any backend; what it really bounds is a file's name."""
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
_SERIAL = itertools.count()
Record = TypeVar("Record")


class StateFolder:
    """Paths and records below one root folder, which is made private to the user."""

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.abspath(root))  # noqa: PTH100  # a link as root stays a link
        for folder in ("environments", "gone", "layers", "runs", "locks"):
            (self.root / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
        self._runs, self._store = f"{self.root}/runs", f"{self.root}/store"

    @property
    def store(self) -> Path:
        """Root of the store: functions, plans, results, manifests, logs and shared files."""
        return self.root / "store"

    @property
    def packages(self) -> Path:
        """Folder of the environments that uv built, one per key."""
        return self.root / "packages"

    def environment(self, name: str) -> Path:
        """Return the folder of one environment: record, logs, scratch, settings."""
        return self.root / "environments" / safe_name(name)

    def layer(self, path_id: str) -> Path:
        """Return the folder of one layer: its record, and what runs published."""
        return self.root / "layers" / safe_name(path_id)

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Hold the lock of a name against other processes; locks outlive what they guard."""
        path = self.root / "locks" / f"{safe_name(name)}.lock"
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    # ---- environments

    def read_environment(self, name: str) -> StoredEnvironment:
        """Return an environment by name or uid; raises EnvironmentNotFoundError."""
        found = self._read_named(name)
        if found is None:
            found = next((each for each in self.environments() if each.uid == name), None)
        if found is None:
            raise EnvironmentNotFoundError.missing(
                name=name,
                namespace="local",
                target="local",
                history=self._history(name),
                yours=[it.name for it in self.environments() if it.terminated is None],
            )
        return found

    def environments(self) -> list[StoredEnvironment]:
        """Return all environments, oldest first."""
        there = (path.name for path in (self.root / "environments").iterdir())
        found = [record for name in there if (record := self._read_named(name)) is not None]
        return sorted(found, key=lambda record: (record.created, record.name))

    def write_environment(self, record: StoredEnvironment) -> None:
        """Store an environment's record; raises ConfigError if it cannot be written."""
        folder = self.environment(record.name)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(folder / "environment.json", msgspec.json.encode(record))
        except OSError as error:
            raise unusable(self.root, error) from error

    def remove_environment(self, record: StoredEnvironment, *, by: str) -> None:
        """Remove an environment's folder; its results lie in the store and stay."""
        gone = Gone(uid=record.uid, at=time.time(), by=by)
        with suppress(OSError):  # a full disk is no reason to keep what fills it
            write_whole(self.root / "gone" / f"{record.name}.json", msgspec.json.encode(gone))
        folder = self.environment(record.name)
        (folder / "environment.json").unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)

    def _history(self, name: str) -> str:
        """Return what is known of an environment that is not there."""
        try:
            gone = _read(self.root / "gone" / f"{safe_name(name)}.json", Gone)
        except ConfigError:
            gone = None
        if gone is None:
            return ""
        left = sum(order.environment == gone.uid for order in self.runs())
        ago = about_text(max(round(time.time() - gone.at), 0))
        return f"It was deleted {ago} ago by {gone.by}" + (
            f"; results of {left} run{'s' * (left != 1)} stay until they expire" if left else ""
        )

    def _read_named(self, name: str) -> StoredEnvironment | None:
        try:
            return _read(self.environment(name) / "environment.json", StoredEnvironment)
        except ConfigError:
            return None

    def read_report(self, name: str) -> Report | None:
        """Return what the environment's supervisor stored last; None: there never was one."""
        return _read(self.environment(name) / "status.json", Report)

    def write_report(self, name: str, report: Report) -> None:
        """Store how an environment stands for readers that come when nothing of it lives."""
        with suppress(OSError):  # it was removed meanwhile, or the disk is full: nodes go on
            write_whole(self.environment(name) / "status.json", msgspec.json.encode(report))

    def read_running(self, name: str) -> Running | None:
        """Return where the environment's supervisor listens, or did when it lived."""
        return _read(self.environment(name) / "running.json", Running)

    def write_running(self, name: str, running: Running) -> None:
        """Let others find this supervisor."""
        write_whole(self.environment(name) / "running.json", msgspec.json.encode(running))

    # ---- runs

    def claim_run(self, order: RunOrder) -> RunOrder:
        """Give a run its name, once: return this order, or the one that has the name already.

        The order reaches the store too, under the same bytes: whichever coordinator starts next
        takes the run up, also if this client dies now. Raises ConfigError if it cannot be written.
        """
        try:
            return self._claim_run(order)
        except OSError as error:
            raise unusable(self.root, error) from error

    def _claim_run(self, order: RunOrder) -> RunOrder:
        target = f"{self._runs}/{safe_name(order.name)}.json"
        part = f"{self._runs}/.{os.getpid()}-{next(_SERIAL)}.part"
        descriptor = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.encode(order))
            os.link(part, target)
        except FileExistsError:
            return self.read_run(order.name)
        finally:
            os.unlink(part)
        _link(target, f"{self._store}/{names.order_key(order.environment, order.uid)}")
        return order

    def prepare_run(self, order: RunOrder) -> None:
        """Make the folders that its coordinator will write into, while that is at other work."""
        os.makedirs(
            f"{self._store}/{names.manifest_prefix(order.environment, order.uid)}", exist_ok=True
        )

    def has_run(self, name: str) -> bool:
        """Say whether a run has this name."""
        return os.path.exists(f"{self._runs}/{safe_name(name)}.json")

    def read_run(self, name: str) -> RunOrder:
        """Return a run's order by name or uid; raises RunNotFoundError."""
        found = self._read_run(name)
        if found is None:
            found = next((order for order in self.runs() if order.uid == name), None)
        if found is None:
            newest = [order.name for order in reversed(self.runs())]
            raise RunNotFoundError.missing(
                name=name, namespace="local", target="local", yours=newest
            )
        return found

    def runs(self) -> list[RunOrder]:
        """Return all runs, oldest first."""
        there = (path.stem for path in (self.root / "runs").glob("*.json"))
        found = [order for name in there if (order := self._read_run(name)) is not None]
        return sorted(found, key=lambda order: (order.created, order.name))

    def remove_run(self, name: str) -> None:
        """Forget a run's name."""
        self._run(name).unlink(missing_ok=True)

    def _run(self, name: str) -> Path:
        return self.root / "runs" / f"{safe_name(name)}.json"

    def _read_run(self, name: str) -> RunOrder | None:
        try:
            return _read(self._run(name), RunOrder)
        except ConfigError:
            return None


def state_root() -> Path:
    """Return where this user's state lies: GEOPOD_HOME, else the platform's data folder."""
    home = os.environ.get("GEOPOD_HOME")
    if home:
        return Path(home)
    import platformdirs  # only without GEOPOD_HOME

    return platformdirs.user_data_path("geopod")


def new_uid() -> str:
    """Return a uid that no other object has."""
    return str(uuid.uuid4())


def unusable(root: Path, error: OSError) -> ConfigError:
    """Return what to raise where the system refuses a state folder."""
    words = (error.strerror or str(error)).lower()
    found = ConfigError.unusable_folder(folder=str(root), words=words)
    if error.errno in NO_ROOM:
        found.fixes = ("free some space: env.delete(results=True)", *found.fixes)
    return found


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that readers see whole: a new file, then a rename."""
    part = _part(path)
    descriptor = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
    except OSError:
        part.unlink(missing_ok=True)  # the disk is full: the less lies about, the better
        raise
    part.replace(path)


def _read(path: Path, kind: type[Record]) -> Record | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except msgspec.DecodeError:  # of another release, or cut off: it must not hide the others
        return None


def _link(source: str, target: str) -> None:
    """Give a file a second name; folders are made when they are missed."""
    try:
        os.link(source, target)
    except FileNotFoundError:
        os.makedirs(target.rpartition("/")[0], exist_ok=True)
        os.link(source, target)


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}-{next(_SERIAL)}.part")


def safe_name(name: str) -> str:
    """Return a name that is one path component; raises ConfigError for any other."""
    if not name or name.startswith(".") or "/" in name or "\0" in name:
        raise ConfigError(f"{name!r} is no name.", fixes=("use letters, digits and '-'",))
    if len(os.fsencode(name)) > ENVIRONMENT_NAME_LIMIT - len(".json"):
        raise ConfigError(f"A name of {len(name)} characters is too long.", fixes=("shorten it",))
    return name
