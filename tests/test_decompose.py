"""Gaussian decomposition: the batched fit against other ways to fit, and the table, cubes and files that are made of it."""

import jax
import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import QTable
from astropy.wcs import WCS
from radio_beam import Beam
from regions import PixCoord, RectanglePixelRegion
from scipy.optimize import least_squares
from spectral_cube import SpectralCube

from sting import synthetic
from sting.core.constants import FWHM
from sting.cubes import KMS, offsets
from sting.isolate import Components, decompose, growth, noise_beside_lines
from sting.isolate import decomposition as decomposition_module
from sting.isolate import gaussians as g
from sting.messages import StingWarning
from sting.noise import estimate_rms

N = 160
KELVIN = 1 * u.K
QUIET = {"rms": KELVIN, "progress": False}


def shapes(lines, n=N):
    """Sum of Gaussians, (..., n), of lines (..., k, 3) in channels."""
    amplitude, centroid, width = np.moveaxis(np.asarray(lines, float), -1, 0)[..., None]
    return (amplitude * np.exp(-0.5 * ((np.arange(n) - centroid) / width) ** 2)).sum(axis=-2)


def draw_lines(rng, m, k, *, separation, snr=(8, 30), width=(1.5, 6)):
    """Lines (m, k, 3) in order of their centroids, a number of FWHM from each other."""
    width, amplitude = rng.uniform(*width, (m, k)), rng.uniform(*snr, (m, k))
    apart = separation * FWHM * (width[:, 1:] + width[:, :-1]) / 2 * rng.uniform(1, 1.3, (m, k - 1))
    centroid = rng.uniform(20, 40, (m, 1)) + np.pad(np.cumsum(apart, axis=1), [(0, 0), (1, 0)])
    return np.stack([amplitude, centroid, width], axis=-1)


def as_cube(make_cube, spectra, shape, **keywords):
    """A cube out of spectra (n_y * n_x, n)."""
    return make_cube(spectra.T.reshape(-1, *shape), **keywords)


def rules(n=N, max_components=3, amplitude=3.0, line=5.0):
    x = np.arange(float(g.padded(n)))
    bounds = np.array([[0, 0, 1 / FWHM], [np.inf, n - 1, n / 2 / FWHM]])
    return growth.Rules(x, bounds, g.make_filters(x, *bounds[:, 2], n), max_components, amplitude, line)


@pytest.fixture
def double():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def noise():
    """Noise of 10,000 spectra."""
    return np.random.default_rng(1).normal(size=(10_000, N))


@pytest.fixture(scope="module")
def scene(make_cube):
    """A cube of one line everywhere and a second one in its right half, and the lines (ny, nx, 2, 3)."""
    shape, rng = (20, 24), np.random.default_rng(7)
    y, x = np.mgrid[:20, :24]
    first = np.stack([20 + 0 * x, 40 + x, 2.5 + 0.05 * y], axis=-1)
    second = np.stack([np.where(x >= 12, 15, 0), 90 - y, 4 + 0 * x], axis=-1)
    lines = np.stack([first, second], axis=-2)
    spectra = shapes(lines) + rng.normal(size=(*shape, N))
    beam = Beam(2 * u.arcsec, 1.5 * u.arcsec, 20 * u.deg)
    return as_cube(make_cube, spectra.reshape(-1, N), shape, beam=beam), lines


@pytest.fixture(scope="module")
def found(scene):
    return decompose(scene[0], **QUIET)


