"""What the image builds read: a base file system and a folder of wheels from the lock."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import ClusterError
from .places import cache_folder
from .wheels import download

PROJECT = Path(__file__).parents[3]

INCLUDED = ("python3", "python3-venv", "ca-certificates")
"""`python3-minimal` lacks http and more; venv makes the environment that the last stage copies."""

LEFT_OUT = ("doc", "man", "locale", "info")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Base:
    """A Debian release and the Python that comes with it."""

    suite: str
    python: str


BASES = {base.python: base for base in (Base("bookworm", "3.11"), Base("trixie", "3.13"))}


def base_archive(base: Base, say: Say) -> Path:
    """A Debian root file system as a tar file, made once a month at most by mmdebstrap."""
    path = cache_folder() / f"base-{base.suite}.tar"
    if path.exists():
        return path
    say(f"making the base file system of Debian {base.suite} (once; half a minute)")
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    options = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in LEFT_OUT]
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(INCLUDED)}"]
    run([*command, *options, "--format=tar", base.suite, str(draft)])
    draft.rename(path)
    return path


def wheel_context(package: str, extras: Sequence[str], base: Base, *, own: bool, say: Say) -> Path:
    """A folder with the locked wheels of a package for one interpreter and their requirements.txt.

    With `own` the packages of this tree are built and added, with their own.txt.
    """
    exported = export(package, extras)
    wanted = None if own else extra_requirements(extras)
    digest = hashlib.sha256(f"{base.python}\n{wanted}\n{exported}".encode()).hexdigest()[:16]
    locked = cache_folder() / f"locked-{digest}"
    if not locked.exists():
        say(f"downloading the locked wheels of {package} for Python {base.python} (once per lock)")
        _download_locked(exported, wanted, base, locked)
    if not own:
        return locked
    return _with_own_wheels(locked, package)


def export(package: str, extras: Sequence[str]) -> str:
    """The lock's requirements of a package, with hashes, for every platform."""
    chosen = [part for extra in extras for part in ("--extra", extra)]
    command = [uv(), "export", "--quiet", "--frozen", "--no-default-groups", "--no-emit-workspace"]
    return run([*command, "--no-header", "--package", package, *chosen], folder=PROJECT)


def extra_requirements(extras: Sequence[str]) -> str:
    """What geopod's extras name, without geopod's own dependencies."""
    project = tomllib.loads((PROJECT / "sdk" / "pyproject.toml").read_text("utf-8"))["project"]
    return "\n".join(line for extra in extras for line in project["optional-dependencies"][extra])


def _download_locked(exported: str, wanted: str | None, base: Base, target: Path) -> None:
    draft = target.with_name(f"{target.name}.{os.getpid()}")
    draft.mkdir(parents=True)
    try:
        locked, wishes = draft / "locked.in", draft / "wanted.in"
        locked.write_text(exported, "utf-8")
        wishes.write_text(exported if wanted is None else wanted, "utf-8")
        pinned = draft / f"python{base.python}.txt"
        # pip reads environment markers for the Python that runs it; uv for the one it is told.
        how = ["--quiet", "--no-header", "--no-annotate", "--generate-hashes"]
        how += ["--python-version", base.python, "--python-platform", "x86_64-manylinux_2_28"]
        files = [str(wishes), "--constraint", str(locked), "--output-file", str(pinned)]
        run([uv(), "pip", "compile", *how, *files])
        download(pinned, draft)
        locked.unlink()
        wishes.unlink()
        pinned.rename(draft / "requirements.txt")
        draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _with_own_wheels(locked: Path, package: str) -> Path:
    target = cache_folder() / f"{locked.name}-{package}"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(locked, target, copy_function=os.link)
    lines = []
    for name in {"geopod", package}:
        run(
            [uv(), "build", "--quiet", "--wheel", "--package", name, "--out-dir", str(target)],
            folder=PROJECT,
        )
    for wheel in sorted(target.glob("geopod*.whl")):
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        lines.append(f"/wheels/{wheel.name} --hash=sha256:{digest}\n")
    (target / "own.txt").write_text("".join(lines), "utf-8")
    return target


def uv() -> str:
    """The uv that runs this or is on PATH.

    Raises:
        ClusterError: there is none.
    """
    found = os.environ.get("UV") or shutil.which("uv") or str(PROJECT / ".venv" / "bin" / "uv")
    if not Path(found).exists():
        raise ClusterError("uv is missing", fix="run it through `make`, which brings uv")
    return found


def run(
    command: Sequence[str],
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Standard output of a command that must succeed.

    Raises:
        ClusterError: it failed; the sentence carries its last lines.
    """
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "UV_PYTHON_DOWNLOADS": "never", **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        tail = " | ".join(done.stderr.strip().splitlines()[-3:])
        raise ClusterError(
            f"`{' '.join(command[:3])} …` failed: {tail}", fix="run it by hand to see everything"
        )
    return done.stdout
