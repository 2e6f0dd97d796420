"""Clusters of significant pixels: DBSCAN (Ester et al. 1996) on the pixel lattice."""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray

from .filled import no_pixels
from .jit import helper

__all__ = ["core_clusters", "disc", "label_connected"]


@functools.lru_cache(16)
def disc(radius: float) -> NDArray[np.int64]:
    """Offsets (row, column) of the pixels within `radius` of a pixel, itself not among them; shape (N, 2)."""
    reach = math.floor(radius + 1e-9)
    offsets = np.argwhere(np.ones((2 * reach + 1, 2 * reach + 1))) - reach
    distances = (offsets * offsets).sum(axis=1)
    return np.ascontiguousarray(offsets[(distances > 0) & (distances <= radius * radius + 1e-9)], dtype="i8")


@helper
def label_connected(selected, offsets):
    """Connected groups of pixels, numbered from 1 in the order of their first pixels.

    Parameters
    ----------
    selected : ndarray of bool, shape (R, C)
    offsets : ndarray of int64, shape (N, 2)
        (row, column) from a pixel to each of its neighbours; with every one its opposite.

    Returns
    -------
    labels : ndarray of int32, shape (R, C)
        0 where not selected.
    count : int
        Number of groups.
    """
    n_row, n_col = selected.shape
    labels = np.empty((n_row, n_col), dtype=np.int32)
    for r in range(n_row):
        for c in range(n_col):
            labels[r, c] = 0
    stack = np.empty(n_row * n_col, dtype=np.int64)
    count = 0
    for r in range(n_row):
        for c in range(n_col):
            if not selected[r, c] or labels[r, c] != 0:
                continue
            count += 1
            labels[r, c] = count
            stack[0] = r * n_col + c
            top = 1
            while top > 0:
                top -= 1
                row = stack[top] // n_col
                column = stack[top] % n_col
                for k in range(offsets.shape[0]):
                    i = row + offsets[k, 0]
                    j = column + offsets[k, 1]
                    if 0 <= i < n_row and 0 <= j < n_col and selected[i, j] and labels[i, j] == 0:
                        labels[i, j] = count
                        stack[top] = i * n_col + j
                        top += 1
    return labels, count


@helper
def core_clusters(significant, min_points, offsets):
    """Clusters of the core points of DBSCAN; its border points belong to none.

    Parameters
    ----------
    significant : ndarray of bool, shape (R, C)
        The points: pixels over the threshold.
    min_points : int
        A point with at least this many points (itself one of them) in its neighbourhood is a core point.
    offsets : ndarray of int64, shape (N, 2)
        The neighbourhood, from `disc`; sqrt(2) is the radius of the eight around.

    Returns
    -------
    clusters : ndarray of int32, shape (R, C)
        Number of the cluster from 1 on, in order of their first pixels; 0 where there is none.
    count : int
        Number of clusters.
    """
    n_row, n_col = significant.shape
    core = no_pixels(n_row, n_col)
    for r in range(n_row):
        for c in range(n_col):
            if not significant[r, c]:
                continue
            points = 1
            for k in range(offsets.shape[0]):
                i = r + offsets[k, 0]
                j = c + offsets[k, 1]
                if 0 <= i < n_row and 0 <= j < n_col and significant[i, j]:
                    points += 1
            core[r, c] = points >= min_points
    return label_connected(core, offsets)
