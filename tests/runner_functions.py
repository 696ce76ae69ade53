"""Functions for the runner's tests to send: most of them are hostile. Sent by value."""

import ctypes
import json
import mmap
import os
import re
import signal
import socket
import struct
import sys
import threading
from typing import Any


def pause(seconds: float = 20) -> None:
    """Do nothing, but not for ever: a test that goes wrong leaves nothing behind."""
    threading.Event().wait(seconds)


def work_a_while(_params: Any) -> str:
    """Outlast what the agent does a second after a run's end."""
    pause(1.5)
    return "done"


def answer(_params: Any) -> dict[str, Any]:
    return {"params": dict(_params), "answer": 42}


def process_id(_params: Any) -> int:
    return os.getpid()


def file_and_process_id(params: Any) -> tuple[str, int]:
    return params["f"].read().decode(), os.getpid()


def segfault(_params: Any) -> None:
    ctypes.string_at(0)


def leave_at_once(_params: Any) -> None:
    os._exit(0)


def leave_with_three(_params: Any) -> None:
    os._exit(3)


def call_sys_exit(_params: Any) -> None:
    sys.exit(0)


def exit_with_words(_params: Any) -> None:
    sys.exit("no clear scene")


def loop_for_ever(_params: Any, ctx: Any) -> None:
    sys.stdout.write("still here\n")
    ctx.progress(0.62, "band 4")
    while True:
        pass


def sleep_for_ever_in_c(_params: Any) -> None:
    ctypes.CDLL(None).pause()


