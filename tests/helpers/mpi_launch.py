"""Programs that tests start, alone and under MPI.

The MPIs that the tests run under are those of TASOC_MPI_MPIEXEC, else the one of this Python or of the path.

TASOC_MPI_MPIEXEC holds one or more paths of mpiexec, separated by colons. An Open MPI of its own environment
is found by mpi4py through MPI4PY_LIBMPI, which `environment` sets.

As a program, ``mpi_launch.py RANKS COMMAND...`` runs a command under each of them in turn.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def launchers() -> list[str]:
    """Paths of mpiexec; empty where there is none."""
    named = os.environ.get("TASOC_MPI_MPIEXEC")
    if named:
        return named.split(":")
    found = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    return [found] if found else []


@functools.cache
def kind(mpiexec: str) -> str:
    """``openmpi`` or ``mpich``."""
    text = subprocess.run(
        [mpiexec, "--version"], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    return "openmpi" if "Open MPI" in text or "OpenRTE" in text else "mpich"


def environment(launcher: str | None = None) -> dict[str, str]:
    """Variables of an mpiexec (default: the first of `launchers`) and of the processes that it starts."""
    variables = dict(os.environ)
    launcher = launcher or next(iter(launchers()), None)
    if launcher is None or kind(launcher) != "openmpi":
        return variables
    library = Path(launcher).resolve().parents[1] / "lib" / "libmpi.so.40"
    if library.exists():
        variables["MPI4PY_LIBMPI"] = str(library)
    # Tests run as root in containers, on fewer cores than there are ranks; bound to a core each, ranks that
    # share it would wait for each other.
    variables.update(
        OMPI_ALLOW_RUN_AS_ROOT="1",
        OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
        PRTE_MCA_rmaps_default_mapping_policy=":oversubscribe",
        PRTE_MCA_hwloc_default_binding_policy="none",
        OMPI_MCA_rmaps_base_oversubscribe="1",
        OMPI_MCA_hwloc_base_binding_policy="none",
    )
    return variables


def mpiexec(ranks: int, launcher: str | None = None) -> list[str]:
    """The start of a command line on this many ranks; skips the test where there is no MPI.

    One rank runs without MPI, if no launcher is named.
    """
    if ranks == 1 and launcher is None:
        return []
    launcher = launcher or next(iter(launchers()), None)
    if launcher is None:
        pytest.skip("no mpiexec here (pip install tasoc-mpi[mpich], or see TASOC_MPI_MPIEXEC)")
    return [launcher, "-n", str(ranks)]


def launch(
    program: list[str],
    *options: str,
    ranks: int = 1,
    launcher: str | None = None,
    seconds: float = 120,
    **variables: str,
) -> subprocess.CompletedProcess[str]:
    """Run a program on this many ranks, with environment variables added; a hang is a failure.

    Raises
    ------
    subprocess.TimeoutExpired
        The program takes more than `seconds`.
    """
    return subprocess.run(
        [*mpiexec(ranks, launcher), *program, *options],
        env={**environment(launcher), **variables},
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=seconds,
        check=False,
    )


def main() -> int:
    """Run a command under every MPI; the first exit status that is not 0."""
    ranks, *command = sys.argv[1:]
    found = launchers()
    if not found:
        print("no mpiexec: name one with TASOC_MPI_MPIEXEC", file=sys.stderr)
        return 1
    for launcher in found:
        print(f"{launcher} ({kind(launcher)}), {ranks} rank(s)", flush=True)
        done = subprocess.run(
            [launcher, "-n", ranks, *command], env=environment(launcher), timeout=150, check=False
        )
        if done.returncode:
            return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
