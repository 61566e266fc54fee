"""Streamlines that start where the data do: place and velocity come back, and the flip turns the other way."""

import jax.numpy as jnp
import numpy as np
import pytest

from sting.core.outer_end import flip, start_at
from sting.core.sky import make_path, position_and_velocity

M = 40


def first_point(p, i):
    path = make_path(**{name: values[i] for name, values in p.items()}, rmin=0.0, v_lsr=0.0, distance=100.0)
    position, velocity = position_and_velocity(path, jnp.zeros(1))
    return np.asarray(position)[0], np.asarray(velocity)[0]


@pytest.fixture(scope="module")
def drawn(draw_parameters):
    return {name: jnp.asarray(v) for name, v in draw_parameters(M, 3).items() if name in ("mu", "mass", "inc", "pa")}


def test_it_starts_there_with_that_velocity(drawn):
    away = jnp.asarray(np.random.default_rng(1).normal(size=M) * 1000)
    p = start_at(900.0, -1200.0, 0.7, away, *drawn.values())
    moving = np.isfinite(np.asarray(p["v_r0"]))
    assert 5 < moving.sum() < M
    for i in np.flatnonzero(moving):
        position, velocity = first_point(p | drawn, i)
        np.testing.assert_allclose(position, [900, float(away[i]), -1200], atol=1e-6)
        assert velocity[1] == pytest.approx(0.7, abs=1e-9)


def test_no_material_flows_out(drawn):
    # a start in front of the star that comes towards the observer would
    p = start_at(900.0, 0.0, -50.0, -1000.0 * jnp.ones(M), *drawn.values())
    assert np.isnan(np.asarray(p["v_r0"])).all()


def test_flip_reverses_the_rotation_alone(drawn):
    rng = np.random.default_rng(2)
    one = drawn | {"r0": jnp.full(M, 2000.0), "v_r0": jnp.full(M, 0.4)}
    one |= {"theta0": jnp.asarray(rng.uniform(0.3, 2.8, M)), "phi0": jnp.asarray(rng.uniform(0, 6, M))}
    other = one | flip(*(one[name] for name in ("theta0", "phi0", "inc", "pa")))
    for i in range(M):
        (position, velocity), (again, turned) = first_point(one, i), first_point(other, i)
        np.testing.assert_allclose(position, again, atol=1e-6)
        radial = position / np.linalg.norm(position)
        np.testing.assert_allclose(velocity @ radial, turned @ radial, atol=1e-9)
        np.testing.assert_allclose(np.cross(position, velocity), -np.cross(again, turned), atol=1e-6)
