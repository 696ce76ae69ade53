"""One child as the agent sees it: hands it tasks, takes one answer per task, judges its death."""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path

from geopod.agent.channel import Channel
from geopod.agent.early import EarlyDigests
from geopod.agent.failures import not_committed
from geopod.agent.ongoing import OngoingWork, TaskKey
from geopod.agent.output import read_log
from geopod.agent.runner_messages import (
    NOT_DECODABLE,
    Exited,
    NotLoadable,
    ProgressSaid,
    ResultItem,
    Results,
    Writing,
    decode_from_child,
    encode_header,
)
from geopod.agent.tasks import UntrustedValueError, take_value
from geopod.agent.verdict import (
    Death,
    Limits,
    broke_rules,
    judge_death,
    judge_item,
    lost_runner,
    over_limit,
    raised,
)
from geopod.agent.work import Outcome, TaskLog, Work
from geopod.api.results import Failure
from geopod.runner.frames import pack

PROGRESS_INTERVAL_S = 0.5
"""A child says its progress once a second; what comes faster is dropped."""
PROGRESS_CHARACTERS = 1000
MAX_EMPTY = 1000
"""So many messages without a result, or progress that is told, are a flood."""
FOLDER_MODE = 0o2770
TAKEN = "taken"
"""Folder beside that of the tasks, which no runner can enter: values on their way to the store."""


