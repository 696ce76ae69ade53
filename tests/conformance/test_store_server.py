"""The gateway as its clients meet it: over a socket, with a folder on disk as the oracle."""

import asyncio
import contextlib
import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace

import aiohttp
import pytest
from geopod.api import deployment, names, tokens
from geopod.store.channel import Patience
from geopod.store.directory import DirectoryStore
from geopod.store.gateway import GatewayStore
from geopod_gateway.app import Gateway
from geopod_gateway.app.sweep import sweep
from port_builders import free_port
from store_builders import SIGNING_KEY, UID, a_token, running, some_settings

KEY = f"{UID}/runs/1/value"
WRITER = "0123456789abcdef"


def served(tmp_path, check, **changed):
    """Run a check with a session at a gateway over `tmp_path/store`, and the gateway."""

    async def run():
        gateway = Gateway(replace(some_settings(tmp_path / "store"), **changed))
        async with running(gateway) as url, aiohttp.ClientSession(url) as session:
            session.headers[deployment.TOKEN_HEADER] = a_token()
            return await check(session, gateway)

    return asyncio.run(run())


def path(key=KEY):
    return f"{deployment.OBJECTS_PATH}{key}"


def sha(data):
    return hashlib.sha256(data).hexdigest()


def leftovers(tmp_path):
    """Return what is in the folder of unfinished files."""
    return list((tmp_path / "store/.part").iterdir())


def test_object_has_the_sha256_that_was_checked(tmp_path):
    async def check(session, _gateway):
        digest = {deployment.DIGEST_HEADER: sha(b"data")}
        async with session.put(path(), data=b"data", headers=digest) as answer:
            assert answer.status == 201
        async with session.get(path()) as answer:
            assert answer.headers[deployment.DIGEST_HEADER] == sha(b"data")
            assert answer.headers["ETag"] == f'"{sha(b"data")}"'
            assert await answer.read() == b"data"

    served(tmp_path, check)
    assert (tmp_path / "store" / KEY).read_bytes() == b"data"


@pytest.mark.parametrize("size", [10, 3 << 20], ids=["small", "large"])
def test_body_of_another_sha256_never_appears(tmp_path, size):
    async def check(session, _gateway):
        digest = {deployment.DIGEST_HEADER: sha(b"other")}
        async with session.put(path(), data=iter_bytes(size), headers=digest) as answer:
            assert answer.status == 422

    served(tmp_path, check)
    assert not (tmp_path / "store" / UID).exists()
    assert leftovers(tmp_path) == []


async def iter_bytes(size):
    yield bytes(size)


def test_broken_upload_leaves_nothing(tmp_path):
    async def broken():
        yield bytes(2 << 20)
        raise ConnectionResetError

    async def check(session, _gateway):
        headers = {"Content-Length": str(4 << 20)}
        with contextlib.suppress(aiohttp.ClientError, ConnectionError):
            async with session.put(path(), data=broken(), headers=headers):
                pass

    served(tmp_path, check)
    assert not (tmp_path / "store" / UID).exists()
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    ("asked", "status", "start", "length"),
    [
        ("bytes=0-3", 206, 0, 4),
        ("bytes=3-", 206, 3, 7),
        ("bytes=-4", 206, 6, 4),
        ("bytes=-40", 206, 0, 10),
        ("bytes=8-99", 206, 8, 2),
        ("bytes=10-", 416, 0, 0),
        ("bytes=-0", 416, 0, 0),
        ("bytes=5-3", 200, 0, 10),
        ("bytes=0-1,3-4", 200, 0, 10),
        ("bytes=-", 200, 0, 10),
        ("items=0-3", 200, 0, 10),
        ("bytes=" + "9" * 30 + "-", 200, 0, 10),
    ],
)
@pytest.mark.parametrize("unit", [1, 100_000], ids=["in one piece", "from file to socket"])
def test_ranges_are_those_of_rfc_9110(tmp_path, asked, status, start, length, unit):
    data = b"".join(bytes([number]) * unit for number in range(10))
    if unit > 1 and status == 206:
        first, _, last = asked.removeprefix("bytes=").partition("-")
        first = str(int(first) * unit) if first else ""
        last = str(int(last) * unit if not first else (int(last) + 1) * unit - 1) if last else ""
        asked = f"bytes={first}-{last}"
    elif unit > 1 and status == 416:
        asked = asked.replace("10", str(10 * unit))
    elif unit > 1 and "," not in asked:
        asked = asked.replace("items=0-3", "items=0-300")

    async def check(session, _gateway):
        async with session.put(path(), data=iter_of(data)):
            pass
        async with session.get(path(), headers={"Range": asked}) as answer:
            assert answer.status == status
            if status == 416:
                assert answer.headers["Content-Range"] == f"bytes */{len(data)}"
                return
            part = data[start * unit : (start + length) * unit]
            assert await answer.read() == part
            if status == 206:
                last = (start + length) * unit - 1
                wanted = f"bytes {start * unit}-{last}/{len(data)}"
                assert answer.headers["Content-Range"] == wanted

    served(tmp_path, check)


