"""The files of films: GIF with Pillow, MP4 with ffmpeg."""

import shutil
import subprocess
import tempfile
from contextlib import suppress
from itertools import chain

import numpy as np
from PIL import Image  # which matplotlib brings
from scipy.spatial import cKDTree

__all__ = []


def ticks(ends, tick):
    """Durations as numbers of ticks, without any drift, from the times at which the frames begin and end."""
    return np.diff(np.round(ends / tick).astype(int)).tolist()


def _cells(pixels):
    """Number of the cell of colours, of four levels in each channel, for each pixel."""
    red, green, blue = np.moveaxis(pixels.astype(np.uint32) >> 2, -1, 0)
    return (red << 12) | (green << 6) | blue


def colours_of(sample):
    """The 256 most frequent colours of a picture, one in a cell, and for each cell the nearest of them.

    Pillow's own choice would tint the greys.
    """
    red, green, blue = np.moveaxis(sample.astype(np.uint32), -1, 0)
    codes, counts = np.unique((red << 16) | (green << 8) | blue, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    colours = np.stack([codes >> 16, codes >> 8, codes], axis=-1)[order].astype(np.uint8)  # which keeps the last byte
    # the most frequent colour stands for its cell
    cells, first, cell_of = np.unique(_cells(colours), return_index=True, return_inverse=True)
    total = np.bincount(cell_of, weights=counts[order])
    chosen = np.argsort(-total, kind="stable")[:256]
    palette = colours[first[chosen]]
    middles = 4 * np.stack(np.unravel_index(np.arange(64**3), (64, 64, 64)), axis=1) + 1.5
    nearest = cKDTree(palette).query(middles)[1].astype(np.uint8)
    nearest[cells[chosen]] = np.arange(len(chosen))
    return palette, nearest


def write_gif(file, frames, hundredths, sample):
    """Write a GIF with the colours of a sample picture."""
    palette, nearest = colours_of(sample)

    def indexed(frame):
        image = Image.fromarray(nearest[_cells(np.asarray(frame))])
        image.putpalette(palette.tobytes())
        return image

    images = map(indexed, frames)
    first = next(images)
    durations = [10 * part for part in hundredths]
    # Pillow would leave a file open if it were interrupted
    with open(file, "wb") as stream:
        first.save(stream, format="GIF", save_all=True, append_images=images, duration=durations, loop=0)


def find_ffmpeg():
    """Path of ffmpeg, or None where there is none."""
    found = shutil.which("ffmpeg")
    if found is not None:
        return found
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        return None


def write_mp4(file, frames, repeats, fps):
    """Write an MP4 that every player plays: ffmpeg's own encoder, colours at half the resolution, even sizes."""
    first = next(frames)
    size = f"{first.width}x{first.height}"
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", str(fps), "-i", "-"]
    even = "pad=ceil(iw/2)*2:ceil(ih/2)*2:color=white"
    target = ["-vf", even, "-pix_fmt", "yuv420p", "-movflags", "+faststart", str(file)]
    command = [find_ffmpeg(), "-loglevel", "error", "-y", *source, *target]
    with tempfile.TemporaryFile() as complaints:
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=complaints) as process:
            try:
                for frame, n in zip(chain([first], frames), repeats, strict=True):
                    for _ in range(n):
                        process.stdin.write(frame.tobytes())
            except BrokenPipeError:
                pass  # its complaint says why
            except BaseException:
                process.kill()
                raise
            finally:
                with suppress(BrokenPipeError):
                    process.stdin.close()
        if process.returncode != 0:
            complaints.seek(0)
            raise OSError(f"ffmpeg could not write {file.name!r}: {complaints.read().decode(errors='replace').strip()}")
