"""The table of parameters, and the ways in and out of internal units."""

import dataclasses
import inspect
import math
import re

import numpy as np
import pytest
from astropy import units as u
from hypothesis import given, settings
from hypothesis import strategies as st

from sting.core import sky
from sting.core.likelihood import MODEL_PARAMETERS
from sting.parameters import (
    PARAMETERS,
    check_distance,
    check_parameters,
    parse_bounds,
    parse_priors,
    to_internal,
    to_quantity,
)
from sting.stream_lines_grad import streamline

KMS = u.km / u.s

#: The one form of every refusal: the argument, the rule, what was given, what to do.
FORM = re.compile(r"""^('[^']+'|"[^"]+") must [^;]+; got .+[.?]$""", re.DOTALL)

FIXED = {
    "r0": 2800 * u.au,
    "theta0": 52 * u.deg,
    "phi0": 60 * u.deg,
    "v_r0": 0.3 * KMS,
    "rc": 100 * u.au,
    "mass": 4.0 * u.Msun,
    "inc": -45 * u.deg,
    "pa": 194 * u.deg,
}

LENGTHS = (u.au, u.pc, u.km, u.m, u.R_sun)
ANGLES = (u.deg, u.rad, u.arcmin, u.arcsec, u.hourangle)
SPEEDS = (KMS, u.m / u.s, u.au / u.yr)
EQUIVALENT_UNITS = {
    "r0": LENGTHS,
    "theta0": ANGLES,
    "phi0": ANGLES,
    "v_r0": SPEEDS,
    "mu": (u.dimensionless_unscaled, u.percent, u.km / u.m),
    "mass": (u.Msun, u.kg, u.M_jup),
    "inc": ANGLES,
    "pa": ANGLES,
    "rmin": LENGTHS,
    "v_lsr": SPEEDS,
    "rc": LENGTHS,
    "omega": (1 / u.s, 1 / u.yr, u.Hz),
    "deltar": LENGTHS,
}

#: Start values of free parameters, internal.
FREE = {"r0": 2800.0, "theta0": 1.0, "phi0": 1.0, "v_r0": 0.0, "omega": 5e-13, "inc": -0.7, "v_lsr": 7.5}


def fixed(**changes):
    """The fixed parameters above with changes; a value of ``...`` takes the parameter out."""
    return {name: value for name, value in (FIXED | changes).items() if value is not ...}


class TestTable:
    def test_is_the_models_signature(self):
        in_the_model = tuple(name for name in PARAMETERS if name not in ("rc", "omega", "deltar"))
        signature = tuple(name for name in inspect.signature(sky.make_path).parameters if name != "distance")
        assert in_the_model == MODEL_PARAMETERS == signature

    def test_has_the_names_of_the_design(self):
        assert set(PARAMETERS) == set(EQUIVALENT_UNITS)

    @pytest.mark.parametrize("p", PARAMETERS.values(), ids=PARAMETERS)
    def test_entry(self, p):
        assert PARAMETERS[p.name] is p
        assert p.unit.is_equivalent(p.display_unit)
        assert p.lower < p.upper
        assert p.label
        assert p.tex.startswith("$")
        assert p.tex.endswith("$")
        assert p.description
        assert not p.description.endswith(".")
        low, high, step = p.slider
        assert low < high
        assert 0 < step <= (high - low) / 10
        to_internal = p.display_unit.to(p.unit)
        assert p.lower - 1e-12 <= low * to_internal
        assert high * to_internal <= p.upper + 1e-12
        assert p.default is None or p.holds(p.default)
        assert p.scale is None or p.scale > 0

    def test_cannot_be_changed(self):
        with pytest.raises(dataclasses.FrozenInstanceError):
            PARAMETERS["r0"].lower = -1.0

    @pytest.mark.parametrize(
        ("name", "inside", "outside"),
        [
            ("r0", [1e-3, 1e6], [0, -1]),
            ("theta0", [1e-9, math.pi - 1e-9], [0, math.pi, -0.1, 4]),
            ("phi0", [-10, 0, 100], []),
            ("v_r0", [0, 5], [-1e-9]),
            ("mu", [1e-9, 0.999], [0, 1, 1.5]),
            ("mass", [0.01], [0, -1]),
            ("inc", [-1.57, 0, 1.57], [-math.pi / 2, math.pi / 2]),
            ("pa", [-10, 0, 100], []),
            ("rmin", [0, 100], [-1]),
            ("v_lsr", [-1e3, 0, 1e3], []),
            ("rc", [1e-3], [0]),
            ("omega", [1e-20], [0, -1e-13]),
            ("deltar", [1e-3], [0]),
        ],
    )
    def test_support(self, name, inside, outside):
        p = PARAMETERS[name]
        assert [value for value in inside if not p.holds(value)] == []
        assert [value for value in [*outside, math.nan, math.inf, -math.inf] if p.holds(value)] == []

    @pytest.mark.parametrize(
        ("name", "rule"),
        [
            ("r0", "be positive"),
            ("theta0", "lie between 0 and 180 deg"),
            ("phi0", "be finite"),
            ("v_r0", "be at least 0 km / s"),
            ("mu", "lie between 0 and 1"),
            ("inc", "lie between -90 and 90 deg"),
            ("rmin", "be at least 0 AU"),
            ("v_lsr", "be finite"),
        ],
    )
    def test_rule_in_words(self, name, rule):
        assert PARAMETERS[name].rule == rule

    @pytest.mark.parametrize("name", ["rmin", "v_lsr", "deltar"])
    def test_what_may_be_left_out(self, name):
        assert PARAMETERS[name].default is not None

    def test_nothing_else_may_be_left_out(self):
        assert {name for name, p in PARAMETERS.items() if p.default is not None} == {"rmin", "v_lsr", "deltar"}


