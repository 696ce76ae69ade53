"""A path of Ellipsis Drive as a layer: its active timestamps, under their own ids."""

from __future__ import annotations

import asyncio
from typing import Any

from geopod.backends import Backend
from geopod.errors import InvalidInputError

_SCHEME = "ellipsis"


async def name_timestamps(spec: dict[str, Any], path_id: str, backend: Backend) -> None:
    """Put the timestamps of the path that `spec` names into it, if it names one and no timestamp.

    Raises LayerAccessError for a path that cannot be read, and InvalidInputError where the token is
    not at hand: a cluster keeps it in a Secret.
    """
    stamps = spec["timestamps"]
    if len(stamps) != 1 or len(stamps[0]["uris"]) != 1:
        return
    (uri,) = stamps[0]["uris"]
    if not uri.startswith(_SCHEME):
        return
    secret = (spec.get("credentials") or {}).get("secretName")
    found = await asyncio.to_thread(_list, uri, path_id, secret, is_here=backend.name == "local")
    if found is not None:
        kind, dates = found
        spec.setdefault("type", kind)
        spec["timestamps"] = [
            {"id": name, "uri": f"{uri.rstrip('/')}/{name}", **({"date": date} if date else {})}
            for name, date in dates
        ]


def _list(
    uri: str, path_id: str, secret: str | None, *, is_here: bool
) -> tuple[str, list[tuple[str, str | None]]] | None:
    """Return what the path is and its timestamps with their dates; None: it is no bare path."""
    from geopod.layers.access import Access
    from geopod.layers.ellipsis import find_ellipsis, is_ellipsis, read_uri
    from geopod.layers.ellipsis_info import list_timestamps

    if not is_ellipsis(uri) or read_uri(uri, path_id=path_id)[2]:
        return None
    if secret is not None and not is_here:
        raise InvalidInputError(
            f"The timestamps of {uri} cannot be listed: the token is in Secret {secret!r}.",
            fixes=(f"name one: {uri.rstrip('/')}/<timestampId>", "timestamp='newest'"),
        )
    keys: dict[str, str] = {}
    if secret is not None:
        from geopod.backends.local.secrets import secrets_folder
        from geopod.layers.own_keys import find_keys, read_keys

        keys = read_keys(find_keys(secrets_folder(), secret))
    access = Access(credentials={path_id: keys}, secrets={path_id: secret} if secret else {})
    return list_timestamps(find_ellipsis(uri, access, path_id=path_id))
