"""The forward model for users: units in and out, and physics that needs no second implementation."""

import jax
import numpy as np
import pytest
from astropy import constants
from astropy import units as u
from scipy.integrate import solve_ivp
from scipy.interpolate import CubicSpline

from sting.stream_lines_grad import Streamline, streamline

KMS = u.km / u.s
DISTANCE = 293 * u.pc

# few different numbers of points: each is compiled once
N, MANY = 41, 1201

UPPER = {
    "r0": 2800 * u.au,
    "theta0": 52 * u.deg,
    "phi0": 60 * u.deg,
    "v_r0": 0.3 * KMS,
    "omega": 5.5e-13 / u.s,
    "mass": 4.0 * u.Msun,
    "inc": -45 * u.deg,
    "pa": 194 * u.deg,
    "rmin": 50 * u.au,
    "v_lsr": 7.5 * KMS,
}
LOWER = UPPER | {"theta0": 128 * u.deg, "v_r0": 0 * KMS, "inc": 20 * u.deg, "rmin": 0 * u.au}
MIDPLANE = UPPER | {"theta0": 90 * u.deg, "v_r0": 1.5 * KMS, "omega": 1.5e-12 / u.s}
CASES = {"above": UPPER, "below": LOWER, "midplane": MIDPLANE}


#: Units to write the parameters in that are not those of the design.
OTHER_UNITS = {
    "r0": u.pc,
    "theta0": u.arcmin,
    "phi0": u.hourangle,
    "v_r0": u.m / u.s,
    "omega": 1 / u.yr,
    "mass": u.kg,
    "inc": u.rad,
    "pa": u.arcsec,
    "rmin": u.km,
    "v_lsr": u.au / u.yr,
}


@pytest.fixture(params=CASES, scope="module")
def params(request):
    return CASES[request.param]


def rotation(inc, pa):
    """The matrix of section 4 of the design."""
    si, ci, sp, cp = np.sin(inc), np.cos(inc), np.sin(pa), np.cos(pa)
    return np.array([[cp, sp * si, -sp * ci], [0 * si, ci, si], [sp, -cp * si, cp * ci]], dtype=float)


def start_state(params):
    """Position (au) and velocity (km/s) of the start on the sky's axes."""
    t, p = params["theta0"].to_value(u.rad), params["phi0"].to_value(u.rad)
    r_hat = np.array([np.sin(t) * np.cos(p), np.sin(t) * np.sin(p), np.cos(t)])
    p_hat = np.array([-np.sin(p), np.cos(p), 0.0])
    turn = rotation(params["inc"].to_value(u.rad), params["pa"].to_value(u.rad))
    along = (params["omega"] * params["r0"]).to_value(KMS) * np.sin(t)
    position = params["r0"].to_value(u.au) * turn @ r_hat
    return position, turn @ (-params["v_r0"].to_value(KMS) * r_hat + along * p_hat)


class TestOutput:
    def test_units_and_shapes(self, params):
        path = streamline(params, distance=DISTANCE, n_points=N)
        assert isinstance(path, Streamline)
        assert len(path) == N
        for name, unit, shape in [
            ("ra", u.arcsec, (N,)),
            ("dec", u.arcsec, (N,)),
            ("velocity", KMS, (N,)),
            ("position", u.au, (N, 3)),
            ("velocity_xyz", KMS, (N, 3)),
            ("radius", u.au, (N,)),
            ("time", u.yr, (N,)),
        ]:
            values = getattr(path, name)
            assert (values.unit, values.shape, values.dtype) == (unit, shape, np.float64), name
            assert type(values.value) is np.ndarray, name
            assert np.isfinite(values).all(), name

    def test_default_number_of_points(self):
        assert len(streamline(UPPER, distance=DISTANCE)) == 200

    @pytest.mark.parametrize("n_points", [2, np.int64(5), MANY])
    def test_number_of_points(self, n_points):
        path = streamline(UPPER | {"rmin": 80 * u.au}, distance=DISTANCE, n_points=n_points)
        assert len(path) == n_points
        assert path.radius[0].value == pytest.approx(2800)
        assert path.radius[-1].value == pytest.approx(80)

    def test_leaves_the_precision_of_the_user(self):
        streamline(UPPER, distance=DISTANCE, n_points=N)
        assert jax.config.jax_enable_x64 is False

    def test_does_not_change_the_parameters(self):
        given = dict(UPPER)
        streamline(given, distance=DISTANCE, n_points=N)
        assert given == UPPER


