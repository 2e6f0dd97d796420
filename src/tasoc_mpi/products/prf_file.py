"""The effective pixel response of one CCD, and its file `prf_sectorSSS_cameraC_ccdD.hdf5`.

The response is a cubic B-spline (`kernels.spline_prf`) whose coefficients change over the CCD and with time:
at nodes on the CCD a value and its slopes in row and column, blended half way between the nodes; in time
one such set at each of a few epochs, linear between the epochs of one segment (an orbit, say).
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.atomic import replacing
from ..core.input_files import modification_time
from ..kernels.spline_prf import HALF, KNOTS, RINGS, SIDE, blend, draw_star
from .hdf5_read import HDF5Reader

__all__ = ["SCALE", "EffectivePRF", "join_epochs", "read_prf", "spline_table", "write_prf"]

FORMAT, FORMAT_VERSION = "tasoc-mpi effective PRF", 3
_WAY_OUT = "remove it and run tasoc-mpi prf"
#: Types and shapes of the datasets: epochs, nodes in row and in column, segments, knots.
_SHAPES = {
    "node_rows": ("f8", "M"),
    "node_columns": ("f8", "N"),
    "coefficients": ("f8", "EMN3SS"),
    "epochs": ("f8", "E"),
    "segments": ("i8", "E"),
    "spans": ("f8", "G2"),
    "inside": ("f8", "E"),
    "wings": ("f8", "EW"),
    "stars": ("i8", "EMN"),
    "scatter": ("f8", "E"),
    "frame_times": ("f8", "T"),
    "broadening": ("f8", "T"),
}
#: Largest absolute value of these datasets that is believed; those of a star of unit flux are below 1.
LARGEST = 10.0
_LIMITED = ("coefficients", "wings", "inside", "broadening")
#: Unit of the slopes over the CCD, pixels.
SCALE = 256.0


@dataclass(frozen=True)
class EffectivePRF:
    """Response of the pixels of one CCD.

    Attributes
    ----------
    sector, camera, ccd : int
    node_rows, node_columns : ndarray, shape (M,), (N,)
        Places of the nodes, full frame image pixels, 0-based.
    coefficients : ndarray, shape (E, M, N, 3, S, S)
        At each epoch and node: the value, and its change over `SCALE` pixels in row and in column. The sum
        of a value is 9 times the share of the light that is inside of the table.
    epochs : ndarray, shape (E,)
        Times for which they hold, increasing, days (BJD - 2457000).
    segments : ndarray of int64, shape (E,)
        Number of the segment of each epoch; there is no interpolation across segments.
    spans : ndarray, shape (G, 2)
        First and last time of each segment, days.
    inside : ndarray, shape (E,)
        Share of the light that the coefficients hold; the rest lies in wings around them, up to 14 pixels.
    wings : ndarray, shape (E, L)
        The wings: what is added to the response at the radii 5.5, 6.5, 7.5, 9 and 11 pixels, linear between
        them and to 0 at 4.5 and 14 pixels.
    stars : ndarray of int64, shape (E, M, N)
        Number of stars that each node's response was learnt from.
    scatter : ndarray, shape (E,)
        Robust standard deviation of the residuals in the stars' central pixels over their largest values.
    frame_times : ndarray, shape (T,)
        Times of frames, increasing, days.
    broadening : ndarray, shape (T,)
        Variance of a Gaussian that broadens the response of the epochs in each of these frames, pixels
        squared; negative where it is sharper.
    """

    sector: int
    camera: int
    ccd: int
    node_rows: NDArray[np.float64]
    node_columns: NDArray[np.float64]
    coefficients: NDArray[np.float64]
    epochs: NDArray[np.float64]
    segments: NDArray[np.int64]
    spans: NDArray[np.float64]
    inside: NDArray[np.float64]
    wings: NDArray[np.float64]
    stars: NDArray[np.int64]
    scatter: NDArray[np.float64]
    frame_times: NDArray[np.float64] = dataclasses.field(default_factory=lambda: np.zeros(0))
    broadening: NDArray[np.float64] = dataclasses.field(default_factory=lambda: np.zeros(0))

    def at(self, row: float, column: float) -> NDArray[np.float64]:
        """Coefficients at a place of the CCD at every epoch, shape (E, S, S).

        They hold the wings, too, as far as the spline reaches.
        """
        out = np.empty((len(self.epochs), SIDE, SIDE))
        for own, coefficients, wings in zip(out, self.coefficients, self._wing_images, strict=True):
            blend(coefficients, self.node_rows, self.node_columns, SCALE, float(row), float(column), own)
            own += wings
        return out

    @functools.cached_property
    def _wing_images(self) -> NDArray[np.float64]:
        """The wings on the grid of the spline, the same all over the CCD, shape (E, S, S)."""
        radius = np.hypot(*np.mgrid[-HALF : HALF + 1, -HALF : HALF + 1]) / KNOTS
        return np.array([np.interp(radius, RINGS, [0.0, *wings, 0.0]) for wings in self.wings])

    def weights(self, time: ArrayLike) -> NDArray[np.float64]:
        """Weight of every epoch at given times, shape (T, E); each row's sum is 1.

        Linear between the epochs of a segment and beyond them to the segment's ends; a time outside of all
        segments belongs to the nearest one. Segments without epochs count as outside.
        """
        time = np.atleast_1d(np.asarray(time, dtype="f8"))
        out = np.zeros((len(time), len(self.epochs)))
        with_epochs = np.unique(self.segments)
        spans = self.spans[with_epochs]
        distance = np.maximum(spans[:, 0] - time[:, None], time[:, None] - spans[:, 1])
        distance[np.isnan(distance)] = np.inf
        nearest = with_epochs[distance.argmin(axis=1)]
        for g in with_epochs:
            own = np.flatnonzero(nearest == g)
            (members,) = np.nonzero(self.segments == g)
            if len(members) == 1:
                out[own, members[0]] = 1.0
                continue
            epochs = self.epochs[members]
            inside = np.clip(np.nan_to_num(time[own], nan=epochs[0]), *self.spans[g])
            below = np.clip(np.searchsorted(epochs, inside, "right") - 1, 0, len(epochs) - 2)
            share = (inside - epochs[below]) / (epochs[below + 1] - epochs[below])
            out[own, members[below]] = 1.0 - share
            out[own, members[below + 1]] = share
        return out

    def broadening_at(self, time: ArrayLike) -> NDArray[np.float64]:
        """Broadening at given times, shape (T,), pixels squared: linear between frames."""
        time = np.atleast_1d(np.asarray(time, dtype="f8"))
        if not len(self.frame_times):
            return np.zeros(len(time))
        return np.nan_to_num(np.interp(time, self.frame_times, self.broadening))

    def table(
        self, row: float, column: float, time: float, samples: int = 9, pixels: int = 13
    ) -> NDArray[np.float64]:
        """The response at a place and time on a grid, as MAST's files have it.

        Its shape is (samples * pixels, samples * pixels), its sum 81 times the share that it holds.
        """
        local = np.tensordot(self.weights(time)[0], self.at(row, column), 1)
        return spline_table(local, samples, pixels)


def spline_table(coefficients: NDArray[np.float64], samples: int, pixels: int) -> NDArray[np.float64]:
    """A response by its coefficients, shape (S, S), on a grid; see `EffectivePRF.table`."""
    size = samples * pixels
    out = np.empty((size, size))
    for i in range(samples):
        for j in range(samples):
            image = np.zeros((pixels, pixels))
            star = ((size // 2 - i) / samples, (size // 2 - j) / samples)
            draw_star(coefficients, *star, 0.0, 0.0, 1.0, image)
            out[i::samples, j::samples] = image
    return out


def join_epochs(parts: Sequence[EffectivePRF]) -> EffectivePRF:
    """The epochs of several responses of one CCD, in their order; nodes and spans are those of all."""
    names = ("coefficients", "epochs", "segments", "inside", "wings", "stars", "scatter")
    together: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in names
    }
    return dataclasses.replace(parts[0], **together)


def write_prf(path: Path, prf: EffectivePRF) -> None:
    """Write a response; the file appears whole or not at all."""
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["FORMAT"], file.attrs["FORMAT_VERSION"] = FORMAT, FORMAT_VERSION
        file.attrs["SECTOR"], file.attrs["CAMERA"], file.attrs["CCD"] = prf.sector, prf.camera, prf.ccd
        file.attrs["KNOTS"], file.attrs["SCALE"] = KNOTS, SCALE
        for name in _SHAPES:
            file.create_dataset(name, data=getattr(prf, name), track_times=False)


def read_prf(path: str | os.PathLike[str]) -> EffectivePRF:
    """Read a response, the same object for the same file.

    Raises
    ------
    MissingInput
        If there is no such file.
    InputError
        If it is corrupt, of another kind or of another format version.
    """
    path = Path(path)
    return _read(path, modification_time(path))


@functools.lru_cache(maxsize=8)
def _read(path: Path, modified: int | None) -> EffectivePRF:
    with HDF5Reader(path, "an effective PRF", _WAY_OUT) as reader:
        if not reader.is_format(FORMAT):
            raise reader.fail("not an effective PRF")
        reader.check_version("PRF", FORMAT_VERSION)
        if reader.integer("", "KNOTS") != KNOTS or reader.number("", "SCALE") != SCALE:
            raise reader.fail("its spline has another grid")
        rows = reader.read("node_rows", "f8", (None,), finite=True)
        columns = reader.read("node_columns", "f8", (None,), finite=True)
        epochs = reader.read("epochs", "f8", (None,), finite=True)
        sides = {"E": len(epochs), "M": len(rows), "N": len(columns), "S": SIDE, "3": 3, "2": 2}
        sides["W"] = len(RINGS) - 2
        values: dict[str, Any] = {
            name: reader.read(name, dtype, tuple(sides.get(side) for side in shape), finite=True)
            for name, (dtype, shape) in _SHAPES.items()
        }
        increasing = all(len(x) and np.all(np.diff(x) > 0) for x in (rows, columns, epochs))
        segments = values["segments"]
        # The file of one epoch has the spans of all segments.
        known = len(segments) and segments.min() >= 0 and segments.max() < len(values["spans"])
        known = known and len(values["frame_times"]) == len(values["broadening"])
        if not increasing or not known or np.any(np.diff(values["frame_times"]) <= 0):
            raise reader.fail("its nodes, epochs or segments are not in order")
        if any(np.abs(values[name]).max(initial=0.0) > LARGEST for name in _LIMITED):
            raise reader.fail(f"it holds values above {LARGEST:g}; a star of unit flux has none")
        sector, camera, ccd = (reader.integer("", key, 1, 9999) for key in ("SECTOR", "CAMERA", "CCD"))
        return EffectivePRF(sector=sector, camera=camera, ccd=ccd, **values)
