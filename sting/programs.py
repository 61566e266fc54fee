"""Compiled programs, kept in a folder of the user's, so that the next process neither traces nor compiles anything.

A `Program` is read from that folder where another process has compiled it. The samplers, which are none, are kept in JAX's own
compilation cache in the same folder, unless JAX has been given one (``JAX_COMPILATION_CACHE_DIR``). The environment variable
``STING_CACHE_DIR`` names another folder, or ``off``.
"""

import gc
import hashlib
import inspect
import os
import pickle
import platform
import tempfile
import time
import weakref
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, update_wrapper
from pathlib import Path

import jax
import jaxlib
import platformdirs
from jax.experimental import serialize_executable

__all__ = []

#: What the compiler is told. Fused kernels of our sizes run no faster as LLVM IR that was made by way of MLIR, and take twice as
#: long to compile.
OPTIONS = {"xla_cpu_use_fusion_emitters": False, "xla_backend_optimization_level": 1}

#: What it is told beyond of programs that run for long over long rows of numbers, twice as fast then.
VECTORS = {"xla_backend_optimization_level": 3, "xla_cpu_prefer_vector_width": 512}

#: Programs that no process has used for so long (s) are removed when another one is kept.
FORGOTTEN = 90 * 86400

#: Memory maps of a process above which compiled programs are dropped: each takes some, and Linux allows 65530.
MOST_MAPS = 15_000

#: Make programs ahead of their use, and import what will be needed.
_BESIDE = ThreadPoolExecutor(max_workers=2, thread_name_prefix="sting-programs")


def beside(function):
    """Run a function in another thread, to have ready what will be needed; what goes wrong there shows when it is."""
    _BESIDE.submit(function)


def cache_folder():
    """The folder in which compiled programs are kept, which may be deleted at any time; None if there is to be none."""
    told = os.environ.get("STING_CACHE_DIR")
    if told is not None and told.strip().lower() in ("", "off"):
        return None
    return Path(told) if told else platformdirs.user_cache_path("sting", appauthor=False)


@lru_cache(maxsize=1)
def _folder():
    """The folder of the programs of this processor, or None if nothing can be kept."""
    folder = cache_folder()
    if folder is None:
        return None
    # home folders are shared by machines: a program is for processors that can do the same
    folder = folder / hashlib.sha256(_processor().encode()).hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


