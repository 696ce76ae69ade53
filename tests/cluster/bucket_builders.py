"""Buckets of the cluster's own object store, and the Secret that opens them."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.testcluster.control import S3_PASSWORD, S3_USER

SECRET = "bucket-keys"  # noqa: S105  # a name


@dataclass(frozen=True)
class ObjectStore:
    """What the store serves: each folder below `root` is a bucket."""

    root: Path
    endpoint: str

    @property
    def keys(self) -> dict[str, str]:
        """Variables that open every bucket."""
        return {
            "AWS_ACCESS_KEY_ID": S3_USER,
            "AWS_SECRET_ACCESS_KEY": S3_PASSWORD,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": "us-east-1",
        }

    @property
    def address(self) -> dict[str, Any]:
        """Entry of a Layer's `endpoints`."""
        host, _, port = self.endpoint.removeprefix("http://").partition(":")
        return {"cidr": f"{host}/32", "port": int(port)}

    def bucket(self, name: str) -> Path:
        """Return the folder of a new bucket called after `name`."""
        folder = self.root / f"{name}-{secrets.token_hex(4)}"
        folder.mkdir()
        return folder

    def secret(self, **changes: str) -> dict[str, Any]:
        """Return the Secret `bucket-keys`, with some keys changed."""
        metadata = {"name": SECRET}
        keys = {**self.keys, **changes}
        return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": keys}
