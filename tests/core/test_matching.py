"""Which model point a data point is compared to: `nearest` against brute force, `stretch` against STING's rule in numpy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sting.core.matching import distance_metric, match_nearest, match_stretch, nearest, polar
from sting.core.orbit import w_of_radius
from sting.core.sky import make_path, observe

N_DENSE = 200001
DENSE = np.linspace(0, 1, N_DENSE)
N_RADII = 150
DELTAR = 20.0


@jax.jit
def place(p, points, sigma):
    """Coordinate u of the place nearest to each point, and the model there."""
    path = make_path(**p)
    return nearest(path, points, 1 / sigma**2)[0], match_nearest(path, points, sigma)


@jax.jit
def at(p, u):
    """The model at the coordinates u."""
    path = make_path(**p)
    return observe(path, u * path["w_end"])[0]


@jax.jit
@partial(jax.vmap, in_axes=(0, None))
def find_again(p, u):
    """Whitened distance and coordinate found of points that lie on the curve at u."""
    path = make_path(**p)
    points = observe(path, u * path["w_end"])[0]
    sigma = jnp.broadcast_to(0.05 * jnp.ptp(points, axis=0), points.shape)
    found = nearest(path, points, 1 / sigma**2)[0]
    return jnp.abs((observe(path, found * path["w_end"])[0] - points) / sigma), found


def distances(model, points, sigma):
    return np.sqrt(np.sum(((model - points) / sigma) ** 2, axis=-1))


def one_set(sets, i):
    return {name: values[i] for name, values in sets.items()}


@pytest.fixture(scope="module")
def streamer(truth):
    return truth | {"distance": 293.0}


class TestNearest:
    @pytest.mark.parametrize("noise", [0.0, 0.3, 3.0, 10.0])
    def test_nothing_is_nearer_than_the_nearest(self, noise, draw_parameters):
        """Among 200001 samples of the curve none is nearer to a point than the place that is found."""
        n_sets, n = 12, 12
        sets = draw_parameters(n_sets, seed=int(10 * noise), theta0=(5, 175), log_mu=(-2, -0.05), speeds=2)
        rng = np.random.default_rng(1)
        for i in range(n_sets):
            p = one_set(sets, i)
            curve = np.asarray(at(p, DENSE))
            sigma = np.ptp(curve, axis=0) * rng.uniform(0.02, 0.1, (n, 3))
            points = curve[rng.integers(0, N_DENSE, n)] + noise * sigma * rng.standard_normal((n, 3))
            u, model = jax.device_get(place(p, points, sigma))
            assert ((u >= 0) & (u <= 1)).all()
            np.testing.assert_allclose(model, at(p, np.pad(u, (0, N_DENSE - n)))[:n], rtol=0, atol=1e-12)
            found = distances(model, points, sigma)
            smallest = [distances(curve, *pair).min() for pair in zip(points, sigma, strict=True)]
            assert (found <= np.array(smallest) + 1e-9).all(), i

    @pytest.mark.parametrize("cover", [(0.15, 0.8), (0.0, 1.0), (0.15, 0.3), (0.6, 0.95)])
    def test_points_on_the_curve_are_found(self, cover, draw_parameters):
        sets = draw_parameters(50, seed=7, theta0=(5, 175), log_mu=(-3, -0.05), speeds=2)
        u = np.linspace(*cover, 12)
        off, found = jax.device_get(find_again(sets, u))
        assert off.max() < 1e-9
        np.testing.assert_allclose(found, np.broadcast_to(u, found.shape), rtol=0, atol=1e-6)

    def test_points_beyond_the_ends_are_compared_to_the_ends(self, streamer):
        ends = np.asarray(at(streamer, np.pad([0.0, 1e-3, 1 - 1e-3, 1.0], (0, N_DENSE - 4))))[:4]
        outward = np.stack([ends[0] - ends[1], ends[3] - ends[2]])
        steps = np.linspace(0.5, 20, 6)[:, None]
        points = np.concatenate([ends[0] + steps * outward[0], ends[3] + steps * outward[1]])
        u, model = jax.device_get(place(streamer, points, np.full((12, 3), 0.1)))
        np.testing.assert_array_equal(u, np.repeat([0.0, 1.0], 6))
        np.testing.assert_allclose(model, np.repeat(ends[[0, 3]], 6, axis=0), rtol=1e-12)


def test_polar_coordinates():
    r, theta = polar(jnp.array([3.0, 0.0, -1.0]), jnp.array([4.0, 2.0, 0.0]))
    np.testing.assert_allclose(r, [5, 2, 1], rtol=1e-15)
    np.testing.assert_allclose(theta, [np.arctan2(4, 3), np.pi / 2, np.pi], rtol=1e-15)


def test_polar_coordinates_of_the_star_itself_have_finite_derivatives():
    values, derivatives = jax.jvp(polar, (0.0, 0.0), (1.0, 1.0))
    assert np.isfinite(values).all()
    assert np.isfinite(derivatives).all()
    assert values[0] < 1e-10


def reference_metric(ra, dec, n_elements):
    """Design section 9 in numpy; the percentile is a rank, as in STING 0.2.3."""
    r, theta = np.hypot(ra, dec), np.arctan2(dec, ra)
    threshold = np.sort(r)[min(len(r) // n_elements, len(r) - 1)]
    inner = theta[r <= threshold]
    # circular median: unwrap around the circular mean, take the lower median
    mean = np.angle(np.mean(np.exp(1j * inner)))
    unwrapped = mean + np.angle(np.exp(1j * (inner - mean)))
    reference = np.sort(unwrapped)[(len(inner) - 1) // 2]
    deviation = np.abs(np.angle(np.exp(1j * (theta - reference))))
    return r * np.sqrt(1 + deviation**2)


class TestDistanceMetric:
    metric = staticmethod(jax.jit(distance_metric, static_argnames="n_elements"))

    @pytest.mark.parametrize("centre", [0.3, np.pi, -2.0])
    @pytest.mark.parametrize(("n", "n_elements"), [(10, 10), (100, 10), (101, 7), (4, 10)])
    def test_against_numpy(self, n, n_elements, centre):
        rng = np.random.default_rng(n)
        r, theta = rng.uniform(0.5, 10, n), centre + rng.normal(0, 0.6, n)
        ra, dec = r * np.cos(theta), r * np.sin(theta)
        np.testing.assert_allclose(self.metric(ra, dec, n_elements), reference_metric(ra, dec, n_elements), rtol=1e-12)

    def test_points_that_are_not_valid_do_not_count(self):
        rng = np.random.default_rng(0)
        ra, dec = rng.normal(3, 1, 50), rng.normal(-2, 1, 50)
        valid = rng.random(50) < 0.6
        found = np.asarray(self.metric(ra, dec, 10, valid))
        np.testing.assert_allclose(found[valid], reference_metric(ra[valid], dec[valid], 10), rtol=1e-12)
        assert np.isinf(found[~valid]).all()


def reference_stretch(model, data):
    """Design section 9's stretch matching in numpy, of model points (m, 3) that lie above the inner end."""
    d_data, d_model = (reference_metric(*values[:, :2].T, 10) for values in (data, model))
    kept = d_model >= d_data.min()
    model, d_model = model[kept], d_model[kept]
    goal = d_model.min() + (d_data - d_data.min()) / np.ptp(d_data) * np.ptp(d_model)
    order = np.argsort(d_model)
    return np.stack([np.interp(goal, d_model[order], model[order, i]) for i in range(3)], axis=-1)


