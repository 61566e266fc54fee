"""That the search for cyclic garbage is put off while something is made, and taken up again."""

import gc

import pytest

from sting.garbage import kept


@pytest.fixture(autouse=True)
def _collects():
    """Tests start with the search on, and leave it so."""
    gc.enable()
    yield
    gc.enable()


def test_is_off_meanwhile():
    with kept():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_an_error_turns_it_on_again():
    with pytest.raises(ZeroDivisionError), kept():
        _ = 1 / 0
    assert gc.isenabled()


@pytest.mark.parametrize("depth", [1, 2])
def test_whoever_turned_it_off_turns_it_on(depth):
    gc.disable()
    with kept():
        if depth == 2:
            with kept():
                pass
        assert not gc.isenabled()
    assert not gc.isenabled()


def test_as_a_decorator():
    assert kept()(gc.isenabled)() is False
    assert gc.isenabled()
