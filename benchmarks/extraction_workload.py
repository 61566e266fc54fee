"""One task on one cube in a process of its own: reading a window of it, or cutting and reducing the streamer in the window.

Started by extraction.py with the Python of either environment and a task as JSON: ``path``; ``window``, the first and last + 1 of
channels, rows and columns; ``kind``, a key of `KINDS`; for "cut" also ``dask``, ``rms`` and ``region``. Ends in one line of JSON.
"""

import importlib.util
import json
import os
import sys
import threading
import time
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from spectral_cube import SpectralCube

STAR = SkyCoord("3h28m55.569s", "+31d14m37.025s", frame="fk5")
RMS = 0.03 * u.K  # that the cube is made with
KMS = u.km / u.s


def read_file(path, window, **_):
    """Read the window once, a channel at a time, as native numbers: what a cut cannot do without."""
    (first, last), rows, columns = window
    with fits.open(path) as hdus:
        for channel in range(first, last):
            hdus[0].section[channel, slice(*rows), slice(*columns)].astype(np.float32)
    return {}


def read_cube(path, window, **_):
    """The same through spectral-cube, blank voxels masked."""
    (first, last), rows, columns = window
    cube = SpectralCube.read(path)
    for channel in range(first, last):
        cube.filled_data[channel, slice(*rows), slice(*columns)]
    return {}


def cut(path, window, dask=False, rms=False, region=False):
    """Cut and reduce the streamer in the window."""
    from sting.extract_streamline import extract_streamer_subcube, reduce_to_1D

    header = fits.getheader(path)
    first, last = ((k + 1 - header["CRPIX3"]) * header["CDELT3"] + header["CRVAL3"] for k in (window[0][0], window[0][1] - 1))
    slack = 0.3 * header["CDELT3"]
    limits = {"vmin": ((first - slack) / 1000) * KMS, "vmax": ((last + slack) / 1000) * KMS, "rms_thresh": 4}
    if rms:
        limits["rms"] = RMS
    if region:
        limits["region"] = region_of(window, header)
    streamer_cube = extract_streamer_subcube(cube_of(path, dask), **limits)
    streamer = reduce_to_1D(streamer_cube, STAR)
    return {"shape": streamer_cube.shape, "points": int(np.shape(streamer.pc_coords)[1])}


def cube_of(path, dask):
    """What is cut: for this package the file, for STING, which takes no files, the cube."""
    if dask:
        return SpectralCube.read(path, use_dask=True)
    return path if is_ours() else SpectralCube.read(path).with_spectral_unit(KMS)


def is_ours():
    return importlib.util.find_spec("sting.cubes") is not None


def region_of(window, header):
    """The rectangle on the sky that rows and columns of the window are."""
    from astropy.wcs import WCS
    from regions import PixCoord, RectanglePixelRegion

    (y_0, y_1), (x_0, x_1) = window[1:]
    middle = PixCoord((x_0 + x_1 - 1) / 2, (y_0 + y_1 - 1) / 2)
    return RectanglePixelRegion(middle, x_1 - x_0 - 0.5, y_1 - y_0 - 0.5).to_sky(WCS(header).celestial)


KINDS = {"read file": read_file, "read cube": read_cube, "cut": cut}


class Memory:
    """Looks at the memory of this process every few milliseconds; `peak` is the most that was not a file's, in GB."""

    def __init__(self):
        self.peak = 0.0
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self):
        while True:
            self.peak = max(self.peak, gigabytes("RssAnon"))
            time.sleep(0.005)


def gigabytes(name):
    """Memory of this process; ``VmHWM``, the peak with the pages of files, unlike ru_maxrss knows nothing of the parent."""
    return int(Path("/proc/self/status").read_text().split(f"{name}:")[1].split()[0]) * 1024 / 1e9


def forget(path):
    """Take a file out of the system's cache, so that it comes from the disk."""
    file = os.open(path, os.O_RDONLY)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(file)


def main(kind, path, **options):
    if kind == "cut":
        import sting.extract_streamline  # noqa: F401
    forget(path)
    memory = Memory()
    begin = time.perf_counter()
    found = KINDS[kind](path, **options)
    seconds = time.perf_counter() - begin
    return found | {"seconds": seconds, "anonymous": memory.peak, "resident": gigabytes("VmHWM")}


def versions():
    import sting

    return {"sting": sting.__version__, "ours": is_ours()}


if __name__ == "__main__":
    print(json.dumps(main(**json.loads(sys.argv[1])) if sys.argv[1:] else versions()))
