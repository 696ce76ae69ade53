"""Policies of an environment: sleep, roll-out, network, how long results and runs are kept."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from geopod.api.common import AS_SET, AS_WHOLE, INT_OR_STRING, Cidr, Model, Port

Share = Annotated[
    Annotated[int, Field(ge=1)]
    | Annotated[str, StringConstraints(pattern=r"^([1-9][0-9]?|100)%$", max_length=4)],
    Field(json_schema_extra=INT_OR_STRING),
]
"""A number of nodes, or a share like `10%`."""


class Idle(Model):
    """What happens to nodes that nobody uses."""

    after_seconds: Annotated[int, Field(ge=60, le=604_800)] = 1800
    """Seconds after the last activity."""
    policy: Literal["ScaleToZero", "Suspend", "Delete"] = "ScaleToZero"
    """Nodes go; nodes and coordinator go; the environment goes. A run wakes the first two."""


class Rollout(Model):
    """How changed requirements, images and resources reach the nodes."""

    max_unavailable: Share = "10%"
    """Nodes that may be away at once, a number or a share."""
    drain_seconds: Annotated[int, Field(ge=0, le=86_400)] = 600
    """How long a running task may go on when its node is put to sleep or scaled away."""
    progress_deadline_seconds: Annotated[int, Field(ge=60, le=86_400)] = 1800
    """After this long without progress the environment is reported as stalled."""


class EgressRule(Model):
    """One range of addresses that nodes may reach."""

    cidr: Cidr
    """Range of addresses, `10.0.0.0/8`."""
    ports: Annotated[tuple[Port, ...], Field(max_length=8, json_schema_extra=AS_SET)] = ()
    """TCP ports; empty: all."""


class Network(Model):
    """What nodes may reach."""

    mode: Literal["Restricted", "Open", "None"] = "Restricted"
    """Restricted: geopod, layers and egress. Open: the internet too. None: geopod alone."""
    egress: Annotated[tuple[EgressRule, ...], Field(max_length=32, json_schema_extra=AS_WHOLE)] = ()
    """More addresses that are open."""


class Results(Model):
    """How long results and logs are kept."""

    keep_seconds: Annotated[int, Field(ge=0, le=31_536_000)] = 604_800
    """Seconds after the end of a run."""
    on_delete: Literal["Retain", "Purge"] = "Retain"
    """Whether deleting the environment deletes its results at once."""


class HistoryLimit(Model):
    """How many finished runs stay listed."""

    succeeded: Annotated[int, Field(ge=0, le=10_000)] = 50
    """Succeeded and cancelled runs."""
    failed: Annotated[int, Field(ge=0, le=10_000)] = 20
    """Failed runs."""
