"""The pixel response of TESS on one CCD: MAST's files, or the analytic model on the same samples."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, MissingInput
from ..products.fits_read import FITSReader, float_image

__all__ = ["SAMPLES", "SIZE", "PRFGrid", "analytic_table", "find_folder", "read_grid"]

#: Samples a pixel, and samples along a side: 13 pixels.
SAMPLES = 9
SIZE = 117
#: Files of a CCD: this many rows times as many columns of positions.
_PLACES = 5
#: No value of a table is as large: all of them together are 81.
_LARGEST = 1e6
#: First sector of each set of files that MAST publishes, newest first.
_SETS = (4, 1)


@dataclass(frozen=True)
class PRFGrid:
    """Measured responses at a grid of positions on a CCD.

    Attributes
    ----------
    rows, columns : ndarray, shape (5,)
        Of the positions, full frame image pixels, 0-based.
    tables : ndarray, shape (5, 5, 117, 117)
        Response of a pixel by the distance of its centre from the star in (row, column), 9 samples a
        pixel, no distance in sample 58. The sum of each table is 81: a star's whole light.

    Examples
    --------
    >>> nodes = np.linspace(0.0, 2000.0, 5)
    >>> tables = np.ones((5, 5, 117, 117)) * nodes[:, None, None, None]
    >>> float(PRFGrid(nodes, nodes, tables).table(250.0, 700.0)[0, 0])
    250.0
    """

    rows: NDArray[np.float64]
    columns: NDArray[np.float64]
    tables: NDArray[np.float64]

    def table(self, row: float, column: float) -> NDArray[np.float64]:
        """Response at a position of the CCD, bilinear between the grid's; outside of it, at its edge."""
        i, u = _bracket(self.rows, row)
        j, v = _bracket(self.columns, column)
        t = self.tables
        lower = (1.0 - v) * t[i, j] + v * t[i, j + 1]
        upper = (1.0 - v) * t[i + 1, j] + v * t[i + 1, j + 1]
        return (1.0 - u) * lower + u * upper


def _bracket(nodes: NDArray[np.float64], x: float) -> tuple[int, float]:
    """Index of the node below `x`, and how far towards the next one it is, 0 to 1."""
    i = int(np.clip(np.searchsorted(nodes, x) - 1, 0, len(nodes) - 2))
    return i, float(np.clip((x - nodes[i]) / (nodes[i + 1] - nodes[i]), 0.0, 1.0))


def find_folder(folder: Path, sector: int, camera: int, ccd: int) -> Path:
    """The folder of a CCD's files below the one that a user names.

    Parameters
    ----------
    folder : Path
        As MAST has it (``start_s0001/cam1_ccd1/`` for sectors 1 to 3, ``start_s0004/cam1_ccd1/`` from 4
        on), or one of the two sets (``cam1_ccd1/``).
    sector, camera, ccd : int

    Returns
    -------
    Path

    Raises
    ------
    MissingInput
        If there is no such folder.
    """
    if not folder.is_dir():
        raise MissingInput(f"{folder}: no such folder of PRF files; without one the analytic model is used")
    start = next(first for first in _SETS if sector >= first or first == 1)
    name = f"cam{camera}_ccd{ccd}"
    wanted = folder / f"start_s{start:04d}" / name
    if wanted.is_dir():
        return wanted
    # A folder of one set is taken at its word, unless it is the other set.
    other = {f"start_s{first:04d}" for first in _SETS if first != start}
    if (folder / name).is_dir() and folder.name not in other:
        return folder / name
    raise MissingInput(
        f"{wanted}: no such folder; get its PRF files from MAST, or name none for the analytic model"
    )


