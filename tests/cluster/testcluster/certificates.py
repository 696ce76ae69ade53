"""Certificates, keys and kubeconfigs of one cluster, made by openssl (no Python package needed)."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path

from .errors import ClusterError
from .places import KUBERNETES_SERVICE_ADDRESS, Addresses

DAYS = "365"
ELLIPTIC = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


def write_certificates(folder: Path, addresses: Addresses) -> None:
    """Two authorities, the service accounts' key pair, and a certificate per control plane part."""
    folder.mkdir(parents=True, exist_ok=True)
    authority(folder, "ca")
    authority(folder, "front-proxy-ca")
    _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{folder}/sa.key")
    _openssl("ec", "-in", f"{folder}/sa.key", "-pubout", "-out", f"{folder}/sa.pub")
    names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"]
    names.append("kubernetes.default.svc.cluster.local")
    hosts = ["127.0.0.1", KUBERNETES_SERVICE_ADDRESS, addresses.control, addresses.host]
    issue(folder, "apiserver", "/CN=kube-apiserver", names=names, hosts=hosts)
    issue(folder, "front-proxy-client", "/CN=front-proxy-client", signer="front-proxy-ca")
    issue(folder, "apiserver-kubelet-client", "/O=system:masters/CN=kube-apiserver-kubelet-client")
    for name, subject in CLIENTS.items():
        issue(folder, name, subject)
        write_kubeconfig(folder / f"{name}.kubeconfig", folder, name, addresses)


CLIENTS = {
    "admin": "/O=system:masters/CN=kubernetes-admin",
    "controller-manager": "/CN=system:kube-controller-manager",
    "scheduler": "/CN=system:kube-scheduler",
    "kube-proxy": "/CN=system:kube-proxy",
}
"""Who else talks to the API server; node certificates are issued when a node is added."""


def write_node_certificate(folder: Path, number: int, addresses: Addresses) -> None:
    """The kubelet's certificate serves and dials, and its user name is the node's."""
    name = f"node-{number}"
    subject = f"/O=system:nodes/CN=system:node:{name}"
    issue(folder, name, subject, names=[name], hosts=[addresses.node(number)])
    write_kubeconfig(folder / f"{name}.kubeconfig", folder, name, addresses)


def authority(folder: Path, name: str) -> None:
    """A self-signed certificate that may sign others."""
    files = ["-keyout", f"{folder}/{name}.key", "-out", f"{folder}/{name}.crt"]
    usage = ["-addext", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature"]
    _openssl("req", "-x509", "-days", DAYS, *ELLIPTIC, *files, "-subj", f"/CN={name}", *usage)


def issue(
    folder: Path,
    name: str,
    subject: str,
    *,
    signer: str = "ca",
    names: list[str] | None = None,
    hosts: list[str] | None = None,
) -> None:
    """A certificate for servers and clients, signed by one of the authorities."""
    files = ["-keyout", f"{folder}/{name}.key", "-out", f"{folder}/{name}.crt"]
    signed = ["-CA", f"{folder}/{signer}.crt", "-CAkey", f"{folder}/{signer}.key"]
    added = ["-addext", "basicConstraints=critical,CA:FALSE"]
    added += ["-addext", "keyUsage=critical,digitalSignature"]
    added += ["-addext", "extendedKeyUsage=serverAuth,clientAuth"]
    alternatives = [f"DNS:{entry}" for entry in names or []] + [
        f"IP:{entry}" for entry in hosts or []
    ]
    if alternatives:
        added += ["-addext", f"subjectAltName={','.join(alternatives)}"]
    _openssl("req", "-x509", "-days", DAYS, *ELLIPTIC, *files, "-subj", subject, *signed, *added)


def write_kubeconfig(path: Path, certificates: Path, name: str, addresses: Addresses) -> None:
    """A kubeconfig with everything inline, so that it can be copied anywhere. JSON is YAML."""

    def inline(file: str) -> str:
        return base64.b64encode((certificates / file).read_bytes()).decode()

    cluster = {"server": addresses.api_server, "certificate-authority-data": inline("ca.crt")}
    user = {
        "client-certificate-data": inline(f"{name}.crt"),
        "client-key-data": inline(f"{name}.key"),
    }
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "geopod", "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": "geopod", "context": {"cluster": "geopod", "user": name}}],
        "current-context": "geopod",
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(content, indent=1), "utf-8")


def _openssl(*arguments: str) -> None:
    done = subprocess.run(
        ["openssl", *arguments],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ClusterError(
            f"openssl {arguments[0]} failed: {done.stderr.strip().splitlines()[-1:]}",
            fix="OpenSSL 3.0 or newer is needed (Debian package openssl)",
        )