class TestPhysics:
    def test_start(self, params):
        path = streamline(params, distance=DISTANCE, n_points=N)
        position, velocity = start_state(params)
        np.testing.assert_allclose(path.position[0].value, position, atol=1e-9)
        np.testing.assert_allclose(path.velocity_xyz[0].value, velocity, atol=1e-12)
        assert path.time[0] == 0

    def test_inner_end(self, params):
        path = streamline(params, distance=DISTANCE, n_points=N)
        gm = (constants.G * params["mass"]).to_value(u.au * KMS**2)
        position, velocity = start_state(params)
        h = np.linalg.norm(np.cross(position, velocity))
        semi_latus_rectum, r0 = h**2 / gm, params["r0"].value
        rc = r0**4 * params["omega"].to_value(KMS / u.au) ** 2 / gm
        eccentricity = np.sqrt(1 + 2 * (velocity @ velocity / 2 - gm / r0) * h**2 / gm**2)
        end = max(params["rmin"].value, rc / 2, semi_latus_rectum / (1 + eccentricity))
        assert path.radius[-1].value == pytest.approx(end, rel=1e-9)
        assert np.all(np.diff(path.radius.value) < 0)

    def test_against_the_equation_of_motion(self, params):
        path = streamline(params, distance=DISTANCE, n_points=N)
        gm = (constants.G * params["mass"]).to_value(u.au**3 / u.yr**2)
        to_kms = (u.au / u.yr).to(KMS)
        position, velocity = start_state(params)
        times = path.time.to_value(u.yr)
        solution = solve_ivp(
            lambda t, y: np.concatenate([y[3:], -gm * y[:3] / np.linalg.norm(y[:3]) ** 3]),
            (0, times[-1]),
            np.concatenate([position, velocity / to_kms]),
            method="DOP853",
            rtol=1e-12,
            atol=1e-12,
            t_eval=times.clip(max=times[-1]),
        )
        np.testing.assert_allclose(path.position.value, solution.y[:3].T, atol=1e-7 * params["r0"].value)
        fastest = np.linalg.norm(path.velocity_xyz.value, axis=1).max()
        np.testing.assert_allclose(path.velocity_xyz.value, solution.y[3:].T * to_kms, atol=1e-6 * fastest)

    def test_velocity_is_the_derivative_of_position(self, params):
        path = streamline(params, distance=DISTANCE, n_points=MANY)
        curve = CubicSpline(path.time.value, path.position.value)
        velocity = curve(path.time.value, 1) * (u.au / u.yr).to(KMS)
        fastest = np.linalg.norm(path.velocity_xyz.value, axis=1).max()
        # a spline is less accurate at its very ends
        np.testing.assert_allclose(velocity[1:-1], path.velocity_xyz.value[1:-1], atol=1e-6 * fastest)

    def test_energy_is_conserved(self, params):
        path = streamline(params, distance=DISTANCE, n_points=N)
        gm = constants.G * params["mass"]
        energy = (path.velocity_xyz**2).sum(axis=1) / 2 - gm / path.radius
        np.testing.assert_allclose(energy.to_value(KMS**2), energy[0].to_value(KMS**2), atol=1e-9)

    def test_time_runs(self, params):
        time = streamline(params, distance=DISTANCE, n_points=N).time.value
        assert np.all(np.diff(time) > 0)

    def test_time_does_not_depend_on_the_number_of_points(self, params):
        coarse = streamline(params, distance=DISTANCE, n_points=5)
        for n_points in (2, N, MANY):
            fine = streamline(params, distance=DISTANCE, n_points=n_points)
            step = (n_points - 1) // 4
            common = fine.time[::step] if step else fine.time
            expected = coarse.time if step else coarse.time[[0, -1]]
            np.testing.assert_allclose(common.value, expected.value, atol=1e-9 * expected[-1].value)

    def test_time_of_a_fast_and_nearly_radial_fall(self):
        # its end, close to the star, is hard to integrate in a few steps
        fast = UPPER | {"v_r0": 5 * KMS, "mass": 0.05 * u.Msun, "mu": 1e-4, "rmin": 0 * u.au}
        del fast["omega"]
        coarse, fine = (streamline(fast, distance=DISTANCE, n_points=n).time.value for n in (2, MANY))
        np.testing.assert_allclose(coarse[-1], fine[-1], rtol=1e-9)

    def test_sky(self, params):
        path = streamline(params, distance=DISTANCE, n_points=N)
        np.testing.assert_allclose(path.ra.value, -path.position[:, 0].value / 293, atol=1e-12)
        np.testing.assert_allclose(path.dec.value, path.position[:, 2].value / 293, atol=1e-12)
        np.testing.assert_allclose(path.velocity.value, path.velocity_xyz[:, 1].value + 7.5, atol=1e-12)
        np.testing.assert_allclose(path.radius.value, np.linalg.norm(path.position.value, axis=1), rtol=1e-12)

    def test_distance_scales_the_sky_alone(self):
        near, far = (streamline(UPPER, distance=d, n_points=N) for d in (100, 0.2 * u.kpc))
        np.testing.assert_allclose(near.ra.value, 2 * far.ra.value)
        np.testing.assert_allclose(near.dec.value, 2 * far.dec.value)
        np.testing.assert_array_equal(near.velocity, far.velocity)

    def test_position_angle_turns_the_sky(self):
        path, turned = (streamline(UPPER | {"pa": pa * u.deg}, distance=DISTANCE, n_points=N) for pa in (194, 284))
        # a quarter turn from north to east
        np.testing.assert_allclose(turned.ra.value, path.dec.value, atol=1e-9)
        np.testing.assert_allclose(turned.dec.value, -path.ra.value, atol=1e-9)
        np.testing.assert_allclose(turned.velocity.value, path.velocity.value, atol=1e-12)


