"""Clusters of components: those of scenes against the truth, those of points against what was put in."""

import sys

import matplotlib.collections
import numpy as np
import pytest
from astropy import units as u
from astropy.table import QTable

from sting import outputs, synthetic
from sting.cubes import KMS
from sting.isolate import Clusters, Components, cluster, decompose, keplerian_mask
from sting.isolate.components import make_table
from sting.messages import StingWarning

ARCSEC = u.arcsec
SHAPE = (60, 50, 50)


def line(x, y, velocity, sigma=0.2, amplitude=1.0):
    """Columns of components at pixels."""
    return np.broadcast_arrays(np.ravel(x), np.ravel(y), np.ravel(velocity), sigma, amplitude)


def make_components(*groups, beam=(2.0, 2.0, 0.0), shape=SHAPE):
    """Components out of groups of columns; pixels of 0.5 arcsec about the origin in the middle, a noise of 0.05."""
    x, y, velocity, sigma, amplitude = np.hstack(groups) if groups else np.zeros((5, 0))
    order = np.lexsort((velocity, x, y))
    x, y, velocity, sigma, amplitude = (values[order] for values in (x, y, velocity, sigma, amplitude))
    zero = np.zeros(len(x))
    values = {
        "x": x,
        "y": y,
        "ra_offset": -0.5 * (x - 25),
        "dec_offset": 0.5 * (y - 25),
        "amplitude": amplitude,
        "velocity": velocity,
        "sigma": sigma,
        "amplitude_err": zero + 0.05,
        "velocity_err": zero + 0.01,
        "sigma_err": zero + 0.01,
        "snr": amplitude / 0.05,
        "line_snr": amplitude / 0.02,
        "rms": zero + 0.05,
        "n_components": zero + 1,
        "aicc": zero,
        "chi2": zero + 1,
    }
    meta = {
        "unit": "K",
        "beam": None if beam is None else list(beam),
        "pixel": 0.5,
        "channel": 0.1,
        "origin": [52.2, 31.2, "ICRS", None],
        "shape": list(shape),
        "n_spectra": shape[1] * shape[2],
        "notes": [],
    }
    return Components(make_table(values, meta))


def strip(x, y, slope=0.02, velocity=5.0, **keywords):
    """Components of a strip of pixels whose velocity grows by column."""
    y, x = np.meshgrid(y, x, indexing="ij")
    return line(x, y, velocity + slope * (x - 25), **keywords)


@pytest.fixture(scope="module")
def two():
    """A long bright strip, a small faint square far off in velocity, and a few components elsewhere."""
    rng = np.random.default_rng(1)
    noise = line(rng.integers(0, 50, 30), rng.integers(0, 50, 30), rng.uniform(2, 9, 30), 0.2, 0.2)
    return make_components(strip(range(5, 45), range(22, 28)), strip(range(20, 30), range(30, 40), 0, 8, amplitude=0.5), noise)


@pytest.fixture(scope="module")
def found(two):
    return cluster(two, method="dbscan")


def truth_of(components, scene):
    """Part of the streamer in the emission under each component."""
    table, velocity = components.table, scene.cube.spectral_axis.to_value(KMS)
    shape = np.exp(-0.5 * ((velocity[:, None] - table["velocity"].value) / table["sigma"].value) ** 2)
    return np.sum(shape * scene.streamer_fraction[:, table["y"], table["x"]], axis=0) / shape.sum(axis=0)


def quality(clusters, scene):
    """Completeness and purity of each cluster."""
    table, true = clusters.table, truth_of(clusters.components, scene) > 0.5
    flux, labels = (table["amplitude"] * table["sigma"]).value, np.asarray(table["cluster"])
    ours, all_ = (np.array([flux[(labels == k) & kept].sum() for k in range(len(clusters))]) for kept in (true, labels >= 0))
    return ours / flux[true].sum(), ours / all_


