"""API clients of a fake server: signed in or not, mortal or not."""

from __future__ import annotations

from geopod.cluster.client import ApiClient
from geopod.cluster.connection import Connection, TlsFiles
from geopod.cluster.limits import Limits
from geopod.cluster.transport import Transport

FAST = Limits(qps=100_000, burst=100_000, tries=3)


class FixedSource:
    """Where the fake server is; a token if the test wants one."""

    def __init__(self, base_url, *, bearer="", expires_in_s=None):
        self.base_url, self.bearer = str(base_url).rstrip("/"), bearer
        self.expires_in_s = expires_in_s
        self.loads = 0

    async def load(self, before=None):
        self.loads += 1
        return Connection(
            base_url=self.base_url,
            context="fake",
            namespace="geo",
            tls=TlsFiles(),
            ssl=True,
            authorization=f"Bearer {self.bearer}-{self.loads}" if self.bearer else "",
            expires_in_s=self.expires_in_s,
        )


class KilledError(Exception):
    """The process ended here."""


class DyingTransport(Transport):
    """Lets the process end right after its so-many-th write: the answer is lost."""

    writes_left = -1

    async def send(self, call):
        answer = await super().send(call)
        if call.method != "GET":
            self.writes_left -= 1
            if self.writes_left == 0:
                raise KilledError(call.request.kind.kind)
        return answer


async def a_client(base_url, *, limits=FAST, timeout_s=30.0, source=None, writes=-1):
    transport = DyingTransport(source or FixedSource(base_url), limits, timeout_s=timeout_s)
    transport.writes_left = writes
    await transport.open()
    return ApiClient(transport)
