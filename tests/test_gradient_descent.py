"""The fit: known truths, analytic uncertainties, what stays fixed, how it stops, what it refuses."""

import threading

import jax
import numpy as np
import pytest
from astropy import units as u

from sting import steps, synthetic
from sting.core.descent import run_chunk
from sting.extract_streamline import Streamer
from sting.gradient_descent import evaluate_initial_guess, fit_streamline, iterate_fit, prepare_model_params
from sting.stream_lines_grad import streamline

TRUTH = synthetic.TRUTH
SHAPE = ("r0", "theta0", "phi0", "v_r0", "omega", "mass")


def split(*free, **changed):
    """Start and fixed parameters: the truth, with factors for some of the free ones."""
    start = {name: TRUTH[name] * changed.get(name, 1.0) for name in free}
    return start, {name: value for name, value in TRUTH.items() if name not in free}


def fit(start, fixed, streamer, **keywords):
    return fit_streamline(start, fixed, streamer, 293, **{"save_folder": None, "progress": False} | keywords)


@pytest.fixture(scope="module")
def points():
    """Noise-free points that cover the inner part of the path only."""
    return synthetic.make_streamer_points(part=(0.2, 0.85))


@pytest.mark.slow
@pytest.mark.parametrize("factor", [0.8, 1.2])
def test_returns_to_the_truth_from_20_percent_off(points, factor):
    start, fixed = split(*SHAPE, **dict.fromkeys(SHAPE, factor))
    result = fit(start, fixed, points, optimizer="lbfgs", n_epochs=500)
    assert result.loss < 1e-6
    for name in SHAPE:
        assert abs(result.best_opt_params[name] / TRUTH[name] - 1) < 1e-3, name


def test_loss_at_the_truth_is_zero(points):
    for loss_method in (0, 1):
        guess = evaluate_initial_guess({}, TRUTH, points.data, points.uncertainties, 293, loss_method=loss_method)
        assert guess.chi2_total < 1e-6


def test_evaluate_initial_guess_adds_up(points):
    start, fixed = split("r0", "mass", r0=0.9)
    guess = evaluate_initial_guess(
        start, fixed, points.data, points.uncertainties, distance_pc=293, priors={"mass": (3, 1) * u.Msun}, n_elements=10
    )
    assert guess.chi2_components["chi2_prior"] == pytest.approx(1.0)
    assert sum(guess.chi2_components.values()) == pytest.approx(guess.chi2_total)
    assert guess.ra_model_interp.shape == (10,)
    assert guess.valid.all()
    assert guess.model_params["r0"] == 0.9 * TRUTH["r0"]


def whitened_tangent(points):
    """Direction of the true path at each point, in units of the uncertainties."""
    path = streamline(TRUTH, distance=293, n_points=20001)
    curve = np.array([path.ra.value, path.dec.value, path.velocity.value]) / np.array(points.uncertainties)[:, :1]
    place = [
        np.argmin(np.sum((curve - p[:, None]) ** 2, axis=0)) for p in (np.array(points.data) / np.array(points.uncertainties)).T
    ]
    tangent = np.gradient(curve, axis=1)[:, place]
    return tangent / np.linalg.norm(tangent, axis=0)


@pytest.mark.parametrize("matching", ["nearest", "stretch"])
def test_v_lsr_alone_has_the_analytic_sigma(points, matching):
    start, fixed = split("v_lsr", v_lsr=1.001)
    result = fit(start, fixed, points, optimizer="lbfgs", matching=matching, loss_method=0)
    # matched at fixed places a shift in velocity is seen whole; matched at the nearest one only across the path
    across = 1 - whitened_tangent(points)[2] ** 2 if matching == "nearest" else np.ones(10)
    expected = 1 / np.sqrt(np.sum(across / points.v_sigma**2))
    assert result.param_errors["v_lsr"].to_value(u.km / u.s) == pytest.approx(expected, rel=1e-3)


