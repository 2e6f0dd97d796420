"""How the focus changes from frame to frame: the broadening of bright stars' images, beside their epochs'.

The response of an epoch is a mean of days. What happens within is one number a frame for the whole
CCD: the variance of a Gaussian that broadens the images. It is the median of what bright stars show.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..core.settings import mag2flux
from ..kernels.linear_frames import solve_frames
from ..kernels.linear_psf import series_of_stars
from ..models.effective_prf import broadening_of
from ..models.motion import ImageMovementKernel
from ..products.cube import Cube
from ..products.prf_file import EffectivePRF
from ..products.star_catalog import StarCatalog

__all__ = ["measure_broadening"]

#: Half the side of the pixels that are fitted, and how far outside of them stars put light into them.
RADIUS, REACH = 4, 7
#: Most stars; they have less than this share of their light in others as far as `RADIUS`.
MOST, OTHERS = 200, 0.2
#: Fewest stars: with fewer the focus is taken to be that of the epochs.
FEWEST = 10


def measure_broadening(
    cube: Cube, catalog: StarCatalog, prf: EffectivePRF, frames: NDArray[np.int64], saturation: float
) -> NDArray[np.float64]:
    """Broadening in each frame.

    Parameters
    ----------
    cube : Cube
    catalog : StarCatalog
    prf : EffectivePRF
        With all epochs.
    frames : ndarray of int64, shape (T,)
        Frames to measure, in the order of time.
    saturation : float
        Pixels with more in the mean image are left out, e-/s.

    Returns
    -------
    ndarray, shape (T,)
        Variance that is added to the response, relative to the epochs' and zero in a segment's mean,
        pixels squared; 0 where there are too few stars.
    """
    times, weights = cube.time[frames], prf.weights(cube.time[frames])
    segments = prf.segments[weights.argmax(axis=1)]
    kernel = cube_motion(cube)
    places = cube.wcs.stars(catalog.stars["ra"], catalog.stars["decl"], cube.ref_frame)[:, ::-1]
    flux = np.nan_to_num(np.asarray(mag2flux(catalog.stars["tmag"])))  # type: ignore[arg-type]
    flux[~np.isfinite(places).all(axis=1)] = 0.0
    found = []
    for star in _choose(cube, places, flux, 2.0 * saturation):
        own = _one_star(cube, kernel, prf, weights, places, flux, star, frames, times, saturation)
        for segment in np.unique(segments):
            first, last = prf.spans[segment]
            inside = (times >= first) & (times <= last) & np.isfinite(own)
            own[segments == segment] -= np.mean(own[inside]) if inside.any() else np.nan
        found.append(own)
    if len(found) < FEWEST:
        return np.zeros(len(frames))
    values = np.array(found)
    known = np.isfinite(values).sum(axis=0) >= FEWEST
    out = np.zeros(len(frames))
    out[known] = np.nanmedian(values[:, known], axis=0)
    return out


def cube_motion(cube: Cube) -> ImageMovementKernel:
    """The motion of stars in a cube."""
    if cube.warpmode == "wcs":
        return ImageMovementKernel.from_wcs(cube.time, cube.wcs, cube.ref_frame)
    kernel = ImageMovementKernel(cube.warpmode)
    kernel.load_series(cube.time, cube.movement_kernel)
    return kernel


def _choose(
    cube: Cube, places: NDArray[np.float64], flux: NDArray[np.float64], brightest: float
) -> list[int]:
    """The brightest stars inside of the image that are not saturated and have little light beside them."""
    first = np.array([cube.row_offset, cube.column_offset])
    offset = places - first
    inside = np.all((offset > RADIUS + 1) & (offset < np.array(cube.shape[:2]) - RADIUS - 2), axis=1)
    chosen: list[int] = []
    for k in np.argsort(-flux, kind="stable"):
        if len(chosen) == MOST or not flux[k] > 0:
            break
        if not inside[k] or flux[k] > brightest:
            continue
        near = np.abs(places - places[k]).max(axis=1) <= RADIUS
        if flux[near].sum() < (1.0 + OTHERS) * flux[k]:
            chosen.append(int(k))
    return chosen


def _one_star(
    cube: Cube,
    kernel: ImageMovementKernel,
    prf: EffectivePRF,
    weights: NDArray[np.float64],
    places: NDArray[np.float64],
    flux: NDArray[np.float64],
    star: int,
    frames: NDArray[np.int64],
    times: NDArray[np.float64],
    saturation: float,
) -> NDArray[np.float64]:
    """Broadening in each frame as one star shows it, pixels squared; NaN without a solution."""
    shift = kernel.jitter(times, places[star, 1], places[star, 0])[:, ::-1]
    mean = shift.mean(axis=0)
    place = places[star] + mean
    corner = np.rint(place).astype("i8") - RADIUS - [cube.row_offset, cube.column_offset]
    side = 2 * RADIUS + 1
    window = np.s_[corner[0] : corner[0] + side, corner[1] : corner[1] + side]
    images, errors = (
        np.ascontiguousarray(array[window][:, :, frames]) for array in (cube.images, cube.images_err)
    )
    offset = places + mean - [cube.row_offset, cube.column_offset] - corner
    reached = np.abs(offset - RADIUS).max(axis=1) < RADIUS + REACH
    (near,) = np.nonzero(reached & (flux > 1e-4 * flux[star]))
    response = prf.at(*place)
    rows, columns = np.ascontiguousarray(offset[near].T)
    relative = flux[near] / flux[star]
    series = np.concatenate(
        [
            series_of_stars(c, rows, columns, relative, side, side, True)
            for c in (response, broadening_of(response))
        ]
    )
    mean_image = np.nanmean(images, axis=2)
    used = np.isfinite(mean_image) & (mean_image < saturation)
    none = np.zeros(2)
    _, fluxes, _ = solve_frames(
        images, errors, used, series, np.zeros(series.shape[1:]), weights, shift - mean,
        np.zeros((len(frames), 2, 2)), np.zeros((2, 2)), none, none, 0.5,
    )  # fmt: skip
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(fluxes[:, 0] > 0, fluxes[:, 1] / fluxes[:, 0], np.nan)