class TestBatchedFit:
    def test_derivatives_are_those_of_finite_differences(self, double):
        fit = np.array([[9.0, 40.3, 2.2], [4.0, 46.1, 5.0]])
        spectrum, x = np.random.default_rng(0).normal(size=N), np.arange(float(N))
        spectrum[[41, 90]] = np.nan
        jacobian = np.asarray(g.slopes(fit)[:, None] * g.basis(fit, spectrum, x))
        for k, parameter in enumerate(fit.ravel()):
            step = 1e-5 * parameter * (np.arange(6) == k).reshape(2, 3)
            slope = (shapes(fit + step) - shapes(fit - step)) / (2e-5 * parameter)
            slope[np.isnan(spectrum)] = 0
            assert jacobian[k] == pytest.approx(slope, abs=1e-7)

    def test_gradient_and_curvature_are_those_of_chi2(self, double):
        fit = np.array([[9.0, 40.3, 2.2], [4.0, 46.1, 5.0]])
        spectrum, x = np.random.default_rng(0).normal(size=N), np.arange(float(N))
        now = g.evaluate(fit, spectrum, x)
        assert now["loss"] == pytest.approx(np.sum((spectrum - shapes(fit)) ** 2))

        def half_chi2(fit, spectrum):
            return g.evaluate(fit, spectrum, x)["loss"] / 2

        slope = jax.jit(jax.grad(half_chi2))(fit, spectrum)
        assert np.asarray(now["gradient"]) == pytest.approx(np.asarray(slope).ravel())
        # without noise the curvature of Gauss and Newton is that of chi2
        curvature = jax.jit(jax.hessian(half_chi2))(fit, shapes(fit))
        noiseless = g.evaluate(fit, shapes(fit), x)["curvature"]
        assert np.asarray(noiseless) == pytest.approx(np.asarray(curvature).reshape(6, 6))

    @pytest.mark.parametrize("size", [3, 6, 9])
    def test_small_systems_are_solved(self, double, size):
        rng = np.random.default_rng(size)
        roots = rng.normal(size=(20, size, size)) * 10.0 ** rng.uniform(-3, 3, (20, 1, size))
        matrices, vectors = np.swapaxes(roots, 1, 2) @ roots, rng.normal(size=(20, size))
        # of any scale of each parameter, as amplitudes and widths have
        scale = np.sqrt(np.einsum("mii->mi", matrices))
        matrices[:, np.arange(size), np.arange(size)] *= 1.01
        found = np.asarray(jax.jit(jax.vmap(g.solve))(matrices, vectors))
        peer = np.linalg.solve(matrices, vectors[..., None])[..., 0]
        assert found * scale == pytest.approx(peer * scale, rel=1e-9)

    @pytest.mark.parametrize("m", [1, 15, 16, 17, 63, 64, 65, 130])
    def test_a_fit_does_not_depend_on_those_beside_it(self, double, m):
        rng = np.random.default_rng(1)
        truth = draw_lines(rng, 130, 2, separation=1.2)
        spectra, r = shapes(truth) + rng.normal(size=(130, N)), rules()
        starts = truth * rng.uniform(0.8, 1.2, truth.shape)
        goal = np.full(130, 170.0)
        all_of_them, some = (g.fit_all(starts[:n], spectra[:n], r.x, r.bounds, goal[:n]) for n in (130, m))
        for name, values in some.items():
            np.testing.assert_array_equal(values, all_of_them[name][:m])

    @pytest.mark.parametrize("k", [1, 2, 3])
    def test_finds_the_minimum_that_scipy_finds(self, double, k):
        rng = np.random.default_rng(k)
        truth = draw_lines(rng, 70, k, separation=1.5, width=(2.5, 5))
        spectra = shapes(truth) + rng.normal(size=(70, N))
        spectra[::3, 45:48] = np.nan
        r = rules()
        fitted = g.fit_all(truth * rng.uniform(0.95, 1.05, truth.shape), spectra, r.x, r.bounds)
        errors = g.errors_of(fitted["curvature"])
        for spectrum, start, fit, loss, error in zip(spectra, truth, fitted["fit"], fitted["loss"], errors, strict=True):
            known = np.isfinite(spectrum)
            peer = least_squares(lambda p, y=spectrum, ok=known: (y - shapes(p.reshape(-1, 3)))[ok], start.ravel(), xtol=1e-12)
            assert loss == pytest.approx(2 * peer.cost, abs=1e-2)
            sigma = np.sqrt(np.diag(np.linalg.inv(peer.jac.T @ peer.jac)))
            assert error.ravel() == pytest.approx(sigma, rel=1e-2)
            assert (np.abs(fit.ravel() - peer.x) < 0.1 * sigma).all()

    def test_parameters_stay_within_their_bounds(self, double):
        # a spike is narrower than a channel, a constant wider than the axis
        spectra = np.stack([np.where(np.arange(N) == 80, 30.0, 0.0), np.full(N, 5.0)])
        r = rules()
        fit = g.fit_all(np.array([[[20.0, 80.2, 1.0]], [[5.0, 60.0, 20.0]]]), spectra, r.x, r.bounds)["fit"][:, 0]
        assert fit[:, 2] == pytest.approx([1 / FWHM, N / 2 / FWHM])
        assert (fit >= r.bounds[0]).all()
        assert (fit <= r.bounds[1]).all()

    @pytest.mark.parametrize("scale", [1e2, 1e5, 1e8])
    def test_lines_without_noise_are_found_exactly(self, double, scale):
        lines = np.array([[[scale, 70.3, 3.0], [scale / 2, 90.0, 4.0]]])
        best = growth.grow(shapes(lines), rules())
        assert best["n"][0] == 2
        fit = best["fit"][0, :2]
        assert fit[np.argsort(fit[:, 1])] == pytest.approx(lines[0], rel=1e-3)

    def test_errors_of_what_is_not_known_are_infinite(self):
        curvature = np.diag([4.0, 0.0, 1.0])[None]
        assert g.errors_of(curvature) == pytest.approx(np.array([[[0.5, np.inf, 1.0]]]))

    def test_filter_finds_a_line_beside_those_that_are_known(self, double):
        r, lines = rules(), np.array([[20.0, 50.0, 3.0], [10.0, 100.0, 4.0]])
        spectra = shapes(lines)[None]
        seed, gain = g.in_chunks(g.strongest, (lines[None, :1], spectra), r.x, r.filters)
        assert seed[0] == pytest.approx(lines[1], rel=0.25)
        assert gain[0] == pytest.approx(np.sum(shapes(lines[1:]) ** 2), rel=0.05)

    def test_filter_overlooks_what_is_mostly_blank(self, double):
        r, spectra = rules(), np.zeros((1, N))
        spectra[0, 79], spectra[0, 80:] = 50.0, np.nan
        seed, _ = g.in_chunks(g.strongest, (np.zeros((1, 0, 3)), spectra), r.x, r.filters)
        assert seed[0, 1] < 80


