"""Full frame images as the mission writes them, or of a region of the CCD in the same form.

A file of a region says where it lies by its physical WCS: CRVAL1P and CRVAL2P are the full frame image
column and row (counted from 1) of its first pixel.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..core.times import DAY
from ..products.fits_bytes import CardTuple, hdu_bytes
from . import mission_cards as mission
from .options import SimulationOptions
from .pointing import Pointing
from .scene import BTC_PIXEL, Scene

__all__ = ["ffi_bytes", "ffi_name", "ffi_size"]


def ffi_name(scene: Scene, t: int) -> str:
    """File name of a frame."""
    options = scene.options
    date = mission.file_date(scene.frame_dates[t][0])
    ccd = f"s{options.sector:04d}-{options.camera}-{options.ccd}"
    name = f"tess{date}-{ccd}-{mission.SCCONFIG:04d}-s_ffic.fits"
    return f"{name}.gz" if options.gzip else name


def ffi_size(options: SimulationOptions) -> int:
    """Bytes of a frame's file before compression."""
    rows, columns = options.image_shape
    blocks = -(-4 * rows * columns // 2880) + 6
    return 2880 * (2 * blocks + 1)


def ffi_bytes(scene: Scene, t: int, image: NDArray[np.float32], error: NDArray[np.float32]) -> bytes:
    """The whole file of a frame, uncompressed, with valid checksums.

    Parameters
    ----------
    scene : Scene
    t : int
        Which frame.
    image, error : ndarray of float32, shape `options.image_shape`
        e-/s.
    """
    exposures = scene.frames.exposures
    begin = float(exposures.begin[t])
    end = begin + exposures.seconds / DAY
    dates = scene.frame_dates[t]
    parts = [hdu_bytes(_primary((begin, end), dates[:2], int(exposures.cadenceno[t]), exposures.seconds))]
    barycorr = float(scene.barycorr[t])
    shared = _time_and_detector(scene.options, (begin + barycorr, end + barycorr), dates[2:], barycorr)
    shared += _where(scene, t)
    for kind, data in (("cal", image), ("uncert", error)):
        cards = [*_image_start(scene.options, kind, data.shape), *shared]
        cards += [
            ("DQUALITY", int(exposures.quality[t]), "data quality flags"),
            ("IMAGTYPE", kind, " FFI image type: raw, cal, uncert"),
        ]
        parts.append(hdu_bytes(cards, data.astype(">f4").tobytes()))
    return b"".join(parts)


def _primary(
    span: tuple[float, float], dates: Sequence[str], cadenceno: int, seconds: int
) -> list[CardTuple]:
    return [
        *mission.primary_cards(2, "tasoc-mpi simulate FfiExporter", span, dates),
        ("ASTATE", True, "archive state F indicates single orbit processing"),
        ("SCCONFIG", mission.SCCONFIG, "spacecraft configuration ID"),
        ("FFIINDEX", cadenceno, "number of FFI cadence interval"),
        ("RADESYS", "ICRS", "reference frame of celestial coordinates"),
        ("EQUINOX", 2000.0, "equinox of celestial coordinate system"),
        *mission.cosmic_ray_cards(seconds),
    ]


def _image_start(options: SimulationOptions, kind: str, shape: tuple[int, ...]) -> list[CardTuple]:
    camera, ccd = options.camera, options.ccd
    return [
        ("XTENSION", "IMAGE", "Image extension"),
        ("BITPIX", -32, "array data type"),
        ("NAXIS", 2, "number of array dimensions"),
        ("NAXIS1", shape[1], "length of first array dimension"),
        ("NAXIS2", shape[0], "length of second array dimension"),
        ("PCOUNT", 0, "number of parameters"),
        ("GCOUNT", 1, "number of groups"),
        *mission.extension_cards(f"CAMERA.CCD {camera}.{ccd} {kind}"),
        ("CAMERA", camera, "Camera number"),
        ("CCD", ccd, "CCD chip number"),
    ]


def _time_and_detector(
    options: SimulationOptions, span: tuple[float, float], dates: Sequence[str], barycorr: float
) -> list[CardTuple]:
    """EXPOSURE to the layout of the CCD; `span` is BTJD."""
    _, used = mission.reads(options.cadence)
    return [
        *mission.time_cards(*span, dates, used * mission.INT_TIME / DAY, options.cadence),
        ("BTC_PIX1", BTC_PIXEL[0], "reference col for barycentric time correction"),
        ("BTC_PIX2", BTC_PIXEL[1], "reference row for barycentric time correction"),
        ("BUNIT", "electrons/s", "physical units of image data"),
        ("BARYCORR", barycorr, "[d] barycentric time correction"),
        *mission.exposure_cards(options.cadence),
        ("BACKAPP", False, "background is subtracted"),
        *mission.detector_cards(options.camera, options.ccd, options.cadence),
        *_layout_cards(),
    ]


def _where(scene: Scene, t: int) -> list[CardTuple]:
    """RADESYS to ROLL_NOM."""
    pointing, wcs = scene.pointing, scene.frames.wcs
    row0, column0 = scene.options.image_origin
    roll = (float(pointing.boresight[2]) + 180.0) % 360.0 - 180.0
    return [
        ("RADESYS", "ICRS", "reference frame of celestial coordinates"),
        ("EQUINOX", 2000.0, "equinox of celestial coordinate system"),
        *_wcs_cards(wcs.crval[t], wcs.cd[t], pointing.crpix - [column0, row0]),
        *_sip_cards(pointing),
        *mission.physical_cards(column0 + 1, row0 + 1),
        ("RA_NOM", float(pointing.boresight[0]), "[deg] RA of camera boresight"),
        ("DEC_NOM", float(pointing.boresight[1]), "[deg] DEC of camera boresight"),
        ("ROLL_NOM", roll, "[deg] roll angle of camera"),
    ]


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


def _wcs_cards(
    crval: NDArray[np.float64], cd: NDArray[np.float64], crpix: NDArray[np.float64]
) -> list[CardTuple]:
    """TAN-SIP in pixels of the file."""
    return [
        ("WCSAXES", 2, "number of WCS axes"),
        ("CTYPE1", "RA---TAN-SIP", "Gnomonic projection + SIP distortions"),
        ("CTYPE2", "DEC--TAN-SIP", "Gnomonic projection + SIP distortions"),
        ("CRVAL1", float(crval[0]), "RA at CRPIX1, CRPIX2"),
        ("CRVAL2", float(crval[1]), "DEC at CRPIX1, CRPIX2"),
        ("CRPIX1", float(crpix[0]), "X reference pixel"),
        ("CRPIX2", float(crpix[1]), "Y reference pixel"),
        *((f"CD{i + 1}_{j + 1}", float(cd[i, j]), "Transformation matrix") for i in (0, 1) for j in (0, 1)),
    ]


@functools.lru_cache(maxsize=1)
def _sip_cards(pointing: Pointing) -> list[CardTuple]:
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
