"""geopod's images run as they will: Restricted, read-only, by digest."""

import json

import pytest
from cluster.pod_builders import a_pod
from cluster.testcluster.images import build_images

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


@pytest.fixture(scope="session")
def images(registry):
    return {image.name: image.reference for image in build_images(registry, lambda _: None)}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", IMPORTS)
def test_image_imports_what_it_is_for_and_holds_no_build_tool(images, namespace, name):
    program = f"{IMPORTS[name]}\nimport json, shutil; "
    program += f"print(json.dumps([t for t in {ABSENT[name]!r} if shutil.which(t)]))"
    container = {"image": images[name], "command": ["python", "-c", program]}
    namespace.apply(a_pod("try", container=container, restartPolicy="Never"))
    namespace.wait("pod/try", "jsonpath={.status.phase}=Succeeded", timeout_s=180)
    assert json.loads(namespace("logs", "try").splitlines()[-1]) == []
