"""Looking for input files: once, not in light curves, and again for what comes later."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from tasoc_mpi.core.files import files_below
from tasoc_mpi.errors import MissingInput
from tasoc_mpi.photometry import load
from tasoc_mpi.products.tpf import find_tpfs


@pytest.fixture
def folder(simulated, tmp_path) -> Path:
    load.clear_sources()
    yield simulated.copy(tmp_path)
    load.clear_sources()


def look_again(folder: Path) -> None:
    """Until it is time to look through the folder again."""
    time.sleep(max(0.0, load._found[folder].again - time.monotonic()))


def test_folders_of_light_curves_are_not_searched(tmp_path, monkeypatch):
    light_curves = ("output/c1800/00012/b.fits.gz", "c0120/00001/c.fits.gz")
    pictures = "output/plots/00000001234-s001-1-1-c1800/d.png"
    others = ("tpf/a.fits", "output/summary.json", "c1800/more/e.fits", "00012/f.fits")
    for name in (*light_curves, pictures, *others):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    scanned = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: (scanned.append(str(path)), scandir(path))[1])
    found = {str(path.relative_to(tmp_path)) for path in files_below(tmp_path)}
    assert found == set(others)
    assert not [path for path in scanned if path.endswith(("c1800/00012", "c0120/00001", "-c1800"))]


def test_a_folder_is_searched_once_for_all_stars(folder, monkeypatch):
    searches = []
    monkeypatch.setattr(load, "find_tpfs", lambda path: (searches.append(path), find_tpfs(path))[1])
    starids = [info.starid for info in find_tpfs(folder)]
    assert len(starids) == 2
    for starid in starids * 2:
        load.load_tpf(folder, starid)
    assert searches == [folder]


def test_a_target_pixel_file_that_comes_later_is_found(folder, tmp_path):
    first, second = find_tpfs(folder)
    away = Path(shutil.move(second.path, tmp_path / "away"))
    assert load.load_tpf(folder, first.starid).own_star == first.starid
    with pytest.raises(MissingInput, match=f"no target pixel file of TIC {second.starid}"):
        load.load_tpf(folder, second.starid)
    shutil.move(away, second.path)
    look_again(folder)
    assert load.load_tpf(folder, second.starid).own_star == second.starid
    # And one that is moved within the folder.
    (folder / "elsewhere").mkdir()
    shutil.move(second.path, folder / "elsewhere" / second.path.name)
    look_again(folder)
    assert load.load_tpf(folder, second.starid).path.parent.name == "elsewhere"


def test_missing_files_do_not_make_every_star_a_search(folder, monkeypatch):
    searches = []

    def slowly(path):
        searches.append(path)
        time.sleep(0.2)
        return find_tpfs(path)

    monkeypatch.setattr(load, "find_tpfs", slowly)
    for starid in range(1, 200):
        with pytest.raises(MissingInput):
            load.load_tpf(folder, starid)
    assert len(searches) == 1


@pytest.mark.parametrize("name", ["catalog_sector001_camera1_ccd1.sqlite", "sector001_camera1_ccd1.hdf5"])
def test_a_catalog_or_cube_that_comes_later_is_used(folder, tmp_path, name):
    info = find_tpfs(folder)[0]
    away = Path(shutil.move(folder / name, tmp_path / "away"))
    before = load.load_tpf(folder, info.starid)
    shutil.move(away, folder / name)
    after = load.load_tpf(folder, info.starid)
    if name.startswith("catalog"):
        assert len(before.catalog.stars) == 1 < len(after.catalog.stars)
    else:
        assert before.pixel_flags is None
        assert after.pixel_flags is not None
    assert load.load_tpf(folder, info.starid) is after
