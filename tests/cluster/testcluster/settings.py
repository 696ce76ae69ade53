"""Configuration files of the cluster's parts, as text. Decides contents, runs nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .places import DNS_SERVICE_ADDRESS, Addresses

PROBE_IMAGE = "geopod.test/probe:1"
"""Preloaded on every node: pause container, and the smoke tests' server, client, memory hog."""

COREFILE = """\
cluster.local in-addr.arpa ip6.arpa {{
  bind {control}
  errors
  kubernetes cluster.local in-addr.arpa ip6.arpa {{
    kubeconfig {kubeconfig}
    pods insecure
    ttl 5
  }}
  cache 5
}}

# Nothing lies beyond the cluster. Without this a missing name is SERVFAIL, which clients retry. It
# has a block of its own because `template` stands before `kubernetes` in every chain.
. {{
  bind {control}
  template ANY ANY . {{
    rcode NXDOMAIN
  }}
}}
"""

CONTAINERD = """\
version = 3
root = "{root}/containerd"
state = "/run/containerd"

[grpc]
  address = "/run/containerd/containerd.sock"

[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "{sandbox}"
  [plugins."io.containerd.cri.v1.images".registry]
    config_path = "{registries}"

[plugins."io.containerd.cri.v1.runtime"]
  # The pause container asks for -998, which takes CAP_SYS_RESOURCE; without it runc dies of an EOF.
  restrict_oom_score_adj = true
  # Nothing here may change a host's limits or profiles.
  disable_apparmor = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["{plugins}"]
    conf_dir = "{network}"
  [plugins."io.containerd.cri.v1.runtime".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
        SystemdCgroup = false
"""


def corefile(addresses: Addresses, kubeconfig: Path) -> str:
    return COREFILE.format(control=addresses.control, kubeconfig=kubeconfig)


def containerd(root: Path, *, registries: Path, plugins: str, network: Path) -> str:
    return CONTAINERD.format(
        root=root, registries=registries, plugins=plugins, network=network, sandbox=PROBE_IMAGE
    )


def registry_hosts(addresses: Addresses) -> str:
    """Tells containerd that the cluster's registry speaks plain HTTP."""
    return f'server = "http://{addresses.registry}"\n'


def registry(storage: Path) -> str:
    content = {
        "version": 0.1,
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(storage)}, "delete": {"enabled": True}},
        "http": {"addr": ":5000"},
    }
    return json.dumps(content)


def pod_network(node: int) -> str:
    """Bridge with host-local addresses. Masquerading is one rule of the node's own."""
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "hairpinMode": True,
        "ipMasq": False,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": Addresses.pods(node)}]],
            "routes": [{"dst": "0.0.0.0/0"}],
            "dataDir": "/run/cni",
        },
    }
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return json.dumps({"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge, ports]})


def audit_policy() -> str:
    """One line per request, when it ends: enough to hold API writes to a budget."""
    rule = {"level": "Metadata", "omitStages": ["RequestReceived"]}
    content = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [rule]}
    return json.dumps(content)


def kubelet(certificates: Path, *, name: str, cgroup: str, resolver: Path, fast: bool) -> str:
    content: dict[str, Any] = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(certificates / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(certificates / f"{name}.crt"),
        "tlsPrivateKeyFile": str(certificates / f"{name}.key"),
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroup,
        "failCgroupV1": False,
        "failSwapOn": False,
        "clusterDNS": [DNS_SERVICE_ADDRESS],
        "clusterDomain": "cluster.local",
        "resolvConf": str(resolver),
        "podLogsDir": "/var/log/pods",
        "maxPods": 250,
        "serializeImagePulls": False,
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%"},
        "volumeStatsAggPeriod": "5s",  # a minute: so late it would see that a volume is too full
        "registerNode": True,
    }
    if fast:
        content |= {"nodeStatusUpdateFrequency": "1s", "nodeLeaseDurationSeconds": 4}
    return json.dumps(content, indent=1)
