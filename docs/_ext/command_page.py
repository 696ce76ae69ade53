"""The page of the `geopod` command, from the commands themselves."""

# ruff: noqa: INP001  # loaded by Sphinx, from this folder

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click
from geopod import cli
from geopod.cli import command


def command_text() -> str:
    """Return one section per command as Markdown, groups with their commands below them."""
    root = click.Context(command.geopod, info_name="geopod")
    return "\n".join([*_options(root), "", *_exit_codes(), "", *_commands(root, level=2)])


def _exit_codes() -> Iterator[str]:
    """Yield the table of exit codes, which the package's docstring lists."""
    _, _, listed = " ".join((cli.__doc__ or "").split()).partition("Exit codes: ")
    yield "| exit code | |\n|---|---|"
    for entry in listed.rstrip(".").split("; "):
        code, _, meaning = entry.partition(" ")
        yield f"| {code} | {meaning} |"


def _commands(context: click.Context, *, level: int) -> Iterator[str]:
    group = context.command
    if not isinstance(group, click.Group):
        return
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        inner = click.Context(command, info_name=name, parent=context)
        yield from _section(inner, level=level)
        yield from _commands(inner, level=level + 1)


def _section(context: click.Context, *, level: int) -> Iterator[str]:
    command = context.command
    yield f"{'#' * level} {context.command_path}\n"
    yield f"{inspect.cleandoc(command.help or '')}\n"
    if not isinstance(command, click.Group):
        usage = " ".join(command.collect_usage_pieces(context))
        yield f"```text\n{context.command_path} {usage}\n```\n"
        yield from _options(context)
        yield ""


def _options(context: click.Context) -> Iterator[str]:
    rows = [
        record
        for parameter in context.command.params
        if isinstance(parameter, click.Option)
        and (record := parameter.get_help_record(context)) is not None
    ]
    if rows:
        yield "| option | |\n|---|---|"
    for names, text in rows:
        yield f"| `{_cell(names)}` | {_cell(text)} |"


def _cell(text: str) -> str:
    """Return text that stays in its cell."""
    return " ".join(text.split()).replace("|", "\\|")
