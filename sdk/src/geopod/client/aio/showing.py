"""What a notebook shows of the client's objects, and the rows of what it lists.

A plain object may fetch the plan for its map, but waits little for it: a picture is no reason to
hang.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from geopod.display import cards, html
from geopod.display.states import look, state_badge
from geopod.display.text import duration
from geopod.errors import GeopodError
from geopod.errors.wording import size_text
from geopod.store import KeyMissingError

if TYPE_CHECKING:
    from geopod.api.plan import Plan
    from geopod.client.aio.check import CheckReport
    from geopod.client.aio.environment import Environment
    from geopod.client.aio.explain import Explanation
    from geopod.client.aio.run import Run
    from geopod.client.layerlike import LayerRef

PLAN_WAIT_S = 3.0


async def environment_html(environment: Environment) -> str:
    """Return an environment's card with its map."""
    if sha256 := environment.record.state.plan_sha256:
        with suppress(GeopodError, KeyMissingError, TimeoutError):
            async with asyncio.timeout(PLAN_WAIT_S):
                await environment.read_plan(sha256)
    return environment_card(environment)


def environment_card(environment: Environment) -> str:
    """Return an environment's card; with its map if the plan was read before."""
    record = environment.record
    return cards.environment_card(
        record.name,
        record.spec,
        record.state,
        python=record.interpreter,
        plan=environment.known_plan,
    )


async def run_html(run: Run) -> str:
    """Return a run's card; where its partitions have a plan, with their map."""
    plan = None
    if run.order.mode == "PerNode":
        with suppress(GeopodError, KeyMissingError, TimeoutError):
            async with asyncio.timeout(PLAN_WAIT_S):
                plan = await run.plan()
    return run_card(run, plan)


def run_card(run: Run, plan: Plan | None = None) -> str:
    """Return a run's card of what was heard of it."""
    return cards.run_card(run.order, run.state, run.known_records, plan=plan)


def explanation_card(explanation: Explanation) -> str:
    """Return what was found as a table, and what mends it."""
    words = {True: "ok", False: "failed", None: "unknown"}
    rows = [(it.about, words[it.ok], it.fact) for it in explanation.findings]
    state = "succeeded" if explanation.ok else "failed"
    return html.card(
        "Explanation",
        "",
        html.paragraph(explanation.summary),
        html.table(("about", "state", "fact"), rows, total=len(rows)) if rows else "",
        html.steps(explanation.fixes),
        state=state_badge("ok" if explanation.ok else "failed"),
        colour=look(state).colour,
    )


def check_card(report: CheckReport) -> str:
    """Return what a function did on the partitions that were tried."""
    state = "succeeded" if report.ok else "failed"
    known = {
        "sent as": f"{report.format}, {report.function_bytes:,} bytes",
        "tried on": f"{len(report.partitions)} of {report.nodes} partitions",
        "layers used": ", ".join(report.touched),
        "result": ", ".join(sorted(set(report.codecs))),
        "largest result": size_text(max(report.result_bytes, default=0)),
        "limit": size_text(report.limit_bytes) if report.limit_bytes is not None else "none",
        "seconds per node": f"{report.estimate_s:.2f}",
        "peak memory": size_text(max(report.peak_bytes, default=0)),
    }
    return html.card(
        "Check",
        report.function,
        html.facts(known),
        html.paragraph(report.failure) if report.failure else "",
        state=state_badge(state),
        colour=look(state).colour,
    )


def run_row(run: Any) -> dict[str, object]:
    """Return a run as a row; plain or not."""
    counts = run.counts
    return {
        "name": run.name,
        "phase": run.phase,
        "done": f"{counts['succeeded']}/{counts['total']}",
        "failed": counts["failed"],
        "function": run.function_name,
        "created": _moment(run.created),
    }


def task_row(task: Any) -> dict[str, object]:
    """Return a task as a row; plain or not."""
    return {
        "task": task.index,
        "state": task.state,
        "reason": task.reason,
        "node": "" if task.node is None else task.node,
        "attempts": task.attempts,
        "took": "" if task.runtime is None else duration(task.runtime),
    }


def environment_row(environment: Any) -> dict[str, object]:
    """Return an environment as a row; plain or not."""
    return {
        "name": environment.name,
        "phase": environment.phase,
        "nodes": f"{environment.nodes_ready}/{environment.nodes}",
        "Python": environment.python_version,
        "layers": len(environment.layers),
        "created": _moment(environment.created),
    }


def layer_row(layer: LayerRef) -> dict[str, object]:
    """Return a layer as a row."""
    return {
        "name": layer.path_id,
        "type": layer.type,
        "timestamps": ", ".join(layer.timestamps[-5:]),
        "files": sum(len(layer.files(stamp)) for stamp in layer.timestamps),
    }


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}Z" if seconds else ""
