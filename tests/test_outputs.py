"""The figures: what is drawn, in what units, into which axes."""

import matplotlib as mpl
import numpy as np
import pytest
from astropy import units as u
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from sting import outputs, synthetic
from sting.extract_streamline import reduce_to_1D
from sting.gradient_descent import fit_streamline
from sting.outputs.sky import offset_transform


@pytest.fixture(scope="module")
def streamer(scene, scene_cut):
    return reduce_to_1D(scene_cut, scene.star_position)


@pytest.fixture(scope="module")
def result(streamer):
    start = {name: synthetic.TRUTH[name] for name in ("r0", "phi0", "v_lsr")}
    fixed = {name: value for name, value in synthetic.TRUTH.items() if name not in start}
    return fit_streamline(start, fixed, streamer, 293, n_epochs=60, save_folder=None, progress=False)


FIGURES = {
    "morphology": lambda r, s: outputs.plot_morphology(r, s, title="title"),
    "data alone": lambda r, s: outputs.plot_morphology(streamer=s, title="title"),
    "model alone": lambda r, s: outputs.plot_morphology(r, title="title"),
    "velocity": lambda r, s: outputs.plot_vel_radius(r, s, title="title"),
    "velocity, data alone": lambda r, s: outputs.plot_vel_radius(streamer=s, title="title", v_lsr=7.4 * u.km / u.s),
    "velocity, model alone": lambda r, s: outputs.plot_vel_radius(r, title="title"),
    "loss": lambda r, s: outputs.plot_loss(r, title="title"),
    "correlations": lambda r, s: outputs.plot_param_correlations(r, title="title"),
}


@pytest.mark.parametrize("name", FIGURES)
def test_draws_a_labelled_figure_and_leaves_no_trace(name, result, streamer):
    before = dict(mpl.rcParams)
    figure = FIGURES[name](result, streamer)
    assert isinstance(figure, Figure)
    figure.draw_without_rendering()
    ax = figure.axes[0]
    assert ax.get_title() == "title"
    if name != "correlations":
        assert ax.get_xlabel()
        assert ax.get_ylabel()
    assert dict(mpl.rcParams) == before


def test_east_is_left_and_scales_are_equal(result, streamer):
    figure = outputs.plot_morphology(result, streamer)
    figure.draw_without_rendering()
    to_screen = offset_transform(figure.axes[0], streamer.star_position)
    origin, east, north = to_screen.transform([[0, 0], [1, 0], [0, 1]])
    assert east[0] < origin[0]
    assert north[1] > origin[1]
    assert origin[0] - east[0] == pytest.approx(north[1] - origin[1])
    np.testing.assert_allclose([east[1], north[0]], [origin[1], origin[0]], atol=1e-3)


def test_the_drawn_model_is_the_fit(result, streamer):
    ax = outputs.plot_morphology(result, streamer).axes[0]
    line = next(line for line in ax.lines if line.get_label() == "model")
    np.testing.assert_allclose(line.get_xdata(), result.streamline().ra.value)
    ax = outputs.plot_vel_radius(result, streamer).axes[0]
    line = next(line for line in ax.lines if line.get_label() == "model")
    np.testing.assert_allclose(line.get_ydata(), result.streamline().velocity.value)


def test_systemic_velocity_is_that_of_the_fit_unless_given(result, streamer):
    def level(figure):
        return next(line for line in figure.axes[0].lines if line.get_label() == "systemic").get_ydata()[0]

    assert level(outputs.plot_vel_radius(result, streamer)) == result.best_opt_params["v_lsr"].value
    assert level(outputs.plot_vel_radius(result, streamer, v_lsr=7200 * u.m / u.s)) == pytest.approx(7.2)


