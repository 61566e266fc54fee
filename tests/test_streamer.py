"""The points of a fit: from tables, from maps, to files and back."""

import itertools
import os
import re
from unittest import mock

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import QTable, Table
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from radio_beam import Beam
from spectral_cube import Projection

import sting
from sting import extract_streamline, synthetic
from sting import streamer as room
from sting.extract_streamline import reduce_to_1D
from sting.gradient_descent import fit_streamline
from sting.messages import StingWarning
from sting.outputs import plot_morphology, plot_vel_radius
from sting.streamer import Streamer

KMS = u.km / u.s
ARCSEC = u.arcsec
STAR = SkyCoord(52.2315, 31.2436, unit="deg", frame="fk5")
#: On no symmetry of the pixels, so that all differ in their distance by more than rounding.
BESIDE = STAR.spherical_offsets_by(0.13 * ARCSEC, 0.07 * ARCSEC)
FORM = re.compile(r"""^('[^']+'|"[^"]+") must .+; got .+[.)]$""", re.DOTALL)
SIGMAS = {"sigma_position": 0.2 * ARCSEC, "sigma_velocity": 0.05 * KMS}

#: Offsets (arcsec), velocity (km/s) and uncertainties of four points, from the outside in.
POINTS = np.array([[4.0, 3.0, 2.0, 1.0], [5.0, 4.0, 2.5, 1.0], [7.1, 7.2, 7.3, 7.5]])
WIDTHS = np.array([[0.4, 0.3, 0.2, 0.1], [0.5, 0.35, 0.25, 0.15], [0.08, 0.06, 0.04, 0.02]])


def same(first, second):
    """Whether two streamers agree in every bit, signs of zeros included and NaN equal to NaN."""
    names = ("pc_coords", "ra_data", "dec_data", "v_data", "ra_sigma", "dec_sigma", "v_sigma")
    pairs = [(np.asarray(getattr(first, n), float), np.asarray(getattr(second, n), float)) for n in names]
    equal = [a.shape == b.shape and np.array_equal(a, b, equal_nan=True) for a, b in pairs]
    return all(equal) and all(np.array_equal(np.signbit(a[a == 0]), np.signbit(b[b == 0])) for a, b in pairs)


@pytest.fixture
def streamer():
    cloud = np.vstack([np.repeat(POINTS, 3, axis=1), np.arange(12.0)])
    return Streamer(cloud, *POINTS, *WIDTHS, meta={"uncertainty": "spread", "beam": [1.5, 1.0, 20.0], "pixel": 0.5})


def table(**changes):
    """The points as a table that `to_table` might have written; a change to None drops the column."""
    names = ("ra", "dec", "velocity")
    columns = {n: v * unit for n, v, unit in zip(names, POINTS, (ARCSEC, ARCSEC, KMS), strict=True)}
    columns |= {f"{n}_sigma": v * unit for n, v, unit in zip(names, WIDTHS, (ARCSEC, ARCSEC, KMS), strict=True)}
    return QTable({name: column for name, column in (columns | changes).items() if column is not None})


def bare():
    """The same without units."""
    return Table({name: np.asarray(table()[name].value) for name in table().colnames})


def sky_points(star=STAR):
    return star.spherical_offsets_by(*(POINTS[:2] * ARCSEC))


class TestClass:
    def test_has_one_home_and_its_old_names(self):
        assert Streamer is extract_streamline.Streamer is sting.Streamer
        assert Streamer.__module__ == "sting.streamer"

    def test_table(self, streamer):
        found = streamer.to_table()
        assert found.colnames == ["ra", "dec", "velocity", "ra_sigma", "dec_sigma", "velocity_sigma"]
        assert found["velocity_sigma"].unit == KMS
        np.testing.assert_array_equal(found["dec_sigma"].value, WIDTHS[1])
        found.meta["pixel"] = 3
        assert streamer.meta["pixel"] == 0.5


