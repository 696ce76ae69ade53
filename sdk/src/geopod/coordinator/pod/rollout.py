"""Nodes of an earlier template: drained a few at a time, idle ones first, then told as drained.

The operator replaces the pods of drained nodes; a node that comes back is a fresh one.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

from geopod.api.compact import join_ranges
from geopod.coordinator.service import Coordinator


class Rollout:
    """Brings nodes to the template that the operator wants."""

    def __init__(self) -> None:
        self._wanted = ""

    def follow(self, coordinator: Coordinator, manifest: Mapping[str, Any]) -> list[int]:
        """Drain nodes that the environment of now allows to be away.

        Returns those whose drain has lost its reason: suspended no more, or wanted as they are.
        """
        self._wanted = (manifest.get("status") or {}).get("templateHash", "")
        nodes = coordinator.settings.nodes
        rule = (manifest["spec"].get("rollout") or {}).get("maxUnavailable", "10%")
        view = coordinator.nodes_view()
        chosen = choose(
            outdated=[it.index for it in view if it.template_hash not in {"", self._wanted}],
            busy={it.index for it in view if it.is_busy},
            away={*range(nodes)} - {it.index for it in view if not it.is_drained},
            allowed=max_unavailable(rule, nodes),
        )
        if coordinator.settings.suspended:
            return []
        if self._wanted:
            coordinator.drain(chosen)
        return [
            it.index
            for it in view
            if it.is_drained and it.index < nodes and it.template_hash in {"", self._wanted}
        ]

    def outdated(self, coordinator: Coordinator) -> int:
        """Return how many nodes are of an earlier template."""
        if not self._wanted:
            return 0
        hashes = [it.template_hash for it in coordinator.nodes_view()]
        return sum(it not in {"", self._wanted} for it in hashes)

    def drained(self, coordinator: Coordinator) -> str:
        """Return the ranges of nodes that hold nothing and may be replaced or taken away."""
        view = coordinator.nodes_view()
        return join_ranges(sorted(it.index for it in view if it.is_drained and not it.is_busy))


def max_unavailable(rule: int | str, nodes: int) -> int:
    """Return how many of `nodes` may be away: a number, or a share rounded up, at least one."""
    if isinstance(rule, int):
        return max(1, rule)
    return max(1, math.ceil(int(rule.rstrip("%")) * nodes / 100))


def choose(
    *, outdated: Collection[int], busy: Collection[int], away: Collection[int], allowed: int
) -> list[int]:
    """Return the nodes to drain now: idle before busy, as many as may still be away."""
    room = allowed - len(away)
    ready = sorted(set(outdated) - set(away), key=lambda index: (index in busy, index))
    idle = [index for index in ready if index not in busy]
    # Busy ones wait for their runs unless nothing idle is left to change.
    return (idle or ready)[: max(0, room)]