class TestUnits:
    @pytest.mark.parametrize(
        ("name", "unit"), [(name, unit) for name, units in EQUIVALENT_UNITS.items() for unit in units], ids=str
    )
    @settings(max_examples=20)
    @given(data=st.data())
    def test_round_trip(self, name, unit, data):
        p = PARAMETERS[name]
        low, high, _ = p.slider
        value = data.draw(st.floats(low, high)) * p.display_unit
        internal = to_internal(name, value.to(unit))
        assert isinstance(internal, float)
        assert internal == pytest.approx(value.to_value(p.unit), rel=1e-12, abs=1e-12 * high * p.display_unit.to(p.unit))
        back = to_quantity(name, internal)
        assert back.unit == p.display_unit
        difference = (back - value).value
        if p.period:
            period = p.period * p.unit.to(p.display_unit)
            assert 0 <= back.value < period
            difference = (difference + period / 2) % period - period / 2
        assert abs(difference) <= 1e-12 * high

    @pytest.mark.parametrize("name", PARAMETERS)
    def test_bare_numbers_are_internal(self, name):
        for number in (1, 1.0, np.float32(1), np.int64(1), np.array(1.0)):
            assert to_internal(name, number) == 1.0
        assert to_internal(name, 1 * PARAMETERS[name].unit) == 1.0

    def test_bare_angles_are_radians(self):
        assert to_internal("theta0", 1.0) == 1.0
        assert to_quantity("theta0", 1.0).to_value(u.deg) == pytest.approx(57.29577951308232, rel=1e-15)

    def test_bare_omega_is_per_second(self):
        assert to_internal("omega", 5e-13) == 5e-13

    def test_rmin_may_be_none(self):
        assert to_internal("rmin", None) == 0.0
        assert check_parameters({}, fixed(rmin=None))[1]["rmin"] == 0.0

    def test_arrays_come_back_as_arrays(self):
        angles = to_quantity("pa", np.array([-math.pi / 2, 0.0, 3 * math.pi]))
        np.testing.assert_allclose(angles.to_value(u.deg), [270, 0, 180], atol=1e-12)

    def test_what_is_not_periodic_is_not_wrapped(self):
        assert to_quantity("inc", -1.0).to_value(u.rad) == pytest.approx(-1.0)
        assert to_quantity("v_lsr", -7.5) == -7.5 * KMS