class TestFromTable:
    def test_what_to_table_gives(self, streamer):
        found = Streamer.from_table(streamer.to_table())
        np.testing.assert_array_equal(found.data, streamer.data)
        np.testing.assert_array_equal(found.uncertainties, streamer.uncertainties)
        # there is no cloud of pixels behind a table
        assert found.meta == {"uncertainty": "spread", "beam": [1.5, 1.0, 20.0]}
        np.testing.assert_array_equal(found.pc_coords, np.vstack([POINTS, np.ones(4)]))

    @given(
        order=st.permutations(range(4)),
        angle=st.sampled_from([u.arcsec, u.arcmin, u.mas]),
        speed=st.sampled_from([KMS, u.m / u.s, u.cm / u.s]),
    )
    def test_order_and_units_of_the_table_do_not_matter(self, order, angle, speed):
        given = table()[list(order)]
        for name in given.colnames:
            given[name] = given[name].to(speed if name.startswith("velocity") else angle)
        found = Streamer.from_table(given)
        np.testing.assert_allclose(found.data, POINTS, rtol=1e-14)
        np.testing.assert_allclose(found.uncertainties, WIDTHS, rtol=1e-14)

    def test_flux(self):
        flux = [1.0, 2.0, 4.0, 3.0]
        np.testing.assert_array_equal(Streamer.from_table(table(Flux=flux)).pc_coords[3], flux)

    @pytest.mark.parametrize(
        "names",
        [
            ("RA", "DEC", "Velocity", "RA_SIGMA", "Dec_Sigma", "VELOCITY_sigma"),
            ("RA_off", "Dec_off", "vlsr", "RA_off_err", "e_Dec_off", "vlsr_error"),
            ("delta_ra", "delta_dec", "v", "sigma_delta_ra", "delta_dec_unc", "e_v"),
        ],
    )
    def test_usual_names(self, names):
        given = table()
        given.rename_columns(given.colnames, names)
        np.testing.assert_array_equal(Streamer.from_table(given).data, POINTS)

    def test_named_columns(self):
        # a column of the usual name that is not the one that is meant
        given = table(x=POINTS[0] * ARCSEC, ra=9 * POINTS[0] * ARCSEC)
        found = Streamer.from_table(given, columns={"ra": "x"})
        np.testing.assert_array_equal(found.data, POINTS)

    def test_stated_units(self):
        units = {"ra": "arcsec", "ra_sigma": u.arcmin, "velocity": "m/s"}
        found = Streamer.from_table(bare(), units=units)
        np.testing.assert_array_equal(found.ra_data, POINTS[0])
        np.testing.assert_allclose(found.dec_sigma, 60 * WIDTHS[1])
        np.testing.assert_allclose(found.v_data, POINTS[2] / 1000)
        np.testing.assert_allclose(found.v_sigma, WIDTHS[2] / 1000)

    def test_stated_units_are_a_help_for_columns_without(self):
        given = table(dec_sigma=WIDTHS[1])
        found = Streamer.from_table(given, units={"dec_sigma": "arcsec"})
        np.testing.assert_array_equal(found.uncertainties, WIDTHS)

    def test_offsets_in_degrees_when_said(self):
        given = table(ra=POINTS[0] / 3600 * u.deg, dec=POINTS[1] / 3600 * u.deg)
        np.testing.assert_allclose(Streamer.from_table(given, positions="offsets").data, POINTS, rtol=1e-12)

    def test_coordinates_in_degrees(self):
        sky = sky_points()
        found = Streamer.from_table(table(ra=sky.ra, dec=sky.dec), STAR.icrs, frame="fk5")
        np.testing.assert_allclose(found.data, POINTS, atol=1e-8)

    def test_coordinates_in_hours_of_angle(self):
        sky = sky_points()
        given = table(ra=sky.ra.to(u.hourangle), dec=sky.dec)
        np.testing.assert_allclose(Streamer.from_table(given, STAR, frame="fk5").data, POINTS, atol=1e-8)

    def test_the_frame_of_numbers_is_icrs(self):
        sky = sky_points(STAR.icrs)
        found = Streamer.from_table(table(ra=sky.ra, dec=sky.dec), STAR)
        np.testing.assert_allclose(found.data, POINTS, atol=1e-8)

    @pytest.mark.parametrize("columns", [None, {"sky": "where"}])
    def test_column_of_skycoord(self, columns):
        given = table(ra=None, dec=None, where=sky_points())
        np.testing.assert_allclose(Streamer.from_table(given, STAR.icrs, columns=columns).data, POINTS, atol=1e-8)

    def test_skycoord_beside_offsets(self):
        given = table(where=sky_points(STAR.spherical_offsets_by(9 * ARCSEC, 0 * ARCSEC)))
        np.testing.assert_array_equal(Streamer.from_table(given, columns={"ra": "ra"}).data, POINTS)
        found = Streamer.from_table(given, STAR, columns={"sky": "where"})
        np.testing.assert_allclose(found.ra_data, POINTS[0] + 9, atol=1e-3)

    @pytest.mark.parametrize("name", ["p.ecsv", "p.vot", "p.fits"])
    @pytest.mark.parametrize("as_text", [True, False])
    def test_files(self, tmp_path, name, as_text):
        Table(table()).write(tmp_path / name, format="votable" if name == "p.vot" else None)
        np.testing.assert_array_equal(
            Streamer.from_table(str(tmp_path / name) if as_text else tmp_path / name).uncertainties, WIDTHS
        )

    @pytest.mark.parametrize(("name", "file_format"), [("p.csv", None), ("p.txt", "ascii.csv")])
    def test_csv(self, tmp_path, name, file_format):
        bare().write(tmp_path / name, format="ascii.csv")
        units = {"ra": "arcsec", "ra_sigma": "arcsec", "velocity": "km/s"}
        found = Streamer.from_table(tmp_path / name, units=units, format=file_format)
        np.testing.assert_array_equal(found.data, POINTS)

    def test_skycoord_in_a_file(self, tmp_path):
        table(ra=None, dec=None, where=sky_points()).write(tmp_path / "p.ecsv")
        np.testing.assert_allclose(Streamer.from_table(tmp_path / "p.ecsv", STAR).data, POINTS, atol=1e-8)

    def test_file_of_a_streamer(self, streamer, tmp_path):
        streamer.write(tmp_path / "s.ecsv")
        found = Streamer.from_table(tmp_path / "s.ecsv")
        np.testing.assert_array_equal(found.data, streamer.data)
        assert found.meta == {"uncertainty": "spread", "beam": [1.5, 1.0, 20.0]}

    def test_rows_that_are_not_complete(self):
        ra, v_sigma = POINTS[0].copy(), WIDTHS[2].copy()
        ra[1], v_sigma[3] = np.nan, np.inf
        with pytest.warns(StingWarning, match=r"^2 of 4 rows of the table hold a NaN, infinity or blank") as records:
            found = Streamer.from_table(table(ra=ra * ARCSEC, velocity_sigma=v_sigma * KMS))
        assert len(records) == 1
        assert records[0].filename == __file__
        np.testing.assert_array_equal(found.data, POINTS[:, [0, 2]])

    def test_blank_cells(self, tmp_path):
        given = Table(table(), masked=True)
        given["dec"].mask[2] = True
        with pytest.warns(StingWarning, match=r"^1 of 4 rows"):
            found = Streamer.from_table(given)
        np.testing.assert_array_equal(found.data, POINTS[:, [0, 1, 3]])
        with pytest.warns(StingWarning, match=r"^1 of 4 rows"):
            assert len(Streamer.from_table(QTable(given))) == 3

    def test_the_table_is_not_changed(self):
        given = table()
        before = given.copy()
        Streamer.from_table(given[::-1])
        Streamer.from_table(given)
        assert given.colnames == before.colnames
        assert all((given[n] == before[n]).all() for n in given.colnames)

    def test_from_the_outside_in_around_the_star(self):
        # along an arc of one radius only the angle tells the way
        angle = np.linspace(0.2, 2.5, 6)
        given = QTable({"ra": 3 * np.cos(angle) * ARCSEC, "dec": 3 * np.sin(angle) * ARCSEC, "v": angle * KMS})
        given.add_row([1 * ARCSEC, 0.2 * ARCSEC, 0.1 * KMS])
        assert list(Streamer.from_table(given, **SIGMAS).v_data) == [*angle[::-1], 0.1]

    def test_can_be_fitted_and_drawn(self):
        truth = synthetic.make_streamer_points()
        given = truth.to_table()["ra", "dec", "velocity"]
        found = Streamer.from_table(given, **SIGMAS)
        start = {name: synthetic.TRUTH[name] for name in ("r0", "omega")}
        fixed = {name: value for name, value in synthetic.TRUTH.items() if name not in start}
        result = fit_streamline(start, fixed, found, 293, n_epochs=3, save_folder=None, progress=False)
        assert result.loss_history[0] < 1e-6
        for draw in (plot_morphology, plot_vel_radius):
            assert draw(result, found).axes


