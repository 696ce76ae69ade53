"""The requirements that a script names itself, in its PEP 723 block.

    # /// script
    # requires-python = ">=3.12"
    # dependencies = ["scikit-image"]
    # ///

Source: https://packaging.python.org/en/latest/specifications/inline-script-metadata/
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

from geopod.errors import InvalidInputError

BLOCK = re.compile(r"(?m)^# /// (?P<type>[a-zA-Z0-9-]+)$\s(?P<content>(^#(| .*)$\s)+)^# ///$")
"""As the specification writes it."""
MINORS, LAST_PATCH = range(10, 15), 99
"""Of Python 3, that interpreters are offered of; a patch that no release has reached."""
EXAMPLE = ("# /// script", '# dependencies = ["numpy"]', "# ///")


def own_script() -> Path:
    """Return the script that this process runs; raises InvalidInputError in a shell or notebook."""
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    if file is None:
        raise InvalidInputError(
            "requirements='script' reads the block of the script that runs, and none does.",
            fixes=("requirements=['numpy']", "requirements=Path('requirements.txt')"),
        )
    return Path(file)


def script_requirements(script: Path) -> list[str] | None:
    """Return a script's own dependencies; None: it has no block.

    Raises InvalidInputError for a block that cannot be read.
    """
    block = _block(script)
    if block is None:
        return None
    found = block.get("dependencies", [])
    if not isinstance(found, list) or not all(isinstance(it, str) for it in found):
        raise _unreadable(script, "has `dependencies` that are no list of texts")
    return found


def check_python(script: Path, interpreter: str) -> None:
    """Raise InvalidInputError if a script requires another Python than its nodes' interpreter."""
    wanted = (_block(script) or {}).get("requires-python")
    if wanted is None:
        return
    from packaging.specifiers import InvalidSpecifier, SpecifierSet  # only where a script says

    try:
        allowed = SpecifierSet(wanted)
    except (InvalidSpecifier, TypeError, AttributeError) as error:
        raise _unreadable(script, f"has no versions in `requires-python`: {wanted!r}") from error

    def is_allowed(minor: str) -> bool:
        """Nobody knows which patch a node has: one that fits is enough."""
        return any(allowed.contains(f"{minor}.{patch}") for patch in range(LAST_PATCH + 1))

    if not is_allowed(interpreter.removeprefix("python")):
        fitting = [f"python3.{minor}" for minor in MINORS if is_allowed(f"3.{minor}")]
        raise InvalidInputError(
            f"{script.name} requires Python {wanted}; its nodes would have {interpreter}.",
            fixes=(f"interpreter={fitting[0]!r}" if fitting else "correct requires-python",),
        )


def _block(script: Path) -> dict[str, Any] | None:
    """Return what a script's block says; None: it has none."""
    blocks = [
        match["content"]
        for match in BLOCK.finditer(script.read_text("utf-8"))
        if match["type"] == "script"
    ]
    if not blocks:
        return None
    if len(blocks) > 1:
        raise _unreadable(script, f"has {len(blocks)} blocks `# /// script`")
    lines = (line.removeprefix("#").removeprefix(" ") for line in blocks[0].splitlines())
    try:
        return tomllib.loads("\n".join(lines))
    except tomllib.TOMLDecodeError as error:
        raise _unreadable(script, f"is not TOML: {error}") from error


def required_by(script: Path) -> list[str]:
    """Return a script's own dependencies; raises InvalidInputError if it names none."""
    found = script_requirements(script)
    if found is None:
        raise _unreadable(script, "has no block `# /// script`")
    return found


def _unreadable(script: Path, why: str) -> InvalidInputError:
    return InvalidInputError(
        f"requirements='script': {script.name} {why}.", fixes=("\n".join(["", *EXAMPLE]),)
    )
