"""Write the list of kernels that `tasoc-mpi compile` compiles, from small runs of all steps with kernels.

    python benchmarks/record_kernels.py [FOLDER]
    python benchmarks/record_kernels.py FOLDER NAME...

The second form records some steps anew and keeps the others; FOLDER has been prepared and has a work list.

To be run after a change of the kernels or of the types of their arguments. It takes some minutes, because
everything is compiled anew: numba does not show the functions that a kernel from its cache calls.

    python benchmarks/record_kernels.py --use FOLDER NAME...

prints the kernels that each of some steps uses, as JSON; FOLDER has been prepared.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))

from made_curves import make_area
from made_run import write_run

from tasoc_mpi import cli, tessphot
from tasoc_mpi.core.methods import CORRECTION_METHODS, METHODS
from tasoc_mpi.core.names import CBV_FOLDER
from tasoc_mpi.correction.corrected_star import correct_star
from tasoc_mpi.photometry.load_sources import load_ffi
from tasoc_mpi.worker.kernel_list import recorded

LIST = Path(__file__).parents[1] / "src/tasoc_mpi/data/kernels.json"
SIMULATION = ("--frames", "120", "--rows", "96", "--columns", "96", "--tpfs", "2", "--seed", "7")
#: Stars of each kind of data; those with the largest stamps take long.
STARS = {"halo": 2, "psf": 4, "linpsf": 8, "aperture": 40}


def command(name: str, folder: Path, *options: str) -> None:
    """Run a command in this process."""
    if cli.main(["-q", name, str(folder), *options]):
        sys.exit(1)


def photometry(name: str, folder: Path) -> None:
    """Compute some stars of frames and of target pixel files."""
    with contextlib.closing(sqlite3.connect(folder / "todo.sqlite")) as conn:
        columns = "starid, datasource, sector, camera, ccd, cadence"
        query = (
            f"SELECT {columns} FROM todolist WHERE datasource LIKE ? ORDER BY priority LIMIT {STARS[name]}"
        )
        rows = [row for kind in ("ffi", "tpf%") for row in conn.execute(query, (kind,)).fetchall()]
    # As a worker does with a batch.
    source = load_ffi(folder, *rows[0][2:5])
    source.expect([source.index(row[0]) for row in rows if row[1] == "ffi"])
    for starid, datasource, sector, camera, ccd, cadence in rows:
        pho = tessphot(
            method=name, starid=starid, input_folder=str(folder), output_folder=str(folder / name),
            datasource=datasource, sector=sector, camera=camera, ccd=ccd, cadence=cadence,
        )  # fmt: skip
        if pho.status.has_lightcurve:
            pho.save_lightcurve()
        pho.close()


def correction(folder: Path) -> None:
    """Correct some light curves by all methods."""
    where = {"input_folder": str(folder), "output_folder": str(folder / "output"), "datasource": "ffi"}
    for method in CORRECTION_METHODS:
        for starid in range(1000, 1010):
            star = correct_star(
                method=method, starid=starid, sector=1, camera=1, ccd=1, cadence=7200, **where
            )  # fmt: skip
            star.save_lightcurve()
            star.close()


def write_curves(folder: str) -> None:
    """Write a run of light curves."""
    write_run(Path(folder), make_area(80, 7200))


def use(name: str, folder: Path) -> None:
    """Use the kernels of one step in this process."""
    if name == "simulate":
        command(name, folder, *SIMULATION)
        # Options whose kernels the others do not need.
        other = folder.with_name(f"{folder.name}-bright")
        bright = ("--bright-star", "1020,1070,5", "--focus", "0.03", "--systematics", "1", "--overwrite")
        command(name, other, *SIMULATION, "--frames", "40", *bright)
    elif name == "prepare":
        command(name, folder, "--overwrite")
    elif name == "prf":
        command(name, folder)
    elif name in METHODS:
        photometry(name, folder)
    else:
        # The simulated CCD has too few stars for vectors.
        curves = folder / "curves"
        if not curves.exists():
            # In a process of its own, as the vectors below: the kernels that write files do not count.
            here = "import sys; sys.path.insert(0, sys.argv[1]); import record_kernels"
            script = f"{here}; record_kernels.write_curves(sys.argv[2])"
            subprocess.run(
                [sys.executable, "-c", script, str(Path(__file__).parent), str(curves)], check=True
            )
        if name == "cbv":
            command(name, curves, "--overwrite")
        else:
            if not (curves / "output" / CBV_FOLDER).exists():
                # In a process of its own: the kernels of the correction alone are looked for.
                vectors = [sys.executable, "-m", "tasoc_mpi.cli", "-q", "cbv", str(curves)]
                subprocess.run(vectors, stdout=subprocess.DEVNULL, check=True)
            correction(curves)


def used(name: str, folder: Path, cold: bool) -> list[object]:
    """The kernels that a step uses, from a process of its own; `cold`: nothing is compiled before."""
    with tempfile.TemporaryDirectory() as cache:
        env = {**os.environ, "NUMBA_CACHE_DIR": cache} if cold else None
        call = [sys.executable, __file__, "--use", str(folder), name]
        done = subprocess.run(call, stdout=subprocess.PIPE, text=True, check=True, env=env)
    return json.loads(done.stdout.splitlines()[-1])[name]


def main(folder: Path, only: list[str]) -> None:
    # All methods before `prf`, too: without the response of the CCD they use others.
    steps = only or ("simulate", "prepare", *METHODS, "prf", *METHODS, "cbv", "correct")
    found: dict[str, list[object]] = json.loads(LIST.read_text("utf-8")) if only else {}
    found.update({name: [] for name in steps})
    # What a command compiles in advance would hide what its kernels call.
    write_list(found)
    for name in steps:
        for kernel in used(name, folder, True):
            if kernel not in found[name]:
                found[name].append(kernel)
        print(f"{name}: {len(found[name])} kernels", flush=True)
        if name == "prepare":
            command("todo", folder)
    write_list(found)


def write_list(found: dict[str, list[object]]) -> None:
    """Write the list, a kernel a line."""
    text = ",\n".join(
        f' "{name}": [\n'
        + ",\n".join(f"  {json.dumps(one)}" for one in sorted(kernels, key=json.dumps))
        + "\n ]"
        for name, kernels in found.items()
    )
    LIST.write_text(f"{{\n{text}\n}}\n")


def print_used(folder: Path, names: list[str]) -> None:
    """Print the kernels that some steps use; each begins without those of the others."""
    found = {}
    for name in names:
        reads, writes = os.pipe()
        if (pid := os.fork()) == 0:
            status = 1
            try:
                os.dup2(2, 1)
                use(name, folder)
                with os.fdopen(writes, "w") as file:
                    json.dump(list(recorded()), file)
                status = 0
            except BaseException:  # noqa: BLE001 - the end of this process
                traceback.print_exc()
            finally:
                os._exit(status)
        os.close(writes)
        with os.fdopen(reads) as file:
            text = file.read()
        if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
            sys.exit(f"{name} failed")
        found[name] = json.loads(text)
    print(json.dumps(found))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--use"]:
        print_used(Path(sys.argv[2]), sys.argv[3:])
    elif len(sys.argv) > 1:
        main(Path(sys.argv[1]), sys.argv[2:])
    else:
        with tempfile.TemporaryDirectory() as folder:
            main(Path(folder), [])
