"""What prepare reads, writes and allocates: one image of the state file a rank, each frame twice."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from ffi_files import series, write_ffi

from tasoc_mpi.cubes.frame_pixels import Frames
from tasoc_mpi.cubes.shared_images import SharedImages
from tasoc_mpi.cubes.tasks import FitStep, FlagsStep
from tasoc_mpi.products.ffi import scan_ffi

#: Rows and columns of the scaled frames, and of a CCD.
SIDE, CCD = 128, 2048


def bytes_read() -> int:
    """By this process so far."""
    return int(Path("/proc/self/io").read_text().split("rchar:")[1].split()[0])


def state_file(path: Path, frames: int, side: int) -> SharedImages:
    """A sparse state file of a CCD, with a head of the size that it has for so many frames."""
    images = SharedImages.behind(path, 4500 * frames, frames, side, side)
    path.touch()
    os.truncate(path, images.end)
    images.write_stars(0, np.full((side, side), 7.0, "f4"))
    return images


@pytest.mark.parametrize("frames", [1282, 11700])
def test_a_rank_reads_one_image_of_the_state_file(tmp_path: Path, frames: int) -> None:
    """As large as for a whole CCD: the masks of its frames are 0.7 and 6.1 GB."""
    images = state_file(tmp_path / "state", frames, CCD)
    assert images.end > frames * CCD * CCD / 8
    before = bytes_read()
    tracemalloc.start()
    try:
        image = images.read_stars()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (image == 7.0).all()
    assert bytes_read() - before < 1.01 * image.nbytes
    assert peak < 1.01 * image.nbytes


@pytest.mark.parametrize("frames", [1282, 11700])
def test_steps_need_no_more_where_there_are_more_frames(tmp_path: Path, frames: int) -> None:
    """The fit and the flags of one frame as another rank computes them, bytes read and memory at most."""
    rng = np.random.default_rng(1)
    path = write_ffi(tmp_path, 0, rng.normal(100.0, 3.0, (SIDE, SIDE)).astype("f4"))
    infos = (scan_ffi(path),) * frames
    series_of = Frames(infos, False, np.full(frames, SIDE, "i4"))
    images = state_file(tmp_path / "state", frames, SIDE)
    mesh = np.full((*series_of.geometry.mesh_shape, frames), 93.0, "f4")
    radial = np.zeros((len(series_of.geometry.nodes), frames), "f4")
    model = series_of.geometry.model(mesh, radial)
    frame, star_image = path.stat().st_size, 4 * SIDE * SIDE
    for step in (FitStep(series_of, images), FlagsStep(series_of, images, model)):
        # As rank 0 sends it, before it has read anything itself.
        message = pickle.dumps(step)
        step.compute(0, 1)  # compiles
        of_rank = pickle.loads(message)
        before = bytes_read()
        tracemalloc.start()
        try:
            of_rank.compute(5, 6)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        # The flux without its errors, the image of the stars, and what the counting itself reads.
        assert bytes_read() - before < frame / 2 + star_image + 20_000
        assert peak < 10 * star_image


_COUNTED = """
import sys
from pathlib import Path
from tasoc_mpi.cubes.prepare import prepare_folder
def counts():
    words = Path("/proc/self/io").read_text().split()
    return int(words[1]), int(words[3])
for folder in sys.argv[1:]:
    before = counts()
    prepare_folder(folder)
    print(*(b - a for a, b in zip(before, counts())))
"""


def test_traffic_of_a_frame(tmp_path: Path) -> None:
    """Each frame more costs its flux twice, its errors once, and its part of the cube once."""
    series(tmp_path / "all", 60, (SIDE, SIDE))
    folders = []
    # The first one imports and compiles what the others use.
    for name, frames in (("first", 36), ("few", 36), ("many", 60)):
        folders.append(tmp_path / name)
        folders[-1].mkdir()
        for path in sorted((tmp_path / "all").iterdir())[:frames]:
            (folders[-1] / path.name).symlink_to(path)
    words = [sys.executable, "-c", _COUNTED, *map(str, folders)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
    _, few, many = (np.array(line.split(), dtype="i8") for line in done.stdout.splitlines())
    read, written = (many - few) / 24
    pixels = SIDE * SIDE
    # Three blocks of headers are read with the flux, and again for the errors.
    assert 12 * pixels < read < 12 * pixels + 10 * 2880
    assert 9 * pixels < written < (9 + 1 / 8) * pixels + 10_000
    assert read + written < 1.4 * (8 + 9) * pixels
