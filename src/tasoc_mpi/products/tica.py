"""Full frame images of TICA, the quick-look calibration of TESS (Fausnaugh et al. 2020, RNAAS 4, 251).

They differ from the mission's: the image is in the primary HDU, in electrons a cadence instead of
electrons a second; there are no uncertainties, and times (STARTTJD, ENDTJD) are those at the spacecraft
without a barycentric correction. The header is translated to the mission's cards, so that everything
else treats both kinds alike.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.quality import TESSQualityFlags
from ..core.times import BTJD_ZERO, DAY
from .ffi_info import FFIInfo, card_number, check_ccd, ffi_info, parse_ffi_name, science_pixels
from .fits_read import HDU, WAY_OUT, Extension, FITSReader, float_image

__all__ = ["scan_tica"]

#: Seconds from read-out to read-out of a CCD.
_FRAME_TIME = 2.0
#: Seconds of these 2 in which light is collected.
_INTEGRATION = 1.98
#: Of 10 read-outs the highest and the lowest are left out on board against cosmic rays.
_KEPT = 0.8
#: Electrons, of one read-out (TESS Instrument Handbook: 7 to 11 for the 64 outputs).
_READ_NOISE = 10.0
#: Cadences of full frame images, seconds; and how far the times of a frame may be from one, the two
#: seconds of a read-out and what times are rounded to.
_CADENCES = (200, 600, 1800)
_TOLERANCE = 5.0


@dataclass(frozen=True)
class TicaPixels:
    """Pixels in electrons a cadence, and what is needed to have them in electrons a second."""

    exposure: float  #: Seconds in which light was collected
    read_outs: float  #: Number of read-outs that were added

    def read(
        self, info: FFIInfo, first: int, last: int, errors: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Some rows of science pixels and their errors, e-/s.

        The errors are those of the photons (of star and sky) and of the read-outs.
        """
        with FITSReader(info.path) as reader:
            electrons = science_pixels(reader, info, info.image, first, last)
            if errors and last == info.shape[0]:
                reader.check_end()
        # Pixels can be anything: what is not finite is not used later.
        with np.errstate(invalid="ignore", over="ignore"):
            flux = electrons / np.float32(self.exposure)
            if not errors:
                return flux, None
            variance = np.maximum(electrons, 0) + np.float32(self.read_outs * _READ_NOISE**2)
            return flux, (np.sqrt(variance) / self.exposure).astype("f4")


def scan_tica(path: str | os.PathLike[str]) -> FFIInfo:
    """Read the header of a full frame image of TICA.

    Parameters
    ----------
    path : path-like
        ``hlsp_tica_tess_ffi_sSSSS-oO-NNNNNNNN-camC-ccdD_tess_v01_img.fits``, also compressed.

    Returns
    -------
    FFIInfo
        With the mission's cards: TSTART and TSTOP at the spacecraft (BARYCORR is zero and
        `spacecraft_times` set), FFIINDEX, DQUALITY, NUM_FRM, CRMITEN and so on. DATA_REL is 0.

    Raises
    ------
    MissingInput
        If there is no such file.
    InputError
        If the file is truncated, is not a frame of TICA, or is of another CCD than its name says.
    """
    path = Path(path)
    name = parse_ffi_name(path)
    assert name is not None
    with FITSReader(path) as reader:
        hdu = reader.hdu()
        image = _image(path, hdu)
        if not reader.compressed:
            reader.check_size(image.stop)
    values = hdu.values
    camera, ccd = (values.get(key, values.get(old)) for key, old in (("CAMNUM", "CAM"), ("CCDNUM", "CCD")))
    check_ccd(path, {"CAMNUM": camera, "CCDNUM": ccd}, name[1:3])
    header, pixels = _translated(path, values, name)
    return ffi_info(
        path,
        name[:3],
        header,
        hdu.cards,
        image,
        pixels=pixels,
        spacecraft_times=True,
        compressed=reader.compressed,
    )


def _image(path: Path, hdu: HDU) -> Extension:
    """Place of the pixels behind the primary header."""
    image = float_image(path, hdu)
    units = str(hdu.values.get("UNITS") or "electrons").strip().lower()
    if units not in ("electrons", "electron", "e-", "e"):
        raise InputError(f"{path}: its pixels are in {units}, not in electrons; {WAY_OUT}")
    return image


def _translated(
    path: Path, values: Mapping[str, Any], name: tuple[int, int, int, str]
) -> tuple[dict[str, Any], TicaPixels]:
    """The header with the mission's cards, and the exposure."""
    shift = card_number(path, values, "TJD_ZERO") - BTJD_ZERO if "TJD_ZERO" in values else 0.0
    start, stop = (card_number(path, values, key) + shift for key in ("STARTTJD", "ENDTJD"))
    seconds = (stop - start) * DAY
    cadence = min(_CADENCES, key=lambda c: abs(c - seconds))
    if abs(cadence - seconds) > _TOLERANCE:
        raise InputError(f"{path}: {seconds:.1f} s from STARTTJD to ENDTJD, not 200, 600 or 1800; {WAY_OUT}")
    mitigated = bool(values.get("CRM", True))
    read_outs = cadence / _FRAME_TIME * (_KEPT if mitigated else 1.0)
    number = values["CADENCE"] if "CADENCE" in values else int(name[3])
    header = {
        **values,
        "SECTOR": name[0],
        "CAMERA": name[1],
        "CCD": name[2],
        "TSTART": start,
        "TSTOP": stop,
        "BARYCORR": 0.0,
        "DQUALITY": _quality(values, name[1]),
        "FFIINDEX": number,
        "FRAMETIM": _FRAME_TIME,
        "NUM_FRM": round(cadence / _FRAME_TIME),
        "NREADOUT": round(read_outs),
        "CRMITEN": mitigated,
        "CRBLKSZ": 10 if values.get("CRM_N") is None else values["CRM_N"],
        "CRSPOC": False,
        # No release of the mission's: none of its releases' errors of times are in these.
        "DATA_REL": 0,
        # Patches may come in the middle of a sector, and change no pixels.
        "PROCVER": f"tica-{'.'.join(str(values.get('TICAVER') or 'unknown').split('.')[:2])}",
        "BACKAPP": False,
    }
    return header, TicaPixels(read_outs * _INTEGRATION, read_outs)


def _quality(values: Mapping[str, Any], camera: int) -> int:
    """The mission's flags that the header's own ones mean.

    COARSE, RW_DESAT and STRAYLTn are in headers from sector 67 on. QUAL_BIT says that something is
    wrong, not what.
    """
    quality = 0
    mode = str(values.get("ACS_MODE") or "FP").strip()
    if values.get("COARSE") or mode not in ("FP", "FINE"):
        quality |= TESSQualityFlags.CoarsePoint
    if values.get("RW_DESAT"):
        quality |= TESSQualityFlags.Desat
    if values.get(f"STRAYLT{camera}"):
        quality |= TESSQualityFlags.EarthMoonPlanetInFOV
    if values.get("QUAL_BIT") and not quality:
        quality |= TESSQualityFlags.ManualExclude
    return quality