class TestScenes:
    def test_one_cluster_is_the_streamer(self, protostar):
        scene, clusters = protostar
        assert np.min(quality(clusters, scene), axis=0).max() > 0.9

    def test_one_cluster_is_another_streamer(self):
        scene = synthetic.make_scene("random", seed=108, snr=26)
        clusters = cluster(decompose(scene.cube, rms=scene.rms, star_position=scene.star_position, progress=False))
        assert np.min(quality(clusters, scene), axis=0).max() > 0.9

    def test_position_and_velocity_alone_do_not_part_it_from_the_envelope(self, protostar):
        scene, clusters = protostar
        plain = cluster(clusters.components, width_scale=None, amplitude_scale=None, width_tolerance=None)
        assert np.min(quality(plain, scene), axis=0).max() < np.min(quality(clusters, scene), axis=0).max() - 0.1

    def test_noise_is_no_cluster_and_flux_gives_the_order(self, protostar):
        _, clusters = protostar
        labels, flux = np.asarray(clusters.table["cluster"]), clusters.summary["flux"]
        assert np.count_nonzero(labels == -1) > np.bincount(labels[labels >= 0]).max()  # there is much of it
        assert set(labels) == {-1, *range(len(clusters))}
        assert (clusters.summary["cluster"] == np.arange(len(clusters))).all()
        assert (np.diff(flux) < 0).all()

    def test_a_mask_takes_the_disk_out(self, protostar):
        scene, clusters = protostar
        mask = keplerian_mask(scene.cube, scene.star_position, scene.distance, **scene.disk)
        without = cluster(clusters.components, mask=mask)
        table, velocity = without.table, scene.cube.spectral_axis.to_value(KMS)
        channel = np.abs(velocity - table["velocity"].to_value(KMS)[:, None]).argmin(axis=1)
        inside = mask[channel, table["y"], table["x"]]
        assert inside.sum() > 20
        assert (table["cluster"][inside] == -1).all()
        assert (table["cluster"] >= 0).any()


class TestPoints:
    @pytest.mark.parametrize("method", ["hdbscan", "dbscan"])
    def test_two_groups_and_noise(self, two, method):
        clusters = cluster(two, method=method)
        assert len(clusters) == 2
        assert clusters.meta["clustering"]["method"] == method
        labels, amplitude = np.asarray(clusters.table["cluster"]), clusters.table["amplitude"].value
        # the corners of a group have few neighbours
        assert [np.sum((labels == k) & (amplitude == a)) for k, a in ((0, 1.0), (1, 0.5))] == pytest.approx([240, 100], rel=0.1)
        assert not np.any((labels == 1) & (amplitude == 1.0))
        assert not np.any((labels == 0) & (amplitude == 0.5))
        assert (labels == -1).sum() >= 10

    def test_the_components_themselves_are_unchanged(self, two, found):
        assert "cluster" not in two.table.colnames
        assert "clustering" not in two.meta
        for name in two.table.colnames:
            assert (found.table[name] == two.table[name]).all()

    def test_summary(self, found):
        row = found.summary[0]
        assert row["elongation"] == pytest.approx(40 / 6, rel=0.1)
        assert row["length"].to_value(ARCSEC) == pytest.approx(2.355 * 20 / np.sqrt(12), rel=0.05)
        assert row["position_angle"].to_value(u.deg) == pytest.approx(90, abs=2)
        # 0.02 km/s a column to the west
        assert row["gradient"].to_value(KMS / ARCSEC) == pytest.approx(0.04, rel=0.03)
        assert row["gradient_direction"].to_value(u.deg) == pytest.approx(270, abs=2)
        assert row["gradient_err"].to_value(KMS / ARCSEC) < 0.01
        assert row["distance_min"].to_value(ARCSEC) < 0.5
        assert row["line_width"].to_value(KMS) == pytest.approx(0.2)
        assert row["velocity_min"] < 4.7 * KMS < 5.3 * KMS < row["velocity_max"]
        flux = np.sqrt(2 * np.pi) * 0.2 * 0.25 * row["n_components"]
        assert row["flux"].to_value(u.K * KMS * ARCSEC**2) == pytest.approx(flux, rel=0.02)

    def test_error_of_the_gradient_is_that_of_independent_beams(self):
        rng, slopes, errors = np.random.default_rng(2), [], []
        for _ in range(60):
            # noise that is the same within a beam of 4 x 4 pixels, which is 18 pixels by the volume of a Gaussian
            x, y, velocity, *rest = strip(range(4, 44), range(20, 28), 0.1)
            noise = np.repeat(np.repeat(rng.normal(0, 0.05, (2, 10)), 4, axis=0), 4, axis=1).ravel()
            clusters = Clusters(make_components(np.array([x, y, velocity + noise, *rest])).table)
            clusters.table["cluster"], clusters.table["contrast"] = 0, 1.0
            row = clusters.summary[0]
            slopes.append(row["gradient"].value)
            errors.append(row["gradient_err"].value)
        assert np.std(slopes) == pytest.approx(np.mean(errors), rel=0.5)

    def test_widths_part_what_lies_side_by_side(self):
        narrow, broad = strip(range(5, 45), range(20, 25), 0), strip(range(5, 45), range(25, 32), 0, sigma=0.4)
        components = make_components(narrow, broad)
        parts = cluster(components, method="dbscan")
        assert sorted(parts.summary["line_width"].value) == pytest.approx([0.2, 0.4], rel=0.05)
        plain = {"width_scale": None, "width_tolerance": None}
        (one,) = cluster(components, method="dbscan", **plain).summary["line_width"].value
        assert 0.22 < one < 0.38

    def test_what_stands_alone_is_one_cluster(self):
        components = make_components(strip(range(5, 45), range(22, 28)))
        assert list(cluster(components).summary["n_components"]) == pytest.approx([240], rel=0.1)

    def test_tolerance_leaves_broad_components_to_the_noise(self):
        sigma = np.where(np.arange(240) % 40 >= 36, 0.25, 0.2)
        components = make_components(strip(range(5, 45), range(22, 28), 0, sigma=sigma))
        settings = {"width_scale": None, "smoothing": 0, "method": "dbscan", "eps": 2.0}
        kept = cluster(components, width_tolerance=None, **settings).table["cluster"] >= 0
        strict = cluster(components, width_tolerance=0.15, **settings).table
        assert kept.all()
        assert (strict["sigma"][strict["cluster"] < 0].value == 0.25).all()
        assert (strict["cluster"] < 0).sum() == 24

    def test_mask_of_pixels(self, two):
        mask = np.zeros(SHAPE[1:], bool)
        mask[30:40] = True
        clusters = cluster(two, mask=mask, method="dbscan")
        assert len(clusters) == 1
        assert (clusters.table["cluster"][mask[clusters.table["y"], clusters.table["x"]]] == -1).all()

    def test_without_a_beam(self, two):
        components = Components(QTable(two.table, meta=two.meta | {"beam": None}))
        assert cluster(components, method="dbscan").meta["clustering"]["min_size"] == round(2 * 1.1331 * 9)

    def test_many_are_averaged_in_parts(self, two, monkeypatch):
        whole = cluster(two).table["cluster"]
        monkeypatch.setattr("sting.isolate.clustering.CHUNK", 50)
        assert (cluster(two).table["cluster"] == whole).all()


