"""The routes of uploads in parts. Each part is written where it belongs in one file.

An upload is named by its key, sizes and the sha256 of its beginning, so a client that starts again
finds its parts, and a gateway that starts again finds them too. What they make together is checked
against the sha256 that its end names.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import re
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web
from geopod.store import KeyMissingError

from geopod_gateway.access import Allowed
from geopod_gateway.app import asking, receiving
from geopod_gateway.app.asking import RefusedError
from geopod_gateway.app.following import Followers
from geopod_gateway.app.objects import Shelf, facts_of, keep, refuse_second

PREFIX = "upload-"
"""Of a folder in `spool`: `data`, `plan`, and an empty file per part that has arrived."""
MIN_PART_BYTES, MAX_PART_BYTES, MAX_PARTS = 1 << 20, 256 << 20, 10_000
PLAN_LIMIT_BYTES = 1024
_ID = re.compile(r"[0-9a-f]{40}")
_NUMBER = re.compile(r"[1-9][0-9]{0,4}")


@dataclass(frozen=True, slots=True)
class Plan:
    """What one upload will be."""

    key: str
    beginning: str
    """sha256 of its first bytes, as many as the client likes."""
    size: int
    part_bytes: int

    @property
    def id(self) -> str:
        """Name of the upload: the same for the same bytes under the same key."""
        text = f"{self.key}\n{self.beginning}\n{self.size}\n{self.part_bytes}"
        return hashlib.sha256(text.encode()).hexdigest()[:40]

    @property
    def count(self) -> int:
        """How many parts there are."""
        return -(-self.size // self.part_bytes)

    def span(self, number: int) -> tuple[int, int]:
        """Return where part `number` (from 1) begins, and its length."""
        start = (number - 1) * self.part_bytes
        return start, min(self.part_bytes, self.size - start)


class Uploads:
    """The uploads in parts of one gateway."""

    def __init__(self, shelf: Shelf, *, fsync: bool) -> None:
        self._shelf = shelf
        self._arriving: Counter[str] = Counter()
        self._followers = Followers(fsync=fsync)

    async def begin(self, request: web.Request, allowed: Allowed) -> web.StreamResponse:
        """Answer POST `?uploads`: the upload's name, and the parts that are here already."""
        asked = asking.upload(request)
        there = await facts_of(self._shelf.storage, allowed.key)
        if there is not None and asked.if_absent:
            return refuse_second(there, asked)
        plan = await self._read_plan(request, allowed.key)
        self._shelf.room.limit(allowed.tenant, plan.size)
        folder = self._folder(plan.id)
        if not (folder / "plan").exists():  # one look at a local folder
            _create(folder, plan)
        return web.json_response({"upload": plan.id, "parts": _there(folder)}, status=201)

    async def show(self, allowed: Allowed) -> web.StreamResponse:
        """Answer GET `?upload`: the parts that are here."""
        plan, folder = self._known(allowed)
        return web.json_response({"upload": plan.id, "parts": _there(folder)})

    async def receive(self, request: web.Request, allowed: Allowed) -> web.StreamResponse:
        """Answer PUT `?upload&part`: the part lies where it belongs."""
        plan, folder = self._known(allowed)
        text = allowed.query["part"]
        if not _NUMBER.fullmatch(text) or int(text) > plan.count:
            raise RefusedError(400, "BadPart", f"This upload has parts 1 to {plan.count}.")
        start, length = plan.span(int(text))
        if request.content_length not in {None, length}:
            raise RefusedError(400, "BadPart", f"Part {text} has {length} bytes.")
        self._shelf.room.limit(allowed.tenant, length)
        descriptor = os.open(folder / "data", os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        self._arriving[plan.id] += 1
        self._followers.arriving(plan.id, start)
        try:
            with self._shelf.room.promised(allowed.tenant, length):
                await receiving.into(
                    request, descriptor, start=start, length=length, idle_s=self._shelf.idle_s
                )
        finally:
            os.close(descriptor)
            self._arriving[plan.id] -= 1
            self._followers.arriving(plan.id, start)  # another one may have written here meanwhile
        self._followers.arrived(plan.id, folder / "data", start=start, length=length)
        (folder / text).touch()  # an empty file
        return web.Response(status=201)

    async def complete(self, request: web.Request, allowed: Allowed) -> web.StreamResponse:
        """Answer POST `?upload`: the parts become the object, if their sha256 is the one named."""
        asked = asking.upload(request)
        if not asked.digest:
            raise RefusedError(400, "BadDigest", "The end of an upload in parts names its sha256.")
        plan, folder = self._known(allowed)
        missing = plan.count - len(_there(folder))
        if missing:
            raise RefusedError(400, "PartsMissing", f"{missing} of {plan.count} are not here.")
        if self._arriving[plan.id]:
            raise RefusedError(503, "PartsArriving", "A part is being written.")
        self._arriving[plan.id] += 1
        try:
            aside = self._shelf.new_part()
            os.rename(folder / "data", aside)  # noqa: PTH104  # no part can be written any more
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            try:
                followed = await self._followers.digest(plan.id, plan.size)
                digest = followed or await asyncio.to_thread(_hash, aside)
                if digest != asked.digest:
                    raise RefusedError(422, "OtherDigest", f"The parts' sha256 is {digest}.")
                return await keep(self._shelf, allowed, aside, asked=asked, digest=digest)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(aside)  # noqa: PTH108  # only there if it is no object
        finally:
            self._arriving[plan.id] -= 1

    async def abandon(self, allowed: Allowed) -> web.StreamResponse:
        """Answer DELETE `?upload`: its parts are removed."""
        plan, folder = self._known(allowed)
        self._followers.forget(plan.id)
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        return web.Response(status=204)

    def _folder(self, upload_id: str) -> Path:
        return self._shelf.storage.spool / f"{PREFIX}{upload_id}"

    def _known(self, allowed: Allowed) -> tuple[Plan, Path]:
        """Return an upload that was begun for this very key; raises KeyMissingError."""
        upload_id = allowed.query["upload"]
        if not _ID.fullmatch(upload_id):
            raise KeyMissingError(upload_id)
        folder = self._folder(upload_id)
        try:
            plan = Plan(**json.loads((folder / "plan").read_bytes()))
        except OSError as error:
            raise KeyMissingError(upload_id) from error
        if plan.key != allowed.key:
            raise KeyMissingError(upload_id)
        return plan, folder

    async def _read_plan(self, request: web.Request, key: str) -> Plan:
        text = await receiving.text(request, limit=PLAN_LIMIT_BYTES, idle_s=self._shelf.idle_s)
        try:
            said = json.loads(text)
            beginning = asking.sha256(said["beginning"])
            plan = Plan(key, beginning, int(said["bytes"]), int(said["partBytes"]))
        except (ValueError, KeyError, TypeError) as error:
            raise RefusedError(400, "BadPlan", "Say bytes, partBytes and beginning.") from error
        fits = MIN_PART_BYTES <= plan.part_bytes <= MAX_PART_BYTES
        if not fits or plan.size < 1 or plan.count > MAX_PARTS:
            raise RefusedError(400, "BadPlan", f"1 to {MAX_PARTS} parts of 1 to 256 MiB.")
        return plan


def _create(folder: Path, plan: Plan) -> None:
    """Make an upload's folder; the plan is written last, and whole."""
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / "data").touch()
    part = folder / "plan.part"
    values = {"key": plan.key, "beginning": plan.beginning, "size": plan.size}
    part.write_text(json.dumps({**values, "part_bytes": plan.part_bytes}), "utf-8")
    part.replace(folder / "plan")


def _there(folder: Path) -> list[int]:
    """Return the numbers of the parts that have arrived, sorted."""
    return sorted(int(name) for name in os.listdir(folder) if _NUMBER.fullmatch(name))  # noqa: PTH208


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