def test_parameter_that_only_its_prior_constrains(points):
    # the inner end of the path lies inside the data's, so rmin changes nothing
    start, fixed = split("rmin", "v_lsr")
    result = fit(start, fixed, points, optimizer="lbfgs", priors={"rmin": (60, 7) * u.au})
    assert result.best_opt_params["rmin"].value == pytest.approx(60, rel=1e-3)
    assert result.param_errors["rmin"].value == pytest.approx(7, rel=0.01)


def test_inclination_has_the_sigma_of_its_prior(points):
    # with the start beyond the data every axis fits as well: inc is known as far as its prior goes
    start, fixed = split(*SHAPE, "inc")
    result = fit(start, fixed, points, n_epochs=1, priors={"inc": (TRUTH["inc"].value, 3) * u.deg})
    assert result.param_errors["inc"].value == pytest.approx(3, rel=0.01)
    assert not result.uncertainties.flat


def test_flat_directions_are_named(points):
    start, fixed = split(*SHAPE, "inc", "pa")
    result = fit(start, fixed, points, n_epochs=1)
    assert len(result.uncertainties.flat) == 2
    named = {name for direction in result.uncertainties.flat for name in direction}
    assert {"inc", "pa", "theta0", "phi0", "mu"} <= named
    assert "mass" not in named
    assert any("Exactly flat direction" in note and "omega" in note for note in result.notes)
    for name in ("theta0", "phi0", "omega", "inc", "pa"):
        assert np.isinf(result.param_errors[name].value), name
    assert np.isfinite(result.param_errors["mass"].value)
    assert not result.success
    assert np.isfinite(result.covariance).all()
    derived = result.derived()
    invariant = derived["any_axis"]
    assert (derived["sigma"][invariant] < np.abs(derived["value"][invariant]) * 100).all()


def test_one_flat_direction_when_the_start_is_seen():
    streamer = synthetic.make_streamer_points(part=(0.0, 0.8))
    start, fixed = split(*SHAPE, "inc", "pa")
    result = fit(start, fixed, streamer, n_epochs=1)
    assert len(result.uncertainties.flat) == 1


@pytest.mark.parametrize("name", ["omega", "rc"])
def test_fixed_rotation_stays_fixed(points, name):
    truth = {key: value for key, value in TRUTH.items() if key != "omega"}
    rotation = {"omega": TRUTH["omega"], "rc": 110 * u.au}[name]
    fixed = {key: value for key, value in truth.items() if key not in ("r0", "mass")} | {name: rotation}
    start = {"r0": 2500 * u.au, "mass": 3 * u.Msun}
    result = fit(start, fixed, points, n_epochs=60)
    history = result.parameter_history()
    assert np.ptp(history["r0"].value) > 1
    assert np.ptp(history["mass"].value) > 0.01
    np.testing.assert_allclose(history[name].value, rotation.value, rtol=1e-12)


def test_bounds_on_rc_hold_and_are_reported(points):
    fixed = {key: value for key, value in TRUTH.items() if key != "omega"}
    result = fit({"rc": 50 * u.au}, fixed, points, n_epochs=200, param_bounds={"rc": (40, 80) * u.au}, learning_rate=0.02)
    rc = result.parameter_history()["rc"].value
    assert rc.min() >= 40 * (1 - 1e-9)
    assert rc.max() <= 80 * (1 + 1e-9)
    assert result.best_opt_params["rc"].value == pytest.approx(80, rel=1e-3)
    assert result.uncertainties.at_bound == ["mu"]
    assert "rc ended at a bound" in " ".join(result.notes)


@pytest.mark.parametrize(("name", "prior"), [("omega", (5e-13, 1e-17) / u.s), ("rc", (150, 0.001) * u.au)])
def test_prior_on_rotation_pulls(points, name, prior):
    start, fixed = split("omega")
    result = fit(start, fixed, points, optimizer="lbfgs", priors={name: prior})
    best = result.parameter_history()[name][result.best_epoch]
    assert best.value == pytest.approx(prior[0].value, rel=1e-3)


