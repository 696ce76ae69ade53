"""Is there room for more? The disk's reserve, a tenant's quota, the largest object."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from geopod_gateway.app.asking import RefusedError
from geopod_gateway.app.tenants import Usage


class Room:
    """What may still be written."""

    def __init__(
        self, folder: Path, *, reserve_bytes: int, usage: Usage, max_object_bytes: int
    ) -> None:
        self._folder = folder
        self._reserve = reserve_bytes
        self._max = max_object_bytes
        self.usage = usage

    @property
    def free_bytes(self) -> int:
        """Room on the disk above the reserve; 0 and less: nothing is written any more."""
        status = os.statvfs(self._folder)
        return status.f_bavail * status.f_frsize - self._reserve

    def limit(self, tenant: str, announced: int | None) -> int:
        """Return how long a body may be; raises RefusedError if that is too short for it."""
        wanted = announced or 0
        if wanted > self._max:
            raise RefusedError(413, "TooLarge", f"An object has at most {self._max} bytes.")
        free = self.free_bytes
        if free < wanted or free <= 0:
            raise RefusedError(
                507, "DiskNearlyFull", f"The store is read-only: {max(free, 0)} bytes are free."
            )
        excess = self.usage.excess(tenant, wanted)
        if excess:
            raise RefusedError(
                507,
                "QuotaExceeded",
                f"{wanted} bytes are {excess} over the quota of {self.usage.quota_bytes} bytes; "
                "delete results or ask for a larger quota.",
            )
        if announced is not None:
            return announced
        left = self.usage.quota_bytes - self.usage.held(tenant) if self.usage.quota_bytes else free
        return min(self._max, free, left)

    @contextlib.contextmanager
    def promised(self, tenant: str, size: int) -> Iterator[None]:
        """Count bytes that are arriving against the quota."""
        self.usage.promise(tenant, size)
        try:
            yield
        finally:
            self.usage.promise(tenant, -size)
