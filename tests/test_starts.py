"""The search for a start: what it finds, where it looks, and what it leaves alone."""

import math

import numpy as np
import pytest
from astropy import constants
from astropy import units as u

from sting import starts, synthetic
from sting.parameters import check_parameters, parse_bounds, parse_priors, to_internal
from sting.preview import Preview
from sting.starts import direction_of, iterate_search, suggest_start
from sting.stream_lines_grad import streamline

TRUTH = synthetic.TRUTH
SHAPE = ("r0", "theta0", "phi0", "v_r0", "omega", "mass")


def split(*free, **values):
    """Free and fixed parameters: the truth, but for what is given."""
    model = TRUTH | values
    return {name: model[name] for name in free}, {name: value for name, value in model.items() if name not in free}


@pytest.fixture(scope="module")
def points():
    return synthetic.make_streamer_points(seed=4)


#: Where the loss is least that takes the place of the real one.
LEAST = {"r0": 2500.0, "theta0": 0.9, "phi0": 1.0, "v_r0": 0.4, "mass": 3.0, "inc": -0.8, "pa": 3.4, "v_lsr": 7.2, "rmin": 50.0}
LEAST |= {"rc": 200.0, "mu": 0.08, "omega": 6e-13}


class Valley:
    """Takes the place of the comparison with the data: a loss that is least at `LEAST`, and compiles nothing."""

    def __init__(self, free, fixed, distance, streamer, **keywords):
        _, values = check_parameters({}, free | fixed)
        self.names, self.keywords = list(values), keywords
        self.seen.append(self)
        self.asked = []

    def vector(self, values):
        return np.array([values[name] for name in self.names])

    def losses(self, vectors):
        vectors = np.array(vectors)
        self.asked.append(vectors)
        least = np.array([LEAST.get(name, 1.0) for name in self.names])
        return 5 + np.sum((np.log(np.abs(vectors)) - np.log(np.abs(least))) ** 2, axis=1)


@pytest.fixture
def valley(monkeypatch):
    """The searches that were made in the valley."""
    monkeypatch.setattr(Valley, "seen", [], raising=False)
    monkeypatch.setattr(starts, "Preview", Valley)
    return Valley.seen


def asked(search):
    """All values that were asked for, by parameter."""
    return dict(zip(search.names, np.concatenate(search.asked[1:]).T, strict=True))


@pytest.fixture(scope="module")
def rounds():
    """A search of everything that points can tell, from a start that is far off."""
    free, fixed = split(*SHAPE, r0=6000 * u.au, theta0=20 * u.deg, phi0=250 * u.deg, omega=1e-14 / u.s, mass=3.0)
    return list(iterate_search(free, fixed, synthetic.make_streamer_points(seed=4), 293))


class TestFound:
    def test_a_start_that_is_good_enough(self, rounds, points):
        # 30 residuals of unit variance
        assert rounds[-1]["loss"] < 60
        assert rounds[0]["loss"] > 1000
        _, fixed = split(*SHAPE)
        found = rounds[-1]["params"]
        _, values = check_parameters({}, found | fixed)
        assert Preview(found, fixed, 293, points)(values).loss == pytest.approx(rounds[-1]["loss"], rel=1e-3)

    def test_it_is_told_how_far_it_is(self, rounds):
        fractions = [found["fraction"] for found in rounds]
        assert fractions[0] == 0
        assert fractions[-1] == 1
        assert fractions == sorted(fractions)
        losses = [found["loss"] for found in rounds[1:]]
        assert losses == sorted(losses, reverse=True)
        assert losses[-1] < losses[0]

    def test_first_comes_the_start_that_was_given(self, rounds):
        assert u.isclose(rounds[0]["params"]["r0"], 6000 * u.au)
        assert u.isclose(rounds[0]["params"]["phi0"], 250 * u.deg)

    def test_in_display_units_and_only_what_is_free(self, rounds):
        for found in rounds:
            assert set(found["params"]) == set(SHAPE)
        units = {name: value.unit for name, value in rounds[-1]["params"].items()}
        assert units["theta0"] == units["phi0"] == u.deg
        assert (units["r0"], units["mass"]) == (u.au, u.Msun)


