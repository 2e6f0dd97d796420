"""Filling the work list: which stars of which data are to be processed, brightest first."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, UsageError
from ..core.names import CCDKey, catalog_name, cube_name, find_cubes
from ..core.settings import load_settings
from ..core.sphere import SkyIndex, separation, unit_vectors
from ..products.ccd_outline import CAMERA_CENTRES
from ..products.cube import Cube, open_cube
from ..products.ffi import SCIENCE_COLUMNS, SCIENCE_ROWS, find_ffis
from ..products.fits_read import is_integer
from ..products.star_catalog import STAR_DTYPE, StarCatalog, catalog_from_tpf, open_catalog
from ..products.tpf import TPF, group_tpfs, read_tpf
from ..products.tpf_files import TPFInfo, find_tpfs
from .schema import TODO_DTYPE
from .star_lists import Rule, read_rules
from .todo_file import TODO_NAME, create_todo

__all__ = ["TodoSummary", "cbv_area", "fill_todo"]

logger = logging.getLogger(__name__)

#: Half the diagonal of a camera's field of 24 x 24 degrees.
_FIELD_RADIUS = float(np.hypot(12.0, 12.0))
#: Degrees per pixel, for distances where there is no WCS.
_PIXEL = 21.0 / 3600.0
#: Stars of so many rows and columns of pixels are computed together: their pixels are read once.
_TILE = 64
_TILES_ACROSS = 32
#: A row of the work list with the tile in which the star lies, -1 for none, and the data release of its
#: pixels, -1 where it is not known.
_DTYPE = np.dtype(
    [*((name, TODO_DTYPE[name]) for name in TODO_DTYPE.names or ()), ("tile", "i4"), ("data_rel", "i4")]
)
_LAST_RELEASE = 9999
#: Bit of an APERTURE image for a pixel that was sent down.
_COLLECTED = 1


@dataclass(frozen=True)
class TodoSummary:
    """How many rows a CCD has in the work list."""

    sector: int
    camera: int
    ccd: int
    #: ffi, tpf, secondary: stars of full frame images, of their own target pixel file, of another star's.
    ffi: int
    tpf: int
    secondary: int


def cbv_area(
    ra: NDArray[np.float64], dec: NDArray[np.float64], camera: int, ccd: int, centre: tuple[float, float]
) -> NDArray[np.int32]:
    """Area of the CCD whose stars share trends: 100*camera + 10*ccd + 1..4 from the camera's centre outwards.

    Parameters
    ----------
    ra, dec : ndarray, shape (N,)
        Of the stars, degrees.
    camera, ccd : int
    centre : (float, float)
        (ra, dec) of the camera's centre, degrees.

    Returns
    -------
    ndarray of int32, shape (N,)
    """
    return _area(separation(unit_vectors(ra, dec), unit_vectors(*centre)), camera, ccd)


def _area(distance: NDArray[np.float64], camera: int, ccd: int) -> NDArray[np.int32]:
    """The same from distances to the camera's centre in degrees."""
    ring = np.digitize(distance, np.array([0.25, 0.5, 0.75]) * _FIELD_RADIUS) + 1
    return (100 * camera + 10 * ccd + ring).astype(np.int32)


def fill_todo(
    folder: str | os.PathLike[str],
    faint_limit: float | None = None,
    exclude: str | os.PathLike[str] | None = None,
    methods: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
) -> list[TodoSummary]:
    """Write the work list of a folder.

    Parameters
    ----------
    folder : path-like
        Holds catalogs, cubes and target pixel files; `todo.sqlite` is written there.
    faint_limit : float, optional
        Stars have to be brighter than this (Tmag), except those that have a target pixel file.
        Default: of the settings.
    exclude, methods : path-like, optional
        Files of exclusions and of methods. Default: the packaged ones.
    overwrite : bool
        Replace a work list that is there. Its results stay in output folders, and count for the same rows.

    Returns
    -------
    list of TodoSummary
        One for each CCD, sorted by sector, camera and CCD.

    Raises
    ------
    MissingInput
        If there is no such folder or file.
    InputError
        If a work list is there already, a file cannot be read, or there is nothing to list.
    """
    folder = Path(folder)
    cubes = find_cubes(folder)
    todo = folder / TODO_NAME
    if todo.exists() and not overwrite:
        raise InputError(f"{todo}: is there already; --overwrite replaces it")
    if faint_limit is None:
        faint_limit = load_settings().getfloat("todo", "faint_limit")
    if not np.isfinite(faint_limit):
        raise UsageError(f"a faint limit of {faint_limit}: give a magnitude")
    exclusions, overrides = read_rules(exclude, methods=False), read_rules(methods, methods=True)
    tpfs = group_tpfs(find_tpfs(folder))
    rows = _apply(found := _all_rows(folder, cubes, tpfs, faint_limit), exclusions, overrides)
    if len(found) and not len(rows):
        raise InputError(f"{exclude or 'the packaged list'}: excludes all {len(found)} rows; see --exclude")
    if not len(rows):
        raise InputError(
            f"{folder}: no star brighter than Tmag {faint_limit:g} to list; it needs catalogs (tasoc-mpi "
            "catalog) with cubes (tasoc-mpi prepare), or target pixel files (tess*_tp.fits, "
            "hlsp_tess-spoc_*_tp.fits)"
        )
    rows = prioritise(rows)
    create_todo(todo, rows[list(TODO_DTYPE.names or ())].astype(TODO_DTYPE), rows["tile"])
    return _summaries(rows, {*cubes, *tpfs})


