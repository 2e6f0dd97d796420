"""Target pixel files by their names: finding them in a folder, and the list that a run's workers share."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from ..core.atomic import write_whole
from ..core.errors import InputError, TasocError, one_line
from ..core.input_files import WAY_OUT, check_folder, files_below, warn_each
from .fits_read import FITSReader, is_number
from .processing import file_rank, processing

__all__ = [
    "TPFInfo",
    "find_tpfs",
    "parse_tpf_name",
    "read_file",
    "read_tpf_list",
    "table_cadence",
    "tpf_list_path",
    "tpf_pattern",
    "write_tpf_list",
]

T = TypeVar("T")

_NAMES = (
    re.compile(r"tess\d+-s(?P<sector>\d{4})-(?P<starid>\d{16})-\d{4}-[a-z]_(?P<fast>fast-)?tp\.fits(\.gz)?"),
    re.compile(
        r"hlsp_tess-data-alerts_tess_phot_(?P<starid>\d{11})-s(?P<sector>\d{2})_tess_v1_(?P<fast>fast-)?tp"
        r"\.fits(\.gz)?"
    ),
    # Of TESS-SPOC, at the cadence of the full frame images, which the header alone tells.
    re.compile(
        r"hlsp_tess-spoc_tess_phot_(?P<starid>\d{16})-s(?P<sector>\d{4})_tess_v1_(?P<header>)tp\.fits(\.gz)?"
    ),
)


@dataclass(frozen=True, order=True)
class TPFInfo:
    """A target pixel file as its name tells."""

    path: Path
    starid: int
    sector: int
    cadence: int  #: Seconds; 0 where the name does not tell it (files of TESS-SPOC)


def parse_tpf_name(path: str | os.PathLike[str]) -> TPFInfo | None:
    """What the name of a target pixel file says, or None for another kind of name.

    Examples
    --------
    >>> info = parse_tpf_name("tess2018206045859-s0001-0000000025155310-0120-s_tp.fits.gz")
    >>> info.starid, info.sector, info.cadence
    (25155310, 1, 120)
    """
    path = Path(path)
    found = _parse(path.name)
    return None if found is None else TPFInfo(path, *found)


def _parse(name: str) -> tuple[int, int, int] | None:
    """TIC number, sector and cadence of the name of a file; None for another kind of name."""
    for pattern in _NAMES:
        match = pattern.fullmatch(name)
        if match:
            words = match.groupdict()
            cadence = 0 if "header" in words else 20 if words["fast"] else 120
            return int(match["starid"]), int(match["sector"]), cadence
    return None


def table_cadence(header: Mapping[str, Any]) -> int:
    """Seconds between the rows of a target pixel file, from the header of its table.

    Examples
    --------
    >>> table_cadence({"NUM_FRM": 60, "FRAMETIM": 2.0}), table_cadence({"TIMEDEL": 0.0208333333})
    (120, 1800)
    """
    frames, length = header.get("NUM_FRM"), header.get("FRAMETIM")
    if is_number(frames) and is_number(length):
        seconds = frames * length
    elif is_number(header.get("TIMEDEL")):
        seconds = header["TIMEDEL"] * 86400
    else:
        raise ValueError("no cadence: neither NUM_FRM and FRAMETIM nor TIMEDEL in its table")
    if not 1 <= seconds < 10000:
        raise ValueError(f"a cadence of {seconds:g} s")
    return round(seconds)


def _with_cadence(info: TPFInfo) -> TPFInfo:
    """The same, with the cadence of its header where the name does not tell it."""
    if info.cadence:
        return info

    def read(reader: FITSReader) -> int:
        hdus = reader.hdus()
        if next(hdus, None) is None or (table := next(hdus, None)) is None:
            raise ValueError("it has no table")
        return table_cadence(table.values)

    return replace(info, cadence=read_file(info.path, read))


def tpf_pattern(starid: int, sector: int | None = None) -> str:
    """Names of the mission's target pixel files of a star, as a pattern for messages.

    Examples
    --------
    >>> tpf_pattern(25155310, 1)
    'tess*-s0001-0000000025155310-*_tp.fits[.gz]'
    """
    return f"tess*-s{'*' if sector is None else format(sector, '04d')}-{starid:016d}-*_tp.fits[.gz]"


def find_tpfs(folder: str | os.PathLike[str]) -> list[TPFInfo]:
    """The target pixel files in a folder and its sub-folders.

    Parameters
    ----------
    folder : path-like

    Returns
    -------
    list of TPFInfo
        One for each star, sector and cadence, in this order. Where there are several, the newest processing
        is taken (`products.processing`) and the log names the others; data alerts are older than everything
        else.

    Raises
    ------
    MissingInput
        If there is no such folder.
    InputError
        If the cadence of a file is not in its name, and its header cannot be read.
    """
    folder = Path(folder)
    check_folder(folder, "the data")
    found: dict[tuple[int, int, int], list[TPFInfo]] = {}
    for path in files_below(folder):
        info = parse_tpf_name(path)
        if info is not None:
            info = _with_cadence(info)
            found.setdefault((info.starid, info.sector, info.cadence), []).append(info)
    chosen: list[TPFInfo] = []
    left_out: list[str] = []
    for key in sorted(found):
        infos = found[key]
        best = infos[0] if len(infos) == 1 else max(infos, key=_rank)
        chosen.append(best)
        left_out += [
            f"{info.path}: left out, {best.path} is of the same star and newer, or its copy"
            for info in infos
            if info is not best
        ]
    warn_each(left_out)
    return chosen


def _rank(info: TPFInfo) -> tuple[Any, ...]:
    """Order of several files of a star: unreadable ones, data alerts, the mission's from old to new."""
    try:
        made, readable = read_file(info.path, lambda reader: processing(reader.hdu().values)), True
    except TasocError:
        made, readable = processing({}), False
    return readable, info.path.name.startswith("tess"), made, *file_rank(info.path)


