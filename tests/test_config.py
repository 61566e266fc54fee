"""Configurations of one fit: what they take, and what they refuse before there is a cube."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord

from sting.config import check_config, plain, read_toml
from sting.synthetic import STAR, TRUTH

START = {name: value for name, value in TRUTH.items() if name in ("r0", "theta0", "phi0", "v_r0")}
CONTENT = plain(
    {
        "cube": "cube.fits",
        "star": STAR,
        "distance": 293 * u.pc,
        "start": START,
        "fixed": {name: value for name, value in TRUTH.items() if name not in START},
    }
)


def changed(**entries):
    return CONTENT | entries


class TestCheck:
    def test_says_what_the_content_says(self, tmp_path):
        config = check_config(
            changed(
                cut={"vmin": "6 km/s", "rms_thresh": 4, "n_elements": 8, "region": "streamer.reg"},
                bounds={"r0": ["200 au", "10000 au"]},
                priors={"v_r0": ["0.2 km/s", "0.2 km/s"]},
                fit={"optimizer": "lbfgs", "n_starts": 16, "seed": 3},
                figures=False,
            ),
            tmp_path,
        )
        assert config.cube == tmp_path / "cube.fits"
        assert config.star.separation(STAR) < 1e-6 * u.arcsec
        assert config.distance == 293 * u.pc
        assert config.cut == {"vmin": 6 * u.km / u.s, "rms_thresh": 4, "region": tmp_path / "streamer.reg"}
        assert config.reduce == {"n_elements": 8}
        assert config.start == START
        assert config.fit.pop("param_bounds") == {"r0": [200 * u.au, 10000 * u.au]}
        assert config.fit.pop("priors") == {"v_r0": [0.2 * u.km / u.s] * 2}
        assert config.fit == {"optimizer": "lbfgs", "n_starts": 16, "seed": 3}
        assert (config.figures, config.films) == (False, False)
        assert list(tmp_path.iterdir()) == []

    def test_auto_needs_no_start(self):
        content = changed(start="auto", fixed={"inc": "-45 deg", "pa": "194 deg"}, priors={"mass": ["4 Msun", "1 Msun"]})
        assert check_config(content).start == "auto"

    @pytest.mark.parametrize(
        ("entries", "message"),
        [
            ({"start": "auto", "fixed": {}}, "'mass' must be fixed or have bounds or a prior"),
            ({"start": "auto", "fixed": {"mass": "4 Msun", "pa": "1 km"}}, "'pa' must have a unit convertible to rad"),
            ({"start": "auto", "fixed": {"mass": "4 Msun"}, "fit": {"optimizer": "x"}}, "'optimizer' must be one of"),
            ({"start": "automatic"}, "'start' must be a section"),
            ({"fixed": 3}, "'fixed' must be a section"),
            ({"fit": {"n_starts": 0}}, "'n_starts' must be a whole number of at least 1"),
            ({"fit": {"seed": -1}}, "'seed' must be a whole number"),
            ({"fit": {"keep_rotation": True}}, "'fit' must hold known entries only; got 'keep_rotation'"),
            ({"fit": {"save_folder": "x"}}, "'fit' must hold known entries only"),
            ({"cut": {"vmin": "5 arcsec"}}, "'vmin' must be a Quantity convertible to km / s"),
            ({"cut": {"xmax": 3}}, "'xmax' must be a Quantity convertible to arcsec"),
            ({"cut": {"rms_thresh": "high"}}, "rms_thresh"),
            ({"cut": {"islands": "some"}}, "'islands' must be one of"),
            ({"cut": {"ordering": "curved"}}, "Did you mean 'curve'"),
            ({"cut": {"n_elements": 1}}, "'n_elements' must be a whole number of at least 2"),
            ({"cut": {"min_beams": -1}}, "min_beams"),
            ({"cut": {"region": 3}}, "'region' must be the path of a file"),
            ({"cube": 3}, "'cube' must be the path of a file"),
            ({"output": 3}, "'output' must be the path of a file or folder"),
            ({"figures": "some"}, "'figures' must be true or false"),
            ({"cubes": "x"}, "Did you mean 'cube'"),
        ],
    )
    def test_refuses(self, entries, message):
        with pytest.raises((ValueError, TypeError, u.UnitsError), match=message):
            check_config(changed(**entries))

    def test_needs_what_it_needs(self):
        for key in ("cube", "star", "distance", "start"):
            with pytest.raises(ValueError, match=f"'{key}' must be given"):
                check_config({name: value for name, value in CONTENT.items() if name != key})


class TestPlain:
    def test_everything_becomes_the_words_of_a_file(self, tmp_path):
        content = plain(
            {
                "cube": tmp_path,
                "star": SkyCoord("83.1d 10.5d", frame="galactic", unit="deg"),
                "bounds": {"r0": (200, 1e4) * u.au, "mass": (1 * u.Msun, 2)},
                "fixed": {"omega": np.float64(5e-13) / u.s, "mass": np.float64(2)},
                "fit": {"n_epochs": np.int64(3)},
                "figures": np.bool_(True),
            }
        )
        assert content["cube"] == str(tmp_path)
        assert (content["star"], content["frame"]) == ("83.1d 10.5d", "galactic")
        assert content["bounds"] == {"r0": ["200.0 AU", "10000.0 AU"], "mass": ["1.0 solMass", 2]}
        assert content["fixed"] == {"omega": "5e-13 1 / s", "mass": 2.0}
        assert u.Quantity(content["fixed"]["omega"]) == 5e-13 / u.s
        assert (content["fit"], content["figures"]) == ({"n_epochs": 3}, True)
        assert plain(content) == content

    def test_a_frame_that_is_more_than_its_name(self):
        star = SkyCoord("83.1d 10.5d", frame="fk5", equinox="B1950")
        content = plain({"star": star})
        assert content["frame"] == "icrs"
        assert SkyCoord(content["star"]).separation(star) < 1e-6 * u.arcsec

    def test_refuses_what_no_file_can_say(self):
        with pytest.raises(TypeError, match="'cube' must be what a file can say"):
            plain({"cube": object()})


def test_a_file_that_is_no_text(tmp_path):
    (tmp_path / "c.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="'CONFIG' must be a TOML file"):
        read_toml(tmp_path / "c.toml")
