"""README and documentation: their code runs, their links lead somewhere, their drawings are those of the scripts."""

import re
import runpy
import sys
from pathlib import Path

import pytest
from astropy import units as u
from regions import CircleSkyRegion, Regions

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
    drawn, kept = (path / f"{name}.svg" for path in (tmp_path, DOCS / "_static"))
    # glyphs and their places differ a little among versions of matplotlib; what is drawn does not
    groups = [re.findall(r'<g id="(?!DejaVu)(\w+?)_?\d*"', path.read_text(encoding="utf-8")) for path in (drawn, kept)]
    assert groups[0]
    assert groups[0] == groups[1]
