"""Surveys: what is run and what is skipped, what becomes of failures and of killed workers, and the catalogue."""

import json
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from astropy import units as u
from astropy.table import QTable, Table

from sting import cli, source_folder, survey, synthetic
from sting.fit_result import FitResult
from sting.source_folder import RECORD, clean, finished_row, read_record, run_source, settle
from sting.sources import merged, read_sources
from sting.survey import fit_many

TRUTH = synthetic.TRUTH
FREE = {"r0": 2500 * u.au, "phi0": 65 * u.deg}
EXAMPLE = Path(__file__).parents[1] / "docs" / "howto" / "survey.toml"


@pytest.fixture(scope="module")
def cubes(tmp_path_factory):
    """Folder of small cubes, s0.fits to s3.fits, and of a corrupt one."""
    folder = tmp_path_factory.mktemp("cubes")
    for seed in range(4):
        synthetic.make_streamer_cube(seed=seed, shape=(40, 64, 64)).cube.write(folder / f"s{seed}.fits")
    (folder / "corrupt.fits").write_bytes((folder / "s0.fits").read_bytes()[:5000])
    return folder


@pytest.fixture(scope="module")
def base(cubes):
    """Configuration of a fast fit of s0.fits."""
    return {
        "cube": cubes / "s0.fits",
        "star": synthetic.STAR,
        "distance": 293 * u.pc,
        "figures": False,
        "cut": {"rms_thresh": 5},
        "start": FREE,
        "fixed": {name: value for name, value in TRUTH.items() if name not in FREE},
        "fit": {"optimizer": "lbfgs"},
    }


@pytest.fixture(scope="module")
def here():
    """Client of a worker in this very process."""
    from distributed import Client

    with Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0") as client:
        yield client


@pytest.fixture
def nothing_runs(monkeypatch):
    """Whoever starts or connects to a cluster fails."""
    monkeypatch.setattr(survey, "_connected", lambda *_: pytest.fail("something was run"))


def run(configs, client, folder, **options):
    return fit_many(configs, client, folder=folder, progress=False, **options)


def names_in(folder):
    return {path.name for path in folder.iterdir()}


@pytest.fixture(scope="module")
def done(base, cubes, here, tmp_path_factory):
    """Table and folder of a survey of a good, a short, a missing and a corrupt source."""
    folder = tmp_path_factory.mktemp("survey")
    configs = {
        "good": base | {"cube": cubes / "s1.fits"},
        "short": base | {"fit": {"n_epochs": 2}},
        "missing": base | {"cube": "none.fits"},
        "corrupt": base | {"cube": cubes / "corrupt.fits"},
    }
    return run(configs, here, folder), folder, configs


