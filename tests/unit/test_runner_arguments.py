"""A task reads its arguments from the file that all tasks share, and changes none but its own."""

import json
import pickle
import tempfile
from typing import Any

import numpy as np
import pytest
from capture_builders import OTHER, OWN
from geopod.api.bundles import MAX_SEGMENTS, ArgumentPlaces, pack_arguments
from geopod.capture import encode_arguments
from geopod.runner.arguments import Arguments
from hypothesis import given
from hypothesis import strategies as st

LARGE = 2 << 20
DECODERS = {"pickle": pickle.loads, "json": json.loads}  # noqa: TID251  # as the child
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def read(data: bytes, form: str, index: int) -> Any:
    """Return a task's arguments as the child reads them."""
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        places = ArgumentPlaces(data)
        arguments = Arguments(file.fileno(), DECODERS[form], places.shared)
        return arguments.read(*places.span(index))


@given(
    args_list=st.lists(st.lists(JSON, max_size=3), min_size=1, max_size=4),
    kwargs=st.dictionaries(st.text(), JSON, max_size=3),
    python=st.sampled_from([OWN, OTHER]),
    with_variables=st.booleans(),
)
def test_each_task_reads_its_own_arguments_and_the_shared_ones(
    args_list: list[list[Any]], kwargs: dict[str, Any], python: str, *, with_variables: bool
) -> None:
    variables = [{"TILE": "31UFU"}] * len(args_list) if with_variables else None
    ref, data = encode_arguments(args_list, kwargs, variables=variables, node_python=python)
    for index, args in enumerate(args_list):
        assert list(read(data, ref.format, index)) == [args, kwargs, *(variables or [])[:1]]


@given(sizes=st.lists(st.integers(0, 3 * LARGE), max_size=4), tasks=st.integers(1, 3))
def test_large_buffers_come_back_equal_aligned_and_writable(sizes: list[int], tasks: int) -> None:
    kwargs = {f"a{number}": np.arange(size // 4, dtype="i4") for number, size in enumerate(sizes)}
    frozen = np.ones(LARGE, "u1")
    frozen.flags.writeable = False
    ref, data = encode_arguments([()] * tasks, {**kwargs, "frozen": frozen}, node_python=OWN)
    assert ref.size < sum(sizes) + LARGE + 64 * (tasks + len(sizes)) + 1000
    _, found = read(data, ref.format, tasks - 1)
    assert not found.pop("frozen").flags.writeable
    for name, array in kwargs.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].flags.writeable
        assert found[name].flags.aligned


def test_what_a_task_changes_no_other_task_sees() -> None:
    kwargs = {"table": np.zeros(LARGE, "u1"), "list": [1], "small": np.zeros(3)}
    ref, data = encode_arguments([(1,), (2,)], kwargs, node_python=OWN)
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        places = ArgumentPlaces(data)
        arguments = Arguments(file.fileno(), DECODERS[ref.format], places.shared)
        _, mine = arguments.read(*places.span(0))
        mine["table"][:] = 7
        mine["list"].append(2)
        mine["small"][:] = 7
        _, theirs = arguments.read(*places.span(1))
        assert (theirs["table"].sum(), theirs["list"], theirs["small"].sum()) == (0, [1], 0)
        assert mine["table"].sum() == 7 * LARGE
        file.seek(0)
        assert file.read() == data


@pytest.mark.parametrize("form", ["pickle", "json"])
def test_keywords_of_one_task_go_before_those_of_all(form: str) -> None:
    encode = {"pickle": pickle.dumps, "json": lambda value: json.dumps(value).encode()}[form]
    blobs = [encode([[1], {"a": 1}]), encode([[2], {}, {"TILE": "x"}])]
    old, new = pack_arguments(blobs), pack_arguments(blobs, [encode({"a": 0, "b": 0})])
    assert old.startswith(b"GPA1")
    assert list(read(old, form, 0)) == [[1], {"a": 1}]
    assert list(read(old, form, 1)) == [[2], {}, {"TILE": "x"}]
    assert list(read(new, form, 0)) == [[1], {"a": 1, "b": 0}]
    assert list(read(new, form, 1)) == [[2], {"a": 0, "b": 0}, {"TILE": "x"}]


OBJECTS = [pack_arguments([b"a", b"bc"]), pack_arguments([b"a", b"bc"], [b"shared", b"x" * 9])]


@given(st.sampled_from(OBJECTS), st.integers(0, 40), st.binary(max_size=8), st.integers(0, 200))
def test_damaged_arguments_are_refused_or_lie_within_the_object(
    whole: bytes, at: int, forged: bytes, length: int
) -> None:
    damaged = (whole[:at] + forged + whole[at + len(forged) :])[:length]
    try:
        places = ArgumentPlaces(damaged)
        spans = [*places.shared, *(places.span(index) for index in range(min(places.count, 9)))]
    except ValueError:
        return
    assert all(0 <= start <= stop <= len(damaged) for start, stop in spans)
    assert len(places.shared) <= MAX_SEGMENTS


@pytest.mark.parametrize("index", [-1, 2])
def test_task_without_arguments_is_refused(index: int) -> None:
    with pytest.raises(ValueError, match=f"Task {index} has no arguments: there are 2"):
        ArgumentPlaces(OBJECTS[0]).span(index)
