"""STAC as a layer's source: what a search, a collection or an item names is read as one mosaic."""

from __future__ import annotations

import json
import sys
from collections import Counter

import geopod
import numpy as np
import pystac
import pytest
import rasterio
from geopod.errors import InvalidInputError, LayerAccessError, MissingExtraError
from geopod.layers import indexes
from geopod.layers.headers import read_header
from geopod.layers.indexes import expand_source
from geopod.layers.stac_search import search_items
from layer_builders import raster_spec, shifted_spec, write_raster
from source_builders import file_server, quick_access
from stac_api import an_item, stac_api
from staging_builders import layer_source, stage_job, web_source

WEST, EAST = (-87.0, 36.0, -86.99, 36.15), (-86.98, 36.0, -86.9, 36.15)
BOTH = "-88,35,-86,37"


@pytest.fixture
def tiles(tmp_path):
    """Two tiles side by side, and a newer one over the western; values tell them apart."""
    east = shifted_spec(960.0, 0.0)
    paths = {
        "west": write_raster(tmp_path / "west.tif", raster_spec(), raster_spec().values()),
        "east": write_raster(tmp_path / "east.tif", east, east.values() + 100_000),
        "newer": write_raster(tmp_path / "newer.tif", raster_spec(), raster_spec().values() + 7),
    }
    return [
        an_item("newer", str(paths["newer"]), date="2024-06-01T00:00:00Z", bbox=WEST),
        an_item("west", str(paths["west"]), date="2024-05-01T00:00:00Z", bbox=WEST),
        an_item("east", str(paths["east"]), date="2024-05-02T00:00:00Z", bbox=EAST),
    ]


def named(api, uri):
    """Return the stems of the files that a search names."""
    items = search_items(uri, path_id="dem", access=quick_access())
    return [item["id"] for item in items]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        pytest.param({}, ["newer", "west", "east"], id="everything"),
        pytest.param({"bbox": "-86.97,36,-86.96,36.1"}, ["east"], id="box"),
        pytest.param({"datetime": "2024-05"}, ["west", "east"], id="month"),
        pytest.param({"datetime": "2024-05-02/2024-06-30"}, ["newer", "east"], id="interval"),
        pytest.param({"collections": "other,dem", "bbox": BOTH}, ["newer", "west", "east"]),
        pytest.param({"collections": "other"}, [], id="other collection"),
    ],
)
def test_search_asks_the_api_and_reads_all_its_pages(tiles, wanted, found):
    with stac_api(tiles, page=1) as api:
        assert named(api, api.search_uri(**wanted)) == found

        pages = [query for path, query, _ in api.asked if path == "/search"]
        assert len(pages) == max(1, len(found))


def serve_assets(server, items):
    """Give items whose files lie in a server's folder the addresses of these."""
    for item in items:
        href = item["assets"]["data"]["href"]
        item["assets"]["data"]["href"] = server.url(href.rpartition("/")[2])
    return items


@pytest.fixture
def online(tiles, tmp_path):
    """The tiles on a web server."""
    with file_server(tmp_path) as server:
        yield serve_assets(server, tiles)


def test_what_a_search_finds_is_one_mosaic_with_the_newest_on_top(online, tmp_path):
    with stac_api(online) as api:
        source = web_source(api.search_uri(collections="dem"), key="dem", path_id="dem")
        job = stage_job(tmp_path / "scratch", source, nodes=1, access=quick_access())

    whole = job.core(0, "dem")
    values = raster_spec().values()
    np.testing.assert_array_equal(whole, np.concatenate([values + 7, values + 100_000], axis=2))
    assert [href.rpartition("/")[2] for href in job.plan.layers[0].hrefs] == [
        "west.tif",
        "east.tif",
        "newer.tif",
    ]


def test_function_runs_over_a_search(online, geopod_home):
    def count(params):
        rows, cols = params["june"]["core"]
        return int(params["june"]["raster"][:, rows, cols].size)

    with stac_api(online) as api, geopod.connect("local") as client:
        uri = api.search_uri("data", collections="dem", datetime="2024-06", bbox=BOTH)
        client.add_layer("dem", uri, timestamp="june")
        with client.environment(layers=[("dem", "june")], nodes=2) as env:
            assert sum(env.execute(count)) == raster_spec().values().size


def test_search_that_finds_nothing_is_told_with_its_address(tiles):
    with stac_api(tiles) as api, pytest.raises(LayerAccessError, match="finds nothing"):
        read_header(web_source(api.search_uri(collections="other")), quick_access())


def test_search_names_no_file_of_this_machine(tiles):
    with stac_api(tiles) as api, pytest.raises(LayerAccessError, match="a file of this machine"):
        read_header(web_source(api.search_uri()), quick_access())


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("stac+https://api.example/v1?cloud=3", "'cloud' is nothing that a search has"),
        ("stac+https://api.example/v1?bbox=a,b", "four numbers"),
    ],
)
def test_search_of_what_no_api_knows_is_refused_before_it_is_asked(uri, words):
    with pytest.raises(InvalidInputError, match=words):
        list(search_items(uri, path_id="dem", access=quick_access()))


def test_next_page_at_the_metadata_address_is_refused(tiles):
    with (
        stac_api(tiles, next_link="http://169.254.169.254/latest") as api,
        pytest.raises(LayerAccessError, match="an address that layers may not have"),
    ):
        named(api, api.search_uri())


