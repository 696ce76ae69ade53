"""Clients of object stores: one per bucket and layer, with the layer's own keys."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, S3Store

from geopod.layers.access import Patience
from geopod.layers.endpoints import IDENTITY, find_endpoint, service_account
from geopod.layers.web import SourceRefusedError, SourceSilentError

STORE_ERRORS = (BaseError, FileNotFoundError, PermissionError)
"""What a store's client raises."""
_STATUS = re.compile(r"status code: (\d{3})([A-Za-z ]*)")
# S3's words for keys that are not good; the status beside them is 400, 403 or 404 by server.
_KEY_CODE = re.compile(
    r"InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken|InvalidToken|TokenRefreshRequired"
)
_REQUEST_S = 300


def open_store(scheme: str, bucket: str, keys: Mapping[str, str], patience: Patience) -> Any:
    """Return an obstore store for a bucket; every value is given, none is inferred."""
    client: Any = {
        "connect_timeout": timedelta(seconds=patience.connect_s),
        "timeout": timedelta(seconds=_REQUEST_S),
        "read_timeout": timedelta(seconds=patience.stall_s),
        "allow_http": (find_endpoint(scheme, keys) or "").startswith("http:"),
    }
    retry: Any = {
        "max_retries": patience.tries - 1,
        "backoff": {
            "init_backoff": timedelta(seconds=patience.delay_s),
            "max_backoff": timedelta(seconds=8 * patience.delay_s),
            "base": 2.0,
        },
        "retry_timeout": timedelta(seconds=_REQUEST_S),
    }
    shared: dict[str, Any] = {"client_options": client, "retry_config": retry}
    if scheme == "s3":
        region = keys.get("AWS_REGION") or "us-east-1"
        endpoint = find_endpoint("s3", keys) or f"https://s3.{region}.amazonaws.com"
        return S3Store(
            bucket,
            region=region,
            endpoint=endpoint,
            virtual_hosted_style_request=False,
            request_payer=keys.get("AWS_REQUEST_PAYER") == "requester",
            **_aws_identity(keys),
            **shared,
        )
    if scheme == "gs":
        return GCSStore(bucket, **_google_identity(keys), **shared)
    return AzureStore(bucket, **_azure_identity(keys), **shared)


def _aws_identity(keys: Mapping[str, str]) -> dict[str, Any]:
    # Given without keys too: the client would look for the machine's own, and fail on half of them.
    credential = {
        "access_key_id": keys.get("AWS_ACCESS_KEY_ID", ""),
        "secret_access_key": keys.get("AWS_SECRET_ACCESS_KEY", ""),
        "token": keys.get("AWS_SESSION_TOKEN"),
        "expires_at": None,
    }
    return {
        "skip_signature": "AWS_ACCESS_KEY_ID" not in keys,
        "credential_provider": lambda: credential,
    }


def _google_identity(keys: Mapping[str, str]) -> dict[str, Any]:
    account, endpoint = service_account(keys), find_endpoint("gs", keys)
    if account is None and endpoint is None:
        return {"skip_signature": True}
    fields: dict[str, Any] = account or dict.fromkeys(IDENTITY, "")
    # An address is taken from a service account alone, of somebody or of nobody.
    place = {} if endpoint is None else {"gcs_base_url": endpoint}
    return {"service_account_key": json.dumps({**fields, **place, "disable_oauth": not account})}


def _azure_identity(keys: Mapping[str, str]) -> dict[str, Any]:
    identity: dict[str, Any] = {"account_name": keys["AZURE_STORAGE_ACCOUNT"]}
    if endpoint := find_endpoint("az", keys):
        identity["endpoint"] = endpoint
    if key := keys.get("AZURE_STORAGE_KEY"):
        return identity | {"account_key": key}
    if sas := keys.get("AZURE_STORAGE_SAS_TOKEN"):
        return identity | {"sas_key": sas.lstrip("?")}
    return identity | {"skip_signature": True}


def told(error: Exception) -> SourceRefusedError | SourceSilentError:
    """Return what a store's client says, without the address it asked: a signature may be in it."""
    text = str(error)
    if code := _KEY_CODE.search(text):
        return SourceRefusedError(403, code[0])
    if isinstance(error, FileNotFoundError):
        return SourceRefusedError(404, "Not Found")
    if status := _STATUS.search(text):
        return SourceRefusedError(int(status[1]), status[2].strip())
    if type(error).__name__ in {"PermissionDeniedError", "UnauthenticatedError"}:
        return SourceRefusedError(403, "Forbidden")
    return SourceSilentError("timed out" if "timed out" in text else "the connection failed")
