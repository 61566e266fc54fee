"""Are truths out of the prior anywhere among the draws? A short form of benchmarks/calibration_posterior.py."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from scipy.special import ndtri

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "calibration_posterior.py"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("calibration_posterior", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_truths_lie_anywhere_among_the_draws(script):
    ranks, worst, divergent = script.calibrate(16, free_axis=False)
    scores = ndtri(np.array([ranks[name] for name in (*script.UNIFORM, "mass")]))
    # some sixty independent numbers; it is 0.8, and 1.5 for points with twice the noise that they tell of
    assert 0.55 < np.mean(scores**2) < 1.3
    assert abs(np.mean(scores)) < 0.5
    assert np.median(worst) < 1.05
    assert np.sum(divergent > 0) < 4
