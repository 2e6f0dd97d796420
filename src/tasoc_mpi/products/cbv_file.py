"""Co-trending basis vectors of an area of a CCD, and their file `cbv-sSSSS-cCCCC-aAAA.hdf5`."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..core.atomic import replacing
from ..core.errors import InputError
from ..core.input_files import modification_time
from .hdf5_read import HDF5Reader

__all__ = ["USES", "Vectors", "check_vectors", "read_vectors", "vectors_source", "write_vectors"]

FORMAT, FORMAT_VERSION = "tasoc-mpi co-trending basis vectors", 1
_WAY_OUT = "remove it and run tasoc-mpi cbv"
#: Types and shapes of the datasets: frames, vectors, orbits, stars, areas, cells.
_SHAPES = {
    "areas": ("i8", "A"),
    "time": ("f8", "T"),
    "timecorr": ("f8", "T"),
    "cadenceno": ("i4", "T"),
    "orbit": ("i4", "T"),
    "slow": ("f8", "TK"),
    "spikes": ("f8", "TK"),
    "explained": ("f8", "K"),
    "entropy": ("f8", "K"),
    "noise": ("f8", "K"),
    "starid": ("i8", "N"),
    "tmag": ("f8", "N"),
    "row": ("f8", "N"),
    "column": ("f8", "N"),
    "use": ("i4", "N"),
    "weights": ("f8", "NK"),
    "coefficients": ("f8", "NC"),
    "coefficient_errors": ("f8", "NC"),
    "left": ("f4", "HT"),
}
#: Vectors with more noise than this are not used with a prior: the standard deviation of a vector is 1.
SIGNIFICANT = 0.4
#: What became of a star that was considered for the vectors.
USES = (
    "used",
    "no flux, or too few points",
    "variable",
    "less of it explained than of the others",
    "dominated a vector",
    "of another method or status",
)
#: Of these every value is finite.
_FINITE = ("time", "slow", "spikes", "explained", "noise", "weights")


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Stars from which the prior of another star comes: arrays of N stars, as in `Vectors`.

    Attributes
    ----------
    starid : ndarray of int64, shape (N,)
    tmag, row, column : ndarray, shape (N,)
    coefficients, variances : ndarray, shape (N, C)
        The latter are the squares of their errors.
    """

    starid: NDArray[np.int64]
    tmag: NDArray[np.float64]
    row: NDArray[np.float64]
    column: NDArray[np.float64]
    coefficients: NDArray[np.float64]
    variances: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Vectors:
    """Vectors that the light curves of an area have in common.

    Attributes
    ----------
    sector, camera, ccd : int
    cadence : int
        Seconds.
    area : int
        The area that they are for (`cbv_area` of the work list).
    areas : ndarray of int64, shape (A,)
        Areas whose stars they were made from: `area`, and neighbours where it has too few stars.
    time, timecorr : ndarray, shape (T,)
        BJD - 2457000 and the barycentric correction in it, days, for the middle star.
    cadenceno : ndarray of int32, shape (T,)
        Increasing.
    orbit : ndarray of int32, shape (T,)
        Number of the orbit from 0; -1 for frames without vectors.
    slow, spikes : ndarray, shape (T, K)
        Parts of each vector, whose sum has mean 0 and standard deviation 1 over the frames with vectors;
        0 in frames without.
    explained : ndarray, shape (K,)
        Share of the variance of the normalised light curves that each vector explains.
    entropy : ndarray, shape (K,)
        Entropy of each vector's weights less that of a Gaussian of the same variance.
    noise : ndarray, shape (K,)
        Standard deviation of the noise in each vector before its slow part is smoothed.
    starid : ndarray of int64, shape (N,)
        Stars of the area with a light curve.
    tmag, row, column : ndarray, shape (N,)
        TESS magnitude and median centroid (counted from 1, pixels of the CCD); NaN where not known.
    use : ndarray of int32, shape (N,)
        What became of each star: an index of `USES`.
    weights : ndarray, shape (N, K)
        Weight of each star in each vector; 0 for stars that the vectors were not made from.
    coefficients, coefficient_errors : ndarray, shape (N, C)
        For the prior of other stars, relative flux: of the slow part in each orbit, vector after vector, then
        of the spikes of each, of the significant vectors; NaN where not known.
    left : ndarray of float32, shape (H, T)
        Mean corrected light curve of the stars with an even place in the list, and of the others, relative
        flux: what the correction leaves in common.
    """

    sector: int
    camera: int
    ccd: int
    cadence: int
    area: int
    areas: NDArray[np.int64]
    time: NDArray[np.float64]
    timecorr: NDArray[np.float64]
    cadenceno: NDArray[np.int32]
    orbit: NDArray[np.int32]
    slow: NDArray[np.float64]
    spikes: NDArray[np.float64]
    explained: NDArray[np.float64]
    entropy: NDArray[np.float64]
    noise: NDArray[np.float64]
    starid: NDArray[np.int64]
    tmag: NDArray[np.float64]
    row: NDArray[np.float64]
    column: NDArray[np.float64]
    use: NDArray[np.int32]
    weights: NDArray[np.float64]
    coefficients: NDArray[np.float64]
    coefficient_errors: NDArray[np.float64]
    left: NDArray[np.float32]

    @property
    def good(self) -> NDArray[np.bool_]:
        """Frames with vectors, shape (T,)."""
        return self.orbit >= 0

    @property
    def count(self) -> int:
        """Number of vectors, K."""
        return self.slow.shape[1]

    @property
    def orbits(self) -> int:
        """Number of orbits."""
        return int(self.orbit.max()) + 1

    @functools.cached_property
    def significant(self) -> int:
        """Number of the leading vectors that are more than noise, at least 1."""
        return max(1, int(np.argmax(np.append(self.noise, np.inf) > SIGNIFICANT)))

    @functools.cached_property
    def usable(self) -> NDArray[np.bool_]:
        """Stars with coefficients, shape (N,)."""
        errors = self.coefficient_errors
        known = np.isfinite(self.coefficients) & np.isfinite(errors) & (errors > 0)
        return known.all(axis=1) & np.isfinite(self.row) & np.isfinite(self.column)

    @functools.cached_property
    def neighbours(self) -> Neighbours:
        """The stars with coefficients."""
        names = ("starid", "tmag", "row", "column", "coefficients")
        chosen = {name: getattr(self, name)[self.usable] for name in names}
        return Neighbours(**chosen, variances=self.coefficient_errors[self.usable] ** 2)

    @functools.cached_property
    def digest(self) -> int:
        """Digest of all values, 48 bits: that of the same vectors in another file is the same."""
        found = hashlib.sha256(repr([getattr(self, name) for name in _attributes()]).encode())
        for name, (dtype, _) in _SHAPES.items():
            found.update(np.asarray(getattr(self, name), dtype).tobytes())
        return int.from_bytes(found.digest()[:6], "big")

    @functools.cached_property
    def designs(self) -> dict[Any, Any]:
        """Store of what the correction computes once for all stars with the same cadences."""
        return {}


