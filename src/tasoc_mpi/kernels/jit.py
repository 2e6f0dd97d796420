"""How functions become machine code: those that Python calls, and those that only other compiled ones call.

A function that only compiled ones call needs no way in from Python, no file of its own in the cache and no
machine code of its own: it is a part of the kernels that call it, and is optimised in them. It takes a fifth
of the time to compile. Python must not call it, nor the ``.py_func`` of a kernel that calls it: the process
would crash where no TypeError prevented it.

A kernel whose sums may be reordered (``fastmath``), or one with such a helper, is made a part of each
function that calls it (``forceinline``). Else it would be optimised twice, by itself and together with its
caller. A process that compiles the caller would link one of the two machine codes, one that loads it from the
cache the other, and the last bits of their results would differ.
"""

from __future__ import annotations

import functools
import logging
from typing import Any

import numba

__all__ = ["helper", "kernel"]

logger = logging.getLogger(__name__)

#: Decorator of a kernel, which Python calls. Options are those of `numba.njit`. Numba's rewriting of code is
#: for expressions of whole arrays, which kernels do without; it would take a twentieth of the time. A tuple
#: cannot be sliced without it.
kernel: Any = functools.partial(numba.njit, cache=True, no_cfunc_wrapper=True, no_rewrites=True)

#: Decorator of a function that only kernels call. Options are those of `numba.njit`.
helper: Any
try:
    from .parts import helper
except (ImportError, AttributeError) as exc:
    # Numba 0.61 to 0.68 have what this needs, and it saves no more than time.
    logger.debug("Functions that only kernels call are compiled also by themselves: %s", exc)
    helper = functools.partial(numba.njit, forceinline=True)
