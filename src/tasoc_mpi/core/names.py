"""The names of the program's files: each stands here once, and is made and recognised by the same module."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path

from .input_files import check_folder

__all__ = [
    "CBV_FOLDER",
    "CCDKey",
    "Choice",
    "catalog_name",
    "cbv_name",
    "cbv_pictures",
    "cube_name",
    "find_catalogs",
    "find_cbv",
    "find_cubes",
    "is_chosen",
    "is_lightcurve_name",
    "lightcurve_name",
    "parse_lightcurve_name",
    "prf_name",
    "prf_parts_name",
    "truth_name",
    "unfinished_lightcurve_name",
]

#: Folder of co-trending basis vectors below the output folder of the light curves that they are made from.
CBV_FOLDER = "cbv"

#: (sector, camera, ccd)
CCDKey = tuple[int, int, int]

#: Numbers of sectors, cameras or CCDs that a user has chosen: one, several, or None for all.
Choice = int | Collection[int] | None

_CUBE = re.compile(r"sector(\d{3,4})_camera([1-4])_ccd([1-4])\.hdf5", re.ASCII)
_CATALOG = re.compile(r"catalog_sector(\d{3,4})_camera([1-4])_ccd([1-4])\.sqlite", re.ASCII)
_CBV = re.compile(r"cbv-s\d{4,}-c(\d{4,5})-a(\d{3})\.hdf5", re.ASCII)
#: The paths that `lightcurve_name` gives, and no others: longer numbers than usual begin with no 0.
_LIGHTCURVE = re.compile(
    r"c(?P<cadence>\d{4}|[1-9]\d{4})/(?P<folder>\d{5})"
    r"/tess(?P<starid>(?P=folder)\d{6}|(?!0)(?P=folder)\d{7,14})-s(?P<sector>\d{3}|[1-9]\d{3})"
    r"-(?P<camera>\d)-(?P<ccd>\d)-c(?P=cadence)-dr(?P<data_rel>\d{2}|[1-9]\d{2,3})-v(?P<version>\d{2})"
    r"-tasoc_lc\.fits\.gz",
    re.ASCII,
)
_LIGHTCURVE_KEYS = ("starid", "sector", "camera", "ccd", "cadence", "data_rel", "version")
#: The name that a light curve has until it is whole; older versions ended it with ".part".
_UNFINISHED = re.compile(r"\.(?P<name>tess.*\.fits\.gz)\.(?P<pid>\d+)\.(part|tmp)", re.ASCII)


def is_chosen(key: CCDKey, sector: Choice, camera: Choice, ccd: Choice) -> bool:
    """Whether a CCD is among those that a user has chosen: a number, several, or None for all.

    Examples
    --------
    >>> is_chosen((1, 2, 3), None, 2, None), is_chosen((1, 2, 3), 1, [3, 4], None)
    (True, False)
    """
    return all(
        want is None or have == want or (not isinstance(want, int) and have in want)
        for want, have in zip((sector, camera, ccd), key, strict=True)
    )


def cube_name(sector: int, camera: int, ccd: int) -> str:
    """File name of a CCD's cube.

    Examples
    --------
    >>> cube_name(1, 2, 3)
    'sector001_camera2_ccd3.hdf5'
    """
    return f"sector{sector:03d}_camera{camera:d}_ccd{ccd:d}.hdf5"


def find_cubes(folder: str | os.PathLike[str]) -> dict[CCDKey, Path]:
    """The cube files of a folder, sorted by sector, camera and CCD.

    Raises
    ------
    MissingInput
        If there is no such folder.
    """
    return _find(folder, _CUBE)


def _find(folder: str | os.PathLike[str], pattern: re.Pattern[str]) -> dict[CCDKey, Path]:
    """The files of CCDs whose names have a form."""
    folder = Path(folder)
    check_folder(folder, "the data")
    matches = ((path, pattern.fullmatch(path.name)) for path in folder.iterdir())
    found = {(int(m[1]), int(m[2]), int(m[3])): path for path, m in matches if m}
    return dict(sorted(found.items()))


def catalog_name(sector: int, camera: int, ccd: int) -> str:
    """File name of a CCD's star catalog.

    Examples
    --------
    >>> catalog_name(1, 2, 3)
    'catalog_sector001_camera2_ccd3.sqlite'
    """
    return f"catalog_sector{sector:03d}_camera{camera:d}_ccd{ccd:d}.sqlite"


def find_catalogs(folder: str | os.PathLike[str]) -> dict[CCDKey, Path]:
    """The star catalogs of a folder, sorted by sector, camera and CCD.

    Raises
    ------
    MissingInput
        If there is no such folder.
    """
    return _find(folder, _CATALOG)


def prf_name(sector: int, camera: int, ccd: int) -> str:
    """File name of a CCD's effective pixel response.

    Examples
    --------
    >>> prf_name(1, 2, 3)
    'prf_sector001_camera2_ccd3.hdf5'
    """
    return f"prf_sector{sector:03d}_camera{camera:d}_ccd{ccd:d}.hdf5"


def prf_parts_name(sector: int, camera: int, ccd: int) -> str:
    """Name of the folder of finished epochs of an effective PRF that is being made.

    >>> prf_parts_name(1, 4, 2)
    '.prf_sector001_camera4_ccd2.hdf5.parts'
    """
    return f".{prf_name(sector, camera, ccd)}.parts"


def cbv_name(sector: int, cadence: int, area: int) -> str:
    """File name of the co-trending basis vectors of an area of a CCD, in `CBV_FOLDER`.

    Examples
    --------
    >>> cbv_name(1, 1800, 231)
    'cbv-s0001-c1800-a231.hdf5'
    """
    return f"cbv-s{sector:04d}-c{cadence:04d}-a{area:03d}.hdf5"


def cbv_pictures(path: Path) -> dict[str, Path]:
    """The pictures of the vectors of a file, beside it.

    Examples
    --------
    >>> [picture.name for picture in cbv_pictures(Path("cbv-s0001-c1800-a231.hdf5")).values()][0]
    'cbv-s0001-c1800-a231-vectors.png'
    """
    return {name: path.with_name(f"{path.stem}-{name}.png") for name in ("vectors", "weights", "stars")}


def find_cbv(folder: Path, sector: int, cadence: int, area: int) -> tuple[Path, int] | None:
    """The vectors for light curves of an area: those of their cadence, else of the next longer one.

    Returns
    -------
    (Path, int) or None
        The file in `folder` and its cadence (s); None if there is none.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Path(folder, cbv_name(1, 1800, 231)).touch()
    ...     found = find_cbv(Path(folder), 1, 120, 231)
    >>> found[0].name, found[1]
    ('cbv-s0001-c1800-a231.hdf5', 1800)
    """
    own = os.path.join(folder, cbv_name(sector, cadence, area))
    if os.path.exists(own):
        return Path(own), cadence
    matches = ((path, _CBV.fullmatch(path.name)) for path in folder.glob(f"cbv-s{sector:04d}-*.hdf5"))
    found = [(int(m[1]), path) for path, m in matches if m and int(m[2]) == area and int(m[1]) >= cadence]
    return (min(found)[1], min(found)[0]) if found else None


def truth_name(sector: int, camera: int, ccd: int) -> str:
    """File name of the truth behind a CCD's simulation.

    Examples
    --------
    >>> truth_name(1, 2, 3)
    'truth_sector001_camera2_ccd3.hdf5'
    """
    return f"truth_sector{sector:03d}_camera{camera:d}_ccd{ccd:d}.hdf5"


def lightcurve_name(
    starid: int, sector: int, camera: int, ccd: int, cadence: int, data_rel: int, version: int
) -> str:
    """Path of a light curve below the output folder.

    Examples
    --------
    >>> lightcurve_name(471011145, 1, 2, 3, 1800, data_rel=1, version=1)
    'c1800/00471/tess00471011145-s001-2-3-c1800-dr01-v01-tasoc_lc.fits.gz'
    """
    star = f"{starid:011d}"
    return (
        f"c{cadence:04d}/{star[:5]}/tess{star}-s{sector:03d}-{camera:d}-{ccd:d}-c{cadence:04d}"
        f"-dr{data_rel:02d}-v{version:02d}-tasoc_lc.fits.gz"
    )


def parse_lightcurve_name(path: str) -> dict[str, int] | None:
    """The arguments of `lightcurve_name` that give this path; None if none do.

    Examples
    --------
    >>> found = parse_lightcurve_name("c1800/00471/tess00471011145-s001-2-3-c1800-dr01-v01-tasoc_lc.fits.gz")
    >>> found["starid"], found["cadence"]
    (471011145, 1800)
    >>> parse_lightcurve_name("c0120/00471/tess00471011145-s001-2-3-c1800-dr01-v01-tasoc_lc.fits.gz") is None
    True
    """
    match = _LIGHTCURVE.fullmatch(path)
    return {key: int(match[key]) for key in _LIGHTCURVE_KEYS} if match else None


def is_lightcurve_name(path: str) -> bool:
    """Whether `lightcurve_name` gives this path for some star.

    Examples
    --------
    >>> is_lightcurve_name("c1800/00471/tess00471011145-s001-2-3-c1800-dr01-v01-tasoc_lc.fits.gz")
    True
    """
    return _LIGHTCURVE.fullmatch(path) is not None


def unfinished_lightcurve_name(name: str) -> tuple[str, int] | None:
    """The final name of an unfinished light curve, and the process that writes it; None for other files.

    Examples
    --------
    >>> unfinished_lightcurve_name(".tess00471011145-s001-2-3-c1800-dr01-v01-tasoc_lc.fits.gz.4711.part")
    ('tess00471011145-s001-2-3-c1800-dr01-v01-tasoc_lc.fits.gz', 4711)
    """
    match = _UNFINISHED.fullmatch(name)
    return (match["name"], int(match["pid"])) if match else None
