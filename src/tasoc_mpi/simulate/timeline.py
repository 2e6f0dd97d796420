"""The times of the exposures, the position of TESS, and its motion."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.quality import TESSQualityFlags
from ..core.times import BTJD_ZERO, DAY
from .options import SimulationOptions
from .pointing import Pointing
from .systematics import Systematics, make_systematics

__all__ = [
    "Exposures",
    "Timeline",
    "frame_times",
    "make_timeline",
    "stamp_times",
    "tess_position",
]

#: Spacing of the attitude samples, seconds: it divides 120, 200, 600 and 1800.
STEP = 40
#: TESS's orbit: two in a sector, with the perigee at the beginning of the sector and in its middle.
ORBIT_DAYS = 13.70
ORBIT_ECCENTRICITY = 0.55
#: Its semi-major axis, light-days (38 Earth radii).
ORBIT_AXIS = 2.424e8 / 299792458.0 / DAY
#: Momentum dumps: the first, the distance between them and their length, days.
DUMP_FIRST, DUMP_SPACING, DUMP_LENGTH = 1.25, 2.5, 10.0 / 1440.0
#: Focus: days in which it relaxes after each perigee.
FOCUS_DAYS = 4.0
#: Spacecraft time and number of the cadence that numbers are counted from (first frame of sector 1).
CADENCE_ZERO = 1325.313100604524
CADENCENO_ZERO = {1800: 4697, 120: 70458, 20: 422748}
#: Reads are delayed by this much in each camera, and by `CCD_DELAY` for each CCD before it, seconds.
CAMERA_DELAY = (0.0, 1.5, 0.5, 1.0)
CCD_DELAY = 0.02


@dataclass(frozen=True)
class Timeline:
    """The simulated stretch of a sector, sampled every `STEP` seconds."""

    start: float  #: Spacecraft time (TJD, TDB) of the beginning of the first frame
    cadence: int  #: Seconds
    index: NDArray[np.int64]  #: Shape (T,): index of each frame on the regular grid; a jump is the data gap
    sector_start: float  #: Spacecraft time of the beginning of the sector
    shift: NDArray[np.float64]  #: Shape (S, 2): attitude samples: (column, row) displacement, pixels
    roll: NDArray[np.float64]  #: Shape (S,): radians
    #: Shape (2, 2): differential velocity aberration over a sector: displacement per pixel from the reference
    #: pixel.
    dva: NDArray[np.float64]
    dva_phase: NDArray[np.float64]  #: Shape (S,): its factor, from -0.5 to 0.5 over a sector
    focus: NDArray[np.float64]  #: Shape (S,): focus drift, as a share of its largest value
    systematics: Systematics  #: Of the S samples; their focus is in `focus`
    dump: NDArray[np.bool_]  #: Shape (S,): during momentum dumps
    gap: NDArray[np.bool_]  #: Shape (S,): without data


@dataclass(frozen=True)
class Exposures:
    """A series of exposures of one length."""

    seconds: int
    begin: NDArray[np.float64]  #: Shape (T,): spacecraft time of their beginning (TJD, TDB)
    cadenceno: NDArray[np.int32]  #: Shape (T,)
    quality: NDArray[np.int32]  #: Shape (T,)
    shift: NDArray[np.float64]  #: Shape (T, 2): mean attitude, as in `Timeline`
    roll: NDArray[np.float64]  #: Shape (T,)
    dva_phase: NDArray[np.float64]  #: Shape (T,)
    focus: NDArray[np.float64]  #: Shape (T,): mean focus drift, as a share of its largest value
    systematics: Systematics  #: Means of the exposures
    matrix: NDArray[np.float64]  #: Shape (T, 2, 2): roll and differential aberration, for `moved_wcs`
    gap: NDArray[np.bool_]  #: Shape (T,)

    @property
    def middle(self) -> NDArray[np.float64]:
        """Spacecraft time of the middle of the exposures."""
        return self.begin + 0.5 * self.seconds / DAY


def make_timeline(options: SimulationOptions, pointing: Pointing) -> Timeline:
    """Place the frames in time and draw the spacecraft's motion."""
    step = options.cadence / DAY
    delay = CAMERA_DELAY[options.camera - 1] + CCD_DELAY * (options.ccd - 1)
    sector_start = pointing.start + delay / DAY
    index = _grid(options)
    count = int(index[-1] - index[0] + 1) * options.cadence // STEP
    # Days since the beginning of the sector, middle of each sample.
    time = index[0] * step + (np.arange(count) + 0.5) * STEP / DAY
    gap = np.abs(time - ORBIT_DAYS) < 0.5 * options.gap if options.gap > 0 else np.zeros(count, dtype=bool)
    phase = (time - DUMP_FIRST) % DUMP_SPACING
    dump = (time >= DUMP_FIRST) & (phase < DUMP_LENGTH)
    rng = options.rng(1)
    shift = np.stack([_wobble(rng, time, dump, phase) for _ in range(2)], axis=-1)
    roll = _wobble(rng, time, dump, phase) * 3e-4
    # Up to 0.25 px over a sector in the corners of the CCD.
    dva = 1.8e-4 * (np.eye(2) + 0.3 * rng.uniform(-1.0, 1.0, (2, 2)))
    dva_phase = (time - ORBIT_DAYS) / (2 * ORBIT_DAYS)
    focus = np.exp(-(time % ORBIT_DAYS) / FOCUS_DAYS) if options.focus else np.zeros_like(time)
    systematics = make_systematics(time, ORBIT_DAYS, options.rng(9), options.systematics)
    if options.systematics:
        focus = (options.focus * focus + systematics.focus) / options.widest
    if not options.jitter:
        shift, roll, dva_phase = np.zeros_like(shift), np.zeros_like(roll), np.zeros_like(dva_phase)
        dump[:] = False
    return Timeline(
        start=sector_start + index[0] * step,
        cadence=options.cadence,
        index=index,
        sector_start=sector_start,
        shift=shift,
        roll=roll,
        dva=dva,
        dva_phase=dva_phase,
        focus=focus,
        systematics=systematics,
        dump=dump,
        gap=gap,
    )


