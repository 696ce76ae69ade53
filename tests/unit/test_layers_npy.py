"""Arrays that are written block by block."""

import numpy as np
import pytest
from geopod.codecs.array import load_array
from geopod.layers.npy import NpyWriter

VALUES = np.arange(2 * 6 * 5, dtype="int16").reshape(2, 6, 5)


@pytest.mark.parametrize(
    "blocks",
    [
        [(0, 0, 6, 5)],
        [(0, 0, 3, 5), (3, 0, 3, 5)],
        [(0, 0, 6, 2), (0, 2, 6, 3)],
        [(3, 0, 3, 5), (0, 0, 3, 5)],
    ],
    ids=["whole", "rows", "columns", "backwards"],
)
def test_blocks_in_any_order_make_the_array(tmp_path, blocks):
    with NpyWriter(tmp_path / "a.npy", shape=VALUES.shape, dtype=VALUES.dtype) as writer:
        for row, column, rows, columns in blocks:
            writer.write(row, column, VALUES[:, row : row + rows, column : column + columns])

    np.testing.assert_array_equal(load_array(tmp_path / "a.npy"), VALUES)


def test_array_without_pixels_has_its_shape(tmp_path):
    with NpyWriter(tmp_path / "a.npy", shape=(3, 0, 0), dtype=np.dtype("uint8")):
        pass

    assert load_array(tmp_path / "a.npy").shape == (3, 0, 0)
