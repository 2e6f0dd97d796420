"""Target pixel files: the stamps around single stars that the mission sends down at 120 s or 20 s."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.input_files import WAY_OUT
from ..core.names import CCDKey
from .fits_read import HDU, FITSReader, is_integer, is_number
from .fits_table import read_series, table_columns
from .frame_wcs import COLUMN_CARDS, FrameWCS
from .star_values import LARGEST_STARID
from .tpf_files import TPFInfo, parse_tpf_name, read_file, table_cadence

__all__ = ["TPF", "group_tpfs", "read_tpf", "tpf_ccd", "tpf_place"]

#: The pixels of TESS are 21 arcsec wide. The WCS fitted to a cut-out of one or few pixels can be anything:
#: one whose pixels are out of these bounds along some direction (degrees) is not used.
_PIXEL_SIZE = (21 / 3600 / 2, 21 / 3600 * 2)

#: Columns of the table, and the types in which they are kept.
_SERIES = {
    "TIME": "f8",
    "TIMECORR": "f4",
    "CADENCENO": "i4",
    "QUALITY": "i4",
    "POS_CORR1": "f4",
    "POS_CORR2": "f4",
}
_CUBES = {"FLUX": "f4", "FLUX_ERR": "f4", "FLUX_BKG": "f4"}
#: Days. TJD 20000 is in 2069; the light time from the barycentre to TESS is less than nine minutes.
_LARGEST = {"TIME": 20000.0, "TIMECORR": 0.1}
#: Sectors have four digits in the names of files.
_LAST_SECTOR = 9999
#: Types of the pixels of images, by BITPIX.
_IMAGES = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}


@dataclass(frozen=True)
class TPF:
    """A target pixel file in memory, without the rows that have no time."""

    path: Path
    #: header, table_header: values of the cards of the primary HDU and of the pixel table; None for undefined
    #: ones.
    header: Mapping[str, Any]
    table_header: Mapping[str, Any]
    starid: int  #: 0 where a cut-out does not know its star
    sector: int
    camera: int
    ccd: int
    cadence: int  #: Seconds
    time: NDArray[np.float64]  #: Shape (T,): BJD - 2457000, days
    timecorr: NDArray[np.float32]  #: Shape (T,): barycentric correction in `time`, days
    cadenceno: NDArray[np.int32]  #: Shape (T,)
    quality: NDArray[np.int32]  #: Shape (T,)
    #: flux, flux_err, flux_bkg: frames as in the file, shape (T, R, C), e-/s, C-contiguous, read-only. The
    #: background is already taken out of the flux.
    flux: NDArray[np.float32]
    flux_err: NDArray[np.float32]
    flux_bkg: NDArray[np.float32]
    #: Shape (T, 2), (column, row) offset of the star by pointing and differential aberration, pixels.
    pos_corr: NDArray[np.float32]
    #: Shape (R, C): bits of the mission: 1 collected, 2 in the optimal aperture, 4 background, 8 position.
    aperture: NDArray[np.int32]
    #: row_offset, column_offset: full frame image pixel (0-based) of the stamp's first pixel.
    row_offset: int
    column_offset: int
    wcs: FrameWCS  #: One frame; positions are 0-based. Not good where the file has no usable one
    wcs_header: str  #: The same for the stamp's own pixels, as cards of an image

    @property
    def images(self) -> NDArray[np.float32]:
        """`flux` of the shape of a cube, (R, C, T), not contiguous."""
        return np.moveaxis(self.flux, 0, -1)

    @property
    def images_err(self) -> NDArray[np.float32]:
        """`flux_err` likewise."""
        return np.moveaxis(self.flux_err, 0, -1)

    @property
    def backgrounds(self) -> NDArray[np.float32]:
        """`flux_bkg` likewise."""
        return np.moveaxis(self.flux_bkg, 0, -1)

    @property
    def stamp(self) -> tuple[int, int, int, int]:
        """(row_min, row_max, col_min, col_max), half open, 0-based full frame image pixels."""
        rows, columns = self.aperture.shape
        return self.row_offset, self.row_offset + rows, self.column_offset, self.column_offset + columns

    @property
    def middle(self) -> tuple[float, float]:
        """(ra, dec) of the middle of the stamp, degrees; only with a good `wcs`."""
        row_min, row_max, col_min, col_max = self.stamp
        column, row = np.array([(col_min + col_max - 1) / 2]), np.array([(row_min + row_max - 1) / 2])
        ra, dec = self.wcs.sky(column, row, 0)[0].tolist()
        return ra, dec


def tpf_ccd(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Camera and CCD of a target pixel file; only its first header is read.

    Raises
    ------
    MissingInput, InputError
        As `read_tpf`, as far as the first header goes.
    """
    return read_file(Path(path), lambda reader: _ccd(reader.hdu().values))


