"""Vectors and light curves made of a few smooth functions."""

from __future__ import annotations

import numpy as np

from tasoc_mpi.products.cbv_file import Vectors
from tasoc_mpi.products.raw_curve import RawCurve


def made_vectors(frames: int = 600, cadence: int = 1800, count: int = 4) -> Vectors:
    """Orthogonal vectors in two orbits, with a gap between them; the second one has spikes."""
    time = 1325.0 + np.arange(frames) * cadence / 86400.0
    orbit = np.where(np.arange(frames) < frames // 2 - 10, 0, 1)
    orbit[(np.arange(frames) >= frames // 2 - 10) & (np.arange(frames) < frames // 2 + 10)] = -1
    good = orbit >= 0
    phase = np.linspace(0, np.pi, frames)
    slow = np.stack([np.cos((k + 1) * phase) for k in range(count)], axis=1)
    slow[good] = np.linalg.qr(slow[good] - slow[good].mean(axis=0))[0] * np.sqrt(good.sum())
    slow[~good] = 0.0
    spikes = np.zeros_like(slow)
    spikes[np.flatnonzero(good)[50::60], 1] = 3.0
    return Vectors(
        sector=1,
        camera=1,
        ccd=2,
        cadence=cadence,
        area=121,
        areas=np.array([121]),
        time=time,
        timecorr=np.full(frames, 0.002),
        cadenceno=np.arange(4697, 4697 + frames, dtype=np.int32),
        orbit=orbit.astype(np.int32),
        slow=slow,
        spikes=spikes,
        explained=np.full(count, 1 / count),
        entropy=np.zeros(count),
        noise=np.full(count, 0.01),
        starid=np.array([1, 2]),
        tmag=np.array([9.0, 10.0]),
        row=np.array([100.0, 200.0]),
        column=np.array([300.0, 400.0]),
        use=np.zeros(2, np.int32),
        weights=np.zeros((2, count)),
        coefficients=np.full((2, 3 * count), np.nan),
        coefficient_errors=np.full((2, 3 * count), np.nan),
        left=np.zeros((2, frames), np.float32),
    )


def made_curve(vectors: Vectors, relative: np.ndarray, flux: float = 1000.0, error: float = 0.1) -> RawCurve:
    """A light curve at the cadences of the vectors."""
    frames = len(vectors.time)
    return RawCurve(
        starid=7,
        sector=vectors.sector,
        camera=vectors.camera,
        ccd=vectors.ccd,
        cadence=vectors.cadence,
        tmag=12.95,
        time=vectors.time,
        timecorr=vectors.timecorr,
        cadenceno=vectors.cadenceno,
        flux=flux * relative,
        flux_err=np.full(frames, error),
        background=np.full(frames, 100.0),
        corrector_quality=np.zeros(frames, np.int32),
        quality=np.zeros(frames, np.int32),
        column=np.full(frames, 350.0),
        row=np.full(frames, 150.0),
        column_shift=np.zeros(frames),
        row_shift=np.zeros(frames),
    )