class TestUnits:
    @staticmethod
    def assert_same(path, other):
        for name in ("ra", "dec", "velocity", "position", "velocity_xyz", "radius", "time"):
            a, b = getattr(path, name).value, getattr(other, name).value
            np.testing.assert_allclose(b, a, atol=1e-10 * np.abs(a).max(), err_msg=name)

    def test_other_units(self, params):
        other = {name: value.to(OTHER_UNITS[name]) for name, value in params.items()}
        self.assert_same(
            streamline(params, distance=DISTANCE, n_points=N),
            streamline(other, distance=DISTANCE.to(u.lyr), n_points=N),
        )

    def test_bare_numbers(self):
        bare = {name: value.to_value(u.rad if value.unit == u.deg else value.unit) for name, value in UPPER.items()}
        self.assert_same(streamline(UPPER, distance=DISTANCE, n_points=N), streamline(bare, distance=293, n_points=N))

    def test_three_ways_to_state_the_rotation(self):
        gm = constants.G * UPPER["mass"]
        rc = (UPPER["r0"] ** 4 * UPPER["omega"] ** 2 / gm).to(u.au)
        expected = streamline(UPPER, distance=DISTANCE, n_points=N)
        others = {name: value for name, value in UPPER.items() if name != "omega"}
        self.assert_same(expected, streamline(others | {"rc": rc}, distance=DISTANCE, n_points=N))
        self.assert_same(expected, streamline(others | {"mu": rc / UPPER["r0"]}, distance=DISTANCE, n_points=N))

    def test_defaults(self):
        short = {name: value for name, value in UPPER.items() if name not in ("rmin", "v_lsr")}
        long = short | {"rmin": 0 * u.au, "v_lsr": 0 * KMS, "deltar": 3 * u.au}
        self.assert_same(streamline(short, distance=DISTANCE, n_points=N), streamline(long, distance=DISTANCE, n_points=N))
        self.assert_same(
            streamline(short, distance=DISTANCE, n_points=N),
            streamline(short | {"rmin": None}, distance=DISTANCE, n_points=N),
        )


class TestRefusals:
    @pytest.mark.parametrize("n_points", [1, 0, -5, 2.0, 10.5, "20", None, True, np.nan, [10]])
    def test_n_points(self, n_points):
        with pytest.raises(ValueError, match=r"^'n_points' must be a whole number of at least 2; got .*Use for"):
            streamline(UPPER, distance=DISTANCE, n_points=n_points)

    def test_parameters(self):
        with pytest.raises(ValueError, match=r"^'mass' must be given"):
            streamline({name: value for name, value in UPPER.items() if name != "mass"}, distance=DISTANCE, n_points=N)
        with pytest.raises(u.UnitsError, match=r"^'mass' must have a unit"):
            streamline(UPPER | {"mass": 3 * u.km}, distance=DISTANCE, n_points=N)

    @pytest.mark.parametrize("distance", [-1, np.nan])
    def test_distance(self, distance):
        with pytest.raises(ValueError, match=r"^'distance' must be positive and finite"):
            streamline(UPPER, distance=distance)

    def test_distance_is_required_by_name(self):
        with pytest.raises(TypeError, match="distance"):
            streamline(UPPER)
