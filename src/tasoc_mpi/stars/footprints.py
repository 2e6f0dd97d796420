"""Which CCDs a folder holds data of, and which part of the sky each of them sees."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, MissingInput
from ..core.names import CCDKey, Choice, find_cubes, is_chosen
from ..core.sphere import convex_hull, in_polygon
from ..core.times import BTJD_ZERO
from ..cubes.frame_headers import frame_facts
from ..cubes.frame_series import drop_unusable
from ..products.ccd_outline import camera_centre_sky, stamp_outline
from ..products.cube import open_cube
from ..products.ffi import SCIENCE_COLUMNS, SCIENCE_ROWS, find_ffis
from ..products.frame_wcs import FrameWCS
from ..products.tpf import TPF, group_tpfs, read_tpf
from ..products.tpf_files import TPFInfo, find_tpfs
from ..simulate.pointing import load_pointing, moved_wcs

__all__ = ["CCDField", "declinations", "find_fields", "predicted_fields"]

logger = logging.getLogger(__name__)

#: Frames that are compared.
_FEW = 5
#: From the first frame of a sector to its middle (days).
_HALF_SECTOR = 13.0
#: Stars this far outside a predicted outline are wanted (degrees): the buffer of catalogs, and more than the
#: prediction is wrong by.
_MARGIN = 0.3


@dataclass(frozen=True)
class CCDField:
    """What one CCD saw in one sector."""

    sector: int
    camera: int
    ccd: int
    reference_time: float  #: Julian date (TDB) of the middle frame
    corners: NDArray[np.float64]  #: Shape (V, 2), (ra, dec) of the convex polygon around its pixels, degrees
    centre: tuple[float, float]  #: (ra, dec) of the camera's centre, degrees
    source: str  #: What kind of file this was read from

    @property
    def name(self) -> str:
        """The CCD in words."""
        return f"sector {self.sector} camera {self.camera} CCD {self.ccd}"


def find_fields(
    folder: str | os.PathLike[str],
    sector: Choice = None,
    camera: Choice = None,
    ccd: Choice = None,
) -> list[CCDField]:
    """The CCDs with full frame images, a cube or target pixel files in a folder.

    Parameters
    ----------
    folder : path-like
    sector, camera, ccd : int or collection of int, optional
        Only these.

    Returns
    -------
    list of CCDField
        Sorted by sector, camera and CCD. Full frame images tell the most about a CCD, then its cube; of
        a CCD with target pixel files alone the field is what these cover.

    Raises
    ------
    MissingInput
        If there is no such folder, or no such data in it.
    InputError
        If a file cannot be read, or a CCD has no usable WCS.
    """
    folder = Path(folder)
    frames = find_ffis(folder)
    cubes = find_cubes(folder)
    tpfs = group_tpfs(find_tpfs(folder))
    fields = []
    for key in sorted(key for key in {*frames, *cubes, *tpfs} if is_chosen(key, sector, camera, ccd)):
        if key in frames:
            fields.append(_field_of_frames(key, frames[key]))
        elif key in cubes:
            fields.append(_field_of_cube(key, cubes[key]))
        else:
            field = _field_of_tpfs(key, tpfs[key])
            if field is not None:
                fields.append(field)
    if not fields:
        which = "" if sector is camera is ccd is None else " of that sector, camera and CCD"
        raise MissingInput(
            f"{folder}: no full frame images, cubes or target pixel files with a WCS{which}; "
            "put some there or name another folder"
        )
    return fields


def _field(
    key: CCDKey, time: float, wcs: FrameWCS, frame: int, outline: NDArray[np.float64], source: str
) -> CCDField:
    centre = camera_centre_sky(wcs, frame, key[1], key[2])
    return CCDField(*key, BTJD_ZERO + time, convex_hull(outline), centre, source)


def _field_of_frames(key: CCDKey, paths: Sequence[Path]) -> CCDField:
    """By the middle frames, compared with each other: a header can be wrong; others, if none has a WCS."""
    outwards = sorted(range(len(paths)), key=lambda t: (abs(t - len(paths) // 2), t))
    time: float | None = None
    for first in range(0, len(paths), _FEW):
        facts = [frame_facts(paths[t]) for t in sorted(outwards[first : first + _FEW])]
        if time is None:
            times = sorted((fact.numbers[0] + fact.numbers[1]) / 2 for fact in facts)
            time = times[len(times) // 2]
        info, cards = facts[0].info, [fact.wcs_cards for fact in facts]
        row, column = info.row_offset, info.column_offset
        wcs = FrameWCS.from_headers(cards, info.file_offset)
        drop_unusable(wcs, cards, info.shape, (row, column), [fact.info.label for fact in facts])
        if wcs.good.any():
            frame = min(np.flatnonzero(wcs.good).tolist(), key=lambda t: abs(t - len(facts) // 2))
            stamp = (row, row + info.shape[0], column, column + info.shape[1])
            return _field(key, time, wcs, frame, stamp_outline(wcs, frame, stamp), "full frame images")
    raise InputError(
        f"{paths[len(paths) // 2]}: neither it nor the other {len(paths) - 1} frames of its CCD have a WCS "
        "that can be used; remove them, or fetch them again"
    )


def _field_of_cube(key: CCDKey, path: Path) -> CCDField:
    cube = open_cube(path)
    frame = cube.ref_frame
    if not cube.wcs.good[frame]:
        raise InputError(
            f"{path}: its reference frame has no usable WCS; remove it and run tasoc-mpi prepare"
        )
    row, column = cube.row_offset, cube.column_offset
    stamp = (row, row + cube.shape[0], column, column + cube.shape[1])
    time = float(cube.time[len(cube.time) // 2])
    return _field(key, time, cube.wcs, frame, stamp_outline(cube.wcs, frame, stamp), "cube")


def _field_of_tpfs(key: CCDKey, infos: Sequence[TPFInfo]) -> CCDField | None:
    """What the stamps cover together; None where none has a WCS."""
    first: TPF | None = None
    outlines = []
    for info in infos:
        tpf = read_tpf(info.path, rows=False)
        if not tpf.wcs.good[0]:
            logger.warning("%s has no usable WCS: the footprint of its CCD is made without it", info.path)
            continue
        first = first or tpf
        outlines.append(stamp_outline(tpf.wcs, 0, tpf.stamp))
    if first is None:
        return None
    times = read_tpf(first.path, pixels=False).time
    time = float(times[len(times) // 2])
    return _field(key, time, first.wcs, 0, np.concatenate(outlines), "target pixel files")


def predicted_fields(sector: int, camera: Choice = None, ccd: Choice = None) -> list[CCDField]:
    """The fields of CCDs of which there is no frame, from the published pointing of the sector.

    Parameters
    ----------
    sector : int
    camera, ccd : int or collection of int, optional
        Only these.

    Returns
    -------
    list of CCDField
        Sorted by camera and CCD. Positions are right to some 10"; the time is that of the middle of the
        sector, right to a day.

    Raises
    ------
    UsageError
        If tesswcs is not installed, or does not know the sector.

    Examples
    --------
    >>> [field] = predicted_fields(1, 1, 1)
    >>> field.name, round(field.centre[1], 1)
    ('sector 1 camera 1 CCD 1', -33.2)
    """
    keys = [
        (sector, number, chip)
        for number in range(1, 5)
        for chip in range(1, 5)
        if is_chosen((sector, number, chip), sector, camera, ccd)
    ]
    fields = []
    for key in keys:
        pointing = load_pointing(*key)
        wcs = moved_wcs(pointing, np.zeros((1, 2)), np.eye(2)[None])
        outline = stamp_outline(wcs, 0, (*SCIENCE_ROWS, *SCIENCE_COLUMNS))
        fields.append(_field(key, pointing.start + _HALF_SECTOR, wcs, 0, outline, "published pointing"))
    return fields


def declinations(fields: Sequence[CCDField]) -> tuple[float, float]:
    """The lowest and the highest declination of stars that fields can have, degrees.

    Examples
    --------
    >>> corners = np.array([[10.0, -5.0], [20.0, -5.0], [15.0, 3.0]])
    >>> south, north = declinations([CCDField(1, 1, 1, 2458338.0, corners, (15.0, 0.0), "")])
    >>> round(south, 1), round(north, 1)
    (-5.3, 3.3)
    """
    corners = np.concatenate([field.corners for field in fields])
    south, north = float(corners[:, 1].min()) - _MARGIN, float(corners[:, 1].max()) + _MARGIN
    for pole in (-90.0, 90.0):
        if any(in_polygon([0.0], [pole], field.corners, _MARGIN)[0] for field in fields):
            south, north = min(south, pole), max(north, pole)
    return max(south, -90.0), min(north, 90.0)
