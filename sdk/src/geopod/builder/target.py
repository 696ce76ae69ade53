"""Where one environment bundle lies in the store, as the builder's two steps see it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from geopod.api import deployment, names
from geopod.store import KeyMissingError
from geopod.store.gateway import GatewayStore

CACHE = Path("/tmp/geopod-builder")  # noqa: S108  # the container's own emptyDir


class Target:
    """The folder of one bundle: the packed tree, its lock, its log."""

    def __init__(self, store: GatewayStore, prefix: str) -> None:
        self._store = store
        self._prefix = prefix
        self.key = prefix.rstrip("/").rpartition("/")[2]

    @classmethod
    def read(cls, environ: Mapping[str, str], *, link: Path = Path(deployment.LINK_DIR)) -> Target:
        """Return the target that a pod's variables name; raises KeyError for one that lacks."""
        token = link / deployment.STORE_TOKEN_FILE
        store = GatewayStore(environ[deployment.ENV_STORE], token=token, cache=CACHE)
        namespace, key = environ[deployment.ENV_NAMESPACE], environ[deployment.ENV_BUNDLE_KEY]
        return cls(store, names.bundle_key(namespace, key))

    async def is_there(self) -> bool:
        """Say whether the bundle and its lock are in the store; the bundle is put last."""
        return await self._store.exists(self._prefix + deployment.BUNDLE_FILE)

    async def facts(self, name: str) -> tuple[int, str]:
        """Return bytes and sha256 of one of the objects; raises KeyMissingError."""
        size, sha256 = await self._store.describe(self._prefix + name)
        if not sha256:
            data = await self._store.fetch(self._prefix + name)
            with data.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return size, sha256

    async def put(self, name: str, data: bytes) -> str:
        """Store one of the small objects; return its sha256."""
        await self._store.put(self._prefix + name, data)
        return hashlib.sha256(data).hexdigest()

    async def put_file(self, name: str, path: Path, sha256: str) -> None:
        """Store a file and see that it arrived; raises KeyMissingError, ValueError."""
        await self._store.put_file(self._prefix + name, path)
        _, stored = await self.facts(name)
        if stored != sha256:
            raise ValueError(f"{name} has sha256 {stored} in the store, {sha256} here.")

    async def fetch(self, name: str) -> Path:
        """Return one of the objects as a local file; raises KeyMissingError."""
        return await self._store.fetch(self._prefix + name)

    async def known(self, name: str) -> str:
        """Return the sha256 of an object, empty if it is not there."""
        try:
            return (await self.facts(name))[1]
        except KeyMissingError:
            return ""

    async def close(self) -> None:
        """Close the connections."""
        await self._store.close()
