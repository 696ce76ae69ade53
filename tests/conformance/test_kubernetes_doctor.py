"""`geopod doctor` on a cluster: each part that is wrong is named, with what mends it."""

from __future__ import annotations

import asyncio

import pytest
from geopod.cluster.kinds import DEPLOYMENTS, RUNTIMES
from geopod.errors import CRDsNotInstalledError
from kubernetes_builders import connected

LABELS = {"app.kubernetes.io/name": "geopod", "app.kubernetes.io/component": "operator"}


def doctored(folder, spoil):
    """Return doctor's findings by part, of an installation that `spoil` has changed."""

    async def tell():
        async with asyncio.timeout(90), connected(folder, play=False) as (client, api, _):
            await install(api)
            await spoil(api)
            return await client.doctor()

    found = asyncio.run(tell())
    return {finding.about: finding for finding in found.findings}, found


async def install(api):
    offered = [{"name": "python3.12", "image": "x"}, {"name": "python3.13", "image": "x"}]
    await api.put(RUNTIMES, "default", spec={"interpreters": offered})
    await api.put(DEPLOYMENTS, "geopod-gateway", spec={"replicas": 1}, status=up(1))
    await an_operator(api, "geopod-operator", "geopod-system")


async def an_operator(api, name, namespace, *, watches="", available=1, replicas=1):
    variables = [{"name": "GEOPOD_WATCH_NAMESPACES", "value": watches}]
    template = {"spec": {"containers": [{"name": "operator", "env": variables}]}}
    await api.put(
        DEPLOYMENTS,
        name,
        metadata={"namespace": namespace, "labels": LABELS},
        spec={"replicas": replicas, "template": template},
        status=up(available),
    )


def up(pods):
    return {"availableReplicas": pods} if pods else {}


async def nothing(_api):
    pass


async def no_definitions(api):
    async def missing(*_, **__):
        raise CRDsNotInstalledError.unknown_kind(
            cluster="prod", kind="ComputeEnvironment", api_version="geopod.dev/v1alpha1"
        )

    api.list = missing


async def no_operator(api):
    del api.objects[DEPLOYMENTS.plural, "geopod-operator"]


async def operator_down(api):
    await api.say(DEPLOYMENTS, "geopod-operator", up(0))


async def no_gateway(api):
    del api.objects[DEPLOYMENTS.plural, "geopod-gateway"]


async def gateway_down(api):
    await api.say(DEPLOYMENTS, "geopod-gateway", up(0))


async def no_runtime(api):
    del api.objects[RUNTIMES.plural, "default"]


async def no_right(api):
    api.forbidden.add("create computeenvironments")


async def second_operator(api):
    await an_operator(api, "other", "elsewhere", watches="geo,maps")


def test_whole_installation_has_nothing_wrong(tmp_path):
    found, explained = doctored(tmp_path, nothing)
    assert {part: it.ok for part, it in found.items()} == dict.fromkeys(
        ("resources", "rights", "operator", "gateway", "store", "runtimes"), True
    )
    assert "default (python3.12, python3.13)" in found["runtimes"].fact
    assert explained.ok


@pytest.mark.parametrize(
    ("spoil", "part", "words"),
    [
        (no_definitions, "resources", "ComputeEnvironment"),
        (no_operator, "operator", "there is no Deployment geopod-system/geopod-operator"),
        (operator_down, "operator", "0 of 1 pods available"),
        (no_gateway, "gateway", "there is no Deployment geopod-system/geopod-gateway"),
        (gateway_down, "gateway", "0 of 1 pods available"),
        (no_runtime, "runtimes", "there is no ComputeRuntime"),
        (no_right, "rights", "you may not create computeenvironments"),
        (second_operator, "operators", "elsewhere/other, geopod-system/geopod-operator"),
    ],
)
def test_part_that_is_wrong_is_named_with_a_fix(tmp_path, spoil, part, words):
    found, explained = doctored(tmp_path, spoil)
    assert found[part].ok is False
    assert words in found[part].fact
    assert found[part].fixes
    assert not explained.ok


@pytest.mark.parametrize(
    ("mine", "theirs", "replicas", "forbidden"),
    [
        ("geo", "maps", 1, ()),
        ("", "", 0, ()),
        ("", "", 1, ("list deployments",)),
    ],
    ids=["apart", "scaled-down", "hidden"],
)
def test_operators_that_do_not_meet_are_no_finding(tmp_path, mine, theirs, replicas, forbidden):
    async def spoil(api):
        await no_operator(api)
        await an_operator(api, "geopod-operator", "geopod-system", watches=mine)
        await an_operator(api, "other", "elsewhere", watches=theirs, replicas=replicas)
        api.forbidden |= set(forbidden)

    found, _ = doctored(tmp_path, spoil)
    assert "operators" not in found
