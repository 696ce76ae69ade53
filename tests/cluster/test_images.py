"""geopod's images run as they will: Restricted, read-only, by digest; and one that is refused."""

import json
import threading
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from cluster.kill_builders import wait_until
from cluster.pod_builders import a_pod
from cluster.testcluster.places import Places

IMPORTS = {
    "agent": "import geopod.agent.node, geopod.coordinator.service, rasterio",
    "operator": "import geopod_operator, geopod_gateway, geopod.api.crd",
    "runtime-3.11": "import sys, geopandas, rasterio; assert sys.version_info[:2] == (3, 11)",
    "runtime-3.13": "import sys, geopandas, rasterio; assert sys.version_info[:2] == (3, 13)",
}

ABSENT = {
    "agent": ["cc", "gcc", "pip", "make"],
    "operator": ["cc", "gcc", "pip", "make"],
    "runtime-3.11": ["cc", "gcc", "make"],
    "runtime-3.13": ["cc", "gcc", "make"],
}


@pytest.mark.parametrize("name", IMPORTS)
def test_image_imports_what_it_is_for_and_holds_no_build_tool(images, namespace, name):
    program = f"{IMPORTS[name]}\nimport json, shutil; "
    program += f"print(json.dumps([t for t in {ABSENT[name]!r} if shutil.which(t)]))"
    container = {"image": images[name], "command": ["python", "-c", program]}
    namespace.apply(a_pod("try", container=container, restartPolicy="Never"))
    namespace.wait("pod/try", "jsonpath={.status.phase}=Succeeded", timeout_s=180)
    wait_until(lambda: namespace("logs", "try").endswith("\n"))  # a line comes behind its writer
    assert json.loads(namespace("logs", "try").splitlines()[-1]) == []


class Locked(BaseHTTPRequestHandler):
    """A registry whose password nobody has."""

    def do_GET(self):
        self.server.asked.append(self.headers.get("Authorization"))
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="locked"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET  # noqa: N815  # the name that http.server calls

    def log_message(self, *_):
        pass


@pytest.fixture
def locked_registry(process_cluster, addresses):
    server = ThreadingHTTPServer((addresses.host, 0), Locked)
    server.asked = []
    server.name = f"{addresses.host}:{server.server_port}"
    folder = Places.of(process_cluster).registries / server.name
    folder.mkdir(exist_ok=True)
    (folder / "hosts.toml").write_text(f'server = "http://{server.name}"\n', "utf-8")
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    yield server
    server.shutdown()
    server.server_close()
    serving.join()


def test_wrong_password_of_a_registry_is_told_by_the_kubelet(namespace, locked_registry):
    host = locked_registry.name
    login = {"auths": {host: {"auth": b64encode(b"geopod:wrong").decode()}}}
    namespace.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "login"},
            "type": "kubernetes.io/dockerconfigjson",
            "stringData": {".dockerconfigjson": json.dumps(login)},
        },
        a_pod(
            "locked",
            container={"image": f"{host}/private@sha256:{'0' * 64}"},
            imagePullSecrets=[{"name": "login"}],
        ),
    )
    waiting = "--output=jsonpath={.status.containerStatuses[0].state.waiting.message}"
    # a kubelet that has not read the Secret yet asks without it first, and again after 10 s
    wait_until(lambda: "401 Unauthorized" in namespace("get", "pod", "locked", waiting))
    assert f"Basic {login['auths'][host]['auth']}" in locked_registry.asked
