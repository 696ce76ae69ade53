"""How much may wait for the store, and what is said of it."""

import pytest
from geopod.api.results import Entry, Failure, TaskReason, TaskRecord
from geopod.coordinator.backlog import GO_ON_BYTES, MOST_BYTES, Backlog, weigh


def a_record(**changes):
    return TaskRecord(**{"index": 0, "attempt": 1, "epoch": 1, "node": 0, **changes})


def an_entry(**changes):
    return Entry(**{"codec": "json", "sha256": "0" * 64, "bytes": 1, **changes})


def test_work_is_held_once_too_much_waits_and_goes_on_when_half_of_it_is_written():
    told = []
    backlog = Backlog(told.append)
    for by in (MOST_BYTES, 1, 1 << 20, GO_ON_BYTES - MOST_BYTES, -(1 << 20), -1):
        backlog.change(by)
    assert told == [True, False]
    assert backlog.words == ""
    backlog.change(MOST_BYTES)
    assert told == [True, False, True]
    assert backlog.words == (
        "96 MiB of reports wait for the store; nodes get no new work until they are written."
    )


LONG = Failure(reason=TaskReason.EXCEPTION, code="E307", fact="x" * 5000)


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(a_record(entry=an_entry(data=b"x" * 5000)), id="a result in it"),
        pytest.param(a_record(entry=an_entry(meta={"columns": "x" * 5000})), id="a description"),
        pytest.param(a_record(failure=LONG), id="a long failure"),
    ],
)
def test_what_a_record_carries_counts(record):
    plain = weigh([a_record(entry=an_entry())])
    assert plain + 5000 <= weigh([record]) <= plain + 6000
    assert weigh([record, record]) == 2 * weigh([record])
