"""An S3 server of this machine for tests: the test cluster's own program on a free port."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cluster.process_builders import until
from port_builders import free_port

KEY, SECRET = "layers-test", "layers-test-secret"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "geopod/cluster/bin"


@dataclass(frozen=True)
class S3Server:
    """What `s3_server` serves: each folder below `root` is a bucket."""

    root: Path
    endpoint: str
    log: Path

    @property
    def keys(self) -> dict[str, str]:
        """A layer's credentials."""
        return {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": "us-east-1",
        }


@contextlib.contextmanager
def s3_server(root: Path, *options: str) -> Iterator[S3Server]:
    """Serve the folders of `root` as buckets; skips where versitygw was never built.

    `options`: of its `posix` back end.
    """
    binary = next(iter(sorted(CACHE.glob("versitygw-*/versitygw"))), None)
    if binary is None:
        if os.environ.get("CI") == "true":
            pytest.fail("versitygw is not built, and in CI that is a failure")
        pytest.skip("versitygw is not built: make cluster-up")
    port = free_port()
    keys = {"ROOT_ACCESS_KEY_ID": KEY, "ROOT_SECRET_ACCESS_KEY": SECRET}
    log = root.with_name("s3.log")
    with (
        log.open("wb") as words,
        subprocess.Popen(
            [str(binary), "--port", f"127.0.0.1:{port}", "posix", *options, str(root)],
            env={**os.environ, **keys},
            stdout=words,
            stderr=words,
        ) as process,
    ):
        try:
            until(lambda: _listens(process, port))
            yield S3Server(root, f"http://127.0.0.1:{port}", log)
        finally:
            process.kill()


def _listens(process: subprocess.Popen[bytes], port: int) -> bool:
    assert process.poll() is None
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
