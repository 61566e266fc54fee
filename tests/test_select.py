"""Selection of the streamer among clusters: the ranking, the voxels, the region and the fit, against scenes of known truth."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import QTable

from sting import extract_streamer_subcube, fit_streamline, streamline
from sting.cubes import KMS
from sting.isolate import Clusters, select
from sting.isolate.outlines import outlines
from sting.noise import kept_rms
from sting.sky_regions import read_regions, region_mask

QUIET = {"save_folder": None, "progress": False, "optimizer": "lbfgs"}


@pytest.fixture(scope="module")
def selection(protostar):
    scene, clusters = protostar
    return select(clusters, scene.star_position)


def truth_of(components, scene):
    """Part of the streamer in the emission under each component."""
    table, velocity = components.table, scene.cube.spectral_axis.to_value(KMS)
    shape = np.exp(-0.5 * ((velocity[:, None] - table["velocity"].value) / table["sigma"].value) ** 2)
    return np.sum(shape * scene.streamer_fraction[:, table["y"], table["x"]], axis=0) / shape.sum(axis=0)


class TestRanking:
    def test_the_streamer_comes_first(self, protostar, selection):
        scene, clusters = protostar
        true = truth_of(clusters.components, scene) > 0.5
        flux = (clusters.table["amplitude"] * clusters.table["sigma"]).value
        chosen = np.isin(clusters.table["cluster"], selection.numbers)
        assert flux[chosen & true].sum() > 0.9 * flux[true].sum()
        assert flux[chosen & true].sum() > 0.9 * flux[chosen].sum()

    def test_the_score_is_the_product_of_what_is_shown(self, selection):
        ranking = selection.ranking
        names = ranking.colnames[3:]
        assert len(names) == 9
        assert np.allclose(ranking["score"], np.prod([ranking[name] for name in names], axis=0))
        assert (np.diff(ranking["score"]) <= 0).all()
        assert list(ranking["rank"]) == list(range(1, len(ranking) + 1))
        assert sorted(ranking["cluster"]) == list(range(len(selection.clusters)))
        for name in names:
            assert ((ranking[name] >= 0) & (ranking[name] <= 1)).all()
            assert ranking[name].info.description

    def test_each_score_by_hand(self, protostar, selection):
        _, clusters = protostar
        row, summary = selection.ranking[0], clusters.summary
        (k,) = selection.numbers
        assert row["narrow"] == pytest.approx(float(summary["line_width"].min() / summary["line_width"][k]) ** 2)
        assert row["bright"] == pytest.approx(float(summary["flux"][k] / summary["flux"][0]) ** 0.5)
        assert row["elongation"] == pytest.approx(1 - 1 / summary["elongation"][k])
        assert row["near"] == pytest.approx(0.5 + 0.5 / (1 + float(summary["distance_min"][k] / summary["length"][k]) ** 2))

    def test_clusters_of_ones_own_need_no_contrast(self, protostar, selection, tmp_path):
        scene, clusters = protostar
        table = QTable(clusters.table)
        del table["contrast"]
        own = Clusters(table, scene.cube)
        own.write(tmp_path / "own.ecsv")
        for again in (own, Clusters.read(tmp_path / "own.ecsv")):
            ranking = select(again, scene.star_position, cube=scene.cube).ranking
            assert (ranking["contrast"] == 1).all()
            assert ranking["cluster"][0] == selection.numbers[0]

    def test_the_star_need_not_be_the_origin(self, protostar, selection):
        scene, clusters = protostar
        (k,) = selection.numbers
        members = clusters.table[clusters.table["cluster"] == k]
        # beside the middle of the streamer: nothing points there
        angle = clusters.summary["position_angle"][k] + 90 * u.deg
        ra, dec = members["ra_offset"].mean(), members["dec_offset"].mean()
        beside = scene.star_position.spherical_offsets_by(ra, dec).directional_offset_by(angle, 5 * u.arcsec)
        ranking = select(clusters, beside).ranking
        moved = ranking[ranking["cluster"] == k]
        assert moved["pointing"][0] < 0.1 < 0.7 < selection.ranking["pointing"][0]
        assert moved["narrow"][0] == selection.ranking["narrow"][0]

    def test_named_clusters_are_merged(self, protostar):
        scene, clusters = protostar
        labels = np.asarray(clusters.table["cluster"])
        two = select(clusters, scene.star_position, cluster=[2, 0, 2])
        assert two.numbers == (0, 2)
        assert len(two.components) == np.isin(labels, [0, 2]).sum()
        assert select(clusters, scene.star_position, cluster=1).numbers == (1,)
        assert repr(two).startswith(f"<Selection: clusters 0, 2 of {len(clusters)}, ")


class TestVoxels:
    def test_are_the_streamers(self, protostar, selection):
        scene, clusters = protostar
        streamer, model = scene.components["streamer"], scene.model
        assert streamer[selection.mask].sum() > 0.8 * model[selection.mask].sum()
        # of its bright part, which the envelope crosses in places
        mask = select(clusters, scene.star_position, purity=0.5).mask
        assert mask[streamer > 0.5 * streamer.max()].mean() > 0.75
        assert not (selection.mask & ~mask).any()

    def test_by_a_way_of_their_own(self, protostar, selection):
        scene, clusters = protostar
        velocity, table = scene.cube.spectral_axis.to_value(KMS), clusters.table
        ours, others = np.zeros(scene.cube.shape), np.zeros(scene.cube.shape)
        near = np.zeros(scene.cube.shape, bool)
        for row in table:
            y, x, away = row["y"], row["x"], (velocity - row["velocity"].value) / row["sigma"].value
            if row["cluster"] in selection.numbers:
                ours[:, y, x] += row["amplitude"].value * np.exp(-(away**2) / 2)
                near[:, y, x] |= np.abs(away) <= 3
            else:
                others[:, y, x] += row["amplitude"].value * np.exp(-(away**2) / 2)
        values = scene.cube.filled_data[:].value - others
        expected = near & (ours > 0.8 * (ours + others)) & (values > 4 * scene.rms.value)
        assert np.array_equal(selection.mask, expected)
        assert np.sort(selection.cube.filled_data[:].value[selection.cube.mask.include()]) == pytest.approx(
            np.sort(values[expected]), rel=1e-5
        )

    def test_cube_holds_them_and_no_other(self, protostar, selection):
        scene, _ = protostar
        cube = selection.cube
        inside = np.isfinite(cube.filled_data[:].value)
        assert inside.sum() == selection.mask.sum()
        # nearer to the streamer's own emission than the raw cube is
        own, raw = (values[selection.mask].sum() for values in (scene.components["streamer"], scene.cube.filled_data[:].value))
        assert own < cube.filled_data[:].value[inside].sum() < raw
        assert all(inside.any(axis=axes).all() for axes in ((1, 2),))
        assert u.Quantity(kept_rms(cube), cube.unit).value == pytest.approx(scene.rms.value)

    def test_more_or_less_of_them(self, protostar, selection):
        scene, clusters = protostar
        narrow = select(clusters, scene.star_position, reach=1).mask
        everything = select(clusters, scene.star_position, rms_thresh=0).mask
        assert narrow.sum() < selection.mask.sum() < everything.sum()
        assert not (selection.mask & ~everything).any()

    def test_velocity_range_and_region_cut_the_same_out(self, protostar, selection, tmp_path):
        scene, _ = protostar
        selection.write_region(tmp_path / "streamer.reg")
        low, high = selection.velocity_range
        cut = extract_streamer_subcube(scene.cube, low, high, region=tmp_path / "streamer.reg")
        assert cut.shape == selection.cube.shape

    def test_region_reads_back_as_the_same_pixels(self, protostar, selection, tmp_path):
        scene, _ = protostar
        path = tmp_path / "streamer.reg"
        selection.write_region(path)
        pixels = selection.mask.any(axis=0)
        assert np.array_equal(region_mask(read_regions(path), scene.cube.wcs.celestial, pixels.shape), pixels)
        assert np.array_equal(region_mask(selection.region, scene.cube.wcs.celestial, pixels.shape), pixels)
        with pytest.raises(FileExistsError):
            selection.write_region(path)
        selection.write_region(path, overwrite=True)

    def test_nothing_is_bright_enough(self, protostar):
        scene, clusters = protostar
        with pytest.raises(ValueError, match="'rms_thresh' must leave a voxel of the streamer; got none above 1000 rms"):
            _ = select(clusters, scene.star_position, rms_thresh=1000).cube


class TestFit:
    def test_from_the_raw_cube(self, protostar, selection):
        scene, _ = protostar
        streamer = selection.streamer(n_elements=8)
        assert streamer.meta["uncertainty"] == "mean"
        known = {name: scene.truth[name] for name in ("mass", "inc", "pa", "v_lsr", "rmin")}
        start = {name: value for name, value in scene.truth.items() if name not in known}
        result = fit_streamline(start, known, streamer, scene.distance, **QUIET)
        found, true = result.streamline(n_points=300), streamline(scene.truth, distance=scene.distance, n_points=2000)
        seen = np.hypot(streamer.ra_data, streamer.dec_data)
        place = np.array([found.ra.value, found.dec.value])
        place = place[:, (np.hypot(*place) > seen.min()) & (np.hypot(*place) < seen.max())]
        away = np.hypot(*(place[..., None] - np.array([true.ra.value, true.dec.value])[:, None])).min(axis=1)
        assert away.max() < 0.2  # a sixth of the beam
        orbit = result.derived()
        momentum = orbit[orbit["quantity"] == "angular_momentum"][0]
        truth = streamline(scene.truth, distance=scene.distance, n_points=5)
        exact = np.linalg.norm(np.cross(truth.position[0].value, truth.velocity_xyz[0].value))
        assert momentum["value"] == pytest.approx(exact, rel=0.25)


class TestFiles:
    def test_clusters_from_a_file_need_the_cube(self, protostar, selection, tmp_path):
        scene, clusters = protostar
        clusters.write(tmp_path / "clusters.ecsv")
        back = Clusters.read(tmp_path / "clusters.ecsv")
        alone = select(back, scene.star_position)
        assert alone.numbers == selection.numbers
        with pytest.raises(ValueError, match="'cube' must be given"):
            _ = alone.cube
        again = select(back, scene.star_position, cube=scene.cube)
        assert np.array_equal(again.mask, selection.mask)
        assert len(again.region) == len(selection.region)


class TestBadInput:
    def test_no_cluster(self, protostar):
        scene, clusters = protostar
        table = QTable(clusters.table)
        table["cluster"] = -1
        with pytest.raises(ValueError, match=r"'clusters' must hold a cluster; got none among \d+ components"):
            select(Clusters(table, scene.cube), scene.star_position)

    @pytest.mark.parametrize(
        ("keywords", "error", "match"),
        [
            ({"cluster": 99}, ValueError, "'cluster' must lie between 0 and"),
            ({"cluster": -1}, ValueError, "-1 is noise"),
            ({"cluster": []}, TypeError, "'cluster' must be a number or a list"),
            ({"cluster": "0"}, TypeError, "'cluster' must be a number or a list"),
            ({"cluster": [0.5]}, ValueError, "'cluster' must lie between"),
            ({"reach": 0}, ValueError, "'reach' must be a positive number"),
            ({"purity": 1}, ValueError, "'purity' must lie between 0 and 1"),
            ({"rms_thresh": -1}, ValueError, "'rms_thresh' must be a positive number, or 0"),
            ({"clusters": 0}, TypeError, "keyword of select|multiple values"),
        ],
    )
    def test_is_refused(self, protostar, keywords, error, match):
        scene, clusters = protostar
        with pytest.raises(error, match=match):
            select(clusters, scene.star_position, **keywords)

    def test_other_types(self, protostar):
        scene, clusters = protostar
        with pytest.raises(TypeError, match="'clusters' must be Clusters"):
            select(clusters.components, scene.star_position)
        with pytest.raises(TypeError, match="'star_position' must be one SkyCoord"):
            select(clusters, (3, 4))

    def test_another_cube(self, protostar):
        scene, clusters = protostar
        with pytest.raises(ValueError, match="'cube' must have the shape"):
            select(clusters, scene.star_position, cube=scene.cube[5:])


class TestOutlines:
    @pytest.mark.parametrize("seed", range(6))
    def test_hold_just_the_pixels(self, seed, make_cube):
        mask = np.random.default_rng(seed).random((12, 15)) < (0.2, 0.4, 0.5, 0.6, 0.8, 0.95)[seed]
        check(mask, make_cube)

    def test_of_rings_in_rings(self, make_cube):
        y, x = np.mgrid[:21, :21]
        ring = np.maximum(np.abs(x - 10), np.abs(y - 10)) % 3 > 0
        check(ring, make_cube)

    def test_of_everything_is_one_rectangle(self):
        (corners,) = outlines(np.ones((3, 5), bool))
        assert sorted(map(tuple, corners)) == [(-0.5, -0.5), (-0.5, 2.5), (4.5, -0.5), (4.5, 2.5)]


def check(mask, make_cube):
    """Compare the pixels that the polygons hold with the mask, each in one polygon only."""
    from regions import PolygonSkyRegion

    wcs = make_cube(np.zeros((2, *mask.shape))).wcs.celestial
    found = [PolygonSkyRegion(SkyCoord(wcs.pixel_to_world(*corners.T))) for corners in outlines(mask)]
    assert np.array_equal(region_mask(found, wcs, mask.shape), mask)
    assert np.array_equal(sum(region_mask([one], wcs, mask.shape).astype(int) for one in found), mask)
