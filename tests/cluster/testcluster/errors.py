"""The one way in which the test cluster says no: a fact, then what to do about it."""

from __future__ import annotations


class ClusterError(Exception):
    """A sentence for a person: what is wrong, with numbers, and the command that mends it."""

    def __init__(self, fact: str, *, fix: str) -> None:
        super().__init__(f"{fact}; {fix}")
        self.fact = fact
        self.fix = fix


class NoClusterHereError(ClusterError):
    """This machine cannot have a cluster: cluster tests are skipped with the reason."""
