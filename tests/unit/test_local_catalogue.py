"""Layers of this machine: what is refused before anything is stored or started."""

import asyncio

import pytest
from geopod.errors import InvalidInputError, LayerAccessError
from local_builders import story

TIFF = b"II*\0" + bytes(64)
GPKG = b"SQLite format 3\0" + bytes(64)


@pytest.fixture
def dem(tmp_path):
    """Return a file that begins like a GeoTIFF: nothing reads further yet."""
    path = tmp_path / "dem.tif"
    path.write_bytes(TIFF)
    return path


def stamps(*uris, **fields):
    return {"timestamps": [{"id": "2024", "uris": [str(uri) for uri in uris], **fields}]}


def refused(home, path_id, spec, error=InvalidInputError):
    """Return why a layer is refused; nothing of it may be in the catalogue then."""

    async def act(backend):
        before = await backend.list_layers()
        with pytest.raises(error) as caught:
            await backend.apply_layer(path_id, spec)
        assert await backend.list_layers() == before
        return caught.value

    return story(home, act)


class TestLayer:
    def test_readable_file_is_stored(self, tmp_path, dem):
        async def act(backend):
            return await backend.apply_layer("dem", {"type": "raster", **stamps(dem)})

        assert story(tmp_path / "home", act).spec == {"type": "raster", **stamps(dem)}

    def test_layer_without_files_yet_is_stored(self, tmp_path):
        async def act(backend):
            await backend.apply_layer("double", {"type": "raster"})
            return await backend.get_layer("double")

        assert story(tmp_path / "home", act).spec == {"type": "raster", "timestamps": []}

    def test_missing_file_is_refused(self, tmp_path):
        gone = tmp_path / "gone.tif"
        error = refused(tmp_path / "home", "dem", stamps(gone), LayerAccessError)
        assert error.code == "E122"
        assert error.fact == f"Layer 'dem' cannot be read: {gone}: No such file or directory."

    def test_one_missing_file_of_a_mosaic_is_refused(self, tmp_path, dem):
        refused(tmp_path / "home", "dem", stamps(dem, tmp_path / "gone.tif"), LayerAccessError)

    def test_file_of_no_known_format_is_refused(self, tmp_path):
        notes = tmp_path / "notes.txt"
        notes.write_text("no layer")
        error = refused(tmp_path / "home", "dem", stamps(notes), LayerAccessError)
        assert "the format of" in error.fact

    def test_file_of_another_kind_is_refused(self, tmp_path):
        towns = tmp_path / "towns.gpkg"
        towns.write_bytes(GPKG)
        error = refused(
            tmp_path / "home", "dem", {"type": "raster", **stamps(towns)}, LayerAccessError
        )
        assert f"{towns} is a vector file, the layer is raster" in error.fact

    def test_place_that_is_no_path_is_refused(self, tmp_path):
        for uri in ("dem.tif", "ftp://host/dem.tif", "/vsizip/dem.zip"):
            refused(tmp_path / "home", "dem", stamps(uri), LayerAccessError)

    def test_place_elsewhere_is_left_to_planning(self, tmp_path):
        async def act(backend):
            return await backend.apply_layer("dem", stamps("s3://no-such-bucket/dem.tif"))

        assert story(tmp_path / "home", act).spec == stamps("s3://no-such-bucket/dem.tif")

    @pytest.mark.parametrize(
        ("path_id", "spec", "words"),
        [
            pytest.param("dem", {"type": "netcdf"}, "type='netcdf' is refused", id="type"),
            pytest.param("dem", {"kind": "raster"}, "kind='raster' is refused", id="field"),
            pytest.param("dem", {"timestamps": [{"id": "a"}]}, "exactly one of uri", id="no uri"),
            pytest.param("dem", stamps("s3://b/d.tif", id=""), "at least 1 character", id="id"),
            pytest.param("dem", stamps("s3://b/d.tif", id="x" * 64), "at most 63", id="long id"),
            pytest.param(
                "dem", stamps("s3://b/d.tif", date="May 2024"), "date='May 2024'", id="date"
            ),
            pytest.param(
                "dem",
                {"timestamps": 2 * stamps("s3://b/d.tif")["timestamps"]},
                "timestamps twice: 2024",
                id="twice",
            ),
            pytest.param("d" * 64, {"type": "raster"}, "at most 63 of a-z", id="long name"),
            pytest.param("Dem_2024", {"type": "raster"}, "is no resource name", id="name"),
        ],
    )
    def test_what_is_no_layer_is_refused(self, tmp_path, path_id, spec, words):
        assert words in refused(tmp_path / "home", path_id, spec).fact

    def test_type_never_changes(self, tmp_path):
        home = tmp_path / "home"

        async def act(backend):
            await backend.apply_layer("dem", {"type": "raster"})

        story(home, act)
        error = refused(home, "dem", {"type": "vector"})
        assert error.fact == "type='vector' cannot be changed: 'dem' is raster."


class TestEnvironment:
    def test_missing_file_is_said_before_a_process_starts(self, tmp_path):
        gone = tmp_path / "gone.tif"
        spec = {"nodes": 1, "layers": [{"pathId": "gone", "timestampId": "gone"}]}

        async def act(backend):
            with pytest.raises(LayerAccessError):
                await backend.apply_environment("env", spec, labels={}, sources={"gone": gone})
            return await backend.list_environments()

        assert story(tmp_path / "home", act) == []

    def test_file_that_went_since_it_was_added_is_said_before_a_process_starts(self, tmp_path, dem):
        spec = {"nodes": 1, "layers": [{"pathId": "dem", "timestampId": "2024"}]}

        async def act(backend):
            await backend.apply_layer("dem", stamps(dem))
            await asyncio.to_thread(dem.unlink)
            with pytest.raises(LayerAccessError):
                await backend.apply_environment("env", spec, labels={})
            return await backend.list_environments()

        assert story(tmp_path / "home", act) == []
