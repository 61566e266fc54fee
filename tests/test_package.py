"""The package as a whole: light to import, without side effects, and documented by examples that run."""

import doctest
import importlib
import inspect
import io
import json
import os
import pkgutil
import subprocess
import sys

import pytest

import sting

HEAVY = ("matplotlib", "spectral_cube", "ipywidgets", "regions", "tqdm")

#: What only some calls need, of a package of which other parts are always loaded.
PARTS = ("scipy.fft", "scipy.sparse", "scipy.spatial", "scipy.stats", "scipy.optimize", "scipy.ndimage", "pvextractor", "dask")
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS

MODULES = sorted(
    ["sting"]
    + [
        module.name
        for module in pkgutil.walk_packages(sting.__path__, "sting.", onerror=lambda name: None)
        if not module.name.endswith("__main__")
    ]
)
PUBLIC_MODULES = [name for name in MODULES if not name.startswith("sting.core") and name != "sting"]


def run(code, folder):
    """Run Python code in a process of its own, away from the checkout, and return what it prints as JSON."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def fresh_imports(tmp_path_factory):
    """What a fresh process has loaded after importing the package, then its front doors; and the files it has written."""
    code = f"""
import json, os, sys
import sting
package = [name for name in {HEAVY!r} if name in sys.modules]
from sting import errors, extract_streamline, gradient_descent, parameters, stream_lines_grad, synthetic
doors = [name for name in {HEAVY + PARTS!r} if name in sys.modules]
from sting import *
print(json.dumps(dict(package=package, doors=doors, files=os.listdir())))
"""
    return run(code, tmp_path_factory.mktemp("imports"))


@pytest.fixture(scope="module")
def loaded_by_a_fit(tmp_path_factory):
    """What a process has loaded after a fit of points from a file, without figures."""
    code = f"""
import json, sys
from sting import Streamer, gradient_descent
from sting.synthetic import TRUTH, make_streamer_points
make_streamer_points().write("points.ecsv")
fixed = {{name: value for name, value in TRUTH.items() if name != "v_lsr"}}
streamer = Streamer.read("points.ecsv")
quiet = dict(optimizer="lbfgs", save_folder=None, progress=False)
gradient_descent.fit_streamline({{"v_lsr": 7.4}}, fixed, streamer, 293, **quiet)
print(json.dumps([name for name in {HEAVY + PARTS!r} if name in sys.modules]))
"""
    return run(code, tmp_path_factory.mktemp("fit"))


@pytest.fixture(scope="module")
def side_effects(tmp_path_factory):
    """Which parts of the state of other packages change by what is done with this one."""
    code = """
import json, warnings
import matplotlib, matplotlib.pyplot, jax, jax.numpy, astropy.units, spectral_cube, regions, scipy.special, optax, tqdm.auto
def state():
    return dict(
        filters=list(warnings.filters), rcParams=dict(matplotlib.rcParams), backend=matplotlib.get_backend(),
        x64=jax.config.jax_enable_x64, debug_nans=jax.config.jax_debug_nans,
    )
def changed():
    return [name for name, value in state().items() if value != before[name]]
