"""PSF photometry with fitted positions, frame by frame, each beginning with the last good solution."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .jit import helper, kernel
from .linear_frames import CHUNK, read_frames
from .linear_psf import evaluate_series, solve_positive
from .newton_psf import draw_frame, newton
from .psf_likelihood import likelihood
from .spline_prf import SIDE, draw_star

__all__ = ["fit_frame", "newton_frames", "workspace"]

#: The third-order series of the faint stars holds to this shift, pixels; beyond it they are drawn anew.
_SERIES = 0.35
#: A frame whose chi-square is over this multiple of the usual one, or whose stars have moved by more than
#: this from where they should be (pixels), is fitted from other starts, too, and no frame starts from it.
_UNUSUAL, _EXCURSION = 2.0, 0.5


@helper
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
        row, column = faint_stars[k, 0] + dy, faint_stars[k, 1] + dx
        draw_star(coefficients, row, column, 0.0, 0.0, faint_stars[k, 2], image)


@kernel(forceinline=True)
def fit_frame(theta, frame, problem, work):
    """Fit one frame, the faint stars moving along.

    Parameters
    ----------
    theta : ndarray, shape (P,)
        Start and result; see `kernels.newton_psf`.
    frame : tuple
        Data and their variance (0 for pixels that are not used), shape (R * C,); coefficients of the
        response, shape (S, S); 0-based (row, column) of the stars, shape (K, 2); the light that is
        subtracted: its series, the weights of the epochs, shape (E,), and its stars (see `newton_frames`);
        its shift, shape (2,); an array of shape (R * C,) to be written over.
    problem, work : tuple
        See `newton_frames`.

    Returns
    -------
    float
        Negative logarithm of the likelihood, infinite without a solution.
    """
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


@helper
def _copy(values, out):
    for i in range(out.shape[0]):
        out[i] = values[i]


@helper
def _best_shift(frame, problem, work, out):
    """A start: the usual stars at the shift by whole pixels that fits best."""
    data, variance, coefficients, places, _, _, faint = frame
    free, home, _, kind, seconds, height, width = problem
    stars, model, slope, curvature = work[0], work[1], work[2], work[3]
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
                _copy(trial, out)


@helper
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


@helper
def _enough_light(image, variance, least):
    """Whether the usable pixels hold the given share of a star's weight."""
    usable = 0.0
    whole = 0.0
    for p in range(image.shape[0]):
        whole += image[p] * image[p]
        if variance[p] > 0.0:
            usable += image[p] * image[p]
    return whole > 0.0 and usable >= least * whole


@helper
def _moved(theta, home, n):
    """Largest difference of a position from the usual one."""
    most = 0.0
    for i in range(n + 1, theta.shape[0]):
        most = max(most, abs(theta[i] - home[i]))
    return most


def workspace(stars: int, unknowns: int, pixels: int) -> tuple[NDArray[np.float64], ...]:
    """Arrays to be written over by fits of frames.

    Parameters
    ----------
    stars, unknowns, pixels : int
        Numbers of those that are fitted, K, P and R * C.

    Returns
    -------
    tuple of ndarray
        Images of the stars, model, slope and curvature of the likelihood, design, matrix and gradient.
    """
    shapes = (stars, 3, pixels), pixels, pixels, pixels, (unknowns, pixels), (unknowns, unknowns), unknowns
    return tuple(np.empty(shape) for shape in shapes)


@helper
def _fit_well(theta, frame, usual, least, problem, work):
    """Fit a frame from `theta`, and from other starts if the result is unusual.

    Returns the chi-square, NaN without a solution, the variance of the target's flux, and how far the stars
    are from where they usually are.
    """
    data, variance, _, places, _, _, _ = frame
    home, kind = problem[1], problem[3]
    n, size = places.shape[0], theta.shape[0]
    trial = theta.copy()
    cost = math.inf
    chi_square = math.nan
    # From where it is, from the usual state, from the best shift; a last time from the best result, so that
    # the model and the equations are those of the result.
    for start in range(4):
        if start == 1:
            _copy(home, trial)
        elif start == 2:
            _best_shift(frame, problem, work, trial)
        elif start == 3:
            if not cost < math.inf:
                break
            _copy(theta, trial)
        new = fit_frame(trial, frame, problem, work)
        if start == 0 or start == 3 or new < cost:
            cost = new
            _copy(trial, theta)
        if start == 0 or start == 3:
            chi_square = _chi_square(data, variance, work[1], work[3], kind, size)
        near = _moved(theta, home, n) <= _EXCURSION
        if start == 0 and cost < math.inf and chi_square <= _UNUSUAL * usual and near:
            break
    if not (cost < math.inf and _enough_light(work[0][0, 0], variance, least)):
        chi_square = math.nan
    spread = solve_positive(work[5].copy(), np.zeros(size), size)
    return chi_square if spread > 0.0 else math.nan, spread, _moved(theta, home, n)


