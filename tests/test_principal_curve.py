"""The way along emission that bends back, against curves whose length is known."""

import numpy as np
import pytest

from sting.principal_curve import along_curve

RESOLUTION = (1.0, 1.0, 0.2)


def line(s):
    return 0.5 * s, 1 + s, 7 + 0 * s


def hook(s):
    """Straight out for 8, half a turn of radius 2, and straight back."""
    turn = np.clip((s - 8) / 2, 0, np.pi)
    x = np.where(s < 8 + 2 * np.pi, 2 - 2 * np.cos(turn), 4)
    y = 8 + 2 * np.sin(turn) - np.maximum(8 - s, 0) - np.maximum(s - 8 - 2 * np.pi, 0)
    return x, y + 1.5, 7 + 0.05 * s


def spiral(s):
    angle, r = s / 4, 1.5 + s / 5
    return r * np.cos(angle), r * np.sin(angle), 7 + 0.03 * s


def crossing(s):
    """A loop that crosses itself on the sky, at another velocity."""
    angle = 1.6 * np.pi * s / 24
    return 4 * np.sin(2 * angle), 5 - 4 * np.cos(angle), 5 + 0.25 * s


CURVES = [(line, 12), (hook, 20), (spiral, 22), (crossing, 24)]


def emission(curve, length, seed, n=8000, width=0.4, fading=0.0, noise=0):
    """Points around a curve, their fluxes, and their true places on it (NaN for noise that is anywhere)."""
    rng = np.random.default_rng(seed)
    s = rng.uniform(0, length, n)
    points = np.array(curve(s)) + rng.standard_normal((3, n)) * np.array([[width], [width], [0.15]])
    low, high = points.min(axis=1, keepdims=True), points.max(axis=1, keepdims=True)
    points = np.hstack([points, low + (high - low) * rng.random((3, noise))])
    flux = np.append(rng.uniform(0.2, 1, n) * np.exp(-fading * s / length), np.full(noise, 0.2 * np.exp(-fading)))
    return points, flux, np.append(s, np.full(noise, np.nan))


def rank(values):
    return np.argsort(np.argsort(values))


@pytest.mark.parametrize(("curve", "length"), CURVES)
@pytest.mark.parametrize("seed", range(4))
def test_the_order_is_that_along_the_curve(curve, length, seed):
    points, flux, s = emission(curve, length, seed)
    found = along_curve(points, flux, RESOLUTION)
    # the scatter of 0.4 across and along the curve leaves this much disorder
    assert np.corrcoef(rank(found), rank(s))[0, 1] > 0.98
    assert np.abs(rank(found) - rank(s)).max() < 0.2 * len(s)


@pytest.mark.parametrize(("curve", "length"), CURVES[:3])
@pytest.mark.parametrize("seed", range(4))
def test_faint_ends_and_noise_that_stands_alone_do_not_mislead(curve, length, seed):
    points, flux, s = emission(curve, length, seed, fading=3, noise=40)
    known = np.isfinite(s)
    found = along_curve(points, flux, RESOLUTION)[known]
    assert np.corrcoef(rank(found), rank(s[known]))[0, 1] > 0.98


@pytest.mark.parametrize(("curve", "length"), CURVES)
def test_lengths_are_lengths(curve, length):
    points, flux, s = emission(curve, length, 0)
    steps = np.array(curve(np.linspace(0, length, 5000))) / np.reshape(RESOLUTION, (3, 1))
    true = np.interp(s, np.linspace(0, length, 5000), np.append(0, np.cumsum(np.linalg.norm(np.diff(steps, axis=1), axis=0))))
    slope = np.polyfit(true, along_curve(points, flux, RESOLUTION), 1)[0]
    # smoothing cuts the bends a little
    assert 0.88 < slope < 1.02


@pytest.mark.parametrize(("curve", "length"), CURVES)
def test_bins_along_it_lie_on_the_curve(curve, length):
    points, flux, _ = emission(curve, length, 1)
    found = along_curve(points, flux, RESOLUTION)
    bins = np.searchsorted(np.percentile(found, np.linspace(0, 100, 13))[1:-1], found)
    means = np.array([np.average(points[:2, bins == i], axis=1, weights=flux[bins == i]) for i in range(12)])
    true = np.array(curve(np.linspace(0, length, 5000)))[:2].T
    away = np.linalg.norm(means[:, None] - true, axis=-1).min(axis=1)
    assert away.max() < 0.25


@pytest.mark.parametrize("seed", range(4))
def test_clumps_within_a_wide_streamer_are_not_followed(seed):
    points, flux, _ = emission(line, 9, seed, n=4000, width=1.3)
    for k, side in enumerate((1.2, -1.2) * 3):
        x, y, _ = line(1 + 9 * k / 5.5)
        flux = flux + 20 * np.exp(-((points[0] - x - side) ** 2 + (points[1] - y + side / 2) ** 2) / 0.5)
    found = along_curve(points, flux, RESOLUTION)
    along = np.array([0.5, 1]) @ points[:2]
    # 0.97 where they are
    assert np.corrcoef(rank(found), rank(along))[0, 1] > 0.985


def test_the_inner_end_is_the_one_near_the_star():
    points, flux, s = emission(line, 12, 0)
    assert np.corrcoef(along_curve(points, flux, RESOLUTION), s)[0, 1] > 0
    away = points - np.reshape(line(12.0), (3, 1))
    assert np.corrcoef(along_curve(away, flux, RESOLUTION), s)[0, 1] < 0


def test_it_is_the_same_in_other_units_and_places():
    points, flux, _ = emission(hook, 20, 2)
    found = along_curve(points, flux, RESOLUTION)
    mirrored = points * np.reshape([-60, 60, 1000], (3, 1))
    again = along_curve(mirrored, 5 * flux, (60.0, 60.0, 200.0))
    # the grid of cells lies elsewhere
    assert np.corrcoef(found, again)[0, 1] > 0.999


def test_negative_flux_has_no_say():
    points, flux, _ = emission(hook, 20, 3)
    holes = np.array([[1.5, 2.5] * 200, [2.0, 4.0] * 200, [7.4, 7.4] * 200])
    found = along_curve(np.hstack([points, holes]), np.append(flux, np.full(400, -1.0)), RESOLUTION)
    np.testing.assert_array_equal(found[: len(flux)], along_curve(points, flux, RESOLUTION))


@pytest.mark.parametrize("n", [1, 2, 3, 10])
def test_few_points(n):
    points = np.array([np.zeros(n), np.linspace(1, 3, n), np.full(n, 7.0)])
    found = along_curve(points, np.ones(n), RESOLUTION)
    assert np.isfinite(found).all()
    assert (np.diff(found) >= 0).all()