def test_start_on_a_bound_and_at_rest_moves(points):
    start, fixed = split("v_r0", "r0")
    start["v_r0"] = 0 * u.km / u.s
    start["r0"] = 4000 * u.au
    for optimizer in ("adam", "lbfgs"):
        result = fit(start, fixed, points, optimizer=optimizer, n_epochs=300, param_bounds={"r0": (2000, 4000) * u.au})
        assert result.best_opt_params["v_r0"].value > 0.05, optimizer
        assert result.best_opt_params["r0"].value < 3900, optimizer


def test_angles_are_periodic_in_the_descent(points):
    start, fixed = split("pa", "phi0")
    start["pa"] = (TRUTH["pa"].value - 360 + 8) * u.deg
    result = fit(start, fixed, points, optimizer="lbfgs", priors={"pa": (TRUTH["pa"].value + 360, 5) * u.deg})
    assert result.best_opt_params["pa"].value == pytest.approx(TRUTH["pa"].value, abs=1e-3)
    assert result.loss < 1e-6


@pytest.mark.parametrize("name", [*SHAPE, "inc", "pa", "v_lsr"])
def test_any_parameter_can_be_free_alone(points, name):
    start, fixed = split(name, **{name: 1.02})
    result = fit(start, fixed, points, optimizer="lbfgs")
    assert result.best_opt_params[name].value == pytest.approx(TRUTH[name].value, rel=1e-4)
    assert list(result.best_opt_params) == [name]


def test_noise_of_one_sigma_gives_residuals_of_one_sigma():
    start, fixed = split("r0", "phi0", "v_lsr")
    losses = [
        fit(start, fixed, synthetic.make_streamer_points(seed=seed), optimizer="lbfgs", loss_method=0).loss for seed in range(20)
    ]
    # each point keeps two of its three dimensions; three parameters are fitted: 17 degrees of freedom
    assert np.mean(losses) == pytest.approx(17, abs=4)


def test_unpacks_and_keeps_the_names_of_the_user(points):
    start, fixed = split("omega", "r0")
    best, history, errors = fit(start, fixed, points, n_epochs=3)
    assert list(best) == list(errors) == ["omega", "r0"]
    assert best["omega"].unit == 1 / u.s
    assert len(history) == 4


def test_same_fit_from_another_thread_and_without_touching_precision(points):
    start, fixed = split("r0", r0=0.95)
    found = []
    thread = threading.Thread(target=lambda: found.append(fit(start, fixed, points, n_epochs=5).loss))
    thread.start()
    thread.join()
    assert found == [fit(start, fixed, points, n_epochs=5).loss]
    assert jax.numpy.ones(1).dtype == np.float32


def test_one_program_serves_all_chunks_and_the_next_fit(points):
    start, fixed = split("r0", r0=0.8)
    programs = run_chunk.n_compiled
    # a kind of fit that no other test of this file asks for
    kind = {"matching": "stretch", "loss_method": 1, "param_bounds": {"r0": (1000, 5000) * u.au}}
    fit(start, fixed, points, n_epochs=160, **kind)
    assert run_chunk.n_compiled == programs + 1
    start, fixed = split("r0", "phi0", r0=0.9)
    fit(start, fixed, points, n_epochs=30, priors={"phi0": (60, 1) * u.deg}, learning_rate=0.01, **kind)
    assert run_chunk.n_compiled == programs + 1


def test_callback_stops_and_keeps_the_best(points):
    start, fixed = split("r0", r0=0.8)
    seen = []
    result = fit(
        start,
        fixed,
        points,
        n_epochs=400,
        optimizer="adam",
        callback=lambda snapshot: seen.append(snapshot.epoch) or len(seen) == 2,
    )
    assert seen == [49, 99]
    assert len(result.loss_history) == 100
    assert "stopped by the caller" in result.status
    assert result.loss == np.min(result.loss_history)


def test_iterate_fit_yields_usable_results(points):
    start, fixed = split("r0", r0=0.8)
    snapshots = list(iterate_fit(start, fixed, points, 293 * u.pc, n_epochs=60, optimizer="adam"))
    assert [s.epoch for s in snapshots] == [49, 60]
    assert snapshots[0].best_loss >= snapshots[1].best_loss == snapshots[1].result.loss
    assert snapshots[0].result.best_opt_params["r0"].unit == u.au


