"""What is told to do, in the words of a shell: `geopod layer list` for `client.layers()`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from geopod.errors import GeopodError

COMMANDS = {
    "client.environments()": "geopod env list",
    "client.layers()": "geopod layer list",
    "client.runs()": "geopod runs list",
    'connect("local") runs on this machine': "geopod --target local … runs on this machine",
    'connect("my-context")': "geopod --target my-context …",
    "env.build_log()": "geopod env build-log ENV",
    "env.explain()": "geopod env explain ENV",
    "env.resume()": "geopod env resume ENV",
    "env.scale(1)": "geopod env scale ENV 1",
    "free some space: env.delete(results=True)": "free some space: geopod env delete ENV --results",
    "run.cancel()": "geopod runs cancel RUN",
    "run.download(folder)": "geopod runs results RUN --download FOLDER",
    "run.explain()": "geopod runs explain RUN",
    "run.rerun()": "geopod runs rerun RUN",
    'run.rerun(tasks="all")': "geopod runs rerun RUN --all",
    "run.rerun(tasks='all')": "geopod runs rerun RUN --all",
    "run.results(errors='return')": "geopod runs results RUN",
    "run.wait()": "geopod runs results RUN",
    "task.reproduce()": "geopod runs reproduce RUN TASK",
}
"""A fix of Python -> the command that does the same; others are of use in both."""


def shell_fixes(error: GeopodError) -> list[str]:
    """Return an error's fixes as commands, with the names of its run, task and environment."""
    names = {
        "RUN": getattr(error.run, "name", error.run),
        "TASK": error.task,
        "ENV": error.details.get("environment"),
    }
    return in_shell(
        error.fixes, {word: str(name) for word, name in names.items() if name is not None}
    )


def in_shell(fixes: Iterable[str], names: dict[str, str]) -> list[str]:
    """Return fixes as commands; `names`: what RUN, TASK and ENV stand for, as far as is known."""
    return [_named(COMMANDS[fix], names) if fix in COMMANDS else fix for fix in fixes]


def _named(command: str, names: dict[str, str]) -> str:
    return " ".join(names.get(word, word) for word in command.split(" "))
