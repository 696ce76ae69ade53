"""The group of all commands, what ends it, and how its errors are told."""

from __future__ import annotations

import io
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

import click

from geopod.cli import INTERRUPTED

if TYPE_CHECKING:
    from typing_extensions import override

    from geopod import errors
else:

    def override(method: Any) -> Any:
        """Stand for `typing.override` (3.12); the backport costs 25 ms of every start."""
        return method


COMMANDS = {
    "capacity": ("geopod.cli.look", "Machines, quotas and interpreters there are to run on"),
    "check": ("geopod.cli.run", "Try a function on one real partition"),
    "completion": ("geopod.cli.completion", "Print what makes bash, zsh or fish complete"),
    "crds": ("geopod.cli.crds", "Print the custom resource definitions"),
    "doctor": ("geopod.cli.look", "Look at every part of the target and say what mends it"),
    "env": ("geopod.cli.env", "Environments: create, list, show, explain, scale, terminate, …"),
    "layer": ("geopod.cli.layer", "Layers: add, list, show"),
    "plan": ("geopod.cli.plan", "Show how layers are split over nodes, as a table and a map"),
    "run": ("geopod.cli.run", "Run FILE.py:FUNC on every node and print its results"),
    "runs": (
        "geopod.cli.runs",
        "Runs: list, show, logs, results, explain, cancel, rerun, reproduce, …",
    ),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called: `--help` stays fast."""

    @override
    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that is called; one that there is not names the nearest."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from difflib import get_close_matches  # only on the way out

            near = get_close_matches(args[0], COMMANDS)
            meant = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
            ctx.fail(f"No such command {args[0]!r}.{meant}")
        return super().resolve_command(ctx, args)

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the command names, sorted."""
        del ctx
        return sorted(COMMANDS)

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        command = getattr(import_module(COMMANDS[cmd_name][0]), cmd_name)
        if not isinstance(command, click.Command):
            raise TypeError(cmd_name)
        return command

    @override
    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list from `COMMANDS`, without importing any."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in sorted(COMMANDS.items())])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--target",
    envvar="GEOPOD_TARGET",
    help="`local`, or a kubeconfig context; default this machine.",
)
@click.option(
    "--namespace", "-n", envvar="GEOPOD_NAMESPACE", help="Of the cluster; default the context's."
)
@click.option("--no-color", is_flag=True, help="Plain text; so does the variable NO_COLOR.")
@click.version_option(package_name="geopod")
@click.pass_context
def geopod(
    context: click.Context, /, target: str | None, namespace: str | None, *, no_color: bool
) -> None:
    """Run Python functions on warm nodes, each over its own partition of your layers."""
    from geopod.cli.target import Chosen  # it loads the client; `--help` does not need one

    if no_color:
        os.environ["NO_COLOR"] = "1"  # heard by everything that this process starts, too
    context.obj = Chosen(target, namespace)


def exit_code(error: errors.GeopodError) -> int:
    """Return the documented exit code of an error."""
    from geopod import errors  # only on the way out: `--help` needs none of them

    match error:
        case errors.WaitTimeoutError():
            return 4
        case errors.AuthError() | errors.PermissionDeniedError() | errors.ClusterError():
            return 3
        case errors.TaskError() | errors.RunFailedError() | errors.SchedulingError():
            return 1
        case errors.RequirementsBuildError():
            return 1
        case _:
            return 2


def tell(error: errors.GeopodError) -> None:
    """Print an error on stderr: its code and its fixes are what the eye looks for."""
    from geopod.cli.fixes import shell_fixes  # only on the way out
    from geopod.display.colour import has_colours, paint

    on = has_colours(sys.stderr)
    shown = f"{paint(f'GP-{error.code}', 'red', on=on)} {error.fact}"
    if fixes := shell_fixes(error):
        hint = " ".join(f"{number}) {fix}" for number, fix in enumerate(fixes, start=1))
        shown += f"\n{paint('fix:', 'bold', on=on)} {hint}"
    run = getattr(error.run, "name", error.run)
    if isinstance(run, str) and run:
        shown += f"\n{paint('see:', 'bold', on=on)} geopod runs show {run}"
    click.echo(shown, err=True, color=on)


def _exit_of(error: Exception) -> int | None:
    """Print an error of ours or of the user's code and return its exit code; None: of others."""
    from geopod.cli.script import UsersError, users_traceback  # only on the way out
    from geopod.errors import GeopodError

    if isinstance(error, UsersError) and error.__cause__ is not None:
        click.echo(f"{users_traceback(error.__cause__)}\n{error}", err=True)
        return error.exit_code
    if not isinstance(error, GeopodError):
        return None
    tell(error)
    return exit_code(error)


def _print_every_character() -> None:
    """Have stdout escape what its encoding has no character for."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line; every error of ours is one sentence and its fixes on stderr."""
    _print_every_character()
    try:
        code = geopod.main(args=arguments, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    except Exception as error:
        if (known := _exit_of(error)) is None:
            raise
        sys.exit(known)
    sys.exit(code if isinstance(code, int) else 0)
