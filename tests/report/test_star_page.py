"""The page of a star: its numbers are those of the work list, its period that of the light curve."""

from __future__ import annotations

import html
import re
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.timeseries import LombScargle
from known_results import make_folder, write_curve
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

import tasoc_mpi
from tasoc_mpi import cli
from tasoc_mpi.core.errors import UsageError
from tasoc_mpi.products.frame_wcs import FrameWCS
from tasoc_mpi.products.lightcurve import LightCurve
from tasoc_mpi.products.lightcurve_file import write_lightcurve
from tasoc_mpi.products.star_catalog import STAR_DTYPE, CatalogSettings, write_catalog
from tasoc_mpi.report.results import read_run
from tasoc_mpi.report.star_facts import collect_star
from tasoc_mpi.report.star_neighbours import pixel_positions
from tasoc_mpi.report.star_page import StarPage, draw_page
from tasoc_mpi.report.star_remarks import remarks
from tasoc_mpi.report.star_signal import fit_sine, folded_medians, power_spectrum

CHROMIUM = shutil.which("chromium")
EVIL = "<script>document.title='taken'</script>"
PERIOD, AMPLITUDE = 0.731, 4e-3
#: Where the source of the signal is, pixels from the centroid in column and row.
OFFSET = np.array([1.5, -0.5])
PIXEL = 21 / 3600
WCS = [
    ("CTYPE1", "RA---TAN", ""), ("CTYPE2", "DEC--TAN", ""), ("CRVAL1", 50.0, ""), ("CRVAL2", 0.0, ""),
    ("CRPIX1", 5.0, ""), ("CRPIX2", 4.0, ""), ("CD1_1", PIXEL, ""), ("CD2_2", PIXEL, ""),
    ("CRVAL1P", 101, ""), ("CRVAL2P", 201, ""),
]  # fmt: skip


