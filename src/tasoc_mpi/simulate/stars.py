"""The stars: positions, magnitudes, and the variations of variable stars."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.settings import mag2flux
from ..kernels.prf import prf_radius, sigma_scale
from ..products.ccd_outline import CAMERA_CENTRES
from ..products.frame_wcs import FrameWCS
from .options import CCD_COLUMNS, CCD_ROWS, SimulationOptions

__all__ = ["KINDS", "MARGIN", "Stars", "Variability", "counts", "j2000", "make_stars", "make_variability"]

#: Stars lie up to this far outside the region, pixels.
MARGIN = 6.0
#: Brightest star that is drawn from the counts.
TMAG_MIN = 2.0
#: Stars up to this magnitude may vary, and the share of them that do.
VARIABLE_TMAG, VARIABLE_SHARE = 13.0, 0.10
#: Kinds of stars, as numbered in the truth.
KINDS = ("constant", "pulsator", "giant", "transit", "eclipse", "rotation", "flares")
#: Most sine waves that a star's variation is made of.
MAX_MODES = 8


@dataclass(frozen=True)
class Stars:
    """Stars in and around the region, brightest first."""

    starid: NDArray[np.int64]  #: Shape (N,)
    #: tmag, teff, pm_ra, pm_decl: shape (N,), magnitudes, K (NaN where not known), mas/yr.
    tmag: NDArray[np.float64]
    teff: NDArray[np.float64]
    pm_ra: NDArray[np.float64]
    pm_decl: NDArray[np.float64]
    #: ra, decl: shape (N,), at the time of the reference frame, degrees.
    ra: NDArray[np.float64]
    decl: NDArray[np.float64]
    #: row, column: shape (N,), full frame image position in the reference frame, 0-based.
    row: NDArray[np.float64]
    column: NDArray[np.float64]
    flux: NDArray[np.float64]  #: Shape (N,): mean flux, e-/s
    scale: NDArray[np.float64]  #: Shape (N,): width of the PRF relative to the camera centre
    radius: NDArray[np.int64]  #: Shape (N,): how far the star is drawn, pixels

    def __len__(self) -> int:
        return len(self.starid)


def counts(tmag: ArrayLike) -> NDArray[np.float64]:
    """Number of stars up to a magnitude on a whole CCD, in a sparse field: 20,000 of Tmag < 15.

    >>> counts([10, 15, 18]).round()
    array([   317.,  20000., 154536.])
    """
    x = np.asarray(tmag, dtype="f8") - 15.0
    return 10.0 ** (np.log10(20000.0) + 0.32 * x - 0.008 * x**2)


def make_stars(options: SimulationOptions, wcs: FrameWCS, reference: int) -> Stars:
    """Draw the stars of the region.

    Parameters
    ----------
    options : SimulationOptions
    wcs : FrameWCS
        Of the frames.
    reference : int
        The frame whose WCS gives the stars' coordinates.
    """
    rng = options.rng(2)
    row0, column0, rows, columns = options.science
    area = (rows + 2 * MARGIN) * (columns + 2 * MARGIN) / (CCD_ROWS * CCD_COLUMNS)
    grid = np.linspace(TMAG_MIN, options.tmag_max, 2001)
    total = counts(grid) - counts(TMAG_MIN)
    n = rng.poisson(options.density * area * total[-1])
    tmag = np.interp(rng.uniform(0.0, total[-1], n), total, grid)
    row = rng.uniform(row0 - 0.5 - MARGIN, row0 + rows - 0.5 + MARGIN, n)
    column = rng.uniform(column0 - 0.5 - MARGIN, column0 + columns - 0.5 + MARGIN, n)
    bright = rng.uniform([4.5 if rows < 400 else 3.5, 0.3, 0.2], [6.0, 0.7, 0.8])
    inside = (np.abs(row - row0 - rows / 2) < 0.4 * rows) & (
        np.abs(column - column0 - columns / 2) < 0.4 * columns
    )
    if options.bright and min(rows, columns) >= 200 and not (inside & (tmag < 6.0)).any():
        tmag = np.append(tmag, bright[0])
        row, column = (
            np.append(row, row0 + bright[1] * rows),
            np.append(column, column0 + bright[2] * columns),
        )
    given = options.bright_stars
    tmag = np.append(tmag, np.array([star.tmag for star in given], dtype="f8"))
    row = np.append(row, [star.row for star in given])
    column = np.append(column, [star.column for star in given])
    order = np.argsort(tmag, kind="stable")
    tmag, row, column = np.round(tmag[order], 4), row[order], column[order]
    n = len(tmag)
    # Proper motions of some mas a year, with a long tail; larger for bright stars, which are closer.
    speed = 6.0 * 10.0 ** (0.4 * rng.standard_normal(n) + 0.05 * (13.0 - tmag))
    direction = rng.uniform(0.0, 2 * np.pi, n)
    teff = np.clip(5500.0 + 900.0 * rng.standard_normal(n), 2800.0, 15000.0).round()
    teff[rng.uniform(size=n) < 0.03] = np.nan
    ra, decl = wcs.sky(column, row, reference).T
    flux = np.asarray(mag2flux(tmag))  # type: ignore[arg-type]
    scale = sigma_scale(row, column, CAMERA_CENTRES[options.camera, options.ccd])
    return Stars(
        starid=_identifiers(rng, n),
        tmag=tmag,
        teff=teff,
        pm_ra=speed * np.sin(direction),
        pm_decl=speed * np.cos(direction),
        ra=ra,
        decl=decl,
        row=row,
        column=column,
        flux=flux,
        scale=scale,
        radius=prf_radius(flux, scale),
    )


def j2000(stars: Stars, epoch: float) -> NDArray[np.float64]:
    """Positions of the stars at J2000, shape (N, 2), degrees, from those at a Julian year."""
    years = epoch - 2000.0
    mas = years / 3.6e6
    ra = stars.ra - stars.pm_ra * mas / np.cos(np.deg2rad(stars.decl))
    return np.stack([ra % 360.0, stars.decl - stars.pm_decl * mas], axis=-1)


def _identifiers(rng: np.random.Generator, n: int) -> NDArray[np.int64]:
    """Different numbers in no order, of the size of TIC identifiers."""
    numbers = np.unique(rng.integers(10_000_000, 900_000_000, 2 * n + 10))
    return rng.permutation(numbers)[:n].astype("i8")


@dataclass(frozen=True)
class Variability:
    """How stars vary; arrays over the V stars that do."""

    star: NDArray[np.int64]  #: Shape (V,): place in `Stars`
    kind: NDArray[np.int64]  #: Shape (V,): index in `KINDS`
    #: period, epoch, duration: shape (V,), days; the epoch (middle of a transit or of the deeper eclipse) as
    #: BJD - 2457000 at the star's own barycentric time. NaN where there is none; the period of a pulsator is
    #: that of its strongest wave.
    period: NDArray[np.float64]
    epoch: NDArray[np.float64]
    duration: NDArray[np.float64]
    #: depth, depth2: shape (V,), of transits or eclipses and of the secondary eclipses, relative to the mean
    #: flux.
    depth: NDArray[np.float64]
    depth2: NDArray[np.float64]
    #: frequency, amplitude, phase: shape (V, MAX_MODES), sine waves: 1/day, relative, radians (at BJD -
    #: 2457000 = 0); zero amplitude for none.
    frequency: NDArray[np.float64]
    amplitude: NDArray[np.float64]
    phase: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.star)

    def factor(self, i: int, time: NDArray[np.float64]) -> NDArray[np.float64]:
        """Relative flux of the `i`-th variable at moments given as its own BJD - 2457000, any shape."""
        time = np.asarray(time)
        out = np.ones_like(time)
        if KINDS[self.kind[i]] == "flares":
            since = (time - self.epoch[i]) % self.period[i]
            return out + self.depth[i] * np.exp(-since / self.duration[i])
        if KINDS[self.kind[i]] in ("pulsator", "giant", "rotation"):
            for f, a, p in zip(self.frequency[i], self.amplitude[i], self.phase[i], strict=True):
                if a:
                    out += a * np.sin(2 * np.pi * f * time + p)
            return out
        half = 0.5 * self.duration[i]
        edge = 0.25 if KINDS[self.kind[i]] == "transit" else 1.0
        out -= self.depth[i] * _dip(_since(time, self.epoch[i], self.period[i]), half, edge)
        if self.depth2[i] > 0:
            other = self.epoch[i] + 0.5 * self.period[i]
            out -= self.depth2[i] * _dip(_since(time, other, self.period[i]), half, edge)
        return out


def _since(time: NDArray[np.float64], epoch: float, period: float) -> NDArray[np.float64]:
    """Time from the closest event, days."""
    return np.abs((time - epoch + 0.5 * period) % period - 0.5 * period)


def _dip(distance: NDArray[np.float64], half: float, edge: float) -> NDArray[np.float64]:
    """1 in the middle, 0 outside, with smooth slopes over the share `edge` of the half width."""
    x = np.clip((half - distance) / (edge * half), 0.0, 1.0)
    return x * x * (3.0 - 2.0 * x)


def make_variability(options: SimulationOptions, stars: Stars, start: float, days: float) -> Variability:
    """Draw the variable stars and their variations.

    Parameters
    ----------
    options : SimulationOptions
    stars : Stars
    start, days : float
        Beginning (TJD) and length of the observation: events are to happen in it.
    """
    rng = options.rng(3)
    row0, column0, rows, columns = options.science
    inside = (np.abs(stars.row - row0 - (rows - 1) / 2) < rows / 2 - 3) & (
        np.abs(stars.column - column0 - (columns - 1) / 2) < columns / 2 - 3
    )
    (able,) = np.nonzero(inside & (stars.tmag < VARIABLE_TMAG))
    number = min(len(able), max(round(VARIABLE_SHARE * len(able)), 4)) if options.variables else 0
    star = np.sort(rng.choice(able, number, replace=False)).astype("i8")
    # Rotation and flares test the correction of systematics.
    kinds = 6 if options.systematics else 4
    kind = (1 + (np.arange(number) + rng.integers(kinds)) % kinds).astype("i8")
    nothing, waves = np.full((3, number), np.nan), np.zeros((3, number, MAX_MODES))
    depths = np.zeros((2, number))
    out = Variability(star, kind, *nothing, *depths, *waves)
    for i in range(number):
        draw = (_pulsator, _giant, _transit, _eclipse, _rotation, _flares)[kind[i] - 1]
        draw(rng, out, i, start, days)
    return out


def _waves(
    out: Variability,
    i: int,
    frequency: NDArray[np.float64],
    amplitude: NDArray[np.float64],
    phase: NDArray[np.float64],
) -> None:
    n = len(frequency)
    out.frequency[i, :n], out.amplitude[i, :n], out.phase[i, :n] = frequency, amplitude, phase
    out.period[i] = 1.0 / frequency[np.argmax(amplitude)]


def _pulsator(rng: np.random.Generator, out: Variability, i: int, start: float, days: float) -> None:
    """One to three waves of 0.1 to 0.5 days, amplitude 0.3 to 2%."""
    n = int(rng.integers(1, 4))
    frequency = 1.0 / rng.uniform(0.1, 0.5, n)
    amplitude = 10.0 ** rng.uniform(-2.5, -1.7) * 0.5 ** np.arange(n)
    _waves(out, i, frequency, amplitude, rng.uniform(0, 2 * np.pi, n))


def _giant(rng: np.random.Generator, out: Variability, i: int, start: float, days: float) -> None:
    """A comb of waves around a frequency of maximum power of 3 to 15 per day (35 to 170 microhertz)."""
    numax = rng.uniform(3.0, 15.0)
    # Distance of the comb's teeth: 0.27 numax**0.76 in microhertz (Stello et al. 2009).
    spacing = 0.268 * (numax / 0.0864) ** 0.76 * 0.0864
    order = np.arange(MAX_MODES) - (MAX_MODES - 1) / 2
    frequency = numax + 0.5 * spacing * order
    amplitude = 1.2e-3 * (numax / 3.0) ** -0.7 * np.exp(-0.5 * (order / 2.0) ** 2)
    _waves(out, i, frequency, amplitude, rng.uniform(0, 2 * np.pi, MAX_MODES))


def _transit(rng: np.random.Generator, out: Variability, i: int, start: float, days: float) -> None:
    out.period[i] = rng.uniform(min(1.0, 0.3 * days), max(min(8.0, days / 2.5), 0.35 * days))
    out.epoch[i] = start + rng.uniform(0.1, 0.9) * min(out.period[i], 0.8 * days)
    out.duration[i] = min(rng.uniform(0.12, 0.25), 0.2 * out.period[i])
    out.depth[i] = 10.0 ** rng.uniform(-2.3, -1.7)


def _rotation(rng: np.random.Generator, out: Variability, i: int, start: float, days: float) -> None:
    """Spots of a star that rotates in 10 days, amplitude 0.1 to 1%."""
    amplitude = 10.0 ** rng.uniform(-3.0, -2.0)
    _waves(out, i, np.array([0.1]), np.array([amplitude]), rng.uniform(0, 2 * np.pi, 1))


def _flares(rng: np.random.Generator, out: Variability, i: int, start: float, days: float) -> None:
    """A flare every few days; `depth` is its height, and it decays by e in `duration`."""
    out.period[i] = rng.uniform(2.0, 6.0)
    out.epoch[i] = start + rng.uniform(0.1, 0.9) * min(out.period[i], 0.8 * days)
    out.duration[i] = rng.uniform(0.03, 0.1)
    out.depth[i] = 10.0 ** rng.uniform(-1.7, -0.7)


def _eclipse(rng: np.random.Generator, out: Variability, i: int, start: float, days: float) -> None:
    out.period[i] = rng.uniform(min(0.8, 0.3 * days), max(min(5.0, days / 3.0), 0.35 * days))
    out.epoch[i] = start + rng.uniform(0.1, 0.9) * min(out.period[i], 0.8 * days)
    out.duration[i] = rng.uniform(0.10, 0.18) * out.period[i]
    out.depth[i] = rng.uniform(0.05, 0.40)
    out.depth2[i] = out.depth[i] * rng.uniform(0.2, 0.9)
