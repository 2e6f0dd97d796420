"""Vectors made from the light curves of a run: what they contain, and which stars they are made from."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest
from made_curves import ORBIT, make_area
from made_run import write_run
from mpi_launch import launch

import tasoc_mpi
from tasoc_mpi.cli import main
from tasoc_mpi.core.errors import InputError
from tasoc_mpi.core.ranks import Ranks
from tasoc_mpi.correction.candidates import digest, read_areas
from tasoc_mpi.correction.make_vectors import VectorOptions, make_vectors
from tasoc_mpi.correction.star_matrix import read_listed
from tasoc_mpi.products.cbv_file import read_vectors

STARS = 240


@pytest.fixture(scope="module")
def area():
    return make_area(STARS, seed=3)


@pytest.fixture(scope="module")
def run(area, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "sector"
    write_run(folder, area)
    # The date in the FITS file.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "0")
        assert main(["--quiet", "cbv", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def vectors(run):
    return read_vectors(run / "output/cbv/cbv-s0001-c1800-a112.hdf5")


def names(run):
    with contextlib.closing(sqlite3.connect(run / "todo.sqlite")) as conn:
        return [name for (name,) in conn.execute("SELECT lightcurve FROM diagnostics ORDER BY priority")]


def test_vectors_span_the_systematics(area, vectors):
    good = vectors.good
    assert good.all()
    assert vectors.orbits == 2
    np.testing.assert_array_equal(vectors.orbit, (area.time > ORBIT).astype(int))
    whole = vectors.slow + vectors.spikes
    np.testing.assert_allclose(np.std(whole[:, : vectors.significant], axis=0), 1.0, atol=0.02)
    # The mean systematics of stars of Tmag 9 to 11, of which the noise is small.
    bright = (area.tmag > 9) & (area.tmag < 11) & ~area.variable
    trend = np.mean(area.flux[bright] - area.quiet[bright], axis=0)
    trend -= trend.mean()
    columns = np.column_stack([np.ones(len(trend)), vectors.slow[:, :8], vectors.spikes[:, :8]])
    left = trend - columns @ np.linalg.lstsq(columns, trend, rcond=None)[0]
    assert left.std() < 0.06 * trend.std()
    assert 0.8 < vectors.explained.sum() < 1.0
    assert (np.diff(vectors.explained) <= 0).all()


def test_variable_stars_are_left_out(area, vectors):
    assert (vectors.use == 0).sum() >= 30
    assert np.count_nonzero(vectors.weights.any(axis=1)) == (vectors.use == 0).sum()
    # Of the stars with large variations of their own none is used.
    huge = area.own.std(axis=1) > 10 * area.sigma
    assert huge.sum() > 5
    assert not (vectors.use[huge] == 0).any()
    assert np.isnan(vectors.coefficients[vectors.use == 2]).all()
    assert np.isfinite(vectors.coefficients[vectors.use == 0]).all()


@pytest.mark.parametrize("method", ["map", "cbv"])
def test_the_correction_leaves_the_noise(area, run, vectors, method):
    ratios = []
    listed = names(run)
    for i in np.flatnonzero(~area.variable & (area.tmag > 10))[::6]:
        result = tasoc_mpi.correct(run / "output" / listed[i], vectors, method=method)
        assert result.method == method
        ratios.append(np.nanstd(result.flux) / (1e6 * area.quiet[i].std()))
        assert result.under_fitting == pytest.approx(0, abs=0.6)
    raw = area.flux[i].std() / area.quiet[i].std()
    assert raw > 1.3
    assert np.median(ratios) == pytest.approx(1.0, abs=0.03)


def test_a_rotation_of_ten_days_stays(area, run, vectors):
    """With the prior; least squares takes a quarter of it."""
    i = int(np.flatnonzero(~area.variable & (area.tmag > 10))[0])
    curve = read_listed(str(run / "output"), names(run)[i])
    wave = 0.01 * np.sin(2 * np.pi * area.time / 10.0)
    varied = replace(curve, flux=curve.flux * (1 + wave))
    result, before = (tasoc_mpi.correct(c, vectors) for c in (varied, curve))
    change = 1e-6 * (result.flux - before.flux)
    kept = np.polyfit(wave, change, 1)[0]
    assert kept == pytest.approx(1.0, abs=0.1)


def test_lightkurve_reads_the_vectors(run, vectors):
    from astropy.io import fits

    with (
        fits.open(run / "output/cbv/cbv-s0001-c1800-a112.fits", checksum=True) as hdus,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        from lightkurve.correctors.cbvcorrector import TessCotrendingBasisVectors

        for kind, values in (("SingleScale", vectors.slow), ("Spike", vectors.spikes)):
            found = TessCotrendingBasisVectors.from_hdu(hdus, kind, None)
            assert list(found.cbv_indices) == list(range(1, 17))
            np.testing.assert_allclose(found["VECTOR_2"], values[:, 1], rtol=1e-6, atol=1e-7)
            np.testing.assert_array_equal(found.cadenceno, vectors.cadenceno)
            np.testing.assert_allclose(found.time.value, vectors.time)
            assert not found.gap_indicators.value.any()


def test_vectors_that_are_up_to_date_are_kept(run):
    path = run / "output/cbv/cbv-s0001-c1800-a112.hdf5"
    before = path.stat().st_mtime_ns
    assert main(["--quiet", "cbv", str(run)]) == 0
    assert path.stat().st_mtime_ns == before


def test_bad_requests_are_one_line(run, tmp_path, capsys):
    assert main(["cbv", str(run), "--ccd", "4"]) == 1
    assert "no light curves of such a CCD" in capsys.readouterr().err
    assert main(["cbv", str(run), "--overwrite", "--memory", "0.1"]) == 1
    assert "needs 0.26 GB of memory for each rank, there are 0.10 GB" in capsys.readouterr().err
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    shutil.copy(run / "todo.sqlite", unfinished)
    (unfinished / "output").symlink_to(run / "output")
    with contextlib.closing(sqlite3.connect(unfinished / "todo.sqlite")) as conn, conn:
        conn.execute("UPDATE todolist SET status = NULL WHERE priority = 5")
        conn.execute("DELETE FROM diagnostics WHERE priority = 5")
    assert main(["cbv", str(unfinished)]) == 1
    assert "not finished: area 112 of sector 1 at 1800 s; run" in capsys.readouterr().err


def test_a_run_whose_light_curves_are_all_damaged_names_one(run, tmp_path, capsys):
    folder = tmp_path / "damaged"
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns("cbv"))
    for path in (folder / "output").rglob("*_lc.fits.gz"):
        path.write_bytes(b"")
    assert main(["cbv", str(folder)]) == 1
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert "no light curve of area 112" in message
    assert "_lc.fits.gz: has no table LIGHTCURVE); compute them again" in message


def test_few_stars_take_those_of_the_neighbouring_area(run, area, tmp_path, caplog):
    folder = tmp_path / "few"
    folder.mkdir()
    shutil.copy(run / "todo.sqlite", folder)
    shutil.copytree(run / "output", folder / "output", ignore=shutil.ignore_patterns("cbv"))
    with contextlib.closing(sqlite3.connect(folder / "todo.sqlite")) as conn, conn:
        conn.execute("UPDATE todolist SET cbv_area = 111 WHERE priority <= 20")
    found = make_vectors(folder / "todo.sqlite", folder / "output", Ranks())
    assert [path.name[-9:-5] for path in found] == ["a111", "a112"]
    assert read_vectors(found[0]).areas.tolist() == [111, 112]
    assert read_vectors(found[1]).areas.tolist() == [112]
    assert "those of area 112 are joined" in caplog.text
    own = folder / "output/cbv/mine-a112.png"
    pictures = [found[1].with_name(f"{found[1].stem}-{name}.png") for name in ("vectors", "weights", "stars")]
    for file in (own, *pictures):
        file.touch()
    with contextlib.closing(sqlite3.connect(folder / "todo.sqlite")) as conn, conn:
        conn.execute("DELETE FROM diagnostics WHERE priority > 25")
    with pytest.raises(InputError, match="no area has enough stars"):
        make_vectors(folder / "todo.sqlite", folder / "output", Ranks(), VectorOptions())
    assert "vectors need 30; `tasoc-mpi correct` uses vectors of a longer cadence if" in caplog.text
    # Vectors of stars that are no more are not used for those that are left.
    assert caplog.text.count("its vectors, of more stars than it has now, are deleted") == 2
    assert [path for path in (folder / "output/cbv").iterdir() if path.suffix != ".lock"] == [own]


def test_vectors_of_light_curves_that_cannot_be_read_stay(run, tmp_path, caplog):
    folder = tmp_path / "damaged"
    shutil.copytree(run, folder)
    vectors = folder / "output/cbv/cbv-s0001-c1800-a112.hdf5"
    before = vectors.read_bytes()
    for name in names(run)[20:]:
        (folder / "output" / name).write_bytes(b"")
    with pytest.raises(InputError, match="no area has enough stars"):
        make_vectors(folder / "todo.sqlite", folder / "output", Ranks(), VectorOptions(overwrite=True))
    assert "of its light curves cannot be read: its vectors stay as they are" in caplog.text
    assert vectors.read_bytes() == before


def test_too_few_frames_are_named(area, tmp_path, caplog):
    few = {name: getattr(area, name)[:, :15] for name in ("own", "quiet", "flux")}
    output = write_run(tmp_path, replace(area, time=area.time[:15], **few))
    with pytest.raises(InputError, match="no area has enough"):
        make_vectors(tmp_path / "todo.sqlite", output, Ranks())
    assert "too few frames (15)" in caplog.text
    assert [file.name for file in (output / "cbv").iterdir()] == ["cbv.lock"]


def test_light_curves_of_several_versions_are_not_mixed(run, tmp_path):
    folder = tmp_path / "versions"
    folder.mkdir()
    shutil.copy(run / "todo.sqlite", folder)
    with contextlib.closing(sqlite3.connect(folder / "todo.sqlite")) as conn, conn:
        conn.execute(
            "UPDATE diagnostics SET lightcurve = replace(lightcurve, '-v01-', '-v02-') WHERE priority <= 20"
        )
    with pytest.raises(InputError, match=r"of the versions 1, 2; .*--version"):
        read_areas(folder / "todo.sqlite")
    with pytest.raises(InputError, match="no light curves of version 3, but of 1, 2"):
        read_areas(folder / "todo.sqlite", 3)
    first, second = (read_areas(folder / "todo.sqlite", version)[0].stars for version in (1, 2))
    assert len(second) == 20
    assert not set(first["starid"].tolist()) & set(second["starid"].tolist())


def test_which_pack_holds_a_star_makes_no_difference(run, tmp_path):
    """Packs have names of processes; the stars in one differ with the number of ranks."""
    shutil.copy(run / "todo.sqlite", tmp_path)
    todo = tmp_path / "todo.sqlite"
    before = digest(read_areas(todo))
    pack = "'packed/lightcurves-node1-' || (priority % 3) || '-0.hdf5#'"
    with contextlib.closing(sqlite3.connect(todo)) as conn, conn:
        conn.execute(f"UPDATE diagnostics SET lightcurve = {pack} || lightcurve")
    assert "#" in read_areas(todo)[0].stars["lightcurve"][0]
    assert digest(read_areas(todo)) == before
    with contextlib.closing(sqlite3.connect(todo)) as conn, conn:
        conn.execute("UPDATE todolist SET tmag = tmag + 1 WHERE priority = 1")
    assert digest(read_areas(todo)) != before


def test_pictures(run):
    assert main(["--quiet", "cbv", str(run), "--pictures"]) == 0
    for name in ("vectors", "weights", "stars"):
        path = run / f"output/cbv/cbv-s0001-c1800-a112-{name}.png"
        assert path.read_bytes().startswith(b"\x89PNG")


def test_the_bytes_do_not_depend_on_the_ranks(run, tmp_path):
    path = run / "output/cbv/cbv-s0001-c1800-a112.hdf5"
    before = path.read_bytes(), path.with_suffix(".fits").read_bytes()
    program = [sys.executable, "-m", "tasoc_mpi.cli"]
    done = launch(
        program, "--quiet", "cbv", str(run), "--overwrite", ranks=3, seconds=250, SOURCE_DATE_EPOCH="0"
    )
    assert done.returncode == 0, done.stderr
    assert (path.read_bytes(), path.with_suffix(".fits").read_bytes()) == before
