"""Which pixels halo photometry uses: a circle, the saturated core, and not those of other stars."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["HaloPixels", "choose_pixels", "mask_radius", "neighbour_wings", "saturated_regions", "sum_series"]

#: Growth of the mask's radius with each magnitude that a star is brighter than `GROWTH_TMAG`, pixels.
RADIUS_GROWTH, GROWTH_TMAG = 5.0, 2.0
#: Pixels around a saturated pixel that belong to its region, and further ones along a column: the ends of a
#: bleed column move with the brightness and the position of the star, by this share of its length.
_MARGIN, _END_MARGIN, _END_SHARE = 1, 3, 0.03
#: A saturated region is the target's if it comes this close to its position, pixels.
_NEAR = 3.0
#: Fewest pixels of a ring of the radial profile.
_RING_PIXELS = 6
#: Pixels so close to the star are kept in spite of faint neighbours (pixels), if less than this fraction of
#: their light belongs to others: without them, the motion of the star takes light out of the sum.
_INNER, _INNER_SHARE = 6.0, 0.5


def mask_radius(tmag: float, radius: float) -> float:
    """Radius of the mask of a star, pixels: `radius`, and more for stars brighter than Tmag 2.

    Examples
    --------
    >>> mask_radius(4.0, 20.0), mask_radius(0.0, 20.0)
    (20.0, 30.0)
    """
    return radius + RADIUS_GROWTH * max(GROWTH_TMAG - tmag, 0.0)


def saturated_regions(
    image: NDArray[np.float32], limit: float, row: float, column: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Saturated pixels with a margin: those of the star at a position, and those of others.

    Parameters
    ----------
    image : ndarray, shape (R, C)
        Sum image, e-/s.
    limit : float
        Pixels from here on count as saturated, e-/s.
    row, column : float
        0-based position of the target in the image.

    Returns
    -------
    (ndarray of bool, ndarray of bool), shape (R, C)

    Examples
    --------
    >>> image = np.zeros((9, 9), "f4")
    >>> image[4, 4] = 1e5
    >>> own, others = saturated_regions(image, 5e4, 4.2, 3.9)
    >>> own.sum(axis=0).tolist(), others.any().item()
    ([0, 0, 0, 9, 9, 9, 0, 0, 0], False)
    """
    labels, count = ndimage.label(image >= limit, structure=np.ones((3, 3)))
    own, others = np.zeros((2, *image.shape), dtype=bool)
    rows, columns = np.indices(image.shape)
    distance = np.hypot(rows - row, columns - column)
    for k in range(1, count + 1):
        region = labels == k
        target = own if distance[region].min() <= _NEAR else others
        wide = ndimage.binary_dilation(region, np.ones((2 * _MARGIN + 1,) * 2))
        ends = _END_MARGIN + round(_END_SHARE * float(np.ptp(np.nonzero(region)[0]) + 1))
        target |= ndimage.binary_dilation(wide, np.ones((2 * ends + 1, 1)))
    return own, others & ~own


