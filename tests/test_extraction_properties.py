"""Whatever the world coordinates, cuts, regions, masks and numbers of points: a right result, or a refusal in the house form."""

import re
import warnings
from typing import NamedTuple
from unittest import mock

import numpy as np
import pytest
from astropy import constants as const
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from astropy.wcs import WCS
from hypothesis import assume, given
from hypothesis import strategies as st
from radio_beam import Beam
from regions import (
    CircleAnnulusPixelRegion,
    CircleAnnulusSkyRegion,
    CirclePixelRegion,
    CircleSkyRegion,
    EllipseAnnulusSkyRegion,
    EllipsePixelRegion,
    EllipseSkyRegion,
    LinePixelRegion,
    PixCoord,
    PointSkyRegion,
    PolygonPixelRegion,
    PolygonSkyRegion,
    RectangleAnnulusSkyRegion,
    RectanglePixelRegion,
    RectangleSkyRegion,
    RegionMeta,
)
from spectral_cube import SpectralCube

from sting import extract_streamline
from sting.extract_streamline import Streamer, extract_streamer_subcube, reduce_to_1D
from sting.messages import StingWarning
from sting.noise import estimate_rms
from sting.sky_regions import write_regions

KMS, ARCSEC = u.km / u.s, u.arcsec
C = const.c.to_value(KMS)
REST_FREQUENCY = 231.410234e9
FRAMES = ("fk5", "icrs", "galactic")

#: The one form of every refusal, and what may be raised in it.
FORM = re.compile(r"""^('[^']+'|"[^"]+") must .+; got .+[.?]$""", re.DOTALL)
REFUSALS = (ValueError, TypeError, FileNotFoundError, u.UnitsError)

#: Voxels nearer to a limit than this, in channels, pixels or of the threshold, may fall to either side.
EDGE = 0.02


class Scene(NamedTuple):
    """A cube, and what is known of it without the package: values that are not masked, velocities, places of the pixels."""

    cube: SpectralCube
    values: np.ndarray
    velocity: np.ndarray
    pixels: SkyCoord
    scale: np.ndarray  # of a pixel in x and y, arcsec
    channel: float  # width, km/s

    def __repr__(self):
        wcs = self.cube.wcs.to_header(relax=True)
        return f"<{self.values.tolist()}, {dict(wcs)}>"

    @property
    def finite(self):
        return np.isfinite(self.values)

    def offsets(self, center):
        """Offsets (arcsec) of the pixels from a position to the east and north, by astropy alone."""
        frame = "fk5" if self.cube.wcs.wcs.radesys == "FK5" else "icrs"
        return offsets_in(frame, center, self.pixels)


def offsets_in(frame, center, pixels):
    """Offsets (arcsec) to the east and north of one frame; of bare places, which carry no equinox of another."""
    bare = [SkyCoord(place.transform_to(frame).frame) for place in (center, pixels)]
    return [offset.to_value(ARCSEC) for offset in bare[0].spherical_offsets_to(bare[1])]


def floats(low, high):
    return st.floats(low, high, allow_nan=False)


