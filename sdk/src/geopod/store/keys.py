"""What a store's key may look like, for every store alike."""

from __future__ import annotations

FORBIDDEN = frozenset({"", ".", ".."})
"""Parts of a key that could leave a folder or name it."""
PART = ".part"
"""First part that no key has: stores keep their unfinished files there."""
MAX_BYTES = 1024
"""S3 takes no longer key."""


def check_key(key: str) -> str:
    """Return a key that names one object; raises ValueError."""
    parts = key.split("/")
    bad = not FORBIDDEN.isdisjoint(parts) or parts[0] == PART or "\0" in key
    if bad or len(key.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise ValueError(f"{key!r} is no key: names with '/' between them, none empty or '..'.")
    return key


def check_prefix(prefix: str) -> str:
    """Return a folder, with its closing `/`, or the empty prefix of everything."""
    if prefix:
        check_key(prefix.removesuffix("/"))
    return prefix
