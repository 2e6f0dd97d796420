"""Ways to read the cubes: copies on a node's disk and in its memory, and asking for pages ahead."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from mpi_launch import launch
from run_program import content

from tasoc_mpi.core import copy_space
from tasoc_mpi.core.errors import InputError
from tasoc_mpi.core.messages import TASK_DTYPE
from tasoc_mpi.core.names import catalog_name, cube_name
from tasoc_mpi.photometry import load_sources as load
from tasoc_mpi.photometry import prefetch as ahead
from tasoc_mpi.photometry.stamp import default_size, stamp_around
from tasoc_mpi.worker import copies
from tasoc_mpi.worker.compute import Job
from tasoc_mpi.worker.compute_options import ComputeOptions
from tasoc_mpi.worker.copies import SHARED_FOLDER, Copies, copies_folder, copy_name, remove_stale
from tasoc_mpi.worker.supervisor import Supervisor

CUBE = "sector001_camera1_ccd1.hdf5"
RUN = [sys.executable, "-m", "tasoc_mpi.cli", "--quiet", "run"]


@pytest.fixture
def cube(tmp_path) -> Path:
    path = tmp_path / "input" / CUBE
    path.parent.mkdir()
    path.write_bytes(np.random.default_rng(1).bytes(3_000_001))
    return path


@pytest.fixture
def scratch(tmp_path) -> Path:
    path = tmp_path / "scratch"
    path.mkdir()
    return path


def test_a_copy_is_made_once_and_goes_with_its_last_user(cube, scratch):
    first, second = Copies(scratch), Copies(scratch)
    copy = first.provide(cube)
    assert copy.parent == scratch
    assert copy.read_bytes() == cube.read_bytes()
    made = copy.stat()
    assert second.provide(cube) == copy == first.provide(cube)
    assert copy.stat().st_ino == made.st_ino
    first.release()
    remove_stale(scratch)
    assert copy.exists()
    second.release(keep=(cube,))
    assert copy.exists()
    second.release()
    assert list(scratch.iterdir()) == []


def test_a_cube_that_was_made_anew_is_copied_anew(cube, scratch):
    user = Copies(scratch)
    old = user.provide(cube)
    cube.write_bytes(b"another cube")
    new = user.provide(cube)
    assert new != old
    assert new.read_bytes() == b"another cube"
    user.release(keep=(cube,))
    assert not old.exists()
    assert new.exists()
    user.release()


def test_a_missing_cube_is_left_to_its_reader(scratch, tmp_path):
    user = Copies(scratch)
    assert user.provide(tmp_path / CUBE) == tmp_path / CUBE
    user.release(keep=(tmp_path / CUBE,))


def test_copies_of_killed_users_are_removed(cube, scratch):
    """Whole ones and parts; those of a living user stay, and so does what is not ours."""
    code = (
        "import os, sys; from pathlib import Path; from tasoc_mpi.worker import copies\n"
        "if sys.argv[3] == 'part':\n"
        "    os.replace = lambda *_: os.kill(os.getpid(), 9)\n"
        "copies.Copies(Path(sys.argv[1])).provide(Path(sys.argv[2])); os.kill(os.getpid(), 9)"
    )
    for kind in ("whole", "part"):
        command = [sys.executable, "-c", code, str(scratch), str(cube), kind]
        assert subprocess.run(command, check=False, timeout=200).returncode == -signal.SIGKILL
        left = list(scratch.iterdir())
        assert {path.suffix for path in left} == {".lock", ".hdf5" if kind == "whole" else ".tmp"}
        remove_stale(scratch)
        assert list(scratch.iterdir()) == []
    (scratch / "mine.hdf5").touch()
    user = Copies(scratch)
    copy = user.provide(cube)
    remove_stale(scratch)
    assert copy.exists()
    user.release()
    assert list(scratch.iterdir()) == [scratch / "mine.hdf5"]


@pytest.mark.parametrize("suffix", [".hdf5", ".lock"])
def test_what_is_not_ours_is_no_copy(cube, scratch, tmp_path, monkeypatch, suffix):
    """Anybody may have put a file, or a link, where a copy would be."""
    place = (scratch / copy_name(cube)).with_suffix(suffix)
    theirs = tmp_path / "theirs"
    theirs.write_bytes(b"something else")
    place.symlink_to(theirs)
    with pytest.raises(InputError, match=r"is not a file of this user; choose another --scratch"):
        Copies(scratch).provide(cube)
    assert theirs.read_bytes() == b"something else"
    place.unlink()
    if os.getuid() == 0:
        place.touch()
        os.chown(place, 12345, -1)
        with pytest.raises(InputError, match="is not a file of this user"):
            Copies(scratch).provide(cube)
        if suffix == ".lock":
            remove_stale(scratch)
            assert place.exists()


def test_a_part_that_was_left_is_no_copy(cube, scratch):
    part = scratch / f".{copy_name(cube)}.1.tmp"
    part.write_bytes(b"half")
    user = Copies(scratch)
    assert user.provide(cube).read_bytes() == cube.read_bytes()
    user.release()
    assert not part.exists()


def test_many_processes_make_one_copy(cube, scratch):
    """They start at once, all see it whole, and the last one removes it."""
    code = (
        "import sys; from pathlib import Path; from tasoc_mpi.worker import copies; made = []\n"
        "original = copies._copy\n"
        "copies._copy = lambda *a: (made.append(1), original(*a))\n"
        "user = copies.Copies(Path(sys.argv[1])); copy = user.provide(Path(sys.argv[2]))\n"
        "same = copy.read_bytes() == Path(sys.argv[2]).read_bytes()\n"
        "print(len(made), same, flush=True); sys.stdin.readline(); user.release()"
    )
    command = [sys.executable, "-c", code, str(scratch), str(cube)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with contextlib.ExitStack() as stack:
        users = [stack.enter_context(subprocess.Popen(command, **pipes)) for _ in range(5)]
        said = [user.stdout.readline().split() for user in users]
        assert sorted(made for made, _ in said) == ["0"] * 4 + ["1"]
        assert {same for _, same in said} == {"True"}
        for user in users:
            user.communicate("\n", timeout=200)
    assert list(scratch.iterdir()) == []


def test_a_disk_that_is_too_small(cube, scratch, monkeypatch):
    usage = shutil.disk_usage(scratch)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=3_000_000))
    user = Copies(scratch)
    with pytest.raises(InputError, match=rf"{CUBE}: its 0.003 GB do not fit .* choose another --scratch"):
        user.provide(cube)
    user.release()
    remove_stale(scratch)
    assert list(scratch.iterdir()) == []


def test_a_memory_that_is_too_small(cube, monkeypatch):
    monkeypatch.setattr(copy_space, "available_memory", lambda: 3_000_000)
    with pytest.raises(InputError, match=r"0\.003 GB of memory free for /dev/shm"):
        Copies(SHARED_FOLDER).provide(cube)
    remove_stale(SHARED_FOLDER)
    assert not (SHARED_FOLDER / copy_name(cube)).exists()


def test_a_disk_that_fills_up_leaves_no_part(cube, scratch, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(copies, "reserve", full)
    with pytest.raises(InputError, match="No space left on device"):
        Copies(scratch).provide(cube)
    assert [path.suffix for path in scratch.iterdir()] == [".lock"]


def test_folders_of_copies(scratch, monkeypatch, tmp_path):
    assert copies_folder("mapped") is None
    assert copies_folder("shared") == SHARED_FOLDER
    assert copies_folder("staged", scratch) == scratch
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert copies_folder("staged") == tmp_path
    with pytest.raises(InputError, match="choose another --scratch"):
        copies_folder("staged", tmp_path / "nowhere")


# --- Whole runs


def copied() -> list[str]:
    """Names of copies in memory."""
    return [name for name in os.listdir(SHARED_FOLDER) if name.startswith(f"tasoc-mpi-{os.getuid()}-")]


@pytest.mark.timeout(300)
def test_all_ways_to_read_give_the_same_bytes(simulated, tmp_path, scratch):
    ways = {
        "mapped": (1, []),
        "staged": (3, ["--cube", "staged", "--scratch", str(scratch)]),
        "shared": (3, ["--cube", "shared"]),
    }
    before, results = copied(), {}
    for name, (ranks, options) in ways.items():
        (tmp_path / name).mkdir()
        folder = simulated.copy(tmp_path / name)
        done = launch(RUN, str(folder), *options, ranks=ranks, seconds=200, SOURCE_DATE_EPOCH="1600000000")
        assert done.returncode == 0, done.stderr
        assert list(scratch.iterdir()) == []
        assert sorted(copied()) == sorted(before)
        results[name] = content(folder)
    assert len(results["mapped"]["files"]) > 10
    assert results["staged"] == results["mapped"]
    assert results["shared"] == results["mapped"]


@pytest.mark.timeout(300)
def test_a_folder_that_takes_no_copy_ends_the_run(simulated, tmp_path, scratch):
    (tmp_path / "input").mkdir()
    folder = simulated.copy(tmp_path / "input")
    done = launch(RUN, str(folder), "--cube", "staged", "--scratch", str(tmp_path / "nowhere"), ranks=3)
    assert done.returncode == 1
    assert "not a folder in which cubes can be copied" in done.stderr
    done = launch(RUN, str(folder), "--scratch", str(scratch))
    assert done.returncode == 2
    assert "--scratch is for --cube staged" in done.stderr


def test_the_copy_is_what_is_read(simulated, tmp_path):
    """The photometry reads the file that it is told to, under the cube's own name."""
    copy = tmp_path / "copy.hdf5"
    shutil.copy(simulated.folder / cube_name(1, 1, 1), copy)
    try:
        load.read_cubes_from(lambda cube: copy)
        assert load.load_ffi(simulated.folder, 1, 1, 1).cube.path == copy
        assert load.load_ffi(simulated.folder, 1, 1, 1).path == simulated.folder / cube_name(1, 1, 1)
    finally:
        load.read_cubes_from(None)
    assert load.load_ffi(simulated.folder, 1, 1, 1).cube.path == simulated.folder / cube_name(1, 1, 1)


