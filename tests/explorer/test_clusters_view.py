"""Clusters in the widget, without a browser: their dots, the clicks on them, and the controls."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from astropy import units as u
from astropy.table import QTable, vstack
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from sting import isolate, outputs
from sting.explorer.artists import Dots

notebook = pytest.importorskip("sting.explorer.notebook", reason="ipywidgets and ipympl are not installed")
KMS = u.km / u.s
MAPS = ("map", "moment")


@pytest.fixture
def state(make_clustered):
    """An explorer with clusters, at a channel in which the streamer is seen."""
    state = make_clustered()
    table = state.clusters.table
    velocity = np.median(table["velocity"][table["cluster"] == 1].to_value(KMS))
    state.set_display(channel=int(np.argmin(np.abs(state.images.velocity - velocity))))
    return state


@pytest.fixture
def view(state):
    return notebook.NotebookView(state)


@pytest.fixture
def control(view):
    """Function that finds a control by its name."""

    def walk(widget):
        yield widget
        for child in getattr(widget, "children", ()):
            yield from walk(child)

    def find(name):
        (found,) = [w for w in walk(view.widget) if f"sting-{name}" in getattr(w, "_dom_classes", ())]
        return found

    return find


def dots_of(panel):
    """Places of the dots of a panel, and the colour of each."""
    panel.prepare()
    lines = panel.clusters.lines
    places = np.concatenate([np.transpose(line.get_data()) for line in lines])
    return places, np.concatenate([np.full(len(line.get_xdata()), to_hex(line.get_color())) for line in lines])


def place_of(panel, number):
    """Offsets of a dot of a cluster, the one farthest from those of others."""
    known = panel.state.known
    panel.prepare()
    ours = panel.seen[known.number[panel.seen] == number]
    others = panel.seen[known.number[panel.seen] != number]
    distance = np.hypot(known.ra[ours, None] - known.ra[others], known.dec[ours, None] - known.dec[others])
    best = ours[np.argmax(distance.min(axis=1, initial=np.inf))]
    return known.ra[best], known.dec[best]


def click(view, name, place, *, shift=False, double=False, mode="", button=1):
    """Press a mouse button at a place of a panel."""
    more = {"modifiers": frozenset({"shift"} if shift else ()), "canvas": SimpleNamespace(toolbar=SimpleNamespace(mode=mode))}
    places = {"inaxes": view.panels[name].ax, "xdata": place[0], "ydata": place[1]}
    view._on_press(SimpleNamespace(button=button, dblclick=double, **places, **more))


class TestDots:
    def test_the_channel_map_shows_what_reaches_the_channel(self, state, view):
        table = state.clusters.table
        for channel in (5, state.display.channel):
            state.set_display(channel=channel)
            places, _ = dots_of(view.panels["map"])
            velocity = state.images.velocity[channel]
            reach = np.maximum(table["sigma"].value, state.images.channel_width / 2)
            there = (table["cluster"] >= 0) & (np.abs(table["velocity"].value - velocity) <= reach)
            expected = {(int(x), int(y)) for x, y in table["x", "y"][there].iterrows()}
            found = np.round(state.images.to_pixel(*places.T)).astype(int).T
            assert len(found) == len(expected)
            assert set(map(tuple, found.tolist())) == expected

    def test_the_moment_map_shows_what_is_in_the_range(self, state, view):
        everywhere, _ = dots_of(view.panels["moment"])
        table = state.clusters.table[state.clusters.table["cluster"] >= 0]
        pixels = np.unique(table["y"] * 64 + table["x"])
        assert len(everywhere) == len(pixels)
        state.set_cut(vmin=8.5 * KMS, rms_thresh=4)
        above, _ = dots_of(view.panels["moment"])
        assert 0 < len(above) < len(everywhere)

    def test_the_best_is_on_top_in_the_colours_of_the_figures(self, state, view):
        figure = outputs.plot_clusters(state.clusters)
        handles, names = figure.axes[0].get_legend_handles_labels()
        colours = {name: to_hex(handle.get_facecolor()[0]) for handle, name in zip(handles, names, strict=True)}
        known, panel = state.known, view.panels["moment"]
        places, found = dots_of(panel)
        order = [int(number) for number in state.ranking["cluster"]]
        members = {number: set(known.pixel[known.number == number].tolist()) for number in order}
        x, y = np.round(state.images.to_pixel(*places.T)).astype(int)
        for pixel, colour in zip((y * 64 + x).tolist(), found, strict=True):
            first = next(number for number in order if pixel in members[number])
            assert colour == colours[str(first)]

    def test_velocities(self, state, view):
        places, _ = dots_of(view.panels["pv"])
        table = state.clusters.table[state.clusters.table["cluster"] >= 0]
        assert len(places) == len(table)
        np.testing.assert_allclose(np.sort(places[:, 1]), np.sort(table["velocity"].value))
        radius = np.hypot(table["ra_offset"].value, table["dec_offset"].value)
        np.testing.assert_allclose(np.sort(places[:, 0]), np.sort(radius), atol=1e-3)
        # nothing is cut out: all of them are in sight
        low, high = view.panels["pv"].ax.get_ylim()
        assert low < table["velocity"].value.min() < table["velocity"].value.max() < high
        assert view.panels["pv"].ax.get_xlim()[1] > radius.max()

    def test_along_the_model_they_move_with_it(self, state, view):
        state.set_display(pv_axis="path")
        before, _ = dots_of(view.panels["pv"])
        state.set_value("theta0", 100 * u.deg)
        after, _ = dots_of(view.panels["pv"])
        assert len(after) == len(before)
        assert not np.array_equal(before[:, 0], after[:, 0])
        state.set_display(pv_axis="radius")
        state.set_value("theta0", 50 * u.deg)
        redraw, _ = view.panels["pv"].notice({"model"})
        assert not redraw

    def test_shown_or_not(self, state, view):
        state.set_display(clusters=False)
        assert [len(dots_of(view.panels[name])[0]) for name in (*MAPS, "pv")] == [0, 0, 0]
        state.set_display(clusters=True)
        assert all(len(dots_of(view.panels[name])[0]) for name in (*MAPS, "pv"))
        state.set_clusters(None)
        assert [len(dots_of(view.panels[name])[0]) for name in (*MAPS, "pv")] == [0, 0, 0]

    def test_other_clusters(self, state, relabelled, view):
        before = dots_of(view.panels["moment"])
        state.set_clusters(relabelled)
        after = dots_of(view.panels["moment"])
        assert len(after[0]) < len(before[0])

    def test_what_makes_a_picture_old(self, view):
        for panel in view.panels.values():
            panel.prepare()
        for topic, expected in (("clusters", {"map", "moment", "pv"}), ("display.clusters", {"map", "moment", "pv"})):
            assert {name for name, panel in view.panels.items() if panel.notice({topic})[0]} == expected

    def test_a_zoom_stays(self, state, view, relabelled):
        for name in MAPS:
            view.panels[name].ax.set(xlim=(3, -3), ylim=(-4, 2))
        state.set_clusters(relabelled)
        for name in MAPS:
            view.panels[name].prepare()
            assert view.panels[name].ax.get_xlim() == (3, -3)

    def test_many_components_are_a_few_lines(self, state, clustered, view):
        """40,000 components, ten in a pixel: one dot a pixel, and the same few artists."""
        n_artists = [len(view.panels[name].ax.get_children()) for name in MAPS]
        table = vstack([clustered.clusters.table] * 10, metadata_conflicts="silent")
        table.meta = clustered.clusters.meta
        table.sort(["y", "x", "velocity"])
        assert len(table) > 40_000
        state.set_clusters(isolate.Clusters(QTable(table), clustered.scene.cube))
        assert len(dots_of(view.panels["moment"])[0]) <= 64 * 64
        assert [len(view.panels[name].ax.get_children()) for name in MAPS] == n_artists

    def test_more_clusters_than_colours(self):
        dots = Dots(Figure().add_subplot())
        number = np.arange(30)
        dots.set(number * 1.0, number * 2.0, number)
        counts = [len(line.get_xdata()) for line in dots.lines]
        assert sum(counts) == 30
        assert max(counts) - min(counts) <= 1
        dots.clear()
        assert not any(len(line.get_xdata()) for line in dots.lines)


class TestClicks:
    @pytest.mark.parametrize("name", MAPS)
    def test_one_chooses_the_cluster(self, state, view, clustered, name):
        assert state.streamer is None
        for number in (1, 2):
            click(view, name, place_of(view.panels[name], number))
            assert state.session.cluster == (number,)
            cube = isolate.select(clustered.clusters, state.star_position, cluster=number).cube
            np.testing.assert_array_equal(state.streamer_cube.filled_data[:].value, cube.filled_data[:].value)
        view.panels["map"].prepare()
        np.testing.assert_array_equal(view.panels["map"].points.points.get_xdata(), state.streamer.data[0])
        state.undo()
        assert state.session.cluster == (1,)

    def test_shift_adds_and_takes_away(self, state, view):
        panel = view.panels["moment"]
        click(view, "moment", place_of(panel, 1))
        click(view, "moment", place_of(panel, 2), shift=True)
        assert state.session.cluster == (1, 2)
        click(view, "moment", place_of(panel, 1), shift=True)
        assert state.session.cluster == (2,)
        click(view, "moment", place_of(panel, 2), shift=True)
        assert state.session.cluster == ()

    def test_near_a_dot_is_on_it_and_far_is_not(self, state, view, everything):
        ra, dec = place_of(view.panels["map"], 1)
        click(view, "map", (ra + 0.04, dec - 0.04))
        assert state.session.cluster == (1,)
        before = everything(state).parts[0]
        known, panel = state.known, view.panels["map"]
        corners = [(x, y) for x in panel.ax.get_xlim() for y in panel.ax.get_ylim()]
        far = max(corners, key=lambda c: np.hypot(known.ra[panel.seen] - c[0], known.dec[panel.seen] - c[1]).min())
        click(view, "map", far)
        assert state.session is before
        assert "no dot" in state.status

    def test_the_dots_of_the_channel_are_those_that_count(self, state, view):
        """Where the streamer is in one channel, something else may be in another."""
        place = place_of(view.panels["map"], 1)
        state.set_display(channel=0)
        view.panels["map"].prepare()
        click(view, "map", place)
        assert state.session.cluster != (1,)

    def test_a_channel_that_was_not_drawn_yet(self, state, view):
        place, channel = place_of(view.panels["map"], 1), state.display.channel
        state.set_display(channel=0)
        view.panels["map"].prepare()
        state.set_display(channel=channel)
        click(view, "map", place)
        assert state.session.cluster == (1,)

    @pytest.mark.parametrize("how", [{"mode": "zoom rect"}, {"mode": "pan/zoom"}, {"button": 3}, {"double": True}], ids=str)
    def test_what_is_no_click_on_a_dot(self, state, view, how):
        before = state.session
        click(view, "map", place_of(view.panels["map"], 1), **how)
        assert state.session is before

    def test_clusters_that_are_not_shown(self, state, view):
        place, before, status = place_of(view.panels["map"], 1), state.session, state.status
        state.set_display(clusters=False)
        click(view, "map", place)
        assert (state.session, state.status) == (before, status)

    def test_without_clusters(self, make_clustered):
        view = notebook.NotebookView(make_clustered(clusters=None))
        before = view.state.session
        click(view, "map", (0.0, -5.0))
        assert view.state.session is before

    def test_the_pointer_still_shows_the_spectrum(self, state, view):
        ra, dec = place_of(view.panels["map"], 1)
        event = SimpleNamespace(inaxes=view.panels["map"].ax, xdata=ra, ydata=dec, canvas=view.canvases["map"])
        view._on_motion(event)
        assert state.display.pixel == state.images.pixel_at(ra, dec)

    def test_a_region_is_drawn_instead(self, state, view):
        view.controls.draw.value = "polygon"
        before = state.session
        click(view, "map", place_of(view.panels["map"], 1))
        assert state.session is before
        assert len(view.panels["map"].sketch.get_xdata())
        view.controls.draw.value = "off"
        click(view, "map", place_of(view.panels["map"], 1))
        assert state.session.cluster == (1,)

    def test_one_that_is_refused_is_told(self, state, view):
        state.set_cut(vmin=9 * KMS, rms_thresh=4)
        state.set_display(channel=int(np.argmin(np.abs(state.images.velocity - 7.45))))
        before = state.session
        click(view, "map", place_of(view.panels["map"], 1))
        assert state.session is before
        assert "must keep at least one channel" in state.status


class TestControls:
    def test_the_list(self, state, view, control):
        listed = control("clusters")
        labels = [label for label, _ in listed.options]
        assert labels == ["none: the ordinary cut", *(words for words, _ in state.known.words)]
        assert listed.value == (None,)
        listed.value = (1,)
        assert state.session.cluster == (1,)
        listed.value = (1, 2)
        assert state.session.cluster == (1, 2)
        assert set(listed.value) == {1, 2}
        listed.value = (None,)
        assert state.session.cluster == ()
        state.undo()
        assert set(listed.value) == {1, 2}

    def test_none_beside_others(self, state, view, control):
        listed = control("clusters")
        # one more than none
        listed.value = (None, 2)
        assert state.session.cluster == (2,)
        assert listed.value == (2,)
        # none more than one
        listed.value = (None, 2)
        assert state.session.cluster == ()
        assert listed.value == (None,)
        listed.value = (1,)
        listed.value = ()
        assert state.session.cluster == ()
        assert listed.value == (None,)

    def test_it_follows_a_click_and_other_clusters(self, state, view, control, relabelled):
        click(view, "map", place_of(view.panels["map"], 1))
        assert control("clusters").value == (1,)
        state.set_clusters(relabelled)
        assert len(control("clusters").options) == 3
        # one is chosen, but none of these
        assert control("clusters").value == ()
        control("clusters").value = (0,)
        assert state.chosen == (0,)
        state.set_clusters(None)
        assert control("clusters").value == ()
        control("clusters").value = (None,)
        assert state.session.cluster == ()
        assert control("clusters").value == (None,)
        state.undo()
        assert state.clusters is relabelled
        assert control("clusters").value == (0,)
        state.undo()
        assert len(control("clusters").options) == 4
        assert control("clusters").value == (1,)

    def test_a_refusal(self, state, view, control):
        state.set_cut(vmin=9 * KMS, rms_thresh=4)
        control("clusters").value = (1,)
        assert control("clusters").value == (None,)
        assert "must keep at least one channel" in control("status").value

    def test_the_switch(self, state, view, control):
        assert control("clusters-shown").value
        control("clusters-shown").value = False
        assert not state.display.clusters
        state.set_display(clusters=True)
        assert control("clusters-shown").value

    def test_words_of_the_cut(self, state, view, control):
        control("clusters").value = (1,)
        n = state.streamer.pc_coords.shape[1]
        assert f"{n} voxels" in control("cut-words").value
        assert "Cluster 1" in control("status").value

    def test_find(self, state, view, control, relabelled, clustered, monkeypatch):
        monkeypatch.setattr("sting.explorer.clustering.decompose", lambda *_, **__: clustered.components)
        monkeypatch.setattr("sting.explorer.clustering.cluster_of", lambda _, progress: relabelled)
        busy = []
        state.observe(lambda _: busy.append((state.busy, control("find-clusters").disabled, control("stop").disabled)))
        control("find-clusters").click()
        assert state.wait(60)
        assert state.clusters is relabelled
        assert len(control("clusters").options) == 3
        assert "2 clusters" in control("status").value
        assert not control("find-clusters").disabled
        assert any(running for running, _, _ in busy)

    def test_find_without_scikit_learn(self, state, view, control, monkeypatch):
        monkeypatch.setitem(sys.modules, "sklearn", None)
        control("find-clusters").click()
        assert "scikit-learn" in control("status").value
        assert not state.busy

    def test_the_script_without_a_file(self, state, view, control, tmp_path):
        state.set_cluster(1)
        control("show-script").click()
        assert "Save the state" in control("status").value
        control("state-path").value = str(tmp_path / "s.json")
        control("save-state").click()
        assert len(list(tmp_path.iterdir())) == 2
        control("show-script").click()
        assert "isolate.select" in control("script").value


@pytest.mark.parametrize("value", [1, None, "yes"])
def test_what_says_neither_yes_nor_no(state, refused, value):
    with refused("clusters"):
        state.set_display(clusters=value)
