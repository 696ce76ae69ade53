"""`geopod completion`: what makes a shell complete commands, options and names.

eval "$(geopod completion bash)"       # in ~/.bashrc; zsh: in ~/.zshrc
geopod completion fish > ~/.config/fish/completions/geopod.fish
"""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem, get_completion_class
from typing_extensions import override

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_GEOPOD_COMPLETE"
"""click asks for completions through it."""


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of a SHELL: eval "$(geopod completion bash)"."""
    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"there is no completion for {shell}")
    click.echo(found(context.find_root().command, {}, "geopod", VARIABLE).source())


class Named(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4 alone
    """The name of something that the target knows, completed by asking it."""

    def __init__(self, kind: str) -> None:
        """`kind`: `environments`, `runs` or `layers`, the client's own word."""
        self.name = kind.removesuffix("s")
        self._kind = kind

    @override
    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the names that begin so; none if the target does not answer."""
        del param
        from geopod.client.sync import connect  # only when a shell asks
        from geopod.errors import GeopodError

        asked = ctx.find_root().params
        try:
            with connect(
                asked.get("target") or "local", namespace=asked.get("namespace"), request_timeout=2
            ) as client:
                found = getattr(client, self._kind)()
        except GeopodError:
            return []
        names = (getattr(item, "name", None) or item.path_id for item in found)
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


class File(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4 alone
    """A file, completed by the shell; `kind`: what else it may be the name of."""

    name = "file"

    def __init__(self, kind: str = "") -> None:
        self._known = Named(kind) if kind else None

    @override
    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the names that begin so; where there is none the shell looks for files."""
        known = self._known.shell_complete(ctx, param, incomplete) if self._known else []
        return known or [CompletionItem(incomplete, type="file")]


ENVIRONMENT, RUN, LAYER = Named("environments"), Named("runs"), Named("layers")
FILE, LAYER_OR_FILE = File(), File("layers")
