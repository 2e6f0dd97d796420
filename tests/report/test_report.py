"""The summary of a run, the expected noise, the pictures, and the comparison with a simulation's truth."""

from __future__ import annotations

import gzip
import math
import os
import shutil
import sqlite3
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from known_results import make_folder, write_curve

from tasoc_mpi import cli
from tasoc_mpi.core.errors import InputError, MissingInput
from tasoc_mpi.core.status import STATUS
from tasoc_mpi.report import run_status
from tasoc_mpi.report.chosen_stars import choose_stars, find_period
from tasoc_mpi.report.noise import expected_noise, mixture_sigma, noise_parts
from tasoc_mpi.report.page_plots import noise_plot
from tasoc_mpi.report.pictures import draw_pictures
from tasoc_mpi.report.recovery import box_period, fit_scale, wave_period
from tasoc_mpi.report.results import RESULT_DTYPE, TYPICAL_SKY, Run, read_curve, read_run, sky_level
from tasoc_mpi.report.summary import magnitude_bins, measured_groups, summary_lines
from tasoc_mpi.report.truth_comparison import compare, isolated_stars
from tasoc_mpi.report.truth_report import comparison_lines, draw_comparisons
from tasoc_mpi.report.variables import Variable
from tasoc_mpi.simulate.truth_file import Truth, read_truth
from tasoc_mpi.worklist.schema import TODO_DTYPE
from tasoc_mpi.worklist.todo_file import create_todo

OK, WARNING, ERROR, SKIPPED = STATUS.OK, STATUS.WARNING, STATUS.ERROR, STATUS.SKIPPED

# --- Expected noise ------------------------------------------------------------------------------------


def test_expected_noise_against_a_hand_calculation():
    # Tmag 10: 10**(0.4 * 10.451) = 15149.6 e-/s. An hour: 1440 reads kept, 2851.2 s of light, 4.3194e7
    # electrons of the star, 25 * 100 * 2851.2 = 7.128e6 of the sky; 25 * 1440 * 10**2 = 3.6e6 of variance by
    # the read-out. The root of their sum, 5.3922e7, is 7343.2 electrons: 170.0 ppm.
    assert expected_noise(10.0, 25, 100.0) == pytest.approx(170.0e-6, rel=1e-4)


def test_parts_of_the_noise():
    parts = noise_parts(1000.0, 16, 50.0)
    assert parts.star == pytest.approx(1 / math.sqrt(1000 * 2851.2))
    assert parts.sky == pytest.approx(math.sqrt(16 * 50 * 2851.2) / (1000 * 2851.2))
    assert parts.read == pytest.approx(math.sqrt(16 * 1440) * 10 / (1000 * 2851.2))
    assert parts.total == pytest.approx(math.hypot(parts.star, parts.sky, parts.read))


@settings(deadline=None)
@given(st.floats(2, 18), st.integers(1, 300), st.floats(0, 1000))
def test_noise_falls_with_the_root_of_time(tmag, pixels, sky):
    hour = expected_noise(tmag, pixels, sky)
    assert expected_noise(tmag, pixels, sky, seconds=4 * 3600.0) == pytest.approx(hour / 2)
    assert expected_noise(tmag, pixels + 1, sky) > hour
    assert expected_noise(tmag + 1, pixels, sky) > hour


def test_noise_that_changes_with_the_sky():
    rng = np.random.default_rng(2)
    sigmas = np.repeat([1.0, 1.5, 4.0], [6000, 3000, 1000])
    values = rng.normal(0, np.tile(sigmas, 100))
    assert mixture_sigma(sigmas) == pytest.approx(1.4826 * np.median(np.abs(values)), rel=0.005)
    assert mixture_sigma([2.0, np.nan, 2.0]) == 2.0
    assert np.isnan(mixture_sigma([np.nan]))


def test_no_flux_has_no_relative_noise():
    assert np.isnan(noise_parts([0.0, -1.0, np.nan], 4, 100.0).total).all()


# --- Summary -------------------------------------------------------------------------------------------


