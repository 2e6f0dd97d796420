"""Numba kernels: arrays in, arrays out; nothing here knows a file or a star."""

from pathlib import Path

from ..core.compiled import provide_cache

# Before numba is imported, which happens with the first kernel.
provide_cache(Path(__file__).parent)
