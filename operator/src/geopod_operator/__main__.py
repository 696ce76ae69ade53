"""The operator's process: reads settings and clocks, puts the parts together, ends cleanly."""

from __future__ import annotations

import os
import signal

if __name__ == "__main__":  # before imports that take a second: PID 1 has no other handler
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import kopf
import yaml
from aiohttp import web
from geopod.cluster.client import ApiClient
from geopod.cluster.limits import Limits
from geopod.errors import ConfigError, GeopodError

from geopod_operator import handlers, probes
from geopod_operator.cluster import Cluster
from geopod_operator.environment.observed import Settings as PlanSettings
from geopod_operator.lease import Lease
from geopod_operator.metrics import Metrics
from geopod_operator.reconciler import Clocks, Reconciler
from geopod_operator.resync import Resync, Resyncer, Scope
from geopod_operator.settings import Settings, read_settings
from geopod_operator.stores import Stores
from geopod_operator.work import WorkQueue

REQUEST_S = 30.0
EXIT_REFUSED = 1
"""What cannot work was said in one sentence."""
logger = logging.getLogger("geopod_operator")

Stop = asyncio.Event | threading.Event


class Operator:
    """All parts of one operator, put together."""

    def __init__(self, settings: Settings, client: ApiClient) -> None:
        """Nothing is asked of the cluster yet."""
        self._settings = settings
        self._client = client
        self.metrics = Metrics()
        self.stores = Stores()
        self.stamps = probes.WatchStamps()
        self._cluster = cluster = Cluster(client, instance=settings.instance)
        clocks = Clocks(now=_now)
        self._lease = Lease(
            cluster,
            (settings.gateway_namespace, settings.lease),
            holder=settings.instance,
            clocks=clocks,
        )
        self._reconciler = Reconciler(
            self.stores, cluster, settings=plan_settings(settings), clocks=clocks
        )
        self.queue = WorkQueue(
            self._reconciler.reconcile,
            on_finished=lambda key, result, took: self.metrics.reconciled(key[0], result, took),
        )
        scope = Scope(
            namespaces=settings.watch_namespaces, watches_runtimes=settings.runtimes_file is None
        )
        self._watched = handlers.watched_kinds(watches_runtimes=scope.watches_runtimes)
        self.resyncer = Resyncer(
            Resync(self.stores, cluster, scope),
            add=lambda key, after_s: self.queue.add(key, after_s=after_s),
            take_stray=self._reconciler.take_stray,
        )
        self._wire_metrics()

    @property
    def health(self) -> probes.Health:
        """What the probes look at."""
        return probes.Health(
            stamps=self.stamps,
            is_stuck=self.queue.is_stuck,
            oldest_s=self.queue.oldest_s,
            is_synced=lambda: self.resyncer.is_synced,
        )

    async def run(self, stop: Stop) -> None:
        """Work until SIGTERM, SIGINT or `stop`, or until another operator has the Lease."""
        if self._settings.runtimes_file is not None:
            for runtime in read_runtimes(self._settings.runtimes_file):
                self.stores.put(runtime)
        server = await self._serve()
        try:
            if not self._settings.lease:
                await self._begin(stop)
                return
            await self._lease.acquire()
            # The first lists of an ill server may take longer than a Lease lasts.
            keeping = asyncio.create_task(self._lease.keep(), name="lease")
            try:
                await self._begin(stop, keeping)
            finally:
                keeping.cancel()
                await asyncio.wait({keeping})
                await self._lease.release()
        finally:
            await server.cleanup()

    async def _begin(self, stop: Stop, *held: asyncio.Task[None]) -> None:
        """List everything and work; one of `held` that ends meanwhile ends the lists too."""
        looking = asyncio.create_task(self._look(), name="first lists")
        try:
            await asyncio.wait({looking, *held}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            looking.cancel()
            await asyncio.wait({looking})
        for task in held:
            if task.done():
                return task.result()
        looking.result()
        return await self._work(stop, *held)

    async def _look(self) -> None:
        await self.resyncer.start()
        await self._cluster.check_definitions()

    async def _work(self, stop: Stop, *held: asyncio.Task[None]) -> None:
        """Run the queue and the resyncs beside kopf; whichever ends first ends all."""
        where = ", ".join(self._settings.watch_namespaces) or "all namespaces"
        logger.info("%d environments in %s", len(self.stores.environments()), where)
        self.stamps.expect(self._watches())
        mine = [
            asyncio.create_task(self.queue.run(), name="queue"),
            asyncio.create_task(self.resyncer.run(), name="resync"),
            *held,
        ]
        for task in mine:
            task.add_done_callback(lambda _: stop.set())
        try:
            await kopf.operator(
                registry=self._registry(stop),
                settings=handlers.kopf_settings(streams_lists=await self._cluster.streams_lists()),
                standalone=True,
                clusterwide=not self._settings.watch_namespaces,
                namespaces=self._settings.watch_namespaces,
                stop_flag=stop,
            )
        finally:
            for task in mine:
                task.cancel()
            results = await asyncio.gather(*mine, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    def _registry(self, stop: Stop) -> kopf.OperatorRegistry:
        inbox = handlers.Inbox(
            stores=self.stores,
            add=self.queue.add,
            saw=self.metrics.saw,
            gone=self.metrics.gone,
        )
        # A stop flag that nobody raises would be waited for: 5 s of each restart.
        return handlers.register(inbox, self._watched, login=self._sign_in, ended=stop.set)

    def _sign_in(self) -> kopf.AiohttpSession:
        session = self._client.session(handlers.kopf_response(self.stamps))
        return kopf.AiohttpSession(server=self._client.base_url, aiohttp_session=session)

    def _watches(self) -> list[probes.Watch]:
        everywhere = self._settings.watch_namespaces or ("",)
        return [
            (kind.plural, namespace)
            for kind in self._watched
            for namespace in (everywhere if kind.namespaced else ("",))
        ]

    async def _serve(self) -> web.AppRunner:
        runner = web.AppRunner(probes.probe_app(self.health, self.metrics.render), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, port=self._settings.metrics_port).start()
        return runner

    def _wire_metrics(self) -> None:
        self._client.count(
            lambda request, code: self.metrics.answered(request.verb, request.kind.kind, code)
        )
        self.metrics.watch_queue(self.queue.depth, self.queue.oldest_s)
        self.metrics.watch_objects(lambda: self.stores.environments().values(), self.stamps.ages_s)


def plan_settings(settings: Settings) -> PlanSettings:
    """Return the part of the settings that plans depend on."""
    return PlanSettings(
        agent_image=settings.agent_image,
        store=settings.store,
        signing_key=settings.signing_key,
        gateway_namespace=settings.gateway_namespace,
        coordinator_priority_class=settings.coordinator_priority_class,
        coordinator_pdb=settings.coordinator_pdb,
        dns_cidrs=settings.dns_cidrs,
        api_server_cidrs=settings.api_server_cidrs,
        image_pull_secrets=settings.image_pull_secrets,
    )


def read_runtimes(path: Path) -> list[dict[str, Any]]:
    """Return the ComputeRuntimes of a file: YAML documents, or one List; raises ConfigError."""
    try:
        documents = [each for each in yaml.safe_load_all(path.read_text("utf-8")) if each]
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"The runtimes {path} cannot be read: {error}.") from error
    flat = [
        item
        for each in documents
        for item in (each if isinstance(each, list) else each.get("items", [each]))
    ]
    return [{"apiVersion": "geopod.dev/v1alpha1", "kind": "ComputeRuntime", **it} for it in flat]


def _now() -> datetime:
    return datetime.fromtimestamp(time.time(), UTC)


async def operate(settings: Settings, stop: Stop | None = None) -> None:
    """Run one operator; raises what keeps it from working."""
    limits = Limits(qps=settings.api_qps, burst=settings.api_burst, rights_are_given=True)
    client = await ApiClient.connect(timeout_s=REQUEST_S, limits=limits)
    async with client:
        await Operator(settings, client).run(stop or asyncio.Event())


async def _until_told(settings: Settings) -> None:
    """Operate until SIGTERM ends it, also while it waits; once it works, kopf takes the signal.

    An exception of a plain handler would be raised, and lost, in whatever callback runs then.
    """
    task = asyncio.ensure_future(operate(settings))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with suppress(asyncio.CancelledError):
        await task


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def main(environ: Mapping[str, str]) -> int:
    """Return the exit status of the process."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("kopf").setLevel(logging.WARNING)
    try:
        settings = read_settings(environ)
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_until_told(settings))
    except GeopodError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_REFUSED
    logger.info("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
