"""From a client to an environment's supervisor: start it if there is none, hear how it is."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from geopod.backends.local.presence import is_alive, supervisor_socket
from geopod.backends.local.processes import MARKER
from geopod.backends.local.secrets import secrets_variable
from geopod.backends.local.state import Report, StateFolder, StoredEnvironment
from geopod.errors import EnvironmentStartTimeout

REPORT_LIMIT_BYTES = 1 << 20
STARTS_LIMIT = 5
"""A supervisor that ends this often in a row, without a last word, is not started again."""
_decode_report = msgspec.json.Decoder(Report).decode


async def ensure_supervisor(folder: StateFolder, record: StoredEnvironment) -> bool:
    """Return when a supervisor of this environment lives; True: it was started just now.

    Raises EnvironmentStartTimeout with the log's last line when it cannot start.
    """
    if is_alive(folder, record.name):
        return False
    return await asyncio.to_thread(_start, folder, record)


async def reports(folder: StateFolder, record: StoredEnvironment) -> AsyncGenerator[Report, None]:
    """Ask for the record's generation and yield what the supervisor says, until it ends.

    Yields nothing when there is no supervisor.
    """
    path = supervisor_socket(folder, record.name)
    try:
        if path is None:
            return
        reader, writer = await asyncio.open_unix_connection(path, limit=REPORT_LIMIT_BYTES)
    except OSError:
        return
    try:
        writer.write(f"{record.generation}\n".encode())
        async for line in reader:
            yield _decode_report(line)
    except ConnectionError:
        return
    finally:
        writer.close()


async def ask(folder: StateFolder, record: StoredEnvironment) -> None:
    """Have the record served; returns when a supervisor knows of it."""
    if await ensure_supervisor(folder, record):
        return  # it has just read the record, and has better things to do than to answer
    async with aclosing(reports(folder, record)) as heard:
        await anext(heard, None)


async def serve(folder: StateFolder, name: str) -> Report:
    """Return when the environment's coordinator takes clients, for its newest generation.

    Starts processes as needed. A report whose state is Failed is returned too: nothing of the
    environment runs any more then. Raises EnvironmentNotFoundError, EnvironmentStartTimeout.
    """
    for _ in range(STARTS_LIMIT):
        record = folder.read_environment(name)
        await ensure_supervisor(folder, record)
        async with aclosing(reports(folder, record)) as heard:
            async for report in heard:
                ended = report.state.phase in {"Failed", "Terminated"}
                if report.generation >= record.generation and (report.control or ended):
                    return report
    raise never_stays(folder, name)


async def until_ended(folder: StateFolder, record: StoredEnvironment) -> None:
    """Have the record served and return when its supervisor, and so everything, has ended."""
    running = folder.read_running(record.name)
    process = _process_handle(running.pid) if running is not None else None
    try:
        async with aclosing(reports(folder, record)) as heard:
            spoke = False
            async for _ in heard:
                spoke = True
        if process is not None and spoke:
            await _readable(process)
    finally:
        if process is not None:
            os.close(process)


async def stop(folder: StateFolder, record: StoredEnvironment) -> None:
    """End an environment's processes without its record; the next run wakes it."""
    running = folder.read_running(record.name)
    if running is None or not is_alive(folder, record.name):
        return
    process = _process_handle(running.pid)
    try:
        os.kill(running.pid, signal.SIGTERM)
        await (until_ended(folder, record) if process is None else _readable(process))
    finally:
        if process is not None:
            os.close(process)


def _process_handle(pid: int) -> int | None:
    """Return a descriptor that becomes readable when the process ends; None: there is none."""
    try:
        return os.pidfd_open(pid)
    except (OSError, AttributeError):  # it has ended, or this is no Linux
        return None


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)


def _start(folder: StateFolder, record: StoredEnvironment) -> bool:
    """Start a supervisor and return when it listens; False: another client just did."""
    logs = folder.environment(record.name) / "logs"
    logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    with folder.locked(f"start-{record.name}"):
        if is_alive(folder, record.name):
            return False
        reading, writing = os.pipe()
        with (logs / "supervisor.log").open("ab") as log:
            # It forks and its first process ends at once: no child of this client is left.
            subprocess.run(  # noqa: S603  # this interpreter, this package
                [
                    *(sys.executable, "-P", "-m", "geopod.backends.local.supervisor"),
                    *(str(folder.root), record.name, str(writing)),
                ],
                check=False,
                cwd="/",
                env={**os.environ, **secrets_variable(folder), **_marks(record)},
                pass_fds=(writing,),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        os.close(writing)
        with os.fdopen(reading, "rb") as answer:
            listens = answer.read(1) == b"1"
    if not listens:
        raise never_stays(folder, record.name)
    return True


def _marks(record: StoredEnvironment) -> dict[str, str]:
    return {MARKER: record.uid, "SPT_NOENV": "1"}


def never_stays(folder: StateFolder, name: str) -> EnvironmentStartTimeout:
    """Return the error of an environment whose supervisor ends as soon as it is started."""
    log = folder.environment(name) / "logs" / "supervisor.log"
    try:
        words = log.read_text("utf-8", "replace").strip().splitlines()
    except FileNotFoundError:
        words = []
    return EnvironmentStartTimeout(
        f"The supervisor of {name!r} ends at its start: {words[-1] if words else 'without a word'}",
        fixes=(f"see {log}",),
    )
