"""Hashes of wanted objects: two equal ones are applied once."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

from geopod.api import names

from geopod_operator.environment.observed import Raw


def digest(value: Any) -> str:
    """Return the sha256, in hex, of a JSON value; the order of keys does not matter."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return sha256(text.encode()).hexdigest()


def stamped(manifest: Raw) -> Raw:
    """Return the manifest with its own hash as an annotation."""
    metadata = manifest["metadata"]
    annotations = {**metadata.get("annotations", {}), names.ANNOTATION_SPEC_HASH: digest(manifest)}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}


def stamp_of(manifest: Raw) -> str:
    """Return the hash that an object carries, empty if none."""
    annotations: dict[str, str] = manifest.get("metadata", {}).get("annotations") or {}
    return annotations.get(names.ANNOTATION_SPEC_HASH, "")
