"""Position-velocity cuts: values, axes and projections against what is known of made-up cubes, and what is refused."""

import matplotlib as mpl
import numpy as np
import pvextractor
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from spectral_cube import SpectralCube

import sting
from sting import outputs, synthetic
from sting.position_velocity import PVCut, pv_cut
from sting.stream_lines_grad import streamline

ARCSEC, KMS = u.arcsec, u.km / u.s


def gradient(east, north, velocity):
    """Brightness that tells the place: linear in all three."""
    return 100 + 3 * east - 2 * north + 5 * velocity


def cube_of(
    brightness,
    centre,
    *,
    cell=(0.2, 0.2),
    turn=0.0,
    n=(61, 81),
    v_first=5.0,
    channel=0.1,
    n_channels=6,
    beam=None,
    unit=u.K,
    kind="VRAD",
):
    """Cube of a function of the offsets from ``centre``, which come from separation and position angle."""
    wcs = WCS(naxis=3)
    galactic = centre.frame.name == "galactic"
    wcs.wcs.ctype = ["GLON-TAN" if galactic else "RA---TAN", "GLAT-TAN" if galactic else "DEC--TAN", kind]
    if not galactic:
        wcs.wcs.radesys = centre.frame.name.upper()
    wcs.wcs.cunit = ["deg", "deg", "m/s"]
    wcs.wcs.crval = [centre.spherical.lon.deg, centre.spherical.lat.deg, 1e3 * v_first]
    wcs.wcs.crpix = [n[1] // 2 + 1, n[0] // 2 + 1, 1]
    wcs.wcs.cdelt = [-cell[0] / 3600, cell[1] / 3600, 1e3 * channel]
    c, s = np.cos(turn), np.sin(turn)
    wcs.wcs.pc = [[c, -s * cell[1] / cell[0], 0], [s * cell[0] / cell[1], c, 0], [0, 0, 1]]
    wcs.wcs.restfrq = 231e9
    wcs.wcs.set()
    sky = wcs.celestial.pixel_to_world(*np.indices(n)[::-1])
    star = centre if not galactic else centre.icrs
    sky = sky.transform_to(star.frame)
    distance, angle = star.separation(sky).arcsec, star.position_angle(sky).rad
    velocity = v_first + channel * np.arange(n_channels)
    values = brightness(distance * np.sin(angle), distance * np.cos(angle), velocity[:, None, None])
    return SpectralCube(values * unit, wcs=wcs, beam=beam)


STAR = SkyCoord(52.23, 31.24, unit="deg", frame="fk5")
ARC_RADIUS = 4.0
ARC = np.linspace(0, 1.5, 400)
#: A quarter of a circle from the star, first to the north and then to the east.
ARC_PATH = (ARC_RADIUS * (1 - np.cos(ARC)) * ARCSEC, ARC_RADIUS * np.sin(ARC) * ARCSEC)

SCENES = {
    "dec 31": {"centre": STAR},
    "dec -80": {"centre": SkyCoord(12.0, -80.0, unit="deg", frame="icrs")},
    "dec 60": {"centre": SkyCoord(359.9999, 60.0, unit="deg", frame="fk5")},
    "oblong pixels": {"centre": STAR, "cell": (0.2, 0.31)},
    "oblong and turned": {"centre": STAR, "cell": (0.3, 0.2), "turn": 0.5},
    "galactic": {"centre": SkyCoord(158.3, -20.5, unit="deg", frame="galactic")},
    "descending velocity": {"centre": STAR, "v_first": 9.0, "channel": -0.1},
}


class TestValues:
    @pytest.mark.parametrize("name", SCENES)
    def test_of_a_linear_brightness_along_an_arc(self, name):
        cube = cube_of(gradient, **SCENES[name])
        cut = pv_cut(cube, ARC_PATH, SCENES[name]["centre"], width=1.2 * ARCSEC, spacing=0.4 * ARCSEC)
        assert cut.image.shape == (6, 15)
        assert cut.image.unit == u.K
        np.testing.assert_allclose(cut.offset.to_value(ARCSEC), 0.2 + 0.4 * np.arange(15), rtol=1e-12)
        np.testing.assert_allclose(cut.velocity.to_value(KMS), cube.spectral_axis.to_value(KMS), rtol=1e-10)
        angle = cut.offset.value / ARC_RADIUS
        east, north = ARC_RADIUS * (1 - np.cos(angle)), ARC_RADIUS * np.sin(angle)
        np.testing.assert_allclose([cut.ra.value, cut.dec.value], [east, north], atol=1e-3)
        # pixels are counted whole, by area: for a slope of 3.6 K/arcsec that is a few hundredths of an arcsec
        expected = gradient(east, north, cut.velocity.value[:, None])
        np.testing.assert_allclose(cut.image.value, expected, rtol=0, atol=0.12)

    @pytest.mark.parametrize("name", ["dec -80", "galactic", "oblong and turned"])
    def test_positions_on_the_sky(self, name):
        star = SCENES[name]["centre"]
        cut = pv_cut(cube_of(gradient, **SCENES[name]), ARC_PATH, star, spacing=0.4 * ARCSEC)
        chord = 2 * ARC_RADIUS * np.sin(cut.offset.value / ARC_RADIUS / 2)
        np.testing.assert_allclose(star.separation(cut.sky).arcsec, chord, atol=1e-3)
        assert cut.sky.frame.name == ("icrs" if name == "galactic" else star.frame.name)
        north = star if name != "galactic" else star.icrs
        np.testing.assert_allclose(north.position_angle(cut.sky).rad, cut.offset.value / ARC_RADIUS / 2, atol=1e-3)

    def test_a_mean_over_whole_pixels_is_their_mean(self):
        values = np.random.default_rng(3).normal(size=(4, 21, 25))
        cube = cube_of(lambda *_: values, STAR, n=(21, 25), n_channels=4)
        # northwards through the middle column: cells of one row by five columns
        cut = pv_cut(cube, ([0, 0] * ARCSEC, [-0.9, 0.9] * ARCSEC), STAR, width=1.0 * ARCSEC, spacing=0.2 * ARCSEC)
        np.testing.assert_allclose(cut.image.value, values[:, 6:15, 10:15].mean(axis=2), atol=1e-6)

    def test_agrees_with_pvextractor_on_square_pixels(self):
        cube = cube_of(lambda *_: np.random.default_rng(4).normal(size=(6, 61, 81)), STAR)
        corners = cube.wcs.celestial.pixel_to_world([12.3, 40.1], [9.2, 50.4])
        cut = pv_cut(cube, corners, STAR, width=1.1 * ARCSEC, spacing=0.3 * ARCSEC)
        plain = pvextractor.extract_pv_slice(
            cube.filled_data[:].value, pvextractor.Path([(12.3, 9.2), (40.1, 50.4)], width=5.5), spacing=1.5
        )
        n = plain.data.shape[1]
        assert 0 <= cut.image.shape[1] - n <= 1
        np.testing.assert_allclose(cut.image.value[:, :n], plain.data, atol=1e-4)

    def test_one_channel(self):
        cut = pv_cut(cube_of(gradient, STAR, n_channels=1), ARC_PATH, STAR)
        assert cut.velocity.to_value(KMS) == pytest.approx([5.0])
        assert outputs.plot_pv_cut(cut).axes[0].images

    def test_what_is_blank_does_not_count(self):
        values = np.ones((3, 21, 25))
        values[:, :, :12] = np.nan
        values[1] = np.nan
        cut = pv_cut(cube_of(lambda *_: values, STAR, n=(21, 25), n_channels=3), ([0, 0], [-1, 1]), STAR, width=1 * ARCSEC)
        np.testing.assert_allclose(cut.image.value[[0, 2]], 1)
        assert np.isnan(cut.image.value[1]).all()

    def test_of_a_masked_cube(self):
        cube = cube_of(gradient, STAR)
        cut = pv_cut(cube.with_mask(cube > 127 * u.K), ARC_PATH, STAR)
        assert np.nanmin(cut.image.value) > 127

    def test_only_the_asked_velocities(self):
        cube = cube_of(gradient, STAR)
        cut = pv_cut(cube, ARC_PATH, STAR, vmin=5.1 * KMS, vmax=5300 * u.m / u.s)
        np.testing.assert_allclose(cut.velocity.value, [5.1, 5.2, 5.3])
        np.testing.assert_allclose(cut.image, pv_cut(cube, ARC_PATH, STAR).image[1:4])
        np.testing.assert_allclose(cut.wcs.spectral.pixel_to_world([0, 2]).to_value(KMS), [5.1, 5.3])

    def test_a_file_is_as_good_as_a_cube(self, tmp_path):
        cube = cube_of(gradient, STAR, unit=u.Jy / u.beam, beam=None)
        cube.write(tmp_path / "cube.fits")
        cut = pv_cut(tmp_path / "cube.fits", ARC_PATH, STAR)
        np.testing.assert_allclose(cut.image.value, pv_cut(cube, ARC_PATH, STAR).image.value)

    @pytest.mark.parametrize("form", ["frequency", "frequency, lazy", "stokes"])
    def test_forms_of_cubes(self, scene, tmp_path, form):
        header, data = scene.cube.header.copy(), scene.cube.filled_data[:].value
        if form == "stokes":
            header.update(CTYPE4="STOKES", CRVAL4=1.0, CDELT4=1.0, CRPIX4=1.0)
            data = data[None]
        else:
            f = header["RESTFRQ"] * (1 - scene.cube.spectral_axis.to_value(KMS) / 299792.458)
            header.update(CTYPE3="FREQ", CUNIT3="Hz", CRPIX3=1.0, CRVAL3=f[0], CDELT3=f[1] - f[0])
        fits.PrimaryHDU(data, header).writeto(tmp_path / "cube.fits")
        lazy = SpectralCube.read(tmp_path / "cube.fits", use_dask=True) if "lazy" in form else None
        cut, wanted = (pv_cut(c, ([0, 0], [0, 5]), scene.star_position) for c in (lazy or tmp_path / "cube.fits", scene.cube))
        np.testing.assert_allclose(cut.image.value, wanted.image.value, atol=1e-6)
        np.testing.assert_allclose(cut.velocity.value, wanted.velocity.value, atol=1e-6)

    def test_the_cube_stays_as_it_was_and_nothing_is_printed(self, capsys):
        cube = cube_of(gradient, STAR)
        before, header = cube.filled_data[:].value.copy(), cube.wcs.to_header_string()
        pv_cut(cube, ARC_PATH, STAR)
        np.testing.assert_array_equal(cube.filled_data[:].value, before)
        assert cube.wcs.to_header_string() == header
        assert capsys.readouterr().out == ""


class TestSizes:
    def test_width_is_that_of_the_beam_and_without_one_a_pixel(self, scene):
        path = ([0, 0], [0, 3])
        cut = pv_cut(scene.cube, path, scene.star_position)
        assert cut.width.to_value(ARCSEC) == pytest.approx(1.2)
        assert cut.spacing.to_value(ARCSEC) == pytest.approx(0.2)
        assert cut.meta["beam"] == pytest.approx([1.2, 1.0, 22])
        bare = pv_cut(cube_of(gradient, STAR, cell=(0.2, 0.45)), path, STAR)
        assert bare.width.to_value(ARCSEC) == pytest.approx(0.3)
        assert "beam" not in bare.meta

    def test_the_whole_path_is_covered(self):
        cut = pv_cut(cube_of(gradient, STAR), ([0, 0], [0, 3.1]), STAR, spacing=1 * ARCSEC)
        np.testing.assert_allclose(cut.offset.value, [0.5, 1.5, 2.5, 3.5])
        # a whole number of cells stays that
        assert len(pv_cut(cube_of(gradient, STAR), ([0, 0], [0, 2.1]), STAR, spacing=0.7 * ARCSEC).offset) == 3

    def test_what_lies_outside_the_image_is_left_out(self):
        cube = cube_of(gradient, STAR, n=(21, 21))
        cut = pv_cut(cube, ([0, 0], [-30, 90]), STAR, spacing=0.5 * ARCSEC, width=0.2 * ARCSEC)
        # the edge of the image is 2.1 arcsec away; the zero stays at the star
        np.testing.assert_allclose(cut.offset.value, np.arange(-2.25, 2.5, 0.5), atol=1e-9)
        assert np.isfinite(cut.image.value).all()
        expected = gradient(0, cut.offset.value[1:-1], cut.velocity.value[:, None])
        np.testing.assert_allclose(cut.image.value[:, 1:-1], expected, atol=0.12)

    def test_extended_straight_on(self):
        cut = pv_cut(cube_of(gradient, STAR), ([0, 1, 1], [0, 0, 2]), STAR, spacing=0.5 * ARCSEC, extend=2 * ARCSEC)
        assert cut.offset.value[-1] == pytest.approx(4.75)
        assert (cut.ra.value[-1], cut.dec.value[-1]) == pytest.approx((1, 3.75))


@pytest.fixture(scope="module")
def streamer():
    return synthetic.make_streamer_points(n_elements=8)


@pytest.fixture(scope="module")
def model(scene):
    return streamline(scene.truth, distance=scene.distance)


class TestPaths:
    def test_a_streamer_is_followed_from_the_star_outwards(self, scene, streamer):
        cut = pv_cut(scene.cube, streamer, scene.star_position)
        offset, distance = cut.project(streamer.ra_data, streamer.dec_data)
        inner = np.hypot(streamer.ra_data[-1], streamer.dec_data[-1])
        assert offset[-1].value == pytest.approx(inner)
        steps = np.hypot(np.diff(streamer.ra_data), np.diff(streamer.dec_data))
        np.testing.assert_allclose(-np.diff(offset.value), steps)
        np.testing.assert_allclose(distance.value, 0, atol=1e-9)

    def test_without_the_way_from_the_star(self, scene, streamer):
        cut = pv_cut(scene.cube, streamer, scene.star_position, to_star=False)
        assert cut.project(streamer.ra_data, streamer.dec_data)[0][-1].value == pytest.approx(0, abs=1e-9)

    def test_positions_are_followed_in_their_order(self):
        cube = cube_of(gradient, STAR)
        north, south = ([0.4, 0.4], [-3, 5]), ([0.4, 0.4], [5, -3])
        forth, back = (pv_cut(cube, path, STAR, spacing=0.5 * ARCSEC) for path in (north, south))
        # zero is where the star is nearest
        assert (forth.offset.value[0], forth.offset.value[-1]) == pytest.approx((-2.75, 4.75))
        assert (back.offset.value[0], back.offset.value[-1]) == pytest.approx((-4.75, 2.75))
        np.testing.assert_allclose(forth.image.value, back.image.value[:, ::-1])

    def test_positions_from_the_star_if_asked(self):
        cut = pv_cut(cube_of(gradient, STAR), ([0, 3], [3, 3]), STAR, to_star=True, spacing=0.5 * ARCSEC)
        assert len(cut.offset) == 12
        assert cut.ra.value[5] == pytest.approx(0)

    def test_coordinates_in_any_frame(self):
        cube = cube_of(gradient, STAR)
        sky = STAR.spherical_offsets_by(*ARC_PATH)
        wanted = pv_cut(cube, ARC_PATH, STAR)
        for path, star in ((sky, STAR.icrs), (sky.icrs, STAR.fk4), (sky.galactic, STAR.galactic), (sky.fk4, STAR)):
            cut = pv_cut(cube, path, star)
            # FK4, with its terms of aberration, comes back to within some microarcseconds
            np.testing.assert_allclose(cut.offset.value, wanted.offset.value, atol=1e-4)
            np.testing.assert_allclose(cut.image.value, wanted.image.value, atol=1e-3)

    def test_points_that_coincide_count_once(self):
        cube = cube_of(gradient, STAR)
        doubled = pv_cut(cube, ([0, 0, 0, 2, 2], [0, 2, 2, 2, 2]), STAR)
        np.testing.assert_array_equal(doubled.image, pv_cut(cube, ([0, 0, 2], [0, 2, 2]), STAR).image)

    def test_emission_of_a_model_lies_on_its_curve(self, scene, model):
        """Without noise, the mean velocity of each column is the model's there; that of another model is not."""
        silent = SpectralCube(scene.model * u.K, wcs=scene.cube.wcs, beam=scene.cube.beam)
        cut = pv_cut(silent, model, scene.star_position)
        mean = (cut.velocity.value @ cut.image.value) / cut.image.value.sum(axis=0)
        offset, _ = cut.project(model.ra, model.dec)
        # away from the star, where the beam sees a narrow range of velocities, and from the end of the image
        far = (cut.offset.value > 2.5) & (cut.offset.value < 6)
        assert far.sum() > 15
        curve = np.interp(cut.offset.value, offset.value[::-1], model.velocity.value[::-1])
        assert np.abs(mean - curve)[far].max() < 0.05
        other = streamline(scene.truth | {"inc": -30 * u.deg}, distance=scene.distance)
        there, _ = cut.project(other.ra, other.dec)
        curve = np.interp(cut.offset.value, there.value[::-1], other.velocity.value[::-1])
        assert np.abs(mean - curve)[far].max() > 0.3

    def test_emission_of_a_model_is_brightest_on_its_path(self, scene, model):
        silent = SpectralCube(scene.model * u.K, wcs=scene.cube.wcs, beam=scene.cube.beam)
        here = pv_cut(silent, model, scene.star_position).image.value
        aside = pv_cut(silent, (model.ra[::-1] + 0.6 * ARCSEC, model.dec[::-1]), scene.star_position).image.value
        assert np.nanmax(here) > 1.1 * np.nanmax(aside)

    def test_the_real_streamer(self, data_file):
        truth = synthetic.TRUTH | {"r0": 2740.26 * u.au, "theta0": 51.778 * u.deg, "phi0": 61.529 * u.deg}
        truth |= {"v_r0": 0.0903 * KMS, "mass": 4.0194 * u.Msun, "inc": -44.597 * u.deg, "pa": 194.585 * u.deg}
        model = streamline(truth | {"omega": 5.5329e-13 / u.s}, distance=293)
        cut = pv_cut(data_file, model, synthetic.STAR, vmin=6 * KMS, vmax=8.5 * KMS)
        offset, _ = cut.project(model.ra, model.dec)
        curve = np.interp(cut.offset.value, offset.value[::-1], model.velocity.value[::-1])
        bright = cut.image.value.sum(axis=0) > 0.2 * cut.image.value.sum(axis=0).max()
        mean = (cut.velocity.value @ cut.image.value)[bright] / cut.image.value.sum(axis=0)[bright]
        assert bright.sum() > 30
        assert np.abs(mean - curve[bright]).max() < 0.2


class TestProjection:
    @pytest.fixture
    def bent(self):
        """East along the axis for 3 arcsec, then north for 3."""
        return pv_cut(cube_of(gradient, STAR), ([0, 3, 3], [0, 0, 3]), STAR)

    @pytest.mark.parametrize(
        ("point", "offset", "distance"),
        [
            ((1, 0.5), 1, 0.5),
            ((1, -0.5), 1, 0.5),
            ((3.5, 1), 4, 0.5),
            ((2.9, 2), 5, 0.1),
            ((4, -1), 3, np.sqrt(2)),  # nearest to the corner
            ((-1, 0.2), -1, 0.2),  # beyond the inner end, straight on
            ((2.5, 4), 7, 0.5),  # beyond the outer one
            ((0.1, 2.9), 0.1, 2.9),  # near the line on which the outer end goes on, but that is not the path
        ],
    )
    def test_of_a_point(self, bent, point, offset, distance):
        got = bent.project(*([v] * ARCSEC for v in point))
        assert [v.to_value(ARCSEC)[0] for v in got] == pytest.approx([offset, distance])

    def test_shapes_and_units(self, bent):
        offset, distance = bent.project(np.ones((2, 3)), np.full((2, 3), 0.25) * ARCSEC)
        assert offset.shape == distance.shape == (2, 3)
        assert bent.project((1 * ARCSEC).to(u.deg), 250 * u.mas)[1].to_value(ARCSEC) == pytest.approx(0.25)
        assert np.isnan(bent.project([np.nan, 1], [0, 0])[0].value).tolist() == [True, False]

    def test_of_uncertainties(self, bent):
        sigma = bent.project_sigma([1, 3], [0.1, 2], [0.3, 0.3], [0.2, 0.2])
        np.testing.assert_allclose(sigma.to_value(ARCSEC), [0.3, 0.2])

    def test_of_as_many_points_as_a_cube_has_voxels(self, bent):
        east, north = np.random.default_rng(1).uniform(-1, 4, (2, 50_000))
        offset, distance = bent.project(east, north)
        on_first = np.hypot(east - east.clip(0, 3), north)
        on_second = np.hypot(east - 3, north - north.clip(0, 3))
        inside = (offset.value > 0) & (offset.value < 6)
        np.testing.assert_allclose(distance.value[inside], np.minimum(on_first, on_second)[inside])

    @pytest.mark.parametrize(
        ("arguments", "message", "error"),
        [
            (([1.0] * u.km, [1.0]), r"^'ra' must be angles, or numbers in arcsec; got .*km", u.UnitsError),
            (([1.0], ["north"]), r"^'dec' must be angles", u.UnitsError),
            (([1.0, 2.0], [1.0]), r"^'ra, dec' must have one shape; got \(2,\) and \(1,\)", ValueError),
        ],
    )
    def test_refuses(self, bent, arguments, message, error):
        with pytest.raises(error, match=message):
            bent.project(*arguments)


class TestFiles:
    @pytest.mark.parametrize("name", ["cut.fits", "cut.fits.gz"])
    def test_comes_back_as_it_was(self, scene, model, tmp_path, name):
        cut = pv_cut(scene.cube, model, scene.star_position)
        cut.write(tmp_path / name)
        with fits.open(tmp_path / name) as file:
            header, wcs = file[0].header, WCS(file[0].header)
            np.testing.assert_array_equal(file[0].data, cut.image.value)
            table = file["PATH"].data
            np.testing.assert_array_equal(table["ra"], cut.sky.ra.deg)
            np.testing.assert_array_equal(table["dec"], cut.sky.dec.deg)
            np.testing.assert_array_equal(table["offset"], cut.offset.value)
            assert file["PATH"].header["RADESYS"] == "FK5"
        assert (header["CTYPE1"].strip(), header["CUNIT1"], header["BUNIT"]) == ("OFFSET", "arcsec", "K")
        assert (header["BMAJ"] * 3600, header["BPA"], header["PVWIDTH"]) == pytest.approx((1.2, 22, 1.2))
        assert "LONPOLE" not in header
        columns, rows = np.arange(cut.image.shape[1]), np.arange(cut.image.shape[0])
        offset = wcs.wcs_pix2world(columns, 0 * columns, 0)[0]
        np.testing.assert_allclose(offset, cut.offset.value, rtol=1e-9)
        velocity = wcs.wcs_pix2world(0 * rows, rows, 0)[1] / 1e3
        np.testing.assert_allclose(velocity, cut.velocity.value, rtol=1e-9)

    def test_velocities_of_an_axis_that_is_not_linear(self, tmp_path):
        cube = cube_of(gradient, STAR, kind="VOPT", v_first=3000, channel=10)
        cut = pv_cut(cube, ARC_PATH, STAR)
        rows = np.arange(6)
        velocity = WCS(cut.to_hdu().header).wcs_pix2world(0 * rows, rows, 0)[1] / 1e3
        c = 299792.458
        np.testing.assert_allclose(cut.velocity.value, c * (1 - 1 / (1 + (3000 + 10 * rows) / c)), rtol=1e-9)
        np.testing.assert_allclose(velocity, cut.velocity.value, rtol=1e-9)

    def test_jansky_per_beam(self, tmp_path):
        cut = pv_cut(cube_of(gradient, STAR, unit=u.Jy / u.beam), ARC_PATH, STAR)
        assert u.Unit(cut.to_hdu().header["BUNIT"]) == u.Jy / u.beam
        cut.write(tmp_path / "cut.fits")

    def test_is_not_overwritten_by_mistake(self, tmp_path):
        cut = pv_cut(cube_of(gradient, STAR), ARC_PATH, STAR)
        cut.write(tmp_path / "cut.fits")
        with pytest.raises(FileExistsError, match=r"^'path' must not exist yet"):
            cut.write(tmp_path / "cut.fits")
        cut.write(tmp_path / "cut.fits", overwrite=True)
        with pytest.raises(FileNotFoundError, match=r"^'path' must lie in an existing folder"):
            cut.write(tmp_path / "nowhere" / "cut.fits")
        with pytest.raises(ValueError, match=r"^'path' must end in \.fits or \.fits\.gz; got .*cut\.png"):
            cut.write(tmp_path / "cut.png")
        assert [file.name for file in tmp_path.iterdir()] == ["cut.fits"]


REFUSED = {
    "kind of path": ({"path": "streamer"}, TypeError, r"^'path' must be a Streamer, .*; got str"),
    "one position": ({"path": STAR}, ValueError, r"^'path' must hold finite positions in a row; got shape \(\)"),
    "no position": ({"path": ([], [])}, ValueError, r"^'path' must hold finite positions in a row; got shape \(0,\)"),
    "a blank": ({"path": ([0, np.nan], [0, 1])}, ValueError, r"^'path' must hold finite positions in a row; got some"),
    "no length": ({"path": ([1, 1], [2, 2])}, ValueError, r"^'path' must go through at least two different positions; got 1"),
    "units of the path": ({"path": ([0, 1] * u.km, [0, 1])}, u.UnitsError, r"^'ra' must be angles"),
    "far away": ({"path": ([0, 1] * u.deg, [0, 1] * u.deg)}, ValueError, r"^'path' must lie within a degree of yso_centre"),
    "outside": ({"path": ([90, 91], [0, 0])}, ValueError, r"^'path' must cross the cube"),
    "star": ({"yso_centre": "star"}, TypeError, r"^'yso_centre' must be one SkyCoord"),
    "cube": ({"cube": np.ones((2, 3, 4))}, TypeError, r"^'cube' must be a SpectralCube or a path"),
    "bare width": ({"width": 1.0}, u.UnitsError, r"^'width' must be a Quantity convertible to arcsec; got 1.0"),
    "no width": ({"width": 0 * ARCSEC}, ValueError, r"^'width' must be positive; got 0 arcsec"),
    "kind of spacing": ({"spacing": 1 * KMS}, u.UnitsError, r"^'spacing' must be a Quantity convertible to arcsec"),
    "negative spacing": ({"spacing": -1 * ARCSEC}, ValueError, r"^'spacing' must be positive; got -1 arcsec"),
    "long spacing": ({"spacing": 9 * ARCSEC}, ValueError, r"^'spacing' must divide the path into 2 to 10000 cells; got 9"),
    "short spacing": ({"spacing": 1e-3 * u.mas}, ValueError, r"^'spacing' must divide the path into 2 to 10000 cells"),
    "negative extension": ({"extend": -1 * ARCSEC}, ValueError, r"^'extend' must not be negative; got -1 arcsec"),
    "velocities": ({"vmin": 6 * KMS, "vmax": 5 * KMS}, ValueError, r"^'vmin' must be less than vmax"),
    "no channel": ({"vmin": 60 * KMS}, ValueError, r"^'vmin, vmax' must keep at least one channel"),
    "keyword": ({"spacings": 1 * ARCSEC}, TypeError, r"^'spacings' must be a keyword of pv_cut; .*Did you mean 'spacing'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name):
    change, error, message = REFUSED[name]
    arguments = {"cube": cube_of(gradient, STAR), "path": ARC_PATH, "yso_centre": STAR} | change
    with pytest.raises(error, match=message):
        pv_cut(**arguments)


def test_says_what_it_is(scene, model):
    cut = pv_cut(scene.cube, model, scene.star_position)
    assert isinstance(cut, sting.PVCut)
    assert PVCut is sting.PVCut
    assert repr(cut) == "<PVCut: 40 channels, 0.10 to 9.90 arcsec along the path, 1.20 arcsec wide>"


def line_named(ax, label):
    return next(line for line in ax.lines if line.get_label() == label)


class TestFigure:
    def test_is_labelled_and_leaves_no_trace(self, scene, model, streamer):
        before = dict(mpl.rcParams)
        cut = pv_cut(scene.cube, model, scene.star_position)
        figure = outputs.plot_pv_cut(cut, streamer, model, v_lsr=7.5 * KMS, title="title")
        figure.draw_without_rendering()
        ax, bar = figure.axes
        assert (ax.get_title(), bar.get_ylabel()) == ("title", "mean intensity (K)")
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("offset along the path (arcsec)", "line-of-sight velocity (km/s)")
        assert [text.get_text() for text in ax.get_legend().get_texts()] == ["systemic", "star", "model", "data"]
        assert dict(mpl.rcParams) == before

    def test_draws_into_given_axes(self, scene, model):
        figure = Figure()
        axes = figure.subplots(1, 2)
        assert outputs.plot_pv_cut(pv_cut(scene.cube, model, scene.star_position), ax=axes[1]) is figure
        assert axes[1].images
        assert not axes[0].images

    def test_model_and_systemic_velocity(self, scene, model):
        cut = pv_cut(scene.cube, model, scene.star_position)
        ax = outputs.plot_pv_cut(cut, streamline=model, v_lsr=7500 * u.m / u.s).axes[0]
        line = line_named(ax, "model")
        np.testing.assert_allclose(line.get_xdata(), cut.project(model.ra, model.dec)[0].value)
        np.testing.assert_allclose(line.get_ydata(), model.velocity.value)
        assert line_named(ax, "systemic").get_ydata()[0] == pytest.approx(7.5)
        assert ax.get_xlim() == pytest.approx((0, cut.offset.value[-1] + 0.1))

    @pytest.mark.parametrize("name", ["dec 31", "descending velocity"])
    def test_image_is_the_right_way_up(self, name):
        cut = pv_cut(cube_of(gradient, **SCENES[name]), ARC_PATH, STAR)
        ax = outputs.plot_pv_cut(cut).axes[0]
        left, right, bottom, top = ax.images[0].get_extent()
        values = np.asarray(ax.images[0].get_array())
        velocity = bottom + (np.arange(6) + 0.5) * (top - bottom) / 6
        offset = left + (np.arange(values.shape[1]) + 0.5) * (right - left) / values.shape[1]
        assert top > bottom
        assert ax.images[0].origin == "lower"
        np.testing.assert_allclose(velocity, np.sort(cut.velocity.value))
        np.testing.assert_allclose(offset, cut.offset.value)
        np.testing.assert_allclose(np.diff(values, axis=0), 0.5, atol=1e-6)

    def test_points_outside_the_strip_are_hollow(self, scene, model, streamer):
        aside = synthetic.make_streamer_points(n_elements=8)
        aside.ra_data[:3] += 2
        ax = outputs.plot_pv_cut(pv_cut(scene.cube, model, scene.star_position), aside).axes[0]
        drawn = {container.get_label(): container[0] for container in ax.containers}
        assert len(drawn["data"].get_xdata()) == 5
        assert len(drawn["data, outside the strip"].get_xdata()) == 3
        assert to_rgba(drawn["data, outside the strip"].get_markerfacecolor())[3] == 0
        np.testing.assert_allclose(drawn["data"].get_ydata(), aside.v_data[3:])

    def test_resolution(self, scene, model):
        cut = pv_cut(scene.cube, model, scene.star_position)
        along, across = outputs.plot_pv_cut(cut).axes[0].lines[-2:]
        assert np.ptp(along.get_xdata()) == pytest.approx(np.sqrt(1.2))
        assert np.ptp(across.get_ydata()) == pytest.approx(0.1)
        assert not outputs.plot_pv_cut(pv_cut(cube_of(gradient, STAR), ARC_PATH, STAR)).axes[0].lines

    def test_blank_and_dark_images_are_drawn(self):
        for values in (np.full((3, 9, 9), np.nan), -np.ones((3, 9, 9))):
            cube = cube_of(lambda *_, values=values: values, STAR, n=(9, 9), n_channels=3, unit=u.one)
            figure = outputs.plot_pv_cut(pv_cut(cube, ([0, 0], [-0.5, 0.5]), STAR))
            figure.draw_without_rendering()
            assert figure.axes[1].get_ylabel() == "mean intensity"