@st.composite
def coordinates(draw):
    """World coordinates of a cube: any frame, projection, orientation and spectral axis; and the sizes of pixel and channel."""
    frame, projection = draw(st.sampled_from(FRAMES)), draw(st.sampled_from(["SIN", "TAN", "CAR"]))
    wcs = WCS(naxis=3)
    names = ("GLON", "GLAT") if frame == "galactic" else ("RA--", "DEC-")
    wcs.wcs.ctype = [f"{name}-{projection}" for name in names] + [draw(st.sampled_from(["VRAD", "FREQ"]))]
    if frame != "galactic":
        wcs.wcs.radesys = frame.upper()
    lon = draw(st.sampled_from([0.0, 1e-4, 359.9999]) | floats(0, 360))
    first, step = draw(floats(-50, 50)), draw(st.sampled_from([-1, 1])) * draw(floats(0.01, 5))
    scale = np.array([draw(floats(0.05, 20))] * 2) * [1, draw(st.just(1.0) | floats(0.4, 2.5))]
    turn, mirror = np.deg2rad(draw(st.just(0.0) | floats(0, 360))), draw(st.sampled_from([-1, -1, -1, 1]))
    cd = np.zeros((3, 3))
    cd[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]] @ np.diag(scale * [mirror, 1] / 3600)
    if wcs.wcs.ctype[2] == "FREQ":
        unit, first, cd[2, 2] = "Hz", REST_FREQUENCY * (1 - first / C), REST_FREQUENCY * step / C
    else:
        unit, first, cd[2, 2] = "m/s", 1e3 * first, 1e3 * step
    wcs.wcs.cunit, wcs.wcs.cd = ["deg", "deg", unit], cd
    wcs.wcs.crval = [lon, draw(floats(-85, 85)), first]
    wcs.wcs.crpix = [draw(floats(-20, 20)), draw(floats(-20, 20)), draw(floats(-5, 5))]
    wcs.wcs.restfrq = REST_FREQUENCY
    wcs.wcs.set()
    return wcs, scale, abs(cd[2, 2]) / (REST_FREQUENCY / C if unit == "Hz" else 1e3)


