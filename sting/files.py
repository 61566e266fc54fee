"""Files that appear at once or not at all."""

import os
import tempfile
import warnings
from contextlib import contextmanager
from pathlib import Path

from sting.messages import refuse


def is_file(path):
    """Whether a path is that of a file; what is no path at all is none."""
    try:
        return Path(path).is_file()
    except (OSError, TypeError, ValueError):
        return False


def existing_file(name, path, rule="be an existing file", cure="Check the path."):
    """The path of a file, refused by ``name`` if there is none."""
    if not is_file(path):
        refuse(name, rule, repr(str(path)), cure, FileNotFoundError)
    return Path(path)


def as_path(name, path):
    """A `~pathlib.Path`, refused by ``name`` if it cannot be one."""
    try:
        return Path(path)
    except TypeError:
        refuse(name, "be a path", repr(path), "Write for example 'streamer.ecsv'.", TypeError)


@contextmanager
def reading(name, rule, got, cure):
    """Refuse by ``name`` a file (or header) that the block cannot read, whatever its reader raises.

    ``got`` says which it is. What a reader warns of reaches the user when the block ends, unless it fails.
    """
    with warnings.catch_warnings(record=True) as notices:
        warnings.simplefilter("always")
        try:
            yield
        except Exception as error:
            # astropy ends with a table of all formats
            reason = str(error).partition("The available formats")[0].strip()
            refuse(name, rule, f"{got} ({reason})", cure)
    for notice in notices:
        warnings.warn_explicit(notice.message, notice.category, notice.filename, notice.lineno)


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
    _check_name(path)
    if path.is_dir() or (path.exists() and not overwrite):
        refuse("path", "not exist yet", repr(str(path)), "Pass overwrite=True or another name.", FileExistsError)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".sting-") as folder:
        yield Path(folder) / path.name
        os.replace(Path(folder) / path.name, path)


def _check_name(path):
    """Refuse a name that the file system does not take, before there is anything to write."""
    try:
        path.lstat()
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        refuse("path", "be a name that the file system takes", f"{str(path)!r} ({error})", "Choose another name.")


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
