"""Means of many frames, straight from the (mapped) cube."""

from __future__ import annotations

import math

import numpy as np

from .jit import kernel

__all__ = ["stack_frames"]


@kernel
def stack_frames(images, chosen):
    """Mean of some frames and its variance, by the scatter between them.

    Parameters
    ----------
    images : ndarray of float32, shape (R, C, T)
    chosen : ndarray of int64, shape (N,)
        Indices of the frames, at least 2.

    Returns
    -------
    ndarray, shape (2, R, C)
        Mean over the finite values, and its variance; NaN where fewer than half of them, or than 2, are
        finite.
    """
    out = np.full((2, images.shape[0], images.shape[1]), math.nan)
    n = chosen.shape[0]
    for r in range(images.shape[0]):
        for c in range(images.shape[1]):
            line = images[r, c]
            count = 0
            total = 0.0
            for k in range(n):
                value = np.float64(line[chosen[k]])
                if math.isfinite(value):
                    count += 1
                    total += value
            if count < 2 or 2 * count < n:
                continue
            mean = total / count
            square = 0.0
            for k in range(n):
                value = np.float64(line[chosen[k]])
                if math.isfinite(value):
                    square += (value - mean) ** 2
            out[0, r, c] = mean
            # A pixel without scatter is one without light: it has no say.
            out[1, r, c] = square / (count * (count - 1.0)) if square > 0.0 else math.nan
    return out