class TestCatalogue:
    def test_rows_are_in_the_given_order(self, done):
        table, _, configs = done
        assert list(table["name"]) == list(configs)
        assert list(table["status"]) == ["done", "not converged", "failed", "failed"]

    def test_values_are_those_of_the_fit(self, done):
        table, folder, _ = done
        row, result = table[0], FitResult.read(folder / "good" / "best_fit.ecsv")
        assert row["r0"] == result.best_opt_params["r0"]
        assert row["r0_sigma"] == result.param_errors["r0"]
        assert abs(row["r0"] - TRUTH["r0"]) < 4 * row["r0_sigma"]
        assert row["mass"] == TRUTH["mass"]
        assert "mass_sigma" not in table.colnames
        assert (row["loss"], row["chi2"], row["dof"], row["success"]) == (result.loss, result.chi2, result.dof, result.success)
        derived = {entry["quantity"]: entry["value"] * u.Unit(entry["unit"]) for entry in result.derived()}
        for name in ("energy", "angular_momentum", "periastron", "time_to_midplane"):
            assert row[name] == derived[name]
            assert row[f"{name}_sigma"] > 0
        assert row["skewed"].split() == [name for name, near in result.near_gaussian.items() if near is False]
        assert Path(row["folder"]) == folder / "good"
        assert 0 < row["seconds"] < 600 * u.s

    def test_what_was_wrong_is_said(self, done):
        table, folder, _ = done
        assert "did not end in a minimum" in table["message"][1]
        assert np.isfinite(table["loss"][1])
        assert table["message"][2].startswith("FileNotFoundError: 'cube' must be")
        assert "corrupt" in table["message"][3]
        assert np.isnan(table["r0"][2:]).all()
        assert not table["success"][1:].any()
        for name in ("missing", "corrupt"):
            assert names_in(folder / name) == {RECORD, "traceback.txt"}
            assert "Traceback" in (folder / name / "traceback.txt").read_text()

    def test_is_written_with_units(self, done):
        table, folder, _ = done
        read = QTable.read(folder / "catalogue.ecsv")
        assert read.colnames == table.colnames
        assert read["energy"].unit == u.km**2 / u.s**2
        assert read["r0"][0] == table["r0"][0]
        assert list(read["message"].filled("")) == list(table["message"])

    def test_nothing_else_is_left(self, done):
        _, folder, configs = done
        assert names_in(folder) == {*configs, "catalogue.ecsv"}
        assert names_in(folder / "good") == {RECORD, "best_fit.ecsv", "best_fit_params.json", "optimisation_log.csv"}

    def test_a_second_run_skips_what_has_a_result(self, done, nothing_runs, capsys):
        table, folder, configs = done
        again = run({name: configs[name] for name in ("good", "short")}, None, folder)
        assert list(again["status"]) == ["done", "not converged"]
        for name in ("name", "status", "message", "success", "loss", "r0", "r0_sigma", "energy", "skewed", "seconds", "sting"):
            assert (again[name] == table[name][:2]).all(), name
        assert capsys.readouterr().err == ""

    def test_what_failed_is_tried_again_and_what_has_changed_is_made_anew(self, done, here, cubes, monkeypatch):
        _, folder, configs = done
        shutil.copytree(folder, folder.parent / "copy", dirs_exist_ok=True)
        folder = folder.parent / "copy"
        (folder / "missing" / "notes.txt").write_text("look for it")

        def note(*_, **__):
            raise OSError("not today")

        monkeypatch.setattr(survey, "run_source", note)
        configs = configs | {"short": configs["short"] | {"fit": {"n_epochs": 3}}}
        table = run(configs, here, folder)
        assert list(table["status"]) == ["done", "failed", "failed", "failed"]
        assert list(table["message"]) == ["", *["OSError: not today"] * 3]
        assert (folder / "missing" / "notes.txt").read_text() == "look for it"


class TestSkipping:
    def place(self, base, tmp_path, row=None, **change):
        """A result folder as a worker would leave it, and the source."""
        source = read_sources({"a": base | change})[0][0]
        (tmp_path / "new").mkdir()
        row = (
            {"name": "a", "status": "done", "message": "", "loss": 1.0, "chi2": 1.0, "dof": 3, "values": {}}
            if row is None
            else row
        )
        record = {"row": row, "config": source_folder.wanted(source), "data": source_folder.stamps(source)}
        settle(tmp_path / "new", tmp_path / "a", record)
        return source, tmp_path / "a"

    def test_same(self, base, tmp_path):
        source, place = self.place(base, tmp_path)
        assert finished_row(source, place)["loss"] == 1.0
        assert finished_row(source, place, figures=False)["loss"] == 1.0

    def test_figures_more_than_asked_for_do_no_harm(self, base, tmp_path):
        source, place = self.place(base, tmp_path, figures=True)
        assert finished_row(source, place, figures=False)
        source = read_sources({"a": base})[0][0]
        assert finished_row(source, place)
        (tmp_path / "fewer").mkdir()
        source, place = self.place(base, tmp_path / "fewer")
        assert finished_row(source, place, figures=True) is None

    def test_the_output_of_sting_fit_is_no_matter(self, base, tmp_path):
        _, place = self.place(base, tmp_path)
        assert finished_row(read_sources({"a": base | {"output": "there"}})[0][0], place)

    def test_another_configuration(self, base, tmp_path):
        _, place = self.place(base, tmp_path)
        assert finished_row(read_sources({"a": base | {"cut": {"rms_thresh": 4}}})[0][0], place) is None

    def test_another_cube_of_the_same_name(self, base, cubes, tmp_path):
        shutil.copy(cubes / "s0.fits", tmp_path / "cube.fits")
        source, place = self.place(base, tmp_path, cube=tmp_path / "cube.fits")
        assert finished_row(source, place)
        os.utime(tmp_path / "cube.fits", (0, 0))
        assert finished_row(source, place) is None

    def test_infinity_and_nan_come_back(self, base, tmp_path):
        row = {"name": "a", "status": "done", "message": "", "loss": np.inf, "chi2": 1.0, "dof": 3}
        source, place = self.place(base, tmp_path, row | {"values": {"r0": [1.0, np.inf, "AU"], "pa": [1.0, np.nan, "deg"]}})
        values = finished_row(source, place)["values"]
        assert values["r0"] == [1.0, np.inf, "AU"]
        assert np.isnan(values["pa"][1])
        assert "Infinity" not in (place / RECORD).read_text()

    def test_an_unreadable_record_is_none(self, base, tmp_path):
        source, place = self.place(base, tmp_path)
        for text in ("{", "[]", "{}"):
            (place / RECORD).write_text(text)
            assert read_record(place) is None
            assert finished_row(source, place) is None


