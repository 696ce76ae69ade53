"""Builders for tests of the coordinator: valid settings and orders, scripted agents, clients."""

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Self

import aiohttp
from geopod.api.bundles import ArgumentsRef, FunctionRef, digest
from geopod.api.control import RunUpdate, Submit, ToClient, decode_to_client
from geopod.api.messages import (
    Assign,
    Challenge,
    Done,
    Failed,
    FromAgent,
    FromCoordinator,
    HeldLease,
    Hello,
    Ping,
    Pong,
    RunnerState,
    Stage,
    Staged,
    Welcome,
    decode_from_coordinator,
    encode,
    hello_mac,
)
from geopod.api.results import Entry, Failure, TaskReason, TaskRecord
from geopod.api.runs import RunOrder, RunState
from geopod.coordinator.process import CoordinatorProcess
from geopod.coordinator.settings import CoordinatorSettings
from geopod.store.directory import DirectoryStore

UID = "env-1"
LINK_KEY = bytes(range(32))
LENGTH = struct.Struct("<I")
PATIENCE_S = 60.0


def coordinator_settings(folder: Path, **changes: Any) -> CoordinatorSettings:
    """Valid settings of one environment below `folder`."""
    fields = {
        "environment_uid": UID,
        "name": "ndvi",
        "nodes": 1,
        "python": "3.11",
        "store": str(folder / "store"),
        "link_key": LINK_KEY.hex(),
        "control_socket": str(folder / "c.sock"),
        "agent_socket": str(folder / "a.sock"),
        "state_file": str(folder / "environment.json"),
        "redial_grace_s": 0.2,
    }
    return CoordinatorSettings(**{**fields, **changes})


def directory_store(settings: CoordinatorSettings) -> DirectoryStore:
    return DirectoryStore(Path(settings.store))


def an_order(uid: str = "run-1", **changes: Any) -> RunOrder:
    """A valid run over all nodes, of a function that nobody calls."""
    payload = b"function"
    function = FunctionRef(
        format="cloudpickle",
        name="f",
        python="3.11",
        sha256=digest(payload),
        size=len(payload),
        inline=payload,
    )
    fields = {
        "uid": uid,
        "name": uid,
        "environment": UID,
        "created": time.time(),
        "function": function,
    }
    return RunOrder(**{**fields, **changes})


def a_map(count: int, uid: str = "run-1", **changes: Any) -> RunOrder:
    """A valid map of `count` tasks."""
    arguments = ArgumentsRef(format="json", sha256="0" * 64, size=0, count=count)
    fields = {"mode": "Map", "arguments": arguments, "count": count}
    return an_order(uid, **{**fields, **changes})


def a_failure(reason: TaskReason = TaskReason.EXCEPTION) -> Failure:
    return Failure(reason=reason, code="E307", fact="raised ValueError: no")


@contextlib.asynccontextmanager
async def serving(
    settings: CoordinatorSettings, *, listening: socket.socket | None = None
) -> AsyncIterator[CoordinatorProcess]:
    """A coordinator in this process, on real sockets."""
    process = await CoordinatorProcess.start(
        settings, directory_store(settings), listening=listening
    )
    try:
        yield process
    finally:
        await process.close()


class FrameSocket:
    """The agent's end of the Unix socket."""

    def __init__(self, path: str) -> None:
        self._path = path

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_unix_connection(self._path)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

    async def send(self, data: bytes) -> None:
        self._writer.write(LENGTH.pack(len(data)) + data)
        await self._writer.drain()

    async def receive(self) -> bytes | None:
        """The next message; None: the coordinator has hung up."""
        try:
            (size,) = LENGTH.unpack(await self._reader.readexactly(LENGTH.size))
            return await self._reader.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None


