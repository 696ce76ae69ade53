"""What is refused before results of this machine become a layer."""

import asyncio

import pytest
from geopod.backends.local.catalogue import Catalogue
from geopod.backends.local.publish import Publisher
from geopod.backends.local.state import StateFolder
from geopod.errors import GeopodError, InvalidInputError
from geopod.store.directory import DirectoryStore
from local_builders import an_order


def test_results_are_not_added_to_latest(tmp_path):
    publisher = Publisher(StateFolder(tmp_path), DirectoryStore(tmp_path))
    publishing = publisher.publish([], {"pathId": "ndvi", "timestampId": "latest"})
    with pytest.raises(InvalidInputError, match="layer='ndvi' names no timestamp"):
        asyncio.run(publishing)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ({"timestampId": "now", "format": "png"}, "A vector layer cannot be written as 'png'"),
        ({"timestampId": "now", "format": "tif"}, "A vector layer cannot be written as 'tif'"),
        ({"timestampId": ".."}, "'..' is no name"),
        ({"timestampId": "x" * 300}, "300 characters is too long"),
    ],
)
def test_target_that_results_cannot_have_is_refused_before_the_run(tmp_path, target, words):
    folder = StateFolder(tmp_path)
    Catalogue(folder).apply("towns", {"type": "vector"})
    publisher = Publisher(folder, DirectoryStore(tmp_path))
    order = an_order("env", write_to={"pathId": "towns", **target})

    with pytest.raises(GeopodError, match=words):
        publisher.complete(order)
