"""One repository of a registry: bundles are pushed to it, and found in it, by HTTP.

Source: OCI distribution specification 1.1; tokens: the registry's "token authentication".
"""

from __future__ import annotations

import base64
import json
import platform
import re
from asyncio import to_thread
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import aiohttp
import yarl

from geopod.api import deployment
from geopod.builder.image import MANIFEST_TYPE, diff_id_of, digest_of, holds, image_of
from geopod.store.sources import BytesSource, FileSource, Source

MANIFEST_LIMIT_BYTES = 4 << 20
SAID_LIMIT_BYTES = 300
CLIENT = "geopod"
"""Who exchanges an identity token, as its registry may note it down."""
TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=120)
_NAME = re.compile(r"(?:(https?)://)?([A-Za-z0-9.-]+(?::[0-9]{1,5})?)/([a-z0-9._/-]+)")
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


class RegistryError(Exception):
    """A registry that does not answer, or not as hoped."""


@dataclass(frozen=True, slots=True)
class Repository:
    """Where images go: `[http://]host[:port]/name`; without a scheme TLS is spoken."""

    base_url: str
    host: str
    name: str

    @classmethod
    def parse(cls, text: str) -> Repository:
        """Return the repository that a ComputeRuntime names; raises RegistryError."""
        match = _NAME.fullmatch(text)
        if match is None:
            raise RegistryError(
                f"bundleRegistry {text!r} is no repository: write host[:port]/name in small letters"
            )
        scheme, host, name = match.groups()
        return cls(f"{scheme or 'https'}://{host}", host, name.strip("/"))

    def reference(self, digest: str) -> str:
        """Return an image's reference, as pods name it."""
        return f"{self.host}/{self.name}@{digest}"

    def url(self, path: str) -> str:
        """Return the URL of something in this repository."""
        return f"{self.base_url}/v2/{self.name}/{path}"


@dataclass(frozen=True, slots=True)
class Login:
    """Who comes to a registry; nobody: both are empty."""

    words: str = field(default="", repr=False)
    """`user:password`."""
    identity_token: str = field(default="", repr=False)
    """What some registries give instead of a password: it is exchanged for tokens, at one place."""


def read_login(folder: Path, host: str) -> Login:
    """Return who comes to a host, by the Secrets mounted below `folder`."""
    for path in sorted(folder.glob(f"*/{deployment.DOCKER_CONFIG}")):
        try:
            logins: dict[str, dict[str, str]] = json.loads(path.read_bytes())["auths"]
            found = [login for place, login in logins.items() if _host_of(place) == host]
            if found:
                encoded = found[0].get("auth", "")
                plain = base64.b64decode(encoded).decode() if encoded else ""
                words = f"{found[0].get('username', '')}:{found[0].get('password', '')}"
                return Login(plain or words, found[0].get("identitytoken", ""))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return Login()


def _host_of(place: str) -> str:
    """Return the host that a login is for: Docker writes `host` or `https://host/v1/`."""
    return place.rpartition("://")[2].partition("/")[0]


