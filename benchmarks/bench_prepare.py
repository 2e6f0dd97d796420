"""What a full frame costs from file to cube: seconds, and bytes read and written.

Simulates frames of a whole CCD (35.5 MB and a second each; kept for the next time), prepares them alone and
with several ranks, and compares the cubes. The image of the stars is made of 32 frames, whatever the
length of the series: what it costs is said, and what a frame costs without it. On a machine that others use
too, the processor time of the busiest rank tells how the work is spread.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

BIN = Path(sys.executable).parent
CUBE = "sector001_camera1_ccd1.hdf5"
#: Sum of what every rank read and wrote.
_COUNTED = ("rchar", "wchar")


def make_input(folder: Path, frames: int) -> list[Path]:
    """Simulate, unless that was done before; the frames."""
    found = sorted(folder.rglob("tess*_ffic.fits"))
    if len(found) != frames:
        shutil.rmtree(folder, ignore_errors=True)
        words = ["simulate", str(folder), "--full-frame", "--frames", str(frames), "--tpfs", "0"]
        subprocess.run([str(BIN / "tasoc-mpi"), *words, "--first-frame", "300"], check=True)
        found = sorted(folder.rglob("tess*_ffic.fits"))
    return found


def traffic() -> dict[str, int]:
    """Bytes that this process has read and written."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return {key: int(value) for key, value in (line.split(": ") for line in lines) if key in _COUNTED}


def one_rank(options: list[str], report: Path) -> int:
    """`tasoc-mpi prepare`, and what it took in this process."""
    from tasoc_mpi import cli
    from tasoc_mpi.prepare import cubes, passes

    stars: list[float] = []
    make_stars = passes.make_stars

    def timed(*args: object) -> object:
        begin = time.perf_counter()
        try:
            return make_stars(*args)
        finally:
            stars.append(time.perf_counter() - begin)

    cubes.make_stars = timed
    before, start = traffic(), time.perf_counter()
    status = cli.main(["--quiet", "prepare", *options])
    wall, used = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    found = {key: value - before[key] for key, value in traffic().items()}
    found |= {"wall": wall, "cpu": used.ru_utime + used.ru_stime, "memory": used.ru_maxrss / 1e6}
    found["stars"] = sum(stars)
    report.with_name(f"{report.name}.{os.getpid()}").write_text(json.dumps(found))
    return status


def measure(folder: Path, ranks: int, memory: float, frames: list[Path]) -> str:
    """Prepare once; a digest of the cube."""
    for report in folder.glob("report.*"):
        report.unlink()
    prefix = [str(BIN / "mpiexec"), "-n", str(ranks)] if ranks > 1 else []
    words = [sys.executable, __file__, "--report", str(folder / "report"), str(folder)]
    subprocess.run([*prefix, *words, "--memory", str(memory), "--overwrite"], check=True)
    found = [json.loads(report.read_text()) for report in folder.glob("report.*")]
    cube = folder / CUBE
    necessary = sum(path.stat().st_size for path in frames) + cube.stat().st_size
    moved = sum(one[key] for one in found for key in _COUNTED)
    wall, n = max(one["wall"] for one in found), len(frames)
    stars = max(one["stars"] for one in found)
    wall, n = max(one["wall"] for one in found), len(frames)
    stars, cpu = max(one["stars"] for one in found), [one["cpu"] for one in found]
    print(
        f"{ranks} rank{'s' if ranks > 1 else ' '}  {wall / n:.2f} s a frame, {(wall - stars) / n:.2f} beside "
        f"the image of the stars ({stars:.1f} s a CCD); processor time {sum(cpu) / n:.2f} s, of the busiest "
        f"rank {max(cpu) / n:.2f} s; {moved / 1e6 / n:.0f} MB read and written, {moved / necessary:.2f} "
        f"times what has to be; {max(one['memory'] for one in found):.2f} GB for a rank at most",
        flush=True,
    )
    with open(cube, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    cube.unlink()
    return digest


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("bench/prepare"))
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--memory", type=float, default=2.0, help="GB")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--report", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--overwrite", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.report:
        return one_rank([str(args.folder), "--memory", str(args.memory), "--overwrite"], args.report)
    frames = make_input(args.folder, args.frames)
    measure(args.folder, 1, args.memory, frames)  # compiles
    digests = {measure(args.folder, ranks, args.memory, frames) for ranks in args.ranks}
    print("the same cube, byte for byte" if len(digests) == 1 else "DIFFERENT CUBES")
    return len(digests) - 1


if __name__ == "__main__":
    sys.exit(main())
