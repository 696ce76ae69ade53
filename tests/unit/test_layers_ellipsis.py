"""Places of Ellipsis Drive: which uri names which, where their tiles lie, what columns become."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from geopod.api import deployment
from geopod.client.aio.drive import name_timestamps
from geopod.errors import InvalidInputError, LayerAccessError
from geopod.layers.access import Access, read_access
from geopod.layers.ellipsis import find_ellipsis, is_ellipsis, read_uri
from geopod.layers.ellipsis_info import TileBox, tiles_around
from geopod.layers.ellipsis_table import RAW, write_listing
from geopod.layers.raster import RasterLayer
from geopod.layers.raster_files import RasterFile
from geopod.testing import ScriptedBackend

PATH = "7b0a5ea2-3a0a-4e52-9d3c-3c6ad1f0f3a1"
TIME = "9a3f1f7e-0f0b-4a3e-9f57-7d3b6a1f2c10"
LOCAL = "ellipsis+http://127.0.0.1:8000/base/v3"


def place(href, token="", **keys):
    if token:
        keys["ELLIPSIS_TOKEN"] = token
    access = Access(credentials={"it": keys}, secrets={"it": "drive-key"})
    return find_ellipsis(href, access, path_id="it")


@pytest.mark.parametrize(
    ("href", "api", "timestamp"),
    [
        (f"{LOCAL}/{PATH}/{TIME}", "http://127.0.0.1:8000/base/v3", TIME),
        (f"{LOCAL}/{PATH.upper()}", "http://127.0.0.1:8000/base/v3", ""),
        (f"ellipsis+http://127.0.0.1:8000/{PATH}/", "http://127.0.0.1:8000", ""),
    ],
)
def test_uri_names_an_api_a_path_and_perhaps_a_timestamp(href, api, timestamp):
    found = place(href)

    assert is_ellipsis(href)
    assert (found.api.href, found.path, found.timestamp) == (api, PATH, timestamp)
    assert found.href == href


@pytest.mark.parametrize("timestamp", ["", TIME])
def test_uri_without_an_address_is_one_of_the_public_api(timestamp):
    href = f"ellipsis://{PATH}/{timestamp}"

    assert read_uri(href, path_id="it") == ("https://api.ellipsis-drive.com/v3", PATH, timestamp)


@pytest.mark.parametrize(
    "href",
    [
        "ellipsis://dem",
        f"ellipsis://{PATH}/latest",
        f"ellipsis://{PATH}?timestamp={TIME}",
        f"ellipsis://other.example/{PATH}",
        f"ellipsis+https://{PATH}",
        f"{LOCAL}?token=t0ken/{PATH}",
    ],
)
def test_uri_of_another_form_is_refused_with_the_form(href):
    with pytest.raises(
        LayerAccessError, match=r"is not ellipsis://<pathId>/<timestampId>"
    ) as caught:
        place(href)

    assert "t0ken" not in str(caught.value)


@pytest.mark.parametrize(
    ("href", "words"),
    [
        (f"ellipsis+http://169.254.169.254/{PATH}", "an address that layers may not have"),
        (f"ellipsis+https://ana:word@127.0.0.1/{PATH}", "holds a password"),
    ],
)
def test_api_where_no_layer_may_lie_is_refused(href, words):
    with pytest.raises(LayerAccessError, match=words):
        place(href)


def test_shared_node_asks_no_service_of_its_own_machine(tmp_path):
    with pytest.raises(LayerAccessError, match="an address that layers may not have"):
        find_ellipsis(f"{LOCAL}/{PATH}", Access(volumes=tmp_path), path_id="it")


def test_processes_of_a_pod_and_of_a_machine_share_their_listings(tmp_path):
    pod = read_access({deployment.ENV_POD_NAME: "alps-node-0"}, secrets_folder=tmp_path)
    here = read_access({deployment.ENV_OWN_SECRETS: str(tmp_path / "layer-secrets.json")})

    assert pod.listings is not None
    assert here.listings == tmp_path / "listings"


def test_token_is_not_sent_in_the_clear():
    with pytest.raises(LayerAccessError, match="use https"):
        place(f"ellipsis+http://8.8.8.8/{PATH}", "t0ken")


def test_only_the_token_goes_to_the_api():
    found = place(f"{LOCAL}/{PATH}", " Bearer t0ken\n", AWS_SESSION_TOKEN="s3")  # noqa: S106

    assert found.api.keys == {"GDAL_HTTP_BEARER": "t0ken"}
    assert "t0ken" not in repr(found)


def test_token_of_several_lines_is_refused_without_showing_it():
    with pytest.raises(LayerAccessError, match=r"not one word \(secret 'drive-key'\)") as caught:
        place(f"{LOCAL}/{PATH}", "t0ken\r\nHost: other")

    assert "t0ken" not in str(caught.value.to_wire())


def named(uri, **spec):
    """Return what a client of a cluster makes of a layer at `uri`."""
    asked = {"timestamps": [{"id": "it", "uris": [uri]}], **spec}
    asyncio.run(name_timestamps(asked, "it", ScriptedBackend([], python="3.12")))
    return asked["timestamps"]


@pytest.mark.parametrize(
    "uri", [f"ellipsis://{PATH}/{TIME}", "s3://b/ellipsis.tif", "/ellipsis.tif"]
)
def test_uri_with_its_timestamp_is_added_without_asking(uri):
    assert named(uri, credentials={"secretName": "drive-key"}) == [{"id": "it", "uris": [uri]}]


def test_cluster_that_holds_the_token_is_given_timestamps_by_name():
    with pytest.raises(InvalidInputError, match="the token is in Secret 'drive-key'") as caught:
        named(f"ellipsis://{PATH}", credentials={"secretName": "drive-key"})

    assert f"name one: ellipsis://{PATH}/<timestampId>" in caught.value.fixes


def outline(west, south, east, north):
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "MultiPolygon", "coordinates": [[ring]]}


@pytest.mark.parametrize(
    ("box", "zoom", "tiles"),
    [
        ((-180.0, -85.06, 180.0, 85.06), 0, TileBox(0, 0, 1, 1)),
        ((-180.0, -90.0, 180.0, 90.0), 3, TileBox(0, 0, 8, 8)),
        ((0.0, 0.0, 90.0, 66.51326044311186), 2, TileBox(2, 1, 1, 1)),
        ((-1e-12, -1e-12, 90.0 + 1e-12, 66.0), 2, TileBox(2, 1, 1, 1)),
        ((4.0, 52.0, 4.0, 52.0), 10, TileBox(523, 338, 1, 1)),
        ((180.0, -89.0, 180.0, -89.0), 4, TileBox(15, 15, 1, 1)),
    ],
)
def test_tiles_are_the_whole_ones_around_an_outline(box, zoom, tiles):
    assert tiles_around(outline(*box), zoom) == tiles


@pytest.mark.parametrize("box", [(0, 0, 181, 1), (float("nan"), 0, 1, 1), (0, -91, 1, 1)])
def test_outline_that_is_not_on_the_earth_is_refused(box):
    with pytest.raises(ValueError, match="no degrees"):
        tiles_around(outline(*box), 4)


def listing(tmp_path, *properties):
    """Write features with these properties, a batch each, and return them as GeoParquet."""
    rows, target = tmp_path / "rows.arrow", tmp_path / "whole.parquet"
    with pa.ipc.new_file(str(rows), RAW) as writer:
        for number, told in enumerate(properties):
            wkb = shapely.to_wkb(shapely.Point(number, 1))
            columns = [[told.get("id")], [wkb], [json.dumps(told)]]
            writer.write_batch(pa.record_batch(columns, schema=RAW))
    write_listing(rows, target)
    return pq.read_table(target)


@pytest.mark.parametrize(
    ("values", "kind", "found"),
    [
        ([1, None, 2], pa.int64(), [1, None, 2]),
        ([1, 2.5], pa.float64(), [1.0, 2.5]),
        ([2**70, 1], pa.float64(), [float(2**70), 1.0]),
        ([10**400, 1], pa.string(), [str(10**400), "1"]),
        ([True, None], pa.bool_(), [True, None]),
        (["a", 1], pa.string(), ["a", "1"]),
        ([{"a": [1]}, "b"], pa.string(), ['{"a": [1]}', "b"]),
        ([None], pa.string(), [None]),
    ],
)
def test_column_has_the_type_that_all_its_values_have(tmp_path, values, kind, found):
    table = listing(tmp_path, *({"value": value} for value in values))

    assert table.schema.field("value").type == kind
    assert table.column("value").to_pylist() == found


def test_rows_are_in_the_order_of_their_ids_and_each_is_there_once(tmp_path):
    table = listing(tmp_path, {"id": "c"}, {"id": "a"}, {"id": "b"}, {"id": "a"})

    assert table.column("id").to_pylist() == ["a", "b", "c"]
    assert table.column("bbox").to_pylist()[0]["xmin"] == 1.0


def test_features_without_ids_stay_as_they_were_listed(tmp_path):
    table = listing(tmp_path, {"id": "c"}, {"name": "x"}, {"id": "a"})

    assert table.column("id").to_pylist() == ["c", None, "a"]


def test_columns_named_like_geometry_and_box_stay(tmp_path):
    table = listing(tmp_path, {"geometry": "round", "bbox": 4})

    assert table.column_names == ["geometry", "bbox", "geometry_", "bbox_"]
    assert table.column("bbox").to_pylist() == [4]


def test_no_features_are_an_empty_table(tmp_path):
    table = listing(tmp_path)

    assert table.num_rows == 0
    assert json.loads(table.schema.metadata[b"geo"])["primary_column"] == "geometry"


def test_part_of_a_tiled_raster_is_counted_by_all_bands_of_its_tiles():
    window = (0, 0, 2048, 2048)
    file = RasterFile(
        handle=None, covers=window, indexes=(1,), flipped=False, block=None, alpha=None,
        has_mask=False, patience=None, nodata=None,
    )  # fmt: skip
    layer = RasterLayer(
        files=(file,), shape=(2048, 2048), count=1, dtype=np.dtype("uint16"), fill=0,
        block=(256, 256), bands_read=120,
    )  # fmt: skip

    parts = list(layer.walk(window, most_bytes=16 << 20))

    assert len(parts) == 64
    assert max(height * width for _, _, height, width in parts) == 256 * 256
