"""Last step of the builder's Job: `python -m geopod.builder.upload`.

Packs what was installed, puts lock, log and bundle in the store, pushes the bundle as an image if a
registry is named and takes it, and says in the pod's termination message how it went
(`geopod.api.deployment.UPLOAD_COMMAND`). It alone holds a token, and runs no code of the packages;
what their installation left behind is read as hostile.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from geopod.api import deployment
from geopod.builder.bundle import TreeError, pack_tree, read_plain
from geopod.builder.registry import Registry, RegistryError, Repository, read_login
from geopod.builder.target import Target
from geopod.errors import GeopodError
from geopod.store import KeyMissingError

RESULT = Path("/dev/termination-log")
RESULT_LIMIT_BYTES = 4096
"""What a kubelet keeps of a termination message."""
OUTCOME_LIMIT_BYTES = 64 << 20
"""A lock with hashes of a thousand packages has 6 MB."""
LOG_LIMIT_BYTES = 16 << 20
FAILURES = (
    TreeError, GeopodError, KeyMissingError, RegistryError, aiohttp.ClientError, ValueError, OSError
)  # fmt: skip  # names read best in lines
PATIENCE = aiohttp.ClientTimeout(total=None, sock_connect=10.0, sock_read=120.0)
"""Of a registry: a bundle of gigabytes takes as long as it takes, a silent one does not."""
PROBLEM_LIMIT = 512
EXITS = {
    "ResolutionFailed": deployment.BUILD_EXIT_UNRESOLVABLE,
    "IndexUnreachable": deployment.BUILD_EXIT_INDEX,
    "BuilderFailed": 1,
}


@dataclass(frozen=True, slots=True)
class Built:
    """Where the step before left what it made."""

    tree: Path = Path(deployment.BUILD_TREE)
    outcome: Path = Path(deployment.BUILD_OUTCOME)
    log: Path = Path(deployment.BUILD_LOG)


async def upload(built: Built, target: Target) -> dict[str, Any]:
    """Store what was built, unless the store has it; return the result of the whole Job."""
    started = time.monotonic()
    if await target.is_there():
        return {**await _describe(target), "reused": True, "seconds": 0}
    outcome = _outcome(built.outcome)
    log = await target.put(deployment.LOG_FILE, _log(built.log))
    if not outcome["ok"]:
        return {**outcome, "logSha256": log}
    packed = await asyncio.to_thread(pack_tree, built.tree, _new_file(built.tree.parent))
    try:
        await target.put(deployment.LOCK_FILE, str(outcome["lock"]).encode())
        await target.put_file(deployment.BUNDLE_FILE, packed.path, packed.sha256)
    finally:
        _remove(packed.path)
    spent = float(outcome.get("seconds", 0)) + time.monotonic() - started
    return {**await _describe(target), "reused": False, "seconds": round(spent, 1)}


async def publish(result: Mapping[str, Any], target: Target, registry: Registry) -> dict[str, Any]:
    """Push a stored bundle as an image, unless the registry has it; its reference joins the result.

    The image is tagged with the bundle's key and digest, and named by digest in all pods: one that
    other namespaces use never loses its tag, and so to the registry's clean-up.
    """
    if not result["ok"]:
        return dict(result)
    layer, tag = f"sha256:{result['bundleSha256']}", f"{target.key}-{result['bundleSha256'][:32]}"
    image = await registry.find(tag, layer)
    if not image:
        packed = await target.fetch(deployment.BUNDLE_FILE)
        image = await registry.push(tag, packed, layer)
    return {**result, "bundleImage": image}


async def _describe(target: Target) -> dict[str, Any]:
    """Return what the result says of a bundle that is in the store."""
    size, sha256 = await target.facts(deployment.BUNDLE_FILE)
    return {
        "ok": True,
        "bundleSha256": sha256,
        "bundleBytes": size,
        "lockSha256": await target.known(deployment.LOCK_FILE),
        "logSha256": await target.known(deployment.LOG_FILE),
    }


def _outcome(path: Path) -> dict[str, Any]:
    """Return what the installation said, or that it said nothing."""
    try:
        outcome = json.loads(read_plain(path, limit=OUTCOME_LIMIT_BYTES))
        if outcome["ok"]:
            return {"ok": True, "lock": str(outcome["lock"]), "seconds": outcome.get("seconds", 0)}
        reason = outcome["reason"] if outcome["reason"] in EXITS else "BuilderFailed"
        lines = [str(line) for line in outcome["lines"]]
        return failure(reason, lines, exit_code=int(outcome["exit"]))
    except (TreeError, ValueError, KeyError, TypeError) as error:
        return failure("BuilderFailed", [f"the installation left no outcome: {error}"])


def failure(reason: str, lines: list[str], *, exit_code: int = 1) -> dict[str, Any]:
    """Return the result of a build that failed."""
    return {"ok": False, "reason": reason, "exit": exit_code, "lines": lines}


def encode_result(result: Mapping[str, Any]) -> bytes:
    """Return a result as JSON that fits a termination message: of the lines, the first ones."""
    lines = list(result.get("lines", ()))
    while True:
        kept = {**result, "lines": lines} if "lines" in result else dict(result)
        data = json.dumps(kept, ensure_ascii=False, separators=(",", ":")).encode()
        if len(data) <= RESULT_LIMIT_BYTES:
            return data
        shorter = lines[-1][: len(lines[-1]) // 2]
        lines = [*lines[:-1], shorter] if shorter else lines[:-1]


def exit_code(result: Mapping[str, Any]) -> int:
    """Return the exit status that tells the Job whether to try again."""
    return 0 if result["ok"] else EXITS[result["reason"]]


def main(environ: Mapping[str, str], *, result_file: Path = RESULT) -> int:
    """Store what was built and say so; return the exit status."""
    result = asyncio.run(_run(environ))
    data = encode_result(result)
    result_file.write_bytes(data)
    sys.stdout.buffer.write(data + b"\n")
    return exit_code(result)


async def _run(environ: Mapping[str, str]) -> dict[str, Any]:
    target = Target.read(environ)
    named = environ.get(deployment.ENV_BUNDLE_REGISTRY, "")
    try:
        result = await upload(Built(), target)
        if not named:
            return result
        repository = Repository.parse(named)
        login = read_login(Path(deployment.BUILD_REGISTRY_DIR), repository.host)
        async with aiohttp.ClientSession(auto_decompress=False, timeout=PATIENCE) as session:
            try:
                return await publish(result, target, Registry(repository, session, login))
            except (aiohttp.ClientError, TimeoutError) as error:
                problem = f"bundleRegistry {named!r} does not answer: {error}"
            except RegistryError as error:
                problem = f"bundleRegistry {named!r}: {error}"
        # The bundle is in the store: nodes unpack it, as they do where no registry is named.
        return {**result, "registryProblem": problem[:PROBLEM_LIMIT]}
    except FAILURES as error:
        return failure("BuilderFailed", [f"{type(error).__name__}: {error}"])
    finally:
        await target.close()


def _log(path: Path) -> bytes:
    """Return the end of the build's log; none: empty."""
    try:
        return read_plain(path, limit=LOG_LIMIT_BYTES, tail=True)
    except TreeError:
        return b""


def _new_file(folder: Path) -> Path:
    """Return a name that nothing of the installation can have taken."""
    return folder / f".packed-{secrets.token_hex(8)}"


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main(os.environ))