#: What is done to the table, and what the refusal must say.
BAD_TABLES = {
    "no table": (lambda: [[1, 2]], {}, TypeError, r"^'table' must be an astropy table or a path; got list\. Make one"),
    "no file": (lambda: "nowhere.ecsv", {}, FileNotFoundError, r"^'table' must be .*existing file; got 'nowhere\.ecsv'"),
    "not readable": (lambda: __file__, {}, ValueError, r"^'table' must be a file that astropy reads .*Pass format="),
    "no velocity": (lambda: table(velocity=None), {}, ValueError, r"^'table' must have a column for 'velocity'; got the columns"),
    "no ra": (lambda: table(ra=None), {}, ValueError, r"^'table' must have a column for 'ra'; .*SkyCoord"),
    "no dec": (lambda: table(dec=None), {}, ValueError, r"^'table' must have a column for 'dec'"),
    "no sigma": (lambda: table(dec_sigma=None), {}, ValueError, r"column for 'dec_sigma'; .*Pass sigma_position=<value>"),
    "no v sigma": (lambda: table(velocity_sigma=None), {}, ValueError, r"column for 'velocity_sigma'; .*Pass sigma_velocity="),
    "two columns": (lambda: table(v=POINTS[2]), {}, ValueError, r"have one column for 'velocity'; got velocity, v\. Choose"),
    "two positions": (lambda: table(at=sky_points()), {}, ValueError, r"have its positions once; got 'at' and 'ra'"),
    "no units": (bare, {}, ValueError, r"have a unit for the column 'ra'; got none\. State it, .*units=\{'ra': 'arcsec'\}\.$"),
    "no sigma unit": (
        bare,
        {"units": {"ra": "arcsec", "velocity": "km/s"}},
        ValueError,
        r"have a unit for the column 'ra_sigma'; got none",
    ),
    "ra in km": (lambda: table(ra=POINTS[0] * u.km), {}, u.UnitsError, r"have a unit like arcsec for the column 'ra'; got 'km'"),
    "velocity in Hz": (
        lambda: table(velocity=POINTS[2] * u.Hz),
        {},
        u.UnitsError,
        r"have a unit like km / s for the column 'velocity'; got 'Hz'",
    ),
    "sigma in km": (lambda: table(ra_sigma=WIDTHS[0] * u.km), {}, u.UnitsError, r"unit like arcsec for the column 'ra_sigma'"),
    "two units": (
        table,
        {"units": {"ra": "deg"}},
        ValueError,
        r"have one unit for the column 'ra'; got arcsec of its own and deg",
    ),
    "odd unit": (bare, {"units": {"ra": "furlongs!"}}, ValueError, r"have a unit that astropy knows for the column 'ra'"),
    "unit of nothing": (bare, {"units": {"rah": "deg"}}, ValueError, r"^'units' must have keys among ra, .*Did you mean 'ra'\?"),
    "units no dict": (bare, {"units": "arcsec"}, TypeError, r"^'units' must be a dict; got 'arcsec'"),
    "unknown column": (table, {"columns": {"ra": "RAs"}}, ValueError, r"name columns of the table; got 'RAs' for 'ra'\. Did you"),
    "unknown role": (table, {"columns": {"speed": "velocity"}}, ValueError, r"^'columns' must have keys among ra, dec"),
    "text": (lambda: table(ra=["3h", "4h", "5h", "6h"]), {}, ValueError, r"have one number a row for 'ra'; got 'ra' of <U2"),
    "vectors": (lambda: table(velocity=np.ones((4, 2)) * KMS), {}, ValueError, r"have one number a row for 'velocity'"),
    "a SkyCoord for ra": (
        lambda: table(at=sky_points()),
        {"columns": {"ra": "at"}},
        ValueError,
        r"have one number a row for 'ra'; got 'at' of SkyCoord",
    ),
    "numbers for sky": (table, {"columns": {"sky": "ra"}}, ValueError, r"^'columns' must name a column of SkyCoord for 'sky'"),
    "deg without star": (
        lambda: table(ra=sky_points().ra, dec=sky_points().dec),
        {},
        ValueError,
        r"^'yso_centre' must be given for coordinates .*positions='offsets'",
    ),
    "star text": (
        lambda: table(ra=sky_points().ra, dec=sky_points().dec),
        {"yso_centre": "here"},
        TypeError,
        r"^'yso_centre' must be one SkyCoord",
    ),
    "small offsets in deg": (
        lambda: table(ra=POINTS[0] / 3600 * u.deg, dec=POINTS[1] / 3600 * u.deg),
        {"yso_centre": STAR},
        ValueError,
        r"^'yso_centre' must lie within 1\.0 deg of the points; got .*positions='offsets'",
    ),
    "deg and arcsec": (
        lambda: table(dec=POINTS[1] / 3600 * u.deg),
        {},
        ValueError,
        r"both positions in degrees or both in arcsec; got arcsec and deg",
    ),
    "dec beyond the pole": (
        lambda: table(ra=POINTS[0] * u.deg, dec=100 * POINTS[1] * u.deg),
        {"yso_centre": STAR},
        ValueError,
        r"^'table' must hold positions on the sky; got ",
    ),
    "odd frame": (
        lambda: table(ra=sky_points().ra, dec=sky_points().dec),
        {"yso_centre": STAR, "frame": "here"},
        ValueError,
        r"^'table' must hold positions on the sky; got .*frame=\.$",
    ),
    "frame of offsets": (table, {"frame": "fk5"}, ValueError, r"^'frame' must be left out for offsets"),
    "frame of a SkyCoord": (
        lambda: table(ra=None, dec=None, at=sky_points()),
        {"yso_centre": STAR, "frame": "fk5"},
        ValueError,
        r"^'frame' must be left out for a column of SkyCoord",
    ),
    "offsets of a SkyCoord": (
        lambda: table(ra=None, dec=None, at=sky_points()),
        {"yso_centre": STAR, "positions": "offsets"},
        ValueError,
        r"^'positions' must be 'sky' for a column of SkyCoord",
    ),
    "positions": (table, {"positions": "offset"}, ValueError, r"^'positions' must be one of .*Did you mean 'offsets'\?"),
    "negative sigma": (lambda: table(ra_sigma=-WIDTHS[0] * ARCSEC), {}, ValueError, r"have positive uncertainties; got -0\.4"),
    "zero sigma": (lambda: table(velocity_sigma=0 * WIDTHS[2] * KMS), {}, ValueError, r"have positive uncertainties; got 0"),
    "sigma twice": (table, {"sigma_position": 1 * ARCSEC}, ValueError, r"^'sigma_position' must be left out where the table"),
    "sigma without unit": (
        lambda: table(velocity_sigma=None),
        {"sigma_velocity": 0.1},
        u.UnitsError,
        r"^'sigma_velocity' must be a Quantity convertible to km / s; got 0\.1",
    ),
    "keyword not positive": (
        lambda: table(velocity_sigma=None),
        {"sigma_velocity": 0 * KMS},
        ValueError,
        r"^'sigma_velocity' must be positive; got 0\.0",
    ),
    "one row": (lambda: table()[:1], {}, ValueError, r"^'table' must have at least two rows without NaN; got 1"),
    "no row": (lambda: table()[:0], {}, ValueError, r"^'table' must have at least two rows without NaN; got 0"),
    "unknown keyword": (table, {"sigma_pos": 1}, TypeError, r"^'sigma_pos' must be a keyword of from_table; .*'sigma_position'"),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_refused_tables(case):
    make, arguments, error, message = BAD_TABLES[case]
    with pytest.raises(error, match=re.compile(message, re.DOTALL)) as caught:
        Streamer.from_table(make(), **arguments)
    assert re.match(r"^'[^']+' must .+; got .+[.?}]$", str(caught.value), re.DOTALL)


def gaussians(seed=0, shape=(33, 31)):
    """Peak (K), centroid and sigma (km/s) of a curved streamer, NaN around it."""
    rng = np.random.default_rng(seed)
    y, x = np.indices(shape)
    inside = (np.abs(x - 15 - 0.01 * (y - 16) ** 2) < 3.5) & (y > 17)
    peak, width = rng.uniform(0.5, 3, shape), rng.uniform(0.15, 0.4, shape)
    return [np.where(inside, values, np.nan) for values in (peak, 7.0 + 0.03 * (y - 16) + 0.02 * (x - 15), width)]


@pytest.fixture
def cube_of(make_cube):
    def cube_of(peak, velocity, width, **arguments):
        v = np.arange(4.0, 11.0, 0.1)[:, None, None]
        return make_cube(peak * np.exp(-((v - velocity) ** 2) / (2 * width**2)), v_first=4.0, **arguments)

    return cube_of


@pytest.fixture
def wcs(make_cube):
    return make_cube(np.zeros((1, 33, 31))).wcs.celestial


def with_units(maps):
    return [values * unit for values, unit in zip(maps, (u.K, KMS, KMS), strict=True)]


class TestFromMaps:
    BEAM = Beam(1.5 * ARCSEC, 1.0 * ARCSEC, 20 * u.deg)

    @pytest.mark.parametrize("uncertainty", ["spread", "mean"])
    @pytest.mark.parametrize("n_elements", [2, 7, 10])
    @pytest.mark.parametrize("seed", [0, 1])
    def test_is_the_reduction_of_the_cube_of_the_same_gaussians(self, cube_of, seed, n_elements, uncertainty):
        maps = gaussians(seed)
        cube = cube_of(*maps, beam=self.BEAM)
        star = BESIDE.icrs
        expected = reduce_to_1D(cube, star, n_elements, uncertainty=uncertainty)
        found = Streamer.from_maps(
            *with_units(maps),
            star,
            n_elements,
            wcs=cube.wcs,
            uncertainty=uncertainty,
            beam=self.BEAM,
            channel=0.1 * KMS,
        )
        np.testing.assert_allclose(found.data, expected.data, rtol=0, atol=1e-7)
        np.testing.assert_allclose(found.uncertainties, expected.uncertainties, rtol=0, atol=1e-7)
        assert found.meta["beam"] == pytest.approx(expected.meta["beam"])
        assert found.meta["pixel"] == pytest.approx(expected.meta["pixel"])

    def test_cloud(self, wcs):
        peak, velocity, width = maps = gaussians()
        found = Streamer.from_maps(*with_units(maps), BESIDE, wcs=wcs)
        good = np.isfinite(peak)
        assert found.pc_coords.shape == (4, good.sum())
        np.testing.assert_allclose(found.pc_coords[2], velocity[good])
        np.testing.assert_allclose(found.pc_coords[3], peak[good] * width[good] * np.sqrt(2 * np.pi))
        assert found.meta["intensity_unit"] == "K km / s"
        assert found.meta["uncertainty"] == "spread"
        assert "channel" not in found.meta

    def test_widths_add_in_quadrature(self, wcs):
        peak, velocity, width = gaussians()
        narrow, wide = (
            Streamer.from_maps(*with_units((peak / w, velocity, width * 0 + w)), BESIDE, 5, wcs=wcs) for w in (1e-6, 0.3)
        )
        np.testing.assert_allclose(wide.v_sigma, np.hypot(narrow.v_sigma, 0.3), atol=1e-9)
        assert (narrow.v_sigma > 0.01).all()
        np.testing.assert_allclose(wide.ra_sigma, narrow.ra_sigma)

    def test_full_widths(self, wcs):
        peak, velocity, width = gaussians()
        first = Streamer.from_maps(*with_units((peak, velocity, width)), BESIDE, wcs=wcs)
        fwhm = width * 2 * np.sqrt(2 * np.log(2))
        second = Streamer.from_maps(*with_units((peak, velocity, fwhm)), BESIDE, wcs=wcs, width_kind="fwhm")
        np.testing.assert_allclose(second.uncertainties, first.uncertainties, rtol=1e-12)
        np.testing.assert_allclose(second.pc_coords, first.pc_coords, rtol=1e-12)

    def test_every_kind_of_map(self, wcs, tmp_path):
        maps = with_units(gaussians())
        expected = Streamer.from_maps(*maps, BESIDE, 5, wcs=wcs)
        beam = {"BMAJ": 2 / 3600, "BMIN": 1 / 3600, "BPA": 30.0}
        headers = [wcs.to_header() for _ in maps]
        for header, values in zip(headers, maps, strict=True):
            header.update(beam | {"BUNIT": values.unit.to_string("fits")})
        hdus = [fits.PrimaryHDU(m.value, h) for m, h in zip(maps, headers, strict=True)]
        paths = [tmp_path / f"{name}.fits" for name in ("peak", "velocity", "width")]
        for path, hdu in zip(paths, hdus, strict=True):
            # an empty first HDU and two axes of length one, as many files have
            fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(hdu.data[None, None], hdu.header)]).writeto(path)
        kinds = {
            "HDU": hdus,
            "path": paths,
            "text": [str(path) for path in paths],
            "projection": [Projection(m, wcs=wcs) for m in maps],
        }
        for kind, kind_maps in kinds.items():
            found = Streamer.from_maps(*kind_maps, BESIDE, 5)
            np.testing.assert_allclose(found.pc_coords, expected.pc_coords, atol=1e-7, err_msg=kind)
            np.testing.assert_allclose(found.uncertainties, expected.uncertainties, atol=1e-7, err_msg=kind)
        assert Streamer.from_maps(*paths, BESIDE, 5).meta["beam"] == pytest.approx([2, 1, 30])
        header = Streamer.from_maps(*maps, BESIDE, 5, wcs=headers[0])
        np.testing.assert_allclose(header.pc_coords, expected.pc_coords, atol=1e-7)

    def test_units(self, wcs):
        peak, velocity, width = gaussians()
        expected = Streamer.from_maps(*with_units((peak, velocity, width)), BESIDE, wcs=wcs)
        stated = Streamer.from_maps(peak, 1e3 * velocity, 1e3 * width, BESIDE, wcs=wcs, velocity_unit="m/s")
        mixed = Streamer.from_maps(peak, velocity, 1e3 * width * u.m / u.s, BESIDE, wcs=wcs, velocity_unit=KMS)
        for found in (stated, mixed):
            np.testing.assert_allclose(found.data, expected.data, rtol=1e-12)
            np.testing.assert_allclose(found.v_sigma, expected.v_sigma, rtol=1e-12)
        assert stated.meta["intensity_unit"] == "km / s"

    @pytest.mark.parametrize("threshold", [1.5, 1.5 * u.K, 1500 * u.mK])
    def test_threshold_and_mask_are_one(self, wcs, threshold):
        maps = gaussians()
        cut = Streamer.from_maps(*with_units(maps), BESIDE, 5, wcs=wcs, threshold=threshold)
        masked = Streamer.from_maps(*with_units(maps), BESIDE, 5, wcs=wcs, mask=maps[0] >= 1.5)
        assert same(cut, masked)
        assert 0 < cut.pc_coords.shape[1] < np.isfinite(maps[0]).sum()

    def test_zeros_are_no_component(self, wcs):
        maps = gaussians()
        expected = Streamer.from_maps(*with_units(maps), BESIDE, wcs=wcs)
        assert same(Streamer.from_maps(*with_units(np.nan_to_num(maps)), BESIDE, wcs=wcs), expected)

    def test_broken_pixels_are_told(self, wcs):
        maps = gaussians()
        y, x = np.argwhere(np.isfinite(maps[0]))[:4].T
        expected = Streamer.from_maps(
            *with_units([*maps]), BESIDE, wcs=wcs, mask=~np.isin(np.arange(33 * 31), y * 31 + x).reshape(33, 31)
        )
        maps[0][y[0], x[0]], maps[1][y[1], x[1]], maps[2][y[2], x[2]], maps[2][y[3], x[3]] = -1, np.nan, 0, -0.1
        with pytest.warns(StingWarning, match=r"^4 pixels were left out"):
            found = Streamer.from_maps(*with_units(maps), BESIDE, wcs=wcs)
        assert same(found, expected)

    def test_nothing_is_narrower_than_a_pixel_and_a_channel(self, wcs):
        shape = (33, 31)
        peak = np.full(shape, np.nan)
        peak[18:, 15] = 1
        maps = with_units((peak, np.full(shape, 7.0), np.full(shape, 0.001)))
        with pytest.warns(StingWarning, match="pixels were left out"):
            found = Streamer.from_maps(*maps, BESIDE, 5, wcs=wcs, channel=0.6 * KMS)
        np.testing.assert_allclose(found.ra_sigma, 0.5 / np.sqrt(12), rtol=1e-6)
        np.testing.assert_allclose(found.v_sigma, 0.6 / np.sqrt(12))

    @given(n_elements=st.integers(2, 12), seed=st.integers(0, 1000))
    def test_bins_hold_equal_numbers_and_all_pixels(self, wcs, n_elements, seed):
        maps, counts = gaussians(seed), []
        real = room.reduce_maps.__globals__["_moments"]

        def spy(points, flux, width, meta):
            counts.append(len(flux))
            return real(points, flux, width, meta)

        with mock.patch("sting.maps._moments", spy):
            found = Streamer.from_maps(*with_units(maps), BESIDE, n_elements, wcs=wcs)
        assert len(found) == len(counts) == n_elements
        assert sum(counts) == np.isfinite(maps[0]).sum()
        assert max(counts) - min(counts) <= 1

    def test_can_be_fitted_and_drawn(self, wcs):
        found = Streamer.from_maps(*with_units(gaussians()), BESIDE, 6, wcs=wcs, beam=self.BEAM)
        start = {name: synthetic.TRUTH[name] for name in ("r0", "omega")}
        fixed = {name: value for name, value in synthetic.TRUTH.items() if name not in start}
        result = fit_streamline(start, fixed, found, 293, n_epochs=3, save_folder=None, progress=False)
        assert np.isfinite(result.loss)
        for draw in (plot_morphology, plot_vel_radius):
            # the picture of the pixels
            assert draw(result, found).axes[0].images


