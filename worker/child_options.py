"""How the computing process of a worker is started."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

__all__ = ["DEFAULT_PHOTOMETRY", "ChildOptions", "child_environment"]

DEFAULT_PHOTOMETRY = "tasoc_mpi.photometry:tessphot"

#: Variables by which launchers tell a process that it is an MPI rank: the computing process is none.
_LAUNCHER_PREFIXES = (
    *("PMI", "MPI_", "MPIR_", "MPIEXEC_", "MPICH_", "HYDRA", "HYDI_", "I_MPI_", "MV2_"),
    *("OMPI_", "PRTE_", "PALS_", "ALPS_", "SLURM"),
)


@dataclass(frozen=True)
class ChildOptions:
    """How stars are computed, apart from what they are.

    Parameters
    ----------
    target_timeout : float
        Seconds that a star may take.
    memory_limit : int, optional
        Bytes that the computing process may allocate. Default: no limit.
    photometry : str
        ``MODULE:FUNCTION`` that computes a star.
    copies : str
        Folder in which cubes are copied; '' to read them where they are.
    log_level : int
        Of the computing process.
    star_warnings : bool
        Whether warnings about single stars, which stand in their diagnostics, are logged, too.
    """

    target_timeout: float
    memory_limit: int | None = None
    photometry: str = DEFAULT_PHOTOMETRY
    copies: str = ""
    log_level: int = 30
    star_warnings: bool = False


def child_environment(options: ChildOptions) -> dict[str, str]:
    """Environment variables of the computing process."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(_LAUNCHER_PREFIXES)}
    # A rank is a core; threads of numerical libraries would take those of others.
    env.setdefault("OMP_NUM_THREADS", "1")
    if options.photometry != DEFAULT_PHOTOMETRY:
        # Named by this program's caller, who may have it anywhere.
        env["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    return env
