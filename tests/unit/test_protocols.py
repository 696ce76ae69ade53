"""Parts of neighbouring releases work together, or one of them says with what it would."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace

import pytest
from geopod.api.messages import PROTOCOL, RELEASES, is_served
from geopod.api.runs import EnvironmentState
from geopod.backends.kubernetes.refusals import UNDECLARED, callers_error
from geopod.client import aio
from geopod.client.aio.state_errors import check_protocol
from geopod.cluster.problems import ApiError, NotFoundApiError
from geopod.errors import InvalidInputError, ProtocolMismatchError
from geopod.testing import ScriptedBackend

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def plain(params):
    return len(params)


class Speaking(ScriptedBackend):
    """An environment whose coordinator speaks another protocol."""

    def __init__(self, protocol):
        self.ready = EnvironmentState(uid="uid-e", name="e", phase="Ready", protocol=protocol)
        super().__init__([1], states=[self.ready], python=PYTHON)
        self.submitted = []

    async def submit(self, order):
        self.submitted.append(order)
        async for state in super().submit(order):
            yield state


def executed(backend):
    async def work():
        env = await aio.Client(backend).environment("e", progress=False)
        return await env.execute(plain, progress=False)

    return asyncio.run(work())


@pytest.mark.parametrize(
    ("protocol", "coordinator", "served"),
    [(3, 3, True), (2, 3, True), (1, 3, False), (4, 3, False)],
    ids=["its own", "the one before", "one long gone", "a later one"],
)
def test_coordinator_serves_its_own_protocol_and_the_one_before(protocol, coordinator, served):
    assert is_served(protocol, by=coordinator) is served


@pytest.mark.parametrize("protocol", [0, PROTOCOL, PROTOCOL + 1], ids=["untold", "own", "next"])
def test_client_works_with_coordinators_of_its_own_and_the_next_protocol(protocol):
    assert executed(Speaking(protocol)) == [1]


def test_client_of_a_release_long_gone_is_refused_before_anything_is_sent():
    backend = Speaking(PROTOCOL + 2)

    with pytest.raises(ProtocolMismatchError, match=f"'e' speaks {PROTOCOL + 2}") as caught:
        executed(backend)

    assert caught.value.fixes == ("pip install --upgrade geopod",)
    assert backend.submitted == []


def test_client_that_is_later_than_the_environment_names_the_release_that_fits():
    backend = Speaking(PROTOCOL)
    asyncio.run(aio.Client(backend).environment("e", wait=False))
    record = replace(backend.environments["e"], state=backend.ready)

    with pytest.raises(ProtocolMismatchError) as caught:
        check_protocol(record, speaks=PROTOCOL + 1)

    release = f'pip install "geopod~={RELEASES[PROTOCOL]}"'
    assert caught.value.fixes == (release, "recreate the environment")


def test_environment_that_is_taken_by_name_is_looked_at_before_a_run():
    backend = Speaking(PROTOCOL + 2)

    async def work():
        client = aio.Client(backend)
        await client.environment("e", wait=False)
        known = backend.environments["e"]
        backend.environments["e"] = replace(known, state=backend.ready)
        env = await client.get_environment("e")
        await env.submit(plain)

    with pytest.raises(ProtocolMismatchError):
        asyncio.run(work())
    assert backend.submitted == []


def test_field_that_the_clusters_definitions_lack_is_no_fault_of_the_caller():
    words = f"{UNDECLARED}: .spec.tide: field not declared in schema"

    with (
        pytest.raises(ProtocolMismatchError, match=r"in environment 'e': .*\.spec\.tide"),
        callers_error("environment 'e'"),
    ):
        raise ApiError(500, "InternalError", words)


def test_namespace_that_is_not_there_is_the_callers_error():
    message = 'namespaces "geo" not found'
    with pytest.raises(InvalidInputError) as caught, callers_error("environment 'e'"):
        raise NotFoundApiError(404, "NotFound", message)
    assert str(caught.value) == (
        "GP-E110 namespace='geo' is not there.\nfix: 1) kubectl create namespace geo"
    )
