"""What tests of layers on the web start from: a counting server, and access that soon gives up."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geopod.layers.access import Access, Patience

QUICK = Patience(tries=3, delay_s=0.02, connect_s=2.0, stall_s=1.0)


@dataclass(frozen=True)
class FileServer:
    """A server of the files in `folder`, and what it saw."""

    folder: Path
    port: int

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port}/{name}"

    def tell(self, **orders: Any) -> None:
        """`faults`: path -> what happens to its next requests (`cut`, `slow`, a status,
        `-> <url>`); `always`: to all of them; `token`, `etags`, `ignoresRanges`.
        """
        self._ask("PUT", json.dumps(orders).encode())

    def forget(self) -> None:
        self._ask("DELETE")

    def asked(self) -> list[dict[str, Any]]:
        return json.loads(self._ask("GET"))

    def paths(self) -> list[str]:
        return [request["path"].lstrip("/") for request in self.asked()]

    def sent(self, name: str) -> int:
        """Return how many bytes of a file were sent."""
        return sum(one["sent"] for one in self.asked() if one["path"] == f"/{name}")

    def _ask(self, method: str, body: bytes | None = None) -> bytes:
        request = urllib.request.Request(self.url("__told"), data=body, method=method)  # noqa: S310
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return answer.read()


@contextlib.contextmanager
def file_server(folder: Path, *, program: str = "file_server.py") -> Iterator[FileServer]:
    """Serve the files of a folder on loopback until the block ends.

    `program`: `cloud_server.py` also takes what is written to its buckets.
    """
    script = Path(__file__).with_name(program)
    with subprocess.Popen(
        [sys.executable, str(script), str(folder)], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield FileServer(folder, int(process.stdout.readline()))
        finally:
            process.kill()


def quick_access(**changes: Any) -> Access:
    """Access of a user's own machine that loses patience soon."""
    return Access(**{"patience": QUICK, **changes})
