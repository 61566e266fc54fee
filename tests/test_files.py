"""Files appear at once or not at all."""

import warnings
from pathlib import Path

import pytest

from sting.files import as_path, is_file, reading, whole_file, write_text


def test_a_block_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write():
        with whole_file(path, overwrite=True) as file:
            file.write_text("new")
            assert path.read_text() == "old"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert [each.name for each in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "old"


def test_a_block_that_ends_leaves_the_new_one(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with whole_file(path, overwrite=True) as file:
        assert file.suffix == ".txt"
        file.write_text("new")
    assert [each.name for each in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "new"


def test_refusals(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(FileExistsError, match=r"^'path' must not exist yet; got .*a\.txt'\. Pass overwrite=True"):
        write_text(tmp_path / "a.txt", "new", overwrite=False)
    with pytest.raises(FileNotFoundError, match=r"^'path' must lie in an existing folder; got .*Create the folder first"):
        write_text(tmp_path / "nowhere" / "a.txt", "new")
    with pytest.raises(ValueError, match=r"^'path' must be a name that the file system takes; got .*Choose another name"):
        write_text(tmp_path / ("a" * 500), "new")
    assert [each.name for each in tmp_path.iterdir()] == ["a.txt"]


def test_what_is_a_file(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    assert is_file(tmp_path / "a.txt")
    assert is_file(str(tmp_path / "a.txt"))
    assert not is_file(tmp_path)
    assert not is_file("fk5\ncircle(10,20,3)\n" * 500)
    assert not is_file("a\0b")
    assert not is_file(None)


def test_what_is_a_path():
    assert as_path("path", "a/b.txt") == Path("a/b.txt")
    with pytest.raises(TypeError, match=r"^'path' must be a path; got 5\. Write for example"):
        as_path("path", 5)


class TestReading:
    @staticmethod
    def read(*notices, error=None):
        with reading("cube", "be readable", "'a.fits'", "Mend it."):
            for notice in notices:
                warnings.warn(notice, UserWarning, stacklevel=2)
            if error:
                raise error
            return "read"

    def test_a_reader_that_fails(self):
        # its warnings, which are errors in these tests, do not hide the refusal
        with pytest.raises(ValueError, match=r"^'cube' must be readable; got 'a\.fits' \(no key\)\. Mend it\.$"):
            self.read("no unit", error=RuntimeError("no key"))

    def test_a_reader_that_is_stopped(self):
        with pytest.raises(KeyboardInterrupt):
            self.read(error=KeyboardInterrupt())

    def test_warnings_of_a_reader_that_succeeds(self):
        with pytest.warns(UserWarning, match=r"^no (unit|date)$") as records:
            assert self.read("no unit", "no date") == "read"
        assert [str(record.message) for record in records] == ["no unit", "no date"]
        with pytest.raises(UserWarning, match="no unit"):
            self.read("no unit")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            assert self.read("no unit") == "read"
