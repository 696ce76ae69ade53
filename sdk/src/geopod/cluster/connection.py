"""Where the API server is and how to prove who asks: kubeconfig, service account or a token.

The only module that imports `kubernetes`, and only for a kubeconfig that is not plain (credential
plugins, several files): it takes long. Nothing here is ever part of a message or a log line.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from geopod.errors import AuthError, ConfigError, MissingExtraError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TOKEN_FILE_S = 60.0
"""How long a read token file counts. The kubelet renews it at 80 % of an hour or more."""
IN_CLUSTER = "in-cluster"
EARLY_S = 30.0
"""A token is renewed this long before its end: clocks differ, requests take time."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """What a TLS context is made of, so that an unchanged one is kept with its connections."""

    authority: str | None = None
    certificate: str | None = None
    key: str | None = None
    verify: bool = True
    stamps: tuple[int, ...] = ()
    """When the files were last changed: a rotated certificate keeps its path."""


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach one API server as one user."""

    base_url: str
    context: str
    namespace: str
    tls: TlsFiles
    ssl: ssl.SSLContext | bool = field(repr=False)
    authorization: str = field(default="", repr=False)
    """Value of the header; empty: the client certificate says who asks."""
    expires_in_s: float | None = None
    """After this long it is to be loaded again; None: when the server answers 401."""
    proxy: str | None = field(default=None, repr=False)
    server_name: str | None = None

    def headers(self) -> dict[str, str]:
        """Return what authenticates a request."""
        return {"Authorization": self.authorization} if self.authorization else {}


@dataclass(frozen=True, slots=True)
class Source:
    """What a connection is loaded from, again and again."""

    target: str | None = None
    namespace: str | None = None
    token: str | None = field(default=None, repr=False)
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    account: Path = SERVICE_ACCOUNT

    async def load(self, before: Connection | None = None) -> Connection:
        """Return the connection as of now; raises ConfigError, AuthError, MissingExtraError.

        Credential plugins run in a thread: they may wait for a person.
        """
        if self.target is None and self.is_in_cluster:
            found = self._in_cluster(before)
        else:
            found = await asyncio.to_thread(self._from_kubeconfig, before)
        if self.namespace is not None:
            found = replace(found, namespace=self.namespace)
        if self.token is not None:
            found = replace(found, authorization=f"Bearer {self.token}", expires_in_s=None)
        return found

    @property
    def is_in_cluster(self) -> bool:
        """A pod with a service account's token."""
        host = self.environ.get("KUBERNETES_SERVICE_HOST")
        return bool(host) and (self.account / "token").is_file()

    def _in_cluster(self, before: Connection | None) -> Connection:
        host, port = (self.environ[f"KUBERNETES_SERVICE_{part}"] for part in ("HOST", "PORT"))
        token = (self.account / "token").read_text("utf-8").strip()
        namespace = self.account / "namespace"
        tls = _stamped(TlsFiles(authority=str(self.account / "ca.crt")))
        return Connection(
            base_url=f"https://{f'[{host}]' if ':' in host else host}:{port}",
            context=IN_CLUSTER,
            namespace=namespace.read_text("utf-8").strip() if namespace.is_file() else "default",
            tls=tls,
            ssl=_context(tls, before),
            authorization=f"Bearer {token}",
            expires_in_s=TOKEN_FILE_S,
        )

    def _from_kubeconfig(self, before: Connection | None) -> Connection:
        from geopod.cluster.kubeconfig import read_plain  # YAML: no pod has such a file

        path, signs_in = self.environ.get("KUBECONFIG") or "~/.kube/config", self.token is None
        plain = read_plain(path, self.target, signs_in=signs_in, environ=self.environ)
        loaded = (
            _Loaded(plain, plain.context, plain.namespace, None)
            if plain is not None
            else _load_kubeconfig(path, self.target, signs_in=signs_in)
        )
        certified = self.token is None
        tls = _stamped(
            TlsFiles(
                authority=loaded.settings.ssl_ca_cert,
                certificate=loaded.settings.cert_file if certified else None,
                key=loaded.settings.key_file if certified else None,
                verify=bool(loaded.settings.verify_ssl),
            )
        )
        return Connection(
            base_url=loaded.settings.host.rstrip("/"),
            context=loaded.context,
            namespace=loaded.namespace,
            tls=tls,
            ssl=_context(tls, before) if loaded.settings.host.startswith("https") else True,
            authorization=loaded.settings.api_key.get("BearerToken", ""),
            expires_in_s=loaded.expires_in_s,
            proxy=loaded.settings.proxy,
            server_name=loaded.settings.tls_server_name,
        )


@dataclass(frozen=True, slots=True)
class _Loaded:
    settings: Any
    """The library's `Configuration`, or a PlainContext."""
    context: str
    namespace: str
    expires_in_s: float | None


def _load_kubeconfig(path: str, target: str | None, *, signs_in: bool) -> _Loaded:
    try:
        from kubernetes.client import Configuration
        from kubernetes.config import ConfigException
        from kubernetes.config.kube_config import KubeConfigLoader, KubeConfigMerger
    except ImportError as error:
        raise MissingExtraError.needed(
            extra="kubernetes", purpose="A Kubernetes cluster", module=error.name or "kubernetes"
        ) from error
    try:
        merged = KubeConfigMerger(path).config  # type: ignore[no-untyped-call]  # untyped library
        if merged is None:
            raise ConfigError.no_cluster(target)
        loader: Any = KubeConfigLoader(merged, target, config_base_path=None)  # type: ignore[no-untyped-call]  # untyped library
        if not signs_in:
            loader._user = None  # noqa: SLF001  # the given token is who asks: no plugin is run
        settings = Configuration()
        loader.load_and_set(settings)
    except ConfigException as error:
        raise ConfigError.no_cluster(target) from error
    context = loader.current_context
    _check_signed_in(loader, settings, context["name"])
    return _Loaded(
        settings=settings,
        context=context["name"],
        namespace=context["context"].get("namespace") or "default",
        expires_in_s=_seconds_left(getattr(loader, "expiry", None)),
    )


def _check_signed_in(loader: Any, settings: Any, context: str) -> None:
    """Raise if a credential plugin gave nothing: the library only logs that."""
    user = loader._user  # noqa: SLF001  # there is no other way to see the chosen user
    if not user or not ("exec" in user or "auth-provider" in user):
        return
    if not settings.api_key.get("BearerToken") and not settings.cert_file:
        raise AuthError(
            f"The credential plugin of context {context!r} gave no credentials.",
            fixes=("run `kubectl get ns` with this context and do what it asks",),
        )


def _seconds_left(expiry: Any) -> float | None:
    return None if expiry is None else max(1.0, expiry.timestamp() - time.time() - EARLY_S)


def _stamped(tls: TlsFiles) -> TlsFiles:
    files = (tls.authority, tls.certificate, tls.key)
    return replace(tls, stamps=tuple(Path(each).stat().st_mtime_ns for each in files if each))


def _context(tls: TlsFiles, before: Connection | None) -> ssl.SSLContext | bool:
    if before is not None and before.tls == tls:
        return before.ssl
    context = ssl.create_default_context(cafile=tls.authority)
    # Python 3.13 asks CA certificates for extensions that the CAs of many clusters lack.
    # https://github.com/kubernetes-client/python/issues/2394
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.certificate:
        context.load_cert_chain(tls.certificate, tls.key)
    return context