def _all_rows(
    folder: Path, cubes: Mapping[CCDKey, Path], tpfs: Mapping[CCDKey, Sequence[TPFInfo]], faint_limit: float
) -> NDArray[np.void]:
    """The rows of every CCD; warnings name the files whose stars cannot be listed."""
    parts = [np.zeros(0, dtype=_DTYPE)]
    for key, frames in find_ffis(folder).items():
        if key not in cubes:
            logger.warning(
                "%s: no such cube, so its %d full frame images are not listed; tasoc-mpi prepare makes it",
                folder / cube_name(*key),
                len(frames),
            )
    for key in sorted({*cubes, *tpfs}):
        path = folder / catalog_name(*key)
        catalog = open_catalog(path) if path.exists() else None
        if key in cubes:
            if catalog is None:
                logger.warning(
                    "%s: no such catalog, so no star of this CCD's full frame images is listed; "
                    "tasoc-mpi catalog makes it",
                    path,
                )
            else:
                parts.append(_ffi_rows(open_cube(cubes[key]), catalog, faint_limit))
        if key in tpfs:
            if catalog is None:
                logger.warning(
                    "%s: no such catalog, so only the targets of its target pixel files are listed; "
                    "tasoc-mpi catalog makes it",
                    path,
                )
            parts.append(_tpf_rows(tpfs[key], catalog, faint_limit))
    return np.concatenate(parts)


def prioritise(rows: NDArray[np.void]) -> NDArray[np.void]:
    """Rows of TODO_DTYPE sorted from bright to faint, with priorities from 1 on.

    Stars as bright as each other go by TIC number, then datasource, cadence, sector, camera and CCD, so
    that the order never depends on how the rows were found. Unknown magnitudes come last.
    """
    keys = ("ccd", "camera", "sector", "cadence", "datasource", "starid", "tmag")
    rows = rows[np.lexsort([rows[key] for key in keys])]
    rows["priority"] = np.arange(1, len(rows) + 1)
    return rows


def _rows(n: int, key: CCDKey, datasource: str, cadence: int, data_rel: object) -> NDArray[np.void]:
    rows = np.zeros(n, dtype=_DTYPE)
    rows["tile"] = -1
    rows["data_rel"] = data_rel if is_integer(data_rel) and 0 <= data_rel <= _LAST_RELEASE else -1
    rows["sector"], rows["camera"], rows["ccd"] = key
    rows["datasource"], rows["cadence"] = datasource, cadence
    return rows


def _check_ccd(catalog: StarCatalog, key: CCDKey) -> None:
    """A catalog of one CCD under the name of another would give light curves of the wrong stars."""
    found = catalog.settings.sector, catalog.settings.camera, catalog.settings.ccd
    if key != found:
        raise InputError(
            f"{catalog.path}: of sector {found[0]}, camera {found[1]}, CCD {found[2]} by its own account;"
            " rename it"
        )


def _centre(catalog: StarCatalog) -> tuple[float, float]:
    return catalog.settings.camera_centre_ra, catalog.settings.camera_centre_dec


def _inside(position: NDArray[np.float64], first: int, end: int) -> NDArray[np.bool_]:
    """Whether positions (pixels, NaN allowed) are on pixels of a range."""
    return (np.rint(position) >= first) & (np.rint(position) < end)


