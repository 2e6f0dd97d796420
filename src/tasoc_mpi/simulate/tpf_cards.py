"""Header cards of target pixel files."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.times import DAY
from ..products.fits_bytes import CardTuple
from ..products.frame_wcs import COLUMN_CARDS
from . import mission_cards as mission
from .scene import Scene
from .stamps import Stamp
from .stars import j2000
from .timeline import Exposures

__all__ = ["ApertureFacts", "Target", "aperture", "cosmic_rays", "pixels", "primary", "table_dtype"]

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
#: Programs recognize the kind of a file by the second word.
CREATOR = "tasoc-mpi TargetPixelExporterPipelineModule"


@dataclass(frozen=True)
class ApertureFacts:
    """The optimal aperture."""

    pixels: int
    #: crowding, fraction: share of its light that is the star's, and of the star's light that it holds.
    crowding: float
    fraction: float


@dataclass(frozen=True)
class Target:
    """A star and the facts in the headers of its target pixel file."""

    scene: Scene
    exposures: Exposures  #: T of the files
    stamp: Stamp
    correction: NDArray[np.float64]  #: Shape (T,): barycentric correction of each, days
    wcs: tuple[CardTuple, ...]  #: As cards of an image
    aperture: ApertureFacts

    @property
    def starid(self) -> int:
        """TIC number."""
        return int(self.scene.stars.starid[self.stamp.star])

    @property
    def with_data(self) -> NDArray[np.intp]:
        """Indices of the exposures outside the data gap."""
        return np.flatnonzero(~self.exposures.gap)

    def span(self, barycentric: bool = False) -> tuple[float, float]:
        """Beginning and end of the exposures with data, TJD (TDB) or BTJD."""
        begin, (first, last) = self.exposures.begin, self.with_data[[0, -1]]
        start, end = float(begin[first]), float(begin[last]) + self.exposures.seconds / DAY
        if barycentric:
            return start + float(self.correction[first]), end + float(self.correction[last])
        return start, end


def table_dtype(shape: tuple[int, int]) -> np.dtype[np.void]:
    """The rows of the PIXELS table of a stamp of some (rows, columns)."""
    types = {"D": ">f8", "E": ">f4", "J": ">i4"}
    return np.dtype([(name, types[f.strip("[]")], shape if f[0] == "[" else ()) for name, f, *_ in COLUMNS])


def primary(target: Target) -> list[CardTuple]:
    """Cards of the primary HDU."""
    scene, k, span = target.scene, target.stamp.star, target.span()
    ra, dec = j2000(scene.stars, scene.epoch)[k].tolist()
    motion = float(scene.stars.pm_ra[k]), float(scene.stars.pm_decl[k])
    return [
        *mission.primary_cards(3, CREATOR, span, mission.calendar(span)),
        ("OBJECT", f"TIC {target.starid}", "string version of target id"),
        ("TICID", target.starid, "unique tess target identifier"),
        ("SECTOR", scene.options.sector, "Observing sector"),
        ("CAMERA", scene.options.camera, "Camera number"),
        ("CCD", scene.options.ccd, "CCD chip number"),
        ("PXTABLE", 128, "pixel table id"),
        ("RADESYS", "ICRS", "reference frame of celestial coordinates"),
        ("RA_OBJ", ra, "[deg] right ascension"),
        ("DEC_OBJ", dec, "[deg] declination"),
        ("EQUINOX", 2000.0, "equinox of celestial coordinate system"),
        ("PMRA", motion[0], "[mas/yr] RA proper motion"),
        ("PMDEC", motion[1], "[mas/yr] Dec proper motion"),
        ("PMTOTAL", math.hypot(*motion), "[mas/yr] total proper motion"),
        ("TESSMAG", float(scene.stars.tmag[k]), "[mag] TESS magnitude"),
        ("TEFF", float(scene.stars.teff[k]), "[K] Effective temperature"),
        ("LOGG", None, "[cm/s2] log10 surface gravity"),
        ("MH", None, "[log10([M/H])] metallicity"),
        ("RADIUS", None, "[solar radii] stellar radius"),
        ("TICVER", "simulated", "TIC version"),
        *mission.cosmic_ray_cards(target.exposures.seconds),
    ]


def _common(target: Target, extname: str) -> list[CardTuple]:
    stars, k = target.scene.stars, target.stamp.star
    return [
        *mission.extension_cards(extname),
        ("OBJECT", f"TIC {target.starid}", "string version of target id"),
        ("TICID", target.starid, "unique tess target identifier"),
        ("RADESYS", "ICRS", "reference frame of celestial coordinates"),
        ("RA_OBJ", float(stars.ra[k]), "[deg] right ascension"),
        ("DEC_OBJ", float(stars.decl[k]), "[deg] declination"),
        ("EQUINOX", 2000.0, "equinox of celestial coordinate system"),
    ]


def _table_start(row_size: int, rows: int, fields: int) -> list[CardTuple]:
    return [
        ("XTENSION", "BINTABLE", "marks the beginning of a new HDU"),
        ("BITPIX", 8, "array data type"),
        ("NAXIS", 2, "number of array dimensions"),
        ("NAXIS1", row_size, "length of first array dimension"),
        ("NAXIS2", rows, "length of second array dimension"),
        ("PCOUNT", 0, "group parameter count (not used)"),
        ("GCOUNT", 1, "group count (not used)"),
        ("TFIELDS", fields, "number of table fields"),
    ]


def pixels(target: Target, rows: int) -> list[CardTuple]:
    """Cards of the PIXELS table of `rows` rows."""
    options, stamp, seconds = target.scene.options, target.stamp, target.exposures.seconds
    cards = _table_start(table_dtype((stamp.rows, stamp.columns)).itemsize, rows, len(COLUMNS))
    for i, column in enumerate(COLUMNS, start=1):
        cards += _column(target, i, *column)
    span = target.span(barycentric=True)
    _, used = mission.reads(seconds)
    exposure = len(target.with_data) * used * mission.INT_TIME / DAY
    percentiles = ("0_5", "1_0", "2_0")
    return [
        *cards,
        *_common(target, "PIXELS"),
        *mission.time_cards(*span, mission.calendar(span), exposure, seconds),
        *mission.exposure_cards(seconds),
        ("BACKAPP", True, "background is subtracted"),
        *mission.detector_cards(options.camera, options.ccd, seconds),
        *((f"CDPP{x}", None, f"RMS CDPP on {x.replace('_', '.')}-hr time scales") for x in percentiles),
        ("CROWDSAP", target.aperture.crowding, "Ratio of target flux to total flux in op. ap."),
        ("FLFRCSAP", target.aperture.fraction, "Frac. of target flux w/in the op. aperture"),
    ]


def _column(
    target: Target, i: int, name: str, form: str, unit: str, display: str, comment: str
) -> list[CardTuple]:
    stamp = target.stamp
    image = form.startswith("[")
    form = f"{stamp.rows * stamp.columns}{form[1]}" if image else form
    cards = _column_start(i, name, form, unit, display, f"column title: {comment}")
    if not image:
        return cards
    cards.append((f"TDIM{i}", f"({stamp.columns},{stamp.rows})", "column dimensions: pixel aperture array"))
    if form.endswith("J"):
        cards.append((f"TNULL{i}", -1, "column null value indicator"))
    corner = (stamp.column + 1, stamp.row + 1)
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
    return cards + [(f"{COLUMN_CARDS[key]}{i}", value, comment) for key, value, comment in target.wcs]


def _column_start(i: int, name: str, form: str, unit: str, display: str, title: str) -> list[CardTuple]:
    """TTYPE to TDISP of a column of a table."""
    cards: list[CardTuple] = [(f"TTYPE{i}", name, title), (f"TFORM{i}", form, "column format")]
    cards += [(f"TUNIT{i}", unit, "column units")] if unit else []
    return [*cards, (f"TDISP{i}", display, "column display format")]


def aperture(target: Target) -> list[CardTuple]:
    """Cards of the APERTURE image."""
    return [
        ("XTENSION", "IMAGE", "marks the beginning of a new HDU"),
        ("BITPIX", 32, "array data type"),
        ("NAXIS", 2, "number of array dimensions"),
        ("NAXIS1", target.stamp.columns, "length of first array dimension"),
        ("NAXIS2", target.stamp.rows, "length of second array dimension"),
        ("PCOUNT", 0, "group parameter count (not used)"),
        ("GCOUNT", 1, "group count (not used)"),
        *_common(target, "APERTURE"),
        ("WCSAXES", 2, "number of WCS axes"),
        *target.wcs,
        *mission.physical_cards(target.stamp.column + 1, target.stamp.row + 1),
        ("NPIXSAP", target.aperture.pixels, "Number of pixels in optimal aperture"),
        ("NPIXMISS", 0, "Number of op. aperture pixels not collected"),
    ]


def cosmic_rays() -> list[CardTuple]:
    """Cards of the table of cosmic rays that were taken out on the ground: none are."""
    cards = _table_start(12, 0, 4)
    columns = (("CADENCENO", "J", "", "I10"), ("RAWX", "I", "pixel", "I4"), ("RAWY", "I", "pixel", "I4"))
    for i, column in enumerate((*columns, ("COSMIC_RAY", "E", "e-/s", "E14.7")), start=1):
        cards += _column_start(i, *column, "column title")
    return cards + mission.extension_cards("TARGET COSMIC RAY")[:4]