async def iter_of(data):
    yield data


def test_unchanged_object_is_not_sent_again(tmp_path):
    async def check(session, _gateway):
        await (await session.put(path(), data=b"data")).release()
        etag = (await session.head(path())).headers["ETag"]
        for condition in (etag, f'"x", {etag}', f"W/{etag}", "*"):
            async with session.get(path(), headers={"If-None-Match": condition}) as answer:
                assert (answer.status, await answer.read()) == (304, b"")
        async with session.get(path(), headers={"If-Match": '"other"'}) as answer:
            assert answer.status == 412
        async with session.get(path(), headers={"If-Match": etag}) as answer:
            assert await answer.read() == b"data"

    served(tmp_path, check)


def test_head_says_what_get_would_send(tmp_path):
    async def check(session, _gateway):
        await (await session.put(path(), data=bytes(1000))).release()
        async with session.head(path()) as answer:
            assert answer.headers["Content-Length"] == "1000"
            assert answer.headers[deployment.DIGEST_HEADER] == sha(bytes(1000))
        async with session.head(path(f"{UID}/none")) as answer:
            assert answer.status == 404

    served(tmp_path, check)


def test_first_writer_may_repeat_itself_and_nobody_else_wins(tmp_path):
    first = {"If-None-Match": "*", deployment.WRITER_HEADER: WRITER}

    async def check(session, _gateway):
        statuses = []
        for headers in (first, first, {**first, deployment.WRITER_HEADER: WRITER[::-1]}):
            async with session.put(path(), data=b"", headers=headers) as answer:
                statuses.append(answer.status)
        async with session.put(path(), data=b"", headers={"If-None-Match": "*"}) as answer:
            statuses.append(answer.status)
        assert statuses == [201, 201, 412, 412]

    served(tmp_path, check)


@pytest.mark.parametrize(
    ("header", "value", "reason"),
    [
        (deployment.DIGEST_HEADER, "A" * 64, "BadDigest"),
        (deployment.DIGEST_HEADER, "a" * 63, "BadDigest"),
        (deployment.WRITER_HEADER, "a b c d e f", "BadWriter"),
        ("If-None-Match", '"etag"', "BadCondition"),
        ("Content-Encoding", "gzip", "BadEncoding"),
    ],
)
def test_header_that_makes_no_sense_is_refused(tmp_path, header, value, reason):
    async def check(session, _gateway):
        body = iter_of(b"data")
        async with session.put(path(), data=body, headers={header: value}) as answer:
            assert answer.status in {400, 415}
            assert (await answer.text()).startswith(f"{reason}: ")

    served(tmp_path, check)