def test_bins_hold_the_medians_of_stars_that_are_ok(tmp_path):
    run = read_run(make_folder(tmp_path))
    assert run.output == tmp_path / "curves"
    assert sky_level(run) == (90.0, 3)
    ffi = run.stars["datasource"] == "ffi"
    first, second, third, last = magnitude_bins(run.stars, ffi, 90.0)
    assert [b.tmag for b in (first, second, third)] == [8.0, 11.0, 14.0]
    assert np.isnan(last.tmag)
    assert {s: n for s, n in first.counts.items() if n} == {OK: 3, WARNING: 1}
    assert {s: n for s, n in second.counts.items() if n} == {ERROR: 1, SKIPPED: 1}
    assert {s: n for s, n in third.counts.items() if n} == {STATUS.UNKNOWN: 1}
    assert (first.rms_hour, first.ptp, first.mask_size) == (140e-6, 70e-6, 22)
    assert first.elaptime == pytest.approx(0.0035)
    assert first.expected == pytest.approx(np.median(expected_noise([8.2, 8.5, 8.9], [20, 30, 22], 90.0)))
    assert np.isnan(second.rms_hour)
    assert second.elaptime == 0.001
    # The variation of an injected variable is no noise, but the star counts.
    (first, *_) = magnitude_bins(run.stars, ffi, 90.0, {1002})
    assert (first.rms_hour, first.mask_size, first.counts[OK]) == (pytest.approx(120e-6), 25, 3)
    assert (first.rms_hour_low, first.rms_hour_high) == pytest.approx((106.4e-6, 133.6e-6))


def test_long_lists_are_not_copied(tmp_path):
    stars = np.zeros(40_000, RESULT_DTYPE)
    stars["starid"] = stars["priority"] = np.arange(len(stars))
    stars["status"], stars["datasource"], stars["lightcurve"], stars["method"] = OK, "ffi", "", "aperture"
    stars["tmag"], stars["rms_hour"], stars["mask_size"] = np.arange(len(stars)) % 8 + 8, 1e-3, 9
    run = Run(tmp_path / "todo.sqlite", tmp_path, stars)
    report = SimpleNamespace(run=run, ratio=np.ones(len(stars)), data={"groups": []})

    def read() -> None:
        report.data["groups"] = [group.values for group in measured_groups(run)]
        noise_plot(report)

    read()  # imports
    tracemalloc.start()
    read()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert report.data["groups"][0]["stars"] == len(stars)
    assert peak < 0.5 * stars.nbytes


