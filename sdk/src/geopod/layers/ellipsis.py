"""Ellipsis Drive as a source: `ellipsis://<pathId>/<timestampId>`, asked by the few GETs it takes.

`ellipsis+https://<host>/<base>/<pathId>/<timestampId>` is the same API elsewhere; without a
timestamp the newest active one is meant. Every request goes the way of all others of a layer:
checked hosts, bounded answers, few tries, and the token (`ELLIPSIS_TOKEN`) in a header only.
Source: the `ellipsis` package 3.3.12, which asks for the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from typing_extensions import override

from geopod.errors import LayerAccessError
from geopod.errors.wording import size_text
from geopod.layers.access import Access
from geopod.layers.remote import ELLIPSIS_SCHEMES, RemoteFile, find_remote, unreadable
from geopod.layers.web import Answer

ELLIPSIS = "Ellipsis"
"""Our own name of the driver: no GDAL has one."""
TOKEN = "ELLIPSIS_TOKEN"  # noqa: S105  # a name
PUBLIC_API = "https://api.ellipsis-drive.com/v3"
_MOST_ABOUT = 16 << 20
_UUID = "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_PLACE = re.compile(rf"(?:([^?#]+?)/)??({_UUID})(?:/({_UUID}))?/?")


@dataclass(frozen=True, kw_only=True, eq=False)
class EllipsisPlace(RemoteFile):
    """A path of Ellipsis Drive, or one timestamp of it."""

    api: RemoteFile
    """Where the API begins, with the token as its key."""
    path: str
    timestamp: str
    """Empty: none is named."""

    @override
    def version(self, suffix: str = "") -> str:
        """Return what changes when the timestamp does."""
        from geopod.layers.ellipsis_info import read_info

        return read_info(self).version

    def ask(self, route: str, *, most_bytes: int, query: Mapping[str, Any] | None = None) -> Answer:
        """Return the answer to a GET of `/path/<pathId><route>`; values of `query` go as JSON.

        Raises LayerAccessError: AuthFailed where the token does not suffice.
        """
        url = f"{self.api.href}/path/{self.path}{route}"
        if query:
            url += "?" + urlencode({name: json.dumps(value) for name, value in query.items()})
        answer = replace(self.api, href=url).probe(most_bytes)
        if answer.size > len(answer.body):
            raise self.refused(
                f"the answer to {route or 'its path'} has {size_text(answer.size)}, "
                f"{size_text(most_bytes)} is the limit"
            )
        return answer

    def ask_object(
        self, route: str, *, most_bytes: int = _MOST_ABOUT, query: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return a JSON object; raises LayerAccessError for another answer."""
        body = self.ask(route, most_bytes=most_bytes, query=query).body
        try:
            found = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise self.refused(f"the answer to {route or 'its path'} is not JSON") from error
        if not isinstance(found, dict):
            raise self.refused(f"the answer to {route or 'its path'} is not a JSON object")
        return found

    def refused(self, words: str) -> LayerAccessError:
        """Return the error that says what is wrong with the place."""
        return unreadable(self, words, path_id=self.path_id)


def is_ellipsis(href: str) -> bool:
    """Say whether a uri of a layer is a place of Ellipsis Drive."""
    return href.partition("://")[0] in ELLIPSIS_SCHEMES


def read_uri(href: str, *, path_id: str) -> tuple[str, str, str]:
    """Return the address of the API, the path and the timestamp (or nothing) that a uri names.

    Raises LayerAccessError for a uri of another form.
    """
    scheme, _, rest = href.partition("://")
    found = _PLACE.fullmatch(rest)
    elsewhere = scheme.removeprefix("ellipsis").removeprefix("+")
    if found is None or bool(found[1]) != bool(elsewhere):
        raise LayerAccessError.unreachable(
            path_id=path_id,
            words=f"{href.partition('?')[0]} is not ellipsis://<pathId>/<timestampId>",
        )
    address = f"{elsewhere}://{found[1]}" if elsewhere else PUBLIC_API
    return address, found[2].lower(), (found[3] or "").lower()


def find_ellipsis(href: str, access: Access, *, path_id: str) -> EllipsisPlace:
    """Return the place that `href` names; raises LayerAccessError for one no layer may name."""
    address, path, timestamp = read_uri(href, path_id=path_id)
    keys = _bearer(access, path_id)
    fenced = replace(access, credentials={path_id: keys})
    api = find_remote(address, fenced, path_id=path_id)
    return EllipsisPlace(
        href=href,
        scheme=href.partition("://")[0],
        bucket=api.bucket,
        key=f"{path}/{timestamp}".rstrip("/"),
        path_id=path_id,
        keys=keys,
        access=fenced,
        api=api,
        path=path,
        timestamp=timestamp,
    )


def _bearer(access: Access, path_id: str) -> dict[str, str]:
    """Return a layer's token as what HTTP calls it; no other key of the layer goes to this API."""
    token = access.keys(path_id).get(TOKEN, "").strip().removeprefix("Bearer ")
    if not token:
        return {}
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise LayerAccessError.refused(
            path_id=path_id,
            answer=f"{TOKEN} is not one word",
            secret=access.secrets.get(path_id),
        )
    return {"GDAL_HTTP_BEARER": token}
