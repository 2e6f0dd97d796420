"""The results of a run as they are on disk: the work list with its diagnostics, and light curve files."""

from __future__ import annotations

import contextlib
import gzip
import math
import os
import sqlite3
import sys
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.diagnostics import DIAGNOSTICS
from ..core.errors import InputError, MissingInput, one_line
from ..core.messages import TASK_DTYPE
from ..core.quality import CorrectorQualityFlags, TESSQualityFlags
from ..core.settings import output_folder
from ..core.status import STATUS
from ..products.fits_read import HDU, MAX_SIDE, FITSReader, float_image, is_integer, is_number
from ..products.fits_table import read_table, table_columns
from ..products.lightcurve import COLUMNS, below, check_star
from ..worklist.listed_lightcurves import read_lightcurve
from ..worklist.method_list import find_list
from ..worklist.result_files import ResultFiles
from ..worklist.schema import columns_of, has_corrections
from ..worklist.todo_file import SQLITE_ERRORS, explain, open_todo
from ..worklist.work_list import CCD, read_published

__all__ = ["RESULT_DTYPE", "Curve", "Run", "ccds_of", "read_curve", "read_run", "sky_level"]

#: Columns of `diagnostics` that are read, beside the name of the light curve.
_NUMBERS = ("elaptime", *DIAGNOSTICS)
#: Columns of `diagnostics_corr` that are read.
_CORRECTED = ("rms_hour", "ptp")

#: One star: its row of the work list and its diagnostics; NaN and '' where a value is not known.
RESULT_DTYPE = np.dtype(
    [(name, TASK_DTYPE[name]) for name in ("priority", "starid", "sector", "camera", "ccd", "cadence")]
    + [("datasource", "U24"), ("status", "i4"), ("tmag", "f8"), ("tile", "i4")]
    + [(name, "f8") for name in _NUMBERS]
    + [(f"{name}_corr", "f8") for name in _CORRECTED]
    # A string object: its name has some 80 letters, which as a field of its own took 4 bytes each.
    + [("method", "O"), ("lightcurve", "O")]
)

_WAY_OUT = "compute it again with --overwrite, or fetch it again if it is not of this program"
#: Rows that are Python objects at once.
_ROWS = 20_000
#: Sky, e-/s a pixel, where no light curve is there to measure it: zodiacal light away from the ecliptic.
TYPICAL_SKY = 100.0


@dataclass(frozen=True)
class Run:
    """A work list with the results of its stars."""

    path: Path  #: The work list
    output: Path  #: Folder of the light curves
    stars: NDArray[np.void]  #: Of RESULT_DTYPE, in order of priority

    @property
    def ok(self) -> NDArray[np.bool_]:
        """Stars that are OK."""
        return self.stars["status"] == STATUS.OK

    def file(self, star: np.void) -> Path:
        """Path of the light curve of one of `stars`; see `read_lightcurve` for a packed one's.

        Raises
        ------
        MissingInput
            If the star has none.
        InputError
            If its name would leave the output folder.
        """
        name = str(star["lightcurve"])
        if not name:
            raise MissingInput(f"TIC {star['starid']}: no light curve in {self.path}; see its status there")
        return below(self.output, name)


