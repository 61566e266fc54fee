"""Regions: what files say, and the pixels that are selected, against a point-in-shape computation of its own."""

import re

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from regions import CircleSkyRegion, PointSkyRegion, RectangleSkyRegion

from sting.messages import StingWarning
from sting.sky_regions import parse_regions, read_regions, region_mask, regions_text, write_regions

SHAPE = (61, 67)
PIXEL = 0.2  # arcsec
#: Pixels whose centres are nearer to an edge than this (pixels) may fall to either side.
EDGE = 0.02


@pytest.fixture(params=[31.2, -80.0, 80.0])
def wcs(request):
    """An image at high and low declination, turned a little."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---SIN", "DEC--SIN"]
    wcs.wcs.crval = [52.2, request.param]
    wcs.wcs.crpix = [30.4, 33.1]
    turn = np.deg2rad(10)
    wcs.wcs.cd = PIXEL / 3600 * np.array([[-np.cos(turn), np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    wcs.wcs.radesys = "FK5"
    wcs.wcs.equinox = 2000.0
    wcs.wcs.set()
    return wcs


def place(wcs, frame):
    """A place of the image that is no pixel, in a frame."""
    return wcs.pixel_to_world(31.37, 28.21).transform_to(frame)


def seen_from(wcs, frame):
    """Offsets (arcsec) of the pixels from `place`, to the west and to the north of the frame."""
    y, x = np.indices(SHAPE)
    east, north = place(wcs, frame).spherical_offsets_to(wcs.pixel_to_world(x, y).transform_to(frame))
    return -east.arcsec, north.arcsec


def turned(west, north, angle):
    c, s = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    return west * c + north * s, north * c - west * s


def circle(radius):
    return lambda w, n: np.hypot(w, n) - radius


def ellipse(a, b, angle):
    def signed(w, n):
        x, y = turned(w, n, angle)
        return (np.hypot(x / a, y / b) - 1) * min(a, b)

    return signed


def box(width, height, angle):
    def signed(w, n):
        x, y = turned(w, n, angle)
        return np.maximum(np.abs(x) - width / 2, np.abs(y) - height / 2)

    return signed


def between(inner, outer):
    return lambda w, n: np.maximum(outer(w, n), -inner(w, n))


CORNERS = ((2.1, -1.6), (-2.4, -1.2), (0.3, 2.7))


def polygon(corners=CORNERS):
    """Distance from the nearest edge, negative inside (a convex polygon)."""

    def signed(w, n):
        edges = []
        for (x1, y1), (x2, y2) in zip(corners, [*corners[1:], corners[0]], strict=True):
            edges.append(((x2 - x1) * (n - y1) - (y2 - y1) * (w - x1)) / np.hypot(x2 - x1, y2 - y1))
        edges = np.array(edges)
        return np.minimum(edges.max(axis=0), (-edges).max(axis=0))

    return signed


def vertices(wcs, frame):
    here = place(wcs, frame)
    # to the east, as coordinates count
    return [here.spherical_offsets_by(-w * u.arcsec, n * u.arcsec) for w, n in CORNERS]


def lonlat(position):
    return position.spherical.lon.deg, position.spherical.lat.deg


#: What stands in a ds9 file after the place, and the shape that it means.
DS9 = {
    'circle({},{},2.3")': circle(2.3),
    'ellipse({},{},3.2",1.1",30)': ellipse(3.2, 1.1, 30),
    'box({},{},6.3",1.9",30)': box(6.3, 1.9, 30),
    'annulus({},{},1.3",2.6")': between(circle(1.3), circle(2.6)),
    'annulus({},{},1.3",2.0",2.6")': between(circle(1.3), circle(2.6)),
    'ellipse({},{},1.2",0.9",3.6",2.7",70)': between(ellipse(1.2, 0.9, 70), ellipse(3.6, 2.7, 70)),
    'box({},{},1.4",1.1",4.2",3.3",70)': between(box(1.4, 1.1, 70), box(4.2, 3.3, 70)),
}
CRTF = {
    "circle [[{}deg, {}deg], 2.3arcsec]": circle(2.3),
    # semi-axes, the first to the north, turned to the east
    "ellipse [[{}deg, {}deg], [3.2arcsec, 1.1arcsec], 30deg]": ellipse(1.1, 3.2, 30),
    "rotbox [[{}deg, {}deg], [6.3arcsec, 1.9arcsec], 30deg]": box(6.3, 1.9, 30),
    "centbox [[{}deg, {}deg], [5.3arcsec, 1.9arcsec]]": box(5.3, 1.9, 0),
    "annulus [[{}deg, {}deg], [1.3arcsec, 2.6arcsec]]": between(circle(1.3), circle(2.6)),
}
FRAMES = {"fk5": "J2000", "icrs": "ICRS", "galactic": "GALACTIC"}


def assert_selects(mask, distance):
    clear = np.abs(distance) > EDGE * PIXEL
    assert clear.mean() > 0.98
    assert 0 < mask.sum() < mask.size
    np.testing.assert_array_equal(mask[clear], (distance < 0)[clear])


class TestSelectedPixels:
    @pytest.mark.parametrize("frame", FRAMES)
    @pytest.mark.parametrize("shape", DS9)
    def test_ds9(self, wcs, tmp_path, shape, frame):
        path = tmp_path / "streamer.reg"
        path.write_text(
            f"# Region file format: DS9 version 4.1\n{frame}\n{shape.format(*lonlat(place(wcs, frame)))} # color=red\n"
        )
        mask = region_mask(read_regions(path), wcs, SHAPE)
        assert_selects(mask, DS9[shape](*seen_from(wcs, frame)))

    @pytest.mark.parametrize("frame", FRAMES)
    @pytest.mark.parametrize("shape", CRTF)
    def test_crtf(self, wcs, tmp_path, shape, frame):
        path = tmp_path / "streamer.txt"
        line = shape.format(*lonlat(place(wcs, frame)))
        path.write_text(f"#CRTFv0 CASA Region Text Format version 0\n{line}, coord={FRAMES[frame]}, linewidth=2\n")
        mask = region_mask(read_regions(path), wcs, SHAPE)
        assert_selects(mask, CRTF[shape](*seen_from(wcs, frame)))

    @pytest.mark.parametrize("frame", FRAMES)
    @pytest.mark.parametrize("kind", ["ds9", "crtf"])
    def test_polygon(self, wcs, frame, kind):
        corners = [lonlat(corner) for corner in vertices(wcs, frame)]
        if kind == "ds9":
            text = f"{frame}\npolygon(" + ",".join(f"{lon},{lat}" for lon, lat in corners) + ")"
        else:
            corners = ", ".join(f"[{lon}deg, {lat}deg]" for lon, lat in corners)
            text = f"#CRTFv0\npoly [{corners}], coord={FRAMES[frame]}"
        assert_selects(region_mask(parse_regions(text, "x"), wcs, SHAPE), polygon()(*seen_from(wcs, frame)))

    @pytest.mark.parametrize("frame", FRAMES)
    def test_crtf_box_of_two_corners(self, wcs, frame):
        """Its width is an angle on the sky, not a difference of right ascensions."""
        here = place(wcs, frame)
        lon, lat = lonlat(here)
        across, up = 2.0 / 3600 / np.cos(np.deg2rad(lat)), 1.5 / 3600
        text = f"#CRTFv0\nbox [[{lon - across}deg, {lat - up}deg], [{lon + across}deg, {lat + up}deg]], coord={FRAMES[frame]}"
        west, north = seen_from(wcs, frame)
        # meridians converge: at a declination of 80 deg by some hundredths of a pixel here
        distance = box(4.0, 3.0, 0)(west, north)
        mask = region_mask(parse_regions(text, "x"), wcs, SHAPE)
        clear = np.abs(distance) > 0.1 * PIXEL
        np.testing.assert_array_equal(mask[clear], (distance < 0)[clear])

    @pytest.mark.parametrize(
        "text", ["image\nbox(32.37,29.21,12.5,7.3,30)\n", "#CRTFv0\nrotbox [[31.37pix, 28.21pix], [12.5pix, 7.3pix], 30deg]\n"]
    )
    def test_pixels(self, wcs, text):
        y, x = np.indices(SHAPE)
        distance = box(12.5, 7.3, 30)(x - 31.37, y - 28.21)
        assert_selects(region_mask(parse_regions(text, "x"), wcs, SHAPE), distance * PIXEL)

    def test_union_less_what_is_excluded(self, wcs):
        lon, lat = lonlat(place(wcs, "fk5"))
        text = f'fk5\ncircle({lon},{lat},2.3")\nbox({lon},{lat},8",1",0)\n-circle({lon},{lat},1.1")\n'
        sky = seen_from(wcs, "fk5")
        either = np.minimum(circle(2.3)(*sky), box(8, 1, 0)(*sky))
        assert_selects(region_mask(parse_regions(text, "x"), wcs, SHAPE), np.maximum(either, -circle(1.1)(*sky)))

    @pytest.mark.parametrize("word", ["and_", "or_", "xor"])
    def test_compound(self, wcs, word):
        import operator

        here = place(wcs, "fk5")
        there = here.spherical_offsets_by(1.5 * u.arcsec, 0 * u.arcsec)
        combine = getattr(operator, word)
        compound = combine(CircleSkyRegion(here, 2.3 * u.arcsec), CircleSkyRegion(there, 2.3 * u.arcsec))
        west, north = seen_from(wcs, "fk5")
        parts = circle(2.3)(west, north), circle(2.3)(west + 1.5, north)
        clear = np.min(np.abs(parts), axis=0) > EDGE * PIXEL
        expected = combine(parts[0] < 0, parts[1] < 0)
        np.testing.assert_array_equal(region_mask([compound], wcs, SHAPE)[clear], expected[clear])

    @pytest.mark.parametrize("frame", FRAMES)
    @pytest.mark.parametrize("shape", DS9)
    def test_pixels_that_are_no_squares(self, wcs, shape, frame):
        """The package regions takes a circle on the sky for one in pixels."""
        wcs.wcs.cd = wcs.wcs.cd @ np.diag([1.0, 1.7])
        wcs.wcs.crpix = [30.4, 24.1]  # so that the place stays in the middle
        text = f"{frame}\n{shape.format(*lonlat(place(wcs, frame)))}\n"
        assert_selects(region_mask(parse_regions(text, "x"), wcs, SHAPE), DS9[shape](*seen_from(wcs, frame)))

    @pytest.mark.parametrize("projection", ["SIN", "TAN", "CAR", "ZEA", "STG"])
    def test_nothing_on_the_other_side_of_the_sky(self, projection):
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = [f"RA---{projection}", f"DEC--{projection}"]
        wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = [52.2, 0.0], [20, 20], [-1e-4, 1e-4]
        far = SkyCoord(232.2 * u.deg, 3 * u.deg)
        for region in (CircleSkyRegion(far, 3 * u.arcsec), RectangleSkyRegion(far, 3 * u.arcsec, 2 * u.arcsec, 20 * u.deg)):
            assert not region_mask([region], wcs, SHAPE).any()


class TestFiles:
    CIRCLE = 'circle(52.2,31.2,3")'

    @pytest.mark.parametrize(
        "text",
        [
            f"\ufeff# Region file format: DS9 version 4.1\nfk5\n{CIRCLE}\n",
            f"fk5;{CIRCLE}",
            f"global color=green dashlist=8 3\nfk5\n+{CIRCLE} # text={{streamer}}\n",
            'J2000; circle 52.2 31.2 3"',
            'fk5\ncircle(3:28:48.0,+31:12:00.0,3")\n',
            "\ufeff#CRTFv0\ncircle [[52.2deg, 31.2deg], 3arcsec], coord=J2000",
            "#CRTFv0\nglobal coord=J2000\ncircle [[03h28m48.0s, +31d12m00.0s], 0.05arcmin], color=#2EE6D6",
        ],
    )
    def test_the_same_circle(self, tmp_path, text):
        path = tmp_path / "region.txt"
        path.write_text(text, encoding="utf-8")
        (region,) = read_regions(path)
        assert region.radius.to_value(u.arcsec) == pytest.approx(3)
        assert region.center.separation(SkyCoord(52.2 * u.deg, 31.2 * u.deg, frame="fk5")).arcsec < 1e-6

    @pytest.mark.parametrize(
        ("text", "n"),
        [
            (f"fk5\n{CIRCLE}\npoint(52.2,31.2)\nline(52.2,31.2,52.3,31.2)\n# text(52.2,31.2) text={{star}}\n", 3),
            (
                """#CRTFv0
                global coord=J2000
                circle [[52.2deg, 31.2deg], 3arcsec]
                symbol [[52.2deg, 31.2deg], .]
                ann circle [[52.2deg, 31.2deg], 9arcsec]
                """,
                2,
            ),
        ],
    )
    def test_annotations_are_left_out_with_one_notice(self, tmp_path, text, n):
        path = tmp_path / "region.reg"
        path.write_text(text)
        with pytest.warns(StingWarning, match=rf"^{n} points, lines or texts in 'region.reg' are no regions") as caught:
            (region,) = read_regions(path)
        assert len(caught) == 1
        assert region.radius.to_value(u.arcsec) == pytest.approx(3)

    def test_spectral_range_is_told(self, tmp_path):
        path = tmp_path / "casa.crtf"
        circle = "circle [[52.2deg, 31.2deg], 3arcsec], coord=J2000, range=[1km/s, 5km/s], restfreq=2.3e11Hz, veltype=RADIO"
        path.write_text(f"#CRTFv0\n{circle}\n")
        with pytest.warns(StingWarning, match=r"^The spectral range .*'casa\.crtf' is not used: give vmin and vmax\.$"):
            assert len(read_regions(path)) == 1

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ("physical\ncircle(10,20,3)\n", "physical"),
            ("circle(10,20,3)\n", "frame was not found"),
            ("wcs\ncircle(10,20,3)\n", "wcs"),
            (f'fk5\n{CIRCLE}\npanda(52.2,31.2,0,90,1,0",3",1)\n', "panda"),
            (f'fk5\n{CIRCLE}\nrotbox(52.2,31.2,3",4",30)\n', "rotbox"),
            ('fk5\ncircle(52.2,31.2,-3")\n', "positive"),
            ("fk5\npolygon(10,20,11,20,11,21,12)\n", "polygon|broadcast|param"),
            ('fk5\n!circle(10,20,3")\n', "!circle"),
            ("#CRTFv0\nhexagon [[10deg, 20deg], 3arcsec]\n", "hexagon"),
            ("hello world\n", "hello"),
            ("\x00\x01\x02", "."),
        ],
    )
    def test_what_cannot_be_used_is_refused(self, tmp_path, text, why):
        path = tmp_path / "mine.reg"
        path.write_text(text)
        with pytest.raises(ValueError, match=r"^'region' must .*; got 'mine\.reg' \(.*\)\. Save it as ds9 or CRTF") as caught:
            read_regions(path)
        assert re.search(why, str(caught.value))

    def test_points_alone_are_no_region(self, wcs):
        with pytest.raises(ValueError, match=r"^'region' must enclose an area; got PointSkyRegion"):
            region_mask([PointSkyRegion(place(wcs, "fk5"))], wcs, SHAPE)
        with pytest.raises(ValueError, match=r"^'region' must hold at least one region; got none\. The file may"):
            region_mask(parse_regions("fk5\npoint(52.2,31.2)\n", "x"), wcs, SHAPE)


class TestRoundTrip:
    @pytest.mark.parametrize("frame", FRAMES)
    def test_selects_the_same_pixels(self, wcs, tmp_path, frame):
        where = lonlat(place(wcs, frame))
        shapes = [shape.format(*where) for shape in DS9]
        text = f"{frame}\n" + "\n".join([*shapes, '-circle({},{},0.9")'.format(*where)]) + "\n"
        regions = parse_regions(text, "x")
        path = tmp_path / "used.reg"
        write_regions(regions, path)
        again = read_regions(path)
        assert len(again) == len(regions)
        np.testing.assert_array_equal(region_mask(again, wcs, SHAPE), region_mask(regions, wcs, SHAPE))
        assert regions_text(again) == regions_text(regions)

    def test_crtf_becomes_ds9(self, wcs, tmp_path):
        lon, lat = lonlat(place(wcs, "icrs"))
        (tmp_path / "a.crtf").write_text(f"#CRTFv0\ncentbox [[{lon}deg, {lat}deg], [5arcsec, 2arcsec]], coord=ICRS\n")
        write_regions(tmp_path / "a.crtf", tmp_path / "a.reg")
        assert (tmp_path / "a.reg").read_text().startswith("# Region file format: DS9\nicrs; box(")
        masks = [region_mask(read_regions(tmp_path / name), wcs, SHAPE) for name in ("a.crtf", "a.reg")]
        np.testing.assert_array_equal(*masks)

    def test_replaces_nothing_unasked(self, tmp_path):
        region = CircleSkyRegion(SkyCoord(52.2 * u.deg, 31.2 * u.deg), 3 * u.arcsec)
        path = tmp_path / "mine.reg"
        path.write_text("mine")
        with pytest.raises(FileExistsError, match=r"^'path' must not exist yet; got .*mine\.reg'\. Pass overwrite=True"):
            write_regions(region, path)
        assert path.read_text() == "mine"
        write_regions(region, path, overwrite=True)
        assert len(read_regions(path)) == 1
        assert [each.name for each in tmp_path.iterdir()] == ["mine.reg"]

    def test_compound_has_no_ds9_form(self, tmp_path):
        one = CircleSkyRegion(SkyCoord(52.2 * u.deg, 31.2 * u.deg), 3 * u.arcsec)
        with pytest.raises(ValueError, match=r"^'region' must be a shape that a ds9 file can hold; got CompoundSkyRegion"):
            write_regions(one & one, tmp_path / "x.reg")
        assert list(tmp_path.iterdir()) == []