class TestNumber:
    @pytest.mark.parametrize("k", [1, 2, 3])
    def test_is_right_for_lines_that_are_apart(self, double, k):
        rng = np.random.default_rng(k)
        spectra = shapes(draw_lines(rng, 500, k, separation=1.0)) + rng.normal(size=(500, N))
        assert np.mean(growth.grow(spectra, rules())["n"] == k) >= 0.9

    def test_a_bright_line_is_not_taken_for_two(self, double):
        rng = np.random.default_rng(3)
        spectra = shapes(draw_lines(rng, 1000, 1, separation=1, snr=(50, 200))) + rng.normal(size=(1000, N))
        assert np.mean(growth.grow(spectra, rules())["n"] == 1) >= 0.99

    def test_of_blended_lines_there_are_never_too_many(self, double):
        rng = np.random.default_rng(4)
        spectra = shapes(draw_lines(rng, 500, 2, separation=0.5)) + rng.normal(size=(500, N))
        assert np.mean(growth.grow(spectra, rules())["n"] > 2) < 0.01

    def test_splitting_finds_blended_lines(self, double, monkeypatch):
        rng = np.random.default_rng(5)
        spectra = shapes(draw_lines(rng, 500, 2, separation=0.7)) + rng.normal(size=(500, N))
        with_it = growth.grow(spectra, rules())["n"]
        # a component of nothing in place of the halves
        monkeypatch.setattr(growth, "split", lambda f: np.concatenate([f, np.tile([[[0.0, 1.0, 3.0]]], (len(f), 1, 1))], axis=1))
        without = growth.grow(spectra, rules())["n"]
        assert np.mean(with_it == 2) > np.mean(without == 2) + 0.01

    def test_of_noise_is_zero(self, double, noise):
        # 2 of 10,000 is what the documentation says
        assert np.sum(growth.grow(noise, rules())["n"] > 0) <= 6

    def test_of_noise_is_mostly_not_zero_by_aicc_alone(self, double, noise):
        assert np.mean(growth.grow(noise[:500], rules(amplitude=0.0, line=0.0))["n"] > 0) > 0.5

    def test_is_limited(self, double):
        rng = np.random.default_rng(3)
        spectra = shapes(draw_lines(rng, 64, 3, separation=1.2)) + rng.normal(size=(64, N))
        assert growth.grow(spectra, rules(max_components=1))["n"].max() == 1

    def test_aicc(self):
        # Burnham and Anderson: chi2 + 2 k + 2 k (k + 1) / (n - k - 1)
        assert growth.aicc(10.0, 2, 20) == pytest.approx(10 + 12 + 2 * 6 * 7 / 13)
        assert growth.aicc(10.0, 0, 20) == 10
        assert growth.aicc(10.0, 2, 7) == np.inf


class TestErrors:
    def test_pulls_are_of_mean_zero_and_width_one(self, double):
        rng = np.random.default_rng(11)
        truth = draw_lines(rng, 3000, 2, separation=2.0, snr=(15, 40), width=(1.5, 4))
        best = growth.grow(shapes(truth) + rng.normal(size=(3000, N)), rules(max_components=2))
        right = best["n"] == 2
        assert right.mean() > 0.99
        order = np.argsort(best["fit"][right][..., 1], axis=1)[..., None]
        fit, error = (np.take_along_axis(best[name][right], order, axis=1) for name in ("fit", "errors"))
        pull = ((fit - truth[right]) / error).reshape(-1, 3)
        # 6000 lines: the mean is known to 0.013, the width to 0.009; the fit itself is biased by some hundredths of its errors
        assert np.abs(pull.mean(axis=0)).max() < 0.08
        assert pull.std(axis=0) == pytest.approx(np.ones(3), abs=0.04)

    def test_line_snr_is_what_chi2_would_rise_by(self, double):
        line = np.array([[[10.0, 70.0, 3.0]]])
        best = growth.grow(shapes(line), rules())
        assert best["line"][0, 0] ** 2 == pytest.approx(np.sum(shapes(line) ** 2), rel=1e-4)
        assert best["line"][0, 0] == pytest.approx(10 * np.sqrt(np.sqrt(np.pi) * 3), rel=1e-4)


