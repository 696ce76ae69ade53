"""Leases from their ASSIGN to their last report: inputs and partition in, outcomes out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from geopod.agent import reports
from geopod.agent.arguments import Arguments
from geopod.agent.commit import Committer
from geopod.agent.failures import not_committed, not_fetched, not_loadable
from geopod.agent.inputs import RunInputs
from geopod.agent.leases import Held, Leases
from geopod.agent.patience import TROUBLES, until_served
from geopod.agent.runner_link import RunnerLink
from geopod.agent.settings import AgentSettings
from geopod.agent.staging import StagedPart, Staging
from geopod.agent.verdict import cancelled
from geopod.agent.work import Outcome, Work
from geopod.api import messages
from geopod.api.failures import empty_partition
from geopod.api.messages import Assign, Done, Failed, FromAgent
from geopod.api.results import Failure, TaskRecord
from geopod.store import KeyMissingError, Store

STARTED_AFTER_S = 0.05
"""A lease that ends sooner is never said to have started: one message less per small run."""

log = logging.getLogger(__name__)


class Errands:
    """Carries out the leases of one node."""

    def __init__(
        self,
        store: Store,
        *,
        settings: AgentSettings,
        runner: RunnerLink,
        staging: Staging,
        committer: Committer,
        leases: Leases,
        send: Callable[[FromAgent], None],
    ) -> None:
        self._settings = settings
        self._runner = runner
        self._staging = staging
        self._committer = committer
        self._leases = leases
        self._send = send
        self._inputs = RunInputs(store, environment_uid=settings.environment_uid)
        self._loop = asyncio.get_running_loop()
        self._logged: dict[tuple[str, int, int], int] = {}
        """Bytes of a running attempt's output that are in the store."""

    def take(self, assign: Assign) -> Held | None:
        """Take a lease; None: it is held already. The function comes once per run: it is kept."""
        self._inputs.remember(assign.run, assign.function)
        return self._leases.take(assign)

    async def run(self, held: Held) -> None:
        """Run all tasks of a lease; each is reported once."""
        assign = held.assign
        part = await self._bring_part(assign)
        if isinstance(part, Failure):
            self._fail(held, part)
            return
        if part is not None and part.empty and assign.on_empty != "call":
            self._leave_out(held)
            return
        work = await self._make_work(held, part)
        if isinstance(work, Failure):
            self._fail(held, work)
            return
        if not work.tasks:
            return
        held.begun = True
        started = messages.Started(lease=assign.lease, epoch=assign.epoch)
        timer = self._loop.call_later(STARTED_AFTER_S, self._send, started)
        try:
            await self._runner.run(
                work, partial(self._report, held), partial(self._progress, assign)
            )
        finally:
            timer.cancel()

    async def cancel(self, lease: str, indexes: list[int] | None, *, grace_s: float) -> None:
        """Cancel tasks of a lease: those not begun at once, the others through the runner."""
        held = self._leases.get(lease)
        if held is None:
            return
        chosen = [index for index in held.waiting if indexes is None or index in indexes]
        if held.begun:
            await self._runner.cancel(held.assign.run, chosen, grace_s=grace_s)
            return
        for index in chosen:
            self._fail_task(held, index, cancelled())

    async def end_run(self, run: str) -> None:
        """Let go of everything that is kept for a run."""
        self._inputs.forget(run)
        self._logged = {key: size for key, size in self._logged.items() if key[0] != run}
        await self._runner.end_run(run)

    def drain(self) -> None:
        """Give back what has not begun."""
        for held in self._leases.all():
            if not held.begun:
                self._hand_back(held, reason="the node drains")

    def give_up(self) -> None:
        """Give back everything that has no result yet: the node closes."""
        for held in self._leases.all():
            self._hand_back(held, reason="the node closes")

    def _hand_back(self, held: Held, *, reason: str) -> None:
        indexes = self._leases.hand_back(held)
        if indexes:
            assign = held.assign
            back = messages.HandedBack(
                lease=assign.lease, epoch=assign.epoch, indexes=indexes, reason=reason
            )
            self._send(back)

    async def store_running_logs(self) -> None:
        """Store what running tasks have printed so far; a store that is away has it later."""
        try:
            for held in self._leases.all():
                if held.begun and held.waiting:
                    await self._store_running_log(held)
        except TROUBLES as error:
            log.warning("What tasks print is stored later: %s", error)

    # ---- inputs

    async def _bring_part(self, assign: Assign) -> StagedPart | Failure | None:
        """Return the partition that the tasks see; for a map the node's own, for its files."""
        if not assign.plan_sha256:
            return None
        if assign.partition is not None:
            return await self._staging.bring(assign.plan_sha256, assign.partition)
        return await self._staging.bring(assign.plan_sha256, self._settings.node)

    async def _make_work(self, held: Held, part: StagedPart | None) -> Work | Failure:
        """Return what the runner needs for the tasks that are still wanted."""
        assign = held.assign
        what = f"Inputs of run {assign.run} wait for the store"
        try:
            payload, arguments = await until_served(
                partial(self._fetch_inputs, assign), what, lease_s=assign.timeout_s
            )
            spans = () if arguments is None else arguments.spans(held.waiting)
        except TROUBLES as error:
            return not_fetched(error)
        except KeyMissingError as error:
            return not_loadable(f"{error.args[0]} is not in the store")
        except ValueError as error:
            return not_loadable(str(error))
        sees_layers = assign.partition is not None
        return Work(
            run=assign.run,
            function=assign.function,
            payload=payload,
            tasks=list(held.waiting.items()),
            arguments=arguments,
            spans=spans,
            staged=part.folder if part is not None and sees_layers else None,
            files=part.files if part is not None and not sees_layers else {},
            total=assign.total,
            node=self._settings.node,
            timeout_s=assign.timeout_s,
            large_result=assign.large_result,
            write_to=assign.write_to,
            partition_bytes=part.bytes if part is not None and sees_layers else 0,
        )

    async def _fetch_inputs(self, assign: Assign) -> tuple[bytes, Arguments | None]:
        """Return a run's function and, of a map, its arguments."""
        payload = await self._inputs.payload(assign.run, assign.function)
        if assign.arguments is None:
            return payload, None
        return payload, await self._inputs.arguments(assign.run, assign.arguments)

    # ---- outcomes

    async def _report(self, held: Held, outcomes: list[Outcome]) -> None:
        """Commit outcomes and report them; those of tasks that nobody waits for are dropped."""
        assign = held.assign
        wanted = [outcome for outcome in outcomes if outcome.index in held.waiting]
        commit = partial(self._committer.commit, assign, wanted)
        what = f"Results of run {assign.run} wait for the store"
        try:
            for report in await until_served(commit, what, lease_s=assign.timeout_s):
                self._tell(held, report)
        except TROUBLES as error:
            log.exception("Results of run %s could not be committed.", assign.run)
            for outcome in wanted:
                self._fail_task(held, outcome.index, not_committed(error))
        finally:
            for outcome in outcomes:
                if outcome.value is not None:
                    outcome.value.close()

    def _progress(self, assign: Assign, index: int, fraction: float | None, text: str) -> None:
        """Pass on what a running task says of itself."""
        said = messages.Progress(
            lease=assign.lease, epoch=assign.epoch, index=index, fraction=fraction, text=text
        )
        self._send(said)

    def _leave_out(self, held: Held) -> None:
        """Report tasks whose partition holds nothing: `f` is not called."""
        assign = held.assign
        if assign.on_empty == "error":
            self._fail(held, empty_partition())
            return
        records = [
            TaskRecord(
                index=index,
                attempt=attempt,
                epoch=assign.epoch,
                node=self._settings.node,
                skipped=True,
            )
            for index, attempt in held.waiting.items()
        ]
        for report in reports.done(assign, records):
            self._tell(held, report)

    def _fail(self, held: Held, failure: Failure) -> None:
        """Report the same failure for all tasks of a lease."""
        for index in list(held.waiting):
            self._fail_task(held, index, failure)

    def _fail_task(self, held: Held, index: int, failure: Failure) -> None:
        """Report one task's failure, if nothing was reported of it."""
        attempt = held.waiting.get(index)
        if attempt is None:
            return
        assign = held.assign
        record = TaskRecord(
            index=index,
            attempt=attempt,
            epoch=assign.epoch,
            node=self._settings.node,
            failure=failure,
        )
        self._tell(held, reports.failed(assign, record))

    def _tell(self, held: Held, report: Done | Failed) -> None:
        """Send a report and keep it until it is acknowledged."""
        self._leases.report(held, report)
        self._send(report)

    async def _store_running_log(self, held: Held) -> None:
        """Store what the lease's running task has printed so far, if that grew."""
        assign = held.assign
        index, attempt = next(iter(held.waiting.items()))
        output = self._runner.current_log(assign.run)
        key = (assign.run, index, attempt)
        if output is not None and output.size != self._logged.get(key, 0):
            await self._committer.store_log(
                assign, Outcome(index=index, attempt=attempt, log=output)
            )
            self._logged[key] = output.size
