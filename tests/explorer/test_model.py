"""The parameters: values, what is free, bounds, priors, and the three ways to state the rotation."""

import numpy as np
import pytest
from astropy import constants
from astropy import units as u

from sting.parameters import PARAMETERS, parse_bounds
from sting.stream_lines_grad import streamline
from sting.synthetic import TRUTH

KMS = u.km / u.s


def shown_curve(state):
    """The model that belongs to the values, computed apart from the explorer."""
    path = streamline(state.parameters, distance=state.distance)
    return np.transpose([path.ra.value, path.dec.value, path.velocity.value])


def assert_follows(state):
    np.testing.assert_allclose(state.comparison.curve, shown_curve(state), rtol=1e-7, atol=1e-9)


class TestValues:
    @pytest.mark.parametrize(
        ("name", "value", "internal"),
        [
            ("r0", 2500 * u.au, 2500),
            ("r0", 0.01 * u.pc, 2062.6480624709636),
            ("r0", 2500, 2500),
            ("theta0", 60 * u.deg, np.pi / 3),
            ("theta0", 1.0, 1.0),
            ("phi0", 4000 * u.arcmin, np.radians(4000 / 60)),
            ("v_r0", 0, 0),
            ("v_r0", 500 * u.m / u.s, 0.5),
            ("mass", 2 * u.Msun, 2),
            ("inc", -89 * u.deg, np.radians(-89)),
            ("pa", 400 * u.deg, np.radians(400)),
            ("rmin", None, 0),
            ("v_lsr", -3.0 * KMS, -3),
            ("omega", 4e-13 / u.s, 4e-13),
            ("omega", 4e-13 * u.rad / u.s, 4e-13),
            ("deltar", 5 * u.au, 5),
        ],
    )
    def test_a_quantity_or_a_number(self, state, name, value, internal):
        state.set_value(name, value)
        assert state.session.values[name] == pytest.approx(internal, rel=1e-14, abs=0)
        assert_follows(state)

    def test_the_others_stay(self, state):
        before = dict(state.session.values)
        state.set_value("theta0", 60 * u.deg)
        assert {name: value for name, value in state.session.values.items() if value != before[name]}.keys() == {"theta0"}

    @pytest.mark.parametrize(
        ("name", "value"), [("r0", 123456.789), ("mass", 0.0123), ("v_r0", 37.25), ("v_lsr", -412.5), ("rmin", 1234.5)]
    )
    def test_far_outside_the_range_of_its_slider(self, state, name, value):
        low, high, _ = PARAMETERS[name].slider
        assert not low <= value <= high
        if name == "mass":
            state.set_value("omega", 1e-14)
        state.set_value("omega", 1e-15)
        state.set_value(name, value)
        assert state.session.values[name] == value
        assert state.parameters[name].value == value
        assert_follows(state)

    @pytest.mark.parametrize(
        ("name", "value", "error"),
        [
            ("r0", 0, ValueError),
            ("r0", -5 * u.au, ValueError),
            ("r0", np.nan, ValueError),
            ("r0", [1, 2], ValueError),
            ("r0", 5 * u.K, u.UnitsError),
            ("r0", "far", TypeError),
            ("r0", None, ValueError),
            ("theta0", 0, ValueError),
            ("theta0", 180 * u.deg, ValueError),
            ("theta0", -1 * u.deg, ValueError),
            ("inc", 90 * u.deg, ValueError),
            ("v_r0", -0.01, ValueError),
            ("mass", 0, ValueError),
            ("phi0", np.inf, ValueError),
            ("omega", 0, ValueError),
            # mu = 1.1
            ("omega", 3.06e-12, ValueError),
            ("mu", 1.0, ValueError),
            ("mu", 0, ValueError),
            ("rc", 2700 * u.au, ValueError),
            ("deltar", 0, ValueError),
        ],
    )
    def test_what_is_refused_leaves_everything_as_it_was(self, state, everything, told, refused, name, value, error):
        state.set_value("mass", 3)
        state.undo()
        before, heard = everything(state), told(state)
        with refused(name, error):
            state.set_value(name, value)
        assert everything(state) == before
        assert heard == []

    def test_unknown_ones_are_refused_by_name(self, state, everything):
        before = everything(state)
        for change in (lambda: state.set_value("thta0", 1), lambda: state.set_parameters({"thta0": 1})):
            with pytest.raises(ValueError, match=r"got 'thta0'. Did you mean 'theta0'\?"):
                change()
        for change in (
            lambda: state.set_free("thta0"),
            lambda: state.set_bounds("thta0", (1, 2)),
            lambda: state.set_prior("thta0", (1, 2)),
        ):
            with pytest.raises(ValueError, match=r"got 'thta0'. Did you mean 'theta0'\?"):
                change()
        assert everything(state) == before

    def test_r0_below_the_centrifugal_radius(self, make_state, refused):
        state = make_state(start={"r0": 2500 * u.au, "rc": 300 * u.au}, fixed=without_rotation("r0"))
        with refused("rc"):
            state.set_value("r0", 299 * u.au)
        state.set_value("r0", 301 * u.au)
        assert_follows(state)


