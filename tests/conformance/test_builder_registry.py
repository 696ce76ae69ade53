"""A bundle pushed to a registry that speaks the distribution API, and asks who is there."""

import asyncio
import base64
import hashlib
import json
from contextlib import asynccontextmanager

import aiohttp
import pyarrow as pa
import pytest
from aiohttp import web
from geopod.builder import upload
from geopod.builder.image import MANIFEST_TYPE, diff_id_of
from geopod.builder.registry import Login, Registry, RegistryError, Repository
from geopod.builder.upload import publish

KEY = "c" * 64
LOGIN = Login("me:secret")
IDENTITY = Login("0000:", "refreshes")


class FakeRegistry:
    """One registry; `asks` is how it wants to know who is there: `Basic`, `Bearer` or not."""

    def __init__(self, asks=""):
        self.asks = asks
        self.url = ""
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, tuple[str, bytes]] = {}
        self.puts: list[str] = []
        self.place = "/v2/team/b/blobs/uploads/1"
        """Where blobs are sent to."""
        self.page = ""
        """What is shown instead of a token."""
        self.elsewhere = ""
        """Where identity tokens are sent on to."""
        self.told: list[str | None] = []
        """Who was there, as another host heard it."""

    def refusal(self, request):
        """Return the answer to whom is not let in; None: come in."""
        given = request.headers.get("Authorization", "")
        basic = f"Basic {base64.b64encode(LOGIN.words.encode()).decode()}"
        if given == {"": "", "Basic": basic, "Bearer": "Bearer good"}[self.asks]:
            return None
        challenge = f'{self.asks} realm="{self.url}/token",service="here"'
        return web.Response(status=401, headers={"WWW-Authenticate": challenge}, text="who?")

    async def token(self, request):
        _, _, encoded = request.headers.get("Authorization", "").partition(" ")
        assert dict(request.query) == {"service": "here", "scope": "repository:team/b:pull,push"}
        if self.page:
            return web.Response(text=self.page, content_type="text/html")
        is_known = base64.b64decode(encoded).decode() == LOGIN.words
        return web.json_response({"token": "good" if is_known else "anonymous"})

    async def exchange(self, request):
        if self.elsewhere:
            raise web.HTTPTemporaryRedirect(self.elsewhere)
        assert "Authorization" not in request.headers
        given = dict(await request.post())
        is_known = given.pop("refresh_token") == IDENTITY.identity_token
        assert given == {
            "service": "here", "scope": "repository:team/b:pull,push", "client_id": "geopod",
            "grant_type": "refresh_token",
        }  # fmt: skip  # pairs read better side by side
        return web.json_response({"access_token": "good"} if is_known else {}, status=200)

    async def blob(self, request):
        digest = request.match_info["digest"]
        return self.refusal(request) or web.Response(status=200 if digest in self.blobs else 404)

    async def begin(self, request):
        place = {"Location": f"{self.place}?state=x%2Fy"} if self.place else {}
        return self.refusal(request) or web.Response(status=202, headers=place)

    async def put_blob(self, request):
        data = await request.read()
        digest = request.query["digest"]
        assert request.query["state"] == "x/y"
        if digest != f"sha256:{hashlib.sha256(data).hexdigest()}":
            return web.Response(status=400, text="DIGEST_INVALID")
        self.blobs[digest] = data
        self.puts.append(digest)
        if "://" in self.place:
            self.told.append(request.headers.get("Authorization"))
            return web.Response(status=201)
        return self.refusal(request) or web.Response(status=201)

    async def manifest(self, request):
        tag = request.match_info["tag"]
        if request.method == "PUT":
            data = await request.read()
            self.manifests[tag] = (request.content_type, data)
            return self.refusal(request) or web.Response(status=201)
        if self.refusal(request) or tag not in self.manifests:
            return self.refusal(request) or web.Response(status=404)
        media_type, data = self.manifests[tag]
        return web.Response(body=data, content_type=media_type)

    @asynccontextmanager
    async def serving(self):
        """Yield a client's session while the registry answers."""
        app = web.Application(client_max_size=1 << 26)
        app.router.add_get("/token", self.token)
        app.router.add_post("/token", self.exchange)
        app.router.add_head("/v2/team/b/blobs/{digest}", self.blob)
        app.router.add_post("/v2/team/b/blobs/uploads/", self.begin)
        app.router.add_put("/v2/team/b/blobs/uploads/1", self.put_blob)
        for method in ("GET", "PUT"):
            app.router.add_route(method, "/v2/team/b/manifests/{tag}", self.manifest)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            async with aiohttp.ClientSession() as session:
                yield session
        finally:
            await runner.cleanup()


