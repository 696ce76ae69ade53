"""What the layers of this process may reach, and with which keys.

Keys come from a Layer's own Secret, file by file, and go to the one open they are for: never to
`os.environ`, a log, the plan or the user's code. Without keys a store is asked without signature:
neither the machine's identity nor a profile that lies about is ever used.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from geopod.api import deployment
from geopod.layers.own_keys import CREDENTIAL_NAMES, OwnKeys, read_index

_LISTINGS = "listings"


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a source may take to answer."""

    tries: int = 5
    """Of one request: slow and cut connections, 429 and 5xx are asked again."""
    delay_s: float = 0.5
    """Before the second try; doubled each time."""
    connect_s: float = 10.0
    stall_s: float = 30.0
    """Without a byte, or below 1 kB/s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Which keys each layer has, and where its files may lie."""

    credentials: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    """pathId -> names of `CREDENTIAL_NAMES` and their values."""
    secrets: Mapping[str, str] = field(default_factory=dict)
    """pathId -> name of the Secret, for what an error says."""
    volumes: Path | None = None
    """The only folder that local files may lie in; None: a user's own machine, any folder."""
    patience: Patience = Patience()
    listings: Path | None = None
    """Where features that a service listed are kept for all processes of this machine or pod; None:
    each process keeps its own until it ends."""

    @property
    def is_shared(self) -> bool:
        """Whether layers are other people's: local files and addresses are fenced."""
        return self.volumes is not None

    def keys(self, path_id: str) -> Mapping[str, str]:
        """Return a layer's credentials; none: its store is asked without signature."""
        found = self.credentials.get(path_id, {})
        return {name: value for name, value in found.items() if name in CREDENTIAL_NAMES}


OWN_MACHINE = Access()
"""A user's own files, and public stores."""


def read_access(
    environ: Mapping[str, str],
    *,
    also: Mapping[str, str] | None = None,
    secrets_folder: Path = Path(deployment.LAYER_SECRETS_DIR),
    volumes: Path = Path(deployment.VOLUMES_DIR),
) -> Access:
    """Return what a pod's layers may reach, from its variables and its mounted Secrets.

    `also`: pathId -> Secret of Layers that are written to and perhaps not read. Outside a pod (no
    pod name in `environ`): a user's own machine, with the keys that the user keeps for layers.
    """
    if deployment.ENV_POD_NAME not in environ:
        index = environ.get(deployment.ENV_OWN_SECRETS)
        return OWN_MACHINE if not index else own_access(Path(index))
    text = environ.get(deployment.ENV_SECRETS) or "{}"
    secrets = {**(also or {}), **msgspec.json.decode(text, type=dict[str, str])}
    return Access(
        credentials={
            path_id: read_secret(secrets_folder / name) for path_id, name in secrets.items()
        },
        secrets=secrets,
        volumes=volumes,
        listings=Path(tempfile.gettempdir()) / _LISTINGS,
    )


def own_access(index: Path) -> Access:
    """Return what layers on a user's own machine may reach; `index`: pathId -> file of keys."""
    files = read_index(index)
    names = {path_id: Path(file).stem for path_id, file in files.items()}
    listings = index.parent / _LISTINGS
    return Access(credentials=OwnKeys(files), secrets=names, listings=listings)


def read_secret(folder: Path) -> dict[str, str]:
    """Return the credentials in a mounted Secret; a Secret that is not there has none."""
    return {
        name: (folder / name).read_text(encoding="utf-8").strip()
        for name in sorted(CREDENTIAL_NAMES)
        if (folder / name).is_file()
    }