def _processor():
    """What the processor can do, or at least what it is called."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        told = next(line for line in lines if line.lower().startswith(("flags", "features")))
    except (OSError, StopIteration):
        told = platform.processor()
    return f"{platform.system()} {platform.machine()} {told}"


@lru_cache(maxsize=1)
def use_jax_cache():
    """Have JAX keep what it compiles from now on in this process."""
    if jax.config.jax_compilation_cache_dir is None and _folder() is not None:
        jax.config.update("jax_compilation_cache_dir", str(_folder() / "jax"))


#: What JAX has read from its own cache in this process. A program out of that cannot be written again: it lacks its functions.
_hits = []
jax.monitoring.register_event_listener(lambda event, **_: _hits.append(event) if event.endswith("/cache_hits") else None)


@lru_cache(maxsize=2)
def _usable_options(vectors=False):
    """`OPTIONS`, with `VECTORS` or without, or none if the compiler that is installed does not know them."""
    options = OPTIONS | VECTORS if vectors else OPTIONS
    try:
        jax.jit(lambda: 0, compiler_options=options)()
    except jax.errors.JaxRuntimeError:
        return _usable_options() if vectors else None
    return options


@lru_cache(maxsize=1)
def _makers():
    """All that a program depends on beside its arguments: this package as it is, and the compiler."""
    code = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        code.update(path.read_bytes())
    return (
        code.hexdigest(),
        jax.__version__,
        jaxlib.__version__,
        sorted(OPTIONS | VECTORS),
        jax.default_backend(),
        jax.device_count(),
    )


@lru_cache(maxsize=1)
def _start_lapack():
    """Have JAX load LAPACK, as it does whenever it lowers what needs it: a program out of a file would crash without."""
    try:
        from jaxlib import lapack

        lapack.prepare_lapack_call("getrf_ffi", jax.numpy.dtype("float64"))
    except (ImportError, AttributeError, TypeError):  # not where it was: a little slower
        jax.jit(jax.lax.linalg.lu).lower(jax.ShapeDtypeStruct((1, 1), "float32"))


#: Every program.
_ALL = weakref.WeakSet()


def drop_programs():
    """Drop what has been compiled, if the process has so many memory maps that it might run out of them."""
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > MOST_MAPS:
        for one in _ALL:
            one.forget()
        jax.clear_caches()
        gc.collect()


class Program:
    """A function that is compiled once for each kind of arguments. Called by another program, it becomes a part of that.

    Parameters
    ----------
    function : callable
        Function of trees of arrays, and of static arguments; it takes positional arguments only.
    static : tuple of str
        Names of the static ones, which must tell all about themselves in their ``repr``.
    vectors : bool
        Whether it is worth a longer compilation, with `VECTORS`.
    """

    def __init__(self, function, static, vectors=False):
        update_wrapper(self, function)
        self._vectors = vectors
        names = list(inspect.signature(function).parameters)
        self._static = tuple(names.index(name) for name in static)
        self._compiled, self._coming, self._unproven = {}, {}, set()
        _ALL.add(self)

    def forget(self):
        """Drop what has been compiled in this process."""
        self._compiled.clear()
        self._unproven.clear()

    @property
    def n_compiled(self):
        """For how many kinds of arguments there is a program in this process."""
        return len(self._compiled)

    def __call__(self, *args):
        """Call the function, compiled."""
        dynamic, leaves, key = self._sort(args)
        if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
            return self.__wrapped__(*args)
        if (coming := self._coming.pop(key, None)) is not None:
            coming.result()
        compiled = self._compiled.get(key)
        if compiled is None:
            compiled = self._compiled[key] = self._obtain(key, args)
        if key in self._unproven:
            self._unproven.discard(key)
            try:
                return jax.block_until_ready(compiled(*dynamic))
            except jax.errors.JaxRuntimeError:  # what was read is of no use after all
                compiled = self._compiled[key] = self._compile(args)[0]
        return compiled(*dynamic)

    def ahead(self, *args):
        """Have another thread make the program for such arguments, while this one waits for the compiler or for files."""
        *_, key = self._sort(args)
        if key not in self._compiled and key not in self._coming:
            self._coming[key] = _BESIDE.submit(self._make, key, args)

    def _make(self, key, args):
        try:
            with jax.enable_x64(True):
                self._compiled[key] = self._obtain(key, args)
        except Exception:  # whoever needs the program will see for himself
            return

    def _sort(self, args):
        """The arguments that are no static ones, their arrays, and of what kind all are."""
        dynamic = [arg for i, arg in enumerate(args) if i not in self._static]
        leaves, tree = jax.tree.flatten(dynamic)
        return dynamic, leaves, (tuple(args[i] for i in self._static), tree, *(_kind(leaf) for leaf in leaves))

    def _obtain(self, key, args):
        folder = _folder()
        # what is for several devices, or others than processors, is left to JAX
        if folder is None or jax.default_backend() != "cpu" or jax.device_count() != 1:
            return self._compile(args)[0]
        name = f"{self.__module__}.{self.__qualname__}"
        told = repr((name, key[0], str(key[1]), key[2:], _makers()))
        file = folder / f"{name}-{hashlib.sha256(told.encode()).hexdigest()[:32]}"
        if (found := _read(file)) is not None:
            self._unproven.add(key)
            return found
        before = len(_hits)
        found, needs_lapack = self._compile(args)
        if len(_hits) == before:
            _keep(file, found, needs_lapack)
        return found

    def _compile(self, args):
        lowered = jax.jit(self.__wrapped__, static_argnums=self._static).lower(*args)
        return lowered.compile(compiler_options=_usable_options(self._vectors)), "lapack_" in lowered.as_text()


def _kind(leaf):
    return (leaf.shape, leaf.dtype) if hasattr(leaf, "dtype") else type(leaf).__name__


def _read(file):
    """A program out of a file, or None if there is none that is of use."""
    try:
        needs_lapack, *parts = pickle.loads(zlib.decompress(file.read_bytes()))
        if needs_lapack:
            _start_lapack()
        program = serialize_executable.deserialize_and_load(*parts)
        os.utime(file)
    except Exception:  # whatever is wrong with it, it can be compiled
        return None
    return program


def _keep(file, program, needs_lapack):
    """Write a program, whole or not at all, and remove what nobody has used for long."""
    try:
        content = zlib.compress(pickle.dumps((needs_lapack, *serialize_executable.serialize(program))), 1)
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=".", delete=False) as temporary:
            temporary.write(content)
        os.replace(temporary.name, file)
        for other in file.parent.iterdir():
            if other.is_file() and other.stat().st_mtime < time.time() - FORGOTTEN:
                other.unlink()
    except Exception:  # a full disk, or a program that cannot be written: it is compiled next time
        return


def program(function=None, static=("settings",), vectors=False):
    """Make a `Program` of a function, as a decorator with or without the names of the static arguments."""
    return Program(function, static, vectors) if function is not None else lambda function: Program(function, static, vectors)
