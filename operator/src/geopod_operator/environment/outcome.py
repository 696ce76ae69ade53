"""What a plan asks of the shell. Every field is data; the shell decides nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from geopod_operator.environment.observed import Raw, Ref


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """One object to delete; missing already is as good."""

    ref: Ref
    uid: str | None = None
    """Delete this very object, not a namesake."""
    propagation: Literal["Background", "Foreground", "Orphan"] = "Background"
    grace_s: int | None = None
    """0: without waiting for the kubelet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One Event about the environment (or the run that `about` names)."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str
    about: Ref | None = None
    """None: the environment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """Status of a run that no coordinator serves, for a server-side apply with force."""

    name: str
    status: Raw


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What must be fetched before the plan is whole.

    If anything is asked for, the shell fetches it, and plans again at once with what it found;
    the other fields of the outcome are then empty.
    """

    children: frozenset[Ref] = frozenset()
    """GET these; what is absent goes into `Observed.children` as None."""
    pods: bool = False
    """LIST the pods with `pod_selector`, and the FailedCreate Events on `events_about`."""
    pod_selector: str = ""
    events_about: tuple[Ref, ...] = ()

    def __bool__(self) -> bool:
        """Say whether anything is asked for."""
        return bool(self.children) or self.pods


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What to do for one environment, in this order: deletes, applies, runs, status, events."""

    needs: Needs = Needs()
    stale: frozenset[Ref] = frozenset()
    """Children to forget: somebody else holds the name, and nobody tells when it is free."""
    deletes: tuple[Delete, ...] = ()
    applies: tuple[Raw, ...] = ()
    """Children, each by server-side apply with force; in this order, the first failure ends it."""
    run_statuses: tuple[RunStatus, ...] = ()
    finalizers: tuple[str, ...] | None = None
    """The environment's `metadata.finalizers`, if they shall change."""
    status: Raw | None = None
    """All fields of the status that the operator owns; None: nothing changed, write nothing."""
    holds_counts: bool = False
    """A change of counts alone waits (`Observed.counts_wait_s`)."""
    events: tuple[Event, ...] = ()
    requeue_after: float | None = None
    """Seconds until time alone may change the plan; None: only an event does."""