@kernel
def newton_frames(
    images, errors, used, response, weights, positions, shifts, gradients, series, faint_stars, least,
    problem, work,
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
    problem : tuple
        Stars with offsets of their own, the target first, ndarray of int64, shape (n,); what is expected of
        the unknowns, where the first frame starts, too, and its inverse variance, ndarrays of shape (P,);
        the likelihood, an int (see `psf_likelihood`); during how many seconds light was collected in a
        frame, float; rows and columns of a frame.
    work : tuple
        See `workspace`.

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
    home = problem[1]
    n_pixels, n, size = height * width, positions.shape[0], home.shape[0]
    states = np.empty((n_time, size))
    results = np.empty((n_time, 4))
    residual = np.zeros((height, width))
    data, weight = np.empty((n_pixels, CHUNK)), np.empty((n_pixels, CHUNK))
    pixels, variance, faint = np.empty(n_pixels), np.empty(n_pixels), np.empty(n_pixels)
    coefficients, places = np.empty((SIDE, SIDE)), np.empty((n, 2))
    theta, start = np.empty(size), home.copy()
    usual = 0.0
    solved = 0
    for t in range(n_time):
        states[t] = math.nan
        results[t] = math.nan
        if t % CHUNK == 0:
            read_frames(images, errors, used, t, data, weight)
        if not (math.isfinite(shifts[t, 0]) and math.isfinite(shifts[t, 1])):
            continue
        _frame(data, weight, t % CHUNK, pixels, variance)
        _blend(response, weights[t], coefficients)
        _place(positions, shifts[t], gradients[t], places)
        _copy(start, theta)
        faint_light = series, weights[t], faint_stars
        frame = pixels, variance, coefficients, places, faint_light, shifts[t], faint
        chi_square, spread, moved = _fit_well(theta, frame, usual, least, problem, work)
        if not math.isfinite(chi_square):
            continue
        solved += 1
        _copy(theta, states[t])
        results[t, 0] = theta[0]
        results[t, 1] = math.sqrt(spread)
        results[t, 2] = theta[n]
        results[t, 3] = chi_square
        for p in range(n_pixels):
            residual[p // width, p % width] += pixels[p] - work[1][p]
        usual = chi_square if usual == 0.0 else usual
        if chi_square <= _UNUSUAL * usual and moved <= _EXCURSION:
            _copy(theta, start)
        usual = 0.9 * usual + 0.1 * min(chi_square, _UNUSUAL * usual)
    for r in range(height):
        for c in range(width):
            residual[r, c] /= max(solved, 1)
    return states, results, residual


@helper
def _frame(data, weight, t, pixels, variance):
    """Pixels of one of some frames, and their variances from their weights; 0 stays."""
    for p in range(pixels.shape[0]):
        pixels[p] = data[p, t]
        variance[p] = 1.0 / weight[p, t] if weight[p, t] > 0.0 else 0.0


@helper
def _blend(response, weights, out):
    """Response of a frame: the epochs by their weights."""
    out[:] = 0.0
    for e in range(response.shape[0]):
        if weights[e] != 0.0:
            for i in range(SIDE):
                for j in range(SIDE):
                    out[i, j] += weights[e] * response[e, i, j]


@helper
def _place(positions, shift, gradient, out):
    """Positions of the stars in a frame by the world coordinates."""
    for k in range(positions.shape[0]):
        a = positions[k, 0] - positions[0, 0]
        b = positions[k, 1] - positions[0, 1]
        out[k, 0] = positions[k, 0] + shift[0] + gradient[0, 0] * a + gradient[0, 1] * b
        out[k, 1] = positions[k, 1] + shift[1] + gradient[1, 0] * a + gradient[1, 1] * b