def read_file(path: Path, read: Callable[[FITSReader], T]) -> T:
    """Open a target pixel file and call `read`; its errors become one line that names the file."""
    try:
        with FITSReader(path) as reader:
            return read(reader)
    except (LookupError, ValueError, TypeError, ArithmeticError) as error:
        if isinstance(error, TasocError) and str(error).startswith(f"{path}: "):
            raise
        reason = one_line(str(error))
        raise InputError(f"{path}: cannot be read as a target pixel file ({reason}); {WAY_OUT}") from None


def tpf_list_path(output: Path) -> Path:
    """Where the list of a run's target pixel files is, in the output folder."""
    return output / "results" / "target_pixel_files.json"


def write_tpf_list(folder: Path, output: Path) -> None:
    """Search a folder for target pixel files, and write the list of them for the workers of a run.

    Parameters
    ----------
    folder : Path
        The input folder.
    output : Path
        The output folder.

    Raises
    ------
    MissingInput
        If there is no such input folder.
    InputError
        If the list cannot be written.
    """
    files = [(str(info.path.relative_to(folder)), info.cadence) for info in find_tpfs(folder)]
    path = tpf_list_path(output)
    try:
        path.parent.mkdir(exist_ok=True)
        write_whole(path, json.dumps(files).encode(), durable=False)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); make room and run again") from None


def read_tpf_list(output: Path) -> list[tuple[str, int, int, int]] | None:
    """The target pixel files that `write_tpf_list` found.

    Each worker reads the list: of some 20,000 files it makes no paths.

    Returns
    -------
    list of (str, int, int, int) or None
        Path below the input folder, TIC number, sector and cadence of each file. None where there is no list,
        or it does not name files below a folder: then the folder has to be searched.
    """
    try:
        files = [(str(name), int(s)) for name, s in json.loads(tpf_list_path(output).read_bytes())]
    except (FileNotFoundError, ValueError, TypeError, RecursionError):
        return None
    infos = []
    for name, cadence in files:
        parts = name.split("/")
        found = _parse(parts[-1])
        if found is None or ".." in parts or name.startswith("/") or "\0" in name:
            return None
        infos.append((name, *found[:2], cadence))
    return infos