@st.composite
def values_of(draw, shape):
    """Noise and emission with blanks, zeros, infinities and negative values among it."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = rng.normal(size=shape) * draw(st.sampled_from([1e-6, 1.0, 1e4]))
    values = {"noise": values, "positive": np.abs(values), "negative": -np.abs(values)}[
        draw(st.sampled_from(["noise", "positive", "positive", "negative"]))
    ]
    for other in (np.nan, 0.0, np.inf, -np.inf):
        if draw(st.booleans()):
            values[rng.random(shape) < draw(st.sampled_from([0.05, 0.3, 0.7, 1.0]))] = other
    return values.astype(draw(st.sampled_from(["f4", "f8"])))


@st.composite
def scenes(draw):
    wcs, scale, channel = draw(coordinates())
    shape = tuple(draw(st.integers(1, n)) for n in (5, 7, 7))
    values = draw(values_of(shape))
    beam = Beam(draw(floats(0.1, 10)) * ARCSEC) if draw(st.booleans()) else None
    # copies: SpectralCube changes the WCS
    cube = SpectralCube(values.copy() * u.K, wcs=wcs.deepcopy(), beam=beam)
    if draw(st.booleans()):
        seen = np.random.default_rng(draw(st.integers(0, 99))).random(shape) < 0.7
        cube, values = cube.with_mask(seen), np.where(seen, values, np.nan)
    axis = wcs.wcs.crval[2] + wcs.wcs.cd[2, 2] * (np.arange(shape[0]) + 1 - wcs.wcs.crpix[2])
    velocity = C * (1 - axis / REST_FREQUENCY) if wcs.wcs.ctype[2] == "FREQ" else axis / 1e3
    y, x = np.indices(shape[1:])
    return Scene(cube, values, velocity, wcs.celestial.pixel_to_world(x, y), scale, channel)


@st.composite
def places(draw, scene):
    """A position on the image or beside it, in any frame."""
    middle = scene.pixels[tuple(n // 2 for n in scene.pixels.shape)]
    away = draw(floats(0, 2)) * scene.scale.max() * max(scene.pixels.shape)
    return middle.directional_offset_by(draw(floats(0, 360)) * u.deg, away * ARCSEC).transform_to(draw(st.sampled_from(FRAMES)))


@st.composite
def anywhere(draw):
    return SkyCoord(draw(floats(0, 360)), draw(floats(-89, 89)), unit="deg", frame=draw(st.sampled_from(FRAMES)))


@st.composite
def limits(draw, values, unit):
    """Two limits around or among ``values``, or one, or none."""
    low, high = np.min(values), np.max(values)
    margin = max(high - low, 1e-3)
    found = sorted(draw(floats(low - margin / 2, high + margin / 2)) for _ in range(2))
    assume(found[0] < found[1])
    return [limit * unit if draw(st.booleans()) else None for limit in found]


@st.composite
def cuts(draw, scene):
    """Keywords of a cut."""
    center = draw(st.none() | places(scene))
    reference = SkyCoord(*scene.cube.wcs.wcs.crval[:2], unit="deg", frame=scene.pixels.frame.name) if center is None else center
    east, north = scene.offsets(reference)
    pairs = [draw(limits(v, unit)) for v, unit in ((scene.velocity, KMS), (east, ARCSEC), (north, ARCSEC))]
    names = ("vmin", "vmax", "xmin", "xmax", "ymin", "ymax")
    return {"center": center} | dict(zip(names, [limit for pair in pairs for limit in pair], strict=True))


def side(value, limit, sign, edge):
    """How far above (sign 1) or below (-1) a limit, in units of the edge in which it may fall to either side."""
    return np.full(np.shape(value), np.inf) if limit is None else sign * (value - limit) / edge


def depth_of_cut(scene, cut):
    """How deep each voxel lies inside of the limits of a cut: above 1 surely kept, below -1 surely not."""
    center = cut["center"]
    if center is None:
        center = SkyCoord(*scene.cube.wcs.wcs.crval[:2], unit="deg", frame=scene.pixels.frame.name)
    east, north = scene.offsets(center)
    bare = {name: None if limit is None else limit.value for name, limit in cut.items() if name != "center"}
    channels = [side(scene.velocity, bare[f"v{end}"], sign, EDGE * scene.channel) for end, sign in (("min", 1), ("max", -1))]
    sky = [
        side(offset, bare[f"{axis}{end}"], sign, 1e-6 * scene.scale.max())
        for axis, offset in (("x", east), ("y", north))
        for end, sign in (("min", 1), ("max", -1))
    ]
    return np.minimum(np.min(channels, axis=0)[:, None, None], np.min(sky, axis=0))


def kept_by(scene, cut):
    """Which voxels of a scene a cut of it keeps, from its world coordinates."""
    start = np.round(scene.cube.wcs.wcs.crpix - cut.wcs.wcs.crpix).astype(int)[::-1]
    np.testing.assert_allclose(scene.cube.wcs.wcs.crpix - cut.wcs.wcs.crpix, start[::-1], atol=1e-6)
    window = tuple(slice(low, low + n) for low, n in zip(start, cut.shape, strict=True))
    values = cut.filled_data[:].value
    kept = np.zeros(scene.values.shape, bool)
    kept[window] = ~np.isnan(values)
    np.testing.assert_array_equal(values[kept[window]], scene.values[window][kept[window]])
    np.testing.assert_allclose(cut.spectral_axis.to_value(KMS), scene.velocity[window[0]], atol=1e-6)
    return kept


def result_or_refusal(act):
    """What ``act`` returns and None, or None and the text with which it refuses."""
    try:
        return act(), None
    except REFUSALS as refusal:
        return None, str(refusal)


def assert_as_expected(scene, depth, act):
    """``act`` keeps the voxels of positive depth; or refuses, in the house form, if there is none."""
    cut, refusal = result_or_refusal(act)
    if refusal:
        assert FORM.match(refusal)
        assert not (depth > 1).any(), refusal
        return
    kept = kept_by(scene, cut)
    assert not kept[depth < -1].any()
    assert kept[depth > 1].all()
    assert kept.any()


class TestCut:
    @given(st.data())
    def test_limits(self, data):
        scene = data.draw(scenes())
        cut = data.draw(cuts(scene))
        depth = np.where(scene.finite, depth_of_cut(scene, cut), -np.inf)
        assert_as_expected(scene, depth, lambda: extract_streamer_subcube(scene.cube, **cut))

    @given(st.data())
    def test_a_cut_of_a_cut_is_the_cut(self, data):
        scene = data.draw(scenes())
        first, second = data.draw(cuts(scene)), data.draw(cuts(scene))
        depths = [np.where(scene.finite, depth_of_cut(scene, cut), -np.inf) for cut in (first, second)]

        def twice():
            return extract_streamer_subcube(extract_streamer_subcube(scene.cube, **first), **second)

        assert_as_expected(scene, np.minimum(*depths), twice)
        # and the same again changes nothing
        if (depths[0] > 1).any():
            once = extract_streamer_subcube(scene.cube, **first)
            again = extract_streamer_subcube(once, **first)
            np.testing.assert_array_equal(again.filled_data[:].value, once.filled_data[:].value)

    @given(st.data())
    def test_threshold(self, data):
        scene, thresh = data.draw(scenes()), data.draw(floats(0, 4))
        rms = data.draw(st.none() | floats(0.01, 2))
        known = scene.values[scene.finite].astype(float)
        lost = rms is None and np.mean(known == 0) > 0.5 if known.size else False
        noise = rms
        if rms is None:
            rest = known[known != 0]
            noise = 1.482602218505602 * np.median(np.abs(rest - np.median(rest))) if rest.size else 0.0
        level = np.abs(scene.values) if lost else scene.values - thresh * noise
        with np.errstate(invalid="ignore"):
            # a value on the threshold is none above it
            depth = np.where(level > 0, 1, -1) * np.where(np.abs(level) > 1e-6 * max(thresh * noise, 0), 2.0, 0.5)
        depth = np.where(scene.finite, depth, -np.inf)
        given_rms = None if rms is None else rms * u.K
        with warnings.catch_warnings(record=True) as notices:
            warnings.simplefilter("always")
            assert_as_expected(scene, depth, lambda: extract_streamer_subcube(scene.cube, rms_thresh=thresh, rms=given_rms))
        assert [notice.category for notice in notices] == ([StingWarning] if lost else [])


@st.composite
def sky_regions(draw, scene):
    """A region on the sky, and how deep inside (pixels) each pixel lies."""
    kind = draw(st.sampled_from([CircleSkyRegion, CircleAnnulusSkyRegion, EllipseSkyRegion, RectangleSkyRegion,
                                 EllipseAnnulusSkyRegion, RectangleAnnulusSkyRegion]))  # fmt: skip
    center = draw(places(scene) | anywhere())
    pixel = scene.scale.max()
    a, b = (draw(floats(0.3, 8)) * pixel for _ in range(2))
    grow, angle = draw(floats(1.2, 3)), draw(floats(-400, 400))
    east, north = offsets_in(center.frame.name, center, scene.pixels)
    c, s = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    x, y = -east * c + north * s, north * c + east * s

    def circle(radius):
        return radius - np.hypot(east, north)

    def ellipse(width, height):
        return (1 - np.hypot(2 * x / width, 2 * y / height)) * min(width, height) / 2

    def box(width, height):
        return np.minimum(width / 2 - np.abs(x), height / 2 - np.abs(y))

    inner, turn = {"Circle": circle, "Ellips": ellipse, "Rectan": box}[kind.__name__[:6]], angle * u.deg
    if kind is CircleSkyRegion:
        return kind(center, a * ARCSEC), circle(a) / pixel
    if kind is CircleAnnulusSkyRegion:
        return kind(center, a * ARCSEC, a * grow * ARCSEC), np.minimum(circle(a * grow), -circle(a)) / pixel
    if "Annulus" not in kind.__name__:
        return kind(center, a * ARCSEC, b * ARCSEC, turn), inner(a, b) / pixel
    region = kind(center, *(v * ARCSEC for v in (a, a * grow, b, b * grow)), turn)
    return region, np.minimum(inner(a * grow, b * grow), -inner(a, b)) / pixel


@st.composite
def pixel_regions(draw, scene):
    """A region in pixels of the image, and the pixels that lie in it."""
    n_y, n_x = scene.pixels.shape
    at = PixCoord(draw(floats(-2, n_x + 2)), draw(floats(-2, n_y + 2)))
    a, b, turn = draw(floats(0.3, 8)), draw(floats(0.3, 8)), draw(floats(-400, 400)) * u.deg
    corners = [[draw(floats(-2, 9)) for _ in range(draw(st.just(4)))] for _ in range(2)]
    region = draw(st.sampled_from([
        CirclePixelRegion(at, a), CircleAnnulusPixelRegion(at, a, 2 * a), EllipsePixelRegion(at, a, b, turn),
        RectanglePixelRegion(at, a, b, turn), PolygonPixelRegion(PixCoord(*corners)),
    ]))  # fmt: skip
    y, x = np.indices((n_y, n_x))
    return region, np.where(region.contains(PixCoord(x, y)), 1.0, -1.0)


@st.composite
def polygons(draw, scene):
    """A triangle on the sky, and how deep inside (pixels) each pixel lies."""
    center, pixel = draw(places(scene)), scene.scale.max()
    turns = np.deg2rad(draw(floats(0, 360)) + np.array([0, 110, 230]))
    corners = draw(floats(0.5, 8)) * pixel * np.array([np.cos(turns), np.sin(turns)])
    vertices = center.spherical_offsets_by(*(corners * ARCSEC))
    east, north = offsets_in(center.frame.name, center, scene.pixels)
    edges = []
    for (x1, y1), (x2, y2) in zip(corners.T, np.roll(corners.T, -1, axis=0), strict=True):
        edges.append(((x2 - x1) * (north - y1) - (y2 - y1) * (east - x1)) / np.hypot(x2 - x1, y2 - y1))
    return PolygonSkyRegion(vertices), np.min(edges, axis=0) / pixel


class TestRegions:
    @given(st.data())
    def test_one(self, data):
        scene = data.draw(scenes())
        region, depth = data.draw(sky_regions(scene) | pixel_regions(scene) | polygons(scene))
        depth = np.where(scene.finite, depth / EDGE, -np.inf)
        assert_as_expected(scene, depth, lambda: extract_streamer_subcube(scene.cube, region=region))

    @given(data=st.data())
    def test_several_in_a_list_or_file(self, tmp_path, data):
        """In any of them, and in none of those that are excluded."""
        scene = data.draw(scenes())
        both = [data.draw(sky_regions(scene) | pixel_regions(scene) | polygons(scene)) for _ in range(3)]
        included = [data.draw(st.booleans()) for _ in both]
        found = [one.copy(meta=RegionMeta({"include": take})) for (one, _), take in zip(both, included, strict=True)]
        inside = [depth for (_, depth), take in zip(both, included, strict=True) if take]
        outside = [-depth for (_, depth), take in zip(both, included, strict=True) if not take]
        depth = np.max(inside, axis=0) if inside else np.full(scene.pixels.shape, np.inf)
        depth = np.where(scene.finite, np.min([depth, *outside], axis=0) / EDGE, -np.inf)
        if data.draw(st.booleans()):
            path = tmp_path / "regions.reg"
            write_regions(found, path, overwrite=True)
            found = path
        assert_as_expected(scene, depth, lambda: extract_streamer_subcube(scene.cube, region=found))

    @given(st.data())
    def test_compound(self, data):
        scene = data.draw(scenes())
        (one, first), (other, second) = (data.draw(sky_regions(scene) | polygons(scene)) for _ in range(2))
        word = data.draw(st.sampled_from(["&", "|", "^"]))
        region, depth = {
            "&": (one & other, np.minimum(first, second)),
            "|": (one | other, np.maximum(first, second)),
            "^": (one ^ other, np.maximum(np.minimum(first, -second), np.minimum(second, -first))),
        }[word]
        depth = np.where(scene.finite, depth / EDGE, -np.inf)
        assert_as_expected(scene, depth, lambda: extract_streamer_subcube(scene.cube, region=region))


def assert_valid(streamer, n):
    """Of any streamer."""
    assert isinstance(streamer, Streamer)
    assert len(streamer) == n
    for part, sigma in zip(streamer.data, streamer.uncertainties, strict=True):
        assert part.shape == sigma.shape == (n,)
        assert np.isfinite(part).all()
        assert np.isfinite(sigma).all()
        assert (sigma > 0).all()


class TestReduce:
    @given(st.data())
    def test_every_finite_voxel_counts_once(self, data):
        scene = data.draw(scenes())
        star, n = data.draw(places(scene)), data.draw(st.integers(2, 12))
        uncertainty = data.draw(st.sampled_from(["spread", "mean"]))
        ordering = data.draw(st.sampled_from(["distance", "curve"]))
        keywords = {"uncertainty": uncertainty, "ordering": ordering, "min_beams": 0}
        bins, real = [], extract_streamline.weighted_moments

        def spy(points, flux):
            bins.append((points, flux, real(points, flux)[0]))
            return real(points, flux)

        with mock.patch.object(extract_streamline, "weighted_moments", spy):
            streamer, refusal = result_or_refusal(lambda: reduce_to_1D(scene.cube, star, n, **keywords))
        if refusal:
            assert FORM.match(refusal)
            self.assert_has_a_reason(refusal, scene, star, n, uncertainty, ordering)
            return
        assert_valid(streamer, n)
        flux = scene.values[scene.finite].astype(float)
        east, north = (np.broadcast_to(offset, scene.values.shape)[scene.finite] for offset in scene.offsets(star))
        velocity = np.broadcast_to(scene.velocity[:, None, None], scene.values.shape)[scene.finite]
        np.testing.assert_allclose(streamer.pc_coords[:2], [east, north], rtol=0, atol=1e-6)
        np.testing.assert_allclose(streamer.pc_coords[2], velocity, rtol=0, atol=1e-6)
        np.testing.assert_array_equal(streamer.pc_coords[3], flux)
        np.testing.assert_array_equal(np.sort(np.concatenate([part for _, part, _ in bins])), np.sort(flux))
        for points, part, mean in bins:
            if (part >= 0).all():
                slack = 1e-9 * np.abs(points).max()
                assert (mean >= points.min(axis=1) - slack).all()
                assert (mean <= points.max(axis=1) + slack).all()

    @staticmethod
    def assert_has_a_reason(refusal, scene, star, n, uncertainty, ordering):
        """Each refusal is true."""
        flux = scene.values[scene.finite]
        lit = scene.finite.any(axis=0)
        pixels = np.count_nonzero(lit)
        some_coincide = (np.diff(np.sort(np.hypot(*scene.offsets(star))[lit])) < 1e-6).any()
        reasons = {
            "hold finite values": not flux.size,
            "not exceed the number of voxels": 0 < flux.size < n,
            # with several voxels at one distance, or hardly more voxels than bins, their edges may leave one empty before that
            "leave voxels in every bin": (
                ordering == "curve" or pixels < n * scene.values.shape[0] or some_coincide or flux.size < 2 * n
            ),
            "have positive flux in every bin": (flux <= 0).any(),
            "have positive flux;": ordering == "curve" and not (flux > 0).any(),
            "have a beam": uncertainty == "mean" and getattr(scene.cube, "_beam", None) is None,
        }
        (named,) = [reason for reason in reasons if f"must {reason}" in refusal]
        assert reasons[named]

    @given(st.data())
    def test_maps(self, data):
        scene = data.draw(scenes())
        star, n = data.draw(places(scene)), data.draw(st.integers(2, 12))
        shape = scene.pixels.shape
        peak, velocity, width = (data.draw(values_of(shape)) for _ in range(3))
        mask = data.draw(st.none() | st.just(np.random.default_rng(0).random(shape) < 0.7))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", StingWarning)
            keywords = {"wcs": scene.cube.wcs.celestial, "velocity_unit": "km/s", "mask": mask}
            streamer, refusal = result_or_refusal(lambda: Streamer.from_maps(peak, velocity, width, star, n, **keywords))
        if refusal:
            assert FORM.match(refusal)
            return
        assert_valid(streamer, n)
        assert (streamer.pc_coords[3] > 0).all()

    @given(st.data())
    def test_noise(self, data):
        scene, per_pixel = data.draw(scenes()), data.draw(st.booleans())
        ranges = data.draw(limits(scene.velocity, KMS))
        line_free = data.draw(st.sampled_from([None, ranges, [ranges]]))
        rms, refusal = result_or_refusal(lambda: estimate_rms(scene.cube, line_free=line_free, per_pixel=per_pixel))
        if refusal:
            assert FORM.match(refusal)
            return
        assert rms.unit == u.K
        assert rms.shape == (scene.pixels.shape if per_pixel else ())
        assert np.nanmax(rms.value) > 0


#: What a tired user may write for anything.
NONSENSE = [
    np.nan, np.inf, -1, 0, 1, True, 3.5, 10**20, "", "5", "nowhere.reg", b"x", [], {}, (1, 2), object(), int,
    np.nan * KMS, np.inf * ARCSEC, 1e300 * KMS, -3 * u.K, 5 * u.Hz, 1j * KMS, [1, 2] * KMS, np.ones((2, 2)), np.array("x"),
    SkyCoord(np.nan, 1, unit="deg"), SkyCoord([1], [2], unit="deg"), SkyCoord(1, 2, unit="deg"), fits.Header(),
    [None], PointSkyRegion(SkyCoord(1, 2, unit="deg")), LinePixelRegion(PixCoord(0, 0), PixCoord(1, 1)),
    CircleSkyRegion(SkyCoord(np.nan, np.nan, unit="deg"), 1 * u.deg), [CircleSkyRegion(SkyCoord(1, 2, unit="deg"), 1 * u.deg), 3],
]  # fmt: skip


def refused_or_done(function, **keywords):
    _, refusal = result_or_refusal(lambda: function(**keywords))
    assert refusal is None or FORM.match(refusal)


@pytest.fixture(scope="module")
def small(make_cube):
    return make_cube(np.abs(np.random.default_rng(0).normal(size=(4, 5, 6))))


class TestNonsense:
    @given(
        keywords=st.dictionaries(
            st.sampled_from(
                ["vmin", "vmax", "xmin", "xmax", "ymin", "ymax", "rms_thresh", "region", "center", "rms", "cube", "regions"]
            ),
            st.sampled_from(NONSENSE),
            min_size=1,
            max_size=3,
        )
    )
    def test_cut(self, small, keywords):
        refused_or_done(extract_streamer_subcube, **{"cube": small} | keywords)

    @given(
        star=st.sampled_from([SkyCoord(52.2315, 31.2436, unit="deg"), *NONSENSE]),
        keywords=st.dictionaries(
            st.sampled_from(["n_elements", "uncertainty", "streamer_cube"]), st.sampled_from(NONSENSE), max_size=2
        ),
    )
    def test_reduce(self, small, star, keywords):
        refused_or_done(reduce_to_1D, **{"streamer_cube": small, "yso_centre": star} | keywords)

    @given(
        keywords=st.dictionaries(
            st.sampled_from(["cube", "line_free", "per_pixel"]), st.sampled_from(NONSENSE), min_size=1, max_size=2
        )
    )
    def test_noise(self, small, keywords):
        refused_or_done(estimate_rms, **{"cube": small} | keywords)


@pytest.fixture(scope="module")
def good_files(small, tmp_path_factory):
    """Contents of a file of each kind."""
    folder = tmp_path_factory.mktemp("good")
    small.write(folder / "cube.fits")
    star = SkyCoord(52.2315, 31.2436, unit="deg")
    regions = [CircleSkyRegion(star, 1 * ARCSEC), RectangleSkyRegion(star, 1 * ARCSEC, 2 * ARCSEC, 30 * u.deg)]
    write_regions(regions, folder / "cut.reg")
    reduce_to_1D(small, star, 3).write(folder / "points.ecsv")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class TestDamagedFiles:
    """A file with some of its bytes changed, or its end cut off."""

    @pytest.mark.parametrize("name", ["cube.fits", "cut.reg", "points.ecsv"])
    @given(data=st.data())
    def test_damaged(self, small, good_files, tmp_path, name, data):
        damaged = bytearray(good_files[name])
        for _ in range(data.draw(st.integers(1, 4))):
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
        if data.draw(st.booleans()):
            damaged = damaged[: data.draw(st.integers(0, len(damaged)))]
        path = tmp_path / name
        path.write_bytes(bytes(damaged))
        act = {
            "cube.fits": lambda: extract_streamer_subcube(path, vmin=5.1 * KMS),
            "cut.reg": lambda: extract_streamer_subcube(small, region=path),
            "points.ecsv": lambda: Streamer.read(path),
        }[name]
        with warnings.catch_warnings():
            # a header that astropy mends, a unit that it does not know
            warnings.simplefilter("ignore", AstropyWarning)
            refused_or_done(act)
        assert path.read_bytes() == bytes(damaged)
        assert len(list(tmp_path.iterdir())) == 1
