"""The probe as a container image: one layer, one file, written and pushed without image tools."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.client
import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import ClusterError
from .settings import PROBE_IMAGE

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


@dataclass(frozen=True, slots=True)
class Blob:
    """Content and what it is."""

    media_type: str
    content: bytes

    @property
    def digest(self) -> str:
        return f"sha256:{hashlib.sha256(self.content).hexdigest()}"

    @property
    def descriptor(self) -> dict[str, Any]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.content)}


@dataclass(frozen=True, slots=True)
class Image:
    """A single-platform image in the OCI format."""

    layer: Blob
    config: Blob

    @property
    def manifest(self) -> Blob:
        parts = {"config": self.config.descriptor, "layers": [self.layer.descriptor]}
        return _json_blob(MANIFEST, {"schemaVersion": 2, "mediaType": MANIFEST, **parts})


def probe_image(binary: Path, *, title: str = "probe") -> Image:
    """The image of the built probe. The same binary and title give the same digest."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        entry = tarfile.TarInfo("probe")
        entry.size, entry.mode = binary.stat().st_size, 0o755
        with binary.open("rb") as stream:
            archive.addfile(entry, stream)
    plain = layer.getvalue()
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "Entrypoint": ["/probe"],
            "User": "65532:65532",
            "Labels": {"org.opencontainers.image.title": title},
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(plain).hexdigest()}"]},
    }
    packed = gzip.compress(plain, compresslevel=1, mtime=0)
    return Image(Blob(LAYER, packed), _json_blob(CONFIG, config))


def write_archive(path: Path, image: Image) -> None:
    """Write the image as an OCI archive, which `ctr images import` and `kind load` read."""
    names = {
        "io.containerd.image.name": PROBE_IMAGE,
        "org.opencontainers.image.ref.name": PROBE_IMAGE,
    }
    index = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [{**image.manifest.descriptor, "annotations": names}],
    }
    with tarfile.open(path, mode="w") as archive:
        _add(archive, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        _add(archive, "index.json", json.dumps(index).encode())
        for blob in (image.layer, image.config, image.manifest):
            _add(archive, f"blobs/sha256/{blob.digest.removeprefix('sha256:')}", blob.content)


def push(image: Image, *, registry: str, repository: str) -> str:
    """Push to a registry without TLS; return the reference by digest.

    Raises:
        ClusterError: the registry refused a part.
    """
    manifest = image.manifest
    with contextlib.closing(http.client.HTTPConnection(registry, timeout=30)) as connection:
        for blob in (image.layer, image.config):
            answer = _send(connection, "POST", f"/v2/{repository}/blobs/uploads/", b"", "")
            place = answer.headers["Location"]
            target = f"{place}{'&' if '?' in place else '?'}digest={blob.digest}"
            _send(connection, "PUT", target, blob.content, "application/octet-stream")
        target = f"/v2/{repository}/manifests/{manifest.digest}"
        _send(connection, "PUT", target, manifest.content, MANIFEST)
    return f"{registry}/{repository}@{manifest.digest}"


def _send(
    connection: http.client.HTTPConnection, method: str, target: str, body: bytes, media_type: str
) -> http.client.HTTPResponse:
    connection.request(method, target, body, {"Content-Type": media_type} if media_type else {})
    answer = connection.getresponse()
    words = answer.read()
    if answer.status >= http.HTTPStatus.BAD_REQUEST:
        raise ClusterError(
            f"the registry answered {answer.status} to {method} {target}: {words[:200]!r}",
            fix="see logs/registry.log in the cluster's folder",
        )
    return answer


def _json_blob(media_type: str, content: dict[str, Any]) -> Blob:
    return Blob(media_type, json.dumps(content, sort_keys=True).encode())


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))