@pytest.mark.parametrize(
    ("keywords", "optimizer"),
    [
        ({}, "lm"),
        ({"learning_rate": 0.01}, "adam"),
        ({"beta1": 0.8}, "adam"),
        ({"matching": "stretch"}, "adam"),
        ({"matching": "stretch", "optimizer": "lm"}, "lm"),
        ({"learning_rate": 0.01, "optimizer": "lbfgs"}, "lbfgs"),
    ],
)
def test_which_optimizer_is_used(points, keywords, optimizer):
    start, fixed = split("r0", r0=0.9)
    assert fit(start, fixed, points, n_epochs=1, **keywords).settings.optimizer == optimizer


def test_the_default_ends_where_lbfgs_does_in_fewer_epochs(points):
    start, fixed = split("r0", "phi0", "v_r0", r0=0.9, phi0=1.1)
    ours, other = (fit(start, fixed, points, optimizer=optimizer) for optimizer in (None, "lbfgs"))
    assert ours.loss == pytest.approx(other.loss, rel=1e-6, abs=1e-6)
    assert len(ours.history) < len(other.history)


def test_it_leaves_a_bound_at_which_it_starts(points):
    """A start on a bound is moved off it by what the loss says."""
    start, fixed = split("v_r0", "r0")
    result = fit(start | {"v_r0": 0 * u.km / u.s}, fixed, points)
    assert result.converged
    np.testing.assert_allclose(result.best_opt_params["v_r0"].value, TRUTH["v_r0"].value, rtol=1e-3)


@pytest.mark.parametrize(
    ("keywords", "reason"),
    [
        ({"n_epochs": 7}, "all epochs"),
        ({"loss_threshold": 1e9, "loss_threshold_epochs": 3}, "loss_threshold"),
        ({"gradient_tol": 1e12, "gradient_tol_epochs": 2}, "gradient_tol"),
        ({"learning_rate": 5.0, "early_stopping_patience": 4}, "improved no more"),
    ],
)
def test_stops_for_the_reason_it_names(points, keywords, reason):
    start, fixed = split("r0", r0=0.8)
    result = fit(start, fixed, points, **keywords)
    assert reason in result.status
    expected = {"all epochs": 8, "loss_threshold": 3, "gradient_tol": 2}.get(reason)
    assert expected is None or len(result.loss_history) == expected


def test_progress_bar_goes_to_stderr(points, capsys):
    start, fixed = split("r0")
    fit(start, fixed, points, n_epochs=3, progress=True)
    captured = capsys.readouterr()
    assert "fitting" in captured.err
    assert captured.out == ""
    fit(start, fixed, points, n_epochs=3, progress=True, info_every=0)
    assert capsys.readouterr().err == ""


def test_angular_speed_may_be_in_radians():
    start, fixed = split("omega")
    model, _, _ = prepare_model_params({"omega": start["omega"].value * u.rad / u.s}, fixed)
    assert model["omega"] == start["omega"]


def test_prepare_model_params_fills_in_defaults():
    start, fixed = split("r0")
    del fixed["rmin"], fixed["v_lsr"]
    model, free, fixed = prepare_model_params(start, fixed)
    assert model == free | fixed
    assert fixed["rmin"] == 0 * u.au
    assert fixed["v_lsr"] == 0 * u.km / u.s


def without(name):
    return {key: value for key, value in TRUTH.items() if key not in ("r0", name)}


