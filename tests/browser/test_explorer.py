"""The explorer's widget in JupyterLab and Notebook 7: driven by mouse and keyboard, judged by its pixels and its state."""

import contextlib
import json
import re
import subprocess
import sys
import time

import numpy as np
import pytest
from astropy import units as u
from regions import Regions
from scipy.ndimage import binary_dilation

import sting
from sting import synthetic

pytestmark = pytest.mark.slow

#: Cells of a notebook: an explorer that starts beside the truth; what is made of it; and a cell that takes its time.
MAKE = """\
from astropy import units as u
from sting.explorer import StreamerExplorer
from sting.synthetic import STAR, TRUTH
free = ("r0", "theta0", "phi0", "v_r0", "omega", "mass")
fixed = {{name: value for name, value in TRUTH.items() if name not in free}}
choices = dict(vmin=6.2 * u.km / u.s, rms_thresh=5, fixed=fixed, initial={{"mass": 3.5 * u.Msun, "omega": 5e-13 / u.s}})
explorer = StreamerExplorer({cube!r}, STAR, 293 * u.pc, priors={{"mass": (4, 0.5) * u.Msun}}, **choices)"""
SHOW = "explorer"
PLAIN = "from sting.explorer.notebook import NotebookView\nplain = NotebookView(explorer.state, live=False)\nplain.widget"
OTHER = "other = StreamerExplorer(explorer.state.cube, STAR, 293 * u.pc, **choices)\nother"
WORK = "import time\nend = time.time() + 3\nwhile time.time() < end:\n    sum(range(1000))"

#: What draws the live lines of a panel by matplotlib alone, into a file.
DRAW = """
import numpy as np
from matplotlib.backends.backend_agg import RendererAgg
with explorer.state.lock:
    panel = explorer.view.panels[{panel!r}]
    renderer = RendererAgg(panel.figure.bbox.width, panel.figure.bbox.height, panel.figure.dpi)
    for line in sorted(panel.live, key=lambda line: line.get_zorder()):
        line.draw(renderer)
    np.save({path!r}, np.asarray(renderer.buffer_rgba()))
"""

PANELS = ("map", "moment", "pv", "orbit", "spectrum", "residuals", "loss")
MODEL_PANELS = ("map", "moment", "pv", "orbit", "residuals")

THETA0 = "explorer.state.parameters['theta0'].to_value('deg')"
CHANNEL = "explorer.state.display.channel"
POINTS = "[list(map(float, values)) for values in explorer.state.streamer.data]"
N_REGIONS = "len(explorer.state.region)"

#: Notebook 7's own, whatever is in the notebook.
NOT_OURS = ("reading 'schema'", "filebrowser:open-path")


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    """The cell that makes an explorer of a cube in a file."""
    path = tmp_path_factory.mktemp("cube") / "cube.fits"
    synthetic.make_streamer_cube(seed=1).cube.write(path)
    return MAKE.format(cube=str(path))


@pytest.fixture(scope="module")
def ordinary(open_notebook, make):
    """A notebook with an explorer and below it a view of the same state without live lines."""
    with open_notebook("ordinary", [make, SHOW, PLAIN]) as notebook:
        yield notebook


@pytest.fixture(scope="module")
def fine(open_notebook, make):
    """A notebook with an explorer on a screen of two pixels for each one of CSS."""
    with open_notebook("fine", [make, SHOW], device_scale_factor=2) as notebook:
        yield notebook


@pytest.fixture
def ours(request):
    """The notebook of a test, its explorer as it began."""
    notebook = request.getfixturevalue(request.param)
    notebook.do("explorer.state.reset(); explorer.state.say('')")
    notebook.tab("Model")
    # no toolbar of matplotlib under the pointer
    notebook.page.mouse.move(2, 2)
    notebook.settle()
    return notebook


def in_(notebook):
    return pytest.mark.parametrize("ours", [notebook], indirect=True)


def page_errors(nb):
    return [error for error in nb.errors if not any(words in error for words in NOT_OURS)]


def assert_same_pictures(nb, view="explorer.view", root=0):
    """The browser shows exactly what the kernel has drawn."""
    nb.settle()
    assert [name for name in PANELS if nb.picture(name, root) != nb.kernel_picture(name, view)] == []


