"""Looking for input files: once, not in light curves, and again for what comes later."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from tasoc_mpi.core.errors import MissingInput
from tasoc_mpi.core.input_files import files_below
from tasoc_mpi.photometry import load_sources as load
from tasoc_mpi.products.tpf_files import (
    TPFInfo,
    find_tpfs,
    parse_tpf_name,
    read_tpf_list,
    tpf_list_path,
    write_tpf_list,
)


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
    assert load.load_tpf(folder, first.starid).header["TICID"] == first.starid
    with pytest.raises(MissingInput, match=f"no target pixel file of TIC {second.starid}"):
        load.load_tpf(folder, second.starid)
    shutil.move(away, second.path)
    look_again(folder)
    assert load.load_tpf(folder, second.starid).header["TICID"] == second.starid
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
        assert before.cube is None
        assert after.cube is not None
    assert load.load_tpf(folder, info.starid) is after


def test_a_run_searches_the_folder_once_for_all_its_processes(folder, tmp_path, monkeypatch):
    output = tmp_path / "lists"
    output.mkdir()
    infos = find_tpfs(folder)
    write_tpf_list(folder, output)
    found = read_tpf_list(output)
    assert [TPFInfo(folder / name, *rest) for name, *rest in found] == infos
    searches = []
    monkeypatch.setattr(load, "find_tpfs", lambda path: (searches.append(path), find_tpfs(path))[1])
    load.use_tpf_list(folder, output)
    for info in infos:
        assert load.load_tpf(folder, info.starid).path == info.path
    assert searches == []
    # One that has been moved since the list was made is searched for.
    moved = folder / "moved"
    moved.mkdir()
    shutil.move(infos[0].path, moved)
    load.clear_sources()
    load.use_tpf_list(folder, output)
    assert load.load_tpf(folder, infos[0].starid).path == moved / infos[0].path.name
    assert searches == [folder]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[",
        "{}",
        "[1, 2]",
        '["a.fits"]',
        '["tess2018206045859-s0001-0000000025155310-0120-s_tp.fits"]',
        '[["../tess2018206045859-s0001-0000000025155310-0120-s_tp.fits", 120]]',
        '[["/tess2018206045859-s0001-0000000025155310-0120-s_tp.fits", 120]]',
        '[["tess2018206045859-s0001-0000000025155310-0120-s_tp.fits", "x"]]',
        '[["tess2018206045859-s0001-0000000025155310-0120-s_tp.fits", 25155310, 1, 120]]',
    ],
)
def test_a_list_that_is_damaged_or_of_elsewhere_is_not_used(content, tmp_path):
    tpf_list_path(tmp_path).parent.mkdir()
    tpf_list_path(tmp_path).write_text(content)
    found = read_tpf_list(tmp_path)
    assert not found


def test_names_that_are_no_text_are_kept_in_the_list(tmp_path):
    folder = tmp_path / os.fsdecode(b"in\xff")
    folder.mkdir()
    path = folder / os.fsdecode(b"sub\xfe") / "tess2018206045859-s0001-0000000025155310-0120-s_tp.fits"
    path.parent.mkdir()
    path.touch()
    write_tpf_list(folder, tmp_path)
    ((name, *rest),) = read_tpf_list(tmp_path)
    assert TPFInfo(folder / name, *rest) == parse_tpf_name(path)
