"""Quality flags of frames, light curves and pixels, and how to read them."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .times import DAY

__all__ = [
    "CorrectorQualityFlags",
    "PixelQualityFlags",
    "QualityFlagsBase",
    "TESSQualityFlags",
    "exposures_reached",
]

#: Overlaps of cadences and exposures up to this long do not count (days): the times of early data releases
#: are late by 2 s, and CCDs are read out one after the other, within 1.6 s.
_NO_OVERLAP = 4.0 / DAY


class QualityFlagsBase:
    """Base of the three families of flags."""

    DEFAULT_BITMASK: ClassVar[int] = 0
    STRINGS: ClassVar[dict[int, str]] = {}

    @classmethod
    def decode(cls, quality: int) -> list[str]:
        """Names of the flags that are set.

        Parameters
        ----------
        quality : int
            One quality value.

        Returns
        -------
        list of str
            One name a flag, in order of the bits. Bits without a name are not listed.

        Examples
        --------
        >>> TESSQualityFlags.decode(4 + 65536)
        ['Spacecraft in coarse point']
        """
        return [name for flag, name in sorted(cls.STRINGS.items()) if int(quality) & flag]

    @classmethod
    def filter(cls, quality: Any, flags: int | None = None) -> NDArray[np.bool_]:
        """Where none of the given flags is set.

        Parameters
        ----------
        quality : int or array_like of int
            Quality values, any shape.
        flags : int, optional
            The bits that make a value bad. Default: `DEFAULT_BITMASK`.

        Returns
        -------
        ndarray of bool
            True for good values; same shape as `quality`.

        Examples
        --------
        >>> TESSQualityFlags.filter([[0, 64]], flags=TESSQualityFlags.Desat).tolist()
        [[True, True]]
        """
        mask = cls.DEFAULT_BITMASK if flags is None else int(flags)
        return (np.asarray(quality) & mask) == 0

    @staticmethod
    def binary_repr(quality: int) -> str:
        """The value as 32 binary digits, most significant first.

        Examples
        --------
        >>> TESSQualityFlags.binary_repr(40)
        '00000000000000000000000000101000'
        """
        return np.binary_repr(int(quality), width=32)


class TESSQualityFlags(QualityFlagsBase):
    """Flags of a cadence as set by the TESS mission (`PIXEL_QUALITY` of a light curve).

    Examples
    --------
    >>> TESSQualityFlags.decode(32 + 4096)
    ['Reaction wheel desaturation event', 'Scattered light']
    >>> TESSQualityFlags.filter([0, 32, 2048]).tolist()
    [True, False, True]
    """

    AttitudeTweak = 1
    SafeMode = 2
    CoarsePoint = 4
    EarthPoint = 8
    ZeroCrossing = 16
    Desat = 32
    ApertureCosmic = 64
    ManualExclude = 128
    SensitivityDropout = 256
    ImpulsiveOutlier = 512
    CollateralCosmic = 1024
    EarthMoonPlanetInFOV = 2048
    ScatteredLight = 4096
    PlanetSearchExclude = 8192
    BadCalibrationExclude = 16384
    InsufficientTargets = 32768

    DEFAULT_BITMASK = (
        AttitudeTweak
        | SafeMode
        | CoarsePoint
        | EarthPoint
        | Desat
        | ApertureCosmic
        | ManualExclude
        | ScatteredLight
        | BadCalibrationExclude
    )
    HARD_BITMASK = DEFAULT_BITMASK | SensitivityDropout | CollateralCosmic
    #: Flags of the spacecraft and of whole exposures: a full frame image takes them over from any target
    #: pixel file.
    FFI_RELEVANT_BITMASK = (
        AttitudeTweak
        | SafeMode
        | CoarsePoint
        | EarthPoint
        | Desat
        | EarthMoonPlanetInFOV
        | BadCalibrationExclude
    )
    #: Flags that are set for each target by itself (scattered light from data release 27 on): a full frame
    #: image takes them over only where all target pixel files have them.
    FFI_RELEVANT_IF_COMMON_BITMASK = ScatteredLight

    STRINGS: ClassVar[dict[int, str]] = {
        1: "Attitude tweak",
        2: "Safe mode",
        4: "Spacecraft in coarse point",
        8: "Spacecraft in Earth point",
        16: "Reaction wheel zero crossing",
        32: "Reaction wheel desaturation event",
        64: "Cosmic ray in optimal aperture pixel",
        128: "Manual exclude",
        256: "Sudden sensitivity dropout",
        512: "Impulsive outlier",
        1024: "Cosmic ray in collateral data",
        2048: "Earth, Moon or other planet in camera field of view",
        4096: "Scattered light",
        8192: "Planet search exclude",
        16384: "Bad calibration exclude",
        32768: "Insufficient targets for error correction",
    }


class CorrectorQualityFlags(QualityFlagsBase):
    """Flags of a point of a light curve (`QUALITY` of a light curve).

    Examples
    --------
    >>> CorrectorQualityFlags.decode(256)
    ['Background shenanigans']
    """

    FlaggedBadData = 1
    ManualExclude = 2
    SigmaClip = 4
    JumpAdditiveConstant = 8
    JumpAdditiveLinear = 16
    JumpMultiplicativeConstant = 32
    JumpMultiplicativeLinear = 64
    Interpolated = 128
    BackgroundShenanigans = 256

    DEFAULT_BITMASK = FlaggedBadData | ManualExclude | SigmaClip | BackgroundShenanigans
    #: Those that the correction of systematics sets; the others are of the photometry.
    CORRECTION = (
        FlaggedBadData
        | SigmaClip
        | JumpAdditiveConstant
        | JumpAdditiveLinear
        | JumpMultiplicativeConstant
        | JumpMultiplicativeLinear
        | Interpolated
    )

    STRINGS: ClassVar[dict[int, str]] = {
        1: "Bad data based on pixel flags",
        2: "Manual exclude",
        4: "Point removed due to sigma clipping",
        8: "Jump corrected using additive constant",
        16: "Jump corrected using additive linear trend",
        32: "Jump corrected using multiplicative constant",
        64: "Jump corrected using multiplicative linear trend",
        128: "Point has been interpolated",
        256: "Background shenanigans",
    }


class PixelQualityFlags(QualityFlagsBase):
    """Flags of a pixel in a frame (`pixel_flags` of a cube).

    Examples
    --------
    >>> PixelQualityFlags.filter([1, 2, 4]).tolist()
    [True, False, True]
    """

    NotUsedForBackground = 1
    ManualExclude = 2
    BackgroundShenanigans = 4

    DEFAULT_BITMASK = ManualExclude

    STRINGS: ClassVar[dict[int, str]] = {
        1: "Not used for background",
        2: "Manual exclude",
        4: "Background shenanigans",
    }


def exposures_reached(
    start: NDArray[np.float64], stop: NDArray[np.float64], time: NDArray[np.float64], length: float
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Which exposures short cadences reach into: a cadence across the end of one reaches into two.

    Parameters
    ----------
    start, stop : ndarray, shape (T,)
        Of the exposures, increasing, days.
    time : ndarray, shape (N,)
        Mid times of the cadences on the same scale.
    length : float
        Of a cadence, days.

    Returns
    -------
    first, last : ndarray of int, shape (N,)
        Half-open ranges of exposures; `first` is not below `last` where there are none. An overlap of up to
        4 s (a quarter of a cadence, if that is less) does not count.

    Examples
    --------
    >>> start = np.array([0.0, 1.0, 2.0])
    >>> first, last = exposures_reached(start, start + 1.0, np.array([0.5, 1.0]), 0.1)
    >>> first.tolist(), last.tolist()
    ([0, 0], [1, 2])
    """
    reach = 0.5 * length - min(_NO_OVERLAP, 0.25 * length)
    first = np.searchsorted(stop, time - reach, side="right")
    last = np.searchsorted(start, time + reach, side="left")
    return first, last
