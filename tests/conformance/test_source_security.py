"""What a layer must not reach: the machine's files, other people's keys, addresses inside."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio
import rasterio.shutil
from geopod.errors import LayerAccessError, LayerCRSError, PartitionError
from geopod.layers.access import OWN_MACHINE, Access, Patience, read_access
from geopod.layers.geojson import CHUNK_BYTES
from geopod.layers.headers import read_header
from geopod.layers.sources import find_source
from geopod.layers.stores import open_store
from geopod.layers.vsi import remote_options
from layer_builders import raster_spec, scene_polygons, write_raster, write_sparse
from source_builders import file_server, quick_access
from staging_builders import layer_source, plan_of, stage_job, web_source

METADATA = "169.254.169.254"


@pytest.fixture
def pod(tmp_path):
    """Access in a pod: volumes in one folder, the machine's own files beside it."""
    volumes = tmp_path / "volumes"
    (volumes / "claim").mkdir(parents=True)
    write_raster(tmp_path / "secret.tif", raster_spec())
    write_raster(volumes / "claim" / "dem.tif", raster_spec())
    return Access(volumes=volumes)


def refused(href, access=OWN_MACHINE):
    with pytest.raises(LayerAccessError) as caught:
        find_source(href, path_id="dem", access=access)
    assert caught.value.code == "E122"
    return str(caught.value.fact)


@pytest.mark.parametrize(
    "href",
    [
        pytest.param(f"http://{METADATA}/latest/meta-data/x.tif", id="address"),
        pytest.param("http://[fd00:ec2::254]/x.tif", id="IPv6"),
        pytest.param("http://[::ffff:169.254.169.254]/x.tif", id="mapped"),
        pytest.param("http://0.0.0.0/x.tif", id="any"),
        pytest.param("http://168.63.129.16/x.tif", id="Azure"),
        pytest.param("http://100.100.100.200/x.tif", id="Alibaba"),
        pytest.param("http://2852039166/x.tif", id="as a number"),
    ],
)
def test_metadata_addresses_are_refused_on_every_machine(href):
    assert "an address that layers may not have" in refused(href)


def test_loopback_is_refused_in_a_pod(pod):
    assert "an address that layers may not have" in refused("http://localhost:1/x.tif", pod)


def test_endpoint_of_a_store_is_checked_like_an_address():
    keys = {"AWS_ENDPOINT_URL": f"http://{METADATA}"}

    words = refused("s3://bucket/x.tif", Access(credentials={"dem": keys}))

    assert "an address that layers may not have" in words


@pytest.mark.parametrize("target", [f"http://{METADATA}/x.tif", "http://[fe80::1]/x.tif"])
def test_redirect_to_an_address_inside_is_refused(tmp_path, target):
    with file_server(tmp_path) as server:
        server.tell(always={"/x.tif": f"-> {target}"})

        words = refused(server.url("x.tif"), quick_access())

    assert "an address that layers may not have" in words


@pytest.mark.parametrize(
    ("href", "words"),
    [
        pytest.param("s3://bucket/../other/x.tif", "is not <bucket>/<key>", id="dots"),
        pytest.param("s3://BUCKET:80/x.tif", "is not <bucket>/<key>", id="port"),
        pytest.param("s3://bucket/x.tif?a=b", "is not <bucket>/<key>", id="query"),
        pytest.param("az://container/x.tif", "needs AZURE_STORAGE_ACCOUNT", id="no account"),
        pytest.param("https://ana:pw@host/x.tif", "holds a password", id="password"),
        pytest.param("https://host/x.tif?X-Amz-Signature=aa", "a signature", id="signature"),
        pytest.param("https://host/x.tif?sig=aa", "a signature", id="SAS"),
        pytest.param("https://host/x.tif\nHost: y", "a control character", id="header"),
        pytest.param("/vsis3/bucket/x.tif", "virtual path", id="vsis3"),
        pytest.param("/vsizip//data/x.zip/x.tif", "virtual path", id="vsizip"),
        pytest.param("GTI:/data/x.gti", "neither an absolute path", id="GTI"),
        pytest.param("WMS:http://host/wms", "neither an absolute path", id="WMS"),
        pytest.param("PG:host=db dbname=x", "neither an absolute path", id="PG"),
        pytest.param("MEM:::DATAPOINTER=1", "neither an absolute path", id="MEM"),
    ],
)
def test_uri_that_is_more_than_an_address_is_refused(href, words):
    fact = refused(href)

    assert words in fact
    assert "pw@" not in fact
    assert "=aa" not in fact


