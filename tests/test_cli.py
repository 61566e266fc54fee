"""The command line, as a user runs it."""

import functools
from importlib import resources

import numpy as np
import pytest
from astropy import units as u

from sting import cli, config
from sting.fit_result import FitResult
from sting.synthetic import TRUTH

KMS = u.km / u.s
EXAMPLE = resources.files("sting").joinpath("data/example.toml").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 12])
def test_demo_recovers_its_truth(seed, tmp_path, capsys):
    assert cli.main(["demo", "--seed", str(seed), "--output", str(tmp_path / "demo")]) == 0
    captured = capsys.readouterr()
    result = FitResult.read(tmp_path / "demo" / "best_fit.ecsv")
    assert result.success
    for name, value in result.best_opt_params.items():
        assert abs(value - TRUTH[name]) < 3 * result.param_errors[name], name
        assert name in captured.out
    assert "(fit-truth)/sigma" in captured.out
    assert "points from" in captured.err
    names = {path.name for path in (tmp_path / "demo").iterdir()}
    assert {"cube.fits", "demo.toml", "best_fit_params.json", "streamline_samples.png"} <= names
    # the configuration that it leaves behind gives the same fit again
    assert cli.main(["fit", str(tmp_path / "demo" / "demo.toml"), "--quiet"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    again = FitResult.read(tmp_path / "demo" / "best_fit.ecsv")
    assert again.loss == pytest.approx(result.loss, rel=1e-9)


def edited(tmp_path, *changes):
    text = EXAMPLE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path = tmp_path / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[cut]", "[cuts]", "Did you mean 'cut'"),
        ("vmin =", "v_min =", "Did you mean 'vmin'"),
        ("n_epochs =", "n_epoch =", "Did you mean 'n_epochs'"),
        ('r0 = "2200 au"', 'r_0 = "2200 au"', "Did you mean 'r0'"),
        ("2200 au", "2200 parsnips", "'r0' must be a number with a unit"),
        ("2200 au", "2200 km/s", "'r0' must have a unit convertible to AU"),
        ("03h28m55.569s", "nowhere", "'star' must be a position on the sky"),
        ('# optimizer = "adam"', 'optimizer = "lbfg"', "Did you mean 'lbfgs'"),
        ("star =", "# star =", "'star' must be given"),
        ('output = "."', 'output = "config.toml"', "'save_folder' must be a folder"),
        ("cube.fits", "no_cube.fits", "'cube' must be a cube or an existing file"),
        ("[start]", "[start", "'CONFIG' must be a TOML file"),
        ("[priors]", "priors = 3\n[other]", "known entries only; got 'other'"),
        ("films = false", 'films = "gif"', "'films' must be true or false; got 'gif'"),
        ("omega =", 'rc = "100 au"\nomega =', "exactly one of them"),
    ],
)
def test_refuses_in_one_line(old, new, message, tmp_path, capsys):
    path = edited(tmp_path, (old, new))
    assert cli.main(["fit", str(path), "--quiet"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("sting: ")
    assert message in error
    assert {p.name for p in tmp_path.iterdir()} == {"config.toml"}


def test_missing_configuration(tmp_path, capsys):
    assert cli.main(["fit", str(tmp_path / "none.toml")]) == 1
    assert "'CONFIG' must be an existing file" in capsys.readouterr().err


def test_section_that_is_none(tmp_path, capsys):
    path = tmp_path / "c.toml"
    path.write_text("cut = 3\ncube='a'\nstar='b'\ndistance=1\n[start]\nr0=1\n")
    assert cli.main(["fit", str(path)]) == 1
    assert "'cut' must be a section" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("entry", "options", "films"),
    [("films = false", [], False), ("", [], False), ("films = true", [], True), ("films = false", ["--films"], True)],
)
def test_films_are_made_where_they_are_asked_for(entry, options, films, tmp_path, monkeypatch):
    from sting import extract_streamline, gradient_descent, synthetic

    path = edited(tmp_path, ("films = false", entry))
    asked = []

    def fit(*_, **keywords):
        asked.append(keywords["films"])
        raise KeyboardInterrupt

    @functools.wraps(extract_streamline.extract_streamer_subcube)
    def cut(*_, **__):
        return None

    monkeypatch.setattr(extract_streamline, "extract_streamer_subcube", cut)
    monkeypatch.setattr(extract_streamline, "reduce_to_1D", lambda *_, **__: synthetic.make_streamer_points())
    monkeypatch.setattr(gradient_descent, "fit_streamline", fit)
    assert cli.main(["fit", str(path), "--quiet", *options]) == 130
    assert asked == [films]


def test_interrupt_has_its_own_status(monkeypatch, capsys):
    monkeypatch.setattr(cli, "run_config", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    assert cli.main(["fit", "x.toml"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_help_and_version(capsys):
    for argument in ("--help", "--version"):
        with pytest.raises(SystemExit) as stop:
            cli.main([argument])
        assert stop.value.code == 0
    assert "demo" in capsys.readouterr().out


def test_example_is_complete():
    """Every keyword of the example is commented, and its numbers are within reach of the truth."""
    lines = [line for line in EXAMPLE.splitlines() if line and not line.startswith("#")]
    assert len(lines) > 20
    assert np.isclose(config._quantity("x", "7.5 km/s"), TRUTH["v_lsr"])
    assert config._quantity("x", ["1 au", 2]) == [1 * u.au, 2]


def test_what_is_commented_out_in_the_example_reaches_the_functions(tmp_path, monkeypatch):
    from sting import extract_streamline

    path = edited(tmp_path, ("# rms", "rms"), ("# region", "region"), ("# islands", "islands"), ("# ordering", "ordering"))
    text = path.read_text(encoding="utf-8").replace("# uncertainty", "uncertainty", 1)
    path.write_text(text.replace("# min_beams", "min_beams", 1), encoding="utf-8")
    calls = {}

    @functools.wraps(extract_streamline.extract_streamer_subcube)
    def cut(cube, **keywords):
        calls["cut"] = keywords

    def reduce(cut, star, **keywords):
        calls["reduce"] = keywords
        raise KeyboardInterrupt

    monkeypatch.setattr(extract_streamline, "extract_streamer_subcube", cut)
    monkeypatch.setattr(extract_streamline, "reduce_to_1D", reduce)
    with pytest.raises(KeyboardInterrupt):
        cli.run_config(path, progress=False)
    assert calls["cut"] | {"center": None} == {
        "vmin": 5 * KMS,
        "vmax": 9 * KMS,
        "rms_thresh": 5,
        "rms": 0.03 * u.K,
        "islands": "main",
        "center": None,
        "xmin": -5 * u.arcsec,
        "xmax": 5 * u.arcsec,
        "ymin": -12 * u.arcsec,
        "ymax": 1 * u.arcsec,
        "region": tmp_path / "streamer.reg",
    }
    assert calls["reduce"] == {"n_elements": 10, "uncertainty": "spread", "ordering": "curve", "min_beams": 0}
