"""Failures that an agent finds itself: what they advise is what helps."""

import errno
import os

import pytest
from geopod.agent.failures import not_committed, not_staged
from geopod.errors import GatewayUnavailableError
from geopod.store.refusals import refusal


def trouble(number):
    return OSError(number, os.strerror(number))


UNANSWERED = GatewayUnavailableError.no_answer(route="http://gateway", timeout_s=9.0, tries=3)
FULL = refusal("PUT", "k", 507, "DiskFull: The store has no room left.", ours=True)


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        pytest.param(trouble(errno.ENOSPC), "free space in the store", id="disk full"),
        pytest.param(trouble(errno.EDQUOT), "free space in the store", id="over quota"),
        pytest.param(FULL, "free space in the store", id="the gateway's disk is full"),
        pytest.param(UNANSWERED, "geopod doctor", id="no gateway"),
        pytest.param(trouble(errno.EMFILE), "open files (ulimit -Hn)", id="process out of files"),
        pytest.param(trouble(errno.ENFILE), "sysctl fs.file-max", id="machine out of files"),
        pytest.param(trouble(errno.ENOMEM), "more memory", id="out of memory"),
    ],
)
def test_result_that_could_not_be_stored_advises_what_helps(error, advice):
    failure = not_committed(error)
    first, again = failure.fixes
    assert advice in first
    assert again == "run.rerun()"
    assert failure.fact.endswith(".")
    assert not failure.fact.endswith("..")
    assert "fix:" not in failure.fact


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        pytest.param(errno.ENOSPC, ["free space on the nodes' scratch", "more nodes"], id="full"),
        pytest.param(
            errno.EMFILE, ["raise the nodes' limit of open files (ulimit -Hn)"], id="out of files"
        ),
    ],
)
def test_partition_that_could_not_be_staged_advises_what_helps(number, advice):
    assert not_staged(3, trouble(number)).fixes == advice