class TestNothing:
    @pytest.mark.parametrize("groups", [(), (line(20, 20, 5.0),), (strip(range(5), range(2)),)], ids=["none", "one", "few"])
    @pytest.mark.parametrize("method", ["hdbscan", "dbscan"])
    def test_no_cluster(self, groups, method):
        with pytest.warns(StingWarning, match="There is no cluster"):
            clusters = cluster(make_components(*groups), method=method)
        assert len(clusters) == 0
        assert len(clusters.summary) == 0
        assert (clusters.table["cluster"] == -1).all()

    def test_figures_of_none(self):
        with pytest.warns(StingWarning, match="There is no cluster"):
            clusters = cluster(make_components(line(20, 20, 5.0)))
        for plot in (outputs.plot_clusters, outputs.plot_components_3d):
            plot(clusters).draw_without_rendering()


class TestBadInput:
    @pytest.mark.parametrize(
        ("keywords", "error", "match"),
        [
            ({"method": "kmeans"}, ValueError, "'method' must be one of"),
            ({"min_size": 1}, ValueError, "'min_size' must be a whole number of at least 2"),
            ({"min_samples": 0}, ValueError, "'min_samples' must be a whole number"),
            ({"eps": 0}, ValueError, "'eps' must be a positive number"),
            ({"beam_scale": None}, ValueError, "'beam_scale' must be a positive number"),
            ({"width_scale": -1}, ValueError, "'width_scale' must be a positive number"),
            ({"width_tolerance": "0.1"}, ValueError, "'width_tolerance' must be a positive number"),
            ({"contrast_min": 1}, ValueError, "'contrast_min' must lie between 0 and 1"),
            ({"widest": 0}, ValueError, "'widest' must be a positive number"),
            ({"smoothing": -1}, ValueError, "'smoothing' must be a number of beams"),
            ({"mask": np.zeros((3, 3), bool)}, ValueError, "'mask' must be an array of bool of shape"),
            ({"mask": np.zeros(SHAPE)}, ValueError, "'mask' must be an array of bool"),
            ({"mask": np.zeros(SHAPE, bool)}, ValueError, "'cube' must be given"),
            ({"minsize": 3}, TypeError, "Did you mean 'min_size'"),
        ],
    )
    def test_is_refused(self, two, keywords, error, match):
        with pytest.raises(error, match=match):
            cluster(two, **keywords)

    def test_something_else_than_components(self, two):
        with pytest.raises(TypeError, match="'components' must be Components; got QTable"):
            cluster(two.table)

    def test_without_scikit_learn(self, two, monkeypatch):
        monkeypatch.setitem(sys.modules, "sklearn", None)
        with pytest.raises(ImportError, match=r"pip install '\.\[isolate\]' in its checkout"):
            cluster(two)


