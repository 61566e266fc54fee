"""The kernels of the notebooks share what JAX compiles: each alone would compile the same programs anew."""

import os
import tempfile


def pytest_configure(config):
    """Give kernels that are started from now on a cache of compiled programs that lasts as long as the session."""
    folder = tempfile.TemporaryDirectory()
    config.add_cleanup(folder.cleanup)
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", folder.name)
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