@dataclass(slots=True)
class Registry:
    """A repository with an open session."""

    repository: Repository
    session: aiohttp.ClientSession
    login: Login = field(default_factory=Login)
    _authorization: str = field(default="", repr=False)

    async def find(self, tag: str, layer: str) -> str:
        """Return the reference of the image with this tag, if it is this layer's; else empty."""
        url = self.repository.url(f"manifests/{tag}")
        answer = await self._ask("GET", url, {200, 404}, headers={"Accept": MANIFEST_TYPE})
        async with answer:
            manifest = await answer.content.read(MANIFEST_LIMIT_BYTES)
        if answer.status == 404 or not holds(manifest, layer):  # noqa: PLR2004  # not found
            return ""
        return self.repository.reference(digest_of(manifest))

    async def push(self, tag: str, packed: Path, layer: str) -> str:
        """Push a packed bundle, whose digest is `layer`; return the image's reference."""
        diff_id = await to_thread(diff_id_of, packed)
        file = FileSource(packed)
        image = image_of(layer=layer, size=file.size, diff_id=diff_id, machine=platform.machine())
        try:
            await self._push_blob(layer, file)
        finally:
            file.close()
        await self._push_blob(digest_of(image.config), BytesSource(image.config))
        url = self.repository.url(f"manifests/{tag}")
        (
            await self._ask(
                "PUT", url, {201}, body=BytesSource(image.manifest), media_type=MANIFEST_TYPE
            )
        ).release()
        return self.repository.reference(digest_of(image.manifest))

    async def _push_blob(self, digest: str, source: Source) -> None:
        there = await self._ask("HEAD", self.repository.url(f"blobs/{digest}"), {200, 404})
        there.release()
        if there.status == 200:  # noqa: PLR2004  # it has the blob
            return
        begun = await self._ask("POST", self.repository.url("blobs/uploads/"), {202})
        begun.release()
        if "Location" not in begun.headers:
            raise RegistryError(f"{self.repository.host} does not say where blobs are sent to")
        place = self._place(begun.headers["Location"])
        url = f"{place}{'&' if '?' in place else '?'}digest={digest}"
        (await self._ask("PUT", url, {201}, body=source)).release()

    def _place(self, said: str) -> str:
        """Return where the registry says that a blob is sent to."""
        try:
            place = urljoin(self.repository.base_url, said)
            yarl.URL(place, encoded=True).origin().port  # noqa: B018  # read late, and judged then
        except ValueError as error:
            words = f"{self.repository.host} sends blobs to {said!r}, which is no address"
            raise RegistryError(words) from error
        return place

    async def _ask(
        self,
        method: str,
        url: str,
        expected: set[int],
        *,
        body: Source | None = None,
        media_type: str = "application/octet-stream",
        headers: dict[str, str] | None = None,
    ) -> aiohttp.ClientResponse:
        """Return an answer of an expected status; signs in when the registry asks for it.

        Another host, that the registry sends a blob to, is never told who is there.

        Raises RegistryError, and aiohttp.ClientError or OSError where nothing answers.
        """
        target = yarl.URL(url, encoded=True)
        is_its_own = target.origin() == yarl.URL(self.repository.base_url).origin()
        has_signed_in = not is_its_own
        while True:
            sent = dict(headers or {})
            if body is not None:
                sent |= {"Content-Type": media_type, "Content-Length": str(body.size)}
            if self._authorization and is_its_own:
                sent["Authorization"] = self._authorization
            data: Any = body.body(0, body.size) if body is not None else None
            answer = await self.session.request(
                method, target, data=data, headers=sent, timeout=TIMEOUT
            )
            if answer.status in expected:
                return answer
            async with answer:
                said = await answer.content.read(SAID_LIMIT_BYTES)
            if answer.status != 401 or has_signed_in:  # noqa: PLR2004  # who are you?
                words = said.decode("utf-8", "replace").strip()
                raise RegistryError(
                    f"{self.repository.host} answered {answer.status} to {method} "
                    f"{self.repository.name}: {words}"
                )
            has_signed_in = True
            await self._sign_in(answer.headers.get("WWW-Authenticate", ""))

    async def _sign_in(self, challenge: str) -> None:
        """Take the login, or fetch a token for it; without one a registry may give one too."""
        encoded = base64.b64encode(self.login.words.encode()).decode()
        basic = {"Authorization": f"Basic {encoded}"} if self.login.words else {}
        if not challenge.casefold().startswith("bearer"):
            self._authorization = basic.get("Authorization", "")
            return
        words = dict(_CHALLENGE.findall(challenge))
        asked = {"service": words.get("service", "")}
        asked["scope"] = f"repository:{self.repository.name}:pull,push"
        how: dict[str, Any] = {"method": "GET", "params": asked, "headers": basic}
        if self.login.identity_token:
            asked |= {"grant_type": "refresh_token", "client_id": CLIENT}
            form = asked | {"refresh_token": self.login.identity_token}
            how = {"method": "POST", "data": form, "allow_redirects": False}  # it is for one host
        async with self.session.request(
            url=words.get("realm", ""), timeout=TIMEOUT, **how
        ) as answer:
            try:
                said: Any = await answer.json(content_type=None) if answer.ok else {}
            except ValueError:  # a page for people
                said = None
        if not isinstance(said, dict):
            raise RegistryError(f"{self.repository.host} sends to a place that gives no token")
        self._authorization = f"Bearer {said.get('token') or said.get('access_token', '')}"
