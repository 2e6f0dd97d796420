"""The environment variables by which launchers tell a process that it is a rank of MPI."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

__all__ = ["RANK_VARIABLES", "is_launched", "leave_launcher"]

#: Hold the rank of a process: of MPICH, Intel MPI and `srun --mpi=pmi2` (PMI), `srun --mpi=pmix` and PRRTE
#: (PMIX), Open MPI, MVAPICH, Cray (PALS, ALPS).
RANK_VARIABLES = (
    "PMI_RANK",
    "PMIX_RANK",
    "OMPI_COMM_WORLD_RANK",
    "MV2_COMM_WORLD_RANK",
    "PALS_RANKID",
    "ALPS_APP_PE",
)
#: Hold the number of ranks.
_SIZE_VARIABLES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
#: How the names of all variables of launchers, and of the libraries that they set up, begin.
_PREFIXES = (
    *("PMI", "MPI_", "MPIR_", "MPIEXEC_", "MPICH_", "HYDRA", "HYDI_", "I_MPI_", "MV2_"),
    *("OMPI_", "PRTE_", "PALS_", "ALPS_", "SLURM"),
)


def is_launched() -> bool:
    """Whether a launcher has started this process."""
    return any(name in os.environ for name in (*RANK_VARIABLES, *_SIZE_VARIABLES))


def leave_launcher(environment: MutableMapping[str, str]) -> None:
    """Remove the variables of a launcher, for a process that is no rank though a rank starts it.

    >>> environment = {"PMI_RANK": "1", "SLURM_JOB_ID": "7", "HOME": "/home/me"}
    >>> leave_launcher(environment)
    >>> environment
    {'HOME': '/home/me'}
    """
    for name in [name for name in environment if name.startswith(_PREFIXES)]:
        del environment[name]
