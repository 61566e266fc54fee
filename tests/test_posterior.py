"""The posterior: that its draws are those of the density, what is told of them, and how they are kept."""

import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest
from astropy import units as u
from scipy.stats import kstest, norm

from sting import outputs, posterior, synthetic
from sting.derived import DERIVED
from sting.diagnostics import convergence
from sting.gradient_descent import fit_streamline
from sting.messages import StingWarning
from sting.posterior import Posterior
from sting.stream_lines_grad import streamline

FREE = ("r0", "theta0", "phi0", "v_r0", "mass", "rc")
START = {n: synthetic.TRUTH[n] for n in FREE if n in synthetic.TRUTH} | {"rc": 250 * u.au}
FIXED = {n: v for n, v in synthetic.TRUTH.items() if n not in FREE and n != "omega"}
PRIOR = {"mass": (4.0, 0.4) * u.Msun}
BOUNDS = {"r0": (1000, 6000) * u.au, "theta0": (20, 160) * u.deg}
SIGMA = (0.3 * u.arcsec, 0.3 * u.arcsec, 0.08 * u.km / u.s)


def fit(sigma=SIGMA, seed=2, **keywords):
    streamer = synthetic.make_streamer_points(sigma=sigma, seed=seed)
    options = {"priors": PRIOR, "param_bounds": BOUNDS, "optimizer": "lbfgs"} | keywords
    return fit_streamline(START, FIXED, streamer, 293, save_folder=None, progress=False, **options)


