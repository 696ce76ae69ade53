"""The operator's environment variables, read once, as one frozen value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from geopod.api.deployment import METRICS_PORT
from geopod.errors import ConfigError

SIGNING_KEY_MIN = 32
"""HS256 with a shorter key than its hash is weaker than it looks. Source: RFC 7518, §3.2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the chart says to the operator."""

    signing_key: bytes = field(repr=False)
    agent_image: str
    """geopod's own image, with its digest."""
    store: str
    """URL of the gateway as pods reach it."""
    gateway_namespace: str
    watch_namespaces: tuple[str, ...] = ()
    """Empty: all of the cluster."""
    runtimes_file: Path | None = None
    """YAML of ComputeRuntimes, where the operator has no rights on the cluster's; None: watch."""
    coordinator_priority_class: str = ""
    coordinator_pdb: bool = False
    dns_cidrs: tuple[str, ...] = ()
    api_server_cidrs: tuple[str, ...] = ()
    image_pull_secrets: tuple[str, ...] = ()
    api_qps: float = 50.0
    api_burst: int = 100
    metrics_port: int = METRICS_PORT
    lease: str = ""
    """Lease in the gateway's namespace that one operator holds; empty: none is held."""
    instance: str = "geopod-operator"
    """The pod's name, for Events."""


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Return the settings; raises ConfigError naming the variable that is missing or wrong."""
    runtimes_file = environ.get("GEOPOD_RUNTIMES_FILE")
    return Settings(
        signing_key=_signing_key(Path(_needed(environ, "GEOPOD_SIGNING_KEY_FILE"))),
        agent_image=_needed(environ, "GEOPOD_AGENT_IMAGE"),
        store=_needed(environ, "GEOPOD_STORE"),
        gateway_namespace=_needed(environ, "GEOPOD_GATEWAY_NAMESPACE"),
        watch_namespaces=_words(environ, "GEOPOD_WATCH_NAMESPACES"),
        runtimes_file=Path(runtimes_file) if runtimes_file else None,
        coordinator_priority_class=environ.get("GEOPOD_COORDINATOR_PRIORITY_CLASS", ""),
        coordinator_pdb=_number(environ, "GEOPOD_COORDINATOR_PDB", 0) != 0,
        dns_cidrs=_words(environ, "GEOPOD_DNS_CIDRS"),
        api_server_cidrs=_words(environ, "GEOPOD_API_SERVER_CIDRS"),
        image_pull_secrets=_words(environ, "GEOPOD_IMAGE_PULL_SECRETS"),
        api_qps=_number(environ, "GEOPOD_API_QPS", 50),
        api_burst=int(_number(environ, "GEOPOD_API_BURST", 100)),
        metrics_port=int(_number(environ, "GEOPOD_METRICS_PORT", METRICS_PORT)),
        lease=environ.get("GEOPOD_LEASE", "").strip(),
        instance=environ.get("HOSTNAME") or "geopod-operator",
    )


def _needed(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(name, "").strip()
    if not value:
        raise ConfigError(
            f"The operator needs the environment variable {name}.",
            fixes=("the chart sets it: helm upgrade geopod …",),
        )
    return value


def _signing_key(path: Path) -> bytes:
    try:
        key = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"The signing key {path} cannot be read: {error.strerror}.",
            fixes=("mount the Secret geopod-signing-key",),
        ) from error
    if len(key) < SIGNING_KEY_MIN:
        raise ConfigError(
            f"The signing key {path} has {len(key)} bytes, it needs {SIGNING_KEY_MIN}.",
            fixes=("let the chart make the Secret geopod-signing-key",),
        )
    return key


def _words(environ: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in environ.get(name, "").split(",") if word.strip())


def _number(environ: Mapping[str, str], name: str, default: float) -> float:
    text = environ.get(name, "").strip()
    if not text:
        return default
    try:
        return float(text)
    except ValueError as error:
        raise ConfigError(f"{name} is {text!r}, a number is needed.") from error
