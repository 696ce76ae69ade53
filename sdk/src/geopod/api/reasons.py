"""Types and reasons of conditions, and the sentence that each reason says.

A sentence is a template over named values; `sentence` fills it in. Light: no pydantic, so that a
coordinator may use it. Source: the project's operator design, §2 and §5.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from string import Formatter


class EnvironmentCondition(StrEnum):
    """Aspects of a ComputeEnvironment, in the order in which Ready looks at them."""

    ACCEPTED = "Accepted"
    DEPENDENCIES_READY = "DependenciesReady"
    LAYERS_RESOLVED = "LayersResolved"
    COORDINATOR_READY = "CoordinatorReady"
    NODES_READY = "NodesReady"
    AVAILABLE = "Available"
    PROGRESSING = "Progressing"
    SUSPENDED = "Suspended"
    STALLED = "Stalled"
    READY = "Ready"


ENVIRONMENT_ORDER = tuple(EnvironmentCondition)


class RunCondition(StrEnum):
    """Aspects of a ComputeRun."""

    ACCEPTED = "Accepted"
    DISPATCHED = "Dispatched"
    COMPLETE = "Complete"
    FAILED = "Failed"
    RESULTS_AVAILABLE = "ResultsAvailable"


FATAL = frozenset({
    "ResolutionFailed", "AuthFailed", "DuplicateKey", "MissingCRS", "UnsupportedCRS",
    "UnsupportedGrid", "NoOverlap", "UnknownBand", "OverlapTooLarge", "PartitionTooLarge",
    "SourceChanged", "ImagePullFailed", "PodRefused", "ProgressDeadlineExceeded",
})  # fmt: skip  # a set of words reads best in lines
"""Reasons that do not heal by themselves: a person has to act."""

_IMAGE = (
    "image {image} cannot be pulled on {count}/{total} nodes: {words}. "
    "Check ComputeRuntime {runtime} and imagePullSecrets [{secrets}]."
)
_PLACE = (
    "{count}/{total} nodes wait for a place: {words}. Each asks {cpu} cpu, {memory}, {gpus}. "
    "{advice}"
)
_CRASH = "{pod}/{container} exited {exit} ({signal}) {count} times: {words}."
_QUOTA = (
    "quota {quota} in {namespace} refuses pods: {words}. {fits} of {total} nodes fit; "
    "lower spec.nodes or raise the quota."
)
_QUOTED = "{message}"
"""The message is a public error's own text."""

SHARED = {
    "Starting": "the coordinator starts.",
    "Unschedulable": _PLACE,
    "ImagePullFailed": _IMAGE,
    "CrashLoop": _CRASH,
    "QuotaExceeded": _QUOTA,
}

ENVIRONMENT_REASONS: Mapping[EnvironmentCondition, Mapping[str, str]] = {
    EnvironmentCondition.ACCEPTED: {
        "Accepted": "the spec is understood.",
        "InvalidRequirement": _QUOTED,
        "RuntimeNotFound": "no ComputeRuntime {runtime!r} (there are: {names}).",
        "UnknownInterpreter": "ComputeRuntime {runtime} does not offer {interpreter}. "
        "Offered: {names}.",
        "LayerNotFound": _QUOTED,
        "LimitExceeded": "ComputeRuntime {runtime} allows {what}={limit}; the spec asks {asked}.",
        "NameConflict": "{kind} {name} exists and is not geopod's: rename the environment or "
        "delete it.",
    },
    EnvironmentCondition.DEPENDENCIES_READY: {
        "Built": "the environment bundle {key} is in the store.",
        "NotNeeded": "there is nothing to install.",
        "Resolving": "requirements are being installed for {python} {platform}.",
        "ResolutionFailed": "requirements cannot be installed for {python} {platform}: {words}. "
        "Full log: {log}.",
        "IndexUnreachable": "the package index {url} does not answer: {words}. "
        "Next try in {seconds} s.",
        "BuilderFailed": "the builder ended with exit {exit}: {words}. Full log: {log}.",
    },
    EnvironmentCondition.LAYERS_RESOLVED: {
        "Planned": "{count} layers are cut into {parts} partitions.",
        "Reading": "headers of {count} layers are being read.",
        "LayerUnreachable": _QUOTED,
        "AuthFailed": _QUOTED,
        "DuplicateKey": _QUOTED,
        "MissingCRS": _QUOTED,
        "UnsupportedCRS": _QUOTED,
        "UnsupportedGrid": _QUOTED,
        "NoOverlap": _QUOTED,
        "UnknownBand": _QUOTED,
        "OverlapTooLarge": _QUOTED,
        "PartitionTooLarge": _QUOTED,
        "SourceChanged": _QUOTED,
    },
    EnvironmentCondition.COORDINATOR_READY: {"Available": "the coordinator runs.", **SHARED},
    EnvironmentCondition.NODES_READY: {
        "AllReady": "{total} of {total} nodes are ready.",
        "Scaling": "{count} of {total} nodes are ready.",
        **{word: text for word, text in SHARED.items() if word != "Starting"},
        "OutOfMemory": "node {index} went over {limit} {count} times, last in run {run}. "
        "Raise spec.resources.memory or spec.nodes.",
        "NodeLost": "nodes {indexes} do not answer; their partitions run elsewhere.",
        "PodRefused": "{words}",
    },
    EnvironmentCondition.AVAILABLE: {
        "MinimumReady": "runs can start.",
        "BelowMinimum": "{count} nodes are ready; runs start at {minimum} (minReadyNodes).",
    },
    EnvironmentCondition.PROGRESSING: {
        "RollingOut": "{count} of {total} nodes have the wanted template.",
        "RolloutComplete": "all nodes have the wanted template.",
        "ProgressDeadlineExceeded": "no progress for {seconds} s: {words}.",
    },
    EnvironmentCondition.SUSPENDED: {
        "UserRequested": "asleep because spec.suspend is true; set it to false to wake it.",
        "IdleTimeout": "asleep after {seconds} s without a run; the next run wakes it.",
        "NotAdmitted": "waits for its queue to admit it.",
        "Awake": "awake.",
    },
    EnvironmentCondition.STALLED: {"NotStalled": "nothing waits for a person."},
    EnvironmentCondition.READY: {
        "Ready": "runs can start.",
        "Reconciling": "{type} is not known yet for this spec.",
    },
}
"""Condition -> reason -> sentence, the reason of its True state first."""

