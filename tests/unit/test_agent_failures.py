"""Failures that an agent finds itself: what they advise is what helps."""

import asyncio
import errno
import os

import pytest
from geopod.agent.failures import not_committed, not_fetched, not_staged
from geopod.agent.staging import Staging
from geopod.api.results import TaskReason
from geopod.errors import GatewayUnavailableError
from geopod.store.refusals import refusal
from geopod.testing import MemoryStore


def trouble(number):
    return OSError(number, os.strerror(number))


UNANSWERED = GatewayUnavailableError.no_answer(route="http://gateway", timeout_s=9.0, tries=3)
FULL = refusal("PUT", "k", 507, "DiskFull: The store has no room left.", ours=True)
EXPIRED = refusal("PUT", "k", 401, "Expired: The token opens nothing here.", ours=True)


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        pytest.param(trouble(errno.ENOSPC), "free space in the store", id="disk full"),
        pytest.param(trouble(errno.EDQUOT), "free space in the store", id="over quota"),
        pytest.param(FULL, "free space in the store", id="the gateway's disk is full"),
        pytest.param(UNANSWERED, "geopod doctor", id="no gateway"),
        pytest.param(EXPIRED, "geopod doctor", id="the node's token has expired"),
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


class RefusingStore(MemoryStore):
    async def get(self, key, **_):
        raise EXPIRED


def test_partition_without_a_store_is_a_named_failure_and_no_module_is_known(tmp_path):
    async def stage():
        staging = Staging(RefusingStore(), environment_uid="env-1", scratch=tmp_path)
        return await staging.modules("0" * 64), await staging.bring("0" * 64, 0)

    modules, part = asyncio.run(stage())
    assert modules == []
    assert part.fact.startswith("The gateway refused the token")


def test_inputs_that_a_store_did_not_give_are_the_nodes_fault_and_named():
    failure = not_fetched(EXPIRED)
    assert failure.reason == TaskReason.NODE_LOST
    assert failure.fact.startswith("could not be given its function and arguments: The gateway ref")
    assert not_fetched(trouble(errno.ENOSPC)).fixes[0] == "free space on the nodes' scratch"


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