async def raw(url, head, body=b""):
    """Send bytes as they are; return the first line of the answer."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(head.encode() + b"\r\n\r\n" + body)
        await writer.drain()
        async with asyncio.timeout(60):
            return (await reader.readline()).decode()
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("line", "headers", "status"),
    [
        pytest.param("GET {path}", ["{token}", "{token}"], 401, id="token twice"),
        pytest.param("GET {path}", ["{token}", "Range: bytes=0-1", "Range: bytes=1-2"], 400,
                     id="range twice"),
        pytest.param("GET {path}", ["{token}", "If-Match: a", "If-Match: b"], 400,
                     id="condition twice"),
        pytest.param("PUT {path}", ["{token}", "Content-Length: 1", "Content-Length: 2"], 400,
                     id="length twice"),
        pytest.param("PUT {path}", ["{token}", "Content-Length: 1", "Transfer-Encoding: chunked"],
                     400, id="length and chunks"),
        pytest.param("PUT {path}", ["{token}", "Content-Length: 0",
                     "X-Geopod-Sha256: " + "a" * 64, "X-Geopod-Sha256: " + "b" * 64], 400,
                     id="sha256 twice"),
        pytest.param("GET {path}/../../k", ["{token}"], 400, id="traversal"),
        pytest.param("GET {path}%2f..%2fk", ["{token}"], 400, id="escaped separators"),
        pytest.param("GET http://x{path}", ["{token}"], 400, id="absolute form"),
        pytest.param("GET {path}", ["X-Long: " + "a" * 20_000, "{token}"], 400, id="long header"),
        pytest.param("GET {path}" + "a" * 20_000, ["{token}"], 400, id="long line"),
        pytest.param("GET {path}#{path}", ["{token}"], 400, id="fragment"),
    ],
)  # fmt: skip
def test_request_that_two_servers_would_read_differently_is_refused(
    tmp_path, line, headers, status
):
    token = f"{deployment.TOKEN_HEADER}: {a_token()}"

    async def check(session, _gateway):
        await (await session.put(path(), data=b"secret")).release()
        lines = [f"{line} HTTP/1.1", "Host: gateway", *headers]
        head = "\r\n".join(lines).replace("{token}", token).replace("{path}", path())
        body = b"xx" if line.startswith("PUT") else b""
        answer = await raw(str(session._base_url).rstrip("/"), head, body)
        assert answer.split()[1] == str(status)

    served(tmp_path, check)


@pytest.fixture
def secret(tmp_path):
    """Return a file outside of the storage."""
    file = tmp_path / "secret"
    file.write_text("the signing key", "utf-8")
    return file


def test_no_link_in_the_storage_is_followed(tmp_path, secret):
    """Nobody can make one through the gateway; a volume that others mount may hold some."""
    folder = tmp_path / "store" / UID
    folder.mkdir(parents=True)
    (folder / "link").symlink_to(secret)
    (folder / "away").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe")

    async def check(session, _gateway):
        for name in ("link", "away/secret", "away", "pipe"):
            async with session.get(path(f"{UID}/{name}")) as answer:
                assert answer.status == 404, name
        async with session.get(path(f"{UID}/away/")) as answer:
            assert answer.status == 404
        async with session.put(path(f"{UID}/away/made"), data=b"x") as answer:
            assert answer.status == 404
        async with session.delete(path(f"{UID}/away/")) as answer:
            assert answer.status == 404
        async with session.delete(path(f"{UID}/away/secret")) as answer:
            assert answer.status == 404
        async with session.put(path(f"{UID}/link"), data=b"x") as answer:
            assert answer.status == 201

    served(tmp_path, check)
    assert secret.read_text("utf-8") == "the signing key"
    assert not (tmp_path / "made").exists()
    assert not (folder / "link").is_symlink()


def test_quota_of_one_tenant_leaves_the_others_alone(tmp_path):
    other = "77777777-2f4e-4b21-9d0e-0c6a1f2d3e4b"

    async def put(session, key, size, *, chunked=False):
        data = iter_of(bytes(size)) if chunked else bytes(size)
        token = {deployment.TOKEN_HEADER: a_token(f"{key.split('/')[0]}/")}
        async with session.put(path(key), data=data, headers=token) as answer:
            return answer.status, (await answer.text()).partition(":")[0]

    async def check(session, _gateway):
        assert (await put(session, f"{UID}/a", 600))[0] == 201
        assert await put(session, f"{UID}/b", 600) == (507, "QuotaExceeded")
        assert (await put(session, f"{UID}/b", 600, chunked=True))[0] in {413, 507}
        assert (await put(session, f"{other}/b", 600))[0] == 201
        await (await session.delete(path(f"{UID}/a"))).release()
        assert (await put(session, f"{UID}/runs/1/b", 600))[0] == 201
        assert (await put(session, f"{UID}/c", 600))[0] == 507
        await (await session.delete(path(f"{UID}/runs/"))).release()
        assert (await put(session, f"{UID}/c", 600))[0] == 201

    served(tmp_path, check, quota_bytes=1000)
    assert leftovers(tmp_path) == []


def test_store_is_read_only_when_the_disk_is_nearly_full(tmp_path):
    DirectoryStore(tmp_path / "store")
    (tmp_path / "store" / UID).mkdir()
    (tmp_path / "store" / UID / "k").write_bytes(b"data")

    async def check(session, _gateway):
        async with session.put(path(), data=b"x") as answer:
            assert (answer.status, (await answer.text())[:14]) == (507, "DiskNearlyFull")
        async with session.get(path(f"{UID}/k")) as answer:
            assert await answer.read() == b"data"
        async with session.get("/readyz") as answer:
            assert (answer.status, await answer.text()) == (
                200,
                "ok, read-only: the disk is full\n",
            )
        async with session.delete(path(f"{UID}/k")) as answer:
            assert answer.status == 204

    served(tmp_path, check, reserve_bytes=1 << 60)


def test_body_that_stops_moving_is_given_up(tmp_path):
    async def check(session, _gateway):
        stopped = asyncio.Event()

        async def body():
            yield b"some"
            await stopped.wait()

        headers = {"Content-Length": "1000"}
        async with session.put(path(), data=body(), headers=headers) as answer:
            assert answer.status == 408
        stopped.set()

    served(tmp_path, check, idle_s=0.2)
    assert leftovers(tmp_path) == []


def test_connection_that_never_ends_its_headers_is_closed(tmp_path):
    async def check(session, _gateway):
        host, port = str(session._base_url).rstrip("/").removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /livez HTTP/1.1\r\nHost: ga")
        async with asyncio.timeout(60):
            assert await reader.read() == b""
        writer.close()

    served(tmp_path, check, idle_s=0.2)


def test_small_answer_leaves_in_one_segment(tmp_path):
    """Headers and body apart, without TCP_NODELAY, cost 40 ms at the other end's delayed ACK."""
    request = f"GET {path()} HTTP/1.1\r\nHost: gateway\r\n"
    request += f"{deployment.TOKEN_HEADER}: {a_token()}\r\n\r\n"

    async def check(session, _gateway):
        await (await session.put(path(), data=b"x" * 1000)).release()
        host, port = str(session._base_url).rstrip("/").removeprefix("http://").split(":")
        loop = asyncio.get_running_loop()
        with socket.create_connection((host, int(port))) as client:
            client.settimeout(0)
            for _ in range(20):
                await loop.sock_sendall(client, request.encode())
                answer = await loop.sock_recv(client, 1 << 16)
                assert answer.endswith(b"x" * 1000)

    served(tmp_path, check)