class TestFolders:
    def fill(self, tmp_path, *names):
        new = tmp_path / "new"
        new.mkdir()
        for name in names:
            (new / name).parent.mkdir(exist_ok=True)
            (new / name).write_text(name)
        return new

    def test_a_new_one_appears_at_once(self, tmp_path):
        settle(self.fill(tmp_path, "a", "b/c"), tmp_path / "x", {"row": {}})
        assert names_in(tmp_path) == {"x"}
        assert read_record(tmp_path / "x") == {"row": {}, "files": ["a", os.path.join("b", "c")]}

    def test_an_old_one_is_replaced_and_what_is_the_users_stays(self, tmp_path):
        settle(self.fill(tmp_path, "a", "old"), tmp_path / "x", {})
        (tmp_path / "x" / "notes").write_text("mine")
        settle(self.fill(tmp_path, "a", "new"), tmp_path / "x", {})
        assert names_in(tmp_path / "x") == {"a", "new", "notes", RECORD}
        assert read_record(tmp_path / "x")["files"] == ["a", "new"]

    def test_replacing_can_be_cut_short_anywhere(self, tmp_path, monkeypatch):
        replace, calls = os.replace, []

        def until(last):
            def stop(*paths):
                calls.append(paths)
                if len(calls) > last:
                    raise KeyboardInterrupt
                replace(*paths)

            return stop

        for last in range(4):
            folder = tmp_path / str(last)
            folder.mkdir()
            settle(self.fill(folder, "a", "old"), folder / "x", {"row": {"status": "done"}})
            (folder / "x" / "notes").write_text("mine")
            calls.clear()
            with monkeypatch.context() as patch:
                patch.setattr(os, "replace", until(last))
                with pytest.raises(KeyboardInterrupt):
                    settle(self.fill(folder, "a", "new"), folder / "x", {"row": {"status": "done"}})
            # as if nothing had happened, or a folder that says it is not finished
            record = read_record(folder / "x")
            assert ("row" in record) == (last == 0)
            shutil.rmtree(folder / "new")
            settle(self.fill(folder, "a", "newer"), folder / "x", {"row": {"status": "done"}})
            assert names_in(folder / "x") == {"a", "newer", "notes", RECORD}

    def test_a_file_in_the_way_is_not_replaced(self, tmp_path):
        (tmp_path / "x").write_text("mine")
        with pytest.raises(OSError, match="directory"):
            settle(self.fill(tmp_path, "a"), tmp_path / "x", {})
        assert (tmp_path / "x").read_text() == "mine"

    def test_leftovers_are_removed_and_nothing_else(self, tmp_path):
        for name in (".sting-a-1", ".sting-b", "a", ".other"):
            (tmp_path / name / "inside").mkdir(parents=True)
        clean(tmp_path)
        assert names_in(tmp_path) == {"a", ".other"}

    def test_a_figure_that_fails_leaves_no_half_of_the_results(self, base, tmp_path, monkeypatch):
        from sting import outputs

        def half(result, streamer, folder, **_):
            (Path(folder) / "best_fit.ecsv").write_text("half")
            raise RuntimeError("no space\nleft")

        monkeypatch.setattr(outputs, "save_results", half)
        source = read_sources({"a": base})[0][0]
        row = run_source(source, str(tmp_path / "a"))
        assert (row["status"], row["message"]) == ("failed", "RuntimeError: no space left")
        assert names_in(tmp_path) == {"a"}
        assert names_in(tmp_path / "a") == {RECORD, "traceback.txt"}

    @pytest.mark.parametrize("kind", ["file", "folder"])
    def test_what_is_not_of_a_survey_is_refused_before_anything_is_run(self, kind, base, tmp_path, nothing_runs):
        if kind == "file":
            (tmp_path / "b").write_text("mine")
        else:
            (tmp_path / "b").mkdir()
            (tmp_path / "b" / "notes").write_text("mine")
        with pytest.raises(FileExistsError, match=r"'result folder' must not exist yet \(source 'b'\)"):
            run({"a": base, "b": base}, None, tmp_path)
        assert names_in(tmp_path) == {"b"}

    def test_an_empty_folder_is_taken(self, base, here, tmp_path):
        (tmp_path / "a").mkdir()
        assert run({"a": base | {"cube": "none.fits"}}, here, tmp_path)["status"] == "failed"


