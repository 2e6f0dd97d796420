"""Compiled kernels are loaded from numba's cache as machine code alone.

Numba itself reads the intermediate code of a kernel, too, and imports all functions of which it could compile
a call: 0.4 s at the start of a process. A compiled kernel needs none of them. One that has to be compiled
gets them then.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

__all__ = ["load_compiled"]

logger = logging.getLogger(__name__)


def load_compiled(package: str) -> None:
    """Load the compiled kernels of a package without what numba needs only to compile.

    Call it once, before the first kernel is loaded.

    Parameters
    ----------
    package : str
        Its name; kernels of others are loaded as ever.
    """
    try:
        from llvmlite.binding import ExecutionEngine, add_symbol
        from numba.core import environment
        from numba.core.caching import FunctionCache
        from numba.core.runtime import _nrt_python  # type: ignore[attr-defined]

        ordinary, load = FunctionCache.load_overload, FunctionCache._load_overload
        guard, helpers = FunctionCache._guard_against_spurious_io_errors, _nrt_python.c_helpers
        library, _ = _library_class(), ExecutionEngine.add_object_file
        rebuild = _environment_builder(environment)
    except (ImportError, AttributeError) as exc:
        # They are numba's own matter (0.61 to 0.68 have them), and save no more than time.
        logger.debug("Kernels are loaded the ordinary way: %s", exc)
        return

    def load_overload(self: Any, sig: Any, target_context: Any) -> Any:
        if not self._py_func.__module__.startswith(f"{package}."):
            return ordinary(self, sig, target_context)
        codegen = target_context.codegen()
        classes = codegen._library_class, environment._rebuild_env
        # Numba's lock of the compiler is held here.
        codegen._library_class, environment._rebuild_env = library, rebuild
        try:
            with guard(self):
                return load(self, sig, target_context)
        finally:
            codegen._library_class, environment._rebuild_env = classes

    # The functions by which kernels allocate arrays.
    for name, address in helpers.items():
        add_symbol(name if name.startswith("_") else f"NRT_{name}", address)
    FunctionCache.load_overload = load_overload  # type: ignore[method-assign]


def _library_class() -> type:
    """The class of the machine code of one kernel."""
    from llvmlite.binding import ObjectFileRef, parse_bitcode
    from numba.core.codegen import CodeLibrary, JITCodeLibrary

    class LoadedLibrary(JITCodeLibrary):
        """The code of a kernel and what it calls; intermediate code is read when another kernel links it."""

        _code: bytes
        _intermediate: bytes

        @classmethod
        def _unserialize(cls, codegen: Any, state: Any) -> Any:
            name, kind, data = state
            if kind != "object":
                return super()._unserialize(codegen, state)
            self = cls.__new__(cls)
            # That of its base makes an empty module to compile into.
            CodeLibrary.__init__(self, codegen, name)
            self._linking_libraries, self._final_module, self._shared_module = [], None, None
            self._code, self._intermediate = data
            codegen._engine._ee.add_object_file(ObjectFileRef.from_data(self._code))
            codegen._engine.finalize_object()
            self._finalized = True
            return self

        def get_pointer_to_function(self, name: str) -> int:
            # LLVM ends the process if it is asked for a name that it does not find. The code has a table of
            # its names; a function that only kernels call has no wrapper for Python.
            if name.encode() + b"\0" not in self._code:
                return 0
            return int(self._codegen._engine.get_function_address(name))

        def _get_module_for_linking(self) -> Any:
            if self._shared_module is None:
                self._shared_module = parse_bitcode(self._intermediate)
            return self._shared_module

    return LoadedLibrary


def _environment_builder(environment: Any) -> Any:
    """What makes the environment of a function again, without importing the module of one of numba's.

    Compiled code takes constants from it; the globals are for code that runs in the interpreter.
    """
    lookup, make = environment.lookup_environment, environment.Environment
    memo, whole = make._memo, environment._rebuild_env

    def rebuild(module: str, constants: list[Any], name: str) -> Any:
        if module in sys.modules or not module.startswith("numba."):
            return whole(module, constants, name)
        if (found := lookup(name)) is None:
            found = make({"__name__": module})
            found.consts[:] = constants
            found.env_name = name
            memo[name] = found
        return found

    return rebuild
