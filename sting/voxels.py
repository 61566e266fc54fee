"""The voxels of a cube, read a block at a time: no cube is too large."""

import contextlib
import itertools
import math
import mmap

import numpy as np
from numpy.lib.array_utils import byte_bounds
from tqdm.auto import tqdm

from sting.messages import refuse

#: Voxels that are read at a time, about: 8 MB of most cubes, which a processor has near it while they are masked.
BLOCK = 2**21

#: Blocks that are asked for before they are needed, so that a disk is not waited for.
AHEAD = 8

#: Voxels that a streamer may have: beyond, its point cloud takes more memory than most computers have to give.
MOST_VOXELS = 100_000_000


def is_chunked(cube):
    """Whether a cube is on Dask."""
    return hasattr(cube._data, "chunks")


def blocks(cube, size=BLOCK):
    """Views (three slices each) that cover a cube, of about ``size`` voxels: some channels, or rows of one.

    Of a Dask-backed cube whole chunks, so that none is ever computed twice.
    """
    chunks = cube._data.chunks if is_chunked(cube) else [(1,) * n for n in cube.shape]
    room = max(1, size // math.prod(max(lengths) for lengths in chunks))
    parts = []
    # columns first, then rows, then channels, as a file has them
    for lengths in reversed(chunks):
        parts.insert(0, _merged(lengths, room * max(lengths)))
        room = max(1, room * max(lengths) // max(part.stop - part.start for part in parts[0]))
    return list(itertools.product(*parts))


def groups_of(numbers, steps):
    """Number of the group of each of some numbers (ascending): in one are those a step apart, and what others join."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ones, others = [], []
    for step in steps:
        place = np.minimum(np.searchsorted(numbers, numbers + step), len(numbers) - 1)
        met = np.flatnonzero(numbers[place] == numbers + step)
        ones.append(met)
        others.append(place[met])
    ones, others = np.concatenate(ones), np.concatenate(others)
    graph = coo_array((np.ones(len(ones), bool), (ones, others)), shape=(len(numbers),) * 2)
    return connected_components(graph, directed=False)[1]


def columns(cube, size=BLOCK):
    """Views (three slices each) that cover a cube, each of whole spectra and of about ``size`` voxels.

    Of a Dask-backed cube whole chunks, as in `blocks`.
    """
    n_z, *sky = cube.shape
    _, *chunks = cube._data.chunks if is_chunked(cube) else [(1,) * n for n in (n_z, *sky)]
    room = max(1, size // (n_z * math.prod(max(lengths) for lengths in chunks)))
    parts = []
    for lengths in reversed(chunks):
        parts.insert(0, _merged(lengths, room * max(lengths)))
        room = max(1, room * max(lengths) // max(part.stop - part.start for part in parts[0]))
    return list(itertools.product([slice(0, n_z)], *parts))


def _merged(lengths, longest):
    """Slices of neighbouring chunks, no longer than ``longest`` together."""
    slices, start, stop = [], 0, 0
    for length in lengths:
        if stop + length - start > longest:
            slices.append(slice(start, stop))
            start = stop
        stop += length
    return [*slices, slice(start, stop)]


def read(cube, views, what="reading"):
    """Yield (view, values) of each of the ``views`` of a cube: native floats, NaN where masked.

    Whatever looks at more than some channels reads through this, so that no cube is too large. What takes longer than two seconds
    shows its progress.
    """
    for view in views[:AHEAD]:
        _ask_for(cube._data, view)
    # the bar does not iterate itself: in a notebook that would leave a red bar where the reader stops before the end
    with tqdm(total=len(views), desc=what, unit="block", delay=2, leave=False) as bar:
        for number, view in enumerate(views):
            yield view, _values(cube, view)
            bar.update()
            _let_go(cube._data)
            for later in views[number + AHEAD : number + AHEAD + 1]:
                _ask_for(cube._data, later)


def count_finite(cube):
    """Number of voxels that are not blank."""
    return sum(np.count_nonzero(np.isfinite(values)) for _, values in read(cube, blocks(cube), "voxels"))


def _values(cube, view):
    # filled_data would compute whole chunks of Dask for any part of them, and write parts of a large cube to a temporary file
    data = cube._data[view]
    native = np.result_type(data.dtype, 0.0)
    if cube.mask is not None:
        included = cube.mask.include(data=cube._data, wcs=cube.wcs, view=view)
        data = np.where(included, data, native.type(cube.fill_value))
    return np.asarray(data, dtype=native)


def _mapping(data):
    """The file that an array, on Dask or not, is read from wherever it is looked at, or None."""
    if layers := getattr(getattr(data, "dask", None), "layers", None):
        data = next((source for name in layers if name.startswith("original-") for source in layers[name].values()), None)
        data = getattr(data, "_array", data)  # which spectral-cube wraps
    while isinstance(data, np.ndarray):
        data = data.base
    return data if isinstance(data, mmap.mmap) and hasattr(data, "madvise") else None


def _ask_for(data, view):
    """Have a view of a mapped file read in the background."""
    if not isinstance(data, np.ndarray) or (mapping := _mapping(data)) is None:
        return
    begin = np.frombuffer(mapping, np.uint8).ctypes.data
    for part in data[view]:
        low, high = byte_bounds(part)
        # nothing of a file whose axes have another order
        if high - low <= 16 * part.nbytes:
            start = (low - begin) // mmap.PAGESIZE * mmap.PAGESIZE
            mapping.madvise(mmap.MADV_WILLNEED, start, high - begin - start)


def _let_go(data):
    """Give back the memory in which a file has been read; what is needed again is read again."""
    mapping = _mapping(data)
    # only what nobody can have changed is the same in the file
    if mapping is not None and memoryview(mapping).readonly:
        mapping.madvise(mmap.MADV_DONTNEED)


@contextlib.contextmanager
def scattered(cube):
    """Read here and there in a cube, without the megabytes after each place that are usually read from a file as well."""
    mapping = _mapping(cube._data)
    if mapping is None:
        yield
        return
    mapping.madvise(mmap.MADV_RANDOM)
    try:
        yield
    finally:
        mapping.madvise(mmap.MADV_NORMAL)


def finite_voxels(cube):
    """Numbers (in the order of the array) and values of all finite voxels, which the cube is read once for."""
    found, n_voxels = [], 0
    for view, values in read(cube, blocks(cube), "voxels"):
        # numbers in the block first: np.nonzero takes longer than all the rest
        kept = np.flatnonzero(np.isfinite(values))
        n_voxels += len(kept)
        if n_voxels > MOST_VOXELS:
            cure = "Cut it with rms_thresh, a region and a velocity range (extract_streamer_subcube)."
            refuse("streamer_cube", f"hold at most {MOST_VOXELS} finite voxels", "more", cure)
        where = [part.start + k for part, k in zip(view, np.unravel_index(kept, values.shape), strict=True)]
        found.append((np.ravel_multi_index(where, cube.shape), values.ravel()[kept]))
    voxels, flux = (np.concatenate(parts) for parts in zip(*found, strict=True))
    if not n_voxels:
        refuse("streamer_cube", "hold finite values", "blank voxels (NaN) only", "Check the cuts that were made.")
    # the chunks of Dask have another order
    order = slice(None) if (np.diff(voxels) > 0).all() else np.argsort(voxels)
    return voxels[order], flux[order]
