"""Do the intervals hold the truth as often as they say? A short form of benchmarks/coverage_points.py."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "coverage_points.py"
SEEDS = range(60)

pytestmark = pytest.mark.slow

#: Near Gaussian in nearly every seed, so that the choice of the seeds is no choice by their noise.
QUANTITIES = ("theta0", "rc", "eccentricity")


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("coverage_points", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pulls(script):
    """Deviations from the truth in plain sigmas, rises of the loss at the truth, and who is near Gaussian: shape (60, 3) each."""
    truth, sigma, part = script.CASES["theta0 52, v_r0 0.25, small sigma"]
    truths = script.elements_of(truth)
    off, rises, near = [], [], []
    for seed in SEEDS:
        result = script.draw(truth, sigma, part, seed)
        profiler = result.profiler
        off.append([(profiler.value(name) - truths[name]) / profiler.sigma(name) for name in QUANTITIES])
        rises.append([profiler.rise(name, truths[name]) for name in QUANTITIES])
        near.append([not profiler.why_not_gaussian(name) for name in QUANTITIES])
    return np.array(off), np.array(rises), np.array(near)


def holds(inside, level):
    """Whether the number of hits is one that happens in 99.8 of 100 cases at this level."""
    low, high = binom.interval(0.998, len(inside), level)
    return low <= inside.sum() <= high


@pytest.mark.parametrize(("level", "root"), [(0.6827, 1.0), (0.95, 1.96)])
def test_plain_intervals_cover_where_they_are_said_to(pulls, level, root):
    off, _, near = pulls
    assert near.mean() > 0.9
    for i, name in enumerate(QUANTITIES):
        assert holds(np.abs(off[near[:, i], i]) < root, level), name


@pytest.mark.parametrize(("level", "rise"), [(0.6827, 1.0), (0.95, 3.8415)])
def test_profiles_cover(pulls, level, rise):
    for i, name in enumerate(QUANTITIES):
        assert holds(pulls[1][:, i] < rise, level), name


def test_sigmas_that_are_too_small_would_be_noticed(pulls):
    """What STING's missing factor of sqrt(2) does."""
    wrong = [holds(np.abs(pulls[0][:, i]) < 0.7 * root, level) for i in range(3) for level, root in ((0.6827, 1.0), (0.95, 1.96))]
    assert not all(wrong)


def test_known_case_prints_intervals_that_cover_more_often(script):
    """v_r0 at its bound: there the plain sigma of r0 and phi0 holds the truth far too seldom, the profile does not."""
    truth, sigma, part = script.CASES["theta0 52, v_r0 0.25, large sigma"]
    found = script.measure(truth, sigma, part, range(20))
    for name in ("r0", "phi0", "v_r0"):
        near, _, profile = found[name]
        assert near.mean() < 0.3, name
        assert profile[:, 1].mean() >= 0.85, name
    assert np.mean([found[name][1][:, 1].mean() for name in ("phi0", "v_r0")]) < 0.9
