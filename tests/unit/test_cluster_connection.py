"""Where the API server is and who asks: kubeconfig, credential plugins, service account, token."""

import asyncio
import base64
import json
import shutil
import subprocess
import sys
from pathlib import Path

import certifi
import pytest
import yaml
from geopod.cluster.connection import Connection, Source, _load_kubeconfig
from geopod.cluster.kubeconfig import read_plain
from geopod.errors import AuthError, ConfigError


def a_kubeconfig(folder, user, **cluster):
    """Two contexts over one cluster; the second one's namespace is its own."""
    cluster = {"server": "https://api.example:6443", "insecure-skip-tls-verify": True, **cluster}
    contexts = [
        {"name": "here", "context": {"cluster": "c", "user": "u"}},
        {"name": "there", "context": {"cluster": "c", "user": "u", "namespace": "geo"}},
    ]
    path = folder / "config"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": contexts,
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
    }
    path.write_text(yaml.safe_dump(config), "utf-8")
    return {"KUBECONFIG": str(path)}


def load(environ, before=None, **options):
    return asyncio.run(Source(environ=environ, **options).load(before))


def a_plugin(folder, status):
    """A credential plugin that answers this status and counts how often it was asked."""
    body = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential"}
    answer = json.dumps(body | {"status": status})
    counter = folder / "asked"
    script = folder / "plugin.py"
    script.write_text(f"open({str(counter)!r}, 'a').write('x')\nprint({answer!r})\n", "utf-8")
    exec_ = {"apiVersion": body["apiVersion"], "command": sys.executable, "args": [str(script)]}
    return {"exec": exec_ | {"interactiveMode": "Never"}}, counter


def test_current_context_is_taken_and_its_namespace_is_default(tmp_path):
    found = load(a_kubeconfig(tmp_path, {"token": "t"}))
    assert (found.context, found.namespace) == ("here", "default")
    assert found.base_url == "https://api.example:6443"
    assert found.headers() == {"Authorization": "Bearer t"}


def test_named_context_brings_its_namespace(tmp_path):
    assert load(a_kubeconfig(tmp_path, {"token": "t"}), target="there").namespace == "geo"


def test_namespace_of_the_call_wins(tmp_path):
    found = load(a_kubeconfig(tmp_path, {"token": "t"}), target="there", namespace="mine")
    assert found.namespace == "mine"


def test_given_token_wins_and_no_plugin_is_asked(tmp_path):
    user, counter = a_plugin(tmp_path, {"token": "plugin"})
    found = load(a_kubeconfig(tmp_path, user), token="given")  # noqa: S106  # no secret
    assert found.headers() == {"Authorization": "Bearer given"}
    assert not counter.exists()


def test_credentials_never_show_in_a_representation(tmp_path):
    environ = a_kubeconfig(tmp_path, {"token": "hidden-one"})
    source = Source(environ=environ, token="hidden-two")  # noqa: S106  # no secret
    shown = f"{source!r} {load(environ)!r}"
    assert "hidden" not in shown


@pytest.mark.parametrize(
    ("environ", "target", "words"),
    [
        ({"KUBECONFIG": "/absent"}, None, "no kubeconfig"),
        (None, "elsewhere", "no context 'elsewhere'"),
    ],
    ids=["no file", "no context"],
)
def test_missing_cluster_is_named(tmp_path, environ, target, words):
    with pytest.raises(ConfigError, match=words):
        load(environ or a_kubeconfig(tmp_path, {"token": "t"}), target=target)


def test_plugin_says_who_asks_and_until_when(tmp_path):
    user, _ = a_plugin(tmp_path, {"token": "p", "expirationTimestamp": "2999-01-01T00:00:00Z"})
    found = load(a_kubeconfig(tmp_path, user))
    assert found.headers() == {"Authorization": "Bearer p"}
    assert found.expires_in_s > 1e9


def test_expired_plugin_token_is_used_briefly_rather_than_for_ever(tmp_path):
    user, _ = a_plugin(tmp_path, {"token": "p", "expirationTimestamp": "2001-01-01T00:00:00Z"})
    assert load(a_kubeconfig(tmp_path, user)).expires_in_s == 1.0


def test_plugin_without_credentials_is_an_error_that_names_the_context(tmp_path):
    user, _ = a_plugin(tmp_path, {})
    with pytest.raises(AuthError, match="context 'here' gave no credentials"):
        load(a_kubeconfig(tmp_path, user))


