"""Commands of the test cluster: `python -m cluster.testcluster up | down | status | …`."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time

from . import binaries, providers
from .deploy import deploy, undeploy
from .errors import ClusterError, NoClusterHereError
from .images import KINDS, build_images
from .machine import check_machine
from .places import Addresses, Places, cluster_name
from .process_cluster import Wishes, is_running
from .spec import read_spec

NO_CLUSTER_HERE = 3
"""Exit status where this machine cannot have a cluster at all."""


def main(arguments: list[str]) -> int:
    """Run one command; 0 is success, and every failure is one sentence on standard error."""
    options = parser().parse_args(arguments)
    try:
        return int(options.run(options) or 0)
    except NoClusterHereError as error:
        return fail(f"no cluster here: {error}", NO_CLUSTER_HERE)
    except ClusterError as error:
        return fail(str(error), 1)
    except KeyboardInterrupt:
        return fail("interrupted; `make cluster-down` removes what was started", 130)


def fail(sentence: str, status: int) -> int:
    sys.stderr.write(f"{sentence}\n")
    return status


def say(sentence: str) -> None:
    sys.stdout.write(f"{sentence}\n")
    sys.stdout.flush()


def parser() -> argparse.ArgumentParser:
    """The command line; the cluster's name comes from GEOPOD_TEST_CLUSTER."""
    top = argparse.ArgumentParser(prog="testcluster", description=__doc__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    up = commands.add_parser("up", help="start a cluster, or give a running one what it lacks")
    up.set_defaults(run=run_up)
    up.add_argument("--kubernetes", metavar="MINOR", help="newest by default")
    up.add_argument("--nodes", type=int, default=1, help="real nodes")
    up.add_argument("--simulated", type=int, default=0, help="nodes that only kwok plays")
    up.add_argument("--gpus", type=int, default=0, help="nvidia.com/gpu on the first node")
    up.add_argument("--fast-failure", action="store_true", help="notice a lost node within 15 s")
    up.add_argument("--fast-controllers", action="store_true", help="controllers at 400 requests/s")
    up.add_argument("--index", action="store_true", help="put wheels into the package index")
    for name, run, words in (
        ("down", run_down, "end the cluster and remove every trace"),
        ("status", run_status, "say what runs, and show the nodes"),
        ("undeploy", run_undeploy, "uninstall geopod's chart; definitions stay"),
        ("environment", run_environment, "print lines to `eval`: KUBECONFIG and PATH"),
    ):
        commands.add_parser(name, help=words).set_defaults(run=run)
    images = commands.add_parser("images", help="build geopod's images, push them to its registry")
    images.set_defaults(run=run_images)
    folders = [kind.folder for kind in KINDS]
    images.add_argument("kinds", nargs="*", metavar="KIND", help=f"{', '.join(folders)}; or all")
    chart = commands.add_parser("deploy", help="install geopod's chart with the images built here")
    chart.set_defaults(run=run_deploy)
    chart.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="a value")
    around = commands.add_parser("around", help="run a command beside a cluster with our images")
    around.add_argument("command", nargs=argparse.REMAINDER, help="the command and its arguments")
    around.set_defaults(run=run_around)
    build = commands.add_parser("build", help="build groups of pinned commands into the cache")
    build.add_argument("groups", nargs="*", help="all by default")
    build.set_defaults(run=run_build)
    return top


def run_up(options: argparse.Namespace) -> int:
    started = time.monotonic()
    wishes = Wishes(
        kubernetes=options.kubernetes,
        nodes=options.nodes,
        simulated=options.simulated,
        gpus=options.gpus,
        fast_failure=options.fast_failure,
        fast_controllers=options.fast_controllers,
        index=options.index,
    )
    provider = providers.choose(say)
    provider.up(wishes, say)
    say(f"cluster {cluster_name()} is ready after {time.monotonic() - started:.1f} s")
    for line in provider.environment():
        say(line)
    return 0


def run_down(_: argparse.Namespace) -> int:
    started = time.monotonic()
    existed = providers.choose(say).down()
    words = f"gone after {time.monotonic() - started:.1f} s" if existed else "not there"
    say(f"cluster {cluster_name()} is {words}")
    return 0


def run_status(_: argparse.Namespace) -> int:
    provider = providers.choose(say)
    lines = provider.status()
    for line in lines:
        say(line)
    return 0 if lines else fail(f"cluster {cluster_name()} is not running; `make cluster-up`", 1)


def run_images(options: argparse.Namespace) -> int:
    places = Places.of(cluster_name())
    if not is_running(cluster_name()):
        raise ClusterError("no registry runs to push to", fix="run `make cluster-up` first")
    chosen = tuple(kind for kind in KINDS if kind.folder in (options.kinds or {kind.folder}))
    if missing := set(options.kinds) - {kind.folder for kind in chosen}:
        known = ", ".join(kind.folder for kind in KINDS)
        raise ClusterError(f"there is no image {min(missing)}", fix=f"take some of {known}")
    built = build_images(Addresses(read_spec(places.spec).slot).registry, say, chosen)
    before = json.loads(places.images.read_text("utf-8")) if places.images.exists() else {}
    now = {image.name: image.reference for image in built}
    places.images.write_text(json.dumps(before | now), "utf-8")
    return 0


def run_deploy(options: argparse.Namespace) -> int:
    deploy(cluster_name(), say, settings=options.set)
    return 0


def run_undeploy(_: argparse.Namespace) -> int:
    undeploy(cluster_name(), say)
    return 0


def run_around(options: argparse.Namespace) -> int:
    """Run a command while a cluster is up; one that was started for it is ended after it.

    Where no cluster can be had the command is left out, with the reason; in CI that is a failure.
    """
    provider = providers.choose(say)
    if provider.name == "process":
        try:
            check_machine()
        except NoClusterHereError as error:
            if os.environ.get("CI") == "true":
                raise
            say(f"SKIPPED {' '.join(options.command)}: {error}")
            return 0
    was_running = bool(provider.status())
    try:
        run_up(parser().parse_args(["up"]))
        if provider.name != "given":  # cold builds take longer than a test may
            run_build(parser().parse_args(["build", "helm", "cyclonus"]))
        if provider.name == "process":
            run_images(parser().parse_args(["images"]))
        return subprocess.run(options.command, check=False).returncode
    finally:
        if not was_running:
            run_down(options)


def run_environment(_: argparse.Namespace) -> int:
    for line in providers.choose(lambda _: None).environment():
        say(line)
    return 0


def run_build(options: argparse.Namespace) -> int:
    for group in options.groups or binaries.groups():
        say(f"{group}: {binaries.build(group, say)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
