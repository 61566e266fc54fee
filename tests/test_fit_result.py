"""What a fit returns: tables, samples, files, words."""

import json
from dataclasses import replace

import numpy as np
import pytest
from astropy import constants as const
from astropy import units as u
from astropy.table import QTable

from sting import outputs, synthetic
from sting.fit_result import FitResult
from sting.fit_words import plus_minus
from sting.gradient_descent import fit_streamline
from sting.parameters import PARAMETERS
from sting.profiler import OPEN, End

FREE = ("r0", "theta0", "phi0", "omega", "mass", "pa")


@pytest.fixture(scope="module")
def streamer():
    return synthetic.make_streamer_points(seed=4, sigma=(0.05 * u.arcsec, 0.05 * u.arcsec, 0.01 * u.km / u.s))


@pytest.fixture(scope="module")
def result(streamer):
    start = {name: synthetic.TRUTH[name] for name in FREE}
    fixed = {name: value for name, value in synthetic.TRUTH.items() if name not in FREE}
    return fit_streamline(
        start,
        fixed,
        streamer,
        293,
        optimizer="lbfgs",
        param_bounds={"r0": (1000, 10000) * u.au},
        priors={"mass": (4, 0.5) * u.Msun, "pa": (194, 5) * u.deg},
        save_folder=None,
        progress=False,
    )


def test_is_a_good_fit(result):
    assert result.success
    assert "in a minimum" in result.status
    for name in FREE:
        assert abs(result.best_opt_params[name] - synthetic.TRUTH[name]) < 4 * result.param_errors[name], name


@pytest.mark.parametrize(("gain", "said"), [(3e-14, "nothing"), (-1e-15, "nothing"), (2e-5, "2e-05"), (0.3, "0.3")])
def test_a_gain_that_is_rounding_is_none(result, gain, said):
    other = replace(result)
    vars(other)["uncertainties"] = replace(result.uncertainties, gain=gain)
    assert other.status.endswith(f"{'not ' if gain > 0.01 else ''}in a minimum (a Newton step would gain {said}).")


def test_covariance_belongs_to_the_errors(result):
    sigma = [result.param_errors[name].value for name in result.names]
    np.testing.assert_allclose(np.sqrt(np.diag(result.covariance)), sigma, rtol=1e-9)
    np.testing.assert_allclose(result.covariance, result.covariance.T)
    assert np.linalg.eigvalsh(result.covariance / np.outer(sigma, sigma)).min() > 0


def test_table_holds_every_parameter(result):
    table = result.to_table()
    assert isinstance(table, QTable)
    assert set(table["parameter"]) == set(result.best_opt_params) | set(result.fixed_params)
    row = {r["parameter"]: r for r in table}
    assert row["theta0"]["unit"] == "deg"
    assert row["theta0"]["state"] == "free"
    assert row["v_lsr"]["state"] == "fixed"
    assert np.isnan(row["v_lsr"]["sigma"])
    assert row["mass"]["description"] == PARAMETERS["mass"].description
    assert table.meta["loss"] == result.loss


def test_samples_follow_the_covariance(result):
    samples = result.sample(20000, seed=1)
    assert samples.colnames == list(FREE)
    for name in ("mass", "pa", "theta0"):
        assert np.std(samples[name]).value == pytest.approx(result.param_errors[name].value, rel=0.03)
        assert np.mean(samples[name]).value == pytest.approx(
            result.best_opt_params[name].value, abs=0.05 * result.param_errors[name].value
        )


def test_samples_respect_supports_and_bounds(streamer):
    # a fit that constrains nothing well: wide samples must still be legal
    wide = synthetic.make_streamer_points(sigma=(9 * u.arcsec, 9 * u.arcsec, 2 * u.km / u.s))
    start = {name: synthetic.TRUTH[name] for name in ("r0", "theta0", "v_r0", "omega")}
    fixed = {name: value for name, value in synthetic.TRUTH.items() if name not in start}
    loose = fit_streamline(
        start, fixed, wide, 293, n_epochs=1, param_bounds={"r0": (2000, 3500) * u.au}, save_folder=None, progress=False
    )
    samples = loose.sample(2000, seed=2)
    assert np.std(samples["theta0"]).value > 5
    assert (samples["r0"] >= 2000 * u.au).all()
    assert (samples["r0"] <= 3500 * u.au).all()
    assert (samples["theta0"] >= 0 * u.deg).all()
    assert (samples["theta0"] <= 180 * u.deg).all()
    assert (samples["v_r0"] >= 0 * u.km / u.s).all()
    assert all(np.isfinite(samples[name].value).all() for name in samples.colnames)


