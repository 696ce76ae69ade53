"""How much each tenant stores, and whether another object still fits. No I/O in here.

Counted from the listing at the start and at each sweep, and from what is written in between.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

SHARED = "shared"


def tenant_of(key: str) -> str:
    """Return whose folder a key is in: an environment's uid, or `shared/<namespace>`."""
    first, _, rest = key.partition("/")
    return f"{SHARED}/{rest.partition('/')[0]}" if first == SHARED else first


@dataclass(slots=True)
class Usage:
    """Bytes by tenant."""

    quota_bytes: int
    """0: no limit."""
    _stored: dict[str, int] = field(default_factory=dict)
    _promised: dict[str, int] = field(default_factory=dict)
    _meanwhile: dict[str, int] = field(default_factory=dict)

    def excess(self, tenant: str, wanted: int) -> int:
        """Return by how many bytes `wanted` more would be over the quota; 0: it fits."""
        if not self.quota_bytes:
            return 0
        return max(self.held(tenant) + wanted - self.quota_bytes, 0)

    def held(self, tenant: str) -> int:
        """Return what is stored and what is arriving."""
        return self._stored.get(tenant, 0) + self._promised.get(tenant, 0)

    def promise(self, tenant: str, size: int) -> None:
        """Count bytes that are arriving; negative: they arrived, or will not."""
        self._promised[tenant] = self._promised.get(tenant, 0) + size

    def changed(self, tenant: str, by: int) -> None:
        """Count bytes that were written or, negative, removed."""
        for counts in (self._stored, self._meanwhile):
            counts[tenant] = max(counts.get(tenant, 0) + by, 0)

    def begin_count(self) -> None:
        """Remember what is written from now on: a count of all objects may not see it."""
        self._meanwhile = {}

    def counted(self, stored: Mapping[str, int]) -> None:
        """Replace the count by one of all objects, which began with `begin_count`.

        What was written meanwhile may be in it twice until the next count; never not at all.
        """
        self._stored = {
            tenant: stored.get(tenant, 0) + self._meanwhile.get(tenant, 0)
            for tenant in stored.keys() | self._meanwhile.keys()
        }

    @property
    def total(self) -> int:
        """Bytes of all tenants."""
        return sum(self._stored.values())
