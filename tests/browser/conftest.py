"""A Jupyter server, a browser, and a page with one notebook in it, to be used as its user would."""

import ast
import base64
import contextlib
import importlib.util
import io
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import numpy as np
import pytest
from PIL import Image

NEEDED = ("playwright", "jupyterlab", "notebook", "ipykernel", "ipywidgets", "ipympl", "anywidget")

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)

#: What the user's settings would be: no news in the way, and every output in the page whether scrolled to or not.
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"windowingMode": "none"},
}

#: Seconds: for what must happen soon, for what compiles or starts a process, and of rest before a picture counts as final.
SOON, LATE, REST = 30, 120, 0.4

#: Functions for the page; ``live`` chooses between ipympl's picture and the lines above it.
SCRIPT = """
window.sting = {
  roots: () => Array.from(document.querySelectorAll('.sting-explorer')),
  canvas: (root, panel, live) => {
    const box = window.sting.roots()[root] && window.sting.roots()[root].querySelector('.sting-panel-' + panel);
    const all = box ? Array.from(box.querySelectorAll('.jupyter-matplotlib-canvas-div canvas')) : [];
    return all.filter((c) => c.classList.contains('sting-live') === live)[0];
  },
  pixels: (root, panel, live) => {
    const c = window.sting.canvas(root, panel, live);
    return c && c.width && c.height ? c.getContext('2d').getImageData(0, 0, c.width, c.height) : null;
  },
  hash: async (root, panel, live) => {
    const image = window.sting.pixels(root, panel, live);
    if (!image) return '';
    const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', image.data));
    return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
  },
  panels: () => window.sting.roots().flatMap((box, root) => Array.from(box.querySelectorAll('.sting-panel'), (part) => (
    [root, Array.from(part.classList, (c) => c.match(/^sting-panel-(.+)$/)).filter(Boolean)[0][1]]))),
  hashes: () => Promise.all(window.sting.panels().flatMap(([root, panel]) => (
    [false, true].map((live) => window.sting.hash(root, panel, live))))),
  empty: () => window.sting.panels().filter(([root, panel]) => {
    const image = window.sting.pixels(root, panel, false);
    return !image || !image.data.some(Boolean);
  }).map(([root, panel]) => {
    const c = window.sting.canvas(root, panel, false);
    return [root, panel, c ? [c.width, c.height] : null];
  }),
};
"""


def shows_widget(source):
    """Whether a cell ends with the name of something, which is shown."""
    last = ast.parse(source).body[-1]
    return isinstance(last, ast.Expr) and isinstance(last.value, ast.Name | ast.Attribute)


def free_port():
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """JupyterLab and Notebook on this machine alone, untouched by the settings of whoever runs the tests."""

    def __init__(self, home):
        self.home, self.files = home, home / "files"
        self.port, self.token = free_port(), secrets.token_hex(16)
        self.files.mkdir()

    def __enter__(self):
        for name, content in SETTINGS.items():
            path = self.home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(content))
        folders = {"CONFIG_DIR": "config", "DATA_DIR": "data", "RUNTIME_DIR": "run"}
        folders |= {"LAB_SETTINGS_DIR": "settings", "LAB_WORKSPACES_DIR": "workspaces"}
        # a notebook chooses matplotlib's backend itself; that of the tests is for files
        environment = {name: value for name, value in os.environ.items() if name not in ("MPLBACKEND", "JUPYTER_PATH")}
        environment |= {f"JUPYTER{'' if n.startswith('LAB') else '_'}{n}": str(self.home / v) for n, v in folders.items()}
        environment |= {"IPYTHONDIR": str(self.home / "ipython"), "JUPYTER_PREFER_ENV_PATH": "1", "JUPYTER_PLATFORM_DIRS": "1"}
        options = ["--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={self.port}", "--ServerApp.port_retries=0"]
        options += [f"--IdentityProvider.token={self.token}", f"--ServerApp.root_dir={self.files}"]
        options += ["--LabApp.extension_manager=readonly"]
        # the applications as window.jupyterapp
        options += ["--expose-app-in-browser", "--JupyterNotebookApp.expose_app_in_browser=True"]
        self.log = (self.home / "server.log").open("w")
        command = [sys.executable, "-m", "jupyterlab", *options]
        self.process = subprocess.Popen(command, env=environment, stdout=self.log, stderr=subprocess.STDOUT, cwd=self.files)
        try:
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _wait(self):
        end = time.monotonic() + LATE
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(OSError), urllib.request.urlopen(self.address("api/status"), timeout=5):
                return
            time.sleep(0.2)
        pytest.fail(f"the Jupyter server did not start:\n{(self.home / 'server.log').read_text()}")

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def address(self, path):
        return f"http://127.0.0.1:{self.port}/{path}?token={self.token}"


