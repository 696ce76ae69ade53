"""What is asked of the publishing process."""

import asyncio
import re
import sys

import msgspec
import pytest
from geopod.coordinator import publication
from geopod.coordinator.finished import FinishedRun, TaskResult
from geopod.coordinator.publication import Target, publish_runs
from geopod.errors import InconsistentPartsError

TARGET = Target(
    folder="/layer/2025",
    path_id="slope",
    timestamp="2025",
    kind="raster",
    format="tif",
    partial=True,
)


def a_run(name, base=None):
    return FinishedRun(
        uid=name, name=name, environment="e", created=0.0, indexes=[0], base=base, rerun_tasks=[0]
    )


@pytest.mark.parametrize(
    ("runs", "origin"),
    [
        ([a_run("one")], "one"),
        ([a_run("again", base=a_run("one"))], "one"),
        ([a_run("two"), a_run("again", base=a_run("one"))], "one two"),
    ],
)
def test_file_of_several_runs_is_replaced_by_results_of_all_of_them_alone(
    monkeypatch, runs, origin
):
    asked = []

    async def assemble(request, _environ):
        asked.append(msgspec.json.decode(request))
        return {"files": [], "revision": 1}

    async def results(_store, run, **_):
        return [TaskResult(0, run, None)]

    async def gather(_store, _results, gathered):
        gathered.parts.append({})

    monkeypatch.setattr(publication, "_assemble", assemble)
    monkeypatch.setattr(publication, "_gather", gather)
    monkeypatch.setattr(publication, "read_results", results)
    asyncio.run(publish_runs(None, runs, TARGET))
    assert asked[0]["origin"] == origin


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "ended by signal 9, as where"),
        ("raise KeyError('x')", r"ended with exit code 1: KeyError: 'x'\.$"),
        ("raise SystemExit(3)", r"ended with exit code 3: no words\.$"),
    ],
)
def test_publishing_process_that_does_not_answer_is_told_as_it_ended(monkeypatch, script, words):
    async def results(_store, run, **_):
        return [TaskResult(0, run, None)]

    async def gather(_store, _results, gathered):
        gathered.parts.append({})

    monkeypatch.setattr(publication, "PUBLISHING", (sys.executable, "-c", script))
    monkeypatch.setattr(publication, "_gather", gather)
    monkeypatch.setattr(publication, "read_results", results)
    with pytest.raises(InconsistentPartsError) as caught:
        asyncio.run(publish_runs(None, [a_run("one")], TARGET))
    assert re.search(words, caught.value.fact)