def write_vectors(path: Path, vectors: Vectors, source: str = "") -> None:
    """Write vectors, and a digest of what they are made from; the file appears whole or not at all."""
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["FORMAT"], file.attrs["FORMAT_VERSION"] = FORMAT, FORMAT_VERSION
        file.attrs["SOURCE"] = source
        for name in _attributes():
            file.attrs[name.upper()] = getattr(vectors, name)
        for name, (dtype, _) in _SHAPES.items():
            file.create_dataset(name, data=np.asarray(getattr(vectors, name), dtype), track_times=False)


def _attributes() -> list[str]:
    return [field.name for field in fields(Vectors) if field.name not in _SHAPES]


def check_vectors(path: Path, sector: int, cadence: int, area: int) -> Vectors:
    """Read vectors; InputError unless they are of this sector, cadence (s) and area."""
    vectors = read_vectors(path)
    for name, value in {"sector": sector, "cadence": cadence, "area": area}.items():
        found = getattr(vectors, name)
        if found != value:
            raise InputError(f"{path}: holds vectors of {name} {found} and not {value}; {_WAY_OUT}")
    return vectors


def vectors_source(path: Path) -> str:
    """The digest of what the vectors of a file were made from; errors as `read_vectors`."""
    with _opened(path) as reader:
        return str(reader.attribute("", "SOURCE"))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[HDF5Reader]:
    with HDF5Reader(path, "co-trending basis vectors", _WAY_OUT) as reader:
        if not reader.is_format(FORMAT):
            raise reader.fail("not co-trending basis vectors")
        reader.check_version("vector", FORMAT_VERSION)
        yield reader


def read_vectors(path: str | os.PathLike[str]) -> Vectors:
    """Read vectors, the same object for the same file.

    Raises
    ------
    MissingInput
        If there is no such file.
    InputError
        If it is corrupt, of another kind or of another format version.
    """
    path = path if isinstance(path, Path) else Path(path)
    return _read(path, modification_time(path))


@functools.lru_cache(maxsize=8)
def _read(path: Path, modified: int | None) -> Vectors:
    with _opened(path) as reader:
        values: dict[str, Any] = {
            name: reader.integer("", name.upper(), 0, 100_000) for name in _attributes()
        }
        sides: dict[str, int] = {}
        for name, (dtype, letters) in _SHAPES.items():
            shape = tuple(sides.get(letter) for letter in letters)
            values[name] = reader.read(name, dtype, shape, finite=name in _FINITE)
            sides.update(zip(letters, values[name].shape, strict=True))
        if not (np.diff(values["cadenceno"]) > 0).all() or not (values["orbit"] >= 0).any():
            raise reader.fail("its cadence numbers do not increase, or it has no frames with vectors")
        vectors = Vectors(**values)
        if not sides["K"]:
            raise reader.fail("it has no vectors")
        if sides["C"] != vectors.significant * (vectors.orbits + 1):
            raise reader.fail("the number of its coefficients is not that of its vectors")
    return vectors