def test_the_summary_says_the_numbers(tmp_path, capsys):
    make_folder(tmp_path)
    assert cli.main(["summary", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert f"9 rows of 8 stars in {tmp_path}/todo.sqlite: 3 OK, 1 WARNING, 1 ERROR, 1 SKIPPED, 3 to do" in out
    assert "full frame images, 1800 s: 3 OK, 1 WARNING, 1 ERROR, 1 SKIPPED, 2 to do" in out
    assert "target pixel files, 120 s: 1 to do" in out
    assert "a sky of 90 e-/s a pixel and 100 e-/s a pixel (assumed)" in out
    assert f"light curves: {tmp_path}/curves" in out
    line, _ = [line for line in out.splitlines() if line.strip().startswith("8 - 9 ")]
    quantiles = [f"{q:.0f}" for q in np.percentile([100, 140, 900], [16, 84])]
    counts = ["8", "-", "9", "3", "1", ".", ".", "."]
    assert line.split() == [*counts, "140", *quantiles, "79", "70", "22", "3.5"]
    assert f"`tasoc-mpi status {tmp_path} --output {tmp_path}/curves` names it" in out
    assert max(map(len, (x for x in out.splitlines() if str(tmp_path) not in x))) <= 110


def test_a_work_list_that_was_never_run(tmp_path):
    rows = np.zeros(1, TODO_DTYPE)
    rows[0] = (1, 5, 1, "ffi", 1, 1, 1800, "", 10.0, 111)
    create_todo(tmp_path / "todo.sqlite", rows)
    with sqlite3.connect(tmp_path / "todo.sqlite") as conn:
        for table in ("diagnostics", "photometry_output"):
            conn.execute(f"DROP TABLE {table}")
    conn.close()
    run = read_run(tmp_path)
    assert run.output == tmp_path / "output"
    assert "1 to do" in summary_lines(run, "sector1")[0]
    assert summary_lines(run, "sector1")[-1].endswith("(not there)")
    with pytest.raises(InputError, match="no star is OK"):
        draw_pictures(run, tmp_path)


def test_reading_leaves_the_work_list_as_it_was(tmp_path):
    make_folder(tmp_path)
    before = (tmp_path / "todo.sqlite").read_bytes()
    summary_lines(read_run(tmp_path), "sector1")
    assert (tmp_path / "todo.sqlite").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curves", "todo.sqlite", "todo.sqlite.lock"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nothing"], "nothing: no such folder"),
        (["here", "--output", "there"], "there: no such folder"),
        (["empty.sqlite"], "not an SQLite file"),
    ],
)
def test_what_is_missing_is_one_line(tmp_path, monkeypatch, capsys, arguments, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    make_folder(tmp_path / "here")
    (tmp_path / "empty.sqlite").mkdir()
    (tmp_path / "empty.sqlite" / "todo.sqlite").write_bytes(b"no database" * 500)
    assert cli.main(["summary", *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("tasoc-mpi summary: error: ")
    assert says in error
    assert error.count("\n") == 1


# --- Light curve files ---------------------------------------------------------------------------------


def test_a_light_curve_file_is_read(tmp_path):
    path = tmp_path / write_curve(tmp_path, 1)
    curve = read_curve(path)
    assert len(curve.time) == 120
    assert curve.mask.sum() == 20
    assert curve.corner == (200, 100)
    assert np.flatnonzero(~curve.good).tolist() == [5, 7]
    assert np.median(curve.relative[curve.good]) == pytest.approx(0, abs=1e-12)
    assert curve.flux.dtype == np.float64


@pytest.mark.parametrize("size", [0, 100, 3000])
def test_a_damaged_light_curve_is_one_line(tmp_path, size):
    path = tmp_path / write_curve(tmp_path, 1)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(InputError, match=r"not a whole light curve \(.*\); compute it again") as caught:
        read_curve(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("TFORM3", "'RA---SIN'"),
        ("TTYPE4", "5"),
        ("NAXIS2", "9999999999"),
        ("TFIELDS", "9999999"),
        ("CRVAL1P", "'x'"),
        ("NAXIS1", "-1"),
    ],
)
def test_a_light_curve_with_damaged_cards_is_one_line(tmp_path, key, value):
    path = tmp_path / write_curve(tmp_path, 1)
    content = bytearray(gzip.decompress(path.read_bytes()))
    place = content.rindex(f"{key:<8}=".encode())
    content[place : place + 80] = f"{key:<8}= {value:>20}".ljust(80).encode()
    path.write_bytes(gzip.compress(content))
    with pytest.raises(InputError, match=r"not a whole light curve \(.*\); compute it again") as caught:
        read_curve(path)
    assert str(caught.value).count(str(path)) == 1
    assert "\n" not in str(caught.value)


def test_a_named_pipe_in_the_place_of_a_light_curve_is_not_waited_for(tmp_path):
    path = tmp_path / write_curve(tmp_path, 1)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(InputError, match="a named pipe"):
        read_curve(path)


def test_names_that_leave_the_output_folder_are_refused(tmp_path):
    run = read_run(make_folder(tmp_path))
    star = run.stars[0].copy()
    star["lightcurve"] = "../todo.sqlite"
    with pytest.raises(InputError, match="not the name of a light curve"):
        run.file(star)
    star["lightcurve"] = ""
    with pytest.raises(MissingInput, match="TIC 1000: no light curve"):
        run.file(star)
    with pytest.raises(MissingInput, match="no such light curve"):
        read_curve(tmp_path / "x.fits.gz")


def test_without_files_the_sky_is_assumed(tmp_path):
    assert sky_level(read_run(make_folder(tmp_path, files=False))) == (TYPICAL_SKY, 0)


# --- Pictures ------------------------------------------------------------------------------------------


def test_pictures_are_written_and_named(tmp_path, capsys):
    make_folder(tmp_path)
    assert cli.main(["summary", str(tmp_path), "--pictures"]) == 0
    paths = [tmp_path / "curves" / name for name in ("noise.png", "lightcurves.png")]
    assert [f"picture: {path}" for path in paths] == capsys.readouterr().out.splitlines()[-2:]
    from matplotlib.image import imread

    images = [imread(path) for path in paths]
    assert [image.shape[:2] for image in images] == [(935, 990), (489, 1540)]
    for image in images:
        assert len(np.unique(image[:, :, :3].reshape(-1, 3), axis=0)) > 30
    first = [path.read_bytes() for path in paths]
    assert [path.read_bytes() for path in draw_pictures(read_run(tmp_path), tmp_path)] == first


def test_the_choice_of_light_curves_is_one_a_star_and_bright_first(tmp_path):
    run = read_run(make_folder(tmp_path))
    chosen = choose_stars(run, {}, 12)
    assert [int(run.stars["starid"][one.index]) for one in chosen] == [1000, 1001, 1002]
    assert chosen[0].why == "brightest"
    # The light curves are noise: none is said to vary.
    assert all(np.isnan(one.period) for one in chosen)
    assert len(choose_stars(run, {}, 2)) == 2


def test_an_injected_variable_is_folded_at_its_period(tmp_path):
    run = read_run(make_folder(tmp_path))
    chosen = choose_stars(run, {1002: Variable("transit", 0.7, 0.01)}, 12)
    assert [(one.why, one.period) for one in chosen if run.stars["starid"][one.index] == 1002] == [
        ("injected transit, depth 1%", 0.7)
    ]


@pytest.mark.parametrize(
    ("amplitude", "period", "drift", "found"),
    [(3e-4, 0.7, 0.0, True), (0.0, 0.7, 0.0, False), (0.0, 0.7, 0.01, False), (1e-3, 9.0, 0.0, False)],
)
def test_a_period_is_found_and_noise_and_drift_are_none(amplitude, period, drift, found):
    rng = np.random.default_rng(8)
    time = np.arange(900) / 48
    values = rng.normal(0, 1e-3, 900) + amplitude * np.sin(2 * np.pi * time / period)
    values += drift * (time / time[-1]) ** 2
    result = find_period(time, values)
    assert (result is not None) == found
    if result is not None:
        assert result[0] == pytest.approx(period, rel=0.02)


def test_a_missing_light_curve_is_named(tmp_path):
    run = read_run(make_folder(tmp_path))
    shutil.rmtree(tmp_path / "curves" / "c1800")
    with pytest.raises(MissingInput, match="no such light curve"):
        draw_pictures(run, tmp_path)


# --- Truth ---------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=20)
@given(st.floats(0.12, 0.9), st.floats(0, 6.28))
def test_a_wave_comes_back(period, phase):
    time = np.arange(600) / 48.0
    drift = 0.01 * ((time - 5) / 6) ** 3
    flux = 0.004 * np.sin(2 * np.pi * time / period + phase) + drift
    assert wave_period(time, flux) == pytest.approx(period, rel=0.5 * period / time[-1])


@pytest.mark.parametrize("period", [1.37, 2.9, 4.4])
def test_a_transit_comes_back(period):
    rng = np.random.default_rng(8)
    time = np.arange(640) / 48.0
    inside = np.abs((time - 0.7 + period / 2) % period - period / 2) < 0.08
    flux = rng.normal(0, 3e-4, len(time)) - 0.006 * inside + 0.004 * np.sin(time / 4)
    found = box_period(time, flux)
    assert min(abs(found / period - k) for k in (1.0, 0.5, 2.0)) < 0.02
    scale, error = fit_scale(time, flux, 1 - 0.006 * inside, (time / 3).astype(int))
    assert scale == pytest.approx(1.0, abs=0.05)
    assert 0.001 < error < 0.03


def test_a_short_series_has_no_period():
    # Of half a day: boxes have periods from half a day to 0.6 of it, waves shorter ones than two steps.
    time = np.linspace(0.0, 0.5, 40)
    flux = 1e-3 * np.random.default_rng(1).normal(size=40)
    assert np.isnan(box_period(time, flux))
    assert np.isnan(wave_period(2.0 * np.arange(40.0), flux))


@settings(deadline=None)
@given(st.floats(0.2, 2.0), st.floats(0.5, 3.0))
def test_a_scale_is_found_below_drift_and_outliers(scale, level):
    time = np.linspace(0, 20, 500)
    model = 1 + 0.01 * np.sin(5 * time)
    flux = level * (1 + scale * (model - 1)) + 0.001 * time**2 - 1
    flux[::100] += 0.5
    pieces = (time / 2).astype(int)
    found, _ = fit_scale(time, flux, model, pieces)
    assert found == pytest.approx(scale * level / (level + 0.4 / 3), rel=0.05)


def test_no_points_no_scale():
    time = np.linspace(0, 1, 10)
    assert np.isnan(fit_scale(time, 0 * time, 1 + 0 * time)).all()
    assert np.isnan(fit_scale(time, 0 * time, 1 + time, np.full(10, -1))).all()


def truth_of(tmag, row, column, kind=None) -> Truth:
    stars = {
        "tmag": np.array(tmag, float), "row": np.array(row, float), "column": np.array(column, float),
        "kind": np.zeros(len(tmag), int) if kind is None else np.array(kind),
    }  # fmt: skip
    area = {"ROW0": 0, "COLUMN0": 0, "ROWS": 100, "COLUMNS": 100}
    return Truth(Path("x"), area, stars, {}, {}, {}, {})


def test_which_stars_are_isolated():
    tmag = [10.0, 12.9, 10.0, 13.1, 10.0, 15.9, 10.0]
    row = [20.0, 20.0, 50.0, 50.0, 80.0, 80.0, 3.0]
    column = [20.0, 25.9, 50.0, 55.9, 80.0, 87.0, 50.0]
    isolated = isolated_stars(truth_of(tmag, row, column, kind=[0, 0, 0, 0, 0, 2, 0]))
    # A neighbour 2.9 mag fainter; none but one of 3.1 mag; a variable one 7 px away; at the edge.
    assert isolated.tolist() == [False, False, True, False, False, False, False]
    alone = isolated_stars(truth_of([10.0, 10.0], [20.0, 20.0], [20.0, 26.1]))
    assert alone.tolist() == [True, True]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory) -> Path:
    """A small simulation without jitter that went through the whole pipeline."""
    from tasoc_mpi.simulate import SimulationOptions, simulate

    folder = tmp_path_factory.mktemp("simulated")
    simulate(
        folder, SimulationOptions(frames=72, rows=128, columns=128, tpfs=0, jitter=False, seed=3, density=2.0)
    )
    for command in ("prepare", "todo", "run"):
        assert cli.main(["--quiet", command, str(folder)]) == 0
    return folder


def test_light_curves_of_a_simulation_against_its_truth(simulated, tmp_path):
    report = compare(simulated)
    assert not report.jitter
    assert report.without_own_pixel == []
    alone = report.stars[report.stars["isolated"] & (report.stars["tmag"] < 14)]
    assert len(alone) >= 5
    # With the true sky the photometry has the noise that it must have.
    assert np.median(alone["noise_true_sky"] / alone["expected"]) == pytest.approx(1.0, abs=0.2)
    assert np.median(alone["ratio"]) == pytest.approx(1.0, abs=0.05)
    lines = comparison_lines(report)
    assert f"{len(report.stars)} stars OK" in lines[0]
    assert lines[-1] == "stars OK without their own pixel in the mask: none"
    assert draw_comparisons([report], tmp_path / "truth.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("variability/depth", lambda values: values[:, None], "variability/depth has shape"),
        ("variability/depth", lambda values: ["x"] * len(values), "variability/depth holds texts"),
        ("stars/kind", lambda values: ["x"] * len(values), "stars/kind holds texts"),
    ],
)
def test_a_truth_without_numbers_is_one_line(simulated, tmp_path, name, change, words):
    path = Path(shutil.copy(next(simulated.glob("truth_*.hdf5")), tmp_path))
    with h5py.File(path, "r+") as file:
        values = file[name][()]
        del file[name]
        file[name] = change(values)
    with pytest.raises(InputError, match=words):
        read_truth(path)


def test_a_comparison_without_a_truth(tmp_path):
    with pytest.raises(MissingInput, match=r"truth_sector001_camera1_ccd1\.hdf5: no such truth"):
        compare(make_folder(tmp_path))


def test_times_that_other_programs_did_not_write_are_not_zero():
    """Two stars with both times, one without the waiting, one without any."""
    status = SimpleNamespace(
        method=np.array(["aperture", "aperture", "halo", "psf"]),
        numbers={
            "elaptime": np.array([0.002, 0.004, 0.01, np.nan]),
            "worker_wait_time": np.array([0.002, 0.0, np.nan, np.nan]),
        },
    )
    decision = SimpleNamespace(listed=np.ones(4, bool))
    rows = [line.split() for line in run_status._methods(status, decision) if line]
    assert ["aperture", "2", "3.0", "4.0", "25.0%"] in rows
    assert ["halo", "1", "10.0", "10.0", "-"] in rows
    assert ["psf", "1", "-", "-", "-"] in rows
    assert ["all", "4", "5.3", "10.0", "25.0%"] in rows
