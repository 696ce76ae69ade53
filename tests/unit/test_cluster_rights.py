"""Which refusals of an API server are believed at once, and which after some tries."""

import pytest
from geopod.cluster import kinds
from geopod.cluster.limits import Limits
from geopod.cluster.problems import Request
from geopod.cluster.rights import Rights


def a_request(verb="patch", namespace="geo", name="r1", subresource="status"):
    return Request("here", verb, kinds.RUNS, namespace, name, subresource)


@pytest.mark.parametrize(
    ("other", "is_worth_another"),
    [
        pytest.param({}, True, id="the same request"),
        pytest.param({"name": "r2"}, True, id="another object"),
        pytest.param({"verb": "get"}, False, id="another verb"),
        pytest.param({"namespace": "lab"}, False, id="another namespace"),
        pytest.param({"subresource": ""}, False, id="another subresource"),
    ],
)
def test_what_was_allowed_before_is_worth_another_try(other, is_worth_another):
    rights = Rights(Limits())
    rights.allowed(a_request())
    assert rights.refused(a_request(**other), 1) is is_worth_another


def test_right_counts_as_missing_after_so_many_refusals_until_it_is_allowed_again():
    rights = Rights(Limits(refusals=2))
    rights.allowed(a_request())
    assert [rights.refused(a_request(), times) for times in (1, 2, 3, 1)] == [
        True,
        True,
        False,
        False,
    ]
    rights.allowed(a_request())
    assert rights.refused(a_request(), 1)


def test_rights_that_the_chart_gives_are_waited_for_once():
    rights = Rights(Limits(refusals=1, rights_are_given=True))
    assert [rights.refused(a_request(), times) for times in (1, 2, 1)] == [True, False, False]
