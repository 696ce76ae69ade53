"""A node's agent in its pod: from variables and mounted files to a node that serves."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from geopod.agent.bundle import Bundle, BundleLostError, bring_bundle
from geopod.agent.node import UMASK, Node, attend, make_runner
from geopod.agent.settings import AgentSettings
from geopod.agent.signs import FileSigns
from geopod.agent.unpack import write_runner
from geopod.api import deployment
from geopod.process.pod import Pod
from geopod.process.watchdog import Watchdog
from geopod.store import Store, open_store
from geopod.store.later import LaterStore

TICK_S = 1.0
ENV_RUNNER_UID = "GEOPOD_RUNNER_UID"
"""For processes of one machine that play pods; in a pod: RUNNER_UID."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePlace:
    """What a pod's agent needs beside its settings."""

    settings: AgentSettings
    token_file: Path
    shared_token_file: Path
    cache: Path
    """Folder for what is fetched from the store."""
    bundle: Bundle | None
    """None: the image has every package."""
    bundle_folder: Path
    runner_file: Path
    started_file: Path
    ready_file: Path


def read_place(pod: Pod) -> NodePlace:
    """Return what the pod says; raises PodVariableError naming what is missing."""
    scratch = pod.path(deployment.SCRATCH_DIR)
    link = pod.path(deployment.LINK_DIR)
    # A container that starts again in the same pod holds nothing any more: another instance.
    instance = f"{pod.text(deployment.ENV_POD_UID)}-{secrets.token_hex(4)}"
    settings = AgentSettings(
        environment_uid=pod.text(deployment.ENV_ENVIRONMENT_UID),
        node=pod.number(deployment.ENV_NODE),
        instance=instance,
        link_key=pod.secret(deployment.LINK_DIR, deployment.LINK_KEY_FILE),
        coordinator=pod.text(deployment.ENV_COORDINATOR),
        store=pod.text(deployment.ENV_STORE),
        scratch=str(scratch),
        sockets="",
        memory_bytes=pod.optional_number(deployment.ENV_NODE_MEMORY),
        template_hash=pod.environ.get(deployment.ENV_TEMPLATE_HASH, ""),
        runner_uid=pod.number(ENV_RUNNER_UID, deployment.RUNNER_UID),
        own_scratch=str(scratch),
        own_socket=str(pod.path(deployment.RUNNER_SOCKET)),
    )
    return NodePlace(
        settings=settings,
        token_file=link / deployment.STORE_TOKEN_FILE,
        shared_token_file=link / deployment.SHARED_TOKEN_FILE,
        cache=scratch / "cache",
        bundle=_read_bundle(pod),
        bundle_folder=pod.path(deployment.BUNDLE_DIR),
        runner_file=pod.path(deployment.RUNNER_FILE),
        started_file=pod.path(deployment.STARTED_FILE),
        ready_file=pod.path(deployment.READY_FILE),
    )


def _read_bundle(pod: Pod) -> Bundle | None:
    key = pod.environ.get(deployment.ENV_BUNDLE_KEY, "")
    if not key:
        return None
    return Bundle(
        namespace=pod.text(deployment.ENV_NAMESPACE),
        key=key,
        sha256=pod.text(deployment.ENV_BUNDLE_SHA256),
    )


async def serve_pod() -> int:
    """Serve as the node that the pod names until SIGTERM; returns the exit code."""
    os.umask(UMASK)
    place = read_place(Pod())
    signs = FileSigns(place.started_file, place.ready_file)
    settings, cache = place.settings, place.cache
    opener = partial(open_store, settings.store, cache_bytes=deployment.CACHE_BYTES)
    async with (
        LaterStore(partial(opener, token_file=place.token_file, cache=cache)) as store,
        LaterStore(
            partial(opener, token_file=place.shared_token_file, cache=cache / "shared")
        ) as shared,
    ):
        node = Node(settings, store, make_runner(settings), shared=shared, signs=signs)
        if place.bundle is not None:
            node.spawn(_bring_runner(place.bundle, place, shared))
        node.spawn(_tick())
        try:
            return await attend(node)
        except BundleLostError as error:
            log.error("%s", error)  # noqa: TRY400  # its sentence says all
            return deployment.AGENT_EXIT_NO_BUNDLE


async def _bring_runner(bundle: Bundle, place: NodePlace, shared: Store) -> None:
    """Bring the packages, then the runner: its container waits for that file."""
    await bring_bundle(shared, bundle, place.bundle_folder, cache=place.cache)
    await asyncio.to_thread(write_runner, place.runner_file)


async def _tick() -> None:
    """Let the watchdog see that the loop goes on."""
    watchdog = Watchdog()
    watchdog.start()
    try:
        while True:
            watchdog.tick()
            await asyncio.sleep(TICK_S)
    finally:
        watchdog.stop()
