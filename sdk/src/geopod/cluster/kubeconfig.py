"""The plain kubeconfig, read without the `kubernetes` package: importing that may take seconds.

Plain: one file; a token or a client certificate. Everything else (credential plugins, several
files, proxies of the environment, mistakes) is left to the package: None says so.
Source: https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/
"""

from __future__ import annotations

import atexit
import base64
import binascii
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

CLUSTER_KEYS = frozenset({
    "server", "certificate-authority", "certificate-authority-data", "insecure-skip-tls-verify",
    "tls-server-name", "proxy-url", "extensions",
})  # fmt: skip  # keys read best in lines
USER_KEYS = frozenset({
    "token", "tokenFile", "client-certificate", "client-certificate-data", "client-key",
    "client-key-data", "extensions",
})  # fmt: skip  # keys read best in lines
PROXIES = ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "http_proxy", "https_proxy")
_written: dict[bytes, str] = {}
"""Data that had to become a file, for `ssl`: content -> path, private to this process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainContext:
    """One context, in the words of the package's `Configuration`."""

    context: str
    namespace: str
    host: str
    token: str = field(default="", repr=False)
    ssl_ca_cert: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    verify_ssl: bool = True
    tls_server_name: str | None = None
    proxy: str | None = field(default=None, repr=False)

    @property
    def api_key(self) -> dict[str, str]:
        """Return the Authorization header as the package keeps it."""
        return {"BearerToken": f"Bearer {self.token}"} if self.token else {}


def read_plain(
    path: str, target: str | None, *, signs_in: bool, environ: Mapping[str, str]
) -> PlainContext | None:
    """Return a context of a kubeconfig; None: it is not plain. `signs_in` False: nobody's."""
    file = Path(path).expanduser()
    if os.pathsep in path or not file.is_file() or any(environ.get(name) for name in PROXIES):
        return None
    try:
        config = yaml.load(file.read_bytes(), Loader=_LOADER)  # noqa: S506  # a safe one
        name = target if target is not None else config["current-context"]
        context = _only(config["contexts"], name)["context"]
        cluster = _only(config["clusters"], context["cluster"])["cluster"]
        user = _user(config, context) if signs_in else {}
        return _plain(name, context, cluster, user, file.absolute().parent)
    except (KeyError, TypeError, ValueError, LookupError, OSError, yaml.YAMLError):
        return None


_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _plain(
    name: str,
    context: Mapping[str, Any],
    cluster: Mapping[str, Any],
    user: Mapping[str, Any],
    folder: Path,
) -> PlainContext | None:
    is_plain = cluster.keys() <= CLUSTER_KEYS and user.keys() <= USER_KEYS
    host = cluster["server"].rstrip("/")
    if not is_plain or not host.startswith("https://"):
        return None
    token = user.get("token") or ""
    if not token and "tokenFile" in user:
        token = (folder / user["tokenFile"]).read_text("utf-8")
    return PlainContext(
        context=name,
        namespace=context.get("namespace") or "default",
        host=host,
        token=token,
        ssl_ca_cert=_file(cluster, "certificate-authority", folder),
        cert_file=_file(user, "client-certificate", folder),
        key_file=_file(user, "client-key", folder),
        verify_ssl=not cluster.get("insecure-skip-tls-verify", False),
        tls_server_name=cluster.get("tls-server-name"),
        proxy=cluster.get("proxy-url"),
    )


def _only(items: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """Return the one item of this name; raises LookupError for none or several."""
    found = [item for item in items if item["name"] == name]
    if len(found) != 1:
        raise LookupError(name)
    return found[0]


def _user(config: Mapping[str, Any], context: Mapping[str, Any]) -> Mapping[str, Any]:
    if not context.get("user"):
        return {}
    return _only(config["users"], context["user"])["user"] or {}


def _file(section: Mapping[str, Any], key: str, folder: Path) -> str | None:
    """Return the path of a certificate or a key; its data becomes a file."""
    data = section.get(f"{key}-data")
    if data:
        try:
            return _write(base64.b64decode(data, validate=True))
        except binascii.Error as error:
            raise ValueError(key) from error
    if not section.get(key):
        return None
    path = folder / section[key]
    if not path.is_file():
        raise LookupError(key)
    return str(path)


def _write(content: bytes) -> str:
    """Return a file with this content, which ends with the process."""
    known = _written.get(content)
    if known is not None and Path(known).is_file():
        return known
    folder = tempfile.mkdtemp(prefix="geopod-tls-")  # readable by its owner alone
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = Path(folder) / "pem"
    path.write_bytes(content)
    _written[content] = str(path)
    return str(path)
