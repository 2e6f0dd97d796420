"""Numba kernels: arrays in, arrays out; nothing here knows a file or a star."""

from pathlib import Path

from ..core.compiled import provide_cache
from ..core.kernel_loading import load_compiled

# Before numba is imported, which happens with the first kernel.
provide_cache(Path(__file__).parent)
load_compiled(__name__.partition(".")[0])
