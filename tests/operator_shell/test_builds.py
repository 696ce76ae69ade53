"""Environments that need the same packages share one builder, however many ask at once."""

import asyncio
import json
import time

from geopod.api import names
from geopod.cluster import kinds
from shell_builders import a_cluster, an_environment, operating

TEN = [f"e{number}" for number in range(10)]
GOOD = {"ok": True, "bundleSha256": "b" * 64, "lockSha256": "c" * 64, "bundleBytes": 12}


def reasons(fake):
    """What DependenciesReady says of each environment."""
    conditions = (
        it for found in fake.all(kinds.ENVIRONMENTS) for it in found["status"]["conditions"]
    )
    return [it["reason"] for it in conditions if it["type"] == "DependenciesReady"]


def all_say(fake, reason):
    have_status = all("status" in it for it in fake.all(kinds.ENVIRONMENTS))
    return have_status and reasons(fake) == [reason] * len(TEN)


def put_pod(fake, job, phase, **state):
    """The builder's pod is as far as this."""
    labels = {"batch.kubernetes.io/job-name": job["metadata"]["name"], **job["metadata"]["labels"]}
    metadata = {"name": "builder-x", "namespace": "geo", "labels": labels}
    told = {"phase": phase, "containerStatuses": [{"name": "upload", "state": state}]}
    fake.put(kinds.PODS, {"metadata": metadata, "status": told})


def end_build(fake, job):
    """The builder's pod and then its Job have ended well."""
    fake.remove(kinds.PODS, "builder-x")
    put_pod(fake, job, "Succeeded", terminated={"exitCode": 0, "message": json.dumps(GOOD)})
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    ended = {"type": "Complete", "status": "True", "lastTransitionTime": now}
    fake.set_status(kinds.JOBS, job["metadata"]["name"], {"conditions": [ended]})


def made_by_applies(fake):
    """Kind and name of each object that is made by an apply, from now on."""
    made = []
    by_name = {kind.kind: kind for kind in kinds.ALL}

    def note(seen):
        is_apply = seen.verb == "patch" and not seen.subresource
        if is_apply and fake.get(by_name[seen.kind], seen.name, seen.namespace) is None:
            made.append((seen.kind, seen.name))

    fake.faults = note
    return made


def test_same_packages_of_ten_environments_at_once_are_built_once():
    async def scenario():
        # Different spellings of one wish.
        wishes = (["Six >=1.16", "numpy"], ["numpy", "six>=1.16"])
        environments = [
            an_environment(name, requirements=wishes[number % 2]) for number, name in enumerate(TEN)
        ]
        fake = a_cluster(*environments)
        made = made_by_applies(fake)
        async with asyncio.timeout(180), fake.running() as url, operating(fake, url):
            await fake.until(lambda: fake.all(kinds.JOBS))
            [job] = fake.all(kinds.JOBS)
            put_pod(fake, job, "Running", running={})
            await fake.until(lambda: all_say(fake, "Resolving"))
            end_build(fake, job)
            await fake.until(lambda: all_say(fake, "Built") and not fake.all(kinds.JOBS))
        return made, job["metadata"]["name"]

    made, job = asyncio.run(scenario())
    built = [it for it in made if it[0] in ("Job", "ConfigMap") or it == ("Secret", job)]
    record = job.replace(names.build_name(""), names.bundle_name(""))
    assert sorted(built) == [("ConfigMap", record), ("Job", job), ("Secret", job)]