class TestNeighbours:
    def test_components_of_a_neighbour_help_where_a_fit_is_poor(self, double):
        rng = np.random.default_rng(1)
        truth = draw_lines(rng, 10, 2, separation=1.2)
        spectra, r = shapes(truth) + rng.normal(size=(10, N)), rules()
        best = growth.grow(spectra, r)
        stuck = {name: value.copy() for name, value in best.items()}
        one = g.fit_all(truth[:, :1], spectra, r.x, r.bounds)
        stuck["n"][:], stuck["loss"][:], stuck["fit"][:, 1:] = 1, one["loss"], 0
        stuck["fit"][:, :1] = one["fit"]
        near = np.zeros((10, 8, 3, 3))
        near[:, 3, :2] = truth + np.array([0, 1, 0])
        numbers = np.zeros((10, 8), int)
        numbers[:, 3] = 2
        assert growth.adopt(spectra, stuck, (numbers, near), r).all()
        assert stuck["n"] == pytest.approx(best["n"])
        assert stuck["loss"] == pytest.approx(best["loss"], abs=0.1)

    def test_noise_learns_nothing(self, double):
        rng = np.random.default_rng(1)
        spectra, r = rng.normal(size=(200, N)), rules()
        best = growth.grow(spectra, r)
        near = np.tile([10.0, 60.0, 3.0], (200, 8, 3, 1))
        assert not growth.adopt(spectra, best, (np.full((200, 8), 2), near), r).any()

    def test_pass_over_an_image_makes_more_of_it_right(self, make_cube):
        rng, shape = np.random.default_rng(2), (24, 24)
        y, x = np.mgrid[:24, :24]
        first, second, third = [(14, 50 + 0.2 * x, 4), (18, 58 + 0.2 * y, 3), (13, 67 + 0.1 * x, 4)]
        lines = [np.stack([a + 0 * x, c, s + 0 * x], axis=-1) for a, c, s in (first, second, third)]
        spectra = shapes(np.stack(lines, axis=-2)) + rng.normal(size=(*shape, N))
        cube = as_cube(make_cube, spectra.reshape(-1, N), shape)
        alone, together = (decompose(cube, neighbours=flag, **QUIET) for flag in (False, True))
        right = [np.mean(one.number_map() == 3) for one in (alone, together)]
        assert right[1] > right[0]

        def total(one):
            _, first = np.unique(one._pixels(), return_index=True)
            return one.table["aicc"][first].sum()

        assert total(together) < total(alone)

    def test_result_does_not_depend_on_the_batches(self, scene, found, monkeypatch):
        monkeypatch.setattr(decomposition_module, "BATCH", 37)
        monkeypatch.setattr(decomposition_module, "_n_cores", lambda: 3)
        again = decompose(scene[0], **QUIET)
        for name in ("x", "y", "velocity", "sigma", "chi2"):
            assert (again.table[name] == found.table[name]).all(), name


