"""GDAL's virtual file systems: under which name and with which options a source is opened.

For both GDALs of the process, rasterio's and pyogrio's; loads neither.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from geopod.layers.endpoints import find_endpoint, service_account
from geopod.layers.remote import RemoteFile
from geopod.layers.sources import SourceFile
from geopod.layers.web import http_headers

_SYSTEMS = {"s3": "/vsis3/", "gs": "/vsigs/", "az": "/vsiaz/"}
_QUERY = re.compile(r"\?\S+")
# curl's word for none. An empty GDAL_HTTP_USERPWD would be sent as user and password of no
# characters, which stores refuse where they would answer a request without any.
_NO_HEADER = "Authorization:"
# Every way to an identity that GDAL would look for by itself is closed: the environment, files of
# the home folder, and the metadata service of the machine.
_NO_IDENTITY = {
    "AWS_NO_SIGN_REQUEST": "YES",
    "AWS_ACCESS_KEY_ID": "",
    "AWS_SECRET_ACCESS_KEY": "",
    "AWS_SESSION_TOKEN": "",
    "AWS_PROFILE": "",
    "AWS_S3_ENDPOINT": "",
    "AWS_HTTPS": "YES",
    "AWS_VIRTUAL_HOSTING": "TRUE",
    "AWS_REGION": "us-east-1",
    "AWS_REQUEST_PAYER": "",
    "AWS_CONFIG_FILE": "/dev/null",
    "CPL_AWS_CREDENTIALS_FILE": "/dev/null",
    "CPL_AWS_EC2_API_ROOT_URL": "disabled",
    "AWS_WEB_IDENTITY_TOKEN_FILE": "",
    "AWS_ROLE_ARN": "",
    "GS_NO_SIGN_REQUEST": "YES",
    "GS_ACCESS_KEY_ID": "",
    "GS_SECRET_ACCESS_KEY": "",
    "GS_OAUTH2_CLIENT_EMAIL": "",
    "GS_OAUTH2_PRIVATE_KEY": "",
    "GOOGLE_APPLICATION_CREDENTIALS": "",
    "CPL_MACHINE_IS_GCE": "NO",
    "AZURE_NO_SIGN_REQUEST": "YES",
    "AZURE_STORAGE_CONNECTION_STRING": "",
    "AZURE_STORAGE_ACCOUNT": "",
    "AZURE_STORAGE_ACCESS_KEY": "",
    "AZURE_STORAGE_SAS_TOKEN": "",
    "GDAL_HTTP_HEADERS": _NO_HEADER,
    "GDAL_HTTP_USERPWD": "",
    "GDAL_HTTP_NETRC": "NO",
}


_WITHIN = {"Zarr": ('ZARR:"', '":/'), "netCDF": ('NETCDF:"', '":')}
"""Driver -> how GDAL is told one variable of a file."""


def gdal_path(source: SourceFile) -> str:
    """Return the name under which GDAL opens a file, or one variable of it."""
    name = _file_path(source)
    if source.variable is None or source.driver not in _WITHIN:
        return name
    before, between = _WITHIN[source.driver]
    return f"{before}{name}{between}{source.variable.name}"


def _file_path(source: SourceFile) -> str:
    file = source.remote
    if file is None:
        return str(source.path)
    if file.scheme in _SYSTEMS:
        return f"{_SYSTEMS[file.scheme]}{file.bucket}/{file.key}"
    return f"/vsicurl/{file.href}"


def remote_options(file: RemoteFile) -> dict[str, str]:
    """Return the GDAL options that open `file`: patience, no side files, its layer's own keys."""
    patience = file.access.patience
    return {
        "GDAL_HTTP_MAX_RETRY": str(patience.tries - 1),
        "GDAL_HTTP_RETRY_DELAY": str(patience.delay_s),
        "GDAL_HTTP_RETRY_CODES": "408,429,500,502,503,504",
        "GDAL_HTTP_CONNECTTIMEOUT": str(max(1, round(patience.connect_s))),
        "GDAL_HTTP_LOW_SPEED_TIME": str(max(1, round(patience.stall_s))),
        "GDAL_HTTP_LOW_SPEED_LIMIT": "1000",
        "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
        "GDAL_HTTP_VERSION": "1.1",
        "VSI_CACHE": "TRUE",
        # What one layer read with its keys is not there for another layer without.
        "CPL_VSIL_CURL_NON_CACHED": "/vsis3/:/vsigs/:/vsiaz/:/vsicurl/",
        **_NO_IDENTITY,
        **_identity(file.keys),
    }


def _identity(keys: Mapping[str, str]) -> dict[str, str]:
    options = _amazon(keys) | _google(keys) | _azure(keys)
    if headers := http_headers(keys):
        lines = [f"{name}: {value}" for name, value in headers.items()]
        options["GDAL_HTTP_HEADERS"] = "\r\n".join([_NO_HEADER, *lines])
    return options


def _amazon(keys: Mapping[str, str]) -> dict[str, str]:
    options = {name: keys[name] for name in ("AWS_REGION", "AWS_REQUEST_PAYER") if name in keys}
    if endpoint := find_endpoint("s3", keys):
        parts = urlsplit(endpoint)
        options["AWS_S3_ENDPOINT"] = parts.netloc
        options["AWS_HTTPS"] = "NO" if parts.scheme == "http" else "YES"
        options["AWS_VIRTUAL_HOSTING"] = "FALSE"
    if "AWS_ACCESS_KEY_ID" in keys:
        options["AWS_NO_SIGN_REQUEST"] = "NO"
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            options[name] = keys.get(name, "")
    return options


def _google(keys: Mapping[str, str]) -> dict[str, str]:
    options: dict[str, str] = {}
    if account := service_account(keys):
        options["GS_NO_SIGN_REQUEST"] = "NO"
        options["GS_OAUTH2_CLIENT_EMAIL"] = account["client_email"]
        options["GS_OAUTH2_PRIVATE_KEY"] = account["private_key"]
    if endpoint := find_endpoint("gs", keys):
        options["CPL_GS_ENDPOINT"] = f"{endpoint}/"
    return options


def _azure(keys: Mapping[str, str]) -> dict[str, str]:
    options: dict[str, str] = {}
    if account := keys.get("AZURE_STORAGE_ACCOUNT"):
        options["AZURE_STORAGE_ACCOUNT"] = account
    if endpoint := find_endpoint("az", keys):
        options["CPL_AZURE_ENDPOINT"] = endpoint
    if key := keys.get("AZURE_STORAGE_KEY"):
        options |= {"AZURE_NO_SIGN_REQUEST": "NO", "AZURE_STORAGE_ACCESS_KEY": key}
    elif sas := keys.get("AZURE_STORAGE_SAS_TOKEN"):
        options |= {"AZURE_NO_SIGN_REQUEST": "NO", "AZURE_STORAGE_SAS_TOKEN": sas.lstrip("?")}
    return options


def without_queries(words: str) -> str:
    """Return what GDAL said without the queries of addresses: there may be keys in them."""
    return _QUERY.sub("?…", words)
