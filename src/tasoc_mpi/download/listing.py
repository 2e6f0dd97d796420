"""What the archives have of a sector: their lists and folders, read into `RemoteFile`."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from isal import igzip

from ..core.errors import InputError, MissingInput, UsageError
from ..core.settings import load_settings
from ..core.tables import counted
from ..products.tpf_files import parse_tpf_name
from .remote_file import Choice, RemoteFile, newest_frames, place
from .web import Refused, TryAgain, ask, content_length, persist, read_all

if TYPE_CHECKING:
    from requests import Session

__all__ = ["find_files", "strip_range", "with_sizes"]

logger = logging.getLogger(__name__)

#: Chosen stars without a file that a warning names.
_NAMED = 5

#: What the lists of MAST are called after.
_SCRIPTS = {"ffi": "ffic", "tpf": "tp", "fast-tpf": "fast-tp"}
#: Bytes of a list at most: 190,000 frames with 300 bytes each are 60 MB.
_MOST_BYTES = 1 << 28
_PRODUCT = re.compile(r"mast:TESS/product/([^\s'\"&?#<>]+)")
_LINK = re.compile(r"""href\s*=\s*["']([^"'/?#<>]+)["']""", re.IGNORECASE)
#: Folders of the bucket that hold a kind of files.
_FOLDERS = {
    "ffi": re.compile(r"tess/public/ffi/s\d{4}/\d{4}/\d{3}/[1-4]-[1-4]/"),
    "tpf": re.compile(r"tess/public/tid/s\d{4}(/\d{4}){4}/"),
    "fast-tpf": re.compile(r"tess/public/tid/s\d{4}(/\d{4}){4}/"),
    "tica": re.compile(r"tess/public/mast/tica/([\w-]+/)*", re.ASCII),
}
_MD5 = re.compile(
    r"^([0-9a-f]{32})[ *\t]+(?:\./)?(tic_dec\d\d_\d\d[NS]__\d\d_\d\d[NS]\.csv)(?:\.gz)?\s*$", re.MULTILINE
)
_STRIP = re.compile(r"tic_dec(\d\d)_(\d\d)([SN])__(\d\d)_(\d\d)([SN])")
_EPHEMERIS = re.compile(r"TESS_EPH_(PRE_LONG|DEF)_(\d{7})")
_AT_ONCE = 1 << 20
#: So many files of a kind, all of nearly one size, tell the size of the others.
_SAMPLE = 3
#: Kinds whose files differ too much for that.
_EACH = ("catalog", "spice")


def find_files(
    session: Session,
    kinds: Sequence[str],
    choice: Choice,
    source: str,
    strips: Sequence[tuple[float, float]] | None,
) -> list[RemoteFile]:
    """The files of a sector that the archives have.

    Parameters
    ----------
    session : requests.Session
    kinds : sequence of str
        Of `remote_file.KINDS`.
    choice : Choice
    source : str
        ``mast`` or ``cloud``: where frames and target pixel files come from.
    strips : sequence of (float, float), optional
        For the catalog: pairs of declinations (degrees) between which stars are wanted.

    Returns
    -------
    list of RemoteFile
        In order of the kinds, and of their paths.

    Raises
    ------
    MissingInput
        If an archive has no such file.
    InputError
        If a list cannot be read.
    """
    found: dict[str, list[RemoteFile]] = {kind: [] for kind in kinds}
    bucket = [kind for kind in kinds if kind in _FOLDERS and (source == "cloud" or kind not in _SCRIPTS)]
    for file in _in_bucket(session, bucket, choice) if bucket else ():
        found[file.kind].append(file)
    for kind in kinds:
        if kind in _SCRIPTS and source == "mast":
            found[kind] = list(_in_script(session, kind, choice))
        elif kind == "catalog":
            if strips is None:
                raise UsageError("which stars are wanted is not known without the fields of the CCDs")
            found[kind] = list(_strips(session, choice, strips))
        elif kind == "prf":
            found[kind] = list(_prfs(session, choice))
        elif kind == "spice":
            found[kind] = _kernels(session, choice)
    if "ffi" in found:
        found["ffi"] = newest_frames(found["ffi"])
    _check_found(found, choice)
    unique = ({file.path: file for file in found[kind]} for kind in kinds)
    return [files[path] for files in unique for path in sorted(files)]


def _check_found(found: dict[str, list[RemoteFile]], choice: Choice) -> None:
    """Raise MissingInput where a kind has no file at all; warn of chosen stars that have none."""
    sector = f"sector {choice.sector}"
    if choice.starids:
        if not any(found.values()):
            raise MissingInput(
                f"{sector}: the archive has no {' or '.join(found)} of the chosen stars; choose others"
            )
        for kind, files in found.items():
            have = {info.starid for file in files if (info := parse_tpf_name(file.name))}
            if lacking := sorted(choice.starids - have):
                some = ", ".join(f"TIC {starid}" for starid in lacking[:_NAMED])
                text = "%s: the archive has no %s of %d of %s: %s%s"
                stars = counted(len(choice.starids), "chosen star")
                logger.warning(
                    text, sector, kind, len(lacking), stars, some, ", ..." * (len(lacking) > _NAMED)
                )
        return
    for kind, files in found.items():
        if not files:
            raise MissingInput(
                f"{sector}: the archive has no {kind} of the chosen CCDs; choose others, or try again later"
            )


def _archive() -> str:
    return load_settings().get("download", "archive")


def _mast() -> str:
    return load_settings().get("download", "mast")


def _cloud() -> str:
    return load_settings().get("download", "cloud")


def _in_script(session: Session, kind: str, choice: Choice) -> Iterator[RemoteFile]:
    """The files of one of MAST's scripts; its commands are not used, only the names in them."""
    name = f"tesscurl_sector_{choice.sector}_{_SCRIPTS[kind]}.sh"
    url = f"{_archive()}/missions/tess/download_scripts/sector/{name}"
    for product in _names(session, url, _PRODUCT, f"the list of sector {choice.sector} ({kind})"):
        path = place(kind, product, choice)
        if path is not None:
            yield RemoteFile(kind, f"{_mast()}/api/v0.1/Download/file?uri=mast:TESS/product/{product}", path)