class OneBundle:
    """A bundle's folder in the store, as far as publishing needs it."""

    key = KEY

    def __init__(self, folder):
        self.path = folder / "bundle.tar.zst"
        self.fetched = 0
        self.write(b"a tar " * 300_000)

    def write(self, content):
        with pa.CompressedOutputStream(str(self.path), "zstd") as stream:
            stream.write(content)
        self.data = self.path.read_bytes()
        self.digest = hashlib.sha256(self.data).hexdigest()

    async def fetch(self, _name):
        self.fetched += 1
        return self.path


def published(fake, bundle, *, login=LOGIN, times=1):
    """Publish a bundle so often; return the results."""

    async def run():
        async with fake.serving() as session:
            repository = Repository.parse(f"{fake.url}/team/b")
            result = {"ok": True, "bundleSha256": bundle.digest}
            return [
                await publish(result, bundle, Registry(repository, session, login))
                for _ in range(times)
            ]

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("asks", "login"),
    [("", LOGIN), ("Basic", LOGIN), ("Bearer", LOGIN), ("Bearer", IDENTITY)],
    ids=["nothing", "password", "token for a password", "token for an identity token"],
)
def test_bundle_is_pushed_as_an_image_of_one_layer(tmp_path, asks, login):
    fake, bundle = FakeRegistry(asks), OneBundle(tmp_path)
    [result] = published(fake, bundle, login=login)
    [(media_type, manifest)] = fake.manifests.values()
    assert media_type == MANIFEST_TYPE
    digest = hashlib.sha256(manifest).hexdigest()
    assert result["bundleImage"] == f"{fake.url.partition('//')[2]}/team/b@sha256:{digest}"
    said = json.loads(manifest)
    [layer] = said["layers"]
    assert fake.blobs[layer["digest"]] == bundle.data
    config = json.loads(fake.blobs[said["config"]["digest"]])
    assert config["rootfs"]["diff_ids"] == [diff_id_of(bundle.path)]


def test_bundle_that_the_registry_has_is_pushed_once(tmp_path):
    fake, bundle = FakeRegistry(), OneBundle(tmp_path)
    first, second = published(fake, bundle, times=2)
    assert first == second
    assert (len(fake.puts), bundle.fetched) == (2, 1)


def test_another_bundle_of_the_same_key_leaves_the_first_ones_tag(tmp_path):
    fake, bundle = FakeRegistry(), OneBundle(tmp_path)
    published(fake, bundle)
    first = dict(fake.manifests)
    bundle.write(b"another tar")
    [result] = published(fake, bundle)
    assert first.items() < fake.manifests.items()
    [added] = fake.manifests.keys() - first.keys()
    assert result["bundleImage"].endswith(hashlib.sha256(fake.manifests[added][1]).hexdigest())


def test_image_of_another_layer_is_replaced(tmp_path):
    fake, bundle = FakeRegistry(), OneBundle(tmp_path)
    tag = f"{KEY}-{bundle.digest[:32]}"
    fake.manifests[tag] = (MANIFEST_TYPE, b'{"layers": [{"digest": "sha256:0"}]}')
    [result] = published(fake, bundle)
    assert result["bundleImage"].endswith(hashlib.sha256(fake.manifests[tag][1]).hexdigest())


