"""Light curves of all cadences from simulated data to corrected files that lightkurve shows."""

from __future__ import annotations

import contextlib
import sqlite3
import warnings

import numpy as np
import pytest
from astropy.io import fits

from tasoc_mpi import cli


@pytest.mark.parametrize(("image", "file"), [(200, 20), (600, 120)])
def test_light_curves_of_images_and_files_are_corrected(tmp_path, monkeypatch, image, file):
    """Too few stars have files, so these take the vectors of the images."""
    lightkurve = pytest.importorskip("lightkurve")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    size = ["--frames", "60", "--rows", "60", "--columns", "60", "--density", "5", "--no-variables"]
    simulation = ["--tpfs", "1", "--cadence", str(image), "--tpf-cadence", str(file), "--systematics", "4"]
    for command, *options in (
        ["simulate", *size, "--sector", "60", *simulation],
        ["prepare"],
        ["todo"],
        ["run", "--correct"],
    ):
        assert cli.main(["--quiet", command, str(tmp_path), *options]) == 0
    output = tmp_path / "output"
    assert [path.name[:15] for path in output.glob("cbv/*.hdf5")] == [f"cbv-s0060-c{image:04d}"]
    with contextlib.closing(sqlite3.connect(tmp_path / "todo.sqlite")) as conn:
        rows = conn.execute(
            "SELECT cadence, c.lightcurve, c.status, c.errors, c.vectors, c.variance / d.variance"
            " FROM todolist JOIN diagnostics AS d USING (priority)"
            " JOIN diagnostics_corr AS c USING (priority) ORDER BY tmag"
        ).fetchall()
    assert {row[2:4] for row in rows} == {(1, None)}
    assert min(row[4] for row in rows) > 0
    for cadence in (image, file):
        own = [row for row in rows if row[0] == cadence]
        # The brightest of them, whose variance is that of the systematics.
        assert min(row[5] for row in own[:5]) < 0.5
        path = output / own[0][1]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shown = lightkurve.read(path)
        table = fits.getdata(path, "LIGHTCURVE")
        corrected = table["FLUX_CORR"]
        known = np.isfinite(corrected)
        assert np.count_nonzero(known) > 0.8 * len(table)
        assert np.nanmedian(np.diff(table["TIME"])) * 86400 == pytest.approx(cadence, rel=1e-3)
        assert (table["QUALITY"][known] == (128 if cadence == file else 0)).all()
        assert shown["flux"].unit.to("") == pytest.approx(1e-6)
        values = np.ma.filled(shown.flux.value, np.nan)
        assert np.count_nonzero(np.isfinite(values)) > 0.8 * len(table)
        place = np.searchsorted(table["CADENCENO"], shown["cadenceno"])
        np.testing.assert_array_equal(values, corrected[place])
