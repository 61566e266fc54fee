"""Compiled programs: made once, kept on disk, read by the next process, and never in the way."""

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sting import programs
from sting.programs import Program, cache_folder, drop_programs, program

#: Fits once, and tells the loss and how many programs were compiled.
SCRIPT = """
import json, jax
compiled = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, *_, **about: compiled.append(about) if event.endswith("backend_compile_duration") else None)
from sting import fit_streamline, synthetic
fixed = {name: value for name, value in synthetic.TRUTH.items() if name != "r0"}
result = fit_streamline({"r0": 2500.0}, fixed, synthetic.make_streamer_points(), 293, save_folder=None, progress=False)
sigma = result.param_errors["r0"].value
print(json.dumps({"loss": result.loss, "sigma": float(sigma), "compiled": len(compiled)}))
"""


def run(**environment):
    """A process of its own that fits."""
    known = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "STING_"))}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT], env=known | environment, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def names_in(folder):
    return {path.name.partition("-")[0] for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder for the programs of this process."""
    monkeypatch.setattr(programs, "_folder", lambda: tmp_path)
    return tmp_path


def double(x, times):
    return x * 2 * times


class TestProcesses:
    def test_the_second_one_compiles_nothing(self, tmp_path):
        first, second = (run(STING_CACHE_DIR=str(tmp_path)) for _ in range(2))
        assert first["compiled"] > 0
        assert second["compiled"] == 0
        assert (second["loss"], second["sigma"]) == (first["loss"], first["sigma"])
        assert {"sting.core.descent.run_chunk", "sting.core.likelihood.linearise"} <= names_in(tmp_path)

    def test_switched_off_they_leave_nothing(self, tmp_path):
        found = run(STING_CACHE_DIR="off", HOME=str(tmp_path), XDG_CACHE_HOME=str(tmp_path))
        assert found["compiled"] > 0
        assert not [path for path in tmp_path.rglob("*sting*") if "core" in path.name]

    def test_what_jax_kept_itself_is_not_kept_again(self, tmp_path):
        """A program that JAX has read out of its own cache lacks its functions when it is written."""
        of_jax = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "jax"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        first = run(STING_CACHE_DIR="off", **of_jax)
        others = [run(STING_CACHE_DIR=str(tmp_path / "ours"), **of_jax) for _ in range(2)]
        assert [other["loss"] for other in others] == [first["loss"]] * 2
        assert "sting.core.descent.run_chunk" not in names_in(tmp_path / "ours")


class TestProgram:
    def test_it_is_made_once_for_each_kind_of_arguments(self, folder):
        doubled = program(double, static=("times",))
        for x in (np.ones(3), np.zeros(3), np.ones(4), np.ones(3, "float32")):
            np.testing.assert_array_equal(doubled(x, 3), 6 * x)
        assert doubled.n_compiled == 3
        np.testing.assert_array_equal(doubled(np.ones(3), 2), 4 * np.ones(3))
        assert doubled.n_compiled == 4
        assert len(list(folder.iterdir())) == 4

    def test_another_one_reads_it(self, folder, monkeypatch):
        program(double, static=("times",))(np.ones(3), 2)
        monkeypatch.setattr(Program, "_compile", lambda *_: pytest.fail("it was compiled"))
        np.testing.assert_array_equal(program(double, static=("times",))(np.ones(3), 2), 4 * np.ones(3))

    def test_another_one_of_the_package_does_not(self, folder, monkeypatch):
        program(double, static=("times",))(np.ones(3), 2)
        monkeypatch.setattr(programs, "_makers", lambda: "another version")
        program(double, static=("times",))(np.ones(3), 2)
        assert len(list(folder.iterdir())) == 2

    @pytest.mark.parametrize("content", [b"", b"nothing", "cut off"])
    def test_a_file_of_no_use_is_replaced(self, folder, content):
        program(double, static=("times",))(np.ones(3), 2)
        (file,) = folder.iterdir()
        whole = file.read_bytes()
        file.write_bytes(whole[: len(whole) // 2] if content == "cut off" else content)
        np.testing.assert_array_equal(program(double, static=("times",))(np.ones(3), 2), 4 * np.ones(3))
        (file,) = folder.iterdir()
        assert len(file.read_bytes()) > 100

    def test_a_program_that_fails_is_compiled(self, folder, monkeypatch):
        program(double, static=("times",))(np.ones(3), 2)

        def broken(*_):
            raise jax.errors.JaxRuntimeError("NOT_FOUND: Function not found")

        monkeypatch.setattr(programs, "_read", lambda file: broken)
        np.testing.assert_array_equal(program(double, static=("times",))(np.ones(3), 2), 4 * np.ones(3))

    @pytest.mark.parametrize(("vectors", "level"), [(False, 1), (True, 3)])
    def test_it_is_compiled_for_long_rows_where_that_is_asked_for(self, monkeypatch, vectors, level):
        told, lowered = [], type(jax.jit(double, static_argnums=1).lower(1.0, 2))
        compile_ = lowered.compile

        def tell(self, compiler_options=None):
            told.append(compiler_options)
            return compile_(self, compiler_options)

        monkeypatch.setattr(lowered, "compile", tell)
        Program(double, ("times",), vectors)._compile((1.0, 2))
        assert told[-1]["xla_backend_optimization_level"] == level
        assert ("xla_cpu_prefer_vector_width" in told[-1]) == vectors

    def test_options_that_the_compiler_does_not_know_are_left_out(self, monkeypatch):
        monkeypatch.setattr(programs, "VECTORS", {"xla_cpu_no_such_option": 1})
        usable = programs._usable_options.__wrapped__
        monkeypatch.setattr(programs, "_usable_options", usable)
        assert usable(vectors=True) == programs.OPTIONS
        monkeypatch.setattr(programs, "OPTIONS", {"xla_cpu_no_such_option": 1})
        assert usable(vectors=True) is None

    def test_a_folder_that_cannot_be_written_is_no_error(self, folder, monkeypatch):
        monkeypatch.setattr(programs, "_folder", lambda: folder / "not there")
        np.testing.assert_array_equal(program(double, static=("times",))(np.ones(3), 2), 4 * np.ones(3))

    def test_what_nobody_has_used_for_long_is_removed(self, folder):
        old, new = folder / "old", folder / "new"
        for file in (old, new):
            file.write_bytes(b"")
        os.utime(old, (0, 0))
        program(double, static=("times",))(np.ones(3), 2)
        assert new.exists()
        assert not old.exists()

    def test_within_another_program_it_is_a_part_of_it(self, folder):
        doubled = program(double, static=("times",))
        np.testing.assert_array_equal(jax.jit(lambda x: doubled(x, 2) + 1)(jnp.ones(3)), 5 * np.ones(3))
        assert jax.grad(lambda x: doubled(x, 2))(1.0) == 4
        assert doubled.n_compiled == 0

    def test_ahead_of_its_use(self, folder, monkeypatch):
        doubled, compiled = program(double, static=("times",)), []
        compile_it = Program._compile
        monkeypatch.setattr(Program, "_compile", lambda self, args: compiled.append(1) or compile_it(self, args))
        doubled.ahead(np.ones(3), 2)
        with jax.enable_x64(True):
            np.testing.assert_array_equal(doubled(np.ones(3), 2), 4 * np.ones(3))
        assert compiled == [1]

    def test_what_fails_ahead_fails_again_where_it_is_seen(self, folder):
        wrong = program(lambda x: x.nothing, static=())
        wrong.ahead(np.ones(3))
        with pytest.raises(AttributeError, match="nothing"):
            wrong(np.ones(3))

    def test_they_are_dropped_before_there_are_too_many(self, folder, monkeypatch):
        doubled = program(double, static=("times",))
        doubled(np.ones(3), 2)
        drop_programs()
        assert doubled.n_compiled == 1
        monkeypatch.setattr(programs, "MOST_MAPS", 0)
        monkeypatch.setattr(programs, "_ALL", {doubled})
        monkeypatch.setattr(jax, "clear_caches", lambda: None)
        drop_programs()
        assert doubled.n_compiled == (0 if os.path.exists("/proc/self/maps") else 1)


class TestFolder:
    def test_it_is_in_the_cache_of_the_user(self, monkeypatch):
        monkeypatch.delenv("STING_CACHE_DIR", raising=False)
        assert cache_folder().name == "sting"

    @pytest.mark.parametrize("told", ["off", "OFF", "", " "])
    def test_off(self, told, monkeypatch):
        monkeypatch.setenv("STING_CACHE_DIR", told)
        assert cache_folder() is None

    def test_another(self, tmp_path, monkeypatch):
        monkeypatch.setenv("STING_CACHE_DIR", str(tmp_path))
        assert cache_folder() == tmp_path
