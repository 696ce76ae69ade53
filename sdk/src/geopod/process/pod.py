"""What a pod tells the process in it: variables and mounted files. Names: `api.deployment`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ENV_ROOT = "GEOPOD_ROOT"
"""Where the mounts lie, for processes of one machine that play pods; in a pod: `/`."""


class PodVariableError(LookupError):
    """The pod lacks a variable or a file; the text says which and who writes it."""


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod, as its process sees it."""

    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def text(self, name: str, default: str | None = None) -> str:
        """Return a variable; raises PodVariableError if it is missing and has no default."""
        value = self.environ.get(name) or default
        if value is None:
            raise PodVariableError(f"The variable {name} is not set; the operator sets it.")
        return value

    def number(self, name: str, default: int | None = None) -> int:
        """Return a variable that is a whole number; raises PodVariableError."""
        text = self.text(name, None if default is None else str(default))
        try:
            return int(text)
        except ValueError as error:
            raise PodVariableError(f"{name}={text!r} is no whole number.") from error

    def optional_number(self, name: str) -> int | None:
        """Return a variable that is a whole number, None if it is not set or empty."""
        return self.number(name) if self.environ.get(name) else None

    def path(self, mount: str) -> Path:
        """Return where a mount lies."""
        return Path(self.environ.get(ENV_ROOT) or "/") / mount.lstrip("/")

    def secret(self, folder: str, name: str) -> str:
        """Return the text of one mounted file of a Secret; raises PodVariableError."""
        path = self.path(folder) / name
        try:
            return path.read_text("utf-8").strip()
        except OSError as error:
            raise PodVariableError(
                f"{path} cannot be read ({error.strerror}); the operator writes it."
            ) from error