def _ffi_rows(cube: Cube, catalog: StarCatalog, faint_limit: float) -> NDArray[np.void]:
    """The stars of a catalog on the science pixels of a cube."""
    attributes = cube.attributes
    key = (int(attributes["SECTOR"]), int(attributes["CAMERA"]), int(attributes["CCD"]))
    _check_ccd(catalog, key)
    stars = catalog.stars[catalog.stars["tmag"] < faint_limit]
    if not cube.wcs.good[cube.ref_frame]:
        raise InputError(f"{cube.path}: its reference frame has no WCS; remove it and run tasoc-mpi prepare")
    column, row = cube.wcs.stars(stars["ra"], stars["decl"], cube.ref_frame).T
    inside = _inside(row, cube.row_offset, cube.row_offset + cube.shape[0])
    inside &= _inside(column, cube.column_offset, cube.column_offset + cube.shape[1])
    inside &= _inside(row, *SCIENCE_ROWS) & _inside(column, *SCIENCE_COLUMNS)
    stars, row, column = stars[inside], row[inside], column[inside]
    rows = _rows(len(stars), key, "ffi", int(attributes["CADENCE"]), int(attributes["DATA_REL"]))
    rows["tile"] = (np.rint(row).astype(int) - SCIENCE_ROWS[0]) // _TILE * _TILES_ACROSS
    rows["tile"] += (np.rint(column).astype(int) - SCIENCE_COLUMNS[0]) // _TILE
    rows["starid"], rows["tmag"] = stars["starid"], stars["tmag"]
    rows["method"][stars["tmag"] <= load_settings().getfloat("todo", "halo_tmag_limit")] = "halo"
    rows["cbv_area"] = cbv_area(stars["ra"], stars["decl"], key[1], key[2], _centre(catalog))
    return rows


def _tpf_rows(infos: Sequence[TPFInfo], catalog: StarCatalog | None, faint_limit: float) -> NDArray[np.void]:
    """The targets of the target pixel files of one CCD, and the other stars in their stamps."""
    parts = [np.zeros(0, dtype=_DTYPE)]
    secondaries, edges = [np.zeros(0, dtype=_DTYPE)], [np.zeros(0)]
    stars = np.zeros(0, dtype=STAR_DTYPE) if catalog is None else catalog.stars
    stars = stars[stars["tmag"] < faint_limit]
    positions = SkyIndex(stars["ra"], stars["decl"])
    for info in infos:
        tpf = read_tpf(info.path, rows=False)
        key = (tpf.sector, tpf.camera, tpf.ccd)
        if catalog is not None:
            _check_ccd(catalog, key)
        parts.append(_primary(tpf, catalog))
        if catalog is None:
            continue
        if not tpf.wcs.good[0]:
            logger.warning("%s has no usable WCS: the other stars in it are not listed", tpf.path)
            continue
        near = positions.within(*tpf.middle, _reach(tpf))
        rows, edge = _secondaries(tpf, stars[near], _centre(catalog))
        secondaries.append(rows)
        edges.append(edge)
    targets = [info.starid for info in infos]
    rows, edge = np.concatenate(secondaries), np.concatenate(edges)
    free = ~np.isin(rows["starid"], targets)
    parts.append(_farthest_from_edge(rows[free], edge[free]))
    return np.concatenate(parts)


def _primary(tpf: TPF, catalog: StarCatalog | None) -> NDArray[np.void]:
    """The row of a file's own star: from the catalog, or from the file's header."""
    key = (tpf.sector, tpf.camera, tpf.ccd)
    rows = _rows(1, key, "tpf", tpf.cadence, tpf.header.get("DATA_REL"))
    if catalog is not None and tpf.starid not in catalog:
        logger.warning("TIC %d has a target pixel file, but is not in %s", tpf.starid, catalog.path)
        catalog = None
    if catalog is None:
        catalog = catalog_from_tpf(read_tpf(tpf.path, pixels=False))
    star = catalog.stars[catalog.index(tpf.starid)]
    rows["starid"], rows["tmag"] = tpf.starid, star["tmag"]
    centre = _centre(catalog)
    if np.isfinite(centre).all():
        rows["cbv_area"] = cbv_area(star["ra"][None], star["decl"][None], tpf.camera, tpf.ccd, centre)
    else:
        row_min, row_max, col_min, col_max = tpf.stamp
        row, column = CAMERA_CENTRES[tpf.camera, tpf.ccd]
        distance = np.hypot((row_min + row_max) / 2 - row, (col_min + col_max) / 2 - column) * _PIXEL
        rows["cbv_area"] = _area(np.array([distance]), tpf.camera, tpf.ccd)
    return rows


