"""Install requirements with uv: resolve to a lock with hashes, install that, say how it went.

Standard library only: it is started by itself, in any interpreter, and never imported. It reads a
request and writes an outcome, both JSON files::

    install.py REQUEST OUTCOME [--log FILE]

    request  {"uv", "python", "requirements": [..], "target"}, and any of
             {"layout": "venv" | "tree", "wheelsOnly", "indexUrl", "extraIndexUrls": [..],
              "credentials", "platform", "timeoutS", "bytecode", "unless"}
    outcome  {"ok": true, "lock", "seconds"}
             {"ok": false, "reason": "ResolutionFailed" | "IndexUnreachable" | "BuilderFailed",
              "exit", "lines": [uv's own error lines]}

`target` appears whole: it is built aside and then renamed. It becomes a virtual environment or, as
a tree, a folder with `site-packages` alone, for the bundle of a cluster. `credentials` is a folder
with the index's `username` and `password`, or `netrc`, and `ca.crt`: they go to uv in variables,
never in a command line. Where the file `unless` exists there is nothing to do.

What uv prints goes to standard error and, with `--log`, to a file. With `--log` the exit status is
0 whenever there is an outcome: the next container of the Job stores the log and says how it went.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, TextIO

LINES_LIMIT_BYTES = 2048
"""uv's error lines go into a condition's message, which is bounded."""
TIMEOUT_S = 1100.0
"""Less than the Job's 1200 s, so that the outcome still says what happened."""
INDEX_NAME = "geopod"
"""uv finds an index's credentials by its name."""
_URL_SECRET = re.compile(r"(://)[^/\s@]+@")
_NOISE = re.compile(
    r"^\s*(warning:|Using |Creating |Activate |Resolved |Prepared |Installed |Downloading |"
    r"Downloaded |Building |Built |Audited |Bytecode |\+ |- |~ |$)"
)
_INDEX_WORDS = (
    "failed to fetch",
    "error sending request",
    "dns error",
    "connection refused",
    "connection reset",
    "timed out",
    "network connectivity is disabled",
    "tls",
    "certificate",
    "401 unauthorized",
    "403 forbidden",
    "503 service unavailable",
    "lack of valid authentication credentials",
    "could not be queried due to",
)
_OPTION = re.compile(r"^\s*-")


class BuildError(Exception):
    """A step of the installation failed."""

    def __init__(self, reason: str, exit_code: int, lines: list[str]) -> None:
        super().__init__(reason)
        self.outcome = {"ok": False, "reason": reason, "exit": exit_code, "lines": lines}


def main(arguments: list[str]) -> int:
    """Build what the request file asks for; return 0 when the packages are there."""
    parser = argparse.ArgumentParser(prog="install")
    parser.add_argument("request", type=Path)
    parser.add_argument("outcome", type=Path)
    parser.add_argument("--log", type=Path)
    options = parser.parse_args(arguments)
    request = json.loads(options.request.read_text("utf-8"))
    if request.get("unless") and Path(request["unless"]).exists():
        return 0
    started = time.monotonic()
    os.umask(0o022)  # another user packs what is installed here
    with open(options.log or os.devnull, "a", encoding="utf-8") as log:  # noqa: PTH123
        try:
            lock = build(request, log)
            outcome = {"ok": True, "lock": lock, "seconds": time.monotonic() - started}
        except BuildError as error:
            outcome = error.outcome
    part = options.outcome.with_suffix(".part")
    part.write_text(json.dumps(outcome), "utf-8")
    part.replace(options.outcome)
    return 0 if outcome["ok"] or options.log else 1