class TestWhereItLooks:
    ALL = ("r0", "theta0", "phi0", "v_r0", "mass", "inc", "pa", "v_lsr", "rmin")

    @pytest.mark.parametrize("rotation", [{"omega": 5.5e-13}, {"rc": 150.0}, {"mu": 0.05}], ids=lambda given: next(iter(given)))
    def test_the_rotation_however_it_is_stated(self, valley, points, rotation):
        (name,) = rotation
        model = {n: v for n, v in TRUTH.items() if n != "omega"} | rotation
        free = {n: model[n] for n in ("mass", name, "r0")}
        fixed = {n: v for n, v in model.items() if n not in free}
        found = suggest_start(free, fixed, points, 293)
        assert set(found) == {"mass", name, "r0"}
        # every set that is tried is one that falls in, over orders of magnitude of the rotation
        values = asked(valley[0])
        if name == "omega":
            angular = values["r0"] ** 4 * values["omega"] ** 2 * u.au**4 / u.s**2
            mu = (angular / (constants.G * values["mass"] * u.Msun) / (values["r0"] * u.au)).to_value(1)
        else:
            mu = values["mu"] if name == "mu" else values["rc"] / values["r0"]
        assert 0.99e-4 < mu.min() < 2e-4
        assert 0.85 < mu.max() < 1
        assert found[name].value == pytest.approx(LEAST[name], rel=0.25)

    def test_the_whole_domain(self, valley, points):
        free, fixed = split(*self.ALL)
        found = suggest_start(free, fixed, points, 293)
        values = asked(valley[0])
        reach = np.hypot(points.ra_data, points.dec_data).max() * 293
        assert 0.85 * reach < values["r0"].min() < reach
        assert values["r0"].max() > 4 * reach
        ranges = {"theta0": (0, math.pi), "phi0": (0, 2 * math.pi), "pa": (0, 2 * math.pi), "inc": (-math.pi / 2, math.pi / 2)}
        for name, (low, high) in ranges.items():
            span = high - low
            assert low <= values[name].min() < low + 0.05 * span, name
            assert high - 0.05 * span < values[name].max() <= high, name
        assert (values["rmin"] == 50).all()
        assert 1.0 <= values["mass"].min() < 1.1
        assert 15 < values["mass"].max() <= 16
        assert 6.5 <= values["v_lsr"].min() < 6.6
        assert 8.4 < values["v_lsr"].max() <= 8.5
        assert values["v_r0"].min() >= 0
        assert values["v_r0"].max() > 1
        # directions are spread evenly over the sphere in the first round
        first = dict(zip(valley[0].names, np.concatenate(valley[0].asked[1:5]).T, strict=True))
        assert np.mean(np.cos(first["theta0"]) > 0.5) == pytest.approx(0.25, abs=0.04)
        assert np.mean(np.sin(first["inc"]) > 0.5) == pytest.approx(0.25, abs=0.04)
        for name in ("theta0", "inc", "r0"):
            assert to_internal(name, found[name]) == pytest.approx(LEAST[name], rel=0.25), name

    def test_within_bounds(self, valley, points):
        free, fixed = split(*SHAPE, "v_lsr", theta0=40 * u.deg, mass=5 * u.Msun, r0=5000 * u.au, phi0=300 * u.deg)
        bounds = {
            "theta0": (30, 47) * u.deg,
            "mass": (4.5, 7) * u.Msun,
            "r0": (4000, 6000) * u.au,
            "phi0": (280, 330) * u.deg,
            "v_r0": (0.1, 0.35) * u.km / u.s,
            "omega": (1e-14, 6e-13) / u.s,
            "v_lsr": (7.4, 7.6) * u.km / u.s,
        }
        found = suggest_start(free, fixed, points, 293, param_bounds=bounds)
        values = asked(valley[0])
        for name, (low, high) in bounds.items():
            low, high = to_internal(name, low), to_internal(name, high)
            assert low <= values[name].min() < low + 0.05 * (high - low), name
            assert high - 0.05 * (high - low) < values[name].max() <= high, name
        parse_bounds(bounds, {name: to_internal(name, value) for name, value in found.items()})

    def test_within_two_sigma_of_the_priors(self, valley, points):
        free, fixed = split("r0", "phi0", "inc", "v_lsr", "omega")
        priors = {
            "r0": (3000, 200) * u.au,
            "phi0": (350, 20) * u.deg,
            "inc": (-45, 2) * u.deg,
            "v_lsr": (7.3, 0.1) * u.km / u.s,
            "omega": (5e-13, 1e-13) / u.s,
        }
        found = suggest_start(free, fixed, points, 293, priors=priors)
        values = asked(valley[0])
        for name, (mean, sigma) in parse_priors(priors, check_parameters(free, fixed)[0]).items():
            pull = (values[name] - mean) / sigma
            assert -2.0001 <= pull.min() < -1.9, name
            assert 1.9 < pull.max() <= 2.0001, name
        assert found["inc"].value == pytest.approx(np.degrees(-0.8), abs=1)
        # the priors are part of the loss
        assert valley[0].keywords["priors"] == priors

    def test_within_both(self, valley, points):
        free, fixed = split("theta0", "mass", theta0=45 * u.deg)
        bounds = {"theta0": (40, 50) * u.deg, "mass": (3.5, 6) * u.Msun}
        priors = {"theta0": (52, 10) * u.deg, "mass": (3, 1) * u.Msun}
        suggest_start(free, fixed, points, 293, param_bounds=bounds, priors=priors)
        values = asked(valley[0])
        for name, (low, high) in parse_bounds(bounds, {"theta0": math.radians(45), "mass": 4.0}).items():
            assert low <= values[name].min(), name
            assert values[name].max() <= high, name

    def test_within_both_of_a_periodic_parameter(self, valley, points):
        free, fixed = split("phi0", "r0", phi0=45 * u.deg)
        suggest_start(free, fixed, points, 293, param_bounds={"phi0": (40, 50) * u.deg}, priors={"phi0": (60, 20) * u.deg})
        values = np.degrees(asked(valley[0])["phi0"])
        assert values.min() >= 40 - 1e-9
        assert values.max() <= 50 + 1e-9

    def test_what_is_found_lies_within_the_bounds_to_the_last_digit(self, valley, points, monkeypatch):
        monkeypatch.setitem(LEAST, "theta0", 1.5)
        for high in np.linspace(50, 51, 11):
            bounds = {"theta0": (40, high) * u.deg}
            free, fixed = split("theta0", theta0=45 * u.deg)
            found = suggest_start(free, fixed, points, 293, param_bounds=bounds, priors={"theta0": (60, 10) * u.deg})
            parse_bounds(bounds, {"theta0": to_internal("theta0", found["theta0"])})

    def test_bounds_below_zero_of_a_periodic_parameter(self, valley, points):
        free, fixed = split("pa", pa=-170 * u.deg)
        bounds = {"pa": (-200, -150) * u.deg}
        found = suggest_start(free, fixed, points, 293, param_bounds=bounds)
        parse_bounds(bounds, {"pa": to_internal("pa", found["pa"])})

    def test_support_is_never_left(self, valley, points):
        # a prior that reaches beyond it
        free, fixed = split("v_r0", "theta0", "rmin")
        priors = {"v_r0": (0.1, 1) * u.km / u.s, "theta0": (5, 10) * u.deg, "rmin": (10, 50) * u.au}
        suggest_start(free, fixed, points, 293, priors=priors)
        values = asked(valley[0])
        assert values["v_r0"].min() >= 0
        assert values["theta0"].min() > 0
        assert values["rmin"].min() >= 0


