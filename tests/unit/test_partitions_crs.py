"""Boxes between reference systems: longitudes from 0 to 360 are places like all others."""

from __future__ import annotations

import pytest
from geopod.partitions.crs import bounds_in, bounds_near

EDGE = 20037508.342789244
"""180 degrees in Web Mercator, whose x are 111,319.49 m a degree."""
DEGREE = EDGE / 180
WORLD = (-EDGE, -8.4e6, EDGE, 8.4e6)


@pytest.mark.parametrize(
    ("west", "east", "left", "right"),
    [
        pytest.param(10, 20, 10, 20, id="as usual"),
        pytest.param(0, 360, -180, 180, id="0 to 360"),
        pytest.param(-0.125, 359.875, -180, 180, id="0 to 360 by centres"),
        pytest.param(190, 200, -170, -160, id="past 180 alone"),
        pytest.param(180, 190, -180, -170, id="from 180"),
        pytest.param(170, 180, 170, 180, id="to 180"),
        pytest.param(350, 370, -10, 10, id="past 360"),
        pytest.param(-190, -180, 170, 180, id="below -180"),
    ],
)
def test_longitudes_past_180_have_their_place(west, east, left, right):
    box = (west, -60.0, east, 60.0)
    wanted = pytest.approx((left * DEGREE, right * DEGREE), abs=1)

    for found in (
        bounds_in(box, "EPSG:4326", "EPSG:3857"),
        bounds_near(box, "EPSG:4326", "EPSG:3857", near=WORLD),
    ):
        assert (found[0], found[2]) == wanted


def test_box_elsewhere_has_no_part_near():
    assert bounds_near((190, 0, 200, 10), "EPSG:4326", "EPSG:3857", near=(0, 0, 1e6, 1e6)) is None


def test_metres_have_no_turns():
    box = (500_000.0, 0.0, 500_360.0, 360.0)
    assert bounds_in(box, "EPSG:32633", "EPSG:32633") == box
    assert bounds_near(box, "EPSG:32632", "EPSG:32633", near=(500_000, 0, 501_000, 1e3)) is None
