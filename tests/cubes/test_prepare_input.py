"""What prepare does with files, folders and a state that are not what they should be."""

from __future__ import annotations

import gzip
import os
import shutil
import socket
import sys
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from ffi_files import ffi_name, series
from mpi_launch import launch, launchers
from prepared import FRAMES, NAME, SHAPE, SMALL_MEMORY, contents, kill_prepare
from unprivileged import unprivileged

from tasoc_mpi import cli
from tasoc_mpi.core.errors import InputError, MissingInput
from tasoc_mpi.cubes.checkpoint import Checkpoint
from tasoc_mpi.cubes.prepare import PrepareOptions, prepare_folder
from tasoc_mpi.cubes.shared_images import SharedImages
from tasoc_mpi.cubes.tasks import FitStep, FlagsStep
from tasoc_mpi.stars.footprints import find_fields


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Frames and their cube."""
    folder = tmp_path_factory.mktemp("made")
    series(folder / "ffi", FRAMES, SHAPE)
    prepare_folder(folder)
    return folder


def linked(made: Path, folder: Path) -> list[Path]:
    """Frames of `folder` that are links to files elsewhere, as archives have them."""
    (folder / "ffi").mkdir()
    for path in (made / "ffi").iterdir():
        (folder / "ffi" / path.name).symlink_to(path)
    return sorted((folder / "ffi").iterdir())


@pytest.mark.timeout(60)
def test_pipes_and_sockets_beside_frames_are_left_alone(made: Path, tmp_path: Path) -> None:
    linked(made, tmp_path)
    os.mkfifo(tmp_path / ffi_name(100))
    os.mkfifo(tmp_path / "tess2018206045859-s0030-0000000025155310-0120-s_tp.fits")
    (tmp_path / ffi_name(101)).symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        # The path of a socket has to be short.
        os.chdir(tmp_path)
        server.bind(ffi_name(102))
        os.chdir(here)
        prepare_folder(tmp_path)
        find_fields(tmp_path)
    assert contents(tmp_path / NAME) == contents(made / NAME)


def test_a_link_to_a_frame_that_is_gone_is_named(made: Path, tmp_path: Path) -> None:
    linked(made, tmp_path)
    (tmp_path / ffi_name(100)).symlink_to(tmp_path / "gone")
    with pytest.raises(MissingInput, match=f"{ffi_name(100)}: a link to .*gone, which is not there; restore"):
        prepare_folder(tmp_path)


def test_gzip_is_told_by_what_is_in_the_file(made: Path, tmp_path: Path) -> None:
    """Packed frames without .gz, and plain ones with it."""
    for path in (made / "ffi").iterdir():
        data = path.read_bytes()
        if int(path.name[4:18]) % 2:
            (tmp_path / path.name).write_bytes(gzip.compress(data, 1))
        else:
            (tmp_path / f"{path.name}.gz").write_bytes(data)
    prepare_folder(tmp_path)
    assert {**contents(tmp_path / NAME), "frames": b""} == {**contents(made / NAME), "frames": b""}


def test_a_packed_frame_with_a_wrong_checksum(made: Path, tmp_path: Path) -> None:
    """The pixels unpack, and are not those that were packed."""
    paths = linked(made, tmp_path)
    data = gzip.compress(paths[3].read_bytes(), 1)
    paths[3].unlink()
    bad = paths[3].with_name(paths[3].name + ".gz")
    bad.write_bytes(data[:-8] + bytes(4) + data[-4:])
    with pytest.raises(InputError, match=f"{bad.name}: cannot be unpacked .*; fetch it again"):
        prepare_folder(tmp_path)
    assert not (tmp_path / NAME).exists()


def test_folders_whose_names_are_no_text(made: Path, tmp_path: Path) -> None:
    """Alone and with ranks: the name goes through messages."""
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe\xc3\x28"))
    (folder / "ffi").mkdir(parents=True)
    for path in (made / "ffi").iterdir():
        shutil.copy(path, folder / "ffi")
    program = [sys.executable, "-m", "tasoc_mpi.cli", "prepare"]
    for ranks in (1, 2) if launchers() else (1,):
        done = launch(program, str(folder), "--overwrite", ranks=ranks)
        assert done.returncode == 0, done.stderr
        assert contents(folder / NAME) == contents(made / NAME)


@unprivileged
def test_a_folder_that_cannot_be_written_to(made: Path, tmp_path: Path, capsys) -> None:
    linked(made, tmp_path)
    tmp_path.chmod(0o500)
    try:
        assert cli.main(["--quiet", "prepare", str(tmp_path)]) == 1
    finally:
        tmp_path.chmod(0o700)
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert f"{tmp_path / NAME}.lock: cannot be used as a lock (Permission denied)" in message


def test_the_lock_is_no_link_and_no_pipe(made: Path, tmp_path: Path) -> None:
    linked(made, tmp_path)
    victim = tmp_path / "victim"
    victim.write_text("precious")
    lock = tmp_path / f"{NAME}.lock"
    lock.symlink_to(victim)
    with pytest.raises(InputError, match=r"\.lock: cannot be used as a lock \(a link\)"):
        prepare_folder(tmp_path)
    assert victim.read_text() == "precious"
    lock.unlink()
    os.mkfifo(lock)
    with pytest.raises(InputError, match=r"\.lock: cannot be used as a lock \(not a regular file\)"):
        prepare_folder(tmp_path)


def interrupted(made: Path, folder: Path, function: str, call: int) -> Path:
    """An interrupted prepare; its state file."""
    linked(made, folder)
    kill_prepare(folder, "tasks", function, call)
    return folder / f"{NAME}.state"


@pytest.mark.parametrize("how", ["version", "truncated", "empty", "text", "packed"])
def test_a_state_that_is_damaged_or_of_another_version(made: Path, tmp_path: Path, caplog, how: str) -> None:
    """It is made anew, with one line."""
    state = interrupted(made, tmp_path, "fit_background", 30)
    data = state.read_bytes()
    damaged = {
        "version": b"tasoc-mpi prepare 2" + data[19:],
        "truncated": data[:-7],
        "empty": b"",
        "text": b"hello\n" * 1000,
        "packed": gzip.compress(data),
    }[how]
    state.write_bytes(damaged)
    prepare_folder(tmp_path)
    assert contents(tmp_path / NAME) == contents(made / NAME)
    (line,) = [record.getMessage() for record in caplog.records if str(state) in record.getMessage()]
    assert "damaged" in line
    assert line.endswith("it is begun anew")


@pytest.mark.parametrize("seed", range(12))
def test_bytes_of_the_state_that_flip(made: Path, tmp_path: Path, seed: int) -> None:
    """Whatever is damaged is computed again, the image of the stars and the notes of rows too."""
    state = interrupted(made, tmp_path, "_sync" if seed % 2 else "blocks.window_flags", 3)
    assert state.exists()
    data = np.frombuffer(state.read_bytes(), "u1").copy()
    rng = np.random.default_rng(seed)
    # A block that may be any of the parts; and ones, which say that something is done.
    place = int(rng.integers(0, len(data) - 3000))
    data[place : place + 3000] = rng.integers(0, 256, 3000) if seed % 4 < 2 else 1
    state.write_bytes(data.tobytes())
    prepare_folder(tmp_path, PrepareOptions(memory=SMALL_MEMORY))
    assert contents(tmp_path / NAME) == contents(made / NAME)


def test_damaged_parts_of_the_state_are_known(tmp_path: Path) -> None:
    def opened() -> Checkpoint:
        return Checkpoint(tmp_path / "state", "k" * 64, 3, 40, (2, 2), 2, 0, columns=30, samples=2)

    image = np.random.default_rng(0).normal(size=(40, 30)).astype("<f4")
    checksums = np.array([zlib.crc32(row.tobytes()) for row in image], "u4")
    state = opened()
    assert not state.stars_done(7).any()
    with open(state.path, "r+b") as file:
        file.seek(state.images.stars_at)
        file.write(image.tobytes())
    state.set_stars(0, 40, checksums)
    part = tmp_path / "part"
    part.write_bytes(bytes(range(200)))
    places = {"images": (40, 100), "sumimage": (150, 20)}
    state.begin_rows("cube", part, places)
    state.set_rows(5, 9)
    state.flush()
    assert opened().stars_done(7).all()
    assert opened().cube_digest == "cube"
    with open(state.path, "r+b") as file:
        file.seek(state.images.stars_at + 4 * 30 * 11 + 3)
        file.write(b"\x55")
    assert np.flatnonzero(~opened().stars_done(7)).tolist() == [11]
    offsets = {"images": 40, "sumimage": 150}
    assert opened().continued_rows("cube", part, list(places)) == offsets
    assert opened().continued_rows("other", part, list(places)) is None
    for place, expected in (
        (20, offsets),
        (60, offsets),
        (160, offsets),
        (10, None),
        (145, None),
        (199, None),
    ):
        data = bytearray(range(200))
        data[place] ^= 1
        part.write_bytes(data)
        assert opened().continued_rows("cube", part, list(places)) == expected, place
    part.write_bytes(bytes(range(200)) + b"x")
    assert opened().continued_rows("cube", part, list(places)) is None
    # A row that was never written says that it is done.
    opened()._data["rows"][20] = 1
    assert opened().cube_digest == ""


@pytest.mark.parametrize("kind", [FitStep, FlagsStep])
def test_a_rank_reads_the_image_of_the_stars_and_not_the_flags_behind_it(tmp_path: Path, kind) -> None:
    """The state of 11,700 full frames is 6.2 GB; here it is 5, of which a rank takes 0.16 MB."""
    path = tmp_path / "state"
    image = np.random.default_rng(0).normal(size=(200, 200)).astype("<f4")
    with open(path, "wb") as file:
        file.seek(65536)
        file.write(image.tobytes())
        file.truncate(5_000_000_000)
    step = kind(None, SharedImages(path, 11700, 200, 200, 65536), *(() if kind is FitStep else (None,)))
    tracemalloc.start()
    try:
        np.testing.assert_array_equal(step._stars, image)
        assert step._stars is step._stars
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("suffix", [".part", ".state"])
@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_in_the_place_of_an_unfinished_cube_is_named(
    made: Path, tmp_path: Path, capsys, suffix: str, kind: str
) -> None:
    linked(made, tmp_path)
    place = tmp_path / f"{NAME}{suffix}"
    if kind == "folder":
        (place / "precious").mkdir(parents=True)
    else:
        os.mkfifo(place)
    status = cli.main(["--quiet", "prepare", str(tmp_path)])
    message = capsys.readouterr().err
    if kind == "pipe" and suffix == ".part":
        # It has the name that prepare gives to its own files, and is replaced.
        assert status == 0
    else:
        assert status == 1
        assert message.count("\n") == 1
        assert str(place) in message
        assert "remove" in message
        assert not (tmp_path / f"{NAME}.lock").exists()
    assert kind == "pipe" or (place / "precious").is_dir()
