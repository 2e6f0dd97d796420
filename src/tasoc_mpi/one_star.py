"""The photometry of one star from end to end: its pixels, the choice of the method, and the pictures."""

from __future__ import annotations

import logging
import numbers
import os
import re
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .core.errors import InputError, MissingInput, UsageError, one_line
from .core.names import catalog_name, cube_name
from .core.settings import load_settings, mag2flux
from .core.status import STATUS
from .core.whole import known_whole
from .photometry.base import BasePhotometry
from .photometry.load_sources import keep_ffi
from .photometry.measurements import SIDES, edge_flux
from .photometry.method_class import photometry_class
from .photometry.sources import CubeSource
from .products.cube import Cube, open_cube
from .products.fits_read import FITSReader
from .products.star_catalog import StarCatalog, catalog_settings, header_catalog, is_listed, open_catalog
from .products.tesscut import is_cutout
from .products.tpf import read_tpf
from .products.tpf_files import find_tpfs, tpf_pattern

__all__ = ["open_star", "photometry_class", "tessphot", "wants_halo"]

logger = logging.getLogger(__name__)


def tessphot(method: str | type[BasePhotometry] | None = None, *args: Any, **kwargs: Any) -> BasePhotometry:
    """Run the photometry of one star.

    Parameters
    ----------
    method : str or type, optional
        ``'aperture'``, ``'psf'``, ``'linpsf'`` or ``'halo'``; a subclass of `BasePhotometry`, or where it is:
        ``'MODULE:CLASS'`` or ``'FILE.py:CLASS'``. Without one: aperture photometry, then halo photometry
        where a very bright star does not fit into its stamp.
    *args, **kwargs
        Those of `BasePhotometry`. With ``plot=True`` the pictures of `report.star_plots` are drawn, of a star
        that fails, too.

    Returns
    -------
    BasePhotometry
        With the light curve and the diagnostics (`result`); to be closed by the caller.

    Raises
    ------
    InputError
        If the method is not there or cannot be imported, and the errors of `BasePhotometry`.
    ValueError
        If the method makes no usable light curve.

    Examples
    --------
    >>> tessphot("halo", 25155310, "in", "out", datasource="tpf")
    Traceback (most recent call last):
        ...
    tasoc_mpi.core.errors.MissingInput: in: no such folder; name the one that holds the data
    """
    photometry = photometry_class(method or "aperture")(*args, **kwargs)
    try:
        _run(photometry)
        if not method and wants_halo(photometry):
            photometry.close()
            photometry = photometry_class("halo")(*args, **kwargs)
            _run(photometry)
            photometry.report_details(error="Automatically switched to Halo photometry")
    except BaseException:
        photometry.close()
        raise
    return photometry


def open_star(
    star: int | str | os.PathLike[str],
    photometry: str | type[BasePhotometry] | None = None,
    *,
    input_folder: str | os.PathLike[str] | None = None,
    output_folder: str | os.PathLike[str] = ".",
    starid: int | None = None,
    sector: int | None = None,
    cadence: int | None = None,
    version: int = 6,
) -> BasePhotometry:
    """The photometry of one star, from a file around it or from a folder.

    Parameters
    ----------
    star : int, str or path-like
        A target pixel file or a cut-out of TESSCut, wherever it is and whatever it is called; or the TIC
        number (or "TIC 25155310") of a star whose target pixel file, or cube and catalog, `input_folder` has.
    photometry : str or type, optional
        Method, as for `tessphot`.
    input_folder : path-like, optional
        Default: ``TESSPHOT_INPUT``, or the current folder. Not used for a file.
    output_folder : path-like, optional
        Where `save_lightcurve` writes to. Nothing is written before.
    starid : int, optional
        TIC number of the star in a cut-out, whose header has none.
    sector, cadence : int, optional
        Where there are several; the cadence in seconds. A file has to be of them.
    version : int, optional
        Of the light curve.

    Returns
    -------
    BasePhotometry
        With the light curve (`lightcurve`), the diagnostics (`result`), `plot_lightcurve`, `plot_stamp` and
        `save_lightcurve`; to be closed by the caller, or used in a ``with``. Columns and rows of its
        attributes are counted from 0, those of centroids from 1.

    Raises
    ------
    MissingInput
        If there is no such file, or none of the star.
    InputError
        If the file cannot be used or is of another star, sector or cadence, or there are several of the star.
    UsageError
        If `star` is neither a file nor a number, or another argument is no whole number.
    ValueError
        If the method makes no usable light curve.

    Notes
    -----
    The stars of the field are those of a catalog of the CCD beside the file (or in the folder). Without one
    only the star itself is known, from the header: a warning says that contamination is unknown. The cube of
    a cut-out, from which its background is found, is a temporary file.

    Examples
    --------
    >>> open_star("tess2018206045859-s0001-0000000025155310-0120-s_tp.fits")
    Traceback (most recent call last):
        ...
    tasoc_mpi.core.errors.MissingInput: tess2018206045859-s0001-0000000025155310-0120-s_tp.fits: no such file
    """
    wanted = {"starid": starid, "sector": sector, "cadence": cadence}
    whole_numbers = {name: known_whole(value, name) for name, value in wanted.items()}
    found, where, cube = _open(star, input_folder, whole_numbers)
    try:
        pho = tessphot(photometry, found, output_folder=output_folder, version=version, **where)
    except BaseException:
        if cube is not None:
            cube.cleanup()
        raise
    if cube is not None:
        # It is there as long as the star is.
        weakref.finalize(pho, cube.cleanup)
        pho.cutout = Path(str(star))
    if pho.stars_unknown:
        _warn_of_unknown_stars(pho)
    return pho