class TestDecompose:
    def test_finds_the_lines(self, scene, found):
        _, lines = scene
        expected = 1 + (np.arange(24) >= 12)
        assert np.mean(found.number_map() == expected) > 0.99
        first = found.table[np.unique(found._pixels(), return_index=True)[1]]
        velocity = 5 + 0.1 * lines[first["y"], first["x"], 0, 1]
        pull = (first["velocity"].to_value(KMS) - velocity) / first["velocity_err"].to_value(KMS)
        assert np.abs(np.mean(pull)) < 0.2
        assert np.std(pull) == pytest.approx(1, abs=0.15)

    def test_table(self, scene, found):
        table = found.table
        keys = list(zip(table["y"], table["x"], table["velocity"].value, strict=True))
        assert keys == sorted(keys)
        assert table["x"].dtype.kind == table["y"].dtype.kind == table["n_components"].dtype.kind == "i"
        assert (table["amplitude"].unit, table["velocity"].unit, table["sigma_err"].unit) == (u.K, KMS, KMS)
        assert (table["snr"] == table["amplitude"] / table["rms"]).all()
        assert np.median(table["chi2"]) == pytest.approx(1, abs=0.05)
        assert len(found) == len(table) == found.number_map().sum()
        assert "480 of 480" in repr(found)

    def test_meta(self, found):
        meta = found.meta
        assert (meta["rms"], meta["unit"], meta["shape"], meta["n_spectra"]) == (1.0, "K", [N, 20, 24], 480)
        assert meta["beam"] == pytest.approx([2, 1.5, 20])
        assert (meta["pixel"], meta["channel"]) == pytest.approx((0.5, 0.1))
        assert meta["rest_frequency"] == pytest.approx(231.410234e9)
        assert meta["sigma_min"] == pytest.approx(0.1 / FWHM)

    def test_offsets_count_from_the_middle_or_the_star(self, scene, found):
        cube = scene[0]
        table = found.table[np.unique(found._pixels(), return_index=True)[1]]
        middle = np.abs(table["x"] - 11.5) + np.abs(table["y"] - 9.5) == 1
        assert np.abs(table["ra_offset"][middle]).value == pytest.approx([0.25] * 4, abs=1e-5)
        assert table["ra_offset"][middle].sum().value == pytest.approx(0, abs=1e-5)
        assert table["dec_offset"][middle].sum().value == pytest.approx(0, abs=1e-5)
        star = SkyCoord(52.2310, 31.2430, unit="deg", frame="fk5")
        moved = decompose(cube[:, :3, :3], star_position=star, **QUIET)
        ra, dec = offsets(cube, star, (moved.table["x"], moved.table["y"]))
        assert moved.table["ra_offset"].value == pytest.approx(ra)
        assert moved.table["dec_offset"].value == pytest.approx(dec)
        assert moved.origin.separation(star) < 1e-6 * u.arcsec

    def test_axis_may_run_either_way_and_be_of_frequency(self, scene, make_cube):
        cube = scene[0][:, :4, 10:14]
        values = cube.filled_data[:].value
        table = decompose(cube, **QUIET).table
        turned = decompose(make_cube(values[::-1], v_first=5 + 0.1 * (N - 1), channel=-0.1), **QUIET).table
        frequency = decompose(make_cube(values, axis="frequency"), **QUIET).table
        for other in (turned, frequency):
            assert len(other) == len(table)
            assert other["velocity"].to_value(KMS) == pytest.approx(table["velocity"].to_value(KMS), abs=1e-3)
            assert other["sigma"].to_value(KMS) == pytest.approx(table["sigma"].to_value(KMS), rel=1e-3)

    def test_mask_and_region_select_pixels(self, scene, found):
        cube, mask = scene[0], np.zeros((20, 24), bool)
        mask[:10] = True
        region = RectanglePixelRegion(PixCoord(20, 10), 7, 100)
        some = decompose(cube, mask=mask, region=region, **QUIET)
        assert some.table["y"].max() < 10
        assert some.table["x"].min() >= 17
        here = (found.table["y"] < 9) & (found.table["x"] >= 18)
        there = (some.table["y"] < 9) & (some.table["x"] >= 18)
        assert (some.table["velocity"][there] == found.table["velocity"][here]).all()

    def test_other_cubes_need_no_other_programs(self, scene):
        cube = scene[0]
        decompose(cube[:, :2, :2], **QUIET)
        n_compiled = [one.n_compiled for one in (g.begin, g.go_on, g.strongest, g.adapt)]
        decompose(cube[5:-3, :3, :7], **QUIET)
        assert [one.n_compiled for one in (g.begin, g.go_on, g.strongest, g.adapt)] == n_compiled

    def test_is_stopped_by_its_callback(self, scene, monkeypatch):
        monkeypatch.setattr(decomposition_module, "BATCH", 100)
        calls = []
        part = decompose(scene[0], callback=lambda n: calls.append(n) or n >= 200, **QUIET)
        assert calls == [100, 200]
        assert part.meta["n_spectra"] == 200
        assert part.table["y"].max() == 8
        assert part.notes[0].startswith("Stopped after 200 of 480 spectra")

    def test_is_stopped_among_the_neighbours(self, scene):
        calls = []
        part = decompose(scene[0], callback=lambda n: calls.append(n) or len(calls) > 2, **QUIET)
        assert calls == [256, 480, 480]
        assert part.notes == ["Stopped while spectra were learning from their neighbours."]


