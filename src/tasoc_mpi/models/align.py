"""Alignment of two star fields by maximising their enhanced correlation coefficient.

Evangelidis & Psarakis 2008, "Parametric Image Alignment Using Enhanced Correlation Coefficient
Maximization", IEEE TPAMI 30, 1858: the forward additive iteration.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import UsageError
from ..kernels.warp import warp_moments

__all__ = ["align", "prepare_image"]

#: Enough for shifts of some pixels; a frame of the same pointing takes about five.
_MAX_STEPS = 60
#: The search ends when no pixel moves by more than this, a tenth of a motion that a light curve shows.
_SMALL_MOVE = 1e-4
#: Where the interpolation's kinks keep the search from ending, moves below this are good enough.
_GOOD_MOVE = 5e-3
#: Smoothing of the gradient magnitude, pixels. Stars are undersampled, and an interpolation of
#: them draws shifts to whole and half pixels by 0.03 px; after this by less than 0.01 px.
_BLUR = 1.5
#: Pixels this near to an unknown one are not used in the reference, so that the same pixels are used
#: all through the search.
_MARGIN = 3
#: Fewest pixels in common, per parameter.
_MIN_PIXELS = 20


def prepare_image(image: NDArray[Any]) -> NDArray[np.float32]:
    """Scharr gradient magnitude of the logarithm of an image, shape (R, C).

    The logarithm is of 1 + the flux above the median in units of ten standard deviations of the sky (from
    the median absolute deviation): bright stars count by their contrast and noise does not, whether the sky
    has been subtracted or not. The magnitude is smoothed. NaN at the edge and near pixels that are not
    finite.

    Examples
    --------
    >>> image = np.zeros((9, 9))
    >>> image[4, 4] = 1000.0
    >>> prepare_image(image).shape, bool(np.isnan(prepare_image(image)[0]).all())
    ((9, 9), True)
    """
    from scipy import ndimage

    image = np.asarray(image, dtype="f8")
    if image.ndim != 2:
        raise UsageError(f"image of shape {image.shape}: an image has rows and columns")
    out = np.full(image.shape, np.nan, dtype="f4")
    known = np.isfinite(image)
    if not known.any():
        return out
    sky = np.median(image[known])
    noise = 1.4826 * np.median(np.abs(image[known] - sky))
    if not noise > 0.0:
        noise = float(np.std(image[known]))
        if not noise > 0.0:
            return out
    log = np.log1p(np.maximum(np.where(known, image, np.nan) - sky, 0.0) / (10.0 * noise))
    smooth, slope = np.array([3.0, 10.0, 3.0]) / 16.0, np.array([-0.5, 0.0, 0.5])
    gx = ndimage.correlate1d(ndimage.correlate1d(log, smooth, axis=0), slope, axis=1)
    gy = ndimage.correlate1d(ndimage.correlate1d(log, smooth, axis=1), slope, axis=0)
    out[1:-1, 1:-1] = np.hypot(gx, gy)[1:-1, 1:-1]
    return ndimage.gaussian_filter(out, _BLUR, mode="nearest", truncate=3.0)


def align(
    reference: NDArray[np.float32],
    image: NDArray[np.float32],
    warpmode: str,
    origin: tuple[float, float],
    start: NDArray[np.float64] | None = None,
) -> NDArray[np.float64] | None:
    """The warp that takes positions in a reference to those in an image.

    Parameters
    ----------
    reference, image : ndarray of float32, shape (R, C)
        From `prepare_image`.
    warpmode : str
        'translation', 'euclidian' or 'affine'.
    origin : (float, float)
        0-based (column, row) of the first pixel, in the coordinates of the result.
    start : ndarray, shape (2, 3), optional
        Where to begin; no movement by default.

    Returns
    -------
    ndarray, shape (2, 3), or None
        Matrix from (column, row, 1) to (column, row); None where there is no maximum.

    Examples
    --------
    >>> y, x = np.mgrid[:40, :40]
    >>> def stars(shift):
    ...     at = ((10, 12), (28, 14), (18, 30))
    ...     return sum(1e4 * np.exp(-0.5 * ((y - r) ** 2 + (x - c - shift) ** 2) / 2.0) for r, c in at)
    >>> reference, image = prepare_image(stars(0.0)), prepare_image(stars(0.3))
    >>> align(reference, image, "translation", (0.0, 0.0))[:, 2].round(1).tolist()
    [0.3, -0.0]
    """
    from scipy import ndimage

    unknown = ndimage.binary_dilation(np.isnan(reference), np.ones((3, 3)), iterations=_MARGIN)
    reference = np.where(unknown, np.float32(np.nan), reference)
    rows, columns = reference.shape
    centre = np.array([(columns - 1) / 2.0, (rows - 1) / 2.0])
    size = max(float(centre.max()), 1.0)
    position = centre + origin
    params = _parameters(warpmode, _shifted(start, position, +1) if start is not None else np.eye(2, 3), size)
    corners = np.array([[x, y, 1.0] for x in (-centre[0], centre[0]) for y in (-centre[1], centre[1])])
    for _ in range(_MAX_STEPS):
        matrix, basis = _warp(warpmode, params, size)
        step = _step(warp_moments(reference, image, matrix, basis, centre), len(params))
        if step is None:
            return None
        params = params + step
        moved, _ = _warp(warpmode, params, size)
        move = np.abs(corners @ (moved - matrix).T).max()
        if not move < size:
            return None
        if move < _SMALL_MOVE:
            break
    return _shifted(moved, position, -1) if move < _GOOD_MOVE else None


def _step(moments: NDArray[np.float64], n: int) -> NDArray[np.float64] | None:
    """Change of the parameters that maximises the linearised correlation coefficient."""
    count = moments[-1, -1]
    if count < _MIN_PIXELS * n:
        return None
    mean = moments[-1] / count
    central = moments - count * np.outer(mean, mean)
    hessian, g_image, g_ref = central[:n, :n], central[:n, n], central[:n, n + 1]
    image_image, ref_image = central[n, n], central[n, n + 1]
    if not np.all(np.isfinite(central)) or np.linalg.matrix_rank(hessian, hermitian=True) < n:
        return None
    to_image, to_ref = np.linalg.solve(hessian, np.stack([g_image, g_ref], axis=-1)).T
    # Parts of the images that a movement can explain; the rest of the product decides the case.
    in_image, in_both, in_ref = g_image @ to_image, g_ref @ to_image, g_ref @ to_ref
    if ref_image > in_both:
        scale = (image_image - in_image) / (ref_image - in_both)
    elif in_ref > 0.0:
        scale = max(np.sqrt(in_image / in_ref), (in_both - ref_image) / in_ref)
    else:
        return None
    return scale * to_ref - to_image


def _warp(
    warpmode: str, params: NDArray[np.float64], size: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Matrix from the image's centre, and its derivative by each parameter.

    Angles and slopes are scaled by `size`, so that a unit of each parameter moves pixels about as far.
    """
    basis = np.zeros((len(params), 2, 3))
    if warpmode == "affine":
        basis.reshape(6, 6)[np.arange(6), np.arange(6)] = [1 / size, 1 / size, 1.0, 1 / size, 1 / size, 1.0]
        return np.eye(2, 3) + np.tensordot(params, basis, 1), basis
    matrix = np.eye(2, 3)
    matrix[:, 2] = params[:2]
    basis[0, 0, 2] = basis[1, 1, 2] = 1.0
    if warpmode == "euclidian":
        cos, sin = np.cos(params[2] / size), np.sin(params[2] / size)
        matrix[:, :2] = [[cos, -sin], [sin, cos]]
        basis[2, :, :2] = np.array([[-sin, -cos], [cos, -sin]]) / size
    return matrix, basis


def _parameters(warpmode: str, matrix: NDArray[np.float64], size: float) -> NDArray[np.float64]:
    """The inverse of `_warp`."""
    if warpmode == "affine":
        return ((matrix - np.eye(2, 3)) * [size, size, 1.0]).ravel()
    params = np.array([matrix[0, 2], matrix[1, 2], size * np.arctan2(matrix[1, 0], matrix[0, 0])])
    return params if warpmode == "euclidian" else params[:2]


def _shifted(matrix: NDArray[np.float64], position: NDArray[np.float64], sign: int) -> NDArray[np.float64]:
    """The same warp about another origin: to (+1) coordinates that count from `position`, or back (-1)."""
    out = matrix.copy()
    out[:, 2] += sign * (matrix[:, :2] @ position - position)
    return out