def maps_with(**changes):
    def make(wcs):
        peak, velocity, width = with_units(gaussians())
        given = {"peak": peak, "velocity": velocity, "width": width, "yso_centre": STAR, "wcs": wcs}
        return given | {name: change(wcs) if callable(change) else change for name, change in changes.items()}

    return make


def shifted(wcs):
    other = wcs.deepcopy()
    other.wcs.crpix += 0.5
    return Projection(with_units(gaussians())[1], wcs=other)


BAD_MAPS = {
    "text": ({"peak": "nowhere.fits"}, FileNotFoundError, r"^'peak' must be a map or an existing FITS file; got 'nowhere"),
    "not FITS": ({"velocity": __file__}, ValueError, r"^'velocity' must be a FITS file with an image"),
    "a cube": ({"peak": np.ones((3, 33, 31))}, ValueError, r"^'peak' must be a map: .*; got shape \(3, 33, 31\)"),
    "an object": ({"width": object()}, ValueError, r"^'width' must be a map: .*; got object"),
    "a number": ({"width": 0.3 * KMS}, ValueError, r"^'width' must be a map: .*; got shape \(\)"),
    "an HDU without data": ({"peak": fits.ImageHDU()}, ValueError, r"^'peak' must be a map"),
    "another shape": (
        {"width": np.ones((33, 30)) * KMS},
        ValueError,
        r"^'peak, velocity, width' must have one shape; got peak \(33, 31\), velocity \(33, 31\), width \(33, 30\)",
    ),
    "another WCS": (
        {"velocity": shifted},
        ValueError,
        r"^'velocity, wcs' must have the same WCS; got pixels 0\.7.* pixels apart",
    ),
    "no WCS": ({"wcs": None}, ValueError, r"^'wcs' must be given with celestial axes for maps without; got none"),
    "WCS of a spectrum": (
        {"wcs": fits.Header({"CTYPE1": "VRAD", "CUNIT1": "m/s"})},
        ValueError,
        r"^'wcs' must be given with celestial axes",
    ),
    "WCS text": ({"wcs": "J2000"}, TypeError, r"^'wcs' must be a WCS or a FITS header; got str"),
    "star": ({"yso_centre": "here"}, TypeError, r"^'yso_centre' must be one SkyCoord; got 'here'"),
    "far star": (
        {"yso_centre": SkyCoord(52.2315, 32, unit="deg")},
        ValueError,
        r"^'yso_centre' must lie within 10 diagonals \(.*\) of the maps; got 27.* arcsec from its centre",
    ),
    "velocity without unit": (
        {"velocity": gaussians()[1]},
        ValueError,
        r"^'velocity' must have a unit for its values; got none\. .*velocity_unit='km/s'\.$",
    ),
    "velocity in K": ({"velocity": gaussians()[1] * u.K}, u.UnitsError, r"^'velocity' must have a unit like km / s"),
    "width in Hz": ({"width": gaussians()[2] * u.Hz}, u.UnitsError, r"^'width' must have a unit like km / s .*'Hz'"),
    "odd unit": (
        {"width": gaussians()[2], "velocity_unit": "fast!"},
        ValueError,
        r"^'width' must have a unit that astropy knows",
    ),
    "width_kind": ({"width_kind": "hwhm"}, ValueError, r"^'width_kind' must be one of .*Did you mean 'fwhm'\?"),
    "uncertainty": ({"uncertainty": "means"}, ValueError, r"^'uncertainty' must be one of 'spread', 'mean'"),
    "mean of nothing": ({"uncertainty": "mean"}, ValueError, r"^'beam, channel' must be known .*; got neither\. Pass both"),
    "mean without beam": (
        {"uncertainty": "mean", "channel": 0.1 * KMS},
        ValueError,
        r"^'beam, channel' must be known .*; got one of them",
    ),
    "beam": ({"beam": 1.5 * ARCSEC}, TypeError, r"^'beam' must be a radio_beam\.Beam; got <Quantity 1\.5"),
    "channel": ({"channel": 0.1}, u.UnitsError, r"^'channel' must be a Quantity convertible to km / s"),
    "channel zero": ({"channel": 0 * KMS}, ValueError, r"^'channel' must be positive"),
    "mask of numbers": ({"mask": np.ones((33, 31))}, ValueError, r"^'mask' must be boolean .*; got float64 of shape \(33, 31\)"),
    "mask of another shape": ({"mask": np.ones((3, 3), bool)}, ValueError, r"^'mask' must be .*shape \(33, 31\); got bool of"),
    "threshold in m": ({"threshold": 1 * u.m}, ValueError, r"^'threshold' must be a number or .*unit of peak \(K\)"),
    "threshold text": ({"threshold": "high"}, ValueError, r"^'threshold' must be .*; got 'high'"),
    "threshold NaN": ({"threshold": np.nan}, ValueError, r"^'threshold' must be .*; got nan"),
    "thresholds": ({"threshold": [1, 2] * u.K}, ValueError, r"^'threshold' must be a number"),
    "nothing left": ({"threshold": 1e6}, ValueError, r"^'peak, velocity, width' must leave at least one pixel"),
    "NaN only": ({"peak": np.full((33, 31), np.nan) * u.K, "mask": np.zeros((33, 31), bool)}, ValueError, r"at least one pixel"),
    "too many points": ({"n_elements": 500}, ValueError, r"^'n_elements' must not exceed the number of pixels; got 500 for 1"),
    "half a point": ({"n_elements": 2.5}, ValueError, r"^'n_elements' must be a whole number of at least 2; got 2\.5"),
    "unknown keyword": ({"kind": "sigma"}, TypeError, r"^'kind' must be a keyword of from_maps"),
}