def tpf_place(path: str | os.PathLike[str]) -> tuple[int, int, int]:
    """Sector, camera and CCD of a target pixel file; as `tpf_ccd`."""

    def place(reader: FITSReader) -> tuple[int, int, int]:
        header, name = reader.hdu().values, parse_tpf_name(Path(path))
        return _integer(header, "SECTOR", name.sector if name else 0), *_ccd(header)

    return read_file(Path(path), place)


def group_tpfs(infos: Iterable[TPFInfo]) -> dict[CCDKey, list[TPFInfo]]:
    """Target pixel files by the CCD that their headers name.

    Raises
    ------
    InputError
        If a header cannot be read.
    """
    groups: dict[CCDKey, list[TPFInfo]] = {}
    for info in infos:
        groups.setdefault((info.sector, *tpf_ccd(info.path)), []).append(info)
    return dict(sorted(groups.items()))


def read_tpf(
    path: str | os.PathLike[str], *, pixels: bool = True, rows: bool = True, any_name: bool = False
) -> TPF:
    """Read a target pixel file of the mission, or a cut-out of the same form.

    Parameters
    ----------
    path : path-like
        FITS, gzipped or not.
    pixels : bool
        Whether to read the images; without them there are no frames.
    rows : bool
        Whether to read the table at all; without it all series are empty, and of a file that is not
        gzipped only headers and aperture are read.
    any_name : bool
        Whether the name may be that of another star's file; only the header counts then.

    Returns
    -------
    TPF

    Raises
    ------
    MissingInput
        If there is no such file.
    InputError
        If the file is truncated or corrupt, has not the extensions and columns of a target pixel file,
        no row with a time, or times that do not increase.
    """
    return read_file(Path(path), lambda reader: _read(reader, pixels, rows, any_name))


def _read(reader: FITSReader, with_pixels: bool, with_rows: bool, any_name: bool) -> TPF:
    path = reader.path
    hdus = reader.hdus()
    primary, table = next(hdus, None), next(hdus, None)
    if primary is None or table is None:
        raise InputError(f"{path}: truncated, or not a target pixel file; {WAY_OUT}")
    header, table_header = primary.values, table.values
    flux = table_columns(reader, table)["FLUX"]
    rows = _read_rows(reader, table, with_pixels, with_rows)
    aperture_hdu, aperture = _read_aperture(reader, hdus)
    name = parse_tpf_name(path)
    starid = _integer(header, "TICID", name.starid if name else 0)
    sector = _integer(header, "SECTOR", name.sector if name else 0)
    camera, ccd = _ccd(header)
    if not (0 <= starid <= LARGEST_STARID and 0 <= sector <= _LAST_SECTOR):
        raise ValueError(f"TIC {starid} in sector {sector}")
    if any_name and name and (starid, sector) != (name.starid, name.sector):
        name = None
    if name and (starid, sector) != (name.starid, name.sector):
        raise InputError(
            f"{path}: TIC {starid} in sector {sector} by its header, another by its name; {WAY_OUT}"
        )
    column_offset, row_offset = (
        int(table_header[f"{axis}CRV{flux.number}P"]) - int(table_header.get(f"{axis}CRP{flux.number}P", 1))
        for axis in (1, 2)
    )
    wcs, wcs_header = _wcs(aperture_hdu, table_header, flux.number, (column_offset, row_offset))
    if math.prod(flux.shape) != aperture.size:
        raise ValueError("FLUX has another shape than APERTURE")
    return TPF(
        path=path,
        header=header,
        table_header=table_header,
        starid=starid,
        sector=sector,
        camera=camera,
        ccd=ccd,
        cadence=(name.cadence if name else 0) or table_cadence(table_header),
        time=_series(rows, "TIME"),
        timecorr=_series(rows, "TIMECORR"),
        cadenceno=_series(rows, "CADENCENO"),
        quality=_series(rows, "QUALITY"),
        flux=_frames(rows, "FLUX", aperture.shape),
        flux_err=_frames(rows, "FLUX_ERR", aperture.shape),
        flux_bkg=_frames(rows, "FLUX_BKG", aperture.shape),
        pos_corr=np.stack([_series(rows, f"POS_CORR{i}") for i in (1, 2)], axis=-1),
        aperture=aperture,
        row_offset=row_offset,
        column_offset=column_offset,
        wcs=wcs,
        wcs_header=wcs_header,
    )


