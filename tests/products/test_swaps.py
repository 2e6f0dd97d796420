"""Light curves that take the places of others: old or new, and whole, at every moment."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from tasoc_mpi.core import atomic
from tasoc_mpi.core.errors import InputError
from tasoc_mpi.products import swaps as module
from tasoc_mpi.products.swaps import Swaps

NAMES = [f"c1800/00001/{i}.fits.gz" for i in range(20)]


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    for name in NAMES:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"old")
    return tmp_path


def content(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_a_file_keeps_its_bytes_until_the_new_ones_are_on_the_disk(listed: Path, monkeypatch):
    disk = threading.Event()

    def slow(path):
        disk.wait(20)
        atomic.sync(path)

    monkeypatch.setattr(module, "sync", slow)
    writer = Swaps(str(listed))
    assert [writer(name, b"new") for name in NAMES] == NAMES
    assert {name: (listed / name).read_bytes() for name in NAMES} == dict.fromkeys(NAMES, b"old")
    disk.set()
    writer.flush()
    assert content(listed) == dict.fromkeys(NAMES, b"new")


def test_new_ones_and_the_same_one_again(listed: Path):
    writer = Swaps(str(listed))
    for data in (b"first", b"second"):
        writer(NAMES[0], data)
        writer("c0120/00002/x.fits.gz", data)
    writer.flush()
    found = content(listed)
    assert found.pop("c0120/00002/x.fits.gz") == found.pop(NAMES[0]) == b"second"
    assert found == dict.fromkeys(NAMES[1:], b"old")


def test_a_disk_that_takes_nothing_ends_the_run_and_leaves_what_is_listed(listed: Path, monkeypatch):
    def full(path):
        raise OSError(28, os.strerror(28), path)

    monkeypatch.setattr(module, "sync", full)
    writer = Swaps(str(listed))
    for name in NAMES:
        writer(name, b"new")
    with pytest.raises(InputError, match="No space left"):
        writer.flush()
    assert content(listed) == dict.fromkeys(NAMES, b"old")
    writer.flush()


def test_a_folder_in_the_place_of_a_file_is_an_error_of_its_star(listed: Path):
    (listed / "c1800/00001/folder.fits.gz").mkdir()
    writer = Swaps(str(listed))
    with pytest.raises(OSError, match="folder"):
        writer("c1800/00001/folder.fits.gz", b"new")
    writer.flush()
    assert content(listed) == dict.fromkeys(NAMES, b"old")