BAD = {
    "missing": ({"fixed": without("theta0")}, "'theta0' must be given"),
    "unknown": ({"fixed": without("x") | {"thetaO": 1}}, "Did you mean 'theta0'"),
    "rc and omega": ({"fixed": without("x") | {"rc": 100 * u.au}}, "exactly one of them; got 'rc' and 'omega'"),
    "free and fixed": ({"fixed": dict(TRUTH)}, "'r0' must be either free or fixed"),
    "unit": ({"start": {"r0": 3 * u.km / u.s}}, "'r0' must have a unit"),
    "mu": ({"fixed": without("omega") | {"mu": 1.0}}, "'mu' must"),
    "omega too fast": ({"fixed": without("omega") | {"omega": 1e-11 / u.s}}, "mu = rc/r0 < 1"),
    "no free": ({"start": {}, "fixed": dict(TRUTH)}, "'initial_opt_params' must hold at least one parameter"),
    "start outside bounds": ({"param_bounds": {"r0": (3000, 4000) * u.au}}, "'r0' must start within its bounds"),
    "bounds on fixed": ({"param_bounds": {"mass": (1, 2) * u.Msun}}, "'param_bounds' must name free parameters"),
    "prior on fixed": ({"priors": {"mass": (4, 1) * u.Msun}}, "'priors' must name free parameters"),
    "matching": ({"matching": "neerest"}, "Did you mean 'nearest'"),
    "optimizer": ({"optimizer": "sgd"}, "'optimizer' must be one of"),
    "loss_method": ({"loss_method": 2}, "'loss_method' must be one of"),
    "learning_rate": ({"learning_rate": 0}, "'learning_rate' must be a positive number"),
    "n_epochs": ({"n_epochs": -1}, "'n_epochs' must be a positive number"),
    "patience": ({"early_stopping_patience": 0}, "'early_stopping_patience' must"),
    "beta1": ({"beta1": 1.0}, "'beta1' must lie in"),
    "distance": ({"distance": -1}, "'distance' must be positive"),
    "no distance": ({"distance": None}, "'distance' must be given once"),
    "keyword": ({"n_epoch": 10}, "Did you mean 'n_epochs'"),
    "deltar": ({"matching": "stretch", "fixed": without("x") | {"deltar": 1e-4 * u.au}}, "'deltar' must leave at most"),
    "streamer": ({"streamer": [1, 2, 3]}, "'streamer' must be a Streamer"),
    "v_lsr": ({"v_lsr": 7 * u.pc}, "'v_lsr' must have a unit"),
}


@pytest.mark.parametrize("case", BAD)
def test_refuses_before_any_work(case, points, tmp_path, monkeypatch):
    arguments, message = BAD[case]
    monkeypatch.setattr(steps, "run_chunk", lambda *_: pytest.fail("the fit was started"))
    defaults = {"start": {"r0": 2500 * u.au}, "fixed": without("x"), "streamer": points, "distance": 293}
    given = defaults | arguments
    keywords = {key: value for key, value in given.items() if key not in defaults}
    with pytest.raises((ValueError, TypeError, u.UnitsError)) as error:
        fit_streamline(
            given["start"], given["fixed"], given["streamer"], given["distance"], save_folder=tmp_path / "out", **keywords
        )
    assert message in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ra_data": np.full(10, np.nan)}, "have finite data"),
        ({"v_sigma": np.zeros(10)}, "have positive finite uncertainties"),
        ({"v_sigma": np.ones(4)}, "of the same length"),
        ({"v_sigma": np.array(["a"] * 10)}, "of the same length"),
    ],
)
def test_refuses_bad_points(points, change, message):
    names = ("pc_coords", "ra_data", "dec_data", "v_data", "ra_sigma", "dec_sigma", "v_sigma")
    bad = Streamer(**{name: getattr(points, name) for name in names} | change)
    with pytest.raises(ValueError, match=message):
        fit({"r0": 2500 * u.au}, without("x"), bad)


def test_refuses_a_folder_that_cannot_be_written(points, tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("in the way")
    start, fixed = split("r0")
    with pytest.raises(OSError, match="'save_folder' must be a folder that can be written"):
        fit(start, fixed, points, save_folder=blocker / "results")
    assert blocker.read_text() == "in the way"


def test_distance_may_have_the_name_of_sting(points):
    start, fixed = split("r0")
    result = fit_streamline(start, fixed, points, distance_pc=293, n_epochs=2, save_folder=None, progress=False)
    assert result.distance == 293 * u.pc
    with pytest.raises(ValueError, match="'distance' must be given once"):
        fit(start, fixed, points, distance_pc=293)
