"""Pixel masks of all stars in a stamp, from its sum image (K2P2; Lund et al. 2015, ApJ 806, 30).

Where the definition leaves a choice:

- the bandwidth of the density estimate is 1.059 A n**(-1/5), A the smaller of standard deviation and
  interquartile range / 1.349 (see `kernels.mask_density`);
- of n positive pixels, n - floor(trim n) enter it;
- clusters are 8-connected, the flood runs over the sides of pixels, so that masks are 4-connected
  before saturated columns are added;
- a star between two markers equally near takes the higher one, then the first in row and column;
- equally high pixels are flooded in the order in which the flood reached them;
- "highest" among the markers in a saturated patch is in the smoothed image;
- a cluster counts as saturated under the same condition on magnitude as a mask;
- an enclosed pixel that is NaN is not filled in.
"""

from __future__ import annotations

import configparser
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.settings import Settings, default
from ..kernels.mask_cluster import disc
from ..kernels.mask_watershed import blur_weights
from ..kernels.star_masks import star_masks

__all__ = ["K2P2Parameters", "K2P2Result", "k2p2_masks"]


@dataclass(frozen=True)
class K2P2Parameters:
    """Thresholds of the mask making; `settings.SETTINGS`, section [k2p2], has their meaning and defaults.

    Examples
    --------
    >>> K2P2Parameters(min_pixels=6).min_pixels, K2P2Parameters().min_cluster
    (6, 4)
    """

    threshold: float = default("k2p2", "threshold")
    trim: float = default("k2p2", "trim")
    saturation_flux: float = default("k2p2", "saturation_flux")
    min_pixels: int = int(default("k2p2", "min_pixels"))
    min_cluster: int = int(default("k2p2", "min_cluster"))
    cluster_radius: float = default("k2p2", "cluster_radius")
    watershed_blur: float = default("k2p2", "watershed_blur")
    marker_distance: float = default("k2p2", "marker_distance")
    marker_distance_saturated: float = default("k2p2", "marker_distance_saturated")
    saturation_tmag: float = default("k2p2", "saturation_tmag")
    saturation_ratio: float = default("k2p2", "saturation_ratio")

    @classmethod
    def from_settings(cls, settings: configparser.ConfigParser) -> K2P2Parameters:
        """The parameters of the section [k2p2]."""

        def read() -> K2P2Parameters:
            section = dict(settings.items("k2p2"))
            return cls(**{name: type(value)(section[name]) for name, value in vars(cls()).items()})

        return settings.remembered("k2p2", read) if isinstance(settings, Settings) else read()


@dataclass(slots=True, eq=False)
class K2P2Result:
    """Masks of a stamp, and the steps on the way to them.

    The masks before the extension of saturated columns share no pixel and are kept as one image of labels;
    pixels of the extension may overlap with another mask and are kept as a list. `mask` combines both.
    """

    labels: NDArray[np.int32]
    """Number of the mask of each pixel, from 1 to `count`, before the extension; 0 for none. Shape (R, C)."""
    count: int
    """Number of masks."""
    extension: NDArray[np.int32]
    """(label, row, column) of the pixels that masks gain along saturated columns. Shape (E, 3)."""
    mode: float
    """Mode of the flux, e-/s; NaN if the image has no positive pixel to estimate it from."""
    mad: float
    """Robust standard deviation of the flux below the mode, e-/s."""
    threshold: float
    """Pixels above this are significant, e-/s."""
    bandwidth: float
    """Bandwidth of the density estimate, e-/s."""
    significant: NDArray[np.bool_]
    """Significant pixels. Shape (R, C)."""
    clusters: NDArray[np.int32]
    """Number of the cluster of each pixel, from 1 on; 0 for none. Shape (R, C)."""
    candidates: NDArray[np.bool_]
    """Local maxima of the smoothed clusters. Shape (R, C)."""
    markers: NDArray[np.int32]
    """Where the watershed started, numbered from 1 on. Shape (R, C)."""
    saturated: NDArray[np.bool_]
    """Saturated pixels as found in the clusters before the watershed. Shape (R, C)."""

    def mask(self, label: int) -> NDArray[np.bool_]:
        """The mask of a number from 1 to `count`; shape (R, C)."""
        mask = self.labels == label
        if len(self.extension):
            own = self.extension[self.extension[:, 0] == label]
            mask[own[:, 1], own[:, 2]] = True
        return mask

    def labels_at(self, row: int, column: int) -> list[int]:
        """Numbers of the masks that hold a pixel of the stamp, ascending; none outside of the stamp."""
        n_row, n_col = self.labels.shape
        if not (0 <= row < n_row and 0 <= column < n_col):
            return []
        found = {int(self.labels[row, column])} - {0}
        if len(self.extension):
            at = (self.extension[:, 1] == row) & (self.extension[:, 2] == column)
            found.update(self.extension[at, 0].tolist())
        return sorted(found)

    @property
    def masks(self) -> NDArray[np.bool_]:
        """All masks; shape (count, R, C)."""
        out = np.zeros((self.count, *self.labels.shape), dtype=bool)
        for label in range(1, self.count + 1):
            out[label - 1] = self.mask(label)
        return out