def _read_rows(reader: FITSReader, table: HDU, with_pixels: bool, with_rows: bool) -> dict[str, NDArray[Any]]:
    """The columns of the table, without the rows that have no time."""
    if not with_rows:
        return {name: np.empty((0, 1), dtype) for name, dtype in _SERIES.items()}
    names = {**_SERIES, **(_CUBES if with_pixels else {})}
    rows = read_series(reader, table, names, lambda rows: np.isfinite(rows["TIME"]).reshape(len(rows)))
    if not rows["TIME"].size:
        raise InputError(f"{reader.path}: no row has a time; remove it")
    for word, largest in _LARGEST.items():
        if np.any(np.abs(rows[word]) > largest):
            raise InputError(f"{reader.path}: {word} has values over {largest:g} d; {WAY_OUT}")
    if not (np.diff(rows["TIME"][:, 0]) > 0).all():
        raise InputError(f"{reader.path}: TIME does not increase from row to row; {WAY_OUT}")
    return rows


def _read_aperture(reader: FITSReader, hdus: Iterable[HDU]) -> tuple[HDU, NDArray[np.int32]]:
    """The APERTURE image and its pixels; goes to the end of the file."""
    found, pixels = None, None
    for hdu in hdus:
        values = hdu.values
        if found is None and str(values.get("EXTNAME", "")).upper() == "APERTURE":
            shape: list[Any] = [values.get(f"NAXIS{axis}") for axis in (2, 1)]
            scaled = values.get("BSCALE", 1) != 1 or values.get("BZERO", 0) != 0
            if values.get("NAXIS") != 2 or scaled or not all(is_integer(n) and n >= 0 for n in shape):
                raise ValueError("APERTURE is not an image")
            found, dtype = hdu, np.dtype(_IMAGES[values["BITPIX"]])
            size = dtype.itemsize * math.prod(shape)
            pixels = np.frombuffer(reader.read(hdu.start, size), dtype).reshape(shape)
    if found is None or pixels is None:
        raise InputError(f"{reader.path}: truncated, or not a target pixel file; {WAY_OUT}")
    return found, np.ascontiguousarray(pixels, dtype="i4")


def _series(rows: Mapping[str, NDArray[Any]], name: str) -> NDArray[Any]:
    if rows[name].shape[1] != 1:
        raise ValueError(f"{name} has {rows[name].shape[1]} values in a row")
    return rows[name][:, 0]


def _frames(rows: Mapping[str, NDArray[Any]], name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """A column of images."""
    frames = rows.get(name, np.empty((0, math.prod(shape)), np.float32))
    if frames.shape[1] != math.prod(shape):
        raise ValueError(f"{name} has another shape than APERTURE")
    frames = frames.reshape(len(frames), *shape)
    frames.flags.writeable = False
    return frames


def _integer(header: Mapping[str, Any], key: str, default: int) -> int:
    """A card's integer; `default` where it is missing or, as in cut-outs, empty."""
    value = header.get(key)
    return int(value) if is_number(value) else default


def _ccd(header: Mapping[str, Any]) -> tuple[int, int]:
    camera, ccd = int(header["CAMERA"]), int(header["CCD"])
    if not (1 <= camera <= 4 and 1 <= ccd <= 4):
        raise ValueError(f"camera {camera}, CCD {ccd}")
    return camera, ccd


def _wcs(image: HDU, table: Mapping[str, Any], column: int, offset: tuple[int, int]) -> tuple[FrameWCS, str]:
    """World coordinates from the APERTURE image's cards, or else from the FLUX column's."""
    of_image = {name: image.values.get(name) for name in COLUMN_CARDS}
    of_column = {name: table.get(f"{key}{column}") for name, key in COLUMN_CARDS.items()}
    known = [{key: v for key, v in values.items() if v is not None} for values in (of_image, of_column)]
    results = [FrameWCS.from_headers([values], offset) for values in known]
    for wcs in results:
        if wcs.good[0]:
            sizes = np.linalg.svd(wcs.cd[0], compute_uv=False)
            wcs.good[0] = _PIXEL_SIZE[0] <= sizes.min() and sizes.max() <= _PIXEL_SIZE[1]
    if results[1].good[0] and not results[0].good[0]:
        from astropy.io import fits

        return results[1], fits.Header(known[1]).tostring(endcard=False, padding=False)
    return results[0], "".join(image.cards[name] for name in known[0])
