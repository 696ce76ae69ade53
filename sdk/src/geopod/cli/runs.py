"""`geopod runs`: what was run, how it went, what came out."""

from __future__ import annotations

import time
from bdb import BdbQuit
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import msgspec

from geopod.api.results import LogLine
from geopod.cli.completion import ENVIRONMENT, RUN
from geopod.cli.output import (
    output_option,
    print_explanation,
    print_results,
    print_rows,
    print_value,
)
from geopod.cli.script import UsersError
from geopod.cli.target import Chosen, open_client
from geopod.client.sync import Run
from geopod.display.text import duration
from geopod.errors import GeopodError

FAILURES_SHOWN = 5
COLUMNS = ("name", "phase", "done", "total", "failed", "function", "age")


def row(run: Run) -> dict[str, Any]:
    """Return a run as a line of the table."""
    counts = run.counts
    return {
        "name": run.name,
        "phase": run.phase,
        "done": counts["succeeded"],
        "total": counts["total"],
        "failed": counts["failed"],
        "function": run.function_name,
        "age": duration(time.time() - run.created),
        "id": run.id,
        "environment": run.environment,
        "tags": list(run.tags),
        "message": run.message,
    }


@click.group()
def runs() -> None:
    """Runs: they outlive the process that submitted them."""


@runs.command("list")
@click.option("--env", "environment", type=ENVIRONMENT, help="Only those of this environment.")
@output_option
@click.pass_obj
def list_runs(target: Chosen, environment: str | None, output: str) -> None:
    """List runs, newest first."""
    with open_client(target) as client:
        print_rows([row(run) for run in client.runs(environment=environment)], COLUMNS, output)


@runs.command()
@click.argument("name", type=RUN)
@output_option
@click.pass_obj
def show(target: Chosen, name: str, output: str) -> None:
    """Show one run and its failures."""
    with open_client(target) as client:
        run = client.get_run(name)
        print_rows([row(run)], (*COLUMNS, "message"), output)
        if output == "table":
            _print_failures(run)


def _print_failures(run: Run) -> None:
    """Print why the first tasks failed, with their tracebacks."""
    failed = list(run.failed) if run.done else []
    for task in failed[:FAILURES_SHOWN]:
        error = task.exception()
        click.echo(f"\ntask {task.index}: {error}")
        for note in getattr(error, "__notes__", ()):
            click.echo(note)
    if len(failed) > FAILURES_SHOWN:
        click.echo(f"\nand {len(failed) - FAILURES_SHOWN} more; geopod runs results {run.name}")


@runs.command()
@click.argument("name", type=RUN)
@click.option("-f", "--follow", is_flag=True, help="Go on until the run has ended.")
@click.option("--task", type=click.IntRange(0), help="Only this task.")
@click.option("--tail", type=click.IntRange(0), help="Only the last lines of each attempt.")
@click.option("--since", help="Only what is not older than this, `10m`.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table")
@click.pass_obj
def logs(target: Chosen, /, name: str, *, follow: bool, output: str, **chosen: Any) -> None:
    """Print what the tasks wrote; json: one object per line."""
    with open_client(target) as client:
        run = client.get_run(name)
        lines = 0
        for line in run.logs(follow=follow, **chosen):
            lines += 1
            click.echo(_log_text(line, output))
        if not lines:
            click.echo(run.why_no_logs(task=chosen["task"]), err=True)


def _log_text(line: LogLine, output: str) -> str:
    if output == "json":
        return msgspec.json.encode(line).decode()
    return f"{line.task}.{line.attempt} node {line.node} {line.stream}: {line.text}"