class TestNoise:
    def test_is_estimated(self, noise, make_cube):
        spectra = noise[:400].copy()
        spectra[::5] += shapes([[20.0, 70.0, 3.0]])
        result = decompose(as_cube(make_cube, spectra, (20, 20)), progress=False)
        assert result.meta["rms"] == pytest.approx(1, abs=0.02)
        assert (len(result), result.notes) == (80, [])

    def test_too_large_a_noise_is_noted(self, scene):
        note = decompose(scene[0], rms=1.3 * u.K, progress=False).notes[-1]
        assert note.startswith("Chi2 per degree of freedom is 0.59")
        assert "channels without a line" in note

    def test_lines_that_fill_much_do_not_raise_it(self, scene):
        # a fifth of the axis everywhere
        assert estimate_rms(scene[0]).value > 1.2
        result = decompose(scene[0], progress=False)
        assert result.meta["rms"] == pytest.approx(1, abs=0.02)
        assert "from the values below zero" in result.notes[0]
        assert len(result.notes) == 1

    def test_continuum_does_not_lower_it(self, noise, make_cube):
        # below zero there is a tail of the noise only
        cube = as_cube(make_cube, noise[:400] + 1.0, (20, 20))
        notes = []
        assert noise_beside_lines.noise_of(cube, notes) == estimate_rms(cube).value
        assert notes == []

    @pytest.mark.parametrize("has_bowl", [False, True])
    def test_is_not_taken_below_zero_where_bowls_are(self, noise, make_cube, has_bowl):
        values = noise[:576].T.reshape(N, 24, 24).copy()
        # emission that fills much on one side
        values[:90, :, :8] += 5.0
        if has_bowl:
            values[:, :, 16:] -= 1.0
        notes = []
        found = noise_beside_lines.noise_of(as_cube(make_cube, values.reshape(N, -1).T, (24, 24)), notes)
        assert any("below zero" in note for note in notes) == (not has_bowl)
        if not has_bowl:
            assert found == pytest.approx(1, abs=0.03)

    @pytest.mark.parametrize("uneven", [False, True])
    def test_is_right_in_the_middle_of_a_scene(self, uneven):
        scene = synthetic.make_scene(seed=1)
        noise = scene.cube.filled_data[:].value - scene.model
        noise *= np.linspace(1, 4, noise.shape[2]) if uneven else 1
        cube, notes = scene.cube._new_cube_with(data=scene.model + noise), []
        found = np.broadcast_to(noise_beside_lines.noise_of(cube, notes), noise.shape[1:])
        for part in ((slice(44, 56), slice(44, 56)), (slice(None), slice(0, 8))):
            assert np.median(found[part]) == pytest.approx(np.std(noise[:, *part]), rel=0.1)
        assert np.median(estimate_rms(cube, per_pixel=True).value[44:56, 44:56]) > 1.25 * np.median(found[44:56, 44:56])
        assert len(notes) == 1 + uneven

    def test_map_is_made_where_it_is_uneven(self, make_cube):
        rng = np.random.default_rng(0)
        level = np.linspace(1, 4, 40) * np.ones((40, 1))
        values = level * rng.normal(size=(N, 40, 40))
        values[:, 20, 5] += shapes([[[20.0, 70.0, 3.0]]])[0]
        result = decompose(make_cube(values), progress=False)
        assert "differs by a factor" in result.notes[0]
        assert (result.table["x"][0], result.table["y"][0], len(result)) == (5, 20, 1)
        assert result.table["rms"][0].value == pytest.approx(level[20, 5], rel=0.3)

    def test_map_is_taken(self, scene):
        rms = np.ones((20, 24))
        rms[:, :12], rms[3] = 2.0, np.nan
        table = decompose(scene[0], rms=rms * u.K, progress=False).table
        assert not (table["y"] == 3).any()
        assert (table["rms"] == np.where(table["x"] < 12, 2, 1) * u.K).all()

    def test_unit_is_converted(self, scene):
        part = scene[0][:, :2, :2]
        one, other = decompose(part, **QUIET), decompose(part, rms=1000 * u.mK, progress=False)
        assert (one.table["amplitude"] == other.table["amplitude"]).all()


class TestWhatIsNoLine:
    def test_blank_channels_weigh_nothing(self, double):
        rng = np.random.default_rng(0)
        spectra = shapes([[[20.0, 70.0, 3.0]]]) + rng.normal(size=(1, N))
        with_blanks = spectra.copy()
        with_blanks[:, 100:] = np.nan
        r, shorter = rules(), rules(100)
        fit = growth.grow(with_blanks, r)["fit"][0, 0]
        cut = np.full((1, len(shorter.x)), np.nan)
        cut[:, :100] = spectra[:, :100]
        assert fit == pytest.approx(growth.grow(cut, shorter)["fit"][0, 0], rel=1e-4)

    def test_blank_pixels_are_left_out(self, scene):
        cube = scene[0][:, :4, :4]
        values = cube.filled_data[:].value.copy()
        values[:, 1, 1] = np.nan
        values[7:, 2, 2] = np.inf
        values[45:50, 0, 0] = np.nan
        result = decompose(SpectralCube(values * u.K, wcs=cube.wcs), **QUIET)
        assert result.notes == ["2 spectra with fewer than 8 values were left out."]
        assert result.meta["n_spectra"] == 14
        assert (result.number_map() == np.array([[1, 1, 1, 1], [1, 0, 1, 1], [1, 1, 0, 1], [1, 1, 1, 1]])).all()

    def test_cube_without_a_line_gives_an_empty_table(self, noise, make_cube, tmp_path):
        cube = as_cube(make_cube, noise[:64], (8, 8))
        with pytest.warns(StingWarning, match=r"no component: no line of at least 3 rms and a signal to noise of 5 as a whole"):
            result = decompose(cube, **QUIET)
        assert len(result) == 0
        assert result.table["velocity"].unit == KMS
        assert not result.number_map().any()
        assert not result.model_cube().filled_data[:].value.any()
        assert result.residual_cube().filled_data[:].value == pytest.approx(noise[:64].T.reshape(N, 8, 8))
        result.write(tmp_path / "none.ecsv")
        assert len(Components.read(tmp_path / "none.ecsv")) == 0
        with pytest.raises(ValueError, match="'components' must hold a component"):
            result.write(tmp_path / "none.fits")

    @pytest.mark.parametrize(("values", "why"), [(np.nan, "that was selected has values"), (0.0, "no line"), (-9.0, "no line")])
    def test_blank_zero_and_negative_cubes_have_none(self, make_cube, values, why):
        with pytest.warns(StingWarning, match=why):
            assert len(decompose(make_cube(np.full((20, 3, 3), values)), **QUIET)) == 0

    def test_absorption_is_not_fitted(self, make_cube):
        rng = np.random.default_rng(0)
        spectra = rng.normal(size=(16, N)) - shapes([[[30.0, 70.0, 3.0]]])
        with pytest.warns(StingWarning, match="no line"):
            assert len(decompose(as_cube(make_cube, spectra, (4, 4)), **QUIET)) == 0

    def test_a_continuum_is_told_from_a_line(self, make_cube):
        result = decompose(make_cube(np.full((40, 2, 2), 9.0)), **QUIET)
        assert "components are as wide as sigma_max: a continuum" in result.notes[-1]


