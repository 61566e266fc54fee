"""Profile likelihood: against parabolas where the loss is one, and against fits with the parameter fixed where it is not."""

import json
import math

import numpy as np
import pytest
from astropy import units as u

from sting import outputs, synthetic
from sting.fit_words import between
from sting.gradient_descent import fit_streamline
from sting.profiler import BOUND, OPEN, REACHED

TRUTH = synthetic.TRUTH
QUIET = {"optimizer": "lbfgs", "save_folder": None, "progress": False}
KMS = u.km / u.s


def fit(free, points, truth=TRUTH, **keywords):
    """Fit from the truth with the ``free`` parameters free."""
    start = {name: truth[name] for name in free}
    fixed = {name: value for name, value in truth.items() if name not in start}
    return fit_streamline(start, fixed, points, 293, **QUIET | keywords)


def points_of(truth=TRUTH, sky=0.2, velocity=0.05, **keywords):
    sigma = (sky * u.arcsec, sky * u.arcsec, velocity * KMS)
    return synthetic.make_streamer_points(truth, n_elements=12, sigma=sigma, **{"seed": 3} | keywords)


@pytest.fixture(scope="module")
def points():
    return points_of()


@pytest.fixture(scope="module")
def linear(points):
    """A fit of v_lsr alone."""
    return fit(["v_lsr"], points_of(sky=0.02))


BAD = TRUTH | {"v_r0": 0.25 * KMS}
PRIORS = {"mass": (4.0, 0.4) * u.Msun}


@pytest.fixture(scope="module")
def bad_points():
    return points_of(BAD, 0.5, 0.1, seed=4)


@pytest.fixture(scope="module")
def known(bad_points):
    """The case known to be bad: v_r0 of less than its sigma, the axis fixed, a prior on the mass."""
    return fit(("r0", "theta0", "phi0", "v_r0", "omega", "mass"), bad_points, BAD, priors=PRIORS)


class TestParabola:
    def test_interval_is_that_of_the_covariance(self, linear):
        value, sigma = linear.best_opt_params["v_lsr"].value, linear.param_errors["v_lsr"].value
        for level, root in ((0.6827, 1.0000217), (0.95, 1.9599640)):
            found = linear.profile("v_lsr", level=level)
            assert found.lower.value == pytest.approx(value - root * sigma, abs=1e-3 * sigma)
            assert found.upper.value == pytest.approx(value + root * sigma, abs=1e-3 * sigma)

    @pytest.mark.parametrize("beyond", [-0.015, -0.005, 0.005])
    def test_never_passes_a_bound(self, linear, beyond):
        """Where the bound is next to the end, the last bit is a guess to first order."""
        value, sigma = linear.best_opt_params["v_lsr"], linear.param_errors["v_lsr"]
        bounds = {"v_lsr": u.Quantity([value - (1 + beyond) * sigma, value + (1 + beyond) * sigma])}
        found = fit(["v_lsr"], points_of(sky=0.02), TRUTH | {"v_lsr": value}, param_bounds=bounds).profile("v_lsr")
        assert found.lower >= bounds["v_lsr"][0] * (1 - 1e-12)
        assert found.upper <= bounds["v_lsr"][1] * (1 + 1e-12)
        if beyond > 0:
            np.testing.assert_allclose([found.lower.value, found.upper.value], (value + [-1, 1] * sigma).value, atol=1e-3)

    def test_loss_is_the_parabola(self, linear):
        found = linear.profile("v_lsr", n=9)
        off = (found.values - linear.best_opt_params["v_lsr"]) / linear.param_errors["v_lsr"]
        np.testing.assert_allclose(found.loss - found.minimum, off.value**2, rtol=1e-3, atol=1e-3)
        assert off[0] < -2.4
        assert off[-1] > 2.4

    def test_is_near_gaussian(self, linear):
        assert linear.near_gaussian == {"v_lsr": True}
        assert "+-" in linear.summary().splitlines()[3]
        assert not any("Not near Gaussian" in note for note in linear.notes)

    def test_a_prior_alone_gives_itself(self):
        # data that say nothing of the mass
        points = points_of(sky=500, velocity=500, seed=None)
        found = fit(["mass"], points, priors={"mass": (4.0, 0.4) * u.Msun}).intervals()
        assert found["lower"][0] == pytest.approx(3.6, abs=1e-3)
        assert found["upper"][0] == pytest.approx(4.4, abs=1e-3)