def test_emission_is_where_the_voxels_are(streamer):
    ax = outputs.plot_morphology(streamer=streamer).axes[0]
    image = ax.images[0]
    left, right, bottom, top = image.get_extent()
    weights = np.ma.filled(image.get_array(), 0)
    weights = np.nan_to_num(weights)
    x = left + (np.arange(weights.shape[1]) + 0.5) * (right - left) / weights.shape[1]
    y = bottom + (np.arange(weights.shape[0]) + 0.5) * (top - bottom) / weights.shape[0]
    ra, dec, _, flux = streamer.pc_coords
    assert weights.sum() == pytest.approx(flux.sum())
    assert weights.sum(axis=0) @ x / weights.sum() == pytest.approx(np.average(ra, weights=flux), abs=0.01)
    assert weights.sum(axis=1) @ y / weights.sum() == pytest.approx(np.average(dec, weights=flux), abs=0.01)


def test_beam_is_drawn_as_it_is_on_the_sky(streamer):
    figure = outputs.plot_morphology(streamer=streamer)
    figure.draw_without_rendering()
    ax = figure.axes[0]
    beam = ax.patches[0]
    assert sorted([beam.width, beam.height]) == pytest.approx([1.0, 1.2])
    # the end of the major axis lies to the north-east for a position angle of 22 deg: up and to the left
    end = beam.get_patch_transform().transform([[0, 1]])[0] - beam.center
    assert np.degrees(np.arctan2(end[0], end[1])) == pytest.approx(22)


def test_scale_bar_has_its_length(result, streamer):
    ax = outputs.plot_morphology(result, streamer).axes[0]
    label = ax.texts[0].get_text()
    bar = ax.lines[-1]
    assert abs(np.ptp(bar.get_xdata())) * 293 == pytest.approx(float(label.split()[0]))


def test_spaghetti_has_as_many_lines_as_asked(result, streamer):
    figure = outputs.plot_streamline_covariance_samples(result, streamer, n_samples=7, seed=1)
    for ax in figure.axes:
        lines = next(one for one in ax.collections if isinstance(one, LineCollection) and one.get_linewidth() == [0.5])
        assert [len(line) for line in lines.get_segments()] == [200] * 7


def test_draws_into_given_axes(result, streamer):
    figure = Figure()
    axes = figure.subplots(2, 2)
    assert outputs.plot_morphology(result, streamer, ax=axes[0, 0]) is figure
    assert outputs.plot_vel_radius(result, streamer, ax=axes[0, 1]) is figure
    assert outputs.plot_loss(result, ax=axes[1, 0]) is figure
    assert outputs.plot_param_correlations(result, ax=axes[1, 1]) is figure


def test_correlations_of_a_parameter_without_variance_stay_empty(result, streamer):
    start = {name: synthetic.TRUTH[name] for name in ("r0", "phi0", "v_r0")}
    fixed = {name: value for name, value in synthetic.TRUTH.items() if name not in start}
    bounded = fit_streamline(
        start | {"v_r0": 1 * u.km / u.s},
        fixed,
        streamer,
        293,
        n_epochs=2,
        param_bounds={"v_r0": (1, 2) * u.km / u.s},
        save_folder=None,
        progress=False,
    )
    assert bounded.uncertainties.at_bound == ["v_r0"]
    values = np.ma.filled(outputs.plot_param_correlations(bounded).axes[0].images[0].get_array().astype(float), np.nan)
    assert np.isnan(values[2, 2])
    assert values[0, 0] == pytest.approx(1)


def test_show_without_a_screen_does_nothing(result, streamer):
    assert outputs.save_results(result, streamer, None, show=True) == []


def test_unknown_name():
    with pytest.raises(AttributeError, match="no attribute 'plot_nothing'"):
        outputs.plot_nothing  # noqa: B018


def test_a_title_that_the_axes_have_stays(result, streamer):
    for plot in (outputs.plot_morphology, outputs.plot_vel_radius):
        ax = Figure().add_subplot(title="ours")
        plot(result, streamer, ax=ax)
        assert ax.get_title() == "ours"
        plot(result, streamer, ax=ax, title="")
        assert ax.get_title() == ""