def test_larger_object_than_allowed_is_refused_announced_or_not(tmp_path):
    async def check(session, _gateway):
        for body in (bytes(2000), iter_of(bytes(2000))):
            async with session.put(path(), data=body) as answer:
                assert answer.status == 413

    served(tmp_path, check, max_object_bytes=1000)


STOLEN = {
    "expired": (lambda: a_token(now=time.time() - 3600), "GET", KEY, 401, "Expired"),
    "forged": (lambda: a_token(key=bytes(32)), "GET", KEY, 401, "BadSignature"),
    "wider": (lambda: a_token(f"{UID}/runs/1/"), "GET", f"{UID}/plans/x", 403, "OutOfScope"),
    "replayed to write": (lambda: a_token(may=("get",)), "PUT", KEY, 403, "NotPermitted"),
    "replayed elsewhere": (
        lambda: a_token("other/", key=tokens.key_for(SIGNING_KEY, "other")),
        *("GET", KEY, 403, "OutOfScope"),
    ),
    "of another, claimed": (
        lambda: a_token(key=tokens.key_for(SIGNING_KEY, "other")),
        *("GET", KEY, 401, "BadSignature"),
    ),
}


@pytest.mark.parametrize("how", STOLEN)
def test_stolen_token_is_refused_and_counted_by_reason_and_named_nowhere(tmp_path, caplog, how):
    made, method, key, status, reason = STOLEN[how]
    token = made()

    async def check(session, _gateway):
        headers = {deployment.TOKEN_HEADER: token}
        async with session.request(method, path(key), headers=headers, data=b"") as answer:
            assert answer.status == status
            assert token not in await answer.text()
        async with session.get("/metrics") as answer:
            text = await answer.text()
        assert f'geopod_gateway_refusals_total{{reason="{reason}"}} 1.0' in text
        assert f'geopod_gateway_requests_total{{method="{method}",status="{status}"}} 1.0' in text
        assert UID not in text

    served(tmp_path, check)
    assert token not in caplog.text
    assert not (tmp_path / "store" / KEY).exists()