class TestSources:
    def test_of_a_list(self, base, tmp_path):
        text = EXAMPLE.read_text(encoding="utf-8").partition("[defaults]")[2].partition("[source.south]")
        single = text[0].replace("defaults.", "") + "[dummy]"
        (tmp_path / "two.toml").write_text('cube = "two.fits"\nstar = "1d 2d"\n' + single.replace("[dummy]", ""))
        sources, folder = read_sources([base | {"name": "one"}, tmp_path / "two.toml"])
        assert [source.name for source in sources] == ["one", "two"]
        assert sources[1].check().cube == tmp_path / "two.fits"
        assert folder is None

    def test_of_the_example(self, tmp_path):
        shutil.copy(EXAMPLE, tmp_path)
        (south, west), folder = read_sources(tmp_path / EXAMPLE.name)
        assert folder == tmp_path / "survey"
        assert (south.name, south.check().cube) == ("south", tmp_path / "south.fits")
        assert (south.check().cut, south.check().reduce) == ({"rms_thresh": 5}, {"n_elements": 10})
        assert (west.check().cut, west.check().reduce) == ({"rms_thresh": 4}, {"n_elements": 10})
        assert "r0" in south.check().start
        assert west.check().fixed["r0"] == 2800 * u.au
        assert "r0" not in west.check().start

    @pytest.mark.parametrize("form", ["ecsv", "csv"])
    def test_of_a_table(self, form, tmp_path):
        table = Table({"name": ["a", "7"], "cube": ["a.fits", "b.fits"], "star": ["1d 2d", "3d 4d"]})
        table["fixed.pa"], table["fit.n_epochs"] = [10.0, 0.0], [0, 20]
        table = Table(table, masked=True)
        table["fixed.pa"].mask, table["fit.n_epochs"].mask = [False, True], [True, False]
        if form == "ecsv":
            table["fixed.pa"].unit = "deg"
            table.write(tmp_path / "t.ecsv", format="ascii.ecsv")
        else:
            table["fixed.pa"] = np.ma.array(["10 deg", ""], mask=[False, True])
            table.write(tmp_path / "t.csv", format="ascii.csv")
        text = EXAMPLE.read_text(encoding="utf-8").partition("[source.south]")[0]
        (tmp_path / "survey.toml").write_text(text.replace('# table = "sources.ecsv"', f'table = "t.{form}"'))
        (a, b), _ = read_sources(tmp_path / "survey.toml")
        assert (a.name, b.name) == ("a", "7")
        assert a.check().fixed["pa"] == 10 * u.deg
        assert b.check().fixed["pa"] == 194 * u.deg
        assert "n_epochs" not in a.check().fit
        assert b.check().fit["n_epochs"] == 20

    def test_what_a_source_fixes_is_free_of_the_defaults(self):
        defaults = {"start": {"r0": 1, "mass": 2}, "bounds": {"mass": [1, 3]}, "priors": {"mass": [2, 1]}, "fixed": {"pa": 3}}
        own = {"fixed": {"mass": 5}, "start": {"pa": 1}}
        assert merged(defaults, own) == {
            "start": {"r0": 1, "pa": 1},
            "bounds": {},
            "priors": {},
            "fixed": {"mass": 5},
        }
        assert defaults["start"] == {"r0": 1, "mass": 2}
        assert merged(defaults, {"start": "auto"})["start"] == "auto"
        assert merged({"start": "auto"}, {"fixed": {"mass": 5}}) == {"start": "auto", "fixed": {"mass": 5}}

    @pytest.mark.parametrize("name", ["../x", "", ".hidden", "a/b", "a ", "a.", "catalogue.ecsv", "ä", "x" * 101, 3])
    def test_refuses_names_that_are_no_folders(self, name, base):
        with pytest.raises(ValueError, match="'names of sources' must"):
            read_sources({name: base})

    def test_takes_names_of_sources(self, base):
        names = ["Per-emb-2", "NGC 1333 IRAS 2A", "G+0.3 (south)", "7"]
        assert [source.name for source in read_sources(dict.fromkeys(names, base))[0]] == names

    def test_names_differ(self, base):
        with pytest.raises(ValueError, match="differ, not only in capitals"):
            read_sources([base | {"name": "A"}, base | {"name": "a"}])

    @pytest.mark.parametrize(
        ("change", "error", "message"),
        [
            ({"distance": "293 km/s"}, TypeError, "source 'b': 'distance' must"),
            ({"cut": {"vmin": "3 au"}}, u.UnitsError, "source 'b': 'vmin' must"),
            ({"cuts": {}}, ValueError, "source 'b': 'CONFIG' must hold known entries only"),
            ({"start": {"r0": "2000 au", "phi": 1}}, ValueError, "Did you mean 'phi0'"),
            ({"figures": 3}, TypeError, "source 'b': 'figures' must be true or false"),
        ],
    )
    def test_a_wrong_configuration_is_named(self, change, error, message, base):
        with pytest.raises(error, match=message):
            read_sources({"a": base, "b": base | change})

    @pytest.mark.parametrize(
        ("configs", "message"),
        [
            (3, "'configs' must be configurations"),
            ([3], "must be a dict or the path of a TOML file"),
            ([], "'configs' must hold at least one source"),
            ([{"cube": "x"}], "'name' must be given for each source"),
            ("none.toml", "'CONFIG' must be an existing file"),
        ],
    )
    def test_refuses_what_are_no_configurations(self, configs, message):
        with pytest.raises((ValueError, TypeError, OSError), match=message):
            read_sources(configs)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("sources = 3", "Did you mean 'source'"),
            ("source = 3", "'source' must be a section"),
            ("defaults = 3", "'defaults' must be a section"),
            ("[source]\na = 3", "'source.a' must be a section"),
            ('table = "none.csv"', "'table' must be an existing file"),
            ('table = "t.ecsv"', "'table' must be an ECSV or CSV table"),
            ('table = "t.csv"', "'table' must have a column 'name'"),
        ],
    )
    def test_refuses_a_wrong_survey_file(self, text, message, tmp_path):
        (tmp_path / "t.ecsv").write_text("x")
        (tmp_path / "t.csv").write_text("a,b\n1,2\n")
        (tmp_path / "survey.toml").write_text(text)
        with pytest.raises((ValueError, TypeError, OSError), match=message):
            read_sources(tmp_path / "survey.toml")


