"""No secret in a message: what others said is quoted without passwords, tokens and keys."""

from __future__ import annotations

import re
from collections.abc import Iterable

_PASSWORD_IN_URL = re.compile(r"(://[^/\s:@]*):[^/\s@]+@")
_TOKEN_IN_URL = re.compile(r"(://)[^/\s:@]+@")
_JWT = re.compile(r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*\.?[A-Za-z0-9_-]*")
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}")
_PARAMETER = re.compile(
    r"(?i)\b([a-z0-9_.-]*(?:password|passwd|secret|token|signature|credential|api[_-]?key|"
    r"access[_-]?key)[a-z0-9_.-]*)(\s*[=:]\s*)([\"']?)[^\s\"'&,;]+"
)
SHORTEST = 8
"""A shorter word is no key, and masking it would blot out the message."""


def mask(text: str, secrets: Iterable[str] = ()) -> str:
    """Return the text with everything masked that looks like a secret, or is one of `secrets`."""
    for secret in secrets:
        if len(secret) >= SHORTEST:
            text = text.replace(secret, "***")
    text = _PASSWORD_IN_URL.sub(r"\1:***@", text)
    text = _TOKEN_IN_URL.sub(r"\1***@", text)
    text = _JWT.sub("***", text)
    text = _BEARER.sub(r"\1 ***", text)
    return _PARAMETER.sub(r"\1\2\3***", text)


def shortened(text: str, limit: int) -> str:
    """Return the text in one line of at most `limit` characters, without a closing stop."""
    line = " ".join(text.split()).rstrip(". ")
    return line if len(line) <= limit else f"{line[: limit - 1].rstrip()}…"
