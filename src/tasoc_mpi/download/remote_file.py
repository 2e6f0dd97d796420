"""The files of the archives: names that are accepted, and where each of them goes in an input folder."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from ..core import names
from ..products.ffi_info import is_tica_name, name_time, parse_ffi_name
from ..products.tpf_files import parse_tpf_name

__all__ = ["KINDS", "Choice", "RemoteFile", "newest_frames", "place"]

#: What can be downloaded.
KINDS = ("ffi", "tpf", "fast-tpf", "tica", "catalog", "prf", "spice")

#: Names have these characters alone, and do not begin with a dot: no folder, no option, nothing of a shell.
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*", re.ASCII)
_PRF = re.compile(r"tess\d{13}-prf-([1-4])-([1-4])-row\d{4}-col\d{4}\.fits(\.gz)?", re.ASCII)
_SPICE = re.compile(
    r"TESS_EPH_(PRE_LONG|DEF)_\d{7}[\w-]*\.bsp|tess\d+[\w-]*_(naif\d+\.tls|de\d+\.bsp|sclk\.tsc)", re.ASCII
)
_STRIP = re.compile(r"tic_dec\d\d_\d\d[SN]__\d\d_\d\d[SN]\.csv\.gz", re.ASCII)
_STRIP_HEADER = "header.csv"
#: Two frames of a CCD whose names differ by less are one exposure in two processings (days). The shortest
#: cadence is 200 s.
_SAME_EXPOSURE = 30.0 / 86400.0


@dataclass(frozen=True)
class RemoteFile:
    """A file of an archive."""

    kind: str  #: One of `KINDS`
    url: str
    path: str  #: Below the input folder, with ``/``
    size: int | None = None  #: Bytes; None where the list of the archive does not say so
    md5: str | None = None  #: Of the unpacked content; None where the archive publishes none

    @property
    def name(self) -> str:
        """Its last part."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True)
class Choice:
    """Which files of a sector are wanted."""

    sector: int
    camera: names.Choice = None  #: None for all
    ccd: names.Choice = None  #: None for all
    starids: frozenset[int] = field(default_factory=frozenset)  #: Of target pixel files; empty for all

    def ccds(self) -> list[tuple[int, int]]:
        """The chosen cameras and CCDs.

        Examples
        --------
        >>> Choice(1, camera=2).ccds()
        [(2, 1), (2, 2), (2, 3), (2, 4)]
        """
        keys = [(self.sector, camera, ccd) for camera in range(1, 5) for ccd in range(1, 5)]
        return [key[1:] for key in keys if names.is_chosen(key, None, self.camera, self.ccd)]


def place(kind: str, name: str, choice: Choice) -> str | None:
    """The path below the input folder of a file of an archive.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    name : str
        As a list of the archive has it: it can be anything.
    choice : Choice

    Returns
    -------
    str or None
        None if it is not a name that the mission gives to such a file, or one that is not chosen.

    Examples
    --------
    >>> place("ffi", "tess2018206192942-s0001-1-4-0120-s_ffic.fits", Choice(1))
    'ffi/1-4/tess2018206192942-s0001-1-4-0120-s_ffic.fits'
    >>> place("ffi", "tess2018206192942-s0001-1-4-0120-s_ffic.fits", Choice(1, camera=2)) is None
    True
    >>> place("ffi", "../tess2018206192942-s0001-1-4-0120-s_ffic.fits", Choice(1)) is None
    True
    """
    if not _PLAIN.fullmatch(name):
        return None
    return _PLACES[kind](name, choice)


def _frame(folder: str, tica: bool) -> Callable[[str, Choice], str | None]:
    def placed(name: str, choice: Choice) -> str | None:
        from pathlib import Path

        found = parse_ffi_name(name)
        if found is None or is_tica_name(Path(name)) != tica:
            return None
        sector, camera, ccd, _ = found
        if sector != choice.sector or (camera, ccd) not in choice.ccds():
            return None
        return f"{folder}/{camera}-{ccd}/{name}"

    return placed


def _target(folder: str, cadence: int) -> Callable[[str, Choice], str | None]:
    def placed(name: str, choice: Choice) -> str | None:
        info = parse_tpf_name(name)
        if info is None or not name.startswith("tess") or info.cadence != cadence:
            return None
        if info.sector != choice.sector or (choice.starids and info.starid not in choice.starids):
            return None
        return f"{folder}/{name}"

    return placed


def _strip(name: str, choice: Choice) -> str | None:
    return f"tic/{name}" if _STRIP.fullmatch(name) or name == _STRIP_HEADER else None


def _prf(name: str, choice: Choice) -> str | None:
    match = _PRF.fullmatch(name)
    if match is None or (int(match[1]), int(match[2])) not in choice.ccds():
        return None
    start = 1 if choice.sector < 4 else 4
    return f"prf/start_s{start:04d}/cam{match[1]}_ccd{match[2]}/{name}"


def _spice(name: str, choice: Choice) -> str | None:
    return f"spice/{name}" if _SPICE.fullmatch(name) else None


_PLACES: dict[str, Callable[[str, Choice], str | None]] = {
    "ffi": _frame("ffi", tica=False),
    "tica": _frame("tica", tica=True),
    "tpf": _target("tpf", 120),
    "fast-tpf": _target("tpf", 20),
    "catalog": _strip,
    "prf": _prf,
    "spice": _spice,
}


def newest_frames(files: list[RemoteFile]) -> list[RemoteFile]:
    """Frames of the mission without those that are there twice.

    The archives hold 298 frames of sector 2 twice on every CCD, with names that differ by a second. The later
    one is kept, as `tasoc-mpi prepare` does.

    Examples
    --------
    >>> names = [f"tess20182352259{s}-s0002-1-1-0121-s_ffic.fits" for s in (40, 41)]
    >>> [file.name[:17] for file in newest_frames([RemoteFile("ffi", "", f"ffi/1-1/{n}") for n in names])]
    ['tess2018235225941']
    """
    kept: list[RemoteFile] = []
    for file in sorted(files, key=lambda file: file.path):
        if kept and _same_exposure(kept[-1], file):
            kept.pop()
        kept.append(file)
    return kept


def _same_exposure(first: RemoteFile, second: RemoteFile) -> bool:
    """Whether two frames, neighbours in order of their paths, are of one exposure of one CCD."""
    same_folder = first.path.rpartition("/")[0] == second.path.rpartition("/")[0]
    return same_folder and abs(name_time(second.name) - name_time(first.name)) < _SAME_EXPOSURE