def _names(session: Session, url: str, pattern: re.Pattern[str], what: str) -> list[Any]:
    """The names in a list; InputError where it has none: a server may answer with the page of a login."""
    found = pattern.findall(read_all(session, url, _MOST_BYTES, what))
    if not found:
        raise InputError(
            f"{url}: this is not {what}; see what it is in a browser, or name a mirror in the settings"
        )
    return found


def _in_bucket(session: Session, kinds: Sequence[str], choice: Choice) -> list[RemoteFile]:
    """The files of the public bucket, from its manifest: lines of date, time, size and path."""
    url = f"{_cloud()}/tess/public/manifest.txt.gz"

    def read() -> list[RemoteFile]:
        files: list[RemoteFile] = []
        with ask(session, url) as response:
            try:
                for line in _lines(igzip.GzipFile(fileobj=response.raw), f"s{choice.sector:04d}".encode()):
                    files += _of_line(line, kinds, choice)
            except (igzip.BadGzipFile, EOFError, ValueError) as error:
                raise TryAgain(f"its list of files is damaged ({error})") from None
        return files

    try:
        return persist(read, threading.Event())
    except Refused as error:
        raise InputError(f"{error}; try again later, or --from mast") from None
    except TryAgain as error:
        raise InputError(f"{url}: {error}; try again later, or --from mast") from None


def _lines(file: igzip.GzipFile, word: bytes) -> Iterator[bytes]:
    """The lines that have a word in them; a manifest has millions of others."""
    rest, size = b"", 0
    while block := file.read(_AT_ONCE):
        size += len(block)
        *lines, rest = (rest + block).split(b"\n")
        if len(rest) > _AT_ONCE:
            raise ValueError("a line of 1 MB")
        yield from (line for line in lines if word in line)
    if not size:
        raise ValueError("nothing in it")
    if word in rest:
        yield rest


def _of_line(line: bytes, kinds: Iterable[str], choice: Choice) -> Iterator[RemoteFile]:
    words = line.decode("ascii", "replace").split()
    if len(words) != 4 or not words[2].isdecimal():
        return
    key = words[3] if words[3].startswith("tess/public/") else f"tess/public/{words[3]}"
    folder, _, name = key.rpartition("/")
    for kind in kinds:
        if _FOLDERS[kind].fullmatch(f"{folder}/"):
            path = place(kind, name, choice)
            if path is not None:
                yield RemoteFile(kind, f"{_cloud()}/{key}", path, int(words[2]))