def test_probes_need_no_token(tmp_path):
    async def check(session, _gateway):
        for probe in ("/livez", "/readyz"):
            async with session.get(probe, headers={deployment.TOKEN_HEADER: ""}) as answer:
                assert answer.status == 200

    served(tmp_path, check)


def test_every_answer_says_that_it_is_the_gateways(tmp_path):
    async def check(session, _gateway):
        await (await session.put(path(), data=iter_of(bytes(1 << 20)))).release()
        for key in (KEY, f"{UID}/none", f"{UID}/%2e%2e"):
            async with session.get(path(key)) as answer:
                assert answer.headers[deployment.GATEWAY_HEADER] == "1"

    served(tmp_path, check)


def test_sweep_removes_what_has_expired_and_nothing_else(tmp_path):
    now = time.time()
    expired = [names.run_prefix(UID, "1") + "value", names.order_key(UID, "1")]
    kept = [names.run_prefix(UID, "2") + "value", names.run_prefix(UID, "10") + "value"]
    notes = {"1": now - 1, "2": now + 60}

    async def check():
        gateway = Gateway(some_settings(tmp_path / "store"))
        store = DirectoryStore(tmp_path / "store")
        for key in [*expired, *kept]:
            await store.put(key, bytes(10))
        for run, at in notes.items():
            await store.put(names.expiry_key(UID, run), str(at).encode())
        await store.put(names.expiry_key(UID, "10"), b"never, it seems")
        stale, fresh = (tmp_path / "store/.part" / name for name in ("put-1", "put-2"))
        for file in (stale, fresh):
            file.write_bytes(b"half")
        os.utime(stale, (now - 100, now - 100))
        assert await sweep(gateway.shelf, now=now, upload_keep_s=50) == 1
        left = [name for name in await store.names(f"{UID}/") if "/expires/" not in name]
        assert left == sorted(kept)
        assert (stale.exists(), fresh.exists()) == (False, True)

    asyncio.run(check())