def write_variable(folder: Path) -> str:
    """TIC 1000 with a sine whose source is off the centroid, at 0-based column 104, row 203."""
    rng = np.random.default_rng(4)
    n = 1200
    time = 1325.3 + np.arange(n) / 48
    sine = AMPLITUDE * np.sin(2 * np.pi * time / PERIOD)
    aperture = np.ones((8, 9), "i4")
    aperture[2:6, 2:7] |= 2
    centroid = np.array([105.0, 204.0]) + sine[:, None] * OFFSET + rng.normal(0, 1e-3, (n, 2))
    columns = {
        "time": time, "timecorr": np.zeros(n), "cadenceno": np.arange(n),
        "flux": 5e4 * (1 + sine + rng.normal(0, 1e-3, n)), "flux_err": np.full(n, 50.0),
        "flux_background": np.full(n, 1800.0), "corrector_quality": np.zeros(n, "i4"),
        "quality": np.where(np.arange(n) == 5, 32, 0), "pos_centroid": centroid, "pos_corr": np.zeros((n, 2)),
    }  # fmt: skip
    lightcurve = LightCurve(
        starid=1000, sector=1, camera=1, ccd=1, cadence=1800, data_rel=1, version=6, columns=columns,
        sumimage=np.arange(72, dtype="f4").reshape(8, 9), aperture=aperture, wcs_cards=WCS,
    )  # fmt: skip
    return write_lightcurve(folder, lightcurve)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A variable star with a neighbour of the list and another one of the catalog alone."""
    home = tmp_path_factory.mktemp("show") / "a <b> &amp; c"
    home.mkdir()
    folder = make_folder(home)
    assert write_curve(folder / "curves", 1) == write_variable(folder / "curves")
    with sqlite3.connect(folder / "todo.sqlite") as conn:
        conn.execute("UPDATE diagnostics SET pos_column = 105.0, pos_row = 204.0 WHERE priority = 1")
        conn.execute("UPDATE diagnostics SET pos_column = 108.0, pos_row = 208.0 WHERE priority = 2")
        conn.execute("UPDATE diagnostics SET errors = ? WHERE priority = 5", (f"ValueError: {EVIL}",))
        conn.execute("UPDATE todolist SET status = 2 WHERE priority = 99")
        conn.execute(
            "INSERT INTO diagnostics (priority, method_used, elaptime, errors) VALUES (99, 'aperture', 1, ?)",
            (f"ValueError: {EVIL}",),
        )
    conn.close()
    stars = np.zeros(3, STAR_DTYPE)
    for k, (starid, column, row, tmag) in enumerate([(1000, 0, 0, 8.2), (77, 2, 0, 12.3), (78, 60, 0, 9)]):
        stars[k] = (starid, 50 + column * PIXEL, row * PIXEL, 50, 0, 0, 0, tmag, 5000)
    settings = CatalogSettings(1, 1, 1, "8", 2458338.0, 2018.6, 0.1, 50.0, 0.0, "49,-1;51,-1;51,1;49,1")
    write_catalog(folder / "catalog_sector001_camera1_ccd1.sqlite", settings, stars)
    return folder


@pytest.fixture(scope="module")
def facts(folder):
    return collect_star(read_run(folder, around=1000), folder, 1000)


def test_period_and_source_of_a_signal(facts):
    (one,) = facts.curves
    assert one.spectrum.period == pytest.approx(PERIOD, rel=1e-3)
    assert one.spectrum.significant
    assert one.spectrum.nyquist == pytest.approx(24.0)
    assert one.signal.amplitude == pytest.approx(AMPLITUDE, abs=4 * one.signal.error)
    assert one.signal.error == pytest.approx(1e-3 * np.sqrt(2 / 1200), rel=0.1)
    offset, error = one.offset.T
    assert (error < 0.02).all()
    assert (np.abs(offset - OFFSET) < 4 * error).all()
    assert np.allclose(one.source[0], [104 + OFFSET[0], 203 + OFFSET[1]], atol=0.1)


def test_neighbours_are_those_of_the_catalog_and_of_the_list(facts):
    (one,) = facts.curves
    assert (one.column, one.row) == pytest.approx((104.0, 203.0), abs=1e-6)
    assert [near.starid for near in one.neighbours] == [77, 1001]
    first, second = one.neighbours
    assert (first.column, first.row, first.distance) == pytest.approx((106.0, 203.0, 2.0), abs=1e-4)
    assert (first.tmag, first.status, first.signal) == (12.3, "-", None)
    assert second.distance == pytest.approx(5.0)
    assert second.signal.amplitude < 5 * second.signal.error


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, []),
        ({"edge_flux": 1e4}, ["edge of the stamp hold 20% of the flux"]),
        ({"contamination": 0.25}, ["25% of the light is of other stars"]),
        ({"mean_flux": 5e3}, ["The flux is 0.10 of that of a star of Tmag 8.70"]),
        ({"mean_flux": 7.4e4}, ["The flux is 1.48 of"]),
        # The others explain the flux.
        ({"mean_flux": 7.4e4, "contamination": 0.33}, ["33% of the light"]),
        ({"mean_flux": np.nan, "edge_flux": np.nan, "contamination": np.nan, "tmag": np.nan}, []),
    ],
)
def test_what_may_be_odd_is_said(facts, changed, words):
    (one,) = facts.curves
    star = one.star.copy()
    for name, value in {"tmag": 8.7, "mean_flux": 5e4, "edge_flux": 0, "contamination": 0, **changed}.items():
        star[name] = value
    found = remarks(star, one.curve)
    assert len(found) == len(words)
    assert all(word in text for word, text in zip(words, found, strict=True))


def test_flagged_points_are_counted(facts):
    (one,) = facts.curves
    flagged = replace(one.curve, flux=np.where(np.arange(1200) < 300, np.nan, one.curve.flux))
    assert remarks(one.star, flagged)[-1] == "25% of the points are flagged or have no flux."
    page = replace(facts, curves=[replace(one, remarks=["Odd <as> it is."])])
    assert "Odd &lt;as&gt; it is." in html.unescape(StarPage(page)._repr_html_())
    (text,) = (t for t in draw_page(page).findobj(Text) if "Odd" in t.get_text())
    assert "Odd <as> it is.\n\n" in text.get_text()


def test_positions_are_those_of_the_kernel():
    """Of a distorted image, on both sides of RA = 0, and not on the other half of the sky."""
    header = dict(card[:2] for card in WCS) | {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP"}
    header |= {"CRVAL1": 0.05, "CRVAL2": -70.0, "CD1_2": 1e-4, "CD2_1": 0.0, "A_ORDER": 2, "B_ORDER": 2}
    header |= {"A_2_0": 3e-5, "A_1_1": -1e-5, "B_0_2": 2e-5, "B_1_1": 1e-5}
    wcs = FrameWCS.from_headers([header], (100, 200))
    ra, dec = np.array([0.05, 359.9, 0.4, 180.0]), np.array([-70.0, -69.5, -70.3, 70.0])
    places = pixel_positions(wcs, ra, dec)
    np.testing.assert_allclose(places, wcs.stars(ra, dec, 0), atol=1e-7)
    assert np.isnan(places[3]).all()
    assert (np.ptp(places[:3], axis=0) > 30).all()


def test_diagnostics_are_those_of_the_work_list(folder, facts):
    (one,) = facts.curves
    numbers = {row.name: row for row in one.diagnostics}
    with sqlite3.connect(folder / "todo.sqlite") as conn:
        rows = conn.execute("SELECT rms_hour FROM diagnostics WHERE priority IN (1, 2)").fetchall()
    conn.close()
    assert numbers["1-hour noise"].value == pytest.approx(1e6 * rows[0][0])
    # Of the same magnitude and OK is TIC 1001 alone; 1002 is 0.7 mag fainter.
    assert one.peers == 1
    assert numbers["1-hour noise"].median == pytest.approx(1e6 * rows[1][0])
    assert numbers["mask"].value == 20
    assert np.isnan(numbers["1-hour noise, corrected"].value)


def test_page_shows_all_rows_and_nothing_untrusted(folder):
    assert cli.main(["show", "1000", str(folder)]) == 0
    page = (folder / "curves" / "pages" / "tic00000001000.html").read_text()
    assert EVIL not in page
    assert "ValueError: &lt;script&gt;document.title" in page
    assert "http://" not in page
    assert "https://" not in page
    assert page.count('<th scope="row">1</th>') == 2
    assert f"<b>{PERIOD}" in page.replace("0.7310", "0.731")
    assert "<b>100.0 ppm</b> 1-hour noise" in page
    assert "nan" not in re.sub(r'base64,[^"]*', "", page)
    for alt in (
        alts := re.findall(r'<img class="wide" src="data:image/png;base64,[^"]+" alt="([^"]*)"', page)
    ):
        assert alt.endswith(".")
    assert len(alts) == 5


def test_page_in_a_browser(folder):
    """No errors, no horizontal scrolling, in the dark and in print; an accessibility check finds nothing."""
    playwright = pytest.importorskip("playwright.sync_api")
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    if CHROMIUM is None:
        pytest.skip("no chromium")
    assert cli.main(["show", "1000", str(folder)]) == 0
    path = folder / "curves" / "pages" / "tic00000001000.html"
    problems: list[str] = []
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for width, scheme, media in (
            (360, "dark", "screen"),
            (1200, "light", "screen"),
            (800, "dark", "print"),
        ):
            context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
            page = context.new_page()
            page.emulate_media(media=media)
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.on("console", lambda message: problems.append(message.text))
            page.goto(path.as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.evaluate("[...document.images].every(image => image.naturalWidth > 500)")
            assert axe.Axe().run(page).response["violations"] == []
            assert page.title() == "TIC 1000"
            dark = page.evaluate("getComputedStyle(document.images[0]).filter") != "none"
            assert dark == (scheme == "dark" and media == "screen")
            context.close()
        browser.close()
    assert problems == []


def test_page_in_a_notebook(folder, tmp_path):
    """`show` gives the page in a frame, and writes the same as the command."""
    page = tasoc_mpi.show(1000, folder)
    assert repr(page) == "<StarPage TIC 1000: 1 light curves>"
    assert cli.main(["show", "1000", str(folder)]) == 0
    written = (folder / "curves" / "pages" / "tic00000001000.html").read_text()
    frame = page._repr_html_()
    assert frame.startswith("<iframe srcdoc=")
    assert html.unescape(frame.split('"')[1]) == written
    assert page.save(tmp_path / "star.html").read_text() == written
    assert len(page.draw().axes) == 8
    with pytest.raises(UsageError, match=r"ends with \.html, \.png, \.pdf"):
        page.save(tmp_path / "star.jpg")


def test_all_sectors_are_in_one_picture(facts):
    """An overview with axes for each sector, and the panels of each light curve."""
    (one,) = facts.curves
    second = one.star.copy()
    second["sector"], second["cadence"] = 2, 120
    later = replace(one, star=second, curve=replace(one.curve, time=one.curve.time + 27))
    both = replace(facts, curves=[one, later])
    figure = draw_page(both)
    assert [axes.get_title() for axes in figure.axes[:2]] == ["sector 1", "sector 2"]
    assert len(figure.axes) == 2 + 2 * 8
    assert figure.axes[1].get_xlim()[0] > figure.axes[0].get_xlim()[1] - 2
    page = StarPage(both)._repr_html_()
    assert "All 2 light curves of 2 sectors" in page
    assert page.count("data:image/png") == 1 + 2 * 5


def test_pictures(folder):
    """The same results give the same PNG."""
    pages = []
    for form in ("png", "png", "pdf"):
        assert cli.main(["show", "1000", str(folder), "--format", form]) == 0
        pages.append((folder / "curves" / "pages" / f"tic00000001000.{form}").read_bytes())
    assert pages[0].startswith(b"\x89PNG")
    assert pages[0] == pages[1]
    assert pages[2].startswith(b"%PDF")
    assert pages[2].rstrip().endswith(b"%%EOF")


def test_no_label_is_cut_off_or_in_another_panel(facts):
    (one,) = facts.curves
    # Just below the range for which the axes are in percent: the longest numbers.
    wide = replace(one, values=one.values * (0.0095 / np.nanmax(np.abs(one.values))))
    figure = draw_page(replace(facts, curves=[wide]))
    FigureCanvasAgg(figure).draw()
    assert any(text.get_text() == "\N{MINUS SIGN}10000" for text in figure.findobj(Text))
    panels = [axes for axes in figure.findobj(Axes) if axes.axison]
    for axes in panels:
        label = axes.yaxis.label.get_window_extent()
        assert label.x0 >= 0
        assert not any(label.overlaps(other.get_window_extent()) for other in panels)


def test_a_star_without_a_light_curve(folder, capsys):
    assert cli.main(["show", "1004", str(folder)]) == 1
    error = capsys.readouterr().err
    assert "TIC 1004 has no light curve" in error
    assert "ERROR (ValueError: <script>" in error
    assert cli.main(["show", "5", str(folder)]) == 1
    assert "TIC 5 is not in the work list" in capsys.readouterr().err
    assert cli.main(["show", "1006", str(folder)]) == 1
    error = capsys.readouterr().err
    assert "full frame images, 1800 s: to do" in error
    assert error.count("\n") == 1
    assert not (folder / "curves" / "pages" / "tic00000001004.html").exists()


@pytest.mark.parametrize("count", [30, 900])
def test_spectrum_is_that_of_astropy(count):
    """Of unevenly sampled points, each power and the probability of the highest peak."""
    rng = np.random.default_rng(5)
    time = np.sort(rng.choice(1200, count, replace=False)) / 48 + 1e-3 * rng.random(count)
    values = rng.normal(0, 1e-3, count)
    found = power_spectrum(1325.0 + time, values)
    reference = LombScargle(time, values)
    power = reference.power(found.frequency, method="cython")
    expected = power * np.var(values) * count * np.median(np.diff(time)) * 86400e-6
    np.testing.assert_allclose(found.power, expected, rtol=1e-6, atol=1e-8 * expected.max())
    highest = power[found.frequency >= 2 / np.ptp(time)].max()
    chance = reference.false_alarm_probability(highest, method="baluev", maximum_frequency=found.nyquist)
    # Astropy rounds the highest frequency to its grid.
    assert found.chance == pytest.approx(float(chance), rel=5e-3)


def test_phase_is_zero_at_the_minimum():
    time = np.arange(600) / 48
    values = np.sin(2 * np.pi * time / 1.3)
    fit = fit_sine(time, values, 1.3)
    assert fit.minimum(1.3) == pytest.approx(0.75 * 1.3)
    medians = folded_medians(time, values, 1.3, fit.minimum(1.3), bins=11)
    assert int(np.argmax(medians)) == 5
    assert int(np.argmin(medians)) in (0, 10)


def test_spectrum_has_the_variance_of_the_light_curve():
    """The power density adds up to the variance; few or equal points have no spectrum."""
    rng = np.random.default_rng(2)
    time = np.arange(2000) / 48
    found = power_spectrum(time, rng.normal(0, 3e-4, 2000))
    total = found.power.mean() * found.nyquist * 1e6 / 86400
    assert total == pytest.approx(9e-8, rel=0.05)
    assert power_spectrum(time[:10], time[:10]) is None
    assert power_spectrum(time, np.ones(2000)) is None
    assert power_spectrum(time, np.full(2000, np.nan)) is None
    assert fit_sine(time, np.full(2000, np.nan), 1.0) is None