class Notebook:
    """A page that shows one notebook, with what its tests ask of it.

    Parameters
    ----------
    server : Server
        Where the notebook is.
    page : `playwright.sync_api.Page`
        The page.
    """

    def __init__(self, server, page):
        self.server, self.page, self.errors = server, page, []
        self.kernel = None
        page.set_default_timeout(1000 * SOON)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.add_init_script(SCRIPT)

    def open(self, cells, kind="lab"):
        """Write a notebook, open it in JupyterLab (``lab``) or Notebook 7 (``notebook``), and run all its cells."""
        metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells], metadata=metadata)
        self.path = self.server.files / f"{secrets.token_hex(4)}.ipynb"
        nbformat.write(book, self.path)
        # a workspace of its own, or JupyterLab opens what was open before
        folder = f"lab/workspaces/{self.path.stem}/tree" if kind == "lab" else "notebooks"
        self.page.goto(self.server.address(f"{folder}/{self.path.name}"))
        self._find()
        self.kernel = self._watch()
        n_widgets = sum(shows_widget(cell) for cell in cells)
        self._run_all()
        # on a busy machine the page was seen to have nothing of the widget of one cell: then its user runs the cells again
        if not self._has_widgets(n_widgets):
            print(f"of {n_widgets} widgets some are missing: {self.shown()}")
            self._run_all()
        assert self._has_widgets(n_widgets), self.shown()
        self.drawn()
        return self

    def _run_all(self):
        self.page.evaluate("window.book.content.widgets.forEach((cell) => { cell.model.executionCount = null; })")
        self.page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
        self.page.wait_for_function(
            """() => window.book.sessionContext.session.kernel.status === 'idle'
                 && window.book.content.widgets.every((cell) => cell.model.executionCount !== null)""",
            timeout=1000 * LATE,
        )
        assert self.cell_errors() == []

    def _has_widgets(self, n_widgets):
        """Whether the page has so many widgets with panels, soon."""
        end = time.monotonic() + SOON
        found = "() => sting.roots().filter((root) => root.querySelector('.sting-panel')).length"
        while self.page.evaluate(found) != n_widgets:
            if time.monotonic() > end:
                return False
            self.page.wait_for_timeout(100)
        return True

    def _watch(self):
        """Have the kernel tell what its threads are doing when it is asked by a signal."""
        self.dump = self.server.home / f"{self.path.stem}.threads"
        code = f"import faulthandler, os, signal\nfaulthandler.register(signal.SIGUSR1, open({str(self.dump)!r}, 'w'))"
        return self.ask("os.getpid()", code)

    def drawn(self):
        """Wait until every panel has its picture."""
        self.page.wait_for_selector(".sting-panel", state="attached")
        end = time.monotonic() + SOON
        while empty := self.page.evaluate("sting.empty()"):
            if time.monotonic() > end:
                pytest.fail(f"panels that stay empty, and the sizes of their canvases: {empty}")
            self.page.wait_for_timeout(100)

    def _find(self):
        """Wait until the page has the notebook, as ``window.book``, and its kernel."""
        self.page.wait_for_function(
            """(name) => {
              const app = window.jupyterapp;
              if (!app || !app.shell || !app.shell.widgets) return false;
              window.book = Array.from(app.shell.widgets('main')).find((w) => w.context && w.context.path.endsWith(name));
              const session = window.book && window.book.sessionContext && window.book.sessionContext.session;
              return session && session.kernel && session.kernel.connectionStatus === 'connected';
            }""",
            arg=self.path.name,
            timeout=1000 * LATE,
        )

    def save(self):
        """Save the notebook and return it as it is in the file."""
        self.page.evaluate("window.book.context.save()")
        return nbformat.read(self.path, as_version=4)

    def reload(self):
        """Load the page anew; the kernel goes on."""
        self.page.reload()
        self._find()
        self.page.wait_for_selector(".sting-live", state="attached", timeout=1000 * LATE)
        self.drawn()

    def prompt(self, cell):
        """What stands beside a cell: ``[*]:`` while it runs."""
        return self.page.locator(".jp-Notebook .jp-Cell").nth(cell).locator(".jp-InputPrompt").inner_text().strip()

    def run_cell(self, cell, source=None):
        """Have a cell run, with another source if one is given, and wait until it does."""
        if source is not None:
            self.page.evaluate("([k, text]) => window.book.content.widgets[k].model.sharedModel.setSource(text)", [cell, source])
        self.page.evaluate(
            "(cell) => { window.book.content.activeCellIndex = cell; window.jupyterapp.commands.execute('notebook:run-cell'); }",
            cell,
        )
        self.page.wait_for_function(
            "(cell) => window.book.content.widgets[cell].node.querySelector('.jp-InputPrompt').textContent.includes('*')",
            arg=cell,
        )

    def close(self):
        """Shut the kernel down, so that the next one has the machine for itself."""
        with contextlib.suppress(Exception):
            self.page.evaluate("window.book && window.book.sessionContext.shutdown()")

    def cell_errors(self):
        return self.page.evaluate(
            """() => window.book.content.widgets.flatMap((cell) => cell.model.outputs.toJSON())
                 .filter((output) => output.output_type === 'error').map((output) => output.ename + ': ' + output.evalue)"""
        )

    # -- the kernel -------------------------------------------------------------------------------------------------------

    def ask(self, expression, code=""):
        """Value of an expression in the notebook's kernel, anything that JSON can hold, after running some code.

        On a busy machine one was seen to be lost, with every thread of the kernel idle: then it is asked again.
        """
        answer = self._request(expression, code) or self._request(expression, code)
        if answer is None:
            pytest.fail(f"the kernel does not answer; its threads:\n{self._threads()}")
        content = answer.get("user_expressions", {}).get("value", answer)
        if "data" not in content:
            pytest.fail("\n".join(content.get("traceback") or [str(content)]))
        return json.loads(ast.literal_eval(content["data"]["text/plain"]))

    def _request(self, expression, code):
        """Answer of the kernel, or None if it takes too long: what waits in the page has no limit of its own."""
        return self.page.evaluate(
            """async ([code, expression, milliseconds]) => {
              const kernel = window.book.sessionContext.session.kernel;
              const user_expressions = { value: `__import__('json').dumps(${expression})` };
              const request = { code, user_expressions, silent: true, store_history: false };
              const late = new Promise((resolve) => setTimeout(() => resolve(null), milliseconds));
              const answer = await Promise.race([kernel.requestExecute(request).done, late]);
              return answer && answer.content;
            }""",
            [code, expression, 1000 * LATE],
        )

    def _threads(self):
        """What the threads of the kernel are doing."""
        if self.kernel is None:
            return "unknown"
        os.kill(self.kernel, signal.SIGUSR1)
        time.sleep(1)
        return self.dump.read_text()

    def do(self, code):
        """Run code in the notebook's kernel."""
        self.ask("None", code)

    def until(self, expression, wanted=True, seconds=SOON):
        """Wait until an expression has a value, or is what a function wants, and return it."""
        end = time.monotonic() + seconds
        while True:
            value = self.ask(expression)
            if wanted(value) if callable(wanted) else value == wanted:
                return value
            if time.monotonic() > end:
                pytest.fail(f"{expression} is {value!r}; the status line says {self.text('status')!r}; {self.shown()}")
            self.page.wait_for_timeout(50)

    def shown(self):
        """What of explorers the page has, for a test that fails."""
        counts = self.page.evaluate(
            """() => sting.roots().map((root) => ['.sting-panel', '.jupyter-matplotlib-canvas-div', '.sting-live'].map(
                 (name) => root.querySelectorAll(name).length))"""
        )
        outputs = self.page.evaluate("() => window.book.content.widgets.map((cell) => cell.node.innerText.slice(-200))")
        return f"panels, canvases and layers of each explorer {counts}; errors {self.errors}; cells end in {outputs}"

    # -- pictures ---------------------------------------------------------------------------------------------------------

    def settle(self, seconds=SOON):
        """Wait until no canvas changes any more, the kernel having answered meanwhile."""
        end = time.monotonic() + seconds
        before, since = None, time.monotonic()
        while time.monotonic() < end:
            self.ask("0")
            now = self.page.evaluate("sting.hashes()")
            if now != before:
                before, since = now, time.monotonic()
            elif time.monotonic() - since > REST:
                return
            self.page.wait_for_timeout(50)
        pytest.fail("the pictures never come to rest")

    def picture(self, panel, root=0):
        """Hash of the picture of a panel, as the browser has it."""
        return self.page.evaluate("([root, panel]) => sting.hash(root, panel, false)", [root, panel])

    def lines(self, panel, root=0):
        """Hash of the lines that the browser draws above a panel."""
        return self.page.evaluate("([root, panel]) => sting.hash(root, panel, true)", [root, panel])

    def kernel_picture(self, panel, view="explorer.view"):
        """Hash of the picture of a panel, as the kernel has drawn it."""
        buffer = f"__import__('numpy').ascontiguousarray({view}.panels[{panel!r}].figure.canvas.get_renderer().buffer_rgba())"
        return self.ask(f"__import__('hashlib').sha256({buffer}).hexdigest()")

    @contextlib.contextmanager
    def changes(self, *panels, live=False, root=0):
        """What is done in this context must change the pictures (or, ``live``, the lines) of these panels."""
        read = self.lines if live else self.picture
        self.settle()
        before = {panel: read(panel, root) for panel in panels}
        yield
        end = time.monotonic() + SOON
        while missing := [panel for panel in panels if read(panel, root) == before[panel]]:
            if time.monotonic() > end:
                pytest.fail(f"nothing changed in {missing}; the status line says {self.text('status')!r}")
            self.page.wait_for_timeout(50)
        self.settle()

    def line_pixels(self, panel, root=0):
        """Pixels of the lines that the browser draws above a panel, shape (height, width, 4)."""
        url = self.page.evaluate("([root, panel]) => sting.canvas(root, panel, true).toDataURL()", [root, panel])
        with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as image:
            return np.asarray(image.convert("RGBA"))

    def sky(self, panel, ra, dec):
        """Place in the page of offsets from the star (arcsec) on a map."""
        places = f"[ax.transData.transform(({ra}, {dec})).tolist() for ax in [explorer.view.panels[{panel!r}].ax]][0]"
        (x, y), (width, height) = self.ask(f"[{places}, explorer.view.panels[{panel!r}].figure.bbox.size.tolist()]")
        box = self.root().locator(f".sting-panel-{panel} .jupyter-matplotlib-canvas-div").bounding_box()
        return box["x"] + box["width"] * x / width, box["y"] + box["height"] * (1 - y / height)

    # -- controls ---------------------------------------------------------------------------------------------------------

    def root(self, number=0):
        return self.page.locator(".sting-explorer").nth(number)

    def control(self, name, inside="", root=0):
        return self.root(root).locator(f".sting-{name} {inside}".strip())

    def text(self, name, root=0):
        """Text of a part, with spaces made plain."""
        return " ".join(self.control(name, root=root).inner_text().split())

    def says(self, words, seconds=SOON, root=0):
        """Wait until the status line has some words in it."""
        self.control("status", root=root).filter(has_text=words).wait_for(timeout=1000 * seconds)

    def tab(self, name, root=0):
        self.root(root).get_by_role("tab", name=name, exact=True).click()

    def press(self, name, root=0):
        """Press a button."""
        self.control(name, root=root).click()

    def handle(self, name, root=0):
        """Handle of a slider."""
        return self.control(name, ".noUi-handle", root)

    def keys(self, name, *keys, root=0):
        """Type keys at a slider."""
        self.handle(name, root).focus()
        for key in keys:
            self.page.keyboard.press(key)

    def drag(self, start, end, steps=15):
        """Drag the mouse from one place of the page to another."""
        mouse = self.page.mouse
        mouse.move(*start)
        mouse.down()
        mouse.move(*end, steps=steps)
        mouse.up()

    def slide(self, name, dx):
        """Drag the handle of a slider."""
        box = self.handle(name).bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        self.drag((x, y), (x + dx, y))

    def type(self, name, text):
        """Type a text into a box and leave it by Enter."""
        box = self.control(name, "input")
        box.fill(str(text))
        box.press("Enter")

    def shot(self, name):
        """Keep a screenshot in the folder STING_SHOTS, if that is set."""
        if folder := os.environ.get("STING_SHOTS"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=Path(folder) / f"{name}.png")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A Jupyter server."""
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        pytest.skip(f"not installed: {', '.join(missing)}")
    if shutil.which("chromium") is None:
        pytest.skip("there is no chromium to be run")
    with Server(tmp_path_factory.mktemp("jupyter")) as running:
        yield running


# of the module: while playwright runs, asyncio has a running loop, which nbval's tests must not meet
@pytest.fixture(scope="module")
def browser(server):
    """A browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def open_notebook(server, browser):
    """Context manager that opens a `Notebook` and runs its cells; keywords are for the browser's context."""

    @contextlib.contextmanager
    def opened(name, cells, kind="lab", **keywords):
        context = browser.new_context(**{"viewport": {"width": 1500, "height": 1400}} | keywords)
        try:
            notebook = Notebook(server, context.new_page())
            try:
                yield notebook.open(cells, kind)
            finally:
                notebook.shot(f"{name}-end")
                notebook.close()
        finally:
            context.close()

    return opened