def _grid(options: SimulationOptions) -> NDArray[np.int64]:
    """Indices of the frames on the regular grid, those in the data gap left out."""
    spare = int(np.ceil(options.gap * DAY / options.cadence)) + 1
    grid = options.first_frame + np.arange(options.frames + spare)
    middle = (grid + 0.5) * options.cadence / DAY
    # A frame that is partly in the gap is not taken.
    half = 0.5 * options.cadence / DAY
    taken = (np.abs(middle - ORBIT_DAYS) >= 0.5 * options.gap + half) | (options.gap == 0)
    return grid[taken][: options.frames].astype("i8")


def _wobble(
    rng: np.random.Generator,
    time: NDArray[np.float64],
    dump: NDArray[np.bool_],
    phase: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Motion along one axis, pixels: slow waves, drifting noise of an hour, fast noise, and the dumps."""
    from scipy.signal import lfilter

    out = np.zeros_like(time)
    for period in rng.uniform([0.3, 1.0, 4.0], [1.0, 4.0, 9.0]):
        out += 0.015 * np.sin(2 * np.pi * (time / period + rng.uniform()))
    memory = float(np.exp(-STEP / 3600.0))
    # Autoregressive noise of unit variance.
    gain = math.sqrt(1.0 - memory * memory)
    out += 0.010 * lfilter([gain], [1.0, -memory], rng.standard_normal(len(time)))
    out += 0.03 * rng.standard_normal(len(time))
    # A dump throws the pointing off while it lasts; the hours after it are spent on coming back.
    out += dump * (0.6 * rng.choice([-1.0, 1.0]) + 0.4 * rng.standard_normal(len(time)))
    after = (time >= DUMP_FIRST) * np.exp(-phase / 0.1)
    return out + rng.choice([-0.05, 0.05]) * after


def frame_times(timeline: Timeline) -> Exposures:
    """The full frame images."""
    size = timeline.cadence // STEP
    first = (timeline.index - timeline.index[0]) * size
    return _exposures(timeline, timeline.cadence, first)


def stamp_times(timeline: Timeline, seconds: int = 120) -> Exposures:
    """The exposures of target pixel files over the same stretch, the gap among them.

    Those of 20 s have the attitude of the sample that they are a half of.
    """
    size = seconds / STEP
    return _exposures(timeline, seconds, np.arange(int(len(timeline.roll) / size)) * size)


def _exposures(timeline: Timeline, seconds: int, first: NDArray[Any]) -> Exposures:
    """Exposures that begin at samples of the timeline."""
    samples = first.astype("i8")[:, None] + np.arange(max(1, seconds // STEP))
    begin = timeline.start + first.astype("f8") * (STEP / DAY)
    zero = CADENCENO_ZERO.get(seconds, CADENCENO_ZERO[1800])
    cadenceno = zero + np.rint((begin - CADENCE_ZERO) * DAY / seconds)
    shift = timeline.shift[samples].mean(axis=1)
    roll = timeline.roll[samples].mean(axis=1)
    phase = timeline.dva_phase[samples].mean(axis=1)
    c, s = np.cos(roll), np.sin(roll)
    rotation = np.stack([np.stack([c, -s], axis=-1), np.stack([s, c], axis=-1)], axis=-2)
    gap = np.logical_or.reduce(timeline.gap[samples], axis=1)
    quality = np.where(timeline.dump[samples].any(axis=1), TESSQualityFlags.Desat, 0)
    # The antenna points at the Earth while the data are sent down.
    quality = quality | np.where(gap, TESSQualityFlags.EarthPoint, 0)
    return Exposures(
        seconds=seconds,
        begin=begin,
        cadenceno=cadenceno.astype("i4"),
        quality=quality.astype("i4"),
        shift=shift,
        roll=roll,
        dva_phase=phase,
        focus=timeline.focus[samples].mean(axis=1),
        systematics=timeline.systematics.mean(samples),
        matrix=rotation @ (np.eye(2) + phase[:, None, None] * timeline.dva),
        gap=gap,
    )


def tess_position(time: NDArray[np.float64], sector_start: float) -> NDArray[np.float64]:
    """Barycentric position of the simulated TESS: the Earth's, and an ellipse around it.

    Parameters
    ----------
    time : ndarray, shape (T,)
        Spacecraft time (TJD, TDB), days.
    sector_start : float
        Spacecraft time of a perigee.

    Returns
    -------
    ndarray, shape (T, 3)
        ICRS, light-days. The Earth is that of astropy's built-in ephemeris (ERFA's epv00).
    """
    import astropy.units as u
    from astropy.constants import c
    from astropy.coordinates import get_body_barycentric
    from astropy.time import Time

    # Two parts of the date keep the time to a microsecond.
    moments = Time(BTJD_ZERO, time, format="jd", scale="tdb")
    earth = get_body_barycentric("earth", moments, ephemeris="builtin").xyz
    earth_days = (earth / c).to_value(u.day).T
    mean = 2 * np.pi * (np.asarray(time) - sector_start) / ORBIT_DAYS
    anomaly = mean + ORBIT_ECCENTRICITY * np.sin(mean)
    for _ in range(12):
        anomaly -= (anomaly - ORBIT_ECCENTRICITY * np.sin(anomaly) - mean) / (
            1 - ORBIT_ECCENTRICITY * np.cos(anomaly)
        )
    x = ORBIT_AXIS * (np.cos(anomaly) - ORBIT_ECCENTRICITY)
    y = ORBIT_AXIS * np.sqrt(1 - ORBIT_ECCENTRICITY**2) * np.sin(anomaly)
    # The orbit is inclined to the ecliptic by 37 degrees; its perigee points anywhere.
    major = np.array([0.6, 0.8, 0.0])
    minor = np.array([-0.48, 0.36, 0.8])
    return np.ascontiguousarray(earth_days + x[:, None] * major + y[:, None] * minor)
