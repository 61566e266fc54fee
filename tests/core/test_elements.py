"""Times, lengths and distances along the path against integration of the equation of motion, closed forms and SciPy's roots."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.special import ellipeinc

from sting.core.constants import YEAR_PER_AU_KMS
from sting.core.elements import elements, places, projected_distance, w_of_projected
from sting.core.orbit import arc_length, make_orbit, plane_state
from sting.core.sky import make_path
from sting.derived import DERIVED

N = 40
SHAPE = ("r0", "theta0", "phi0", "v_r0", "mu", "mass", "rmin")
SET = {"r0": 3000.0, "theta0": 1.0, "phi0": 0.4, "v_r0": 0.5, "mu": 0.1, "mass": 2.0, "rmin": 0.0}
INVARIANT = [name for name, (_, any_axis, _) in DERIVED.items() if any_axis]


@jax.jit
@jax.vmap
def orbits(p):
    orbit = make_orbit(**{name: p[name] for name in SHAPE})
    at = places(orbit)
    return (
        elements(orbit),
        at | {"end": orbit["w_end"]},
        {name: jnp.hypot(*plane_state(orbit, w).position) for name, w in at.items()},
    )


def one(**change):
    p = {name: np.full(1, float(value)) for name, value in (SET | change).items()}
    return {name: value[0] for name, value in jax.device_get(orbits(p))[0].items()}


def integrate(p, gm):
    """Fall of one set in the orbital plane: times (au / (km/s)) to rc and periastron, length (au) to the inner end."""
    h = np.sqrt(gm * p["mu"] * p["r0"]) * np.sin(p["theta0"])
    gm = gm / h**2 * p["r0"]  # in units of r0 and of the transverse speed at the start

    def change(_, y):
        x, v = y[:2], y[2:4]
        # by the angle swept, which is even where the time is not: dt = r^2 da
        r2 = x @ x
        return np.concatenate([v * r2, -gm * x / np.sqrt(r2), [r2, r2 * np.sqrt(v @ v)]])

    def periastron(_, y):
        return y[:2] @ y[2:4]

    def reach(radius):
        return lambda _, y: np.hypot(*y[:2]) - radius / p["r0"]

    lowest = max(p["rmin"], p["mu"] * p["r0"] / 2)
    events = [periastron, reach(p["mu"] * p["r0"]), reach(lowest)]
    for event in events:
        event.direction = -1
    periastron.direction, periastron.terminal = 1, True
    start = np.array([1.0, 0.0, -p["v_r0"] * p["r0"] / h, 1.0, 0.0, 0.0])
    found = solve_ivp(change, (0, 4), start, method="DOP853", rtol=1e-12, atol=1e-13, max_step=0.05, events=events)
    at = [y[-1] if len(y) else None for y in found.y_events]
    ends = at[0] if at[2] is None else at[2]
    unit = p["r0"] ** 2 / h
    return {
        "time_to_periastron": at[0][4] * unit,
        "time_to_rc": at[1][4] * unit,
        "length": ends[5] * p["r0"],
    }


def test_times_and_lengths_are_those_of_the_motion(draw_parameters, gm_sun):
    # not quite from rest, where the start would be an extreme of the radius as well
    p = draw_parameters(N, seed=21, theta0=(20, 160), log_mu=(-2, -0.1), speeds=2.0)
    p["v_r0"] = np.maximum(p["v_r0"], 1e-3)
    found = jax.device_get(orbits(p))[0]
    for i in range(N):
        expected = integrate({name: value[i] for name, value in p.items()}, gm_sun * p["mass"][i])
        for name, value in expected.items():
            stated = found[name][i] / (YEAR_PER_AU_KMS if name.startswith("time") else 1)
            assert stated == pytest.approx(value, rel=1e-8), f"{name}, set {i}"


def test_places_are_where_they_say(draw_parameters):
    p = draw_parameters(1000, seed=22)
    found, w, radius = jax.device_get(orbits(p))
    np.testing.assert_allclose(radius["rc"], found["rc"], rtol=1e-9)
    np.testing.assert_allclose(radius["midplane"], found["landing_radius"], rtol=1e-9)
    np.testing.assert_allclose(radius["periastron"], found["periastron"], rtol=1e-9)
    assert (w["periastron"] >= w["rc"]).all()
    assert (w["periastron"] >= w["midplane"]).all()
    assert (w["periastron"] >= w["end"] * (1 - 1e-9)).all()
    assert (w["rc"] > 0).all()


def test_free_fall_time_is_that_of_a_fall_from_rest(gm_sun):
    # along the axis from rest, to the centre
    found = one(theta0=1e-7, v_r0=0.0, mu=1e-6)
    assert found["free_fall_time"] == pytest.approx(found["time_to_periastron"], rel=1e-6)
    assert found["free_fall_time"] / YEAR_PER_AU_KMS == pytest.approx(
        np.pi / 2 * np.sqrt(3000.0**3 / (2 * gm_sun * 2)), rel=1e-12
    )
    assert one()["free_fall_time"] == pytest.approx(found["free_fall_time"], rel=1e-12)  # whatever the motion


def test_length_of_half_an_ellipse():
    p = {name: np.full(1, float(value)) for name, value in (SET | {"v_r0": 0.0, "mu": 0.5, "theta0": 1.3}).items()}

    @jax.jit
    @jax.vmap
    def half(p):
        orbit = make_orbit(**p)
        return arc_length(orbit, 0.0 * orbit["w_end"], places(orbit)["periastron"]), elements(orbit)

    length, found = jax.device_get(half(p))
    e = found["eccentricity"][0]
    semi_major = 3000 / (1 + e)
    assert length[0] == pytest.approx(2 * semi_major * ellipeinc(np.pi / 2, e**2), rel=1e-11)


def test_a_radial_fall_is_as_long_as_it_is_deep():
    # the square root of the speed from rest has a corner there, of no size
    for v_r0 in (0.0, 0.5):
        assert one(theta0=1e-5, v_r0=v_r0)["length"] == pytest.approx(3000 - 150, rel=1e-6)


def test_angular_momentum_in_both_units():
    found = one()
    assert found["angular_momentum"] / found["angular_momentum_pc"] == pytest.approx(648000 / np.pi, rel=1e-9)


class TestAxis:
    """The orbit seen with another rotation axis: other theta0 and mu, and where the start is not seen, another start."""

    def test_same_start(self, draw_parameters):
        p = draw_parameters(200, seed=23, theta0=(20, 160), log_mu=(-2.5, -0.7))
        lam = p["mu"] * np.sin(p["theta0"]) ** 2
        smallest = np.arcsin(np.sqrt(lam / 0.97))
        theta0 = np.random.default_rng(0).uniform(smallest, np.pi - smallest)
        first, second = (jax.device_get(orbits(q))[0] for q in (p, p | {"theta0": theta0, "mu": lam / np.sin(theta0) ** 2}))
        for name in (*INVARIANT, "time_to_periastron", "free_fall_time"):
            np.testing.assert_allclose(second[name], first[name], rtol=1e-6, err_msg=name)
        assert np.median(np.abs(second["rc"] / first["rc"] - 1)) > 0.1

    def test_another_start(self, draw_parameters, gm_sun):
        """Any incoming point of the orbit is the start for some axis."""
        p = draw_parameters(200, seed=24, theta0=(20, 160), log_mu=(-2.5, -0.7))
        p["v_r0"] = np.maximum(p["v_r0"], 0.01)
        first = jax.device_get(orbits(p))[0]
        r0 = np.random.default_rng(1).uniform(np.maximum(1.2 * first["semi_latus_rectum"], 0.5 * p["r0"]), p["r0"])
        gm = gm_sun * p["mass"]
        v_r0 = np.sqrt(2 * first["energy"] + 2 * gm / r0 - first["angular_momentum"] ** 2 / r0**2)
        lam = first["semi_latus_rectum"] / r0
        theta0 = np.arcsin(np.sqrt(np.clip(2 * lam, 0.5, 1.0)))
        second = jax.device_get(orbits(p | {"r0": r0, "v_r0": v_r0, "theta0": theta0, "mu": lam / np.sin(theta0) ** 2}))[0]
        for name in INVARIANT:
            # the energy of a nearly parabolic orbit is a small difference
            atol = 1e-9 * np.median(gm / p["r0"]) if name == "energy" else 0
            np.testing.assert_allclose(second[name], first[name], rtol=1e-6, atol=atol, err_msg=name)
        assert np.median(np.abs(second["time_to_periastron"] / first["time_to_periastron"] - 1)) > 0.05


class TestGradients:
    def test_finite_on_the_whole_domain(self):
        grid = np.meshgrid(
            [100.0, 30000.0],
            np.radians([0.01, 1, 90, 179.99]),
            [0.0],
            [0.0, 1e-12, 1.0, 50.0],
            [1e-6, 0.3, 1 - 1e-6],
            [0.05, 10.0],
            [0.0, 60.0, 1e5],
            indexing="ij",
        )
        values = np.stack([axis.ravel() for axis in grid], axis=-1)

        def function(values):
            found = elements(make_orbit(**dict(zip(SHAPE, values, strict=True))))
            return jnp.stack([found[name] for name in DERIVED])

        jacobian = jax.device_get(jax.jit(lambda v: jax.lax.map(jax.jacfwd(function), v))(values))
        for i, name in enumerate(DERIVED):
            bad = ~np.isfinite(jacobian[:, i]).all(axis=1)
            assert not bad.any(), f"{name}: {values[bad][0]}"

    def test_against_finite_differences(self, draw_parameters):
        p = draw_parameters(100, seed=25, theta0=(10, 170), log_mu=(-2, -0.1))
        p["v_r0"], p["rmin"] = np.maximum(p["v_r0"], 0.05), np.zeros(100)

        def function(values):
            found = elements(make_orbit(**dict(zip(SHAPE, values, strict=True))))
            return jnp.stack([found[name] for name in DERIVED])

        values = np.stack([p[name] for name in SHAPE], axis=-1)
        exact = jax.device_get(jax.jit(jax.vmap(jax.jacrev(function)))(values))
        at = jax.jit(jax.vmap(function))
        size = np.abs(np.asarray(at(values)))
        for i, name in enumerate(SHAPE[:-1]):
            step = 1e-5 * values[:, i]
            shift = np.zeros_like(values)
            shift[:, i] = step
            slope = (8 * (at(values + shift) - at(values - shift)) - (at(values + 2 * shift) - at(values - 2 * shift))) / 12
            off = np.abs(slope - exact[..., i] * step[:, None]) / size
            # an energy near zero and an inner end that changes from rc/2 to the periastron are no error
            assert np.quantile(off, 0.99) < 1e-10, name


def test_projected_distance_and_its_inverse(draw_parameters):
    p = draw_parameters(50, seed=26, theta0=(20, 160))

    @jax.jit
    @jax.vmap
    def there_and_back(p):
        path = make_path(**p)
        w = 0.37 * path["w_end"]
        distance, slope = projected_distance(path, w)
        numeric = jax.jvp(lambda w: projected_distance(path, w)[0], (w,), (1.0,))[1]
        again = w_of_projected(path, distance, w * 1.0005)

        def crossing(mass):
            return w_of_projected(make_path(**p | {"mass": mass}), distance, w * 1.0005)

        # the distance of the crossing stays as the mass changes
        moved = jax.jvp(lambda m: projected_distance(make_path(**p | {"mass": m}), crossing(m))[0], (p["mass"],), (1.0,))[1]
        return w, again, slope, numeric, moved / distance

    w, again, slope, numeric, moved = jax.device_get(there_and_back(p))
    np.testing.assert_allclose(again, w, rtol=1e-9)
    np.testing.assert_allclose(slope, numeric, rtol=1e-9)
    assert np.abs(moved).max() < 1e-9