def test_streamlines_are_those_of_the_samples(result):
    ra, dec, velocity = result.sample_streamlines(3, n_points=50, seed=5)
    assert ra.shape == dec.shape == velocity.shape == (3, 50)
    from sting.stream_lines_grad import streamline

    drawn = result.sample(3, seed=5)
    path = streamline({n: drawn[n][1] for n in drawn.colnames} | result.fixed_params, distance=result.distance, n_points=50)
    np.testing.assert_allclose(ra[1].value, path.ra.value, atol=1e-9)
    np.testing.assert_allclose(velocity[1].value, path.velocity.value, atol=1e-9)


def test_matched_points_lie_on_the_streamline(result):
    ra, dec, velocity = result.matched_points()
    path = result.streamline(20001)
    for point in np.transpose([ra.value, dec.value, velocity.value]):
        curve = np.array([path.ra.value, path.dec.value, path.velocity.value])
        assert np.sqrt(np.sum((curve - point[:, None]) ** 2, axis=0)).min() < 2e-3


def test_derived_sigmas_are_those_of_the_samples(result):
    table = result.derived()
    row = {r["quantity"]: r for r in table}
    assert list(table["any_axis"][:5]) == [True] * 5
    drawn = result.sample(4000, seed=3)
    rc = (drawn["r0"] ** 4 * drawn["omega"] ** 2 / (const.G * drawn["mass"])).to_value(u.au)
    # the core of the distribution: its wings are not linear in the parameters
    low, high = np.percentile(rc, [15.87, 84.13])
    assert (high - low) / 2 == pytest.approx(row["rc"]["sigma"], rel=0.15)
    assert row["energy"]["value"] < 0
    assert row["eccentricity"]["value"] < 1
    assert row["periastron"]["value"] == pytest.approx(row["semi_latus_rectum"]["value"] / (1 + row["eccentricity"]["value"]))
    assert row["time_to_midplane"]["unit"] == "yr"
    assert (table["sigma"] > 0).all()


def test_infall_time_is_that_of_the_streamline(result):
    path = result.streamline(5)
    table = {r["quantity"]: r["value"] for r in result.derived()}
    # the path may end before or after the midplane, but not far from it in time
    assert table["time_to_midplane"] == pytest.approx(path.time[-1].value, rel=0.05)


def test_notes_always_say_what_a_fit_cannot_know(result):
    assert "inc and pa are not measured" in result.notes[-1]
    assert "mirror" in result.notes[-1]


def test_text_and_html(result):
    text = str(result)
    for name in FREE:
        assert name in text
    assert "(fixed)" in text
    assert repr(result).startswith("<FitResult: loss ")
    page = result._repr_html_()
    assert page.count("<tr>") == 1 + len(result.best_opt_params) + len(result.fixed_params)
    assert "<script" not in page


@pytest.mark.parametrize(
    ("value", "sigma", "expected"),
    [
        (2740.263 * u.au, 86.58 * u.au, "2740 +- 87 AU"),
        (0.0903 * u.km / u.s, 0.7043 * u.km / u.s, "0.0903 +- 0.7043 km / s"),
        (5.5329e-13 / u.s, 2.483e-13 / u.s, "5.5329e-13 +- 2.5e-13 1 / s"),
        (52 * u.deg, np.inf * u.deg, "52 +- unconstrained deg"),
        (0.5 * u.one, 0.031 * u.one, "0.500 +- 0.031"),
        (0 * u.au, 0 * u.au, "0 +- 0 AU"),
        (7.5 * u.km / u.s, None, "7.5 km / s"),
    ],
)
def test_as_many_digits_as_the_uncertainty_warrants(value, sigma, expected):
    assert plus_minus(value, sigma) == expected


def test_write_and_read_give_the_same_result(result, tmp_path):
    result.write(tmp_path / "fit.ecsv")
    again = FitResult.read(tmp_path / "fit.ecsv")
    assert again.best_opt_params == result.best_opt_params
    assert again.param_errors == result.param_errors
    assert again.status == result.status
    assert again.fixed_params == result.fixed_params
    np.testing.assert_array_equal(again.loss_history, result.loss_history)
    np.testing.assert_array_equal(again.covariance, result.covariance)
    np.testing.assert_array_equal(again.sample(5, seed=1)["r0"], result.sample(5, seed=1)["r0"])
    assert (again.derived()["value"] == result.derived()["value"]).all()
    np.testing.assert_array_equal(again.streamline(9).time, result.streamline(9).time)


def test_write_does_not_overwrite_unasked(result, tmp_path):
    path = tmp_path / "fit.ecsv"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="'path' must not exist yet"):
        result.write(path)
    assert path.read_text() == "mine"
    result.write(path, overwrite=True)
    assert FitResult.read(path).loss == result.loss
    assert [p.name for p in tmp_path.iterdir()] == ["fit.ecsv"]


