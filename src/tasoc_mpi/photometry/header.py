"""Header cards of a light curve file."""

from __future__ import annotations

import datetime
import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, UsageError
from ..core.quality import TESSQualityFlags
from ..core.times import BTJD_ZERO
from ..products.extra_hdu import added_card
from ..products.fits_bytes import CardTuple, NumberCards, card, cards_bytes, known_cards
from ..products.fits_read import header_cards
from .sources import Source
from .stamp import Stamp

__all__ = ["TIME_CARDS", "exposure_seconds", "primary_cards", "table_cards", "wcs_cards"]

_JD_EPOCH = int(BTJD_ZERO)
#: How the times of a light curve count, for readers of the mission's files and of the FITS standard.
TIME_CARDS: tuple[CardTuple, ...] = (
    ("TIMEREF", "SOLARSYSTEM", "barycentric correction applied to times"),
    ("TREFPOS", "BARYCENTER", "where the times are measured"),
    ("TIMESYS", "TDB", "time system is Barycentric Dynamical Time (TDB)"),
    ("JDREF", BTJD_ZERO, "[d] reference date of TIME"),
    ("BJDREFI", _JD_EPOCH, "integer part of BTJD reference date"),
    ("BJDREFF", 0.0, "fraction of the day in BTJD reference date"),
    ("TIMEUNIT", "d", "time unit for TIME, TSTART and TSTOP"),
)
#: Photon accumulation time and duration of a single exposure, seconds.
_INT_TIME, _FRAME_TIME = 1.98, 2.0


def primary_cards(
    source: Source,
    target: Mapping[str, Any],
    method: str,
    version: int,
    additional: Mapping[str, tuple[Any, str]],
) -> list[bytes]:
    """Cards of the primary header after the structural ones; `additional` are those of the method.

    Those that the stars of a source have in common are formatted once.

    Raises
    ------
    UsageError
        If an additional card cannot be one, or is one of the file's own.
    """
    key = ("primary", method, version)
    first, star, keywords = source.formatted(key, lambda: _common_cards(source, method, version))
    pm_ra, pm_dec = target["pm_ra"], target["pm_decl"]
    starid = target["starid"]
    numbers = (
        # The star of a cut-out may have no number (0).
        starid or None,
        target["ra_J2000"],
        target["decl_J2000"],
        pm_ra,
        pm_dec,
        math.hypot(pm_ra, pm_dec),
        target["tmag"],
        target["teff"],
    )
    added = b"".join([added_card(keyword, entry) for keyword, entry in additional.items()])
    if not keywords.isdisjoint(additional):
        taken = min(keywords & additional.keys())
        raise UsageError(f"header card {taken!r}: the file sets it itself; choose another keyword")
    name = f"OBJECT  = {f'TIC {starid:<4}'!r:<20} / string version of TICID".ljust(80) if starid else ""
    return [b"".join((first, name.encode("ascii"), star(*numbers), added, _DATAVAL))]


_TICID = ("TICID", "unique TESS target identifier")
_STAR = (
    ("RA_OBJ", "[deg] right ascension (J2000)"),
    ("DEC_OBJ", "[deg] declination (J2000)"),
    ("PMRA", "[mas/yr] RA proper motion"),
    ("PMDEC", "[mas/yr] Dec proper motion"),
    ("PMTOTAL", "[mas/yr] total proper motion"),
    ("TESSMAG", "[mag] TESS magnitude"),
    ("TEFF", "[K] effective temperature"),
)
_DATAVAL = card("DATAVAL", 0, "data validation flags")
#: Keywords of the cards of `primary_cards` that differ from star to star.
_OWN_KEYWORDS = {
    "OBJECT", "TICID", "RA_OBJ", "DEC_OBJ", "PMRA", "PMDEC", "PMTOTAL", "TESSMAG", "TEFF", "DATAVAL",
}  # fmt: skip


def _common_cards(source: Source, method: str, version: int) -> tuple[bytes, NumberCards, set[str]]:
    """The cards before the star's name, those behind it, and all keywords."""
    facts = source.facts
    parts: list[list[CardTuple]] = [
        [
            ("TELESCOP", "TESS", "telescope"),
            ("INSTRUME", "TESS Photometer", "detector type"),
            ("FILTER", "TESS", "photometric bandpass"),
        ],
        [
            ("CAMERA", source.camera, "camera number"),
            ("CCD", source.ccd, "CCD number"),
            ("SECTOR", source.sector, "observing sector"),
            ("PROCVER", facts["PROCVER"], "version of the processing of the pixels"),
            *([("SIMULATD", True, "light curve of simulated pixels")] if facts["SIMULATD"] else []),
            ("FILEVER", "1.5", "file format version"),
            ("DATA_REL", facts["DATA_REL"], "data release number"),
            ("VERSION", version, "version of the light curve"),
            ("PHOTMET", method, "photometric method used"),
            ("RADESYS", "ICRS", "reference frame of celestial coordinates"),
            ("EQUINOX", 2000.0, "equinox of celestial coordinate system"),
        ],
        [
            ("TICVER", source.catalog.settings.ticver or None, "version of the TESS input catalog"),
            ("CRMITEN", facts["CRMITEN"], "spacecraft cosmic ray mitigation enabled"),
            ("CRBLKSZ", facts["CRBLKSZ"], "[exposures] s/c cosmic ray mitigation block size"),
            ("CRSPOC", facts["CRSPOC"], "SPOC cosmic ray cleaning enabled"),
        ],
    ]
    keywords = {keyword for part in parts for keyword, _, _ in part} | _OWN_KEYWORDS
    first, between, behind = (cards_bytes(known_cards(part)) for part in parts)
    return first, NumberCards(_TICID, between, *_STAR, behind), keywords