def strip_range(name: str) -> tuple[float, float] | None:
    """The declinations between which the stars of a file of the TIC lie; None for other names.

    Examples
    --------
    >>> strip_range("tic_dec88_00S__86_00S.csv.gz"), strip_range("tic_dec02_00S__00_00N.csv.gz")
    ((-88.0, -86.0), (-2.0, 0.0))
    """
    match = _STRIP.match(name)
    if match is None:
        return None
    ends = []
    for degrees, minutes, side in (match.groups()[:3], match.groups()[3:]):
        ends.append((int(degrees) + int(minutes) / 60) * (-1.0 if side == "S" else 1.0) + 0.0)
    return min(ends), max(ends)


def _strips(session: Session, choice: Choice, wanted: Sequence[tuple[float, float]]) -> Iterator[RemoteFile]:
    folder = f"{_archive()}/missions/tess/catalogs/tic_v82"
    for md5, name in _names(session, f"{folder}/md5sum.txt", _MD5, "the list of the files of the TIC"):
        span = strip_range(name)
        path = place("catalog", f"{name}.gz", choice)
        if span and path and any(span[1] >= south and span[0] <= north for south, north in wanted):
            yield RemoteFile("catalog", f"{folder}/{name}.gz", path, md5=md5)
    yield RemoteFile("catalog", f"{folder}/header.csv", "tic/header.csv")


def _prfs(session: Session, choice: Choice) -> Iterator[RemoteFile]:
    start = 1 if choice.sector < 4 else 4
    for camera, ccd in choice.ccds():
        folder = f"{_archive()}/missions/tess/models/prf_fitsfiles/start_s{start:04d}/cam{camera}_ccd{ccd}/"
        for name in _names(session, folder, _LINK, f"the folder of PRF files of camera {camera}, CCD {ccd}"):
            path = place("prf", name, choice)
            if path is not None:
                yield RemoteFile("prf", folder + name, path)


def _kernels(session: Session, choice: Choice) -> list[RemoteFile]:
    """All ephemerides of TESS, and the newest of each other kind.

    Kernels that were measured (DEF) take the place of predicted ones (PRE_LONG): all are small, and which of
    them cover a sector is known from their content alone.
    """
    folder = f"{_archive()}/missions/tess/models/"
    newest: dict[str, tuple[str, str]] = {}
    names = []
    for name in sorted(set(_names(session, folder, _LINK, "the folder of SPICE kernels"))):
        if place("spice", name, choice) is None:
            continue
        if _EPHEMERIS.match(name):
            names.append(name)
        else:
            kind = re.sub(r"\d+", "", name.rpartition("_")[2])
            newest[kind] = max(newest.get(kind, ("", "")), (name.partition("_")[0], name))
    names += [name for _, name in newest.values()]
    return [RemoteFile("spice", folder + name, f"spice/{name}") for name in names]


def with_sizes(session: Session, files: Sequence[RemoteFile]) -> dict[str, tuple[int, int, bool]]:
    """How many files and bytes there are of each kind.

    Where a list has no sizes, servers are asked for those of a few files, as most kinds have files of nearly
    one size.

    Parameters
    ----------
    session : requests.Session
    files : sequence of RemoteFile

    Returns
    -------
    dict
        From the kind to the number of files, the bytes of all of them, and whether these are exact; -1 bytes
        where the servers do not tell.
    """
    totals: dict[str, tuple[int, int, bool]] = {}
    for kind in dict.fromkeys(file.kind for file in files):
        of_kind = [file for file in files if file.kind == kind]
        known = [file.size for file in of_kind if file.size is not None]
        unknown = [file for file in of_kind if file.size is None]
        if kind not in _EACH and len(unknown) > _SAMPLE:
            unknown = [unknown[i * (len(unknown) - 1) // (_SAMPLE - 1)] for i in range(_SAMPLE)]
        sizes = known + [size for file in unknown if (size := _ask_size(session, file.url)) is not None]
        exact = len(sizes) == len(of_kind)
        total = sum(sizes) if exact else -1 if not sizes else round(sum(sizes) / len(sizes) * len(of_kind))
        totals[kind] = len(of_kind), total, exact
    return totals


def _ask_size(session: Session, url: str) -> int | None:
    """The size of a file by the header of a GET whose body is not read; None if there is none."""
    try:
        with ask(session, url) as response:
            return content_length(response)
    except (Refused, TryAgain):
        return None
