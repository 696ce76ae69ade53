"""What an ended builder Job answers: read from its pods, told as a reason and a sentence."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from geopod.api import reasons
from geopod.api.reasons import EnvironmentCondition

from geopod_operator.environment.bundle import architecture
from geopod_operator.environment.masking import mask
from geopod_operator.environment.observed import Raw
from geopod_operator.environment.resolved import Resolved

CONDITION = EnvironmentCondition.DEPENDENCIES_READY
FIRST_RETRY_S = 30.0
LISTED_AGAIN_S = 1.0
"""Where a Job ended while its pods were listed."""
WORDS = 2048
_ENDED = reasons.sentence(CONDITION, "BuilderFailed", exit="", words="", log="").partition(":")[0]


def ended_at(job: Raw) -> datetime | None:
    """Return when a Job ended, well or not."""
    for condition in (job.get("status") or {}).get("conditions", []):
        if condition["type"] in {"Complete", "Failed"} and condition["status"] == "True":
            return datetime.fromisoformat(condition["lastTransitionTime"])
    return None


def result_of(pods: tuple[Raw, ...], job: str) -> Raw | None:
    """Return the builder's own answer from its youngest pod, or what is known of its end.

    None: the pods were listed before they ended.
    """
    for pod in pods_of(pods, job):
        status = pod.get("status") or {}
        states = [*status.get("containerStatuses", []), *status.get("initContainerStatuses", [])]
        for state in states:
            ended = state.get("state", {}).get("terminated")
            if ended and state["name"] == "upload":
                return _parsed(ended)
            if ended and ended.get("exitCode"):
                return {"exit": ended["exitCode"], "lines": [ended.get("message", "")]}
        if status.get("message"):
            return {"exit": "unknown", "lines": [status["message"]]}
        if status.get("phase") in {"Pending", "Running"}:
            return None
    return {"exit": "unknown", "lines": ["its pod is gone"]}


def pods_of(pods: tuple[Raw, ...], job: str) -> list[Raw]:
    """Return the Job's pods, the youngest first."""
    label = "batch.kubernetes.io/job-name"
    own = [it for it in pods if (it["metadata"].get("labels") or {}).get(label) == job]
    return sorted(
        own, key=lambda it: str(it["metadata"].get("creationTimestamp", "")), reverse=True
    )


def _parsed(ended: Raw) -> Raw:
    text = ended.get("message", "")
    try:
        said = json.loads(text)
    except ValueError:
        said = None
    if isinstance(said, dict):
        return said
    return {"exit": ended.get("exitCode", "unknown"), "lines": [text or ended.get("reason", "")]}


def failure_of(result: Raw, resolved: Resolved) -> dict[str, Any]:
    """Return reason and message of a failed build."""
    lines = "\n".join(str(line) for line in result.get("lines", []))
    words = mask(lines).strip()[:WORDS].rstrip(". ")
    log = str(result.get("logSha256") or "none")
    reason = result.get("reason")
    if reason == "ResolutionFailed":
        message = say(
            reason,
            python=python_of(resolved),
            platform=platform_of(resolved),
            words=words,
            log=log,
        )
    elif reason == "IndexUnreachable":
        index = resolved.runtime.index
        url = mask((index.url if index else None) or "https://pypi.org/simple")
        message = say(reason, url=url, words=words, seconds=int(FIRST_RETRY_S))
    else:
        reason = "BuilderFailed"
        message = say(reason, exit=result.get("exit", "unknown"), words=words, log=log)
    return {"reason": reason, "message": message}


def python_of(resolved: Resolved) -> str:
    """Return the Python that packages are for, as a sentence names it."""
    return resolved.interpreter.name


def is_answer(reason: str, message: str) -> bool:
    """Say whether a condition tells how a build ended; else it tells why its pod does not start."""
    return reason != "BuilderFailed" or message.startswith(_ENDED)


def platform_of(resolved: Resolved) -> str:
    """Return the platform that packages are for, as a sentence names it."""
    return resolved.interpreter.abi or f"linux/{architecture(resolved) or 'any'}"


def say(reason: str, **values: object) -> str:
    """Return the sentence of a reason of DependenciesReady."""
    return reasons.sentence(CONDITION, reason, **values)
