"""PSF photometry with fitted positions, frame by frame, each beginning with the last good solution."""

from __future__ import annotations

import math

import numba
import numpy as np

from .linear_frames import CHUNK, read_frames
from .linear_psf import evaluate_series, solve_positive
from .newton_psf import draw_frame, newton
from .psf_likelihood import likelihood
from .spline_prf import SIDE, draw_star

__all__ = ["newton_frames", "newton_image"]

#: The third-order series of the faint stars holds to this shift, pixels; beyond it they are drawn anew.
_SERIES = 0.35
#: A frame whose chi-square is over this multiple of the usual one, or whose stars have moved by more than
#: this from where they should be (pixels), is fitted from other starts, too, and no frame starts from it.
_UNUSUAL, _EXCURSION = 2.0, 0.5


@numba.njit(cache=True)
def _faint_image(theta, n, coefficients, series, weights, faint_stars, dy, dx, height, width, out):
    """Light of the stars that are subtracted, at the shift of a state."""
    dy += theta[n + 1]
    dx += theta[n + 2]
    if abs(dy) <= _SERIES and abs(dx) <= _SERIES:
        evaluate_series(series, weights, dy, dx, out)
        return
    out[:] = 0.0
    image = out.reshape((height, width))
    for k in range(faint_stars.shape[0]):
        row, column, flux = faint_stars[k]
        draw_star(coefficients, row + dy, column + dx, 0.0, 0.0, flux, image)


@numba.njit(cache=True)
def _fit(theta, frame, problem, work):
    """Fit one frame, the faint stars moving along; see `_newton`."""
    data, variance, coefficients, places, faint_light, shift, faint = frame
    series, weights, faint_stars = faint_light
    n = places.shape[0]
    height, width = problem[5], problem[6]
    cost = math.inf
    for _ in range(3):
        y, x = theta[n + 1], theta[n + 2]
        _faint_image(
            theta, n, coefficients, series, weights, faint_stars, shift[0], shift[1], height, width, faint
        )
        cost = newton(theta, data, variance, coefficients, places, faint, problem, work)
        if not cost < math.inf or (abs(theta[n + 1] - y) < 0.05 and abs(theta[n + 2] - x) < 0.05):
            break
    return cost


@numba.njit(cache=True)
def _best_shift(frame, problem, work, out):
    """A start: the usual stars at the shift by whole pixels that fits best."""
    data, variance, coefficients, places, _, _, faint = frame
    free, home, _, kind, seconds, height, width = problem
    stars, model, slope, curvature = work[:4]
    n = places.shape[0]
    trial = home.copy()
    best = math.inf
    for i in range(-2, 3):
        for j in range(-2, 3):
            trial[n + 1] = home[n + 1] + i
            trial[n + 2] = home[n + 2] + j
            draw_frame(trial, coefficients, places, free, faint, height, width, stars, model)
            cost = likelihood(kind, data, variance, model, seconds, slope, curvature)
            if cost < best:
                best = cost
                out[:] = trial


@numba.njit(cache=True)
def _from_all_starts(theta, cost, frame, problem, work):
    """Fit a frame again from the usual state and from the best shift; keeps the best of all; its cost."""
    trial = problem[1].copy()
    for start in range(2):
        if start == 1:
            _best_shift(frame, problem, work, trial)
        new = _fit(trial, frame, problem, work)
        if new < cost:
            cost = new
            theta[:] = trial
    if cost < math.inf:
        # The model and the equations are those of the result again.
        cost = _fit(theta, frame, problem, work)
    return cost


@numba.njit(cache=True)
def _chi_square(data, variance, model, curvature, kind, unknowns):
    """By degree of freedom, and whether there are any."""
    total = 0.0
    count = 0
    for p in range(data.shape[0]):
        if variance[p] > 0.0:
            left = data[p] - model[p]
            total += left * left * (1.0 / variance[p] if kind == 0 else curvature[p])
            count += 1
    return total / (count - unknowns) if count > unknowns else math.nan


