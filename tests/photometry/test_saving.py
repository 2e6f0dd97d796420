"""Saving light curves: only what was measured is written, and what is listed is on the disk."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from supervised import supervisor, tasks, wait
from todo_rows import load_todo

from tasoc_mpi.core.errors import InputError, UsageError
from tasoc_mpi.core.status import STATUS
from tasoc_mpi.photometry import AperturePhotometry
from tasoc_mpi.products import durable
from tasoc_mpi.products.lightcurve import keep_lightcurve


@pytest.fixture
def options(simulated, tmp_path) -> dict:
    """Of a bright star on the simulated CCD."""
    todo = load_todo(simulated.folder / "todo.sqlite")
    star = todo[todo["datasource"] == "ffi"][0]
    where = {"input_folder": simulated.folder, "output_folder": tmp_path, "sector": 1, "camera": 1, "ccd": 1}
    return {"starid": int(star["starid"]), **where}


def test_without_photometry_a_good_file_stays(options, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    with AperturePhotometry(**options) as pho:
        pho.photometry()
        path = Path(pho.save_lightcurve())
    good = path.read_bytes()
    with (
        AperturePhotometry(**options) as pho,
        pytest.raises(UsageError, match=r"has no photometry yet; call photometry\(\) before"),
    ):
        pho.save_lightcurve()
    assert path.read_bytes() == good
    assert [entry for entry in path.parent.iterdir() if entry != path] == []


class Failing(AperturePhotometry):
    """Fails in one way after another."""

    ways = iter(())

    def do_photometry(self):
        super().do_photometry()
        way = next(self.ways)
        if isinstance(way, Exception):
            raise way
        if way is None:
            self.set_lightcurve(*(np.full(len(self.lightcurve), np.nan) for _ in range(3)), np.nan)
            return STATUS.OK
        return way


@pytest.mark.parametrize("way", [ValueError("broken"), None, STATUS.ERROR, STATUS.ABORT, STATUS.SKIPPED])
def test_a_photometry_that_failed_is_not_saved(options, tmp_path, way):
    """Nor one of before that."""
    Failing.ways = iter([STATUS.OK, way])
    with Failing(**options) as pho:
        pho.photometry()
        if way is None or isinstance(way, Exception):
            with pytest.raises(ValueError, match=r"broken|NaN"):
                pho.photometry()
        else:
            pho.photometry()
        with pytest.raises(UsageError, match=r"its photometry ended with (ERROR|ABORT|SKIPPED)"):
            pho.save_lightcurve()
    assert list(tmp_path.rglob("*.fits.gz")) == []


def test_an_array_is_no_hdu(options):
    with AperturePhotometry(**options) as pho:
        pho.photometry()
        pho.additional_hdus["MAP"] = np.zeros((2, 2))
        with pytest.raises(UsageError, match=r"additional_hdus\['MAP'\]: ndarray; add it by add_hdu\(\)"):
            pho.save_lightcurve()


def test_a_stamp_that_has_changed_is_measured_anew_first(options):
    with AperturePhotometry(**options) as pho:
        pho.photometry()
        pho.resize_stamp(up=3)
        with pytest.raises(UsageError, match="has another stamp than at its photometry"):
            pho.save_lightcurve()
        pho.photometry()
        pho.save_lightcurve()


def test_saving_comes_before_closing(options, tmp_path):
    with AperturePhotometry(**options) as pho:
        pho.photometry()
    with pytest.raises(UsageError, match=r"is closed; save its light curve before close\(\)"):
        pho.save_lightcurve()
    assert list(tmp_path.rglob("*.fits.gz")) == []


def test_saving_twice_is_the_same_file_and_another_version_another(options, tmp_path):
    with AperturePhotometry(**options) as pho:
        pho.photometry()
        path = Path(pho.save_lightcurve())
        first = path.read_bytes()
        assert pho.save_lightcurve() == str(path)
        assert path.read_bytes() == first
        pho.save_lightcurve(version=7)
    assert len(list(tmp_path.rglob("*.fits.gz"))) == 2


def test_a_second_photometry_reports_as_the_first(options):
    with AperturePhotometry(**options) as pho:
        pho.photometry()
        first = pho.result
        pho.photometry()
        assert pho.result is not first
        assert (pho.result.errors, pho.result.skip_targets) == (first.errors, first.skip_targets)
        assert pho.result.mean_flux == first.mean_flux


# --- On the disk


@pytest.fixture
def calls(monkeypatch) -> list[tuple[str, int]]:
    """Which files are synced, by inode."""
    seen: list[tuple[str, int]] = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (seen.append(("fsync", os.fstat(fd).st_ino)), fsync(fd))[1])
    syncfs = durable._syncfs()
    if syncfs is not None:
        spy = lambda fd: (seen.append(("syncfs", os.fstat(fd).st_dev)), syncfs(fd))[1]  # noqa: E731
        monkeypatch.setattr(durable, "_syncfs", lambda: spy)
    return seen


def listed(folder: Path) -> list[str]:
    names = ["c1800/00000/a.fits.gz", "c1800/00001/b.fits.gz", "c0120/00001/c.fits.gz"]
    for name in names:
        keep_lightcurve(folder / name, name.encode())
    keep_lightcurve(folder / "packed/p.hdf5", b"pack")
    return [*names, "packed/p.hdf5#c1800/00002/d.fits.gz", "packed/p.hdf5#c1800/00002/e.fits.gz"]


def test_one_call_syncs_all_light_curves_of_a_message(tmp_path, calls):
    if durable._syncfs() is None:
        pytest.skip("no syncfs here")
    durable.make_durable(tmp_path, listed(tmp_path))
    assert calls == [("syncfs", tmp_path.stat().st_dev)]
    durable.make_durable(tmp_path, [])
    assert len(calls) == 1


def test_folders_on_other_file_systems_are_synced_too(tmp_path, calls):
    if durable._syncfs() is None or not os.access("/dev/shm", os.W_OK):
        pytest.skip("no syncfs here, or no second file system")
    import tempfile

    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        if tmp_path.stat().st_dev == os.stat(other).st_dev:
            pytest.skip("the tests run on the second file system")
        (tmp_path / "c1800").symlink_to(other)
        durable.make_durable(tmp_path, listed(tmp_path))
        devices = {tmp_path.stat().st_dev, os.stat(other).st_dev}
    assert {device for _, device in calls} == devices
    assert len(calls) == len(devices) == 2


@pytest.mark.parametrize("error", [None, "ENOSYS"])
def test_without_syncfs_each_file_and_its_folders_are_synced(tmp_path, calls, monkeypatch, error):
    import ctypes
    import errno

    def refuse(_: int) -> int:
        ctypes.set_errno(errno.ENOSYS)
        return -1

    names = listed(tmp_path)
    calls.clear()
    monkeypatch.setattr(durable, "_syncfs", lambda: refuse if error else None)
    durable.make_durable(tmp_path, names)
    files = {name.partition("#")[0] for name in names}
    wanted = {(tmp_path / name).stat().st_ino for name in files}
    for name in files:
        for folder in [*(tmp_path / name).parents][: name.count("/") + 1]:
            wanted.add(folder.stat().st_ino)
    assert {inode for _, inode in calls} == wanted


def test_a_disk_that_fails_ends_the_run_with_its_reason(tmp_path, monkeypatch):
    import ctypes
    import errno

    def fail(_: int) -> int:
        ctypes.set_errno(errno.EIO)
        return -1

    monkeypatch.setattr(durable, "_syncfs", lambda: fail)
    names = listed(tmp_path)
    with pytest.raises(InputError, match=f"{tmp_path}: light curves cannot be written to its disk"):
        durable.make_durable(tmp_path, names)


def test_a_file_is_on_the_disk_before_it_takes_another_one_s_place(tmp_path, calls):
    path = tmp_path / "a.fits.gz"
    keep_lightcurve(path, b"first")
    assert calls == []
    keep_lightcurve(path, b"second")
    assert calls == [("fsync", path.stat().st_ino), ("fsync", tmp_path.stat().st_ino)]
    assert path.read_bytes() == b"second"


def test_light_curves_are_on_the_disk_before_they_are_reported(tmp_path, monkeypatch):
    from tasoc_mpi.worker import syncing as module

    synced: list[set[str]] = []
    monkeypatch.setattr(
        module,
        "make_durable",
        lambda output, names: synced.append({Path(output, n).stat().st_ino for n in names}),
    )
    with supervisor(tmp_path) as computer:
        for first in (1000, 1100):
            computer.submit(tasks(*range(first, first + 40)))
        for _ in range(2):
            results = wait(computer)
            names = [name for name in results.lightcurve if name]
            # A step of the disk may be for both.
            assert 0 < len(synced) <= 2
            files = {(tmp_path / "output" / name).stat().st_ino for name in names}
            assert files <= set().union(*synced)
            assert len(names) > 10
