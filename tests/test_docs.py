"""README and documentation: their code runs, their links lead somewhere, their drawings are those of the scripts."""

import re
import runpy
import sys
from pathlib import Path

import pytest
from astropy import units as u
from regions import CircleSkyRegion, Regions

from sting import streamline
from sting.conventions import to_disk
from sting.synthetic import make_streamer_cube

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
MARKDOWN = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "benchmarks/README.md")]
PAGES = sorted(path for path in DOCS.rglob("*.rst") if not {"_build", "api"} & set(path.relative_to(DOCS).parts))
#: A block of code that is no doctest: shown because it needs a cube of the reader's, or would take too long.
BLOCK = re.compile(r"^\.\. code-block:: python\n\n((?:   .*\n|\n)+)", re.MULTILINE)


def python_of(path):
    """Blocks of Python of a Markdown file."""
    return re.findall(r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def blocks():
    return [
        pytest.param(block, id=f"{page.stem}-{number}")
        for page in PAGES
        for number, block in enumerate(BLOCK.findall(page.read_text(encoding="utf-8")))
    ]


@pytest.mark.parametrize("block", blocks())
def test_shown_code_compiles(block):
    compile(re.sub(r"(?m)^   ", "", block), "block", "exec")


def test_the_quick_start_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    scene = make_streamer_cube(seed=1)
    scene.cube.write("cube.fits")
    Regions([CircleSkyRegion(scene.star_position, 13 * u.arcsec)]).write("streamer.reg", format="ds9")
    first, widget = python_of(ROOT / "README.md")
    assert len([line for line in first.splitlines() if line and not line.startswith("#")]) <= 15
    names = {}
    exec(first.replace("n_starts=64", "n_starts=8, n_epochs=50, progress=False"), names)
    assert "The orbit" in capsys.readouterr().out
    assert names["result"].loss < 20
    assert "StreamerExplorer(" in widget
    exec(widget, names)


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: path.name)
def test_links_within_the_repository_lead_somewhere(path):
    text = path.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if not link.startswith("http")]
    titles = {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in re.findall(r"(?m)^#+ (.*)", text)}
    lost = [link for link in links if not (link[1:] in titles if link.startswith("#") else (path.parent / link).exists())]
    assert lost == []


@pytest.mark.parametrize("name", ["data_flow", "frames"])
def test_drawings_are_those_of_their_scripts(name, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(DOCS / "figures"), *sys.path])
    monkeypatch.setattr(sys, "argv", [f"{name}.py", str(tmp_path)])
    runpy.run_path(str(DOCS / "figures" / f"{name}.py"), run_name="__main__")
    monkeypatch.delitem(sys.modules, "style")
    drawn, kept = (path / f"{name}.svg" for path in (tmp_path, DOCS / "_static"))
    # glyphs and their places differ a little among versions of matplotlib; the words that are drawn do not
    words = [re.findall(r"<!-- (.+?) -->", path.read_text(encoding="utf-8")) for path in (drawn, kept)]
    assert words[0]
    assert words[0] == words[1]


def start(**changed):
    """Place (west, away, north) and velocity of the start of an edge-on streamer just above the midplane, rotating fast."""
    params = {
        "r0": 1000 * u.au,
        "theta0": 89 * u.deg,
        "phi0": 0 * u.deg,
        "v_r0": 0 * u.km / u.s,
        "rc": 900 * u.au,
        "mass": 1 * u.Msun,
    }
    angles = {"inc": 0 * u.deg, "pa": 0 * u.deg}
    line = streamline(params | angles | {name: value * u.deg for name, value in changed.items()}, distance=100, n_points=2)
    return line.position[0].value, line.velocity_xyz[0].value, line


class TestSignsAtAGlance:
    """What the page of the conventions says beside its picture."""

    def test_phi0_of_zero_is_at_pa_minus_90_deg_and_redshifted(self):
        place, velocity, _ = start(pa=0)
        assert place[0] == pytest.approx(1000, rel=1e-3)  # west, which is pa - 90 deg
        assert velocity[1] > 0
        assert to_disk(20 * u.deg, 50 * u.deg)["pa_redshifted"].to_value(u.deg) % 360 == pytest.approx(320)

    @pytest.mark.parametrize(("phi0", "sign"), [(90, 1), (30, 1), (270, -1)])
    def test_phi0_below_180_deg_is_on_the_far_side(self, phi0, sign):
        assert start(phi0=phi0)[0][1] * sign > 0

    @pytest.mark.parametrize(("inc", "sign"), [(40, 1), (-40, -1)])
    def test_a_positive_inc_tilts_the_axis_away(self, inc, sign):
        assert start(theta0=1, inc=inc)[0][1] * sign > 0

    def test_pa_turns_from_north_through_east(self):
        _, _, line = start(theta0=1, pa=90)
        assert line.ra[0].value > 0
        assert abs(line.dec[0].value) < 0.1 * line.ra[0].value
