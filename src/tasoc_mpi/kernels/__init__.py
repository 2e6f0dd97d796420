"""Numba kernels: arrays in, arrays out; nothing here knows a file or a star."""
