"""Which 403 may pass by itself. Pure: an API server that has just started knows no roles yet.

For a second or two it refuses everybody. Nothing in its answer tells that from a right that is
missing; what was allowed before does.
"""

from __future__ import annotations

from geopod.cluster.limits import Limits
from geopod.cluster.problems import Request

Right = tuple[str, str, str, str]
"""Verb, plural, namespace and subresource: what a role grants."""


class Rights:
    """What one client was allowed, and what it was refused for good."""

    def __init__(self, limits: Limits) -> None:
        """Know nothing yet."""
        self._limits = limits
        self._seen: dict[Right, bool] = {}
        """Whether the last answer allowed it."""

    def allowed(self, request: Request) -> None:
        """The server carried a request out."""
        self._seen[_right(request)] = True

    def refused(self, request: Request, times: int) -> bool:
        """Return whether a request that was refused so many times in a row is worth another.

        Once it is not, its right counts as missing until the server allows it again.
        """
        right = _right(request)
        may_pass = self._seen.get(right, self._limits.rights_are_given)
        if may_pass and times <= self._limits.refusals:
            return True
        self._seen[right] = False
        return False


def _right(request: Request) -> Right:
    return request.verb, request.kind.plural, request.namespace, request.subresource
