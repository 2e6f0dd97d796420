"""Full frame images as the mission writes them, or of a region of the CCD in the same form.

A file of a region says where it lies by its physical WCS: CRVAL1P and CRVAL2P are the full frame image
column and row (counted from 1) of its first pixel.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..products.fits_bytes import CardTuple, hdu_bytes
from ..products.frame_wcs import FrameWCS
from .mission_cards import (
    CRBLKSZ,
    DATA_REL,
    INT_TIME,
    PROCVER,
    SCCONFIG,
    calendar,
    detector_cards,
    exposure_cards,
    physical_cards,
    reads,
    time_cards,
)
from .options import SimulationOptions
from .pointing import Pointing
from .timeline import DAY, Exposures

__all__ = ["BTC_PIXEL", "FrameFacts", "facts_of", "ffi_bytes", "ffi_name", "ffi_size", "sip_cards"]

#: Full frame image (column, row), counted from 1, that the barycentric correction is for.
BTC_PIXEL = (1068.0, 1024.0)


@dataclass(frozen=True)
class FrameFacts:
    """What the headers of one frame say.

    Attributes
    ----------
    begin, end : float
        Spacecraft time (TJD, TDB), days.
    barycorr : float
        Days.
    dates, barycentric_dates : (str, str)
        UTC calendar dates of begin and end, with and without the barycentric correction.
    cadenceno, quality : int
    crval, cd : ndarray, shape (2,), (2, 2)
    """

    begin: float
    end: float
    barycorr: float
    dates: tuple[str, str]
    barycentric_dates: tuple[str, str]
    cadenceno: int
    quality: int
    crval: NDArray[np.float64]
    cd: NDArray[np.float64]


def ffi_name(options: SimulationOptions, date: str) -> str:
    """File name of a frame that begins at the UTC calendar date `date`."""
    from datetime import datetime

    begin = datetime.fromisoformat(date.rstrip("Z"))
    where = f"s{options.sector:04d}-{options.camera}-{options.ccd}-{SCCONFIG:04d}"
    name = f"tess{begin:%Y%j%H%M%S}-{where}-s_ffic.fits"
    return f"{name}.gz" if options.gzip else name


def ffi_size(options: SimulationOptions) -> int:
    """Bytes of a frame's file before compression."""
    rows, columns = options.image_shape
    blocks = -(-4 * rows * columns // 2880) + 6
    return 2880 * (2 * blocks + 1)


def ffi_bytes(
    options: SimulationOptions,
    pointing: Pointing,
    sip: list[CardTuple],
    facts: FrameFacts,
    image: NDArray[np.float32],
    error: NDArray[np.float32],
) -> bytes:
    """The whole file, uncompressed, with valid checksums.

    Parameters
    ----------
    options : SimulationOptions
    pointing : Pointing
    sip : list of (keyword, value, comment)
        From `sip_cards`.
    facts : FrameFacts
    image, error : ndarray of float32, shape `options.image_shape`
        e-/s.
    """
    parts = [hdu_bytes(_primary(facts))]
    for kind, data in (("cal", image), ("uncert", error)):
        cards = _image(options, pointing, sip, facts, kind, data.shape)
        parts.append(hdu_bytes(cards, data.astype(">f4").tobytes()))
    return b"".join(parts)


def _primary(facts: FrameFacts) -> list[CardTuple]:
    return [
        ("SIMPLE", True, "conforms to FITS standards"),
        ("BITPIX", 8, "array data type"),
        ("NAXIS", 0, "number of array dimensions"),
        ("EXTEND", True, "file contains extensions"),
        ("NEXTEND", 2, "number of standard extensions"),
        ("EXTNAME", "PRIMARY", "name of extension"),
        ("EXTVER", 1, "extension version number (not format version)"),
        ("SIMDATA", True, "file is based on simulated data"),
        ("ORIGIN", "tasoc-mpi simulate", "institution responsible for creating this file"),
        ("DATE", facts.dates[1][:10], "file creation date."),
        ("TSTART", facts.begin, "observation start time in TJD"),
        ("TSTOP", facts.end, "observation stop time in TJD"),
        ("DATE-OBS", facts.dates[0], "TSTART as UTC calendar date"),
        ("DATE-END", facts.dates[1], "TSTOP as UTC calendar date"),
        ("CREATOR", "tasoc-mpi simulate FfiExporter", "program used to produce this file"),
        ("PROCVER", PROCVER, "SW version"),
        ("FILEVER", "1.0", "file format version"),
        ("TIMVERSN", "OGIP/93-003", "OGIP memo number for file format"),
        ("TELESCOP", "TESS", "telescope"),
        ("INSTRUME", "TESS Photometer", "detector type"),
        ("DATA_REL", DATA_REL, "data release version number"),
        ("ASTATE", True, "archive state F indicates single orbit processing"),
        ("SCCONFIG", SCCONFIG, "spacecraft configuration ID"),
        ("FFIINDEX", facts.cadenceno, "number of FFI cadence interval"),
        ("RADESYS", "ICRS", "reference frame of celestial coordinates"),
        ("EQUINOX", 2000.0, "equinox of celestial coordinate system"),
        ("CRMITEN", True, "spacecraft cosmic ray mitigation enabled"),
        ("CRBLKSZ", CRBLKSZ, "[exposures] s/c cosmic ray mitigation block siz"),
        ("CRSPOC", False, "SPOC cosmic ray cleaning enabled"),
    ]


def _image(
    options: SimulationOptions,
    pointing: Pointing,
    sip: list[CardTuple],
    facts: FrameFacts,
    kind: str,
    shape: tuple[int, ...],
) -> list[CardTuple]:
    camera, ccd = options.camera, options.ccd
    _, used = reads(options.cadence)
    begin, end = facts.begin + facts.barycorr, facts.end + facts.barycorr
    roll = (float(pointing.boresight[2]) + 180.0) % 360.0 - 180.0
    row0, column0 = options.image_origin
    cards: list[CardTuple] = [
        ("XTENSION", "IMAGE", "Image extension"),
        ("BITPIX", -32, "array data type"),
        ("NAXIS", 2, "number of array dimensions"),
        ("NAXIS1", shape[1], "length of first array dimension"),
        ("NAXIS2", shape[0], "length of second array dimension"),
        ("PCOUNT", 0, "number of parameters"),
        ("GCOUNT", 1, "number of groups"),
        ("INHERIT", True, "inherit the primary header"),
        ("EXTNAME", f"CAMERA.CCD {camera}.{ccd} {kind}", "name of extension"),
        ("EXTVER", 1, "extension version number (not format version)"),
        ("SIMDATA", True, "file is based on simulated data"),
        ("TELESCOP", "TESS", "telescope"),
        ("INSTRUME", "TESS Photometer", "detector type"),
        ("CAMERA", camera, "Camera number"),
        ("CCD", ccd, "CCD chip number"),
        *time_cards(begin, end, facts.barycentric_dates, used * INT_TIME / DAY),
        ("BTC_PIX1", BTC_PIXEL[0], "reference col for barycentric time correction"),
        ("BTC_PIX2", BTC_PIXEL[1], "reference row for barycentric time correction"),
        ("BUNIT", "electrons/s", "physical units of image data"),
        ("BARYCORR", facts.barycorr, "[d] barycentric time correction"),
        *exposure_cards(options.cadence),
        ("BACKAPP", False, "background is subtracted"),
        *detector_cards(camera, ccd, options.cadence),
        *_layout_cards(),
        ("RADESYS", "ICRS", "reference frame of celestial coordinates"),
        ("EQUINOX", 2000.0, "equinox of celestial coordinate system"),
        *_wcs_cards(pointing, facts, (column0, row0)),
        *sip,
        *physical_cards(column0 + 1, row0 + 1),
        ("RA_NOM", float(pointing.boresight[0]), "[deg] RA of camera boresight"),
        ("DEC_NOM", float(pointing.boresight[1]), "[deg] DEC of camera boresight"),
        ("ROLL_NOM", roll, "[deg] roll angle of camera"),
        ("DQUALITY", facts.quality, "data quality flags"),
        ("IMAGTYPE", kind, " FFI image type: raw, cal, uncert"),
    ]
    return cards


@functools.cache
def _layout_cards() -> tuple[CardTuple, ...]:
    """Where the collateral pixels of a full frame image are, counted from 1."""
    cards: list[CardTuple] = []
    for i, x in enumerate("ABCD"):
        cards += [
            (f"LVCS{x}", 1 + 11 * i, f"serial register col start, output {x}"),
            (f"LVCE{x}", 11 + 11 * i, f"serial register col end (inclusive), output {x}"),
            (f"TVCS{x}", 2093 + 11 * i, f"trailing virtual column start, output {x}"),
            (f"TVCE{x}", 2103 + 11 * i, f"trailing virtual column end (inclusive), output {x}"),
            (f"SCCS{x}", 45 + 512 * i, f"science col start, output {x}"),
            (f"SCCE{x}", 556 + 512 * i, f"science col end (inclusive), output {x}"),
            (f"SCICOLH{x}", i == 0, "T science cols are read increasing order else d"),
        ]
    for name, words, first, last in (
        ("SCI", "science", 1, 2048),
        ("V", "virtual", 2069, 2078),
        ("SM", "smear", 2059, 2068),
        ("BF", "buffer", 2049, 2058),
    ):
        cards.append((f"{name}ROWS", first, f"{words} row start"))
        cards.append((f"{name}ROWE", last, f"{words} row end (inclusive)"))
    return tuple(cards)


def _wcs_cards(pointing: Pointing, facts: FrameFacts, origin: tuple[int, int]) -> list[CardTuple]:
    """TAN-SIP for the pixels of a file whose first pixel is the full frame image (column, row) `origin`."""
    cards: list[CardTuple] = [
        ("WCSAXES", 2, "number of WCS axes"),
        ("CTYPE1", "RA---TAN-SIP", "Gnomonic projection + SIP distortions"),
        ("CTYPE2", "DEC--TAN-SIP", "Gnomonic projection + SIP distortions"),
        ("CRVAL1", float(facts.crval[0]), "RA at CRPIX1, CRPIX2"),
        ("CRVAL2", float(facts.crval[1]), "DEC at CRPIX1, CRPIX2"),
        ("CRPIX1", float(pointing.crpix[0]) - origin[0], "X reference pixel"),
        ("CRPIX2", float(pointing.crpix[1]) - origin[1], "Y reference pixel"),
    ]
    cards += [
        (f"CD{i + 1}_{j + 1}", float(facts.cd[i, j]), "Transformation matrix") for i in (0, 1) for j in (0, 1)
    ]
    return cards


def sip_cards(pointing: Pointing) -> list[CardTuple]:
    """The distortion, which is the same in all frames of a CCD."""
    polynomials = (pointing.a, pointing.b, pointing.ap, pointing.bp)
    order = polynomials[0].shape[0] - 1
    cards: list[CardTuple] = []
    for names, lowest, words in ((("A", "B"), 2, ""), (("AP", "BP"), 1, "inv ")):
        inverse = lowest == 1
        cards += [
            (f"{x}_ORDER", order, f"{words}polynomial order, axis {i + 1}") for i, x in enumerate(names)
        ]
        for i, x in enumerate(names):
            c = polynomials[i + 2 * inverse]
            terms = [(n - q, q) for n in range(lowest, order + 1) for q in range(n + 1)]
            cards += [(f"{x}_{p}_{q}", float(c[p, q]), f"{words}distortion coefficient") for p, q in terms]
    u, v = np.meshgrid(np.linspace(-1000, 1047, 33), np.linspace(-1000, 1047, 33))
    for i, x in enumerate("AB"):
        value = float(np.abs(np.polynomial.polynomial.polyval2d(u, v, polynomials[i])).max())
        cards.append((f"{x}_DMAX", value, f"maximum distortion, axis {i + 1}"))
    return cards


def facts_of(exposures: Exposures, barycorr: NDArray[np.float64], wcs: FrameWCS) -> list[FrameFacts]:
    """The facts of every frame.

    Parameters
    ----------
    exposures : Exposures
    barycorr : ndarray, shape (T,)
        Days.
    wcs : FrameWCS
        Of T frames.
    """
    begin = exposures.begin
    end = begin + exposures.seconds / DAY
    texts = [calendar(t) for t in (begin, end, begin + barycorr, end + barycorr)]
    return [
        FrameFacts(
            begin=float(begin[t]),
            end=float(end[t]),
            barycorr=float(barycorr[t]),
            dates=(texts[0][t], texts[1][t]),
            barycentric_dates=(texts[2][t], texts[3][t]),
            cadenceno=int(exposures.cadenceno[t]),
            quality=int(exposures.quality[t]),
            crval=wcs.crval[t],
            cd=wcs.cd[t],
        )
        for t in range(len(begin))
    ]
