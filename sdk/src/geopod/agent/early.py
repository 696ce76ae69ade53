"""The digest of a large value, begun while its child still writes it.

A child that changes what it has written spoils its own result alone: its digest is then another
one than that of its bytes, which whoever checks it is told.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
import threading

from geopod.agent.ongoing import TaskKey
from geopod.agent.tasks import FLAGS
from geopod.agent.work import HandedOver

PIECE_BYTES = 256 << 10
AT_ONCE_BYTES = 4 << 20
"""Up to here a digest takes less than two turns to a thread and the loop's patience."""
LOOK_AGAIN_S = 0.001
"""Where the digest has caught up with the child."""
MOST_FOLLOWED = 2
"""At the same time, of all children: the pool that their threads are of has six on two cores."""
_threads = threading.BoundedSemaphore(MOST_FOLLOWED)


class EarlyDigest:
    """Follows one file from its beginning; what it has read it never reads again."""

    def __init__(self, descriptor: int) -> None:
        """Take over an open file."""
        self._descriptor = descriptor
        self._hash = hashlib.sha256()
        self._at = 0
        self._buffer = bytearray(PIECE_BYTES)
        self._is_whole = threading.Event()
        self._size = 0
        """Where a whole file ends."""
        self._following: asyncio.Future[None] | None = None

    def begin(self) -> None:
        """Read what is there; what is too much for one turn of the loop is left to a thread.

        If too many wait for their children already, it is read when all of it is there.
        """
        self._advance(AT_ONCE_BYTES)
        if self._at >= AT_ONCE_BYTES and _threads.acquire(blocking=False):
            loop = asyncio.get_running_loop()
            self._following = loop.run_in_executor(None, self._follow)
            self._following.add_done_callback(lambda _: _threads.release())

    def is_of(self, descriptor: int) -> bool:
        """Say whether an open file is the one that is digested."""
        return os.path.samestat(os.fstat(self._descriptor), os.fstat(descriptor))

    def complete(self, size: int) -> None:
        """Say that the file is whole: what is left is read now, then the file is let go.

        Values wait for the store by the hundred; each has a file open already.
        """
        self._size = size
        self._is_whole.set()
        if self._following is None and size - self._at <= AT_ONCE_BYTES:
            self._advance(size)
        elif self._following is None:
            loop = asyncio.get_running_loop()
            self._following = loop.run_in_executor(None, self._advance, size)
        self.close()

    async def finish(self, size: int) -> str | None:
        """Return the sha256 of a whole file; None: not all of it was read, or not this much."""
        if self._following is not None:
            await self._following
        return self._hash.hexdigest() if self._at == self._size == size else None

    def close(self) -> None:
        """Let the file go."""
        self._is_whole.set()
        if self._following is None or self._following.done():
            self._let_go()
        else:
            self._following.add_done_callback(lambda _: self._let_go())

    def _let_go(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)
        self._buffer = bytearray()

    def _follow(self) -> None:
        while not self._is_whole.is_set():
            before = self._at
            self._advance(before + AT_ONCE_BYTES)
            if self._at == before:
                self._is_whole.wait(LOOK_AGAIN_S)
        self._advance(self._size)

    def _advance(self, stop: int) -> None:
        """Read up to `stop`, to the present end of the file, or to what cannot be read."""
        view = memoryview(self._buffer)
        while self._at < stop:
            try:
                read = os.preadv(self._descriptor, [view[: stop - self._at]], self._at)
            except OSError:
                return
            if not read:
                return
            self._hash.update(view[:read])
            self._at += read


class EarlyDigests:
    """Those of one child's values: one at a time, begun once per task."""

    def __init__(self, folder: int) -> None:
        """`folder`: the task folder's descriptor."""
        self._folder = folder
        self._task: TaskKey | None = None
        self._digest: EarlyDigest | None = None

    def begin(self, task: TaskKey, name: str) -> None:
        """Begin the digest of a task's value; of what is no file of the folder there is none."""
        if task == self._task or "/" in name or "\0" in name:
            return
        self._task = task
        self.close()
        try:
            descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK | FLAGS, dir_fd=self._folder)
        except OSError:
            return
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            return
        self._digest = EarlyDigest(descriptor)
        self._digest.begin()

    def hand_on(self, value: HandedOver) -> None:
        """Give a value the digest that was begun of this very file, if there is one."""
        digest = self._digest
        if digest is not None and value.descriptor is not None and digest.is_of(value.descriptor):
            digest.complete(value.size)
            value.early, self._digest = digest, None

    def close(self) -> None:
        """Give up what nobody has asked for."""
        if self._digest is not None:
            self._digest.close()
            self._digest = None
