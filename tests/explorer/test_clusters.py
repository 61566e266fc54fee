"""Clusters in the explorer: which are taken, how one becomes the data of the fit, how they are found and kept."""

import json
import runpy
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from astropy import units as u
from astropy.table import QTable
from regions import CirclePixelRegion, CircleSkyRegion, PixCoord
from spectral_cube import SpectralCube

from sting import StreamerExplorer, extract_streamer_subcube, isolate, reduce_to_1D
from sting.explorer.known_clusters import KnownClusters
from sting.explorer.state import ExplorerState

KMS = u.km / u.s

#: Longest wait (s) for anything that must happen.
PATIENCE = 120


@pytest.fixture
def state(make_clustered):
    """An explorer with clusters and nothing cut out, to be changed."""
    return make_clustered()


@pytest.fixture
def selected(clustered):
    """Function: what a script selects."""

    def select(cluster, **keywords):
        return isolate.select(clustered.clusters, clustered.scene.star_position.icrs, cluster=cluster, **keywords)

    return select


def assert_same_cube(found, expected):
    """The same voxels at the same places."""
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found.filled_data[:].value, expected.filled_data[:].value)
    np.testing.assert_array_equal(found.spectral_axis, expected.spectral_axis)
    np.testing.assert_array_equal(found.wcs.wcs.crpix, expected.wcs.wcs.crpix)


class TestWhatIsTaken:
    def test_they_change_nothing_but_what_is_shown(self, make_clustered, clustered, told):
        state = make_clustered(clusters=None, rms_thresh=5)
        assert state.clusters is None
        assert state.ranking is None
        session, points, heard = state.session, state.streamer, told(state)
        state.set_clusters(clustered.clusters)
        assert state.clusters is clustered.clusters
        assert heard == [{"clusters", "status"}]
        assert state.session is session
        assert state.streamer is points
        assert not state.can_undo
        assert state.status.startswith("3 clusters. ")

    def test_the_ranking_is_that_of_select(self, state, clustered):
        ranking = isolate.select(clustered.clusters, state.star_position).ranking
        assert list(state.ranking["cluster"]) == list(ranking["cluster"])
        assert list(state.ranking["score"]) == list(ranking["score"])
        first, number = state.known.words[0]
        assert number == ranking["cluster"][0]
        assert first == f"1: cluster {number}, score {ranking['score'][0]:.3f}"
        assert first.partition(": ")[2] in make_status(state, clustered)

    def test_a_file(self, make_clustered, clustered, tmp_path):
        clustered.clusters.write(tmp_path / "clusters.ecsv")
        for path in (tmp_path / "clusters.ecsv", str(tmp_path / "clusters.ecsv")):
            state = make_clustered(clusters=path)
            assert state.known.path == str(tmp_path / "clusters.ecsv")
            state.set_cluster(1)
            again = make_clustered()
            again.set_cluster(1)
            assert_same_cube(state.streamer_cube, again.streamer_cube)

    def test_by_the_widget(self, clustered):
        scene = clustered.scene
        explorer = StreamerExplorer(scene.cube, scene.star_position, scene.distance, clusters=clustered.clusters)
        assert explorer.state.clusters is clustered.clusters

    def test_none_takes_them_away(self, state, told):
        state.set_cluster(1)
        session, heard = state.session, told(state)
        state.set_clusters(None)
        assert state.clusters is None
        assert state.ranking is None
        assert state.chosen == ()
        assert state.session is session
        assert heard == [{"clusters", "status"}]

    def test_the_star_may_be_elsewhere(self, clustered):
        scene = clustered.scene
        star = scene.star_position.spherical_offsets_by(1 * u.arcsec, -2 * u.arcsec)
        state = ExplorerState(scene.cube, star, scene.distance, clusters=clustered.clusters)
        table = clustered.clusters.table
        k = np.flatnonzero(table["cluster"] == 1)[:5]
        members = state.known.number == 1
        for ra, dec in zip(table["ra_offset"][k].value - 1, table["dec_offset"][k].value + 2, strict=True):
            assert np.hypot(state.known.ra[members] - ra, state.known.dec[members] - dec).min() < 1e-3

    def spoilt(self, clustered, **changes):
        """The clusters with another thing in their meta."""
        table = QTable(clustered.clusters.table)
        table.meta = {**table.meta, **changes}
        return isolate.Clusters(table)

    def test_of_another_cube(self, state, clustered, everything, refused):
        before, table = everything(state), clustered.clusters.table
        wrong = [self.spoilt(clustered, shape=[40, 64, 65]), self.spoilt(clustered, unit="Jy / beam")]
        for name, step in (("ra_offset", 1 * u.arcsec), ("velocity", 30 * KMS)):
            moved = QTable(table)
            moved[name] = moved[name] + step
            wrong.append(isolate.Clusters(moved))
        words = ("shape \\(40, 64, 65\\)", "Jy / beam", "1 arcsec from", "km/s; this cube has")
        for clusters, word in zip(wrong, words, strict=True):
            with pytest.raises(ValueError, match=f"^'clusters' must be of the cube that is shown; got .*{word}"):
                state.set_clusters(clusters)
        assert everything(state) == before
        assert state.clusters is clustered.clusters

    def test_something_else(self, state, clustered, everything, refused, tmp_path):
        before = everything(state)
        for wrong in (clustered.components, [clustered.clusters], 5, np.zeros(3)):
            with refused("clusters", TypeError):
                state.set_clusters(wrong)
        with refused("clusters", FileNotFoundError):
            state.set_clusters(tmp_path / "none.ecsv")
        (tmp_path / "bad.ecsv").write_text("# no table")
        with refused("path"):
            state.set_clusters(tmp_path / "bad.ecsv")
        assert everything(state) == before

    def test_none_among_the_components(self, state, clustered, refused):
        table = QTable(clustered.clusters.table)
        table["cluster"] = -1
        with refused("clusters"):
            state.set_clusters(isolate.Clusters(table))

    def test_in_the_constructor(self, make_clustered, refused):
        with refused("clusters", TypeError):
            make_clustered(clusters=7)

    def test_the_fingerprint(self, clustered, relabelled, state, tmp_path):
        clustered.clusters.write(tmp_path / "clusters.ecsv")
        known = [KnownClusters(c, state.images, state.star_position) for c in (tmp_path / "clusters.ecsv", relabelled)]
        assert known[0].fingerprint == state.known.fingerprint
        assert known[1].fingerprint != state.known.fingerprint


