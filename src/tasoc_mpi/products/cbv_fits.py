"""Co-trending basis vectors as the FITS file of the mission's form, which lightkurve reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.atomic import write_whole
from .cbv_file import Vectors
from .fits_bytes import CardTuple, hdu_bytes
from .lightcurve import origin_cards

__all__ = ["write_fits"]


def write_fits(path: Path, vectors: Vectors) -> None:
    """Write vectors as FITS; the file appears whole or not at all.

    The extensions are ``CBV.single-scale.CAMERA.CCD`` with the slow parts and ``CBV.spike.CAMERA.CCD`` with
    the spikes, their columns TIME, CADENCENO, GAP and VECTOR_1, VECTOR_2 ...

    Raises
    ------
    OSError
        If it cannot be written.
    """
    primary: list[CardTuple] = [
        ("SIMPLE", True, "conforms to FITS standards"),
        ("BITPIX", 8, "array data type"),
        ("NAXIS", 0, "number of array dimensions"),
        ("EXTEND", True, "file contains extensions"),
        ("NEXTEND", 2, "number of standard extensions"),
        ("EXTNAME", "PRIMARY", "name of extension"),
        *origin_cards(),
        ("TELESCOP", "TESS", "telescope"),
        ("INSTRUME", "TESS Photometer", "detector type"),
        ("SECTOR", vectors.sector, "observing sector"),
        ("CADENCE", vectors.cadence, "[s] cadence of the light curves"),
        ("CBV_AREA", vectors.area, "area of the CCD"),
    ]
    parts = {"single-scale": vectors.slow, "spike": vectors.spikes}
    data = [hdu_bytes(primary)]
    for kind, values in parts.items():
        data.append(_table(f"CBV.{kind}.{vectors.camera}.{vectors.ccd}", vectors, values))
    write_whole(path, b"".join(data))


def _table(name: str, vectors: Vectors, values: NDArray[np.float64]) -> bytes:
    columns: list[tuple[str, str, str, NDArray[Any]]] = [
        ("TIME", "D", ">f8", vectors.time),
        ("CADENCENO", "J", ">i4", vectors.cadenceno),
        ("GAP", "L", "S1", np.where(vectors.good, b"F", b"T")),
        *((f"VECTOR_{k + 1}", "E", ">f4", values[:, k]) for k in range(vectors.count)),
    ]
    table = np.empty(len(vectors.time), dtype=[(title, dtype) for title, _, dtype, _ in columns])
    for title, _, _, column in columns:
        table[title] = column
    cards: list[CardTuple] = [
        ("XTENSION", "BINTABLE", "binary table extension"),
        ("BITPIX", 8, "array data type"),
        ("NAXIS", 2, "number of array dimensions"),
        ("NAXIS1", table.dtype.itemsize, "length of first array dimension"),
        ("NAXIS2", len(table), "length of second array dimension"),
        ("PCOUNT", 0, "number of group parameters"),
        ("GCOUNT", 1, "number of groups"),
        ("TFIELDS", len(columns), "number of table fields"),
    ]
    for i, (title, code, _, _) in enumerate(columns, 1):
        cards += [(f"TTYPE{i}", title, "column title"), (f"TFORM{i}", code, "column format")]
    cards += [
        ("TUNIT1", "d", "column units: BJD - 2457000"),
        ("EXTNAME", name, "name of extension"),
        ("CAMERA", vectors.camera, "camera number"),
        ("CCD", vectors.ccd, "CCD number"),
        ("SECTOR", vectors.sector, "observing sector"),
    ]
    return hdu_bytes(cards, table.tobytes())
