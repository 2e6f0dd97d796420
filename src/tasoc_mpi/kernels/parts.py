"""The compiler of functions that only kernels call; see `kernels.jit`.

It is made of pieces of numba's compiler that numba documents for extensions, and of some that are its own
matter; another version of it may have others.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NoReturn

import numba
from numba import _dynfunc  # type: ignore[attr-defined]
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import LoweringPass, register_pass
from numba.core.registry import CPUDispatcher
from numba.core.typed_passes import AnnotateTypes, NativeLowering

__all__ = ["helper"]


class _Part(JITCodeLibrary):
    """The code of a helper, which numba links into that of its callers; no machine code is made of it.

    Numba calls these two methods when a library is complete. Where a version of it does not, helpers become
    machine code that nothing uses.
    """

    def _optimize_final_module(self) -> None:
        """Leave it to the callers."""

    def _finalize_final_module(self) -> None:
        self._finalized = True


@register_pass(mutates_CFG=False, analysis_only=False)
class _BeginPart(LoweringPass):
    """Before the code is written: it is for callers only."""

    _name = "begin_part"

    def __init__(self) -> None:
        super().__init__()

    def run_pass(self, state: Any) -> bool:
        state.library = _Part(state.targetctx.codegen(), state.func_id.func_qualname)
        state.flags.no_compile = state.flags.no_cpython_wrapper = True
        return True


@register_pass(mutates_CFG=False, analysis_only=False)
class _OfferPart(LoweringPass):
    """After it: callers find the code of a helper by a function object, which has no address."""

    _name = "offer_part"

    def __init__(self) -> None:
        super().__init__()

    def run_pass(self, state: Any) -> bool:
        described, environment = state.cr.fndesc, state.cr.env
        key = _dynfunc.make_function(
            described.lookup_module(), described.qualname, "", 0, environment, (state.library,)
        )
        state.targetctx.insert_user_function(key, described, [state.library])
        state.cr = state.cr._replace(cfunc=key)
        return True


class _HelperCompiler(CompilerBase):
    """Numba's compiler with these two passes."""

    def define_pipelines(self) -> list[Any]:
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes.add_pass_after(_BeginPart, AnnotateTypes)
        passes.add_pass_after(_OfferPart, NativeLowering)
        passes.finalize()
        return [passes]


#: With the options of `jit.kernel`: numba compiles its own functions once for each set of options of those
#: that call them.
_part: Any = functools.partial(
    numba.njit, no_cfunc_wrapper=True, no_rewrites=True, pipeline_class=_HelperCompiler
)


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
