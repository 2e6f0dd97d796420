"""The cost of a full frame from file to cube: seconds, bytes read and written, on one rank and on several.

Simulates frames of a whole CCD (35.5 MB and a second each; kept for the next time), prepares them alone and
with several ranks, and compares the cubes. Time counts from where a process has started and imported the
program. The image of the stars is made of 32 frames for any length of the series: its cost is printed apart.

A rank computes, or waits for a processor that another program has, or waits for anything else: other ranks,
the disk, the lock of the file. Where the second is not zero the machine was not free, and times mean
little. In a folder of memory (``/dev/shm/...``) no disk is measured. The fastest of `--repeat` runs counts.
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
#: Of a full frame.
PIXELS = 2048 * 2048
#: Sum of what every rank read and wrote.
_COUNTED = ("rchar", "wchar")


def make_input(folder: Path, frames: int, packed: bool) -> list[Path]:
    """Simulate and pack, unless that was done before; the frames."""
    pattern = "tess*_ffic.fits.gz" if packed else "tess*_ffic.fits"
    found = sorted(folder.rglob(pattern))
    if len(found) != frames:
        shutil.rmtree(folder, ignore_errors=True)
        words = ["simulate", str(folder), "--full-frame", "--frames", str(frames), "--tpfs", "0"]
        subprocess.run([str(BIN / "tasoc-mpi"), *words, "--first-frame", "300"], check=True)
        for path in folder.rglob("tess*_ffic.fits") if packed else ():
            subprocess.run(["gzip", "-1", str(path)], check=True)
        found = sorted(folder.rglob(pattern))
    return found


def traffic() -> dict[str, int]:
    """Bytes that this process has read and written."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return {key: int(value) for key, value in (line.split(": ") for line in lines) if key in _COUNTED}


def queued() -> float:
    """Seconds that this thread could have run and had no processor."""
    return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9


def one_rank(options: list[str], report: Path) -> int:
    """`tasoc-mpi prepare`, and what it took in this process."""
    from tasoc_mpi import cli
    from tasoc_mpi.commands import prepare as _  # noqa: F401
    from tasoc_mpi.cubes import pipeline
    from tasoc_mpi.cubes import prepare as cubes

    stars: list[float] = []
    make_stars = pipeline.make_stars

    def timed(*args: object) -> object:
        begin = time.perf_counter()
        try:
            return make_stars(*args)
        finally:
            stars.append(time.perf_counter() - begin)

    cubes.make_stars = timed
    before, start = traffic(), time.perf_counter()
    cpu, computed, delayed = time.process_time(), time.thread_time(), queued()
    status = cli.main(["--quiet", "prepare", *options])
    found = {key: value - before[key] for key, value in traffic().items()}
    found |= {"wall": time.perf_counter() - start, "cpu": time.process_time() - cpu, "stars": sum(stars)}
    found |= {"computed": time.thread_time() - computed, "delayed": queued() - delayed}
    found["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    report.with_name(f"{report.name}.{os.getpid()}").write_text(json.dumps(found))
    return status


def measure(folder: Path, ranks: int, memory: float) -> tuple[list[dict[str, float]], str]:
    """Prepare once; what each rank reports, and a digest of the cube."""
    for report in folder.glob("report.*"):
        report.unlink()
    prefix = [str(BIN / "mpiexec"), "-n", str(ranks)] if ranks > 1 else []
    words = [sys.executable, __file__, "--report", str(folder / "report"), str(folder)]
    subprocess.run([*prefix, *words, "--memory", str(memory), "--overwrite"], check=True)
    found = [json.loads(report.read_text()) for report in folder.glob("report.*")]
    cube = folder / CUBE
    with open(cube, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    cube.unlink()
    return found, digest


def wall(found: list[dict[str, float]]) -> float:
    return max(one["wall"] for one in found)


def report_run(found: list[dict[str, float]], alone: float, frames: list[Path]) -> None:
    """One line on a run, `alone` being the seconds that one rank took."""
    n, ranks = len(frames), len(found)
    with_stars, stars = wall(found), max(one["stars"] for one in found)
    cube = PIXELS * (9 * n + 5)
    necessary = sum(path.stat().st_size for path in frames) + cube
    moved = sum(one[key] for one in found for key in _COUNTED)
    cpu = [one["cpu"] for one in found]
    delayed = sum(one["delayed"] for one in found) / ranks
    waited = sum(one["wall"] - one["computed"] - one["delayed"] for one in found) / ranks
    print(
        f"{ranks} rank{'s' if ranks > 1 else ' '}  {with_stars / n:.3f} s a frame, {alone / with_stars:.2f} "
        f"times as fast as one; {(with_stars - stars) / n:.3f} beside the image of the stars ({stars:.1f} s "
        f"a CCD). A rank waits {100 * waited / with_stars:.0f}% of the time for others and the disk, "
        f"{100 * delayed / with_stars:.0f}% for a processor that others have. Processor time "
        f"{sum(cpu) / n:.3f} s a frame, of the busiest rank {max(cpu) / n:.3f} s; {moved / 1e6 / n:.0f} MB "
        f"read and written, {moved / necessary:.2f} times what has to be; "
        f"{max(one['memory'] for one in found):.2f} GB for a rank at most",
        flush=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("bench/prepare"))
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--gzip", action="store_true", help="frames packed with gzip")
    parser.add_argument("--memory", type=float, default=2.0, help="GB")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeat", type=int, default=3, help="runs of which the fastest counts")
    parser.add_argument("--report", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--overwrite", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.report:
        return one_rank([str(args.folder), "--memory", str(args.memory), "--overwrite"], args.report)
    frames = make_input(args.folder, args.frames, args.gzip)
    _, digest = measure(args.folder, 1, args.memory)  # compiles
    best: dict[int, list[dict[str, float]]] = {}
    digests = {digest}
    # In turns, so that a change of the machine's load meets all.
    for ranks in args.ranks * args.repeat:
        found, digest = measure(args.folder, ranks, args.memory)
        digests.add(digest)
        if ranks not in best or wall(found) < wall(best[ranks]):
            best[ranks] = found
    for found in best.values():
        report_run(found, wall(best[min(best)]) * min(best), frames)
    print("the same cube, byte for byte" if len(digests) == 1 else "DIFFERENT CUBES")
    return len(digests) - 1


if __name__ == "__main__":
    sys.exit(main())
