"""The density estimate of a sum image's pixels from library routines, as a reference for the masks' tests."""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.stats import gaussian_kde


def reference_bandwidth(flux):
    """The bandwidth that statsmodels calls Scott's (nonparametric.bandwidths), by its definition."""
    spread = np.std(flux, ddof=1)
    robust = (np.percentile(flux, 75) - np.percentile(flux, 25)) / 1.349
    if robust > 0:
        spread = min(spread, robust)
    return 1.059 * spread * len(flux) ** -0.2


def scipy_density(flux):
    """scipy's density of a sample with that bandwidth."""
    return gaussian_kde(flux, bw_method=reference_bandwidth(flux) / np.std(flux, ddof=1))


def scipy_mode(flux):
    """The mode of scipy's density, from a fine grid and a search around its maximum, and the density."""
    kde = scipy_density(flux)
    # Fine steps around the sample's values; the range can be any number of bandwidths.
    steps = np.arange(-8, 9) * reference_bandwidth(flux) / 8
    grid = np.unique((flux[:, None] + steps).ravel())
    density = kde(grid)
    k = int(np.argmax(density))
    bracket = grid[max(k - 2, 0)], grid[min(k + 2, len(grid) - 1)]
    found = minimize_scalar(lambda x: -kde(x)[0], bounds=bracket, method="bounded", options={"xatol": 1e-9})
    return found.x, kde
