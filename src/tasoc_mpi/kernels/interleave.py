"""Frames out of a cube in which the values of a pixel lie side by side, as MAST publishes them."""

from __future__ import annotations

from .jit import kernel

__all__ = ["frames_of_cube"]

#: Columns that are written together: 16 float32 are one line of the processor's cache.
_COLUMNS = 16


@kernel
def frames_of_cube(cube, first, kind, out):
    """Some frames of big-endian values that lie (row, column, time, kind).

    Parameters
    ----------
    cube : ndarray of uint32, shape (R, C, T, N)
        The bits of float32 values, most significant byte first.
    first : int
        Frame.
    kind : int
        Which of the N values of a pixel and time.
    out : ndarray of uint32, shape (K, R, C)
        Gets the bits of frames `first` to ``first + K`` in the order of bytes of a little-endian machine.
    """
    for r in range(cube.shape[0]):
        for c0 in range(0, cube.shape[1], _COLUMNS):
            c1 = min(c0 + _COLUMNS, cube.shape[1])
            for k in range(out.shape[0]):
                for c in range(c0, c1):
                    x = cube[r, c, first + k, kind]
                    x = ((x >> 8) & 0x00FF00FF) | ((x & 0x00FF00FF) << 8)
                    out[k, r, c] = (x >> 16) | (x << 16)