RUN_REASONS: Mapping[RunCondition, Mapping[str, str]] = {
    RunCondition.ACCEPTED: {
        "Accepted": "the run is queued.",
        "EnvironmentNotFound": 'no ComputeEnvironment "{environment}" in {namespace} '
        "(there are: {names}).",
        "EnvironmentNotReady": "environment {environment} is not ready: {words}",
        "Suspended": "environment {environment} is suspended; the run starts when spec.suspend is "
        "false.",
        "QueueFull": "{count} runs wait already (maxQueuedRuns); retried until the queue timeout.",
        "InterpreterMismatch": "function made on Python {made}, environment runs {runs}: use "
        "interpreter python{made}, or format source.",
        "PayloadTooLarge": "{what} is {size} bytes; the limit is {limit}.",
        "FunctionNotAllowed": "layer {layer} does not allow function {sha256}.",
    },
    RunCondition.DISPATCHED: {
        "Dispatched": "all tasks were handed to nodes at least once.",
        "Waiting": "{count} of {total} tasks wait for a node.",
    },
    RunCondition.COMPLETE: {"Succeeded": "all {total} tasks succeeded."},
    RunCondition.FAILED: {
        "TaskFailed": "{count} of {total} tasks failed: {words}.",
        "DeadlineExceeded": "the run was stopped after {seconds} s (runTimeoutSeconds); "
        "{count} of {total} results are kept.",
        "QueueDeadlineExceeded": "no ready environment within {seconds} s (queueTimeoutSeconds): "
        "{words}",
        "Cancelled": "cancelled; {count} of {total} results are kept.",
        "EnvironmentDeleted": "environment {environment} was deleted while the run was going on.",
        "FunctionNotLoadable": "the function cannot be loaded on the nodes: {words}",
        "InconsistentParts": _QUOTED,
        "ShapeMismatch": _QUOTED,
        "NotAFileResult": _QUOTED,
        "PublishFailed": _QUOTED,
    },
    RunCondition.RESULTS_AVAILABLE: {
        "Stored": "{count} results are in the store.",
        "Expired": "results expired after {seconds} s (results.keepSeconds); run it again.",
        "Deleted": "results were deleted as the annotation delete-results asks; run it again.",
    },
}
"""Condition -> reason -> sentence."""


def sentence(
    condition_type: EnvironmentCondition | RunCondition, reason: str, **values: object
) -> str:
    """Return the sentence of a reason with its values filled in.

    Raises KeyError for a reason that the condition does not have, or a value that is missing.
    """
    return _template(condition_type, reason).format(**values)


def value_names(condition_type: EnvironmentCondition | RunCondition, reason: str) -> frozenset[str]:
    """Return the names of the values that a reason's sentence takes."""
    parsed = Formatter().parse(_template(condition_type, reason))
    return frozenset(name for _, name, _, _ in parsed if name)


def _template(condition_type: EnvironmentCondition | RunCondition, reason: str) -> str:
    match condition_type:
        case EnvironmentCondition():
            return ENVIRONMENT_REASONS[condition_type][reason]
        case RunCondition():
            return RUN_REASONS[condition_type][reason]