@pytest.fixture
def account(tmp_path):
    """A pod's service account."""
    shutil.copy(certifi.where(), tmp_path / "ca.crt")
    (tmp_path / "token").write_text("first\n", "utf-8")
    (tmp_path / "namespace").write_text("geo", "utf-8")
    return tmp_path


IN_POD = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}


def test_pod_needs_no_kubeconfig(account):
    found = load(IN_POD, account=account)
    assert found.base_url == "https://10.96.0.1:443"
    assert (found.context, found.namespace) == ("in-cluster", "geo")
    assert found.headers() == {"Authorization": "Bearer first"}


def test_renewed_token_is_read_and_connections_are_kept(account):
    before = load(IN_POD, account=account)
    (account / "token").write_text("second\n", "utf-8")
    after = load(IN_POD, before, account=account)
    assert after.headers() == {"Authorization": "Bearer second"}
    assert after.ssl is before.ssl


def test_other_certificates_make_another_tls_context(account):
    before = load(IN_POD, account=account)
    (account / "ca.crt").unlink()
    shutil.copyfile(certifi.where(), account / "ca.crt")
    assert load(IN_POD, before, account=account).ssl is not before.ssl


def test_address_of_version_six_stands_in_brackets(account):
    found = load({**IN_POD, "KUBERNETES_SERVICE_HOST": "fd00::1"}, account=account)
    assert found.base_url == "https://[fd00::1]:443"


def test_named_context_is_taken_in_a_pod_too(account, tmp_path):
    environ = {**IN_POD, **a_kubeconfig(tmp_path, {"token": "t"})}
    assert load(environ, target="there", account=account).context == "there"


def test_room_is_imported_without_kubernetes():
    code = (
        "import sys, geopod.cluster.client, geopod.cluster.kinds;"
        "sys.exit('kubernetes' in sys.modules or 'geopod.client' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_connection_without_a_token_has_no_header(tmp_path):
    found = load(a_kubeconfig(tmp_path, {}))
    assert isinstance(found, Connection)
    assert found.headers() == {}


PEM = base64.b64encode(Path(certifi.where()).read_bytes()[:4096]).decode()


@pytest.mark.parametrize("target", [None, "there"])
@pytest.mark.parametrize("signs_in", [True, False])
@pytest.mark.parametrize(
    ("user", "cluster"),
    [
        ({"token": "t"}, {}),
        ({"tokenFile": "token"}, {"tls-server-name": "api", "proxy-url": "http://proxy:1"}),
        ({"client-certificate-data": PEM, "client-key-data": PEM}, {"server": "https://api/x/"}),
        (
            {"client-certificate": "a.pem", "client-key": "b.pem"},
            {"certificate-authority": "a.pem"},
        ),
        ({"token": "t"}, {"certificate-authority-data": PEM, "insecure-skip-tls-verify": False}),
    ],
)
def test_plain_kubeconfig_is_read_as_the_package_reads_it(
    tmp_path, user, cluster, target, *, signs_in
):
    for name in ("token", "a.pem", "b.pem"):
        (tmp_path / name).write_text(f"in {name}", "utf-8")
    path = a_kubeconfig(tmp_path, user, **cluster)["KUBECONFIG"]
    plain = read_plain(path, target, signs_in=signs_in, environ={})
    oracle = _load_kubeconfig(path, target, signs_in=signs_in)
    assert plain is not None
    assert (plain.context, plain.namespace) == (oracle.context, oracle.namespace)
    for name in ("host", "verify_ssl", "tls_server_name", "proxy"):
        assert getattr(plain, name) == getattr(oracle.settings, name)
    assert plain.api_key == oracle.settings.api_key
    for name in ("ssl_ca_cert", "cert_file", "key_file"):
        files = [getattr(it, name) for it in (plain, oracle.settings)]
        assert len({Path(file).read_bytes() if file else None for file in files}) == 1


@pytest.mark.parametrize(
    "user",
    [{"exec": {}}, {"username": "ana", "password": "x"}, {"client-certificate": "none.pem"}],
    ids=["plugin", "password", "missing file"],
)
def test_other_kubeconfig_is_left_to_the_package(tmp_path, user):
    path = a_kubeconfig(tmp_path, user)["KUBECONFIG"]
    assert read_plain(path, None, signs_in=True, environ={}) is None


def test_plain_kubeconfig_needs_no_package(tmp_path):
    environ = a_kubeconfig(tmp_path, {"token": "t"})
    code = (
        "import asyncio, sys; from geopod.cluster.connection import Source;"
        f"asyncio.run(Source(environ={environ!r}).load());"
        "print([name for name in ('kubernetes', 'requests', 'pydantic') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "[]"
