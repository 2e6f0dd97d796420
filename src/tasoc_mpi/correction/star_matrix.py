"""The light curves of an area as a matrix in a file, and the steps that ranks share on blocks of its rows."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.errors import MissingInput, TasocError
from ..core.quality import CorrectorQualityFlags, TESSQualityFlags
from ..kernels.trend_fit import fit_trend
from ..products.cbv_file import Vectors
from ..products.lightcurve import below
from ..products.packed import PackReader, split_name
from ..products.raw_curve import RawCurve, open_listed, raw_curve
from ..worklist.listed_lightcurves import read_lightcurve
from .components import fill_gaps
from .design import vectors_design
from .fit_star import CLIP, FEWEST

__all__ = [
    "BLOCK",
    "FACTS",
    "CountFrames",
    "FitCurves",
    "Multiply",
    "NormaliseCurves",
    "ReadCurves",
    "pieces",
    "read_listed",
    "read_rows",
]

#: No star has such a flux, e-/s; the ratio of two fluxes fits in single precision.
LARGEST = 1e15
#: Rows that are computed together; sums over blocks are added in the order of the blocks, so the result does
#: not depend on the ranks.
BLOCK = 128
#: Flags that make a cadence bad for the vectors: all hard ones but those of a single star.
HARD = TESSQualityFlags.HARD_BITMASK & ~TESSQualityFlags.ApertureCosmic
#: Columns of the facts of a star: level (e-/s), row, column, number of good points.
FACTS = ("level", "row", "column", "points")
#: Coefficients may be anything before there are neighbours, relative flux.
ANY = 0.05
#: The normalised light curve of a star is limited to this standard deviation: no star counts for many.
STRONGEST = 8.0


def pieces(count: int) -> list[tuple[int, int]]:
    """Blocks of rows.

    Examples
    --------
    >>> pieces(300)
    [(0, 128), (128, 256), (256, 300)]
    """
    return [(first, min(first + BLOCK, count)) for first in range(0, count, BLOCK)]


def read_listed(output: str, name: str) -> RawCurve:
    """A light curve by its name in the work list.

    Raises
    ------
    MissingInput, InputError
        If it is not there or cannot be used.
    """
    path = below(output, name)
    pack, inside = split_name(name)
    data = _pack(str(below(output, pack))).read(inside) if pack else read_lightcurve(path)
    return raw_curve(open_listed(path, data))


@functools.lru_cache(maxsize=8)
def _pack(path: str) -> PackReader:
    """A pack, open for the next stars."""
    return PackReader(path)


def _write_rows(path: str, first: int, rows: NDArray[np.float32]) -> None:
    """Write rows of a matrix to their place in its file."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        data = np.ascontiguousarray(rows).data.cast("B")
        start = first * rows.shape[1] * 4
        while data:
            count = os.pwrite(descriptor, data, start)
            data, start = data[count:], start + count
    finally:
        os.close(descriptor)


def read_rows(path: str, numbers: NDArray[np.int64], length: int) -> NDArray[np.float32]:
    """Rows of a matrix from its file, shape (len(numbers), length)."""
    out = np.empty((len(numbers), length), dtype=np.float32)
    with open(path, "rb") as file:
        for row, number in zip(out, numbers.tolist(), strict=True):
            file.seek(number * length * 4)
            file.readinto(row.data.cast("B"))
    return out


@dataclass(frozen=True)
class ReadCurves:
    """Read light curves into a matrix of relative flux less 1; NaN where there is no good point.

    Attributes
    ----------
    output : str
        Folder of the light curves.
    names : tuple of str
    matrix : str
        File of float32, a row for each name.
    cadenceno : ndarray of int32, shape (T,)
    """

    output: str
    names: tuple[str, ...]
    matrix: str
    cadenceno: NDArray[np.int32]

    def compute(self, first: int, last: int) -> tuple[NDArray[np.float64], list[str]]:
        """Facts of the stars, shape (last - first, len(FACTS)), and one line for each that is damaged."""
        facts = np.full((last - first, len(FACTS)), np.nan)
        rows = np.full((last - first, len(self.cadenceno)), np.nan, dtype=np.float32)
        problems = []
        for i, name in enumerate(self.names[first:last]):
            try:
                curve = read_listed(self.output, name)
            except MissingInput:
                raise
            except TasocError as error:
                problems.append(str(error))
                continue
            good = (
                TESSQualityFlags.filter(curve.quality, HARD)
                & CorrectorQualityFlags.filter(curve.corrector_quality)
                & (np.abs(curve.flux) < LARGEST)
            )
            place = np.minimum(np.searchsorted(self.cadenceno, curve.cadenceno), len(self.cadenceno) - 1)
            good &= self.cadenceno[place] == curve.cadenceno
            level = float(np.median(curve.flux[good])) if good.any() else np.nan
            facts[i] = np.nan, np.nan, np.nan, good.sum()
            if level > 1 / LARGEST:
                rows[i, place[good]] = curve.flux[good] / level - 1.0
                centroid = (np.median(x[good & np.isfinite(x)]) if np.isfinite(x[good]).any() else np.nan
                            for x in (curve.row, curve.column))  # fmt: skip
                facts[i, :3] = level, *centroid
        _write_rows(self.matrix, first, rows)
        return facts, problems


