"""Which libraries computed a plan: ownership depends on GEOS and PROJ, pixels on GDAL."""

from __future__ import annotations

from importlib.metadata import version


def library_versions(*, with_rasters: bool) -> dict[str, str]:
    """Return the versions that go into a plan; GDAL is loaded for plans that have rasters."""
    import pyproj
    import shapely

    versions = {
        "geopod": version("geopod"),
        "geos": shapely.geos_version_string,
        "proj": pyproj.proj_version_str,
    }
    if with_rasters:
        import rasterio

        versions["gdal"] = rasterio.__gdal_version__
    return versions
