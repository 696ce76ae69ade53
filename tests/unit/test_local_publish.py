"""What is refused before results of this machine become a layer."""

import asyncio

import pytest
from geopod.backends.local.publish import Publisher
from geopod.backends.local.state import StateFolder
from geopod.errors import InvalidInputError
from geopod.store.directory import DirectoryStore


def test_results_are_not_added_to_latest(tmp_path):
    publisher = Publisher(StateFolder(tmp_path), DirectoryStore(tmp_path))
    publishing = publisher.publish([], {"pathId": "ndvi", "timestampId": "latest"})
    with pytest.raises(InvalidInputError, match="layer='ndvi' names no timestamp"):
        asyncio.run(publishing)
