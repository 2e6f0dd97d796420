"""What a star needs is loaded before the first one."""

from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
import sys
import numpy as np
import tasoc_mpi.one_star
from tasoc_mpi.core.messages import TASK_DTYPE
from tasoc_mpi.worker.first_star import Preparation

tasks = np.zeros(2, dtype=TASK_DTYPE)
tasks["method"], tasks["datasource"] = b"aperture", b"ffi"
Preparation("", len).before(tasks)
print("tasoc_mpi.kernels.wcs" in sys.modules, "erfa" in sys.modules)
preparation = Preparation("", tasoc_mpi.tessphot)
preparation.before(tasks)
from tasoc_mpi.kernels.sums import sum_pixels
print(len(sum_pixels.signatures), "erfa" in sys.modules, "astropy.io.fits" in sys.modules)
print("astropy.table" in sys.modules)
Preparation("circle", tasoc_mpi.tessphot).before(tasks)
print("astropy.table" in sys.modules)
tasks["datasource"][1] = b"tpf"
preparation.before(tasks)
print("astropy.io.fits" in sys.modules)
"""


def test_kernels_and_libraries_are_loaded_before_the_first_star() -> None:
    """Nothing for other functions; astropy only for target pixel files, its tables for a user's method."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["False False", "1 True False", "False", "True", "True"]
