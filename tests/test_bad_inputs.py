"""Bad inputs: each gets its clear error at once and leaves no file behind; what only looks bad does the sensible thing."""

import dataclasses
import re
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import QTable, Table
from astropy.utils.exceptions import AstropyUserWarning
from astropy.wcs import WCS
from radio_beam import Beam
from regions import CirclePixelRegion, CircleSkyRegion, PixCoord, PolygonSkyRegion, RectangleSkyRegion

from sting import extract_streamline, synthetic
from sting.extract_streamline import Streamer, extract_streamer_subcube, reduce_to_1D
from sting.messages import StingWarning
from sting.noise import estimate_rms
from sting.sky_regions import read_regions

KMS, ARCSEC = u.km / u.s, u.arcsec
STAR = SkyCoord(52.2315, 31.2436, unit="deg", frame="fk5")
BLANK = SkyCoord(np.nan, np.nan, unit="deg")
FAR_SIDE = SkyCoord(232.2315, -31.2436, unit="deg", frame="fk5")
SHAPE = (8, 9, 7)
VALUES = np.arange(1.0, np.prod(SHAPE) + 1).reshape(SHAPE)

#: The one form of every refusal.
FORM = re.compile(r"""^('[^']+'|"[^"]+") must .+; got .+[.?]$""", re.DOTALL)

#: Seconds in which a refusal must come.
AT_ONCE = 5.0

AXIS = ("CTYPE", "CRVAL", "CDELT", "CRPIX", "CUNIT")

JUNK = np.random.default_rng(0).bytes(20_000)

#: What the header of a good cube is changed to; None takes a keyword away.
HEADERS = {
    "no_wcs": dict.fromkeys(("CTYPE1", "CTYPE2", "CTYPE3", "CUNIT1", "CUNIT2", "CUNIT3")),
    "metres_on_the_sky": {"CTYPE1": "X", "CTYPE2": "Y", "CUNIT1": "m", "CUNIT2": "m"},
    "one_celestial_axis": {"CTYPE2": "Y"},
    "two_projections": {"CTYPE2": "DEC--TAN"},
    "no_such_projection": {"CTYPE1": "RA---XYZ", "CTYPE2": "DEC--XYZ"},
    "no_such_unit": {"CUNIT3": "bananas"},
    "no_such_unit_on_the_sky": {"CUNIT1": "bananas"},
    "velocity_in_hertz": {"CUNIT3": "Hz"},
    "time": {"CTYPE3": "TIME", "CUNIT3": "s"},
    "no_spectral_axis": {"CTYPE3": "", "CUNIT3": ""},
    "zero_channel_width": {"CDELT3": 0.0},
    "zero_pixel_width": {"CDELT1": 0.0},
    "beyond_the_pole": {"CRVAL2": 100.0},
    "no_rest_frequency": {"CTYPE3": "FREQ", "CUNIT3": "Hz", "CRVAL3": 2.3e11, "CDELT3": 1e5, "RESTFRQ": None},
    "no_size_of_the_beam": {"BMAJ": 0.0, "BMIN": 0.0, "BPA": 0.0},
    "negative_beam": {"BMAJ": -1e-4, "BMIN": -1e-4, "BPA": 0.0},
    "intensity_in_bananas": {"BUNIT": "bananas"},
}

REGIONS = {
    "empty.reg": "",
    "header.reg": "# Region file format: DS9 version 4.1\nglobal color=green\nfk5\n",
    "comments.reg": 'fk5\n# vector(52.2315,31.2436,5",10)\n# ruler(52.2315,31.2436,52.3,31.3)\n',
    "physical.reg": "physical\ncircle(4,4,3)\n",
    "panda.reg": 'fk5\npanda(52.2315,31.2436,0,90,1,0",5",1)\n',
    "vector.reg": 'fk5\nvector(52.2315,31.2436,5",10)\n',
    "ruler.reg": "fk5\nruler(52.2315,31.2436,52.3,31.3)\n",
    "no_frame.reg": 'circle(52.2315,31.2436,3")\n',
    "nan.reg": 'fk5\ncircle(nan,nan,3")\n',
    "infinite.reg": 'fk5\ncircle(52.2315,31.2436,inf")\n',
    "negative.reg": 'fk5\ncircle(52.2315,31.2436,-3")\n',
    "beyond_the_pole.reg": 'fk5\ncircle(52.2315,131.2436,3")\n',
    "far.reg": 'fk5\ncircle(52.2315,31.6,3")\n',
    "unclosed.reg": "fk5\ncircle(52.2315,31.2436\n",
    "million.reg": "hello world circle(\n" * 300_000,
}


CIRCLE = '# Region file format: DS9\nfk5\ncircle(52.2315,31.2436,1.2")\n'


def header_of(cube, changes):
    header = cube.header.copy()
    for key, value in changes.items():
        header[key] = value
        if value is None:
            del header[key]
    return header