def test_keys_are_not_sent_in_the_clear():
    access = Access(credentials={"dem": {"GDAL_HTTP_BEARER": "t"}})

    assert "in the clear" in refused("http://example.org/x.tif", access)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        pytest.param(
            "a.vrt",
            f"<VRTDataset><SourceFilename>/vsicurl/http://{METADATA}/x</SourceFilename>",
            "a VRT, which reads other files; name those: uris",
            id="VRT to metadata",
        ),
        pytest.param(
            "a.tif", "<VRTDataset><SourceFilename>/etc/passwd</SourceFilename>", "a VRT", id="VRT"
        ),
        pytest.param("a.vrt", "<OGRVRTDataSource/>", "a VRT", id="vector VRT"),
        pytest.param("a.xml", "<GDAL_WMS><Service/>", "a web service", id="WMS"),
        pytest.param("a.gti", "<GDALTileIndexDataset/>", "a tile index", id="GTI"),
        pytest.param("a.zip", "PK\x03\x04", "an archive; unpack it", id="zip"),
        pytest.param("a.tif", "\x1f\x8b", "an archive; unpack it", id="gzip named tif"),
    ],
)
def test_format_that_reads_elsewhere_is_refused_with_what_to_do(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content.encode("latin-1"))

    assert words in refused(str(tmp_path / name))


def test_pod_reads_its_volumes(pod):
    inside = pod.volumes / "claim" / "dem.tif"

    assert read_header(layer_source(inside), pod).kind == "raster"


@pytest.mark.parametrize(
    "way",
    ["absolute", "dots", "link", "linked folder", "companion", "dataset folder"],
)
def test_pod_reads_nothing_beside_its_volumes(pod, tmp_path, way):
    claim = pod.volumes / "claim"
    href = str(tmp_path / "secret.tif")
    if way == "dots":
        href = f"file://{claim}/../../secret.tif"
    elif way == "link":
        (claim / "link.tif").symlink_to(tmp_path / "secret.tif")
        href = str(claim / "link.tif")
    elif way == "linked folder":
        (claim / "up").symlink_to(tmp_path)
        href = str(claim / "up" / "secret.tif")
    elif way == "companion":
        (claim / "dem.tif.msk").symlink_to(tmp_path / "secret.tif")
        href = str(claim / "dem.tif")
    elif way == "dataset folder":
        (claim / "set").mkdir()
        scene_polygons(5).to_parquet(tmp_path / "secret.parquet")
        (claim / "set" / "part.parquet").symlink_to(tmp_path / "secret.parquet")
        href = str(claim / "set")

    assert "is not on a volume of the Layer" in refused(href, pod)


@pytest.mark.parametrize("beside", ["dbf", "DBF", "PRJ", "CPG", "qix"])
def test_pod_reads_no_shapefile_with_parts_beside_its_volumes(pod, tmp_path, beside):
    claim = pod.volumes / "claim"
    scene_polygons(5).to_file(tmp_path / "secret.shp", engine="pyogrio", SPATIAL_INDEX="YES")
    scene_polygons(5).to_file(claim / "fields.shp", engine="pyogrio")
    (claim / f"fields.{beside.lower()}").unlink(missing_ok=True)
    (claim / f"fields.{beside}").symlink_to(tmp_path / f"secret.{beside.lower()}")

    assert "is not on a volume of the Layer" in refused(str(claim / "fields.shp"), pod)


def test_index_names_only_what_a_layer_may_have(pod, tmp_path):
    listed = pod.volumes / "claim" / "all.txt"
    listed.write_text(f"dem.tif\n{tmp_path}/secret.tif\n")

    with pytest.raises(LayerAccessError, match="is not on a volume"):
        read_header(layer_source(listed), pod)