def make_status(state, clustered):
    """What is said when clusters are set."""
    state.set_clusters(clustered.clusters)
    return state.status


class TestOneBecomesTheData:
    @pytest.mark.parametrize("cluster", [1, 0, [1, 2], (2, 1), np.array([0, 1, 2]), np.int64(1)], ids=str)
    def test_the_same_as_select(self, state, selected, cluster):
        state.set_cluster(cluster)
        selection = selected(cluster)
        assert_same_cube(state.streamer_cube, selection.cube)
        assert state.session.cluster == selection.numbers
        points = reduce_to_1D(selection.cube, state.star_position, 6, uncertainty="spread")
        np.testing.assert_array_equal(state.streamer.data, points.data)
        np.testing.assert_array_equal(state.streamer.uncertainties, points.uncertainties)
        assert state.comparison.residuals.shape == (len(points), 3)
        assert state.status.startswith("Cluster")
        assert " + ".join(map(str, selection.numbers)) in state.status

    def test_their_errors_come_from_the_noise_of_the_components(self, state, selected, clustered):
        state.set_cut(uncertainty="mean")
        state.set_cluster(1)
        points = selected(1).streamer(6, systematic=False)
        assert points.meta["uncertainty"] == "mean"
        np.testing.assert_allclose(state.streamer.uncertainties, points.uncertainties, rtol=1e-12)

    def test_everything_that_follows_is_told(self, state, told):
        heard = told(state)
        state.set_cluster(1)
        assert heard == [{"cut", "status", "model"}]

    def test_the_model_is_compared_with_it(self, state):
        """The true model goes through the streamer, and not through what surrounds it."""
        losses = []
        for number in (1, 0):
            state.set_cluster(number)
            losses.append(state.comparison.loss / len(state.streamer))
        assert losses[1] > 5 * losses[0]

    def test_more_are_added_and_taken_away(self, state):
        for number, chosen in ((1, (1,)), (2, (1, 2)), (0, (0, 1, 2)), (1, (0, 2)), (2, (0,)), (0, ())):
            state.toggle_cluster(number)
            assert state.session.cluster == chosen
        assert state.streamer is None

    def test_none_leaves_the_ordinary_cut(self, make_clustered, clustered):
        state = make_clustered(rms_thresh=5, vmin=6.5 * KMS)
        points, session = state.streamer.data, state.session
        state.set_cluster(1)
        assert not np.array_equal(state.streamer.data, points)
        state.set_cluster(None)
        assert state.session == session
        np.testing.assert_array_equal(state.streamer.data, points)

    def test_undo_and_redo(self, state, selected):
        before = state.session
        state.set_cluster(1)
        state.set_cluster([1, 2])
        state.undo()
        assert state.session.cluster == (1,)
        assert_same_cube(state.streamer_cube, selected(1).cube)
        state.undo()
        assert state.session == before
        assert state.streamer is None
        state.redo()
        state.redo()
        assert_same_cube(state.streamer_cube, selected([1, 2]).cube)
        state.reset()
        assert state.session == before
        assert state.clusters is not None

    def test_the_same_again_is_no_change(self, state, told):
        state.set_cluster(1)
        heard = told(state)
        state.set_cluster([1])
        assert heard == []

    def test_other_clusters_leave_the_choice(self, state, clustered, relabelled, told):
        state.set_cluster(1)
        points, session = state.streamer, state.session
        state.set_clusters(relabelled)
        assert state.clusters is relabelled
        assert state.session is session
        assert state.streamer is points
        assert state.chosen == ()
        # nor do they come back with whatever is changed
        state.set_value("r0", 2000 * u.au)
        assert state.clusters is relabelled
        state.undo()
        # the same cluster by another name
        state.toggle_cluster(0)
        assert state.chosen == state.session.cluster == (0,)
        assert state.session.clustering != session.clustering
        np.testing.assert_array_equal(state.streamer.data, points.data)
        heard = told(state)
        state.undo()
        assert state.session == session
        assert state.chosen == (1,)
        assert state.clusters is clustered.clusters
        assert "clusters" in heard[0]
        state.redo()
        assert state.clusters is relabelled
        assert state.chosen == (0,)

    def test_the_same_clusters_keep_the_choice(self, state, clustered):
        state.set_cluster(1)
        session = state.session
        state.set_clusters(isolate.Clusters(QTable(clustered.clusters.table)))
        assert state.session is session
        assert state.chosen == (1,)

    def test_clusters_are_taken_though_the_ordinary_cut_cannot_be(self, state, relabelled, refused):
        """A range of velocities and no threshold is a cut of a cluster, and noise where none is chosen."""
        state.set_cluster(0)
        state.set_cut(vmin=9 * KMS)
        with refused("streamer_cube"):
            state.set_cluster(None)
        state.set_clusters(relabelled)
        assert state.clusters is relabelled

    def test_numbers_that_do_not_exist(self, state, everything, refused):
        state.set_cluster(1)
        before = everything(state)
        for wrong in (3, -1, [0, 7], [1, 0.5], [True]):
            with refused("cluster"):
                state.set_cluster(wrong)
        for wrong in ("1", 0.5, [], {1}, True):
            with refused("cluster", TypeError):
                state.set_cluster(wrong)
        assert everything(state) == before

    def test_without_clusters(self, make_clustered, refused):
        with refused("cluster"):
            make_clustered(clusters=None).set_cluster(1)

    def test_not_while_a_fit_runs(self, state, clustered, relabelled, refused, toy):
        state.set_cluster(1)
        state.set_free("r0")
        toy.close(1)
        state.start_fit()
        for change in (lambda: state.set_cluster(2), lambda: state.set_cluster(None), state.find_clusters):
            with refused("explorer", RuntimeError):
                change()
        assert state.chosen == (1,)
        # what is only shown may change
        state.set_clusters(relabelled)
        assert state.phase in ("compiling", "fitting")
        toy.open()
        assert state.wait(PATIENCE)
        assert state.phase == "done"
        assert state.clusters is relabelled

    def test_clusters_that_are_only_shown_do_not_age_a_fit(self, make_clustered, clustered, toy):
        state = make_clustered(clusters=None, rms_thresh=5)
        state.set_free("r0")
        state.start_fit()
        assert state.wait(PATIENCE)
        state.set_clusters(clustered.clusters)
        assert state.is_fitted
        state.set_cluster(1)
        assert not state.is_fitted


