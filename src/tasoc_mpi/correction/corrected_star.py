"""The correction of one star of a work list: its light curve is read, corrected and written again.

`correct_star` has the interface of `tessphot`, so the workers of `tasoc-mpi run` do both.
"""

from __future__ import annotations

import functools
import os
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..core.diagnostics import CORRECTED_LIGHTCURVE, CORRECTION, CORRECTION_SOURCE, Diagnostics
from ..core.errors import InputError
from ..core.names import CBV_FOLDER, find_cbv
from ..core.quality import CorrectorQualityFlags, TESSQualityFlags
from ..core.status import STATUS
from ..kernels.statistics import light_curve_statistics
from ..products.cbv_file import read_vectors
from ..products.corrected_file import corrected_bytes
from ..products.lightcurve import Writer, below
from ..products.packed import PackReader, pack_writer, split_name
from ..products.raw_curve import RawCurve, open_listed, raw_curve
from ..products.replacements import replacements
from ..worklist.corrections import correction_source
from ..worklist.lightcurve_digest import DIGESTED, digest_of_one
from ..worklist.listed_lightcurves import read_lightcurve
from ..worklist.todo_file import SQLITE_ERRORS, TODO_NAME, explain, open_todo
from ..worklist.unlisted_lightcurves import is_listed_name
from .fit_star import Correction, correct

__all__ = ["CorrectedStar", "correct_star"]

_ROW = (
    f"SELECT lightcurve, cbv_area, {', '.join(DIGESTED)} FROM todolist JOIN diagnostics USING (priority)"
    " WHERE starid = ? AND datasource = ? AND sector = ? AND camera = ? AND ccd = ? AND cadence = ?"
)


@dataclass(kw_only=True)
class CorrectionResult(Diagnostics):
    """The outcome of a correction; its numbers are in the places that `core.diagnostics.CORRECTION` names.

    Attributes
    ----------
    status : STATUS
    method_used : str
    errors : list of str
    skip_targets : list of int
        Always empty.
    """

    status: STATUS = STATUS.OK
    method_used: str = ""
    errors: list[str] = field(default_factory=list)
    skip_targets: list[int] = field(default_factory=list)


class CorrectedStar:
    """A star whose light curve is corrected, as the workers of a run want one.

    Parameters
    ----------
    output_folder : str
    listed : str
        The name of the light curve in the work list.
    data : bytes
        The new bytes of its file, compressed.
    result : CorrectionResult
    """

    def __init__(self, output_folder: str, listed: str, data: bytes, result: CorrectionResult) -> None:
        self.output_folder, self.result = output_folder, result
        self._data = data
        pack, self._name = split_name(listed)
        self.lightcurve_writer: Writer = (pack_writer if pack else replacements)(output_folder)

    def save_lightcurve(self) -> str:
        """Write the light curve; it is whole when its writer was flushed. Returns its path."""
        return os.path.join(self.output_folder, self.lightcurve_writer(self._name, self._data))

    def close(self) -> None:
        """Nothing is open."""