def test_keys_of_the_layer_go_to_its_api_and_not_to_where_it_leads(tiles):
    keys = {"dem": {"GDAL_HTTP_BEARER": "t0ken"}}
    with stac_api(tiles) as other, stac_api(tiles) as api:
        elsewhere = f"{other.url}/search"
        api.next_link = elsewhere

        list(search_items(api.search_uri(), path_id="dem", access=quick_access(credentials=keys)))

        assert all(headers["Authorization"] == "Bearer t0ken" for _, _, headers in api.asked)
        assert other.asked
        assert "t0ken" not in str(other.asked)


def test_page_that_is_not_there_is_told():
    with (
        stac_api([]) as api,
        pytest.raises(LayerAccessError, match="404"),
    ):
        named(api, f"stac+{api.url}/nowhere")


def test_answer_that_is_no_catalogue_is_told(tiles):
    with stac_api(tiles) as api:
        api.answer = lambda path, query: ["no", "object"]

        with pytest.raises(LayerAccessError, match="search of http"):
            named(api, api.search_uri())


def test_search_without_its_extra_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pystac_client", None)

    with pytest.raises(MissingExtraError, match="extra 'stac'"):
        list(search_items("stac+https://8.8.8.8/v1", path_id="dem", access=quick_access()))


def test_static_collection_leads_to_its_items(tiles, tmp_path):
    for item in tiles:
        (tmp_path / f"{item['id']}.json").write_text(json.dumps(item))
    links = [{"rel": "item", "href": f"./{item['id']}.json"} for item in tiles]
    collection = {"type": "Collection", "stac_version": "1.0.0", "id": "dem", "links": links}
    (tmp_path / "collection.json").write_text(json.dumps(collection))

    expanded, versions = expand_source(layer_source(tmp_path / "collection.json"), quick_access())

    assert [href.rpartition("/")[2] for href in expanded.hrefs] == [
        "west.tif",
        "east.tif",
        "newer.tif",
    ]
    assert set(versions) == {str(tmp_path / "collection.json")}


def write_catalogs(folder, item, *, width):
    """Write a catalog that leads to `width` others, each of which leads to all and to one Item."""
    names = ["catalog.json", *(f"{number}/catalog.json" for number in range(width))]
    (folder / "item.json").write_text(json.dumps(item))
    for name in names:
        up = "../" if "/" in name else ""
        links = [
            {"rel": "root", "href": f"{up}catalog.json"},
            {"rel": "item", "href": f"{up}item.json"},
            *({"rel": "child", "href": f"{up}{other}"} for other in names),
        ]
        (folder / name).parent.mkdir(exist_ok=True)
        catalog = {"type": "Catalog", "stac_version": "1.1.0", "id": name, "links": links}
        (folder / name).write_text(json.dumps(catalog))


def test_catalogs_that_lead_to_each_other_are_read_once_each(tiles, tmp_path):
    with file_server(tmp_path) as server:
        write_catalogs(tmp_path, serve_assets(server, tiles)[0], width=3)

        expanded, _ = expand_source(web_source(server.url("catalog.json")), quick_access())

        assert expanded.hrefs == (server.url("newer.tif"),)
        asked = Counter(server.paths())
        assert asked.pop("catalog.json") == 3  # whether it is an index, its text, its version
        assert asked == {
            "item.json": 1,
            "0/catalog.json": 1,
            "1/catalog.json": 1,
            "2/catalog.json": 1,
        }


def test_a_file_of_a_catalog_is_one_whatever_way_leads_to_it(tiles, tmp_path):
    write_catalogs(tmp_path, tiles[0], width=2)
    (tmp_path / "also.json").symlink_to("catalog.json")

    expanded, _ = expand_source(layer_source(tmp_path / "also.json"), quick_access())

    assert [href.rpartition("/")[2] for href in expanded.hrefs] == ["newer.tif"]


def test_catalogs_without_end_are_refused(tiles, tmp_path, monkeypatch):
    monkeypatch.setattr(indexes, "MOST_FILES", 3)
    write_catalogs(tmp_path, tiles[0], width=3)

    with pytest.raises(LayerAccessError, match="leads to more than 3 documents"):
        expand_source(layer_source(tmp_path / "catalog.json"), quick_access())


def test_published_layer_is_read_by_pystac_and_rasterio(tmp_path, geopod_home):
    """Params → a result per node → a layer → any STAC reader."""

    def double(params):
        return params["dem"]["raster"] * 2

    spec = raster_spec(dtype="uint16")
    path = write_raster(tmp_path / "dem.tif", spec)
    with geopod.connect("local") as client:
        client.add_layer("dem", path, type="raster")
        client.add_layer("doubled", type="raster", write_to=tmp_path / "out")
        with client.environment(layers=[("dem", "dem")], nodes=3) as env:
            env.execute(double, write_to=("doubled", "now"))
    (file,) = (tmp_path / "out" / "now").glob("item-*.json")

    item = pystac.Item.from_file(str(file))
    asset = item.assets["data"].get_absolute_href()
    with rasterio.open(asset) as published:
        np.testing.assert_array_equal(published.read(), spec.values() * 2)
        assert item.properties["proj:code"] == published.crs.to_string()
        assert tuple(item.properties["proj:transform"]) == published.transform[:6]
        west, _, east, _ = item.bbox
        assert west < east < -86
    assert item.properties["geopod:run"]
    assert [link.target for link in item.links if link.rel == "derived_from"] == [str(path)]
