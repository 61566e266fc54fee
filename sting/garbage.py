"""Python's search for cyclic garbage, put off while there is none to find."""

import gc
from contextlib import contextmanager

__all__ = []


@contextmanager
def kept():
    """Keep what is made meanwhile, cyclic garbage too; as a decorator, while a function runs.

    Whoever makes many objects at once, such as a figure or a traced program, has Python go through all that there are again and
    again, imported packages and all, which takes longer than making them.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
