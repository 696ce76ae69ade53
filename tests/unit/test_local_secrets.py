"""Keys of layers on this machine: one file per secret, private, and in no other file."""

import asyncio
import json

import pytest
from geopod.api import deployment
from geopod.backends.local.orders import runner_environment
from geopod.backends.local.secrets import secrets_variable
from geopod.backends.local.state import StateFolder
from geopod.client import aio
from geopod.errors import InvalidInputError
from geopod.layers.access import read_access
from geopod.testing import ScriptedBackend
from local_builders import a_record, open_local, story

KEYS = {"AWS_ACCESS_KEY_ID": "AKIA-TEST", "AWS_SECRET_ACCESS_KEY": "very-secret"}
STAMPS = {"timestamps": [{"id": "2024", "uris": ["s3://b/d.tif"]}]}


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("GEOPOD_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def keep(home):
    """Return what writes a file of keys."""

    def write(name, text, mode=0o600):
        path = home / "secrets" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    return write


def add(home, secret, path_id="dem"):
    async def act(backend):
        spec = {"type": "raster", "credentials": {"secretName": secret}, **STAMPS}
        return await backend.apply_layer(path_id, spec)

    return story(home, act)


def access_of(home):
    """What the processes of an environment may reach."""
    return read_access(secrets_variable(StateFolder(home)))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("lab.json", json.dumps(KEYS)),
        ("lab.env", "".join(f"{name}={value}\n" for name, value in KEYS.items())),
        (
            "lab.env",
            """# of the lab

            export AWS_ACCESS_KEY_ID='AKIA-TEST'
            AWS_SECRET_ACCESS_KEY = "very-secret"
            """,
        ),
    ],
)
def test_file_by_name_opens_the_layer(home, keep, name, text):
    keep(name, text)
    add(home, "lab")
    assert access_of(home).keys("dem") == KEYS
    assert access_of(home).keys("other") == {}
    assert access_of(home).secrets == {"dem": "lab"}


def test_renewed_keys_count_from_then_on(home, keep):
    keep("lab.json", json.dumps(KEYS))
    add(home, "lab")
    access = access_of(home)
    keep("lab.json", json.dumps({**KEYS, "AWS_REGION": "new"}))
    assert access.keys("dem")["AWS_REGION"] == "new"


def test_mapping_is_kept_in_one_private_file_and_nowhere_else(home):
    async def act(backend):
        client = aio.Client(backend)
        await client.add_layer("dem", "s3://b/d.tif", secret=KEYS)

    story(home, act)
    assert access_of(home).keys("dem") == KEYS
    holding = [
        path for path in home.rglob("*") if path.is_file() and b"very-secret" in path.read_bytes()
    ]
    assert holding == [home / "secrets" / "layer-dem.json"]
    assert holding[0].stat().st_mode & 0o777 == 0o600
    assert holding[0].parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("name", "text", "mode", "words"),
    [
        ("other.json", json.dumps(KEYS), 0o600, "there are other"),
        ("lab.json", json.dumps(KEYS), 0o640, "can be read by others"),
        ("lab.json", "very-secret", 0o600, "is no JSON object of strings"),
        ("lab.json", '{"AWS_ACCESS_KEY_ID": 1}', 0o600, "is no JSON object of strings"),
        ("lab.env", "very-secret\n", 0o600, "has no NAME=value in line 1"),
        ("lab.json", "{}", 0o600, "has no keys"),
        ("lab.json", '{"GDAL_DRIVER_PATH": "very-secret"}', 0o600, "which no layer uses"),
    ],
)
def test_what_is_no_secret_is_refused_without_its_words(home, keep, name, text, mode, words):
    keep(name, text, mode)
    with pytest.raises(InvalidInputError) as caught:
        add(home, "lab")
    assert words in caught.value.fact
    assert "very-secret" not in str(caught.value)


def test_secret_that_is_gone_when_it_is_needed_says_so(home, keep):
    path = keep("lab.json", json.dumps(KEYS))
    add(home, "lab")
    path.unlink()
    with pytest.raises(InvalidInputError, match="Secret 'lab' cannot be read: No such file"):
        access_of(home).keys("dem")


def test_strange_keys_of_a_mapping_are_refused(home):
    async def act(backend):
        with pytest.raises(InvalidInputError, match="which no layer uses"):
            await aio.Client(backend).add_layer("dem", "s3://b/d.tif", secret={"LD_PRELOAD": "x"})
        return await backend.list_layers()

    assert story(home, act) == []


def test_cluster_takes_the_name_of_a_secret_alone():
    async def act():
        with pytest.raises(InvalidInputError, match="A cluster keeps keys as a Secret"):
            await aio.Client(ScriptedBackend([], python="3.12")).add_layer(
                "dem", "s3://b/d.tif", secret=KEYS
            )

    asyncio.run(act())


def test_users_function_does_not_hear_where_keys_lie(home, monkeypatch):
    open_local(home)
    for name, value in secrets_variable(StateFolder(home)).items():
        monkeypatch.setenv(name, value)
    assert deployment.ENV_OWN_SECRETS not in runner_environment(a_record())