@pytest.mark.parametrize("mode", ["staged", "shared"])
def test_the_computing_process_reads_the_copy(simulated, tmp_path, scratch, monkeypatch, mode):
    (tmp_path / "where.py").write_text(
        "from tasoc_mpi.photometry.load_sources import load_ffi\n"
        "def where(input_folder, sector, camera, ccd, **_):\n"
        "    from pathlib import Path\n"
        "    raise ValueError(load_ffi(Path(input_folder), sector, camera, ccd).cube.path)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    tasks = np.zeros(1, TASK_DTYPE)
    tasks["sector"] = tasks["camera"] = tasks["ccd"] = 1
    options = ComputeOptions(
        target_timeout=250.0,
        photometry="where:where",
        copies=str(copies_folder(mode, scratch)),
    )
    with Supervisor(Job(str(simulated.folder), str(tmp_path)), options) as computer:
        computer.submit(tasks)
        (error,) = computer.poll(250).errors
    copy = error.splitlines()[-1].removeprefix("ValueError: ")
    assert copy == str(copies_folder(mode, scratch) / copy_name(simulated.folder / CUBE))
    assert not Path(copy).exists()


# --- Ahead


def test_pages_of_the_next_stars_are_asked_for(simulated, monkeypatch):
    """Those of their first stamps, each once; of a CCD that is not in memory, none."""
    stars = load.load_ffi(simulated.folder, 1, 1, 1)
    inside = np.flatnonzero(
        (np.abs(stars.star_positions - np.array(stars.origin)[::-1] - 48) < 40).all(axis=1)
    )[:20]
    tasks = np.zeros(len(inside), TASK_DTYPE)
    tasks["starid"] = stars.catalog.stars["starid"][inside]
    tasks["sector"] = tasks["camera"] = tasks["ccd"] = 1
    tasks["datasource"] = b"ffi"
    asked = []
    monkeypatch.setattr(ahead.os, "posix_fadvise", lambda fd, start, size, _: asked.append((start, size)))
    total = ahead.prefetch(simulated.folder, tasks)
    wanted = np.zeros(stars.images.shape[:2], dtype=bool)
    row0, column0 = stars.origin
    limits = (row0, row0 + wanted.shape[0], column0, column0 + wanted.shape[1])
    for i in inside:
        size = default_size(stars.catalog.stars["tmag"][i])
        r1, r2, c1, c2 = stamp_around(stars.star_positions[i, 1], stars.star_positions[i, 0], size, limits, 1)
        wanted[r1 - row0 : r2 - row0, c1 - column0 : c2 - column0] = True
    found = np.zeros((2, wanted.size), dtype=int)
    pixel = 4 * stars.images.shape[2]
    for start, size in asked:
        for k, name in enumerate(("images", "images_err")):
            first = (start - stars.cube.offsets[name]) / pixel
            if 0 <= first < wanted.size:
                found[k, int(first) : int(first) + size // pixel] += 1
    assert (found.reshape(2, *wanted.shape) == wanted).all()
    assert total == 2 * pixel * wanted.sum() > 0
    load.clear_sources()
    assert ahead.prefetch(simulated.folder, tasks) == 0


def test_files_are_looked_at_once_for_a_batch(simulated, tmp_path, monkeypatch):
    """A file that was made anew is read anew from the next batch on."""
    for name in (cube_name(1, 1, 1), catalog_name(1, 1, 1)):
        (tmp_path / name).symlink_to(simulated.folder / name)
    load.clear_sources()
    first = load.load_ffi(tmp_path, 1, 1, 1)
    tasks = np.zeros(1, TASK_DTYPE)
    tasks["starid"] = first.catalog.stars["starid"][0]
    tasks["sector"] = tasks["camera"] = tasks["ccd"] = 1
    tasks["datasource"] = b"ffi"
    ahead.expect(tmp_path, tasks)
    with monkeypatch.context() as patch:
        patch.setattr(load, "modification_time", None)
        assert load.load_ffi(tmp_path, 1, 1, 1) is first
    catalog = tmp_path / catalog_name(1, 1, 1)
    catalog.unlink()
    shutil.copy(simulated.folder / catalog.name, catalog)
    ahead.expect(tmp_path, tasks)
    second = load.load_ffi(tmp_path, 1, 1, 1)
    assert second is not first
    assert second.cube is first.cube
    load.clear_sources()
