"""The files of a simulation: what other programs read in them, and what happens when they cannot be made."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS, FITSFixedWarning

from tasoc_mpi.core.errors import InputError, MissingInput, UsageError
from tasoc_mpi.core.settings import mag2flux
from tasoc_mpi.core.sphere import in_polygon
from tasoc_mpi.products.frame_wcs import FrameWCS
from tasoc_mpi.products.star_catalog import open_catalog
from tasoc_mpi.simulate import SimulationOptions, simulate
from tasoc_mpi.simulate.truth_file import read_truth

TINY = SimulationOptions(rows=80, columns=72, frames=6, tpfs=2, seed=3, tmag_max=16.0)
#: What the light of the stars alone does.
CLEAN = replace(TINY, noise=False, cosmics=False, variables=False)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return simulate(tmp_path_factory.mktemp("tiny"), TINY)


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return simulate(tmp_path_factory.mktemp("clean"), CLEAN)


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def fits_wcs(header):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        return WCS(header)


def test_same_seed_same_files(tiny, tmp_path):
    other = simulate(tmp_path / "again", TINY)
    first, second = contents(tiny.folder), contents(other.folder)
    assert list(first) == list(second)
    assert len(first) == 6 + 2 + 2
    for name in first:
        assert first[name] == second[name], name
    third = contents(simulate(tmp_path / "else", replace(TINY, seed=4)).folder)
    assert not {name for name in first if third.get(name) == first[name]}


def test_the_files_do_not_depend_on_the_number_of_threads(tiny, tmp_path):
    code = (
        "import sys; from tasoc_mpi.simulate import *; "
        "simulate(sys.argv[1], SimulationOptions(rows=80, columns=72, frames=6, tpfs=2, seed=3, tmag_max=16))"
    )
    environment = os.environ | {"NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "TZ": "Asia/Tokyo"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, env=environment, timeout=120)
    assert contents(tmp_path) == contents(tiny.folder)


def test_gzip_holds_the_same(tiny, tmp_path):
    import gzip

    packed = simulate(tmp_path, replace(TINY, gzip=True))
    assert packed.ffis[1].name == tiny.ffis[1].name + ".gz"
    assert gzip.decompress(packed.ffis[1].read_bytes()) == tiny.ffis[1].read_bytes()
    assert all(path.name.endswith("_tp.fits.gz") for path in packed.tpfs)


def test_checksums_are_valid(tiny):
    for path in (*tiny.ffis, *tiny.tpfs):
        with fits.open(path, checksum=True) as hdus:
            hdus.verify("exception")
            assert all("CHECKSUM" in hdu.header for hdu in hdus)
            assert hdus[-1].data is not None


@pytest.mark.real
def test_frames_have_the_cards_of_the_mission(tiny, real):
    ours = fits.open(tiny.ffis[0])
    with ours, fits.open(real / "ffi" / "tess2018206192942-s0001-1-4-0120-s_ffic.crop.fits") as theirs:
        for a, b in zip(theirs, ours, strict=True):
            missing = set(a.header) - set(b.header) - {"TMOFST14"}
            assert not missing
            assert set(b.header) - set(a.header) <= {"TMOFST11", "DATASUM", "FFIINDEX"}
            for key in set(a.header) - {"TMOFST14"}:
                kinds = {type(h[key]) for h in (a.header, b.header)}
                assert len(kinds) == 1 or kinds == {int, float}, key
            same = [key for key in a.header if key in b.header]
            assert same == [key for key in b.header if key in a.header]


@pytest.mark.real
def test_stamps_have_the_cards_of_the_mission(tiny, real):
    ours = fits.open(tiny.tpfs[0])
    with ours, fits.open(real / "tpf" / "tess25155310-s01-first-cadences.fits.gz") as theirs:
        assert [h.name for h in ours] == [h.name for h in theirs]
        for a, b in zip(theirs, ours, strict=True):
            assert set(a.header) - set(b.header) <= {"TMOFST41"}
        for name in ("names", "units", "disps", "nulls", "dims", "formats"):
            assert getattr(ours[1].columns, name) == getattr(theirs[1].columns, name)


def test_times_of_a_frame(tiny):
    for i, path in enumerate(tiny.ffis):
        with fits.open(path) as hdus:
            primary, image = hdus[0].header, hdus[1].header
        assert image["TSTART"] - primary["TSTART"] == pytest.approx(image["BARYCORR"], abs=1e-10)
        assert (primary["TSTOP"] - primary["TSTART"]) * 86400 == pytest.approx(1800, abs=1e-4)
        assert primary["FFIINDEX"] == 4697 + i
        assert (image["NUM_FRM"], image["NREADOUT"]) == (900, 720)
        assert image["EXPOSURE"] * 86400 == pytest.approx(720 * 1.98)
        assert primary["DATE"] == "2018-07-25"
    # By the mission, for CCD 4 of the same camera some 10 degrees away: 5.678e-3 days.
    assert image["BARYCORR"] == pytest.approx(5.3e-3, abs=5e-4)


def test_barycentric_correction_against_astropy(tiny):
    import astropy.units as u
    from astropy.coordinates import EarthLocation, SkyCoord
    from astropy.time import Time

    with fits.open(tiny.ffis[0]) as hdus:
        header, wcs = hdus[1].header, fits_wcs(hdus[1].header)
        offset = np.array([header["CRVAL1P"], header["CRVAL2P"]]) - 1.0
        place = np.array([header["BTC_PIX1"], header["BTC_PIX2"]]) - 1.0 - offset
        sky = SkyCoord(*wcs.all_pix2world(*place, 0), unit="deg")
        time = Time(
            2457000.0 + 0.5 * (hdus[0].header["TSTART"] + hdus[0].header["TSTOP"]), format="jd", scale="tdb"
        )
    # From the middle of the Earth; TESS is at most 1.3 light seconds away.
    centre = EarthLocation.from_geocentric(0, 0, 0, unit=u.m)
    correction = time.light_travel_time(sky, "barycentric", centre, ephemeris="builtin").to_value(u.day)
    assert abs(correction - header["BARYCORR"]) * 86400 < 1.3


def test_the_headers_say_where_the_stars_are(clean):
    truth, catalog = read_truth(clean.truth), open_catalog(clean.catalog)
    np.testing.assert_array_equal(np.sort(truth.stars["starid"]), catalog.stars["starid"])
    order = [catalog.index(starid) for starid in truth.stars["starid"]]
    stars = catalog.stars[order]
    for t, path in enumerate(clean.ffis):
        with fits.open(path) as hdus:
            header = hdus[1].header
        corner = (header["CRVAL1P"] - header["CRPIX1P"], header["CRVAL2P"] - header["CRPIX2P"])
        assert corner == (truth.attributes["COLUMN0"], truth.attributes["ROW0"])
        frame = FrameWCS.from_headers([header], corner)
        np.testing.assert_array_equal(frame.crval[0], truth.frames["crval"][t])
        np.testing.assert_array_equal(frame.cd[0], truth.frames["cd"][t])
        x, y = fits_wcs(header).all_world2pix(stars["ra"], stars["decl"], 0)
        if t == truth.attributes["REF_FRAME"]:
            np.testing.assert_allclose(x + corner[0], truth.stars["column"], atol=1e-4)
            np.testing.assert_allclose(y + corner[1], truth.stars["row"], atol=1e-4)


def test_light_is_where_the_headers_say(tmp_path):
    options = replace(CLEAN, rows=160, columns=160, tpfs=0, density=0.3, tmag_max=13.0, sky=0.0)
    paths = simulate(tmp_path, options)
    truth = read_truth(paths.truth)
    for path in paths.ffis:
        with fits.open(path) as hdus:
            header, image = hdus[1].header, hdus[1].data.astype("f8")
        x, y = fits_wcs(header).all_world2pix(truth.stars["ra"], truth.stars["decl"], 0)
        for k in lonely(truth, 9):
            r, c = round(y[k]), round(x[k])
            rows, columns = np.mgrid[r - 9 : r + 10, c - 9 : c + 10]
            box = image[rows, columns]
            assert (box * columns).sum() / box.sum() == pytest.approx(x[k], abs=2e-3)
            assert (box * rows).sum() / box.sum() == pytest.approx(y[k], abs=2e-3)


def lonely(truth, radius):
    """Unsaturated stars with little other light around them, and whose own is all in the image."""
    a, s = truth.attributes, truth.stars
    out = []
    for k in np.nonzero((s["tmag"] > 7.2) & (s["tmag"] < 12.5))[0]:
        r, c = s["row"][k] - a["ROW0"], s["column"][k] - a["COLUMN0"]
        if not (radius < r < a["ROWS"] - radius - 1 and radius < c < a["COLUMNS"] - radius - 1):
            continue
        near = (np.abs(s["row"] - s["row"][k]) < 2 * radius) & (
            np.abs(s["column"] - s["column"][k]) < 2 * radius
        )
        if s["flux"][near].sum() < 1.0001 * s["flux"][k]:
            out.append(k)
    assert out
    return out


def test_flux_of_a_lonely_star_is_that_of_its_magnitude(tmp_path):
    options = replace(
        TINY, rows=160, columns=160, frames=3, tpfs=0, density=0.3, tmag_max=13.0, variables=False
    )
    paths = simulate(tmp_path, options)
    truth = read_truth(paths.truth)
    image, error = (np.mean([fits.getdata(p, ext) for p in paths.ffis], axis=0) for ext in (1, 2))
    for k in lonely(truth, 9):
        r = round(truth.stars["row"][k] - truth.attributes["ROW0"])
        c = round(truth.stars["column"][k] - truth.attributes["COLUMN0"])
        box = np.s_[r - 9 : r + 10, c - 9 : c + 10]
        ring = np.concatenate([image[r - 9 : r + 10, c - 9], image[r - 9 : r + 10, c + 9]])
        flux = (image[box] - np.median(ring)).sum()
        sigma = np.sqrt((error[box] ** 2).sum() / 3) + 361 * 1.3 * ring.std() / np.sqrt(38)
        assert flux == pytest.approx(mag2flux(truth.stars["tmag"][k]), rel=0.012, abs=4 * sigma)


def test_errors_are_the_noise(tmp_path):
    options = replace(CLEAN, tpfs=0, frames=1)
    quiet = fits.getdata(simulate(tmp_path / "quiet", options).ffis[0], 1)
    noisy = simulate(tmp_path / "noisy", replace(options, noise=True))
    truth = read_truth(noisy.truth).attributes
    image, error = (fits.getdata(noisy.ffis[0], ext) for ext in (1, 2))
    exposure = truth["EXPOSURE"]
    expected = np.sqrt(quiet * exposure + truth["READS"] * truth["READ_NOISE"] ** 2) / exposure
    np.testing.assert_allclose(error, expected, rtol=1e-4)
    z = (image - quiet) / expected
    assert z.mean() == pytest.approx(0, abs=4 / np.sqrt(z.size))
    assert z.std() == pytest.approx(1, abs=4 / np.sqrt(2 * z.size))
    assert np.abs(z).max() < 6


@pytest.mark.real
def test_noise_of_a_real_frame_is_like_ours(real):
    with fits.open(real / "ffi" / "tess2018206192942-s0001-1-4-0120-s_ffic.crop.fits") as hdus:
        image, error = (hdus[i].data[:, 44:128].astype("f8") for i in (1, 2))
    expected = np.sqrt(image * 720 * 1.98 + 720 * 100.0) / (720 * 1.98)
    assert np.median(error / expected) == pytest.approx(1.0, abs=0.05)


def test_saturated_stars_bleed_and_keep_their_light(tmp_path):
    options = replace(CLEAN, rows=240, columns=220, frames=1, tpfs=0, sky=0.0, density=0.05, tmag_max=11.0)
    paths = simulate(tmp_path, options)
    truth, image = read_truth(paths.truth), fits.getdata(paths.ffis[0], 1).astype("f8")
    assert truth.stars["tmag"][0] < 6.0
    assert image.max() == pytest.approx(truth.attributes["FULL_WELL"])
    r = round(truth.stars["row"][0] - truth.attributes["ROW0"])
    c = round(truth.stars["column"][0] - truth.attributes["COLUMN0"])
    full = image >= 0.999e5
    assert full[r, c]
    # Taller than wide.
    assert full.any(axis=1).sum() > 2 * full.any(axis=0).sum()
    near = np.abs(truth.stars["column"] - truth.stars["column"][0]) < 26
    total = image[:, c - 13 : c + 14].sum()
    least, most = truth.stars["flux"][0], truth.stars["flux"][near].sum()
    assert 0.999 * least < total + truth.frames["overflow"][0] < 1.001 * most


def test_a_stamp_is_what_the_frames_see(clean):
    """Fifteen exposures of 120 s are one of 1800 s."""
    truth = read_truth(clean.truth)
    for path, corner in zip(clean.tpfs, truth.tpfs["corner"], strict=True):
        with fits.open(path) as hdus:
            table, header, aperture = hdus[1].data, hdus[1].header, hdus[2].data
            assert (header["2CRV5P"] - 1, header["1CRV5P"] - 1) == tuple(corner)
            r, c = corner - [truth.attributes["ROW0"], truth.attributes["COLUMN0"]]
            rows, columns = aperture.shape
            series = (table["FLUX"] + table["FLUX_BKG"]).reshape(-1, 15, rows, columns).mean(axis=1)
            for t, ffi in enumerate(clean.ffis):
                image = fits.getdata(ffi, 1)[r : r + rows, c : c + columns]
                # The frame is sharper than the mean of its wobbling parts.
                np.testing.assert_allclose(series[t], image, rtol=2e-3, atol=0.5)
            np.testing.assert_allclose(
                table["CADENCENO"][::15] - table["CADENCENO"][0], 15 * np.arange(len(clean.ffis))
            )
            raw = (table["RAW_CNTS"] - header["FXDOFF"]) * header["GAINA"] / (header["NREADOUT"] * 1.98)
            np.testing.assert_allclose(raw, table["FLUX"] + table["FLUX_BKG"], atol=0.1)


def test_a_stamp_knows_its_star(tiny):
    truth = read_truth(tiny.truth)
    catalog = open_catalog(tiny.catalog)
    for path, starid in zip(tiny.tpfs, truth.tpfs["starid"], strict=True):
        star = catalog.stars[catalog.index(starid)]
        with fits.open(path) as hdus:
            primary, header, table, image = hdus[0].header, hdus[1].header, hdus[1].data, hdus[2]
            assert f"-{starid:016d}-" in path.name
            assert (primary["TICID"], primary["TESSMAG"]) == (starid, star["tmag"])
            assert primary["RA_OBJ"] == pytest.approx(star["ra_J2000"], abs=1e-10)
            assert header["DEC_OBJ"] == pytest.approx(star["decl"], abs=1e-10)
            x, y = fits_wcs(image.header).all_world2pix(star["ra"], star["decl"], 0)
            (k,) = np.nonzero(truth.stars["starid"] == starid)
            assert x + header["1CRV5P"] - 1 == pytest.approx(truth.stars["column"][k[0]], abs=1e-6)
            assert y + header["2CRV5P"] - 1 == pytest.approx(truth.stars["row"][k[0]], abs=1e-6)
            # The WCS of the stamp is that of the frame around the star: a corner of it, too.
            t = truth.attributes["REF_FRAME"]
            frame = fits_wcs(fits.getheader(tiny.ffis[t], 1))
            sky = fits_wcs(image.header).all_pix2world(0.0, 0.0, 0)
            offset = truth.attributes["COLUMN0"], truth.attributes["ROW0"]
            u, v = frame.all_world2pix(*sky, 0)
            assert (u + offset[0], v + offset[1]) == pytest.approx(
                (header["1CRV5P"] - 1, header["2CRV5P"] - 1), abs=0.02
            )
            mask = (image.data & 2) != 0
            assert mask[round(float(y)), round(float(x))]
            assert mask.sum() == image.header["NPIXSAP"]
            assert ((image.data & 1) == 1).all()
            output = 32 << (header["1CRV5P"] - 45 + np.arange(mask.shape[1])) // 512
            assert ((image.data & 480) == output).all()
            # The centroid follows POS_CORR.
            flux = np.where(mask, table["FLUX"], 0).astype("f8")
            columns = np.arange(mask.shape[1])
            centroid = (flux * columns).sum(axis=(1, 2)) / flux.sum(axis=(1, 2))
            assert np.corrcoef(centroid, table["POS_CORR1"])[0, 1] > 0.3


def test_stamps_are_read_by_lightkurve(tiny):
    lightkurve = pytest.importorskip("lightkurve")
    with warnings.catch_warnings():
        # Its own use of other packages.
        warnings.simplefilter("ignore")
        tpf = lightkurve.read(tiny.tpfs[0])
        assert type(tpf).__name__ == "TessTargetPixelFile"
        curve = tpf.to_lightcurve()
        tpf.hdu.close()
    assert len(curve) == 90
    assert np.isfinite(curve.flux.value).all()


def test_variables_vary_in_frames_and_stamps(tmp_path):
    options = replace(
        TINY, rows=160, columns=160, frames=12, tpfs=4, noise=False, cosmics=False, jitter=False, seed=5
    )
    paths = simulate(tmp_path, options)
    truth = read_truth(paths.truth)
    images = np.array([fits.getdata(p, 1) for p in paths.ffis], dtype="f8")
    sky = truth.frames["sky_levels"]
    found = 0
    for starid in truth.variability["starid"]:
        (k,) = np.nonzero(truth.stars["starid"] == starid)[0]
        r, c = (
            truth.stars["row"][k] - truth.attributes["ROW0"],
            truth.stars["column"][k] - truth.attributes["COLUMN0"],
        )
        r, c = round(r), round(c)
        model, i = truth.variable(starid)
        ra, dec = np.deg2rad([truth.stars["ra"][k], truth.stars["decl"][k]])
        unit = [np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)]
        time = truth.frames["time"] + truth.frames["tess_position"] @ unit
        inside = (np.arange(200) + 0.5) / 200 - 0.5
        factor = model.factor(i, time[:, None] + inside * 1800 / 86400).mean(axis=1)
        if np.ptp(factor) < 1e-3 or truth.stars["tmag"][k] > 12:
            continue
        j = np.abs(truth.sky["rows"] - truth.stars["row"][k]).argmin()
        m = np.abs(truth.sky["columns"] - truth.stars["column"][k]).argmin()
        flux = (
            images[:, r - 2 : r + 3, c - 2 : c + 3].sum(axis=(1, 2))
            - 25 * sky @ truth.sky["patterns"][:, j, m]
        )
        # Neighbours and the places at which the truth keeps the sky dilute it a little.
        slope = np.polyfit(factor, flux / flux.mean(), 1)[0]
        assert slope == pytest.approx(1.0, abs=0.1)
        found += 1
    assert found


def test_the_whole_ccd(tmp_path):
    options = SimulationOptions(frames=1, tpfs=0, full_frame=True, density=0.05, tmag_max=13.0)
    paths = simulate(tmp_path, options)
    with fits.open(paths.ffis[0]) as hdus:
        header, image, error = hdus[1].header, hdus[1].data, hdus[2].data
        assert image.shape == error.shape == (2078, 2136)
    assert (header["CRVAL1P"], header["CRVAL2P"]) == (1, 1)
    assert (header["CRPIX1"], header["CRPIX2"]) == (1045.0, 1001.0)
    science = np.zeros(image.shape, dtype=bool)
    science[:2048, 44:2092] = True
    assert image[science].min() > 50
    assert np.abs(image[~science]).max() < 3
    truth = read_truth(paths.truth)
    for k in range(20):
        x, y = fits_wcs(header).all_world2pix(truth.stars["ra"][k], truth.stars["decl"][k], 0)
        r, c = round(float(y)), round(float(x))
        if 10 < r < 2037 and 54 < c < 2081:
            assert image[r, c] > np.median(image[r - 10 : r + 11, c - 10 : c + 11]) + 100


def test_a_region_is_where_its_header_says(tmp_path):
    options = replace(CLEAN, frames=1, tpfs=0, row0=1900, column0=44)
    paths = simulate(tmp_path, options)
    header = fits.getheader(paths.ffis[0], 1)
    assert (header["CRVAL1P"], header["CRVAL2P"]) == (45, 1901)
    assert (header["CRPIX1"], header["CRPIX2"]) == (1045.0 - 44, 1001.0 - 1900)


def test_catalog_belongs_to_the_frames(tiny):
    catalog, truth = open_catalog(tiny.catalog), read_truth(tiny.truth)
    s = catalog.settings
    assert (s.sector, s.camera, s.ccd) == (1, 1, 1)
    middle = truth.frames["time"].mean() + 2457000
    assert s.reference_time == pytest.approx(middle, abs=1e-6)
    assert s.epoch == pytest.approx(2018.56, abs=0.01)
    assert abs(truth.frames["time"][truth.attributes["REF_FRAME"]] + 2457000 - middle) < 0.011
    stars = catalog.stars
    corners = np.array([pair.split(",") for pair in s.footprint.split(";")], "f8")
    inside = in_polygon(stars["ra"], stars["decl"], corners, s.coord_buffer)
    assert inside.mean() > 0.99
    a = truth.attributes
    on_ccd = (np.abs(truth.stars["row"] - a["ROW0"] - (a["ROWS"] - 1) / 2) < a["ROWS"] / 2).sum()
    assert on_ccd < len(stars)
    moved = (stars["decl"] - stars["decl_J2000"]) * 3.6e6 / (s.epoch - 2000)
    np.testing.assert_allclose(moved, stars["pm_decl"], rtol=1e-3, atol=1e-3)
    moved = (stars["ra"] - stars["ra_J2000"]) * np.cos(np.deg2rad(stars["decl"])) * 3.6e6 / (s.epoch - 2000)
    np.testing.assert_allclose(moved, stars["pm_ra"], rtol=1e-3, atol=1e-3)


@pytest.mark.real
def test_tess_prf_files_are_used(tmp_path, real):
    options = replace(CLEAN, camera=4, frames=1, tpfs=1, sky=0.0, prf=real / "prf")
    pytest.importorskip("tesswcs")
    paths = simulate(tmp_path / "files", options)
    truth, image = read_truth(paths.truth), fits.getdata(paths.ffis[0], 1)
    assert truth.attributes["PRF"].startswith("TESS PRF files")
    other = fits.getdata(simulate(tmp_path / "analytic", replace(options, prf=None)).ffis[0], 1)
    assert image.sum() == pytest.approx(other.sum(), rel=0.05)
    assert np.abs(image - other).max() > 0.02 * other.max()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"frames": 0}, "--frames 0"),
        ({"frames": 10**400}, "--frames 10+:"),
        ({"camera": 5}, "--camera 5"),
        ({"ccd": 0}, "--ccd 0"),
        ({"sector": 0}, "--sector 0"),
        ({"seed": -1}, "--seed -1"),
        ({"cadence": 1000}, "--cadence 1000"),
        ({"rows": 3000}, "--rows 3000"),
        ({"rows": 4}, "--rows 4"),
        ({"row0": 2000}, "outside the CCD"),
        ({"row0": -1}, "outside the CCD"),
        ({"column0": 43}, "44 to 2091"),
        ({"column0": 2030}, "44 to 2091"),
        ({"tpfs": 5000}, r"--tpfs 5000: only \d+ stars"),
        ({"sky": float("nan")}, "--sky nan"),
        ({"prf": "/nowhere"}, "--prf /nowhere"),
        ({"focus": -0.1}, "--focus -0.1"),
    ],
)
def test_options_that_cannot_be(tmp_path, change, words):
    with pytest.raises(UsageError, match=words) as error:
        simulate(tmp_path / "new", replace(TINY, **change))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "new").exists()


def test_a_disk_that_is_too_small(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1_000_000))
    with pytest.raises(InputError, match=r"kB are needed and 1 MB free|MB are needed and 1 MB free"):
        simulate(tmp_path / "new", TINY)
    assert not (tmp_path / "new").exists()


def test_an_earlier_simulation_is_kept_unless_asked(tiny, tmp_path):
    options = replace(TINY, frames=3, tpfs=1)
    folder = tmp_path / "folder"
    simulate(folder, replace(options, frames=4, tpfs=2))
    before = contents(folder)
    with pytest.raises(InputError, match="--overwrite"):
        simulate(folder, options)
    assert contents(folder) == before
    # Files of others stay.
    other = folder / "tpf" / "tess2018206192942-s0001-0000000000000007-0120-s_tp.fits"
    with fits.open(tiny.tpfs[0]) as hdus:
        hdus[0].header["CCD"] = 2
        hdus.writeto(other)
    paths = simulate(folder, replace(options, overwrite=True))
    assert sorted((folder / "ffi").iterdir()) == list(paths.ffis)
    assert sorted((folder / "tpf").iterdir()) == sorted([*paths.tpfs, other])


def test_nothing_is_left_of_a_simulation_that_failed(tmp_path, monkeypatch):
    import tasoc_mpi.simulate.simulation as module

    whole = module.ffi_bytes

    def failing(scene, t, image, error):
        if t > 1:
            raise OSError(28, "No space left on device")
        return whole(scene, t, image, error)

    monkeypatch.setattr(module, "ffi_bytes", failing)
    with pytest.raises(OSError, match="No space left"):
        simulate(tmp_path, TINY)
    assert contents(tmp_path) == {}


def test_truth_that_is_not_there_or_not_one(tmp_path):
    with pytest.raises(MissingInput, match="tasoc-mpi simulate makes it"):
        read_truth(tmp_path / "truth.hdf5")
    bad = tmp_path / "bad.hdf5"
    bad.write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot be read as a truth"):
        read_truth(bad)


def test_the_command(tmp_path, capsys, caplog, monkeypatch):
    import argparse
    import itertools
    import logging
    from types import SimpleNamespace

    from tasoc_mpi.commands import simulate as command
    from tasoc_mpi.core import progress

    parser = argparse.ArgumentParser()
    parser.add_argument("--quiet", action="store_true")
    command.configure(parser)
    words = f"{tmp_path} --frames 4 --rows 60 --columns 60 --tpfs 0 --faint-limit 14 --no-jitter --no-cosmics"
    # A minute goes by at every look at the clock: progress is shown after each frame.
    clock = itertools.count(0.0, 60.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    with caplog.at_level(logging.INFO, "tasoc_mpi.core.progress"):
        assert command.main(parser.parse_args(words.split())) == 0
    out = capsys.readouterr().out
    assert "4 full frame images, 0 target pixel files" in out
    shown = [record.message for record in caplog.records if record.name == "tasoc_mpi.core.progress"]
    assert [line[:28] for line in shown] == [f"full frame images: {i}/4 frame" for i in (1, 2, 3, 4)]
    truth = read_truth(tmp_path / "truth_sector001_camera1_ccd1.hdf5")
    assert not truth.attributes["JITTER"]
    assert (truth.frames["cosmics"] == 0).all()
    defaults = vars(parser.parse_args(["x"]))
    for name in SimulationOptions.__dataclass_fields__:
        assert (defaults[name] or None) == (getattr(SimulationOptions(), name) or None)
