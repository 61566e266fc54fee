"""The sign conventions of the sky, each by a case that can be pictured, and the exact degeneracies of design section 4."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from sting.core.constants import YEAR_PER_AU_KMS
from sting.core.orbit import duration
from sting.core.sky import make_path, observe, position_and_velocity, rotation_matrix, sample_w

PLACES = np.linspace(0, 1, 33)
TOWARDS_OBSERVER = np.array([0.0, -1.0, 0.0])
PATH = {
    "r0": 3000.0,
    "theta0": 1.0,
    "phi0": 0.4,
    "v_r0": 0.5,
    "mu": 0.1,
    "mass": 2.0,
    "inc": 0.5,
    "pa": 1.2,
    "rmin": 0.0,
    "v_lsr": 7.5,
    "distance": 150.0,
}


def _see(p, w):
    path = make_path(**p)
    position, velocity = position_and_velocity(path, w)
    model, tangent, _ = observe(path, w)
    time = duration(path, jnp.zeros_like(w), w)
    return {"path": path, "position": position, "velocity": velocity, "model": model, "tangent": tangent, "time": time}


_see_sets = jax.jit(jax.vmap(_see))
_w_end = jax.jit(jax.vmap(lambda p: make_path(**p)["w_end"]))


def see_sets(p, w=None):
    """What is seen of many parameter sets at the coordinates w (n, 33), by default along the whole path."""
    w = np.asarray(_w_end(p))[:, None] * PLACES if w is None else w
    return jax.device_get(_see_sets(p, w))


def see(**changes):
    """What is seen of the one path `PATH` with changes."""
    p = {name: np.full(1, float(value)) for name, value in (PATH | changes).items()}
    return jax.tree.map(lambda array: array[0], see_sets(p))


def matrices(inc, pa):
    return np.asarray(jax.vmap(rotation_matrix)(inc, pa))


def axis_of(inc, pa):
    """Rotation axis on the sky (west, away, north), built from the words of the convention."""
    north, east, away = np.array([0, 0, 1.0]), np.array([-1.0, 0, 0]), np.array([0, 1.0, 0])
    projected = np.multiply.outer(np.cos(pa), north) + np.multiply.outer(np.sin(pa), east)
    return np.cos(inc)[..., None] * projected + np.multiply.outer(np.sin(inc), away)


def test_the_matrix_is_a_proper_rotation():
    rng = np.random.default_rng(0)
    matrix = matrices(rng.uniform(-np.pi / 2, np.pi / 2, 50), rng.uniform(0, 2 * np.pi, 50))
    np.testing.assert_allclose(matrix @ matrix.transpose(0, 2, 1), np.broadcast_to(np.eye(3), (50, 3, 3)), atol=1e-15)
    np.testing.assert_allclose(np.linalg.det(matrix), 1, rtol=1e-14)


def test_the_matrix_of_the_design():
    inc, pa = 0.3, 2.0
    si, ci, sp, cp = np.sin(inc), np.cos(inc), np.sin(pa), np.cos(pa)
    expected = [[cp, sp * si, -sp * ci], [0, ci, si], [sp, -cp * si, cp * ci]]
    np.testing.assert_allclose(rotation_matrix(inc, pa), expected, rtol=1e-15)
    np.testing.assert_array_equal(rotation_matrix(0.0, 0.0), np.eye(3))


def test_pa_and_inc_are_those_of_the_rotation_axis():
    rng = np.random.default_rng(1)
    inc, pa = rng.uniform(-1.5, 1.5, 50), rng.uniform(0, 2 * np.pi, 50)
    axis = matrices(inc, pa)[:, :, 2]
    np.testing.assert_allclose(axis, axis_of(inc, pa), atol=1e-15)
    # the inclination of the literature, between the axis and the direction to the observer, is 90 deg + inc
    np.testing.assert_allclose(np.arccos(axis @ TOWARDS_OBSERVER), np.pi / 2 + inc, rtol=1e-12)


@pytest.mark.parametrize(
    ("inc", "pa", "axis"),
    [
        (0, 0, (0, 0, 1)),  # north
        (0, 90, (-1, 0, 0)),  # east: x' is west
        (0, 180, (0, 0, -1)),
        (0, 270, (1, 0, 0)),  # west
        (90, 0, (0, 1, 0)),  # away from the observer
        (-90, 0, (0, -1, 0)),  # face-on, turning counterclockwise
    ],
)
def test_axis_by_cases(inc, pa, axis):
    np.testing.assert_allclose(rotation_matrix(np.radians(inc), np.radians(pa))[:, 2], axis, atol=1e-15)


@pytest.mark.parametrize("pa", [0.0, 40.0, 130.0, 290.0])
def test_pole_start_is_seen_at_the_position_angle(pa):
    ra, dec, _ = see(theta0=0.0, inc=0.6, pa=np.radians(pa))["model"][0]
    assert np.degrees(np.arctan2(ra, dec)) % 360 == pytest.approx(pa, abs=1e-10)
    assert np.hypot(ra, dec) == pytest.approx(3000 * np.cos(0.6) / 150)


def test_offsets_and_velocity_are_those_of_the_position():
    found = see()
    position, velocity, model = found["position"], found["velocity"], found["model"]
    np.testing.assert_allclose(model[:, 0], -position[:, 0] / 150, rtol=1e-12)
    np.testing.assert_allclose(model[:, 1], position[:, 2] / 150, rtol=1e-12)
    np.testing.assert_allclose(model[:, 2], velocity[:, 1] + 7.5, rtol=1e-12)


def test_material_that_recedes_is_redshifted():
    # a start behind the star on the line of sight falls towards the observer, one before it recedes
    behind = see(theta0=0.0, inc=np.pi / 2, v_r0=1.0)
    before = see(theta0=0.0, inc=-np.pi / 2, v_r0=1.0)
    assert behind["position"][0, 1] == pytest.approx(3000)
    assert (behind["model"][:, 2] <= 6.5).all()
    assert before["position"][0, 1] == pytest.approx(-3000)
    assert (before["model"][:, 2] >= 8.5).all()


@pytest.mark.parametrize("pa", [0.0, 70.0, 200.0])
def test_the_redshifted_major_axis_lies_at_pa_minus_90(pa):
    # in the midplane phi0 = 0 is on the line of nodes, where rotation is seen in full
    ra, dec, velocity = see(theta0=np.pi / 2, phi0=0.0, v_r0=0.0, inc=0.5, pa=np.radians(pa))["model"][0]
    assert velocity > 7.5
    assert np.degrees(np.arctan2(ra, dec)) % 360 == pytest.approx((pa - 90) % 360, abs=1e-10)


def test_sky_offsets_scale_with_distance_and_velocities_with_v_lsr():
    near, far = see(), see(distance=300.0, v_lsr=-2.0)
    np.testing.assert_allclose(far["model"][:, :2], near["model"][:, :2] / 2, rtol=1e-12)
    np.testing.assert_allclose(far["model"][:, 2], near["model"][:, 2] - 9.5, rtol=1e-12)


def test_tangent_and_second_derivative_are_those_by_w():
    path = make_path(**PATH)
    w = sample_w(path, 7)
    (_, tangent, second), (derivative, of_tangent, _) = jax.jvp(lambda w: observe(path, w), (w,), (jnp.ones_like(w),))
    np.testing.assert_allclose(tangent, derivative, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(second, of_tangent, rtol=1e-11, atol=1e-11)


def test_samples_go_from_the_start_to_the_inner_end():
    path = make_path(**PATH)
    w = sample_w(path, 11)
    assert w.shape == (11,)
    assert w[0] == 0
    assert w[-1] == path["w_end"]
    assert (jnp.diff(w) > 0).all()


class TestDegeneracies:
    def test_any_axis_in_the_plane_of_angular_momentum_and_start(self, draw_parameters):
        """The same streamer with another rotation axis: other theta0, phi0, mu, inc and pa, the same RA, Dec and velocity."""
        first = draw_parameters(200, seed=11, theta0=(20, 160), log_mu=(-2.5, -0.7))
        found = see_sets(first)
        start = found["position"][:, 0] / first["r0"][:, None]
        momentum = np.cross(found["position"][:, 0], found["velocity"][:, 0])
        momentum /= np.linalg.norm(momentum, axis=1)[:, None]

        lam = first["mu"] * np.sin(first["theta0"]) ** 2
        smallest = np.arcsin(np.sqrt(lam / 0.97))  # mu stays below 1
        theta0 = np.random.default_rng(0).uniform(smallest, np.pi - smallest)
        assert np.min(np.abs(theta0 - first["theta0"])) < 0.1 < np.max(np.abs(theta0 - first["theta0"]))
        axis = np.cos(theta0)[:, None] * start + np.sin(theta0)[:, None] * momentum
        inc, pa = np.arcsin(axis[:, 1]), np.arctan2(-axis[:, 0], axis[:, 2])
        x, y, z = np.einsum("nij,ni->jn", matrices(inc, pa), start)
        np.testing.assert_allclose(z, np.cos(theta0), atol=1e-12)
        second = first | {
            "theta0": theta0,
            "phi0": np.arctan2(y, x),
            "mu": lam / np.sin(theta0) ** 2,
            "inc": inc,
            "pa": pa,
        }
        # only the inner end, which may be at rc/2, depends on the axis: compare what both have
        w = np.minimum(_w_end(first), _w_end(second))[:, None] * PLACES
        one, other = see_sets(first, w), see_sets(second, w)
        for name in ("model", "position", "velocity", "time"):
            size = np.abs(one[name]).reshape(200, -1).max(axis=1)
            off = np.abs(one[name] - other[name]).reshape(200, -1).max(axis=1)
            assert np.max(off / size) < 1e-9, name

    def test_mirror_twin(self, gm_sun):
        """Material that flows out along the mirror image in the plane of the sky has the same RA, Dec and velocity."""
        found = see(rmin=100.0)
        mirror, backwards = np.array([1, -1, 1]), np.array([-1, 1, -1])
        start = np.concatenate([found["position"][-1] * mirror, found["velocity"][-1] * backwards])
        assert start[:3] @ start[3:] > 0  # it flows out
        gm = gm_sun * PATH["mass"]

        def change(_, y):
            return np.concatenate([y[3:], -gm * y[:3] / np.linalg.norm(y[:3]) ** 3])

        elapsed = (found["time"][-1] - found["time"][::-1]) / YEAR_PER_AU_KMS
        twin = solve_ivp(change, (0, elapsed[-1]), start, method="DOP853", rtol=1e-12, atol=1e-10, t_eval=elapsed).y
        seen = np.stack([-twin[0] / 150, twin[2] / 150, twin[4] + 7.5], axis=-1)
        np.testing.assert_allclose(seen[::-1], found["model"], rtol=0, atol=1e-8)
        assert np.abs(twin[1][::-1] - found["position"][:, 1]).max() > 1000  # and it is elsewhere

    def test_opposite_rotation_about_the_same_projected_axis(self, draw_parameters):
        """(inc, pa, theta0, phi0) -> (-inc, pa + 180, 180 - theta0, 180 - phi0) keeps the start and reverses the rotation."""
        first = draw_parameters(50, seed=12)
        second = first | {
            "inc": -first["inc"],
            "pa": first["pa"] + np.pi,
            "theta0": np.pi - first["theta0"],
            "phi0": np.pi - first["phi0"],
        }
        np.testing.assert_allclose(
            matrices(second["inc"], second["pa"])[:, :, 2], -matrices(first["inc"], first["pa"])[:, :, 2], atol=1e-15
        )
        one, other = see_sets(first), see_sets(second)
        size, speed = first["r0"], np.abs(one["velocity"]).max(axis=(1, 2))
        start = one["position"][:, 0] / size[:, None]
        assert np.max(np.abs(other["position"][:, 0] - one["position"][:, 0]) / size[:, None]) < 1e-13
        # what lies along the start's direction is the same, what lies across is reversed, all the way
        for name, scale in (("position", size), ("velocity", speed)):
            radial = np.einsum("npi,ni->np", one[name], start)
            reflected = 2 * radial[..., None] * start[:, None] - one[name]
            assert np.max(np.abs(other[name] - reflected) / scale[:, None, None]) < 1e-12, name
        momentum, reverse = (np.cross(found["position"], found["velocity"]) for found in (one, other))
        assert np.max(np.abs(momentum[:, 0] + reverse[:, 0]) / (size * speed)[:, None]) < 1e-12