def correct_star(
    *,
    method: str | None,
    starid: int,
    input_folder: str,
    output_folder: str,
    datasource: str,
    sector: int,
    camera: int,
    ccd: int,
    cadence: int,
    todo: str = "",
    **_: Any,
) -> CorrectedStar:
    """Correct the light curve of one star of a published work list.

    Parameters
    ----------
    method : str
        One of `core.methods.CORRECTION_METHODS`.
    starid, sector, camera, ccd, cadence : int
    datasource : str
        With these the row of the work list.
    input_folder : str
    output_folder : str
        The folder of the light curves and of their vectors.
    todo : str, optional
        The work list. Default: that of the input folder.

    Returns
    -------
    CorrectedStar
        With the status WARNING, and no corrected flux, where there are no vectors of the star's area, or they
        cannot correct it.

    Raises
    ------
    MissingInput, InputError
        If the light curve is not there or cannot be used.
    """
    # Of the program's room for compressed files; see `products.lightcurve.write_lightcurve`.
    from isal import igzip

    listed, area, digest = _row(
        todo or os.path.join(input_folder, TODO_NAME), (starid, datasource, sector, camera, ccd, cadence)
    )
    path = below(output_folder, listed)
    table = open_listed(path, _read(output_folder, listed, path))
    found = find_cbv(Path(output_folder, CBV_FOLDER), sector, cadence, area)
    result = CorrectionResult(method_used=method or "")
    setattr(result, CORRECTED_LIGHTCURVE, digest)
    setattr(result, CORRECTION_SOURCE, correction_source(0, result.method_used))
    curve = raw_curve(table)
    try:
        if found is None:
            raise InputError(f"no vectors of area {area} at {cadence} s; its corrected flux stays NaN")
        vectors = read_vectors(found[0])
        setattr(result, CORRECTION_SOURCE, correction_source(vectors.digest, result.method_used))
        correction = correct(curve, vectors, result.method_used)
    except InputError as error:
        result.status = STATUS.WARNING
        result.errors.append(str(error))
        content = corrected_bytes(table)
    else:
        _describe(result, curve, correction)
        content = corrected_bytes(
            table, correction.flux, correction.flux_err, correction.quality, correction.cards
        )
    return CorrectedStar(output_folder, listed, igzip.compress(content, 1, mtime=0), result)


def _describe(result: CorrectionResult, curve: RawCurve, correction: Correction) -> None:
    """Fill in the numbers of a correction."""
    quality = curve.corrector_quality | correction.quality
    good = TESSQualityFlags.filter(curve.quality) & CorrectorQualityFlags.filter(quality)
    flux = 1.0 + 1e-6 * correction.flux
    # Errors are of use for the variability alone, which a correction has not.
    unknown = np.full_like(flux, np.nan)
    _, variance, rms_hour, ptp, _ = light_curve_statistics(curve.time, flux, unknown, good)
    numbers = {
        "variance": variance,
        "rms_hour": rms_hour,
        "ptp": ptp,
        "overfitting": correction.over_fitting,
        "underfitting": correction.under_fitting,
        "vectors": correction.number,
    }
    for name, value in numbers.items():
        setattr(result, CORRECTION[name], float(value))


def _row(todo: str, key: tuple[int | str, ...]) -> tuple[str, int, float]:
    """Name of the light curve of a row of the work list, its area, and the digest of the light curve."""
    try:
        known = os.stat(todo)
        found = _database(todo, known.st_ino, known.st_mtime_ns).execute(_ROW, key).fetchone()
    except SQLITE_ERRORS as error:
        raise explain(Path(todo), error) from None
    if found is None or not is_listed_name(found[0]):
        raise InputError(
            f"{todo}: lists no light curve of TIC {key[0]}; publish the results and correct again"
        )
    if not isinstance(found[1], int) or not 0 < found[1] < 1000:
        raise InputError(f"{todo}: TIC {key[0]} has no area (cbv_area); make the list with `tasoc-mpi todo`")
    try:
        return found[0], found[1], digest_of_one(found[2:])
    except (TypeError, OverflowError):
        raise InputError(
            f"{todo}: a number of TIC {key[0]} is of the wrong kind; restore a copy of the list"
        ) from None


@functools.lru_cache(maxsize=1)
def _database(todo: str, inode: int, modified: int) -> sqlite3.Connection:
    """The work list, which is replaced as a whole and never changed, open for the next stars."""
    conn = open_todo(todo)
    # One transaction for all of them: each of its own would lock the file and look for changes.
    conn.execute("BEGIN")
    return conn


def _read(output: str, listed: str, path: Path) -> bytes:
    pack, name = split_name(listed)
    if not pack:
        return read_lightcurve(path)
    return _pack(below(output, pack)).read(name)


@functools.lru_cache(maxsize=8)
def _pack(path: Path) -> PackReader:
    """A pack, open for the next stars."""
    return PackReader(path)
