"""Fluxes and positions of stars by maximum likelihood in every frame: Gauss-Newton steps with damping.

The unknowns of a frame are the fluxes of K stars, a background, a shift common to all stars, and own offsets
of n of them: ``[f_1 ... f_K, b, shift_row, shift_column, own_row_1, own_column_1 ...]``, P in all. Each has a
Gaussian prior, which may be of no weight; that of the shift has wide wings, so that it may be narrow and
still allow the pointing excursion that world coordinates do not know. Fluxes are not negative.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from .linear_psf import CHUNK, dot, evaluate_series, multiply, read_frames, solve_positive, spline_derivatives
from .psf_likelihood import likelihood
from .spline_prf import KNOTS, SIDE, draw_star

__all__ = ["draw_with_slopes", "newton_frames", "newton_image"]

#: The fit ends when a step promises less than this improvement of the log-likelihood: a step of 0.3% of the
#: errors.
_ENOUGH = 1e-5
#: Up to this damping a step is about the whole way to the solution.
_MILD = 0.1
#: Evaluations of the model in a frame, and largest step and shift of a position, pixels.
_MOST, _STEP, _FAR = 50, 0.5, 4.0
#: The third-order series of the faint stars holds to this shift, pixels; beyond it they are drawn anew.
_SERIES = 0.35
#: A frame whose chi-square is over this multiple of the usual one, or whose stars have moved by more than
#: this from where they should be (pixels), is fitted from other starts, too, and no frame starts from it.
_UNUSUAL, _EXCURSION = 2.0, 0.5


@numba.njit(cache=True, fastmath=True)
def draw_with_slopes(coefficients, y, x, height, width, out):
    """Image of a star of flux 1, and its derivatives by the star's row and column.

    Parameters
    ----------
    coefficients : ndarray, shape (S, S)
        See `kernels.spline_prf`.
    y, x : float
        Row and column of the star.
    height, width : int
        Of the image.
    out : ndarray, shape (3, height * width)
        The result.
    """
    wy = np.empty((4, 4))
    wx = np.empty((4, 4))
    value = np.empty(SIDE)
    slope = np.empty(SIDE)
    out[:] = 0.0
    first_i = spline_derivatives(-KNOTS * y, wy)
    first_j = spline_derivatives(-KNOTS * x, wx)
    for r in range(height):
        i = first_i + KNOTS * r
        if i <= -4 or i >= SIDE:
            continue
        value[:] = 0.0
        slope[:] = 0.0
        for k in range(max(0, -i), min(4, SIDE - i)):
            a = wy[0, k]
            b = -wy[1, k]
            for q in range(SIDE):
                value[q] += a * coefficients[i + k, q]
                slope[q] += b * coefficients[i + k, q]
        for c in range(width):
            j = first_j + KNOTS * c
            if j <= -4 or j >= SIDE:
                continue
            v = 0.0
            dy = 0.0
            dx = 0.0
            for k in range(max(0, -j), min(4, SIDE - j)):
                v += wx[0, k] * value[j + k]
                dy += wx[0, k] * slope[j + k]
                dx -= wx[1, k] * value[j + k]
            p = r * width + c
            out[0, p] = v
            out[1, p] = dy
            out[2, p] = dx


@numba.njit(cache=True)
def _draw(theta, coefficients, places, free, faint, height, width, stars, model):
    """All stars (`stars`, shape (K, 3, R * C), of flux 1) and the whole model of a frame."""
    n = places.shape[0]
    for p in range(model.shape[0]):
        model[p] = faint[p] + theta[n]
    for k in range(n):
        y = places[k, 0] + theta[n + 1]
        x = places[k, 1] + theta[n + 2]
        for i in range(free.shape[0]):
            if free[i] == k:
                y += theta[n + 3 + 2 * i]
                x += theta[n + 4 + 2 * i]
        draw_with_slopes(coefficients, y, x, height, width, stars[k])
        for p in range(model.shape[0]):
            model[p] += theta[k] * stars[k, 0, p]


@numba.njit(cache=True)
def _wing(theta, home, precision, n):
    """Half the square of the shift in units of its error."""
    return 0.5 * (
        precision[n + 1] * (theta[n + 1] - home[n + 1]) ** 2
        + precision[n + 2] * (theta[n + 2] - home[n + 2]) ** 2
    )


@numba.njit(cache=True)
def _prior_cost(theta, home, precision, n):
    """Negative logarithm of the priors: (t - home)^2 precision / 2, of the shift log(1 + this)."""
    cost = math.log1p(_wing(theta, home, precision, n))
    for i in range(theta.shape[0]):
        if i != n + 1 and i != n + 2:
            cost += 0.5 * precision[i] * (theta[i] - home[i]) ** 2
    return cost


@numba.njit(cache=True)
def _add_priors(theta, home, precision, n, matrix, gradient):
    """Add the derivatives of the priors to the equations."""
    wing = _wing(theta, home, precision, n)
    core = 1.0 / (1.0 + wing)
    for i in range(theta.shape[0]):
        own = precision[i] * core if n < i <= n + 2 else precision[i]
        matrix[i, i] += own
        gradient[i] += own * (theta[i] - home[i])
    if wing > 0.0:
        # Along the shift the second derivative is smaller, in the wings below zero, which is taken for zero.
        along = core - max(1.0 - wing, 0.0) * core * core
        for i in range(n + 1, n + 3):
            for j in range(n + 1, i + 1):
                product = precision[i] * (theta[i] - home[i]) * precision[j] * (theta[j] - home[j])
                matrix[i, j] -= along * product / (2.0 * wing)


@numba.njit(cache=True)
def _equations(theta, home, precision, free, stars, slope, curvature, design, matrix, gradient):
    """Hessian (as expected for the model) and gradient of the negative logarithm of the likelihood."""
    n, _, n_pixels = stars.shape
    size = theta.shape[0]
    for k in range(n):
        design[k] = stars[k, 0]
    design[n] = 1.0
    design[n + 1 :] = 0.0
    for k in range(n):
        for a in range(2):
            for p in range(n_pixels):
                design[n + 1 + a, p] += theta[k] * stars[k, 1 + a, p]
    for i in range(free.shape[0]):
        k = free[i]
        for a in range(2):
            for p in range(n_pixels):
                design[n + 3 + 2 * i + a, p] = theta[k] * stars[k, 1 + a, p]
    weighted = np.empty(n_pixels)
    for i in range(size):
        multiply(design[i], curvature, weighted)
        for j in range(i + 1):
            matrix[i, j] = dot(weighted, design[j])
        gradient[i] = dot(design[i], slope)
    _add_priors(theta, home, precision, n, matrix, gradient)


@numba.njit(cache=True)
def _step(theta, n, matrix, gradient, damping, step):
    """A damped step that keeps fluxes positive; the improvement that it promises, -1 without a solution."""
    size = theta.shape[0]
    used = np.empty(size, dtype=np.int64)
    count = 0
    for i in range(size):
        # A star without light, that would have to take some away, stays at zero.
        if not (i < n and theta[i] <= 0.0 and gradient[i] > 0.0):
            used[count] = i
            count += 1
    reduced = np.empty((count, count))
    vector = np.empty(count)
    for a in range(count):
        vector[a] = -gradient[used[a]]
        for b in range(a + 1):
            reduced[a, b] = matrix[used[a], used[b]]
        reduced[a, a] *= 1.0 + damping
    if not solve_positive(reduced, vector, count) > 0.0:
        return -1.0
    step[:] = 0.0
    improvement = 0.0
    for a in range(count):
        i = used[a]
        if i > n:
            step[i] = min(max(vector[a], -_STEP), _STEP)
        elif i < n:
            step[i] = max(vector[a], -theta[i])
        else:
            step[i] = vector[a]
        improvement -= 0.5 * gradient[i] * step[i]
    return max(improvement, 0.0)


@numba.njit(cache=True)
def _newton(theta, data, variance, coefficients, places, faint, problem, work):
    """Fit one frame; `theta` is the start and the result.

    Returns the negative logarithm of the likelihood, infinite if the fit does not converge.
    """
    free, home, precision, kind, seconds, height, width = problem
    stars, model, slope, curvature, design, matrix, gradient = work
    n = places.shape[0]
    step = np.empty(theta.shape[0])
    trial = np.empty(theta.shape[0])
    _draw(theta, coefficients, places, free, faint, height, width, stars, model)
    cost = likelihood(kind, data, variance, model, seconds, slope, curvature)
    cost += _prior_cost(theta, home, precision, n)
    damping = 0.0
    fresh = True
    for _ in range(_MOST):
        if fresh:
            _equations(theta, home, precision, free, stars, slope, curvature, design, matrix, gradient)
        improvement = _step(theta, n, matrix, gradient, damping, step)
        if improvement < 0.0:
            return math.inf
        if improvement < _ENOUGH and damping <= _MILD:
            # The model is that of `theta` only if the last step was taken.
            if not fresh:
                _draw(theta, coefficients, places, free, faint, height, width, stars, model)
                likelihood(kind, data, variance, model, seconds, slope, curvature)
            return cost
        trial[:] = theta + step
        for i in range(n + 1, trial.shape[0]):
            if abs(trial[i]) > _FAR:
                return math.inf
        _draw(trial, coefficients, places, free, faint, height, width, stars, model)
        new = likelihood(kind, data, variance, model, seconds, slope, curvature)
        new += _prior_cost(trial, home, precision, n)
        fresh = new <= cost
        if fresh:
            theta[:] = trial
            cost = new
            damping = 0.1 * damping if damping > 1e-4 else 0.0
        else:
            damping = max(10.0 * damping, 1e-3)
    return math.inf


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
        cost = _newton(theta, data, variance, coefficients, places, faint, problem, work)
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
            _draw(trial, coefficients, places, free, faint, height, width, stars, model)
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
        As for `linear_psf.solve_frames`.
    response : ndarray, shape (E, S, S)
        Coefficients at each epoch.
    positions : ndarray, shape (K, 2)
        Mean (row, column) of the stars that are fitted, the target first.
    series : ndarray, shape (E, TERMS, R * C)
        Of the light that is subtracted; see `linear_psf.series_of_stars`.
    faint_stars : ndarray, shape (M, 3)
        (row, column, flux) of the stars that it is of.
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
    data = np.empty((CHUNK, n_pixels))
    weight = np.empty((CHUNK, n_pixels))
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
        frame, variance = data[t % CHUNK], weight[t % CHUNK]
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
