"""Which processes of a run read the folders of the input: rank 0 alone, however many files there are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from mpi_launch import environment, mpiexec

#: Python imports a module of this name at its start: it notes the folders that a process lists.
_SITECUSTOMIZE = """
import os, sys
def note(event, arguments):
    if event in ("os.scandir", "os.listdir") and isinstance(arguments[0], (str, os.PathLike)):
        rank = os.environ.get("PMI_RANK", os.environ.get("OMPI_COMM_WORLD_RANK"))
        with open(os.environ["NOTES"], "a") as file:
            file.write(f"{rank} {os.fspath(arguments[0])}\\n")
sys.addaudithook(note)
"""


def test_workers_do_not_walk_the_input_folder(simulated, tmp_path: Path) -> None:
    folder = tmp_path / "input"
    folder.mkdir()
    simulated.copy(folder)
    for k in range(5):
        (folder / "more" / str(k)).mkdir(parents=True)
    (tmp_path / "sitecustomize.py").write_text(_SITECUSTOMIZE)
    notes = tmp_path / "notes"
    variables = environment() | {"NOTES": str(notes), "PYTHONPATH": str(tmp_path)}
    words = [sys.executable, "-m", "tasoc_mpi.cli", "run", str(folder), "--output", str(tmp_path / "out")]
    options = ["--datasource", "tpf", "--batch", "1"]
    done = subprocess.run(
        [*mpiexec(3), *words, *options],
        env=variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    listed: dict[str, list[str]] = {}
    for line in notes.read_text().splitlines():
        rank, _, path = line.partition(" ")
        if Path(path).resolve().is_relative_to(folder.resolve()):
            listed.setdefault(rank, []).append(os.path.relpath(path, folder))
    assert set(listed) == {"0"}
    # For the list that rank 0 writes for the workers; cubes are looked for in the folder itself.
    below = {"tpf", "more", *(f"more/{k}" for k in range(5))}
    assert sorted(path for path in listed["0"] if path != ".") == sorted(below)
    assert len(list((tmp_path / "out").glob("c*/*/*_lc.fits.gz"))) == 2
