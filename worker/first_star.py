"""What stars need is loaded before the first of them, so that it is in no star's time."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.compiled import is_compiled
from ..core.distinct import distinct
from ..core.methods import METHODS
from ..core.version import program_version

__all__ = ["Preparation"]

logger = logging.getLogger(__name__)

#: Libraries that functions import when they are first called: for all stars (numba asks numpy.ma for the type
#: of an array), for target pixel files, and for users' methods, which fill the light curve as a table.
_LIBRARIES = {
    "all": ("erfa", "numpy.ma"),
    "tpf": ("astropy.io.fits", "astropy.wcs", "scipy.interpolate"),
    "own": ("astropy.table",),
}


class Preparation:
    """Loads the kernels and libraries of stars, once for a process.

    Parameters
    ----------
    method : str
        The method of all stars; '' if each has its own.
    photometry : callable
        What works on one star; nothing is loaded for one that is not of this package.
    """

    def __init__(self, method: str, photometry: Callable[..., Any]) -> None:
        self._method = method
        self._of = getattr(photometry, "__module__", "")
        self._done: set[str] = set()

    def begin(self) -> None:
        """Load what nearly all runs need, if it is compiled, while the first stars are on their way."""
        if self._of == "tasoc_mpi.one_star":
            name = self._method if self._method in METHODS else "aperture"
            if is_compiled(name):
                self._load({name, "all"})
            program_version()

    def before(self, tasks: NDArray[np.void]) -> None:
        """Load what some stars need and those before them did not.

        Parameters
        ----------
        tasks : ndarray of TASK_DTYPE, shape (N,)
        """
        self._load(self._needed(tasks))

    def _load(self, needed: set[str]) -> None:
        new = needed - self._done
        self._done |= new
        try:
            for name in sorted(new - _LIBRARIES.keys()):
                _load_kernels(name)
            for name in sorted(new & _LIBRARIES.keys()):
                for library in _LIBRARIES[name]:
                    importlib.import_module(library)
        except Exception as error:  # noqa: BLE001 - a star that needs it reports it
            logger.debug("not loaded before the first star: %s", error)

    def _needed(self, tasks: NDArray[np.void]) -> set[str]:
        """Names in the list of kernels and in that of libraries."""
        if self._of == "tasoc_mpi.correction.corrected_star":
            return {"correct", "all"}
        if self._of != "tasoc_mpi.one_star":
            return set()
        listed = [self._method.encode()] if self._method else distinct(tasks["method"])
        methods = {name.decode() for name in listed}
        needed = {"all"} | (methods & METHODS.keys())
        if others := methods - METHODS.keys():
            # A user's method reads pixels and makes light curves as the aperture does.
            needed |= {"aperture", "own"} if others != {""} else {"aperture"}
        if np.any(tasks["datasource"] != b"ffi"):
            needed.add("tpf")
        return needed


def _load_kernels(name: str) -> None:
    """Have the kernels of a method loaded from the cache."""
    from .kernel_list import kernels_of

    for kernel, arguments in kernels_of([name]):
        kernel.compile(arguments)
