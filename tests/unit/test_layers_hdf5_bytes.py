"""Bytes of an HDF5 file elsewhere: asked for together, close ones at once, never past its end."""

from __future__ import annotations

import io
import threading
from types import SimpleNamespace

import pytest
from geopod.layers import hdf5_bytes
from geopod.layers.hdf5_bytes import CountedFile, Span

DATA = bytes(range(256)) * 4096


class Elsewhere:
    """A file whose ranges are noted; `meet` must be reached by as many readers as it waits for."""

    def __init__(self, meet=None):
        self.asked = []
        self.meet = meet

    def read(self, start, length):
        self.asked.append((start, length))
        if self.meet is not None:
            self.meet.wait(timeout=20)
        return SimpleNamespace(body=DATA[start : start + length])


def taken(remote, spans):
    return list(CountedFile(io.BytesIO(DATA), remote).take_all(spans))


def bytes_of(spans):
    return [DATA[start : start + length] for start, length in spans]


def test_spans_far_apart_are_under_way_together():
    spans = [Span(number * 200_000, 10) for number in (3, 0, 2, 1)]

    assert taken(Elsewhere(threading.Barrier(4)), spans) == bytes_of(spans)


def test_spans_close_together_are_one_request():
    spans = [Span(5000, 100), Span(0, 1000), Span(1000, 1000), Span(500_000, 7), Span(0, 1000)]
    remote = Elsewhere()

    assert taken(remote, spans) == bytes_of(spans)
    assert sorted(remote.asked) == [(0, 5100), (500_000, 7)]


def test_no_more_is_asked_for_than_memory_may_hold(monkeypatch):
    monkeypatch.setattr(hdf5_bytes, "_MOST_AHEAD", 250_000)
    spans = [Span(number * 100_000, 100_000) for number in range(5)]
    remote = Elsewhere()
    found = CountedFile(io.BytesIO(DATA), remote).take_all(spans)

    assert next(found) == DATA[:100_000]
    assert remote.asked == [(0, 200_000)]
    assert list(found) == bytes_of(spans[1:])
    assert max(length for _, length in remote.asked) == 200_000


@pytest.mark.parametrize("remote", [None, Elsewhere()], ids=["here", "elsewhere"])
def test_span_past_the_end_is_refused(remote):
    with pytest.raises(ValueError, match=f"the file ends at {len(DATA)}, before byte"):
        taken(remote, [Span(0, 10), Span(len(DATA) - 5, 10)])


def test_answer_that_is_short_is_refused():
    remote = Elsewhere()
    remote.read = lambda *_: SimpleNamespace(body=b"abc")

    with pytest.raises(ValueError, match="3 of 10 bytes at 0 came"):
        taken(remote, [Span(0, 10)])


def test_nothing_is_asked_for_where_nothing_is_stored():
    remote = Elsewhere()

    assert taken(remote, []) == []
    assert remote.asked == []


@pytest.mark.parametrize("far", [[], [Span(900_000, 5)]], ids=["alone", "beside others"])
def test_empty_span_is_no_request(far):
    spans = [Span(0, 0), *far, Span(500_000, 0), Span(len(DATA), 0)]
    remote = Elsewhere()

    assert taken(remote, spans) == taken(None, spans) == bytes_of(spans)
    assert remote.asked == [tuple(span) for span in far]