class TestArguments:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"figures": "some"}, "'figures' must be True, False or None"),
            ({"n_workers": 0}, "'n_workers' must be a whole number of at least 1"),
            ({"client": 3}, "'client' must be a Client"),
            ({"client": "tcp://x:1", "n_workers": 2}, "'n_workers' must be left out with a client"),
            ({"workers": 2}, "'workers' must be a keyword of fit_many"),
        ],
    )
    def test_are_refused_before_anything_is_written(self, options, message, base, tmp_path):
        with pytest.raises((ValueError, TypeError, u.UnitsError), match=message):
            fit_many({"a": base}, folder=tmp_path / "new", **options)
        assert names_in(tmp_path) == set()

    def test_without_distributed(self, base, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "distributed", None)
        with pytest.raises(ImportError, match=r"pip install '\.\[survey\]'"):
            fit_many({"a": base}, folder=tmp_path / "new")
        assert names_in(tmp_path) == set()


class TestWhatGoesWrong:
    def test_a_worker_that_dies_again_and_again_is_a_row(self, base, here, tmp_path, monkeypatch):
        from distributed.scheduler import KilledWorker

        def die(source, place, figures=None):
            raise KilledWorker(source.name, SimpleNamespace(address="tcp://node7:1"), 3)

        monkeypatch.setattr(survey, "run_source", die)
        table = run({"a": base}, here, tmp_path)
        assert table["status"][0] == "failed"
        assert table["message"][0].startswith("KilledWorker: ")
        assert names_in(tmp_path) == {"a", "catalogue.ecsv"}
        assert read_record(tmp_path / "a")["row"]["status"] == "failed"

    def test_a_folder_that_cannot_be_written_is_a_row(self, base, here, tmp_path, monkeypatch):
        def full(*_, **__):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(survey, "run_source", full)
        monkeypatch.setattr(survey, "settle", full)
        table = run({"a": base}, here, tmp_path)
        assert (table["status"][0], "No space" in table["message"][0]) == ("failed", True)
        assert names_in(tmp_path) == {"catalogue.ecsv"}

    def test_workers_that_do_not_start(self, base, tmp_path, monkeypatch):
        import distributed

        before = signal.getsignal(signal.SIGINT)

        def fail(**_):
            # Ctrl-C is for the process that started the workers
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            raise RuntimeError("Nanny failed to start.")

        monkeypatch.setattr(distributed, "LocalCluster", fail)
        with pytest.raises(RuntimeError, match="a script needs `if __name__ == '__main__':`"):
            run({"a": base}, None, tmp_path)
        assert signal.getsignal(signal.SIGINT) is before
        # another thread cannot do that, and need not
        thread = threading.Thread(target=survey._deaf_to_interrupts().__enter__)
        thread.start()
        thread.join()
        assert signal.getsignal(signal.SIGINT) is before

    def test_an_interrupt_keeps_what_is_finished_and_says_so(self, base, here, tmp_path, monkeypatch, capsys):
        real = survey._run

        def interrupted(*arguments):
            for row in real(*arguments):
                yield row
                raise KeyboardInterrupt

        monkeypatch.setattr(survey, "_run", interrupted)
        configs = {name: base | {"cube": "none.fits"} for name in ("a", "b", "c")}
        with pytest.raises(KeyboardInterrupt, match="with 1 of 3 sources finished; run again"):
            run(configs, here, tmp_path)
        table = QTable.read(tmp_path / "catalogue.ecsv")
        assert sorted(table["status"]) == ["failed", "not run", "not run"]
        clean(tmp_path)  # one may have been under way


