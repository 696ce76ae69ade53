"""The questions by name: each returns rows of the table."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench import calls, cold, defaults, floors, maps, memory, starts
from bench.measure import Row


def partition_read() -> list[Row]:
    """Staging's reads of one partition beside bare rasterio and pyogrio of the same windows."""
    from bench.reading import partition_reads

    with tempfile.TemporaryDirectory() as folder:
        return partition_reads(Path(folder))


def scene_s() -> list[Row]:
    """Staging, staged reads, the plan and the assembly of scene S, beside bare GDAL."""
    from bench.scene import compare

    with tempfile.TemporaryDirectory() as folder:
        return compare(Path(folder))


def workloads() -> list[Row]:
    """NDVI, zonal statistics and a focal filter beside the stack built on dask."""
    from bench.workloads import compare

    with tempfile.TemporaryDirectory() as folder:
        return compare(Path(folder))


def agents() -> list[Row]:
    """A thousand agents and 100,000 tasks in one coordinator."""
    from bench.agents import many_agents

    return many_agents()


def gateway() -> list[Row]:
    """A result of a gibibyte through the gateway, up and down."""
    from bench.transfers import through_gateway

    return through_gateway()


def cluster_runs() -> list[Row]:
    """What runs cost on a cluster with geopod in it."""
    from bench.kubernetes import runs

    return runs()


def cluster_scale() -> list[Row]:
    """What 500 environments and one of 1,000 nodes cost the operator, on simulated nodes."""
    from bench.scale import scale

    return scale()


def cluster_writes() -> list[Row]:
    """What a run, a map and an environment write to the API server, beside a Job."""
    from bench.writes import writes

    return writes()


CLUSTER = {"runs": cluster_runs, "writes": cluster_writes, "scale": cluster_scale}
QUESTIONS = {
    "import": starts.import_time,
    "start": starts.environment_start,
    "warm": calls.warm_call,
    "floors": floors.floors,
    "results": calls.results,
    "broadcast": calls.broadcast,
    "map": maps.map_tasks,
    "growth": maps.growth,
    "defaults": defaults.ray_defaults,
    "lithops": defaults.lithops,
    "cold": cold.first_answer,
    "recovery": starts.recovery,
    "memory": starts.memory,
    "parts": memory.parts,
    "agents": agents,
    "gateway": gateway,
    "read": partition_read,
    "scene": scene_s,
    "work": workloads,
}