class TestBadInput:
    @pytest.mark.parametrize(
        ("keywords", "error", "match"),
        [
            ({"max_components": 0}, ValueError, "'max_components' must be a whole number of at least 1"),
            ({"max_components": 1.5}, ValueError, "'max_components' must be a whole number"),
            ({"snr_min": -1}, ValueError, "'snr_min' must be a number of at least 0"),
            ({"line_snr_min": np.nan}, ValueError, "'line_snr_min' must be a number of at least 0"),
            ({"rms": 1.0}, u.UnitsError, "'rms' must be a Quantity convertible to K"),
            ({"rms": 1 * u.Jy}, u.UnitsError, "'rms' must be a Quantity convertible to K"),
            ({"rms": 0 * u.K}, ValueError, "'rms' must be positive"),
            ({"rms": np.ones((2, 2)) * u.K}, ValueError, "'rms' must be one number or a map of shape"),
            ({"mask": np.ones((2, 2), bool)}, ValueError, "'mask' must be an array of bool of shape"),
            ({"mask": np.ones((20, 24))}, ValueError, "'mask' must be an array of bool of shape"),
            ({"mask": np.zeros((20, 24), bool)}, ValueError, "'mask, region' must select a pixel"),
            ({"region": "none.reg"}, FileNotFoundError, "'region' must be a region or an existing"),
            ({"sigma_max": 3.0}, u.UnitsError, "'sigma_max' must be a Quantity convertible to km / s"),
            ({"sigma_max": 0.01 * u.km / u.s}, ValueError, "'sigma_max' must be larger than 0.04247 km/s"),
            ({"star_position": "here"}, TypeError, "'star_position' must be one SkyCoord"),
            ({"neighbours": "yes"}, ValueError, "'neighbours' must be one of True, False"),
            ({"callback": 3}, TypeError, "'callback' must be callable"),
            ({"neighbors": True}, TypeError, "Did you mean 'neighbours'"),
        ],
    )
    def test_is_refused_before_any_work(self, scene, monkeypatch, keywords, error, match):
        monkeypatch.setattr(decomposition_module, "_first_pass", lambda *a: pytest.fail("work was done"))
        monkeypatch.setattr(noise_beside_lines, "find_noise", lambda *a: pytest.fail("work was done"))
        with pytest.raises(error, match=match):
            decompose(scene[0], **keywords)

    def test_few_channels(self, scene):
        with pytest.raises(ValueError, match="'cube' must have at least 8 channels"):
            decompose(scene[0][:1])

    def test_cube(self, tmp_path):
        with pytest.raises(TypeError, match="'cube' must be a SpectralCube or a path"):
            decompose(np.zeros((20, 3, 3)))
        with pytest.raises(FileNotFoundError, match="'cube' must be a cube or an existing file"):
            decompose(tmp_path / "none.fits")

    @pytest.mark.parametrize(
        ("fill", "match"), [(np.nan, "hold finite values"), (0.0, "not have been masked before"), (3.0, "'cube' must hold noise")]
    )
    def test_cube_that_does_not_tell_its_noise(self, make_cube, fill, match):
        with pytest.raises(ValueError, match=match):
            decompose(make_cube(np.full((20, 9, 9), fill)), progress=False)