class TestAgainstFits:
    @pytest.mark.parametrize("name", ["r0", "phi0", "v_r0", "omega"])
    def test_loss_is_that_of_fits_with_the_parameter_fixed(self, known, bad_points, name):
        ends = known.profile(name, n=2)
        values = [v for v in (ends.lower, ends.upper) if np.isfinite(v) and v.value > 0]
        found = known.profile(name, u.Quantity(values))
        free = [n for n in known.names if n != name]
        for value, loss in zip(found.values, found.loss, strict=True):
            start = known.fixed_params | known.best_opt_params | {name: value}
            # off the bound
            start |= {"v_r0": start["v_r0"] if name == "v_r0" else 0.3 * KMS}
            assert loss == pytest.approx(fit(free, bad_points, start, priors=PRIORS, n_starts=16).loss, abs=1e-3)

    def test_ends_are_where_the_loss_has_risen_by_one(self, known):
        for name in ("theta0", "phi0", "mass", "energy", "eccentricity"):
            for side in (-1, 1):
                end = known.profiler.end(name, side, 0.6827)
                if end.kind == REACHED:
                    assert known.profiler.rise(name, end.value) == pytest.approx(1, abs=0.03), name


class TestKnownCase:
    def test_says_that_it_is_not_near_gaussian(self, known):
        assert not known.near_gaussian["v_r0"]
        assert not known.near_gaussian["phi0"]
        assert known.near_gaussian["mass"]
        note = next(note for note in known.notes if "Not near Gaussian" in note)
        assert "v_r0: a bound is within two sigma" in note or "v_r0: it is at a bound" in note
        assert "theta0, mass are near Gaussian" in note

    def test_prints_no_plain_uncertainty_of_it(self, known):
        lines = {line.split()[0]: line for line in known.summary().splitlines()[3:9]}
        for name, near in known.near_gaussian.items():
            assert ("+-" in lines[name]) == near
            assert ("see intervals" in repr(known).split(f" {name} = ")[1].split(",")[0]) != near
        assert known._repr_html_().count("+-") == sum(known.near_gaussian.values())

    def test_files_hold_the_interval_instead(self, known, tmp_path):
        outputs.save_best_fit_params(known, tmp_path / "p.json")
        content = json.loads((tmp_path / "p.json").read_text())["optimised_parameters"]
        assert "sigma" in content["mass"]
        assert "sigma" not in content["phi0"]
        table = known.intervals()
        row = {r["quantity"]: r for r in table}["phi0"]
        assert content["phi0"]["lower"] == pytest.approx(row["lower"])
        assert list(known.to_table()["near_gaussian"][:6]) == [("no", "yes")[known.near_gaussian[name]] for name in known.names]

    def test_elements_of_the_orbit_are_judged_too(self, known):
        table = {row["quantity"]: row for row in known.intervals(derived=True, progress=False)}
        assert table["energy"]["lower"] < table["energy"]["value"] < table["energy"]["upper"]
        assert table["angular_momentum_pc"]["lower"] == pytest.approx(table["angular_momentum"]["lower"] / 206264.806)
        assert not table["time_to_midplane"]["near_gaussian"]
        assert table["time_to_midplane"]["lower"] < table["time_to_midplane"]["value"]


class TestEnds:
    def test_support_is_a_bound(self, known):
        end = known.profiler.end("v_r0", -1, 0.95)
        assert (end.value, end.kind) == (0.0, BOUND)
        assert "a bound of what is allowed" in " ".join(known.profile("v_r0", n=3, level=0.95).notes)

    def test_bounds_of_the_user(self, points):
        result = fit(["r0", "phi0"], points, param_bounds={"phi0": (59.9, 60.1) * u.deg})
        table = result.intervals()
        assert table["lower"][1] == pytest.approx(59.9)
        assert table["upper"][1] == pytest.approx(60.1)
        assert not table["near_gaussian"][1]

    def test_flat_direction_has_no_end(self):
        # without rotation nothing tells where the axis points to
        truth = TRUTH | {"omega": 1e-17 / u.s, "v_r0": 1 * KMS}
        result = fit(("theta0", "phi0", "pa"), points_of(truth), truth)
        found = result.profile("pa", n=3)
        assert np.isinf(found.lower)
        assert np.isinf(found.upper)
        assert "has no lower end" in found.notes[0]
        assert not result.near_gaussian["pa"]

    def test_start_far_beyond_the_data_has_no_upper_end(self):
        angles = {"theta0": 70 * u.deg, "phi0": 300 * u.deg, "inc": 40 * u.deg, "pa": 200 * u.deg}
        unbound = {
            "r0": 2500 * u.au,
            "v_r0": 2 * KMS,
            "mass": 1 * u.Msun,
            "rc": 500 * u.au,
            "rmin": 50 * u.au,
            "v_lsr": 7.5 * KMS,
        }
        truth = angles | unbound | {"v_lsr": 7.5 * KMS}
        result = fit(("r0", "theta0", "phi0", "v_r0", "rc"), points_of(truth, 0.1, 0.03), truth)
        end = result.profiler.end("r0", 1, 0.6827)
        assert (end.value, end.kind) == (math.inf, OPEN)
        assert "unlimited" in result.summary()
        assert not result.near_gaussian["r0"]
        # the values of a profile end nevertheless
        assert result.profile("r0", n=3).values.max() < 6 * result.best_opt_params["r0"]

    def test_angles_go_on_beyond_a_full_turn(self):
        truth = TRUTH | {"phi0": 359.9 * u.deg}
        result = fit(["phi0", "v_lsr"], points_of(truth), truth)
        found = result.profile("phi0", n=5)
        turned = fit(["phi0", "v_lsr"], points_of(truth), truth | {"phi0": 0.2 * u.deg}).profile("phi0", n=5)
        assert found.lower < found.value < found.upper
        assert result.near_gaussian["phi0"]
        width = (found.upper - found.lower).value
        assert width / 2 == pytest.approx(result.param_errors["phi0"].value, rel=0.05)
        assert (turned.upper - turned.lower).value == pytest.approx(width, rel=1e-3)
        wanted = result.profile("phi0", [359.9, 0.1] * u.deg)
        assert np.ptp(wanted.values).value == pytest.approx(0.2, rel=1e-2)


