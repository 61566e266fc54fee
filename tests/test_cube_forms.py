"""One scene, written in all the forms in which observatories and the ecosystem write cubes, gives one streamer."""

import numpy as np
import pytest
from astropy import constants as const
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from spectral_cube import SpectralCube

from sting import synthetic
from sting.cubes import beam_axes, to_velocity
from sting.extract_streamline import extract_streamer_subcube, reduce_to_1D

C = const.c.to_value(u.km / u.s)
AXIS = ("CTYPE", "CRVAL", "CDELT", "CRPIX", "CUNIT")


@pytest.fixture(scope="module")
def scene():
    return synthetic.make_streamer_cube(seed=1, shape=(40, 48, 48))


@pytest.fixture(scope="module")
def plain(scene):
    """Header and data of the scene: radio velocity in m/s, FK5, K."""
    header = scene.cube.header.copy()
    return header, np.asarray(scene.cube.filled_data[:].value)


def reduced(cube, scene, **keywords):
    cut = extract_streamer_subcube(cube, vmin=5 * u.km / u.s, rms_thresh=5)
    return reduce_to_1D(cut, scene.star_position, 8, **keywords)


@pytest.fixture(scope="module")
def expected(scene):
    return reduced(scene.cube, scene)


def assert_same(streamer, expected, position=1e-6, velocity=1e-6):
    assert streamer.pc_coords.shape == expected.pc_coords.shape
    for got, wanted, atol in zip(streamer.data, expected.data, (position, position, velocity), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=atol)
    for got, wanted, atol in zip(streamer.uncertainties, expected.uncertainties, (position, position, velocity), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=atol)


def written(folder, header, data, *more):
    path = folder / "cube.fits"
    fits.HDUList([fits.PrimaryHDU(data, header), *more]).writeto(path)
    return path


def with_axes(header, order):
    """The header with its axes in another order: FITS axis k is the old axis ``order[k - 1]``, None a Stokes axis."""
    new = header.copy()
    for key in AXIS:
        for axis in range(1, 5):
            new.remove(f"{key}{axis}", ignore_missing=True)
    for axis, old in enumerate(order, 1):
        for key in AXIS:
            if old is None and key != "CUNIT":
                new[f"{key}{axis}"] = "STOKES" if key == "CTYPE" else 1.0
            elif old is not None and f"{key}{old}" in header:
                new[f"{key}{axis}"] = header[f"{key}{old}"]
    return new


def spectral(header, kind, unit, first, step):
    new = header.copy()
    new.update(CTYPE3=kind, CUNIT3=unit, CRPIX3=1.0, CRVAL3=first, CDELT3=step)
    return new


def frequencies(scene):
    """Of the channels, in Hz."""
    return scene.cube.header["RESTFRQ"] * (1 - scene.cube.spectral_axis.to_value(u.km / u.s) / C)


class TestFormsOfTheAxes:
    @pytest.mark.parametrize(
        ("order", "transpose"),
        [
            ((1, 2, 3, None), (0, 1, 2, 3)),
            ((1, 2, None, 3), (1, 0, 2, 3)),
            ((1, 2, 3), (1, 2, 3)),
            ((3, 1, 2), (2, 3, 1)),
            ((2, 1, 3), (1, 3, 2)),
            ((2, 3, 1), (3, 1, 2)),
        ],
    )
    def test_any_order(self, scene, plain, expected, tmp_path, order, transpose):
        header, data = plain
        full = np.transpose(data[None], transpose if len(transpose) == 4 else (0, *transpose))
        path = written(tmp_path, with_axes(header, order), full if len(order) == 4 else full[0])
        assert_same(reduced(path, scene), expected)

    def test_descending_velocity(self, scene, plain, expected, tmp_path):
        header, data = plain
        step, last = header["CDELT3"], scene.cube.spectral_axis[-1].to_value(u.m / u.s)
        path = written(tmp_path, spectral(header, "VRAD", "m/s", last, -step), data[::-1])
        assert_same(reduced(path, scene), expected)

    @pytest.mark.parametrize("unit", ["m/s", "km/s"])
    def test_unit_of_velocity(self, scene, plain, expected, tmp_path, unit):
        header, data = plain
        first, step = (scene.cube.spectral_axis[0], np.diff(scene.cube.spectral_axis)[0])
        path = written(tmp_path, spectral(header, "VRAD", unit, first.to_value(unit), step.to_value(unit)), data)
        assert_same(reduced(path, scene), expected)

    @pytest.mark.parametrize(("unit", "scale"), [("Hz", 1.0), ("GHz", 1e-9)])
    def test_frequency(self, scene, plain, expected, tmp_path, unit, scale):
        header, data = plain
        f = frequencies(scene) * scale
        path = written(tmp_path, spectral(header, "FREQ", unit, f[0], f[1] - f[0]), data)
        assert_same(reduced(path, scene), expected)

    @pytest.mark.parametrize("kind", ["VOPT", "VELO"])
    def test_other_definitions_of_velocity(self, scene, plain, expected, tmp_path, kind):
        header, data = plain
        ratio = header["RESTFRQ"] / frequencies(scene)
        v = 1000 * C * (ratio - 1 if kind == "VOPT" else (ratio**2 - 1) / (ratio**2 + 1))
        path = written(tmp_path, spectral(header, kind, "m/s", v[0], (v[-1] - v[0]) / (len(v) - 1)), data)
        cube = SpectralCube.read(path)
        # by the definition, from what stands in the file
        there = cube.spectral_axis.to_value(u.km / u.s) / C
        f = 1 / (1 + there) if kind == "VOPT" else np.sqrt((1 - there) / (1 + there))
        np.testing.assert_allclose(to_velocity(cube).spectral_axis.value, C * (1 - f), rtol=0, atol=1e-9)
        # a linear axis of this kind has not the very channels of a linear radio axis: 1e-5 km/s is what the form allows
        assert_same(reduced(path, scene), expected, velocity=1e-5)
        assert np.abs(cube.spectral_axis.to_value(u.km / u.s) - scene.cube.spectral_axis.to_value(u.km / u.s)).max() > 5e-5

    def test_velocity_without_a_rest_frequency_is_taken_as_it_is(self, scene, plain, expected, tmp_path):
        header, data = plain
        header = header.copy()
        for key in ("RESTFRQ", "RESTFREQ"):
            header.remove(key, ignore_missing=True)
        header["CTYPE3"] = "VELO"
        assert_same(reduced(written(tmp_path, header, data), scene), expected)