class TestWithTheRestOfTheCut:
    @pytest.mark.parametrize("threshold", [0, 3, 7.5])
    def test_the_threshold_is_that_of_select(self, state, selected, threshold):
        state.set_cluster(1)
        state.set_cut(rms_thresh=threshold)
        assert_same_cube(state.streamer_cube, selected(1, rms_thresh=threshold).cube)
        assert f"above {threshold:g} times" in state.status
        state.set_cut(rms_thresh=None)
        assert_same_cube(state.streamer_cube, selected(1).cube)

    def test_the_noise_is_that_of_the_components(self, state):
        state.set_cluster(1)
        cut = state.streamer_cube.filled_data[:].value
        state.set_cut(rms=5 * u.K)
        np.testing.assert_array_equal(state.streamer_cube.filled_data[:].value, cut)
        state.set_cluster(None)
        assert state.session.rms == 5

    @pytest.mark.parametrize(
        "limits",
        [
            {"vmin": 7.35 * KMS},
            {"vmax": 7.5 * KMS},
            {"vmin": 7.2 * KMS, "vmax": 7.6 * KMS},
            {"islands": "main"},
            {"islands": "beam"},
        ],
        ids=str,
    )
    def test_velocities_and_islands_cut_it_further(self, state, selected, limits):
        state.set_cluster([0, 1])
        whole = state.streamer.pc_coords.shape[1]
        state.set_cut(**limits)
        assert_same_cube(state.streamer_cube, extract_streamer_subcube(selected([0, 1]).cube, **limits))
        assert state.streamer.pc_coords.shape[1] < whole
        # in whatever order they are chosen
        state.set_cluster(None)
        state.set_cluster([0, 1])
        assert_same_cube(state.streamer_cube, extract_streamer_subcube(selected([0, 1]).cube, **limits))

    @pytest.fixture
    def near(self, clustered):
        """A circle on a part of the streamer."""
        return CircleSkyRegion(clustered.scene.star_position.spherical_offsets_by(0.8 * u.arcsec, -6 * u.arcsec), 1.7 * u.arcsec)

    def test_regions_cut_it_further(self, state, selected, near):
        state.set_cluster(1)
        whole = state.streamer.pc_coords.shape[1]
        state.add_region(near)
        assert_same_cube(state.streamer_cube, extract_streamer_subcube(selected(1).cube, region=near))
        assert 0 < state.streamer.pc_coords.shape[1] < whole
        state.remove_region("region")
        assert_same_cube(state.streamer_cube, selected(1).cube)

    def test_regions_in_pixels_are_refused(self, state, everything, refused):
        pixels = CirclePixelRegion(PixCoord(32, 20), 9)
        state.set_cluster(1)
        before = everything(state)
        with refused("region"):
            state.add_region(pixels)
        assert everything(state) == before
        state.set_cluster(None)
        state.add_region(pixels)
        before = everything(state)
        with refused("region"):
            state.set_cluster(1)
        assert everything(state) == before

    def test_limits_that_leave_nothing(self, state, everything, refused, clustered):
        state.set_cluster(1)
        before = everything(state)
        with refused("vmin, vmax"):
            state.set_cut(vmin=9 * KMS)
        with refused("rms_thresh"):
            state.set_cut(rms_thresh=1e4)
        far = clustered.scene.star_position.spherical_offsets_by(4 * u.arcsec, 0 * u.arcsec)
        with refused("region"):
            state.add_region(CircleSkyRegion(far, 0.5 * u.arcsec))
        assert everything(state) == before