@functools.lru_cache(maxsize=16)
def read_grid(folder: Path, camera: int, ccd: int) -> PRFGrid:
    """Read the PRF files of one CCD.

    Parameters
    ----------
    folder : Path
        With the 25 files, FITS, compressed or not.
    camera, ccd : int
        Which the files have to be of.

    Returns
    -------
    PRFGrid
        The same object for the same folder.

    Raises
    ------
    InputError
        If a file is corrupt or of another kind or CCD, or positions are missing.
    """
    found: dict[tuple[float, float], NDArray[np.float64]] = {}
    for path in sorted(p for p in folder.iterdir() if p.name.endswith((".fits", ".fits.gz"))):
        position, table = _read(path, camera, ccd)
        if position in found:
            raise InputError(
                f"{path}: a second one of row {position[0]:g}, column {position[1]:g}; remove one"
            )
        found[position] = table
    rows, columns = (np.array(sorted({position[k] for position in found})) for k in (0, 1))
    if len(rows) != _PLACES or len(columns) != _PLACES or len(found) != _PLACES**2:
        raise InputError(
            f"{folder}: {len(found)} PRF files of {len(rows)} rows and {len(columns)} columns, "
            f"{_PLACES**2} of {_PLACES} and {_PLACES} are needed; get them again from MAST"
        )
    tables = np.array([[found[row, column] for column in columns] for row in rows])
    return PRFGrid(rows - 1.0, columns - 1.0, tables)


def _read(path: Path, camera: int, ccd: int) -> tuple[tuple[float, float], NDArray[np.float64]]:
    """Position (row, column; 1-based) and response in one file."""
    with FITSReader(path) as reader:
        hdu = reader.hdu()
        image = float_image(path, hdu)
        if image.shape != (SIZE, SIZE):
            raise InputError(f"{path}: a PRF file has {SIZE} x {SIZE} numbers; get it again from MAST")
        table = np.frombuffer(reader.read(image.start, image.stop - image.start), image.dtype)
    table = table.reshape(image.shape).astype("f8")
    words: list[Any] = [hdu.values.get(key) for key in ("CCD_RREF", "CCD_CREF", "CAM", "CCD", "NSAMP")]
    if not all(isinstance(word, int | float) and 0 < word < 10_000 for word in words):
        raise InputError(
            f"{path}: cannot be read as a PRF file (CCD_RREF, CCD_CREF, CAM, CCD or NSAMP is no number of "
            "one); get it again from MAST"
        )
    position, kind = (float(words[0]), float(words[1])), tuple(float(word) for word in words[2:])
    if kind != (camera, ccd, SAMPLES):
        raise InputError(
            f"{path}: PRF of camera {kind[0]:g}, CCD {kind[1]:g} with {kind[2]:g} samples a pixel, "
            f"not of camera {camera}, CCD {ccd} with {SAMPLES}; get it again from MAST"
        )
    if not np.abs(table).max() < _LARGEST or not table.sum() > 0.0:
        raise InputError(f"{path}: a PRF file has {SIZE} x {SIZE} known numbers; get it again from MAST")
    # Some files sum to 80.98 for their true 81: a star's light is all of it.
    return position, table * (SAMPLES**2 / table.sum())


def analytic_table(row: float, column: float, camera: int, ccd: int) -> NDArray[np.float64]:
    """The analytic model on the samples of a PRF file.

    Parameters
    ----------
    row, column : float
        Position on the CCD, full frame image pixels, 0-based.
    camera, ccd : int

    Returns
    -------
    ndarray, shape (117, 117)
        See `PRFGrid`.

    Examples
    --------
    >>> table = analytic_table(1000.0, 1000.0, 1, 1)
    >>> table.shape, round(float(table.sum()))
    ((117, 117), 81)
    """
    from ..kernels.prf import prf_image, sigma_scale
    from ..products.ccd_outline import CAMERA_CENTRES

    scale = sigma_scale(np.array([row]), np.array([column]), CAMERA_CENTRES[camera, ccd])
    table = np.empty((SIZE, SIZE))
    pixels = SIZE // SAMPLES
    for i in range(SAMPLES):
        for j in range(SAMPLES):
            # The samples i, i + 9, ... are the pixels of an image of one star.
            star = np.array([(SIZE // 2 - i) / SAMPLES]), np.array([(SIZE // 2 - j) / SAMPLES])
            table[i::SAMPLES, j::SAMPLES] = prf_image(
                (pixels, pixels), (0.0, 0.0), *star, np.ones(1), scale, pixels
            )
    return table