class TestFrames:
    @pytest.mark.parametrize("frame", ["icrs", "galactic"])
    def test_the_same_pixels_named_in_another_frame(self, scene, plain, expected, tmp_path, frame):
        """About the reference position, an orthographic image is the same image in each frame, but for a rotation."""
        header, data = plain
        old = scene.cube.wcs.celestial
        assert old.wcs.ctype[0].endswith("SIN")
        here = SkyCoord(*(old.wcs.crval * u.deg), frame="fk5")
        there = here.transform_to(frame)
        north = here.directional_offset_by(0 * u.deg, 1 * u.arcsec).transform_to(frame)
        turn = there.position_angle(north).rad
        new = header.copy()
        names = ("GLON-SIN", "GLAT-SIN") if frame == "galactic" else ("RA---SIN", "DEC--SIN")
        new.update(CTYPE1=names[0], CTYPE2=names[1], CRVAL1=there.spherical.lon.deg, CRVAL2=there.spherical.lat.deg)
        for key in ("RADESYS", "EQUINOX", "LONPOLE", "LATPOLE"):
            new.remove(key, ignore_missing=True)
        if frame == "icrs":
            new["RADESYS"] = "ICRS"
        c, s = np.cos(turn), np.sin(turn)
        # east offset -> new east offset; the pixels grow to the west
        new.update(PC1_1=c, PC1_2=-s, PC2_1=s, PC2_2=c)
        # the angle of the beam counts from the north of the cube's own frame
        new["BPA"] = header["BPA"] + np.degrees(turn)
        path = written(tmp_path, new, data)
        pixels = SpectralCube.read(path).wcs.celestial.pixel_to_world([0, 40], [3, 47]).transform_to("fk5")
        assert pixels.separation(old.pixel_to_world([0, 40], [3, 47])).arcsec.max() < 1e-6
        assert_same(reduced(path, scene), expected)


class TestIntensities:
    def test_jansky_per_beam(self, scene, expected):
        # the threshold keeps the same voxels, but for the rounding of their values
        assert_same(reduced(scene.cube.to(u.Jy / u.beam), scene), expected, position=1e-5)

    @pytest.mark.parametrize("use_dask", [False, True])
    def test_lazy(self, scene, plain, expected, tmp_path, use_dask):
        cube = SpectralCube.read(written(tmp_path, *plain), use_dask=use_dask)
        cut = extract_streamer_subcube(cube, vmin=5 * u.km / u.s, rms_thresh=5)
        assert type(cut) is type(cube)
        assert_same(reduce_to_1D(cut, scene.star_position, 8), expected)

    @pytest.mark.parametrize("blank", [np.nan, 0.0])
    def test_padding(self, scene, plain, expected, tmp_path, blank):
        header, data = plain
        padded = np.full((data.shape[0] + 4, data.shape[1] + 6, data.shape[2] + 10), blank, data.dtype)
        padded[1:-3, 2:-4, 7:-3] = data
        header = header.copy()
        for axis, shift in ((1, 7), (2, 2), (3, 1)):
            header[f"CRPIX{axis}"] += shift
        assert_same(reduced(written(tmp_path, header, padded), scene), expected)

    @pytest.mark.parametrize("spread", [0.0, 0.01])
    def test_a_beam_for_each_channel(self, scene, plain, tmp_path, spread):
        header, data = plain
        header, n = header.copy(), len(data)
        for key in ("BMAJ", "BMIN", "BPA"):
            header.remove(key)
        header["CASAMBM"] = True
        beam = scene.cube.beam
        major = beam.major.to_value(u.arcsec) * (1 + spread * np.linspace(-1, 1, n))
        columns = [
            fits.Column("BMAJ", "E", array=major, unit="arcsec"),
            fits.Column("BMIN", "E", array=np.full(n, beam.minor.to_value(u.arcsec)), unit="arcsec"),
            fits.Column("BPA", "E", array=np.full(n, beam.pa.to_value(u.deg)), unit="deg"),
            fits.Column("CHAN", "J", array=np.arange(n)),
            fits.Column("POL", "J", array=np.zeros(n)),
        ]
        table = fits.BinTableHDU.from_columns(columns, name="BEAMS")
        table.header["NCHAN"], table.header["NPOL"] = n, 1
        path = written(tmp_path, header, data, table)
        width, expected = (reduced(cube, scene, uncertainty="spread") for cube in (path, scene.cube))
        assert_same(width, expected)
        # the beam only counts for the standard error of the mean: that of median size stands for all
        axes = beam_axes(SpectralCube.read(path))
        assert axes == pytest.approx(beam_axes(scene.cube), rel=2 * spread / n + 1e-6)
        mean, wanted = (reduced(cube, scene, uncertainty="mean") for cube in (path, scene.cube))
        np.testing.assert_allclose(mean.v_sigma, wanted.v_sigma, rtol=spread + 1e-6)
