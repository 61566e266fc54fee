"""How well fits agree with their data, and several of them side by side."""

import math

import numpy as np
import pytest
from astropy import units as u

from sting import synthetic
from sting.comparison import compare
from sting.fit_result import FitResult
from sting.gradient_descent import evaluate_initial_guess, fit_streamline

SIGMA = (0.05 * u.arcsec, 0.05 * u.arcsec, 0.01 * u.km / u.s)
TRUTH = synthetic.TRUTH


def points(seed):
    return synthetic.make_streamer_points(seed=seed, sigma=SIGMA)


def fit(free, streamer, *, matching="nearest", **changes):
    """A fit of some parameters that starts at the truth, others fixed there or where ``changes`` say."""
    priors = changes.pop("priors", None)
    values = TRUTH | changes
    start = {name: values[name] for name in free}
    fixed = {name: value for name, value in values.items() if name not in free}
    quiet = {"optimizer": "lbfgs", "save_folder": None, "progress": False}
    return fit_streamline(start, fixed, streamer, 293, priors=priors, matching=matching, **quiet)


@pytest.fixture(scope="module")
def right():
    return fit(("r0", "phi0", "mass"), points(4))


@pytest.fixture(scope="module")
def wrong():
    """Its v_lsr is 0.2 km/s too large, 20 times the uncertainty of a velocity."""
    return fit(("r0", "phi0", "mass"), points(4), v_lsr=TRUTH["v_lsr"] + 0.2 * u.km / u.s)


@pytest.fixture(scope="module")
def larger():
    return fit(("r0", "phi0", "mass", "v_r0"), points(4), priors={"v_r0": (0.2, 5) * u.km / u.s})


@pytest.fixture(scope="module")
def other():
    return fit(("r0", "phi0", "mass"), points(5))


class TestGoodness:
    def test_chi2_is_that_of_the_points(self, larger):
        streamer, path = points(4), larger.matched_points()
        (ra, dec, v), (s_ra, s_dec, s_v) = streamer.data, streamer.uncertainties
        r, s_r = np.hypot(ra, dec), np.hypot(ra * s_ra, dec * s_dec) / np.hypot(ra, dec)
        s_theta = np.hypot(dec * s_ra, ra * s_dec) / r**2
        theta = np.arctan2(dec, ra) - np.arctan2(path[1], path[0]).value
        parts = (r - np.hypot(path[0], path[1]).value) / s_r, theta / s_theta, (v - path[2].value) / s_v
        assert larger.chi2 == pytest.approx(np.sum(np.square(parts)), rel=1e-8)
        v_r0 = larger.best_opt_params["v_r0"].value
        assert larger.loss - larger.chi2 == pytest.approx(((v_r0 - 0.2) / 5) ** 2, rel=1e-6)

    def test_criteria_by_hand(self, right, larger):
        assert (right.n_data, right.n_free, right.dof) == (20, 3, 17)
        assert right.aicc == pytest.approx(right.loss + 6 + 24 / 16)
        assert right.bic == pytest.approx(right.loss + 3 * math.log(20))
        # a prior is a measurement
        assert (larger.n_data, larger.n_free, larger.dof) == (21, 4, 17)
        assert larger.aicc == pytest.approx(larger.loss + 8 + 40 / 16)

    @pytest.mark.parametrize("loss_method", [0, 1])
    def test_the_nearest_place_uses_up_a_residual_of_each_point(self, right, loss_method):
        """At the truth the loss is distributed as chi2 of two residuals a point, not three."""
        losses = []
        for seed in range(200):
            streamer = points(seed)
            found = evaluate_initial_guess({}, TRUTH, streamer.data, streamer.uncertainties, 293, loss_method=loss_method)
            losses.append(found.chi2_total)
        assert np.mean(losses) == pytest.approx(right.n_data, abs=4 * math.sqrt(2 * 20 / 200))
        assert np.std(losses) == pytest.approx(math.sqrt(2 * right.n_data), rel=0.2)

    def test_stretch_has_all_three(self):
        found = fit(("phi0",), points(4), matching="stretch")
        assert (found.n_data, found.dof) == (30, 29)

    def test_a_good_fit_has_a_loss_of_its_degrees_of_freedom(self, right, wrong):
        assert abs(right.loss - right.dof) < 4 * math.sqrt(2 * right.dof)
        assert wrong.loss > 10 * wrong.dof

    def test_a_flat_direction_is_no_parameter(self):
        flat = fit(("r0", "theta0", "phi0", "omega", "mass", "inc", "pa"), points(4), priors={"inc": (-48, 5) * u.deg})
        assert len(flat.uncertainties.flat) == 1
        assert (flat.n_data, flat.n_free) == (21, 6)

    def test_hardly_more_measurements_than_parameters(self):
        few = synthetic.make_streamer_points(seed=4, n_elements=2, sigma=SIGMA)
        found = fit(("r0", "theta0", "phi0", "omega", "mass", "v_r0"), few)
        assert found.n_data - found.n_free - 1 <= 0
        assert found.aicc == math.inf
        assert math.isfinite(found.bic)
        table = compare({"few": found})
        assert np.isnan(table["delta_aicc"][0])
        assert table["weight"][0] == 0

    def test_the_summary_says_it(self, right):
        assert "17 degrees of freedom" in right.summary()
        assert f"AICc {right.aicc:.5g}" in right.summary()

    def test_it_is_the_same_after_writing(self, right, tmp_path):
        right.write(tmp_path / "fit.ecsv")
        again = FitResult.read(tmp_path / "fit.ecsv")
        assert [again.chi2, again.dof, again.aicc, again.bic] == [right.chi2, right.dof, right.aicc, right.bic]


