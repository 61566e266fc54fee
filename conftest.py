"""What tests, notebooks and the examples of the pages have in common."""

import os
import tempfile

# Notebooks, kernels of the browser and commands are processes of their own: what one has compiled, the next one reads.
# Set before anything imports jax; the folder goes when the tests end.
_COMPILED = tempfile.TemporaryDirectory(prefix="sting-tests-")
os.environ.setdefault("STING_CACHE_DIR", _COMPILED.name)
