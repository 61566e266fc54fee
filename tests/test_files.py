"""Files appear at once or not at all."""

import pytest

from sting.files import is_file, whole_file, write_text


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
    assert [each.name for each in tmp_path.iterdir()] == ["a.txt"]


def test_what_is_a_file(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    assert is_file(tmp_path / "a.txt")
    assert is_file(str(tmp_path / "a.txt"))
    assert not is_file(tmp_path)
    assert not is_file("fk5\ncircle(10,20,3)\n" * 500)
    assert not is_file("a\0b")
