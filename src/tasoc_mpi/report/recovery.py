"""Recovery of injected variations from light curves: period, and amplitude or depth."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..simulate.stars import KINDS, Variability
from ..simulate.truth_file import Truth
from .results import Curve

__all__ = ["RECOVERY_DTYPE", "box_period", "fit_scale", "recover", "wave_period"]

#: One injected variable: periods in days; `match` says how the period came back ('' for not at all); `size`
#: is the injected amplitude or depth, relative; `scale` the found one over it, with its error.
RECOVERY_DTYPE = np.dtype(
    [
        ("starid", "i8"),
        ("tmag", "f8"),
        ("kind", "U10"),
        ("period", "f8"),
        ("found", "f8"),
        ("match", "U6"),
        ("size", "f8"),
        ("scale", "f8"),
        ("scale_error", "f8"),
    ]
)

#: Instants over which a frame's model is averaged.
_INSTANTS = 15


def recover(curve: Curve, truth: Truth, starid: int, contamination: float) -> tuple[Any, ...]:
    """Look for an injected variation in a light curve.

    The period is sought blindly: the highest peak of a Lomb-Scargle periodogram for stars made of sine
    waves, of a box search for transits and eclipses. It came back if a wave's frequency is met within half a
    resolution element (one over the length of the series), a box's period within the time that shifts the
    last event by half its duration; 'half' and 'double' are periods so related.

    Parameters
    ----------
    curve : Curve
    truth : Truth
    starid : int
        A variable star of the truth.
    contamination : float
        Share of the light in the mask that is not the star's.

    Returns
    -------
    tuple
        One row of `RECOVERY_DTYPE`.

    Raises
    ------
    KeyError
        If the truth has no such variable.
    """
    found = truth.variable(starid)
    if found is None:
        raise KeyError(starid)
    variability, i = found
    kind = KINDS[int(variability.kind[i])]
    use = curve.good & np.isfinite(curve.flux_err) & (curve.flux_err > 0)
    time, flux = curve.time[use], curve.relative[use]
    index = int(np.flatnonzero(truth.stars["starid"] == starid)[0])
    waves = kind in ("pulsator", "giant", "rotation")
    amplitude = variability.amplitude[i]
    size = float(amplitude.max() if waves else variability.depth[i])
    period, best, match, scale, error = float(variability.period[i]), np.nan, "", np.nan, np.nan
    if len(time) >= 20:
        length = time[-1] - time[0]
        if waves:
            best = wave_period(time, flux)
            close = np.abs(1 / best - variability.frequency[i][amplitude > 0]) <= 0.5 / length
            match = "yes" if close.any() else ""
        else:
            best = box_period(time, flux)
            match = _box_match(best, period, float(variability.duration[i]), length)
        cadence = float(truth.attributes["CADENCE"]) / 86400.0
        model = _mean_factor(variability, i, time, cadence)
        scale, error = fit_scale(time, flux, model, _pieces(variability, i, time))
        # Without the contamination it is not known how much of the light varies.
        rest = 1 - contamination if contamination < 1 else np.nan
        scale, error = scale / rest, error / rest
    return (starid, truth.stars["tmag"][index], kind, period, best, match, size, scale, error)


def _box_match(found: float, period: float, duration: float, length: float) -> str:
    for factor, word in ((1.0, "yes"), (0.5, "half"), (2.0, "double")):
        shift = abs(found - factor * period) * length / (factor * period)
        if shift <= max(0.5 * duration, 0.02 * period):
            return word
    return ""


def _mean_factor(
    variability: Variability, i: int, time: NDArray[np.float64], cadence: float
) -> NDArray[np.float64]:
    """Relative flux of the model averaged over each exposure."""
    offsets = ((np.arange(_INSTANTS) + 0.5) / _INSTANTS - 0.5) * cadence
    return variability.factor(i, time[:, None] + offsets).mean(axis=1)


def wave_period(time: NDArray[np.float64], flux: NDArray[np.float64]) -> float:
    """Period of the highest Lomb-Scargle peak, days.

    Between two median time steps, the shortest that a regular series resolves, and a day, so that drifts do
    not count as waves; NaN where no period is between these.

    Examples
    --------
    >>> time = np.arange(0, 10, 0.02)
    >>> round(wave_period(time, 0.01 * np.sin(2 * np.pi * time / 0.3)), 2)
    0.3
    """
    from astropy.timeseries import LombScargle

    smooth = _flatten(time, flux)
    highest = 0.5 / float(np.median(np.diff(time)))
    frequency = np.arange(1.0, highest, 0.1 / (time[-1] - time[0]))
    if not frequency.size:
        return float("nan")
    power = LombScargle(time, smooth).power(frequency)
    return float(1.0 / frequency[int(np.argmax(power))])


def box_period(time: NDArray[np.float64], flux: NDArray[np.float64]) -> float:
    """Period of the deepest significant box, days, for periods from 0.5 days to 0.6 of the series; else NaN.

    Examples
    --------
    >>> time = np.arange(0, 10, 0.05)
    >>> round(box_period(time, np.where(time % 2.0 < 0.15, -0.01, 0.0)), 1)
    2.0
    """
    from astropy.timeseries import BoxLeastSquares

    smooth = _flatten(time, flux)
    length = float(time[-1] - time[0])
    durations = np.array([0.1, 0.15, 0.2])
    # Steps by which the last event moves by a fifth of the shortest duration.
    frequency = np.arange(1.0 / (0.6 * length), 2.0, 0.2 * durations[0] / length)
    if not frequency.size:
        return float("nan")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        result = BoxLeastSquares(time, smooth).power(1.0 / frequency, durations, objective="likelihood")
    return float(result.period[int(np.nanargmax(result.depth_snr))])


def _flatten(time: NDArray[np.float64], flux: NDArray[np.float64]) -> NDArray[np.float64]:
    """Flux less its running median over 1.5 days, so that drifts are no boxes."""
    first = np.searchsorted(time, time - 0.75)
    last = np.searchsorted(time, time + 0.75, side="right")
    return flux - np.array([np.median(flux[a:b]) for a, b in zip(first, last, strict=True)])


def _pieces(variability: Variability, i: int, time: NDArray[np.float64]) -> NDArray[np.int64]:
    """Number of the piece of the baseline of each point; -1 for points that are not needed.

    Waves: pieces of 1.5 days, of a rotation all of it. Transits, eclipses and flares: one piece an event, as
    long as the event before and after it.
    """
    if KINDS[int(variability.kind[i])] == "rotation":
        return np.zeros(len(time), dtype=np.int64)
    if KINDS[int(variability.kind[i])] in ("pulsator", "giant"):
        return ((time - time[0]) / 1.5).astype(np.int64)
    spacing = float(variability.period[i]) / (2 if variability.depth2[i] > 0 else 1)
    event = (time - float(variability.epoch[i])) / spacing
    number = np.rint(event).astype(np.int64)
    close = np.abs(event - number) * spacing <= 1.5 * float(variability.duration[i])
    return np.where(close, number - number.min(), -1)


def fit_scale(
    time: NDArray[np.float64],
    flux: NDArray[np.float64],
    model: NDArray[np.float64],
    pieces: NDArray[np.int64] | None = None,
) -> tuple[float, float]:
    """Scale of a known variation in a light curve: 1 where all of it is there.

    Least squares of a straight line in each piece of time, for drifts, plus the variation; points beyond 4
    robust standard deviations are left out.

    Parameters
    ----------
    time, flux : ndarray, shape (T,)
        Days; relative to the median.
    model : ndarray, shape (T,)
        The known relative flux, around 1.
    pieces : ndarray of int64, shape (T,), optional
        Number of the piece of each point; negative for points that are not used. Default: one piece.

    Returns
    -------
    (float, float)
        The scale and its standard error from the scatter of the residuals. NaN where less than 3 points a
        piece leave nothing to fit.

    Examples
    --------
    >>> time = np.linspace(0, 5, 200)
    >>> wave = 0.01 * np.sin(2 * np.pi * time)
    >>> scale, _ = fit_scale(time, 0.8 * wave, 1 + wave)
    >>> round(scale, 6)
    0.8
    """
    pieces = np.zeros(len(time), dtype=np.int64) if pieces is None else pieces
    numbers, count = np.unique(pieces, return_counts=True)
    numbers = numbers[(numbers >= 0) & (count >= 3)]
    keep = np.isin(pieces, numbers)
    inside = pieces[:, None] == numbers[None, :]
    # Lines about the middle of each piece: their constants are the levels there.
    middle = np.array([time[pieces == number].mean() for number in numbers])
    lines = np.where(inside, time[:, None] - middle[None, :], 0.0)
    design = np.concatenate([inside.astype("f8"), lines, (model - 1.0)[:, None]], axis=1)
    value = flux + 1.0
    scale = error = float("nan")
    for _ in range(5):
        if keep.sum() <= design.shape[1] or not np.ptp(model[keep]) > 0:
            break
        solution, *_ = np.linalg.lstsq(design[keep], value[keep], rcond=None)
        residual = value - design @ solution
        sigma = 1.4826 * float(np.median(np.abs(residual[keep])))
        covariance = np.linalg.pinv(design[keep].T @ design[keep])
        level = float(np.mean(solution[: len(numbers)]))
        scale = float(solution[-1]) / level
        error = float(sigma * np.sqrt(covariance[-1, -1])) / level
        closer = np.isin(pieces, numbers) & (np.abs(residual) <= 4 * sigma)
        if (closer == keep).all():
            break
        keep = closer
    return scale, error
