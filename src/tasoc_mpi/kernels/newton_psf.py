"""Fluxes and positions of stars by maximum likelihood in a frame: Gauss-Newton steps with damping.

The unknowns of a frame are the fluxes of K stars, a background, a shift common to all stars, and own offsets
of n of them: ``[f_1 ... f_K, b, shift_row, shift_column, own_row_1, own_column_1 ...]``, P in all. Each has a
Gaussian prior, which may be of no weight; that of the shift has wide wings, so that it may be narrow and
still allow the pointing excursion that world coordinates do not know. Fluxes are not negative.
"""

from __future__ import annotations

import math

import numpy as np

from .jit import helper, kernel
from .linear_psf import dot, multiply, solve_positive, spline_derivatives
from .psf_likelihood import likelihood
from .spline_prf import KNOTS, SIDE

__all__ = ["draw_frame", "draw_with_slopes", "newton"]

#: The fit ends when a step promises less than this improvement of the log-likelihood: a step of 0.3% of the
#: errors.
_ENOUGH = 1e-5
#: Up to this damping a step is about the whole way to the solution.
_MILD = 0.1
#: Evaluations of the model in a frame, and largest step and shift of a position, pixels.
_MOST, _STEP, _FAR = 50, 0.5, 4.0


@kernel(fastmath=True, forceinline=True)
def draw_with_slopes(coefficients, y, x, height, width, out):
    """Image of a star of flux 1, and its derivatives by the star's row and column.

    Parameters
    ----------
    coefficients : ndarray, shape (S, S)
        See `kernels.spline_prf`.
    y, x : float
        0-based row and column of the star.
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


@helper
def draw_frame(theta, coefficients, places, free, faint, height, width, stars, model):
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


@helper
def _wing(theta, home, precision, n):
    """Half the square of the shift in units of its error."""
    return 0.5 * (
        precision[n + 1] * (theta[n + 1] - home[n + 1]) ** 2
        + precision[n + 2] * (theta[n + 2] - home[n + 2]) ** 2
    )


@helper
def _prior_cost(theta, home, precision, n):
    """Negative logarithm of the priors: (t - home)^2 precision / 2, of the shift log(1 + this)."""
    cost = math.log1p(_wing(theta, home, precision, n))
    for i in range(theta.shape[0]):
        if i != n + 1 and i != n + 2:
            cost += 0.5 * precision[i] * (theta[i] - home[i]) ** 2
    return cost


@helper
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


@helper
def _equations(theta, home, precision, free, stars, slope, curvature, design, matrix, gradient):
    """Hessian (as expected for the model) and gradient of the negative logarithm of the likelihood."""
    n, _, n_pixels = stars.shape
    size = theta.shape[0]
    design[n:] = 0.0
    for p in range(n_pixels):
        design[n, p] = 1.0
    for k in range(n):
        for p in range(n_pixels):
            design[k, p] = stars[k, 0, p]
            design[n + 1, p] += theta[k] * stars[k, 1, p]
            design[n + 2, p] += theta[k] * stars[k, 2, p]
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


@helper
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


@helper
def newton(theta, data, variance, coefficients, places, faint, problem, work):
    """Fit one frame; `theta` is the start and the result.

    Returns the negative logarithm of the likelihood, infinite if the fit does not converge.
    """
    free, home, precision, kind, seconds, height, width = problem
    stars, model, slope, curvature, design, matrix, gradient = work
    n = places.shape[0]
    step = np.empty(theta.shape[0])
    trial = np.empty(theta.shape[0])
    draw_frame(theta, coefficients, places, free, faint, height, width, stars, model)
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
                draw_frame(theta, coefficients, places, free, faint, height, width, stars, model)
                likelihood(kind, data, variance, model, seconds, slope, curvature)
            return cost
        for i in range(trial.shape[0]):
            trial[i] = theta[i] + step[i]
            if i > n and abs(trial[i]) > _FAR:
                return math.inf
        draw_frame(trial, coefficients, places, free, faint, height, width, stars, model)
        new = likelihood(kind, data, variance, model, seconds, slope, curvature)
        new += _prior_cost(trial, home, precision, n)
        fresh = new <= cost
        if fresh:
            for i in range(trial.shape[0]):
                theta[i] = trial[i]
            cost = new
            damping = 0.1 * damping if damping > 1e-4 else 0.0
        else:
            damping = max(10.0 * damping, 1e-3)
    return math.inf
