"""A notebook, executed: cards, maps, progress in the cell, and what Ctrl-C leaves."""

from __future__ import annotations

import asyncio
import re

import nbformat
import pytest
from geopod.errors.runs import TIMES
from layer_builders import raster_spec, write_raster
from nbclient import NotebookClient

DEADLINE_S = 90
CELLS = {
    "environment": """
        import geopod
        client = geopod.connect("local")
        env = client.environment("notebook", layers=[LAYER], nodes=3)
        env
        """,
    "progress": """
        def mean(params, ctx):
            import threading
            threading.Event().wait(1.0)
            return {"mean": float(params["dem"]["raster"].mean()), "note": "<script>"}
        results = env.execute(mean)
        """,
    "results": "results",
    "run": """
        def odd(params, ctx):
            if ctx.index != 1:
                raise ValueError("empty <geometry>")
        run = env.submit(odd).wait()
        run
        """,
    "error": "run.tasks[0].exception()",
    "raised": "run.results()",
    "tasks": "run.tasks",
    "runs": "client.runs()",
    "left": """
        def slow(params, ctx):
            import threading
            threading.Event().wait(600)
        env.execute(slow)
        """,
    "found": """
        (left,) = [run for run in client.runs() if run.function_name == "slow"]
        print(left.done)
        left.cancel()
        left.wait()
        env.terminate()
        client.close()
        """,
}


def cell(name, layer):
    text = CELLS[name].replace("LAYER", repr(str(layer)))
    lines = text.strip("\n").splitlines()
    indent = len(lines[0]) - len(lines[0].lstrip())
    return nbformat.v4.new_code_cell("\n".join(line[indent:] for line in lines))


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """Execute the notebook once; give the outputs of its cells."""
    folder = tmp_path_factory.mktemp("notebook")
    layer = write_raster(folder / "dem.tif", raster_spec())
    cells = {name: cell(name, layer) for name in CELLS}
    book = NotebookClient(
        nbformat.v4.new_notebook(cells=list(cells.values())),
        timeout=DEADLINE_S,
        allow_errors=True,
        resources={"metadata": {"path": str(folder)}},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEOPOD_HOME", str(folder / "home"))
        patch.delenv("GEOPOD_PROGRESS", raising=False)
        asyncio.run(asyncio.wait_for(execute(book, list(cells)), 3 * DEADLINE_S))
    return {name: cell.outputs for name, cell in cells.items()}


async def execute(book, names):
    async with book.async_setup_kernel():
        for index, name in enumerate(names):
            asked = book.nb.cells[index]
            working = asyncio.ensure_future(book.async_execute_cell(asked, index))
            if name == "left":
                await until(lambda: asked.outputs or working.done())  # noqa: B023  # awaited here
                await book.km.interrupt_kernel()
            await working


async def until(is_true):
    """Return once it is true; whoever calls this has a deadline."""
    while not is_true():  # noqa: ASYNC110  # nbclient has no event for it
        await asyncio.sleep(0.05)


def page(outputs, kind="execute_result"):
    (found,) = [output["data"] for output in outputs if output["output_type"] == kind]
    return found["text/html"]


def test_environment_is_a_card_with_a_map_and_a_plain_line(shown):
    found = page(shown["environment"])

    assert found.count("<rect") == 3
    assert "3 ready" in found
    plain = shown["environment"][-1]["data"]["text/plain"]
    assert plain == "<Environment notebook Ready 3/3 nodes>"


def test_progress_is_one_display_that_ends_with_the_run(shown):
    found = page(shown["progress"], "display_data")

    assert re.search(r"Run <strong>mean-\w+</strong>.*Succeeded</span> 3/3", found)
    assert [output["output_type"] for output in shown["progress"]] == ["display_data"]


def test_results_are_a_table_without_script(shown):
    found = page(shown["results"])

    assert found.count("dict of 2") == 3
    assert "&lt;script&gt;" in found
    assert "<script" not in found


def test_run_shows_its_map_and_its_failures_once(shown):
    found = page(shown["run"])

    assert found.count("<rect") == 3
    assert f"2 {TIMES} ValueError (tasks 0, 2)" in found
    assert "empty &lt;geometry&gt;" in found
    assert found.count("<details") == 1


def test_error_is_a_card_and_its_traceback_has_the_cells_own_lines(shown):
    found = page(shown["error"])

    assert "ValueError" in found
    assert "raise ValueError(&quot;empty &lt;geometry&gt;&quot;)" in found


def test_raised_error_begins_at_the_cell_and_ends_with_the_fix(shown):
    (raised,) = shown["raised"]
    text = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(raised["traceback"]))

    assert raised["ename"] == "RunFailedError"
    assert "fix: 1) run.results(errors='return')" in text
    assert "client/aio" not in text


def test_tasks_are_a_table(shown):
    found = page(shown["tasks"])

    assert "3 items" in found
    assert found.count("Exception") == 2


def test_runs_are_a_table(shown):
    assert "2 items" in page(shown["runs"])


def test_interrupt_leaves_the_run_and_says_how_to_find_it(shown):
    said = "".join(output.get("text", "") for output in shown["left"])

    assert re.search(r'run slow-\w+ goes on; client.get_run\("slow-\w+"\) finds it\n', said)
    assert shown["left"][-1]["ename"] == "KeyboardInterrupt"
    assert shown["found"] == [{"output_type": "stream", "name": "stdout", "text": "False\n"}]