@pytest.mark.slow
def test_a_killed_worker_loses_nothing(base, cubes, tmp_path, capsys):
    """Two processes, one of which is killed while it fits, and a corrupt cube; then the same from the command line."""
    from distributed import Client, LocalCluster

    configs = {f"s{k}": base | {"cube": cubes / f"s{k}.fits"} for k in range(4)}
    configs["corrupt"] = base | {"cube": cubes / "corrupt.fits"}
    folder, killed = tmp_path / "survey", []

    def kill(cluster):
        with Client(cluster, set_as_default=False) as client:
            while not killed:
                time.sleep(0.02)
                busy = [address for address, tasks in client.processing().items() if tasks]
                left = {path.name for path in folder.glob(".sting-s*")} if busy else ()
                if left:
                    nanny = next(n for n in cluster.workers.values() if n.worker_address == busy[0])
                    os.kill(nanny.pid, signal.SIGKILL)
                    killed.append(nanny.pid)

    quiet = {"dashboard_address": "127.0.0.1:0", "silence_logs": 50}
    with LocalCluster(n_workers=2, threads_per_worker=1, env=survey.WORKER, **quiet) as cluster:
        killer = threading.Thread(target=kill, args=(cluster,), daemon=True)
        killer.start()
        table = run(configs, cluster, folder)
        killer.join(timeout=60)
        assert killed
        assert list(table["status"]) == ["done"] * 4 + ["failed"]
        assert (abs(table["r0"][:4] - TRUTH["r0"]) < 5 * table["r0_sigma"][:4]).all()
        assert "corrupt" in table["message"][4]
        assert names_in(folder) == {*configs, "catalogue.ecsv"}
        for name in list(configs)[:4]:
            assert FitResult.read(folder / name / "best_fit.ecsv").converged
            assert set(json.loads((folder / name / RECORD).read_text())["files"]) | {RECORD} == names_in(folder / name)

        # the survey of the pages
        shutil.copy(EXAMPLE, tmp_path)
        for k, name in enumerate(("south", "west")):
            shutil.copy(cubes / f"s{k}.fits", tmp_path / f"{name}.fits")
        arguments = ["survey", str(tmp_path / EXAMPLE.name), "--scheduler", cluster.scheduler_address, "--quiet"]
        assert cli.main(arguments) == 0
        assert capsys.readouterr().out == "2 done, 0 not converged, 0 failed\n"
        assert names_in(tmp_path / "survey") >= {"south", "west"}


@pytest.mark.slow
def test_on_this_machine_from_the_command_line(tmp_path, capsys):
    """A cluster of its own is started and closed; all cubes are missing, and that is told."""
    shutil.copy(EXAMPLE, tmp_path)
    assert cli.main(["survey", str(tmp_path / EXAMPLE.name), "--workers", "1"]) == 3
    said = capsys.readouterr()
    assert said.out.splitlines()[0] == "0 done, 0 not converged, 2 failed"
    assert "south: FileNotFoundError: 'cube' must" in said.out
    assert "failed=2" in said.err
    assert names_in(tmp_path / "survey") == {"south", "west", "catalogue.ecsv"}
    # and what no scheduler answers
    assert cli.main(["survey", str(tmp_path / "none.toml")]) == 1
