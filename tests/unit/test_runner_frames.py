"""Frames: whatever is sent arrives whole, however the stream is cut; lies about length do not."""

import json
import struct

import pytest
from geopod.runner.context import Cancellation, Context, Place
from geopod.runner.frames import (
    MAX_PART_BYTES,
    FrameError,
    FrameReader,
    pack,
    pack_json,
)
from hypothesis import given
from hypothesis import strategies as st

MESSAGES = st.lists(st.tuples(st.binary(max_size=40), st.binary(max_size=200)), max_size=8)


@given(messages=MESSAGES, cuts=st.lists(st.integers(1, 60), min_size=1, max_size=20))
def test_messages_arrive_whole_however_the_stream_is_cut(
    messages: list[tuple[bytes, bytes]], cuts: list[int]
) -> None:
    stream = b"".join(pack(header, body) for header, body in messages)
    reader, arrived, at = FrameReader(), [], 0
    while at < len(stream):
        step = cuts[len(arrived) % len(cuts)]
        arrived += reader.feed(stream[at : at + step])
        at += step
    assert arrived == messages


@pytest.mark.parametrize("size", [MAX_PART_BYTES, MAX_PART_BYTES + 1, 3 * MAX_PART_BYTES + 7])
def test_a_long_body_is_joined_by_who_may_join(size: int) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    frames = pack(b"{}", body[:size])
    assert FrameReader(joins_parts=True).feed(frames) == [(b"{}", body[:size])]


def test_parts_are_messages_to_who_does_not_join() -> None:
    headers = [header for header, _ in FrameReader().feed(pack(b"{}", bytes(MAX_PART_BYTES + 1)))]
    assert headers == [b'{"t":"PART"}', b"{}"]


@pytest.mark.parametrize(
    ("header_bytes", "body_bytes"),
    [(MAX_PART_BYTES + 1, 0), (0, MAX_PART_BYTES + 1), (2**32 - 1,) * 2],
)
def test_a_length_over_the_limit_is_refused_before_it_is_read(
    header_bytes: int, body_bytes: int
) -> None:
    with pytest.raises(FrameError, match="the limit is 1,048,576 each"):
        FrameReader().feed(struct.pack("<II", header_bytes, body_bytes))


def test_text_that_utf8_cannot_say_is_replaced_in_headers() -> None:
    [(header, _)] = FrameReader().feed(pack_json({"message": "é \udcff"}))
    assert json.loads(header) == {"message": "é ?"}


def test_a_header_never_holds_nan() -> None:
    with pytest.raises(ValueError, match="JSON"):
        pack_json({"nodata": float("nan")})


@pytest.mark.parametrize(
    ("fraction", "told"),
    [(0.5, 0.5), (None, None), (float("nan"), None), (float("inf"), None), (-1, -1.0)],
)
def test_progress_that_is_no_number_is_told_without_one(
    fraction: float | None, told: float | None
) -> None:
    sent: list[bytes] = []
    context = Context(
        index=0,
        attempt=1,
        place=Place(run="r", total=1, scratch="", core=None),
        cancellation=Cancellation(),
        report=lambda index, *said: sent.append(pack_json({"index": index, "said": list(said)})),
    )
    context.progress(fraction, "band 4")
    [(header, _)] = FrameReader().feed(b"".join(sent))
    assert json.loads(header)["said"] == [told, "band 4"]
