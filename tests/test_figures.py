"""The figures as pictures: each is compared with one that was looked at; and what is drawn where."""

import io
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image
from spectral_cube import SpectralCube

from sting import outputs, reduce_to_1D, synthetic
from sting.extract_streamline import sample_metric_boundaries
from sting.gradient_descent import fit_streamline
from sting.joint import fit_jointly
from sting.outputs.sky import offset_transform
from sting.outputs.style import Picture, axis_of, write_png
from sting.position_velocity import pv_cut
from sting.posterior_result import Posterior
from sting.streamer import Streamer

KMS = u.km / u.s
BASELINE = Path(__file__).parent / "baseline"
PINNED = dict(
    line.split("==") for line in (BASELINE / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")
)
OTHERS = [f"{name} {version(name)}, not {wanted}" for name, wanted in PINNED.items() if version(name) != wanted]


def picture(function):
    """A test whose figure is compared with the picture of its name."""
    compared = pytest.mark.mpl_image_compare(savefig_kwargs={"dpi": 70, "metadata": {"Software": None}}, tolerance=4)(function)
    return pytest.mark.skipif(bool(OTHERS), reason=f"drawn with {'; '.join(OTHERS)}")(compared)


@pytest.fixture(scope="module")
def streamer(scene, scene_cut):
    return reduce_to_1D(scene_cut, scene.star_position)


def fit(streamer, **keywords):
    truth = synthetic.TRUTH
    free = ("r0", "theta0", "phi0", "v_r0", "omega", "mass")
    fixed = {name: value for name, value in truth.items() if name not in free}
    start = {name: 1.1 * truth[name] for name in free}
    prior = {"mass": (truth["mass"].value, 0.5) * u.Msun}
    common = {"priors": prior, "optimizer": "lbfgs", "save_folder": None, "progress": False}
    return fit_streamline(start, fixed, streamer, 293, **common | keywords)


@pytest.fixture(scope="module")
def result(streamer):
    return fit(streamer)


@pytest.fixture(scope="module")
def posterior(result):
    """Draws from the covariance, in the guise of a posterior."""
    x = result._draw(400, 1)
    values, shape = np.array(x).reshape(2, 200, -1), (2, 200)
    found = Posterior.__new__(Posterior)
    stated = {"names": result.names, "fixed_params": result.fixed_params, "distance": result.distance, "values": values}
    stated |= {"log_density": np.zeros(shape), "diverging": np.zeros(shape, bool), "limits": {}}
    for name, value in (stated | {"problem": result.problem, "settings": result.settings}).items():
        object.__setattr__(found, name, value)
    return found


@pytest.fixture(scope="module")
def moment(scene):
    return scene.cube.spectral_slab(6.5 * KMS, 8.5 * KMS).moment0()


# -- the pictures -------------------------------------------------------------------------------------------------------------


@picture
def test_morphology(result, streamer):
    return outputs.plot_morphology(result, streamer, boundaries=True, title="bins and model")


@picture
def test_morphology_over_moment_map(result, streamer, moment):
    return outputs.plot_morphology(result, streamer, image=moment)


@picture
def test_morphology_without_a_place_on_the_sky(result):
    return outputs.plot_morphology(result)


@picture
def test_ra_vel(result, streamer):
    return outputs.plot_ra_vel(result, streamer)


@picture
def test_dec_vel(result, streamer):
    return outputs.plot_dec_vel(result, streamer)


@picture
def test_vel_radius(result, streamer):
    return outputs.plot_vel_radius(result, streamer)


@picture
def test_channel_maps(scene, result, streamer):
    return outputs.plot_channel_maps(scene.cube, None, result, streamer, n_panels=8, title="channels")


@picture
def test_pv_cut(scene, result, streamer):
    path = result.streamline()
    return outputs.plot_pv_cut(pv_cut(scene.cube, path, scene.star_position), streamer, path, v_lsr=7.5 * KMS)


@picture
def test_residuals(result):
    return outputs.plot_residuals(result, title="residuals")


@pytest.fixture(scope="module")
def few_epochs(streamer):
    """A fit whose way, and best epoch, do not hang on the last digit, as those of a longer one do."""
    return fit(streamer, optimizer="lm", n_epochs=5)


@picture
def test_loss(few_epochs):
    return outputs.plot_loss(few_epochs)


@picture
def test_param_optimisation_history(few_epochs):
    return outputs.plot_param_optimisation_history(few_epochs)


@picture
def test_param_uncertainties(result):
    return outputs.plot_param_uncertainties(result)


@picture
def test_param_correlations(result):
    return outputs.plot_param_correlations(result)


@picture
def test_streamline_samples(result, streamer, moment):
    return outputs.plot_streamline_covariance_samples(result, streamer, n_samples=30, seed=1, image=moment)


@picture
def test_corner(result):
    return outputs.plot_corner(result, fit=result, truth=synthetic.TRUTH)


@picture
def test_orbit_3d(result):
    return outputs.plot_orbit_3d(result)


@pytest.fixture(scope="module")
def clusters():
    """Two strips of components in a cube of their spectra, each a cluster, and some in none."""
    from sting.isolate import cluster, decompose

    channel, (y, x) = np.arange(40)[:, None, None], np.mgrid[:24, :24]
    cube = np.random.default_rng(3).normal(0, 0.03, (40, 24, 24))
    for rows, place, width in (((4, 12), 12 + 0.2 * x, 1.5), ((12, 20), 28 - 0.1 * x, 3.0)):
        shape = np.exp(-0.5 * ((channel - place) / width) ** 2)
        cube += np.where((y >= rows[0]) & (y < rows[1]), shape, 0)
    wcs = synthetic.make_streamer_cube(shape=(40, 24, 24)).cube.wcs
    cube = SpectralCube(cube * u.K, wcs=wcs)
    return cluster(decompose(cube, rms=0.03 * u.K, progress=False), method="dbscan", eps=1)


@picture
def test_clusters(clusters):
    return outputs.plot_clusters(clusters, title="clusters")


@picture
def test_components_3d(clusters):
    return outputs.plot_components_3d(clusters)


@picture
def test_spectra(clusters):
    return outputs.plot_spectra(clusters, [(12, 8), (12, 16), (12, 12), (3, 2)], title="spectra")


def test_every_figure_has_a_picture():
    drawn = {path.stem.removeprefix("test_") for path in BASELINE.glob("*.png")}
    shown_with_others = {"metric_boundaries", "streamline_covariance_samples"}
    figures = {name.removeprefix("plot_") for name in outputs.__all__ if name.startswith("plot_")}
    films = {name for name in figures if name.endswith("_by_epoch")}
    assert figures - shown_with_others - films <= drawn


# -- the sky ------------------------------------------------------------------------------------------------------------------


def pixels(ax, star, ra, dec):
    """Pixels of axes at offsets (arcsec), by what matplotlib draws there."""
    places = offset_transform(ax, star).transform(np.transpose([ra, dec]))
    return ax.transData.inverted().transform(places)


class TestSky:
    @pytest.mark.parametrize("frame", ["fk5", "icrs", "galactic"])
    def test_offsets_are_where_astropy_puts_them(self, make_cube, frame):
        star = SkyCoord(52.2315, 31.2436, unit="deg", frame="icrs")
        centre = (52.2315, 31.2436) if frame != "galactic" else (star.galactic.l.deg, star.galactic.b.deg)
        cube = make_cube(np.ones((3, 40, 40)), frame=frame, centre=centre)
        figure = outputs.plot_morphology(image=cube.moment0(), star_position=star)
        ra, dec = np.array([-60.0, 0, 45, 30]), np.array([20.0, 0, -80, 50])
        wanted = cube.wcs.celestial.world_to_pixel(star.spherical_offsets_by(ra * u.arcsec, dec * u.arcsec))
        # half a minute of arc on the sphere is flat to a thousandth of a pixel of half an arcsec
        np.testing.assert_allclose(pixels(figure.axes[0], star, ra, dec), np.transpose(wanted), atol=0.01)

    def test_the_frame_of_the_axes_is_told(self, make_cube):
        star = SkyCoord(52.2315, 31.2436, unit="deg")
        labels = {}
        for frame in ("fk5", "icrs"):
            cube = make_cube(np.ones((3, 20, 20)), frame=frame)
            labels[frame] = outputs.plot_morphology(image=cube.moment0(), star_position=star).axes[0].get_xlabel()
        assert labels == {"fk5": "Right ascension (J2000)", "icrs": "Right ascension (ICRS)"}

    def test_a_streamer_knows_its_star(self, scene, streamer, tmp_path):
        assert streamer.star_position.separation(scene.star_position) < 1e-6 * u.arcsec
        streamer.write(tmp_path / "s.ecsv")
        assert Streamer.read(tmp_path / "s.ecsv").star_position.separation(scene.star_position) < 1e-6 * u.arcsec
        table = streamer.to_table()
        assert Streamer.from_table(table).star_position.separation(scene.star_position) < 1e-6 * u.arcsec
        assert synthetic.make_streamer_points().star_position is None

    def test_a_star_given_with_a_table(self):
        star = SkyCoord(83.8, -5.4, unit="deg", frame="fk4")
        points = synthetic.make_streamer_points().to_table()
        found = Streamer.from_table(points, star).star_position
        assert found.frame.name == "fk4"
        assert found.separation(star) < 1e-6 * u.arcsec

    def test_a_frame_that_fits_does_not_know(self):
        star = SkyCoord(83.8, -5.4, unit="deg", frame="gcrs")
        found = Streamer.from_table(synthetic.make_streamer_points().to_table(), star).star_position
        assert found.frame.name == "icrs"
        assert found.separation(star.icrs) < 1e-6 * u.arcsec

    def test_image_is_drawn_as_it_is(self, moment, scene):
        figure = outputs.plot_morphology(image=moment, star_position=scene.star_position)
        drawn = figure.axes[0].images[0].get_array()
        # moment maps come in K m/s
        np.testing.assert_allclose(drawn, moment.to_value(u.K * KMS))
        assert figure.axes[1].get_ylabel() == "integrated intensity (K km / s)"

    def test_image_from_a_file(self, moment, scene, tmp_path):
        moment.write(tmp_path / "m0.fits")
        figure = outputs.plot_morphology(image=tmp_path / "m0.fits", star_position=scene.star_position)
        assert figure.axes[1].get_ylabel() == "integrated intensity (K km / s)"

    def test_image_in_axes_of_another_projection(self, moment, scene):
        other = WCS(naxis=2)
        other.wcs.ctype, other.wcs.crval = ["RA---TAN", "DEC--TAN"], [scene.star_position.ra.deg, scene.star_position.dec.deg]
        other.wcs.cdelt, other.wcs.crpix, other.wcs.radesys = [-1e-4, 1e-4], [1, 1], "ICRS"
        ax = Figure().add_subplot(projection=other)
        outputs.plot_morphology(image=moment, star_position=scene.star_position, ax=ax)
        corner = ax.collections[0].get_coordinates()[0, 0]
        on_screen = ax.collections[0].get_transform().transform(corner)
        sky = moment.wcs.pixel_to_world(-0.5, -0.5)
        np.testing.assert_allclose(ax.transData.inverted().transform(on_screen), other.world_to_pixel(sky), atol=0.01)

    def test_axes_that_show_an_image_keep_their_window(self, moment, scene, result, streamer):
        ax = Figure().add_subplot(projection=moment.wcs)
        ax.imshow(moment.value, origin="lower")
        ax.set(xlim=(20, 50), ylim=(10, 40))
        outputs.plot_morphology(result, streamer, ax=ax)
        np.testing.assert_allclose([*ax.get_xlim(), *ax.get_ylim()], [20, 50, 10, 40], atol=1e-6)
        assert len(ax.images) == 1

    def test_beam_of_the_image(self, moment, scene):
        ax = outputs.plot_morphology(image=moment, star_position=scene.star_position).axes[0]
        assert sorted([ax.patches[0].width, ax.patches[0].height]) == pytest.approx([1.0, 1.2])

    def test_data_decide_what_is_shown(self, streamer, result):
        """A model may start far outside."""
        ax = outputs.plot_morphology(result, streamer).axes[0]
        ra, dec = streamer.pc_coords[:2]
        places = pixels(ax, streamer.star_position, np.append(ra, 0), np.append(dec, 0))
        for (low, high), values in zip((ax.get_xlim(), ax.get_ylim()), places.T, strict=True):
            assert low < values.min() < values.max() < high
            assert high - low < 1.5 * np.ptp(places, axis=0).max()


# -- the rest -----------------------------------------------------------------------------------------------------------------


class TestBoundaries:
    def test_they_part_the_voxels_into_bins(self, streamer):
        lines = sample_metric_boundaries(streamer)
        assert len(lines) == len(streamer) - 1
        angle, edges = streamer.meta["boundaries"]["angle"], streamer.meta["boundaries"]["edges"]
        for (ra, dec), edge in zip(lines, edges, strict=True):
            turned = np.angle((ra.value + 1j * dec.value) * np.exp(-1j * angle))
            np.testing.assert_allclose(np.hypot(ra, dec).value * np.sqrt(1 + turned**2), edge)
        # as many voxels in each bin, as the reduction wants it
        ra, dec = streamer.pc_coords[:2]
        d = np.hypot(ra, dec) * np.sqrt(1 + np.angle((ra + 1j * dec) * np.exp(-1j * angle)) ** 2)
        counts = np.histogram(d, [0, *edges, np.inf])[0]
        assert counts.max() - counts.min() < 0.1 * counts.mean()

    def test_points_lie_between_them(self, streamer):
        angle, edges = streamer.meta["boundaries"]["angle"], streamer.meta["boundaries"]["edges"]
        turned = np.angle((streamer.ra_data + 1j * streamer.dec_data) * np.exp(-1j * angle))
        d = np.hypot(streamer.ra_data, streamer.dec_data) * np.sqrt(1 + turned**2)
        assert np.searchsorted(edges, d).tolist() == list(range(len(streamer)))[::-1]

    def test_along_a_curve_there_are_none(self, scene, scene_cut):
        found = reduce_to_1D(scene_cut, scene.star_position, ordering="curve")
        with pytest.raises(ValueError, match=r"'streamer' must know the boundaries of its bins; got .*ordering='distance'"):
            sample_metric_boundaries(found)


def channels(scene):
    """Numbers and velocities of the channels between 7.0 and 7.5 km/s."""
    velocity = scene.cube.spectral_axis.to_value(KMS)
    kept = np.flatnonzero((velocity > 6.99) & (velocity < 7.51))
    return kept, velocity[kept]


class TestChannelMaps:
    def test_every_channel_is_shown_once(self, scene):
        figure = outputs.plot_channel_maps(scene.cube, scene.star_position, vmin=7 * KMS, vmax=7.5 * KMS)
        numbers, velocity = channels(scene)
        assert len(figure.axes) == len(numbers) + 1
        for ax, k, v in zip(figure.axes, numbers, velocity, strict=False):
            assert ax.texts[0].get_text() == f"{v:.2f} km/s"
            np.testing.assert_allclose(ax.images[0].get_array(), scene.cube.filled_data[int(k)].value)

    def test_panels_are_means_of_neighbours(self, scene):
        figure = outputs.plot_channel_maps(scene.cube, scene.star_position, vmin=7 * KMS, vmax=7.5 * KMS, n_panels=3)
        k = int(channels(scene)[0][2])
        both = (scene.cube.filled_data[k].value + scene.cube.filled_data[k + 1].value) / 2
        np.testing.assert_allclose(figure.axes[1].images[0].get_array(), both)

    def test_thick_is_what_lies_in_the_channel(self, scene, result):
        figure = outputs.plot_channel_maps(scene.cube, scene.star_position, result, vmin=7 * KMS, vmax=7.5 * KMS)
        path = result.streamline()
        for ax, velocity in zip(figure.axes[:-1], channels(scene)[1], strict=True):
            thick = next(line for line in ax.lines if line.get_lw() == 2.6)
            inside = np.isfinite(thick.get_xdata())
            core = np.abs(path.velocity.value - velocity) < 0.05
            assert inside[core].all()
            assert core.sum() <= inside.sum() <= core.sum() + 2

    def test_no_channel_in_the_range(self, scene):
        with pytest.raises(ValueError, match="'vmin, vmax' must hold a channel of the cube; got 20 to 30 km/s"):
            outputs.plot_channel_maps(scene.cube, scene.star_position, vmin=20 * KMS, vmax=30 * KMS)

    def test_without_a_star(self, scene):
        with pytest.raises(ValueError, match="'star_position' must be given, or known to the streamer"):
            outputs.plot_channel_maps(scene.cube)


class TestVelocities:
    def test_east_is_left(self, streamer):
        assert outputs.plot_ra_vel(streamer=streamer).axes[0].xaxis_inverted()
        assert not outputs.plot_dec_vel(streamer=streamer).axes[0].xaxis_inverted()

    @pytest.mark.parametrize("name", ["ra", "dec"])
    def test_points_and_model(self, name, result, streamer):
        ax = getattr(outputs, f"plot_{name}_vel")(result, streamer).axes[0]
        line = next(line for line in ax.lines if line.get_label() == "model")
        np.testing.assert_allclose(line.get_xdata(), getattr(result.streamline(), name).value)
        points = ax.containers[0].lines[0]
        np.testing.assert_array_equal(points.get_xdata(), getattr(streamer, f"{name}_data"))
        np.testing.assert_array_equal(points.get_ydata(), streamer.v_data)

    def test_emission_has_the_flux_of_the_voxels(self, streamer):
        image = outputs.plot_ra_vel(streamer=streamer).axes[0].images[0]
        assert np.nansum(np.ma.filled(image.get_array(), np.nan)) == pytest.approx(streamer.pc_coords[3].sum())


class TestOfAFit:
    @pytest.mark.parametrize("loss_method", [0, 1])
    def test_residuals_add_up_to_chi2(self, streamer, loss_method):
        found = fit(streamer, loss_method=loss_method, n_epochs=3)
        table = found.residuals()
        *names, _ = table.colnames
        assert names == (["ra", "dec", "velocity"] if loss_method == 0 else ["radius", "angle", "velocity"])
        best = found.best_epoch
        for name, chi2 in zip(names, found.history[best, 2:5], strict=True):
            assert np.sum(np.square(table[name])) == pytest.approx(chi2, rel=1e-6)
        # data minus model
        np.testing.assert_allclose(
            table["velocity"], (streamer.v_data - found.matched_points()[2].value) / streamer.v_sigma, atol=1e-9
        )

    def test_history_is_of_the_free_parameters(self, result):
        figure = outputs.plot_param_optimisation_history(result)
        assert len(figure.axes) == len(result.names)
        drawn = figure.axes[0].lines[0].get_ydata()
        np.testing.assert_allclose(drawn, result.parameter_history()["r0"].value)

    def test_intervals_of_a_fit(self, result):
        ax = outputs.plot_param_uncertainties(result).axes[0]
        table = result.intervals(progress=False)
        words = ax.texts[0].get_text()
        row = table[0]
        assert words == f"{row['value']:.0f} ({row['lower']:.0f}, {row['upper']:.0f}) $\\mathrm{{au}}$"

    def test_posterior_everywhere_a_fit_is(self, posterior, streamer, moment):
        figures = [
            outputs.plot_morphology(posterior, streamer, image=moment),
            outputs.plot_ra_vel(posterior, streamer),
            outputs.plot_vel_radius(posterior, streamer),
            outputs.plot_streamline_covariance_samples(posterior, streamer, n_samples=5, seed=1),
            outputs.plot_param_correlations(posterior),
            outputs.plot_orbit_3d(posterior),
        ]
        for figure in figures:
            figure.draw_without_rendering()
        labels = [line.get_label() for line in figures[0].axes[0].lines]
        assert "best draw" in labels

    @pytest.mark.parametrize("name", ["loss", "param_optimisation_history", "residuals"])
    def test_what_draws_do_not_have(self, posterior, name):
        with pytest.raises(TypeError, match=r"'result' must be (a|the) fit"):
            getattr(outputs, f"plot_{name}")(posterior)

    def test_joint_fit(self, streamer):
        truth = synthetic.TRUTH
        fixed = {name: value for name, value in truth.items() if name not in ("r0", "v_lsr")}
        start = {"r0": truth["r0"], "v_lsr": {"one": 7.4 * KMS, "other": 7.4 * KMS}}
        joint = fit_jointly(
            {"one": streamer, "other": streamer}, start, fixed, 293, optimizer="lbfgs", save_folder=None, progress=False
        )
        labels = [text.get_text() for text in outputs.plot_param_correlations(joint).axes[0].get_yticklabels()]
        assert labels == ["$r_0$", "$v_\\mathrm{LSR}$ (one)", "$v_\\mathrm{LSR}$ (other)"]
        assert len(outputs.plot_param_uncertainties(joint["one"]).axes[0].texts) == 2
        outputs.plot_residuals(joint["one"]).draw_without_rendering()
        with pytest.raises(TypeError, match="'result' must be the fit of one streamer"):
            outputs.plot_residuals(joint)

    def test_small_numbers_have_their_power_in_the_unit(self):
        scale, label = axis_of("omega", [5.3e-13, 4e-13] / u.s)
        assert scale == 1e-13
        assert "$10^{-13}$" in label
        assert axis_of("r0", [2800] * u.au) == (1, "$r_0$ ($\\mathrm{au}$)")


class TestPNG:
    @pytest.fixture
    def figures(self, result, streamer, moment):
        return {
            "morphology": outputs.plot_morphology(result, streamer, image=moment),
            "velocities": outputs.plot_vel_radius(result, streamer),
            "correlations": outputs.plot_param_correlations(result),
            "without a layout": Picture(figsize=(1, 1)),
        }

    def test_is_what_savefig_writes(self, figures):
        for name in ("velocities", "without a layout"):
            one, other = io.BytesIO(), io.BytesIO()
            write_png(figures[name], one, 90)
            figures[name].savefig(other, dpi=90)
            np.testing.assert_array_equal(*(np.asarray(Image.open(file)) for file in (one, other)), err_msg=name)

    @pytest.mark.parametrize("name", ["morphology", "correlations"])
    def test_layout_of_axes_of_a_fixed_shape_beside_a_bar(self, figures, name):
        """It settles with the second time; the first is within two hundredths of the figure."""
        figure = figures[name]
        write_png(figure, io.BytesIO(), 90)
        places = [ax.get_position().bounds for ax in figure.axes]
        figure.savefig(io.BytesIO(), dpi=90)
        np.testing.assert_allclose(places, [ax.get_position().bounds for ax in figure.axes], atol=0.02)

    def test_is_laid_out_and_drawn_once(self, figures, monkeypatch):
        calls = []
        for owner, method in ((Picture, "draw"), (ConstrainedLayoutEngine, "execute")):
            original = getattr(owner, method)
            monkeypatch.setattr(owner, method, lambda *a, f=original, n=method: calls.append(n) or f(*a))
        write_png(figures["correlations"], io.BytesIO(), 90)
        assert calls == ["execute", "draw"]

    def test_leaves_the_figure_as_it_was(self, figures):
        figure = figures["morphology"]
        before = figure.dpi, figure.canvas
        write_png(figure, io.BytesIO(), 90)
        assert (figure.dpi, figure.canvas) == before
        assert isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine)