@runs.command()
@click.argument("name", type=RUN)
@click.option(
    "--download", type=click.Path(file_okay=False, path_type=Path), help="Into this folder."
)
@click.option("--wait/--no-wait", default=True)
@output_option
@click.pass_obj
def results(target: Chosen, name: str, *, download: Path | None, wait: bool, output: str) -> int:
    """Print one result per node or task, failures among them."""
    with open_client(target) as client:
        run = client.get_run(name)
        if not wait and not run.done:
            raise click.UsageError(f"run {name} has not ended: {run.phase}")
        if download is not None:
            paths = [str(path) for path in run.download(download)]
            if output == "json":
                print_value(paths, output)
            else:
                click.echo("\n".join(paths))
            return 0
        print_results(run.results(errors="return"), output, name=name)
        return 0 if run.phase == "Succeeded" else 1


@runs.command()
@click.argument("name", type=RUN)
@output_option
@click.pass_obj
def explain(target: Chosen, name: str, output: str) -> None:
    """Say why a run is as it is, and what mends it."""
    with open_client(target) as client:
        print_explanation(client.get_run(name).explain(), output, RUN=name)


@runs.command()
@click.argument("name", type=RUN)
@output_option
@click.pass_obj
def stats(target: Chosen, name: str, output: str) -> None:
    """Print what time, memory and bytes the tasks took."""
    with open_client(target) as client:
        found = client.get_run(name).stats()
    if output in {"json", "yaml"}:
        print_value(asdict(found), output)
    else:
        click.echo(str(found))


@runs.command()
@click.argument("name", type=RUN)
@output_option
@click.pass_obj
def provenance(target: Chosen, name: str, output: str) -> None:
    """Print what the results were made of and by."""
    with open_client(target) as client:
        print_value(client.get_run(name).provenance(), output)


@runs.command()
@click.argument("name", type=RUN)
@click.argument("task", type=click.IntRange(0))
@click.option("--debug", is_flag=True, help="Step into it with pdb.")
@output_option
@click.pass_obj
def reproduce(target: Chosen, name: str, task: int, *, debug: bool, output: str) -> None:
    """Run one task again, here, on what it ran on."""
    with open_client(target) as client:
        run = client.get_run(name)
        found = [it for it in run.tasks if it.index == task]
        if not found:
            raise click.UsageError(f"run {name} has {len(run.tasks)} tasks, counted from 0")
        try:
            value = found[0].reproduce(debug=debug)
        except GeopodError:
            raise
        except BdbQuit as left:
            raise click.Abort from left
        except Exception as error:
            raise UsersError(f"task {task} of {name} failed here too", exit_code=1) from error
        print_value(value, "yaml" if output == "yaml" else "json")


@runs.command()
@click.argument("name", type=RUN)
@click.option("--task", "tasks", type=click.IntRange(0), multiple=True, help="Only these tasks.")
@output_option
@click.pass_obj
def cancel(target: Chosen, name: str, tasks: tuple[int, ...], output: str) -> None:
    """Cancel a run; finished results stay."""
    with open_client(target) as client:
        run = client.get_run(name)
        run.cancel(tasks=list(tasks) or None)
        print_rows([row(run.refresh())], COLUMNS, output)


@runs.command()
@click.argument("name", type=RUN)
@click.option(
    "--failed",
    "chosen",
    flag_value="failed",
    default="failed",
    help="Those without a result (default).",
)
@click.option("--all", "chosen", flag_value="all", help="All of them.")
@click.option("--timeout", "task_timeout", help="Another limit for one task, `2h`.")
@output_option
@click.pass_obj
def rerun(target: Chosen, name: str, chosen: str, task_timeout: str | None, output: str) -> None:
    """Run tasks again and print the merged results."""
    with open_client(target) as client:
        again = client.get_run(name).rerun(tasks=chosen, task_timeout=task_timeout)
        click.echo(f"run {again.name}", err=True)
        print_results(again.results(), output, name=again.name)


@runs.command()
@click.argument("name", type=RUN)
@click.option("--results", is_flag=True, help="Its results too.")
@output_option
@click.pass_obj
def delete(target: Chosen, name: str, *, results: bool, output: str) -> None:
    """Forget a run; print what it was."""
    with open_client(target) as client:
        run = client.get_run(name)
        run.delete(results=results)
        print_rows([row(run)], COLUMNS, output)