def test_read_refuses_other_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="'path' must be an existing file"):
        FitResult.read(tmp_path / "none.ecsv")
    (tmp_path / "other.ecsv").write_text("# %ECSV 1.0\n# ---\n# datatype:\n# - {name: a, datatype: int64}\na\n1\n")
    with pytest.raises(ValueError, match="must be a fit written by"):
        FitResult.read(tmp_path / "other.ecsv")


@pytest.mark.parametrize("n", [0, -1, 2.5, True, "3"])
def test_refuses_a_bad_number_of_samples(result, n):
    with pytest.raises(ValueError, match="'n' must be a whole number"):
        result.sample(n)


FILES = frozenset(
    {
        "best_fit.ecsv",
        "best_fit_params.json",
        "best_fit_dec_vel.png",
        "best_fit_morphology.png",
        "best_fit_ra_vel.png",
        "best_fit_vel_radius.png",
        "loss_history.png",
        "optimisation_log.csv",
        "parameter_correlation_matrix.png",
        "parameter_history.png",
        "parameter_uncertainties.png",
        "residuals.png",
        "streamline_samples.png",
    }
)


@pytest.fixture(scope="module")
def folder(result, streamer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("parent") / "new" / "results"
    written = outputs.save_results(result, streamer, folder)
    assert {path.name for path in written} == FILES
    return folder


class TestResultsFolder:
    def test_holds_what_it_should_and_no_more(self, folder):
        assert {path.name for path in folder.iterdir()} == FILES

    def test_leaves_other_files_alone(self, result, streamer, folder):
        (folder / "notes.txt").write_text("mine")
        (folder / "loss_history.png").write_bytes(b"old")
        outputs.save_results(result, streamer, folder)
        assert (folder / "notes.txt").read_text() == "mine"
        assert (folder / "loss_history.png").stat().st_size > 1000
        (folder / "notes.txt").unlink()

    def test_parameters_as_json(self, result, folder):
        content = json.loads((folder / "best_fit_params.json").read_text())
        # r0 is not near Gaussian in this fit, the mass is
        assert content["optimised_parameters"]["mass"] == {
            "value": result.best_opt_params["mass"].value,
            "unit": "solMass",
            "near_gaussian": True,
            "sigma": result.param_errors["mass"].value,
        }
        r0 = content["optimised_parameters"]["r0"]
        assert set(r0) == {"value", "unit", "near_gaussian", "lower", "upper"}
        assert r0["lower"] < r0["value"] < r0["upper"]
        assert content["fixed_parameters"]["v_lsr"] == {"value": 7.5, "unit": "km / s"}
        assert content["notes"]

    def test_log_has_a_row_for_each_epoch(self, result, folder):
        lines = (folder / "optimisation_log.csv").read_text().splitlines()
        header = lines[0].split(",")
        assert len(lines) == 1 + len(result.loss_history)
        assert header[:2] == ["epoch", "loss"]
        assert "r0 [AU]" in header
        first = dict(zip(header, map(float, lines[1].split(",")), strict=True))
        assert first["r0 [AU]"] == pytest.approx(2800)
        assert first["loss"] == pytest.approx(result.loss_history[0], rel=1e-9)
        parts = [first[name] for name in ("chi2_r", "chi2_theta", "chi2_v", "chi2_prior")]
        assert sum(parts) == pytest.approx(first["loss"], rel=1e-8)

    def test_nothing_half_written_is_left_behind(self, result, streamer, tmp_path, monkeypatch):
        monkeypatch.setattr(FitResult, "write", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            outputs.save_results(result, streamer, tmp_path / "out")
        assert list((tmp_path / "out").iterdir()) == []

    def test_none_writes_nothing(self, result, streamer, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert outputs.save_results(result, streamer, None) == []
        assert list(tmp_path.iterdir()) == []

    def test_refuses_what_is_no_path(self):
        with pytest.raises(TypeError, match="'save_folder' must be a path or None"):
            outputs.check_folder(3)

    def test_an_end_that_there_is_not_is_null(self, tmp_path, monkeypatch, result):
        monkeypatch.setitem(result.near_gaussian, "pa", False)
        monkeypatch.setattr(result.profiler, "end", lambda *_: End(np.inf, OPEN, ()))
        outputs.save_best_fit_params(result, tmp_path / "p.json")
        content = json.loads((tmp_path / "p.json").read_text())["optimised_parameters"]["pa"]
        assert content["upper"] is None
        assert "sigma" not in content
