"""What a coordinator's pod answers on port 9090: probes, and what it has counted."""

import asyncio
from types import SimpleNamespace

import aiohttp
from geopod.api.results import Entry, Failure, TaskReason, TaskRecord
from geopod.api.runs import RunState
from geopod.coordinator.pod.health import HealthServer
from geopod.coordinator.pod.metrics import Metrics
from geopod.dispatch import events
from port_builders import free_port

ENDED = RunState(
    uid="r", name="r", environment="e", phase="Succeeded", created=100.0, started=100.5,
    finished=103.0, succeeded=7, failed=2, cancelled=1,
)  # fmt: skip  # pairs read better side by side


def a_record(**changes) -> TaskRecord:
    return TaskRecord(**({"index": 0, "attempt": 1, "epoch": 3, "node": 0} | changes))


def counted() -> Metrics:
    """Metrics of a coordinator of two nodes that has seen a run, a failure and a write."""
    metrics = Metrics()
    loop = asyncio.get_running_loop()
    links = {0: SimpleNamespace(heard=loop.time()), 1: SimpleNamespace(heard=loop.time() - 60.0)}
    coordinator = SimpleNamespace(nodes=SimpleNamespace(links=links), epoch=3, meter=None)
    metrics.watch(coordinator)
    assert coordinator.meter is metrics
    metrics.wrote()
    metrics.sent(1000)
    entry = Entry(codec="json", sha256="0" * 64, bytes=20)
    metrics.happened(events.TasksDone(0, "l", 3, [a_record(entry=entry), a_record(entry=entry)]))
    lost = Failure(reason=TaskReason.NODE_LOST, code="E306", fact="lost its node.")
    metrics.happened(events.TaskFailed(0, "l", 3, a_record(failure=lost)))
    metrics.ended(ENDED, accepted=100.25)
    metrics.ended(RunState(uid="q", name="q", environment="e", phase="Cancelled"), accepted=None)
    return metrics


def test_metrics_carry_the_names_of_the_dashboard_and_nobodys_name():
    async def render() -> str:
        return counted().render().decode()

    lines = asyncio.run(render()).splitlines()
    for line in (
        "geopod_run_queue_seconds_sum 0.5",
        "geopod_run_dispatch_seconds_sum 0.25",
        'geopod_run_duration_seconds_sum{result="Succeeded"} 2.5',
        'geopod_tasks_total{result="Succeeded"} 7.0',
        'geopod_tasks_total{result="Failed"} 2.0',
        'geopod_tasks_total{result="Cancelled"} 1.0',
        'geopod_task_retries_total{class="Infra"} 1.0',
        "geopod_nodes_connected 2.0",
        "geopod_payload_bytes_total 1000.0",
        "geopod_result_bytes_total 40.0",
        "geopod_status_writes_total 1.0",
        "geopod_epoch 3.0",
    ):
        assert line in lines, line
    assert not any('"r"' in line or '"e"' in line for line in lines)
    (silence,) = (line for line in lines if line.startswith("geopod_heartbeat_age_seconds "))
    assert float(silence.split()[1]) >= 60.0


def test_probes_and_metrics_are_served_from_the_first_moment():
    async def story() -> None:
        ready = []
        server, port = (
            HealthServer(is_ready=lambda: bool(ready), render=counted().render),
            free_port(),
        )
        await server.start(port)
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:

            async def ask(path: str) -> tuple[int, str]:
                async with session.get(path) as answer:
                    return answer.status, await answer.text()

            assert await ask("/livez") == (200, "ok")
            assert await ask("/readyz") == (503, "no orders are taken yet")
            ready.append(True)
            assert await ask("/readyz") == (200, "ok")
            status, text = await ask("/metrics")
        await server.close()
        assert status == 200
        assert "geopod_epoch 3.0" in text.splitlines()

    asyncio.run(story())
