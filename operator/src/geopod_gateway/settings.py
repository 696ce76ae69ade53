"""The gateway's settings, read once from environment variables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from geopod.api import deployment

GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Settings:
    """What one gateway process is told."""

    storage: str
    """A folder, or `s3://bucket/prefix`."""
    signing_key: bytes = field(repr=False)
    port: int = deployment.GATEWAY_PORT
    quota_bytes: int = 0
    """Of one tenant's folder: an environment's, or what a namespace shares; 0: none."""
    reserve_bytes: int = GIB
    """With less room than this on the disk nothing is written any more."""
    spool: Path = Path("/tmp/geopod-gateway")  # noqa: S108  # a container's own emptyDir
    """With a bucket: where uploads are checked before they appear. In a folder: its own disk."""
    fsync: bool = True
    """An object is on the disk before it is acknowledged."""
    max_object_bytes: int = 512 * GIB
    idle_s: float = 60.0
    """A connection on which nothing moves for so long is closed."""
    sweep_s: float = 600.0
    """Between two looks for what has expired."""
    upload_keep_s: float = 86_400.0
    """Unfinished uploads are kept for so long."""

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Settings:
        """Return the settings of a process; raises ValueError that names the variable."""
        key_file = environ.get("GEOPOD_SIGNING_KEY_FILE", "")
        if not key_file:
            raise ValueError("GEOPOD_SIGNING_KEY_FILE is not set: the file of the signing key.")
        key = Path(key_file).read_bytes()
        if len(key) < 32:  # noqa: PLR2004  # bytes of HMAC-SHA256
            raise ValueError(f"{key_file} holds {len(key)} bytes; a signing key has at least 32.")
        return cls(
            storage=environ.get("GEOPOD_GATEWAY_STORAGE", "/store"),
            signing_key=key,
            port=_whole(environ, "GEOPOD_GATEWAY_PORT", deployment.GATEWAY_PORT),
            quota_bytes=_whole(environ, "GEOPOD_GATEWAY_QUOTA_BYTES", 0),
            reserve_bytes=_whole(environ, "GEOPOD_GATEWAY_RESERVE_BYTES", GIB),
            spool=Path(environ.get("GEOPOD_GATEWAY_SPOOL", "/tmp/geopod-gateway")),  # noqa: S108
            fsync=_whole(environ, "GEOPOD_GATEWAY_FSYNC", 1) != 0,
        )


def _whole(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name, "") or str(default)
    if not text.isdecimal():
        raise ValueError(f"{name}={text!r} is no whole number.")
    return int(text)
