"""How functions become machine code: those that Python calls, and those that only other compiled ones call.

A function that only compiled ones call needs no way in from Python and no file of its own in the cache. It
takes a third of the time to compile, and is a part of the kernels that call it. Python must not call it.
"""

from __future__ import annotations

import functools
from typing import Any

import numba

__all__ = ["helper", "kernel"]

#: Decorator of a kernel, which Python calls. Options are those of `numba.njit`.
kernel: Any = functools.partial(numba.njit, cache=True, no_cfunc_wrapper=True)
#: Decorator of a function that only kernels call.
helper: Any = functools.partial(numba.njit, no_cpython_wrapper=True, no_cfunc_wrapper=True)