def ignore_the_signal(_params: Any, ctx: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ctx.progress(0.5, "deaf")
    loop_for_ever(_params, ctx)


def hog_memory(_params: Any) -> int:
    hoard = []
    while True:
        hoard.append(bytearray(16 << 20))


def hog_shared_memory(_params: Any) -> None:
    memory = mmap.mmap(-1, 1 << 30)
    while True:
        for at in range(0, 1 << 30, 4096):
            memory[at] = 1


def fork_and_fork_again(_params: Any) -> None:
    """A bomb of 2048 processes: enough to be one, and it ends by itself if nothing stops it."""
    for _ in range(11):
        os.fork()
    pause()
    os._exit(0)


def print_a_lot(_params: Any) -> str:
    for number in range(50):
        sys.stdout.write(f"{number:03d}" + "x" * (1 << 20) + "\n")
    return "done"


def raise_a_long_chain(_params: Any) -> None:
    def deep(level: int) -> None:
        if level == 0:
            raise ValueError("the root cause")
        try:
            deep(level - 1)
        except Exception as error:
            raise RuntimeError(f"level {level} " + "y" * 3000) from error

    deep(32)


def forge_frames(_params: Any) -> None:
    for descriptor in range(3, 64):
        try:
            os.write(descriptor, b"\xff" * 64)
        except OSError:
            continue
    pause()


def say(message: dict[str, Any], body: bytes = b"") -> bool:
    """Write a frame wherever a frame may be written; say whether it was taken somewhere."""
    header = json.dumps(message).encode()
    taken = False
    for descriptor in range(3, 64):
        try:
            os.write(descriptor, struct.pack("<II", len(header), len(body)) + header + body)
            taken = True
        except OSError:
            continue
    return taken


def say_results(body: bytes = b"42", peak: int = 0, **item: Any) -> None:
    """Answer for task 0, which is given, unless `item` says otherwise."""
    item = {"index": 0, "attempt": 1, "kind": "json", "inline": [0, 2]} | item
    say({"t": "RESULTS", "items": [item], "peak": peak}, body)
    pause()


def forge_an_answer(_params: Any) -> None:
    say_results(index=999)


def forge_a_long_failure(_params: Any) -> None:
    exception = {"type": "ValueError", "message": "m" * 300_000, "text": "t" * 300_000}
    say_results(reason="Exception", exception=exception)


def print_once_and_claim_it_twice(_item: Any) -> None:
    os.write(1, b"x" * 1000)
    item = {"attempt": 1, "kind": "json", "inline": [0, 2], "log": [0, 1000, 0, 0]}
    say({"t": "RESULTS", "items": [item | {"index": it} for it in (0, 1)], "peak": 0}, b"42")
    pause()


def touch_a_lot(_params: Any) -> None:
    say_results(touched=["k" * 1000] * 800)


def claim_a_peak(_params: Any) -> None:
    say_results(peak=10**30)


def describe_by_a_number(_params: Any) -> None:
    say_results(meta={"shape": [10**30]})


def pose_as_the_template(_params: Any) -> str:
    """Dial the agent, as the template has, and say that a runner is there."""
    with open(f"/proc/{os.getppid()}/cmdline") as file:  # noqa: PTH123  # as short as can be
        command = file.read()
    [path] = re.findall(r"--socket[\0', ]+([^\0']+)", command)
    ready = {"t": "READY", "pid": 1, "python": "3.12", "version": "", "implementation": ""}
    header = json.dumps({**ready, "cloudpickle": ""}).encode()
    with socket.socket(socket.AF_UNIX) as dialled:
        dialled.settimeout(60)
        dialled.connect(path)
        try:
            dialled.sendall(struct.pack("<II", len(header), 0) + header)
            return "welcome" if dialled.recv(1) else "hung up"
        except OSError:
            return "hung up"


def flood_with_progress(_params: Any) -> None:
    while say({"t": "PROGRESS", "index": 0, "fraction": 0.5, "text": "x" * 100}):
        pass


def flood_with_nothing(_params: Any) -> None:
    while say({"t": "RESULTS", "items": [], "peak": 0}):
        pass


def raise_a_number(_params: Any) -> None:
    raise ValueError([10**30])


def tell_a_table(_params: Any, ctx: Any) -> str:
    """Give progress by mistake what no message could carry."""
    ctx.progress(0.5, "row " * 500_000)
    return "done"


def hand_over_a_link(_params: Any, ctx: Any) -> str:
    """Put a link where the runner will write the value: it goes through, the agent must not."""
    (ctx.scratch / ".geopod-0-1").symlink_to("/dev/null")
    return "z" * (1 << 20)


def announce_a_huge_file(_params: Any, ctx: Any) -> Any:
    path = ctx.scratch / "huge.bin"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    return path


def large_value(_params: Any) -> bytes:
    return b"v" * (8 << 20)


def print_over_the_limit(_params: Any) -> None:
    chunk = b"x" * (16 << 20)
    for _ in range(80):
        os.write(1, chunk)
    pause()


def kill_the_template(_params: Any) -> None:
    os.kill(os.getppid(), signal.SIGKILL)
    pause()


def leave_a_daemon(_params: Any) -> int:
    """Start a process that leaves the child's session, as daemons do."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.setsid()
        pid = os.fork()
        if pid == 0:
            pause()
            os._exit(0)
        os.write(writing, str(pid).encode())
        os._exit(0)
    return int(os.read(reading, 32))


def wait_until_cancelled(_params: Any, ctx: Any) -> str:
    ctx.progress(0.1, "waiting")
    while not ctx.cancelled():
        pause(0.005)
    return "ended by itself"


def double(number: int) -> int:
    if number == 3:
        os._exit(9)
    return number * 2


def wait_at_one(number: int) -> int:
    if number == 1:
        pause()
    return number


def with_process_id(number: int) -> tuple[int, int]:
    return number, os.getpid()


def has_wave(_params: Any) -> bool:
    return "wave" in sys.modules


def read_and_print(params: Any, ctx: Any) -> tuple[int, int, int, str]:
    sys.stdout.write(f"task {ctx.index}\n")
    return ctx.index, ctx.attempt, ctx.total, params["table"].read().decode()


def write_beside(_params: Any, ctx: Any) -> tuple[bool, Any]:
    with open("figure.png", "wb") as file:  # noqa: PTH123  # as users do
        file.write(b"\x89PNG")
    return ctx.scratch.samefile("."), (ctx.scratch / "figure.png").read_bytes().hex()


async def wait_and_tell(_params: Any) -> tuple[int, int]:
    import asyncio

    import geopod

    await asyncio.sleep(0)
    context = geopod.current_context()
    return context.index, context.total
