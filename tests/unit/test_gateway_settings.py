"""The gateway's own environment, and what it counts, without a socket."""

import pytest
from geopod_gateway.app.connections import Connections
from geopod_gateway.app.parts import Plan
from geopod_gateway.app.tenants import Usage, tenant_of
from geopod_gateway.settings import GIB, Settings

KEY = b"k" * 32


@pytest.fixture
def environ(tmp_path):
    """Return variables as the chart sets them."""
    (tmp_path / "key").write_bytes(KEY)
    return {
        "GEOPOD_SIGNING_KEY_FILE": str(tmp_path / "key"),
        "GEOPOD_GATEWAY_STORAGE": "s3://bucket/prefix",
        "GEOPOD_GATEWAY_PORT": "8081",
        "GEOPOD_GATEWAY_QUOTA_BYTES": "1000",
        "GEOPOD_GATEWAY_RESERVE_BYTES": "0",
        "GEOPOD_GATEWAY_FSYNC": "0",
    }


def test_settings_are_those_of_the_environment(environ):
    settings = Settings.read(environ)
    assert settings.signing_key == KEY
    assert (settings.storage, settings.port) == ("s3://bucket/prefix", 8081)
    assert (settings.quota_bytes, settings.reserve_bytes) == (1000, 0)
    assert settings.fsync is False


def test_what_is_not_set_or_empty_has_its_default(environ):
    least = {"GEOPOD_SIGNING_KEY_FILE": environ["GEOPOD_SIGNING_KEY_FILE"]}
    settings = Settings.read({**least, "GEOPOD_GATEWAY_PORT": ""})
    assert (settings.storage, settings.port, settings.quota_bytes) == ("/store", 8080, 0)
    assert settings.reserve_bytes == GIB
    assert settings.fsync is True


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GEOPOD_GATEWAY_PORT", "tcp://10.96.0.7:8080"),  # what service links would set
        ("GEOPOD_GATEWAY_QUOTA_BYTES", "10Gi"),
        ("GEOPOD_GATEWAY_RESERVE_BYTES", "-1"),
    ],
)
def test_what_is_no_number_is_named(environ, name, value):
    with pytest.raises(ValueError, match=name):
        Settings.read({**environ, name: value})


def test_no_or_a_short_signing_key_is_refused(environ, tmp_path):
    with pytest.raises(ValueError, match="GEOPOD_SIGNING_KEY_FILE"):
        Settings.read({})
    (tmp_path / "key").write_bytes(b"short")
    with pytest.raises(ValueError, match="5 bytes"):
        Settings.read(environ)


def test_signing_key_is_in_no_representation(environ):
    assert "kkkk" not in repr(Settings.read(environ))


@pytest.mark.parametrize(
    ("key", "tenant"),
    [
        ("uid/runs/1/value", "uid"),
        ("shared/geo/bundles/1/lock.txt", "shared/geo"),
        ("shared/geo/", "shared/geo"),
        ("uid", "uid"),
    ],
)
def test_tenant_is_an_environment_or_what_a_namespace_shares(key, tenant):
    assert tenant_of(key) == tenant


class TestUsage:
    def test_what_is_arriving_counts(self):
        usage = Usage(100)
        usage.changed("a", 60)
        usage.promise("a", 30)
        assert usage.excess("a", 10) == 0
        assert usage.excess("a", 11) == 1
        assert usage.excess("b", 100) == 0
        usage.promise("a", -30)
        assert usage.excess("a", 40) == 0

    def test_without_a_quota_everything_fits(self):
        usage = Usage(0)
        usage.changed("a", 1 << 60)
        assert usage.excess("a", 1 << 60) == 0

    def test_what_was_written_during_a_count_is_never_lost(self):
        usage = Usage(100)
        usage.changed("a", 50)
        usage.begin_count()
        usage.changed("a", 10)
        usage.changed("b", 5)
        usage.counted({"a": 50})
        assert (usage.held("a"), usage.held("b"), usage.total) == (60, 5, 65)

    def test_what_is_removed_never_makes_it_negative(self):
        usage = Usage(100)
        usage.changed("a", -10)
        assert usage.held("a") == 0


class TestPlan:
    def test_same_bytes_under_the_same_key_are_the_same_upload(self):
        assert Plan("k", "d", 10, 4).id == Plan("k", "d", 10, 4).id
        others = [Plan("l", "d", 10, 4), Plan("k", "e", 10, 4), Plan("k", "d", 11, 4)]
        assert Plan("k", "d", 10, 4).id not in {plan.id for plan in others}

    @pytest.mark.parametrize("size", [1, 4, 5, 8, 11])
    def test_parts_cover_everything_once(self, size):
        plan = Plan("k", "d", size, 4)
        spans = [plan.span(number) for number in range(1, plan.count + 1)]
        covered = [byte for start, length in spans for byte in range(start, start + length)]
        assert covered == list(range(size))


def test_busy_connection_is_none_to_close():
    connections = Connections(10.0)
    connections._busy.add("busy")
    assert connections.overdue(["busy", "idle"], now=0.0) == []
    assert connections.overdue(["busy", "idle", "new"], now=10.1) == ["idle"]
    connections._busy.clear()
    assert set(connections.overdue(["busy", "new"], now=20.3)) == {"new"}
