"""Keys of layers on this machine: where they lie, and which layer has which.

A secret is a file `<name>.env` or `<name>.json` in the folder `secrets` of the user's configuration
(with GEOPOD_HOME: of that folder), mode 0600. The state folder keeps names of files, never keys.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from geopod.api import deployment
from geopod.backends.local.state import StateFolder, write_whole

if TYPE_CHECKING:
    from geopod.layers.access import Access

INDEX = "layer-secrets.json"
PREFIX = "layer-"
"""Of the names of secrets that were given as a mapping."""


def secrets_variable(folder: StateFolder) -> dict[str, str]:
    """Return the variable by which processes that open layers find the keys."""
    return {deployment.ENV_OWN_SECRETS: str(folder.root.absolute() / INDEX)}


def own_keys(folder: StateFolder) -> Access:
    """Return what layers of this machine may reach, for this process."""
    from geopod.layers.access import own_access

    return own_access(folder.root / INDEX)


def secrets_folder() -> Path:
    """Return where this user's secrets lie."""
    home = os.environ.get("GEOPOD_HOME")
    if home:
        return Path(home).absolute() / "secrets"
    import platformdirs  # only without GEOPOD_HOME

    return platformdirs.user_config_path("geopod") / "secrets"


def keep_keys(path_id: str, keys: Mapping[str, str]) -> str:
    """Write a layer's keys where their user alone can read them; return the secret's name.

    Raises InvalidInputError for names that are no keys of layers.
    """
    from geopod.layers.own_keys import check_keys

    name = f"{PREFIX}{path_id}"
    check_keys(keys, name=name)
    folder = secrets_folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_whole(folder / f"{name}.json", msgspec.json.encode(dict(keys)))
    return name


def bind(folder: StateFolder, path_id: str, name: str) -> None:
    """Note that a layer is read with a secret; raises InvalidInputError for one that is not there.

    Under the lock of the index: layers may be added by several processes.
    """
    from geopod.layers.own_keys import find_keys, read_index

    file = find_keys(secrets_folder(), name)
    index = folder.root / INDEX
    with folder.locked("layer-secrets"):
        files = {**read_index(index), path_id: str(file)}
        write_whole(index, msgspec.json.encode(files))
