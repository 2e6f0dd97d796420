"""Light curves as contributed products of MAST (HLSP): their names and headers.

The names have the fields that MAST asks of contributed products, and the headers its common keywords and
those of light curves (https://outerspace.stsci.edu/display/MASTDOCS/HLSP+Contributor+Guide).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ..core.errors import InputError, one_line
from ..core.times import BTJD_ZERO, DAY
from ..core.yaml_file import read_yaml
from .corrected_file import LightCurveTable
from .fits_bytes import CardTuple, cards_bytes, checksummed_header, known_cards
from .fits_read import is_number
from .raw_curve import raw_curve

__all__ = ["HLSPSettings", "hlsp_bytes", "hlsp_name", "read_hlsp_settings"]

_LICENCE = "https://creativecommons.org/licenses/by/4.0/"
#: The form of each setting, and its description. MAST restricts the first two, which are parts of names.
_FORMS = {
    "id": (r"[a-z][a-z0-9-]{0,18}[a-z0-9]", "2 to 20 lower-case letters, digits and hyphens"),
    "version": (r"v[1-9]\d?(\.\d{1,2}(\.[a-z0-9]{1,2})?)?", "v1 or v1.0, for example"),
    "doi": (r"10\.\d{4,9}/\S+", "10.17909/..., without https://doi.org/"),
}
_CARD = 80
#: No light curve is of a day farther from BTJD 0.
_MOST_DAYS = 1e5


@dataclass(frozen=True)
class HLSPSettings:
    """What MAST wants to know of a collection."""

    id: str  #: Identifier of the collection, part of all names
    name: str  #: Title of the project
    lead: str  #: Full name of its lead
    version: str  #: Of the collection, part of all names
    doi: str  #: Of the collection
    reference: str | None = None  #: Bibliographic code or DOI of the paper
    proposal: str | None = None  #: Identifier of the observing proposal


def read_hlsp_settings(path: str | os.PathLike[str]) -> HLSPSettings:
    """Read the settings of a collection from a YAML file.

    Raises
    ------
    MissingInput
        If there is no such file.
    InputError
        If it cannot be read, a setting is missing or not known, or has a value that MAST refuses.
    """
    known = [one.name for one in fields(HLSPSettings)]
    values = read_yaml(path, "correct it")
    if not isinstance(values, dict):
        raise InputError(f"{path}: has no settings; it needs {', '.join(known[:5])}")
    # A setting without a value is not there.
    values = {name: value for name, value in values.items() if value not in ("", "~", "null")}
    if unknown := sorted(map(str, values.keys() - set(known))):
        raise InputError(f"{path}: no setting {unknown[0]}; those of a collection are {', '.join(known)}")
    if missing := [name for name in known[:5] if name not in values]:
        raise InputError(f"{path}: {missing[0]} is missing; MAST asks for {', '.join(known[:5])}")
    for name, value in values.items():
        form, meaning = _FORMS.get(name, (r"[ -&(-~]+", "a text in ASCII without quotation marks"))
        if not (isinstance(value, str) and re.fullmatch(form, value, re.ASCII)):
            raise InputError(f"{path}: {name} is {one_line(str(value))[:40]!r} and not {meaning}; correct it")
    return HLSPSettings(**values)


def hlsp_name(settings: HLSPSettings, table: LightCurveTable) -> str:
    """Path of a light curve in the collection: sector, cadence and a part of the TIC number, and its name."""
    curve = raw_curve(table)
    starid, sector, cadence = curve.starid, curve.sector, f"c{curve.cadence:04d}"
    target = f"tic{starid:011d}-s{sector:04d}-{curve.camera}-{curve.ccd}-{cadence}"
    name = f"hlsp_{settings.id}_tess_phot_{target}_tess_{settings.version}_lc.fits"
    return f"s{sector:04d}/{cadence}/{starid:011d}"[:-6] + f"/{name}"


def hlsp_bytes(settings: HLSPSettings, table: LightCurveTable) -> bytes:
    """The uncompressed file of a light curve with the headers of the collection.

    Pixels, columns and all other cards stay as they are, but EQUINOX goes: MAST forbids it beside ICRS.
    """
    content, primary, head = table.content, table.primary.values, table.hdu.values
    first = _with_cards(content[: table.primary.start], _common(settings, primary, head), ("EQUINOX",))
    where: list[CardTuple] = [
        ("RA_TARG", primary.get("RA_OBJ"), "[deg] right ascension of the target (J2000)"),
        ("DEC_TARG", primary.get("DEC_OBJ"), "[deg] declination of the target (J2000)"),
        ("RADESYS", "ICRS", "reference frame of celestial coordinates"),
        ("FILTER", "TESS", "photometric bandpass"),
    ]
    data = content[table.hdu.start : table.end]
    second = _with_cards(content[table.start : table.hdu.start], where, ())
    return b"".join(
        (
            checksummed_header(first, b""),
            checksummed_header(second, data.ljust(-(-len(data) // 2880) * 2880, b"\0")),
            data,
            content[table.end :],
        )
    )


def _common(settings: HLSPSettings, primary: Mapping[str, Any], values: Mapping[str, Any]) -> list[CardTuple]:
    """The common keywords of all products."""
    from astropy.time import Time

    times = [values.get(key) for key in ("TSTART", "TSTOP")]
    begin, end = (float(time) if is_number(time) and abs(time) < _MOST_DAYS else np.nan for time in times)
    dates: Sequence[str | None] = [None, None]
    if np.isfinite([begin, end]).all():
        dates = Time(BTJD_ZERO, [begin, end], format="jd", scale="tdb", precision=3).isot
    zero = BTJD_ZERO - 2400000.5
    exposure = values.get("EXPOSURE")
    return [
        ("HLSPID", settings.id, "identifier of this HLSP collection"),
        ("HLSPNAME", settings.name, "title of this HLSP project"),
        ("HLSPLEAD", settings.lead, "full name of the HLSP project lead"),
        ("HLSPVER", settings.version, "version of this HLSP product"),
        ("HLSPTARG", str(primary.get("OBJECT")), "designation of the target"),
        ("DOI", settings.doi, "DOI of the HLSP collection"),
        ("REFERENC", settings.reference, "bibliographic identifier of the paper"),
        ("PROPOSID", settings.proposal, "observing proposal"),
        ("LICENSE", "CC BY 4.0", "license of these data"),
        ("LICENURL", _LICENCE, "data license URL"),
        ("OBSERVAT", "TESS", "observatory"),
        ("TIMESYS", "TDB", "time system of the dates"),
        ("DATE-BEG", dates[0], "start of the observation (TDB)"),
        ("DATE-END", dates[1], "end of the observation (TDB)"),
        ("MJD-BEG", begin + zero, "[d] start of the observation (TDB)"),
        ("MJD-MID", (begin + end) / 2 + zero, "[d] middle of the observation (TDB)"),
        ("MJD-END", end + zero, "[d] end of the observation (TDB)"),
        ("TELAPSE", (end - begin) * DAY, "[s] from start to end"),
        ("XPOSURE", exposure * DAY if is_number(exposure) else None, "[s] time on source"),
    ]


def _with_cards(header: bytes, cards: Sequence[CardTuple], without: Sequence[str]) -> bytes:
    """The cards of a header up to its checksums, without some, and then others in place of those it has."""
    added = known_cards(cards)
    gone = {keyword.ljust(8).encode() for keyword in (*without, *(one[0] for one in added))}
    kept = []
    for at in range(0, len(header), _CARD):
        one = header[at : at + _CARD]
        if one[:8] in (b"DATASUM ", b"CHECKSUM", b"END     "):
            break
        if one[:8] not in gone:
            kept.append(one)
    return b"".join(kept) + cards_bytes(added)