def _open(
    star: object, folder: str | os.PathLike[str] | None, wanted: Mapping[str, int | None]
) -> tuple[int, dict[str, Any], tempfile.TemporaryDirectory[str] | None]:
    """Number of a star, the arguments of `BasePhotometry`, and the folder of a cut-out's cube."""
    if (number := _tic_number(star)) is not None:
        if wanted["starid"] not in (None, number):
            raise UsageError(f"star {number} and starid {wanted['starid']} are two stars; name one")
        place = Path(folder or os.environ.get("TESSPHOT_INPUT") or ".")
        return *_find_star(place, number, wanted["sector"], wanted["cadence"]), None
    if isinstance(star, str | os.PathLike) and os.fspath(star):
        return _open_file(Path(star), wanted)
    raise UsageError(f"star {one_line(repr(star))[:60]}: name a target pixel file, a cut-out or a TIC number")


def _tic_number(star: object) -> int | None:
    """The TIC number that a user names a star with, also as "TIC 25155310"; None for the name of a file.

    >>> _tic_number(25155310), _tic_number("tic 25155310"), _tic_number("25155310.fits")
    (25155310, 25155310, None)
    """
    if isinstance(star, numbers.Integral) and not isinstance(star, bool):
        return int(star)
    if not isinstance(star, str) or Path(star).exists():
        return None
    named = re.fullmatch(r"(?:TIC\s*)?([0-9]+)", star.strip(), re.IGNORECASE)
    return int(named[1]) if named else None


def _warn_of_unknown_stars(pho: BasePhotometry) -> None:
    """Say that there is no catalog of the field."""
    name = catalog_name(pho.sector, pho.camera, pho.ccd)
    text = f"only the star itself is known: contamination is unknown; put {name} beside the file"
    if pho.starid:
        text += " (`tasoc-mpi catalog` makes it)"
    else:
        # Which of the stars of a catalog it is, would not be known either.
        text += " and name the star (--starid, starid=)"
    logger.warning("%s: %s", pho.star_name, text)
    pho.report_details(error=text)


def _open_file(
    path: Path, wanted: Mapping[str, int | None]
) -> tuple[int, dict[str, Any], tempfile.TemporaryDirectory[str] | None]:
    """Number of the star in a file, the arguments of `BasePhotometry`, and the folder of a cut-out's cube."""
    if not path.exists():
        raise MissingInput(f"{path}: no such file")
    if path.is_dir():
        raise InputError(
            f"{path}: a folder; name a target pixel file or a cut-out, or the TIC number of a star with the "
            "folder as input"
        )
    if not _is_cutout(path):
        tpf = read_tpf(path, pixels=False, rows=False, any_name=True)
        _check_wanted(path, wanted, {"starid": tpf.starid, "sector": tpf.sector, "cadence": tpf.cadence})
        return tpf.starid, {"input_folder": path, "datasource": "tpf"}, None
    cube = tempfile.TemporaryDirectory(prefix="tasoc-mpi-")
    try:
        starid, where = _import_cutout(path, Path(cube.name), wanted)
    except BaseException:
        cube.cleanup()
        raise
    return starid, {"input_folder": cube.name, **where}, cube


def _is_cutout(path: Path) -> bool:
    """Whether a FITS file is a cut-out and not a target pixel file; raises InputError if it is neither."""
    with FITSReader(path) as reader:
        table = reader.hdu(reader.hdu().start)
        if is_cutout(table):
            return True
        columns = {table.values.get(f"TTYPE{n}") for n in range(1, 1 + len(table.values))}
    if "FLUX" not in columns:
        raise InputError(
            f"{path}: neither a target pixel file nor a cut-out (no table with the column FLUX); name one"
        )
    return False


