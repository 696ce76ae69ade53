"""What a child sends to the agent: results in batches, so that a tiny task pays for no call."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from .frames import pack_json

FLUSH_BYTES = 64 * 1024
FLUSH_S = 0.02
"""How long a finished result may wait for the next one."""
FLUSH_ITEMS = 1024


class Outbox:
    """Collects results; sends them when the batch ends, at 64 KiB, or after 20 ms.

    A thread watches the 20 ms while a batch of several tasks runs: a result must not wait for the
    end of a long task after it. It sleeps otherwise, and one-task batches never start it.
    """

    def __init__(self, send: Callable[[bytes], object], peak_bytes: Callable[[], int]) -> None:
        self._send = send
        self._peak_bytes = peak_bytes
        self._lock = threading.Lock()
        self._items: list[dict[str, Any]] = []
        self._bodies: list[bytes] = []
        self._size = 0
        self._flushed_s = time.monotonic()
        self._batch_runs = threading.Event()
        self._batch_ended = threading.Event()
        self._thread: threading.Thread | None = None

    def begin_batch(self, tasks: int) -> None:
        """Say that this many tasks follow each other now."""
        self._flushed_s = time.monotonic()
        if tasks <= 1:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._flush_late, name="geopod", daemon=True)
            self._thread.start()
        self._batch_ended.clear()
        self._batch_runs.set()

    def end_batch(self) -> None:
        """Send what waits."""
        self.flush()
        self._batch_runs.clear()
        self._batch_ended.set()

    def add(self, item: dict[str, Any], inline: bytes | None = None) -> None:
        """Add one task's result; its inline value goes into the body."""
        with self._lock:
            if inline is not None:
                if self._size + len(inline) > FLUSH_BYTES:
                    self._flush_locked()
                item["inline"] = [self._size, self._size + len(inline)]
                self._bodies.append(inline)
                self._size += len(inline)
            self._items.append(item)
            is_due = time.monotonic() - self._flushed_s > FLUSH_S
            if is_due or self._size >= FLUSH_BYTES or len(self._items) >= FLUSH_ITEMS:
                self._flush_locked()

    def add_failure(self, item: dict[str, Any]) -> None:
        """Add a failed task, sent at once: its text may be long, and more of them too long."""
        with self._lock:
            self._flush_locked()
            self._items.append(item)
            self._flush_locked()

    def send(self, header: dict[str, Any]) -> None:
        """Send a message of another kind, after the results so far."""
        with self._lock:
            self._flush_locked()
            self._send(pack_json(header))

    def say_writing(self, index: int, attempt: int, file: str) -> None:
        """Say that a task's value is being written: the agent digests it meanwhile."""
        self.send({"t": "WRITING", "index": index, "attempt": attempt, "file": file})

    def flush(self) -> None:
        """Send the results that wait."""
        with self._lock:
            self._flush_locked()

    def _flush_locked(self) -> None:
        if self._items:
            header = {"t": "RESULTS", "items": self._items, "peak": self._peak_bytes()}
            self._send(pack_json(header, b"".join(self._bodies)))
            self._items, self._bodies, self._size = [], [], 0
        self._flushed_s = time.monotonic()

    def _flush_late(self) -> None:
        while self._batch_runs.wait():
            if not self._batch_ended.wait(FLUSH_S):
                self.flush()
