"""Write the runner: a zipapp of the runner room and cloudpickle, the same bytes every time."""

from __future__ import annotations

import importlib.util
import os
import zipfile
from hashlib import sha256
from io import BytesIO
from pathlib import Path

from geopod.api import deployment
from geopod.process.pod import Pod

PACKAGE = "_geopod_runner"
"""Not `geopod`: the runner never shadows a user's own copy of it."""
MAIN = f"from {PACKAGE}.__main__ import main\n\nmain()\n"
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest moment a zip can say; file times would change its sha256."""


def start_runner(pod: Pod) -> None:
    """Write the runner of a pod without packages of its own: its container waits for it.

    Done before the agent's own imports, so that both processes start side by side.
    """
    if not pod.environ.get(deployment.ENV_BUNDLE_KEY):
        write_runner(pod.path(deployment.RUNNER_FILE))


def write_runner(target: Path) -> str:
    """Write the runner's zipapp (call it `geopod.runner.pyz`) and return its sha256.

    The file appears whole: whoever waits for it never reads half of it. Raises OSError.
    """
    data = pack_runner()
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    partial.write_bytes(data)
    partial.chmod(0o644)
    partial.replace(target)
    return sha256(data).hexdigest()


def pack_runner() -> bytes:
    """Return the zipapp's bytes."""
    sources = {"__main__.py": MAIN.encode()}
    for package, folder in (
        (PACKAGE, _folder_of("geopod.runner")),
        ("cloudpickle", _folder_of("cloudpickle")),
    ):
        for path in sorted(folder.glob("*.py")):
            sources[f"{package}/{path.name}"] = path.read_bytes()
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(sources):
            archive.writestr(zipfile.ZipInfo(name, EPOCH), sources[name])
    return buffer.getvalue()


def _folder_of(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"{package} is not installed: the runner cannot be written")
    return Path(spec.submodule_search_locations[0])
