"""Arrays and trees of arrays: equal in value, dtype, shape and order; hostile bytes refused."""

import io
import mmap
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from codec_builders import encoded, entry_of, round_trip
from geopod import codecs
from geopod.codecs import MalformedValueError
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

DTYPES = (
    hnp.scalar_dtypes()
    | hnp.unicode_string_dtypes()
    | hnp.byte_string_dtypes()
    | hnp.datetime64_dtypes()
    | hnp.array_dtypes(allow_subarrays=False)
)
ARRAYS = DTYPES.flatmap(
    lambda dtype: hnp.arrays(
        dtype, hnp.array_shapes(min_dims=0, min_side=0, max_dims=4, max_side=4)
    )
)


def is_mapped(array):
    """Whether the values lie in a mapped file."""
    while isinstance(array, np.ndarray):
        array = array.base
    return isinstance(getattr(array, "obj", array), mmap.mmap)


def assert_same(got, expected):
    assert type(got) is np.ndarray
    assert got.dtype == expected.dtype
    assert got.shape == expected.shape
    assert got.tobytes() == expected.tobytes()


@pytest.mark.filterwarnings("ignore:Stored array in format 3.0:UserWarning")
@settings(deadline=None)
@given(ARRAYS, st.sampled_from("CF"), st.booleans())
def test_array_comes_back_equal(array, order, as_file):
    array = np.array(array, order=order)
    with TemporaryDirectory() as folder:
        got = round_trip(array, Path(folder), as_file=as_file)
    assert_same(got, array)
    assert got.flags.writeable


@pytest.mark.parametrize("order", ["C", "F"])
def test_large_array_in_a_file_is_mapped_and_the_file_stays_as_it_is(tmp_path, order):
    array = np.asarray(np.arange(600_000).reshape(600, 1000), order=order)
    result = encoded(array, tmp_path)
    before = result.data.read_bytes()
    got = codecs.decode(entry_of(result), result.data)
    assert_same(got, array)
    assert got.flags.f_contiguous == (order == "F")
    assert is_mapped(got)
    got[0, 0] = 99
    assert result.data.read_bytes() == before


def test_small_array_in_a_file_is_read(tmp_path):
    assert not is_mapped(round_trip(np.arange(20_000), tmp_path))


def test_meta_says_shape_and_dtype(tmp_path):
    assert encoded(np.zeros((2, 3), "<f4"), tmp_path).meta == {"shape": [2, 3], "dtype": "<f4"}


def npy(header: bytes, values: bytes = b"") -> bytes:
    """Return an `.npy` of version 1 with any header text."""
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + values


def object_array() -> bytes:
    """Return an `.npy` that numpy would unpickle."""
    file = io.BytesIO()
    np.save(file, np.array([{}], object), allow_pickle=True)
    return file.getvalue()


HOSTILE = {
    "empty": b"",
    "no magic": b"\x00" * 100,
    "other version": b"\x93NUMPY\x09\x00" + bytes(100),
    "python objects": object_array(),
    "shape larger than the bytes": npy(
        b"{'descr':'<f8','fortran_order':False,'shape':(9,)}\n", bytes(8)
    ),
    "bytes beyond the shape": npy(
        b"{'descr':'<f8','fortran_order':False,'shape':(1,)}\n", bytes(80)
    ),
    "huge shape": npy(b"{'descr':'<f8','fortran_order':False,'shape':(1<<60,)}\n"),
    "negative shape": npy(b"{'descr':'<f8','fortran_order':False,'shape':(-1,)}\n"),
    "code in the header": npy(b"__import__('os').abort()\n"),
    "unclosed header": npy(b"{'descr':'<f8','fortran_order':False,'shape':(1,\n"),
    "unknown dtype": npy(b"{'descr':'<q9','fortran_order':False,'shape':(1,)}\n"),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_hostile_npy_is_refused_by_the_agent_and_the_client(tmp_path, data):
    path = tmp_path / "hostile.npy"
    path.write_bytes(data)
    for source in (data, path):
        with pytest.raises(MalformedValueError):
            codecs.encode("npy", source, {}, workdir=tmp_path)
        entry = entry_of(codecs.Encoded("npy", data))
        with pytest.raises(MalformedValueError):
            codecs.decode(entry, source)


TREE_SCALARS = st.none() | st.integers() | st.text() | st.floats(allow_nan=False)
SMALL_ARRAYS = hnp.arrays(
    st.sampled_from(["u1", "<f4", ">i8"]), hnp.array_shapes(min_dims=0, min_side=0, max_side=3)
)
TREES = st.recursive(
    TREE_SCALARS | SMALL_ARRAYS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text().filter(lambda key: key != "$npy"), inner, max_size=3)
    ),
    max_leaves=8,
)


def assert_same_tree(got, expected):
    if isinstance(expected, np.ndarray):
        assert_same(got, expected)
    elif isinstance(expected, dict):
        assert got.keys() == expected.keys()
        for key, value in expected.items():
            assert_same_tree(got[key], value)
    elif isinstance(expected, list):
        assert len(got) == len(expected)
        for one, other in zip(got, expected, strict=True):
            assert_same_tree(one, other)
    else:
        assert got == expected


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from("ab"), TREES), SMALL_ARRAYS, st.booleans())
def test_tree_comes_back_equal(tree, leaf, as_bytes):
    tree["leaf"] = [leaf]
    with TemporaryDirectory() as folder:
        result = encoded(tree, Path(folder))
        assert result.codec == "tree"
        source = result.data.read_bytes() if as_bytes else result.data
        assert_same_tree(codecs.decode(entry_of(result), source), tree)


def test_large_leaf_of_a_tree_in_a_file_is_mapped(tmp_path):
    large = np.arange(300_000, dtype="<f8").reshape(2, -1)
    result = encoded({"a": np.arange(3), "b": [large, "x"]}, tmp_path)
    got = codecs.decode(entry_of(result), result.data)
    assert is_mapped(got["b"][0])
    assert_same(got["b"][0], large)
    assert got["b"][1] == "x"


def archive(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """Return a zip with these members."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as target:
        for name, data in members.items():
            target.writestr(name, data)
    return file.getvalue()


def leaf() -> bytes:
    """Return a valid `.npy`."""
    file = io.BytesIO()
    np.save(file, np.arange(3))
    return file.getvalue()


BAD_TREES = {
    "no zip": b"tree",
    "no outline": archive({"0.npy": leaf()}),
    "foreign member": archive({"tree.json": b"{}", "../x": b""}),
    "missing leaf": archive({"tree.json": b"{}", "1.npy": leaf()}),
    "compressed": archive({"tree.json": b"{}", "0.npy": bytes(10_000)}, zipfile.ZIP_DEFLATED),
    "leaf of objects": archive({"tree.json": b"{}", "0.npy": object_array()}),
    "outline that is no json": archive({"tree.json": b"{,}", "0.npy": leaf()}),
}


@pytest.mark.parametrize("data", BAD_TREES.values(), ids=BAD_TREES)
def test_hostile_tree_is_refused(tmp_path, data):
    with pytest.raises(MalformedValueError):
        codecs.encode("tree", data, {}, workdir=tmp_path)


def test_tree_that_names_a_leaf_it_lacks_is_refused():
    data = archive({"tree.json": b'{"a": {"$npy": 5}}', "0.npy": leaf()})
    with pytest.raises(MalformedValueError, match="leaf 5 of 1"):
        codecs.decode(entry_of(codecs.Encoded("tree", data)), data)
