"""Small cubes: the size of their frames, their names, their content, and a prepare that is killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py

SHAPE = (70, 80)
FRAMES = 24
NAME = "sector030_camera1_ccd1.hdf5"
LOG = "sector030_camera1_ccd1.frames.csv"
#: Blocks of ten rows.
SMALL_MEMORY = 0.0003


def contents(path: Path) -> dict[str, bytes]:
    """All datasets and attributes of an HDF5 file as bytes."""
    found = {}

    def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
        for key, value in item.attrs.items():
            found[f"{name}@{key}"] = repr(value).encode()
        if isinstance(item, h5py.Dataset):
            value = item[()]
            found[name] = repr(value.tolist()).encode() if value.dtype == object else value.tobytes()

    with h5py.File(path) as file:
        visit("/", file)
        file.visititems(visit)
    return found


_KILLED = """
import os, signal, sys
{before}
import tasoc_mpi.cubes.{module} as module
original, calls = module.{function}, []

def killing(*args, **options):
    calls.append(None)
    if len(calls) == {call}:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*args, **options)

module.{function} = killing
from tasoc_mpi.cubes.prepare import PrepareOptions, prepare_folder
prepare_folder(sys.argv[1], PrepareOptions(memory={memory}))
"""


def kill_prepare(folder: Path, module: str, function: str, call: int, before: str = "") -> None:
    """Prepare a folder in a process that is killed at the `call`-th call of a function of `cubes`.

    The cube is unfinished then. `before` is code that the process runs first.
    """
    code = _KILLED.format(before=before, module=module, function=function, call=call, memory=SMALL_MEMORY)
    killed = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, timeout=120, check=False
    )
    assert killed.returncode == -9, killed.stderr
    assert not (folder / NAME).exists()