def test_index_on_the_web_names_no_file_of_this_machine(tmp_path):
    write_raster(tmp_path / "dem.tif", raster_spec())
    with file_server(tmp_path) as server:
        (tmp_path / "all.txt").write_text(f"{tmp_path}/dem.tif\n")

        with pytest.raises(LayerAccessError, match="names a file of this machine"):
            read_header(web_source(server.url("all.txt")), quick_access())


def test_stac_asset_at_the_metadata_address_is_refused(tmp_path):
    item = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": "a",
        "assets": {"data": {"href": f"http://{METADATA}/x.tif"}},
    }
    (tmp_path / "a.json").write_text(json.dumps(item))

    with pytest.raises(LayerAccessError, match="an address that layers may not have"):
        read_header(layer_source(tmp_path / "a.json"))


def test_raster_that_reads_outside_its_folder_is_refused(tmp_path):
    (tmp_path / "sub").mkdir()
    path = write_raster(tmp_path / "sub" / "dem.tif", raster_spec())
    write_raster(tmp_path / "other.tif", raster_spec(dtype="uint8"))
    (tmp_path / "sub" / "dem.tif.msk").symlink_to(tmp_path / "other.tif")

    with pytest.raises(LayerAccessError, match="lies outside its folder"):
        read_header(layer_source(path))


VRT = """<VRTDataset rasterXSize="96" rasterYSize="64">
  <Metadata><MDI key="INTERNAL_MASK_FLAGS_1">2</MDI></Metadata>
  <VRTRasterBand dataType="Byte" band="1"><SimpleSource>
    <SourceFilename>{}</SourceFilename><SourceBand>1</SourceBand>
  </SimpleSource></VRTRasterBand>
</VRTDataset>"""


@pytest.mark.parametrize("name", ["dem.tif.msk", "dem.tif.ovr", "DEM.TIF.OVR"])
def test_mask_or_overviews_that_read_other_files_are_refused_unopened(tmp_path, name):
    """GDAL opens them with any driver, and does not say what a VRT in a VRT reads."""
    with file_server(tmp_path) as server:
        path = write_raster(tmp_path / "dem.tif", raster_spec(dtype="uint8"))
        (tmp_path / "inner.vrt").write_text(VRT.format(f"/vsicurl/{server.url('dem.tif')}"))
        (tmp_path / name).write_text(VRT.format(tmp_path / "inner.vrt"))

        with pytest.raises(LayerAccessError, match="is no GeoTIFF, as overviews and masks are"):
            read_header(layer_source(path))

        assert server.asked() == []


def write_erdas(folder):
    return write_raster(folder / "dem.img", raster_spec(dtype="uint8"), driver="HFA")


def write_srtm(folder):
    path = folder / "N36W087.hgt"
    path.write_bytes(np.arange(1201 * 1201, dtype=">i2").tobytes())
    return path


def write_usgs(folder):
    whole = write_raster(folder.parent / "whole.tif", raster_spec(dtype="int16"))
    rasterio.shutil.copy(str(whole), str(folder / "a.dem"), driver="USGSDEM")
    return folder / "a.dem"


@pytest.mark.parametrize(
    ("write", "suffix"),
    [
        (write_erdas, ".msk"),
        (write_erdas, ".MSK"),
        (write_erdas, ".ovr"),
        (write_srtm, ".msk"),
        (write_usgs, ".msk"),
    ],
)
def test_what_lies_beside_a_raster_on_the_web_is_not_asked_for(tmp_path, write, suffix):
    """Some drivers look for it whatever they are told."""
    folder = tmp_path / "www"
    folder.mkdir()
    with file_server(folder) as server:
        path = write(folder)
        with rasterio.open(path) as whole:
            pixels = whole.read()
        secret = write_raster(tmp_path / "secret.tif", raster_spec(dtype="uint8"))
        path.with_name(path.name + suffix).write_text(VRT.format(secret))
        source = web_source(server.url(path.name), key="dem")

        job = stage_job(tmp_path, source, nodes=1, access=quick_access())

        assert set(server.paths()) == {path.name}
    assert job.plan.layers[0].raster.mask != "perDataset"
    np.testing.assert_array_equal(job.core(0, "dem"), pixels)