def _reach(tpf: TPF) -> float:
    """A radius around the middle of a stamp that is sure to hold it, degrees."""
    return 2 * _PIXEL * (float(np.hypot(*tpf.aperture.shape)) / 2 + 1)


def _secondaries(
    tpf: TPF, stars: NDArray[np.void], centre: tuple[float, float]
) -> tuple[NDArray[np.void], NDArray[np.float64]]:
    """The other stars on collected pixels of a stamp, and their distances from its edge (pixels)."""
    row_min, row_max, col_min, col_max = tpf.stamp
    stars = stars[stars["starid"] != tpf.starid]
    column, row = tpf.wcs.stars(stars["ra"], stars["decl"], 0).T
    inside = _inside(row, row_min, row_max) & _inside(column, col_min, col_max)
    stars, row, column = stars[inside], row[inside], column[inside]
    pixels = np.rint(row).astype(int) - row_min, np.rint(column).astype(int) - col_min
    collected = (tpf.aperture[pixels] & _COLLECTED) != 0
    stars, row, column = stars[collected], row[collected], column[collected]
    key = (tpf.sector, tpf.camera, tpf.ccd)
    rows = _rows(len(stars), key, f"tpf:{tpf.starid}", tpf.cadence, tpf.header.get("DATA_REL"))
    rows["starid"], rows["tmag"] = stars["starid"], stars["tmag"]
    rows["cbv_area"] = cbv_area(stars["ra"], stars["decl"], tpf.camera, tpf.ccd, centre)
    edge = np.min([row - row_min, row_max - 1 - row, column - col_min, col_max - 1 - column], axis=0) + 0.5
    return rows, edge


def _farthest_from_edge(rows: NDArray[np.void], edge: NDArray[np.float64]) -> NDArray[np.void]:
    """Of the rows of a star at one cadence, the one whose stamp's edge is farthest from it."""
    # The datasource decides between equals (to a rounding error), so that the order of files does not.
    order = np.lexsort([rows["datasource"], -np.round(edge, 6), rows["cadence"], rows["starid"]])
    rows = rows[order]
    first = np.ones(len(rows), dtype=bool)
    first[1:] = np.diff(rows["starid"]) != 0
    first[1:] |= np.diff(rows["cadence"]) != 0
    return rows[first]


def _apply(rows: NDArray[np.void], exclusions: Sequence[Rule], overrides: Sequence[Rule]) -> NDArray[np.void]:
    """Rows without the excluded ones, with the methods of the overrides."""
    excluded, chosen = np.zeros((2, len(rows)), dtype=bool)
    used = 0
    for rule in exclusions:
        fits = rule.fits(rows)
        excluded |= fits
        used += bool(fits.any())
    _log_rules("exclusions", used, exclusions, excluded, "are left out")
    rows, used, chosen = rows[~excluded], 0, chosen[~excluded]
    for rule in overrides:
        fits = rule.fits(rows)
        rows["method"][fits] = rule.method
        chosen |= fits
        used += bool(fits.any())
    _log_rules("methods", used, overrides, chosen, "have a method by it")
    return rows


def _log_rules(name: str, used: int, rules: Sequence[Rule], fits: NDArray[np.bool_], what: str) -> None:
    """Log how many rules of a list fit some rows, and how many rows."""
    if rules:
        text = f"list of {name}: {used} of {len(rules)} rules fit, {np.count_nonzero(fits)} rows {what}"
        # It may be the list of other stars.
        logger.log(logging.INFO if used else logging.WARNING, "%s", text)


def _summaries(rows: NDArray[np.void], keys: set[CCDKey]) -> list[TodoSummary]:
    summaries = []
    for key in sorted(keys):
        of_ccd = (rows["sector"] == key[0]) & (rows["camera"] == key[1]) & (rows["ccd"] == key[2])
        source = rows["datasource"][of_ccd]
        ffi, tpf = int(np.sum(source == "ffi")), int(np.sum(source == "tpf"))
        summaries.append(TodoSummary(*key, ffi, tpf, len(source) - ffi - tpf))
    return summaries
