"""What sliders and text boxes show for a number, and back."""

import numpy as np
import pytest
from astropy import units as u
from hypothesis import given, settings
from hypothesis import strategies as st

from sting.explorer.scales import Scale, scale_of, shown, shown_pair, typed, typed_limit, typed_number, typed_pair, unit_words
from sting.parameters import PARAMETERS

SCALES = [Scale(0.0, 180.0, 360), Scale(100.0, 20000.0, 500), Scale(-90.0, 90.0, 360), Scale(1e-15, 1e-11, 500)]


@pytest.mark.parametrize("scale", SCALES)
def test_every_position_is_its_own(scale):
    assert [scale.position(scale.value(k)) for k in range(scale.n + 1)] == list(range(scale.n + 1))
    assert scale.value(0) == pytest.approx(scale.low)
    assert scale.value(scale.n) == pytest.approx(scale.high)


@pytest.mark.parametrize("scale", SCALES)
@given(fraction=st.floats(0, 1))
@settings(deadline=None)
def test_the_nearest_position_is_half_a_step_away_at_most(scale, fraction):
    value = scale.low + fraction * (scale.high - scale.low)
    k = scale.position(value)
    if scale.logarithmic:
        step = np.log(scale.high / scale.low) / scale.n
        assert abs(np.log(scale.value(k) / value)) <= 0.501 * step
    else:
        assert abs(scale.value(k) - value) <= 0.501 * (scale.high - scale.low) / scale.n


@pytest.mark.parametrize("scale", SCALES)
def test_what_lies_outside_sits_on_the_edge(scale):
    assert scale.position(scale.low - 1) == 0
    assert scale.position(2 * scale.high + 1) == scale.n


@pytest.mark.parametrize("name", [n for n in PARAMETERS if n != "deltar"])
def test_ranges_are_those_of_the_table(name):
    low, high, _ = PARAMETERS[name].slider
    scale = scale_of(name, (low + high) / 2)
    assert (scale.low, scale.high) == (low, high)
    assert scale.logarithmic == (low > 0 and high / low >= 100)


def test_a_range_widens_for_its_value():
    assert scale_of("r0", 50000.0).high == pytest.approx(60000)
    assert scale_of("mass", 0.01).low == pytest.approx(0.008)
    # but not beyond the support
    assert scale_of("v_r0", 40.0).low == 0
    assert scale_of("v_lsr", -300.0).low == pytest.approx(-360)


def test_bounds_and_spans_take_its_place():
    assert (scale_of("r0", 2000.0, (1000.0, 3000.0)).low, scale_of("r0", 2000.0, (1000.0, 3000.0)).high) == (1000, 3000)
    assert scale_of("v_lsr", 7.0, None, (5.0, 9.0)).high == 9


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("r0", "2800", 2800 * u.au),
        ("r0", " 0.01 pc", 0.01 * u.pc),
        ("theta0", "52", 52 * u.deg),
        ("theta0", "1 rad", 1 * u.rad),
        ("omega", "5e-13", 5e-13 / u.s),
        ("mu", "0.3", 0.3 * u.dimensionless_unscaled),
    ],
)
def test_typed(name, text, expected):
    value = typed(name, text)
    assert value.unit == expected.unit
    assert value.value == expected.value


@pytest.mark.parametrize("text", ["", "far", "10 foo"])
def test_typed_nonsense(text):
    with pytest.raises(ValueError, match=r"^'r0' must be a number \(AU\)"):
        typed("r0", text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10, 20", (10, 20)),
        ("10;20", (10, 20)),
        ("10 +- 20", (10, 20)),
        ("10 ± 20", (10, 20)),
        ("10 to 20", (10, 20)),
        ("10 .. 20", (10, 20)),
        ("-10, -5", (-10, -5)),
        ("1e1, 2e+1", (10, 20)),
    ],
)
def test_typed_pairs(text, expected):
    np.testing.assert_allclose(typed_pair("v_lsr", text).to_value(u.km / u.s), expected)


def test_typed_pairs_with_units():
    np.testing.assert_allclose(typed_pair("mass", "4 +- 0.5 Msun").to_value(u.Msun), (4, 0.5))
    np.testing.assert_allclose(typed_pair("r0", "0.01 pc, 0.02 pc").to_value(u.pc), (0.01, 0.02))
    np.testing.assert_allclose(typed_pair("phi0", "1, 2 rad").to_value(u.rad), (1, 2))


@pytest.mark.parametrize("text", ["7", "1, 2, 3", "a, b"])
def test_typed_pairs_of_nonsense(text):
    with pytest.raises(ValueError, match=r"^'r0' must be"):
        typed_pair("r0", text)


def test_nothing_typed_is_none():
    assert typed_pair("r0", " ") is None
    assert typed_limit("", u.km / u.s) is None
    assert typed_number("rms_thresh", " ") is None


def test_limits_and_numbers():
    assert typed_limit("6.5", u.km / u.s) == 6.5 * u.km / u.s
    assert typed_limit("6500 m/s", u.km / u.s) == 6500 * u.m / u.s
    assert typed_number("rms_thresh", "4.5") == 4.5
    with pytest.raises(ValueError, match=r"^'limit' must be empty or a number"):
        typed_limit("fast", u.km / u.s)
    with pytest.raises(ValueError, match=r"^'rms_thresh' must be empty or a number"):
        typed_number("rms_thresh", "many")


def test_shown():
    assert shown("theta0", np.radians(52)) == "52"
    assert shown("pa", np.radians(-90)) == "270"
    assert shown_pair("phi0", np.radians((10, 20)), ", ") == "10, 20"
    assert shown_pair("r0", None, ", ") == ""
    assert [unit_words(u.Unit(text)) for text in ("Msun", "AU", "1/s", "km/s", "deg")] == ["Msun", "au", "1/s", "km/s", "deg"]
