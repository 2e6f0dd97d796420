"""Header cards that the mission's full frame images and target pixel files have in common."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.times import BTJD_ZERO, DAY
from ..products.fits_bytes import CardTuple
from .timeline import CAMERA_DELAY, CCD_DELAY

__all__ = [
    "GAIN",
    "INT_TIME",
    "READ_NOISE",
    "SCCONFIG",
    "calendar",
    "cosmic_ray_cards",
    "detector_cards",
    "exposure_cards",
    "extension_cards",
    "file_date",
    "fixed_offset",
    "output_bit",
    "physical_cards",
    "primary_cards",
    "reads",
    "time_cards",
]

#: Seconds of light in a read, and from one read to the next.
INT_TIME, FRAME_TIME = 1.98, 2.0
#: Of this many reads the brightest and the faintest value of each pixel are dropped on board.
CRBLKSZ = 10
#: Electrons a count and electrons a read, the same for the four outputs of the simulated CCDs.
GAIN, READ_NOISE = 5.24, 10.0
#: A release whose times need no correction and whose frames are numbered.
DATA_REL = 42
PROCVER = "tasoc-mpi-simulate-1"
SCCONFIG = 120
OUTPUTS = "ABCD"


def cosmic_ray_cards(seconds: int) -> tuple[CardTuple, ...]:
    """The end of every primary header. Exposures of 20 s have no mitigation on board."""
    return (
        ("CRMITEN", seconds >= 120, "spacecraft cosmic ray mitigation enabled"),
        ("CRBLKSZ", CRBLKSZ, "[exposures] s/c cosmic ray mitigation block siz"),
        ("CRSPOC", False, "SPOC cosmic ray cleaning enabled"),
    )


def reads(seconds: int) -> tuple[int, int]:
    """Reads in an exposure, and those of them that are added up.

    The others have the highest and lowest values, cosmic rays among them; of 20 s all are added up.

    >>> reads(1800), reads(20)
    ((900, 720), (10, 10))
    """
    frames = round(seconds / FRAME_TIME)
    if seconds < 120:
        return frames, frames
    return frames, frames * (CRBLKSZ - 2) // CRBLKSZ


def output_bit(columns: ArrayLike) -> NDArray[np.int32]:
    """Bit of the CCD output that reads a 0-based full frame image column: 32, 64, 128 or 256.

    >>> output_bit([44, 2091]).tolist()
    [32, 256]
    """
    output = np.clip((np.asarray(columns) - 44) // 512, 0, 3)
    return (32 << output).astype("i4")


def calendar(time: ArrayLike) -> list[str]:
    """TJD (TDB) as UTC calendar dates to the millisecond.

    >>> calendar([1325.5])
    ['2018-07-25T23:58:50.817Z']
    """
    from astropy.time import Time

    moments = Time(BTJD_ZERO, np.atleast_1d(time), format="jd", scale="tdb", precision=3)
    return [f"{text}Z" for text in moments.utc.isot]


def file_date(date: str) -> str:
    """A UTC calendar date as file names have it: year, day of the year, hour, minute and second.

    >>> file_date("2018-07-25T23:58:50.816Z")
    '2018206235850'
    """
    return f"{datetime.fromisoformat(date.rstrip('Z')):%Y%j%H%M%S}"


def primary_cards(
    extensions: int, creator: str, span: tuple[float, float], dates: Sequence[str]
) -> list[CardTuple]:
    """SIMPLE to DATA_REL; `span` is the spacecraft time (TJD, TDB) of beginning and end."""
    return [
        ("SIMPLE", True, "conforms to FITS standards"),
        ("BITPIX", 8, "array data type"),
        ("NAXIS", 0, "number of array dimensions"),
        ("EXTEND", True, "file contains extensions"),
        ("NEXTEND", extensions, "number of standard extensions"),
        ("EXTNAME", "PRIMARY", "name of extension"),
        ("EXTVER", 1, "extension version number (not format version)"),
        ("SIMDATA", True, "file is based on simulated data"),
        ("ORIGIN", "tasoc-mpi simulate", "institution responsible for creating this file"),
        ("DATE", dates[1][:10], "file creation date."),
        ("TSTART", span[0], "observation start time in TJD"),
        ("TSTOP", span[1], "observation stop time in TJD"),
        ("DATE-OBS", dates[0], "TSTART as UTC calendar date"),
        ("DATE-END", dates[1], "TSTOP as UTC calendar date"),
        ("CREATOR", creator, "program used to produce this file"),
        ("PROCVER", PROCVER, "SW version"),
        ("FILEVER", "1.0", "file format version"),
        ("TIMVERSN", "OGIP/93-003", "OGIP memo number for file format"),
        ("TELESCOP", "TESS", "telescope"),
        ("INSTRUME", "TESS Photometer", "detector type"),
        ("DATA_REL", DATA_REL, "data release version number"),
    ]


def extension_cards(name: str) -> list[CardTuple]:
    """INHERIT to INSTRUME of an extension."""
    return [
        ("INHERIT", True, "inherit the primary header"),
        ("EXTNAME", name, "name of extension"),
        ("EXTVER", 1, "extension version number (not format version)"),
        ("SIMDATA", True, "file is based on simulated data"),
        ("TELESCOP", "TESS", "telescope"),
        ("INSTRUME", "TESS Photometer", "detector type"),
    ]


def exposure_cards(seconds: int) -> list[CardTuple]:
    """INT_TIME to TIMEDEL."""
    frames, _ = reads(seconds)
    return [
        ("INT_TIME", INT_TIME, "[s] photon accumulation time per frame"),
        ("READTIME", round(FRAME_TIME - INT_TIME, 2), "[s] readout time per frame"),
        ("FRAMETIM", FRAME_TIME, "[s] frame time (INT_TIME + READTIME)"),
        ("NUM_FRM", frames, "number of frames per time stamp"),
        ("TIMEDEL", seconds / DAY, "[d] time resolution of data"),
    ]


def time_cards(
    begin: float, end: float, dates: Sequence[str], exposure: float, seconds: int
) -> list[CardTuple]:
    """EXPOSURE to TIERRELA of an extension: BTJD, days on source, and the seconds of an exposure."""
    deadc = deadtime(seconds)
    return [
        ("EXPOSURE", exposure, "[d] time on source"),
        ("TIMEREF", "SOLARSYSTEM", "barycentric correction applied to times"),
        ("TASSIGN", "SPACECRAFT", "where time is assigned"),
        ("TIMESYS", "TDB", "time system is Barycentric Dynamical Time (TDB)"),
        ("BJDREFI", int(BTJD_ZERO), "integer part of BTJD reference date"),
        ("BJDREFF", 0.0, "fraction of the day in BTJD reference date"),
        ("TIMEUNIT", "d", "time unit for TIME, TSTART and TSTOP"),
        ("TELAPSE", end - begin, "[d] TSTOP - TSTART"),
        ("LIVETIME", (end - begin) * deadc, "[d] TELAPSE multiplied by DEADC"),
        ("TSTART", begin, "observation start time in BTJD"),
        ("TSTOP", end, "observation stop time in BTJD"),
        ("DATE-OBS", dates[0], "TSTART as UTC calendar date"),
        ("DATE-END", dates[1], "TSTOP as UTC calendar date"),
        ("DEADC", deadc, "deadtime correction"),
        ("TIMEPIXR", 0.5, "bin time beginning=0 middle=0.5 end=1"),
        ("TIERRELA", 1.16e-5, "[d] relative time error"),
    ]


def deadtime(seconds: int) -> float:
    """Share of the elapsed time of an exposure in which light was collected and kept.

    >>> deadtime(1800), deadtime(20)
    (0.792, 0.99)
    """
    frames, used = reads(seconds)
    return round(INT_TIME / FRAME_TIME * used / frames, 6)


def detector_cards(camera: int, ccd: int, seconds: int) -> list[CardTuple]:
    """BACKAPP is not among them: it differs between images and target pixel files."""
    _, used = reads(seconds)
    cards: list[CardTuple] = [
        ("DEADAPP", True, "deadtime applied"),
        ("VIGNAPP", True, "vignetting or collimator correction applied"),
    ]
    cards += [(f"GAIN{x}", GAIN, f"[electrons/count] CCD output {x} gain") for x in OUTPUTS]
    cards += [(f"READNOI{x}", READ_NOISE, f"[electrons] read noise CCD output {x}") for x in OUTPUTS]
    delay = CAMERA_DELAY[camera - 1] + CCD_DELAY * (ccd - 1)
    cards += [
        ("NREADOUT", used, "number of read per cadence"),
        ("FXDOFF", fixed_offset(seconds), "compression fixed offset"),
        (f"TMOFST{camera}{ccd}", round(delay, 6), f"(s) readout delay for camera {camera} and ccd {ccd}"),
    ]
    cards += [(f"MEANBLC{x}", 6500, f"[count] FSW mean black level CCD output {x}") for x in OUTPUTS]
    return cards


def fixed_offset(seconds: int) -> int:
    """Counts that are added to an exposure on board."""
    return 209700 if seconds <= 120 else 3355400


def physical_cards(column: int, row: int) -> list[CardTuple]:
    """The alternate WCS that says where an image lies: 1-based full frame image pixel of its first pixel."""
    return [
        ("WCSNAMEP", "PHYSICAL", "name of world coordinate system alternate P"),
        ("WCSAXESP", 2, "number of WCS physical axes"),
        ("CTYPE1P", "RAWX", "physical WCS axis 1 type CCD col"),
        ("CUNIT1P", "PIXEL", "physical WCS axis 1 unit"),
        ("CRPIX1P", 1, "reference CCD column"),
        ("CRVAL1P", column, "value at reference CCD column"),
        ("CDELT1P", 1.0, "physical WCS axis 1 step"),
        ("CTYPE2P", "RAWY", "physical WCS axis 2 type CCD row"),
        ("CUNIT2P", "PIXEL", "physical WCS axis 2 units"),
        ("CRPIX2P", 1, "reference CCD row"),
        ("CRVAL2P", row, "value at reference CCD row"),
        ("CDELT2P", 1.0, "physical WCS axis 2 step"),
    ]