class TestWhatStays:
    def test_fixed_parameters(self, valley, points):
        free, fixed = split("r0", "phi0")
        kept = dict(fixed)
        found = suggest_start(free, fixed, points, 293)
        assert set(found) == {"r0", "phi0"}
        assert fixed == kept
        values = asked(valley[0])
        for name, value in check_parameters({}, free | fixed)[1].items():
            if name not in free:
                assert (values[name] == value).all(), name

    def test_the_same_seed_gives_the_same_answer(self, valley, points):
        free, fixed = split("r0", "phi0", "mass")
        first, again, other = (suggest_start(free, fixed, points, 293, seed=seed) for seed in (3, 3, 4))
        assert first == again
        assert first != other
        assert suggest_start(free, fixed, points, 293) == suggest_start(free, fixed, points, 293, seed=0)

    def test_the_random_numbers_of_the_user(self, valley, points):
        np.random.seed(1)  # noqa: NPY002
        expected = np.random.random()  # noqa: NPY002
        np.random.seed(1)  # noqa: NPY002
        suggest_start(*split("r0"), points, 293)
        assert np.random.random() == expected  # noqa: NPY002

    def test_the_kind_of_loss(self, valley, points):
        suggest_start(*split("r0"), points, 293, matching="stretch", loss_method=0)
        assert valley[0].keywords == {"priors": None, "matching": "stretch", "loss_method": 0}

    def test_losses_that_are_not_finite_are_passed_over(self, valley, points, monkeypatch):
        losses = Valley.losses

        def broken(self, vectors):
            found, r0 = losses(self, vectors), np.array(vectors)[:, self.names.index("r0")]
            return np.where(r0 < 3000, -np.inf, np.where(r0 < 4000, np.nan, found))

        monkeypatch.setattr(Valley, "losses", broken)
        found = suggest_start(*split("r0"), points, 293)
        assert 4000 <= found["r0"].value < 4400


