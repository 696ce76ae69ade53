"""Where an object store answers, and what a Secret says of it beside its keys. Pure.

Of a service account's JSON only the identity is taken: its other fields could send a client to any
address.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from geopod.layers.hosts import is_loopback

ENDPOINTS = {
    "s3": "AWS_ENDPOINT_URL",
    "gs": "GOOGLE_STORAGE_ENDPOINT_URL",
    "az": "AZURE_STORAGE_ENDPOINT_URL",
}
"""Scheme -> the name in a Secret of an address that stands for the cloud's own."""
_LABEL = re.compile(r"[A-Za-z0-9-]{1,63}")
"""Of a host's name. A region or an account becomes one: with more in it, it would be any host."""
_ACCOUNT = "GOOGLE_APPLICATION_CREDENTIALS_JSON"
IDENTITY = ("client_email", "private_key", "private_key_id")
_BEARERS = {"gs": _ACCOUNT, "az": "AZURE_STORAGE_SAS_TOKEN"}
"""Scheme -> the key that is sent as it is, or as a token; others only sign."""


def find_endpoint(scheme: str, keys: Mapping[str, str]) -> str | None:
    """Return the address of a store that is not the cloud's own, without a slash at its end."""
    found = keys.get(ENDPOINTS.get(scheme, ""), "").rstrip("/")
    return found or None


def service_account(keys: Mapping[str, str]) -> dict[str, str] | None:
    """Return the identity of a Google service account; None: there is none, no request is signed.

    Raises ValueError for text that is none.
    """
    text = keys.get(_ACCOUNT)
    if not text:
        return None
    fields: Any = json.loads(text)
    if not isinstance(fields, dict) or not fields.get("client_email"):
        raise ValueError("no client_email")
    if not fields.get("private_key"):
        raise ValueError("no private_key")
    return {name: str(fields.get(name, "")) for name in IDENTITY}


def wrong_keys(scheme: str, keys: Mapping[str, str]) -> str | None:
    """Return why a Secret is none for a store of this scheme; no value of it is in the words."""
    if scheme == "az" and not keys.get("AZURE_STORAGE_ACCOUNT"):
        return "needs AZURE_STORAGE_ACCOUNT in the Layer's Secret"
    for name in _in_host(scheme, keys):
        if not _LABEL.fullmatch(keys.get(name) or "us-east-1"):
            return f"has a Secret whose {name} is no name of one"
    if scheme == "gs":
        try:
            service_account(keys)
        except (ValueError, RecursionError):
            return f"has a Secret whose {_ACCOUNT} is no service account's JSON"
    if _is_in_the_clear(scheme, keys):
        return f"would send credentials in the clear; use https:// in {ENDPOINTS[scheme]}"
    return None


def _in_host(scheme: str, keys: Mapping[str, str]) -> tuple[str, ...]:
    """Return which values of a Secret are part of the host that is asked."""
    if scheme == "s3" and find_endpoint(scheme, keys) is None:
        return ("AWS_REGION",)
    return ("AZURE_STORAGE_ACCOUNT",) if scheme == "az" else ()


def _is_in_the_clear(scheme: str, keys: Mapping[str, str]) -> bool:
    """Say whether what is sent lets whoever listens read the store too."""
    endpoint = find_endpoint(scheme, keys)
    if endpoint is None or is_loopback(endpoint):
        return False
    return urlsplit(endpoint).scheme != "https" and _BEARERS.get(scheme, "") in keys