@pytest.mark.parametrize("way", ["file", "beside", "mask"])
def test_raster_that_names_its_overviews_elsewhere_is_refused_unopened(tmp_path, way):
    with file_server(tmp_path) as server:
        path = write_raster(tmp_path / "dem.tif", raster_spec(dtype="uint8"))
        named = f"/vsicurl/{server.url('dem.tif')}"
        telling = path if way == "file" else tmp_path / "dem.tif.msk"
        if way == "mask":
            telling.write_bytes(path.read_bytes())
        if way == "beside":
            (tmp_path / "dem.tif.aux.xml").write_text(
                '<PAMDataset><Metadata domain="OVERVIEWS">'
                f'<MDI key="OVERVIEW&#95;FILE">{named}</MDI></Metadata></PAMDataset>'
            )
        else:
            with rasterio.open(telling, "r+", driver="GTiff") as dataset:
                dataset.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=named)

        with pytest.raises(LayerAccessError, match="has its overviews in /vsicurl"):
            read_header(layer_source(path))

        assert server.asked() == []


def test_overviews_and_mask_of_a_raster_are_no_reason_to_refuse_it(tmp_path):
    path = write_raster(tmp_path / "dem.tif", raster_spec(dtype="uint8"))
    with rasterio.Env(TIFF_USE_OVR="YES"), rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2])
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK="NO"), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(np.zeros(dataset.shape, np.uint8))
    beside = {one.name for one in tmp_path.iterdir()}
    assert beside >= {"dem.tif.ovr", "dem.tif.msk"}

    assert read_header(layer_source(path)).raster.header.mask == "perDataset"


@pytest.mark.parametrize("named", ["../other/secret.ige", "/vsicurl/URL"], ids=["file", "address"])
def test_raster_whose_header_names_a_file_elsewhere_is_refused(tmp_path, named):
    """Erdas Imagine keeps large pixels in a file of its own, whose name stands in the header."""
    with file_server(tmp_path) as server:
        target = named.replace("URL", server.url("secret.ige"))
        spec = raster_spec(dtype="uint8")
        path = write_raster(
            tmp_path / f"{'n' * (len(target) - 4)}.img", spec, driver="HFA", USE_SPILL="YES"
        )
        spill = path.with_suffix(".ige")
        (tmp_path / "other").mkdir()
        shutil.copy(spill, tmp_path / "other" / "secret.ige")
        spill.rename(tmp_path / "secret.ige")
        (tmp_path / "layer").mkdir()
        image = tmp_path / "layer" / "x.img"
        image.write_bytes(path.read_bytes().replace(spill.name.encode(), target.encode()))

        with pytest.raises(LayerAccessError, match="lies outside its folder"):
            read_header(layer_source(image))

        assert server.asked() == []


@pytest.mark.parametrize(
    ("side", "bands", "words"),
    [
        (40_960, 1, "one block of 40960 x 40960 uint8 takes 1.6 GiB"),
        (4096, 80, "one block of 4096 x 4096 uint8, 80 bands at once, takes 1.2 GiB"),
    ],
)
def test_block_that_would_fill_the_memory_is_refused(tmp_path, side, bands, words):
    path = tmp_path / "bomb.tif"
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=side,
        height=side,
        count=bands,
        dtype="uint8",
        crs="EPSG:32616",
        transform=raster_spec().transform,
        tiled=True,
        blockxsize=side,
        blockysize=side,
        interleave="pixel",
        compress="deflate",
        sparse_ok=True,
    ):
        pass
    assert path.stat().st_size < 1_000_000

    with pytest.raises(LayerAccessError, match=words):
        read_header(layer_source(path))


