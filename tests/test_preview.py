"""The quick comparison of a model with data: the same numbers as the fit and the model, however it is padded."""

import numpy as np
import pytest
from astropy import constants
from astropy import units as u

from sting import preview, problem, synthetic
from sting.derived import DERIVED
from sting.extract_streamline import Streamer
from sting.gradient_descent import evaluate_initial_guess
from sting.parameters import check_parameters
from sting.preview import Preview
from sting.stream_lines_grad import streamline

TRUTH = synthetic.TRUTH
#: Off the truth, so that nothing is zero.
MODEL = TRUTH | {"r0": 2600 * u.au, "phi0": 57 * u.deg, "mass": 3.8 * u.Msun, "v_lsr": 7.4 * u.km / u.s}
FREE = {name: MODEL[name] for name in ("r0", "phi0")}
FIXED = {name: value for name, value in MODEL.items() if name not in FREE}
PRIORS = {"r0": (2700, 150) * u.au, "phi0": (355, 30) * u.deg}
_, VALUES = check_parameters({}, MODEL)


@pytest.fixture(scope="module")
def points():
    return synthetic.make_streamer_points(seed=2)


def first(streamer, n):
    """The first n points."""
    return Streamer(streamer.pc_coords[:, :n], *(part[:n] for part in (*streamer.data, *streamer.uncertainties)))


@pytest.mark.parametrize("loss_method", [0, 1])
@pytest.mark.parametrize("matching", ["nearest", "stretch"])
def test_the_loss_is_that_of_the_fit(points, matching, loss_method):
    kind = {"priors": PRIORS, "matching": matching, "loss_method": loss_method}
    found = Preview(FREE, FIXED, 293, points, **kind)(VALUES)
    guess = evaluate_initial_guess(FREE, FIXED, points.data, points.uncertainties, 293, **kind)
    assert found.loss == pytest.approx(guess.chi2_total, rel=1e-9)
    np.testing.assert_allclose(found.parts, list(guess.chi2_components.values()), rtol=1e-9)
    matched = np.transpose([guess.ra_model_interp, guess.dec_model_interp, guess.v_model_interp])
    np.testing.assert_allclose(found.matched, matched, rtol=1e-9)
    assert found.parts[3] == pytest.approx((100 / 150) ** 2 + (62 / 30) ** 2)
    assert found.residuals.shape == (10, 3)
    np.testing.assert_allclose(np.sum(found.residuals**2, axis=0), found.parts[:3], rtol=1e-9)
    if loss_method == 0:
        expected = (np.transpose(points.data) - matched) / np.transpose(points.uncertainties)
        np.testing.assert_allclose(found.residuals, expected, rtol=1e-7, atol=1e-9)


def test_other_values_than_those_it_was_made_with(points):
    # all that follows a slider: nothing is left of the values at the start
    again = Preview(dict.fromkeys(FREE, 1.0), FIXED | {"mass": 1.0}, 293, points, priors=PRIORS)
    expected = Preview(FREE, FIXED, 293, points, priors=PRIORS)(VALUES)
    found = again(VALUES)
    assert found.loss == expected.loss
    np.testing.assert_array_equal(found.curve, expected.curve)


def test_stretch_reaches_as_far_as_r0_is_moved(points):
    fixed = {name: value for name, value in MODEL.items() if name != "omega"} | {"mu": 0.05}
    _, moved = check_parameters({}, fixed | {"r0": 30000})
    found = Preview({}, fixed, 293, points, matching="stretch")(moved)
    assert found.loss == pytest.approx(Preview({}, moved, 293, points, matching="stretch")(moved).loss, rel=1e-6)


def test_stretch_refuses_more_radii_than_the_fit_does(points, monkeypatch):
    monkeypatch.setattr(problem, "MOST_RADII", 1000)
    fixed = {name: value for name, value in MODEL.items() if name != "omega"} | {"mu": 0.05}
    compare = Preview({}, fixed, 293, points, matching="stretch")
    with pytest.raises(ValueError, match="'deltar' must leave at most 1000 radii"):
        compare(check_parameters({}, fixed | {"r0": 12000})[1])


def test_the_curve_is_the_streamline(points):
    found = Preview(FREE, FIXED, 293, points)(VALUES)
    path = streamline(MODEL, distance=293, n_points=len(found.curve))
    np.testing.assert_allclose(found.curve, np.transpose([path.ra.value, path.dec.value, path.velocity.value]), rtol=1e-9)
    np.testing.assert_allclose(found.position, path.position.value, rtol=1e-9, atol=1e-6)
    assert found.orbit["time_to_end"] == pytest.approx(path.time[-1].value, rel=1e-6)