class TestCubes:
    def test_model_and_residual_make_the_cube(self, scene, found):
        cube = scene[0]
        model, residual = found.model_cube(), found.residual_cube()
        assert (model + residual).filled_data[:].value == pytest.approx(cube.filled_data[:].value)
        assert np.std(residual.filled_data[:].value) == pytest.approx(1, abs=0.02)
        for one in (model, residual):
            assert one.unit == u.K
            assert one.beam == cube.beam
            assert one.wcs.wcs.compare(cube.wcs.wcs)

    def test_model_is_of_the_lines(self, scene, found):
        truth = np.moveaxis(shapes(scene[1]), -1, 0)
        assert np.abs(found.model_cube().filled_data[:].value - truth).mean() < 0.15

    def test_frequency_stays_frequency(self, scene, make_cube):
        cube = make_cube(scene[0][:, :3, :3].filled_data[:].value, axis="frequency")
        model = decompose(cube, **QUIET).model_cube()
        assert model.spectral_axis.unit == u.Hz
        assert np.std((cube - model).filled_data[:].value) == pytest.approx(1, abs=0.05)

    def test_of_a_file_on_dask_are_on_dask(self, scene, found, tmp_path):
        scene[0].write(tmp_path / "cube.fits")
        lazy = SpectralCube.read(tmp_path / "cube.fits", use_dask=True)
        result = decompose(lazy, **QUIET)
        assert result.table["velocity"].value == pytest.approx(found.table["velocity"].value, abs=1e-5)
        residual = result.residual_cube()
        assert hasattr(residual._data, "dask")
        assert residual.filled_data[:].value == pytest.approx(found.residual_cube().filled_data[:].value, abs=1e-3)

    def test_precision_of_the_cube_is_kept(self, scene):
        cube = SpectralCube(scene[0].filled_data[:, :2, :2].astype("f4"), wcs=scene[0].wcs)
        assert decompose(cube, **QUIET).model_cube()._data.dtype == np.float32

    def test_masked_voxels_stay_masked(self, scene):
        cube = scene[0][:, :2, :2].with_mask(np.arange(N)[:, None, None] * np.ones((N, 2, 2)) < 100)
        residual = decompose(cube, **QUIET).residual_cube()
        assert np.isnan(residual.filled_data[100:].value).all()
        assert np.isfinite(residual.filled_data[:100].value).all()

    def test_of_another_cube_are_refused(self, scene, found):
        with pytest.raises(ValueError, match=r"'cube' must have the shape \(160, 20, 24\)"):
            found.model_cube(scene[0][:, :3])


class TestFiles:
    def test_table_reads_back(self, scene, found, tmp_path):
        found.write(tmp_path / "components.ecsv")
        back = Components.read(tmp_path / "components.ecsv")
        assert back.meta == found.meta
        for name in found.table.colnames:
            assert (back.table[name] == found.table[name]).all(), name
            assert back.table[name].dtype == found.table[name].dtype
        with pytest.raises(ValueError, match="'cube' must be given"):
            back.model_cube()
        assert (back.model_cube(scene[0]).filled_data[:] == found.model_cube().filled_data[:]).all()

    def test_maps_are_those_of_pyspeckit(self, found, tmp_path):
        found.write(tmp_path / "components.fits")
        with fits.open(tmp_path / "components.fits") as file:
            header, planes = file[0].header, file[0].data
            assert (header["FITTYPE"], header["CTYPE3"]) == ("gaussian", "FITPAR")
            named = [header[f"PLANE{i}"] for i in range(12)]
            assert named == ["AMPLITUDE", "SHIFT", "WIDTH"] * 2 + ["eAMPLITUDE", "eSHIFT", "eWIDTH"] * 2
            assert planes.shape == (12, 20, 24)
            row = found.table[(found.table["x"] == 15) & (found.table["y"] == 7)]
            assert planes[[1, 4], 7, 15] == pytest.approx(row["velocity"].value)
            assert planes[[6, 9], 7, 15] == pytest.approx(row["amplitude_err"].value)
            assert not planes[3:6, 7, 2].any()
            assert WCS(header).celestial.wcs.crval == pytest.approx([52.2315, 31.2436])

    def test_components_that_were_read_can_be_written_as_maps(self, found, tmp_path):
        found.write(tmp_path / "components.ecsv")
        found.write(tmp_path / "one.fits")
        Components.read(tmp_path / "components.ecsv").write(tmp_path / "other.fits")
        assert (fits.getdata(tmp_path / "one.fits") == fits.getdata(tmp_path / "other.fits")).all()

    @pytest.mark.parametrize("suffix", ["ecsv", "fits"])
    def test_files_are_not_replaced_unasked(self, found, tmp_path, suffix):
        path = tmp_path / f"components.{suffix}"
        path.write_text("mine")
        with pytest.raises(FileExistsError, match="overwrite=True"):
            found.write(path)
        assert path.read_text() == "mine"
        found.write(path, overwrite=True)
        assert path.stat().st_size > 100
        assert [one.name for one in tmp_path.iterdir()] == [path.name]

    def test_other_formats_are_refused(self, found, tmp_path):
        with pytest.raises(ValueError, match=r"'path' must end in \.ecsv or \.fits"):
            found.write(tmp_path / "components.csv")

    def test_other_tables_are_refused(self, found, tmp_path):
        QTable({"x": [1]}).write(tmp_path / "other.ecsv")
        found.write(tmp_path / "whole.ecsv")
        lines = (tmp_path / "whole.ecsv").read_text().splitlines()
        (tmp_path / "half.ecsv").write_text("\n".join(lines[:-20]))
        for name in ("other.ecsv", "half.ecsv"):
            with pytest.raises(ValueError, match=r"'path' must be components written by Components\.write"):
                Components.read(tmp_path / name)