def test_header_of_any_size_is_planned_in_bounded_memory(tmp_path):
    path = write_sparse(tmp_path / "small.tif", raster_spec())
    huge = tmp_path / "huge.tif"
    with rasterio.open(
        huge,
        "w",
        driver="GTiff",
        width=1 << 21,
        height=1 << 21,
        count=1,
        dtype="uint8",
        crs="EPSG:32616",
        transform=raster_spec(pixel=0.001).transform,
        tiled=True,
        blockxsize=4096,
        blockysize=4096,
        sparse_ok=True,
    ):
        pass
    assert path.exists()

    plan = plan_of(layer_source(huge), nodes=7)

    assert plan.totals.pixels["huge"] == 1 << 42


def test_features_that_would_fill_the_memory_are_refused_unread(tmp_path):
    path = tmp_path / "bomb.parquet"
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": {
        "encoding": "WKB", "geometry_types": [],
    }}}  # fmt: skip  # the least there is
    schema = pa.schema([("geometry", pa.binary())], metadata={"geo": json.dumps(geo)})
    rows = pa.table([pa.nulls(1 << 20, pa.binary())], schema=schema)
    with pq.ParquetWriter(path, schema) as writer:
        for _ in range(33):
            writer.write_table(rows)
    assert path.stat().st_size < 100_000

    with pytest.raises(LayerAccessError, match="has 34,603,008 features, 33,554,432 are the limit"):
        read_header(layer_source(path))


def test_geojson_nested_without_end_is_refused(tmp_path):
    path = tmp_path / "deep.geojson"
    path.write_text(
        '{"type": "FeatureCollection", "features": [{"type": "Feature", "properties": {}, '
        f'"geometry": {{"type": "Polygon", "coordinates": {"[" * 100_000}'
    )

    with pytest.raises(LayerAccessError, match="Too many nested"):
        read_header(layer_source(path))


LINK = '{"type": "link", "properties": {"href": "URL"}}'


@pytest.mark.parametrize(
    "member",
    [
        pytest.param(f'"crs": {LINK}', id="link"),
        pytest.param('"crs": {"type": "url", "properties": {"url": "URL"}}', id="url"),
        pytest.param(f'"\\u0063r\\u0073": {LINK}', id="escaped"),
        pytest.param(f'"CRS": {LINK}', id="upper case"),
        pytest.param(f"'crs': {LINK}", id="single quotes"),
        pytest.param(f'"crs\\u0000x": {LINK}', id="zero byte"),
        pytest.param(f'"crs" /* a comment */ : {LINK}', id="comment"),
        pytest.param(f'"crs"{" " * 9000}: {LINK}', id="far from its value"),
    ],
)
def test_geojson_does_not_make_anyone_ask_for_its_crs(tmp_path, member):
    place = '{"type": "Point", "coordinates": [1, 2]}'
    point = f'{{"type": "Feature", "properties": {{}}, "geometry": {place}}}'
    with file_server(tmp_path) as server:
        told = member.replace("URL", server.url("crs.wkt"))
        path = tmp_path / "points.geojson"
        path.write_text(f'{{{told}, "type": "FeatureCollection", "features": [{point}]}}')

        with pytest.raises(LayerAccessError, match="is no plain name"):
            read_header(layer_source(path))

        assert server.asked() == []


@pytest.mark.parametrize(
    "before", [0, CHUNK_BYTES - 8, CHUNK_BYTES + 30], ids=["first", "across", "second"]
)
def test_crs_of_a_geojson_is_found_wherever_it_stands(tmp_path, before):
    path = tmp_path / "points.geojson"
    member = '"crs": {"type": "link", "properties": {"href": "http://127.0.0.1:9/"}}'
    path.write_text(f'{{"about": "{"x" * before}", {member}, "type": "FeatureCollection"}}')

    with pytest.raises(LayerAccessError, match="is no plain name"):
        read_header(layer_source(path))


def test_geojson_that_names_its_crs_is_read(tmp_path):
    path = tmp_path / "named.geojson"
    frame = scene_polygons(5)
    path.write_text(frame.assign(crs="an attribute").to_json())
    written = json.loads(path.read_text())
    assert written["crs"]["type"] == "name"

    assert read_header(layer_source(path)).header.crs == "EPSG:32616"


