"""Parts of an upload are hashed as they come, and only while nobody writes over them."""

import asyncio
import hashlib
import os

import pytest
from geopod_gateway.app.following import MOST_UPLOADS, Followers

DATA = os.urandom(3 << 20)
PART = 1 << 20
WHOLE = hashlib.sha256(DATA).hexdigest()


def followed(tmp_path, arrivals, *, rewritten=()):
    """Return the digest of an upload whose parts arrive so, and are then written again."""
    (tmp_path / "data").write_bytes(DATA)

    async def follow():
        followers = Followers(fsync=True)
        for start in arrivals:
            followers.arrived("u", tmp_path / "data", start=start, length=PART)
        for start in rewritten:
            followers.arriving("u", start)
        return await followers.digest("u", len(DATA))

    return asyncio.run(follow())


def test_parts_in_order_are_hashed_before_the_end(tmp_path):
    assert followed(tmp_path, [0, PART, 2 * PART]) == WHOLE


@pytest.mark.parametrize("arrivals", [[], [0], [0, 2 * PART], [PART, 0, 2 * PART]])
def test_parts_out_of_order_are_left_to_the_end(tmp_path, arrivals):
    assert followed(tmp_path, arrivals) == ""


@pytest.mark.parametrize("start", [0, PART, 2 * PART])
def test_part_that_is_written_again_voids_what_was_hashed(tmp_path, start):
    assert followed(tmp_path, [0, PART, 2 * PART], rewritten=[start]) == ""


def test_upload_that_begins_anew_is_followed_anew(tmp_path):
    assert followed(tmp_path, [0, PART, 0, PART, 2 * PART]) == WHOLE


def test_uploads_that_nobody_ends_give_way_to_new_ones(tmp_path):
    data = tmp_path / "data"
    data.write_bytes(DATA[:PART] * 2)
    names = [f"u{number}" for number in range(MOST_UPLOADS + 1)]

    async def follow():
        followers = Followers(fsync=False)
        for name in names[:-1]:
            followers.arrived(name, data, start=0, length=PART)
        followers.arrived(names[0], data, start=PART, length=PART)  # goes on
        followers.arrived(names[-1], data, start=0, length=PART)
        sizes = {names[0]: 2 * PART}
        return [await followers.digest(name, sizes.get(name, PART)) for name in names]

    goes_on, abandoned, *others = asyncio.run(follow())
    assert goes_on == hashlib.sha256(DATA[:PART] * 2).hexdigest()
    assert abandoned == ""
    assert others == [hashlib.sha256(DATA[:PART]).hexdigest()] * (MOST_UPLOADS - 1)