class TestCheckParameters:
    def test_returns_internal_floats_with_defaults(self):
        start = {"r0": 0.01 * u.pc, "theta0": 30 * u.deg}
        free, rest = check_parameters(start, {name: FIXED[name] for name in FIXED if name not in start})
        assert free == {"r0": pytest.approx(2062.648062470964), "theta0": pytest.approx(math.pi / 6)}
        assert rest == {
            "phi0": pytest.approx(math.pi / 3),
            "v_r0": pytest.approx(0.3),
            "rc": 100.0,
            "mass": 4.0,
            "inc": pytest.approx(-math.pi / 4),
            "pa": pytest.approx(np.deg2rad(194)),
            "rmin": 0.0,
            "v_lsr": 0.0,
            "deltar": 10.0,
        }
        assert list(free) == ["r0", "theta0"]

    def test_keeps_what_is_given_instead_of_defaults(self):
        _, rest = check_parameters({}, fixed(rmin=50, v_lsr=7.5 * KMS, deltar=30 * u.au))
        assert (rest["rmin"], rest["v_lsr"], rest["deltar"]) == (50.0, 7.5, 30.0)

    @pytest.mark.parametrize("name", ["rmin", "v_lsr"])
    def test_what_may_be_left_out_may_be_free(self, name):
        free, rest = check_parameters({name: 10.0}, FIXED)
        assert free == {name: 10.0}
        assert name not in rest

    def test_does_not_change_what_it_is_given(self):
        start, rest = {"r0": 2000 * u.au}, fixed(r0=...)
        copies = dict(start), dict(rest)
        check_parameters(start, rest)
        assert (start, rest) == copies

    @pytest.mark.parametrize("rotation", [{"rc": 100 * u.au}, {"omega": 5e-13 / u.s}, {"mu": 0.3}])
    def test_each_way_to_state_the_rotation(self, rotation):
        name = next(iter(rotation))
        assert name in check_parameters({}, fixed(rc=...) | rotation)[1]
        assert name in check_parameters(rotation, fixed(rc=...))[0]

    def test_mu_just_below_one_is_accepted(self):
        assert check_parameters({}, fixed(rc=2799 * u.au))[1]["rc"] == 2799.0


class TestBoundsAndPriors:
    @pytest.mark.parametrize("nothing", [None, {}])
    def test_none_is_no_entry(self, nothing):
        assert parse_bounds(nothing, FREE) == parse_priors(nothing, FREE) == {}

    @pytest.mark.parametrize(
        "pair",
        [
            (200, 10000) * u.au,
            (200, 10000),
            [200.0, 10000.0],
            (200 * u.au, 10000 * u.au),
            np.array([200, 10000]),
            ((200 * u.au).to(u.pc), 10000 * u.au),
        ],
    )
    def test_ways_to_write_a_pair(self, pair):
        assert parse_bounds({"r0": pair}, FREE) == {"r0": pytest.approx((200, 10000), rel=1e-14)}
        assert parse_priors({"r0": pair}, FREE) == {"r0": pytest.approx((200, 10000), rel=1e-14)}

    @pytest.mark.parametrize(
        ("name", "pair"),
        [
            ("theta0", (0, 180) * u.deg),
            ("inc", (-90, 90) * u.deg),
            ("v_r0", (0, 2) * KMS),
            ("phi0", (-90, 270) * u.deg),
            ("v_lsr", (-10, 10) * KMS),
            ("omega", (1e-13, 1e-12) / u.s),
        ],
    )
    def test_bounds_up_to_the_ends_of_the_support(self, name, pair):
        assert set(parse_bounds({name: pair}, FREE)) == {name}

    def test_bounds_may_touch_the_start(self):
        assert parse_bounds({"r0": (2800, 3000)}, FREE) == {"r0": (2800.0, 3000.0)}

    @pytest.mark.parametrize("free", ["omega", "rc", "mu"])
    @pytest.mark.parametrize("named", ["omega", "rc", "mu"])
    def test_priors_on_the_rotation_however_it_is_stated(self, free, named):
        assert parse_priors({named: (1.0, 0.5)}, {free: 0.1}) == {named: (1.0, 0.5)}

    def test_a_prior_in_other_units(self):
        found = parse_priors({"inc": (-45, 10) * u.deg}, FREE)
        assert found["inc"] == pytest.approx((-math.pi / 4, math.pi / 18))


class TestDistance:
    @pytest.mark.parametrize("distance", [293, 293.0, np.float64(293), 293 * u.pc, 0.293 * u.kpc, np.array(293.0)])
    def test_in_pc(self, distance):
        found = check_distance(distance)
        assert isinstance(found, float)
        assert found == pytest.approx(293.0, rel=1e-14)


def _params(**changes):
    return lambda: check_parameters({}, fixed(**changes))


def _bounds(**entries):
    return lambda: parse_bounds(entries, FREE)


def _priors(**entries):
    return lambda: parse_priors(entries, FREE)