def write_prj(folder, url):
    (folder / "a.asc").write_text("ncols 1\nnrows 1\nxllcorner 0\nyllcorner 0\ncellsize 1\n1\n")
    (folder / "a.prj").write_text(url)
    return folder / "a.asc"


def write_sidecar(folder, url):
    (folder / "b.tif.aux.xml").write_text(f"<PAMDataset><SRS>{url}</SRS></PAMDataset>")
    return write_raster(folder / "b.tif", raster_spec(crs=None))


def write_shapefile(folder, url):
    scene_polygons(5).to_file(folder / "c.shp", engine="pyogrio")
    (folder / "c.prj").write_text(url)
    return folder / "c.shp"


def write_geopackage(folder, url):
    scene_polygons(5).to_file(folder / "d.gpkg", engine="pyogrio")
    with contextlib.closing(sqlite3.connect(folder / "d.gpkg")) as base, base:
        base.execute(
            "UPDATE gpkg_spatial_ref_sys SET definition = ?, organization = 'NONE', "
            "organization_coordsys_id = 1 WHERE srs_id = 32616",
            (url,),
        )
    return folder / "d.gpkg"


@pytest.mark.parametrize("write", [write_prj, write_sidecar, write_shapefile, write_geopackage])
def test_crs_that_is_an_address_is_not_asked_for(tmp_path, write):
    with file_server(tmp_path) as server:
        path = write(tmp_path, server.url("crs.wkt"))

        with pytest.raises(LayerCRSError):
            read_header(layer_source(path))

        assert server.asked() == []


@pytest.mark.parametrize(
    ("kind", "sql"),
    [
        ("table", "CREATE VIRTUAL TABLE mine USING VirtualOGR('{secret}')"),
        ("table", "CREATE VIRTUAL TABLE mine USING VirtualOGR('/vsicurl/{url}')"),
        ("view", "CREATE VIEW mine AS SELECT ogr_datasource_load_layers('{secret}') AS fid"),
    ],
    ids=["file", "address", "view"],
)
def test_geopackage_reads_nothing_but_itself(tmp_path, kind, sql):
    scene_polygons(5).to_file(tmp_path / "secret.shp", engine="pyogrio")
    path = tmp_path / "x.gpkg"
    scene_polygons(3).to_file(path, engine="pyogrio", layer="mine")
    with file_server(tmp_path) as server:
        statement = sql.format(secret=tmp_path / "secret.shp", url=server.url("secret.shp"))
        with contextlib.closing(sqlite3.connect(path)) as base, base:
            base.execute("PRAGMA writable_schema = on")
            base.execute(
                "UPDATE sqlite_master SET type = ?, sql = ?, rootpage = 0 WHERE name = 'mine'",
                (kind, statement),
            )

        with pytest.raises(LayerAccessError):
            read_header(layer_source(path))

        assert server.asked() == []


def test_without_keys_no_identity_of_the_machine_is_used(monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "the machine's")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "own")
    monkeypatch.setenv("GDAL_HTTP_HEADERS", "Authorization: the machine's")
    monkeypatch.setenv("GDAL_HTTP_USERPWD", "ana:machine")
    write_raster(tmp_path / "dem.tif", raster_spec())
    with file_server(tmp_path) as server:
        stage_job(tmp_path, web_source(server.url("dem.tif")), nodes=1, access=quick_access())

        asked = server.asked()
        assert "machine" not in str(asked)
        assert not any("Authorization" in one["headers"] for one in asked)
    place = find_source(str(tmp_path / "dem.tif"), path_id="dem")
    assert place.remote is None


def test_options_that_gdal_would_load_plugins_by_are_not_taken_from_a_secret():
    access = Access(credentials={"dem": {"GDAL_DRIVER_PATH": "/evil", "AWS_REGION": "eu-west-1"}})

    assert access.keys("dem") == {"AWS_REGION": "eu-west-1"}