def write_fits(path, data, header=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is written wrongly on purpose
        fits.PrimaryHDU(np.asarray(data, "f4"), header).writeto(path)


@pytest.fixture(scope="module")
def folder(make_cube, tmp_path_factory):
    """All files that are read, good and bad; and everything imported and compiled once."""
    folder, good = tmp_path_factory.mktemp("inputs"), make_cube(VALUES)
    write_fits(folder / "good.fits", VALUES, good.header)
    for name, changes in HEADERS.items():
        write_fits(folder / f"{name}.fits", VALUES, header_of(good, changes))
    write_fits(folder / "image.fits", VALUES[0])
    write_fits(folder / "five_axes.fits", VALUES[None, None], good.header)
    write_fits(folder / "no_channels.fits", VALUES[:0], good.header)
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU(Table({"a": [1, 2]}))]).writeto(folder / "table.fits")
    whole = (folder / "good.fits").read_bytes()
    (folder / "cut_short.fits").write_bytes(whole[: len(whole) - 2880 + 100])
    (folder / "without_padding.fits").write_bytes(whole[: len(whole) - 2880 + 4 * VALUES.size])
    (folder / "cut_in_the_header.fits").write_bytes(whole[:1000])
    (folder / "empty.fits").write_bytes(b"")
    (folder / "text.fits").write_text("hello world\n")
    for name in ("junk.fits", "junk.reg", "junk.ecsv", "junk"):
        (folder / name).write_bytes(JUNK)
    # rows of columns of (RA, velocity) planes, as FITS counts the first axis first
    swapped = {f"{key}{axis}": good.header[f"{key}{old}"] for key in AXIS for axis, old in ((1, 3), (2, 1), (3, 2))}
    write_fits(folder / "swapped_axes.fits", np.transpose(VALUES, (1, 2, 0)), header_of(good, swapped))
    for name, text in REGIONS.items():
        (folder / name).write_text(text)
    (folder / "byte_order_mark.reg").write_bytes(b"\xef\xbb\xbf" + CIRCLE.encode())
    (folder / "windows.reg").write_bytes(CIRCLE.replace("\n", "\r\n").encode())
    synthetic.make_streamer_points().write(folder / "points.ecsv")
    text = (folder / "points.ecsv").read_text()
    (folder / "points_cut.ecsv").write_text(text[: len(text) // 2])
    (folder / "points_short.ecsv").write_text("".join(text.splitlines(keepends=True)[:-1]))
    (folder / "points_of_the_future.ecsv").write_text(text.replace("version: 1", "version: 2"))
    (folder / "folder.ecsv").mkdir()
    reduce_to_1D(extract_streamer_subcube(good, region=CircleSkyRegion(STAR, 5 * ARCSEC)), STAR)
    return folder


class Bench:
    """What the cases work with: the functions on a cube of `SHAPE`, and makers of their inputs."""

    def __init__(self, make_cube):
        self.make = make_cube

    def cut(self, values=VALUES, **arguments):
        return extract_streamer_subcube(self.make(values), **arguments)

    def reduce(self, values=VALUES, star=STAR, n_elements=10, beam=None, **arguments):
        return reduce_to_1D(self.make(values, beam=beam), star, n_elements, **arguments)

    def rms(self, values=VALUES, **arguments):
        return estimate_rms(self.make(values), **arguments)

    def given_rms(self, rms):
        return self.cut(rms_thresh=1, rms=rms)

    def maps(self, star=STAR, n_elements=4, **arguments):
        """`Streamer.from_maps` of good maps, but for what is given."""
        line = {"peak": np.ones(SHAPE[1:]) * u.K, "velocity": np.full(SHAPE[1:], 6.0) * KMS}
        line |= {"width": np.full(SHAPE[1:], 0.2) * KMS, "wcs": self.make(VALUES).wcs.celestial} | arguments
        return Streamer.from_maps(line.pop("peak"), line.pop("velocity"), line.pop("width"), star, n_elements, **line)

    @staticmethod
    def table(star=None, changes=None, **arguments):
        """`Streamer.from_table` of a good table, but for the columns that are changed or (None) taken away."""
        columns = {"ra": [1, 2, 3.0] * ARCSEC, "dec": [1, 2, 3.0] * ARCSEC, "velocity": [5, 6, 7.0] * KMS}
        columns |= {"ra_sigma": [0.1] * 3 * ARCSEC, "dec_sigma": [0.1] * 3 * ARCSEC, "velocity_sigma": [0.1] * 3 * KMS}
        columns |= {} if changes is None else changes
        return Streamer.from_table(QTable({k: v for k, v in columns.items() if v is not None}), star, **arguments)

    @staticmethod
    def write(path="new.ecsv", overwrite=False, **changes):
        dataclasses.replace(synthetic.make_streamer_points(), **changes).write(path, overwrite=overwrite)


def in_degrees(**changes):
    return {"ra": [52.231, 52.232, 52.233] * u.deg, "dec": [31.2436, 31.2437, 31.2438] * u.deg, **changes}


def with_one(value):
    values = VALUES.copy()
    values[3, 4, 3] = value
    return values


NO_CUBE = r"^'cube' must be a file with a cube of two axes on the sky and one of .*; got '{}' \(.*{}.*pass the cube\.$"
NO_TABLE = r"^'table' must be a file that astropy reads as a table; got '{}' .*Pass format="
NO_STREAMER = r"^'path' must be a streamer written by Streamer\.write; got '{}' \(.*{}.*\)\. Use Streamer\.from_table"
NO_FILE = r"^'{}' must be .*existing .*file; got '{}'\. Check the path\.$"
NO_OVERLAP = r"^'region' must overlap the cube; got no pixel in common\. Check its position"
SKIPPED = r"^'region' must hold only coordinates and shapes that can be used; got '{}' .*Save it as ds9 or CRTF in fk5"
UNREADABLE = r"^'region' must be a readable ds9 file; got '{}' \(.*\)\. Save it as ds9"
WHOLE = r"^'n_elements' must be a whole number of at least 2; got {}\. Use for example 10\.$"
QUANTITY = r"^'{}' must be a Quantity convertible to {}; got .*Write for example"
FINITE = r"^'{}' must be one finite number; got {}.*Leave it out"
NO_WCS = r"^'wcs' must have world coordinates that astropy reads; got a header .*Mend the header"


def broken_file(name, reason=""):
    path = f"{name}.fits"
    return lambda _: extract_streamer_subcube(path), ValueError, NO_CUBE.format(path, reason)


def region_file(name, message):
    return lambda b: b.cut(region=name), ValueError, message.format(name)


def keyword(typed, meant, function):
    message = rf"^'{typed}' must be a keyword of {function}; got '{typed}'\. Did you mean '{meant}'\?$"
    return TypeError, message


#: What is done on the `Bench`, the error, and what its message must say.
CASES = {
    # files of cubes
    "path to a folder": (lambda _: extract_streamer_subcube("."), FileNotFoundError, NO_FILE.format("cube", r"\.")),
    "missing file": (lambda _: extract_streamer_subcube("no.fits"), FileNotFoundError, NO_FILE.format("cube", r"no\.fits")),
    "missing file to reduce": (lambda _: reduce_to_1D("no.fits", STAR), FileNotFoundError, r"^'streamer_cube' must be .*Check"),
    "missing file for the noise": (lambda _: estimate_rms(Path("no.fits")), FileNotFoundError, NO_FILE.format("cube", ".*")),
    "no path at all": (lambda _: extract_streamer_subcube("a\0b"), FileNotFoundError, r"^'cube' must be .*Check the path"),
    "empty FITS": broken_file("empty", "could not be identified"),
    "text named .fits": broken_file("text", "could not be identified"),
    "binary junk named .fits": broken_file("junk"),
    "truncated FITS": broken_file("cut_short"),
    "FITS truncated in its header": broken_file("cut_in_the_header"),
    "FITS table without image": broken_file("table", "No data found"),
    "2D image": broken_file("image", "3- or 4-dimensional"),
    "five axes": broken_file("five_axes", "3- or 4-dimensional"),
    "no WCS": broken_file("no_wcs", "No celestial axes"),
    "WCS of metres": broken_file("metres_on_the_sky", "No celestial axes"),
    "one celestial axis": broken_file("one_celestial_axis", "Unmatched celestial axes"),
    "two projections": broken_file("two_projections", "Inconsistent projection types"),
    "projection that is none": broken_file("no_such_projection", "Unrecognized projection"),
    "CUNIT that is none": broken_file("no_such_unit", "bananas"),
    "CUNIT of the sky that is none": broken_file("no_such_unit_on_the_sky", "bananas"),
    "CUNIT of another axis": broken_file("velocity_in_hertz", "Mismatched units"),
    "axis of time": broken_file("time"),
    "no spectral axis": broken_file("no_spectral_axis", "No spectral axes"),
    "channels of no width": broken_file("zero_channel_width", "singular"),
    "pixels of no width": broken_file("zero_pixel_width", "singular"),
    "declination beyond the pole": broken_file("beyond_the_pole", "No valid solution"),
    "broken file to reduce": (
        lambda _: reduce_to_1D("text.fits", STAR),
        ValueError,
        r"^'streamer_cube' must be a file with a cube .*pass the cube",
    ),
    "broken file for the noise": (lambda _: estimate_rms("text.fits"), ValueError, NO_CUBE.format(r"text\.fits", "")),
    "FITS without channels": (
        lambda _: extract_streamer_subcube("no_channels.fits"),
        ValueError,
        r"^'cube' must have voxels; got the shape \(0, 9, 7\)\. Check the file",
    ),
    "frequency without rest frequency": (
        lambda _: extract_streamer_subcube("no_rest_frequency.fits"),
        ValueError,
        r"^'cube' must have a rest frequency, .* in Hz; got none .*Set it: cube\.with_spectral_unit",
    ),
    # what is no cube
    "array for a cube": (
        lambda _: extract_streamer_subcube(VALUES),
        TypeError,
        r"^'cube' must be a SpectralCube or a path; got ndarray",
    ),
    "no cube": (lambda _: reduce_to_1D(None, STAR), TypeError, r"^'streamer_cube' must be .*got NoneType\. Read it with"),
    "HDU for a cube": (
        lambda _: extract_streamer_subcube(fits.PrimaryHDU(VALUES)),
        TypeError,
        r"^'cube' must be a SpectralCube or a path; got PrimaryHDU\. Read it with SpectralCube\.read first",
    ),
    "image of a cube": (
        lambda b: extract_streamer_subcube(b.make(VALUES)[0]),
        TypeError,
        r"^'cube' must be .*got Slice\. Read it",
    ),
    "spectrum of a cube": (
        lambda b: reduce_to_1D(b.make(VALUES)[:, 1, 1], STAR),
        TypeError,
        r"^'streamer_cube' must be .*OneDSpectrum",
    ),
    "slice of no rows": (
        lambda b: extract_streamer_subcube(b.make(VALUES[:, :0])),
        ValueError,
        r"^'cube' must have voxels; got the shape \(8, 0, 7\)\. Check the file, or the slices",
    ),
    # positions
    "star with NaN": (lambda b: b.reduce(star=BLANK), ValueError, r"^'yso_centre' must have finite coordinates; got .*Correct"),
    "centre with NaN": (lambda b: b.cut(center=BLANK), ValueError, r"^'center' must have finite coordinates; got .*nan"),
    "star as text": (
        lambda b: b.reduce(star="3h28m55.569s +31d14m37.025s"),
        TypeError,
        r"^'yso_centre' must be one SkyCoord.*Write",
    ),
    "star as a pair": (lambda b: b.reduce(star=(52.2, 31.2)), TypeError, r"^'yso_centre' must be one SkyCoord; got \(52"),
    "array of stars": (
        lambda b: b.reduce(star=SkyCoord([52.2], [31.2], unit="deg")),
        TypeError,
        r"^'yso_centre' must be one SkyCoord; got .*Write SkyCoord\(",
    ),
    "centre as text without a box": (lambda b: b.cut(center="here"), TypeError, r"^'center' must be one SkyCoord; got 'here'"),
    "star above a horizon": (
        lambda b: b.reduce(star=SkyCoord(52, 31, unit="deg", frame="altaz")),
        ValueError,
        r"^'yso_centre' must be in a frame that turns into ICRS; got .*AltAz.*Give it in ICRS, FK5 or Galactic",
    ),
    "star on the far side of the sky": (
        lambda b: b.reduce(star=FAR_SIDE),
        ValueError,
        r"^'yso_centre' must lie within 10 diagonals",
    ),
    # limits
    "vmin in Hz": (lambda b: b.cut(vmin=6 * u.Hz), u.UnitsError, QUANTITY.format("vmin", "km / s")),
    "vmin in arcsec": (lambda b: b.cut(vmin=6 * ARCSEC), u.UnitsError, QUANTITY.format("vmin", "km / s")),
    "vmin bare": (lambda b: b.cut(vmin=6), u.UnitsError, QUANTITY.format("vmin", "km / s")),
    "xmin in km/s": (lambda b: b.cut(xmin=6 * KMS), u.UnitsError, QUANTITY.format("xmin", "arcsec")),
    "ymax bare": (lambda b: b.cut(ymax=6), u.UnitsError, QUANTITY.format("ymax", "arcsec")),
    "vmin above vmax": (
        lambda b: b.cut(vmin=7 * KMS, vmax=6 * KMS),
        ValueError,
        r"^'vmin' must be less than vmax; got 7 and 6 km / s",
    ),
    "vmin NaN": (lambda b: b.cut(vmin=np.nan * KMS), ValueError, FINITE.format("vmin", "nan")),
    "vmax infinite": (lambda b: b.cut(vmax=np.inf * KMS), ValueError, FINITE.format("vmax", "inf")),
    "xmin NaN": (lambda b: b.cut(xmin=np.nan * ARCSEC), ValueError, FINITE.format("xmin", "nan")),
    "ymin infinite": (lambda b: b.cut(ymin=-np.inf * ARCSEC), ValueError, FINITE.format("ymin", "-inf")),
    "vmin array": (lambda b: b.cut(vmin=[5, 6] * KMS), ValueError, FINITE.format("vmin", r"\[5")),
    "between channels": (
        lambda b: b.cut(vmin=5.02 * KMS, vmax=5.08 * KMS),
        ValueError,
        r"^'vmin, vmax' must keep at least one channel; got 5\.02 to 5\.08 km/s of a cube from 5 to 5\.7 km/s\. Change",
    ),
    "channels of no width to keep": (lambda b: b.cut(vmin=6 * KMS, vmax=6 * KMS), ValueError, r"^'vmin' must be less than vmax"),
    "box of no width": (lambda b: b.cut(xmin=0 * ARCSEC, xmax=0 * ARCSEC), ValueError, r"^'xmin' must be less than xmax; got 0"),
    "box between pixels": (
        lambda b: b.cut(xmin=0.1 * ARCSEC, xmax=0.2 * ARCSEC),
        ValueError,
        r"^'xmin, xmax, ymin, ymax' must overlap the cube; got no pixel in common\. Widen the box",
    ),
    "box off the image": (lambda b: b.cut(ymin=90 * ARCSEC), ValueError, r"^'xmin, xmax, ymin, ymax' must overlap the cube"),
    # n_elements and uncertainty
    **{
        f"n_elements {n!r}": (lambda b, n=n: b.reduce(n_elements=n), ValueError, WHOLE.format(re.escape(repr(n))))
        for n in (0, 1, -1, 10.0, True, None, "10", np.nan)
    },
    "n_elements huge": (
        lambda b: b.reduce(n_elements=10**30),
        ValueError,
        r"^'n_elements' must not exceed the number of voxels; got 10+ for 504 voxels\. Lower it",
    ),
    "one pixel for two points": (
        lambda b: b.reduce(np.ones((8, 1, 1)), n_elements=2),
        ValueError,
        r"^'n_elements' must leave voxels in every bin; got 2\. Too few pixels differ .*lower it",
    ),
    "one voxel for two points": (
        lambda b: b.reduce(np.ones((1, 1, 1)), n_elements=2),
        ValueError,
        r"^'n_elements' must not exceed the number of voxels; got 2 for 1 voxels\. Lower it or widen the cut",
    ),
    "uncertainty misspelt": (
        lambda b: b.reduce(uncertainty="means"),
        ValueError,
        r"^'uncertainty' must be one of 'spread', 'mean'; got 'means'\. Did you mean 'mean'\?$",
    ),
    "uncertainty array": (
        lambda b: b.reduce(uncertainty=np.array(["mean", "spread"])),
        ValueError,
        r"^'uncertainty' must be one of 'spread', 'mean'; got array",
    ),
    "mean without a beam": (
        lambda b: b.reduce(uncertainty="mean"),
        ValueError,
        r"^'streamer_cube' must have a beam for uncertainty='mean'; got none\. Add one",
    ),
    "mean with a beam of no size": (
        lambda b: b.reduce(beam=Beam(0 * ARCSEC), uncertainty="mean"),
        ValueError,
        r"^'streamer_cube' must have a beam for uncertainty='mean'; got none\. Add one",
    ),
    **{
        f"mean with {name} in the header": (
            lambda _, name=name: reduce_to_1D(f"{name}.fits", STAR, uncertainty="mean"),
            ValueError,
            r"^'streamer_cube' must have a beam for uncertainty='mean'; got none\. Add one",
        )
        for name in ("no_size_of_the_beam", "negative_beam")
    },
    # keywords
    "keyword of the cut": (lambda b: b.cut(rms_tresh=4), *keyword("rms_tresh", "rms_thresh", "extract_streamer_subcube")),
    "British centre": (lambda b: b.cut(centre=STAR), *keyword("centre", "center", "extract_streamer_subcube")),
    "keyword of the reduction": (lambda b: b.reduce(nelements=4), *keyword("nelements", "n_elements", "reduce_to_1D")),
    "keyword of the noise": (lambda b: b.rms(linefree=1), *keyword("linefree", "line_free", "estimate_rms")),
    "keyword of tables": (lambda b: b.table(sigma_pos=1), *keyword("sigma_pos", "sigma_position", "from_table")),
    "keyword of maps": (lambda b: b.maps(thresh=1), *keyword("thresh", "threshold", "from_maps")),
    "keyword of write": (
        lambda _: synthetic.make_streamer_points().write("new.ecsv", over_write=True),
        *keyword("over_write", "overwrite", "write"),
    ),
    # regions
    "region off the image": region_file("far.reg", NO_OVERLAP),
    "region on the far side": (lambda b: b.cut(region=CircleSkyRegion(FAR_SIDE, 3 * ARCSEC)), ValueError, NO_OVERLAP),
    "box on the far side": (
        lambda b: b.cut(region=RectangleSkyRegion(FAR_SIDE, 3 * ARCSEC, 2 * ARCSEC, 30 * u.deg)),
        ValueError,
        NO_OVERLAP,
    ),
    "polygon on the far side": (
        lambda b: b.cut(region=PolygonSkyRegion(SkyCoord([232, 233, 234], [-31, -32, -31], unit="deg"))),
        ValueError,
        NO_OVERLAP,
    ),
    "region at NaN": (lambda b: b.cut(region=CircleSkyRegion(BLANK, 3 * ARCSEC)), ValueError, NO_OVERLAP),
    "region of pixels off the image": (lambda b: b.cut(region=CirclePixelRegion(PixCoord(99, -99), 3)), ValueError, NO_OVERLAP),
    "region file at NaN": region_file("nan.reg", NO_OVERLAP),
    "binary junk named .reg": region_file("junk.reg", UNREADABLE),
    "binary junk for read_regions": (lambda _: read_regions("junk.reg"), ValueError, UNREADABLE.format("junk.reg")),
    "empty .reg": region_file("empty.reg", r"^'region' must hold at least one region; got none\. The file may be empty"),
    "header and no region": region_file("header.reg", r"^'region' must hold at least one region; got none\. The file may"),
    "comments of ds9 only": region_file("comments.reg", r"^'region' must hold at least one region; got none\. The file may"),
    "physical coordinates": region_file("physical.reg", SKIPPED),
    "panda": region_file("panda.reg", SKIPPED),
    "vector": region_file("vector.reg", SKIPPED),
    "ruler": region_file("ruler.reg", SKIPPED),
    "region without a frame": region_file("no_frame.reg", SKIPPED),
    "infinite circle": region_file("infinite.reg", SKIPPED),
    "megabytes of text named .reg": region_file("million.reg", SKIPPED),
    "negative circle": region_file("negative.reg", UNREADABLE),
    "circle beyond the pole": region_file("beyond_the_pole.reg", UNREADABLE),
    "circle cut short": region_file("unclosed.reg", UNREADABLE),
    "cube for a region": region_file("good.fits", SKIPPED),
    "folder for a region": (lambda b: b.cut(region="."), FileNotFoundError, NO_FILE.format("region", r"\.")),
    "mask for a region": (
        lambda b: b.cut(region=np.ones(SHAPE[1:], bool)),
        TypeError,
        r"^'region' must be a region, a list of regions, or a file; got array.*Make it with the package regions",
    ),
    # values
    "cube of NaN": (
        lambda b: b.cut(np.full(SHAPE, np.nan)),
        ValueError,
        r"^'cut' must leave at least one voxel with a finite value",
    ),
    "cube of NaN to reduce": (
        lambda b: b.reduce(np.full(SHAPE, np.nan)),
        ValueError,
        r"^'streamer_cube' must hold finite values",
    ),
    "cube of NaN for the noise": (
        lambda b: b.rms(np.full(SHAPE, np.nan)),
        ValueError,
        r"^'cube' must hold finite values; got blank",
    ),
    "cube of infinities": (
        lambda b: b.cut(np.full(SHAPE, np.inf)),
        ValueError,
        r"^'cut' must leave at least one voxel with a finite value",
    ),
    "cube of infinities to reduce": (
        lambda b: b.reduce(np.full(SHAPE, -np.inf)),
        ValueError,
        r"^'streamer_cube' must hold finite values",
    ),
    "cube of zeros to reduce": (
        lambda b: b.reduce(np.zeros(SHAPE)),
        ValueError,
        r"^'streamer_cube' must have positive flux in every bin; got 0\. Raise rms_thresh",
    ),
    "cube of zeros for the noise": (
        lambda b: b.rms(np.zeros(SHAPE)),
        ValueError,
        r"^'cube' must not have been masked before; got 100",
    ),
    "negative fluxes": (
        lambda b: b.reduce(-VALUES),
        ValueError,
        r"^'streamer_cube' must have positive flux in every bin; got -\d+.*Raise rms_thresh",
    ),
    "negative fluxes above a threshold": (
        lambda b: b.cut(-VALUES, rms_thresh=3),
        ValueError,
        r"^'cut' must leave .*Lower rms_thresh",
    ),
    "cube of one value for the noise": (
        lambda b: b.rms(np.ones(SHAPE)),
        ValueError,
        r"^'cube' must hold noise; got 8 channels without",
    ),
    "one voxel for the noise": (lambda b: b.rms(np.ones((1, 1, 1))), ValueError, r"^'cube' must hold noise; got 1 .*Give rms"),
    "one channel for a map of the noise": (
        lambda b: b.rms(VALUES[:1], per_pixel=True),
        ValueError,
        r"^'cube' must hold 5 channels of noise for per_pixel; got 1 channels without\. Give rms",
    ),
    # noise
    "rms in arcsec": (lambda b: b.given_rms(1 * ARCSEC), u.UnitsError, QUANTITY.format("rms", "K")),
    "rms bare": (lambda b: b.given_rms(1.0), u.UnitsError, QUANTITY.format("rms", "K")),
    "rms as text": (lambda b: b.given_rms("low"), u.UnitsError, QUANTITY.format("rms", "K")),
    "rms negative": (lambda b: b.given_rms(-1 * u.K), ValueError, r"^'rms' must be positive; got -1\.0 K\. NaN stands for"),
    "rms zero": (lambda b: b.given_rms(0 * u.K), ValueError, r"^'rms' must be positive; got 0\.0 K"),
    "rms NaN": (lambda b: b.given_rms(np.nan * u.K), ValueError, r"^'rms' must be positive; got nan K"),
    "map of rms negative": (lambda b: b.given_rms(-np.ones(SHAPE[1:]) * u.K), ValueError, r"^'rms' must be positive; got a map"),
    "map of rms of another shape": (
        lambda b: b.given_rms(np.ones(SHAPE[:0:-1]) * u.K),
        ValueError,
        r"^'rms' must be one number or a map of shape \(9, 7\); got shape \(7, 9\)\. See estimate_rms",
    ),
    "rms without threshold": (
        lambda b: b.cut(rms=1 * u.K),
        ValueError,
        r"^'rms_thresh' must be given with rms; got none\. Write for example",
    ),
    "threshold bool": (lambda b: b.cut(rms_thresh=True), ValueError, r"^'rms_thresh' must be a number of at least 0; got True"),
    "threshold huge": (lambda b: b.cut(rms_thresh=10**20), ValueError, r"^'cut' must leave at least .*Lower rms_thresh"),
    "threshold beyond all floats": (lambda b: b.cut(rms_thresh=10**400), ValueError, r"^'rms_thresh' must be a number"),
    "threshold infinite": (lambda b: b.cut(rms_thresh=np.inf), ValueError, r"^'rms_thresh' must be a number .*Use for example 4"),
    "per_pixel text": (lambda b: b.rms(per_pixel="yes"), ValueError, r"^'per_pixel' must be one of True, False; got 'yes'"),
    "line_free empty": (
        lambda b: b.rms(line_free=[]),
        ValueError,
        r"^'line_free' must hold at least one range; got \[\]\. Leave",
    ),
    "line_free of three": (lambda b: b.rms(line_free=[5, 6, 7] * KMS), ValueError, r"^'line_free' must be a pair of velocities"),
    "line_free in Hz": (lambda b: b.rms(line_free=(5 * u.Hz, 6 * u.Hz)), u.UnitsError, QUANTITY.format("line_free", "km / s")),
    "line_free off the axis": (
        lambda b: b.rms(line_free=(50 * KMS, 60 * KMS)),
        ValueError,
        r"^'line_free' must hold at least one channel",
    ),
    # tables
    "list for a table": (
        lambda _: Streamer.from_table([[1, 2]]),
        TypeError,
        r"^'table' must be an astropy table or a path; got list",
    ),
    "missing table": (lambda _: Streamer.from_table("no.ecsv"), FileNotFoundError, NO_FILE.format("table", r"no\.ecsv")),
    "junk for a table": (lambda _: Streamer.from_table("junk.ecsv"), ValueError, NO_TABLE.format(r"junk\.ecsv")),
    "junk without suffix for a table": (lambda _: Streamer.from_table("junk"), ValueError, NO_TABLE.format("junk")),
    "cube for a table": (lambda _: Streamer.from_table("good.fits"), ValueError, NO_TABLE.format(r"good\.fits")),
    "column of texts": (
        lambda b: b.table(changes={"velocity": ["a", "b", "c"]}),
        ValueError,
        r"^'table' must have one number a row",
    ),
    "offsets in K": (lambda b: b.table(changes={"ra": [1, 2, 3] * u.K}), u.UnitsError, r"^'table' must have a unit like arcsec"),
    "velocities in Hz": (
        lambda b: b.table(changes={"velocity": [1, 2, 3] * u.Hz}),
        u.UnitsError,
        r"^'table' must have a unit like km / s",
    ),
    "no uncertainty": (lambda b: b.table(changes={"ra_sigma": None}), ValueError, r"^'table' must have a column for 'ra_sigma'"),
    "uncertainty zero": (
        lambda b: b.table(changes={"ra_sigma": [0, 1, 1] * ARCSEC}),
        ValueError,
        r"^'table' must have positive uncertainties",
    ),
    "unit that is none": (
        lambda b: b.table(units={"ra": "bananas"}),
        ValueError,
        r"^'table' must have a unit that astropy knows",
    ),
    "coordinates and star with NaN": (
        lambda b: b.table(BLANK, in_degrees()),
        ValueError,
        r"^'yso_centre' must have finite coordinates",
    ),
    "coordinates above a horizon": (
        lambda b: b.table(STAR, in_degrees(), frame="altaz"),
        ValueError,
        r"^'table' must have positions in a frame that turns into ICRS; got altaz\. Convert them",
    ),
    "coordinates beyond the pole": (
        lambda b: b.table(STAR, in_degrees(dec=[131, 31, 31] * u.deg)),
        ValueError,
        r"^'table' must hold positions on the sky; got .*Check the columns",
    ),
    # maps
    "missing map": (lambda b: b.maps(peak="no.fits"), FileNotFoundError, NO_FILE.format("peak", r"no\.fits")),
    "empty file for a map": (
        lambda b: b.maps(peak="empty.fits"),
        ValueError,
        r"^'peak' must be a FITS file with an image; got 'empty\.fits'",
    ),
    "junk for a map": (
        lambda b: b.maps(width="junk.fits"),
        ValueError,
        r"^'width' must be a FITS file with an image; got 'junk\.fits'",
    ),
    "table for a map": (
        lambda b: b.maps(peak="table.fits"),
        ValueError,
        r"^'peak' must be a FITS .* \(no image in it\)\. Open the right HDU",
    ),
    "cut map": (
        lambda b: b.maps(peak="cut_short.fits"),
        ValueError,
        r"^'peak' must be a FITS file with an image; got 'cut_short\.fits'",
    ),
    "file of a cube for a map": (
        lambda b: b.maps(peak="good.fits"),
        ValueError,
        r"^'peak' must be a map: .*got shape \(8, 9, 7\)",
    ),
    "cube for a map": (lambda b: b.maps(peak=b.make(VALUES)), ValueError, r"^'peak' must be a map: .*got SpectralCube\. Select"),
    "map of complex numbers": (
        lambda b: b.maps(peak=1j * np.ones(SHAPE[1:])),
        ValueError,
        r"^'peak' must be a map: .*got ndarray",
    ),
    "maps of several shapes": (
        lambda b: b.maps(peak=np.ones((3, 3)) * u.K),
        ValueError,
        r"^'peak, velocity, width' must have one shape",
    ),
    "map of velocities in Hz": (
        lambda b: b.maps(velocity=np.ones(SHAPE[1:]) * u.Hz),
        u.UnitsError,
        r"^'velocity' must have a unit like km / s for its values; got 'Hz'",
    ),
    "maps without WCS": (lambda b: b.maps(wcs=None), ValueError, r"^'wcs' must be given with celestial axes .*Pass the WCS"),
    "WCS of no axes on the sky": (lambda b: b.maps(wcs=WCS(naxis=2)), ValueError, r"^'wcs' must be given with celestial axes"),
    "WCS of a singular matrix": (
        lambda b: b.maps(wcs=fits.Header({"CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN", "CDELT1": 0.0})),
        ValueError,
        NO_WCS,
    ),
    "WCS in bananas": (
        lambda b: b.maps(wcs=fits.Header({"CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN", "CUNIT1": "bananas"})),
        ValueError,
        NO_WCS,
    ),
    "mask of another shape": (
        lambda b: b.maps(mask=np.ones((3, 3), bool)),
        ValueError,
        r"^'mask' must be boolean and of the maps' shape",
    ),
    "mask of several lengths": (
        lambda b: b.maps(mask=[[True], [True, False]]),
        ValueError,
        r"^'mask' must be boolean and of the maps' shape",
    ),
    "mask of nothing": (
        lambda b: b.maps(mask=np.zeros(SHAPE[1:], bool)),
        ValueError,
        r"^'peak, velocity, width' must leave at least one pixel",
    ),
    "threshold of maps NaN": (
        lambda b: b.maps(threshold=np.nan),
        ValueError,
        r"^'threshold' must be a number or a Quantity in the unit of peak",
    ),
    "map's star with NaN": (lambda b: b.maps(star=BLANK), ValueError, r"^'yso_centre' must have finite coordinates"),
    "map's beam of no size": (lambda b: b.maps(beam=Beam(0 * ARCSEC)), ValueError, r"^'beam' must have a size; got .*Correct"),
    "map's beam as text": (lambda b: b.maps(beam="1 arcsec"), TypeError, r"^'beam' must be a radio_beam\.Beam; got '1 arcsec'"),
    "more points than pixels": (
        lambda b: b.maps(n_elements=10**9),
        ValueError,
        r"^'n_elements' must not exceed the number of pixels",
    ),
    # files of streamers
    "missing streamer": (lambda _: Streamer.read("no.ecsv"), FileNotFoundError, NO_FILE.format("path", r"no\.ecsv")),
    "no path to read": (lambda _: Streamer.read(None), TypeError, r"^'path' must be a path; got None\. Write for example"),
    "folder to read": (lambda _: Streamer.read("."), FileNotFoundError, NO_FILE.format("path", r"\.")),
    "junk to read": (lambda _: Streamer.read("junk.ecsv"), ValueError, NO_STREAMER.format(r"junk\.ecsv", "codec")),
    "cube to read": (lambda _: Streamer.read("good.fits"), ValueError, NO_STREAMER.format(r"good\.fits", "")),
    "streamer cut short": (lambda _: Streamer.read("points_cut.ecsv"), ValueError, NO_STREAMER.format("points_cut.ecsv", "")),
    "streamer short of a row": (
        lambda _: Streamer.read("points_short.ecsv"),
        ValueError,
        NO_STREAMER.format("points_short.ecsv", "10 points and 10 voxels expected, 19 rows found"),
    ),
    "streamer of another version": (
        lambda _: Streamer.read("points_of_the_future.ecsv"),
        ValueError,
        NO_STREAMER.format("points_of_the_future.ecsv", "version 2, this one reads 1"),
    ),
    "existing file to write": (
        lambda b: b.write("points.ecsv"),
        FileExistsError,
        r"^'path' must not exist yet; got .*overwrite=True",
    ),
    "folder to write": (lambda b: b.write("folder.ecsv", overwrite=True), FileExistsError, r"^'path' must not exist yet; got"),
    "missing folder to write": (
        lambda b: b.write("no/a.ecsv"),
        FileNotFoundError,
        r"^'path' must lie in an existing folder.*Create",
    ),
    "suffix to write": (
        lambda b: b.write("a.fits"),
        ValueError,
        r"^'path' must end in \.ecsv, .*got 'a\.fits'\. Name it streamer\.ecsv",
    ),
    "no path to write": (lambda b: b.write(None), TypeError, r"^'path' must be a path; got None\. Write for example"),
    "name too long to write": (
        lambda b: b.write("a" * 500 + ".ecsv"),
        ValueError,
        r"^'path' must be a name that the file system takes",
    ),
    "name of no file to write": (lambda b: b.write("a\0.ecsv"), ValueError, r"^'path' must be a name that the file system takes"),
    "meta that is no text": (
        lambda b: b.write(meta={"a": object()}),
        ValueError,
        r"^'meta' must hold numbers, texts, .*Remove the rest",
    ),
    "no meta": (lambda b: b.write(meta=None), ValueError, r"^'meta' must be a dict; got None\. Use \{\} for none"),
    "arrays of several lengths": (lambda b: b.write(ra_data=np.ones(3)), ValueError, r"^'streamer' must have a cloud of shape"),
    "number for an array": (
        lambda b: b.write(ra_data=1.0),
        ValueError,
        r"^'streamer' must have a cloud of shape \(4, n_voxels\)",
    ),
    "texts for an array": (
        lambda b: b.write(ra_data=["a"] * 10),
        ValueError,
        r"^'streamer' must have arrays of numbers; got .*Correct its arrays",
    ),
}


def contents(folder):
    """Names of everything in a folder, with the bytes of files."""
    return {path: path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


@pytest.fixture
def at_once(folder, monkeypatch):
    """In the folder of the files: what runs takes no time, and neither adds nor changes one."""
    monkeypatch.chdir(folder)
    before, start = contents(folder), time.perf_counter()
    yield
    assert time.perf_counter() - start < AT_ONCE
    assert contents(folder) == before


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("case", CASES)
def test_refused(make_cube, case):
    act, error, message = CASES[case]
    with pytest.raises(error, match=re.compile(message, re.DOTALL)) as caught:
        act(Bench(make_cube))
    assert FORM.match(str(caught.value))
    assert len(str(caught.value)) < 800
    assert "\n" not in str(caught.value)


def voxels(cut):
    """Values of the voxels that a cut keeps."""
    values = cut.filled_data[:].value
    return np.sort(values[~np.isnan(values)])


def assert_same(found, expected):
    np.testing.assert_array_equal(found.pc_coords, expected.pc_coords)
    np.testing.assert_array_equal(found.data, expected.data)
    np.testing.assert_array_equal(found.uncertainties, expected.uncertainties)


@pytest.mark.usefixtures("at_once")
class TestWhatOnlyLooksBad:
    @pytest.fixture
    def bench(self, make_cube):
        return Bench(make_cube)

    def test_axes_in_another_order(self):
        found, expected = (reduce_to_1D(path, STAR) for path in ("swapped_axes.fits", "good.fits"))
        np.testing.assert_allclose(found.data, expected.data, atol=1e-9)

    def test_file_without_the_padding_at_its_end(self):
        with pytest.warns(AstropyUserWarning, match="may have been truncated"):
            cut = extract_streamer_subcube("without_padding.fits")
        np.testing.assert_array_equal(voxels(cut), VALUES.ravel())

    def test_intensity_in_a_unit_that_is_none(self):
        with pytest.warns(AstropyUserWarning, match="Could not parse unit bananas"):
            cut = extract_streamer_subcube("intensity_in_bananas.fits", vmin=5.35 * KMS)
        np.testing.assert_array_equal(voxels(cut), VALUES[4:].ravel())

    def test_beam_of_no_size_where_none_is_needed(self):
        assert "beam" not in reduce_to_1D("negative_beam.fits", STAR).meta

    @pytest.mark.parametrize("name", ["byte_order_mark.reg", "windows.reg"])
    def test_regions_as_other_editors_save_them(self, bench, name):
        expected = bench.cut(region=CircleSkyRegion(STAR, 1.2 * ARCSEC))
        np.testing.assert_array_equal(voxels(bench.cut(region=name)), voxels(expected))
        assert 0 < len(voxels(expected)) < VALUES.size

    def test_region_around_the_whole_image(self, bench):
        assert bench.cut(region=CircleSkyRegion(STAR, 100 * u.deg)).shape == SHAPE

    @pytest.mark.parametrize("shape", [(1, 9, 7), (8, 1, 1), (1, 1, 1)])
    def test_one_channel_or_pixel_is_cut_as_any(self, bench, shape):
        values = VALUES[: shape[0], : shape[1], : shape[2]]
        cut = bench.cut(values, vmin=4.9 * KMS, xmin=-9 * ARCSEC, rms_thresh=1e-9)
        np.testing.assert_array_equal(voxels(cut), np.sort(values.ravel()))

    def test_one_channel_is_reduced(self, bench):
        streamer = bench.reduce(VALUES[:1])
        np.testing.assert_allclose(streamer.v_data, 5.0)
        assert (np.array(streamer.uncertainties) > 0).all()

    @pytest.mark.parametrize("infinity", [np.inf, -np.inf])
    def test_infinities_are_blank(self, bench, infinity):
        infinite, blank = with_one(infinity), with_one(np.nan)
        for limits in ({}, {"rms_thresh": 0.5}, {"rms_thresh": 0.5, "rms": 1 * u.K}, {"vmin": 5.25 * KMS, "xmin": -1 * ARCSEC}):
            np.testing.assert_array_equal(voxels(bench.cut(infinite, **limits)), voxels(bench.cut(blank, **limits)))
        assert_same(bench.reduce(infinite), bench.reduce(blank))
        assert bench.rms(infinite) == bench.rms(blank)

    def test_faint_and_bright_units(self, bench):
        beam = Beam(1 * ARCSEC)
        expected = bench.reduce(beam=beam, uncertainty="mean")
        for scale in (1e-200, 1e200):
            found = bench.reduce(VALUES * scale, beam=beam, uncertainty="mean")
            np.testing.assert_allclose(found.data, expected.data, rtol=1e-9)
            np.testing.assert_allclose(found.uncertainties, expected.uncertainties, rtol=1e-9)

    def test_star_in_cartesian_coordinates(self, bench):
        star = SkyCoord(STAR.icrs.cartesian, frame="icrs", representation_type="cartesian")
        np.testing.assert_allclose(bench.reduce(star=star).pc_coords, bench.reduce().pc_coords, atol=1e-6)

    def test_zeros_with_a_threshold(self, bench):
        with (
            pytest.warns(StingWarning, match=r"^100\.0% of the cube is exactly zero"),
            pytest.raises(ValueError, match=r"^'cut' must leave at least one voxel with a finite value; got none"),
        ):
            bench.cut(np.zeros(SHAPE), rms_thresh=4)

    def test_rows_with_infinities_are_left_out(self, bench):
        with pytest.warns(StingWarning, match=r"^1 of 3 rows of the table hold a NaN, infinity or blank and were left out"):
            assert len(bench.table(changes={"ra": [np.inf, 1, 2] * ARCSEC})) == 2

    def test_rows_of_nothing_else(self, bench):
        with (
            pytest.warns(StingWarning, match=r"^3 of 3 rows"),
            pytest.raises(ValueError, match=r"^'table' must have at least two rows without NaN; got 0"),
        ):
            bench.table(changes={"ra": [np.nan] * 3 * ARCSEC})

    def test_table_with_a_meta_of_the_same_name(self):
        table = synthetic.make_streamer_points().to_table()
        table["part"] = ["outer"] * len(table)
        table.meta["streamer"] = "IRAS 2A"
        assert len(Streamer.from_table(table)) == len(table)

    @pytest.mark.parametrize("name", ["peak", "velocity", "width"])
    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_maps_of_nothing(self, bench, name, value):
        unit = u.K if name == "peak" else KMS
        with (
            pytest.warns(StingWarning, match=r"^63 pixels were left out"),
            pytest.raises(ValueError, match=r"^'peak, velocity, width' must leave at least one pixel with a component"),
        ):
            bench.maps(**{name: np.full(SHAPE[1:], value) * unit})

    @pytest.mark.parametrize("beam", [{"BMAJ": "wide"}, {"BMAJ": -1.0}, {"BMAJ": 1e-4, "BMIN": 0.0}])
    def test_map_whose_header_has_no_true_beam(self, bench, beam):
        header = bench.make(VALUES).wcs.celestial.to_header()
        header.update(BUNIT="K", **beam)
        peak = fits.PrimaryHDU(VALUES[0], header)
        assert "beam" not in bench.maps(peak=peak).meta
        with pytest.raises(ValueError, match=r"^'beam, channel' must be known for uncertainty='mean'; got one of them"):
            bench.maps(peak=peak, uncertainty="mean", channel=0.1 * KMS)


@pytest.mark.parametrize(
    "arguments",
    [{"vmin": 6}, {"xmin": np.nan * ARCSEC}, {"region": "no.reg"}, {"center": BLANK}, {"rms_tresh": 4}, {"vmin": 50 * KMS}],
    ids=str,
)
def test_the_noise_of_a_large_cube_is_found_after_the_checks(make_cube, monkeypatch, arguments):
    def never(cube):
        raise AssertionError

    monkeypatch.setattr(extract_streamline, "find_noise", never)
    with pytest.raises((ValueError, TypeError, FileNotFoundError, u.UnitsError), match="must"):
        Bench(make_cube).cut(**{"rms_thresh": 4} | arguments)