def k2p2_masks(
    sumimage: ArrayLike,
    star_rows: ArrayLike,
    star_columns: ArrayLike,
    star_tmags: ArrayLike,
    parameters: K2P2Parameters | None = None,
) -> K2P2Result:
    """Masks of the stars in a sum image.

    Pixels over a threshold are clustered by DBSCAN, of which core points stay; each cluster is split by a
    watershed that starts at the local maxima near catalog stars. The module names the
    choices that the definition leaves.

    The result depends on the arguments alone, and not on the order of the stars.

    Parameters
    ----------
    sumimage : array_like, shape (R, C)
        Mean image, e-/s. Pixels that are not finite are not in any mask.
    star_rows, star_columns : array_like, shape (N,)
        Positions of the catalog's stars in the stamp: 0-based, integers are pixel centres. Stars outside of
        the stamp are welcome.
    star_tmags : array_like, shape (N,)
        Their magnitudes. A star of magnitude NaN is left out.
    parameters : K2P2Parameters, optional

    Returns
    -------
    K2P2Result

    Raises
    ------
    ValueError
        If `sumimage` is not two-dimensional or the stars' arrays differ in length.

    Examples
    --------
    >>> y, x = np.mgrid[:15, :15]
    >>> noise = np.random.default_rng(1).normal(100.0, 1.0, (15, 15))
    >>> image = noise + 1e4 * np.exp(-0.5 * ((y - 7) ** 2 + (x - 7) ** 2))
    >>> found = k2p2_masks(image, [7.0], [7.0], [10.0])
    >>> found.count, found.labels_at(7, 7)
    (1, [1])
    """
    par = parameters or K2P2Parameters()
    image = np.ascontiguousarray(sumimage, dtype=np.float64)
    if image.ndim != 2:
        raise ValueError(f"the sum image has {image.ndim} dimensions, not 2")
    rows, columns, tmags = (
        np.ascontiguousarray(a, dtype=np.float64).ravel() for a in (star_rows, star_columns, star_tmags)
    )
    if not rows.size == columns.size == tmags.size:
        raise ValueError("rows, columns and magnitudes of the stars differ in length")
    order = np.argsort(tmags)
    (labels, count, extension), levels, (significant, clusters, candidates, markers, saturated) = star_masks(
        image,
        np.sort(image[image > 0.0]),
        *(values[order] for values in (rows, columns, tmags)),
        (par.threshold, par.trim, par.saturation_flux),
        (par.min_pixels, par.min_cluster),
        (par.marker_distance, par.marker_distance_saturated),
        (par.saturation_tmag, par.saturation_ratio),
        (disc(par.cluster_radius), disc(1.0), blur_weights(par.watershed_blur)),
    )
    mode, mad, threshold, bandwidth = levels
    return K2P2Result(
        labels=labels,
        count=count,
        extension=extension.copy(),  # of the kernel's memory, which is larger
        mode=mode,
        mad=mad,
        threshold=threshold,
        bandwidth=bandwidth,
        significant=significant,
        clusters=clusters,
        candidates=candidates,
        markers=markers,
        saturated=saturated,
    )
