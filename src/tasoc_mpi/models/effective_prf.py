"""How starlight spreads over the pixels at a place of a CCD, from the best source that there is."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

from ..core.errors import InputError
from ..core.names import prf_name, prf_parts_name
from ..kernels.spline_prf import HALF, KNOTS, SIDE
from ..products.prf_file import EffectivePRF, read_prf
from .prf_files import SAMPLES
from .psf import PSF

__all__ = ["broadening_of", "from_table", "local_response", "start_prf"]


def local_response(
    folder: str | os.PathLike[str],
    sector: int,
    camera: int,
    ccd: int,
    place: tuple[float, float],
    time: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], str, bool]:
    """The response at a place: the CCD's effective one, else that of MAST's files, else the analytic model.

    Parameters
    ----------
    folder : path-like
        The input folder, in which `tasoc-mpi prf` has written its file.
    sector, camera, ccd : int
    place : (float, float)
        (row, column), 0-based full frame image pixels.
    time : ndarray, shape (T,)
        BJD - 2457000, days.

    Returns
    -------
    coefficients : ndarray, shape (E, S, S)
        Terms, whose weighted sum is the response; see `kernels.spline_prf`.
    weights : ndarray, shape (T, E)
        Of the terms at the given times.
    source : str
        What they are from.
    measured : bool
        Whether this is the CCD's effective response.

    Raises
    ------
    InputError
        If there are files that cannot be used.
    """
    path = Path(folder) / prf_name(sector, camera, ccd)
    if path.exists():
        prf = read_prf(path)
        if (prf.sector, prf.camera, prf.ccd) != (sector, camera, ccd):
            raise InputError(
                f"{path}: of sector {prf.sector}, camera {prf.camera}, CCD {prf.ccd}; remove it and run "
                "tasoc-mpi prf"
            )
        return *_terms(prf, place, time), f"effective PRF ({path.name})", True
    parts = path.with_name(prf_parts_name(sector, camera, ccd))
    if any(parts.glob("*.hdf5")):
        raise InputError(
            f"{path}: unfinished; run tasoc-mpi prf again, or remove {parts} for another response"
        )
    row, column = round(place[0]), round(place[1])
    psf = PSF(sector, camera, ccd, (row, row + 1, column, column + 1))
    return from_table(psf.table, SAMPLES)[None], np.ones((len(time), 1)), psf.source, False


def _terms(
    prf: EffectivePRF, place: tuple[float, float], time: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """An effective response as terms and their weights: epochs, and the broadening of the frames."""
    epochs, weights = prf.at(*place), prf.weights(time)
    broad = broadening_of(np.tensordot(weights.mean(axis=0), epochs, 1))
    return np.concatenate([epochs, broad[None]]), np.column_stack([weights, prf.broadening_at(time)])


def broadening_of(coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
    """Change of a response when a Gaussian of variance 1 (pixels squared) broadens it, for small variances.

    Parameters
    ----------
    coefficients : ndarray, shape (..., S, S)

    Returns
    -------
    ndarray, shape (..., S, S)
        Half of the second derivatives, in coefficients of a spline.
    """
    # To the fourth order: three knots a pixel only just resolve the sharpest responses, and the second
    # derivative of the spline itself is 8 to 18% too large there, which makes the flux change with the focus.
    second = np.array([-1.0, 16.0, -30.0, 16.0, -1.0]) / 12.0
    change = sum(correlate1d(coefficients, second, axis=axis, mode="constant") for axis in (-2, -1))
    return 0.5 * KNOTS**2 * change


def start_prf(
    sector: int, camera: int, ccd: int, node_rows: NDArray[np.float64], node_columns: NDArray[np.float64]
) -> NDArray[np.float64]:
    """A first guess of an effective response: MAST's files or the analytic model, shape (M, N, 3, S, S)."""
    out = np.zeros((len(node_rows), len(node_columns), 3, SIDE, SIDE))
    for m, n in np.ndindex(out.shape[:2]):
        row, column = round(node_rows[m].item()), round(node_columns[n].item())
        psf = PSF(sector, camera, ccd, (row, row + 1, column, column + 1))
        out[m, n, 0] = from_table(psf.table, SAMPLES)
    return out


def from_table(table: NDArray[np.float64], samples: int) -> NDArray[np.float64]:
    """Coefficients of the spline that is closest to a table of a response.

    Parameters
    ----------
    table : ndarray, shape (W, W)
        See `PSF.table`.
    samples : int
        Of it, a pixel.

    Returns
    -------
    ndarray, shape (S, S)
        Their sum is 9: a star's whole light.
    """
    size = len(table)
    offset = (np.arange(size) - size // 2) * (KNOTS / samples)
    distance = np.abs(offset[:, None] - np.arange(-HALF, HALF + 1))
    near = (4.0 - 6.0 * distance**2 + 3.0 * distance**3) / 6.0
    far = np.clip(2.0 - distance, 0.0, None) ** 3 / 6.0
    basis = np.where(distance < 1.0, near, far)
    # Coefficients at the edge, which hardly any sample sees, stay small.
    inverse = np.linalg.solve(basis.T @ basis + 1e-3 * np.eye(SIDE), basis.T)
    coefficients = inverse @ table @ inverse.T
    return coefficients * (KNOTS**2 / coefficients.sum())
