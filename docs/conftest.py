"""The examples of these pages, run by pytest: all of them begin where the quick start has ended, in an empty folder."""

import doctest
from pathlib import Path

import pytest

collect_ignore_glob = ["_build/*", "api/*", "tutorials/*", "_ext/*", "figures/*", "conf.py"]

QUICKSTART = Path(__file__).parent / "quickstart.rst"


@pytest.fixture(scope="session")
def quickstart_names(tmp_path_factory):
    """What the quick start has defined, from one run of it."""
    names = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("quickstart"))
        for example in doctest.DocTestParser().get_examples(QUICKSTART.read_text(encoding="utf-8")):
            exec(compile(example.source, str(QUICKSTART), "single"), names)
    return names


@pytest.fixture(autouse=True)
def _after_the_quickstart(request, doctest_namespace, tmp_path, monkeypatch):
    """Whatever an example writes, it writes into an empty folder."""
    monkeypatch.chdir(tmp_path)
    if Path(request.path) != QUICKSTART:
        doctest_namespace.update(request.getfixturevalue("quickstart_names"))
