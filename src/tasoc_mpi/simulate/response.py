"""The pixel response of the simulated stars: an analytic model, or the PRF files of TESS.

The files hold the response at 25 positions of a CCD, on 13 x 13 pixels. A star's response is bilinear between
the four positions around it. Beyond the files it falls with the third power of the distance. With focus
drift, the response is a mixture of the one in focus and a broader one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from ..kernels.prf import CORE_SIGMA, add_stars, add_wings
from ..kernels.prf_table import add_blended_stars
from ..models.prf_files import SAMPLES, SIZE, PRFGrid, find_folder, read_grid
from .bright import wing_shares
from .options import SimulationOptions
from .stars import Stars

__all__ = ["WIDTH", "Response", "draw", "make_response", "place_on_grid", "whole_tables"]

#: Side of the tables with wings, pixels.
WIDTH = 27
#: The wings replace the files' outermost pixel, in which other stars are found, and end between these
#: distances from the star in row or column, pixels.
WINGS_FROM, WINGS_TO = (5.5, 6.5), (10.0, 11.3)


@dataclass(frozen=True)
class Response:
    """The response of each of N stars."""

    description: str  #: Of the model
    scale: NDArray[np.float64]  #: Shape (N,): width of the analytic model, see `kernels.prf`
    radius: NDArray[np.int64]  #: Shape (N,): how far each star is drawn, pixels
    #: Shape (25, 9, 9, W, W): at the positions of the files, see `kernels.prf_table.add_blended_stars`; empty
    #: for the analytic model.
    phases: NDArray[np.float64]
    broad: NDArray[np.float64]  #: The same with the largest focus drift
    corners: NDArray[np.int64]  #: Shape (N, 4): positions around each star
    shares: NDArray[np.float64]  #: Shape (N, 4): their shares in its response
    focus: float  #: Largest relative change of the width
    wings: NDArray[np.float64]  #: Shape (N,): share of the light in wide wings, see `bright`


def make_response(options: SimulationOptions, stars: Stars) -> Response:
    """The response for the stars of a simulation.

    Raises
    ------
    MissingInput
        If the folder of `options` has no PRF files of the CCD.
    InputError
        If they are corrupt.
    """
    wings = wing_shares(options.bright_stars, stars.tmag)
    if options.prf is None:
        description = "analytic: two Gaussians integrated over the pixels (tasoc_mpi.kernels.prf)"
        none = np.zeros((0, 0, 0, 0, 0))
        shares = np.zeros((len(stars), 4))
        return Response(
            description,
            stars.scale,
            stars.radius,
            none,
            none,
            shares.astype("i8"),
            shares,
            options.widest,
            wings,
        )
    folder = find_folder(Path(options.prf), options.sector, options.camera, options.ccd)
    grid = read_grid(folder, options.camera, options.ccd)
    tables, broad = whole_tables(grid), whole_tables(grid, options.widest)
    description = f"TESS PRF files ({folder.parent.name}/{folder.name}), with wings to {WINGS_TO[1]:g} px"
    corners, shares = place_on_grid(grid, stars.row, stars.column)
    radius = np.full(len(stars), WIDTH // 2)
    return Response(
        description,
        stars.scale,
        radius,
        _phases(tables),
        _phases(broad),
        corners,
        shares,
        options.widest,
        wings,
    )


def whole_tables(grid: PRFGrid, focus: float = 0.0) -> NDArray[np.float64]:
    """Tables of a CCD's files with wings around them.

    Parameters
    ----------
    grid : PRFGrid
    focus : float
        Relative change of the width of the core.

    Returns
    -------
    ndarray, shape (25, W, W)
        `WIDTH` pixels wide, `SAMPLES` samples a pixel; the sum of each is 81.
    """
    files = grid.tables.reshape(-1, SIZE, SIZE)
    pad = (WIDTH * SAMPLES - SIZE) // 2
    offset = (np.arange(WIDTH * SAMPLES) - WIDTH * SAMPLES // 2) / SAMPLES
    square = np.maximum(np.abs(offset)[:, None], np.abs(offset))
    fall = np.maximum(np.hypot(offset[:, None], offset), 1.0) ** -3.0
    edge = (square > WINGS_FROM[0]) & (square <= WINGS_FROM[1])
    wing = _smooth_step(square, *WINGS_FROM)
    out = np.empty((len(files), *square.shape))
    for whole, table in zip(out, files, strict=True):
        inner = np.pad(table, pad)
        level = inner[edge].sum() / fall[edge].sum()
        whole[:] = (1.0 - wing) * inner + wing * level * fall
        whole *= 1.0 - _smooth_step(square, *WINGS_TO)
        # A star's light does not depend on its place in the pixel.
        phases = whole.reshape(WIDTH, SAMPLES, WIDTH, SAMPLES)
        phases /= phases.sum(axis=(0, 2), keepdims=True)
    sigma = CORE_SIGMA * SAMPLES * math.sqrt((1.0 + focus) ** 2 - 1.0)
    return np.array([gaussian_filter(whole, sigma, mode="constant") for whole in out])


def _phases(tables: NDArray[np.float64]) -> NDArray[np.float64]:
    """Samples that the pixels of one star see beside each other, shape (25, 9, 9, W, W)."""
    parts = tables.reshape(-1, WIDTH, SAMPLES, WIDTH, SAMPLES)
    return np.ascontiguousarray(parts.transpose(0, 2, 4, 1, 3))


def _smooth_step(x: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """0 up to `low`, 1 from `high` on."""
    u = np.clip((x - low) / (high - low), 0.0, 1.0)
    return u * u * (3.0 - 2.0 * u)


def place_on_grid(
    grid: PRFGrid, rows: NDArray[np.float64], columns: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The four of the 25 positions around each star and their shares, shape (N, 4) each."""
    low, share = [], []
    for nodes, x in ((grid.rows, rows), (grid.columns, columns)):
        i = np.clip(np.searchsorted(nodes, x) - 1, 0, len(nodes) - 2)
        low.append(i)
        share.append(np.clip((x - nodes[i]) / (nodes[i + 1] - nodes[i]), 0.0, 1.0))
    n = len(grid.columns)
    corners = np.stack([(low[0] + a) * n + low[1] + b for a in (0, 1) for b in (0, 1)], axis=-1)
    u, v = share
    shares = np.stack([(1 - u) * (1 - v), (1 - u) * v, u * (1 - v), u * v], axis=-1)
    return corners.astype("i8"), shares