@dataclass(frozen=True)
class Curve:
    """A light curve file in memory."""

    path: Path
    mask: NDArray[np.bool_]  #: Shape (R, C): pixels used for the flux
    corner: tuple[int, int]  #: 0-based full frame image (row, column) of the first pixel of `mask`
    time: NDArray[np.float64]  #: Shape (T,), BJD - 2457000, days
    flux: NDArray[np.float64]  #: Shape (T,), e-/s
    flux_err: NDArray[np.float64]  #: Shape (T,), e-/s
    flux_background: NDArray[np.float64]  #: Shape (T,), e-/s
    #: cadenceno, corrector_quality, quality: shape (T,), the flags are those of `CorrectorQualityFlags` and
    #: `TESSQualityFlags`.
    cadenceno: NDArray[np.int32]
    corrector_quality: NDArray[np.int32]
    quality: NDArray[np.int32]
    corrected: NDArray[np.float64]  #: Shape (T,), relative flux less one; NaN where there is no correction
    tmag: float = math.nan  #: TESS magnitude by the file's header
    #: Whether it is a file of the mission: no flags of `CorrectorQualityFlags`, and no correction that is
    #: read.
    is_missions: bool = False
    #: Shape (T, 2), column and row counted from 1, pixels of the CCD; empty for the mission's.
    centroid: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 2)))
    #: Shape (R, C), mean of the frames, e-/s; empty for the mission's.
    sumimage: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)))
    header: Mapping[str, Any] = field(default_factory=dict)  #: Of the sum image, with its world coordinates

    @property
    def good(self) -> NDArray[np.bool_]:
        """Points without a flag that makes them bad, with a flux."""
        return (
            TESSQualityFlags.filter(self.quality)
            & CorrectorQualityFlags.filter(self.corrector_quality)
            & np.isfinite(self.flux)
            & np.isfinite(self.time)
        )

    @property
    def relative(self) -> NDArray[np.float64]:
        """Flux over its median at good points, less one; NaN where there is no positive median."""
        good = self.flux[self.good]
        median = float(np.median(good)) if good.size else float("nan")
        return self.flux / median - 1 if median > 0 else np.full_like(self.flux, np.nan)


#: The columns that are read.
_CURVE = tuple(column for column in COLUMNS if column.attribute in Curve.__dataclass_fields__)
_CORRECTED_FLUX = "FLUX_CORR"
_CENTROID = ("MOM_CENTR1", "MOM_CENTR2")
#: Columns of the mission's light curves.
_MISSION = {
    "time": "TIME",
    "cadenceno": "CADENCENO",
    "flux": "SAP_FLUX",
    "flux_err": "SAP_FLUX_ERR",
    "flux_background": "SAP_BKG",
    "quality": "QUALITY",
}


def read_run(
    folder: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    method: str = "",
    around: int | None = None,
    todo: str | os.PathLike[str] | None = None,
) -> Run:
    """Read the results of a run; nothing is changed.

    Parameters
    ----------
    folder : path-like
        The input folder, with the work list.
    output : path-like, optional
        Folder of the light curves. Default: where the work list says that they are, else
        ``TESSPHOT_OUTPUT``, else ``output`` in the input folder.
    method : str, optional
        Name of a method that computed all stars of a run. Default: the results of the methods in the work
        list.
    around : int, optional
        TIC number: only the stars of the CCDs that have this star. Default: all stars.
    todo : path-like, optional
        The work list. Default: ``todo.sqlite`` in the input folder.

    Raises
    ------
    MissingInput, InputError
        If the work list is not there or cannot be used.
    """
    path = find_list(ResultFiles(Path(folder), todo).path, method)
    with contextlib.closing(open_todo(path)) as conn:
        try:
            conn.execute("BEGIN")  # all tables are of the same moment
            where, _, _ = read_published(conn, path)
            stars = _stars(conn, around)
        except SQLITE_ERRORS as error:
            raise explain(path, error) from None
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(f"{path}: a value is of the wrong kind ({error}); restore a copy") from None
    if output is None and where is not None:
        return Run(path, where, stars)
    return Run(path, output_folder(output, Path(folder) / "output", method), stars)


#: Rows of the CCDs of one star: the columns are compared at once, so that an index is of use.
_AROUND = " WHERE (t.sector, t.camera, t.ccd) IN (SELECT sector, camera, ccd FROM todolist WHERE starid = ?)"


