"""Numbers derived from a fit and their uncertainties; mass infall rates."""

import jax
import numpy as np
import pytest
from astropy import constants as const
from astropy import units as u
from scipy.interpolate import CubicSpline

from sting import synthetic
from sting.core.elements import elements
from sting.core.likelihood import parameters, path_of
from sting.derived import DERIVED, derived_table, infall_rate, infall_rate_profile
from sting.errors import sample_coordinates
from sting.gradient_descent import fit_streamline

TRUTH = synthetic.TRUTH
FREE = ("r0", "theta0", "phi0", "omega", "mass", "pa")
PER_EMB_50 = {
    "r0": 3330 * u.au,
    "theta0": 61.5 * u.deg,
    "phi0": 28 * u.deg,
    "v_r0": 1.25 * u.km / u.s,
    "omega": 4.53e-13 / u.s,
    "mass": 2.47 * u.Msun,
    "inc": -43 * u.deg,
    "pa": 170 * u.deg,
    "v_lsr": 7.5 * u.km / u.s,
}


def fit(free, truth=TRUTH, **options):
    """Fit of points of the default streamer that starts at ``truth``."""
    start = {name: truth[name] for name in free}
    fixed = {name: value for name, value in truth.items() if name not in free}
    streamer = synthetic.make_streamer_points(seed=4, sigma=(0.05 * u.arcsec, 0.05 * u.arcsec, 0.01 * u.km / u.s))
    return fit_streamline(start, fixed, streamer, 293, optimizer="lbfgs", save_folder=None, progress=False, **options)


@pytest.fixture(scope="module")
def result():
    return fit(FREE, param_bounds={"r0": (1000, 10000) * u.au}, priors={"mass": (4, 0.5) * u.Msun, "pa": (194, 5) * u.deg})


@pytest.fixture(scope="module")
def flat():
    """A fit whose axis nothing holds."""
    return fit((*FREE, "v_r0", "inc"), n_epochs=1)


@pytest.fixture(scope="module")
def per_emb_50():
    return fit(["v_lsr"], PER_EMB_50)


@pytest.fixture(scope="module")
def rows(result):
    return {row["quantity"]: row for row in result.derived()}


