"""Cubes larger than the memory: what is read of them, how much at a time, and what stays lazy."""

import mmap
import sys
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import dask.array as da
import numpy as np
import pytest
import tqdm.notebook
from astropy import units as u
from astropy.io import fits
from astropy.stats import mad_std
from radio_beam import Beams
from spectral_cube import DaskSpectralCube, SpectralCube, VaryingResolutionSpectralCube

from sting import cubes, cuts, noise, voxels
from sting.cubes import open_cube, to_velocity
from sting.extract_streamline import extract_streamer_subcube, reduce_to_1D
from sting.noise import estimate_rms, find_noise
from sting.voxels import blocks, read

KMS, ARCSEC = u.km / u.s, u.arcsec


class Loader:
    """An array that can only be sliced, and counts the voxels that were."""

    def __init__(self, values):
        self.values, self.n_loaded = values, 0
        self.shape, self.dtype, self.ndim = values.shape, values.dtype, values.ndim

    def __getitem__(self, view):
        part = self.values[view]
        self.n_loaded += part.size
        return part


def dask_cube(cube, chunks):
    """The same cube on Dask, and what counts its voxels."""
    loader = Loader(cube.unmasked_data[:].value)
    return DaskSpectralCube(da.from_array(loader, chunks=chunks), wcs=cube.wcs, meta={"BUNIT": "K"}), loader


@pytest.fixture
def parts_read(monkeypatch):
    """Sizes of all parts that are read, in turn."""
    sizes, values = [], voxels._values

    def counted(cube, view):
        found = values(cube, view)
        sizes.append(found.size)
        return found

    monkeypatch.setattr(voxels, "_values", counted)
    return sizes


@pytest.fixture(scope="module")
def large(make_cube, tmp_path_factory):
    """A file of 64 MB, noise of 1 K with a bright ridge, and the position of its middle."""
    values = np.random.default_rng(2).standard_normal((160, 320, 312), dtype=np.float32)
    values[70:90, 150:240, 150:156] += 20
    cube = make_cube(np.zeros((160, 1, 1)))
    header = cube.header.copy()
    header.update(BUNIT="K", CRPIX1=157.0, CRPIX2=161.0)
    path = tmp_path_factory.mktemp("large") / "cube.fits"
    fits.PrimaryHDU(values, header).writeto(path)
    return path


@pytest.fixture
def star(large):
    cube = open_cube(large)
    return cubes.positions(cube.wcs.celestial, (156, 140))