@numba.njit(cache=True)
def _enough_light(image, variance, least):
    """Whether the usable pixels hold the given share of a star's weight."""
    usable = 0.0
    whole = 0.0
    for p in range(image.shape[0]):
        whole += image[p] * image[p]
        if variance[p] > 0.0:
            usable += image[p] * image[p]
    return whole > 0.0 and usable >= least * whole


@numba.njit(cache=True)
def _moved(theta, home, n):
    """Largest difference of a position from the usual one."""
    most = 0.0
    for i in range(n + 1, theta.shape[0]):
        most = max(most, abs(theta[i] - home[i]))
    return most


@numba.njit(cache=True)
def _workspace(n, size, n_pixels):
    """Images of the stars, model, slope and curvature of the likelihood, design, matrix and gradient."""
    return (
        np.empty((n, 3, n_pixels)), np.empty(n_pixels), np.empty(n_pixels), np.empty(n_pixels),
        np.empty((size, n_pixels)), np.empty((size, size)), np.empty(size),
    )  # fmt: skip


@numba.njit(cache=True)
def _fit_frame(theta, data, variance, coefficients, places, faint_light, shift, usual, least, problem, work):
    """Fit a frame from `theta`, and from other starts if the result is unusual.

    Returns the chi-square, NaN without a solution, the variance of the target's flux, and how far the stars
    are from where they usually are.
    """
    home, kind = problem[1], problem[3]
    n, size = places.shape[0], theta.shape[0]
    faint = np.empty(data.shape[0])
    frame = data, variance, coefficients, places, faint_light, shift, faint
    cost = _fit(theta, frame, problem, work)
    chi_square = _chi_square(data, variance, work[1], work[3], kind, size)
    usual_one = chi_square <= _UNUSUAL * usual and _moved(theta, home, n) <= _EXCURSION
    if not (cost < math.inf and usual_one):
        cost = _from_all_starts(theta, cost, frame, problem, work)
        chi_square = _chi_square(data, variance, work[1], work[3], kind, size)
    if not (cost < math.inf and _enough_light(work[0][0, 0], variance, least)):
        chi_square = math.nan
    spread = solve_positive(work[5].copy(), np.zeros(size), size)
    return chi_square if spread > 0.0 else math.nan, spread, _moved(theta, home, n)


@numba.njit(cache=True)
def newton_image(
    data, variance, coefficients, weights, positions, series, faint_stars, free, home, precision, kind, size
):
    """Fit one image, of frames whose mean has the stars at their positions.

    Parameters
    ----------
    data, variance : ndarray, shape (R * C,)
        Flux, and its variance, 0 for pixels that are not used.
    coefficients : ndarray, shape (S, S)
        Of the response.
    weights : ndarray, shape (E,)
        Of the epochs of the series.
    positions, series, faint_stars, free, home, precision, kind
        See `newton_frames`; the kind is that of a Gaussian with the data's variance.
    size : (int, int)
        Rows and columns of the image.

    Returns
    -------
    ndarray, shape (P,)
        The unknowns; NaN without a solution.
    """
    theta = home.copy()
    problem = (free, home, precision, kind, 1.0, size[0], size[1])
    work = _workspace(positions.shape[0], theta.shape[0], data.shape[0])
    faint_light = (series, weights, faint_stars)
    frame = data, variance, coefficients, positions, faint_light, np.zeros(2), np.empty(data.shape[0])
    if not _fit(theta, frame, problem, work) < math.inf:
        theta[:] = math.nan
    return theta