class TestFinding:
    def test_the_same_as_a_script(self, make_clustered, clustered):
        state = make_clustered(clusters=None, rms=clustered.scene.rms)
        phases, shown = [], []
        state.observe(lambda _: (phases.append(state.phase), shown.append((state.progress, state.status))))
        state.find_clusters()
        assert state.busy
        assert state.wait(PATIENCE)
        assert not state.busy
        expected = isolate.cluster(clustered.components)
        assert state.known.fingerprint == KnownClusters(expected, state.images, state.star_position).fingerprint
        assert set(phases) == {"clustering", "idle"}
        progress = [fraction for fraction, _ in shown]
        assert progress == sorted(progress)
        assert any("of 4096 spectra" in words for _, words in shown)
        assert shown[-1][1].startswith(f"{len(expected)} clusters")
        assert not state.can_resume
        # not a change of the analysis
        assert not state.can_undo
        number = int(state.ranking["cluster"][0])
        state.set_cluster(number)
        assert state.session.cluster == (number,)

    @pytest.fixture
    def toy_search(self, monkeypatch, clustered, relabelled):
        """Stand-ins for what describes the spectra, a hundred at a time once it may, and clusters them."""
        toy = SimpleNamespace(gate=threading.Event(), began=threading.Event(), error=None, given={}, told=[])

        def decompose(cube, **keywords):
            toy.given = keywords
            for done in (100, 2000, 4096, 4096):
                toy.began.set()
                assert toy.gate.wait(PATIENCE)
                if toy.error is not None:
                    raise toy.error
                toy.told.append(keywords["callback"](done))
                if toy.told[-1]:
                    break
            return clustered.components

        monkeypatch.setattr("sting.explorer.clustering.INTERVAL", 0.0)
        monkeypatch.setattr("sting.explorer.clustering.decompose", decompose)
        monkeypatch.setattr("sting.explorer.clustering.cluster_of", lambda components, progress: relabelled)
        toy.gate.set()
        yield toy
        toy.gate.set()

    @pytest.mark.parametrize("rms", [None, 50 * u.mK])
    def test_the_noise_is_that_of_the_cut(self, make_clustered, toy_search, rms):
        state = make_clustered(rms=rms)
        state.find_clusters()
        assert state.wait(PATIENCE)
        assert toy_search.given["rms"] is None if rms is None else toy_search.given["rms"] == 0.05 * u.K
        assert toy_search.given["star_position"] is state.star_position

    def test_what_is_said_on_the_way(self, state, relabelled, toy_search):
        said = []
        state.observe(lambda _: said.append((round(state.progress, 2), state.status)))
        state.find_clusters()
        assert state.wait(PATIENCE)
        words = [one for _, one in said]
        assert [fraction for fraction, _ in said][1:] == [0.02, 0.39, 0.8, 0.8, 0.8, 0.8, 0.8]
        assert "100 of 4096 spectra" in words[1]
        assert "neighbours" in words[4]
        assert "clusters of " in words[5]
        assert toy_search.told == [False] * 4
        assert state.clusters is relabelled

    def test_found_ones_leave_a_choice(self, state, relabelled, toy_search):
        state.set_cluster(1)
        session = state.session
        state.find_clusters()
        assert state.wait(PATIENCE)
        assert state.clusters is relabelled
        assert state.session is session

    def test_stopped(self, state, clustered, toy_search, toy):
        toy_search.gate.clear()
        state.find_clusters()
        assert toy_search.began.wait(PATIENCE)
        state.stop_fit()
        assert state.phase == "stopped"
        assert not state.can_resume
        assert "no new clusters" in state.status
        # while it ends behind the scenes other things can be done
        state.set_cluster(1)
        job, session = state.job, state.session
        toy_search.gate.set()
        assert job.wait(PATIENCE)
        assert toy_search.told == [True]
        assert state.clusters is clustered.clusters
        assert state.session is session
        assert state.phase == "stopped"
        state.set_free("r0")
        state.start_fit()
        assert state.wait(PATIENCE)
        assert state.phase == "done"

    def test_failed(self, state, clustered, toy_search):
        toy_search.error = ValueError("the cube tells no noise")
        state.set_cluster(1)
        session = state.session
        state.find_clusters()
        assert state.wait(PATIENCE)
        assert (state.phase, state.status) == ("failed", "It failed: the cube tells no noise")
        assert state.clusters is clustered.clusters
        assert state.session is session

    def test_a_cube_that_was_masked_says_what_to_do(self, clustered):
        scene = clustered.scene
        values = np.where(scene.cube.filled_data[:].value > 0.3, scene.cube.filled_data[:].value, 0.0)
        state = ExplorerState(SpectralCube(values * u.K, wcs=scene.cube.wcs), scene.star_position, scene.distance)
        state.find_clusters()
        assert state.wait(PATIENCE)
        assert state.phase == "failed"
        assert "give that as rms" in state.status

    def test_no_cluster(self, state, clustered, toy_search, monkeypatch):
        table = QTable(clustered.clusters.table)
        table["cluster"] = -1
        monkeypatch.setattr("sting.explorer.clustering.cluster_of", lambda _, progress: isolate.Clusters(table))
        state.find_clusters()
        assert state.wait(PATIENCE)
        assert state.phase == "failed"
        assert "must hold a cluster" in state.status
        assert state.clusters is clustered.clusters

    def test_without_scikit_learn(self, state, monkeypatch, everything):
        before = everything(state)
        monkeypatch.setitem(sys.modules, "sklearn", None)
        with pytest.raises(ImportError, match=r"scikit-learn: install .*\[isolate\]"):
            state.find_clusters()
        assert everything(state) == before
        assert state.job is None


