"""Install requirements with uv: resolve to a lock with hashes, install that, say how it went.

Standard library only: it is started by itself, in any interpreter, and never imported. It reads a
request and writes an outcome, both JSON files::

    request  {"uv", "python", "requirements": [..], "target",
              "wheelsOnly", "indexUrl", "timeoutS", "bytecode"}     the last four may be left out
    outcome  {"ok": true, "lock", "seconds"}
             {"ok": false, "reason": "ResolutionFailed" | "IndexUnreachable" | "BuilderFailed",
              "exit", "lines": [uv's own error lines]}

`target` becomes a virtual environment that appears whole: it is built aside and then renamed.
What uv prints goes to standard error, which the caller keeps as the build's log.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

LINES_LIMIT_BYTES = 2048
"""uv's error lines go into a condition's message, which is bounded."""
TIMEOUT_S = 1200.0
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
    request = json.loads(Path(arguments[0]).read_text("utf-8"))
    outcome_path = Path(arguments[1])
    started = time.monotonic()
    try:
        lock = build(request)
        outcome = {"ok": True, "lock": lock, "seconds": time.monotonic() - started}
    except BuildError as error:
        outcome = error.outcome
    part = outcome_path.with_suffix(".part")
    part.write_text(json.dumps(outcome), "utf-8")
    part.replace(outcome_path)
    return 0 if outcome["ok"] else 1


def build(request: dict[str, Any]) -> str:
    """Create the virtual environment and return the lock; raises BuildError."""
    refuse_options(request["requirements"])
    target = Path(request["target"])
    aside = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        source, lock = aside / "requirements.in", aside / "requirements.lock"
        source.write_text("".join(f"{line}\n" for line in request["requirements"]), "utf-8")
        uv = _Uv(request)
        uv.run(
            "venv", "--quiet", "--relocatable", "--python", request["python"], str(aside / "venv")
        )
        python = aside / "venv" / "bin" / "python"
        uv.run(
            "pip", "compile", "--quiet", "--no-header", "--generate-hashes",
            "--python", str(python), "--output-file", str(lock), *uv.choices, str(source),
        )  # fmt: skip
        text = lock.read_text("utf-8")
        if not text.strip():
            raise BuildError("ResolutionFailed", 0, ["no requirement applies to this interpreter"])
        uv.run(
            "pip", "install", "--require-hashes", "--python", str(python),
            "--requirement", str(lock), *uv.choices,
            *(["--compile-bytecode"] if request.get("bytecode") else []),
        )  # fmt: skip
        _take_place(aside, target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
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
    """uv's command line for one request."""

    def __init__(self, request: dict[str, Any]) -> None:
        self._binary = request["uv"]
        self._deadline = time.monotonic() + float(request.get("timeoutS") or TIMEOUT_S)
        self.choices = ["--only-binary", ":all:"] if request.get("wheelsOnly") else []
        if request.get("indexUrl"):
            self.choices += ["--default-index", request["indexUrl"]]

    def run(self, *arguments: str) -> None:
        """Run one command, its words to standard error; raises BuildError if it fails."""
        environment = {**os.environ, "UV_PYTHON_DOWNLOADS": "never", "NO_COLOR": "1"}
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
        sys.stderr.write(_URL_SECRET.sub(r"\1***@", text))
        sys.stderr.flush()
        if done.returncode != 0:
            reason = failure_reason(done.returncode, text)
            raise BuildError(reason, done.returncode, error_lines(text))


def _take_place(aside: Path, target: Path) -> None:
    """Give a finished build its name; another build of the same set may have been faster."""
    try:
        (aside / "venv").rename(target)
    except OSError:
        if not (target / "bin" / "python").exists():
            raise


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
