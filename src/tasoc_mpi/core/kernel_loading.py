"""Compiled kernels are loaded from numba's cache without what numba needs only to compile."""

from __future__ import annotations

import logging
from typing import Any

__all__ = ["load_compiled"]

logger = logging.getLogger(__name__)


def load_compiled(package: str) -> None:
    """Let numba load the compiled kernels of a package without what it needs only to compile.

    Before numba loads a kernel, it imports and registers all functions that it could compile a call of,
    with the linear algebra of scipy: 0.3 s of a process's start. A compiled kernel needs none of them. A
    kernel that has to be compiled registers them then.

    Parameters
    ----------
    package : str
        Its name; kernels of others are loaded as ever.
    """
    try:
        from llvmlite.binding import add_symbol
        from numba.core.caching import FunctionCache
        from numba.core.runtime import _nrt_python  # type: ignore[attr-defined]

        ordinary, load = FunctionCache.load_overload, FunctionCache._load_overload
        guard, helpers = FunctionCache._guard_against_spurious_io_errors, _nrt_python.c_helpers
    except (ImportError, AttributeError) as exc:
        # They are numba's own matter (0.61 to 0.68 have them), and save no more than time.
        logger.debug("Kernels are loaded the ordinary way: %s", exc)
        return

    def load_overload(self: Any, sig: Any, target_context: Any) -> Any:
        if not self._py_func.__module__.startswith(f"{package}."):
            return ordinary(self, sig, target_context)
        with guard(self):
            return load(self, sig, target_context)

    # The functions by which kernels allocate arrays.
    for name, address in helpers.items():
        add_symbol(name if name.startswith("_") else f"NRT_{name}", address)
    FunctionCache.load_overload = load_overload  # type: ignore[method-assign]
