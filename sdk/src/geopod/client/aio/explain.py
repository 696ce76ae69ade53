"""Why an environment, a run or a target is as it is: what was looked at, and what mends it.

Own conditions come first, they may always be read; then what the backend could look at, from the
far cause to the near one: resources, operator, build, quota, scheduling, image, start, staging.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from typing_extensions import override

from geopod.backends import Backend, Finding
from geopod.client.aio.state_errors import failed_error, terminated_error
from geopod.errors import GeopodError, from_condition

if TYPE_CHECKING:
    from geopod.client.aio.environment import Environment
    from geopod.client.aio.run import Run
    from geopod.client.aio.task import Task

ABNORMAL_WHEN_TRUE = frozenset({"Stalled", "Suspended"})
SUMMARIES = frozenset({"Ready", "Stalled", "Progressing"})
"""Conditions that repeat what others say."""
NO_NODES = Finding(
    about="nodes", ok=False, fact="it has none; runs wait for some.", fixes=("env.scale(1)",)
)
FAILURES_SHOWN = 3
MARKS = {True: "ok", False: "no", None: "?"}


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Explanation:
    """A summary in one sentence, what was found, and what to do."""

    summary: str
    findings: tuple[Finding, ...] = ()

    @property
    def ok(self) -> bool:
        """Say whether nothing that was looked at is wrong."""
        return all(finding.ok is not False for finding in self.findings)

    @property
    def facts(self) -> tuple[str, ...]:
        """What was found, one sentence each."""
        return tuple(f"{finding.about}: {finding.fact}" for finding in self.findings)

    @property
    def fixes(self) -> tuple[str, ...]:
        """What mends it, without repetition, the most likely first."""
        wrong = (fix for it in self.findings if it.ok is False for fix in it.fixes)
        return tuple(dict.fromkeys(wrong))

    @property
    def fatal(self) -> bool:
        """Say whether waiting is of no use."""
        return any(finding.fatal for finding in self.findings)

    @override
    def __repr__(self) -> str:
        wrong = sum(finding.ok is False for finding in self.findings)
        return f"<Explanation {self.summary} {wrong} of {len(self.findings)} findings wrong>"

    @override
    def __str__(self) -> str:
        width = max((len(finding.about) for finding in self.findings), default=0)
        lines = [
            f"{MARKS[finding.ok]:2}  {finding.about:{width}}  {finding.fact}"
            for finding in self.findings
        ]
        fixes = " ".join(f"{number}) {fix}" for number, fix in enumerate(self.fixes, start=1))
        return "\n".join([self.summary, *lines, *([f"fix: {fixes}"] if fixes else [])])

    def _repr_html_(self) -> str:
        """Return a card for notebooks."""
        from geopod.client.aio.showing import explanation_card  # only in a notebook

        return explanation_card(self)


async def explain_environment(environment: Environment) -> Explanation:
    """Look at one environment and at what it needs."""
    await environment.refresh_state()
    state = environment.record.state
    findings = list(_conditions(environment))
    if state.phase == "Failed":
        findings.insert(0, _of_error("start", failed_error(state), fatal=True))
    elif state.phase == "Terminated":
        findings.insert(0, _of_error("life", terminated_error(environment.name, state), fatal=True))
    if not environment.nodes:
        findings.insert(0, NO_NODES)
    findings += await environment.diagnose()
    is_told = not state.message or state.phase == "Ready"  # by the number of nodes
    words = "" if is_told else f": {state.message.rstrip('.')}"
    return Explanation(
        summary=f"{environment.name!r} is {state.phase}, {state.ready} of {environment.nodes} "
        f"nodes ready{words}.",
        findings=tuple(findings),
    )


async def explain_run(run: Run, environment: Environment | None) -> Explanation:
    """Look at one run, and at its environment (None: it is gone) while the run waits for it."""
    await run.refresh()
    state, counts = run.state, run.counts
    done = counts["succeeded"] + counts["failed"] + counts["cancelled"]
    words = f": {state.message.rstrip('.')}" if state.message else ""
    summary = (
        f"{run.name!r} is {run.phase}: {done} of {run.total} tasks done, {counts['failed']} "
        f"failed, {counts['running']} running, {counts['retried']} tried again{words}."
    )
    findings: list[Finding] = []
    if run.phase == "Failed" and not counts["failed"] and state.reason:
        refused = from_condition(state.reason, state.message, during="run")
        findings.append(_of_error("run", refused, fatal=True))
    findings += await _failures(run)
    if not run.done and state.progress:
        findings.append(Finding(about="progress", ok=True, fact=state.progress))
    if not run.done and environment is None:
        findings.append(Finding(about="environment", ok=False, fact="it was deleted.", fatal=True))
    elif not run.done and environment is not None and not counts["running"]:
        inner = await explain_environment(environment)
        findings += [Finding(about="environment", ok=None, fact=inner.summary), *inner.findings]
    return Explanation(summary=summary, findings=tuple(findings))


async def explain_task(task: Task) -> Explanation:
    """Look at one task."""
    run = task.run
    await run.refresh()
    error = await run.exception(task.index)
    node = "" if task.node is None else f" on node {task.node}"
    tried = f", attempt {task.attempts}" if task.attempts else ""
    summary = f"Task {task.index} of {run.name!r} is {task.state}{node}{tried}."
    findings: tuple[Finding, ...] = ()
    if error is not None:
        findings = (_of_error("task", error, fatal=run.done),)
    elif not task.done():
        findings = (await explain_run(run, await run.home())).findings
    return Explanation(summary=summary, findings=findings)


async def explain_target(backend: Backend) -> Explanation:
    """Look at every part of a target."""
    findings = tuple(await backend.diagnose())
    wrong = [finding.about for finding in findings if finding.ok is False]
    where = f"target {backend.name!r}, namespace {backend.namespace!r}"
    verdict = f"look at {', '.join(dict.fromkeys(wrong))}" if wrong else "all is well"
    return Explanation(summary=f"{where}: {verdict}.", findings=findings)


async def _failures(run: Run) -> Iterable[Finding]:
    """Return the failures that the run's state names, equal ones together."""
    errors = [(record.index, run.error_of(record)) for record in run.state.failures]
    groups = Counter(type(error).__name__ for _, error in errors)
    found = []
    for index, error in errors:
        name = type(error).__name__
        if name in groups:
            times = groups.pop(name)
            more = f" (and {times - 1} more like it)" if times > 1 else ""
            found.append(
                Finding(
                    about=f"task {index}",
                    ok=False,
                    fact=f"GP-{error.code} {error.fact.partition(chr(10))[0]}{more}",
                    fixes=error.fixes,
                )
            )
    return found[:FAILURES_SHOWN]


def _conditions(environment: Environment) -> Iterable[Finding]:
    for condition in environment.record.state.conditions:
        if condition.type in SUMMARIES:
            continue
        abnormal = condition.type in ABNORMAL_WHEN_TRUE
        reason = f"{condition.reason}: " if condition.reason else ""
        holds = "true" if condition.status else "not yet"
        yield Finding(
            about=condition.type,
            ok=condition.status != abnormal,
            fact=f"{reason}{condition.message or holds}",
        )


def _of_error(about: str, error: GeopodError, *, fatal: bool) -> Finding:
    fact = f"GP-{error.code} {error.fact}"
    return Finding(about=about, ok=False, fact=fact, fixes=error.fixes, fatal=fatal)
