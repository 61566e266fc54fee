"""Cutting a streamer out of a cube, and reducing it to a curve."""

import itertools
import math
import re
import warnings
from unittest import mock

import jax
import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from hypothesis import given, settings
from hypothesis import strategies as st
from radio_beam import Beam
from regions import CirclePixelRegion, CircleSkyRegion, PixCoord, PointSkyRegion, Regions

from sting import extract_streamline, synthetic
from sting.extract_streamline import Streamer, extract_streamer_subcube, reduce_to_1D
from sting.messages import StingWarning

KMS = u.km / u.s
ARCSEC = u.arcsec

#: The one form of every refusal.
FORM = re.compile(r"""^('[^']+'|"[^"]+") must .+; got .+[.?]$""", re.DOTALL)

REST_FREQUENCY = 231.410234e9


def labelled(shape):
    """Values that tell every voxel from every other one; none is zero."""
    return np.arange(1.0, np.prod(shape) + 1).reshape(shape)


def kept(cut):
    """The values of the voxels that a cut has kept, sorted."""
    values = cut.filled_data[:].value
    return np.sort(values[np.isfinite(values)])


def offsets_by_hand(cube, lon0, lat0):
    """Offsets (arcsec) of all pixels from a position in the cube's own frame (deg), by spherical trigonometry."""
    _, n_y, n_x = cube.shape
    y, x = np.indices((n_y, n_x))
    lon, lat = (np.deg2rad(angle) for angle in cube.wcs.celestial.wcs_pix2world(x, y, 0))
    lon0, lat0 = np.deg2rad(lon0), np.deg2rad(lat0)
    east = np.arctan2(
        np.cos(lat) * np.sin(lon - lon0),
        np.cos(lat) * np.cos(lat0) * np.cos(lon - lon0) + np.sin(lat) * np.sin(lat0),
    )
    north = np.arcsin(np.sin(lat) * np.cos(lat0) - np.cos(lat) * np.sin(lat0) * np.cos(lon - lon0))
    return np.rad2deg(east) * 3600, np.rad2deg(north) * 3600


def in_frame(position, frame):
    """Longitude and latitude (deg) of a position in one of the frames of `make_cube`."""
    spherical = position.transform_to(frame).spherical
    return spherical.lon.deg, spherical.lat.deg


def velocities(cube):
    """Velocities (km/s) of the channels."""
    return cube.spectral_axis.to_value(KMS)


