"""Arrays that are written block by block, and hashed on the way where that is possible."""

from hashlib import sha256

import numpy as np
import pytest
from geopod.codecs.array import load_array
from geopod.layers.npy import NpyWriter

VALUES = np.arange(2 * 6 * 5, dtype="int16").reshape(2, 6, 5)


def write(path, *blocks):
    """Write blocks (row, column, rows, columns) of VALUES; return the writer."""
    with NpyWriter(path, shape=VALUES.shape, dtype=VALUES.dtype) as writer:
        for row, column, rows, columns in blocks:
            writer.write(row, column, VALUES[:, row : row + rows, column : column + columns])
    return writer


def test_array_in_one_block_is_hashed_on_the_way(tmp_path):
    writer = write(tmp_path / "a.npy", (0, 0, 6, 5))
    np.testing.assert_array_equal(load_array(tmp_path / "a.npy"), VALUES)
    assert writer.digest == sha256((tmp_path / "a.npy").read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "blocks",
    [
        [(0, 0, 3, 5), (3, 0, 3, 5)],
        [(0, 0, 6, 2), (0, 2, 6, 3)],
        [(3, 0, 3, 5), (0, 0, 3, 5)],
        [(0, 0, 6, 4)],
    ],
    ids=["rows", "columns", "backwards", "incomplete"],
)
def test_blocks_out_of_the_files_order_have_no_digest(tmp_path, blocks):
    assert write(tmp_path / "a.npy", *blocks).digest is None


def test_array_without_pixels_has_the_digest_of_its_header(tmp_path):
    with NpyWriter(tmp_path / "a.npy", shape=(3, 0, 0), dtype=np.dtype("uint8")) as writer:
        pass
    assert writer.digest == sha256((tmp_path / "a.npy").read_bytes()).hexdigest()