def build(request: dict[str, Any], log: TextIO) -> str:
    """Install into the request's target and return the lock; raises BuildError."""
    refuse_options(request["requirements"])
    target = Path(request["target"])
    aside = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        source = aside / "requirements.in"
        source.write_text("".join(f"{line}\n" for line in request["requirements"]), "utf-8")
        uv = _Uv(request, log)
        if request.get("layout") == "tree":
            made = aside / "tree"
            text = _fill(uv, request, source, request["python"], made / "site-packages")
        else:
            made = aside / "venv"
            uv.run("venv", "--quiet", "--relocatable", "--python", request["python"], str(made))
            text = _fill(uv, request, source, str(made / "bin" / "python"), None)
        _take_place(made, target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return text


def _fill(uv: _Uv, request: dict[str, Any], source: Path, python: str, folder: Path | None) -> str:
    """Resolve and install for `python`, into its own environment or a folder; return the lock."""
    lock = source.with_name("requirements.lock")
    uv.run(
        "pip", "compile", "--quiet", "--no-header", "--generate-hashes",
        "--python", python, "--output-file", str(lock), *uv.choices, str(source),
    )  # fmt: skip
    text = lock.read_text("utf-8")
    if not text.strip():
        raise BuildError("ResolutionFailed", 0, ["no requirement applies to this interpreter"])
    uv.run(
        "pip", "install", "--require-hashes", "--python", python, "--requirement", str(lock),
        *(["--target", str(folder)] if folder else []), *uv.choices,
        *(["--compile-bytecode"] if request.get("bytecode") else []),
    )  # fmt: skip
    return text


def refuse_options(requirements: list[str]) -> None:
    """Raise BuildError for a line that uv would read as an option, a file or several lines."""
    wrong = [line for line in requirements if _OPTION.match(line) or "\n" in line or "\r" in line]
    if wrong:
        raise BuildError(
            "ResolutionFailed", 2, [f"{line!r} is an option, not a requirement" for line in wrong]
        )


def error_lines(text: str) -> list[str]:
    """Return uv's error lines: what it says from its first mark of an error on.

    Without a mark the last lines that are no progress. Secrets are masked; at most 2 KiB.
    """
    lines = [_URL_SECRET.sub(r"\1***@", line.rstrip()) for line in text.splitlines()]
    kept = [line for line in lines if not _NOISE.match(line)]
    marks = [number for number, line in enumerate(kept) if re.match(r"\s*(error:|\u00d7)", line)]
    chosen = kept[marks[0] :] if marks else kept[-10:]
    result: list[str] = []
    size = 0
    for line in chosen:
        size += len(line.encode()) + 1
        if size > LINES_LIMIT_BYTES:
            result.append("…")
            break
        result.append(line)
    return result


def failure_reason(exit_code: int, text: str) -> str:
    """Return whose fault a failed step is: uv's exit code alone does not tell."""
    said = text.lower()
    if any(word in said for word in _INDEX_WORDS):
        return "IndexUnreachable"
    if exit_code == 1 or "error: couldn't parse requirement" in said or "no solution" in said:
        return "ResolutionFailed"
    return "BuilderFailed"


class _Uv:
    """uv's command line and variables for one request."""

    def __init__(self, request: dict[str, Any], log: TextIO) -> None:
        self._binary = request["uv"]
        self._log = log
        self._deadline = time.monotonic() + float(request.get("timeoutS") or TIMEOUT_S)
        self._variables = {**variables(request), "UV_PYTHON_DOWNLOADS": "never", "NO_COLOR": "1"}
        self.choices = ["--only-binary", ":all:"] if request.get("wheelsOnly") else []
        if request.get("platform"):
            self.choices += ["--python-platform", request["platform"]]

    def run(self, *arguments: str) -> None:
        """Run one command, its words to standard error; raises BuildError if it fails."""
        environment = {**os.environ, **self._variables}
        environment.pop("VIRTUAL_ENV", None)
        command = [self._binary, *arguments]
        rest = max(self._deadline - time.monotonic(), 1.0)
        try:
            done = subprocess.run(  # noqa: S603  # uv itself, requirements only inside a file
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                check=False,
                timeout=rest,
                env=environment,
            )
        except subprocess.TimeoutExpired as error:
            raise BuildError(
                "IndexUnreachable", 124, [f"uv did not end in {rest:.0f} s"]
            ) from error
        except OSError as error:
            raise BuildError("BuilderFailed", 127, [f"{self._binary}: {error.strerror}"]) from error
        text = done.stdout.decode("utf-8", "replace")
        masked = _URL_SECRET.sub(r"\1***@", text)
        for place in (sys.stderr, self._log):
            place.write(masked)
            place.flush()
        if done.returncode != 0:
            reason = failure_reason(done.returncode, text)
            raise BuildError(reason, done.returncode, error_lines(text))


def variables(request: dict[str, Any]) -> dict[str, str]:
    """Return uv's variables for the request's indexes and their credentials."""
    wanted = {}
    indexes = [*request.get("extraIndexUrls", ()), request.get("indexUrl") or ""]
    named = [f"{INDEX_NAME}{number}={url}" for number, url in enumerate(indexes) if url]
    if indexes[-1]:
        wanted["UV_DEFAULT_INDEX"] = named.pop()
    if named:
        wanted["UV_INDEX"] = " ".join(named)
    if request.get("layout") == "tree":
        # Times of files are not packed, so bytecode that trusts its source's time is dead weight.
        wanted |= {"UV_NO_CONFIG": "1", "PYC_INVALIDATION_MODE": "UNCHECKED_HASH"}
    folder = Path(request.get("credentials") or os.devnull)
    for name, variable in (("netrc", "NETRC"), ("ca.crt", "SSL_CERT_FILE")):
        if (folder / name).is_file():
            wanted[variable] = str(folder / name)
    for name in ("username", "password"):
        if (folder / name).is_file():
            value = (folder / name).read_text("utf-8").rstrip("\n")
            for number, url in enumerate(indexes):
                if url:
                    wanted[f"UV_INDEX_{INDEX_NAME.upper()}{number}_{name.upper()}"] = value
    return wanted


def _take_place(made: Path, target: Path) -> None:
    """Give a finished build its name; another build of the same set may have been faster."""
    try:
        made.rename(target)
    except OSError:
        if not any((target / name).exists() for name in ("bin/python", "site-packages")):
            raise


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
