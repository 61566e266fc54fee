"""Time StreamerExplorer in JupyterLab in a real browser: slider to pixels, drags, bursts, and the fit.

The tables go to standard output, progress to standard error. See README.md beside this file.
"""

import importlib.util
import os
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
from astropy.io import fits
from environments import HERE, cores, load, make_parser, markdown, read, say, spread

DATA_FILE = "ngc1333_iras2a_d2co.fits"
SHAPE = (300, 250, 250)  # of the large cube, before each pixel is repeated
REPEAT = 4

#: Times at which the browser clears the live lines of the map, that is, at which it draws them anew.
WATCH = """
window.drawn = [];
const clear = CanvasRenderingContext2D.prototype.clearRect;
CanvasRenderingContext2D.prototype.clearRect = function (...box) {
  const live = this.canvas.classList.contains('sting-live') && this.canvas.closest('.sting-panel-map');
  if (live) window.drawn.push(performance.now());
  return clear.apply(this, box);
};
"""

#: Presses a key on a slider and takes the time until a text, or the live lines, change.
STEPS = """
async ([slider, what, n]) => {
  const handle = document.querySelector(slider + ' .noUi-handle');
  const label = () => document.querySelector('.floor-label').innerText;
  const loss = () => document.querySelector('.sting-readout .sting-number').innerText;
  const until = (changed) => new Promise((resolve, reject) => {
    const began = performance.now();
    const look = () => changed() ? resolve(performance.now())
      : performance.now() - began > 5000 ? reject('nothing changed') : setTimeout(look, 1);
    look();
  });
  const times = [];
  handle.focus();
  for (let i = 0; i < n; i++) {
    const words = label(), before = loss(), drawn = window.drawn.length, began = performance.now();
    handle.dispatchEvent(new KeyboardEvent('keydown', { key: i % 20 < 10 ? 'ArrowRight' : 'ArrowLeft', bubbles: true }));
    if (what === 'label') times.push(await until(() => label() !== words) - began);
    else if (what === 'loss') times.push(await until(() => loss() !== before) - began);
    else { await until(() => window.drawn.length > drawn); times.push(window.drawn[drawn] - began); }
    await new Promise((resolve) => setTimeout(resolve, 120));
  }
  return times;
}
"""

#: Drags a slider there and back, an event every so many milliseconds, and takes the times of the first and the last.
DRAG = """
async ([slider, n, wait]) => {
  const handle = document.querySelector(slider + ' .noUi-handle').getBoundingClientRect();
  const bar = document.querySelector(slider + ' .noUi-base').getBoundingClientRect();
  const clientY = handle.y + handle.height / 2, pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  const tell = (type, clientX) => {
    const where = type === 'mousedown' ? document.querySelector(slider + ' .noUi-handle') : document.documentElement;
    where.dispatchEvent(new MouseEvent(type, { clientX, clientY, buttons: type === 'mouseup' ? 0 : 1, bubbles: true }));
  };
  tell('mousedown', handle.x + handle.width / 2);
  const began = performance.now();
  let x, last;
  for (let k = 0; k < n; k++) {
    await pause(began + wait * (k + 1) - performance.now());
    x = bar.x + bar.width * (0.2 + 0.6 * Math.abs((k / 75) % 2 - 1));
    tell('mousemove', x);
    last = performance.now();
  }
  tell('mouseup', x);
  return [began, last];
}
"""

#: Presses Stop and takes the time until its words stand there.
STOP = """
() => new Promise((resolve) => {
  const status = document.querySelector('.sting-status'), began = performance.now();
  new MutationObserver(() => {
    if (status.innerText.startsWith('Stopped')) resolve(performance.now() - began);
  }).observe(status, { subtree: true, childList: true, characterData: true });
  document.querySelector('button.sting-stop').click();
})
"""

FLOOR = """
import ipywidgets
slider, label = ipywidgets.IntSlider(max=360), ipywidgets.Label("-")
slider.add_class("floor-slider"), label.add_class("floor-label")
slider.observe(lambda change: setattr(label, "value", str(change["new"])), "value")
ipywidgets.VBox([slider, label])
"""