class TestCompare:
    def test_the_right_one_wins(self, right, wrong, larger):
        table = compare({"right": right, "wrong": wrong, "larger": larger})
        assert list(table["fit"]) == ["right", "wrong", "larger"]
        assert list(table["data"]) == [1, 1, 1]
        assert table["weight"].sum() == pytest.approx(1)
        assert table["weight"][1] < 1e-6
        # a parameter that is not needed costs about two
        assert 0 < table["delta_aicc"][2] < 3.5
        assert table["delta_aicc"].min() == 0
        np.testing.assert_allclose(table["weight"][2] / table["weight"][0], np.exp(-table["delta_aicc"][2] / 2))

    def test_columns(self, right, larger):
        table = compare([right, larger])
        assert list(table["fit"]) == ["fit 1", "fit 2"]
        for name in ("loss", "chi2", "n_data", "n_free", "dof", "aicc", "bic", "success"):
            assert list(table[name]) == [getattr(right, name), getattr(larger, name)]
        assert table["v_r0"][1] == larger.best_opt_params["v_r0"]
        assert table["v_r0_sigma"][1] == larger.param_errors["v_r0"]
        assert table["v_r0_sigma"][0] == 0
        assert table["inc"].unit == u.deg
        assert "deltar" not in table.colnames
        energy = {row["quantity"]: row for row in larger.derived()}["energy"]
        assert table["energy"][1].to_value(energy["unit"]) == energy["value"]
        assert table["energy_sigma"][1].to_value(energy["unit"]) == energy["sigma"]

    def test_another_rotation_parameter(self, right):
        fixed = {name: value for name, value in TRUTH.items() if name not in ("r0", "omega")} | {"rc": 200 * u.au}
        quiet = {"optimizer": "lbfgs", "save_folder": None, "progress": False}
        table = compare({"omega": right, "rc": fit_streamline({"r0": TRUTH["r0"]}, fixed, points(4), 293, **quiet)})
        assert np.isnan(table["rc"][0])
        assert np.isnan(table["rc_sigma"][0])
        assert np.isnan(table["omega"][1])
        assert table["rc"][1] == 200 * u.au

    def test_other_points_are_no_rivals(self, right, wrong, other):
        table = compare({"one": right, "two": other, "three": wrong})
        assert list(table["data"]) == [1, 2, 1]
        assert table["delta_aicc"][1] == 0
        assert table["weight"][1] == 1
        assert table["weight"][0] + table["weight"][2] == pytest.approx(1)

    def test_one_alone(self, right):
        assert compare(right)["weight"][0] == compare(iter([right]))["weight"][0] == 1

    @pytest.mark.parametrize(
        ("given", "error", "message"),
        [
            ([], ValueError, r"^'results' must hold at least one fit; got none"),
            ({}, ValueError, r"^'results' must hold at least one fit; got none"),
            (5, TypeError, r"^'results' must hold results of fits; got int as ''"),
            ({"a": 5}, TypeError, r"^'results' must hold results of fits; got int as 'a'"),
            ("fit", TypeError, r"^'results' must hold results of fits; got str as 'fit 1'"),
        ],
    )
    def test_no_fits(self, given, error, message):
        with pytest.raises(error, match=message):
            compare(given)