# -- the whole story ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["lab", "notebook"])
def test_an_analysis_from_the_cube_to_the_script(open_notebook, make, kind, tmp_path):
    with open_notebook(f"story-{kind}", [make, SHOW, WORK], kind) as nb:
        nb.settle()
        assert nb.ask("__import__('sting').__file__") == sting.__file__
        assert nb.ask("explorer.view.is_live")
        look(nb)
        cut(nb, tmp_path)
        steer(nb)
        fit(nb)
        script = keep(nb, tmp_path)
        assert_same_pictures(nb)
        assert page_errors(nb) == []
        assert nb.cell_errors() == []
        # the kernel's work, which no page changes
        if kind == "lab":
            assert_script_repeats(nb, script, tmp_path)


def look(nb):
    """Run through the channels by keyboard and by the player."""
    channel = nb.ask(CHANNEL)
    with nb.changes("map", "spectrum", "pv"):
        nb.keys("channel", "ArrowRight")
    assert nb.ask(CHANNEL) == channel + 1
    with nb.changes("map"):
        nb.keys("channel", "PageDown", "ArrowLeft")
    channel = nb.until(CHANNEL, lambda now: now < channel)
    player = nb.control("play", "button").first
    with nb.changes("map"):
        player.click()
        nb.until(CHANNEL, lambda now: now >= channel + 2)
        player.click()
    assert int(float(nb.handle("channel").get_attribute("aria-valuenow"))) == nb.ask(CHANNEL)


def cut(nb, folder):
    """Cut by an uploaded region; a file that is none changes nothing."""
    place = synthetic.STAR.spherical_offsets_by(0.6 * u.arcsec, -7 * u.arcsec)
    good, bad = folder / "good.reg", folder / "bad.reg"
    good.write_text(f'# Region file format: DS9\nfk5\ncircle({place.ra.deg},{place.dec.deg},3.5")\n')
    bad.write_text("circle(what")
    nb.tab("Cut")
    whole = nb.ask(POINTS)
    with nb.changes("map", "moment", "pv"):
        upload(nb, good)
        nb.until(N_REGIONS, 1)
    inside = nb.ask(POINTS)
    assert inside != whole
    assert np.hypot(np.array(inside[0]) - 0.6, np.array(inside[1]) + 7).max() < 3.5
    assert nb.control("regions", "select").inner_text().strip() == "good.reg"
    upload(nb, bad)
    nb.says("bad.reg")
    assert nb.ask(POINTS) == inside
    assert nb.ask(N_REGIONS) == 1


def upload(nb, path):
    with nb.page.expect_file_chooser() as chooser:
        nb.press("upload")
    chooser.value.set_files(path)


def steer(nb):
    """Move the model by slider, mouse and keyboard, and by typed numbers, good and bad ones; undo and redo."""
    nb.tab("Model")
    start = nb.ask(THETA0)
    with nb.changes(*MODEL_PANELS, live=True):
        nb.slide("slider-theta0", 15)
    dragged = nb.until(THETA0, lambda value: value > start)
    for key, sign in (("ArrowRight", 1), ("PageUp", 1), ("ArrowLeft", -1)):
        before = nb.ask(THETA0)
        with nb.changes("map", "pv", live=True):
            nb.keys("slider-theta0", key)
        assert sign * (nb.ask(THETA0) - before) > 0
    assert float(nb.control("value-theta0", "input").input_value()) == pytest.approx(nb.ask(THETA0), rel=1e-5)
    assert nb.ask(THETA0) > dragged

    mass = "explorer.state.parameters['mass'].value"
    with nb.changes("pv", live=True):
        nb.type("value-mass", "25")  # the slider ends at 10
        nb.until(mass, 25.0)
    box = nb.control("value-mass", "input")
    assert box.input_value() == "25"
    for wrong, words in (("heavy", "'heavy'"), ("-1", "-1"), ("3 km", "km")):
        nb.type("value-mass", wrong)
        nb.says(words)
        assert nb.ask(mass) == 25.0
        nb.page.wait_for_function("(box) => box.value === '25'", arg=box.element_handle())

    nb.press("undo")
    nb.until(mass, 3.5)
    nb.press("redo")
    nb.until(mass, 25.0)
    nb.press("reset")
    nb.until(mass, 3.5)
    assert nb.ask(THETA0) == start
    assert nb.ask(N_REGIONS) == 0