def without_rotation(*names):
    """The truth without a rotation and without some others."""
    return {name: value for name, value in TRUTH.items() if name not in ("omega", *names)}


class TestSeveralAtOnce:
    def test_the_property(self, state):
        assert list(state.parameters) == [name for name in PARAMETERS if name not in ("mu", "rc")]
        assert all(isinstance(value, u.Quantity) for value in state.parameters.values())
        state.parameters = {"r0": 2000 * u.au, "inc": -30 * u.deg}
        assert state.parameters["r0"] == 2000 * u.au
        assert u.isclose(state.parameters["inc"], -30 * u.deg)
        assert u.isclose(state.parameters["theta0"], TRUTH["theta0"])
        assert_follows(state)
        state.undo()
        assert u.isclose(state.parameters["r0"], 2700 * u.au)
        assert u.isclose(state.parameters["inc"], TRUTH["inc"])

    def test_changing_what_it_returns_changes_nothing(self, state):
        before = dict(state.session.values)
        state.parameters["r0"] = 1 * u.au
        state.parameters.clear()
        assert state.session.values == before

    def test_all_of_another_explorer(self, state, make_state):
        other = make_state(start={"mass": 2 * u.Msun, "mu": 0.2}, fixed=without_rotation("mass"))
        state.parameters = other.parameters
        assert state.rotation == "mu"
        assert state.session.values == pytest.approx(other.session.values, rel=1e-14, abs=0)

    @pytest.mark.parametrize(
        "params",
        [
            {"r0": 2000, "mass": -1},
            {"r0": 2000, "foo": 1},
            {"rc": 100, "omega": 1e-13},
            {"rc": 100, "mu": 0.1},
            {"mass": 2, "rc": 5000},
        ],
        ids=str,
    )
    def test_one_that_is_wrong_refuses_all(self, state, everything, params):
        before = everything(state)
        with pytest.raises(ValueError, match="must"):
            state.parameters = params
        assert everything(state) == before

    def test_together_they_may_be_right_where_one_by_one_they_are_not(self, state):
        state.parameters = {"rc": 2000, "r0": 2500}
        state.parameters = {"rc": 200, "r0": 250}
        assert state.session.values["rc"] == 200


