"""Files that appear at once or not at all."""

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

from sting.messages import refuse


def is_file(path):
    """Whether a path is that of a file; a text that is no path at all is none."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def existing_file(name, path, rule="be an existing file", cure="Check the path."):
    """The path of a file, refused by ``name`` if there is none."""
    if not is_file(path):
        refuse(name, rule, repr(str(path)), cure, FileNotFoundError)
    return Path(path)


@contextmanager
def whole_file(path, *, overwrite):
    """Give a temporary path of the same name, whose file takes the place of ``path`` when the block ends without an error.

    Parameters
    ----------
    path : str or path-like
        The file to write; its folder must exist.
    overwrite : bool
        Whether a file that exists is replaced.

    Yields
    ------
    `~pathlib.Path`
        Where to write.
    """
    path = Path(path).absolute()
    if not path.parent.is_dir():
        refuse("path", "lie in an existing folder", repr(str(path)), "Create the folder first.", FileNotFoundError)
    if path.is_dir() or (path.exists() and not overwrite):
        refuse("path", "not exist yet", repr(str(path)), "Pass overwrite=True or another name.", FileExistsError)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".sting-") as folder:
        yield Path(folder) / path.name
        os.replace(Path(folder) / path.name, path)


def write_text(path, text, *, overwrite=True):
    """Write a text file.

    Parameters
    ----------
    path : str or path-like
        The file.
    text : str
        Its content.
    overwrite : bool, optional
        Whether a file that exists is replaced.
    """
    with whole_file(path, overwrite=overwrite) as file:
        file.write_text(text, encoding="utf-8")