class TestRefused:
    def test_no_free_parameter(self, points):
        with pytest.raises(ValueError, match=r"^'initial_opt_params' must hold at least one parameter"):
            suggest_start({}, TRUTH, points, 293)

    @pytest.mark.parametrize(
        ("keywords", "error", "message"),
        [
            ({"bounds": {}}, TypeError, r"^'bounds' must be a keyword of iterate_search.*Did you mean 'param_bounds'"),
            ({"seed": -1}, ValueError, r"^'seed' must be a whole number"),
            ({"seed": 1.5}, ValueError, r"^'seed' must be a whole number"),
            ({"param_bounds": {"mass": (1, 2)}}, ValueError, r"^'param_bounds' must name free parameters only"),
            ({"param_bounds": {"r0": (1, 2)}}, ValueError, r"^'r0' must start within its bounds"),
            ({"priors": {"r0": (1, -2)}}, ValueError, "must be a finite mean and a positive sigma"),
            ({"matching": "closest"}, ValueError, r"^'matching' must be one of"),
            ({"loss_method": 3}, ValueError, r"^'loss_method' must be one of"),
        ],
    )
    def test_keywords(self, points, keywords, error, message):
        with pytest.raises(error, match=message):
            suggest_start(*split("r0"), points, 293, **keywords)

    def test_parameters(self, points):
        free, fixed = split("r0")
        with pytest.raises(ValueError, match=r"^'mass' must be given"):
            suggest_start(free, {name: value for name, value in fixed.items() if name != "mass"}, points, 293)
        with pytest.raises(ValueError, match=r"^'distance' must be positive"):
            suggest_start(free, fixed, points, -293)

    def test_before_anything_is_done(self, points):
        # the input is checked by the call, not by the first step
        with pytest.raises(ValueError, match="initial_opt_params"):
            iterate_search({}, TRUTH, points, 293)


class TestDirection:
    @pytest.mark.parametrize("seed", range(5))
    def test_a_streamline_from_there_starts_where_it_is_seen(self, seed):
        rng = np.random.default_rng(seed)
        inc, pa = rng.uniform(-1.5, 1.5), rng.uniform(0, 6.28)
        ra, dec, away = rng.normal(size=3)
        theta0, phi0 = direction_of(ra, dec, away, inc, pa)
        r0 = np.linalg.norm([ra, dec, away]) * 1000
        model = {"r0": r0, "theta0": theta0, "phi0": phi0, "v_r0": 0.0, "mu": 0.1, "mass": 1.0, "inc": inc, "pa": pa}
        path = streamline(model, distance=1000, n_points=3)
        assert path.ra[0].value == pytest.approx(ra, rel=1e-6)
        assert path.dec[0].value == pytest.approx(dec, rel=1e-6)
        assert path.position[0, 1].value == pytest.approx(1000 * away, rel=1e-6)

    def test_range(self):
        for ra in (-1.0, 1.0):
            theta0, phi0 = direction_of(ra, 0.0, 0.0, 0.3, 1.0)
            assert 0 <= theta0 <= math.pi
            assert 0 <= phi0 < 2 * math.pi