def test_derived_quantity_goes_with_the_parameter_that_it_is_of():
    """With v_r0 alone free the energy is v_r0^2/2 and a constant."""
    result = fit(["v_r0"], points_of(TRUTH | {"v_r0": 1 * KMS}), TRUTH | {"v_r0": 1 * KMS})
    speed, energy = result.profile("v_r0", n=2), result.profile("energy", n=2)
    for a, b in ((speed.lower, energy.lower), (speed.upper, energy.upper)):
        assert (b - energy.value).value == pytest.approx((a**2 - speed.value**2).value / 2, rel=1e-2)


def test_periastron_of_a_fixed_angular_momentum_and_times_by_their_reciprocals(known):
    found = known.profile("time_to_midplane", n=3)
    assert found.lower < found.value < found.upper
    assert found.values.unit == u.yr
    assert (np.diff(found.values.value) > 0).all()


def test_a_lower_loss_on_the_way_is_said(points):
    result = fit(("r0", "phi0", "v_r0"), points, TRUTH | {"phi0": 80 * u.deg}, optimizer="adam", n_epochs=3)
    found = result.profile("phi0", n=3)
    assert found.minimum < result.loss - 1
    assert any("lower than that of the fit" in note for note in found.notes)
    assert not any(result.near_gaussian.values())


def test_can_be_stopped_and_asked_for_values(linear):
    seen = []
    found = linear.profile("v_lsr", [7.4, 7.5, 7.6] * KMS, callback=lambda n: seen.append(n) or n == 2)
    assert seen == [1, 2]
    assert len(found.loss) == 2
    table = linear.profile("v_lsr", 7.5 * KMS).to_table()
    assert table["value"].unit == KMS
    assert "Profile of v_lsr" in repr(found)


@pytest.mark.parametrize(
    ("arguments", "keywords", "message"),
    [
        (("v_lrs",), {}, "'name' must be a free parameter or an element of the orbit; got 'v_lrs'. Did you mean 'v_lsr'"),
        (("inc",), {}, "'name' must be .* got 'inc', which is fixed"),
        ((3,), {}, "'name' must be"),
        (("v_lsr",), {"level": 1.0}, "'level' must lie between 0 and 1; got 1.0"),
        (("v_lsr",), {"level": "68"}, "'level' must lie between"),
        (("v_lsr",), {"n": 1}, "'n' must be a whole number of at least 2"),
        (("v_lsr", [np.nan] * KMS), {}, "'v_lsr' must be one finite number"),
        (("energy", [np.inf] * KMS**2), {}, "'values' must be finite and within"),
        (("periastron", [-1] * u.au), {}, "'values' must be finite and within the bounds"),
        (("length", [0] * u.au), {}, "'values' must be positive"),
    ],
)
def test_refuses(linear, arguments, keywords, message):
    with pytest.raises(ValueError, match=message):
        linear.profile(*arguments, **keywords)


def test_refuses_units_and_levels(linear):
    with pytest.raises(u.UnitsError, match="'v_lsr' must have a unit convertible to"):
        linear.profile("v_lsr", [1] * u.au)
    with pytest.raises(u.UnitsError, match="'values' must have a unit convertible to AU"):
        linear.profile("periastron", [1] * u.deg)
    with pytest.raises(ValueError, match="'level' must lie between 0 and 1"):
        linear.intervals(0)


@pytest.mark.parametrize(
    ("value", "lower", "upper", "expected"),
    [
        (2580 * u.au, 2270 * u.au, 3100 * u.au, "2580 +520 -310 AU"),
        (0.0 * KMS, 0.0 * KMS, 0.254 * KMS, "0.00 +0.25 -0.00 km / s"),
        (2580 * u.au, 2270 * u.au, np.inf * u.au, "2580 +unlimited -310 AU"),
        (52 * u.deg, -np.inf * u.deg, np.inf * u.deg, "52 +unlimited -unlimited deg"),
        (5.5e-13 / u.s, 3.5e-13 / u.s, 6e-13 / u.s, "5.5e-13 +5e-14 -2e-13 1 / s"),
    ],
)
def test_as_many_digits_as_the_shorter_side_warrants(value, lower, upper, expected):
    assert between(value, lower, upper) == expected
