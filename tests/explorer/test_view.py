"""The widget without a browser: controls and state, panels, live lines, and what is shown where packages are missing."""

import base64
import datetime
import io
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from astropy import units as u
from PIL import Image
from regions import CircleSkyRegion, PolygonSkyRegion, RectangleSkyRegion

from sting import StreamerExplorer
from sting.core.sky import rotation_matrix
from sting.explorer.panels import LossPanel, disk_of, path_length
from sting.explorer.sketch import Sketch
from sting.explorer.sky_panels import mask_edges, outlines_of
from sting.explorer.view import _tiled

notebook = pytest.importorskip("sting.explorer.notebook", reason="ipywidgets and ipympl are not installed")
KMS = u.km / u.s


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
        found = [w for w in walk(view.widget) if f"sting-{name}" in getattr(w, "_dom_classes", ())]
        assert len(found) == 1, name
        return found[0]

    return find


def uploaded(name, content):
    """A file as the browser sends it."""
    facts = {"type": "", "size": len(content), "last_modified": datetime.datetime(2026, 1, 1)}
    return {"name": name, "content": memoryview(content)} | facts


class TestControls:
    def test_a_slider_moves_the_state_and_the_box(self, state, view, control):
        slider, box = control("slider-theta0"), control("value-theta0")
        slider.value += 40
        theta0 = state.parameters["theta0"].to_value(u.deg)
        assert theta0 == pytest.approx(slider.value / slider.max * 180)
        assert float(box.value) == pytest.approx(theta0, rel=1e-5)
        assert state.can_undo
        assert not control("undo").disabled

    def test_the_state_moves_the_slider_without_an_echo(self, state, view, control, told):
        heard = told(state)
        state.set_value("theta0", 61.23456789 * u.deg)
        assert state.parameters["theta0"].to_value(u.deg) == pytest.approx(61.23456789, rel=1e-14)
        slider = control("slider-theta0")
        assert slider.value == round(61.23456789 / 180 * slider.max)
        assert len(heard) == 1

    def test_a_value_outside_the_range_of_the_slider_is_kept(self, state, view, control):
        control("value-v_r0").value = "12.34567891"
        assert state.session.values["v_r0"] == 12.34567891
        assert control("value-v_r0").value == "12.3457"
        before = state.session
        # the slider now spans it, so that a step from there is a small one
        control("slider-v_r0").value -= 1
        assert 12.2 < state.session.values["v_r0"] < 12.34
        state.undo()
        assert state.session == before

    def test_a_box_takes_units(self, state, view, control):
        control("value-r0").value = "0.01 pc"
        assert state.parameters["r0"].to_value(u.pc) == pytest.approx(0.01)

    @pytest.mark.parametrize(
        ("name", "text"), [("value-r0", "far"), ("value-r0", "-3"), ("value-theta0", "3 km"), ("bounds-r0", "7")]
    )
    def test_nonsense_is_refused_in_the_status_line(self, state, view, control, everything, name, text):
        parts = everything(state).parts[0]
        shown = control(name).value
        control(name).value = text
        assert state.session is parts
        assert control(name).value == shown
        assert "must" in state.status
        assert "must" in control("status").value

    def test_bounds_and_priors(self, state, view, control):
        control("bounds-r0").value = "1000, 5000"
        control("priors-phi0").value = "60 +- 5"
        assert state.session.bounds["r0"] == (1000, 5000)
        assert state.session.priors["phi0"] == pytest.approx(tuple(np.radians([60, 5])))
        # the slider spans the bounds
        control("slider-r0").value = 0
        assert state.session.values["r0"] == 1000
        control("bounds-r0").value = " "
        assert state.session.bounds == {}

    def test_the_pairs_open(self, view, control):
        pairs = control("bounds-r0")
        row = next(box for box in view.controls.tabs.children[1].children if pairs in getattr(box, "children", ()))
        assert row.layout.display == "none"
        control("more").value = True
        assert row.layout.display == ""

    def test_free_or_fixed(self, state, view, control):
        assert control("free-r0").value
        control("free-r0").value = False
        assert "r0" not in state.session.free

    @pytest.mark.parametrize("name", ["rc", "mu", "omega"])
    def test_rotation(self, state, view, control, name):
        control("rotation").value = name
        assert state.rotation == name
        assert control("slider-rotation").description.startswith(name)
        assert float(control("value-rotation").value) == pytest.approx(state.parameters[name].value, rel=1e-5)

    def test_cut(self, state, view, control):
        control("vmin").value = "7"
        control("n-elements").value = 7
        assert state.session.vmin == 7.0
        assert len(state.streamer) == 7
        assert "7 points" in control("cut-words").value
        control("vmax").value = "6"
        assert "must" in state.status
        assert control("vmax").value == ""
        control("rms-thresh").value = "6"
        assert state.session.rms_thresh == 6
        for name, value in (("uncertainty", "mean"), ("ordering", "curve"), ("islands", "main")):
            control(name).value = value
            assert getattr(state.session, name) == value
        control("rms").value = "90 mK"
        assert state.session.rms == pytest.approx(0.09)
        assert control("rms").value == "0.09"
        control("min-beams").value = "0.5"
        assert state.session.min_beams == 0.5
        control("min-beams").value = ""
        assert "min_beams" in state.status
        assert (state.session.min_beams, control("min-beams").value) == (0.5, "0.5")

    def test_uploads(self, state, scene, view, control):
        centre = scene.star_position
        text = f'fk5\ncircle({centre.fk5.ra.deg},{centre.fk5.dec.deg},9")\n'
        before = len(state.streamer.pc_coords[0])
        control("upload").value = (uploaded("a.reg", text.encode()),)
        assert control("upload").value == ()
        assert control("regions").options == ("a.reg",)
        assert len(state.streamer.pc_coords[0]) < before
        control("upload").value = (uploaded("bad.reg", b"nothing"),)
        assert "bad.reg" in state.status
        assert control("regions").options == ("a.reg",)
        control("regions").value = "a.reg"
        control("region-remove").click()
        assert state.region == []

    def test_a_region_by_its_path_and_saved(self, state, scene, view, control, tmp_path):
        state.add_region(CircleSkyRegion(scene.star_position, 9 * u.arcsec))
        path = tmp_path / "r.reg"
        control("region-save-path").value = str(path)
        control("region-save").click()
        state.undo()
        control("region-path").value = str(path)
        assert control("region-path").value == ""
        assert len(state.region) == 1
        control("region-path").value = str(tmp_path / "none.reg")
        assert "none.reg" in state.status
        assert control("region-path").value.endswith("none.reg")

    def test_options_of_the_fit(self, state, view, control):
        control("optimizer").value = "lbfgs"
        control("loss-method").value = 0
        control("n-epochs").value = 77
        control("learning-rate").value = "0.02"
        session = state.session
        assert (session.optimizer, session.loss_method, session.n_epochs, session.learning_rate) == ("lbfgs", 0, 77, 0.02)
        assert "RA" in control("readout").value

    def test_looks(self, state, view, control):
        control("stretch").value = "asinh"
        control("high").value = "0.2"
        control("moment").value = 1
        control("pv-axis").value = "path"
        control("contours").value = False
        control("channel").value = 3
        display = state.display
        assert (display.stretch, display.high, display.moment, display.pv_axis) == ("asinh", 0.2, 1, "path")
        assert (display.contours, display.channel) == (False, 3)
        assert control("play").value == 3
        for panel in view.panels.values():
            panel.prepare()
        assert view.panels["map"].image.norm.vmax == 0.2
        assert "Mean velocity" in view.panels["moment"].ax.get_title(loc="left")

    def test_a_fit_by_its_buttons(self, state, view, control, toy):
        toy.close(0)
        control("fit").click()
        assert control("fit").disabled
        assert not control("stop").disabled
        # what a fit forbids is refused, and the slider goes back
        position = control("slider-r0").value
        control("slider-r0").value += 5
        assert control("slider-r0").value == position
        assert "Stop the fit first" in state.status
        toy.open()
        assert state.wait(60)
        assert not control("fit").disabled
        assert control("stop").disabled
        assert float(control("value-r0").value) == pytest.approx(2300)

    def test_the_script_and_the_state(self, state, view, control, tmp_path):
        control("show-script").click()
        assert control("script").value == state.to_script()
        control("state-path").value = str(tmp_path / "s.json")
        control("save-state").click()
        assert json.loads((tmp_path / "s.json").read_text())["format"] == "sting explorer"
        control("save").click()
        assert "Run a fit first" in state.status