class TestRotation:
    @staticmethod
    def mu(state):
        p = state.parameters
        if "mu" in p:
            return p["mu"].value
        if "rc" in p:
            return (p["rc"] / p["r0"]).to_value(1)
        return (p["r0"] ** 3 * p["omega"] ** 2 / (constants.G * p["mass"])).to_value(1)

    @pytest.mark.parametrize(("there", "back"), [("rc", "omega"), ("mu", "omega"), ("rc", "mu")])
    def test_keeps_mu(self, state, there, back):
        mu, curve = self.mu(state), state.comparison.curve
        for name in (there, back):
            state.set_rotation(name)
            assert state.rotation == name
            assert [n for n in ("mu", "rc", "omega") if n in state.parameters] == [name]
            # to the precision of the constants in the two units
            assert self.mu(state) == pytest.approx(mu, rel=2e-7)
            np.testing.assert_allclose(state.comparison.curve, curve, atol=1e-5)
            assert_follows(state)

    def test_rc_and_mu_lose_nothing(self, state):
        state.set_rotation("mu")
        mu = state.session.values["mu"]
        state.set_rotation("rc")
        assert state.session.values["rc"] == pytest.approx(mu * state.session.values["r0"], rel=1e-15)
        state.set_rotation("mu")
        assert state.session.values["mu"] == pytest.approx(mu, rel=1e-14)

    def test_omega_loses_nothing(self, state):
        omega = state.session.values["omega"]
        state.set_rotation("mu")
        state.set_rotation("omega")
        assert state.session.values["omega"] == pytest.approx(omega, rel=1e-12, abs=0)

    def test_what_is_free_stays_free(self, make_state):
        state = make_state(start={"r0": 2700 * u.au, "omega": TRUTH["omega"]})
        for name in ("mu", "rc", "omega"):
            state.set_rotation(name)
            assert set(state.session.free) == {"r0", name}
        state.set_free("omega", False)
        for name in ("mu", "rc", "omega"):
            state.set_rotation(name)
            assert state.session.free == ("r0",)

    def test_bounds_and_priors_on_it_are_dropped_and_others_stay(self, state):
        state.set_bounds("omega", (1e-13, 1e-12))
        state.set_prior("omega", (5e-13, 1e-13))
        state.set_bounds("r0", (2000, 3000))
        state.set_prior("r0", (2500, 100))
        state.set_rotation("rc")
        assert state.session.bounds == {"r0": (2000, 3000)}
        assert state.session.priors == {"r0": (2500, 100)}
        state.undo()
        assert state.session.bounds["omega"] == (1e-13, 1e-12)
        assert state.session.priors["omega"] == (5e-13, 1e-13)

    def test_setting_another_one_switches(self, state, told):
        heard = told(state)
        state.set_value("rc", 150 * u.au)
        assert state.rotation == "rc"
        assert state.parameters["rc"] == 150 * u.au
        assert "omega" not in state.parameters
        assert {"parameters", "model"} <= heard[-1]
        state.undo()
        assert state.rotation == "omega"
        assert state.session.values["omega"] == 5.5e-13

    def test_the_same_one_is_no_change(self, state, everything, told, refused):
        before, heard = everything(state), told(state)
        state.set_rotation("omega")
        assert everything(state) == before
        assert heard == []
        with refused("rotation"):
            state.set_rotation("omgea")
        assert everything(state) == before


class TestFree:
    def test_there_and_back(self, state):
        state.set_free("theta0")
        assert set(state.session.free) == {"r0", "theta0", "phi0", "v_lsr"}
        state.set_free("r0", False)
        state.set_free("phi0", False)
        state.set_free("v_lsr", False)
        state.set_free("theta0", False)
        assert state.session.free == ()
        state.set_free("rmin", True)
        assert state.session.free == ("rmin",)

    def test_values_and_loss_stay(self, state):
        values, loss = state.session.values, state.comparison.loss
        state.set_free("mass")
        assert state.session.values == values
        assert state.comparison.loss == pytest.approx(loss, rel=1e-12)

    def test_a_sampling_step_is_never_free(self, state, everything, refused):
        before = everything(state)
        with refused("deltar"):
            state.set_free("deltar")
        state.set_free("deltar", False)
        assert everything(state) == before


