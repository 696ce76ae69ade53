"""What is published of a run that ran tasks of earlier runs again: the last word on every task."""

import asyncio

import msgspec
import pytest
from geopod.api.bundles import ArgumentsRef, FunctionRef
from geopod.api.names import manifest_key
from geopod.api.results import Entry, Failure, ManifestChunk, TaskReason, TaskRecord
from geopod.api.runs import RunOrder, RunState
from geopod.coordinator.finished import finished_run, read_results
from geopod.errors import InconsistentPartsError
from geopod.testing.store import MemoryStore

ENVIRONMENT = "env-1"
FUNCTION = FunctionRef(format="source", name="f", python="3.12", sha256="f" * 64, size=1)
FAILURE = Failure(reason=TaskReason.EXCEPTION, code="E307", fact="raised ValueError.")


class Runs:
    """Ended runs by name, and their results in a store."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.known: dict[str, tuple[RunOrder, RunState]] = {}

    def add(self, name, outcomes, *, plan="", mode="PerNode", created=1.0, **order):
        """Add a run whose tasks came to these, by its own indexes: True for a result."""
        arguments = ArgumentsRef(format="json", sha256="", size=1, count=len(outcomes))
        if mode == "Map":
            order["arguments"] = arguments
        self.known[name] = (
            RunOrder(
                uid=f"uid-{name}", name=name, environment=ENVIRONMENT, created=created,
                function=FUNCTION, mode=mode, **order,
            ),
            RunState(
                uid=f"uid-{name}", name=name, environment=ENVIRONMENT, phase="Failed",
                total=len(outcomes), plan_sha256=plan,
            ),
        )  # fmt: skip  # names and values side by side
        records = [
            TaskRecord(index=index, attempt=1, epoch=1, node=0, **outcome(name, index, is_there))
            for index, is_there in outcomes.items()
            if is_there is not None
        ]
        chunk = ManifestChunk(epoch=1, sequence=0, accepts=[], records=records)
        key = manifest_key(ENVIRONMENT, f"uid-{name}", 1, 0)
        self.store.objects[key] = msgspec.json.encode(chunk)

    async def find(self, name):
        return self.known.get(name)

    def read(self, name, **options):
        """Return what is published of a run: (task, sha256) in order."""

        async def read():
            run = await finished_run(*self.known[name], find=self.find)
            return await read_results(self.store, run, **options)

        found = asyncio.run(read())
        return [(it.task, it.record.entry.sha256 if it.record else None) for it in found]


def outcome(name, index, is_there):
    if not is_there:
        return {"failure": FAILURE}
    return {"entry": Entry(codec="json", sha256=f"{name}/{index}", bytes=1, key="k")}


@pytest.fixture
def runs():
    return Runs()


def test_a_rerun_keeps_what_its_base_had(runs):
    runs.add("first", {0: True, 1: False, 2: True, 3: False})
    runs.add("again", {1: True, 3: True}, partitions=[3, 1], rerun_of="first", rerun_tasks=[1, 3])

    assert runs.read("again") == [(0, "first/0"), (1, "again/1"), (2, "first/2"), (3, "again/3")]


def test_a_chain_of_reruns_ends_with_every_task(runs):
    runs.add("first", {0: True, 1: False, 2: False})
    runs.add("second", {1: True, 2: False}, partitions=[1, 2], rerun_of="first")
    runs.add("third", {2: True}, partitions=[2], rerun_of="second", rerun_tasks=[2])

    assert runs.read("third") == [(0, "first/0"), (1, "second/1"), (2, "third/2")]


def test_tasks_of_a_map_keep_their_place_over_a_chain(runs):
    runs.add("first", {0: True, 1: False, 2: True, 3: False}, mode="Map")
    runs.add("second", {0: True, 1: False}, mode="Map", rerun_of="first", rerun_tasks=[1, 3])
    runs.add("third", {0: True}, mode="Map", rerun_of="second", rerun_tasks=[1])

    assert runs.read("third") == [(0, "first/0"), (1, "second/0"), (2, "first/2"), (3, "third/0")]


def test_a_partial_layer_takes_what_there_is(runs):
    runs.add("first", {0: False, 1: None, 2: True})
    runs.add("again", {1: True}, partitions=[1], rerun_of="first")

    assert runs.read("again", partial=True) == [(0, None), (1, "again/1"), (2, "first/2")]


def test_a_run_over_chosen_partitions_has_those_alone(runs):
    runs.add("some", {1: True, 3: True}, partitions=[1, 3])

    assert runs.read("some") == [(1, "some/1"), (3, "some/3")]


def test_tasks_that_were_never_finished_are_named_as_the_first_run_named_them(runs):
    runs.add("first", {0: None, 1: True, 2: False}, mode="Map")
    runs.add("again", {0: False, 1: True}, mode="Map", rerun_of="first", rerun_tasks=[0, 2])

    with pytest.raises(InconsistentPartsError) as caught:
        runs.read("again")

    assert caught.value.fact == (
        "1 of 3 tasks of 'again' have no result (0); nothing is published."
    )
    assert caught.value.details == {"missing": [0]}


def test_a_rerun_that_failed_does_not_fall_back_on_an_older_result(runs):
    runs.add("first", {0: True, 1: True})
    runs.add("again", {0: True, 1: False}, partitions=[0, 1], rerun_of="first")

    with pytest.raises(InconsistentPartsError, match="1 of 2 tasks of 'again'"):
        runs.read("again")


def test_a_rerun_does_not_need_results_that_it_has_itself(runs):
    runs.add("first", {0: None, 1: None})
    runs.add("again", {0: True, 1: True}, partitions=[0, 1], rerun_of="first")

    assert runs.read("again") == [(0, "again/0"), (1, "again/1")]


def test_a_rerun_whose_base_is_gone_is_refused_by_name(runs):
    runs.add("again", {1: True}, partitions=[1], rerun_of="first")

    with pytest.raises(InconsistentPartsError, match="tasks of 'first' again, and that run is gon"):
        runs.read("again")


def test_a_later_run_with_the_name_of_the_base_is_not_taken_for_it(runs):
    runs.add("again", {1: True}, partitions=[1], rerun_of="nightly", created=2.0)
    runs.add("nightly", {0: True, 1: False}, created=3.0)

    with pytest.raises(InconsistentPartsError, match="that run is gone"):
        runs.read("again")


def test_runs_that_name_each_other_are_refused(runs):
    runs.add("first", {0: True}, rerun_of="again")
    runs.add("again", {0: True}, rerun_of="first")

    with pytest.raises(InconsistentPartsError, match="nothing is published"):
        runs.read("again")


def test_partitions_of_two_plans_are_no_layer(runs):
    runs.add("first", {0: True, 1: False}, plan="a" * 64)
    runs.add("again", {1: True}, plan="b" * 64, partitions=[1], rerun_of="first")

    with pytest.raises(InconsistentPartsError, match="different partitions; nothing is pub"):
        runs.read("again")


def test_a_map_does_not_depend_on_the_plan(runs):
    runs.add("first", {0: True, 1: False}, mode="Map", plan="a" * 64)
    runs.add("again", {0: True}, mode="Map", plan="b" * 64, rerun_of="first", rerun_tasks=[1])

    assert runs.read("again") == [(0, "first/0"), (1, "again/0")]


@pytest.mark.parametrize("tasks", [[7], [0, 1]], ids=["no such task", "more tasks than it has"])
def test_a_rerun_that_says_of_itself_what_cannot_be_is_refused(runs, tasks):
    runs.add("first", {0: True, 1: False}, mode="Map")
    runs.add("again", {0: True}, mode="Map", rerun_of="first", rerun_tasks=tasks)

    with pytest.raises(InconsistentPartsError, match="which has 2; nothing is published"):
        runs.read("again")