class TestFiles:
    def test_round_trip(self, found, tmp_path):
        found.write(tmp_path / "clusters.ecsv")
        back = Clusters.read(tmp_path / "clusters.ecsv")
        assert back.table.colnames == found.table.colnames
        for name in found.table.colnames:
            assert (back.table[name] == found.table[name]).all()
        assert back.meta["clustering"] == found.meta["clustering"]
        assert repr(back) == repr(found)
        assert back.summary["flux"][0] == found.summary["flux"][0]
        assert len(Components.read(tmp_path / "clusters.ecsv")) == len(found.table)

    def test_refuses(self, found, two, tmp_path):
        with pytest.raises(ValueError, match=r"'path' must end in \.ecsv"):
            found.write(tmp_path / "clusters.fits")
        found.write(tmp_path / "clusters.ecsv")
        with pytest.raises(FileExistsError, match="overwrite=True"):
            found.write(tmp_path / "clusters.ecsv")
        two.write(tmp_path / "components.ecsv")
        with pytest.raises(ValueError, match="'path' must be clusters written by"):
            Clusters.read(tmp_path / "components.ecsv")
        with pytest.raises(FileNotFoundError, match="'path' must be an existing file"):
            Clusters.read(tmp_path / "none.ecsv")


class TestFigures:
    def test_clusters_have_all_components_once(self, found):
        for ax in outputs.plot_clusters(found).axes:
            drawn = [c for c in ax.collections if isinstance(c, matplotlib.collections.PathCollection)]
            assert sum(len(c.get_offsets()) for c in drawn) == len(found.table)

    def test_star_is_where_it_is_said_to_be(self, found):
        star = found.components.origin.directional_offset_by(90 * u.deg, 3 * ARCSEC)
        ax = outputs.plot_clusters(found, star_position=star).axes[0]
        (mark,) = (one for one in ax.lines if one.get_marker() == "*")
        assert np.allclose(mark.get_xydata(), [[3, 0]], atol=1e-3)

    def test_axes_of_ones_own(self, found):
        figure = outputs.plot_components_3d(found, title="clusters")
        assert outputs.plot_components_3d(found, ax=figure.axes[0]) is figure

    def test_spectra(self, protostar):
        scene, clusters = protostar
        x, y = int(clusters.table["x"][0]), int(clusters.table["y"][0])
        figure = outputs.plot_spectra(clusters, [(x, y), (0, 0)], title="two")
        shown, empty = (ax for ax in figure.axes if ax.get_visible())
        assert len(shown.lines) == 2 + clusters.components.number_map()[y, x]
        assert np.allclose(shown.lines[0].get_ydata(), scene.cube[:, y, x].value)
        assert len(empty.lines) == 2 + clusters.components.number_map()[0, 0]

    @pytest.mark.parametrize("pixels", [[], [(1, 2, 3)], [(0.5, 1)], [(1, 2), (3,)], [(-1, 0)], [(0, 100)], 7])
    def test_pixels_that_are_none(self, protostar, pixels):
        with pytest.raises(ValueError, match="'pixels' must"):
            outputs.plot_spectra(protostar[1], pixels)