def _stars(conn: sqlite3.Connection, around: int | None) -> NDArray[np.void]:
    """Rows of the work list with the columns that its table of diagnostics has, if there is one."""
    where, values = ("", ()) if around is None else (_AROUND, (around,))
    diagnostics, corrected = columns_of(conn, "diagnostics"), has_corrections(conn)
    tile = "COALESCE(t.tile, -1)" if "tile" in columns_of(conn, "todolist") else "-1"
    first = (
        "t.priority, t.starid, t.sector, t.camera, t.ccd, t.cadence, t.datasource, "
        f"COALESCE(t.status, {STATUS.UNKNOWN:d}), t.tmag, {tile}"
    )
    rest = ", ".join(f"d.{name}" if name in diagnostics else "NULL" for name in _NUMBERS)
    rest += "".join(f", {f'c.{name}' if corrected else 'NULL'}" for name in _CORRECTED)
    if diagnostics:
        # A correction may be in a pack of its own.
        names = "c.lightcurve, d.lightcurve" if corrected else "d.lightcurve"
        rest += f", COALESCE(d.method_used, ''), COALESCE({names}, '')"
        source = "todolist t LEFT JOIN diagnostics d ON d.priority = t.priority"
        source += " LEFT JOIN diagnostics_corr c ON c.priority = t.priority" if corrected else ""
    else:
        rest, source = rest + ", '', ''", "todolist t"
    (count,) = conn.execute(f"SELECT COUNT(*) FROM todolist t{where}", values).fetchone()
    stars = np.empty(count, dtype=RESULT_DTYPE)
    rows = conn.execute(f"SELECT {first}, {rest} FROM {source}{where} ORDER BY t.priority", values)
    done = 0
    # The rows of a whole sector as Python objects would be gigabytes.
    while some := rows.fetchmany(_ROWS):
        part = stars[done : done + len(some)]
        for name, column in zip(RESULT_DTYPE.names or (), zip(*some, strict=True), strict=True):
            # None becomes NaN. Millions of rows share the names of a few methods.
            part[name] = np.array(
                [*map(sys.intern, column)] if name == "method" else column, part[name].dtype
            )
        done += len(some)
    strange = np.setdiff1d(stars["status"], list(STATUS))
    if strange.size:
        raise ValueError(f"status {strange[0]}")
    return stars


def read_curve(path: str | os.PathLike[str], read: Callable[[Path], bytes] = read_lightcurve) -> Curve:
    """Read a light curve file of this program or of the mission (simple aperture photometry).

    Parameters
    ----------
    path : path-like
        A file, or ``PACK.hdf5#NAME`` for one in a pack.
    read : callable, optional
        Returns the bytes of a file: `OpenPacks.read` for many that may be in packs.

    Raises
    ------
    MissingInput
        If it is not there.
    InputError
        If it is not a whole light curve file.
    """
    path = Path(path)
    data = read(path)
    try:
        # Files of this program are always packed.
        with FITSReader(path, data if data.startswith(b"SIMPLE") else gzip.decompress(data)) as reader:
            return _read_hdus(reader)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: not a whole light curve ({one_line(error)}); {_WAY_OUT}") from None
    except InputError as error:
        raise InputError(f"{path}: not a whole light curve ({_reason(path, error)}); {_WAY_OUT}") from None


def _read_hdus(reader: FITSReader) -> Curve:
    """The light curve of a file: its magnitude, the columns of its table, and its mask."""
    primary = reader.hdu()
    check_star(reader.path, primary.values)
    position = reader.end(primary)
    arrays: dict[str, Any] | None = None
    mask: NDArray[np.bool_] | None = None
    image: dict[str, Any] = {}
    while arrays is None or mask is None:
        hdu = reader.hdu(position)
        position = reader.end(hdu)
        if hdu.values.get("EXTNAME") == "LIGHTCURVE":
            arrays = _read_columns(reader, hdu)
        elif hdu.values.get("EXTNAME") == "SUMIMAGE":
            place = float_image(reader.path, hdu)
            pixels = reader.read(place.start, place.stop - place.start)
            image["sumimage"] = np.frombuffer(pixels, place.dtype).reshape(place.shape).astype("f8")
            image["header"] = hdu.values
        elif hdu.values.get("EXTNAME") == "APERTURE":
            mask, corner = _read_mask(reader, hdu)
    tmag = primary.values.get("TESSMAG")
    return Curve(
        reader.path, mask, corner, tmag=float(tmag) if is_number(tmag) else math.nan, **image, **arrays
    )