@jax.jit
def stretched(p, points):
    """The matched points, the model by radius and the radii, and the derivatives of the sum of the matched points."""

    def total(p):
        matched = match_stretch(make_path(**p), points, DELTAR, N_RADII)
        return jnp.sum(matched), matched

    path = make_path(**p)
    radii = path["r0"] - jnp.arange(N_RADII) * DELTAR
    model = observe(path, w_of_radius(path, radii))[0]
    (_, matched), gradient = jax.value_and_grad(total, has_aux=True)(p)
    return {"matched": matched, "model": model, "radii": radii, "r_end": path["r_end"], "gradient": gradient}


class TestStretch:
    @pytest.fixture
    def points(self, streamer):
        rng = np.random.default_rng(3)
        points = np.asarray(at(streamer, np.pad(np.linspace(0.05, 0.85, 12), (0, N_DENSE - 12))))[:12]
        return points + rng.normal(0, 0.05, (12, 3))

    @pytest.mark.parametrize("change", [{}, {"theta0": 1.2}, {"phi0": 2.0}, {"rmin": 700.0}, {"v_r0": 0.0}, {"r0": 2500.0}])
    def test_against_numpy(self, change, streamer, points):
        found = jax.device_get(stretched(streamer | change, points))
        inside = found["radii"] > found["r_end"]
        assert 50 < inside.sum() < N_RADII
        expected = reference_stretch(found["model"][inside], points)
        np.testing.assert_allclose(found["matched"], expected, rtol=1e-9, atol=1e-9)
        assert all(np.isfinite(value) for value in found["gradient"].values())

    def test_more_radii_than_needed_change_nothing(self, streamer, points):
        match = jax.jit(lambda p: [match_stretch(make_path(**p), points, DELTAR, n) for n in (N_RADII, 2 * N_RADII)])
        np.testing.assert_allclose(*match(streamer), rtol=1e-12)

    @pytest.mark.parametrize("factor", [3.0, 100.0])
    def test_a_model_wholly_inside_the_data(self, factor, streamer, points):
        """No model point is as far out as the data: all are compared with the model's outer end, and nothing is NaN."""
        far = points * [factor, factor, 1]
        start = {"r0": 500.0, "rmin": 300.0}
        found = jax.device_get(stretched(streamer | start, far))
        np.testing.assert_allclose(found["matched"], np.tile(found["model"][0], (12, 1)), rtol=1e-12)
        assert all(np.isfinite(value) for value in found["gradient"].values()), found["gradient"]

    def test_a_model_with_one_point_in_the_range_of_the_data(self, streamer, points):
        found = jax.device_get(stretched(streamer, points))
        inside = found["radii"] > found["r_end"]
        d_model = reference_metric(*found["model"][inside, :2].T, 10)
        d_data = reference_metric(*points[:, :2].T, 10)
        two_largest = np.sort(d_model)[-2:]
        scale = two_largest.mean() / d_data.min()
        found = jax.device_get(stretched(streamer, points * [scale, scale, 1]))
        expected = found["model"][inside][np.argmax(d_model)]
        np.testing.assert_allclose(found["matched"], np.tile(expected, (12, 1)), rtol=1e-9)
        assert all(np.isfinite(value) for value in found["gradient"].values())

    def test_a_path_shorter_than_one_step(self, streamer, points):
        found = jax.device_get(stretched(streamer | {"rmin": 2795.0}, points))
        assert (found["radii"] > found["r_end"]).sum() == 1
        assert np.isfinite(found["matched"]).all()
        assert all(np.isfinite(value) for value in found["gradient"].values())
