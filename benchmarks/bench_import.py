"""How fast a file of the TASOC pipeline becomes a cube: megabytes of cube a second.

Makes a file of 2048 x 2048 pixels in the pipeline's layout (lzf, 64 x 64 chunks; noise, so that little is
gained by compression), imports it, and compares some pixels.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import h5py
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))

from foreign_files import write_tasoc

from tasoc_mpi.cubes.prepare import PrepareOptions
from tasoc_mpi.imports.convert import import_file

SHAPE = (2048, 2048)


def make_input(path: Path, frames: int) -> None:
    """Write the file, unless it is there."""
    if path.exists():
        return
    rng = np.random.default_rng(0)
    images = rng.standard_normal((frames, *SHAPE), dtype="f4")
    values = {
        "images": images,
        "images_err": np.abs(images) + 1,
        "pixel_flags": (images > 3).astype("u1"),
        "backgrounds": images + 100,
    }
    part = path.with_suffix(".part")
    write_tasoc(part, values)
    part.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("bench/import"))
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--memory", type=float, default=2.0, help="GB")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    source = args.folder / f"tasoc_{args.frames}.hdf5"
    make_input(source, args.frames)
    options = PrepareOptions(memory=args.memory, overwrite=True)
    for attempt in ("with compilation", "again"):
        start = time.perf_counter()
        summary = import_file(args.folder, source, options)
        seconds = time.perf_counter() - start
        size = summary.path.stat().st_size
        print(f"import, {attempt}: {size / 1e6:.0f} MB in {seconds:.1f} s, {size / seconds / 1e6:.0f} MB/s")
    with h5py.File(source) as one, h5py.File(summary.path) as other:
        for name in ("images", "images_err", "pixel_flags", "backgrounds"):
            np.testing.assert_array_equal(other[name][1000, :, 7], one[f"{name}/0007"][1000])
    summary.path.unlink()


if __name__ == "__main__":
    main()