_BTJD_START = datetime.date(2014, 12, 8)  # JD 2457000.0 is its noon
_DAY = 86_400_000  # ms


@functools.lru_cache(maxsize=64)
def _tdb_minus_utc(day: int) -> float:
    """TDB - UTC in seconds on a day of BTJD, to the millisecond; the leap seconds are ERFA's."""
    import erfa

    tdb = float(_JD_EPOCH + day)
    # Their difference is wanted to a millisecond: TDB may stand for TT here, and UTC for UT.
    tai = erfa.tttai(tdb, 0.0)
    utc = erfa.taiutc(*tai)
    tai_utc = round((tai[0] - utc[0] + tai[1] - utc[1]) * 86400.0)
    ut = (utc[0] % 1.0 + utc[1] + 0.5) % 1.0
    return round(float(erfa.dtdb(tdb, 0.0, ut, 0.0, 0.0, 0.0)) + 32.184 + tai_utc, 3)


def _calendar(btjd: float) -> str:
    """A time as a UTC calendar date with milliseconds."""
    utc = btjd - _tdb_minus_utc(math.floor(btjd)) / 86400.0
    day, milliseconds = divmod(round(utc * _DAY) + _DAY // 2, _DAY)
    seconds, milliseconds = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{_date(day)}T{hours:02d}:{minutes:02d}:{seconds:02d}.{milliseconds:03d}Z"


@functools.lru_cache(maxsize=64)
def _date(day: int) -> str:
    """The calendar date so many days after that on which BTJD begins."""
    return (_BTJD_START + datetime.timedelta(days=day)).isoformat()


_LENGTH = len("yyyy-mm-ddThh:mm:ss.sssZ")
_ELAPSED = (
    ("TSTART", "observation start time in BTJD"),
    ("TSTOP", "observation stop time in BTJD"),
    ("DATE-OBS", "TSTART as UTC calendar date", _LENGTH),
    ("DATE-END", "TSTOP as UTC calendar date", _LENGTH),
    ("MJD-BEG", "observation start time in MJD (TDB)"),
    ("MJD-END", "observation stop time in MJD (TDB)"),
    ("TELAPSE", "[d] TSTOP - TSTART"),
    ("LIVETIME", "[d] TELAPSE multiplied by DEADC"),
)
_ON_SOURCE = ("EXPOSURE", "[d] time on source")


def table_cards(source: Source, columns: Mapping[str, NDArray[Any]]) -> list[bytes]:
    """Cards of the light curve table after the structural ones.

    Those that the stars of a source have in common are formatted once.
    """
    cards, dead_time, exposure = source.formatted("table", lambda: _exposure_cards(source))
    step = source.cadence / 86400.0
    time = columns["time"]
    start, stop = time[0].item() - step / 2, time[-1].item() + step / 2
    on_source = None
    if exposure is not None:
        used = np.isfinite(columns["flux"]) & TESSQualityFlags.filter(columns["quality"])
        on_source = int(np.count_nonzero(used)) * exposure / 86400.0
    begin, end = start + _JD_EPOCH - 2400000.5, stop + _JD_EPOCH - 2400000.5
    live_time = None if dead_time is None else (stop - start) * dead_time
    dates = _calendar(start), _calendar(stop)
    return [cards(start, stop, *dates, begin, end, stop - start, live_time, on_source)]


def _exposure_cards(source: Source) -> tuple[NumberCards, float | None, float | None]:
    """The cards of `table_cards`; DEADC and XPOSURE as numbers."""
    int_time, frame_time = _INT_TIME, _FRAME_TIME
    facts = source.facts
    dead_time = _live_fraction(facts["CRMITEN"], facts["CRBLKSZ"], int_time / frame_time)
    n_frames = facts["NUM_FRM"] or round(source.cadence / frame_time)
    exposure = None if dead_time is None else n_frames * frame_time * dead_time
    dead: list[CardTuple] = [("DEADC", dead_time, "deadtime correction")]
    behind: list[CardTuple] = [
        ("XPOSURE", exposure, "[s] duration of exposure"),
        ("TIMEPIXR", 0.5, "bin time beginning=0 middle=0.5 end=1"),
        ("TIMEDEL", source.cadence / 86400.0, "[d] time resolution of data"),
        ("INT_TIME", int_time, "[s] photon accumulation time per frame"),
        ("READTIME", round(frame_time - int_time, 2), "[s] readout time per frame"),
        ("FRAMETIM", frame_time, "[s] frame time (INT_TIME + READTIME)"),
        ("NUM_FRM", n_frames, "number of frames per time stamp"),
        ("NREADOUT", facts["NREADOUT"], "number of reads per cadence"),
        ("EPHEM", source.ephemeris or None, "what the barycentric times are from"),
    ]
    first, middle, last = (cards_bytes(known_cards(part)) for part in (TIME_CARDS, dead, behind))
    return NumberCards(first, *_ELAPSED, middle, _ON_SOURCE, last), dead_time, exposure


def exposure_seconds(source: Source) -> float:
    """Time during which light was collected in a frame; without the mitigation of cosmic rays if unknown."""
    facts = source.facts
    read = _INT_TIME / _FRAME_TIME
    fraction = _live_fraction(facts["CRMITEN"], facts["CRBLKSZ"], read)
    frames = facts["NUM_FRM"] or round(source.cadence / _FRAME_TIME)
    return frames * _FRAME_TIME * (read if fraction is None else fraction)


def _live_fraction(mitigated: bool | None, block: int | None, read: float) -> float | None:
    """Share of the time in which light is collected, `read` in one exposure; None where unknown.

    The cosmic ray mitigation (card CRMITEN) drops the brightest and the faintest value of a pixel of every
    `block` of exposures (CRBLKSZ).
    """
    if not mitigated:
        return None if mitigated is None else read
    return read * (block - 2) / block if block and block > 2 else None


#: How the keywords begin that describe the world coordinates of an image; CRPIX is each stamp's own.
_WCS_KEYWORDS = (
    "WCSAXES", "CTYPE", "CRVAL", "CUNIT", "CD1_", "CD2_", "PC1_", "PC2_", "CDELT",
    "A_", "B_", "AP_", "BP_", "RADESYS", "EQUINOX", "LONPOLE", "LATPOLE",
)  # fmt: skip


#: The cards of `wcs_cards` behind those of the sky that all stamps have: of the columns and rows of the CCD.
_REFERENCE = (
    ("CRPIX1", "[pixel] reference pixel along image axis 1"),
    ("CRPIX2", "[pixel] reference pixel along image axis 2"),
)
_CCD_COLUMN: tuple[CardTuple, ...] = (
    ("WCSNAMEP", "PHYSICAL", "name of world coordinate system alternate P"),
    ("WCSAXESP", 2, "number of WCS physical axes"),
    ("CTYPE1P", "RAWX", "physical WCS axis 1 type CCD col"),
    ("CUNIT1P", "PIXEL", "physical WCS axis 1 unit"),
    ("CRPIX1P", 1, "reference CCD column"),
)
_CCD_ROW: tuple[CardTuple, ...] = (
    ("CDELT1P", 1.0, "physical WCS axis 1 step"),
    ("CTYPE2P", "RAWY", "physical WCS axis 2 type CCD row"),
    ("CUNIT2P", "PIXEL", "physical WCS axis 2 unit"),
    ("CRPIX2P", 1, "reference CCD row"),
)
_CCD_END: tuple[CardTuple, ...] = (("CDELT2P", 1.0, "physical WCS axis 2 step"),)


def _wcs_template(header: str) -> tuple[NumberCards, float, float]:
    """Cards of `wcs_cards`, and the reference pixel (column, row), 1-based."""
    found = list(header_cards(header))
    sky = [
        one
        for one in found
        if one[0].startswith(_WCS_KEYWORDS) and not (one[0][-1] == "P" and one[0][-2:-1].isdigit())
    ]
    cards = NumberCards(
        cards_bytes(sky),
        *_REFERENCE,
        cards_bytes(_CCD_COLUMN),
        ("CRVAL1P", "value at reference CCD column"),
        cards_bytes(_CCD_ROW),
        ("CRVAL2P", "value at reference CCD row"),
        cards_bytes(_CCD_END),
    )
    values = {keyword: value for keyword, value, _ in found}
    return cards, float(values["CRPIX1"]), float(values["CRPIX2"])


def wcs_cards(source: Source, stamp: Stamp) -> list[bytes]:
    """World coordinates of a stamp's images, celestial and of the CCD (1-based, alternate P)."""
    row_min, _, col_min, _ = stamp
    try:
        cards, column, row = source.formatted("wcs", lambda: _wcs_template(source.wcs_header))
    except (KeyError, ValueError, TypeError):
        raise InputError(
            f"{source.path}: the header of its world coordinates has no reference pixel; make it again"
        ) from None
    return [cards(column - col_min, row - row_min, col_min + 1, row_min + 1)]
