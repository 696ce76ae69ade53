"""What a coordinator's pod answers on port 9090: probes, and what it has counted."""

import asyncio
import socket
from types import SimpleNamespace

import aiohttp
from geopod.api.results import Entry, Failure, TaskReason, TaskRecord
from geopod.api.runs import RunState
from geopod.coordinator.pod.health import HealthServer
from geopod.coordinator.pod.metrics import Metrics
from geopod.coordinator.sockets import listen_tcp
from geopod.dispatch import events

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
        ready, listening = asyncio.Event(), listen_tcp("127.0.0.1", 0)
        server = HealthServer(ready=ready, render=counted().render, ready_within_s=0.0)
        await server.start(listening)
        port = listening.getsockname()[1]
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:

            async def ask(path: str) -> tuple[int, str]:
                async with session.get(path) as answer:
                    return answer.status, await answer.text()

            assert await ask("/livez") == (200, "ok")
            assert await ask("/readyz") == (503, "no orders are taken yet")
            ready.set()
            assert await ask("/readyz") == (200, "ok")
            status, text = await ask("/metrics")
        await server.close()
        assert status == 200
        assert "geopod_epoch 3.0" in text.splitlines()

    asyncio.run(story())


async def knock(listening: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Ask whether it is ready, and leave the answer to be read."""
    reader, writer = await asyncio.open_connection(*listening.getsockname()[:2])
    writer.write(b"GET /readyz HTTP/1.1\r\nHost: it\r\nConnection: close\r\n\r\n")
    await writer.drain()
    return reader, writer


async def lives(listening: socket.socket) -> bool:
    """Say whether it answers; whoever knocked before is being served by then."""
    port = listening.getsockname()[1]
    async with (
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
        session.get("/livez") as answer,
    ):
        return answer.status == 200


def test_a_probe_that_comes_before_the_server_is_answered_once_orders_are_taken():
    async def story() -> bytes:
        ready, listening = asyncio.Event(), listen_tcp("127.0.0.1", 0)
        server = HealthServer(ready=ready, render=counted().render, ready_within_s=3600.0)
        reader, writer = await knock(listening)
        await server.start(listening)
        assert await lives(listening)
        ready.set()
        said = await reader.read()
        writer.close()
        await server.close()
        return said

    assert asyncio.run(story()).startswith(b"HTTP/1.1 200 ")


def test_a_server_that_closes_waits_for_no_probe():
    async def story() -> bytes:
        listening = listen_tcp("127.0.0.1", 0)
        server = HealthServer(ready=asyncio.Event(), render=counted().render, ready_within_s=3600.0)
        await server.start(listening)
        reader, writer = await knock(listening)
        assert await lives(listening)
        await server.close()
        said = await reader.read()
        writer.close()
        return said

    assert asyncio.run(story()) == b""