@pytest.mark.parametrize("case", BAD_MAPS)
def test_refused_maps(wcs, case):
    changes, error, message = BAD_MAPS[case]
    with pytest.raises(error, match=re.compile(message, re.DOTALL)) as caught:
        Streamer.from_maps(**maps_with(**changes)(wcs))
    assert re.match(r"^'[^']+' must .+; got .+[.?]$", str(caught.value), re.DOTALL)


numbers = st.floats(allow_nan=True, allow_infinity=True, allow_subnormal=True)
metas = st.dictionaries(
    st.text(max_size=8),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
        max_leaves=5,
    ),
    max_size=3,
)


class TestFiles:
    @given(n=st.integers(0, 5), m=st.integers(0, 6), data=st.data(), meta=metas)
    def test_round_trip(self, tmp_path, n, m, data, meta):
        parts = data.draw(arrays(float, (6, n), elements=numbers))
        cloud = data.draw(arrays(float, (4, m), elements=numbers))
        written = Streamer(cloud, *parts, meta=meta)
        written.write(tmp_path / "s.ecsv", overwrite=True)
        found = Streamer.read(tmp_path / "s.ecsv")
        assert same(found, written)
        assert found.meta == meta

    def test_round_trip_of_a_reduction(self, scene, scene_cut, tmp_path):
        written = reduce_to_1D(scene_cut, scene.star_position, 8, uncertainty="mean")
        written.write(str(tmp_path / "s.ecsv"))
        found = Streamer.read(str(tmp_path / "s.ecsv"))
        assert same(found, written)
        assert found.meta == written.meta
        assert repr(found) == repr(written)
        assert plot_morphology(streamer=found).axes[0].images

    def test_any_reader_of_ecsv_reads_it(self, streamer, tmp_path):
        streamer.write(tmp_path / "s.ecsv")
        found = QTable.read(tmp_path / "s.ecsv")
        assert len(found) == 4 + 12
        points = found[found["part"] == "point"]
        np.testing.assert_array_equal(points["velocity_sigma"].to_value(KMS), WIDTHS[2])
        assert np.isnan(points["intensity"]).all()
        np.testing.assert_array_equal(found["intensity"][4:], np.arange(12))

    def test_existing_file(self, streamer, tmp_path):
        path = tmp_path / "s.ecsv"
        path.write_text("precious")
        with pytest.raises(FileExistsError, match=r"^'path' must not exist yet; got '.*s\.ecsv'\. Pass overwrite=True") as caught:
            streamer.write(path)
        assert FORM.match(str(caught.value))
        assert path.read_text() == "precious"
        streamer.write(path, overwrite=True)
        assert same(Streamer.read(path), streamer)

    @pytest.mark.parametrize("where", ["write", "replace"])
    def test_nothing_is_half_written(self, streamer, tmp_path, where):
        path = tmp_path / "s.ecsv"
        path.write_text("precious")
        broken = mock.Mock(side_effect=OSError("disk full"))
        target = mock.patch.object(QTable, "write", broken) if where == "write" else mock.patch.object(os, "replace", broken)
        with target, pytest.raises(OSError, match=r"^disk full$"):
            streamer.write(path, overwrite=True)
        assert path.read_text() == "precious"
        assert os.listdir(tmp_path) == ["s.ecsv"]

    def test_folder_is_clean(self, streamer, tmp_path):
        streamer.write(tmp_path / "s.ecsv")
        assert os.listdir(tmp_path) == ["s.ecsv"]

    @pytest.mark.parametrize(
        ("name", "error", "message"),
        [
            ("s.fits", ValueError, r"^'path' must end in \.ecsv, the one format that is written; got '.*s\.fits'"),
            ("s", ValueError, r"^'path' must end in \.ecsv"),
            ("nowhere/s.ecsv", FileNotFoundError, r"^'path' must lie in an existing folder; got "),
            ("folder.ecsv", FileExistsError, r"^'path' must not exist yet"),
        ],
    )
    def test_bad_names(self, streamer, tmp_path, name, error, message):
        (tmp_path / "folder.ecsv").mkdir()
        with pytest.raises(error, match=message) as caught:
            streamer.write(tmp_path / name, overwrite=True)
        assert FORM.match(str(caught.value))
        assert os.listdir(tmp_path) == ["folder.ecsv"]

    def test_bad_meta(self, streamer, tmp_path):
        streamer.meta["what"] = object()
        with pytest.raises(ValueError, match=r"^'meta' must hold numbers, texts, lists and dicts; got .*object") as caught:
            streamer.write(tmp_path / "s.ecsv")
        assert FORM.match(str(caught.value))
        assert os.listdir(tmp_path) == []

    @pytest.mark.parametrize(
        "arrays",
        [
            (np.ones((3, 5)), *POINTS, *WIDTHS),
            (np.ones((4, 5)), *POINTS, *WIDTHS[:2], np.ones(3)),
            (np.ones(4), *POINTS, *WIDTHS),
        ],
    )
    def test_arrays_that_do_not_fit(self, tmp_path, arrays):
        with pytest.raises(ValueError, match=r"^'streamer' must have a cloud of shape \(4, n_voxels\) and arrays of one length"):
            Streamer(*arrays).write(tmp_path / "s.ecsv")
        assert os.listdir(tmp_path) == []

    def test_no_file(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"^'path' must be an existing file; got 'nowhere\.ecsv'\. Check"):
            Streamer.read("nowhere.ecsv")
        with pytest.raises(FileNotFoundError, match=r"^'path' must be an existing file"):
            Streamer.read(tmp_path)

    @pytest.mark.parametrize(
        ("spoil", "reason"),
        [
            (lambda text: "", ""),
            (lambda text: "hello\n1\n", ""),
            (lambda text: "\x00\x01", ""),
            (lambda text: text.replace("streamer:", "fit:"), "streamer"),
            (lambda text: text.replace("version: 1", "version: 2"), "version 2, this one reads 1"),
            (lambda text: text[: text.rindex("voxel")], "4 points and 12 voxels expected, 15 rows found"),
            (lambda text: text[:-20], ""),
            (lambda text: text.replace("\npoint ", "\nstar ", 1), "expected, 16 rows found"),
            (lambda text: text.replace("velocity_sigma", "width"), "velocity_sigma"),
            (lambda text: text.replace("unit: km / s", "unit: Hz"), ""),
        ],
    )
    def test_files_that_are_no_streamer(self, streamer, tmp_path, spoil, reason):
        path = tmp_path / "s.ecsv"
        streamer.write(path)
        spoiled = spoil(path.read_text())
        assert spoiled != path.read_text()
        path.write_text(spoiled)
        message = r"^'path' must be a streamer written by Streamer\.write; got '.*s\.ecsv' \(.*" + re.escape(reason)
        with pytest.raises(ValueError, match=re.compile(message, re.DOTALL)) as caught:
            Streamer.read(path)
        assert str(caught.value).endswith("Use Streamer.from_table for tables of other origin.")

    def test_table_of_points_is_no_streamer(self, streamer, tmp_path):
        streamer.to_table().write(tmp_path / "s.ecsv")
        with pytest.raises(ValueError, match=r"^'path' must be a streamer written by Streamer\.write"):
            Streamer.read(tmp_path / "s.ecsv")
        assert len(Streamer.from_table(tmp_path / "s.ecsv")) == len(streamer)


@given(points=arrays(float, (3, 6), elements=st.floats(-50, 50)), sigma=arrays(float, (3, 6), elements=st.floats(1e-3, 9)))
def test_table_round_trip(points, sigma):
    """Whatever the points, those of the table are those of the streamer, and a second trip changes nothing."""
    first = Streamer.from_table(Streamer(np.ones((4, 1)), *points, *sigma).to_table())
    rows = [np.vstack(parts).T for parts in ((*points, *sigma), (*first.data, *first.uncertainties))]
    np.testing.assert_array_equal(*(part[np.lexsort(part.T)] for part in rows))
    assert same(Streamer.from_table(first.to_table()), first)
    assert all(a is not b for a, b in itertools.combinations([*first.data], 2))