class TestTable:
    def test_layout(self, result):
        table = result.derived()
        assert table.colnames == ["quantity", "value", "sigma", "unit", "any_axis", "description"]
        assert list(table["quantity"]) == list(DERIVED)
        # what holds for every axis first
        assert list(table["any_axis"]) == sorted(table["any_axis"], reverse=True)
        assert (table["sigma"] > 0).all()
        assert np.isfinite(table["value"]).all()

    def test_units(self, result, rows):
        momentum = rows["angular_momentum"], rows["angular_momentum_pc"]
        assert [row["unit"] for row in momentum] == ["AU km / s", "km pc / s"]
        for column in ("value", "sigma"):
            first, second = (row[column] * u.Unit(row["unit"]) for row in momentum)
            assert first.to_value(second.unit) == pytest.approx(second.value, rel=1e-12)

    def test_values_are_those_of_the_streamline(self, result, rows):
        path = result.streamline(20001)
        length = np.linalg.norm(np.diff(path.position.value, axis=0), axis=1).sum()
        assert rows["length"]["value"] == pytest.approx(length, rel=1e-6)
        time = np.interp(-rows["rc"]["value"], -path.radius.value, path.time.value)
        assert rows["time_to_rc"]["value"] == pytest.approx(time, rel=1e-6)
        p = result.best_opt_params
        free_fall = (np.pi / 2 * np.sqrt(p["r0"] ** 3 / (2 * const.G * p["mass"]))).to_value(u.yr)
        assert rows["free_fall_time"]["value"] == pytest.approx(free_fall, rel=1e-9)

    def test_places_beyond_the_end_of_the_path_are_named(self, rows, per_emb_50):
        assert rows["time_to_periastron"]["description"].endswith("beyond the inner end of the path, along its orbit")
        assert "beyond" not in rows["time_to_rc"]["description"]
        cut = fit(["v_lsr"], TRUTH | {"rmin": 500 * u.au}).derived()
        beyond = [row["quantity"] for row in cut if "beyond" in row["description"]]
        assert beyond == ["time_to_rc", "time_to_midplane", "time_to_periastron"]

    def test_bound(self, result, rows):
        number = -rows["energy"]["value"] / rows["energy"]["sigma"]
        assert result.derived().meta["bound"] == f"The orbit is bound: its energy is {number:.2g} sigma below zero."

    def test_unbound(self, per_emb_50):
        # of fixed parameters alone: no sigma to count in
        assert per_emb_50.derived().meta["bound"] == "The orbit is unbound: its energy is above zero."

    @pytest.mark.parametrize(("v_r0", "seed", "spread"), [(0.25, 0, 0.5), (1.0, 0, 1.0), (0.25, 1, 0.5)])
    def test_bound_where_sigma_will_not_do(self, v_r0, seed, spread):
        """The sentence says what the profile of the energy says, which the table shows, and not the plain sigma."""
        truth = TRUTH | {"v_r0": v_r0 * u.km / u.s}
        sigma = (spread * u.arcsec, spread * u.arcsec, 0.2 * spread * u.km / u.s)
        points = synthetic.make_streamer_points(truth, n_elements=12, sigma=sigma, seed=seed)
        free = ("r0", "theta0", "phi0", "v_r0", "omega", "mass")
        fixed = {name: value for name, value in truth.items() if name not in free}
        quiet = {"optimizer": "lbfgs", "save_folder": None, "progress": False}
        start = {name: truth[name] for name in free}
        found = fit_streamline(start, fixed, points, 293, priors={"mass": (4.0, 0.4) * u.Msun}, **quiet)
        assert found.profiler.why_not_gaussian("energy")
        said = found.derived().meta["bound"]
        assert said in found.summary()
        holds_zero = []
        for level in (0.6827, 0.9545):
            ends = found.profile("energy", level=level)
            holds_zero.append(ends.lower.value < 0 < ends.upper.value)
        assert holds_zero[0] == ("is open" in said)
        assert (holds_zero == [False, True]) == ("likely" in said)
        assert (not any(holds_zero)) == ("more than two sigma" in said)

    def test_where_the_axis_is_from(self, result, flat):
        words = result.derived().meta["axis"]
        assert "any_axis False hold for this rotation axis only" in words
        assert "inc = -45 deg (fixed), pa = 194 +- 5 deg (prior)." in words
        assert "inc free, without a prior, pa free, without a prior." in flat.derived().meta["axis"]

    def test_summary_says_so(self, result):
        text = result.summary()
        assert result.derived().meta["bound"] in text
        assert "Those without * hold for this rotation axis only" in text
        assert " * angular_momentum_pc 0.00" in text
        assert "   time_to_rc          1" in text


class TestUncertainties:
    def test_against_sampling(self, result):
        """A hundred times narrower than the fit's, so that everything is linear; the scatter of 10000 draws is 0.7 per cent."""
        x = sample_coordinates(result.x, 1e-4 * result.uncertainties.coordinate_covariance, 10000, seed=1)

        def function(x):
            return elements(path_of(parameters(x, result.problem, result.settings), result.problem["distance"]))

        with jax.enable_x64(True):
            drawn = jax.device_get(jax.jit(jax.vmap(function))(x))
        for row in result.derived():
            assert np.std(drawn[row["quantity"]]) * 100 == pytest.approx(row["sigma"], rel=0.03), row["quantity"]

    def test_against_the_samples_of_the_fit(self, result, rows):
        drawn = result.sample(4000, seed=2)
        time = np.pi / 2 * np.sqrt(drawn["r0"] ** 3 / (2 * const.G * drawn["mass"]))
        low, high = np.percentile(time.to_value(u.yr), [15.87, 84.13])
        assert (high - low) / 2 == pytest.approx(rows["free_fall_time"]["sigma"], rel=0.05)
        energy = rows["energy"]["sigma"]
        speed = ((drawn["omega"] * drawn["r0"] * np.sin(drawn["theta0"])) ** 2 + TRUTH["v_r0"] ** 2) / 2
        sampled = (speed - const.G * drawn["mass"] / drawn["r0"]).to_value(u.km**2 / u.s**2)
        low, high = np.percentile(sampled, [15.87, 84.13])
        assert (high - low) / 2 == pytest.approx(energy, rel=0.05)

    def test_what_holds_for_every_axis_does_not_change_along_the_flat_directions(self, flat):
        """Derivatives along them, relative to the largest that there are."""
        directions = flat.uncertainties.flat_directions
        assert len(directions) == 2

        def function(x):
            found = elements(path_of(parameters(x, flat.problem, flat.settings), flat.problem["distance"]))
            return {name: found[name] for name in DERIVED}

        with jax.enable_x64(True):
            jacobian = jax.device_get(jax.jit(jax.jacfwd(function))(flat.x))
        for name, (_, any_axis, _) in DERIVED.items():
            moved = np.abs(directions @ jacobian[name]).max() / np.linalg.norm(jacobian[name])
            assert (moved < 1e-6) == any_axis, (name, moved)

    def test_what_only_an_axis_fixes_is_unconstrained_without_one(self, flat):
        table = flat.derived()
        assert (np.isfinite(table["sigma"]) == table["any_axis"]).all()
        assert "rc                  1" in flat.summary()
        assert "unconstrained AU" in flat.summary()


