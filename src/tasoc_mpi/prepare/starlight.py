"""The light of the stars of a CCD as it is in all frames, from a few of them.

The level of the sky in a box of a mesh is the mode of its pixels, and the stars among them pull at it: by
some tenths of e-/s, more where the sky is brighter or the stars have moved a little. Constant in time that
would only shift the sky; as it is, it makes light curves noisier than their pixels. So the backgrounds
are fitted to what is left without the stars. In the mean over time they are what they would be with them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..products.ffi import read_rows
from .background import SkyGeometry, background_model, fit_background, usable_pixels
from .frames import FrameSeries

__all__ = ["FEWEST_FRAMES", "star_image"]

#: Frames that the image is made of, spread evenly over the series: the noise of a pixel in it, a sixth of a
#: frame's, is the same in all frames and far below what a box's level can be off by.
_FRAMES = 32
#: Of fewer frames no image is made: it would hold too much of each of them.
FEWEST_FRAMES = 8
#: Bytes of the frames that are held at once: of a whole CCD 15 frames.
_MEMORY = 256 << 20
#: Rows of all chosen frames whose median is taken at once.
_ROWS = 64


def star_image(
    series: FrameSeries, geometry: SkyGeometry, good: NDArray[np.bool_]
) -> NDArray[np.float32] | None:
    """Median over some frames of the image without its background.

    Parameters
    ----------
    series : FrameSeries
    geometry : SkyGeometry
    good : ndarray of bool, shape (T,)
        Frames of good quality.

    Returns
    -------
    ndarray of float32, shape (R, C), or None
        e-/s; zero where no frame has a value. None where there are too few good frames.
    """
    (frames,) = np.nonzero(good & (series.excluded >= series.shape[1]))
    if len(frames) < FEWEST_FRAMES:
        return None
    most = min(max(_MEMORY // (4 * series.shape[0] * series.shape[1]), FEWEST_FRAMES), _FRAMES)
    frames = frames[np.unique(np.linspace(0, len(frames) - 1, most).round().astype("i8"))]
    images, fits = [], []
    for t in frames:
        image, _ = read_rows(series.infos[t], 0, series.shape[0], errors=False)
        fit = fit_background(image, usable_pixels(image), geometry)
        if fit is not None:
            images.append(image)
            fits.append(fit)
    if len(images) < FEWEST_FRAMES:
        return None
    model = background_model(geometry, *(np.stack(parts, axis=-1) for parts in zip(*fits, strict=True)))
    for k, image in enumerate(images):
        image -= model.frame(series.shape, k)
    out = np.empty(series.shape, dtype="f4")
    for first in range(0, len(out), _ROWS):
        rows = slice(first, first + _ROWS)
        out[rows] = _median(np.stack([image[rows] for image in images]))
    return out


def _median(stack: NDArray[np.float32]) -> NDArray[np.float32]:
    """Median over the first axis without NaN; zero where there is nothing else."""
    if np.isfinite(stack).all():
        return np.median(stack, axis=0)
    ordered = np.sort(np.where(np.isfinite(stack), stack, np.nan), axis=0)  # NaN comes last
    count = np.isfinite(ordered).sum(axis=0)
    low, high = np.maximum(count - 1, 0) // 2, count // 2
    pick = [np.take_along_axis(ordered, k[None], axis=0)[0] for k in (low, np.minimum(high, len(stack) - 1))]
    return np.where(count > 0, (pick[0] + pick[1]) / 2, 0).astype("f4")
