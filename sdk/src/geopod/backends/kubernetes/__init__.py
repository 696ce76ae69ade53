"""Environments as resources of a Kubernetes cluster: applied, watched, and read back.

It creates and reads geopod's own resources and nothing else of a user's; pods, quotas and events
are looked at only to explain. Results and functions pass the gateway, never the API server's
objects, but for a function of at most 128 KiB and copies of results of at most 4 KiB.
"""

from geopod.backends.kubernetes.backend import KubernetesBackend

__all__ = ["KubernetesBackend", "open_target"]

open_target = KubernetesBackend.open
"""How `geopod.backends.open_backend` opens this backend."""