def _read_columns(reader: FITSReader, hdu: HDU) -> dict[str, Any]:
    """The columns of the table, by the attributes of `Curve`."""
    is_missions = _MISSION["flux"] in table_columns(reader, hdu)
    names = _MISSION if is_missions else {column.attribute: column.name for column in _CURVE}
    columns = read_table(
        reader, hdu, [*names.values(), *([] if is_missions else [_CORRECTED_FLUX, *_CENTROID])]
    )
    if any(column.ndim != 1 or column.dtype.kind not in "if" for column in columns.values()):
        raise InputError("a column of its table is not one of numbers")
    kinds = {column.attribute: "i4" if column.format == "J" else "f8" for column in _CURVE}
    arrays: dict[str, Any] = {key: columns[name].astype(kinds[key]) for key, name in names.items()}
    if is_missions:
        arrays["corrector_quality"] = np.zeros_like(arrays["quality"])
        arrays["corrected"] = np.full_like(arrays["flux"], np.nan)
    else:
        arrays["corrected"] = 1e-6 * columns[_CORRECTED_FLUX].astype("f8")
        arrays["centroid"] = np.stack([columns[name].astype("f8") for name in _CENTROID], axis=1)
    return {"is_missions": is_missions, **arrays}


def _read_mask(reader: FITSReader, hdu: HDU) -> tuple[NDArray[np.bool_], tuple[int, int]]:
    """Pixels that are used for the flux, and 0-based (row, column) of the first pixel."""
    values = hdu.values
    shape = values.get("NAXIS2"), values.get("NAXIS1")
    whole = values.get("BITPIX") == 32 and values.get("NAXIS") == 2
    if not whole or not all(is_integer(n) and 0 < n <= MAX_SIDE for n in shape):
        raise InputError("its mask is damaged")
    rows, columns = (int(n) for n in shape)  # type: ignore[arg-type]
    pixels = np.frombuffer(reader.read(hdu.start, 4 * rows * columns), ">i4").reshape(rows, columns)
    corner = [values.get("CRVAL2P"), values.get("CRVAL1P")]
    if not all(isinstance(n, int | float) and 0 < n < 10_000 for n in corner):
        raise InputError("the position of its mask is not known")
    # The alternate WCS counts pixels from 1.
    return (pixels & 2) > 0, (int(corner[0]) - 1, int(corner[1]) - 1)  # type: ignore[arg-type]


def _reason(path: Path, error: InputError) -> str:
    """The message of an error without the file's name and the way out."""
    return str(error).removeprefix(f"{path}: ").partition("; ")[0]


def ccds_of(stars: NDArray[np.void]) -> tuple[list[CCD], NDArray[np.intp]]:
    """The CCDs of some stars, and which of them each star is on."""
    # Numbers are sorted ten times faster than rows.
    keys = (stars["sector"].astype("i8") * 16 + stars["camera"]) * 16 + stars["ccd"]
    found, which = np.unique(keys, return_inverse=True)
    return [(key // 256, key // 16 % 16, key % 16) for key in found.tolist()], which


def sky_level(run: Run, chosen: NDArray[np.bool_] | None = None) -> tuple[float, int]:
    """The sky in e-/s a pixel: median over the masks of up to 25 light curves, spread over the work list.

    Parameters
    ----------
    run : Run
    chosen : ndarray of bool, optional
        Which of the run's stars. Default: those that are OK.

    Returns
    -------
    (float, int)
        The level, and how many light curves it is from; 0 where there is none and the level is `TYPICAL_SKY`.
    """
    stars = run.stars
    rows = np.flatnonzero(
        (run.ok if chosen is None else chosen) & (stars["lightcurve"] != "") & (stars["mask_size"] > 0)
    )
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, 25).round().astype(int))] if len(rows) else rows
    levels = []
    for star in stars[rows]:
        try:
            curve = read_curve(run.file(star))
        except MissingInput:
            continue
        background = curve.flux_background[curve.good & np.isfinite(curve.flux_background)]
        if background.size:
            levels.append(float(np.median(background)) / float(star["mask_size"]))
    return (float(np.median(levels)), len(levels)) if levels else (TYPICAL_SKY, 0)
