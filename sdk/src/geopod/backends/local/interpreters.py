"""Python interpreters of this machine: the client's own, pyenv's, those on PATH, uv's."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from geopod.errors import ConfigError, InterpreterNotFoundError

PROBE_TIMEOUT_S = 10.0
OFFERED = range(10, 15)
"""Minor versions that the runner is written for: 3.10 to 3.14."""
_PROBE = "import json,sys; print(json.dumps([sys.executable, list(sys.version_info[:3])]))"
_NAME = re.compile(r"^python3\.(\d{1,2})$")


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python that starts."""

    executable: str
    version: tuple[int, int, int]

    @property
    def minor(self) -> str:
        """Its minor version, `3.12`."""
        return f"{self.version[0]}.{self.version[1]}"


def own_interpreter() -> Interpreter:
    """Return the one that runs this client."""
    return Interpreter(sys.executable, sys.version_info[:3])


def find_interpreter(name: str) -> Interpreter:
    """Return an interpreter for `python3.12`; raises InterpreterNotFoundError with what there is.

    The client's own comes first; then as uv looks: uv's own installations, PATH, and pyenv's,
    whose entries on PATH are scripts that may refuse.
    """
    match = _NAME.match(name)
    own = own_interpreter()
    if match is not None:
        if name == f"python{own.minor}":
            return own
        if int(match[1]) in OFFERED:
            for candidate in _candidates(name):
                found = probe(candidate)
                if found is not None and found.minor == name.removeprefix("python"):
                    return found
    raise InterpreterNotFoundError.not_offered(interpreter=name, offered=offered())


def offered() -> list[str]:
    """Return the names of all minor versions found here, the oldest first."""
    own = f"python{own_interpreter().minor}"
    names = [f"python3.{minor}" for minor in OFFERED]
    return [
        name
        for name in names
        if name == own or any(probe(candidate) is not None for candidate in _candidates(name))
    ]


def probe(executable: Path) -> Interpreter | None:
    """Return what an executable says of itself; None if it is no Python that starts."""
    try:
        answer = subprocess.run(  # noqa: S603  # a file from the places above
            [executable, "-I", "-c", _PROBE],
            capture_output=True,
            check=True,
            timeout=PROBE_TIMEOUT_S,
            env={key: value for key, value in os.environ.items() if not key.startswith("PYTHON")},
        )
        path, (major, minor, micro) = json.loads(answer.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return Interpreter(str(path), (major, minor, micro))


def find_uv() -> str:
    """Return uv's binary: of the `uv` package, else on PATH; raises ConfigError without one."""
    try:
        import uv  # only where packages are built

        return str(uv.find_uv_bin())
    except (ImportError, FileNotFoundError):
        found = shutil.which("uv")
    if found is None:
        raise ConfigError(
            "uv is not installed; it builds the packages of an environment.",
            fixes=('pip install "geopod[node]"', "pip install uv"),
        )
    return found


def _candidates(name: str) -> Iterator[Path]:
    """Yield files that may be this interpreter, the likeliest first."""
    home = Path.home()
    minor = name.removeprefix("python")
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local/share")
    managed = Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or data / "uv/python")
    pyenv = Path(os.environ.get("PYENV_ROOT") or home / ".pyenv")
    for folder in (
        *_newest(managed, f"cpython-{minor}.*"),
        *_newest(pyenv / "versions", f"{minor}.*"),
    ):
        yield folder / "bin" / name
    for entry in os.environ.get("PATH", "").split(os.pathsep):
        if entry and (Path(entry) / name).is_file():
            yield Path(entry) / name


def _newest(folder: Path, pattern: str) -> list[Path]:
    """Return the folders that match, the highest patch release first."""
    return sorted(
        folder.glob(pattern),
        key=lambda path: [int(part) for part in re.findall(r"\d+", path.name)[:3]],
        reverse=True,
    )
