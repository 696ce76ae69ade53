"""A bundle as an OCI image of one layer: the very file that the store has, and two JSON documents.

The same bundle gives the same bytes, and so the same digest. Source: OCI image specification 1.1.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+zstd"
ARCHITECTURES = {"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
"""What Python calls a machine, and what images do; a kubelet pulls none of another one's."""
READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Image:
    """What a registry is given beside the layer."""

    config: bytes
    manifest: bytes


def digest_of(data: bytes) -> str:
    """Return the digest of a blob, as registries name it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def image_of(*, layer: str, size: int, diff_id: str, machine: str) -> Image:
    """Return the image of a packed bundle.

    `layer` and `diff_id` are the digests of the `tar.zst` and of the tar in it.
    """
    config = _json({
        "architecture": ARCHITECTURES.get(machine, machine),
        "config": {},
        "os": "linux",
        "rootfs": {"diff_ids": [diff_id], "type": "layers"},
    })  # fmt: skip  # one fact per line
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": _descriptor(CONFIG_TYPE, digest_of(config), len(config)),
        "layers": [_descriptor(LAYER_TYPE, layer, size)],
    }
    return Image(config, _json(manifest))


def holds(manifest: bytes, layer: str) -> bool:
    """Say whether a manifest is that of a bundle's image."""
    try:
        return [str(it["digest"]) for it in json.loads(manifest)["layers"]] == [layer]
    except (ValueError, KeyError, TypeError):
        return False


def diff_id_of(packed: Path) -> str:
    """Return the digest of the tar in a `tar.zst`."""
    import pyarrow as pa  # reads zstd

    digest = hashlib.sha256()
    with pa.input_stream(str(packed), compression="zstd") as stream:
        while chunk := stream.read(READ_BYTES):
            digest.update(chunk)
    return f"sha256:{digest.hexdigest()}"


def _descriptor(media_type: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": size}


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