def sample(result, **keywords):
    """A short run; what it says of itself is tested by its attributes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StingWarning)
        return posterior.sample(result, **{"n_samples": 400, "n_warmup": 300, "progress": False} | keywords)


@pytest.fixture(scope="module")
def result():
    return fit()


@pytest.fixture(scope="module")
def draws(result):
    return sample(result)


@pytest.fixture(scope="module")
def prior_draws():
    """Draws where the data say nothing: those of the prior."""
    return sample(fit(sigma=(1e6 * u.arcsec, 1e6 * u.arcsec, 1e6 * u.km / u.s), seed=None, n_epochs=1))


def thinned(values):
    """As many of the draws as are independent."""
    n = max(int(convergence(values)[1] / 2), 20)
    return values.ravel()[np.linspace(0, values.size - 1, n).astype(int)]


def test_without_data_a_bounded_parameter_is_uniform(prior_draws):
    assert kstest(thinned(prior_draws.chains("theta0")), "uniform", (20, 140)).pvalue > 1e-3
    # of a larger r0 more values of rc lie inside
    assert kstest(thinned(prior_draws.chains("r0")) ** 2, "uniform", (1000**2, 6000**2 - 1000**2)).pvalue > 1e-3


def test_without_data_the_rotation_is_uniform_as_it_was_stated(prior_draws):
    # rc below r0, although the fit has mu for its coordinate
    assert prior_draws.settings.rotation == "mu"
    share = prior_draws.chains("rc") / prior_draws.chains("r0")
    assert kstest(thinned(share), "uniform").pvalue > 1e-3


def test_without_data_a_gaussian_prior_is_what_is_drawn(prior_draws):
    assert kstest(thinned(prior_draws.chains("mass")), norm(4.0, 0.4).cdf).pvalue > 1e-3


def test_what_nothing_bounds_gets_a_limit_that_is_told(prior_draws):
    assert set(prior_draws.limits) == {"v_r0"}
    top = prior_draws.limits["v_r0"]
    assert (prior_draws.samples["v_r0"] < top).all()
    note = next(note for note in prior_draws.notes if note.startswith("v_r0"))
    assert f"{top:.4g}" in note
    assert "reach that limit" in note


def test_draws_agree_with_the_covariance_where_the_result_says_so():
    result = fit(sigma=tuple(s / 15 for s in SIGMA))
    near = [name for name in FREE if result.near_gaussian[name]]
    assert near
    rows = {row["parameter"]: row for row in sample(result).to_table()}
    for name in near:
        best, sigma = result.best_opt_params[name].value, result.param_errors[name].value
        assert abs(rows[name]["mean"] - best) < 0.5 * sigma, name
        assert 0.7 < rows[name]["sigma"] / sigma < 1.4, name


def test_chains_agree(draws):
    assert draws.values.shape[:2] == (4, 400)
    assert max(r_hat for r_hat, _ in draws.convergence.values()) < 1.05
    assert draws.n_divergent <= 4


def test_draws_stay_within_bounds(draws):
    samples = draws.samples
    assert len(samples) == len(draws) == 1600
    assert samples.colnames == list(FREE)
    for name, (low, high) in BOUNDS.items():
        assert ((samples[name] > low) & (samples[name] < high)).all()
    assert (samples["rc"] < samples["r0"]).all()


def test_same_seed_same_draws(result, draws):
    short = {"n_samples": 20, "n_warmup": 300}
    np.testing.assert_array_equal(sample(result, **short).values, draws.values[:, :20])
    assert not np.array_equal(sample(result, seed=1, **short).values, draws.values[:, :20])


def test_table(draws):
    table = draws.to_table()
    assert list(table["parameter"]) == list(FREE)
    for row in table:
        values = draws.samples[row["parameter"]].value
        np.testing.assert_allclose(
            [row["lower"], row["median"], row["upper"]], np.quantile(values, [0.15865, 0.5, 0.84135]), rtol=1e-6
        )
    wide = draws.to_table(level=0.95)
    assert (wide["lower"] < table["lower"]).all()
    assert (wide["upper"] > table["upper"]).all()


def test_derived_are_those_of_the_draws(draws):
    table = draws.derived()
    assert list(table["quantity"]) == list(DERIVED)
    samples = draws.samples
    # rc is a parameter here; the semi-latus rectum is rc sin(theta0)^2
    rows = {row["quantity"]: row for row in table}
    assert rows["rc"]["median"] == pytest.approx(np.median(samples["rc"].value), rel=1e-9)
    ell = samples["rc"].value * np.sin(samples["theta0"]) ** 2
    assert rows["semi_latus_rectum"]["median"] == pytest.approx(np.median(ell), rel=1e-9)
    assert "probability" in table.meta["bound"]
    assert "inc" in table.meta["axis"]


def test_infall_rate(draws):
    row = draws.infall_rate(0.01 * u.Msun)[0]
    time = {r["quantity"]: r for r in draws.derived()}["time_to_rc"]
    assert row["time"].to_value(u.yr) == pytest.approx(time["median"])
    assert row["rate"].to_value(u.Msun / u.yr) == pytest.approx(0.01 / time["median"], rel=1e-3)
    spread = draws.infall_rate(0.01 * u.Msun, 0.005 * u.Msun)[0]
    assert spread["rate_upper"] - spread["rate_lower"] > row["rate_upper"] - row["rate_lower"]


def test_infall_rate_profile(draws):
    edges = [2000, 1500, 1000] * u.au
    table = draws.infall_rate_profile(edges, [2e-3, 1e-3] * u.Msun)
    best = draws.best_opt_params
    path = streamline(best | draws.fixed_params, distance=draws.distance, n_points=20000)
    times = np.interp(-edges.value, -path.radius.value, path.time.value)
    np.testing.assert_allclose(table["time"].value, np.diff(times), rtol=0.1)
    assert (table["fraction"] > 0.9).all()
    # bins that no path reaches have no rate, and from inside out is the same
    far = draws.infall_rate_profile([90000, 80000, 1000] * u.au, [2e-3, 1e-3] * u.Msun)
    assert far["fraction"][0] == 0
    assert np.isnan(far["rate"][0])
    turned = draws.infall_rate_profile(edges[::-1], [1e-3, 2e-3] * u.Msun)
    np.testing.assert_allclose(turned["rate"][::-1].value, table["rate"].value)


def test_predictive_streamlines_are_those_of_the_sampled_parameters(draws):
    ra, dec, velocity = draws.sample_streamlines(3, n_points=50, seed=5)
    assert ra.shape == dec.shape == velocity.shape == (3, 50)
    row = draws.sample(3, seed=5)[1]
    path = streamline({n: row[n] for n in FREE} | draws.fixed_params, distance=draws.distance, n_points=50)
    np.testing.assert_allclose(ra[1].value, path.ra.value, atol=1e-9)
    np.testing.assert_allclose(velocity[1].value, path.velocity.value, atol=1e-9)


def test_best_draw_is_hardly_worse_than_the_fit(draws, result):
    assert result.loss - 1e-6 < draws.losses.min() < result.loss + 4


def test_words(draws):
    for text in (str(draws), draws._repr_html_(), repr(draws)):
        assert "r-hat" in text
    assert "mass" in str(draws)
    assert "+" in str(draws)
    assert "fixed" in str(draws)


def test_write_and_read(draws, tmp_path):
    path = tmp_path / "draws.ecsv"
    draws.write(path)
    again = Posterior.read(path)
    np.testing.assert_array_equal(again.values, draws.values)
    np.testing.assert_array_equal(again.diverging, draws.diverging)
    assert again.names == draws.names
    assert str(again) == str(draws)
    with pytest.raises(FileExistsError):
        draws.write(path)


def test_a_file_of_something_else_is_refused(tmp_path, result):
    path = tmp_path / "fit.ecsv"
    result.write(path)
    with pytest.raises(ValueError, match=r"'path' must be draws written by Posterior\.write"):
        Posterior.read(path)


def test_figures_take_a_posterior(draws, result):
    n = len(FREE)
    figure = outputs.plot_corner(draws, fit=result, truth=result.best_opt_params)
    assert len(figure.axes) == n**2
    figure.draw_without_rendering()
    # the covariance holds r0 at its bound
    assert len(outputs.plot_corner(result, names=["r0", "mass", "rc"]).axes) == 4
    outputs.plot_streamline_covariance_samples(draws, n_samples=5).draw_without_rendering()
    outputs.plot_param_correlations(draws).draw_without_rendering()
    with pytest.raises(ValueError, match="'names' must be free parameters; got 'r00'"):
        outputs.plot_corner(draws, names=["r00"])


def test_too_few_draws_are_warned_of(result):
    with pytest.warns(StingWarning) as caught:
        found = posterior.sample(result, n_samples=20, n_warmup=300, progress=False)
    assert any("Too few independent draws" in str(warning.message) for warning in caught)
    assert not found.success
    assert any("Too few" in note for note in found.notes)


def test_chains_apart_are_warned_of(draws):
    values = draws.values.copy()
    values[0, :, 0] *= 1.5
    apart = replace(draws, values=values)
    assert any("do not agree" in complaint for complaint in apart.complaints)
    torn = replace(draws, diverging=~draws.diverging)
    assert any("diverged" in complaint for complaint in torn.complaints)


def test_sampler_can_be_stopped_and_keeps_what_it_has(result):
    seen = []

    def stop(step):
        seen.append((step.n_done, step.posterior is None))
        return step.n_done >= 340

    found = sample(result, callback=stop)
    assert found.values.shape[1] == 40
    assert seen[0] == (20, True)
    assert seen[-1] == (340, False)


def test_stop_in_the_warm_up_says_that_there_is_nothing(result):
    with pytest.raises(RuntimeError, match="nothing has been drawn"):
        sample(result, callback=lambda step: True)


def test_bounds_may_be_added(result):
    found = sample(result, n_samples=40, param_bounds={"v_r0": (0, 0.5) * u.km / u.s})
    assert not found.limits
    assert (found.samples["v_r0"] < 0.5 * u.km / u.s).all()


BAD = {
    "no fit": ({"result": 3}, TypeError, "'result' must be a FitResult"),
    "samples": ({"n_samples": 0}, ValueError, "'n_samples' must be a whole number of at least 4"),
    "warm-up": ({"n_warmup": 1.5}, ValueError, "'n_warmup' must be a whole number"),
    "chains": ({"n_chains": 0}, ValueError, "'n_chains' must be a whole number"),
    "seed": ({"seed": -1}, ValueError, "'seed' must be a whole number"),
    "acceptance": ({"target_accept": 1.0}, ValueError, "'target_accept' must lie in"),
    "bounds without the best fit": ({"param_bounds": {"r0": (1, 2) * u.au}}, ValueError, "'r0' must start within its bounds"),
    "bounds of rc": ({"param_bounds": {"rc": (100, 400) * u.au}}, ValueError, "'param_bounds' must"),
    "keyword": ({"n_sample": 3}, TypeError, "Did you mean 'n_samples'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused(case, result):
    keywords, error, message = BAD[case]
    with pytest.raises(error, match=message):
        posterior.sample(**{"result": result} | keywords)


@pytest.mark.parametrize("method", ["to_table", "derived"])
def test_a_level_that_is_no_probability_is_refused(method, draws):
    with pytest.raises(ValueError, match="'level' must lie between 0 and 1"):
        getattr(draws, method)(level=68)


def test_angles_as_edges_are_refused(draws):
    with pytest.raises(ValueError, match="'edges' must be distances in space"):
        draws.infall_rate_profile([5, 4] * u.arcsec, [1e-3] * u.Msun)


def test_missing_numpyro_is_named(result, monkeypatch):
    for name in [n for n in sys.modules if n.startswith("numpyro")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "numpyro", None)
    with pytest.raises(ImportError, match=r"\[posterior\]"):
        posterior.sample(result)


def test_missing_corner_is_named(draws, monkeypatch):
    monkeypatch.setitem(sys.modules, "corner", None)
    with pytest.raises(ImportError, match=r"\[posterior\]"):
        outputs.plot_corner(draws)


def test_convergence_of_independent_and_of_sticking_chains():
    rng = np.random.default_rng(1)
    good = rng.standard_cauchy((4, 500))  # ranks know of no long tails
    assert convergence(good)[0] < 1.01
    assert 1200 < convergence(good)[1] < 3000
    walk = np.cumsum(rng.standard_normal((4, 500)), axis=1)
    assert convergence(walk)[0] > 1.1
    assert convergence(walk)[1] < 50
    widths = rng.standard_normal((4, 500)) * np.array([[1], [1], [1], [4]])
    assert convergence(widths)[0] > 1.05
    assert np.isnan(convergence(np.ones((4, 500)))).all()