def test_google_and_azure_keys_become_options_of_gdal(tmp_path):
    from geopod.layers.remote import find_remote

    account = json.dumps({"client_email": "a@b", "private_key": "KEY"})
    access = Access(
        credentials={
            "g": {"GOOGLE_APPLICATION_CREDENTIALS_JSON": account},
            "a": {"AZURE_STORAGE_ACCOUNT": "acc", "AZURE_STORAGE_SAS_TOKEN": "?sv=1"},
        }
    )

    google = remote_options(find_remote("gs://bucket/x.tif", access, path_id="g"))
    azure = remote_options(find_remote("az://container/x.tif", access, path_id="a"))

    assert google["GS_OAUTH2_CLIENT_EMAIL"] == "a@b"
    assert google["GS_NO_SIGN_REQUEST"] == "NO"
    assert azure["AZURE_STORAGE_SAS_TOKEN"] == "sv=1"  # noqa: S105  # a test's own
    assert azure["AWS_NO_SIGN_REQUEST"] == "YES"


def test_pod_takes_keys_from_mounted_secrets(tmp_path):
    secret = tmp_path / "secrets" / "dem-key"
    secret.mkdir(parents=True)
    (secret / "AWS_ACCESS_KEY_ID").write_text("key\n")
    (secret / "LD_PRELOAD").write_text("no")
    environ = {"GEOPOD_POD_NAME": "p", "GEOPOD_LAYER_SECRETS": '{"dem": "dem-key", "x": "gone"}'}

    access = read_access(environ, secrets_folder=tmp_path / "secrets", volumes=tmp_path)

    assert access.keys("dem") == {"AWS_ACCESS_KEY_ID": "key"}
    assert access.keys("x") == {}
    assert access.secrets["dem"] == "dem-key"
    assert access.is_shared
    assert "key\n" not in repr(access)
    assert read_access({}) == OWN_MACHINE


def test_pod_takes_the_keys_of_a_layer_that_is_only_written_to(tmp_path):
    secret = tmp_path / "dem-key"
    secret.mkdir()
    (secret / "AWS_ACCESS_KEY_ID").write_text("key")
    environ = {"GEOPOD_POD_NAME": "p", "GEOPOD_LAYER_SECRETS": '{"dem": "dem-key"}'}

    access = read_access(environ, also={"slope": "dem-key"}, secrets_folder=tmp_path)

    assert access.keys("slope") == {"AWS_ACCESS_KEY_ID": "key"}
    assert access.is_shared


def test_a_table_that_claims_to_be_a_geopackage_is_refused(tmp_path):
    path = tmp_path / "x.gpkg"
    path.write_bytes(b"SQLite format 3\x00" + os.urandom(2048))

    with pytest.raises(LayerAccessError):
        read_header(layer_source(path))


def test_random_bytes_after_any_magic_are_told_not_crashed_on(tmp_path):
    rng = np.random.default_rng(7)
    for number, magic in enumerate(
        [b"II*\x00", b"MM\x00+", b"\xff\xd8\xff", b"PAR1", b"fgb\x03fgb\x01", b"CDF\x01", b"GRIB"]
    ):
        path = tmp_path / f"{number}.bin"
        path.write_bytes(magic + rng.bytes(4096))

        with pytest.raises((LayerAccessError, PartitionError)):
            read_header(layer_source(path))


@pytest.mark.parametrize(
    ("scheme", "keys"),
    [
        ("s3", {}),
        ("gs", {}),
        ("az", {"AZURE_STORAGE_ACCOUNT": "acc"}),
        ("az", {"AZURE_STORAGE_ACCOUNT": "acc", "AZURE_STORAGE_KEY": "a2V5"}),
        ("az", {"AZURE_STORAGE_ACCOUNT": "acc", "AZURE_STORAGE_SAS_TOKEN": "?sv=2020&sig=abc"}),
    ],
)
def test_clients_of_stores_take_nothing_from_the_environment(monkeypatch, scheme, keys):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://169.254.169.254")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "the-machines")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "the-machines")

    store = open_store(scheme, "bucket", keys, Patience())

    assert "169.254" not in str(store) + str(store.config)
    assert "machines" not in str(store) + str(store.config)
