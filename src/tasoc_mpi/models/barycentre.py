"""When light arrives: where TESS is, and the light time from there to the solar system barycentre.

Positions are barycentric, in ICRS axes and light-days, so that the light time in days towards a star is
the product of the position with the star's unit vector (the Roemer delay; the relativistic terms of a
solar system barycentric time are below 10 microseconds between the Earth and TESS and are not in the
mission's own corrections either). Times are TDB, as BJD or JD minus 2457000.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, MissingInput
from ..core.sphere import unit_vectors
from ..core.times import BTJD_ZERO, DAY
from ..products.spk import check_kernel

if TYPE_CHECKING:
    from scipy.interpolate import CubicSpline

__all__ = ["earth_position", "ephemeris", "light_time", "spice_position"]

_J2000 = 2451545.0
#: Light time of one astronomical unit, days (IAU 2012 unit, SI speed of light).
_AU = 149597870700.0 / 299792458.0 / DAY
#: Kilometres in a light-day.
_LIGHT_DAY_KM = 299792.458 * DAY

#: The analytic model takes 20 microseconds a time; where many times are asked for, it is evaluated this often
#: (days) and interpolated by a cubic spline. The wobble by the Moon, the fastest motion, is then
#: right to a metre (nanoseconds of light time).
_STEP = 0.25

#: NAIF codes of TESS, and of the centres that a kernel may give its position from.
_TESS = -95
_BARYCENTRE, _SUN, _EARTH = 0, 10, 399
#: Kilometres from the centre of a kernel that TESS never reaches: ten astronomical units.
_FARTHEST = 1.5e9


def earth_position(time: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Barycentric position of the Earth, from the analytic model of ERFA (`epv00`).

    Between 1900 and 2100 it is within 13 km (45 microseconds) of JPL's DE405. JPL's ephemerides from
    DE440 on count the Kuiper belt's mass and so have another barycentre, 120 km (0.4 milliseconds) away.

    Parameters
    ----------
    time : float or ndarray, shape (T,)
        JD - 2457000 in TDB, days.

    Returns
    -------
    ndarray, shape (3,) or (T, 3)
        ICRS axes, light-days; NaN where the time is.

    Examples
    --------
    >>> distance = np.linalg.norm(earth_position(1325.0))  # light-days
    >>> round(float(distance) * 86400)  # seconds
    504
    """
    return _earth_and_sun(time)[0]