class RunnerChild:
    """A child process behind its control socket; bound to one partition of one run in its life."""

    def __init__(
        self,
        number: int,
        descriptors: list[int],
        folder: Path,
        *,
        end: Callable[[RunnerChild], None],
    ) -> None:
        """Take over the three descriptors; `end(child)` is called when it breaks the rules.

        Raises OSError if they are not what a template hands over.
        """
        control, self._out, self._err = descriptors
        self.number = number
        self.run: str | None = None
        self.staged: Path | None = None
        """The partition that its run's tasks see here."""
        self.is_cancelled = False
        """The template was asked to end it when a cancelled task runs."""
        self._end = end
        self._folder = folder
        self._aside = f"{folder.parent.with_name(TAKEN)}/{folder.name}"
        folder.mkdir(mode=FOLDER_MODE)
        folder.chmod(FOLDER_MODE)
        self._folder_descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        self._channel = Channel(socket.socket(fileno=control), self._on_frame, self._break_rules)
        self._works: list[OngoingWork] = []
        self._offsets = (0, 0)
        self._progress: tuple[float | None, str] = (None, "")
        self._progress_s = 0.0
        self._empty = 0
        self._is_trusted = True
        self._tasks_done = 0
        self._early = EarlyDigests(self._folder_descriptor)

    def assign(self, ongoing: OngoingWork) -> None:
        """Send the pending tasks of a call; the first call sends the function ahead of them."""
        self._works.append(ongoing)
        work = ongoing.work
        if self.run is not None:
            self._channel.send(ongoing.frames())
            return
        self.run, self.staged = work.run, work.staged
        descriptor = None if work.arguments is None else work.arguments.descriptor
        self._channel.send(self._begin(work) + ongoing.frames(), descriptor)

    def release(self, ongoing: OngoingWork) -> None:
        """Forget a call that is over."""
        if ongoing in self._works:
            self._works.remove(ongoing)

    def hang_up(self) -> None:
        """Close the control socket: the child ends when it reads that."""
        self._channel.close()

    def current_log(self) -> TaskLog | None:
        """Return what was printed since the last reported task."""
        return read_log(self._out, self._err, self._span_from(self._offsets))

    def die(self, exited: Exited | None, limits: Limits, *, why: str = "") -> None:
        """Take the child's death: what it sent last counts, then the running task is charged.

        `exited` None: the runner is gone as a whole (`why`). Every other pending task goes on in
        a fresh child, at no charge.
        """
        self._channel.drain()
        self._channel.close()
        was_asked = self.is_cancelled and exited is not None and exited.reason == "killed"
        self._settle_cancelled()
        if self._is_trusted and not was_asked:
            self._charge(exited, limits, why)
        for work in self._works:
            work.interrupt()
        self._works.clear()

    def discard(self) -> None:
        """Give back the descriptors and the task folder of a child that is gone."""
        self._channel.close()
        self._early.close()
        for descriptor in (self._out, self._err, self._folder_descriptor):
            os.close(descriptor)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _begin(self, work: Work) -> bytes:
        header = {
            "t": "BEGIN",
            "run": work.run,
            "format": work.function.format,
            "name": work.function.name,
            "python": work.function.python,
            "staged": str(work.staged) if work.staged else None,
            "files": {key: str(path) for key, path in work.files.items()},
            "scratch": str(self._folder),
            "total": work.total,
            "node": work.node,
            "writeTo": work.write_to,
            "arguments": None if work.arguments is None else work.arguments.header(),
        }
        return pack(encode_header(header), work.payload)

    def _charge(self, exited: Exited | None, limits: Limits, why: str) -> None:
        work = next((work for work in self._works if work.pending), None)
        if work is None:
            return
        if exited is None:
            work.fail(work.key_of(None), lost_runner(why))
            return
        death, seen = self._death(exited)
        failure = judge_death(death, limits)
        keys = list(work.pending) if exited.loading else [work.key_of(exited.index)]
        for key in keys:
            work.fail(key, failure, like=seen)

    def _settle_cancelled(self) -> None:
        for work in self._works:
            work.settle_cancelled()

    def _death(self, exited: Exited) -> tuple[Death, Outcome]:
        log = read_log(self._out, self._err, self._span_from(exited.offsets))
        is_first = self._tasks_done == 0 and exited.ran > 0
        death = Death(
            exit=exited.exit,
            signal=exited.signal,
            reason=exited.reason,
            ran_s=exited.ran,
            peak_bytes=exited.peak,
            cpu_percent=100 * exited.cpu / exited.ran if is_first else None,
            progress=self._progress,
            log=log,
        )
        seen = Outcome(index=-1, attempt=-1, runtime_s=exited.ran, peak_bytes=exited.peak, log=log)
        return death, seen

    def _span_from(self, offsets: tuple[int, int]) -> tuple[int, int, int, int]:
        out, err = offsets
        return out, os.fstat(self._out).st_size, err, os.fstat(self._err).st_size

    def _unread(self, span: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        """Return what of a task's output no task before it had: a child may claim it many times."""
        out, err = self._offsets
        mine = (max(span[0], out), max(span[1], out), max(span[2], err), max(span[3], err))
        self._offsets = (mine[1], mine[3])
        return mine

    def _on_frame(self, header: bytes, body: bytes) -> None:
        if not self._is_trusted:
            return
        try:
            message = decode_from_child(header)
        except NOT_DECODABLE as forged:
            self._break_rules(f"sent what no runner sends ({str(forged)[:200]})")
            return
        self._empty += 1
        if self._empty > MAX_EMPTY:
            self._break_rules("flooded its node with messages")
            return
        match message:
            case Results():
                for item in message.items:
                    self._take(item, body, message.peak)
            case Writing():
                self._follow(message)
            case ProgressSaid():
                self._take_progress(message)
            case NotLoadable():
                self._fail_all(raised(message.exception, while_loading=True))

    def _fail_all(self, failure: Failure) -> None:
        """Fail every task: the function that all of them call could not be loaded."""
        if wordy := over_limit(failure):
            self._break_rules(wordy)
            return
        for work in self._works:
            for key in list(work.pending):
                work.fail(key, failure)

    def _follow(self, said: Writing) -> None:
        """Begin the digest of the value of the task that runs: the first one pending."""
        key = (said.index, said.attempt)
        work = next((work for work in self._works if work.pending), None)
        if work is not None and key == work.key_of(None):
            self._early.begin(key, said.file)

    def _take(self, item: ResultItem, body: bytes, peak_bytes: int) -> None:
        key = (item.index, item.attempt)
        work = next((work for work in self._works if key in work.pending), None)
        if work is None or not self._is_trusted:
            self._break_rules(f"answered for task {item.index}, which it was not given")
            return
        value = None
        failure = None if item.reason is None else judge_item(item, work.work.node)
        said = [failure, item.meta, item.touched]
        if any(said) and (wordy := over_limit(said)):
            self._break_rules(wordy, key)
            return
        if failure is None:
            try:
                aside = f"{self._aside}-{item.index}-{item.attempt}"
                value = take_value(item, body, self._folder_descriptor, aside)
                self._early.hand_on(value)
            except UntrustedValueError as refused:
                self._break_rules(str(refused), key)
                return
            except OSError as own:
                failure = not_committed(own)
        log = None
        if item.log is not None:
            log = read_log(self._out, self._err, self._unread(item.log))
        self._empty = 0
        self._tasks_done += 1
        self._progress = (None, "")
        work.finish(
            Outcome(
                index=item.index,
                attempt=item.attempt,
                value=value,
                failure=failure,
                runtime_s=item.runtime,
                peak_bytes=peak_bytes,
                touched=item.touched,
                log=log,
            )
        )

    def _take_progress(self, said: ProgressSaid) -> None:
        now = time.monotonic()
        if now - self._progress_s < PROGRESS_INTERVAL_S:
            return
        work = next((work for work in self._works if work.pending), None)
        if work is not None:
            self._progress_s, self._empty = now, 0
            self._progress = (said.fraction, said.text[:PROGRESS_CHARACTERS])
            work.progress(said.index, *self._progress)

    def _break_rules(self, did: str, key: TaskKey | None = None) -> None:
        """Believe nothing more from this child: its running task fails by name, it is ended."""
        if not self._is_trusted:
            return
        self._is_trusted = False
        works = (work for work in self._works if work.pending)
        work = next((work for work in works if key is None or key in work.pending), None)
        guilty = key or (work.key_of(None) if work else None)
        if work is not None and guilty is not None:
            work.fail(guilty, broke_rules(did))
        self._end(self)