def draw(
    response: Response,
    which: NDArray[np.int64],
    image: NDArray[np.float32],
    origin: tuple[int, int],
    positions: NDArray[np.float64],
    fluxes: NDArray[np.float64],
    focus: float = 0.0,
) -> None:
    """Add stars to an image.

    Parameters
    ----------
    response : Response
    which : ndarray of int64, shape (K,)
        Their indices in the stars of the response.
    image : ndarray of float32, shape (R, C)
        Changed in place.
    origin : (int, int)
        0-based full frame image (row, column) of the image's first pixel.
    positions : ndarray, shape (K, 2)
        (column, row) of the stars, 0-based full frame image pixels.
    fluxes : ndarray, shape (K,)
        e-/s.
    focus : float
        Share of the largest focus drift.
    """
    rows, columns = np.ascontiguousarray(positions[:, 1]), np.ascontiguousarray(positions[:, 0])
    wings = response.wings[which]
    if wings.any():
        add_wings(image, (float(origin[0]), float(origin[1])), rows, columns, wings * fluxes)
        fluxes = (1.0 - wings) * fluxes
    if not len(response.phases):
        scale = response.scale[which] * (1.0 + response.focus * focus)
        radius = response.radius[which]
        add_stars(image, (float(origin[0]), float(origin[1])), rows, columns, fluxes, scale, radius)
        return
    phases, corners, shares = response.phases, response.corners[which], response.shares[which]
    if focus != 0.0:
        used, corners = np.unique(corners, return_inverse=True)
        corners = corners.reshape(-1, 4)
        phases = (1.0 - focus) * phases[used] + focus * response.broad[used]
    exact = np.zeros(image.shape)
    add_blended_stars(exact, phases, rows - origin[0], columns - origin[1], fluxes, corners, shares)
    image += exact.astype("f4")
