"""The way from optimiser coordinates to parameters and back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy import constants
from astropy import units as u
from hypothesis import given, settings
from hypothesis import strategies as st

from sting.core.transforms import START_MARGIN, mu_from, omega_from, project, to_coordinates, to_parameters, wrap

#: One parameter of each kind: between bounds, bounded below, bounded above, free (v_lsr or an angle).
BOUNDS = {
    "offset": np.array([-2.0, 100.0, -5.0, 0.0]),
    "scale": np.array([5.0, 3000.0, 0.5, 2 * np.pi]),
    "has_lower": np.array([1.0, 1.0, 0.0, 0.0]),
    "has_upper": np.array([1.0, 0.0, 1.0, 0.0]),
    "projected": np.ones(4),
    "inset": np.zeros(4),
}
LOWER = np.array([-2.0, 100.0, -np.inf, -np.inf])
UPPER = np.array([3.0, np.inf, -4.5, np.inf])

parameters_of = jax.jit(to_parameters)
coordinates_of = jax.jit(to_coordinates)
slopes_of = jax.jit(lambda x, support: jax.vmap(jax.grad(lambda *a: to_parameters(*a)))(x, support))


@pytest.fixture(params=[1.0, 1e2, 1e4], ids="sharpness={:g}".format, scope="module")
def support(request):
    return BOUNDS | {"sharpness": np.full(4, request.param)}


inside = st.floats(0, 1)
# XLA flushes subnormal numbers to zero
vectors = st.tuples(*[st.floats(-1e9, 1e9, allow_subnormal=False)] * 4).map(np.array)


def values_at(fractions):
    """Values in the support: a fraction of the range, or of four scales from the bound there is."""
    far = np.array([1.0, 4.0, -4.0, 4.0])
    start = np.array([0.0, 0.0, 1.0, -2.0])
    return BOUNDS["offset"] + BOUNDS["scale"] * (start + far * np.asarray(fractions))


@given(fractions=st.tuples(inside, inside, inside, inside))
@settings(deadline=None)
def test_coordinates_are_the_inverse(support, fractions):
    values = values_at(fractions)
    found = parameters_of(coordinates_of(values, support), support)
    margin = START_MARGIN * support["scale"]
    expected = np.clip(values, LOWER + margin, UPPER - margin)  # a value on a bound is first moved inside
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13 * support["scale"].max())


@given(x=st.tuples(*[st.floats(-0.05, 1.05)] * 4).map(np.array))
@settings(deadline=None)
def test_parameters_are_the_inverse(support, x):
    values = np.asarray(parameters_of(x, support))
    y = (values - support["offset"]) / support["scale"]
    clear = ~((support["has_lower"] > 0) & (y < START_MARGIN)) & ~((support["has_upper"] > 0) & (1 - y < START_MARGIN))
    # where the slope is small, rounding of the value is magnified
    np.testing.assert_allclose(np.asarray(coordinates_of(values, support))[clear], x[clear], rtol=0, atol=1e-9)


@given(x=vectors)
@settings(deadline=None)
def test_every_coordinate_is_a_legal_parameter(support, x):
    values = np.asarray(parameters_of(x, support))
    assert np.isfinite(values).all()
    rounding = 4e-16 * (np.abs(support["offset"]) + support["scale"] * np.maximum(np.abs(x), 1))
    assert (values >= LOWER - rounding).all()
    assert (values <= UPPER + rounding).all()


@given(x=vectors, step=st.floats(1e-6, 10))
@settings(deadline=None)
def test_parameters_grow_with_the_coordinates(support, x, step):
    values, more = parameters_of(x, support), parameters_of(x + step, support)
    rounding = 1e-15 * (np.abs(support["offset"]) + support["scale"] * np.maximum(np.abs(x), 1))
    assert (more - values >= -rounding).all()


@given(x=vectors)
@settings(deadline=None)
def test_projection_moves_only_what_lies_outside(support, x):
    projected = np.asarray(project(x, support))
    low, high = np.where(BOUNDS["has_lower"], 0, -np.inf), np.where(BOUNDS["has_upper"], 1, np.inf)
    np.testing.assert_array_equal(projected, np.clip(x, low, high))
    np.testing.assert_array_equal(project(x, support | {"projected": np.zeros(4)}), x)


@pytest.mark.parametrize("sharpness", [1e2, 1e4])
def test_far_from_the_corners_a_coordinate_is_the_fraction_of_the_range(sharpness):
    support = BOUNDS | {"sharpness": np.full(4, sharpness)}
    x = np.full(4, 0.4)
    expected = BOUNDS["offset"] + 0.4 * BOUNDS["scale"]
    np.testing.assert_allclose(parameters_of(x, support), expected, rtol=0, atol=1e-12 * 3000)
    np.testing.assert_allclose(slopes_of(x, support), BOUNDS["scale"], rtol=1e-12)


def test_the_sharpness_one_is_softplus():
    support = BOUNDS | {"sharpness": np.ones(4)}
    x = np.linspace(-5, 5, 11)
    found = [parameters_of(np.full(4, value), support)[1] for value in x]
    np.testing.assert_allclose(found, 100 + 3000 * np.log1p(np.exp(x)), rtol=1e-14)


@pytest.mark.parametrize("fraction", [0.0, START_MARGIN / 2, START_MARGIN, 0.001, 0.5, 0.999, 1 - START_MARGIN, 1.0])
def test_the_slope_never_vanishes_on_a_start(support, fraction):
    x = coordinates_of(values_at(np.full(4, fraction)), support)
    slopes = np.asarray(slopes_of(x, support)) / support["scale"]
    assert (slopes > 0.95 * START_MARGIN * np.minimum(support["sharpness"], 1 / START_MARGIN)).all()
    assert (slopes <= 1 + 1e-12).all()


def test_start_on_a_bound_is_moved_inside_by_the_margin(support):
    for fraction in (0.0, 1.0):
        values = support["offset"] + support["scale"] * fraction
        found = np.asarray(parameters_of(coordinates_of(values, support), support))
        moved = np.abs(found - values) / support["scale"]
        expected = START_MARGIN * (support["has_upper"] if fraction else support["has_lower"])
        np.testing.assert_allclose(moved, expected, rtol=1e-6, atol=1e-12)


positive = {"r0": st.floats(10, 1e5), "mass": st.floats(0.01, 100), "mu": st.floats(1e-6, 1 - 1e-6)}


@given(**positive)
@settings(deadline=None)
def test_the_three_rotation_parameters_agree(mu, r0, mass):
    omega = omega_from(mu, r0, mass)
    assert mu_from("mu", mu, r0, mass) == mu
    assert mu_from("rc", mu * r0, r0, mass) == pytest.approx(mu, rel=1e-14)
    assert float(mu_from("omega", omega, r0, mass)) == pytest.approx(mu, rel=1e-13)


def test_the_rotation_parameters_are_those_of_the_design():
    r0, mass, omega = 3000 * u.au, 2 * u.Msun, 5e-13 / u.s
    rc = (r0**4 * omega**2 / (constants.G * mass)).to(u.au)
    mu = (rc / r0).to_value(u.one)
    assert mu_from("omega", 5e-13, 3000.0, 2.0) == pytest.approx(mu, rel=1e-12)
    assert mu_from("rc", rc.value, 3000.0, 2.0) == pytest.approx(mu, rel=1e-14)
    assert float(omega_from(mu, 3000.0, 2.0)) == pytest.approx(5e-13, rel=1e-12)


@given(st.floats(-1e4, 1e4, allow_subnormal=False), st.floats(0.1, 400))
@settings(deadline=None)
def test_wrap_gives_the_nearest_equal_difference(difference, period):
    found = float(wrap(difference, period))
    assert abs(found) <= period / 2 * (1 + 1e-12) + 1e-11
    turns = (difference - found) / period
    assert turns == pytest.approx(round(turns), abs=1e-9)
    assert float(wrap(difference, 0.0)) == difference


def test_wrap_of_a_vector_with_a_gradient():
    differences, periods = np.array([3.5, -3.5, 350.0, 7.0]), np.array([2 * np.pi, 2 * np.pi, 360.0, 0.0])
    expected = [3.5 - 2 * np.pi, 2 * np.pi - 3.5, -10, 7]
    np.testing.assert_allclose(wrap(differences, periods), expected, rtol=1e-14)
    np.testing.assert_array_equal(jax.grad(lambda d: jnp.sum(wrap(d, periods)))(differences), np.ones(4))


def test_off_the_tip_of_a_corner_the_slope_is_a_half():
    support = BOUNDS | {"sharpness": np.full(4, 1e4), "inset": np.full(4, 1e-9)}
    beyond = project(np.array([-0.3, -5.0, 1.7, 0.3]), support)
    expected = np.array([0.5, 0.5, 0.5, 1.0]) * BOUNDS["scale"]
    np.testing.assert_allclose(slopes_of(np.asarray(beyond), support), expected, rtol=1e-4)
    on_the_tip = support | {"inset": np.zeros(4)}
    slopes = slopes_of(np.asarray(project(np.array([-0.3, -5.0, 1.7, 0.3]), on_the_tip)), on_the_tip)
    np.testing.assert_array_equal(slopes[:2], 0)
