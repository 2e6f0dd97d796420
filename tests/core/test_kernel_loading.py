"""Compiled kernels are loaded as machine code alone, and other kernels can still be compiled with them."""

from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
import sys
import numba
import numpy as np
from tasoc_mpi.kernels.median import median

values = np.array([3.0, 1.0, 2.0])
print(median(values), sum(median.stats.cache_hits.values()), "numba.np.arrayobj" in sys.modules)

@numba.njit
def above(values):
    return median(values) + np.zeros(2).sum() + 1.0

print(above(values), "numba.np.arrayobj" in sys.modules)
library, = (one.library for one in median.overloads.values())
print(library.get_pointer_to_function("none"))
"""


def test_loaded_kernels_are_called_and_linked() -> None:
    """Loading a kernel imports nothing that compiles; a new kernel that calls a loaded one is compiled."""
    for _ in range(2):
        # The first process compiles what is not compiled yet.
        done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["2.0 1 False", "3.0 True", "0"]