class WebSocket:
    """The agent's end of the WebSocket."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/v1"
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        session = await self._stack.enter_async_context(aiohttp.ClientSession())
        self._socket = await session.ws_connect(self._url, protocols=("geopod.v1",), max_msg_size=0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._socket.close()
        await self._stack.aclose()

    async def send(self, data: bytes) -> None:
        await self._socket.send_bytes(data)

    async def receive(self) -> bytes | None:
        frame = await self._socket.receive()
        return frame.data if frame.type is aiohttp.WSMsgType.BINARY else None


class ScriptedAgent:
    """An agent that says what a test tells it to, over the real socket: a port if there is one."""

    def __init__(self, settings: CoordinatorSettings, index: int = 0, instance: str = "") -> None:
        self.index = index
        self.instance = instance or f"instance-{index}"
        self.seen: list[FromCoordinator] = []
        self._news = asyncio.Event()
        self.welcome: Welcome | None = None
        self.answer: Callable[[Assign], list[FromAgent]] | None = None
        self._settings = settings
        self._stack = contextlib.AsyncExitStack()
        self._socket: FrameSocket | WebSocket

    async def __aenter__(self) -> Self:
        port = self._settings.agent_port
        dialled = FrameSocket(self._settings.agent_socket) if port is None else WebSocket(port)
        self._socket = await self._stack.enter_async_context(dialled)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def hello(
        self, *, key: bytes = LINK_KEY, leases: tuple[HeldLease, ...] = (), **changes: Any
    ) -> FromCoordinator:
        """Prove membership; returns the coordinator's answer, and reads on in the background."""
        challenge = await self.next_raw()
        assert isinstance(challenge, Challenge)
        mac = hello_mac(key, challenge.nonce, self.instance, self.index)
        fields = {"mac": mac, "instance": self.instance, "index": self.index, "python": "3.11"}
        await self.send(Hello(**{**fields, "leases": list(leases), **changes}))
        answer = await self.next_raw()
        if isinstance(answer, Welcome):
            self.welcome = answer
            reading = asyncio.create_task(self._read())
            self._stack.callback(reading.cancel)
        return answer

    async def ready(self, **changes: Any) -> Welcome:
        """Join, stage what is asked for, and say that the runner is warm."""
        welcome = await self.hello(**changes)
        assert isinstance(welcome, Welcome)
        for partition in welcome.partitions:
            await self.send(Staged(plan_sha256=welcome.plan_sha256, partition=partition))
        await self.send(RunnerState(ready=True, python="3.11"))
        return welcome

    async def send(self, message: FromAgent) -> None:
        await self._socket.send(encode(message))

    async def next_raw(self) -> FromCoordinator:
        async with asyncio.timeout(PATIENCE_S):
            data = await self._socket.receive()
        assert data is not None, "the coordinator has hung up"
        return decode_from_coordinator(data)

    async def next(self, kind: type[Any]) -> Any:
        """The next message of this kind; others stay for later."""
        async with asyncio.timeout(PATIENCE_S):
            while not any(isinstance(message, kind) for message in self.seen):
                self._news.clear()
                await self._news.wait()
        found = next(message for message in self.seen if isinstance(message, kind))
        self.seen.remove(found)
        return found

    async def _read(self) -> None:
        while (data := await self._socket.receive()) is not None:
            message = decode_from_coordinator(data)
            match message:
                case Ping(time=time):
                    await self.send(Pong(time=time))
                case Stage(plan_sha256=plan, partition=partition):
                    await self.send(Staged(plan_sha256=plan, partition=partition))
                case Assign() if self.answer is not None:
                    for said in self.answer(message):
                        await self.send(said)
                case _:
                    self.seen.append(message)
                    self._news.set()


def done(assign: Assign, node: int, *, value: bytes = b"null") -> Done:
    """The results of all tasks of a lease; small ones lie in their entries."""
    is_small = len(assign.tasks) * len(value) < 4096
    records = [
        TaskRecord(
            index=index,
            attempt=attempt,
            epoch=assign.epoch,
            node=node,
            entry=Entry(
                codec="json",
                sha256=digest(value),
                bytes=len(value),
                key="" if is_small else "k",
                data=value if is_small else None,
            ),
        )
        for index, attempt in assign.tasks
    ]
    return Done(lease=assign.lease, epoch=assign.epoch, run=assign.run, records=records)


def failed(assign: Assign, node: int, failure: Failure | None = None) -> list[FromAgent]:
    """A failed attempt of each task of a lease."""
    return [
        Failed(
            lease=assign.lease,
            epoch=assign.epoch,
            run=assign.run,
            record=TaskRecord(
                index=index,
                attempt=attempt,
                epoch=assign.epoch,
                node=node,
                failure=failure or a_failure(),
            ),
        )
        for index, attempt in assign.tasks
    ]


class ControlClient:
    """A local client on the control socket."""

    def __init__(self, settings: CoordinatorSettings) -> None:
        self._path = settings.control_socket

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_unix_connection(self._path)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    def send(self, message: Any) -> None:
        data = encode(message)
        self._writer.write(LENGTH.pack(len(data)) + data)

    async def next(self) -> ToClient:
        async with asyncio.timeout(PATIENCE_S):
            (size,) = LENGTH.unpack(await self._reader.readexactly(LENGTH.size))
            return decode_to_client(await self._reader.readexactly(size))

    async def end_of(self, run: str) -> RunState:
        """The last state of a run that is watched."""
        while True:
            message = await self.next()
            state = message.state if isinstance(message, RunUpdate) else None
            if isinstance(state, RunState) and state.uid == run and state.finished is not None:
                return state

    async def finish(self, order: RunOrder) -> RunState:
        """Submit a run and wait for its end."""
        self.send(Submit(order=order))
        return await self.end_of(order.uid)