class TestInfallRate:
    def test_is_mass_by_time(self, result, rows):
        for to, radius in (("rc", "rc"), ("midplane", "landing_radius"), ("periastron", "periastron")):
            (row,) = result.infall_rate(0.02 * u.Msun, to=to)
            time = rows[f"time_to_{to}"]
            assert row["rate"].unit == u.Msun / u.yr
            assert row["rate"].value == pytest.approx(0.02 / time["value"], rel=1e-12)
            assert (row["rate_sigma"] / row["rate"]).value == pytest.approx(time["sigma"] / time["value"], rel=1e-12)
            assert row["outer"] == result.best_opt_params["r0"]
            assert row["inner"].to_value(u.au) == pytest.approx(rows[radius]["value"])

    def test_of_a_mass_in_any_unit_with_its_uncertainty(self, result, rows):
        (row,) = result.infall_rate(20 * u.Mjup, 5 * u.Mjup)
        time = rows["time_to_rc"]
        assert row["mass"].to_value(u.Mjup) == pytest.approx(20)
        assert (row["rate_sigma"] / row["rate"]).value ** 2 == pytest.approx(
            0.25**2 + (time["sigma"] / time["value"]) ** 2, rel=1e-9
        )

    def test_says_what_it_depends_on(self, result):
        meta = result.infall_rate(0.02 * u.Msun).meta
        assert meta["definition"] == "mass / time from r0 to rc"
        assert meta["axis"].startswith("The time holds for this rotation axis only")
        assert "pa = 194 +- 5 deg (prior)" in meta["axis"]

    def test_without_an_axis_it_is_unconstrained(self, flat):
        assert np.isinf(flat.infall_rate(0.02 * u.Msun)["rate_sigma"][0])

    @pytest.mark.parametrize("mass", [0.02, 1 * u.au, "much", 1 * u.Msun / u.au, None])
    def test_refuses_what_is_no_mass(self, result, mass):
        with pytest.raises(u.UnitsError, match="'mass' must be a Quantity convertible to solMass; got"):
            result.infall_rate(mass)

    @pytest.mark.parametrize("mass", [-1 * u.Msun, np.nan * u.Msun, np.inf * u.Msun])
    def test_refuses_an_impossible_mass(self, result, mass):
        with pytest.raises(ValueError, match="'mass' must be finite and not negative; got"):
            result.infall_rate(mass)

    def test_refuses_the_rest(self, result):
        with pytest.raises(ValueError, match="'mass' must be positive; got 0"):
            result.infall_rate(0 * u.Msun)
        with pytest.raises(ValueError, match="'mass' must be one number; got"):
            result.infall_rate([1, 2] * u.Msun)
        with pytest.raises(u.UnitsError, match="'mass_sigma' must be a Quantity convertible to solMass; got"):
            result.infall_rate(1 * u.Msun, 0.3)
        with pytest.raises(ValueError, match="'mass_sigma' must be finite and not negative; got"):
            result.infall_rate(1 * u.Msun, -0.3 * u.Msun)
        with pytest.raises(ValueError, match="'to' must be one of 'rc', 'midplane', 'periastron'; got 'star'"):
            result.infall_rate(1 * u.Msun, to="star")
        with pytest.raises(TypeError, match=r"'sigma' must be a keyword of infall_rate.*Did you mean 'mass_sigma'"):
            infall_rate(result, 1 * u.Msun, sigma=1 * u.Msun)


