"""What was asked of the API server, from its audit log."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.process_builders import until
from cluster.testcluster.kubectl import Kubectl, KubectlError

WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


@dataclass(frozen=True, slots=True)
class Request:
    """One request that the API server has answered."""

    user: str
    verb: str
    resource: str
    """Plural, and its subresource: `computeruns/status`."""
    namespace: str
    name: str
    code: int
    received: str
    """When, to the microsecond: texts that sort by time."""

    @property
    def is_write(self) -> bool:
        return self.verb in WRITES


@dataclass(frozen=True, slots=True)
class Audit:
    """The log from some moment on."""

    log: Path
    kubectl: Kubectl
    start: int

    @classmethod
    def now(cls, log: Path, kubectl: Kubectl) -> Audit:
        return cls(log, kubectl, log.stat().st_size)

    def requests(self) -> list[Request]:
        """Every request up to now: one that is made here marks the end."""
        mark = f"mark-{uuid.uuid4().hex}"
        with contextlib.suppress(KubectlError):
            self.kubectl("get", "configmap", mark)
        found: list[Request] = []

        def is_marked() -> bool:
            found[:] = list(self._read())
            return any(it.name == mark for it in found)

        until(is_marked)
        return [it for it in found if it.name != mark]

    def _read(self) -> Iterator[Request]:
        with self.log.open("rb") as lines:
            lines.seek(self.start)
            for line in lines:
                if line.endswith(b"\n"):
                    yield _request(json.loads(line))


def _request(entry: dict[str, Any]) -> Request:
    about = entry.get("objectRef", {})
    parts = (about.get("resource", ""), about.get("subresource", ""))
    return Request(
        user=entry["user"]["username"],
        verb=entry["verb"],
        resource="/".join(part for part in parts if part),
        namespace=about.get("namespace", ""),
        name=about.get("name", ""),
        code=entry.get("responseStatus", {}).get("code", 0),
        received=entry["requestReceivedTimestamp"],
    )