def loss_of(nb):
    found = re.search(r"smallest loss ([-+.e\d]*\d)", nb.text("status"))
    return float(found.group(1)) if found else np.inf


def fit(nb):
    """Launch a fit of small steps, watch it while the kernel does other things, stop it twice."""
    nb.tab("Fit")
    for name, value in (("n-epochs", 1_000_000), ("patience", 1_000_000), ("learning-rate", "2e-6")):
        nb.type(name, value)
    session = "explorer.state.session"
    nb.until(f"[{session}.n_epochs, {session}.patience, {session}.learning_rate]", [1_000_000, 1_000_000, 2e-6])
    phase, epochs = "explorer.state.phase", "len(explorer.state.losses)"
    lines = nb.lines("map")
    nb.press("fit")
    nb.until(phase, "fitting", seconds=120)

    began, seen = time.monotonic(), [loss_of(nb)]
    nb.page.evaluate(
        """() => {
          window.answered = false;
          const { kernel } = window.book.sessionContext.session;
          kernel.requestExecute({ code: '1 + 1' }).done.then(() => { window.answered = true; });
        }"""
    )
    for _ in range(200):
        if nb.page.evaluate("window.answered"):
            break
        nb.page.wait_for_timeout(50)
    else:
        pytest.fail("the kernel does not answer while a fit runs")
    print(f"during a fit the kernel answers in {time.monotonic() - began:.2f} s")

    nb.run_cell(2)
    while nb.prompt(2) == "[*]:":
        seen.append(loss_of(nb))
        nb.page.wait_for_timeout(100)
    assert len(set(seen)) > 2
    assert seen == sorted(seen, reverse=True)
    assert nb.lines("map") != lines

    began = time.monotonic()
    nb.press("stop")
    nb.says("Stopped")
    print(f"a fit stops in {time.monotonic() - began:.2f} s")
    assert nb.ask(phase) in ("uncertainties", "stopped")
    best = nb.ask("{name: value.value for name, value in explorer.result.best_opt_params.items()}")
    assert nb.ask(f"{{name: explorer.parameters[name].value for name in {list(best)}}}") == pytest.approx(best, rel=1e-12)
    done = nb.ask(epochs)
    nb.press("resume")
    nb.until(epochs, lambda now: now > done, seconds=120)
    nb.press("stop")
    nb.until(phase, "stopped", seconds=120)
    nb.says("Stopped after")
    # stopped on its way, the fit is in no minimum: its plain uncertainties would promise too much
    assert nb.text("result").count("±") == nb.ask("sum(explorer.result.near_gaussian.values())")
    assert "did not end in a minimum" in nb.text("result")
    shown = nb.control("value-theta0", "input").input_value()
    assert float(shown) == pytest.approx(nb.ask(THETA0), rel=1e-5)


def keep(nb, folder):
    """Write the results, and show the script, which is the one that was written."""
    nb.tab("Keep")
    nb.type("folder", folder / "results")
    nb.press("save")
    nb.says("Wrote", seconds=120)
    written = {path.name for path in (folder / "results").iterdir() if path.stat().st_size}
    assert {"best_fit.ecsv", "best_fit_params.json", "explorer.py", "explorer.json"} <= written
    nb.press("show-script")
    nb.page.wait_for_function("document.querySelector('.sting-script textarea').value.includes('fit_streamline')")
    script = nb.control("script", "textarea").input_value()
    assert (folder / "results" / "explorer.py").read_text(encoding="utf-8").strip() == script.strip()
    return script


