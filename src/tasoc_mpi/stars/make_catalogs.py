"""Making the star catalog of every CCD of a folder."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, MissingInput, UsageError
from ..core.names import Choice, catalog_name
from ..core.sphere import in_polygon
from ..products.star_catalog import (
    FROM_HEADERS,
    STAR_DTYPE,
    CatalogSettings,
    catalog_from_tpf,
    footprint_text,
    julian_epoch,
    move_stars,
    write_catalog,
)
from ..products.tpf import group_tpfs, read_tpf
from ..products.tpf_files import find_tpfs
from .footprints import CCDField, find_fields, predicted_fields
from .star_table import query_mast, read_star_table
from .tic_strips import read_strips

__all__ = ["CatalogOptions", "CatalogSummary", "catalog_from_tpf", "make_catalogs", "select_stars"]

logger = logging.getLogger(__name__)

#: No star moves faster (Barnard's star: 10.4" a year), degrees a year.
_FASTEST = 11.0 / 3600.0
#: Fainter stars than this are not taken from the whole TIC: they add to nobody's light.
_TMAG_MAX = 18.0


@dataclass(frozen=True)
class CatalogOptions:
    """How catalogs are to be made."""

    #: Path of a table of stars or of a folder of the TIC's strips, ``mast``, or ``headers`` (of the target
    #: pixel files).
    source: str
    sector: Choice = None  #: Only this one
    camera: Choice = None  #: Only this one
    ccd: Choice = None  #: Only this one
    ticver: str = "8.2"  #: Version of the TIC that the stars come from
    #: Julian date (TDB) of the positions; None for that of each CCD's middle frame.
    reference_time: float | None = None
    buffer: float = 0.2  #: Stars up to this far outside the CCD are included, degrees
    tmag_max: float | None = None  #: The faintest stars that are included; None for all (from MAST: 18)
    overwrite: bool = False  #: Replace catalogs that are there


@dataclass(frozen=True)
class CatalogSummary:
    """A catalog that was made."""

    path: Path
    field: CCDField
    epoch: float
    stars: int


def make_catalogs(folder: str | os.PathLike[str], options: CatalogOptions) -> Iterator[CatalogSummary]:
    """Write the catalogs of the CCDs that a folder has data of, one after the other.

    Parameters
    ----------
    folder : path-like
        Holds full frame images, cubes or target pixel files; the catalogs are written there.
    options : CatalogOptions

    Yields
    ------
    CatalogSummary

    Raises
    ------
    MissingInput
        If folder, table or data are missing.
    UsageError
        If an option makes no sense.
    InputError
        If a file cannot be read, a catalog is there already, or no star lies in any field.
    """
    folder = Path(folder)
    if not 0 <= options.buffer <= 10:
        raise UsageError(f"a buffer of {options.buffer} degrees: give one between 0 and 10")
    if options.reference_time is not None and not 2400000 < options.reference_time < 2500000:
        raise UsageError(f"reference time {options.reference_time}: give a Julian date, such as 2458338.5")
    if options.tmag_max is not None and not math.isfinite(options.tmag_max):
        raise UsageError(f"a faint limit of {options.tmag_max}: give a magnitude")
    fields = _fields(folder, options)
    for field in fields:
        path = folder / catalog_name(field.sector, field.camera, field.ccd)
        if path.exists() and not options.overwrite:
            raise InputError(f"{path}: is there already; --overwrite replaces it")
    table = None
    if options.source not in ("mast", "headers"):
        if Path(options.source).is_dir():
            corners = [field.corners for field in fields]
            table = read_strips(Path(options.source), corners, options.buffer, _faintest(options))
        else:
            table = read_star_table(options.source, options.tmag_max)
    made = 0
    for field in fields:
        summary = _make_one(folder, field, options, table)
        if summary is not None:
            made += 1
            yield summary
    if not made:
        raise InputError(
            f"{options.source}: no star in the footprint of any CCD in {folder}; give a table of these fields"
        )


def _fields(folder: Path, options: CatalogOptions) -> list[CCDField]:
    """The CCDs that the folder has data of; else, of a sector that is named, where they should be."""
    choice = options.sector, options.camera, options.ccd
    try:
        return find_fields(folder, *choice)
    except MissingInput:
        if options.sector is None or options.source == "headers" or not folder.is_dir():
            raise
    sectors = [options.sector] if isinstance(options.sector, int) else sorted(options.sector)
    fields = [field for sector in sectors for field in predicted_fields(sector, options.camera, options.ccd)]
    logger.info(
        "%s: no data of sector %s yet: the catalogs are of the outlines of the published pointing, and "
        "of the middle of the sector",
        folder,
        ", ".join(map(str, sectors)),
    )
    return fields


def _faintest(options: CatalogOptions) -> float:
    """The magnitude limit where the whole TIC is the source."""
    return _TMAG_MAX if options.tmag_max is None else options.tmag_max


def _make_one(
    folder: Path, field: CCDField, options: CatalogOptions, table: NDArray[np.void] | None
) -> CatalogSummary | None:
    time = field.reference_time if options.reference_time is None else options.reference_time
    epoch = julian_epoch(time)
    ticver = options.ticver
    if table is not None:
        stars = table
    elif options.source == "mast":
        stars = query_mast(field.corners, options.buffer, _faintest(options))
    else:
        stars, ticver = _header_stars(folder, field, ticver)
    if options.tmag_max is not None:
        stars = stars[stars["tmag"] <= options.tmag_max]
    selected = select_stars(stars, field.corners, options.buffer, epoch)
    if not len(selected):
        logger.warning("no star of %s in the footprint of %s: no catalog", options.source, field.name)
        return None
    settings = CatalogSettings(
        sector=field.sector,
        camera=field.camera,
        ccd=field.ccd,
        ticver=ticver,
        reference_time=time,
        epoch=epoch,
        coord_buffer=options.buffer,
        camera_centre_ra=field.centre[0],
        camera_centre_dec=field.centre[1],
        footprint=footprint_text(field.corners),
        source=options.source if options.source in ("mast", FROM_HEADERS) else "table",
    )
    path = folder / catalog_name(field.sector, field.camera, field.ccd)
    write_catalog(path, settings, selected)
    return CatalogSummary(path, field, epoch, len(selected))


def select_stars(
    stars: NDArray[np.void], corners: NDArray[np.float64], buffer: float, epoch: float
) -> NDArray[np.void]:
    """Stars in a field at the epoch of observation, with their positions then.

    Parameters
    ----------
    stars : ndarray of STAR_DTYPE, shape (N,)
        With positions and proper motions at J2000.
    corners : ndarray, shape (V, 2)
        (ra, dec) of the field's convex polygon, degrees.
    buffer : float
        Stars up to this far outside are included, degrees.
    epoch : float
        Julian year.

    Returns
    -------
    ndarray of STAR_DTYPE
    """
    # Moving stars costs more than looking for them: first those that can get there.
    reach = buffer + _FASTEST * abs(epoch - 2000.0)
    near = stars[in_polygon(stars["ra_J2000"], stars["decl_J2000"], corners, reach)]
    moved = move_stars(near, epoch)
    return moved[in_polygon(moved["ra"], moved["decl"], corners, buffer)]


def _header_stars(folder: Path, field: CCDField, ticver: str) -> tuple[NDArray[np.void], str]:
    """The stars that the target pixel files of a CCD are of, and their version of the TIC."""
    key = (field.sector, field.camera, field.ccd)
    stars = {}
    for info in group_tpfs(find_tpfs(folder)).get(key, []):
        catalog = catalog_from_tpf(read_tpf(info.path, pixels=False))
        stars[info.starid] = catalog.stars
        ticver = catalog.settings.ticver or ticver
    logger.info("%s: %d stars from headers of target pixel files", field.name, len(stars))
    if not stars:
        return np.zeros(0, dtype=STAR_DTYPE), ticver
    return np.concatenate(list(stars.values())), ticver
