"""A text that names a layer, or a file, or may be both, or neither."""

from __future__ import annotations

import asyncio
import sys

import pytest
from geopod.client import aio
from geopod.client.aio.submission import read_target
from geopod.client.layerlike import LayerRef, read_layer
from geopod.errors import InvalidInputError, LayerNotFoundError
from geopod.testing import ScriptedBackend


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def chosen(layer, *, known=()):
    """Return (pathId, timestampId, file) that an environment takes a text for."""
    sent = {}

    class Taking(ScriptedBackend):
        async def apply_environment(self, name, spec, *, labels, sources):
            (entry,) = spec["layers"]
            file = sources.get(entry["pathId"])
            sent["layer"] = (entry["pathId"], entry["timestampId"], file and str(file))
            return await super().apply_environment(name, spec, labels=labels, sources=sources)

    backend = Taking([1], python=f"3.{sys.version_info.minor}")

    async def work():
        client = aio.Client(backend)
        for path_id in known:
            await client.add_layer(path_id, "s3://b/x.tif", timestamp="t")
        await client.environment(layers=[layer], progress=False)

    asyncio.run(work())
    return sent["layer"]


LAYERS = ["dem/v1.2", "dem/2024.05", "dem.v2/2024", "dem/of.tif", "dem"]


@pytest.mark.parametrize("text", LAYERS)
def test_known_path_id_wins_over_how_a_text_looks_and_over_a_file(folder, text):
    path_id, _, timestamp = text.partition("/")
    wanted = (path_id, timestamp or "latest", None)
    assert chosen(text, known=[path_id]) == wanted
    file = folder / text
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"")
    assert chosen(text, known=[path_id]) == wanted


@pytest.mark.parametrize("text", ["dem/v1.2", "dem.tif", "data/dem.tif"])
def test_file_that_exists_is_a_file_where_no_layer_is_known(folder, text):
    file = folder / text
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"")
    assert chosen(text) == (file.stem, file.stem, str(file))


@pytest.mark.parametrize("text", ["dem/v1.2", "dem.tif", "data/dem.tif"])
def test_text_that_is_neither_says_both(folder, text):
    with pytest.raises(LayerNotFoundError) as caught:
        chosen(text)
    assert caught.value.fact == (
        f"{text!r} is neither a file nor a layer: there is no file {folder / text}, and no layer "
        f"{text.partition('/')[0]!r} is known."
    )


@pytest.mark.parametrize("text", ["./dem.tif", "/data/dem.tif", "DEM.TIF"])
def test_what_is_no_name_is_a_path(text):
    assert read_layer(text).file is not None


@pytest.mark.parametrize("text", ["ndvi/v1.2", "ndvi", "ndvi/2024.05"])
def test_target_is_a_layer_also_beside_a_folder_of_its_name(folder, text):
    (folder / "ndvi").mkdir()
    path_id, _, timestamp = text.partition("/")
    wanted = {"pathId": path_id, "timestampId": timestamp or "latest"}
    assert read_target(text, name="write_to") == wanted


@pytest.mark.parametrize("text", ["ndvi.tif", "out/ndvi.tif", "./ndvi", "/data/ndvi"])
def test_target_that_looks_like_a_path_is_none(text):
    with pytest.raises(InvalidInputError, match="is a path; results are written to a layer"):
        read_target(text, name="write_to")


def test_address_is_told_how_to_become_a_layer():
    with pytest.raises(InvalidInputError) as caught:
        chosen("s3://bucket/Dem.tif?versionId=1")
    assert caught.value.fact.endswith("is an address; environments take layers of the catalogue.")
    assert caught.value.fixes[0] == "client.add_layer('dem', 's3://bucket/Dem.tif?versionId=1')"


def test_timestamp_that_a_layer_lacks_is_told_with_those_it_has():
    layer = LayerRef("dem", "raster", ("2023", "2024"), {"2023": ("a.tif",), "2024": ("b.tif",)})
    assert layer.files() == ("b.tif",)
    with pytest.raises(LayerNotFoundError) as caught:
        layer.files("2025")
    assert caught.value.fact == "Layer 'dem' has no timestamp '2025'; it has '2023', '2024'."
