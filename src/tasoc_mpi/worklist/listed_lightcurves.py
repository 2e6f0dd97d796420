"""The light curves that a work list lists, each a file of its own or in a pack."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Collection
from pathlib import Path

from ..core.errors import InputError, MissingInput, TasocError, system_error
from ..core.input_files import InputFile
from ..products.lightcurve import below, keep_lightcurve
from ..products.packed import PackReader, split_name
from .schema import columns_of, has_corrections
from .todo_file import SQLITE_ERRORS, explain, open_todo
from .unlisted_lightcurves import is_listed_name

__all__ = ["OpenPacks", "listed_lightcurves", "read_lightcurve", "unpack"]

logger = logging.getLogger(__name__)


def read_lightcurve(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a light curve's file.

    Parameters
    ----------
    path : path-like
        A file, or ``PACK.hdf5#NAME`` for one in a pack.

    Raises
    ------
    MissingInput
        If it is not there.
    InputError
        If it cannot be read, or is damaged in its pack.
    """
    pack, name = split_name(os.fspath(path))
    if pack:
        with PackReader(pack) as reader:
            return reader.read(name)
    return _read_file(path)


def _read_file(path: str | os.PathLike[str]) -> bytes:
    try:
        # Of a regular file alone: the bytes are those that are in it, packed as they are.
        with InputFile(path, unpack=False) as file:
            return file.read_at(0, file.size)
    except (FileNotFoundError, MissingInput):
        raise MissingInput(
            f"{path}: no such light curve; name its folder with --output, or run again with --overwrite"
        ) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); change its permissions") from None


class OpenPacks:
    """Reads many light curves, and keeps the packs that it read last open.

    A pack is opened with its table of all its light curves, which takes as long as reading hundreds of them.
    """

    #: Packs that are open at once: each has a descriptor and a table.
    MOST = 128

    def __init__(self) -> None:
        self._readers: dict[str, PackReader] = {}

    def __enter__(self) -> OpenPacks:
        return self

    def __exit__(self, *_: object) -> None:
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()

    def read(self, path: str | os.PathLike[str]) -> bytes:
        """The bytes of a light curve's file; as `read_lightcurve`."""
        pack, name = split_name(os.fspath(path))
        if not pack:
            return _read_file(path)
        # In order of their last use.
        reader = self._readers.pop(pack, None) or PackReader(pack)
        self._readers[pack] = reader
        try:
            return reader.read(name)
        finally:
            if len(self._readers) > self.MOST:
                self._readers.pop(next(iter(self._readers))).close()


def listed_lightcurves(todo: Path, starids: Collection[int] | None = None) -> list[str]:
    """Names of the light curves that a work list lists.

    Parameters
    ----------
    todo : Path
        The work list.
    starids : collection of int, optional
        Only of these stars (TIC numbers). Default: of all.

    Raises
    ------
    MissingInput, InputError
        If the work list is not there or cannot be used; InputError also if it has no results.
    """
    with contextlib.closing(open_todo(todo)) as conn:
        try:
            if not columns_of(conn, "diagnostics"):
                raise InputError(f"{todo}: has no results; compute them with `tasoc-mpi run`")
            corrected = has_corrections(conn)
            rows = conn.execute(
                f"SELECT starid, {'COALESCE(c.lightcurve, d.lightcurve)' if corrected else 'd.lightcurve'}"
                " FROM diagnostics d JOIN todolist USING (priority)"
                f" {'LEFT JOIN diagnostics_corr c USING (priority)' if corrected else ''}"
                " WHERE d.lightcurve IS NOT NULL ORDER BY priority"
            ).fetchall()
            (todo_count,) = conn.execute("SELECT COUNT(*) FROM todolist WHERE status IS NULL").fetchone()
            (done,) = conn.execute("SELECT COUNT(*) FROM diagnostics").fetchone()
        except SQLITE_ERRORS as error:
            raise explain(todo, error) from None
    if not done:
        raise InputError(
            f"{todo}: has no results; compute them with `tasoc-mpi run`, or bring it up to date with"
            " `tasoc-mpi publish`"
        )
    if todo_count:
        logger.warning(
            "%s: %d of its stars are still to do, and some of the others may then be skipped",
            todo,
            todo_count,
        )
    for _, name in rows:
        if not is_listed_name(name):
            raise InputError(
                f"{todo}: {str(name)[:100]!r} is not the name of a light curve; bring it up to date with"
                " `tasoc-mpi publish`"
            )
    chosen = None if starids is None else set(starids)
    return [name for starid, name in rows if chosen is None or starid in chosen]


def unpack(output: Path, listed: Collection[str], to: Path) -> int:
    """Write light curves as files, the same as a run that does not pack them.

    Parameters
    ----------
    output : Path
        The output folder.
    listed : collection of str
        Names as in the work list. Those that are files already are copied if `to` is another folder.
    to : Path
        The folder to write to, which may be `output`.

    Returns
    -------
    int
        How many files were written.

    Raises
    ------
    InputError
        If a name would leave the folders, or, after all others were written, if some cannot be read.
    """
    packs: dict[str, list[str]] = {}
    for name in listed:
        pack, path = split_name(name)
        if not is_listed_name(name):
            raise InputError(f"{path!r}: not the name of a light curve; the work list is damaged")
        packs.setdefault(pack, []).append(path)
    if output.resolve() == to.resolve():
        packs.pop("", None)
    written, failures = 0, []
    for pack, names in packs.items():
        targets = [below(to, name) for name in names]
        with contextlib.ExitStack() as stack:
            try:
                reader = stack.enter_context(PackReader(below(output, pack))) if pack else None
            except TasocError as error:
                failures += [str(error)] * len(names)
                continue
            for name, target in zip(names, targets, strict=True):
                try:
                    data = read_lightcurve(below(output, name)) if reader is None else reader.read(name)
                except TasocError as error:
                    failures.append(str(error))
                    continue
                try:
                    keep_lightcurve(target, data)
                except OSError as error:
                    raise InputError(
                        f"{system_error(error, target)}; {written} light curves were unpacked"
                    ) from None
                written += 1
    if failures:
        others = f" (and {len(failures) - 1} others)" if len(failures) > 1 else ""
        raise InputError(f"{failures[0]}{others}; {written} light curves were unpacked")
    return written
