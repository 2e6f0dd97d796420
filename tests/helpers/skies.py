"""Skies with stars for the tests of backgrounds, and the backgrounds of a series of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tasoc_mpi.cubes.background import background_model, fit_background, usable_pixels
from tasoc_mpi.cubes.frame_pixels import Frames
from tasoc_mpi.cubes.frame_series import FrameSeries
from tasoc_mpi.cubes.sky_geometry import SkyGeometry
from tasoc_mpi.cubes.star_image import FEWEST_FRAMES, chosen_frames, median_rows
from tasoc_mpi.products.cube import BackgroundModel

#: Noise of a pixel of the sky, e-/s.
NOISE = 0.32


def add_stars(image: np.ndarray, count: int, rng: np.random.Generator, brightest: float = 5.0) -> None:
    """Stars whose number grows tenfold in 4 magnitudes down to Tmag 17."""
    rows, columns = np.mgrid[-7:8, -7:8]
    for _ in range(count):
        tmag = max(17 - rng.exponential(1.7), brightest)
        y, x = rng.uniform(8, image.shape[0] - 8), rng.uniform(8, image.shape[1] - 8)
        r, c = int(y), int(x)
        psf = np.exp(-((rows + r - y) ** 2 + (columns + c - x) ** 2) / (2 * 0.8**2)) / (2 * np.pi * 0.8**2)
        image[r - 7 : r + 8, c - 7 : c + 8] += 10 ** (-0.4 * (tmag - 20.451)) * psf


def series_backgrounds(
    frames: NDArray[np.float32], geometry: SkyGeometry, left_out: NDArray[np.bool_] | bool = False
) -> BackgroundModel:
    """Backgrounds as prepare fits them; all frames, shape (T, R, C), are in the image of the stars."""
    usable = [usable_pixels(image) & ~np.asarray(left_out) for image in frames]
    fits = [fit_background(*pair, geometry) for pair in zip(frames, usable, strict=True)]
    levels, radial = (np.stack(part, axis=-1) for part in zip(*fits, strict=True))
    model = background_model(geometry, levels, radial)
    n, (rows, columns) = len(frames), geometry.shape
    stars = median_rows(
        lambda t, first, last, out: np.copyto(out, frames[t, first:last]),
        np.arange(n),
        np.full(n, columns, "i4"),
        model,
        0,
        (rows, columns),
    )
    fits = [
        fit_background(image - stars, good, geometry, starless=True)
        for image, good in zip(frames, usable, strict=True)
    ]
    levels, radial = (np.stack(part, axis=-1) for part in zip(*fits, strict=True))
    return background_model(geometry, levels, radial, starless=True)


def star_image(
    series: FrameSeries, geometry: SkyGeometry, good: NDArray[np.bool_]
) -> NDArray[np.float32] | None:
    """The image of the stars as prepare makes it; None where there are too few good frames."""
    frames = Frames.of(series)
    candidates, enough = chosen_frames(good, series.excluded, series.shape[1])
    if not enough:
        return None
    images = {t: frames.flux(int(t)) for t in candidates}
    fits = {t: fit_background(image, usable_pixels(image), geometry) for t, image in images.items()}
    chosen = [t for t in candidates if fits[t] is not None]
    if len(chosen) < FEWEST_FRAMES:
        return None
    levels, radial = (np.stack(parts, axis=-1) for parts in zip(*(fits[t] for t in chosen), strict=True))
    model = background_model(geometry, levels, radial)
    return median_rows(frames.flux, np.array(chosen), series.excluded[chosen], model, 0, series.shape)
