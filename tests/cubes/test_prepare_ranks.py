"""Several ranks make the cube that one makes, whatever happens to them."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from ffi_files import ffi_name, series, write_ffi
from mpi_launch import launch, mpiexec
from prepared import FRAMES, LOG, NAME, SHAPE, contents

from tasoc_mpi.core.errors import InputError
from tasoc_mpi.core.ranks import Ranks
from tasoc_mpi.cubes.buffers import Buffers
from tasoc_mpi.cubes.prepare import prepare_folder

PROGRAM = [sys.executable, "-m", "tasoc_mpi.cli", "prepare"]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with frames, some of them with shenanigans, and the cube that one process makes."""
    folder = tmp_path_factory.mktemp("made")
    pixels = series(folder / "ffi", FRAMES, SHAPE)
    (folder / "ffi" / ffi_name(4)).unlink()
    pixels[4][20:50, 10:60] += 90
    write_ffi(folder / "ffi", 4, pixels[4])
    prepare_folder(folder)
    with h5py.File(folder / NAME) as file:
        assert (file["pixel_flags"][:, :, 4] & 4).any()
    return folder


def fresh(made: Path, folder: Path) -> Path:
    (folder / "ffi").symlink_to(made / "ffi")
    return folder


@pytest.mark.parametrize(("ranks", "memory"), [(1, "1"), (2, "0.0006"), (4, "0.004")])
def test_any_number_of_ranks(made: Path, tmp_path: Path, ranks: int, memory: str) -> None:
    done = launch(
        PROGRAM,
        str(fresh(made, tmp_path)),
        "--memory",
        memory,
        "--movement-kernel",
        "translation",
        ranks=ranks,
    )
    assert done.returncode == 0, done.stderr
    ours, alone = contents(tmp_path / NAME), contents(made / NAME)
    movement = [ours.pop(key) for key in list(ours) if key.startswith("movement_kernel")]
    assert len(movement) == 3  # The kernels, their kind and their description.
    assert ours == alone
    assert (tmp_path / LOG).read_bytes() == (made / LOG).read_bytes()
    # Said once.
    assert done.stderr.count("24 frames of 70 x 80 pixels") == 1


KILLER = """
import os, signal, sys, time
from tasoc_mpi import cli
from tasoc_mpi.cubes import tasks
rank, step, call, calls = int(sys.argv[1]), getattr(tasks, sys.argv[2]), int(sys.argv[3]), []
compute = step.compute

def killing(*args):
    from mpi4py import MPI
    if MPI.COMM_WORLD.Get_rank() == rank:
        calls.append(None)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
    else:
        time.sleep(0.1)  # leaves enough pieces to the rank that is to be killed
    return compute(*args)

step.compute = killing
sys.exit(cli.main(["prepare", *sys.argv[4:]]))
"""


@pytest.mark.parametrize(
    ("rank", "step", "call"),
    [(1, "FitStep", 4), (2, "StarsStep", 1), (0, "FitStep", 11), (1, "RowsStep", 2)],
)
def test_a_killed_rank(made: Path, tmp_path: Path, rank: int, step: str, call: int) -> None:
    """The job ends; the next one, of another size, goes on."""
    folder = fresh(made, tmp_path)
    command = [*mpiexec(3), sys.executable, "-c", KILLER, str(rank), step, str(call), str(folder)]
    killed = subprocess.run([*command, "--memory", "0.0005"], capture_output=True, text=True, timeout=120)
    assert killed.returncode != 0
    assert not (folder / NAME).exists()
    assert (folder / f"{NAME}.state").exists()
    done = launch(PROGRAM, str(folder), ranks=2)
    assert done.returncode == 0, done.stderr
    assert "continuing an interrupted prepare" in done.stderr
    assert contents(folder / NAME) == contents(made / NAME)


def test_a_damaged_frame_is_named_once(made: Path, tmp_path: Path) -> None:
    """Whoever meets it; the next CCD is made all the same."""
    series(tmp_path, 4, (64, 64), ccd=2)
    for path in (made / "ffi").iterdir():
        (tmp_path / path.name).symlink_to(path)
    broken = tmp_path / f"{ffi_name(13)}.gz"
    packed = gzip.compress((tmp_path / ffi_name(13)).read_bytes(), 1)
    (tmp_path / ffi_name(13)).unlink()
    broken.write_bytes(packed[: len(packed) // 2])
    done = launch(PROGRAM, str(tmp_path), ranks=3)
    assert done.returncode == 1
    assert done.stderr.count(f"{broken}: ") == 1
    assert "1 of 2 CCDs" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "sector030_camera1_ccd2.hdf5").exists()
    assert not (tmp_path / NAME).exists()


def test_wrong_usage_of_many_is_one_line(tmp_path: Path) -> None:
    done = launch(PROGRAM, str(tmp_path / "nothing"), ranks=3)
    assert done.returncode == 1
    assert done.stderr.count("no such folder") == 1
    assert "Traceback" not in done.stderr


class Doubling:
    """Twice a number; fails for 7."""

    def compute(self, first, last):
        if first == 7:
            raise InputError("seven")
        return 2 * first


def test_alone() -> None:
    found = {}
    Ranks().share(Doubling(), [(n, n + 1) for n in range(5)], lambda a, b, r: found.update({a: r}))
    assert found == {n: 2 * n for n in range(5)}
    with pytest.raises(InputError, match="seven"):
        Ranks().share(Doubling(), [(n, n + 1) for n in range(9)], lambda *_: None)


def test_memory_is_used_again() -> None:
    buffers = Buffers()
    first = buffers.array("images", (3, 4), "f4")
    first[:] = 7
    again = buffers.array("images", (2, 5), "f4")
    assert np.shares_memory(first, again)
    assert not np.shares_memory(again, buffers.array("errors", (2, 5), "f4"))
    larger = buffers.array("images", (30, 4), "f8")
    assert larger.shape == (30, 4)
    assert larger.dtype == np.float64


def test_memory_of_a_rank() -> None:
    ranks = Ranks()
    ranks.on_node, ranks.free = [3, 3, 3, 1], [6e9, 9e9, 8e9, 1e9]
    assert ranks.memory(3e9) == 1e9
    assert ranks.memory(None) == 0.5e9