class TestPanels:
    def test_what_each_change_makes_old(self, view):
        panels = view.panels
        for panel in panels.values():
            panel.prepare()
        old = {name: panel.notice({"display.channel"})[0] for name, panel in panels.items()}
        assert {name for name, is_old in old.items() if is_old} == {"map", "pv", "spectrum"}
        for panel in panels.values():
            panel.prepare()
        moved = {name: panel.notice({"model"}) for name, panel in panels.items()}
        assert {name for name, (_, has_moved) in moved.items() if has_moved} == {"map", "moment", "pv", "orbit", "residuals"}
        assert not any(redraw for redraw, _ in moved.values())

    def test_the_model_is_drawn_where_it_is(self, state, view):
        curve = state.comparison.curve
        np.testing.assert_array_equal(np.transpose(view.panels["map"].model.get_data()), curve[:, :2])
        np.testing.assert_allclose(view.panels["pv"].model.get_data()[0], np.hypot(curve[:, 0], curve[:, 1]))
        np.testing.assert_array_equal(np.transpose(view.panels["orbit"].model.get_data_3d()), state.comparison.position)
        shown = np.transpose([line.get_ydata() for line in view.panels["residuals"].lines])
        np.testing.assert_allclose(shown, np.clip(state.comparison.residuals, -3.8, 3.8))

    def test_a_zoom_stays(self, state, view):
        panel = view.panels["map"]
        panel.ax.set(xlim=(3, -3), ylim=(-4, 2))
        view.panels["pv"].ax.set(xlim=(1, 2), ylim=(7, 7.5))
        state.set_display(channel=state.display.channel + 1, contours=True)
        state.set_value("theta0", 40 * u.deg)
        state.set_display(stretch="sqrt")
        for one in view.panels.values():
            one.prepare()
        assert panel.ax.get_xlim() == (3, -3)
        assert panel.ax.get_ylim() == (-4, 2)
        assert view.panels["pv"].ax.get_xlim() == (1, 2)

    def test_the_pointer(self, state, view):
        panel = view.panels["map"]
        words = panel.describe(0.0, 0.0)
        assert words.startswith("03h28m55.5")
        x, y = state.images.pixel_at(0.0, 0.0)
        assert f"{state.images.channel(state.display.channel)[y, x]:.3g} K" in words
        panel.describe(1e4, 0.0)
        view._on_motion(SimpleNamespace(inaxes=panel.ax, xdata=2.0, ydata=-3.0, canvas=view.canvases["map"]))
        assert state.display.pixel == state.images.pixel_at(2.0, -3.0)
        np.testing.assert_array_equal(view.panels["spectrum"].line.get_ydata(), state.images.spectrum(*state.display.pixel))

    def test_the_edges_of_the_cut_enclose_as_many_pixels(self, state):
        edges = mask_edges(state.streamer.pc_coords, state.images)
        # the shoelace formula for edges with the cut on either side does not know the side; count by rows instead
        x, y = np.round(state.images.to_pixel(*state.streamer.pc_coords[:2])).astype(int)
        mask = np.zeros(state.images.shape[1:], bool)
        mask[y, x] = True
        padded = np.pad(mask, 1)
        expected = np.count_nonzero(padded[1:] != padded[:-1]) + np.count_nonzero(padded[:, 1:] != padded[:, :-1])
        assert len(edges) == expected
        pixel = np.sqrt(abs(np.linalg.det(state.images.matrix)))
        np.testing.assert_allclose(np.linalg.norm(edges[:, 1] - edges[:, 0], axis=1), pixel, rtol=1e-3)

    def test_outlines(self, state, scene):
        (outline,) = outlines_of(CircleSkyRegion(scene.star_position, 5 * u.arcsec), state.images)
        np.testing.assert_allclose(np.hypot(*outline.T), 5, rtol=0.01)

    @pytest.mark.parametrize(("inc", "pa"), [(0.3, 1.0), (-1.2, 4.0)])
    def test_the_disk_is_that_of_the_core(self, inc, pa):
        axis, ring = disk_of(inc, pa)
        np.testing.assert_allclose(axis, np.asarray(rotation_matrix(inc, pa)) @ [0, 0, 1], atol=1e-6)
        np.testing.assert_allclose(ring @ axis, 0, atol=1e-12)
        np.testing.assert_allclose(np.linalg.norm(ring, axis=1), 1)

    def test_path_length(self):
        curve = np.array([[3.0, 4.0, 1.0], [0.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
        np.testing.assert_allclose(path_length(curve), [6, 1, 0])

    def test_the_loss_stays_in_sight(self, state):
        panel = LossPanel(state)
        state.phase = "fitting"
        for losses in (np.array([50.0, 20.0]), np.geomspace(900, 0.01, 2500)):
            state.losses = losses
            panel.notice({"fit"})
            assert panel.ax.get_ylim()[0] < losses.min() < losses.max() < panel.ax.get_ylim()[1]
            assert panel.ax.get_xlim()[1] >= len(losses) - 1
        assert len(panel.line.get_xdata()) < 2000
        assert panel.best.get_ydata() == [losses.min()]

    def test_tiles(self):
        images = [np.full((height, 5, 3), k, np.uint8) for k, height in enumerate((4, 6, 2, 3))]
        tiled = _tiled(images, columns=2)
        assert tiled.shape == (9, 10, 3)
        assert [int(np.count_nonzero(tiled[..., 0] == k)) for k in range(4)] == [20, 30, 10, 15]


class TestLiveLines:
    def test_are_in_the_pixels_of_the_canvas(self, state, view):
        layer, panel = view.layer, view.panels["map"]
        numbers = np.frombuffer(layer.xy, "<f4")
        counts, sent = numbers[: len(layer.lines)], numbers[len(layer.lines) : -1].reshape(-1, 2)
        assert len(sent) == counts.sum()
        x, y = sent[:200].T
        places = panel.ax.transData.transform(state.comparison.curve[:, :2])
        np.testing.assert_allclose(x, places[:, 0], rtol=1e-5)
        np.testing.assert_allclose(y, panel.figure.bbox.height - places[:, 1], rtol=1e-5)
        assert layer.lines[0]["panel"] == "map"
        assert layer.lines[0]["color"] == "#d55e00"

    def test_follow_the_model_in_one_message(self, state, view, monkeypatch):
        sent = []
        monkeypatch.setattr(type(view.layer), "send_state", lambda self, key=None: sent.append(key))
        before = view.layer.xy
        state.set_value("theta0", 40 * u.deg)
        assert view.layer.xy != before
        assert len(sent) == 1

    @pytest.mark.parametrize("name", ["theta0", "v_lsr"])
    def test_move_without_a_picture_drawn_anew(self, state, view, name, monkeypatch):
        drawn = []
        for how in ("draw", "draw_idle"):
            monkeypatch.setattr(notebook.PanelCanvas, how, lambda canvas: drawn.append(canvas.panel.name))
        view.layer.attached = len(view.panels)
        assert sorted(drawn) == sorted(view.panels)
        drawn.clear()
        state.set_value(name, state.parameters[name] * 1.001)
        assert drawn == []
        view.layer.attached = 0
        drawn.clear()
        state.set_value(name, state.parameters[name] * 1.001)
        assert {"map", "pv"} <= set(drawn)

    def test_are_left_out_of_pictures_only_while_the_browser_draws_them(self, state, view):
        line, figure = view.panels["map"].model, view.panels["map"].figure

        def pixels():
            figure.canvas.draw()
            return np.asarray(figure.canvas.get_renderer().buffer_rgba()).copy()

        with_lines = pixels()
        view.layer.attached = len(view.panels)
        assert view.is_live
        assert line.get_animated()
        without = pixels()
        assert (with_lines != without).any()
        # a saved figure has them all the same
        buffer = io.BytesIO()
        figure.savefig(buffer, dpi=100)
        saved = np.asarray(Image.open(buffer).convert("RGBA"))
        np.testing.assert_array_equal(saved[..., :3], with_lines[..., :3])
        view.layer.attached = 0
        np.testing.assert_array_equal(pixels(), with_lines)

    def test_without_a_layer_they_are_part_of_the_picture(self, state):
        view = notebook.NotebookView(state, live=False)
        assert view.layer is None
        assert not view.is_live
        canvas = view.canvases["map"]
        canvas.draw()
        before = np.asarray(canvas.get_renderer().buffer_rgba()).copy()
        state.set_value("phi0", 100 * u.deg)
        canvas.draw()
        assert (np.asarray(canvas.get_renderer().buffer_rgba()) != before).any()


class TestRegionsByHand:
    def draw(self, view, shape, *places, double=()):
        """Press at, move to and release at places of the map; a polygon is clicked."""
        view.controls.draw.value = shape
        panel = view.panels["map"]

        def event(place, **more):
            return SimpleNamespace(inaxes=panel.ax, xdata=place[0], ydata=place[1], button=1, dblclick=False, canvas=None, **more)

        if shape == "polygon":
            for place in places:
                view._on_press(event(place))
                view._on_release(event(place))
            last = event(places[-1])
            last.dblclick = True
            view._on_press(last)
        else:
            view._on_press(event(places[0]))
            view._on_motion(event(places[-1]))
            view._on_release(event(places[-1]))

    def test_rectangle(self, state, view):
        self.draw(view, "rectangle", (4, 2), (-4, -8))
        (region,) = state.region
        assert isinstance(region, RectangleSkyRegion)
        assert region.width.to_value(u.arcsec) == pytest.approx(8)
        assert region.height.to_value(u.arcsec) == pytest.approx(10)
        ra, dec = state.streamer.pc_coords[:2]
        assert np.abs(ra).max() < 4.2
        assert dec.min() > -8.2
        assert dec.max() < 2.2
        assert view.controls.draw.value == "off"
        assert len(view.panels["map"].sketch.get_xdata()) == 0

    def test_ellipse(self, state, view):
        self.draw(view, "ellipse", (4, 2), (-4, -8))
        ra, dec = state.streamer.pc_coords[:2]
        assert ((ra / 4) ** 2 + ((dec + 3) / 5) ** 2).max() < 1.1

    def test_polygon(self, state, view):
        self.draw(view, "polygon", (4, 2), (-4, 2), (-4, -8), (4, -8))
        (region,) = state.region
        assert isinstance(region, PolygonSkyRegion)
        assert len(region.vertices) == 4
        assert np.abs(state.streamer.pc_coords[0]).max() < 4.2

    def test_one_that_leaves_nothing(self, state, view, everything):
        before = state.session
        self.draw(view, "rectangle", (7, 4.9), (6.9, 4.8))
        assert state.session is before
        assert "must" in state.status

    def test_turned_off_half_way(self, state, view):
        view.controls.draw.value = "polygon"
        panel = view.panels["map"]
        view._on_press(SimpleNamespace(inaxes=panel.ax, xdata=1.0, ydata=1.0, button=1, dblclick=False))
        assert len(panel.sketch.get_xdata())
        view.controls.draw.value = "off"
        assert len(panel.sketch.get_xdata()) == 0
        assert state.region == []

    def test_a_click_is_no_rectangle(self):
        sketch = Sketch("rectangle")
        assert not sketch.move((0, 0))
        sketch.press((1, 1))
        assert not sketch.release((1, 1))
        assert not Sketch("polygon").press((0, 0), double=True)


def test_the_backend_of_matplotlib_stays_the_user_s(tmp_path):
    code = """
import matplotlib as mpl
import matplotlib.pyplot as plt
before = mpl.get_backend()
import sting.explorer.notebook
print(before == mpl.get_backend(), before)
"""
    environment = os.environ | {"MPLBACKEND": "svg"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "True svg"


class TestDisplay:
    @pytest.fixture
    def explorer(self, scene):
        return StreamerExplorer(scene.cube, scene.star_position, scene.distance, rms_thresh=5, fixed=scene.truth)

    def test_bundle_with_a_picture(self, explorer):
        bundle = explorer._repr_mimebundle_()
        assert set(bundle) == {"application/vnd.jupyter.widget-view+json", "image/png", "text/plain"}
        picture = Image.open(io.BytesIO(base64.b64decode(bundle["image/png"])))
        assert picture.size[0] == 3 * 340
        assert bundle["text/plain"].startswith("<StreamerExplorer: cube (40, 64, 64), 10 points")

    def test_shown_twice_is_one_widget(self, explorer):
        first, second = explorer._repr_mimebundle_(), explorer._repr_mimebundle_()
        key = "application/vnd.jupyter.widget-view+json"
        assert first[key] == second[key]

    def test_show_displays(self, explorer, monkeypatch):
        shown = []
        monkeypatch.setattr("IPython.display.display", shown.append)
        explorer.show()
        assert shown == [explorer]

    def test_its_properties_are_those_of_the_state(self, explorer, tmp_path):
        explorer.parameters = {"r0": 2500 * u.au}
        assert explorer.parameters["r0"].value == 2500
        assert explorer.streamer is explorer.state.streamer
        assert explorer.streamer_cube is explorer.state.streamer_cube
        assert explorer.result is None
        assert explorer.region == []
        explorer.save_state(tmp_path / "s.json")
        again = StreamerExplorer.from_state(tmp_path / "s.json", explorer.state.cube)
        assert again.state.session == explorer.state.session
        assert again.to_script() == explorer.to_script()
        with pytest.raises(RuntimeError, match="Run a fit first"):
            explorer.save(tmp_path / "results")
        assert not (tmp_path / "results").exists()

    def test_without_the_notebook_packages(self, tmp_path):
        code = """
import sys
sys.modules["ipympl"] = None
from sting import StreamerExplorer, synthetic
scene = synthetic.make_streamer_cube(seed=1, shape=(40, 64, 64))
explorer = StreamerExplorer(scene.cube, scene.star_position, scene.distance, rms_thresh=5)
bundle = explorer._repr_mimebundle_()
print(sorted(bundle), "pip install" in bundle["text/html"], "pip install" in bundle["text/plain"])
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=300)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == "['image/png', 'text/html', 'text/plain'] True True"