def _find_star(
    folder: Path, starid: int, sector: int | None, cadence: int | None
) -> tuple[int, dict[str, Any]]:
    """Number of a star, and where a folder has it: the arguments of `BasePhotometry`."""
    tpfs = [
        info
        for info in find_tpfs(folder)
        if info.starid == starid and sector in (None, info.sector) and cadence in (None, info.cadence)
    ]
    if tpfs:
        return starid, {"input_folder": folder, "datasource": "tpf", "sector": sector, "cadence": cadence}
    found = []
    for path in sorted(folder.glob("catalog_sector*_camera*_ccd*.sqlite")):
        settings = catalog_settings(path)
        if sector in (None, settings.sector) and is_listed(path, starid):
            found.append(settings)
    if not found:
        raise MissingInput(
            f"{folder.absolute()}: TIC {starid} is neither in a target pixel file "
            f"({tpf_pattern(starid, sector)}, in any sub-folder) nor in a catalog "
            "(catalog_sectorSSS_cameraC_ccdD.sqlite)"
        )
    if len(found) > 1:
        ways = "; ".join(f"sector {s.sector}, camera {s.camera}, CCD {s.ccd}" for s in found)
        raise InputError(f"TIC {starid} is in several catalogs ({ways}); name the sector")
    ccd = {"sector": found[0].sector, "camera": found[0].camera, "ccd": found[0].ccd}
    cube = folder / cube_name(**ccd)
    if cadence is not None and cube.exists():
        there = int(open_cube(cube).attributes["CADENCE"])
        if there != cadence:
            raise MissingInput(
                f"{cube}: has a cadence of {there} s, and TIC {starid} no target pixel file of {cadence} s"
            )
    return starid, {"input_folder": folder, **ccd}


def _check_wanted(path: Path, wanted: Mapping[str, int | None], there: Mapping[str, int]) -> None:
    """Raise InputError where a file is of another star, sector or cadence than was asked for."""
    for name, value in there.items():
        if wanted[name] not in (None, value):
            raise InputError(
                f"{path}: its {name} is {value}, not {wanted[name]}; leave {name} out, or name another file"
            )


def _import_cutout(path: Path, folder: Path, wanted: Mapping[str, int | None]) -> tuple[int, dict[str, Any]]:
    """Make the cube of a cut-out in a folder; number of its star, and the arguments of `BasePhotometry`."""
    # Workers do not need them.
    from .core.compiled import compile_first
    from .cubes.prepare import PrepareOptions
    from .imports.convert import import_file

    compile_first("prepare")
    cube = open_cube(import_file(folder, path, PrepareOptions()).path)
    where = {name: int(cube.attributes[name.upper()]) for name in ("sector", "camera", "ccd")}
    there = {"sector": where["sector"], "cadence": int(cube.attributes["CADENCE"])}
    _check_wanted(path, wanted, there)
    starid = wanted["starid"] or 0
    catalog = _cutout_catalog(path, cube, starid, where)
    if not starid and catalog.only_targets:
        starid = int(catalog.stars["starid"][0])
    keep_ffi(folder, CubeSource(cube.path, cube, catalog))
    return starid, where


def _cutout_catalog(path: Path, cube: Cube, starid: int, where: dict[str, int]) -> StarCatalog:
    """The catalog beside a cut-out, or the star of its header."""
    beside = path.parent / catalog_name(**where)
    if beside.exists() and starid:
        return open_catalog(beside)
    with FITSReader(path) as reader:
        header = dict(reader.hdu().values)
    number = str(header.get("OBJECT") or "").removeprefix("TIC").strip()
    if not starid and number.isdecimal():
        starid = int(number)
    # The magnitude, temperature and proper motion of a cut-out are zeros.
    header = {key: header.get(key) for key in ("RA_OBJ", "DEC_OBJ")}
    row, column = cube.row_offset, cube.column_offset
    stamp = (row, row + cube.shape[0], column, column + cube.shape[1])
    middle = float(cube.time[len(cube.time) // 2])
    ccd = (where["sector"], where["camera"], where["ccd"])
    return header_catalog(path, header, starid, ccd, cube.wcs, stamp, middle, cube.ref_frame)


def _run(photometry: BasePhotometry) -> None:
    try:
        photometry.photometry()
    finally:
        if photometry.plot_folder is not None:
            from .report.star_plots import plot_star

            plot_star(photometry, photometry.plot_folder)


def wants_halo(photometry: BasePhotometry) -> bool:
    """Whether a star is so bright that halo photometry does better than a mask in its stamp."""
    tmag = photometry.target["tmag"]
    settings = load_settings()
    # Also false for a star without a magnitude.
    if photometry.datasource.startswith("tpf:") or not tmag <= settings.getfloat("haloswitch", "tmag_limit"):
        return False
    if photometry.halo_advised:
        return True
    if photometry.status not in (STATUS.OK, STATUS.WARNING):
        return False
    mask, cut = photometry.final_phot_mask, photometry.cut_sides
    if mask is None:
        return False
    limit = settings.getfloat("haloswitch", "flux_limit") * mag2flux(tmag)
    # Halo photometry has no more pixels where a cut-out ends.
    return edge_flux(photometry.sumimage, mask, SIDES.keys() - cut) > limit