@pytest.fixture
def process(tmp_path):
    """Start the gateway as its pod does; yields it with its port."""
    port = free_port()
    (tmp_path / "key").write_bytes(SIGNING_KEY)
    environ = {
        **os.environ,
        "GEOPOD_SIGNING_KEY_FILE": str(tmp_path / "key"),
        "GEOPOD_GATEWAY_STORAGE": str(tmp_path / "store"),
        "GEOPOD_GATEWAY_PORT": str(port),
        "GEOPOD_GATEWAY_RESERVE_BYTES": "0",
    }
    command = [sys.executable, *deployment.GATEWAY_COMMAND[1:]]
    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True) as started:
        yield started, port
        started.kill()


def test_process_serves_until_it_is_told_to_end(process, tmp_path):
    started, port = process

    async def check():
        patience = Patience(total_s=60.0)
        url = f"http://127.0.0.1:{port}"
        async with GatewayStore(
            url, token=a_token, cache=tmp_path / "cache", patience=patience
        ) as store:
            await store.put(KEY, b"data")
            assert await store.get(KEY) == b"data"

    asyncio.run(check())
    started.send_signal(signal.SIGTERM)
    assert started.wait(timeout=120) == 0
    assert started.stderr.read() == ""


def test_process_without_a_key_says_what_it_lacks():
    environ = {name: value for name, value in os.environ.items() if "SIGNING" not in name}
    command = [sys.executable, *deployment.GATEWAY_COMMAND[1:]]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "GEOPOD_SIGNING_KEY_FILE is not set" in done.stderr
    assert "Traceback" not in done.stderr