class TestProfile:
    def test_times_of_per_emb_50(self, per_emb_50):
        """Published as 280.8, 1336.1, ... yr from six radii to rc, sums over 1 au steps."""
        rc = next(row["value"] for row in per_emb_50.derived() if row["quantity"] == "rc")
        edges = [2935, 2605, 2045, 1445, 965, 435, rc] * u.au
        found = infall_rate_profile(per_emb_50, edges, np.ones(6) * u.Msun)
        times = np.cumsum(found["time"].to_value(u.yr)[::-1])
        np.testing.assert_allclose(times, [275.8, 1328.1, 2521.8, 4265.5, 6100.6, 7262.8], rtol=0, atol=0.1)
        np.testing.assert_allclose(times, [280.8, 1336.1, 2531.9, 4277.7, 6114.4, 7277.5], rtol=0.02)

    def test_in_radius(self, result):
        path = result.streamline(5001)
        edges = np.array([2800, 2000, 1000, 300])
        time = -np.diff(CubicSpline(-path.radius.value, -path.time.value)(-edges))
        found = result.infall_rate_profile(edges * u.au, [1, 2, 3] * u.Mjup)
        np.testing.assert_allclose(found["time"].to_value(u.yr), time, rtol=1e-6)
        np.testing.assert_allclose(found["rate"].to_value(u.Mjup / u.yr), [1, 2, 3] / time, rtol=1e-6)
        np.testing.assert_array_equal(found["outer"].to_value(u.au), edges[:-1])
        np.testing.assert_array_equal(found["inner"].to_value(u.au), edges[1:])
        assert found["rate"].unit == u.Msun / u.yr
        assert "every rotation axis" in found.meta["axis"]

    def test_in_projected_distance(self, result):
        path = result.streamline(5001)
        edges = np.array([9.0, 6.0, 2.0])
        time = -np.diff(CubicSpline(-np.hypot(path.ra, path.dec).value, -path.time.value)(-edges))
        found = result.infall_rate_profile(edges * u.arcsec, [1, 2] * u.Msun)
        np.testing.assert_allclose(found["time"].to_value(u.yr), time, rtol=1e-6)
        in_degrees = result.infall_rate_profile((edges * u.arcsec).to(u.deg), [1, 2] * u.Msun)
        np.testing.assert_allclose(in_degrees["rate"].value, found["rate"].value, rtol=1e-9)

    def test_from_inside_out(self, result):
        edges, mass, sigma = [2800, 2000, 1000] * u.au, [1, 2] * u.Msun, [0.1, 0.5] * u.Msun
        found, turned = (result.infall_rate_profile(edges[s], mass[s], sigma[s]) for s in (slice(None), slice(None, None, -1)))
        for name in found.colnames:
            np.testing.assert_array_equal(turned[name][::-1], found[name])

    @pytest.mark.parametrize(("edges", "unit"), [([2800, 2000, 1500], u.au), ([9, 7, 6], u.arcsec)])
    def test_linear_mass(self, result, edges, unit):
        width = -np.diff(edges)
        linear, sigma = [3e-6, 2e-6] * u.Msun / unit, [1e-6, 1e-7] * u.Msun / unit
        found = result.infall_rate_profile(edges * unit, linear, sigma)
        same = result.infall_rate_profile(edges * unit, linear.value * width * u.Msun, sigma.value * width * u.Msun)
        for name in ("mass", "rate", "rate_sigma"):
            np.testing.assert_allclose(found[name].value, same[name].value, rtol=1e-12)

    @pytest.mark.parametrize("edges", [[2500, 1500, 800] * u.au, [8, 5, 2] * u.arcsec])
    def test_uncertainties_against_sampling(self, result, edges):
        """Of the times, by streamlines of parameter sets drawn around the fit, a tenth as wide as it."""
        from sting.stream_lines_grad import streamline

        # the units differ by many orders of magnitude
        sigma = np.sqrt(np.diag(result.covariance))
        values = sigma * sample_coordinates(np.zeros(len(FREE)), 1e-2 * result.covariance / np.outer(sigma, sigma), 400, seed=3)
        times = []
        for row in values:
            moved = {n: v + d * v.unit for (n, v), d in zip(result.best_opt_params.items(), row, strict=True)}
            path = streamline(result.fixed_params | moved, distance=293, n_points=400)
            along = path.radius.value if edges.unit == u.au else np.hypot(path.ra, path.dec).value
            times.append(-np.diff(CubicSpline(-along, -path.time.value)(-edges.value)))
        found = result.infall_rate_profile(edges, [1, 1] * u.Msun)
        # 400 draws scatter by 3.5 per cent
        np.testing.assert_allclose(10 * np.std(times, axis=0), found["time_sigma"].value, rtol=0.12)
        np.testing.assert_allclose(found["rate_sigma"] / found["rate"], found["time_sigma"] / found["time"], rtol=1e-12)

    def test_holds_for_every_axis(self, flat):
        for edges in ([2500, 1500, 800] * u.au, [8, 5, 2] * u.arcsec):
            assert np.isfinite(flat.infall_rate_profile(edges, [1, 1] * u.Msun)["rate_sigma"]).all()

    def test_a_bin_without_mass(self, result):
        found = result.infall_rate_profile([2500, 1500, 800] * u.au, [1, 0] * u.Msun)
        assert found["rate"][1] == found["rate_sigma"][1] == 0
        assert found["rate"][0] > 0

    @pytest.mark.parametrize("edges", [[3, 2, 1], [3, 2, 1] * u.s, "far"])
    def test_refuses_what_are_no_edges(self, result, edges):
        with pytest.raises(u.UnitsError, match="'edges' must be a Quantity convertible to AU or arcsec; got"):
            result.infall_rate_profile(edges, [1, 1] * u.Msun)

    @pytest.mark.parametrize(
        "edges", [[2000, 1000, 1500], [2000, 2000, 1000], [2000], 2000, [[2000, 1000]], [2000, np.nan, 1000]]
    )
    def test_refuses_edges_that_go_both_ways(self, result, edges):
        with pytest.raises(ValueError, match="'edges' must be at least two, and go one way; got"):
            result.infall_rate_profile(edges * u.au, [1, 1] * u.Msun)

    @pytest.mark.parametrize("edges", [[9000, 1000], [2000, 1]])
    def test_refuses_radii_off_the_path(self, result, edges):
        with pytest.raises(ValueError, match=r"'edges' must lie on the path, from 3078\.45 to 71\.4179 au; got"):
            result.infall_rate_profile(edges * u.au, [1] * u.Msun)

    @pytest.mark.parametrize("edges", [[60, 5], [5, 0.01]])
    def test_refuses_projected_distances_off_the_path(self, result, edges):
        with pytest.raises(ValueError, match=r"that the path crosses once; it goes from 10.5 to 0.2282 arcsec; got"):
            result.infall_rate_profile(edges * u.arcsec, [1] * u.Msun)

    def test_refuses_projected_distances_crossed_twice(self):
        # it starts almost behind the star and swings out before it falls in
        behind = {"theta0": 88 * u.deg, "phi0": 85 * u.deg, "inc": 5 * u.deg, "pa": 0 * u.deg, "v_r0": 0 * u.km / u.s}
        result = fit(["v_lsr"], TRUTH | behind | {"omega": 1.2e-12 / u.s})
        path = result.streamline()
        along = np.hypot(path.ra, path.dec).value
        assert along.max() > 1.5 * along[0]
        with pytest.raises(ValueError, match="that the path crosses once"):
            result.infall_rate_profile([1.2 * along[0], 0.9 * along[0]] * u.arcsec, [1] * u.Msun)

    def test_refuses_masses_that_do_not_fit_the_edges(self, result):
        edges = [2000, 1000, 500] * u.au
        with pytest.raises(u.UnitsError, match="'mass' must be a Quantity convertible to solMass or solMass / AU; got"):
            result.infall_rate_profile(edges, [1, 1] * u.Msun / u.arcsec)
        with pytest.raises(ValueError, match=r"'mass' must be of shape \(2,\); got shape \(3,\)"):
            result.infall_rate_profile(edges, [1, 1, 1] * u.Msun)
        with pytest.raises(u.UnitsError, match="'mass_sigma' must be a Quantity convertible to solMass; got"):
            result.infall_rate_profile(edges, [1, 1] * u.Msun, [1, 1] * u.Msun / u.au)
        with pytest.raises(ValueError, match="'mass' must be positive"):
            result.infall_rate_profile(edges, [0, 0] * u.Msun)


def test_the_method_is_the_function(result):
    assert (derived_table(result)["value"] == result.derived()["value"]).all()