def assert_script_repeats(nb, script, folder):
    """The script comes to the same in a process of its own."""
    (folder / "script.py").write_text(script.replace('save_folder="sting_results"', "save_folder=None"), encoding="utf-8")
    code = (
        "import json, runpy; result = runpy.run_path('script.py', run_name='__main__')['result'];"
        "print(json.dumps({name: [value.value, str(value.unit)] for name, value in result.best_opt_params.items()}))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    again = json.loads(run.stdout.splitlines()[-1])
    ours = nb.ask("{name: [value.value, str(value.unit)] for name, value in explorer.result.best_opt_params.items()}")
    assert {name: unit for name, (_, unit) in again.items()} == {name: unit for name, (_, unit) in ours.items()}
    # thousands of steps of Adam on the way carry rounding on to the sixth digit
    assert {name: value for name, (value, _) in again.items()} == pytest.approx({n: v for n, (v, _) in ours.items()}, rel=1e-5)


# -- pixels ---------------------------------------------------------------------------------------------------------------


@in_("ordinary")
def test_pictures_are_the_kernel_s_to_the_pixel(ours):
    nb = ours
    assert_same_pictures(nb)
    assert_same_pictures(nb, "plain", root=1)
    assert nb.lines("map", root=1) == ""
    # without live lines the model is in the picture; with them the picture stays and the lines move
    picture = nb.picture("map")
    with nb.changes(*MODEL_PANELS, live=True), nb.changes(*MODEL_PANELS, root=1):
        nb.keys("slider-theta0", "PageUp")
    assert nb.picture("map") == picture
    assert_same_pictures(nb, "plain", root=1)
    for change in ("set_display(channel=40, colormap='viridis', moment=1)", "set_cut(n_elements=6)"):
        with nb.changes("map", "moment"):
            nb.do(f"explorer.state.{change}")
    assert_same_pictures(nb)
    assert_same_pictures(nb, "plain", root=1)
    assert page_errors(nb) == []


@in_("ordinary")
def test_a_burst_of_changes_ends_in_the_last_one(ours):
    nb = ours
    nb.do("for k in range(100): explorer.state.set_value('theta0', 0.5 + 0.005 * k)")
    nb.settle()
    burst = [nb.lines(name) for name in MODEL_PANELS], [nb.picture(name, root=1) for name in MODEL_PANELS]
    assert_same_pictures(nb, "plain", root=1)
    nb.do("explorer.state.set_value('theta0', 0.7)")
    nb.settle()
    assert nb.lines("map") != burst[0][0]
    nb.do("explorer.state.set_value('theta0', 0.5 + 0.005 * 99)")
    nb.settle()
    assert ([nb.lines(name) for name in MODEL_PANELS], [nb.picture(name, root=1) for name in MODEL_PANELS]) == burst


@contextlib.contextmanager
def zoomed(nb):
    """Axes that were zoomed and turned by hand."""
    nb.do(
        """
panels = explorer.view.panels
kept = {name: (panels[name].ax.get_xlim(), panels[name].ax.get_ylim()) for name in ("map", "pv")}
panels["map"].ax.set(xlim=(4, -2), ylim=(-8, -2))
panels["pv"].ax.set(xlim=(1, 8), ylim=(6.5, 7.8))
panels["orbit"].ax.view_init(35, 20)
for name in ("map", "pv", "orbit"):
    panels[name].figure.canvas.draw_idle()
"""
    )
    nb.settle()
    yield
    nb.do(
        """
panels["orbit"].ax.view_init(18, -62)
for name, (xlim, ylim) in kept.items():
    panels[name].ax.set(xlim=xlim, ylim=ylim)
for name in ("map", "pv", "orbit"):
    panels[name].figure.canvas.draw_idle()
"""
    )
    nb.settle()


@pytest.mark.parametrize("ours", ["ordinary", "fine"], indirect=True)
def test_live_lines_lie_where_matplotlib_draws_them(ours, tmp_path):
    nb = ours
    assert_lines_of_matplotlib(nb, tmp_path)
    with nb.changes(*MODEL_PANELS, live=True):
        nb.do("explorer.state.set_parameters({'theta0': 1.0, 'v_r0': 0.4}); explorer.state.set_display(pixel=(30, 60))")
    assert_lines_of_matplotlib(nb, tmp_path)
    with zoomed(nb):
        assert_lines_of_matplotlib(nb, tmp_path)
    assert_same_pictures(nb)


def assert_lines_of_matplotlib(nb, folder):
    """Every pixel that is full in one is near one that is touched in the other, and of the same colour."""
    for name in set(PANELS) - {"loss"}:
        nb.do(DRAW.format(panel=name, path=str(folder / "lines.npy")))
        here, there = nb.line_pixels(name), np.load(folder / "lines.npy")
        assert here.shape == there.shape
        for one, two in ((here, there), (there, here)):
            full, near = one[..., 3] > 200, binary_dilation(two[..., 3] > 40, iterations=2)
            assert full.sum() > 50, name
            assert np.sum(full & ~near) <= 0.005 * full.sum(), name
        both = (here[..., 3] > 250) & (there[..., 3] > 250)
        assert np.abs(here[both].astype(int) - there[both]).mean() < 4, name


# -- regions by hand ------------------------------------------------------------------------------------------------------


@in_("fine")
def test_regions_are_drawn_on_the_maps(ours, tmp_path):
    nb = ours
    nb.tab("Cut")
    whole = nb.ask(POINTS)
    choose_shape(nb, "rectangle")
    with nb.changes("map", "moment"):
        nb.drag(nb.sky("map", 4, -3), nb.sky("map", -3, -10))
        nb.until(N_REGIONS, 1)
    assert nb.ask("type(explorer.state.region[0]).__name__") == "RectangleSkyRegion"
    inside = np.array(nb.ask(POINTS))
    assert inside.tolist() != whole
    assert inside[1].max() < -2.9
    assert inside[1].min() > -10.1

    nb.type("region-save-path", tmp_path / "drawn.reg")
    nb.press("region-save")
    nb.says("drawn.reg")
    (read,) = Regions.read(tmp_path / "drawn.reg", format="ds9")
    east, north = synthetic.STAR.spherical_offsets_to(read.center)
    assert [east.arcsec, north.arcsec] == pytest.approx([0.5, -6.5], abs=0.1)
    assert [read.width.to_value(u.arcsec), read.height.to_value(u.arcsec)] == pytest.approx([7, 7], abs=0.15)

    nb.control("regions", "select").select_option("rectangle")
    nb.press("region-remove")
    nb.until(N_REGIONS, 0)
    assert nb.ask(POINTS) == whole

    choose_shape(nb, "polygon")
    with nb.changes("map", "moment", live=True):
        for corner in ((4, -3), (-3, -3), (-3, -10)):
            nb.page.mouse.click(*nb.sky("moment", *corner))
        nb.page.mouse.move(*nb.sky("moment", 3, -9))
    assert nb.ask(N_REGIONS) == 0
    with nb.changes("map", "moment"):
        nb.page.mouse.dblclick(*nb.sky("moment", 4, -10))
        nb.until(N_REGIONS, 1)
    offsets = "[STAR.spherical_offsets_to(corner) for corner in explorer.region[0].vertices]"
    corners = nb.ask(f"[[float(east.arcsec), float(north.arcsec)] for east, north in {offsets}]")
    assert np.array(corners) == pytest.approx(np.array([(4, -3), (-3, -3), (-3, -10), (4, -10)]), abs=0.1)
    assert np.array(nb.ask(POINTS)) == pytest.approx(inside, abs=0.1)
    assert page_errors(nb) == []


def choose_shape(nb, shape):
    nb.control("draw").get_by_role("button", name=shape).click()
    nb.says(f"Draw the {shape}")


# -- clusters -------------------------------------------------------------------------------------------------------------

#: An explorer of a protostar, nothing cut out and nothing said of clusters, that starts beside the truth.
PROTOSTAR = """\
from astropy import units as u
from sting import isolate, reduce_to_1D
from sting.explorer import StreamerExplorer
from sting.synthetic import STAR, TRUTH
kind = {{"uncertainty": "spread", "min_beams": 0}}
fixed = {{name: value for name, value in TRUTH.items() if name not in ("r0", "phi0")}}
start = {{"r0": 2300 * u.au, "phi0": 62 * u.deg}}
explorer = StreamerExplorer({cube!r}, STAR, 293 * u.pc, rms=30 * u.mK, n_elements=4, initial=start, fixed=fixed, min_beams=0)
explorer.state.set_fit(n_epochs=200, learning_rate=0.01)"""

#: The dot of a cluster that is the farthest from those of others, in the channel of its middle.
DOT = """
import numpy as np
known, panel = explorer.state.known, explorer.view.panels["map"]
velocity = np.median(known.velocity[known.number == {number}])
explorer.state.set_display(channel=int(np.argmin(np.abs(explorer.state.images.velocity - velocity))))
panel.prepare()
ours = panel.seen[known.number[panel.seen] == {number}]
others = panel.seen[known.number[panel.seen] != {number}]
apart = np.hypot(known.ra[ours, None] - known.ra[others], known.dec[ours, None] - known.dec[others])
dot = ours[np.argmax(apart.min(axis=1, initial=np.inf))]
"""
CHOSEN = "list(explorer.state.session.cluster)"


@pytest.fixture(scope="module")
def protostar_cell(tmp_path_factory):
    """The cell that makes an explorer of a protostar in a file."""
    path = tmp_path_factory.mktemp("protostar") / "cube.fits"
    synthetic.make_scene(seed=1, shape=(40, 64, 64)).cube.write(path)
    return PROTOSTAR.format(cube=str(path))


def click_cluster(nb, number, modifiers=()):
    """Click on a dot of a cluster on the map of its channel."""
    nb.do(DOT.format(number=number))
    nb.settle()
    place = nb.sky("map", *nb.ask("[float(known.ra[dot]), float(known.dec[dot])]"))
    for key in modifiers:
        nb.page.keyboard.down(key)
    nb.page.mouse.click(*place)
    for key in modifiers:
        nb.page.keyboard.up(key)


def assert_points_of(nb, numbers):
    """The points are those of these clusters, as a script selects them."""
    code = f"expected = reduce_to_1D(isolate.select(explorer.state.clusters, STAR, cluster={numbers}).cube, STAR, 4, **kind)"
    expected = nb.ask("[list(map(float, values)) for values in expected.data]", code)
    assert np.array(nb.ask(POINTS)) == pytest.approx(np.array(expected), abs=0.05)


def test_a_cluster_is_found_clicked_and_fitted(open_notebook, protostar_cell, tmp_path):
    with open_notebook("clusters", [protostar_cell, SHOW]) as nb:
        nb.settle()
        nb.tab("Cut")
        # clicks mean nothing yet, and the pointer shows its spectrum
        nb.page.mouse.click(*nb.sky("map", 1, -6))
        nb.until("explorer.state.display.pixel == explorer.state.images.pixel_at(1, -6)")
        assert nb.ask("explorer.state.streamer is None")

        with nb.changes("map", "moment", "pv"):
            nb.press("find-clusters")
            nb.says("spectra by Gaussians")
            nb.until("explorer.state.clusters is not None", seconds=120)
        nb.says("clusters. The first of the ranking is cluster")
        ranked = nb.ask("[int(k) for k in explorer.state.ranking['cluster']]")
        options = [text.replace("\xa0", " ") for text in nb.control("clusters", "option").all_inner_texts()]
        assert len(options) == 1 + len(ranked)
        assert options[1].startswith(f"1: cluster {ranked[0]}, score ")
        nb.shot("clusters-found")

        with nb.changes("map", "moment", "pv"), nb.changes("residuals", live=True):
            click_cluster(nb, ranked[0])
            nb.until(CHOSEN, [ranked[0]])
        assert_points_of(nb, [ranked[0]])
        nb.says(f"Cluster {ranked[0]}, above 4 times the noise")
        (shown,) = nb.control("clusters", "option:checked").all_inner_texts()
        assert shown.replace("\xa0", " ") == options[1]
        nb.shot("clusters-chosen")
        assert_same_pictures(nb)

        # one more by the keyboard's shift, and back
        both = sorted(ranked[:2])
        click_cluster(nb, ranked[1], modifiers=["Shift"])
        nb.until(CHOSEN, both)
        assert_points_of(nb, both)
        nb.press("undo")
        nb.until(CHOSEN, [ranked[0]])

        # the list, by keyboard
        nb.control("clusters", "select").focus()
        for key, numbers in (("Home", []), ("ArrowDown", ranked[:1]), ("Shift+ArrowDown", both)):
            nb.page.keyboard.press(key)
            nb.until(CHOSEN, numbers)
        nb.press("undo")
        nb.until(CHOSEN, ranked[:1])

        points = nb.ask(POINTS)
        nb.press("fit")
        nb.until("explorer.state.phase", "done", seconds=120)
        assert nb.ask("bool(explorer.result.loss < explorer.state.losses[0])")
        assert nb.ask("[list(map(float, v)) for v in explorer.state.fitted_streamer.data]") == points
        nb.shot("clusters-fitted")

        # out of sight, a click means nothing
        with nb.changes("map", "moment", "pv"):
            nb.control("clusters-shown", "input").uncheck()
        nb.page.mouse.click(*nb.sky("map", *nb.ask("[float(known.ra[dot]), float(known.dec[dot])]")))
        nb.page.wait_for_timeout(500)
        assert nb.ask(CHOSEN) == [ranked[0]]

        nb.tab("Keep")
        nb.type("folder", tmp_path / "results")
        nb.press("save")
        nb.says("files into", seconds=120)
        nb.press("show-script")
        nb.until("'isolate.Clusters.read' in explorer.to_script()")
        assert len(list((tmp_path / "results").glob("clusters_*.ecsv"))) == 1
        assert page_errors(nb) == []
        assert nb.cell_errors() == []


# -- several displays -----------------------------------------------------------------------------------------------------


def test_views_of_one_explorer_agree_and_another_is_left_alone(open_notebook, make):
    with open_notebook("twice", [make, SHOW, SHOW, OTHER]) as nb:
        nb.settle()
        others = [nb.picture("map", 2), nb.lines("map", 2), nb.control("value-theta0", "input", 2).input_value()]
        assert nb.page.locator(".sting-explorer").count() == 3
        for root in (0, 1):
            with nb.changes("map", "pv", live=True, root=root):
                nb.keys("slider-theta0", "PageUp", root=1 - root)
        with nb.changes("map", root=1), nb.changes("map"):
            nb.keys("channel", "PageUp")
        assert [nb.lines(name) for name in PANELS] == [nb.lines(name, 1) for name in PANELS]
        assert_same_pictures(nb)
        assert_same_pictures(nb, root=1)
        assert nb.handle("slider-theta0").get_attribute("aria-valuenow") == (
            nb.handle("slider-theta0", 1).get_attribute("aria-valuenow")
        )
        assert [nb.picture("map", 2), nb.lines("map", 2), nb.control("value-theta0", "input", 2).input_value()] == others
        with nb.changes("map", live=True, root=2):
            nb.keys("slider-theta0", "PageDown", root=2)
        assert nb.ask("float(other.state.session.values['theta0'] - explorer.state.session.values['theta0'])") < 0

        kinds = [{kind for output in cell.outputs for kind in output.get("data", {})} for cell in nb.save().cells]
        assert all({"image/png", "text/plain"} <= kinds[k] for k in (1, 2, 3))
        # the page is opened anew, as after a lost connection: the kernel still has everything
        lines = [nb.lines(name) for name in PANELS]
        nb.reload()
        nb.settle()
        assert [nb.lines(name) for name in PANELS] == lines
        assert_same_pictures(nb)
        with nb.changes("map", live=True):
            nb.keys("slider-theta0", "PageDown")
        assert page_errors(nb) == []


# -- for everyone, on every screen ----------------------------------------------------------------------------------------

#: Everything in the explorer that can have the focus, with its name (as far as a name can be had without a screen reader).
FOCUSABLE = """() => {
  const what = 'input:not([type=file]), select, textarea, button, .noUi-handle, [role=tab]';
  const text = (id) => (document.getElementById(id) || { textContent: '' }).textContent;
  const first = (texts) => texts.map((t) => (t || '').trim()).find(Boolean) || '';
  return Array.from(sting.roots()[0].querySelectorAll(what), (e, number) => {
    e.dataset.number = number;
    const labels = (e.getAttribute('aria-labelledby') || '').split(' ').map(text);
    labels.push(...Array.from(e.labels || [], (label) => label.textContent));
    const name = first([e.getAttribute('aria-label'), labels.join(' '), e.textContent, e.title]);
    const where = e.closest('[class*=sting-]').className.match(/sting-[\\w-]+/g).join(' ');
    const shown = e.checkVisibility({ visibilityProperty: true }), can = !e.disabled && e.tabIndex >= 0;
    return { number, name, shown, can, where: `${e.tagName} of ${where}` };
  });
}"""


@in_("ordinary")
def test_everything_has_a_name_and_can_be_reached_by_keyboard(ours):
    nb = ours
    nb.press("more")
    nb.page.wait_for_timeout(1000)
    assert sorted({thing["where"] for thing in nb.page.evaluate(FOCUSABLE) if not thing["name"]}) == []
    for tab in ("Cut", "Model", "Fit", "Look", "Keep"):
        nb.tab(tab)
        nb.page.wait_for_timeout(300)
        wanted = {thing["number"]: thing["where"] for thing in nb.page.evaluate(FOCUSABLE) if thing["shown"] and thing["can"]}
        # for the first tab from the top, then from the tab itself
        start = nb.control("reset") if tab == "Cut" else nb.root().get_by_role("tab", name=tab, exact=True)
        start.focus()
        reached = set()
        for _ in range(len(wanted) + 5):
            number = nb.page.evaluate(
                "() => sting.roots()[0].contains(document.activeElement) ? document.activeElement.dataset.number : null"
            )
            if number is None:
                break
            reached.add(int(number))
            nb.page.keyboard.press("Tab")
        first = min(reached)
        assert [where for number, where in wanted.items() if number >= first and number not in reached] == []
    nb.tab("Model")
    nb.press("more")


#: How far parts of the explorer stick out of it, or have more in them than they show.
OVERFLOW = """() => {
  const root = sting.roots()[0], right = root.getBoundingClientRect().right;
  const scrolled = [root, root.querySelector('.sting-side'), root.querySelector('.sting-main')];
  const bad = scrolled.filter((e) => e.scrollWidth > e.clientWidth + 2).map((e) => [e.className, e.scrollWidth, e.clientWidth]);
  for (const e of root.querySelectorAll('*')) {
    const box = e.getBoundingClientRect();
    if (box.width > 0 && box.right > right + 2) bad.push([e.tagName + ' ' + e.className, box.right, right]);
  }
  return bad;
}"""


@in_("ordinary")
def test_it_fits_into_narrow_and_wide_windows(ours):
    nb = ours
    try:
        for width in (900, 1200, 1800):
            nb.page.set_viewport_size({"width": width, "height": 1400})
            for tab in ("Cut", "Model", "Fit", "Look", "Keep"):
                nb.tab(tab)
                nb.page.wait_for_timeout(300)
                nb.root().evaluate("(root) => root.scrollIntoView()")
                nb.shot(f"width-{width}-{tab}")
                assert nb.page.evaluate(OVERFLOW) == [], (width, tab)
    finally:
        nb.page.set_viewport_size({"width": 1500, "height": 1400})


#: A view whose second map never hears that the browser is there: that happens where the browser is faster than the kernel, which
#: listens only after it has told of the canvas.
LOSSY = """\
from sting.explorer.canvas import PanelCanvas
handle = PanelCanvas._handle_message
def lossy(canvas, sender, content, buffers):
    if canvas.panel.name != "moment" or content["type"] != "initialized":
        handle(canvas, sender, content, buffers)
PanelCanvas._handle_message = lossy
from sting.explorer.layer import LiveLayer
hear, lost = LiveLayer._on_message, []
def hard_of_hearing(layer, *message):
    lost.append(message)
    if len(lost) > 1:
        hear(layer, *message)
LiveLayer._on_message = hard_of_hearing
plain = NotebookView(explorer.state)
plain.widget"""


@in_("ordinary")
def test_lost_first_messages_leave_no_panel_empty(ours):
    nb = ours
    nb.run_cell(2, LOSSY)
    nb.page.wait_for_timeout(5000)
    if nb.page.evaluate("() => !sting.roots()[1] || !sting.roots()[1].querySelector('.sting-panel')"):
        nb.run_cell(2, LOSSY)  # the page has lost the whole widget, which nothing in it can mend
    nb.until("[plain.is_live, len(lost), plain.layer.attached]", lambda value: value[0])
    nb.drawn()
    nb.settle()
    assert_same_pictures(nb, "plain", root=1)
    assert nb.lines("moment", root=1) == nb.lines("moment")


@in_("ordinary")
def test_keys_are_not_taken_for_shortcuts_of_the_notebook(ours):
    nb = ours
    n_cells = "window.book.content.widgets.length"
    before = nb.page.evaluate(n_cells)
    nb.control("reset").focus()
    for key in "dd":  # deletes the cell, if the notebook hears it
        nb.page.keyboard.press(key)
    nb.page.wait_for_timeout(500)
    assert nb.page.evaluate(n_cells) == before
