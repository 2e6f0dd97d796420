"""A simulated CCD before its first frame is made: exposures, world coordinates and stars."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.quality import TESSQualityFlags
from ..core.sphere import unit_vectors
from ..core.times import BTJD_ZERO, DAY
from ..products.frame_wcs import FrameWCS
from ..products.star_catalog import julian_epoch
from .bright_signals import add_signals
from .mission_cards import calendar
from .options import SimulationOptions
from .pointing import Pointing, load_pointing, moved_wcs
from .response import Response, make_response
from .stars import Stars, Variability, make_stars, make_variability
from .timeline import Exposures, Timeline, frame_times, make_timeline, tess_position

__all__ = ["BTC_PIXEL", "Observation", "Scene", "make_scene", "observe"]

#: Full frame image (column, row), counted from 1, that the barycentric correction of a frame is for.
BTC_PIXEL = (1068.0, 1024.0)


@dataclass(frozen=True)
class Observation:
    """A series of exposures."""

    exposures: Exposures  #: T of them
    wcs: FrameWCS  #: Of every exposure
    position: NDArray[np.float64]  #: Shape (T, 3): of TESS, barycentric, light-days


@dataclass(frozen=True)
class Scene:
    """All that is drawn by lot or computed before the first frame is made."""

    options: SimulationOptions
    pointing: Pointing
    timeline: Timeline
    frames: Observation  #: The full frame images
    barycorr: NDArray[np.float64]  #: Shape (T,): barycentric correction of every frame at `BTC_PIXEL`, days
    #: The frame whose WCS gives the stars' coordinates: the good one closest to `reference_time`.
    reference: int
    reference_time: float  #: The catalog's time, JD (TDB)
    stars: Stars
    variability: Variability
    response: Response

    @property
    def epoch(self) -> float:
        """The reference time as a Julian year."""
        return julian_epoch(self.reference_time)

    @functools.cached_property
    def frame_dates(self) -> list[tuple[str, ...]]:
        """UTC calendar dates of begin and end of every frame, without and with barycentric correction."""
        begin = self.frames.exposures.begin
        end = begin + self.frames.exposures.seconds / DAY
        times = (begin, end, begin + self.barycorr, end + self.barycorr)
        return list(zip(*map(calendar, times), strict=True))


def observe(pointing: Pointing, timeline: Timeline, exposures: Exposures) -> Observation:
    """Exposures with their world coordinates and the position of TESS."""
    wcs = moved_wcs(pointing, exposures.shift, exposures.matrix)
    return Observation(exposures, wcs, tess_position(exposures.middle, timeline.sector_start))


def make_scene(options: SimulationOptions) -> Scene:
    """Compute times and pointing, and draw the stars.

    Raises
    ------
    UsageError, InputError
        If there is no pointing or no PRF for the CCD.
    """
    pointing = load_pointing(options.sector, options.camera, options.ccd)
    timeline = make_timeline(options, pointing)
    exposures = frame_times(timeline)
    frames = observe(pointing, timeline, exposures)
    reference_time = BTJD_ZERO + 0.5 * (exposures.middle[0] + exposures.middle[-1])
    distance = np.abs(exposures.middle + BTJD_ZERO - reference_time)
    reference = int(np.argmin(np.where(TESSQualityFlags.filter(exposures.quality), distance, np.inf)))
    at_rest = moved_wcs(pointing, np.zeros((1, 2)), np.eye(2)[None])
    column, row = np.array(BTC_PIXEL) - 1.0
    centre = unit_vectors(*at_rest.sky(np.array([column]), np.array([row]), 0)[0])
    stars = make_stars(options, frames.wcs, reference)
    begin = float(exposures.begin[0])
    days = float(exposures.begin[-1]) - begin + exposures.seconds / DAY
    variability = make_variability(options, stars, begin, days)
    if options.bright_stars:
        variability = add_signals(variability, options.bright_stars, stars, begin, days, options.rng(7))
    return Scene(
        options=options,
        pointing=pointing,
        timeline=timeline,
        frames=frames,
        barycorr=frames.position @ centre,
        reference=reference,
        reference_time=float(reference_time),
        stars=stars,
        variability=variability,
        response=make_response(options, stars),
    )
