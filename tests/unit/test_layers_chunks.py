"""Arrays read box by box: what neighbours share is kept, up to a limit."""

from __future__ import annotations

import numpy as np
import pytest
from geopod.layers.chunks import ChunkedArray, Layout, each


def rows_of(count, width, height=1):
    """An array elsewhere of `count` chunks of bytes, each filled with its number."""
    layout = Layout((count * height, width), (height, width), np.dtype(np.uint8))
    return ChunkedArray(
        layout, each(lambda place: np.full(layout.chunks, place[0] % 256, "u1")), is_remote=True
    )


@pytest.mark.parametrize("height", [4, 16, 31, 33])
def test_chunk_that_is_let_go_for_another_is_still_read(height):
    array = rows_of(16, 1 << 20, height)
    left = slice(0, 2)
    array.read((slice(7 * height, 16 * height), left))

    found = array.read((slice(0, 9 * height), left))

    np.testing.assert_array_equal(found[::height, 0], np.arange(9))


def test_chunks_of_single_values_are_kept_up_to_a_number():
    array = rows_of(1, 1)

    assert array.most_kept < 150_000