def test_the_orbit_is_that_of_the_motion(points):
    orbit = Preview(FREE, FIXED, 293, points)(VALUES).orbit
    assert set(orbit) == {*DERIVED, "time_to_end"}
    path = streamline(MODEL, distance=293, n_points=2001)
    gm = constants.G * MODEL["mass"]
    energy = np.sum(path.velocity_xyz**2, axis=1) / 2 - gm / path.radius
    momentum = np.linalg.norm(np.cross(path.position, path.velocity_xyz), axis=1)
    latus = (momentum[0] ** 2 / gm).to_value(u.au)
    eccentricity = np.sqrt(1 + 2 * energy[0] * momentum[0] ** 2 / gm**2).to_value(1)
    expected = {
        "energy": energy[0].to_value(u.km**2 / u.s**2),
        "angular_momentum": momentum[0].to_value(u.au * u.km / u.s),
        "eccentricity": eccentricity,
        "semi_latus_rectum": latus,
        "periastron": latus / (1 + eccentricity),
        "rc": (MODEL["r0"] ** 4 * MODEL["omega"] ** 2 / gm).to_value(u.au),
    }
    for name, value in expected.items():
        assert orbit[name] == pytest.approx(value, rel=1e-6), name
    # the path meets the plane through the star that the axis is normal to
    pa, inc = VALUES["pa"], VALUES["inc"]
    axis = np.array([-np.sin(pa) * np.cos(inc), np.sin(inc), np.cos(pa) * np.cos(inc)])
    height = path.position.value @ axis
    assert height[0] > 0 > height[-1]
    place = np.argmin(np.abs(height))
    assert orbit["landing_radius"] == pytest.approx(path.radius[place].value, rel=0.01)
    assert orbit["time_to_midplane"] == pytest.approx(path.time[place].value, rel=0.001)


@pytest.mark.parametrize("name", ["rc", "mu"])
def test_the_rotation_however_it_is_stated(points, name):
    orbit = Preview(FREE, FIXED, 293, points)(VALUES)
    rc = orbit.orbit["rc"]
    value = {"rc": rc, "mu": rc / VALUES["r0"]}[name]
    stated = {n: v for n, v in FIXED.items() if n != "omega"} | {name: value}
    _, values = check_parameters({}, FREE | stated)
    found = Preview(FREE, stated, 293, points)(values)
    assert found.loss == pytest.approx(orbit.loss, rel=1e-6)
    np.testing.assert_allclose(found.curve, orbit.curve, rtol=1e-6, atol=1e-8)
    # it is this parameter that is read
    assert Preview(FREE, stated, 293, points)(values | {name: 0.5 * value}).orbit["rc"] == pytest.approx(0.5 * rc)


class TestPadding:
    def test_without_data(self):
        found = Preview(FREE, FIXED, 293)(VALUES)
        assert found.loss == 0
        assert found.residuals.shape == found.matched.shape == (0, 3)
        assert len(found.curve) == 200
        with_prior = Preview(FREE, FIXED, 293, priors={"r0": (2700, 50) * u.au})(VALUES)
        assert with_prior.loss == pytest.approx(4)
        # nothing to stretch the model over
        assert Preview(FREE, FIXED, 293, matching="stretch")(VALUES).loss == 0

    def test_the_number_of_points_does_not_matter(self):
        many = synthetic.make_streamer_points(n_elements=20, seed=2)
        whole = Preview(FREE, FIXED, 293, many)(VALUES)
        for n in range(1, 21):
            found = Preview(FREE, FIXED, 293, first(many, n))(VALUES)
            assert found.residuals.shape == (n, 3)
            np.testing.assert_allclose(found.residuals, whole.residuals[:n], rtol=1e-10, atol=1e-12)
            np.testing.assert_allclose(found.matched, whole.matched[:n], rtol=1e-10)
            assert found.loss == pytest.approx(np.sum(whole.residuals[:n] ** 2), rel=1e-10)

    def test_another_number_of_points_compiles_nothing(self, points):
        Preview(FREE, FIXED, 293, points)(VALUES)
        programs = preview._compare.n_compiled
        for n in (2, 7, 16):
            many = synthetic.make_streamer_points(n_elements=n, seed=2)
            Preview(FREE, FIXED, 300, many, priors=PRIORS)(VALUES)
        Preview(FREE | {"mass": 2.0}, {k: v for k, v in FIXED.items() if k != "mass"}, 293, points)(VALUES)
        assert preview._compare.n_compiled == programs


class TestLosses:
    def test_are_those_one_by_one(self, points):
        compare = Preview(FREE, FIXED, 293, points, priors=PRIORS)
        sets = [VALUES | {"r0": r0, "mass": mass} for r0, mass in ((2600, 3.8), (2000, 3.0), (3500, 5.0))]
        losses = compare.losses([compare.vector(values) for values in sets])
        np.testing.assert_allclose(losses, [compare(values).loss for values in sets], rtol=1e-10)
        assert isinstance(losses, np.ndarray)
        assert losses.dtype == np.float64


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"matching": "closest"}, ValueError, "'matching' must be one of"),
        ({"loss_method": 2}, ValueError, "'loss_method' must be one of"),
        ({"priors": {"mass": (4, 1)}}, ValueError, "'priors' must name free parameters"),
        ({"distance": -1}, ValueError, "'distance' must be positive"),
        ({"fixed": {}}, ValueError, "'omega, rc or mu' must be given"),
        ({"streamer": "nan"}, ValueError, "'streamer' must have finite data"),
    ],
)
def test_what_is_wrong_is_refused_at_once(points, change, error, message):
    arguments = {"free": FREE, "fixed": FIXED, "distance": 293, "streamer": points} | change
    if arguments["streamer"] == "nan":
        arguments["streamer"] = Streamer(points.pc_coords, np.full(10, np.nan), *points.data[1:], *points.uncertainties)
    with pytest.raises(error, match=message):
        Preview(**arguments)