@numba.njit(cache=True)
def newton_frames(
    images, errors, used, response, weights, positions, shifts, gradients, series, faint_stars, free, home,
    precision, kind, seconds, least,
):  # fmt: skip
    """Fit every frame, beginning with the solution of the last good one.

    Parameters
    ----------
    images, errors, used, weights, shifts, gradients, least
        As for `linear_frames.solve_frames`.
    response : ndarray, shape (E, S, S)
        Coefficients at each epoch.
    positions : ndarray, shape (K, 2)
        Mean 0-based (row, column) of the stars that are fitted, the target first.
    series : ndarray, shape (E, TERMS, R * C)
        Of the light that is subtracted; see `linear_psf.series_of_stars`.
    faint_stars : ndarray, shape (M, 3)
        0-based (row, column), and flux, of the stars that it is of.
    free : ndarray of int64, shape (n,)
        Stars with offsets of their own, the target first.
    home, precision : ndarray, shape (P,)
        What is expected of the unknowns, where the first frame starts, too, and its inverse variance.
    kind : int
        Likelihood; see `psf_likelihood.likelihood`.
    seconds : float
        During which light was collected in a frame.

    Returns
    -------
    states : ndarray, shape (T, P)
        NaN without a solution.
    results : ndarray, shape (T, 4)
        Flux of the target, its error, background a pixel, and chi-square by degree of freedom.
    residual : ndarray, shape (R, C)
        Mean over the frames with a solution of data less model.
    """
    height, width, n_time = images.shape
    n_pixels, n = height * width, positions.shape[0]
    states = np.full((n_time, home.shape[0]), math.nan)
    results = np.full((n_time, 4), math.nan)
    residual = np.zeros(n_pixels)
    data = np.empty((n_pixels, CHUNK))
    weight = np.empty((n_pixels, CHUNK))
    coefficients = np.empty((SIDE, SIDE))
    places = np.empty((n, 2))
    work = _workspace(n, home.shape[0], n_pixels)
    problem = (free, home, precision, kind, seconds, height, width)
    start = home.copy()
    usual = 0.0
    for t in range(n_time):
        if t % CHUNK == 0:
            read_frames(images, errors, used, t, data, weight)
        if not (math.isfinite(shifts[t, 0]) and math.isfinite(shifts[t, 1])):
            continue
        frame, variance = data[:, t % CHUNK].copy(), weight[:, t % CHUNK].copy()
        _invert(variance)
        _blend(response, weights[t], coefficients)
        _place(positions, shifts[t], gradients[t], places)
        theta = start.copy()
        chi_square, spread, moved = _fit_frame(
            theta, frame, variance, coefficients, places, (series, weights[t], faint_stars), shifts[t], usual,
            least, problem, work,
        )  # fmt: skip
        if not math.isfinite(chi_square):
            continue
        states[t] = theta
        results[t] = theta[0], math.sqrt(spread), theta[n], chi_square
        for p in range(n_pixels):
            residual[p] += frame[p] - work[1][p]
        usual = chi_square if usual == 0.0 else usual
        if chi_square <= _UNUSUAL * usual and moved <= _EXCURSION:
            start[:] = theta
        usual = 0.9 * usual + 0.1 * min(chi_square, _UNUSUAL * usual)
    residual /= max(np.isfinite(results[:, 0]).sum(), 1)
    return states, results, residual.reshape(height, width)


@numba.njit(cache=True)
def _invert(weight):
    """Variances from weights, in place; 0 stays."""
    for p in range(weight.shape[0]):
        if weight[p] > 0.0:
            weight[p] = 1.0 / weight[p]


@numba.njit(cache=True)
def _blend(response, weights, out):
    """Response of a frame: the epochs by their weights."""
    out[:] = 0.0
    for e in range(response.shape[0]):
        if weights[e] != 0.0:
            out += weights[e] * response[e]


@numba.njit(cache=True)
def _place(positions, shift, gradient, out):
    """Positions of the stars in a frame by the world coordinates."""
    for k in range(positions.shape[0]):
        a = positions[k, 0] - positions[0, 0]
        b = positions[k, 1] - positions[0, 1]
        out[k, 0] = positions[k, 0] + shift[0] + gradient[0, 0] * a + gradient[0, 1] * b
        out[k, 1] = positions[k, 1] + shift[1] + gradient[1, 0] * a + gradient[1, 1] * b