def test_identity_token_goes_to_nobody_else(tmp_path):
    fake = FakeRegistry("Bearer")
    fake.elsewhere = "http://127.0.0.1:1/token"
    with pytest.raises(RegistryError, match="sends to a place that gives no token"):
        published(fake, OneBundle(tmp_path), login=IDENTITY)


@pytest.mark.parametrize("asks", ["Basic", "Bearer"])
def test_another_host_that_takes_the_blobs_is_not_told_who_is_there(tmp_path, asks):
    fake, bundle = FakeRegistry(asks), OneBundle(tmp_path)

    async def run():
        async with fake.serving() as session:
            other = fake.url.replace("127.0.0.1", "localhost")
            fake.place = f"{other}/v2/team/b/blobs/uploads/1"
            registry = Registry(Repository.parse(f"{fake.url}/team/b"), session, LOGIN)
            await publish({"ok": True, "bundleSha256": bundle.digest}, bundle, registry)

    asyncio.run(run())
    assert fake.told == [None, None]


def test_registry_that_names_no_place_for_blobs_is_told_of(tmp_path):
    fake = FakeRegistry()
    fake.place = ""
    with pytest.raises(RegistryError, match="does not say where blobs are sent to"):
        published(fake, OneBundle(tmp_path))


@pytest.mark.parametrize("place", ["http://[::1", "http://127.0.0.1:none/x"])
def test_registry_that_names_no_address_for_blobs_is_told_of(tmp_path, place):
    fake = FakeRegistry()
    fake.place = place
    with pytest.raises(RegistryError, match=r"sends blobs to .*, which is no address"):
        published(fake, OneBundle(tmp_path))


def test_registry_whose_tokens_are_a_page_is_told_of(tmp_path):
    fake = FakeRegistry("Bearer")
    fake.page = "<html>down for maintenance</html>"
    with pytest.raises(RegistryError, match="sends to a place that gives no token"):
        published(fake, OneBundle(tmp_path))


@pytest.mark.parametrize("asks", ["Basic", "Bearer"])
def test_wrong_login_is_told_with_the_registrys_words(tmp_path, asks):
    with pytest.raises(RegistryError, match=r"127\.0\.0\.1:\d+ answered 401 to GET team/b: who\?"):
        published(FakeRegistry(asks), OneBundle(tmp_path), login=Login("me:wrong"))


def test_bundle_that_no_registry_takes_is_built_and_says_so(tmp_path, monkeypatch, capsysbinary):
    class Stored(OneBundle):
        async def close(self):
            """Nothing is open."""

    bundle = Stored(tmp_path)

    async def stored(_built, target):
        return {"ok": True, "bundleSha256": target.digest}

    monkeypatch.setattr(upload.Target, "read", lambda _environ: bundle)
    monkeypatch.setattr(upload, "upload", stored)
    named = {"GEOPOD_BUNDLE_REGISTRY": "http://127.0.0.1:9/team/b"}
    assert upload.main(named, result_file=tmp_path / "said") == 0
    said = json.loads((tmp_path / "said").read_bytes())
    assert json.loads(capsysbinary.readouterr().out) == said
    problem = said.pop("registryProblem")
    assert "bundleRegistry 'http://127.0.0.1:9/team/b' does not answer: Cannot connect" in problem
    assert said == {"ok": True, "bundleSha256": bundle.digest}


def test_build_that_failed_is_not_pushed(tmp_path):
    async def run():
        async with FakeRegistry().serving() as session:
            registry = Registry(Repository.parse("http://127.0.0.1:9/x"), session)
            return await publish({"ok": False, "reason": "x"}, OneBundle(tmp_path), registry)

    assert asyncio.run(run()) == {"ok": False, "reason": "x"}