def metric_by_hand(ra, dec, n_elements):
    """STING's distance metric as section 9 of the design states it."""
    r, theta = np.hypot(ra, dec), np.arctan2(dec, ra)
    inner = theta[r <= np.sort(r)[int(len(r) / n_elements)]]
    anchor = np.angle(np.exp(1j * inner).sum())
    around = np.sort(np.angle(np.exp(1j * (inner - anchor))))
    reference = anchor + around[(len(around) - 1) // 2]
    return r * np.sqrt(1 + np.angle(np.exp(1j * (theta - reference))) ** 2)


def reduce_by_hand(cloud, n_elements):
    """Means and spreads, each (3, n), of STING's bins, the innermost closed on both sides; from outside in."""
    d = metric_by_hand(cloud[0], cloud[1], n_elements)
    edges = np.percentile(d, np.linspace(0, 100, n_elements + 1))
    edges[0] = -1
    means, spreads = [], []
    for low, high in itertools.pairwise(edges):
        points, flux = cloud[:3, (d > low) & (d <= high)], cloud[3, (d > low) & (d <= high)]
        mean = np.average(points, axis=1, weights=flux)
        means.append(mean)
        spreads.append(np.sqrt(np.average((points - mean[:, None]) ** 2, axis=1, weights=flux)))
    return np.transpose(means[::-1]), np.transpose(spreads[::-1])


class TestVelocity:
    SHAPE = (12, 3, 4)

    @pytest.mark.parametrize("descending", [False, True])
    @pytest.mark.parametrize(
        ("vmin", "vmax"),
        [(5.35, None), (None, 5.75), (5.35, 5.75), (-100.0, 5.75), (5.35, 100.0), (5.55, 5.65), (None, None)],
    )
    def test_range(self, make_cube, vmin, vmax, descending):
        values = labelled(self.SHAPE)
        cube = make_cube(values, v_first=6.1 if descending else 5.0, channel=-0.1 if descending else 0.1)
        limits = {name: value * KMS for name, value in (("vmin", vmin), ("vmax", vmax)) if value is not None}
        cut = extract_streamer_subcube(cube, **limits)
        v = velocities(cube)
        inside = (v >= (-np.inf if vmin is None else vmin)) & (v <= (np.inf if vmax is None else vmax))
        np.testing.assert_array_equal(kept(cut), np.sort(values[inside].ravel()))
        assert cut.shape[0] == inside.sum()
        np.testing.assert_allclose(velocities(cut), v[inside], atol=1e-9)

    def test_a_limit_on_a_channel_includes_it(self, make_cube):
        # 5.3 and 5.7 are not exact in binary, and the axis is a sum
        cut = extract_streamer_subcube(make_cube(labelled(self.SHAPE)), vmin=5.3 * KMS, vmax=5.7 * KMS)
        np.testing.assert_allclose(velocities(cut), [5.3, 5.4, 5.5, 5.6, 5.7])

    def test_other_units(self, make_cube):
        cube = make_cube(labelled(self.SHAPE))
        cut = extract_streamer_subcube(cube, vmin=5350 * u.m / u.s, vmax=5750 * u.m / u.s)
        np.testing.assert_allclose(velocities(cut), [5.4, 5.5, 5.6, 5.7])
        assert cut.spectral_axis.unit == KMS

    def test_one_channel(self, make_cube):
        cube = make_cube(labelled((1, 3, 4)), v_first=7.0)
        cut = extract_streamer_subcube(cube, vmin=6.9 * KMS, vmax=7.1 * KMS, xmin=-5 * ARCSEC)
        assert cut.shape == cube.shape
        with pytest.raises(ValueError, match=r"^'vmin, vmax' must keep at least one channel"):
            extract_streamer_subcube(cube, vmin=7.1 * KMS)

    def test_the_cube_is_not_changed(self, make_cube):
        cube = make_cube(labelled(self.SHAPE))
        before, unit = cube.filled_data[:].copy(), cube.spectral_axis.unit
        extract_streamer_subcube(cube, vmin=5.5 * KMS, xmin=0 * ARCSEC, rms_thresh=1)
        np.testing.assert_array_equal(cube.filled_data[:], before)
        assert cube.spectral_axis.unit == unit


class TestBox:
    LIMITS = (
        {"xmin": -1.3},
        {"xmax": 1.3},
        {"ymin": -0.8},
        {"ymax": 0.8},
        {"xmin": -1.3, "xmax": 0.7},
        {"ymin": -0.8, "xmax": 2.2},
        {"xmin": -1.3, "xmax": 2.2, "ymin": -0.8, "ymax": 1.7},
    )
    #: not on a whole pixel, and given in a frame other than the cube's
    STAR = (1.41, -1.13)

    @staticmethod
    def expected(values, east, north, limits):
        low, high = (-np.inf, np.inf)
        inside = (east >= limits.get("xmin", low)) & (east <= limits.get("xmax", high))
        inside &= (north >= limits.get("ymin", low)) & (north <= limits.get("ymax", high))
        return np.sort(values[:, inside].ravel())

    @pytest.mark.parametrize("dec", [-70, 0, 80])
    @pytest.mark.parametrize("limits", LIMITS, ids=str)
    @pytest.mark.parametrize("with_star", [False, True])
    def test_limits(self, make_cube, dec, limits, with_star):
        values = labelled((2, 11, 13))
        cube = make_cube(values, centre=(52.2, dec))
        centre, origin = None, (52.2, dec)
        if with_star:
            reference = SkyCoord(52.2, dec, unit="deg", frame="fk5")
            centre = reference.spherical_offsets_by(*(offset * ARCSEC for offset in self.STAR)).icrs
            origin = in_frame(centre, "fk5")
        cut = extract_streamer_subcube(cube, center=centre, **{name: x * ARCSEC for name, x in limits.items()})
        expected = self.expected(values, *offsets_by_hand(cube, *origin), limits)
        assert 0 < len(expected) < values.size
        np.testing.assert_array_equal(kept(cut), expected)

    def test_as_astropy_says(self, make_cube):
        values = labelled((1, 11, 13))
        cube = make_cube(values, centre=(52.2, 80))
        star = SkyCoord(52.203, 80.0005, unit="deg", frame="icrs")
        y, x = np.indices(cube.shape[1:])
        pixels = cube.wcs.celestial.pixel_to_world(x, y)
        east, north = star.transform_to(pixels.frame).spherical_offsets_to(pixels)
        limits = {"xmin": -3.1, "xmax": 0.9, "ymin": -2.6}
        expected = self.expected(values, east.to_value(ARCSEC), north.to_value(ARCSEC), limits)
        cut = extract_streamer_subcube(cube, center=star, **{name: value * ARCSEC for name, value in limits.items()})
        np.testing.assert_array_equal(kept(cut), expected)
        assert 0 < len(expected) < values.size

    def test_other_units(self, make_cube):
        cube = make_cube(labelled((1, 11, 13)))
        in_arcmin, in_arcsec = (
            extract_streamer_subcube(cube, xmin=x).filled_data[:].value for x in (0.02 * u.arcmin, 1.2 * ARCSEC)
        )
        np.testing.assert_array_equal(in_arcmin, in_arcsec)

    def test_the_smallest_cube_that_holds_the_cut(self, make_cube):
        cut = extract_streamer_subcube(make_cube(labelled((2, 11, 13))), xmin=-0.6 * ARCSEC, xmax=0.6 * ARCSEC)
        assert cut.shape == (2, 11, 3)

    def test_all_cuts_together(self, make_cube):
        values = labelled((12, 11, 13))
        cube = make_cube(values)
        cut = extract_streamer_subcube(cube, vmin=5.45 * KMS, xmax=0.1 * ARCSEC, ymin=-1.1 * ARCSEC)
        east, north = offsets_by_hand(cube, 52.2315, 31.2436)
        inside = (velocities(cube) >= 5.45)[:, None, None] & ((east <= 0.1) & (north >= -1.1))
        np.testing.assert_array_equal(kept(cut), np.sort(values[inside]))


class TestFrames:
    """The offsets of the point cloud, voxel by voxel."""

    @pytest.mark.parametrize("dec", [-70, 0, 80])
    @pytest.mark.parametrize("frame", ["fk5", "icrs", "galactic"])
    def test_offsets(self, make_cube, frame, dec):
        star = SkyCoord(52.2, dec, unit="deg", frame="fk5")
        lon, lat = in_frame(star, frame)
        cube = make_cube(labelled((2, 9, 7)), centre=(lon, lat + 0.001), frame=frame)
        cloud = reduce_to_1D(cube, star, 2).pc_coords
        if frame == "galactic":
            # the model's offsets are equatorial, whatever the cube's frame
            y, x = np.indices(cube.shape[1:])
            pixels = cube.wcs.celestial.pixel_to_world(x, y).icrs
            east, north = (part.arcsec for part in star.icrs.spherical_offsets_to(pixels))
        else:
            east, north = offsets_by_hand(cube, lon, lat)
        # the labels say which voxel is which
        where = cloud[3].astype(int) - 1
        np.testing.assert_allclose(cloud[0], np.broadcast_to(east, cube.shape).ravel()[where], atol=1e-6)
        np.testing.assert_allclose(cloud[1], np.broadcast_to(north, cube.shape).ravel()[where], atol=1e-6)
        np.testing.assert_allclose(cloud[2], np.repeat(velocities(cube), 63)[where], atol=1e-9)

    def test_the_frames_differ_by_more_than_is_tested(self):
        star = SkyCoord(52.2, 31.2, unit="deg", frame="fk5")
        taken_for_icrs = SkyCoord(52.2, 31.2, unit="deg", frame="icrs")
        assert star.separation(taken_for_icrs).arcsec > 0.005

    @pytest.mark.parametrize("star_frame", ["icrs", "galactic", "fk5"])
    def test_the_frame_of_the_star_does_not_matter(self, make_cube, star_frame):
        star = SkyCoord(52.2315, 31.2436, unit="deg", frame="fk5")
        cube = make_cube(labelled((2, 9, 7)))
        expected = reduce_to_1D(cube, star, 3)
        found = reduce_to_1D(cube, star.transform_to(star_frame), 3)
        np.testing.assert_allclose(found.pc_coords, expected.pc_coords, atol=1e-7)


def inside_polygon(x, y, corners):
    """Even-odd rule."""
    inside = np.zeros(x.shape, bool)
    for (x1, y1), (x2, y2) in zip(corners, [*corners[1:], corners[0]], strict=True):
        crosses = (y1 > y) != (y2 > y)
        with np.errstate(divide="ignore", invalid="ignore"):
            inside ^= crosses & (x < (x2 - x1) * (y - y1) / (y2 - y1) + x1)
    return inside


class TestRegions:
    """Regions around a place that is not on a pixel, in offsets from which the expected pixels follow."""

    PLACE = SkyCoord(52.2316, 31.2438, unit="deg", frame="fk5")
    TRIANGLE = ((2.1, -1.6), (-2.4, -1.2), (0.3, 2.7))

    @pytest.fixture
    def cube(self, make_cube):
        return make_cube(labelled((2, 23, 25)))

    @pytest.fixture
    def sky(self, cube):
        """Offsets of the pixels from `PLACE`."""
        return offsets_by_hand(cube, *in_frame(self.PLACE, "fk5"))

    def assert_selects(self, cube, region, inside, **limits):
        cut = extract_streamer_subcube(cube, region=region, **limits)
        expected = np.sort(labelled(cube.shape)[:, inside].ravel())
        assert 0 < len(expected) < labelled(cube.shape).size
        np.testing.assert_array_equal(kept(cut), expected)

    @staticmethod
    def at(lon, lat):
        return f"{lon:.9f}", f"{lat:.9f}"

    def ds9(self, frame, shape, *numbers):
        lon, lat = self.at(*in_frame(self.PLACE, frame))
        sizes = ",".join(numbers)
        return f"# Region file format: DS9 version 4.1\nglobal color=green\n{frame}\n{shape}({lon},{lat},{sizes})\n"

    @pytest.mark.parametrize("frame", ["fk5", "icrs", "galactic"])
    def test_ds9_circle(self, cube, sky, tmp_path, frame):
        path = tmp_path / "streamer.reg"
        path.write_text(self.ds9(frame, "circle", '2.3"'))
        self.assert_selects(cube, path, np.hypot(*sky) < 2.3)
        self.assert_selects(cube, str(path), np.hypot(*sky) < 2.3)

    def test_ds9_ellipse(self, cube, sky, tmp_path):
        path = tmp_path / "streamer.reg"
        path.write_text(self.ds9("fk5", "ellipse", '3.2"', '1.1"', "30"))
        west, north = -sky[0], sky[1]
        c, s = np.cos(np.pi / 6), np.sin(np.pi / 6)
        inside = ((west * c + north * s) / 3.2) ** 2 + ((north * c - west * s) / 1.1) ** 2 < 1
        self.assert_selects(cube, path, inside)

    def test_ds9_box(self, cube, sky, tmp_path):
        path = tmp_path / "streamer.reg"
        path.write_text(self.ds9("fk5", "box", '6.3"', '1.9"', "30"))
        west, north = -sky[0], sky[1]
        c, s = np.cos(np.pi / 6), np.sin(np.pi / 6)
        inside = (np.abs(west * c + north * s) < 3.15) & (np.abs(north * c - west * s) < 0.95)
        self.assert_selects(cube, path, inside)

    def corners(self):
        return [
            self.at(*in_frame(self.PLACE.spherical_offsets_by(east * ARCSEC, north * ARCSEC), "fk5"))
            for east, north in self.TRIANGLE
        ]

    def test_ds9_polygon(self, cube, sky, tmp_path):
        path = tmp_path / "streamer.reg"
        path.write_text("fk5\npolygon(" + ",".join(f"{lon},{lat}" for lon, lat in self.corners()) + ")\n")
        self.assert_selects(cube, path, inside_polygon(*sky, self.TRIANGLE))

    @pytest.mark.parametrize("name", ["streamer.crtf", "streamer.txt"])
    def test_crtf_circle(self, cube, sky, tmp_path, name):
        lon, lat = self.at(*in_frame(self.PLACE, "fk5"))
        path = tmp_path / name
        path.write_text(f"#CRTFv0\ncircle [[{lon}deg, {lat}deg], 2.3arcsec] coord=J2000\n")
        self.assert_selects(cube, path, np.hypot(*sky) < 2.3)

    def test_crtf_polygon_with_global_frame(self, cube, sky, tmp_path):
        path = tmp_path / "streamer.crtf"
        corners = ", ".join(f"[{lon}deg, {lat}deg]" for lon, lat in self.corners())
        path.write_text(f"#CRTFv0 CASA Region Text Format version 0\nglobal coord=J2000\npoly [{corners}]\n")
        self.assert_selects(cube, path, inside_polygon(*sky, self.TRIANGLE))

    def test_icrs_is_not_taken_for_fk5(self, make_cube):
        # pixels so small that the two frames differ by two of them
        star = SkyCoord(52.2, 31.2, unit="deg", frame="icrs")
        cube = make_cube(labelled((1, 21, 21)), centre=in_frame(star, "fk5"), pixel=0.005)
        region = CircleSkyRegion(star, 0.022 * ARCSEC)
        self.assert_selects(cube, region, np.hypot(*offsets_by_hand(cube, *in_frame(star, "fk5"))) < 0.022)

    def test_region_object(self, cube, sky):
        self.assert_selects(cube, CircleSkyRegion(self.PLACE, 2.3 * ARCSEC), np.hypot(*sky) < 2.3)

    def test_union(self, cube, sky):
        other = self.PLACE.spherical_offsets_by(-3 * ARCSEC, 1 * ARCSEC)
        circles = [CircleSkyRegion(place, 1.3 * ARCSEC) for place in (self.PLACE, other)]
        inside = np.hypot(*sky) < 1.3
        inside |= np.hypot(*offsets_by_hand(cube, *in_frame(other, "fk5"))) < 1.3
        self.assert_selects(cube, circles, inside)
        self.assert_selects(cube, Regions(circles), inside)
        self.assert_selects(cube, tuple(circles), inside)

    def test_file_of_two(self, cube, sky, tmp_path):
        path = tmp_path / "streamer.reg"
        first = self.ds9("fk5", "circle", '1.1"')
        path.write_text(first + self.ds9("fk5", "box", '6.3"', '0.6"', "0").splitlines()[-1] + "\n")
        inside = (np.hypot(*sky) < 1.1) | ((np.abs(sky[0]) < 3.15) & (np.abs(sky[1]) < 0.3))
        self.assert_selects(cube, path, inside)

    def test_intersection(self, cube, sky):
        other = self.PLACE.spherical_offsets_by(-1.5 * ARCSEC, 0 * ARCSEC)
        both = CircleSkyRegion(self.PLACE, 2.3 * ARCSEC) & CircleSkyRegion(other, 2.3 * ARCSEC)
        inside = np.hypot(*sky) < 2.3
        inside &= np.hypot(*offsets_by_hand(cube, *in_frame(other, "fk5"))) < 2.3
        self.assert_selects(cube, both, inside)

    @pytest.mark.parametrize("kind", ["ds9", "crtf"])
    def test_excluded_region(self, cube, sky, tmp_path, kind):
        lon, lat = self.at(*in_frame(self.PLACE, "fk5"))
        if kind == "ds9":
            text = f'fk5\ncircle({lon},{lat},2.3")\n-circle({lon},{lat},1.2")\n'
        else:
            circle = f"circle [[{lon}deg, {lat}deg], {{}}arcsec] coord=J2000\n"
            text = "#CRTFv0\n" + circle.format(2.3) + "-" + circle.format(1.2)
        path = tmp_path / f"streamer.{kind}"
        path.write_text(text)
        self.assert_selects(cube, path, (np.hypot(*sky) < 2.3) & ~(np.hypot(*sky) < 1.2))

    def test_excluded_region_alone(self, cube, sky, tmp_path):
        path = tmp_path / "star.reg"
        path.write_text("\n".join(self.ds9("fk5", "circle", '1.2"').splitlines()).replace("circle", "-circle") + "\n")
        self.assert_selects(cube, path, ~(np.hypot(*sky) < 1.2))

    def test_pixel_region_means_pixels_of_the_cube(self, cube):
        y, x = np.indices(cube.shape[1:])
        inside = np.hypot(x - 13, y - 8) < 5.1
        region = CirclePixelRegion(PixCoord(13, 8), 5.1)
        self.assert_selects(cube, region, inside)
        # whatever else is cut
        east, _ = offsets_by_hand(cube, 52.2315, 31.2436)
        self.assert_selects(cube, region, inside & (east < 0.1), xmax=0.1 * ARCSEC)

    def test_ds9_image_coordinates(self, cube, tmp_path):
        path = tmp_path / "streamer.reg"
        path.write_text("image\ncircle(14,9,5.1)\n")
        y, x = np.indices(cube.shape[1:])
        east, north = offsets_by_hand(cube, 52.2315, 31.2436)
        inside = (np.hypot(x - 13, y - 8) < 5.1) & (east < 0.1) & (north > -2.2)
        self.assert_selects(cube, path, inside, xmax=0.1 * ARCSEC, ymin=-2.2 * ARCSEC)

    def test_region_partly_outside(self, cube):
        edge = SkyCoord(*cube.wcs.celestial.wcs_pix2world(0, 0, 0), unit="deg", frame="fk5")
        inside = np.hypot(*offsets_by_hand(cube, *in_frame(edge, "fk5"))) < 2.3
        self.assert_selects(cube, CircleSkyRegion(edge, 2.3 * ARCSEC), inside)

    def test_region_and_box(self, cube, sky):
        inside = (np.hypot(*sky) < 2.3) & (sky[1] > 0.11)
        region = CircleSkyRegion(self.PLACE, 2.3 * ARCSEC)
        self.assert_selects(cube, region, inside, center=self.PLACE, ymin=0.11 * ARCSEC)


class TestThreshold:
    @pytest.mark.parametrize("k", [0.5, 1.0, 2.0])
    def test_the_noise_of_a_cube_with_a_faint_streamer(self, k):
        rms = 0.03
        scene = synthetic.make_streamer_cube(seed=2, shape=(50, 64, 64), peak=0.06 * u.K, rms=rms * u.K)
        values = scene.cube.filled_data[:].value
        lowest = kept(extract_streamer_subcube(scene.cube, rms_thresh=k)).min()
        highest_dropped = values[values < lowest].max()
        # the threshold lies between two neighbours
        assert (lowest - highest_dropped) / k < 0.001 * rms
        assert lowest / k == pytest.approx(rms, rel=0.03)

    def test_is_the_same_whatever_else_is_cut(self, scene):
        whole = extract_streamer_subcube(scene.cube, rms_thresh=3)
        part = extract_streamer_subcube(scene.cube, rms_thresh=3, vmin=6.5 * KMS, vmax=7.0 * KMS)
        values = whole.filled_data[:].value[(velocities(whole) >= 6.5) & (velocities(whole) <= 7.0)]
        np.testing.assert_array_equal(kept(part), np.sort(values[np.isfinite(values)]))

    def test_zero_keeps_what_is_positive(self, scene):
        values = scene.cube.filled_data[:].value
        found = kept(extract_streamer_subcube(scene.cube, rms_thresh=0))
        np.testing.assert_array_equal(found, np.sort(values[values > 0]))

    def test_blank_voxels_are_left_out_of_the_noise(self, scene, make_cube):
        values = scene.cube.filled_data[:].value.copy()
        values[:, :20] = np.nan
        values[:, 20:30] = 0
        lowest = kept(extract_streamer_subcube(make_cube(values), rms_thresh=1)).min()
        assert lowest == pytest.approx(0.03, rel=0.1)

    @pytest.fixture
    def padded(self, make_cube):
        values = np.zeros((4, 5, 6))
        values[1:3, 2, 1:5] = np.arange(8.0).reshape(2, 4) - 2.5
        return make_cube(values)

    def test_a_cube_that_was_masked_before(self, padded):
        with pytest.warns(StingWarning, match=r"^93\.3% of the cube is exactly zero: .* noise cannot be") as records:
            cut = extract_streamer_subcube(padded, rms_thresh=4)
        np.testing.assert_allclose(kept(cut), np.arange(8.0) - 2.5)
        assert len(records) == 1
        assert records[0].filename == __file__

    def test_no_warning_without_threshold(self, padded):
        # warnings are errors here
        assert len(kept(extract_streamer_subcube(padded, vmin=5.1 * KMS))) == 90

    def test_no_warning_where_zeros_are_few(self, make_cube):
        values = labelled((4, 5, 6)) - 60.5
        values[:2] = 0
        extract_streamer_subcube(make_cube(values), rms_thresh=0.1)


class TestSpectralAxis:
    def test_frequency(self, make_cube):
        rng = np.random.default_rng(3)
        values = rng.uniform(1, 2, (12, 9, 7))
        cubes = {axis: make_cube(values, axis=axis) for axis in ("velocity", "frequency")}
        assert cubes["frequency"].spectral_axis.unit == u.Hz
        star = SkyCoord(52.2315, 31.2436, unit="deg", frame="fk5")
        found = {}
        for axis, cube in cubes.items():
            cut = extract_streamer_subcube(cube, vmin=5.25 * KMS, vmax=5.95 * KMS)
            assert cut.spectral_axis.unit == KMS
            found[axis] = reduce_to_1D(cut, star, 4)
        np.testing.assert_allclose(found["frequency"].pc_coords, found["velocity"].pc_coords, atol=1e-6)
        np.testing.assert_allclose(found["frequency"].data, found["velocity"].data, atol=1e-6)
        np.testing.assert_allclose(found["frequency"].uncertainties, found["velocity"].uncertainties, atol=1e-6)

    def test_frequency_without_rest_frequency(self, make_cube):
        cube = make_cube(labelled((12, 9, 7)), axis="frequency", rest_frequency=None)
        message = r"^'{}' must have a rest frequency, its spectral axis being in Hz; got none in its header\. Set it: "
        star = SkyCoord(52.2315, 31.2436, unit="deg", frame="fk5")
        with pytest.raises(ValueError, match=message.format("cube")):
            extract_streamer_subcube(cube)
        with pytest.raises(ValueError, match=message.format("streamer_cube")):
            reduce_to_1D(cube, star)

    def test_the_cure_of_the_message_works(self, make_cube):
        cube = make_cube(labelled((12, 9, 7)), axis="frequency", rest_frequency=None)
        cured = cube.with_spectral_unit(KMS, velocity_convention="radio", rest_value=REST_FREQUENCY * u.Hz)
        np.testing.assert_allclose(velocities(extract_streamer_subcube(cured)), 5 + 0.1 * np.arange(12), atol=1e-9)

    def test_velocity_needs_no_rest_frequency(self, make_cube):
        cube = make_cube(labelled((12, 9, 7)), rest_frequency=None)
        np.testing.assert_allclose(velocities(extract_streamer_subcube(cube)), 5 + 0.1 * np.arange(12), atol=1e-9)


class TestFiles:
    def test_path_instead_of_cube(self, scene, tmp_path):
        path = tmp_path / "cube.fits"
        scene.cube.write(path)
        from_cube, from_path, from_text = (
            extract_streamer_subcube(cube, vmin=6.5 * KMS, rms_thresh=5) for cube in (scene.cube, path, str(path))
        )
        np.testing.assert_array_equal(kept(from_path), kept(from_cube))
        np.testing.assert_array_equal(kept(from_text), kept(from_cube))
        expected = reduce_to_1D(from_cube, scene.star_position, 5)
        from_path.write(tmp_path / "cut.fits")
        found = reduce_to_1D(tmp_path / "cut.fits", scene.star_position, 5)
        np.testing.assert_allclose(found.data, expected.data, atol=1e-9)
        assert found.meta["beam"] == pytest.approx(expected.meta["beam"])


STAR = SkyCoord(52.2315, 31.2436, unit="deg", frame="fk5")


class TestReduce:
    def test_against_the_definition(self, scene, scene_cut):
        for n_elements in (3, 10):
            streamer = reduce_to_1D(scene_cut, scene.star_position, n_elements, uncertainty="spread")
            means, spreads = reduce_by_hand(streamer.pc_coords, n_elements)
            np.testing.assert_allclose(streamer.data, means, atol=1e-9)
            np.testing.assert_allclose(streamer.uncertainties, spreads, atol=1e-9)

    def test_the_cloud_holds_every_finite_voxel(self, scene, scene_cut):
        cloud = reduce_to_1D(scene_cut, scene.star_position).pc_coords
        np.testing.assert_array_equal(np.sort(cloud[3]), kept(scene_cut))
        assert cloud.shape == (4, len(kept(scene_cut)))

    @settings(max_examples=30)
    @given(n_elements=st.integers(2, 12), seed=st.integers(0, 2**32 - 1), blank=st.floats(0, 0.7))
    def test_every_voxel_counts_once(self, make_cube, n_elements, seed, blank):
        rng = np.random.default_rng(seed)
        shape = (3, 8, 7)
        values = np.exp(rng.normal(size=shape))
        # always the same number of voxels, so that nothing is compiled anew
        values.ravel()[rng.permutation(values.size)[: int(blank * 3) * 40]] = np.nan
        seen, real = [], extract_streamline._moments

        def spy(points, flux, meta):
            seen.append((points, flux))
            return real(points, flux, meta)

        cube = make_cube(values, centre=(52.2315, 31.2450))
        with mock.patch.object(extract_streamline, "_moments", spy):
            streamer = reduce_to_1D(cube, STAR, n_elements)
        cloud = streamer.pc_coords
        assert len(seen) == len(streamer) == n_elements
        totals = np.array([flux.sum() for _, flux in seen][::-1])
        np.testing.assert_array_equal(np.sort(np.concatenate([flux for _, flux in seen])), kept(cube))
        np.testing.assert_allclose(np.array(streamer.data) @ totals, cloud[:3] @ cloud[3], rtol=1e-10)
        # by the law of total variance the widths recombine as well
        squares = np.array(streamer.uncertainties) ** 2 + np.array(streamer.data) ** 2
        floor = np.array([0.5, 0.5, 0.1])[:, None] / math.sqrt(12)
        if (np.array(streamer.uncertainties) > floor * (1 + 1e-9)).all():
            np.testing.assert_allclose(squares @ totals, cloud[:3] ** 2 @ cloud[3], rtol=1e-9)

    @pytest.mark.parametrize("n_elements", [2, 5, 7])
    def test_bins_hold_equal_numbers(self, make_cube, n_elements):
        # one column of pixels north of the star: all d differ
        cube = make_cube(np.ones((1, 40, 1)), centre=(52.2315, 31.25))
        streamer = reduce_to_1D(cube, STAR, n_elements)
        north = np.sort(offsets_by_hand(cube, 52.2315, 31.2436)[1].ravel())
        counts = np.diff([math.floor(39 * k / n_elements) + 1 if k else 0 for k in range(n_elements + 1)])
        assert max(counts) - min(counts) <= 1
        ends = np.cumsum(counts)
        expected = [north[end - count : end].mean() for end, count in zip(ends, counts, strict=True)]
        np.testing.assert_allclose(streamer.dec_data, expected[::-1], atol=1e-9)

    def test_flux_weights(self, make_cube):
        values = np.ones((1, 4, 1))
        values[0, 1] = 3
        cube = make_cube(values, centre=(52.2315, 31.25), pixel=1.0)
        streamer = reduce_to_1D(cube, STAR, 2)
        north = offsets_by_hand(cube, 52.2315, 31.2436)[1].ravel()
        # the inner bin: weights 1 and 3
        assert streamer.dec_data[1] == pytest.approx((north[0] + 3 * north[1]) / 4, abs=1e-9)
        assert streamer.dec_data[0] == pytest.approx((north[2] + north[3]) / 2, abs=1e-9)
        assert streamer.dec_sigma[1] == pytest.approx(math.sqrt(3) / 4, abs=1e-6)
        assert streamer.dec_sigma[0] == pytest.approx(1 / 2, abs=1e-6)

    def test_nothing_is_narrower_than_a_pixel_and_a_channel(self, make_cube):
        cube = make_cube(np.ones((2, 40, 1)), centre=(52.2315, 31.25), v_first=5, channel=10.0)
        streamer = reduce_to_1D(extract_streamer_subcube(cube, vmax=14.9 * KMS), STAR, 4)
        np.testing.assert_allclose(streamer.ra_sigma, 0.5 / math.sqrt(12), rtol=1e-9)
        assert (streamer.v_sigma > 0).all()

    @pytest.mark.parametrize("quarter_turns", [0, 1, 2, 3])
    def test_from_outside_in_in_every_direction(self, make_cube, quarter_turns):
        # a radial streamer, which lies in turn to the north and on the branch cut of the angle (west); the equator turns exactly
        values = np.full((3, 41, 41), np.nan)
        values[:, 23:, 19:22] = np.random.default_rng(0).uniform(1, 2, (3, 18, 3))
        star = SkyCoord(52.0, 0.0, unit="deg", frame="fk5")
        streamers = [
            reduce_to_1D(make_cube(np.rot90(values, k, axes=(1, 2)), centre=(52.0, 0.0)), star, 6) for k in (0, quarter_turns)
        ]
        first, turned = (np.array(streamer.data) for streamer in streamers)
        assert np.all(np.diff(np.hypot(*turned[:2])) < 0)
        # np.rot90 turns north to west
        expected = (first[0] + 1j * first[1]) * np.exp(1j * np.pi / 2 * quarter_turns)
        np.testing.assert_allclose(turned[0] + 1j * turned[1], expected, atol=1e-6)
        np.testing.assert_allclose(turned[2], first[2], atol=1e-9)

    def test_ties(self, make_cube):
        # ten channels of six pixels: only six different d
        cube = make_cube(np.ones((10, 6, 1)), centre=(52.2315, 31.25))
        streamer = reduce_to_1D(cube, STAR, 3)
        north = offsets_by_hand(cube, 52.2315, 31.2436)[1].ravel()
        np.testing.assert_allclose(streamer.dec_data, north.reshape(3, 2).mean(axis=1)[::-1], atol=1e-9)
        np.testing.assert_allclose(streamer.v_data, velocities(cube).mean(), atol=1e-9)

    def test_too_many_ties(self, make_cube):
        cube = make_cube(np.ones((30, 1, 1)), centre=(52.2315, 31.2445))
        with pytest.raises(ValueError, match=r"^'n_elements' must leave voxels in every bin; got 4\. .* lower it\.$"):
            reduce_to_1D(cube, STAR, 4)

    def test_one_channel(self, make_cube):
        cube = make_cube(labelled((1, 9, 7)), v_first=7.0)
        streamer = reduce_to_1D(extract_streamer_subcube(cube, vmin=6.5 * KMS), STAR, 4)
        np.testing.assert_allclose(streamer.v_data, 7.0)
        assert (streamer.v_sigma > 0).all()
        assert np.isfinite(streamer.data).all()

    def test_a_voxel_on_the_star(self, make_cube):
        streamer = reduce_to_1D(make_cube(labelled((1, 9, 7))), STAR, 4)
        assert np.isfinite(streamer.data).all()
        assert np.hypot(*streamer.pc_coords[:2]).min() < 1e-6

    def test_as_many_voxels_as_points(self, make_cube):
        cube = make_cube(np.ones((1, 5, 1)), centre=(52.2315, 31.25))
        assert len(reduce_to_1D(cube, STAR, 5)) == 5

    @pytest.mark.parametrize("n_elements", [2, np.int64(3)])
    def test_whole_numbers(self, make_cube, n_elements):
        assert len(reduce_to_1D(make_cube(labelled((1, 9, 7))), STAR, n_elements)) == n_elements

    def test_precision(self, make_cube):
        streamer = reduce_to_1D(make_cube(labelled((1, 9, 7))), STAR, 3)
        assert all(type(part) is np.ndarray and part.dtype == np.float64 for part in streamer.data)
        assert jax.config.jax_enable_x64 is False


class TestUncertainty:
    BEAM = Beam(1.2 * ARCSEC, 1.0 * ARCSEC, 22 * u.deg)

    def test_mean_is_smaller_than_spread(self, scene, scene_cut):
        spread, mean = (reduce_to_1D(scene_cut, scene.star_position, uncertainty=kind) for kind in ("spread", "mean"))
        assert (np.abs(np.array(spread.data) - mean.data) < 2 * np.array(spread.uncertainties)).all()
        ratio = np.array(spread.uncertainties) / np.array(mean.uncertainties)
        assert (ratio > 1.5).all()

    def test_number_of_independent_beams_and_channels(self, make_cube):
        # even flux: 8 channels of 8 rows of 20 pixels in each of two bins
        cube = make_cube(np.ones((8, 16, 20)), centre=(52.2315, 31.27), pixel=0.5, beam=self.BEAM)
        spread, mean = (reduce_to_1D(cube, STAR, 2, uncertainty=kind) for kind in ("spread", "mean"))
        beams = 160 * 0.25 / (math.pi / (4 * math.log(2)) * 1.2 * 1.0)
        ratio = np.array(spread.uncertainties) / np.array(mean.uncertainties)
        np.testing.assert_allclose(ratio, math.sqrt(8 * beams), rtol=0.02)

    def test_never_fewer_than_one_beam(self, make_cube):
        big = Beam(20 * ARCSEC)
        cube = make_cube(labelled((1, 9, 7)), beam=big)
        spread, mean = (reduce_to_1D(cube, STAR, 3, uncertainty=kind, min_beams=0) for kind in ("spread", "mean"))
        np.testing.assert_array_equal(spread.uncertainties, mean.uncertainties)

    def test_spread_needs_no_beam(self, make_cube):
        streamer = reduce_to_1D(make_cube(labelled((1, 9, 7))), STAR, 3)
        assert "beam" not in streamer.meta

    def test_meta(self, make_cube):
        streamer = reduce_to_1D(make_cube(labelled((2, 9, 7)), beam=self.BEAM), STAR, 3, uncertainty="mean")
        assert streamer.meta["beam"] == pytest.approx([1.2, 1.0, 22.0])
        assert streamer.meta["uncertainty"] == "mean"
        assert streamer.meta["intensity_unit"] == "K"
        assert streamer.meta["pixel"] == pytest.approx(0.5)
        assert streamer.meta["channel"] == pytest.approx(0.1)


class TestStreamer:
    @pytest.fixture
    def streamer(self, make_cube):
        return reduce_to_1D(make_cube(labelled((2, 9, 7))), STAR, 3)

    def test_parts(self, streamer):
        assert isinstance(streamer, Streamer)
        assert len(streamer) == 3
        assert repr(streamer) == "<Streamer: 3 points from 126 voxels>"
        assert streamer.data == (streamer.ra_data, streamer.dec_data, streamer.v_data)
        assert streamer.uncertainties == (streamer.ra_sigma, streamer.dec_sigma, streamer.v_sigma)
        for part in (*streamer.data, *streamer.uncertainties):
            assert part.shape == (3,)

    def test_table(self, streamer):
        table = streamer.to_table()
        assert table.colnames == ["ra", "dec", "velocity", "ra_sigma", "dec_sigma", "velocity_sigma"]
        for name, values in zip(table.colnames, (*streamer.data, *streamer.uncertainties), strict=True):
            assert table[name].unit == (KMS if name.startswith("velocity") else ARCSEC)
            np.testing.assert_array_equal(table[name].value, values)
        assert table.meta["uncertainty"] == "spread"


def _cut(**arguments):
    return lambda cube: extract_streamer_subcube(cube, **arguments)


def _reduce(star=STAR, n_elements=10, **arguments):
    return lambda cube: reduce_to_1D(cube, star, n_elements, **arguments)


FAR = SkyCoord(52.2315, 31.6, unit="deg", frame="fk5")
OTHER_SIDE = SkyCoord(232.2315, -31.2436, unit="deg", frame="fk5")

#: What is done with a cube of 8 x 9 x 7 voxels, the error, and what its message must say.
REFUSALS = {
    # cuts
    "not a cube": (lambda cube: extract_streamer_subcube([1, 2]), TypeError, r"^'cube' must be a SpectralCube or a path"),
    "no such cube": (
        lambda cube: extract_streamer_subcube("nowhere.fits"),
        FileNotFoundError,
        r"^'cube' must be .*existing file; got 'nowhere\.fits'\. Check the path",
    ),
    "velocity without unit": (_cut(vmin=6), u.UnitsError, r"^'vmin' must be a Quantity convertible to km / s; got 6"),
    "velocity in Hz": (_cut(vmax=6 * u.Hz), u.UnitsError, r"^'vmax' must be a Quantity convertible to km / s"),
    "velocity text": (_cut(vmax="fast"), u.UnitsError, r"^'vmax' must be a Quantity convertible to km / s; got 'fast'"),
    "velocity NaN": (_cut(vmin=np.nan * KMS), ValueError, r"^'vmin' must be one finite number; got nan"),
    "velocity array": (_cut(vmin=[5, 6] * KMS), ValueError, r"^'vmin' must be one finite number; got \[5"),
    "velocities swapped": (_cut(vmin=7 * KMS, vmax=6 * KMS), ValueError, r"^'vmin' must be less than vmax; got 7 and 6"),
    "velocities equal": (_cut(vmin=6 * KMS, vmax=6 * KMS), ValueError, r"^'vmin' must be less than vmax"),
    "velocity empty": (
        _cut(vmin=50 * KMS),
        ValueError,
        r"^'vmin, vmax' must keep at least one channel; got 50 to inf km/s of a cube from 5 to 5\.7 km/s",
    ),
    "between channels": (_cut(vmin=5.02 * KMS, vmax=5.08 * KMS), ValueError, r"^'vmin, vmax' must keep at least one"),
    "offset without unit": (_cut(xmin=1), u.UnitsError, r"^'xmin' must be a Quantity convertible to arcsec; got 1"),
    "offset in km": (_cut(ymax=1 * u.km), u.UnitsError, r"^'ymax' must be a Quantity convertible to arcsec"),
    "offset infinite": (_cut(ymin=np.inf * ARCSEC), ValueError, r"^'ymin' must be one finite number; got inf"),
    "offsets swapped": (_cut(xmin=1 * ARCSEC, xmax=-1 * ARCSEC), ValueError, r"^'xmin' must be less than xmax"),
    "y offsets swapped": (_cut(ymin=1 * ARCSEC, ymax=-1 * ARCSEC), ValueError, r"^'ymin' must be less than ymax"),
    "box empty": (_cut(xmin=90 * ARCSEC), ValueError, r"^'xmin, xmax, ymin, ymax' must overlap the cube; got no pixel"),
    "box around a far star": (
        _cut(xmin=-9 * ARCSEC, ymin=-9 * ARCSEC, center=FAR),
        ValueError,
        r"^'xmin, xmax, ymin, ymax' must overlap the cube",
    ),
    "centre text": (_cut(xmin=0 * ARCSEC, center="here"), TypeError, r"^'center' must be one SkyCoord; got 'here'"),
    "centres": (
        _cut(xmin=0 * ARCSEC, center=SkyCoord([1, 2], [3, 4], unit="deg")),
        TypeError,
        r"^'center' must be one SkyCoord",
    ),
    "threshold empty": (_cut(rms_thresh=1e6), ValueError, r"^'cut' must leave at least one voxel .*Lower rms_thresh"),
    "threshold negative": (_cut(rms_thresh=-1), ValueError, r"^'rms_thresh' must be a number of at least 0; got -1"),
    "threshold NaN": (_cut(rms_thresh=np.nan), ValueError, r"^'rms_thresh' must be a number of at least 0; got nan"),
    "threshold in K": (_cut(rms_thresh=4 * u.K), ValueError, r"^'rms_thresh' must be a number .*Use for example 4"),
    "threshold text": (_cut(rms_thresh="4"), ValueError, r"^'rms_thresh' must be a number of at least 0; got '4'"),
    "thresholds": (_cut(rms_thresh=[3, 4]), ValueError, r"^'rms_thresh' must be a number of at least 0; got \[3, 4\]"),
    # regions
    "region outside": (_cut(region=CircleSkyRegion(FAR, 3 * ARCSEC)), ValueError, r"^'region' must overlap the cube"),
    "region on the other side of the sky": (
        _cut(region=CircleSkyRegion(OTHER_SIDE, 3 * ARCSEC)),
        ValueError,
        r"^'region' must overlap the cube",
    ),
    "region between pixels": (
        _cut(region=CircleSkyRegion(STAR.spherical_offsets_by(0.25 * ARCSEC, 0.25 * ARCSEC), 0.1 * ARCSEC)),
        ValueError,
        r"^'region' must overlap the cube",
    ),
    "no regions": (_cut(region=[]), ValueError, r"^'region' must hold at least one region; got none"),
    "no such region file": (
        _cut(region="nowhere.reg"),
        FileNotFoundError,
        r"^'region' must be .*existing ds9 or CRTF file; got 'nowhere\.reg'",
    ),
    "point": (_cut(region=PointSkyRegion(STAR)), ValueError, r"^'region' must enclose an area; got PointSkyRegion"),
    "region number": (_cut(region=5), TypeError, r"^'region' must be .*; got 5"),
    "region of text": (_cut(region=["streamer.reg"]), TypeError, r"^'region' must be .*'streamer\.reg'"),
    # reduction
    "uncertainty": (
        _reduce(uncertainty="means"),
        ValueError,
        r"^'uncertainty' must be one of 'spread', 'mean'; got 'means'\. Did you mean 'mean'\?",
    ),
    "mean without a beam": (
        _reduce(uncertainty="mean"),
        ValueError,
        r"^'streamer_cube' must have a beam for uncertainty='mean'; got none\. Add one",
    ),
    "star text": (_reduce("here"), TypeError, r"^'yso_centre' must be one SkyCoord; got 'here'"),
    "stars": (_reduce(SkyCoord([1, 2], [3, 4], unit="deg")), TypeError, r"^'yso_centre' must be one SkyCoord"),
    "star far off": (
        _reduce(FAR),
        ValueError,
        r"^'yso_centre' must lie within 10 diagonals \(5\.7.* of the cube; got 1283.* from its centre\. Check",
    ),
    "star on the other side of the sky": (_reduce(OTHER_SIDE), ValueError, r"^'yso_centre' must lie within 10"),
    "more points than voxels": (
        _reduce(n_elements=505),
        ValueError,
        r"^'n_elements' must not exceed the number of voxels; got 505 for 504 voxels\. Lower it",
    ),
    **{
        f"n_elements {bad!r}": (
            _reduce(n_elements=bad),
            ValueError,
            r"^'n_elements' must be a whole number of at least 2; got .* Use for example 10\.$",
        )
        for bad in (1, 0, -3, 2.5, 10.0, "10", None, True, np.nan, [10])
    },
    "reduce no cube": (lambda cube: reduce_to_1D([1, 2], STAR), TypeError, r"^'streamer_cube' must be a SpectralCube or a path"),
}


class TestRefusals:
    @pytest.mark.parametrize("case", REFUSALS)
    def test_refusal(self, make_cube, case):
        act, error, message = REFUSALS[case]
        cube = make_cube(labelled((8, 9, 7)))
        with pytest.raises(error, match=re.compile(message, re.DOTALL)) as caught:
            act(cube)
        assert FORM.match(str(caught.value))

    @pytest.mark.parametrize("act", [_cut(), _cut(vmin=5.2 * KMS), _cut(rms_thresh=3), _reduce()], ids=str)
    def test_nan_only(self, make_cube, act):
        cube = make_cube(np.full((8, 9, 7), np.nan))
        with pytest.raises(
            ValueError, match=r"(hold finite values; got blank voxels|at least one voxel with a finite)"
        ) as caught:
            act(cube)
        assert FORM.match(str(caught.value))

    def test_nan_only_inside_the_region(self, make_cube):
        values = labelled((8, 9, 7))
        values[:, 4, 3] = np.nan
        with pytest.raises(ValueError, match=r"^'cut' must leave at least one voxel with a finite value; got none"):
            extract_streamer_subcube(make_cube(values), region=CircleSkyRegion(STAR, 0.2 * ARCSEC))

    def test_a_bin_without_positive_flux(self, make_cube):
        values = labelled((8, 9, 7))
        values[:, 6:] = -1
        with pytest.raises(
            ValueError, match=r"^'streamer_cube' must have positive flux in every bin; got -.*Raise rms_thresh"
        ) as caught:
            reduce_to_1D(make_cube(values, centre=(52.2315, 31.25)), STAR, 3)
        assert FORM.match(str(caught.value))

    @pytest.mark.parametrize(
        ("name", "text", "message"),
        [
            ("empty.reg", "", r"must hold at least one region; got none"),
            ("header.reg", "# Region file format: DS9\nfk5\n", r"must hold at least one region; got none"),
            ("empty.crtf", "#CRTFv0\n", r"must hold at least one region; got none"),
            ("point.reg", "fk5\npoint(52.2315,31.2436)\n", r"must hold at least one region; got none"),
            ("line.reg", "fk5\nline(52.2,31.2,52.3,31.2)\n", r"must hold at least one region; got none"),
            ("broken.reg", "fk5\ncircle(foo)\n", r"must be a readable ds9 file; got 'broken\.reg' \("),
            ("broken.crtf", "circle [[1deg, 2deg], 3arcsec]\n", r"must be a readable crtf file; got 'broken\.crtf' \("),
            ("binary.reg", "\x00\x01\udcff", r"must be a readable ds9 file; got 'binary\.reg' \("),
            ("far.reg", 'fk5\ncircle(52.2315,31.6,3")\n', r"must overlap the cube; got no pixel in common"),
        ],
    )
    def test_region_files(self, make_cube, tmp_path, name, text, message):
        path = tmp_path / name
        path.write_bytes(text.encode(errors="surrogateescape"))
        with pytest.raises(ValueError, match="^'region' " + message) as caught:
            extract_streamer_subcube(make_cube(labelled((8, 9, 7))), region=path)
        assert FORM.match(str(caught.value))

    def test_garbage_is_refused_where_warnings_are_not_errors(self, make_cube, tmp_path):
        path = tmp_path / "garbage.reg"
        path.write_text("hello world\n")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(ValueError, match=r"^'region' must hold only coordinates and shapes that can be used"):
                extract_streamer_subcube(make_cube(labelled((8, 9, 7))), region=path)

    def test_unknown_keyword(self, make_cube):
        with pytest.raises(TypeError, match=r"^'rms_tresh' must be a keyword .* Did you mean 'rms_thresh'\?$"):
            extract_streamer_subcube(make_cube(labelled((8, 9, 7))), rms_tresh=4)

    @pytest.mark.parametrize("away", [1, 9])
    def test_a_star_beside_the_cube_is_no_mistake(self, make_cube, away):
        star = STAR.spherical_offsets_by(0 * ARCSEC, away * 5.7 * ARCSEC)
        assert len(reduce_to_1D(make_cube(labelled((8, 9, 7))), star, 3)) == 3


#: What STING 0.2.3 makes of the quick start of its README, read from its own run: points and widths.
STING_POINTS = [
    [1.27643758, 0.70659718, 0.57476939, 0.04483426, -0.55158787, -0.73152496, -0.82498937, -0.6597631, -0.36369845, -0.2175214],
    [-9.2023429, -8.36566657, -7.59683419, -6.86727602, -6.09901682,
     -5.5504428, -4.92418358, -4.29335447, -3.57940387, -2.59155181],
    [7.51859504, 7.53895692, 7.51768282, 7.52204199, 7.51800064, 7.48337693, 7.42615374, 7.37169251, 7.3173251, 7.21891578],
]  # fmt: skip
STING_WIDTHS = [
    [1.0445094, 1.24417635, 1.28179533, 1.49523739, 1.74671352, 1.60991732, 1.49136917, 1.32320364, 1.11000405, 0.69371756],
    [0.50217862, 0.44995831, 0.42915028, 0.41221591, 0.53910528, 0.51447406, 0.51969555, 0.47244595, 0.40006336, 0.46227888],
    [0.12070256, 0.15281361, 0.13928415, 0.14312795, 0.16889197, 0.18625091, 0.17598201, 0.17365229, 0.18079514, 0.2131501],
]  # fmt: skip


@pytest.fixture(scope="module")
def real_cut(data_file):
    """NGC 1333 IRAS 2A with the cuts of STING's quick start."""
    with pytest.warns(StingWarning, match=r"^95\.7% of the cube is exactly zero"):
        return extract_streamer_subcube(
            data_file,
            vmin=6 * KMS,
            vmax=8 * KMS,
            xmin=-5 * ARCSEC,
            xmax=5 * ARCSEC,
            ymin=-12 * ARCSEC,
            ymax=0.5 * ARCSEC,
            rms_thresh=4,
        )


@pytest.mark.data
class TestRealCube:
    """NGC 1333 IRAS 2A with the settings of STING's quick start."""

    STAR = SkyCoord("3h28m55.569s", "+31d14m37.025s", frame="fk5")
    # STING 0.2.3 takes the ICRS numbers of the star for those of the cube's FK5 frame
    STING_STAR = SkyCoord(STAR.icrs.ra, STAR.icrs.dec, frame="fk5")

    def test_number_of_voxels(self, real_cut):
        assert len(kept(real_cut)) == 28111
        np.testing.assert_allclose(velocities(real_cut)[[0, -1]], [6, 8])

    def test_points_of_sting(self, real_cut):
        streamer = reduce_to_1D(real_cut, self.STING_STAR, n_elements=10)
        assert streamer.pc_coords.shape == (4, 28111)
        np.testing.assert_allclose(np.array(streamer.data)[:, :9], np.array(STING_POINTS)[:, :9], atol=1e-6)
        np.testing.assert_allclose(np.array(streamer.uncertainties)[:, :9], np.array(STING_WIDTHS)[:, :9], atol=1e-6)
        np.testing.assert_allclose(streamer.data, STING_POINTS, atol=0.01)

    def test_what_sting_leaves_out_of_the_last_point(self, real_cut):
        cloud = reduce_to_1D(real_cut, self.STING_STAR, n_elements=10).pc_coords
        d = metric_by_hand(cloud[0], cloud[1], 10)
        # the channels of the innermost pixel, all at the smallest d
        used = (d > d.min()) & (d <= np.percentile(d, 10))
        points, flux = cloud[:3, used], cloud[3, used]
        mean = points @ flux / flux.sum()
        np.testing.assert_allclose(mean, np.array(STING_POINTS)[:, 9], atol=1e-6)
        assert np.sum(d == d.min()) > 1

    def test_points_with_the_star_in_its_frame(self, real_cut):
        assert self.STAR.separation(self.STING_STAR).arcsec == pytest.approx(0.03, abs=0.02)
        streamer = reduce_to_1D(real_cut, self.STAR, n_elements=10)
        difference = np.abs(np.array(streamer.data) - STING_POINTS)
        assert difference[:2].max() < 0.1
        assert difference[2].max() < 0.003
        means, spreads = reduce_by_hand(streamer.pc_coords, 10)
        np.testing.assert_allclose(streamer.data, means, atol=1e-9)
        np.testing.assert_allclose(streamer.uncertainties, spreads, atol=1e-9)
