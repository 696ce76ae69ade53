"""Where a caller's token goes: into one header of requests to the API server, and nowhere else."""

from __future__ import annotations

import json
import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml
from geopod.errors import AuthError, PermissionDeniedError
from geopod.faces import ellipsis as el

TOKEN = "ana-s3cret"  # noqa: S105  # a made-up one
EMPTY = {"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": []}


class ApiServer(ThreadingHTTPServer):
    """Answers every request alike, and keeps what it was asked."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.status, self.body, self.asked = 200, EMPTY, []


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.asked.append((self.requestline, self.headers))
        body = json.dumps(self.server.body).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def api(tmp_path, monkeypatch):
    """An API server that a kubeconfig names; the face goes there."""
    server = ApiServer()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "prod",
        "contexts": [{"name": "prod", "context": {"cluster": "prod", "user": "me"}}],
        "clusters": [{"name": "prod", "cluster": {"server": address}}],
        "users": [{"name": "me", "user": {"token": "my-own"}}],
    }
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(kubeconfig))
    monkeypatch.setenv("KUBECONFIG", str(path))
    monkeypatch.delenv("GEOPOD_TARGET", raising=False)
    yield server
    server.shutdown()
    server.server_close()


def refusal(code, reason):
    """Return the Status that an API server answers with, in its words."""
    told = (
        'computeenvironments.geopod.dev is forbidden: User "ana" cannot list resource '
        '"computeenvironments" in API group "geopod.dev" in the namespace "default"'
    )
    details = {"group": "geopod.dev", "kind": "computeenvironments"}
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code}
    return {**status, "reason": reason, "message": told, "details": details}


@pytest.mark.parametrize("given", [TOKEN, f"Bearer {TOKEN}"])
def test_token_stands_in_the_header_and_in_no_url_or_log(api, caplog, capfd, given):
    caplog.set_level(logging.DEBUG)
    assert el.listComputes(given) == {"result": [], "nextPageStart": None, "size": 0}
    assert api.asked
    for request, headers in api.asked:
        assert headers["Authorization"] == f"Bearer {TOKEN}"
        assert TOKEN not in request
    printed = capfd.readouterr()
    assert TOKEN not in caplog.text + printed.out + printed.err


def test_no_token_takes_the_kubeconfigs(api):
    el.listComputes(None)
    assert {headers["Authorization"] for _, headers in api.asked} == {"Bearer my-own"}


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [(401, "Unauthorized", AuthError), (403, "Forbidden", PermissionDeniedError)],
)
def test_refused_token_is_a_value_error_that_does_not_repeat_it(api, status, reason, kind):
    api.status, api.body = status, refusal(status, reason)
    with pytest.raises(kind) as caught:
        el.terminateAll(TOKEN)
    assert isinstance(caught.value, ValueError)
    assert TOKEN not in f"{caught.value}{caught.value.details}"