class TestBounds:
    @pytest.mark.parametrize(
        "bounds", [(2000, 3000) * u.au, (2000, 3000), (2000 * u.au, (3000 * u.au).to(u.pc)), [2000, 3000], np.array([2000, 3000])]
    )
    def test_set_and_removed(self, state, bounds):
        state.set_bounds("r0", bounds)
        assert state.session.bounds["r0"] == pytest.approx((2000, 3000))
        state.set_bounds("r0", None)
        assert state.session.bounds == {}
        state.set_bounds("r0", None)
        state.undo()
        assert state.session.bounds["r0"] == pytest.approx((2000, 3000))

    def test_another_pair_takes_the_place(self, state):
        state.set_bounds("r0", (2000, 3000))
        state.set_bounds("phi0", (50, 60) * u.deg)
        state.set_bounds("r0", (1000, 4000))
        assert state.session.bounds["r0"] == (1000, 4000)
        assert state.session.bounds["phi0"] == pytest.approx(tuple(np.radians([50, 60])))

    def test_a_value_outside_is_refused(self, state, everything, refused):
        state.set_bounds("r0", (2000, 3000))
        before = everything(state)
        for value in (1999.9, 3000.1):
            with refused("r0"):
                state.set_value("r0", value)
        assert everything(state) == before
        for value in (2000, 3000):
            state.set_value("r0", value)

    @pytest.mark.parametrize(
        ("name", "bounds", "error", "argument"),
        [
            ("r0", (3000, 2000), ValueError, r"param_bounds\['r0'\]"),
            ("r0", (2000, 2000), ValueError, r"param_bounds\['r0'\]"),
            ("r0", (2000, np.inf), ValueError, r"param_bounds\['r0'\]"),
            ("r0", (np.nan, 3000), ValueError, r"param_bounds\['r0'\]"),
            ("r0", (2000, 3000, 4000), ValueError, r"param_bounds\['r0'\]"),
            ("r0", 2000, ValueError, r"param_bounds\['r0'\]"),
            ("r0", (-1, 3000), ValueError, r"param_bounds\['r0'\]"),
            ("r0", (2000, 3000) * u.K, u.UnitsError, r"param_bounds\['r0'\]"),
            ("theta0", (10, 200) * u.deg, ValueError, r"param_bounds\['theta0'\]"),
            ("r0", (2800, 3000), ValueError, "r0"),
            ("rc", (10, 200), ValueError, "parameter"),
        ],
    )
    def test_what_is_refused_leaves_everything_as_it_was(self, state, everything, refused, name, bounds, error, argument):
        state.set_bounds("r0", (2600, 2900))
        before = everything(state)
        with refused(argument, error):
            state.set_bounds(name, bounds)
        assert everything(state) == before

    def test_of_a_fixed_parameter_wait_and_come_back(self, state):
        state.set_bounds("mass", (2, 6))
        assert state.session.split()[2] == {}
        assert state.session.fit_keywords()["param_bounds"] == {}
        state.set_free("mass")
        assert state.session.split()[2] == {"mass": (2, 6)}
        state.set_free("mass", False)
        assert state.session.fit_keywords()["param_bounds"] == {}
        assert state.session.bounds == {"mass": (2, 6)}

    def test_of_a_periodic_parameter(self, state, refused):
        state.set_value("pa", -166 * u.deg)
        state.set_bounds("pa", (-200, -150) * u.deg)
        with refused("pa"):
            state.set_value("pa", -140 * u.deg)
        state.set_value("pa", -160 * u.deg)
        assert u.isclose(state.parameters["pa"], 200 * u.deg)

    def test_of_a_periodic_parameter_hold_a_turn_later_too(self, state):
        state.set_value("pa", -166 * u.deg)
        state.set_bounds("pa", (-200, -150) * u.deg)
        state.parameters = state.parameters
        state.set_value("pa", 195 * u.deg)
        parse_bounds(state.session.bounds, state.session.values)


class TestPriors:
    def test_set_and_removed(self, state):
        loss = state.comparison.loss
        state.set_prior("r0", (0.01, 0.001) * u.pc)
        pull = ((2700 * u.au - 0.01 * u.pc) / (0.001 * u.pc)).to_value(1)
        assert state.comparison.loss == pytest.approx(loss + pull**2, rel=1e-9)
        assert state.comparison.parts[3] == pytest.approx(pull**2)
        state.set_prior("r0", (2650, 25))
        assert state.comparison.parts[3] == pytest.approx(4)
        state.set_prior("r0", None)
        assert state.comparison.loss == pytest.approx(loss, rel=1e-12)
        assert state.session.priors == {}

    def test_follows_the_value(self, state):
        state.set_prior("r0", (2500, 100))
        for value in (2500, 2600, 2450):
            state.set_value("r0", value)
            assert state.comparison.parts[3] == pytest.approx(((value - 2500) / 100) ** 2)

    def test_of_a_periodic_parameter(self, state):
        state.set_value("phi0", 355 * u.deg)
        state.set_prior("phi0", (5, 5) * u.deg)
        assert state.comparison.parts[3] == pytest.approx(4)

    def test_of_a_fixed_parameter_wait_and_come_back(self, state):
        loss = state.comparison.loss
        state.set_prior("mass", (3, 0.5))
        assert state.comparison.loss == pytest.approx(loss, rel=1e-12)
        assert state.session.fit_keywords()["priors"] == {}
        state.set_free("mass")
        assert state.comparison.loss == pytest.approx(loss + 4)
        assert state.session.fit_keywords()["priors"] == {"mass": (3, 0.5)}
        state.set_free("mass", False)
        assert state.comparison.loss == pytest.approx(loss, rel=1e-12)
        assert state.session.priors == {"mass": (3, 0.5)}

    @pytest.mark.parametrize("prior", [(2500, 0), (2500, -1), (np.nan, 100), (np.inf, 100), 2500, (1, 2, 3)])
    def test_what_is_refused_leaves_everything_as_it_was(self, state, everything, refused, prior):
        state.set_prior("r0", (2500, 100))
        before = everything(state)
        with refused(r"priors\['r0'\]"):
            state.set_prior("r0", prior)
        assert everything(state) == before

    def test_a_prior_that_says_nothing(self, state, refused):
        with refused(r"priors\['r0'\]"):
            state.set_prior("r0", (2500, np.inf))
