"""Header cards of target pixel files."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..products.fits_bytes import CardTuple
from . import mission_cards as c
from .options import SimulationOptions
from .timeline import DAY

__all__ = ["ApertureFacts", "Target", "aperture", "cosmic_rays", "pixels", "primary"]

#: Name, FITS format of one value, unit, display and comment of the columns of PIXELS. A format in
#: brackets is that of one pixel.
COLUMNS = (
    ("TIME", "D", "BJD - 2457000, days", "D14.7", "data time stamps"),
    ("TIMECORR", "E", "d", "E14.7", "barycentric correction"),
    ("CADENCENO", "J", "", "I10", "unique cadence number"),
    ("RAW_CNTS", "[J]", "count", "I8", "raw pixel counts"),
    ("FLUX", "[E]", "e-/s", "E14.7", "calibrated pixel flux"),
    ("FLUX_ERR", "[E]", "e-/s", "E14.7", "1-sigma calibrated uncertainty"),
    ("FLUX_BKG", "[E]", "e-/s", "E14.7", "calibrated background flux"),
    ("FLUX_BKG_ERR", "[E]", "e-/s", "E14.7", "1-sigma cal. background uncertain"),
    ("QUALITY", "J", "", "B16.16", "pixel quality flags"),
    ("POS_CORR1", "E", "pixel", "E14.7", "column position correction"),
    ("POS_CORR2", "E", "pixel", "E14.7", "row position correction"),
)
#: From the cards of an image's WCS to those of a table column `n`.
COLUMN_WCS = {
    "CTYPE1": "1CTYP{n}",
    "CTYPE2": "2CTYP{n}",
    "CRPIX1": "1CRPX{n}",
    "CRPIX2": "2CRPX{n}",
    "CRVAL1": "1CRVL{n}",
    "CRVAL2": "2CRVL{n}",
    "CUNIT1": "1CUNI{n}",
    "CUNIT2": "2CUNI{n}",
    "CDELT1": "1CDLT{n}",
    "CDELT2": "2CDLT{n}",
    "PC1_1": "11PC{n}",
    "PC1_2": "12PC{n}",
    "PC2_1": "21PC{n}",
    "PC2_2": "22PC{n}",
}


@dataclass(frozen=True)
class ApertureFacts:
    """The optimal aperture.

    Attributes
    ----------
    pixels : int
    crowding, fraction : float
        Share of its light that is the star's, and of the star's light that it holds.
    """

    pixels: int
    crowding: float
    fraction: float


@dataclass(frozen=True)
class Target:
    """What the headers of a target pixel file say.

    Attributes
    ----------
    options : SimulationOptions
    starid : int
    tmag, teff : float
    position, position_j2000 : (float, float)
        Right ascension and declination, degrees: at the time of observation, and at J2000.
    motion : (float, float)
        mas/yr.
    span : (float, float)
        Spacecraft time (TJD, TDB) of beginning and end.
    correction : (float, float)
        Barycentric correction of the first and the last exposure, days.
    exposures : int
        Number of exposures with data.
    seconds : int
        Length of an exposure.
    corner : (int, int)
        Full frame image (row, column) of the first pixel, 0-based.
    shape : (int, int)
        Rows and columns.
    wcs : tuple of (keyword, value, comment)
        As cards of an image.
    aperture : ApertureFacts
    """

    options: SimulationOptions
    starid: int
    tmag: float
    teff: float
    position: tuple[float, float]
    position_j2000: tuple[float, float]
    motion: tuple[float, float]
    span: tuple[float, float]
    correction: tuple[float, float]
    exposures: int
    seconds: int
    corner: tuple[int, int]
    shape: tuple[int, int]
    wcs: tuple[CardTuple, ...]
    aperture: ApertureFacts


def primary(target: Target) -> list[CardTuple]:
    """Cards of the primary HDU."""
    dates = c.calendar(target.span)
    o = target.options
    return [
        ("SIMPLE", True, "conforms to FITS standards"),
        ("BITPIX", 8, "array data type"),
        ("NAXIS", 0, "number of array dimensions"),
        ("EXTEND", True, "file contains extensions"),
        ("NEXTEND", 3, "number of standard extensions"),
        ("EXTNAME", "PRIMARY", "name of extension"),
        ("EXTVER", 1, "extension version number (not format version)"),
        ("SIMDATA", True, "file is based on simulated data"),
        ("ORIGIN", "tasoc-mpi simulate", "institution responsible for creating this file"),
        ("DATE", dates[1][:10], "file creation date."),
        ("TSTART", target.span[0], "observation start time in TJD"),
        ("TSTOP", target.span[1], "observation stop time in TJD"),
        ("DATE-OBS", dates[0], "TSTART as UTC calendar date"),
        ("DATE-END", dates[1], "TSTOP as UTC calendar date"),
        # Readers tell the kind of a file by the second word.
        ("CREATOR", "tasoc-mpi TargetPixelExporterPipelineModule", "program used to produce this file"),
        ("PROCVER", c.PROCVER, "SW version"),
        ("FILEVER", "1.0", "file format version"),
        ("TIMVERSN", "OGIP/93-003", "OGIP memo number for file format"),
        ("TELESCOP", "TESS", "telescope"),
        ("INSTRUME", "TESS Photometer", "detector type"),
        ("DATA_REL", c.DATA_REL, "data release version number"),
        ("OBJECT", f"TIC {target.starid}", "string version of target id"),
        ("TICID", target.starid, "unique tess target identifier"),
        ("SECTOR", o.sector, "Observing sector"),
        ("CAMERA", o.camera, "Camera number"),
        ("CCD", o.ccd, "CCD chip number"),
        ("PXTABLE", 128, "pixel table id"),
        ("RADESYS", "ICRS", "reference frame of celestial coordinates"),
        ("RA_OBJ", target.position_j2000[0], "[deg] right ascension"),
        ("DEC_OBJ", target.position_j2000[1], "[deg] declination"),
        ("EQUINOX", 2000.0, "equinox of celestial coordinate system"),
        ("PMRA", target.motion[0], "[mas/yr] RA proper motion"),
        ("PMDEC", target.motion[1], "[mas/yr] Dec proper motion"),
        ("PMTOTAL", math.hypot(*target.motion), "[mas/yr] total proper motion"),
        ("TESSMAG", target.tmag, "[mag] TESS magnitude"),
        ("TEFF", target.teff, "[K] Effective temperature"),
        ("LOGG", None, "[cm/s2] log10 surface gravity"),
        ("MH", None, "[log10([M/H])] metallicity"),
        ("RADIUS", None, "[solar radii] stellar radius"),
        ("TICVER", "simulated", "TIC version"),
        ("CRMITEN", True, "spacecraft cosmic ray mitigation enabled"),
        ("CRBLKSZ", c.CRBLKSZ, "[exposures] s/c cosmic ray mitigation block siz"),
        ("CRSPOC", False, "SPOC cosmic ray cleaning enabled"),
    ]


def _common(target: Target, extname: str) -> list[CardTuple]:
    return [
        ("INHERIT", True, "inherit the primary header"),
        ("EXTNAME", extname, "name of extension"),
        ("EXTVER", 1, "extension version number (not format version)"),
        ("SIMDATA", True, "file is based on simulated data"),
        ("TELESCOP", "TESS", "telescope"),
        ("INSTRUME", "TESS Photometer", "detector type"),
        ("OBJECT", f"TIC {target.starid}", "string version of target id"),
        ("TICID", target.starid, "unique tess target identifier"),
        ("RADESYS", "ICRS", "reference frame of celestial coordinates"),
        ("RA_OBJ", target.position[0], "[deg] right ascension"),
        ("DEC_OBJ", target.position[1], "[deg] declination"),
        ("EQUINOX", 2000.0, "equinox of celestial coordinate system"),
    ]


def pixels(target: Target, row_size: int, rows: int) -> list[CardTuple]:
    """Cards of the PIXELS table of `rows` rows of `row_size` bytes."""
    cards: list[CardTuple] = [
        ("XTENSION", "BINTABLE", "marks the beginning of a new HDU"),
        ("BITPIX", 8, "array data type"),
        ("NAXIS", 2, "number of array dimensions"),
        ("NAXIS1", row_size, "length of first array dimension"),
        ("NAXIS2", rows, "length of second array dimension"),
        ("PCOUNT", 0, "group parameter count (not used)"),
        ("GCOUNT", 1, "group count (not used)"),
        ("TFIELDS", len(COLUMNS), "number of table fields"),
    ]
    for i, column in enumerate(COLUMNS, start=1):
        cards += _column(target, i, *column)
    cards += _common(target, "PIXELS")
    begin, end = (t + x for t, x in zip(target.span, target.correction, strict=True))
    _, used = c.reads(target.seconds)
    dates = c.calendar((begin, end))
    cards += c.time_cards(begin, end, (dates[0], dates[1]), target.exposures * used * c.INT_TIME / DAY)
    cards += c.exposure_cards(target.seconds)
    cards.append(("BACKAPP", True, "background is subtracted"))
    cards += c.detector_cards(target.options.camera, target.options.ccd, target.seconds)
    cards += [
        (f"CDPP{x}", None, f"RMS CDPP on {x.replace('_', '.')}-hr time scales") for x in ("0_5", "1_0", "2_0")
    ]
    cards += [
        ("CROWDSAP", target.aperture.crowding, "Ratio of target flux to total flux in op. ap."),
        ("FLFRCSAP", target.aperture.fraction, "Frac. of target flux w/in the op. aperture"),
    ]
    return cards


def _column(
    target: Target, i: int, name: str, form: str, unit: str, display: str, comment: str
) -> list[CardTuple]:
    rows, columns = target.shape
    image = form.startswith("[")
    cards: list[CardTuple] = [(f"TTYPE{i}", name, f"column title: {comment}")]
    form = f"{rows * columns}{form[1]}" if image else form
    cards.append((f"TFORM{i}", form, "column format"))
    if unit:
        cards.append((f"TUNIT{i}", unit, "column units"))
    cards.append((f"TDISP{i}", display, "column display format"))
    if not image:
        return cards
    cards.append((f"TDIM{i}", f"({columns},{rows})", "column dimensions: pixel aperture array"))
    if form.endswith("J"):
        cards.append((f"TNULL{i}", -1, "column null value indicator"))
    corner = (target.corner[1] + 1, target.corner[0] + 1)
    cards += [
        (f"WCSN{i}P", "PHYSICAL", "table column WCS name"),
        (f"WCAX{i}P", 2, "table column physical WCS dimensions"),
    ]
    cards += [
        (f"{k}CTY{i}P", f"RAW{'XY'[k - 1]}", f"table column physical WCS axis {k} type, CCD") for k in (1, 2)
    ]
    cards += [(f"{k}CUN{i}P", "PIXEL", f"table column physical WCS axis {k} unit") for k in (1, 2)]
    cards += [(f"{k}CRV{i}P", corner[k - 1], f"table column physical WCS ax {k} ref value") for k in (1, 2)]
    cards += [(f"{k}CDL{i}P", 1.0, f"table column physical WCS a{k} step") for k in (1, 2)]
    cards += [(f"{k}CRP{i}P", 1, f"table column physical WCS a{k} reference") for k in (1, 2)]
    cards.append((f"WCAX{i}", 2, "number of WCS axes"))
    cards += [(COLUMN_WCS[key].format(n=i), value, words) for key, value, words in target.wcs]
    return cards


def aperture(target: Target) -> list[CardTuple]:
    """Cards of the APERTURE image."""
    return [
        ("XTENSION", "IMAGE", "marks the beginning of a new HDU"),
        ("BITPIX", 32, "array data type"),
        ("NAXIS", 2, "number of array dimensions"),
        ("NAXIS1", target.shape[1], "length of first array dimension"),
        ("NAXIS2", target.shape[0], "length of second array dimension"),
        ("PCOUNT", 0, "group parameter count (not used)"),
        ("GCOUNT", 1, "group count (not used)"),
        *_common(target, "APERTURE"),
        ("WCSAXES", 2, "number of WCS axes"),
        *target.wcs,
        *c.physical_cards(target.corner[1] + 1, target.corner[0] + 1),
        ("NPIXSAP", target.aperture.pixels, "Number of pixels in optimal aperture"),
        ("NPIXMISS", 0, "Number of op. aperture pixels not collected"),
    ]


def cosmic_rays() -> list[CardTuple]:
    """Cards of the table of cosmic rays that were taken out on the ground: none are."""
    cards: list[CardTuple] = [
        ("XTENSION", "BINTABLE", "marks the beginning of a new HDU"),
        ("BITPIX", 8, "array data type"),
        ("NAXIS", 2, "number of array dimensions"),
        ("NAXIS1", 12, "length of first array dimension"),
        ("NAXIS2", 0, "length of second array dimension"),
        ("PCOUNT", 0, "group parameter count (not used)"),
        ("GCOUNT", 1, "group count (not used)"),
        ("TFIELDS", 4, "number of table fields"),
    ]
    columns = (("CADENCENO", "J", "", "I10"), ("RAWX", "I", "pixel", "I4"), ("RAWY", "I", "pixel", "I4"))
    for i, (name, form, unit, display) in enumerate(
        (*columns, ("COSMIC_RAY", "E", "e-/s", "E14.7")), start=1
    ):
        cards += [(f"TTYPE{i}", name, "column title"), (f"TFORM{i}", form, "column format")]
        if unit:
            cards.append((f"TUNIT{i}", unit, "column units"))
        cards.append((f"TDISP{i}", display, "column display format"))
    cards += [
        ("INHERIT", True, "inherit the primary header"),
        ("EXTNAME", "TARGET COSMIC RAY", "name of extension"),
        ("EXTVER", 1, "extension version number (not format version)"),
        ("SIMDATA", True, "file is based on simulated data"),
    ]
    return cards
