"""What a notebook shows: escaped, without scripts or addresses, small, told in words too."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import msgspec
import numpy as np
import pytest
from geopod.api.bundles import Captured, FunctionRef
from geopod.api.plan import Partition, Plan, Totals, WorkGrid
from geopod.api.results import Entry, Failure, RemoteException, TaskReason, TaskRecord
from geopod.api.runs import EnvironmentState, RunOrder, RunState
from geopod.backends import Finding
from geopod.capture import CaptureReport
from geopod.client.aio.check import CheckReport
from geopod.client.aio.explain import Explanation
from geopod.client.layerlike import LayerRef
from geopod.display import cards, html
from geopod.display.lists import Results, Search, kind_of, preview
from geopod.display.maps import partition_map, state_strip
from geopod.display.states import node_states, task_states
from geopod.errors import RequirementsError

EVIL = "<script src='https://evil.example'>alert(\"1\")</script>"
FUNCTION = FunctionRef(format="source", name=EVIL, python="3.12", sha256="0", size=1)


def an_order(**fields):
    known = {"uid": "u", "name": "ndvi-7f3", "environment": "e", "created": 1.0}
    return RunOrder(**{**known, "function": FUNCTION, **fields})


def a_state(**fields):
    return RunState(uid="u", name="ndvi-7f3", environment="e", **fields)


def a_failure(index, message="empty geometry"):
    remote = RemoteException(type="ValueError", message=message, text=f"Traceback\n{message}")
    failure = Failure(
        reason=TaskReason.EXCEPTION, code="E307", fact=message, exception=remote, fixes=[EVIL]
    )
    return TaskRecord(index=index, attempt=1, epoch=1, node=0, failure=failure)


def a_plan(columns, rows=1):
    cells = [(column, row) for row in range(rows) for column in range(columns)]
    return Plan(
        planner={},
        nodes=len(cells),
        options={},
        work=WorkGrid(crs="EPSG:32632", transform=None, shape=None, unit=0, extent=(0, 0, 1, 1)),
        layers=(),
        partitions=tuple(
            Partition(
                index=index,
                core=(1e5 * x, 5e6 - 1e5 * y, 1e5 * (x + 1), 5e6 - 1e5 * (y - 1)),
                est_bytes=1 << 20,
            )
            for index, (x, y) in enumerate(cells)
        ),
        totals=Totals(),
    )


def an_environment(**fields):
    known = {"uid": "u", "name": "e", "phase": "Ready", "nodes": 4, "ready": 4, **fields}
    spec = {"nodes": 4, "layers": [{"pathId": EVIL, "timestampId": "2024"}]}
    return cards.environment_card(
        EVIL, spec, EnvironmentState(**known), python="3.12", plan=a_plan(2, 2)
    )


CARDS = {
    "environment": lambda: an_environment(phase="Starting", message=EVIL),
    "run": lambda: cards.run_card(
        an_order(tags=[EVIL]),
        a_state(phase="Failed", total=4, succeeded=3, failed=1, message=EVIL),
        [a_failure(1, EVIL)],
        plan=a_plan(4),
    ),
    "task": lambda: cards.task_card(EVIL, 1, "failed", a_failure(1, EVIL)),
    "results": lambda: Results([EVIL, {EVIL: EVIL}, ValueError(EVIL), None])._repr_html_(),
    "error": lambda: RequirementsError.bare_string(text=EVIL)._repr_html_(),
    "layer": lambda: LayerRef("dem", "raster", (EVIL,), {EVIL: (EVIL,)})._repr_html_(),
    "search": lambda: Search([EVIL], row=lambda text: {EVIL: text})._repr_html_(),
    "explanation": lambda: Explanation(
        summary=EVIL, findings=(Finding(about=EVIL, ok=False, fact=EVIL, fixes=(EVIL,)),)
    )._repr_html_(),
    "check": lambda: CheckReport(
        function=EVIL, format="source", function_bytes=1, partitions=(0,), nodes=4,
        codecs=(EVIL,), result_bytes=(1,), limit_bytes=2, runtime_s=(1.0,), peak_bytes=(1,),
        touched=(EVIL,), failure=EVIL,
    )._repr_html_(),
    "capture": lambda: CaptureReport(
        EVIL, "source", "3.12", 1, "0", (Captured(name=EVIL, kind=EVIL, type=EVIL, bytes=1),)
    )._repr_html_(),
}  # fmt: skip


@pytest.mark.parametrize("name", CARDS)
def test_card_is_escaped_without_script_and_network(name):
    shown = CARDS[name]()

    assert "&lt;script" in shown
    tree = ET.fromstring(shown.replace("&nbsp;", " "))  # noqa: S314  # our own
    elements = list(tree.iter())
    assert not {element.tag for element in elements} & {"script", "link", "style", "img", "iframe"}
    for element in elements:
        names = set(element.attrib)
        assert not names & {"href", "src"}
        assert not [name for name in names if name.startswith("on")]
        assert "url(" not in element.get("style", "")


@pytest.mark.parametrize("name", CARDS)
def test_card_names_itself_to_who_cannot_see_it(name):
    shown = CARDS[name]()

    tables = shown.count("<table")
    assert re.search(r'(role="group"|<caption)', shown)
    assert shown.count('scope="col"') + shown.count('scope="row"') >= tables
    for drawn in re.findall(r"<svg[^>]*>", shown):
        assert 'role="img"' in drawn
        assert "aria-label" in drawn


def test_text_takes_the_colour_of_the_page():
    shown = an_environment()

    assert "currentColor" in shown
    assert not re.findall(r"(?<!-)\bcolor:\s*(black|white|#000|#fff)", shown)
    assert not re.findall(r'fill="(black|white|#000|#fff)', shown)


def test_state_is_a_word_before_it_is_a_colour():
    strip = state_strip({0: "succeeded", 1: "failed", 2: "failed"})

    assert "3 tasks: 2 failed, 1 succeeded" in strip
    assert "2 failed" in strip
    assert "✗" in strip


def test_map_has_every_partition_with_its_words():
    drawn = partition_map(a_plan(3, 2), {0: "ready", 5: "lost"})

    assert drawn.count("<rect") == 6
    assert "node 5: lost, 1.0 MiB" in drawn
    assert "node 1: pending" in drawn
    assert 'aria-label="Map of 6 partitions: 1 ready, 1 lost"' in drawn


def test_map_of_a_thousand_stays_small():
    states = dict.fromkeys(range(1000), "ready") | {7: "lost"}

    drawn = partition_map(a_plan(40, 25), states)

    assert drawn.count("<path") == 2
    assert "lost: 1" in drawn
    assert len(drawn) < html.MOST_BYTES


def test_nothing_is_drawn_without_partitions():
    assert partition_map(a_plan(0), {}) == ""


def test_huge_run_with_huge_failures_stays_small():
    failures = [a_failure(index, f"{index} " + "x" * 32_000) for index in range(10)]
    state = a_state(phase="Failed", total=100_000, succeeded=99_990, failed=10, failures=failures)

    shown = cards.run_card(an_order(mode="Map", count=100_000), state, [], plan=None)

    assert len(shown) < html.MOST_BYTES
    assert "99990 of 100000 succeeded, 10 failed" in shown
    assert "and 5 more kinds of failure" in shown


def test_equal_failures_are_told_once_with_one_traceback():
    failures = [a_failure(4), a_failure(9), a_failure(17, "no bands")]
    state = a_state(phase="Failed", total=240, succeeded=237, failed=3, failures=failures)

    shown = cards.run_card(an_order(), state, [], plan=None)

    assert f"2 {cards.TIMES} ValueError (tasks 4, 9)" in shown
    assert "ValueError (task 17)" in shown
    assert shown.count("<details") == 2


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"phase": "Running", "running": 1, "completed_indexes": "0-1"}, "succeeded running"),
        ({"phase": "Queued"}, "pending"),
        ({"phase": "Failed", "failed": 1, "completed_indexes": "0,2-3", "failed_indexes": "1"},
         "succeeded failed"),
        ({"phase": "Cancelled", "cancelled": 2, "completed_indexes": "0-1"}, "succeeded cancelled"),
        ({"phase": "Running", "completed_indexes": "0-999999"}, "pending"),
    ],
    ids=["running", "queued", "failed", "cancelled", "of-another-version"],
)  # fmt: skip
def test_tasks_stand_as_the_status_says(state, expected):
    found = task_states(a_state(total=4, **state), range(4))

    assert list(found) == [0, 1, 2, 3]
    assert set(found.values()) == set(expected.split())


def test_lost_nodes_are_named():
    state = EnvironmentState(uid="u", name="e", phase="Ready", nodes=4, ready=3, lost="2")

    assert node_states(state, 4) == ["ready", "ready", "lost", "ready"]
    stopped = msgspec.structs.replace(state, phase="Terminated", lost="")
    assert set(node_states(stopped, 4)) == {"terminated"}


class Refuses:
    def __repr__(self):
        raise RuntimeError("not now")


@pytest.mark.parametrize(
    ("value", "kind", "begins"),
    [
        (None, "", "None"),
        (4.5, "float", "4.5"),
        ({"mean": 1, "b": {}}, "dict of 2", "{'mean': 1, 'b': {}}"),
        (list(range(10_000)), "list of 10,000", "[0, 1, 2"),
        (np.zeros((1, 20, 30), "f4"), "ndarray float32 (1, 20, 30)", ""),
        (np.array([1, 2]), "ndarray int64 (2,)", "array([1, 2])"),
        (b"\0" * 9999, "bytes of 9,999", "b'"),
        (ValueError("empty\ngeometry"), "ValueError", "ValueError: empty"),
        (Refuses(), "Refuses", "<Refuses instance"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_result_is_told_by_its_kind_and_its_beginning(value, kind, begins):
    assert kind_of(value) == kind
    assert preview(value).startswith(begins)
    assert len(preview(value)) <= 121


def test_results_are_a_plain_list_and_their_table_is_cut():
    results = Results(range(1000))

    assert results == list(range(1000))
    shown = results._repr_html_()
    assert shown.count("<tr>") == 1 + html.MOST_ROWS
    assert "and 980 more" in shown


def test_search_prints_a_line_per_item_and_its_table_is_cut():
    found = Search(range(25), row=lambda number: {"number": number})

    assert repr(found).splitlines()[:2] == ["[", " 0"]
    assert " … and 5 more" in repr(found)
    assert "25 items" in found._repr_html_()
    assert "and 5 more" in found._repr_html_()
    assert repr(Search([], row=dict)) == "[]"


def test_long_traceback_keeps_its_ends():
    text = html.shortened("begin" + "x" * 9000 + "end")

    assert text.startswith("begin")
    assert text.endswith("end")
    assert "7,008 characters left out" in text


def test_task_without_a_record_is_shown():
    assert "pending" in cards.task_card("ndvi", 3, "pending", None)
    entry = Entry(codec="npy", sha256="0", bytes=2048, key="k")
    record = TaskRecord(index=3, attempt=2, epoch=1, node=1, entry=entry, runtime_s=1.5)
    assert "npy, 2.0 KiB" in cards.task_card("ndvi", 3, "succeeded", record)