def peak_memory(function):
    """Largest memory (bytes) that was allocated while a function ran."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


class TestBlocks:
    @pytest.mark.parametrize("size", [1, 7, 40, 200, 10**6])
    @pytest.mark.parametrize("chunks", [None, (2, 3, 4), (5, 7, 8), (1, 7, 8), (5, 1, 3)])
    def test_cover_every_voxel_once(self, make_cube, chunks, size):
        cube = make_cube(np.zeros((5, 7, 8)))
        cube = dask_cube(cube, chunks)[0] if chunks else cube
        times = np.zeros(cube.shape, int)
        for view in blocks(cube, size):
            times[view] += 1
            assert times[view].size <= max(size, np.prod(chunks or 1))
        assert (times == 1).all()

    def test_are_in_the_order_of_the_array(self, make_cube):
        numbers = np.arange(5 * 7 * 8).reshape(5, 7, 8)
        for size in (8, 24, 56, 120):
            found = np.concatenate([numbers[view].ravel() for view in blocks(make_cube(numbers), size)])
            np.testing.assert_array_equal(found, numbers.ravel())

    def test_are_whole_chunks(self, make_cube):
        cube, _ = dask_cube(make_cube(np.zeros((6, 9, 8))), (2, 3, 4))
        for view in blocks(cube, 100):
            assert all(part.start % n == 0 and part.stop % n in (0, 9 % n) for part, n in zip(view, (2, 3, 4), strict=True))
        assert len(blocks(cube, 100)) < 3 * 3 * 2


class TestRead:
    """`read` finds what filled_data finds."""

    def assert_same(self, cube):
        expected = cube.filled_data[:].value
        found = np.full(cube.shape, -1e30)
        for view, values in read(cube, blocks(cube, 100)):
            assert values.dtype.isnative
            assert values.dtype == expected.dtype.newbyteorder("=")
            found[view] = values
        np.testing.assert_array_equal(found, expected)

    @pytest.fixture
    def cube(self, make_cube):
        values = np.random.default_rng(1).standard_normal((9, 10, 11))
        values[2, :4] = np.nan
        return make_cube(values)

    def masked(self, cube):
        return cube.with_mask(cube > 0.3 * u.K).with_mask(np.broadcast_to(np.arange(11) % 3 > 0, cube.shape))

    def test_a_cube(self, cube):
        self.assert_same(cube)
        self.assert_same(self.masked(cube))
        self.assert_same(self.masked(cube)[2:7, 3:, :-2])
        self.assert_same(self.masked(cube).with_fill_value(0.0))

    def test_dask(self, cube):
        cube, _ = dask_cube(cube, (4, 5, 6))
        self.assert_same(cube)
        self.assert_same(self.masked(cube))
        self.assert_same(self.masked(cube)[2:7, 3:, :-2])
        self.assert_same(cube.with_mask(np.broadcast_to(np.arange(11) % 3 > 0, cube.shape), inherit_mask=False))

    @pytest.mark.parametrize("dtype", [">f4", "<f4", ">f8", ">i2"])
    def test_kinds_of_numbers(self, cube, dtype, tmp_path):
        values = (100 * np.nan_to_num(cube.filled_data[:].value)).astype(dtype)
        fits.PrimaryHDU(values, cube.header).writeto(tmp_path / "cube.fits")
        self.assert_same(open_cube(tmp_path / "cube.fits"))
        self.assert_same(self.masked(open_cube(tmp_path / "cube.fits")))

    def test_channels_without_a_beam(self, cube):
        size = np.where(np.arange(9) // 3 == 1, np.nan, 1.2) * ARCSEC
        varying = VaryingResolutionSpectralCube(
            cube.unmasked_data[:], wcs=cube.wcs, beams=Beams(major=size, minor=size, pa=np.zeros(9) * u.deg)
        )
        self.assert_same(varying)

    def test_what_was_changed_in_memory_stays(self, cube, tmp_path):
        """A mapped file is let go of only where it holds the same."""
        fits.PrimaryHDU(np.zeros((40, 50, 60), np.float32), cube.header).writeto(tmp_path / "cube.fits")
        with fits.open(tmp_path / "cube.fits") as hdus:
            hdus[0].data[3] = 7
            cube = SpectralCube.read(hdus[0])
            for _ in range(2):
                assert sum(values.sum() for _, values in read(cube, blocks(cube, 500))) == 7 * 50 * 60


class TestProgress:
    def test_is_shown_if_it_takes_long(self, make_cube, monkeypatch):
        bars = []

        class Bar(tqdm.std.tqdm):
            def __init__(self, **options):
                super().__init__(disable=True, **options)
                self.options, self.n_done = options, 0
                bars.append(self)

            def update(self):
                self.n_done += 1

        monkeypatch.setattr(voxels, "tqdm", Bar)
        cube = make_cube(np.ones((10, 4, 5)))
        assert len(list(read(cube, blocks(cube, 40)))) == 5
        (bar,) = bars
        assert (bar.n_done, bar.options["total"], bar.options["delay"]) == (5, 5, 2)

    def test_notebook_shows_nothing_of_what_ends_early(self, make_cube, monkeypatch):
        shown = []
        monkeypatch.setattr(tqdm.notebook, "display", shown.append)
        monkeypatch.setattr(voxels, "tqdm", tqdm.notebook.tqdm)
        cube = make_cube(np.ones((10, 4, 5)))
        assert any(values.any() for _, values in read(cube, blocks(cube, 40)))
        assert shown == []

    def test_what_is_stopped_leaves_the_file_as_it_was(self, large):
        """An interrupt comes between two blocks at the latest, and the next reading starts anew."""
        cube = open_cube(large)

        def stopped():
            with voxels.scattered(cube):
                for _ in read(cube, blocks(cube)):
                    raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            stopped()
        assert sum(values.size for _, values in read(cube, blocks(cube))) == cube.size


@pytest.mark.skipif(not hasattr(mmap.mmap, "madvise"), reason="the system takes no advice")
class TestAdvice:
    """What the system is told about a file that is read as an array."""

    @pytest.mark.parametrize("options", [{}, {"use_dask": True}])
    def test_the_file_behind_a_cube_is_found(self, large, options):
        cube = SpectralCube.read(large, format="fits", **options)
        assert isinstance(voxels._mapping(cube[2:30, 5:50]._data), mmap.mmap)

    def test_there_is_none_behind_numbers(self, make_cube):
        cube = make_cube(np.ones((10, 4, 5)))
        assert voxels._mapping(cube._data) is None
        assert voxels._mapping(dask_cube(cube, (5, 2, 5))[0]._data) is None

    @pytest.fixture
    def asked(self, large, monkeypatch):
        """The data of the file, where they begin in it, and what is asked for of it."""
        with fits.open(large, mode="denywrite") as hdus:
            data, begin = hdus[0].data, hdus[0].fileinfo()["datLoc"]
        advice, memory = [], SimpleNamespace(ctypes=SimpleNamespace(data=data.ctypes.data - begin))
        monkeypatch.setattr(voxels, "_mapping", lambda _: SimpleNamespace(madvise=lambda *what: advice.append(what)))
        monkeypatch.setattr(voxels.np, "frombuffer", lambda *_: memory)
        return data, begin, advice

    def test_few_bytes_beside_a_view_are_asked_for(self, asked):
        data, begin, advice = asked
        voxels._ask_for(data, (slice(3, 5), slice(10, 20), slice(0, 312)))
        assert [kind for kind, *_ in advice] == [mmap.MADV_WILLNEED] * 2
        for (_, start, length), channel in zip(advice, (3, 4), strict=True):
            first = begin + 4 * 312 * (320 * channel + 10)
            assert start % mmap.PAGESIZE == 0
            assert first - mmap.PAGESIZE < start <= first
            assert start + length == first + 4 * 312 * 10

    def test_nothing_is_asked_for_of_axes_in_another_order(self, asked):
        data, _, advice = asked
        voxels._ask_for(data.transpose(2, 0, 1), (slice(0, 2), slice(0, 5), slice(0, 320)))
        assert not advice


class TestMemory:
    @pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
    def test_a_file_that_was_read_is_let_go_of(self, large):
        def mapped():
            return int(Path("/proc/self/statm").read_text().split()[2]) * 4096

        cube = to_velocity(open_cube(large))
        before = mapped()
        most = max(mapped() for _ in read(cube, blocks(cube, 2**18)))
        assert cube.size * 4 > 60e6
        assert most - before < 8e6

    def test_a_cut_takes_a_fraction_of_the_cube(self, large, star, monkeypatch):
        monkeypatch.setattr(noise, "NOISE_SAMPLE", 10**6)
        monkeypatch.setattr(noise, "SAMPLED", 200_000)
        n_bytes = large.stat().st_size

        def whole():
            reduce_to_1D(extract_streamer_subcube(large, rms_thresh=6), star)

        def window():
            cut = extract_streamer_subcube(large, 11 * KMS, 15 * KMS, -20 * ARCSEC, 20 * ARCSEC, rms_thresh=6, center=star)
            reduce_to_1D(cut, star)

        whole()
        assert peak_memory(whole) < 0.5 * n_bytes
        assert peak_memory(window) < 0.2 * n_bytes

    def test_too_many_voxels(self, make_cube, monkeypatch, parts_read):
        monkeypatch.setattr(voxels, "MOST_VOXELS", 999)
        cube = make_cube(np.ones((10, 10, 10)))
        pattern = r"^'streamer_cube' must hold at most 999 finite voxels; got more\. Cut it with rms_thresh"
        with pytest.raises(ValueError, match=pattern):
            reduce_to_1D(cube, cubes.positions(cube.wcs.celestial, (4, 5)))
        monkeypatch.setattr(voxels, "MOST_VOXELS", 1000)
        assert len(reduce_to_1D(cube, cubes.positions(cube.wcs.celestial, (4, 5))).pc_coords[0]) == 1000


class TestWhatIsRead:
    def test_the_cut_alone_and_a_block_at_a_time(self, large, star, parts_read, monkeypatch):
        cut = extract_streamer_subcube(
            large, 11 * KMS, 15 * KMS, -20 * ARCSEC, 20 * ARCSEC, rms_thresh=4, rms=1 * u.K, center=star
        )
        # that anything is left
        assert sum(parts_read) <= voxels.BLOCK // 16
        parts_read.clear()
        monkeypatch.setattr(voxels, "blocks", lambda cube: blocks(cube, 20_000))
        reduce_to_1D(cut, star)
        assert sum(parts_read) == cut.size < open_cube(large).size / 10
        assert max(parts_read) <= 20_000

    def test_a_sample_for_the_noise(self, large, parts_read, monkeypatch):
        monkeypatch.setattr(noise, "NOISE_SAMPLE", 10**6)
        monkeypatch.setattr(noise, "SAMPLED", 400_000)
        assert find_noise(open_cube(large)).rms == pytest.approx(1, rel=0.01)
        assert 300_000 < sum(parts_read) < 600_000

    def test_all_of_a_cube_that_is_nearly_blank(self, make_cube, monkeypatch, parts_read):
        monkeypatch.setattr(noise, "NOISE_SAMPLE", 10**4)
        monkeypatch.setattr(noise, "SAMPLED", 10**3)
        values = np.full((40, 50, 60), np.nan)
        values[5, 6:9] = np.random.default_rng(0).standard_normal((3, 60))
        assert find_noise(make_cube(values)).rms == mad_std(values[5, 6:9])
        assert max(np.cumsum(parts_read)) > values.size


LIMITS = {"vmin": 5.35 * KMS, "vmax": 7.55 * KMS, "rms_thresh": 5}


class TestDask:
    @pytest.fixture
    def parts(self, make_cube):
        values = np.random.default_rng(0).standard_normal((30, 40, 50))
        values[10:20, 15:30, 20:25] += 30
        cube = make_cube(values)
        return cube, *dask_cube(cube, (8, 16, 16)), cubes.positions(cube.wcs.celestial, (22, 10))

    def test_stays_lazy(self, parts, monkeypatch):
        _, lazy, loader, _ = parts
        monkeypatch.setattr(cuts, "BLOCK", 16)  # of single chunks
        cut = extract_streamer_subcube(lazy, **LIMITS, rms=1 * u.K)
        assert isinstance(cut, DaskSpectralCube)
        assert isinstance(cut._data, da.Array)
        # until a voxel was found that is left
        assert loader.n_loaded < lazy.size / 2

    def test_every_voxel_is_loaded_once(self, parts):
        _, lazy, loader, star = parts
        cut = extract_streamer_subcube(lazy, **LIMITS, rms=1 * u.K)
        loader.n_loaded = 0
        reduce_to_1D(cut, star)
        channels = 8 * (1 + (26 - 1) // 8 - 4 // 8)
        assert cut.size <= loader.n_loaded <= channels * 40 * 50

    def test_finds_what_is_found_without(self, parts):
        cube, lazy, _, star = parts
        expected, found = (reduce_to_1D(extract_streamer_subcube(each, **LIMITS), star) for each in (cube, lazy))
        np.testing.assert_array_equal(found.pc_coords, expected.pc_coords)
        np.testing.assert_array_equal(found.data, expected.data)
        np.testing.assert_array_equal(found.uncertainties, expected.uncertainties)


Z, Y, X = np.ogrid[:150, :120, :130]


class TestSample:
    """The noise of a sample is that of the cube, however the noise differs over it."""

    @pytest.fixture(autouse=True)
    def small(self, monkeypatch):
        monkeypatch.setattr(noise, "NOISE_SAMPLE", 10**6)
        monkeypatch.setattr(noise, "SAMPLED", 300_000)
        monkeypatch.setattr(noise, "FEWEST_AT_ONCE", 2**10)

    @pytest.mark.parametrize("chunks", [None, (40, 40, 40)])
    @pytest.mark.parametrize(
        "level",
        [
            1 + Y / 60 + 0 * Z,
            1 + Z / 75,
            1 + X / 65 + 0 * Z,
            np.where(Z % 2, 1.0, 2.0),
            np.where(Y % 2, 1.0, 2.0),
            np.where(Y % 4 + Z % 4 < 3, 1.0, 3.0),
            1 + ((Y - 60) ** 2 + (X - 65) ** 2) / 4000,
            np.where((Z < 4) | (Y > 110), 5.0, 1.0),
            np.where((Y + 3 * Z) % 10 < 5, 1.0, 2.0),
        ],
        ids=["rows", "channels", "columns", "odd channels", "odd rows", "both", "primary beam", "edges", "diagonal"],
    )
    def test_is_unbiased(self, make_cube, level, chunks):
        values = np.random.default_rng(4).standard_normal((150, 120, 130)) * level
        cube = make_cube(values)
        cube = dask_cube(cube, chunks)[0] if chunks else cube
        assert find_noise(cube).rms == pytest.approx(mad_std(values), rel=0.01)

    def test_of_some_channels(self, make_cube):
        values = np.random.default_rng(4).standard_normal((150, 120, 130))
        values[50:60] *= 100
        cube = make_cube(values)
        ranges = [(cube.spectral_axis[a], cube.spectral_axis[b]) for a, b in ((0, 49), (60, 149))]
        free = np.delete(values, np.s_[50:60], axis=0)
        assert estimate_rms(cube, line_free=ranges).value == pytest.approx(mad_std(free), rel=0.01)
        assert estimate_rms(cube).value > 1.05 * mad_std(free)


class TestBox:
    """The offsets of few pixels tell where a box is, and of those in it alone all are computed."""

    @pytest.mark.parametrize("frame", ["fk5", "galactic"])
    @pytest.mark.parametrize("box", [(-3, 5, -20, 1), (None, -14.2, None, None), (0.1, 0.9, 30.2, 30.9), (-40, 40, -60, 60)])
    def test_is_that_of_all_pixels(self, make_cube, box, frame):
        cube = make_cube(np.zeros((1, 203, 150)), frame=frame)
        center = cubes.positions(cube.wcs.celestial, (70.3, 99.6))
        east, north = cubes.offsets(cube, center)
        low_x, high_x, low_y, high_y = (np.inf * sign if v is None else v for v, sign in zip(box, (-1, 1, -1, 1), strict=True))
        expected = (east >= low_x) & (east <= high_x) & (north >= low_y) & (north <= high_y)
        found = cuts._box_mask(cube, center, *(None if v is None else v * ARCSEC for v in box))
        np.testing.assert_array_equal(found, expected)
        assert 0 < expected.sum() < expected.size or box[0] == -40

    def test_few_offsets_are_computed(self, make_cube, monkeypatch):
        cube, sizes = make_cube(np.zeros((1, 400, 500))), []

        def counted(cube, center, pixels=None):
            sizes.append(np.size(pixels[0]))
            return cubes.offsets(cube, center, pixels)

        monkeypatch.setattr(cuts, "offsets", counted)
        cut = extract_streamer_subcube(cube, xmin=-5.1 * ARCSEC, xmax=5.1 * ARCSEC, ymin=-5.1 * ARCSEC, ymax=5.1 * ARCSEC)
        assert cut.shape[1:] == (21, 21)
        assert sum(sizes) < 0.1 * 400 * 500
