"""What the peers promise less than geopod, and why a gate is missed: words for the page."""

from __future__ import annotations

LESS = {
    "dask": "tasks share a process; results in memory only",
    "ray": "tasks share a process; results in memory only",
    "ray, its defaults": "tasks share a process; results in memory only",
    "odc-stac, dask": "tasks share a process; results in memory only",
    "dask-geopandas": "tasks share a process; results in memory only",
    "lithops": "nothing stays warm between calls",
    "rasterio": "reads, and keeps nothing",
    "rasterio, read only": "reads, and keeps nothing",
    "rasterio, read again": "reads, and keeps nothing",
    "pyogrio": "reads, and keeps nothing",
    "disk": "one file, no digest, nobody asked who writes",
    "floor": "no function runs",
    "bare Job": "no result comes back",
    "Indexed Job": "no result comes back",
}
"""Peer -> a few words in its lines of the table."""

PROMISES = {
    "dask": "Tasks of all users run in the worker's own process: what one leaves behind, the next "
    "one finds, and a crash takes all of them along. A result lies in one worker's memory and is "
    "lost with it. Scheduler, workers and client unpickle what the others send.",
    "ray": "As dask: a worker process serves one task after another, results lie in a memory that "
    "ends with the machine, and all parts unpickle what they are sent.",
    "Lithops": "A fresh interpreter for each job and results in files, which comes close to what "
    "geopod promises. Nothing is kept warm, and its client looks for answers now and then instead "
    "of being told.",
    "rasterio, pyogrio, GDAL": "One process that reads. No plan, no second node, nothing kept.",
    "a bare Job": "A pod for each call. No function is sent, no value comes back.",
}

PUBLISHED = {
    "KubeRay": "its [quickstart](https://docs.ray.io/en/latest/cluster/kubernetes/getting-started/"
    "raycluster-quick-start.html) shows a head and one worker `ready` at an age of 55 s, on kind, "
    "their images pulled in that time. A worker waits in an init container that imports ray at 0.2 "
    "of a core: up to 55 s more where the image has no bytecode "
    "([kuberay#5138](https://github.com/ray-project/kuberay/issues/5138)).",
    "dask on Kubernetes": "dask-kubernetes publishes no figure. Of dask-gateway, which also starts "
    "scheduler and workers as pods, its author says below 10 s where machines wait, and a user "
    "5 minutes where none does "
    "([dask-gateway#262](https://github.com/dask/dask-gateway/issues/262)).",
}
"""Peer -> what its own pages say of its start on a cluster."""

REASONS = {
    "warm": "A call passes four Python processes, and its answer is in a file before it is told. "
    "ray's driver speaks to its worker directly, in C++.",
    "defaults": "As above: more processes on the way, and an answer that is stored.",
    "results": "A result is written, digested and stored before it is told. dask and ray keep it "
    "in memory and digest nothing.",
    "scene": "Overviews and compression are GDAL's own work on both sides; geopod puts the parts "
    "into one file first, where GDAL reads them through a VRT.",
}
"""Question -> why its gates are hard to reach; shown where one is missed."""
