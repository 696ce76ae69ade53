"""The operator's environment variables, and what is wrong with them in one sentence."""

import pytest
from geopod.errors import ConfigError
from geopod_operator.__main__ import main, plan_settings, read_runtimes
from geopod_operator.settings import read_settings


@pytest.fixture
def variables(tmp_path):
    (tmp_path / "key").write_bytes(b"k" * 32)
    return {
        "GEOPOD_SIGNING_KEY_FILE": str(tmp_path / "key"),
        "GEOPOD_AGENT_IMAGE": "registry.example/agent@sha256:0",
        "GEOPOD_STORE": "http://geopod-gateway.geopod-system.svc:8080",
        "GEOPOD_GATEWAY_NAMESPACE": "geopod-system",
    }


def test_defaults_are_those_of_a_whole_cluster(variables):
    settings = read_settings(variables)
    assert (settings.watch_namespaces, settings.runtimes_file) == ((), None)
    assert (settings.api_qps, settings.api_burst, settings.metrics_port) == (50, 100, 9090)


def test_every_variable_is_read(variables, tmp_path):
    settings = read_settings(
        variables
        | {
            "GEOPOD_WATCH_NAMESPACES": "geo, maps,",
            "GEOPOD_RUNTIMES_FILE": str(tmp_path / "runtimes.yaml"),
            "GEOPOD_COORDINATOR_PRIORITY_CLASS": "high",
            "GEOPOD_COORDINATOR_PDB": "1",
            "GEOPOD_DNS_CIDRS": "169.254.20.10/32",
            "GEOPOD_API_SERVER_CIDRS": "10.96.0.1/32",
            "GEOPOD_API_QPS": "7.5",
            "GEOPOD_API_BURST": "9",
            "GEOPOD_IMAGE_PULL_SECRETS": "one,two",
            "GEOPOD_METRICS_PORT": "1234",
            "GEOPOD_LEASE": "geopod-operator",
            "HOSTNAME": "geopod-operator-0",
        }
    )
    assert settings.watch_namespaces == ("geo", "maps")
    assert (settings.api_qps, settings.api_burst, settings.metrics_port) == (7.5, 9, 1234)
    assert (settings.instance, settings.lease) == ("geopod-operator-0", "geopod-operator")
    planned = plan_settings(settings)
    assert planned.coordinator_pdb
    assert planned.image_pull_secrets == ("one", "two")
    assert planned.dns_cidrs == ("169.254.20.10/32",)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("GEOPOD_AGENT_IMAGE", "", "GEOPOD_AGENT_IMAGE"),
        ("GEOPOD_STORE", " ", "GEOPOD_STORE"),
        ("GEOPOD_SIGNING_KEY_FILE", "/absent", "/absent cannot be read"),
        ("GEOPOD_API_QPS", "many", "'many'"),
    ],
    ids=["image", "store", "key", "number"],
)
def test_missing_or_wrong_variable_is_named(variables, name, value, words, capsys):
    with pytest.raises(ConfigError, match=words):
        read_settings(variables | {name: value})


def test_short_key_is_refused_with_its_length(variables, tmp_path):
    (tmp_path / "key").write_bytes(b"short")
    with pytest.raises(ConfigError, match="has 5 bytes, it needs 32"):
        read_settings(variables)


def test_key_never_shows(variables):
    settings = read_settings(variables)
    assert "kkk" not in f"{settings!r} {plan_settings(settings)!r}"


def test_process_that_cannot_work_ends_with_one_sentence(capsys):
    assert main({}) == 1
    assert "fix:" in capsys.readouterr().err


def test_runtimes_are_read_from_documents_and_lists(tmp_path):
    path = tmp_path / "runtimes.yaml"
    path.write_text(
        "---\nkind: ComputeRuntime\nmetadata: {name: a}\nspec: {}\n"
        "---\nkind: List\nitems: [{metadata: {name: b}, spec: {}}]\n",
        "utf-8",
    )
    found = read_runtimes(path)
    assert [each["metadata"]["name"] for each in found] == ["a", "b"]
    assert {each["kind"] for each in found} == {"ComputeRuntime"}


def test_unreadable_runtimes_are_named(tmp_path):
    with pytest.raises(ConfigError, match="absent"):
        read_runtimes(tmp_path / "absent")
