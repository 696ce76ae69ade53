"""dask.distributed, ray and Lithops as peers: started once, asked the same questions as geopod."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar


class Dask:
    """A local cluster with its own defaults, one thread per worker process, no dashboard."""

    name = "dask"

    def __init__(self, workers: int, *, large_result: bool = False) -> None:
        del large_result  # knows no limit
        from distributed import Client, LocalCluster

        self._cluster = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            silence_logs=logging.ERROR,
        )
        self._client = Client(self._cluster)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return self._client.submit(function, *arguments, pure=False).result()

    def map(self, function: Callable[..., Any], arguments: list[Any]) -> list[Any]:
        return self._client.gather(self._client.map(function, arguments, pure=False))

    def share(self, function: Callable[..., Any], arguments: list[Any], table: Any) -> list[Any]:
        """Map with one large argument beside the others, sent to every worker beforehand."""
        sent = self._client.scatter(table, broadcast=True, hash=False)
        return self._client.gather(self._client.map(function, arguments, table=sent, pure=False))

    def close(self) -> None:
        self._client.close()
        self._cluster.close()


class Ray:
    """A local ray with as many CPUs as workers are asked for."""

    name = "ray"
    options: ClassVar[dict[str, Any]] = {}

    def __init__(self, workers: int, *, large_result: bool = False) -> None:
        del large_result  # knows no limit
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        # Below `uv run` it would start each worker by another `uv run`, in a copy of this project.
        os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        import ray

        self._ray = ray
        chosen = {"num_cpus": workers, "include_dashboard": False, "log_to_driver": False}
        self._start({"logging_level": logging.ERROR, **chosen, **self.options})
        self._remote: dict[Any, Any] = {}

    def _start(self, options: dict[str, Any]) -> None:
        """Start it; once more where its first node did not come up within its fixed 30 s."""
        try:
            self._ray.init(**options)
        except Exception:  # noqa: BLE001  # it raises a bare one
            self._ray.shutdown()
            self._ray.init(**options)

    def _function(self, function: Callable[..., Any]) -> Any:
        if function not in self._remote:
            self._remote[function] = self._ray.remote(function)
        return self._remote[function]

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return self._ray.get(self._function(function).remote(*arguments))

    def map(self, function: Callable[..., Any], arguments: list[Any]) -> list[Any]:
        remote = self._function(function)
        return self._ray.get([remote.remote(argument) for argument in arguments])

    def share(self, function: Callable[..., Any], arguments: list[Any], table: Any) -> list[Any]:
        """Map with one large argument beside the others, put into the shared memory beforehand."""
        remote, put = self._function(function), self._ray.put(table)
        return self._ray.get([remote.remote(argument, table=put) for argument in arguments])

    def close(self) -> None:
        self._ray.shutdown()


class RayDefaults(Ray):
    """A local ray as `ray.init()` starts it: all of the machine's CPUs, dashboard, logs."""

    name = "ray, its defaults"
    options: ClassVar[dict[str, Any]] = {
        "num_cpus": None,
        "include_dashboard": None,
        "log_to_driver": True,
    }


class Lithops:
    """Lithops' local executor, run as its users would who are in a hurry.

    `runtime`: this interpreter; by default it takes the first `python` on PATH, which may lack its
    own libraries. `version` 1 forks the tasks of a job from one process; 2, the default, starts an
    interpreter for each. `monitoring_interval`: 2 s by default, between two looks for answers.
    """

    name = "lithops"

    def __init__(self, workers: int, *, large_result: bool = False) -> None:
        del large_result  # knows no limit
        os.environ.setdefault("LITHOPS_TELEMETRY", "false")
        import lithops

        own = {"runtime": sys.executable, "version": 1, "worker_processes": workers}
        how = {"backend": "localhost", "storage": "localhost", "monitoring_interval": 0.02}
        config = {"lithops": {**how, "log_level": None, "data_limit": False}, "localhost": own}
        self._executor = lithops.FunctionExecutor(config=config)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        future = self._executor.call_async(function, arguments or (None,))
        return self._executor.get_result(future, show_progressbar=False)

    def map(self, function: Callable[..., Any], arguments: list[Any]) -> list[Any]:
        futures = self._executor.map(function, arguments)
        return self._executor.get_result(futures, show_progressbar=False)

    def close(self) -> None:
        self._executor.clean()


class Geopod:
    """An environment on this machine without layers."""

    name = "geopod"

    def __init__(self, workers: int, *, large_result: bool = False) -> None:
        import geopod

        self._client = geopod.connect("local")
        self._environment = self._client.environment(
            nodes=workers, idle_after="10m", large_result=large_result, progress=False
        )

    def call(self, function: Callable[..., Any]) -> Any:
        return self._environment.execute(function, progress=False)[0]

    def map(self, function: Callable[..., Any], arguments: list[Any]) -> list[Any]:
        # A killed process is the function's own fault unless it may be tried again, as with peers.
        return list(self._environment.map(function, arguments, retries=3, progress=False))

    def share(self, function: Callable[..., Any], arguments: list[Any], table: Any) -> list[Any]:
        """Map with one large argument beside the others."""
        calls = [(argument,) for argument in arguments]
        run = self._environment.submit_map(function, calls, kwargs={"table": table})
        run.wait(progress=False)
        return list(run.results())

    def close(self) -> None:
        self._environment.delete(results=True)
        self._client.close()


@contextmanager
def running(*kinds: type, workers: int, large_result: bool = False) -> Iterator[list[Any]]:
    """Start every peer, hand them over, and end them whatever happens."""
    started: list[Any] = []
    try:
        started.extend(kind(workers, large_result=large_result) for kind in kinds)
        yield started
    finally:
        for peer in reversed(started):
            peer.close()