before = state()
import sting
package = changed()
from sting import *
everything = changed()
jax.config.update("jax_enable_x64", True)
before = state()
sting.streamline(sting.synthetic.TRUTH, distance=293, n_points=3)
print(json.dumps(dict(package=package, everything=everything, x64=changed())))
"""
    return run(code, tmp_path_factory.mktemp("side_effects"))


class TestImport:
    def test_is_light(self, fresh_imports):
        assert fresh_imports["package"] == []

    def test_the_front_doors_are_light(self, fresh_imports):
        assert set(fresh_imports["doors"]) <= {"tqdm"}

    def test_a_fit_loads_neither_cubes_nor_figures(self, loaded_by_a_fit):
        assert set(loaded_by_a_fit) <= {"tqdm"}

    def test_writes_nothing(self, fresh_imports):
        assert fresh_imports["files"] == []

    @pytest.mark.parametrize("after", ["package", "everything"])
    def test_has_no_side_effects(self, side_effects, after):
        assert side_effects[after] == []

    def test_keeps_the_precision_that_the_user_chose(self, side_effects):
        assert side_effects["x64"] == []


class TestNames:
    @pytest.mark.parametrize("name", sting.__all__)
    def test_resolves(self, name):
        assert getattr(sting, name) is not None
        assert name in dir(sting)

    def test_the_scripts_of_sting_find_their_modules(self):
        for name in ("extract_streamline", "stream_lines_grad", "gradient_descent", "errors", "outputs"):
            assert inspect.ismodule(getattr(sting, name)), name

    def test_all_is_sorted_and_unique(self):
        assert sorted(set(sting.__all__)) == sting.__all__

    def test_unknown_attribute(self):
        with pytest.raises(AttributeError, match=r"^module 'sting' has no attribute 'nothing'$"):
            _ = sting.nothing

    def test_unknown_name(self):
        with pytest.raises(ImportError, match="nothing"):
            exec("from sting import nothing")

    def test_version(self):
        assert isinstance(sting.__version__, str)
        assert sting.__version__

    @pytest.mark.parametrize("name", PUBLIC_MODULES)
    def test_all_of_each_module(self, name):
        module = importlib.import_module(name)
        missing = [public for public in getattr(module, "__all__", ()) if not hasattr(module, public)]
        assert missing == []


def public_objects():
    """Public functions and classes of the modules that are not core, by their full names."""
    found = {}
    for name in PUBLIC_MODULES:
        module = importlib.import_module(name)
        for public in getattr(module, "__all__", ()):
            thing = getattr(module, public, None)
            if (inspect.isroutine(thing) or inspect.isclass(thing)) and thing.__module__.startswith("sting"):
                found[f"{thing.__module__}.{thing.__qualname__}"] = thing
    return found


@pytest.fixture(scope="module")
def a_fit():
    """What the examples of figures and files take for granted: points, and a fit of them."""
    from sting import fit_streamline, synthetic

    streamer = synthetic.make_streamer_points()
    fixed = {name: value for name, value in synthetic.TRUTH.items() if name != "v_lsr"}
    quiet = {"optimizer": "lbfgs", "save_folder": None, "progress": False}
    return {"result": fit_streamline({"v_lsr": 7.4}, fixed, streamer, 293, **quiet), "streamer": streamer}


class TestDocumentation:
    def test_every_module_has_a_docstring(self):
        assert [name for name in MODULES if not importlib.import_module(name).__doc__] == []

    def test_every_public_object_has_a_docstring(self):
        # a dataclass without one gets its signature
        objects = public_objects()
        assert objects
        bare = [name for name, thing in objects.items() if not thing.__doc__ or thing.__doc__.startswith(f"{thing.__name__}(")]
        assert bare == []

    def test_every_public_method_has_a_docstring(self):
        bare = [
            f"{name}.{attribute}"
            for name, thing in public_objects().items()
            if inspect.isclass(thing)
            for attribute, value in vars(thing).items()
            if not attribute.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)) and not value.__doc__
        ]
        assert bare == []

    def test_every_public_function_has_an_example(self):
        functions = {name: thing for name, thing in public_objects().items() if inspect.isfunction(thing)}
        assert len(functions) > 5
        without = [
            name for name, function in functions.items() if "Examples\n" not in function.__doc__ or ">>>" not in function.__doc__
        ]
        assert without == []

    @pytest.mark.parametrize("name", MODULES)
    def test_examples_run(self, name, tmp_path, monkeypatch, a_fit):
        # whatever an example writes, it writes here
        monkeypatch.chdir(tmp_path)
        module = importlib.import_module(name)
        report = io.StringIO()
        runner = doctest.DocTestRunner(optionflags=OPTIONS)
        known = a_fit if name.startswith("sting.outputs.") else {}
        for test in doctest.DocTestFinder(exclude_empty=True).find(module, name, extraglobs=known):
            runner.run(test, out=report.write)
        assert runner.summarize(verbose=False).failed == 0, report.getvalue()

    def test_there_are_examples(self):
        finder = doctest.DocTestFinder()
        examples = [test for name in MODULES for test in finder.find(importlib.import_module(name)) if test.examples]
        assert len(examples) >= 10

    def test_a_wrong_example_would_fail(self):
        test = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, 0)
        assert doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=lambda text: None).failed == 1
