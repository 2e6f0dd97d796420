"""Simulation of a CCD: TESS-like full frame images, target pixel files, a star catalog and the truth.

The work is in `tasoc_mpi.simulate.simulation`, which is loaded when `simulate` is first called.
"""

from __future__ import annotations

import os
from pathlib import Path

from ..core.compiled import provide_cache
from .options import SimulationOptions, SimulationPaths

__all__ = ["SimulationOptions", "SimulationPaths", "simulate"]

provide_cache(Path(__file__).parent)


def simulate(
    folder: str | os.PathLike[str],
    options: SimulationOptions | None = None,
) -> SimulationPaths:
    """Write the simulated observation of one CCD into a folder.

    Parameters
    ----------
    folder : path-like
        Made if it is not there. The full frame images go into its folder `ffi`, the target pixel
        files into `tpf`, the catalog and the truth into itself.
    options : SimulationOptions, optional

    Returns
    -------
    SimulationPaths

    Raises
    ------
    UsageError
        If the options cannot be met (a region outside the CCD, a sector without a known pointing,
        more target pixel files than there are stars).
    InputError
        If the folder holds an earlier simulation of this CCD, or the disk is too small.
    """
    from .simulation import run

    return run(folder, options or SimulationOptions())