class TestNotebook:
    def test_a_figure_shows_itself(self, streamer):
        """As the last line of a cell, whether or not pyplot has been told of notebooks."""
        assert outputs.plot_vel_radius(streamer=streamer)._repr_png_().startswith(b"\x89PNG")

    def test_without_data_the_whole_map_is_shown(self, moment, scene):
        ax = outputs.plot_morphology(image=moment, star_position=scene.star_position).axes[0]
        n_y, n_x = moment.shape
        assert ax.get_xlim()[0] < 0 < n_x - 1 < ax.get_xlim()[1]
        assert ax.get_ylim()[0] < 0 < n_y - 1 < ax.get_ylim()[1]


class TestErrors:
    @pytest.mark.parametrize(
        ("image", "words"),
        [
            (np.ones((3, 3)), "'image' must have celestial coordinates; got none"),
            ("nowhere.fits", "'image' must be a map or an existing FITS file"),
            (np.ones((3, 3, 3)), "'image' must be a map"),
        ],
    )
    def test_no_map(self, image, words):
        with pytest.raises((ValueError, FileNotFoundError), match=words):
            outputs.plot_morphology(image=image)

    def test_sky_axes_without_a_star(self, moment, result):
        with pytest.raises(ValueError, match="'star_position' must be given to draw into axes that show the sky; got none"):
            outputs.plot_morphology(result, ax=Figure().add_subplot(projection=moment.wcs))

    def test_no_star(self, moment):
        with pytest.raises(TypeError, match="'star_position' must be one SkyCoord"):
            outputs.plot_morphology(image=moment, star_position=(3, 4))

    def test_map_of_another_unit(self, scene):
        header = scene.cube.wcs.celestial.to_header()
        header["BUNIT"] = "banana"
        hdu = fits.PrimaryHDU(np.ones((4, 4)), header)
        figure = outputs.plot_morphology(image=hdu, star_position=scene.star_position)
        assert figure.axes[1].get_ylabel() == "intensity (banana)"