def neighbour_wings(
    image: NDArray[np.float32],
    usable: NDArray[np.bool_],
    target: tuple[float, float],
    others: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Light of other stars whose wings look like those of the target.

    Parameters
    ----------
    image : ndarray, shape (R, C)
        Sum image, e-/s.
    usable : ndarray of bool, shape (R, C)
        Pixels that show the wings of the target.
    target : (float, float)
        Its 0-based (row, column) in the image.
    others : ndarray, shape (N, 3)
        (row, column, flux relative to the target) of the other stars.

    Returns
    -------
    ndarray, shape (R, C)
        e-/s.
    """
    rows, columns = np.indices(image.shape)
    radius, level = _profile(image, usable, np.hypot(rows - target[0], columns - target[1]))
    out = np.zeros(image.shape)
    if not len(radius):
        return out
    for row, column, share in others:
        distance = np.hypot(rows - row, columns - column)
        light = np.interp(distance, radius, level)
        # Beyond the profile the wings fall with the third power of the distance; inside of it they rise so.
        for edge, side in ((0, distance < radius[0]), (-1, distance > radius[-1])):
            light[side] = level[edge] * (radius[edge] / np.maximum(distance[side], 0.5)) ** 3
        out += share * light
    return out


def _profile(
    image: NDArray[np.float32], usable: NDArray[np.bool_], distance: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Median light in rings of a pixel's width, falling outwards: radii and levels of known rings."""
    radius, level = [], []
    away, light = distance[usable], image[usable]
    order = np.argsort(away, kind="stable")
    away, light = away[order], light[order]
    edges = np.searchsorted(away, np.arange(away.max(initial=-1.0) + 2.0))
    for begin, end in itertools.pairwise(edges.tolist()):
        if end - begin >= _RING_PIXELS:
            radius.append(float(np.median(away[begin:end])))
            level.append(max(float(np.median(light[begin:end])), 0.0))
    return np.array(radius), np.minimum.accumulate(np.array(level))


@dataclass(frozen=True)
class HaloPixels:
    """The pixels of a stamp that are used.

    Attributes
    ----------
    index : ndarray of int64, shape (R, C)
        Number of the time series that a pixel is part of, -1 for none. The saturated pixels of the target
        are one series together, the last, since they keep the charge only together.
    neighbours : ndarray, shape (R, C)
        Expected light of other stars, e-/s.
    saturated : int
        Number of pixels in the saturated region of the target.
    core : bool
        Whether it is used.
    reason : str
        Why not.
    """

    index: NDArray[np.int64]
    neighbours: NDArray[np.float64]
    saturated: int
    core: bool
    reason: str

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The pixels that are used."""
        return self.index >= 0

    @property
    def count(self) -> int:
        """Number of time series."""
        return int(self.index.max(initial=-1)) + 1


def choose_pixels(
    image: NDArray[np.float32],
    usable: NDArray[np.bool_],
    regions: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    distance: NDArray[np.float64],
    radius: float,
    neighbours: NDArray[np.float64],
    largest_share: float,
    keep_core: bool,
) -> HaloPixels:
    """Choose the pixels of halo photometry.

    Parameters
    ----------
    image : ndarray, shape (R, C)
        Sum image, e-/s.
    usable : ndarray of bool, shape (R, C)
        Pixels that were collected and have enough frames.
    regions : pair of ndarray of bool, shape (R, C)
        From `saturated_regions`.
    distance : ndarray, shape (R, C)
        From the target, pixels.
    radius : float
        Of the mask, pixels.
    neighbours : ndarray, shape (R, C)
        Light of other stars, e-/s.
    largest_share : float
        A pixel is left out where more than this share of its light belongs to other stars. Those next to
        the star are kept, the nearest first, while all of them together have less than this share of the
        light of the star.
    keep_core : bool
        Use the target's saturated pixels if all of them are there.
    """
    own, others = regions
    halo = usable & (distance <= radius) & ~own & ~others & (image > 0)
    inner = halo & (distance <= _INNER) & (neighbours < _INNER_SHARE * image)
    halo &= neighbours <= largest_share * image
    inner &= ~halo
    light = image[halo | (usable & own)].sum(dtype="f8")
    near = np.flatnonzero(inner)[np.argsort(distance[inner], kind="stable")]
    halo.flat[near[np.cumsum(neighbours.flat[near]) <= largest_share * light]] = True
    index = np.full(image.shape, -1, dtype="i8")
    index[halo] = np.arange(halo.sum())
    reason = ""
    if own.any():
        reason = _core_problem(image, usable, own, others, neighbours, largest_share, keep_core)
        if not reason:
            index[own] = halo.sum()
    return HaloPixels(index, neighbours, int(own.sum()), bool(own.any() and not reason), reason)


def _core_problem(
    image: NDArray[np.float32],
    usable: NDArray[np.bool_],
    own: NDArray[np.bool_],
    others: NDArray[np.bool_],
    neighbours: NDArray[np.float64],
    largest_share: float,
    keep_core: bool,
) -> str:
    """Why the saturated region of the target cannot be used; '' if it can."""
    if not keep_core:
        return "the settings leave them out"
    if own[0].any() or own[-1].any() or own[:, 0].any() or own[:, -1].any():
        return "they reach the edge of the pixels that there are"
    if not usable[own].all():
        return "some of them are missing"
    if ndimage.binary_dilation(own, np.ones((3, 3)))[others].any():
        return "they touch those of another star"
    share = neighbours[own].sum() / image[own].sum(dtype="f8")
    return f"{100 * share:.2g}% of their light belongs to other stars" if share > largest_share else ""


def sum_series(cube: NDArray[np.float32], pixels: HaloPixels, power: int) -> NDArray[np.float32]:
    """Time series of the pixels to a power, summed over the saturated region; shape (N, T).

    Parameters
    ----------
    cube : ndarray of float32, shape (R, C, T)
    pixels : HaloPixels
    power : int
        1 for fluxes, 2 for errors.
    """
    core = (pixels.index == pixels.count - 1) if pixels.core else np.zeros(pixels.index.shape, dtype=bool)
    out = np.empty((pixels.count, cube.shape[2]), dtype="f4")
    # Single pixels are numbered in the order in which the mask picks them.
    single = cube[pixels.mask & ~core]
    out[: len(single)] = single if power == 1 else single**power
    if pixels.core:
        inside = cube[core]
        out[-1] = np.einsum("pt,pt->t" if power == 2 else "pt->t", *[inside] * power, dtype="f8")
    return out