def _earth_and_sun(time: NDArray[np.float64] | float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Barycentric positions of the Earth and of the Sun, light-days."""
    time = np.asarray(time, dtype="f8")
    known = np.isfinite(time)
    out = np.full((*time.shape, 6), np.nan)
    when = time[known]
    if not when.size:
        return out[..., :3], out[..., 3:]
    first, stop = np.floor(when.min() / _STEP) - 2, np.ceil(when.max() / _STEP) + 3
    out[known] = _epv00(when) if when.size <= stop - first else _spline(first, stop)(when)
    return out[..., :3], out[..., 3:]


@functools.lru_cache(maxsize=8)
def _spline(first: float, stop: float) -> CubicSpline:
    """`_epv00` by multiples of `_STEP`; the target pixel files of a sector have it in common."""
    from scipy.interpolate import CubicSpline

    nodes = np.arange(first, stop) * _STEP
    return CubicSpline(nodes, _epv00(nodes))


def _epv00(time: NDArray[np.float64]) -> NDArray[np.float64]:
    """Barycentric positions of the Earth and of the Sun, shape (T, 6), light-days."""
    import erfa

    heliocentric, barycentric = erfa.epv00(BTJD_ZERO, time)
    return np.concatenate([barycentric["p"], barycentric["p"] - heliocentric["p"]], axis=-1) * _AU


def spice_position(time: NDArray[np.float64] | float, folder: str | os.PathLike[str]) -> NDArray[np.float64]:
    """Barycentric position of TESS from SPICE kernels.

    Parameters
    ----------
    time : float or ndarray, shape (T,)
        JD - 2457000 in TDB, days.
    folder : path-like
        Folder with the kernels. Only its SPK files (``*.bsp``) are read: with times in TDB neither
        leap seconds nor the spacecraft's clock is needed.

    Returns
    -------
    ndarray, shape (3,) or (T, 3)
        ICRS axes, light-days; NaN where the time is.

    Raises
    ------
    MissingInput
        If there is no such folder or no kernel in it.
    InputError
        If spiceypy is not installed, a kernel is corrupt, or they do not cover the times.
    """
    return _spice(time, Path(folder))[0]


def _spice(time: NDArray[np.float64] | float, folder: Path) -> tuple[NDArray[np.float64], str]:
    """Position of TESS and a sentence on how it was found."""
    spice = _spiceypy()
    time = np.asarray(time, dtype="f8")
    known = np.isfinite(time)
    out = np.full((*time.shape, 3), np.nan)
    if not known.any():
        return out, "SPICE"
    seconds = (time[known] + (BTJD_ZERO - _J2000)) * DAY
    kernels = _kernels(folder)
    with _loaded(spice, folder, kernels):
        _check_span(spice, folder, kernels, time[known], seconds)
        # Mission kernels differ in the centre of their segments; where they do not reach the
        # barycentre themselves, the Earth or the Sun of the analytic model joins them to it.
        earth, sun = _earth_and_sun(time[known])
        for centre, name, joint in (
            (_BARYCENTRE, "", 0.0),
            (_EARTH, ", from the Earth of ERFA epv00", earth),
            (_SUN, ", from the Sun of ERFA epv00", sun),
        ):
            position = _states(spice, folder, seconds, centre)
            if position is not None:
                out[known] = position / _LIGHT_DAY_KM + joint
                return out, f"SPICE ({', '.join(k.name for k in kernels)}){name}"
    raise InputError(
        f"{folder}: TESS is linked neither to the barycentre nor to the Earth or Sun; add their kernels"
    )


def _spiceypy() -> Any:
    try:
        import spiceypy
    except ImportError:
        raise InputError("SPICE kernels need spiceypy: pip install 'tasoc-mpi[spice]'") from None
    return spiceypy


def _kernels(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise MissingInput(f"{folder}: no such folder of SPICE kernels")
    kernels = sorted(folder.glob("*.bsp"))
    if not kernels:
        raise MissingInput(f"{folder}: no SPICE kernel (*.bsp) in it; name another folder or leave it out")
    return kernels


@contextmanager
def _loaded(spice: Any, folder: Path, kernels: list[Path]) -> Iterator[None]:
    """Load kernels, and unload the same ones (the pool may hold others of the program that uses us)."""
    loaded = []
    try:
        for kernel in kernels:
            check_kernel(kernel)
            try:
                spice.furnsh(str(kernel))
            except spice.utils.exceptions.SpiceyError as error:
                raise _unreadable(kernel, error) from None
            loaded.append(kernel)
        yield
    finally:
        for kernel in loaded:
            spice.unload(str(kernel))


def _check_span(
    spice: Any, folder: Path, kernels: list[Path], time: NDArray[np.float64], seconds: NDArray[np.float64]
) -> None:
    """Refuse times at which the kernels do not know where TESS is."""
    window = spice.cell_double(2000)
    for kernel in kernels:
        try:
            spice.spkcov(str(kernel), _TESS, window)
        except spice.utils.exceptions.SpiceyError as error:
            raise _unreadable(kernel, error) from None
    spans = np.array([spice.wnfetd(window, i) for i in range(spice.wncard(window))]).reshape(-1, 2)
    covered = np.zeros(len(seconds), dtype=bool)
    for first, last in spans:
        covered |= (seconds >= first) & (seconds <= last)
    if covered.all():
        return
    have = "none at all"
    if len(spans):
        first, last = np.array([spans.min(), spans.max()]) / DAY - (BTJD_ZERO - _J2000)
        have = f"{first:.2f} to {last:.2f}" + (" with gaps" if len(spans) > 1 else "")
    raise InputError(
        f"{folder}: TESS kernels cover BTJD {have}, needed are {time.min():.2f} to {time.max():.2f}; "
        "add the kernel of that time or leave the folder out"
    )


def _states(
    spice: Any, folder: Path, seconds: NDArray[np.float64], centre: int
) -> NDArray[np.float64] | None:
    """TESS relative to `centre` in km, or None where the kernels do not link the two."""
    out = np.empty((len(seconds), 3))
    try:
        for i, et in enumerate(seconds):
            out[i] = spice.spkgps(_TESS, float(et), "J2000", centre)[0]
    except spice.utils.exceptions.SpiceyError as error:
        if "SPKINSUFFDATA" in str(error):
            return None
        raise InputError(
            f"{folder}: its SPICE kernels cannot be evaluated ({_reason(error)}); fetch them again"
        ) from None
    if not (np.abs(out) < _FARTHEST).all():
        raise InputError(f"{folder}: TESS is nowhere near the Sun by its SPICE kernels; fetch them again")
    return out


def _unreadable(kernel: Path, error: Exception) -> InputError:
    return InputError(
        f"{kernel}: cannot be read as a SPICE kernel ({_reason(error)}); fetch it again, or remove it"
    )


def _reason(error: Exception) -> str:
    """The short message of a SPICE error, which comes as a page."""
    lines = [line.strip() for line in str(error).splitlines()]
    return next((line for line in lines if line.startswith("SPICE(")), " ".join(lines)[:200])


def ephemeris(
    time_tdb: NDArray[np.float64],
    timecorr: NDArray[np.float64],
    ra_centre: float,
    dec_centre: float,
    spice_folder: str | os.PathLike[str] | None = None,
) -> tuple[NDArray[np.float64], str]:
    """Barycentric position of TESS at the frames of one CCD.

    With a folder of SPICE kernels the position is theirs. Without, it is the Earth's, moved along the
    direction of the CCD's centre so that the light time there is the frames' own correction: exact at
    the centre, and elsewhere wrong by at most the light time from the Earth to TESS (1.5 s) times the
    sine of the angle from the centre (0.15 in a CCD's corner).

    Parameters
    ----------
    time_tdb : ndarray, shape (T,)
        Frame times at the spacecraft, ``time - timecorr``, JD - 2457000 in TDB, days.
    timecorr : ndarray, shape (T,)
        Barycentric correction at the CCD centre (BARYCORR), days. Where it is NaN the move is
        interpolated between the other frames; without any, it is zero.
    ra_centre, dec_centre : float
        Direction that `timecorr` belongs to, degrees.
    spice_folder : path-like, optional

    Returns
    -------
    positions : ndarray, shape (T, 3)
        ICRS axes, light-days.
    source : str
        Origin of the positions.

    Raises
    ------
    MissingInput, InputError
        See `spice_position`.

    Examples
    --------
    >>> time = np.array([1325.0, 1326.0])
    >>> positions, source = ephemeris(time, np.array([0.004, 0.004]), 80.0, -60.0)
    >>> source
    'Earth (ERFA epv00) + BARYCORR'
    >>> light_time(positions, 80.0, -60.0).round(6).tolist()
    [0.004, 0.004]
    """
    time = np.asarray(time_tdb, dtype="f8")
    if spice_folder is not None:
        return _spice(time, Path(spice_folder))
    source = "Earth (ERFA epv00)"
    position = earth_position(time)
    centre = unit_vectors(ra_centre, dec_centre)
    move = np.asarray(timecorr, dtype="f8") - position @ centre
    known = np.isfinite(move)
    if not known.any():
        return position, source
    if not known.all():
        order = np.argsort(time[known])
        move = np.where(known, move, np.interp(time, time[known][order], move[known][order]))
    return position + move[:, None] * centre, source + " + BARYCORR"


def light_time(positions: NDArray[np.float64], ra: float, dec: float) -> NDArray[np.float64]:
    """Light time from the barycentre's plane to the spacecraft; it is added to its times for a BJD.

    Parameters
    ----------
    positions : ndarray, shape (T, 3)
        From `ephemeris`, light-days.
    ra, dec : float
        Of the star at the time of observation, degrees (ICRS).

    Returns
    -------
    ndarray, shape (T,)
        Days; positive where the spacecraft is nearer to the star than the barycentre is.

    Examples
    --------
    >>> light_time(np.array([[0.001, 0.0, 0.0]]), 0.0, 60.0).round(12).tolist()
    [0.0005]
    """
    return positions @ unit_vectors(ra, dec)
