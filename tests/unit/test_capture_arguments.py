"""Arguments of a map: one blob per task, by reference where the node can read it."""

import itertools
import json
import pickle
import struct
import threading
from datetime import date

import numpy as np
import pytest
from capture_builders import OTHER, OWN, unpickled, user_module
from geopod.api.bundles import digest
from geopod.capture import encode_arguments
from geopod.errors import CaptureError, InvalidInputError
from hypothesis import given
from hypothesis import strategies as st

LARGE = 2 << 20
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def blobs(data: bytes) -> list[bytes]:
    """Return the tasks' blobs of an arguments object, as `api.bundles` describes it."""
    magic, count = struct.unpack_from("<4sI", data)
    assert magic == b"GPA1"
    offsets = struct.unpack_from(f"<{count + 1}Q", data, 8)
    assert offsets[-1] == len(data)
    return [data[a:b] for a, b in itertools.pairwise(offsets)]


def pieces(data: bytes) -> tuple[list[bytes], list[bytes]]:
    """Return blobs and shared segments of an object that has such, as `api.bundles` has it."""
    magic, count, segments = struct.unpack_from("<4sII", data)
    assert magic == b"GPA2"
    numbers = struct.unpack_from(f"<{count + 1 + 2 * segments}Q", data, 12)
    offsets, spans = numbers[: count + 1], numbers[count + 1 :]
    assert spans[-1] == len(data)
    return (
        [data[a:b] for a, b in itertools.pairwise(offsets)],
        [data[a:b] for a, b in zip(spans[::2], spans[1::2], strict=True)],
    )


@given(st.lists(st.tuples(JSON, JSON), max_size=5))
def test_json_arguments_are_what_python_json_makes_of_them(args_list):
    ref, data = encode_arguments(args_list, node_python=OTHER)
    assert (ref.format, ref.count, ref.size, ref.sha256) == (
        "json",
        len(args_list),
        len(data),
        digest(data),
    )
    expected = [json.loads(json.dumps([args, {}])) for args in args_list]
    assert repr([json.loads(blob) for blob in blobs(data)]) == repr(expected)


@given(st.lists(st.tuples(JSON, st.binary()), max_size=5))
def test_pickled_arguments_come_back_equal(args_list):
    ref, data = encode_arguments(args_list, node_python=OWN)
    assert ref.format == "pickle"
    assert repr([unpickled(blob) for blob in blobs(data)]) == repr(
        [[list(a), {}] for a in args_list]
    )


@pytest.mark.parametrize(("python", "opened"), [(OWN, unpickled), (OTHER, json.loads)])
def test_environment_variables_belong_to_their_task(python, opened):
    _, data = encode_arguments([(1,), (2,)], variables=[{"TILE": "31UFU"}, {}], node_python=python)
    assert [opened(blob) for blob in blobs(data)] == [[[1], {}, {"TILE": "31UFU"}], [[2], {}]]
    with pytest.raises(InvalidInputError, match="environments=1 items for 2 argument lists"):
        encode_arguments([(1,), (2,)], variables=[{}], node_python=python)


def test_keywords_of_all_tasks_are_there_once():
    table = np.arange(LARGE // 8)
    calls = [(number,) for number in range(100)]
    ref, data = encode_arguments(calls, {"table": table}, node_python=OWN)
    assert table.nbytes < ref.size == len(data) < table.nbytes + 100 * 50
    tasks, (encoded, buffer) = pieces(data)
    assert [unpickled(blob) for blob in tasks] == [[[number], {}] for number in range(100)]
    assert buffer == table.tobytes()
    assert data.index(buffer) % 64 == 0
    assert len(encoded) < 200


def test_keywords_cross_minors_as_json_once():
    _, data = encode_arguments([(1,), (2,)], {"text": "é" * LARGE}, node_python=OTHER)
    tasks, (encoded,) = pieces(data)
    assert [json.loads(blob) for blob in tasks] == [[[1], {}], [[2], {}]]
    assert json.loads(encoded) == {"text": "é" * LARGE}


def test_instance_of_a_users_class_has_its_large_array_beside_the_pickle(tmp_path):
    text = """
        class Model:
            def __init__(self, weights):
                self.weights = weights
        """
    with user_module(tmp_path, text) as analysis:
        model = analysis.Model(np.ones(LARGE // 8))
        _, data = encode_arguments([()], {"model": model, "again": model.weights}, node_python=OWN)
    _, (encoded, buffer) = pieces(data)
    found = pickle.loads(encoded, buffers=[buffer])  # noqa: S301, TID251  # made above
    assert found["model"].weights is found["again"]
    assert found["again"].sum() == LARGE // 8


def test_many_small_arrays_stay_in_the_pickle():
    _, data = encode_arguments([()], {"all": [np.ones(9)] * 3}, node_python=OWN)
    _, shared = pieces(data)
    assert len(shared) == 1


def test_plain_values_are_plain_pickles():
    value = date(2026, 1, 3)
    _, data = encode_arguments([(value,)], node_python=OWN)
    assert blobs(data) == [pickle.dumps([[value], {}], 5)]


OWN_OBJECTS = {
    "function": """
        def make():
            return 7
        value = make
        """,
    "lambda": "value = lambda: 7\n",
    "cached function": """
        import functools
        @functools.cache
        def value():
            return 7
        """,
    "instance": """
        class A:
            def __call__(self):
                return 7
        value = A()
        """,
    "nested in a list": """
        def make():
            return 7
        class L(list):
            def __call__(self):
                return self[0]()
        value = L([make])
        """,
}


@pytest.mark.parametrize("text", OWN_OBJECTS.values(), ids=OWN_OBJECTS)
def test_object_of_a_users_module_is_readable_where_the_module_is_not(tmp_path, text):
    with user_module(tmp_path, text) as analysis:
        _, data = encode_arguments([(analysis.value,)], node_python=OWN)
    [[value], _] = unpickled(blobs(data)[0])
    assert value() == 7


def test_argument_that_cannot_be_pickled_is_named_with_its_task():
    with pytest.raises(CaptureError, match=r"task 1: argument 0\['a'\] \(_thread.lock\) cannot be"):
        encode_arguments([(1,), ({"a": threading.Lock()},)], node_python=OWN)


def test_argument_that_is_not_json_is_named_on_another_minor():
    with pytest.raises(CaptureError, match=r"task 0: k \(numpy.ndarray\) is not JSON"):
        encode_arguments([(1,)], {"k": np.zeros(2)}, node_python=OTHER)


def test_keyword_that_cannot_be_pickled_is_named():
    with pytest.raises(CaptureError, match=r"task 0: lock \(_thread.lock\) cannot be pickled"):
        encode_arguments([(1,)], {"lock": threading.Lock()}, node_python=OWN)


def test_numpy_scalar_is_a_number_on_another_minor():
    _, data = encode_arguments([(np.int64(3), np.float32(0.5))], node_python=OTHER)
    assert json.loads(blobs(data)[0]) == [[3, 0.5], {}]
