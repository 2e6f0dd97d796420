"""Compiled kernels are loaded without what numba needs only to compile."""

import subprocess
import sys

_PROGRAM = """
import sys
import numpy as np
from tasoc_mpi.kernels.median import median

values = np.array([3.0, 1.0, 2.0])
print(float(median(values.copy())), *sorted({"scipy.linalg", "numba.np.linalg"} & set(sys.modules)))
"""
#: A kernel of numba's own cache, and one for types that are not compiled yet, after a kernel was loaded.
_THEN_COMPILE = """
import numba
from tasoc_mpi.kernels import median as module

@numba.njit
def twice(x):
    return np.sort(x) * 2.0

print(twice(values).tolist(), float(median(values.copy())))
print(numba.njit(module.median.py_func)(values.astype(np.float32)))
"""

#: A numba in which the method by which compiled kernels are loaded has another name.
_OTHER_NUMBA = """
from numba.core.caching import Cache

load = Cache._load_overload
Cache.load_overload = lambda self, sig, context: (context.refresh(), load(self, sig, context))[1]
del Cache._load_overload
"""


def _run(program: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_a_compiled_kernel_is_loaded_alone() -> None:
    _run(_PROGRAM)  # compiles it, where nobody has
    assert _run(_PROGRAM) == ["2.0"]


def test_others_are_compiled_after_it() -> None:
    _, own, other = _run(_PROGRAM + _THEN_COMPILE)
    assert own == "[2.0, 4.0, 6.0] 2.0"
    assert float(other) == 2.0


def test_another_numba_loads_kernels_the_ordinary_way() -> None:
    assert _run(_OTHER_NUMBA + _PROGRAM)[0] == "2.0 numba.np.linalg scipy.linalg"