@dataclass(frozen=True)
class CountFrames:
    """Count the stars that have each frame; rows are those of some stars."""

    matrix: str
    stars: NDArray[np.int64]
    length: int

    def compute(self, first: int, last: int) -> NDArray[np.int64]:
        """Number of good points in each frame, shape (T,)."""
        rows = read_rows(self.matrix, self.stars[first:last], self.length)
        return np.isfinite(rows).sum(axis=0)


@dataclass(frozen=True)
class NormaliseCurves:
    """Fill gaps, subtract the mean and divide by the noise, in good frames alone.

    Attributes
    ----------
    matrix, normal : str
        Files of the matrix and of its normalised rows.
    stars : ndarray of int64
        Rows of `matrix` that become those of `normal`.
    length : int
        Columns of `matrix`.
    good : ndarray of int64, shape (G,)
        Columns of `normal` in `matrix`.
    time : ndarray, shape (G,)
    orbit : ndarray of int32, shape (G,)
    """

    matrix: str
    normal: str
    stars: NDArray[np.int64]
    length: int
    good: NDArray[np.int64]
    time: NDArray[np.float64]
    orbit: NDArray[np.int32]

    def compute(self, first: int, last: int) -> NDArray[np.float64]:
        """Noise of each normalised light curve (point to point), and its sum of squares, shape (n, 2)."""
        rows = read_rows(self.matrix, self.stars[first:last], self.length)[:, self.good].astype(np.float64)
        facts = np.zeros((last - first, 2))
        for i, row in enumerate(rows):
            full = fill_gaps(self.time, row, self.orbit)
            full = full - full.mean()
            noise = 1.4826 * np.median(np.abs(np.diff(full))) / np.sqrt(2.0)
            scale = np.hypot(noise, full.std() / STRONGEST)
            rows[i] = full / scale if scale > 0 else 0.0
            facts[i] = (noise / scale if scale > 0 else 0.0), (rows[i] ** 2).sum()
        _write_rows(self.normal, first, rows.astype(np.float32))
        return facts


@dataclass(frozen=True)
class Multiply:
    """Products of the normalised matrix with a few vectors."""

    normal: str
    stars: NDArray[np.int64]
    vectors: NDArray[np.float64]

    def compute(self, first: int, last: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """``X.T @ (X @ q)`` and ``X @ q`` of the block X."""
        rows = read_rows(self.normal, self.stars[first:last], len(self.vectors)).astype(np.float64)
        weights = rows @ self.vectors
        return rows.T @ weights, weights


@dataclass(frozen=True)
class FitCurves:
    """Coefficients of each star by itself, and the mean of the corrected light curves of two halves.

    Attributes
    ----------
    matrix : str
    stars : ndarray of int64
        Rows of the matrix.
    common : ndarray of bool
        Which of them count for the mean.
    vectors : Vectors
        Without coefficients.
    """

    matrix: str
    stars: NDArray[np.int64]
    common: NDArray[np.bool_]
    vectors: Vectors

    def compute(self, first: int, last: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Coefficients and errors, shape (n, 2, C), and weighted sums and weights, shape (2, 2, T)."""
        design = vectors_design(self.vectors)
        columns, spans, normal, count = design.joint
        length = len(design.good)
        rows = read_rows(self.matrix, self.stars[first:last], length)
        out = np.full((last - first, 2, count - 1), np.nan)
        sums = np.zeros((2, 2, length))
        mean, variance = np.zeros(count - 1), np.full(count - 1, ANY**2)
        for i, row in enumerate(rows.astype(np.float64)):
            usable = design.good & np.isfinite(row)
            if usable.sum() < FEWEST:
                continue
            values = np.where(usable, row, 0.0)
            solution, errors, _, noise = fit_trend(
                columns, spans, normal, values, usable, count, mean, variance, CLIP, design.widths, True
            )
            # Spikes of which the star has none are not known better than anything.
            out[i] = solution[1:count], np.minimum(errors, ANY)
            if self.common[first + i]:
                rest = values - solution[:count] @ columns[:count]
                weight = 1.0 / max(noise, 1e-5) ** 2
                half = (first + i) % 2
                sums[half, 0, usable] += weight * rest[usable]
                sums[half, 1, usable] += weight
        return out, sums