def _distance(value):
    return lambda: check_distance(value)


#: What is done, the error, and what its message must say.
REFUSALS = {
    # names
    "unknown parameter": (_params(theta=1.0), ValueError, r"'fixed_params' .*'theta'\. Did you mean 'theta0'\?"),
    "unknown free parameter": (
        lambda: check_parameters({"v_r": 1.0}, FIXED),
        ValueError,
        r"'initial_opt_params' .*'v_r'\. Did you mean 'v_r0'\?",
    ),
    "nothing near": (_params(xyzzy=1.0), ValueError, r"'xyzzy'\. Known are r0, theta0, .*deltar\."),
    "unknown, one by one": (lambda: to_internal("R0", 1.0), ValueError, r"'R0'\. Did you mean 'r0'\?"),
    "not a dict": (lambda: check_parameters([1, 2], FIXED), TypeError, r"'initial_opt_params' must be a dict"),
    "fixed not a dict": (lambda: check_parameters({}, None), TypeError, r"'fixed_params' must be a dict"),
    "missing": (_params(mass=...), ValueError, r"^'mass' must be given; got nothing\. Add it \(central mass\)"),
    "all missing": (lambda: check_parameters({}, {"rc": 10.0}), ValueError, r"^'r0' must be given"),
    "free and fixed": (
        lambda: check_parameters({"r0": 1000.0}, FIXED),
        ValueError,
        r"^'r0' must be either free or fixed; got both\.",
    ),
    "deltar free": (lambda: check_parameters({"deltar": 10.0}, FIXED), ValueError, r"^'deltar' must not be optimised"),
    # rotation
    "rc and omega": (_params(omega=5e-13 / u.s), ValueError, r"exactly one of them; got 'rc' and 'omega'"),
    "rc free and omega fixed": (
        lambda: check_parameters({"rc": 100.0}, fixed(rc=...) | {"omega": 5e-13}),
        ValueError,
        r"exactly one of them; got 'rc' and 'omega'",
    ),
    "mu and rc": (_params(mu=0.1), ValueError, r"exactly one of them; got 'mu' and 'rc'"),
    "no rotation": (_params(rc=...), ValueError, r"exactly one of them; got none of them"),
    "mu above 1 by mu": (_params(rc=..., mu=1.2), ValueError, r"^'mu' must lie between 0 and 1; got 1\.2"),
    "mu of 1": (_params(rc=..., mu=1.0), ValueError, r"^'mu' must lie between 0 and 1; got 1"),
    "mu too near to 1": (_params(rc=..., mu=1 - 1e-8), ValueError, r"^'mu' must leave .* inside r0"),
    "mu above 1 by rc": (_params(rc=3000 * u.au), ValueError, r"^'rc' must leave .* inside r0 .*got mu = 1\.071"),
    "mu above 1 by omega": (
        _params(rc=..., omega=3e-12 / u.s),
        ValueError,
        r"^'omega' must leave .* inside r0 .*got mu = 1\.2",
    ),
    # values
    "wrong unit": (_params(r0=3 * u.K), u.UnitsError, r"^'r0' must have a unit convertible to AU; got 3\.0 K"),
    "angle without angle": (_params(inc=3 * u.km), u.UnitsError, r"^'inc' must have a unit convertible to rad"),
    "mu with a unit": (_params(rc=..., mu=1 * u.au), u.UnitsError, r"^'mu' .* convertible to a pure number"),
    "omega in degrees": (_params(rc=..., omega=1 * u.deg), u.UnitsError, r"^'omega' .* convertible to 1 / s"),
    "text": (_params(r0="far"), TypeError, r"^'r0' must be a number or a Quantity; got 'far'\. Write for example"),
    "complex": (_params(r0=1j), TypeError, r"^'r0' must be a number or a Quantity; got 1j"),
    "None": (_params(r0=None), ValueError, r"^'r0' must be one finite number; got None"),
    "list": (_params(r0=[1000, 2000]), ValueError, r"^'r0' must be one finite number; got \[1000, 2000\]"),
    "array of one": (_params(r0=[1000] * u.au), ValueError, r"^'r0' must be one finite number; got \[1000\.\] AU"),
    "NaN": (_params(mass=np.nan), ValueError, r"^'mass' must be one finite number; got nan"),
    "NaN with a unit": (_params(mass=np.nan * u.Msun), ValueError, r"^'mass' must be one finite number; got nan"),
    "infinite": (_params(v_lsr=-np.inf), ValueError, r"^'v_lsr' must be one finite number; got -inf"),
    # support
    "r0 zero": (_params(r0=0 * u.au), ValueError, r"^'r0' must be positive; got 0 AU"),
    "r0 negative": (_params(r0=-5), ValueError, r"^'r0' must be positive; got -5 AU"),
    "theta0 zero": (_params(theta0=0 * u.deg), ValueError, r"^'theta0' must lie between 0 and 180 deg; got 0 deg"),
    "theta0 180": (_params(theta0=180 * u.deg), ValueError, r"^'theta0' must lie between 0 and 180 deg; got 180"),
    "theta0 beyond": (_params(theta0=200 * u.deg), ValueError, r"^'theta0' must .* got 200 deg\. It is the polar"),
    "v_r0 negative": (_params(v_r0=-0.1 * KMS), ValueError, r"^'v_r0' must be at least 0 km / s; got -0\.1 km / s"),
    "mass zero": (_params(mass=0), ValueError, r"^'mass' must be positive; got 0 solMass"),
    "inc 90": (_params(inc=90 * u.deg), ValueError, r"^'inc' must lie between -90 and 90 deg; got 90 deg"),
    "inc beyond": (_params(inc=-91 * u.deg), ValueError, r"^'inc' must lie between -90 and 90 deg; got -91 deg"),
    "rmin negative": (_params(rmin=-1), ValueError, r"^'rmin' must be at least 0 AU; got -1 AU"),
    "rc zero": (_params(rc=0), ValueError, r"^'rc' must be positive; got 0 AU"),
    "omega negative": (_params(rc=..., omega=-5e-13), ValueError, r"^'omega' must be positive; got -5e-13 1 / s"),
    "mu zero": (_params(rc=..., mu=0), ValueError, r"^'mu' must lie between 0 and 1; got 0"),
    "deltar zero": (_params(deltar=0 * u.au), ValueError, r"^'deltar' must be positive; got 0 AU"),
    "free outside": (
        lambda: check_parameters({"r0": -1.0}, fixed(r0=...)),
        ValueError,
        r"^'r0' must be positive; got -1 AU",
    ),
    # bounds
    "bounds not a dict": (lambda: parse_bounds([1, 2], FREE), TypeError, r"^'param_bounds' must be a dict"),
    "bounds unknown": (_bounds(rr0=(1, 2)), ValueError, r"^'param_bounds' .*got 'rr0'\. Did you mean 'r0'\?"),
    "bounds fixed": (_bounds(mass=(1, 2)), ValueError, r"^'param_bounds' must name free parameters only; got 'mass'"),
    "bounds scalar": (_bounds(r0=1000 * u.au), ValueError, r"param_bounds\['r0'\].* must be two numbers; got 1000"),
    "bounds of three": (_bounds(r0=(1, 2, 3) * u.au), ValueError, r"param_bounds\['r0'\].* must be two numbers"),
    "bounds half": (_bounds(r0=(1000, None)), ValueError, r"param_bounds\['r0'\].* must be two numbers"),
    "bounds NaN": (_bounds(r0=(np.nan, 4000)), ValueError, r"param_bounds\['r0'\].* must be two numbers"),
    "bounds text": (_bounds(r0="wide"), TypeError, r"param_bounds\['r0'\].* must be a number or a Quantity"),
    "bounds swapped": (_bounds(r0=(4000, 200) * u.au), ValueError, r"lower < upper; got \(4000, 200\) AU\. Swap"),
    "bounds equal": (_bounds(r0=(2800, 2800) * u.au), ValueError, r"lower < upper"),
    "bounds infinite": (_bounds(r0=(200, np.inf)), ValueError, r"must be finite .*got \(200, inf\) AU"),
    "bounds outside": (_bounds(r0=(-5, 4000)), ValueError, r"within the support \(r0 must be positive\); got \(-5"),
    "bounds above": (_bounds(theta0=(10, 190) * u.deg), ValueError, r"within the support .*got \(10, 190\) deg"),
    "bounds wrong unit": (_bounds(r0=(1, 2) * u.K), u.UnitsError, r"param_bounds\['r0'\].* convertible to AU"),
    "bounds mixed units": (_bounds(r0=(1 * u.au, 2 * u.K)), u.UnitsError, r"param_bounds\['r0'\].* convertible to AU"),
    "bounds without the start": (
        _bounds(r0=(200, 2000) * u.au),
        ValueError,
        r"^'r0' must start within its bounds; got 2800 AU with bounds \(200, 2000\) AU",
    ),
    "bounds on the other rotation": (
        _bounds(rc=(10, 200) * u.au),
        ValueError,
        r"param_bounds\['rc'\].* rotation parameter that is free; got 'rc'\. Bound 'omega' instead",
    ),
    # priors
    "priors not a dict": (lambda: parse_priors(3, FREE), TypeError, r"^'priors' must be a dict"),
    "prior unknown": (_priors(theta=(1, 2)), ValueError, r"^'priors' .*got 'theta'\. Did you mean 'theta0'\?"),
    "prior fixed": (_priors(mass=(4, 1) * u.Msun), ValueError, r"^'priors' must name free parameters only; got 'mass'"),
    "prior rotation fixed": (
        lambda: parse_priors({"rc": (100, 10)}, {"r0": 2800.0}),
        ValueError,
        r"^'priors' must name free parameters only; got 'rc'",
    ),
    "prior sigma zero": (_priors(r0=(1000, 0) * u.au), ValueError, r"priors\['r0'\].* positive sigma; got \(1000"),
    "prior sigma negative": (_priors(r0=(1000, -5) * u.au), ValueError, r"priors\['r0'\].* positive sigma"),
    "prior mean infinite": (_priors(r0=(np.inf, 5)), ValueError, r"priors\['r0'\].* finite mean"),
    "prior NaN": (_priors(r0=(np.nan, 5)), ValueError, r"priors\['r0'\].* must be two numbers"),
    "prior scalar": (_priors(r0=5 * u.au), ValueError, r"priors\['r0'\].* must be two numbers"),
    "prior of three": (_priors(r0=[1, 2, 3]), ValueError, r"priors\['r0'\].* must be two numbers"),
    "prior wrong unit": (_priors(r0=(1000, 100) * u.s), u.UnitsError, r"priors\['r0'\].* convertible to AU"),
    # distance
    "distance negative": (_distance(-3), ValueError, r"^'distance' must be positive and finite; got -3"),
    "distance zero": (_distance(0 * u.pc), ValueError, r"^'distance' must be positive and finite; got 0"),
    "distance NaN": (_distance(np.nan), ValueError, r"^'distance' must be positive and finite; got nan"),
    "distance infinite": (_distance(np.inf * u.kpc), ValueError, r"^'distance' must be positive and finite; got inf"),
    "distance wrong unit": (_distance(3 * u.mas), TypeError, r"^'distance' must be a length; got <Quantity 3"),
    "distance text": (_distance("near"), TypeError, r"^'distance' must be a length; got 'near'"),
    "distance None": (_distance(None), TypeError, r"^'distance' must be a length; got None"),
    "distances": (_distance([100, 200]), TypeError, r"^'distance' must be a length; got \[100, 200\]"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals(case):
    act, error, message = REFUSALS[case]
    with pytest.raises(error, match=re.compile(message, re.DOTALL)) as caught:
        act()
    assert FORM.match(str(caught.value))


def test_the_form_can_fail():
    assert not FORM.match("r0 must be positive; got 3. Raise it.")
    assert not FORM.match("'r0' must be positive, got 3. Raise it.")
    assert not FORM.match("'r0' must be positive; got 3")


def test_the_front_door_refuses_likewise():
    with pytest.raises(ValueError, match=r"^'r0' must be positive; got -5 AU\."):
        streamline(fixed(r0=-5 * u.au), distance=100)


class TestDegreesWithoutAUnit:
    @pytest.mark.parametrize(("name", "value"), [("pa", 194), ("inc", -45), ("theta0", 52.0), ("phi0", 361)])
    def test_are_refused(self, name, value):
        words = f"'{name}' must be in radians if it has no unit; got {value}. Write {value} \\* u.deg if it is in degrees"
        with pytest.raises(ValueError, match=words):
            to_internal(name, value)

    @pytest.mark.parametrize("value", [0, -3.1, 2 * np.pi, 16])
    def test_radians_are_taken(self, value):
        assert to_internal("pa", value) == value

    def test_in_priors_and_bounds(self):
        with pytest.raises(ValueError, match="must be in radians if it has no unit"):
            parse_priors({"pa": (194, 5)}, ["pa"])