class TestParts:
    SIZE = (2 << 20) + 5
    DATA = os.urandom(SIZE)

    async def begin(self, session, *, size=SIZE, part=1 << 20, **headers):
        plan = {"bytes": size, "partBytes": part, "beginning": sha(self.DATA[:100])}
        async with session.post(path() + "?uploads", json=plan, headers=headers) as answer:
            return answer.status, await answer.json() if answer.status == 201 else {}

    async def send(self, session, upload, number, data):
        where = f"{path()}?upload={upload}&part={number}"
        async with session.put(where, data=iter_of(data)) as answer:
            return answer.status

    async def complete(self, session, upload, *, digest=None, **headers):
        headers[deployment.DIGEST_HEADER] = digest or sha(self.DATA)
        async with session.post(f"{path()}?upload={upload}", headers=headers) as answer:
            return answer.status

    def part(self, number):
        return self.DATA[(number - 1) << 20 : number << 20]

    def test_parts_in_any_order_become_the_object(self, tmp_path):
        async def check(session, _gateway):
            status, said = await self.begin(session)
            assert (status, said["parts"]) == (201, [])
            upload = said["upload"]
            for number in (3, 1):
                assert await self.send(session, upload, number, self.part(number)) == 201
            assert await self.complete(session, upload) == 400
            assert (await self.begin(session))[1] == {"upload": upload, "parts": [1, 3]}
            assert await self.send(session, upload, 2, self.part(2)) == 201
            assert await self.complete(session, upload) == 201
            assert await self.complete(session, upload) == 404
            async with session.get(path()) as answer:
                assert await answer.read() == self.DATA
                assert answer.headers[deployment.DIGEST_HEADER] == sha(self.DATA)

        served(tmp_path, check)
        assert leftovers(tmp_path) == []

    def test_parts_of_another_sha256_never_appear(self, tmp_path):
        async def check(session, _gateway):
            upload = (await self.begin(session))[1]["upload"]
            for number in (1, 2, 3):
                await self.send(session, upload, number, self.part(number))
            assert await self.complete(session, upload, digest="a" * 64) == 422
            async with session.head(path()) as answer:
                assert answer.status == 404

        served(tmp_path, check)
        assert leftovers(tmp_path) == []

    def test_end_without_a_sha256_is_refused_and_the_parts_stay(self, tmp_path):
        async def check(session, _gateway):
            upload = (await self.begin(session))[1]["upload"]
            async with session.post(f"{path()}?upload={upload}") as answer:
                assert answer.status == 400
                assert "BadDigest" in await answer.text()
            for number in (1, 2, 3):
                await self.send(session, upload, number, self.part(number))
            assert await self.complete(session, upload) == 201

        served(tmp_path, check)

    @pytest.mark.parametrize("again", [1, 2, 3])
    def test_part_that_is_written_again_counts_as_it_is_then(self, tmp_path, again):
        async def check(session, _gateway):
            upload = (await self.begin(session))[1]["upload"]
            for number in (1, 2, 3):
                await self.send(session, upload, number, self.part(number))
            await self.send(session, upload, again, bytes(len(self.part(again))))
            assert await self.complete(session, upload) == 422

        served(tmp_path, check)
        assert leftovers(tmp_path) == []

    @pytest.mark.parametrize("is_whole", [True, False], ids=["whole", "broken off"])
    def test_part_that_two_write_at_once_counts_as_it_is_then(self, tmp_path, is_whole):
        """The later one began before the earlier one was hashed, and ended or broke off after."""
        length = len(self.part(2))

        async def check(session, _gateway):
            upload = (await self.begin(session))[1]["upload"]
            await self.send(session, upload, 1, self.part(1))
            hashed = asyncio.Event()

            async def slow():
                yield bytes(length // 2)
                await hashed.wait()
                yield bytes(1000)
                await asyncio.sleep(0.1)
                if not is_whole:
                    raise OSError("broken off")
                yield bytes(length - length // 2 - 1000)

            where = f"{path()}?upload={upload}&part=2"
            size = {"Content-Length": str(length)}
            other = asyncio.create_task(session.put(where, data=slow(), headers=size))
            await asyncio.sleep(0.1)
            for number in (2, 3):
                assert await self.send(session, upload, number, self.part(number)) == 201
            await asyncio.sleep(0.1)
            hashed.set()
            with contextlib.suppress(aiohttp.ClientError):
                (await other).release()
            assert await self.complete(session, upload) in {422, 503}

        served(tmp_path, check)

    @pytest.mark.parametrize(("number", "size"), [(1, 5), (3, 1 << 20), (4, 1), (0, 1), ("x", 1)])
    def test_part_of_another_size_or_number_is_refused(self, tmp_path, number, size):
        async def check(session, _gateway):
            upload = (await self.begin(session))[1]["upload"]
            assert await self.send(session, upload, number, bytes(size)) in {400, 413}
            assert (await self.begin(session))[1]["parts"] == []

        served(tmp_path, check)

    @pytest.mark.parametrize("part", [1, 1 << 30, 0])
    def test_plan_of_odd_parts_is_refused(self, tmp_path, part):
        async def check(session, _gateway):
            assert (await self.begin(session, part=part))[0] == 400

        served(tmp_path, check)

    def test_upload_of_one_key_is_none_of_another(self, tmp_path):
        async def check(session, _gateway):
            upload = (await self.begin(session))[1]["upload"]
            for name in (upload, "0" * 40, "../x", "."):
                where = path(f"{UID}/other") + f"?upload={name}&part=1"
                async with session.put(where, data=b"x") as answer:
                    assert answer.status in {400, 404}

        served(tmp_path, check)

    def test_given_up_upload_is_removed(self, tmp_path):
        async def check(session, _gateway):
            upload = (await self.begin(session))[1]["upload"]
            async with session.delete(f"{path()}?upload={upload}") as answer:
                assert answer.status == 204

        served(tmp_path, check)
        assert leftovers(tmp_path) == []

    def test_upload_over_the_quota_is_refused_before_its_bytes_are_sent(self, tmp_path):
        async def check(session, _gateway):
            assert (await self.begin(session))[0] == 507

        served(tmp_path, check, quota_bytes=1 << 20)
