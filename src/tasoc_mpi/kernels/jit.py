"""How functions become machine code: those that Python calls, and those that only other compiled ones call.

A function that only compiled ones call needs no way in from Python and no file of its own in the cache. It
takes a third of the time to compile, and is a part of the kernels that call it. Python must not call it, nor
the ``.py_func`` of a kernel that calls it: the process would crash where no TypeError prevented it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NoReturn

import numba
from numba.core.registry import CPUDispatcher

__all__ = ["helper", "kernel"]

#: Decorator of a kernel, which Python calls. Options are those of `numba.njit`.
kernel: Any = functools.partial(numba.njit, cache=True, no_cfunc_wrapper=True)

_part: Any = functools.partial(numba.njit, no_cpython_wrapper=True, no_cfunc_wrapper=True)


class _Helper(CPUDispatcher):
    """What numba makes of a helper, which compiled functions call by other ways than this."""

    def __call__(self, *args: object, **kwargs: object) -> NoReturn:
        name = f"{self.py_func.__module__}.{self.py_func.__name__}"
        raise TypeError(f"{name}: only compiled functions can call it")


def helper(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Decorator of a function that only kernels call.

    Parameters
    ----------
    function : callable, optional
    **options
        Those of `numba.njit`.
    """
    if function is None:
        return functools.partial(helper, **options)
    made = _part(**options)(function)
    # Without its compiler, numba gives the function itself.
    if isinstance(made, CPUDispatcher):
        made.__class__ = _Helper
    return made
