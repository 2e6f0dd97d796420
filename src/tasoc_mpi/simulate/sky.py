"""The sky: zodiacal light, light scattered by the Earth and the Moon, and the glow of the corners."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..products.ccd_outline import CAMERA_CENTRES
from .options import SimulationOptions
from .timeline import ORBIT_DAYS

__all__ = ["SKY_PARTS", "sky_levels", "sky_patterns"]

#: The sky is a sum of these patterns, each with its own brightness in time.
SKY_PARTS = ("zodiacal", "scattered broad", "scattered patch", "corner glow")
#: e-/s a pixel: zodiacal light; scattered light at perigee.
ZODIACAL, SCATTERED = 95.0, 80.0
#: Scattered light falls by e in this many days from perigee.
SCATTERED_DAYS = 0.7
#: The glow reaches 1 e-/s at this distance from the camera centre and grows tenfold in each next
#: `GLOW_STEP`, pixels.
GLOW_RADIUS, GLOW_STEP = 2700.0, 180.0


def sky_patterns(options: SimulationOptions, rows: ArrayLike, columns: ArrayLike) -> NDArray[np.float32]:
    """Brightness of each part over the CCD.

    Parameters
    ----------
    options : SimulationOptions
    rows, columns : ndarray, shape (R,), (C,)
        Full frame image rows and columns, 0-based.

    Returns
    -------
    ndarray of float32, shape (4, R, C)
        Relative to `sky_levels`.

    Examples
    --------
    >>> sky_patterns(SimulationOptions(), [0, 2047], [44, 2091])[0].round(2)
    array([[0.87, 1.03],
           [0.97, 1.13]], dtype=float32)
    """
    y = (np.asarray(rows, dtype="f8")[:, None] - 1023.5) / 1024.0
    x = (np.asarray(columns, dtype="f8")[None, :] - 1067.5) / 1024.0
    centre = CAMERA_CENTRES[options.camera, options.ccd]
    radius = np.hypot(np.asarray(rows)[:, None] - centre[0], np.asarray(columns)[None, :] - centre[1])
    return np.stack(
        [
            1.0 + 0.08 * x + 0.05 * y,
            0.5 + 0.25 * (1.0 + y) ** 2 / 2 + 0.15 * x,
            np.exp(-((x - 0.5) ** 2 + (y + 0.3) ** 2) / (2 * 0.55**2)),
            10.0 ** ((radius - GLOW_RADIUS) / GLOW_STEP),
        ]
    ).astype("f4")


def sky_levels(options: SimulationOptions, time: ArrayLike, sector_start: float) -> NDArray[np.float64]:
    """Brightness of each part in time.

    Parameters
    ----------
    options : SimulationOptions
    time : ndarray, shape (T,)
        Spacecraft time, days.
    sector_start : float
        Spacecraft time of a perigee.

    Returns
    -------
    ndarray, shape (T, 4)
        e-/s a pixel.

    Examples
    --------
    >>> sky_levels(SimulationOptions(), [1325.0, 1332.0], sector_start=1325.0).round(1)
    array([[95. , 80. , 40. ,  1.1],
           [96.9,  0. ,  0. ,  0.8]])
    """
    since = np.asarray(time) - sector_start
    distance = np.abs((since + 0.5 * ORBIT_DAYS) % ORBIT_DAYS - 0.5 * ORBIT_DAYS)
    scattered = SCATTERED * np.exp(-distance / SCATTERED_DAYS)
    levels = np.stack(
        [
            ZODIACAL * (1.0 + 0.02 * np.sin(2 * np.pi * since / 27.4)),
            scattered,
            # The Earth turns, and with it what it reflects.
            scattered * 0.5 * (1.0 + 0.6 * np.sin(2 * np.pi * since)) + 1.5 * np.sin(2 * np.pi * since) ** 2,
            0.8 + 0.004 * scattered,
        ],
        axis=-1,
    )
    return options.sky * levels