class TestKeeping:
    @pytest.fixture
    def chosen(self, make_clustered, protostar_file):
        """An explorer of a cube in a file, a cluster chosen and cut further."""
        state = make_clustered(protostar_file, vmax=7.7 * KMS, rms_thresh=3)
        state.set_cluster([1, 2])
        return state

    def test_a_state(self, chosen, tmp_path):
        chosen.set_display(clusters=False)
        written = chosen.save_state(tmp_path / "state.json")
        assert {path.name for path in written} == {path.name for path in tmp_path.iterdir()}
        assert len(written) == 2
        again = ExplorerState.from_state(tmp_path / "state.json")
        assert again.session == chosen.session
        assert again.display == chosen.display
        assert again.known.fingerprint == chosen.known.fingerprint
        np.testing.assert_array_equal(again.streamer.data, chosen.streamer.data)
        again.set_cluster(None)
        again.reset()
        assert again.session == chosen.session
        again.save_state(tmp_path / "again.json")
        first, second = (json.loads((tmp_path / name).read_text()) for name in ("state.json", "again.json"))
        np.testing.assert_allclose(second.pop("star_icrs_deg"), first.pop("star_icrs_deg"), atol=1e-12)
        assert first == second

    def test_clusters_that_are_only_shown(self, state, clustered, tmp_path):
        state.save_state(tmp_path / "state.json")
        again = StreamerExplorer.from_state(tmp_path / "state.json", clustered.scene.cube).state
        assert again.known.fingerprint == state.known.fingerprint
        assert again.session == state.session

    def test_no_clusters(self, make_clustered, clustered, tmp_path):
        state = make_clustered(clusters=None)
        assert state.save_state(tmp_path / "state.json") == [tmp_path / "state.json"]
        content = json.loads((tmp_path / "state.json").read_text())
        # as it was written before there were clusters
        for part, name in (("session", "clustering"), ("session", "cluster"), ("display", "clusters")):
            del content[part][name]
        del content["clusters"]
        (tmp_path / "state.json").write_text(json.dumps(content))
        again = ExplorerState.from_state(tmp_path / "state.json", clustered.scene.cube)
        assert again.session == state.session
        assert again.display == state.display

    def test_two_states_in_a_folder(self, state, relabelled, clustered, tmp_path):
        state.set_cluster(1)
        points = state.streamer.data
        state.save_state(tmp_path / "one.json")
        state.set_clusters(relabelled)
        state.set_cluster(1)
        state.save_state(tmp_path / "two.json")
        one, two = (ExplorerState.from_state(tmp_path / name, clustered.scene.cube) for name in ("one.json", "two.json"))
        np.testing.assert_array_equal(one.streamer.data, points)
        np.testing.assert_array_equal(two.streamer.data, state.streamer.data)
        assert not np.array_equal(one.streamer.data, two.streamer.data)

    def test_the_clusters_are_gone_or_others(self, chosen, relabelled, refused, tmp_path):
        file, _ = chosen.save_state(tmp_path / "state.json")
        content = file.read_text()
        file.unlink()
        with refused("clusters", FileNotFoundError):
            ExplorerState.from_state(tmp_path / "state.json")
        relabelled.write(file)
        with pytest.raises(ValueError, match=r"'clusters' must be those that were written with the state; got others"):
            ExplorerState.from_state(tmp_path / "state.json")
        file.write_text(content[: len(content) // 2])
        with refused("path"):
            ExplorerState.from_state(tmp_path / "state.json")
        file.write_text(content)
        assert ExplorerState.from_state(tmp_path / "state.json").session == chosen.session

    @pytest.mark.parametrize("cluster", [[7], "1", [None], 3.5])
    def test_a_state_changed_by_hand(self, chosen, refused, tmp_path, cluster):
        chosen.save_state(tmp_path / "state.json")
        content = json.loads((tmp_path / "state.json").read_text())
        content["session"]["cluster"] = cluster
        (tmp_path / "state.json").write_text(json.dumps(content))
        with refused("path"):
            ExplorerState.from_state(tmp_path / "state.json")

    def test_a_choice_of_unknown_clusters(self, chosen, refused, tmp_path):
        chosen.save_state(tmp_path / "state.json")
        content = json.loads((tmp_path / "state.json").read_text())
        content["session"]["clustering"] = None
        (tmp_path / "state.json").write_text(json.dumps(content))
        with refused("path"):
            ExplorerState.from_state(tmp_path / "state.json")

    def test_a_script_needs_a_file(self, chosen, clustered, refused, tmp_path):
        with refused("clusters"):
            chosen.to_script()
        assert '"mine.ecsv"' in chosen.to_script(clusters="mine.ecsv")
        clustered.clusters.write(tmp_path / "mine.ecsv")
        chosen.set_clusters(tmp_path / "mine.ecsv")
        assert str(tmp_path / "mine.ecsv") in chosen.to_script()
        # it no longer holds what was chosen from
        (tmp_path / "mine.ecsv").write_text("others")
        with refused("clusters"):
            chosen.to_script()
        (tmp_path / "mine.ecsv").unlink()
        with refused("clusters"):
            chosen.to_script()
        chosen.set_cluster(None)
        compile(chosen.to_script(), "script.py", "exec")

    def test_the_file_is_remembered(self, chosen, clustered, relabelled, tmp_path):
        file, _ = chosen.save_state(tmp_path / "state.json")
        script = chosen.to_script()
        assert str(file) in script
        for clusters in (isolate.Clusters(QTable(clustered.clusters.table)), relabelled, None):
            chosen.set_clusters(clusters)
            assert chosen.to_script() == script

    @pytest.mark.parametrize(
        "change",
        [
            lambda s: None,
            lambda s: s.set_cluster(1),
            lambda s: s.set_cut(rms_thresh=None, vmin=7 * KMS, n_elements=4),
            lambda s: s.set_cut(rms_thresh=0, rms=0.1 * u.K),
            lambda s: s.set_cut(islands="main", uncertainty="mean", min_beams=0.5),
            lambda s: s.add_region(
                CircleSkyRegion(s.star_position.spherical_offsets_by(1 * u.arcsec, -6 * u.arcsec), 3 * u.arcsec)
            ),
        ],
    )
    def test_the_script_cuts_the_same(self, chosen, change, tmp_path):
        change(chosen)
        chosen.save_state(tmp_path / "state.json")
        (tmp_path / "script.py").write_text(chosen.to_script())
        # but for the fit
        names = runpy.run_path(str(tmp_path / "script.py"))
        assert_same_cube(names["streamer_cube"], chosen.streamer_cube)
        np.testing.assert_allclose(names["streamer"].data, chosen.streamer.data, rtol=1e-9)
        np.testing.assert_allclose(names["streamer"].uncertainties, chosen.streamer.uncertainties, rtol=1e-9)

    def test_a_fit_and_all_that_is_saved_of_it(self, chosen, relabelled, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        chosen.set_cut(vmax=None, rms_thresh=None)
        chosen.set_cluster(1)
        chosen.set_free("r0")
        chosen.set_free("phi0")
        chosen.set_value("r0", 1.2 * chosen.parameters["r0"])
        chosen.set_fit(n_epochs=60, learning_rate=0.01)
        chosen.start_fit()
        assert chosen.wait(PATIENCE)
        assert chosen.result.loss < 0.7 * chosen.losses[0]
        # other clusters since then
        fitted, best = chosen.fitted_streamer.data, chosen.result.best_opt_params
        chosen.set_clusters(relabelled)
        chosen.set_cluster(1)
        written = chosen.save(tmp_path / "results")
        assert len([path for path in written if path.name.startswith("clusters_")]) == 2
        assert set(written) == set((tmp_path / "results").iterdir())
        again = ExplorerState.from_state(tmp_path / "results" / "explorer.json")
        np.testing.assert_allclose(again.fitted_streamer.data, fitted, atol=1e-8)
        assert again.session == chosen.session
        assert not again.is_fitted
        # the way back to the fit, and its script
        chosen.undo()
        assert chosen.is_fitted
        chosen.save(tmp_path / "results")
        assert (tmp_path / "results" / "explorer.py").read_text() == chosen.to_script()
        (tmp_path / "script.py").write_text(chosen.to_script(save_folder=None))
        quiet = {"print": lambda *values: None}
        result = runpy.run_path(str(tmp_path / "script.py"), quiet, run_name="__main__")["result"]
        for name, value in best.items():
            assert result.best_opt_params[name].to_value(value.unit) == pytest.approx(value.value, rel=1e-6)