#: The same fit without the widget, first to compile it, then timed; and with it.
ALONE = """
import time
def alone():
    steps = iterate_fit(*state.session.split()[:2], state.streamer, state.distance, **state.session.fit_keywords())
    began = time.perf_counter()
    for snapshot in steps:
        pass
    return time.perf_counter() - began
from sting.gradient_descent import iterate_fit
state, lasted = explorer.state, []
def watch(topics):
    if state.phase == "compiling" and "began" not in globals():
        globals()["began"] = time.perf_counter()
    elif not state.busy and "began" in globals():
        lasted.append(time.perf_counter() - globals().pop("began"))
state.observe(watch)
state.set_fit(n_epochs=20000, patience=20000, learning_rate=1e-4)
alone()
"""


def driver():
    """The classes with which the tests drive the browser."""
    spec = importlib.util.spec_from_file_location("driver", HERE.parent / "tests" / "browser" / "conftest.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def real_cube():
    folders = [os.environ.get("STING_DATA"), HERE.parents[1] / "shared" / "data"]
    return next((path for folder in folders if folder and (path := Path(folder) / DATA_FILE).is_file()), None)


def large_cube(path):
    """Write a cube of 300 channels of 1000 x 1000 pixels, a channel at a time."""
    from astropy import units as u

    from sting.synthetic import make_streamer_cube

    scene = make_streamer_cube(seed=1, shape=SHAPE, pixel=0.08 * u.arcsec, channel=0.02 * u.km / u.s)
    header = fits.PrimaryHDU(np.zeros((1, 1, 1), "f4"), scene.cube.header).header
    header["NAXIS3"], header["NAXIS2"], header["NAXIS1"] = SHAPE
    for axis in (1, 2):
        header[f"CDELT{axis}"] /= REPEAT
        header[f"CRPIX{axis}"] = (header[f"CRPIX{axis}"] - 0.5) * REPEAT + 0.5
        header[f"NAXIS{axis}"] *= REPEAT
    shape = (SHAPE[0], SHAPE[1] * REPEAT, SHAPE[2] * REPEAT)
    stream = fits.StreamingHDU(str(path), header)
    for channel in scene.cube.unmasked_data[:].value:
        stream.write(np.repeat(np.repeat(channel, REPEAT, axis=0), REPEAT, axis=1).astype("f4"))
    stream.close()
    return path, shape


def cells(path, cut):
    return [
        f"""
from astropy import units as u
from astropy.coordinates import SkyCoord
import sting
star = SkyCoord("3h28m55.569s", "+31d14m37.025s", frame="fk5")
known = dict(inc=-45 * u.deg, pa=194 * u.deg, v_lsr=7.5 * u.km / u.s, rmin=50 * u.au)
explorer = sting.StreamerExplorer({str(path)!r}, star, 293, initial=dict(mass=4 * u.Msun), fixed=known, {cut})
""",
        FLOOR,
        "explorer",
    ]


def middle(times):
    """Median, and the tenth and ninth tenths: a page that collects garbage makes some presses slow."""
    low, high = np.quantile(times, (0.1, 0.9))
    return f"{median(times):.0f} ({low:.0f} to {high:.0f})"


def steering(notebook):
    """Latency in units of the floor, frames of a drag, and how late the last frame is."""
    page = notebook.page
    floor = page.evaluate(STEPS, [".floor-slider", "label", 40])
    moved = page.evaluate(STEPS, [".sting-slider-theta0", "lines", 40])
    loss = page.evaluate(STEPS, [".sting-slider-theta0", "loss", 40])
    floor += page.evaluate(STEPS, [".floor-slider", "label", 40])
    before = page.evaluate("window.drawn.length")
    began, last = page.evaluate(DRAG, [".sting-slider-theta0", 300, 10])
    seconds = (last - began) / 1000
    frames = page.evaluate("([n, last]) => window.drawn.slice(n).filter((t) => t <= last).length", [before, last]) / seconds
    page.wait_for_timeout(2000)
    late = page.evaluate("window.drawn[window.drawn.length - 1]") - last
    at_last = notebook.lines("map")
    value = notebook.ask("explorer.parameters['theta0'].value")
    notebook.do(f"explorer.parameters = {{'theta0': {value} * u.deg + 1 * u.deg}}")
    notebook.do(f"explorer.parameters = {{'theta0': {value} * u.deg}}")
    notebook.settle()
    same = "yes" if notebook.lines("map") == at_last else "NO"
    return {
        "floor (ms)": middle(floor),
        "slider to loss (ms)": middle(loss),
        "ratio": f"{median(loss) / median(floor):.2f}",
        "slider to picture (ms)": middle(moved),
        "ratio ": f"{median(moved) / median(floor):.2f}",
        "frames/s of the drag": f"{frames:.1f}",
        "events": f"300 in {seconds:.1f} s",
        "last frame late by (ms)": f"{late:.0f}",
        "last frame right": same,
    }


def fitting(notebook):
    """Answers of the kernel during a fit, time to stop, and the fit with the widget in units of the fit alone."""
    page = notebook.page
    notebook.do(ALONE)
    alone = []
    for n in range(1, 6):  # the first compiles what the widget alone needs
        alone.append(notebook.ask("alone()"))
        notebook.press("fit")
        page.wait_for_timeout(3000 * alone[-1] + 3000)  # whoever asked the kernel meanwhile would take time from it
        notebook.until("len(lasted)", n)
        notebook.do("state.wait(); state.undo()")
        notebook.settle()
    alone, with_widget = alone[1:], notebook.ask("lasted[1:]")
    ratios = [one / other for one, other in zip(with_widget, alone, strict=True)]
    notebook.do("state.set_fit(n_epochs=2_000_000, patience=2_000_000)")
    notebook.press("fit")
    notebook.until("state.phase", "fitting")
    answers = []
    for _ in range(20):
        began = time.perf_counter()
        notebook.ask("1 + 1")
        answers.append(1000 * (time.perf_counter() - began))
        page.wait_for_timeout(50)
    stopped = page.evaluate(STOP)
    return {
        "fit alone (s)": spread(alone),
        "with the widget (s)": spread(with_widget),
        "ratio": spread(ratios),
        "answer of the kernel during a fit (ms)": f"{median(answers):.0f}, at most {max(answers):.0f}",
        "Stop to its words (ms)": f"{stopped:.0f}",
    }


def table(rows):
    return markdown(["", *next(iter(rows.values()))], [[title, *row.values()] for title, row in rows.items()], 1)


def main():
    arguments, before = read(make_parser(__doc__, runs=1)), load()
    from playwright.sync_api import sync_playwright

    drive = driver()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        folder, cubes = Path(folder), {}
        if (path := real_cube()) is not None:
            cubes["IRAS 2A"] = path, "vmin=5.9 * u.km / u.s, vmax=9 * u.km / u.s, rms_thresh=4"
        if not arguments.quick:
            say("writing the large cube")
            path, shape = large_cube(folder / "large.fits")
            region = "region=__import__('regions').CircleSkyRegion(star, 3 * u.arcsec)"
            cubes[" x ".join(map(str, shape[::-1]))] = path, f"{region}, vmin=6.5 * u.km / u.s, rms_thresh=5"
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=drive.FLAGS)
        (folder / "home").mkdir()
        steered, fitted = {}, {}
        with drive.Server(folder / "home") as server:
            for title, (path, cut) in cubes.items():
                say(f"{title}: opening")
                context = browser.new_context(viewport={"width": 1500, "height": 1400})
                notebook = drive.Notebook(server, context.new_page())
                notebook.page.add_init_script(WATCH)
                notebook.open(cells(path, cut))
                notebook.until("explorer.view.is_live")
                notebook.settle()
                say(f"{title}: steering")
                steered[title] = steering(notebook)
                if not fitted:
                    say(f"{title}: fitting")
                    fitted[title] = fitting(notebook)
                notebook.close()
                context.close()
        browser.close()
    print(f"{table(steered)}\n\n{table(fitted)}\n")
    print(f"- {cores()} cores; load average {before} before, {load()} after; presses of each kind: 40, fits: 4")


if __name__ == "__main__":
    main()
