"""Likelihood of the pixels of a frame for a model of their light."""

from __future__ import annotations

import math

from .jit import kernel

__all__ = ["DATA_VARIANCE", "MODEL_VARIANCE", "POISSON", "likelihood"]

#: Gaussian with the variance of the data, Gaussian with that of the model, Poisson.
DATA_VARIANCE, MODEL_VARIANCE, POISSON = 0, 1, 2
#: The part of a variance that is not the light's is at least this share of the whole.
_LEAST = 0.02


@kernel
def likelihood(kind, data, variance, model, seconds, slope, curvature):
    """Negative logarithm of the likelihood, less that of a perfect model, and its derivatives by the model.

    A pixel with the flux F (e-/s) and the variance v has the variance ``v - F / seconds`` of background and
    read noise. With a model m in place of F the variance is ``v + (m - F) / seconds``. The Poisson likelihood
    takes background and read noise for further electrons of the same variance.

    Parameters
    ----------
    kind : int
        `DATA_VARIANCE`, `MODEL_VARIANCE` or `POISSON`.
    data, variance, model : ndarray, shape (P,)
        e-/s and their square; a pixel whose variance is not positive is not used.
    seconds : float
        During which light was collected.
    slope, curvature : ndarray, shape (P,)
        First derivative, and the expectation of the second one; filled. 0 for pixels that are not used.

    Returns
    -------
    float
    """
    cost = 0.0
    light = 1.0 / seconds
    for p in range(data.shape[0]):
        v = variance[p]
        if not v > 0.0:
            slope[p] = 0.0
            curvature[p] = 0.0
            continue
        left = data[p] - model[p]
        if kind == DATA_VARIANCE:
            cost += 0.5 * left * left / v
            slope[p] = -left / v
            curvature[p] = 1.0 / v
            continue
        rest = max(v - data[p] * light, _LEAST * v)
        expected = rest + model[p] * light
        change = light
        if expected < _LEAST * v:
            expected = _LEAST * v
            change = 0.0
        if kind == MODEL_VARIANCE:
            cost += 0.5 * (left * left / expected + math.log(expected / v))
            slope[p] = -left / expected + 0.5 * change * (1.0 - left * left / expected) / expected
            curvature[p] = 1.0 / expected + 0.5 * (change / expected) ** 2
        else:
            seen = max(rest + data[p] * light, _LEAST * v)
            cost += (expected - seen - seen * math.log(expected / seen)) / (light * light)
            slope[p] = (expected - seen) / (light * expected)
            curvature[p] = 1.0 / expected
    return cost
