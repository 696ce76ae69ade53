"""Environments, runs and tasks as a notebook shows them: one card each, from what is known here.

Nothing is fetched: whoever shows a card hands over what it has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from geopod.api.plan import Plan
from geopod.api.results import Failure, TaskRecord
from geopod.api.runs import EnvironmentState, RunOrder, RunState
from geopod.display import html
from geopod.display.maps import legend, partition_map, state_strip
from geopod.display.states import look, node_states, state_badge, task_states
from geopod.display.text import duration
from geopod.errors.remote import with_source
from geopod.errors.runs import TIMES
from geopod.errors.wording import items_text, option_text, size_text

MOST_GROUPS = 5
"""Kinds of failure that are shown, one traceback each."""
MOST_NAMED = 8


def environment_card(
    name: str, spec: Mapping[str, Any], state: EnvironmentState, *, python: str, plan: Plan | None
) -> str:
    """Return an environment: its phase, what it has, and where its nodes lie."""
    nodes = int(spec.get("nodes", 1))
    states = dict(enumerate(node_states(state, nodes)))
    drawn = partition_map(plan, states) if plan is not None else ""
    layers = state.layers or spec.get("layers", ())
    known = {
        "nodes": f"{state.ready} of {nodes} ready",
        "Python": python,
        "layers": items_text([_layer_name(layer) for layer in layers], limit=MOST_NAMED),
        "files": items_text([str(file)[:12] for file in spec.get("files", ())], limit=MOST_NAMED),
        "requirements": items_text(spec.get("requirements", ()), limit=MOST_NAMED),
        "memory": spec.get("resources", {}).get("memory"),
        "cpus": spec.get("resources", {}).get("cpu"),
        "idle after": _span(spec.get("idle", {}).get("afterSeconds")),
        "plan": _plan_text(plan),
    }
    is_said = state.phase == "Ready"  # by the number of nodes
    message = html.paragraph(state.message) if state.message and not is_said else ""
    return html.card(
        "Environment",
        name,
        message,
        html.facts(known),
        drawn or state_strip(states, noun="node"),
        state=state_badge(state.phase),
        colour=look(state.phase).colour,
    )


def run_card(
    order: RunOrder, state: RunState, records: Iterable[TaskRecord], *, plan: Plan | None
) -> str:
    """Return a run: its counts, its tasks' states, and its failures, equal ones together.

    `records`: of finished tasks, as far as they were read.
    """
    total = state.total or order.count
    phase = state.phase or "Queued"
    indexes = order.partitions if order.partitions is not None else range(total)
    states = task_states(state, indexes)
    failed = {record.index: record for record in (*state.failures, *records) if record.failure}
    drawn = ""
    if plan is not None and order.mode == "PerNode":
        drawn = partition_map(plan, states, noun="task")
    known = {
        "function": order.function.name,
        "tasks": _counts(state, total),
        "tried again": state.retried or None,
        "took": duration(state.finished - state.started)
        if state.finished and state.started
        else None,
        "tags": ", ".join(order.tags),
    }
    return html.card(
        "Run",
        order.name,
        html.paragraph(state.message) if state.message else "",
        _meter(state, total),
        html.facts(known),
        drawn or state_strip(states) or legend(states.values()),
        failure_groups(failed.values(), state.failed),
        state=state_badge(phase),
        colour=look(phase).colour,
    )


def task_card(run: str, index: int, state: str, record: TaskRecord | None) -> str:
    """Return a task: where it ran, how long, and why it failed."""
    known: dict[str, object] = {"run": run}
    body = ""
    if record is not None:
        known |= {
            "node": str(record.node),
            "attempts": str(record.attempt),
            "took": duration(record.runtime_s),
            "peak memory": size_text(record.peak_bytes) if record.peak_bytes else None,
            "read": ", ".join(record.touched),
            "result": f"{record.entry.codec}, {size_text(record.entry.bytes)}"
            if record.entry
            else None,
        }
        body = failure_groups([record], 1) if record.failure is not None else ""
    return html.card(
        "Task",
        str(index),
        html.facts(known),
        body,
        state=state_badge(state),
        colour=look(state).colour,
    )


def failure_groups(records: Iterable[TaskRecord], total: int) -> str:
    """Return failures grouped by what they say, one traceback per group."""
    groups: dict[tuple[str, str], list[tuple[int, Failure]]] = {}
    for record in sorted(records, key=lambda record: record.index):
        if record.failure is not None:
            groups.setdefault(_said(record.failure), []).append((record.index, record.failure))
    largest = sorted(groups.items(), key=lambda group: -len(group[1]))
    shown = "".join(_group(name, words, found) for (name, words), found in largest[:MOST_GROUPS])
    known = sum(len(found) for found in groups.values())
    hidden = len(groups) - MOST_GROUPS
    more = f"<div>and {hidden} more kinds of failure</div>" if hidden > 0 else ""
    unread = f"<div>{total - known} more failed; run.failed names them</div>" if known else ""
    return shown + more + (unread if total > known else "")


def _group(name: str, words: str, found: Sequence[tuple[int, Failure]]) -> str:
    index, failure = found[0]
    tasks = ("task " if len(found) == 1 else "tasks ") + items_text(
        [index for index, _ in found], limit=MOST_NAMED
    )
    times = f"{len(found)} {TIMES} " if len(found) > 1 else ""
    trace = with_source(failure.exception.text) if failure.exception is not None else ""
    head = f"{times}{name} ({tasks})"
    return (
        f"<div>{state_badge('failed')} {html.escape(head)}: {html.escape(words)}</div>"
        + (html.fold(f"Traceback of task {index}", trace) if trace else "")
        + html.steps(failure.fixes)
    )


def _said(failure: Failure) -> tuple[str, str]:
    """Return the type and the message by which failures are one kind."""
    if failure.exception is not None:
        return failure.exception.type, html.shortened(failure.exception.message, 300)
    return f"GP-{failure.code} {failure.reason}", html.shortened(failure.fact, 300)


def _meter(state: RunState, total: int) -> str:
    parts = [
        (state.succeeded, look("succeeded").colour),
        (state.failed, look("failed").colour),
        (state.cancelled, look("cancelled").colour),
        (state.running, look("running").colour),
    ]
    return html.meter(parts, total, label=_counts(state, total))


def _counts(state: RunState, total: int) -> str:
    """Return `172 of 240 succeeded, 3 failed, 4 running`."""
    others = [
        f"{count} {word}"
        for count, word in (
            (state.failed, "failed"),
            (state.cancelled, "cancelled"),
            (state.running, "running"),
        )
        if count
    ]
    return ", ".join([f"{state.succeeded} of {total} succeeded", *others])


def _layer_name(layer: Mapping[str, Any]) -> str:
    path_id, timestamp = str(layer.get("pathId", "")), str(layer.get("timestampId", ""))
    return f"{path_id}/{timestamp}" if timestamp and timestamp != path_id else path_id


def _span(value: float | None) -> str | None:
    return None if value is None else option_text(value)


def _plan_text(plan: Plan | None) -> str | None:
    filled = [part for part in plan.partitions if part.core is not None] if plan else []
    if not filled:
        return None
    largest = max(part.est_bytes for part in filled)
    features = sum(part.est_features for part in filled)
    counted = f", {features:,} features" if features else ""
    return f"{len(filled)} partitions, largest {size_text(largest)}{counted}"
