"""Compiles the kernels that a method needs before it computes its first star.

``data/kernels.json`` lists the kernels of each method with the types of their arguments. Numba keeps what it
has compiled; a kernel that is not in the list is compiled when it is first called.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import importlib
import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

from numba import types
from numba.core.dispatcher import Dispatcher
from numba.core.errors import NumbaError
from numba.core.registry import CPUDispatcher

from ..core.compiled import cache_folder, marker_path, newest_source
from ..core.errors import TasocError, one_line
from ..core.locks import open_lock, try_lock
from ..core.progress import Progress

__all__ = ["compile_kernels", "describe", "kernels_of", "recorded"]

logger = logging.getLogger(__name__)

#: What the arguments of kernels are, apart from arrays and tuples of these.
_SCALARS = {
    "bool": types.boolean,
    "uint8": types.uint8,
    "int8": types.int8,
    "int16": types.int16,
    "int32": types.int32,
    "int64": types.int64,
    "uint32": types.uint32,
    "uint64": types.uint64,
    "float32": types.float32,
    "float64": types.float64,
}
#: A kernel and the types of its arguments.
_Kernel = tuple[Any, tuple[Any, ...]]
_NAMES = {kind: name for name, kind in _SCALARS.items()}


def describe(kind: Any) -> Any:
    """The type of an argument, as the list of kernels has it; None for one that it cannot have.

    >>> describe(types.float64), describe(types.Array(types.float32, 2, "C", readonly=True))
    ('float64', ['float32', 2, 'C', False])
    """
    if isinstance(kind, types.Array):
        name = _NAMES.get(kind.dtype)
        return [name, kind.ndim, kind.layout, kind.mutable] if name else None
    if isinstance(kind, types.Tuple | types.UniTuple):
        parts = [describe(one) for one in tuple(kind)]
        return None if None in parts else {"tuple": parts}
    return _NAMES.get(kind)


def _type(described: Any) -> Any:
    if isinstance(described, str):
        return _SCALARS[described]
    if isinstance(described, dict):
        return types.Tuple([_type(one) for one in described["tuple"]])
    dtype, ndim, layout, mutable = described
    return types.Array(_SCALARS[dtype], ndim, layout, readonly=not mutable)


def kernels_of(methods: list[str]) -> list[_Kernel]:
    """The kernels of some methods, each with the types of its arguments; each once."""
    listed = json.loads((resources.files("tasoc_mpi.data") / "kernels.json").read_text("utf-8"))
    found: dict[str, _Kernel] = {}
    for method in methods:
        for module, name, arguments in listed[method]:
            key = json.dumps([module, name, arguments])
            if key not in found:
                # One that has changed since the list was written is compiled when it is first called.
                kernel = getattr(importlib.import_module(f"tasoc_mpi.{module}"), name, None)
                if _is_kernel(kernel):
                    found[key] = kernel, tuple(map(_type, arguments))
    return list(found.values())


def _is_kernel(value: object) -> bool:
    """Whether Python calls it; what only kernels call is of a class of its own, and compiled with them."""
    return type(value) is CPUDispatcher


def compile_kernels(methods: list[str]) -> int:
    """Compile what is not compiled yet; other processes that do the same share the work.

    Parameters
    ----------
    methods : list of str
        Names in the list of kernels.

    Returns
    -------
    int
        Number of kernels that are compiled now.

    Raises
    ------
    InputError
        If the folder of compiled kernels cannot be written.
    """
    kernels = kernels_of(methods)
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        if gc.isenabled():
            # The compiler makes millions of objects that stay, and would look for garbage too often; also the
            # one search afterwards, which freezing them saves, takes half a second.
            gc.disable()
            stack.callback(gc.enable)
            stack.callback(gc.freeze)
        # One process of those that compile shows what is done.
        shown: Progress | None = None
        if _lock(stack, folder, "progress"):
            shown = Progress(len(kernels), "kernels", "compiling, once for an installation")
            stack.callback(shown.erase)
        changed = newest_source()
        for level in _levels(kernels):
            _compile_level(level, folder, shown, changed)
    for method in methods:
        marker_path(method).touch()
    return len(kernels)


def _levels(kernels: list[_Kernel]) -> list[list[_Kernel]]:
    """Kernels by level: a kernel comes after those that it calls.

    A kernel is compiled together with those that it calls, unless they are compiled already: two processes
    would compile them at once.
    """
    depths: dict[int, int] = {}

    def depth(kernel: Dispatcher) -> int:
        if id(kernel) not in depths:
            names = [kernel.py_func.__globals__.get(name) for name in kernel.py_func.__code__.co_names]
            called = [one for one in names if isinstance(one, Dispatcher) and one is not kernel]
            depths[id(kernel)] = 1 + max(map(depth, called), default=-1)
        return depths[id(kernel)]

    levels: dict[int, list[_Kernel]] = {}
    for one in kernels:
        levels.setdefault(depth(one[0]), []).append(one)
    return [levels[number] for number in sorted(levels)]


def _compile_level(kernels: list[_Kernel], folder: Path, shown: Progress | None, changed: float) -> None:
    """Compile kernels that do not call each other; wait for those that other processes compile."""
    # Every process begins elsewhere, so that few wait for each other.
    turn = os.getpid() % len(kernels)
    waiting = kernels[turn:] + kernels[:turn]
    while waiting:
        left = []
        for kernel, arguments in waiting:
            with contextlib.ExitStack() as held:
                if _lock(held, folder, _key(kernel)):
                    _forget_older(kernel, changed)
                    try:
                        kernel.compile(arguments)
                    except NumbaError as error:
                        logger.debug("%s is not compiled in advance: %s", kernel, error)
                    if shown is not None:
                        shown.update()
                else:
                    left.append((kernel, arguments))
        if len(left) == len(waiting):
            time.sleep(0.05)
        waiting = left


def _forget_older(kernel: Dispatcher, changed: float) -> None:
    """Remove what was compiled before a source of kernels was changed (seconds since 1970).

    Numba looks at the file of the kernel alone, and not at those of the functions that are parts of it.
    """
    # Of files from the future nothing can be newer.
    if changed > time.time() or kernel.stats.cache_path is None:
        return
    code = kernel.py_func.__code__
    for path in Path(kernel.stats.cache_path).glob(f"{Path(code.co_filename).stem}.{code.co_name}-*.nbi"):
        if path.stat().st_mtime < changed:
            path.unlink(missing_ok=True)


def _key(kernel: Dispatcher) -> str:
    # One for all types of arguments: numba keeps them in one file.
    text = f"{kernel.py_func.__module__}.{kernel.py_func.__name__}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _lock(stack: contextlib.ExitStack, folder: Path, name: str) -> bool:
    """Lock a kernel until the stack ends, if no other process has it."""
    path = folder / f"tasoc-mpi-{name}.lock"
    descriptor = open_lock(path, 0o600)
    stack.callback(os.close, descriptor)
    return try_lock(descriptor, path, way_out="set NUMBA_CACHE_DIR to a folder that has them")


def recorded() -> Iterator[tuple[str, str, list[Any]]]:
    """Kernels that this process has used, as the list has them: module, name and types of the arguments."""
    for module in [one for name, one in sys.modules.items() if name.startswith("tasoc_mpi.")]:
        for name, value in vars(module).items():
            if _is_kernel(value) and value.py_func.__module__ == module.__name__:
                for signature in value.nopython_signatures:
                    arguments = [describe(kind) for kind in signature.args]
                    if None not in arguments:
                        yield module.__name__.removeprefix("tasoc_mpi."), name, arguments


if __name__ == "__main__":
    from ..core.logs import logs

    try:
        with logs(int(sys.argv[1])):
            compile_kernels(sys.argv[2:])
    except (TasocError, OSError) as error:
        print(one_line(error))
        sys.exit(1)
