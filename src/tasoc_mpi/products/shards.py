"""Shards of the work list: one file a CCD, run apart and brought back.

A shard is a work list of its own, ``todo_sectorSSS_cameraC_ccdD.sqlite`` beside ``todo.sqlite``, with the
rows of one CCD under the same priorities and with the results that the list has of them. The skip rule never
looks beyond a CCD, so what becomes of a star is the same in a shard as in the whole list. Splitting and
merging may be done at any time and again: a shard that is there is left as it is, and merging replaces all
that the list holds of a CCD by what the shard holds.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError, MissingInput
from ..status import STATUS
from .journal import Tally
from .todo import TODO_DTYPE, TODO_NAME, explain, lock_todo, open_todo

__all__ = [
    "CCD",
    "ShardSummary",
    "find_shards",
    "merge_shards",
    "shard_counts",
    "shard_name",
    "split_todo",
    "summarise_shard",
]

#: (sector, camera, ccd).
CCD = tuple[int, int, int]

_NAME = re.compile(r"todo_sector(\d{3,4})_camera([1-4])_ccd([1-4])\.sqlite")
_COLUMNS = TODO_DTYPE.names or ()
#: Tables that are not rows of stars: settings are merged by their meaning, and files that wait for their
#: deletion are the business of the list whose run noted them. A list that deleted what a shard noted could
#: delete a light curve that the shard has made again since.
_APART = ("photometry_settings", "photometry_trash", "photometry_unfinished")
#: The value of `unfinished` in the settings of a list into which shards were merged that were not finished:
#: their CCDs stand in the table `photometry_unfinished`. A run writes 1, or 0 at its end.
_SEE_TABLE = 2
_NOT_SQLITES_OWN = "name NOT LIKE 'sqlite~_%' ESCAPE '~'"


@dataclass(frozen=True)
class ShardSummary:
    """How far one CCD of a work list is.

    Attributes
    ----------
    path : Path
        The shard.
    ccd : (int, int, int)
        Sector, camera and CCD.
    stars, done, errors : int
        Rows; those with a status; those that are ERROR or ABORT.
    finished : bool
        Whether the last run came to its end and left nothing to do.
    """

    path: Path
    ccd: CCD
    stars: int
    done: int
    errors: int
    finished: bool


def shard_name(sector: int, camera: int, ccd: int) -> str:
    """File name of a shard."""
    return f"todo_sector{sector:03d}_camera{camera}_ccd{ccd}.sqlite"


def find_shards(folder: str | os.PathLike[str]) -> dict[CCD, Path]:
    """The shards in a folder, in order of sector, camera and CCD."""
    found = {}
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for name in os.listdir(folder):
            if match := _NAME.fullmatch(name):
                found[int(match[1]), int(match[2]), int(match[3])] = Path(folder, name)
    return dict(sorted(found.items()))


def summarise_shard(path: str | os.PathLike[str]) -> list[ShardSummary]:
    """How far each CCD of a shard (or of any work list) is.

    Raises
    ------
    MissingInput, InputError
        As `open_todo`.
    """
    path = Path(path)
    with contextlib.closing(open_todo(path)) as conn, _explained(path):
        return _summaries(conn, path)


def shard_counts(folder: str | os.PathLike[str]) -> dict[CCD, list[tuple[int, int, int, int, int]]]:
    """(sector, camera, CCD, status, stars) of the shards in a folder, by CCD; status 0 is to do."""
    counts = {}
    for ccd, path in find_shards(folder).items():
        with contextlib.closing(open_todo(path)) as conn, _explained(path):
            rows = conn.execute(
                "SELECT sector, camera, ccd, COALESCE(status, 0), COUNT(*) FROM todolist GROUP BY 1, 2, 3, 4"
            )
            found = Counter({row[:4]: row[4] for row in rows})
            # What a run has in its journal is still to do in the list.
            tally = Tally()
            tally.update(conn)
            for (*place, status), number in tally.counts.items():
                found[(*place, status)] += number
                found[(*place, 0)] -= number
        counts[ccd] = [(*key, number) for key, number in sorted(found.items()) if number > 0]
    return counts


def _summaries(conn: sqlite3.Connection, path: Path) -> list[ShardSummary]:
    rows = conn.execute(
        f"SELECT sector, camera, ccd, COUNT(*), COUNT(NULLIF(NULLIF(status, {STATUS.UNKNOWN:d}),"
        f" {STATUS.STARTED:d})), SUM(COALESCE(status, 0) IN ({STATUS.ERROR:d}, {STATUS.ABORT:d}))"
        " FROM todolist GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
    ).fetchall()
    unfinished = _unfinished(conn)
    ran = _settings(conn, "main") is not None
    return [
        ShardSummary(path, ccd, stars, done, errors, ran and stars == done and ccd not in unfinished)
        for *place, stars, done, errors in rows
        for ccd in [(place[0], place[1], place[2])]
    ]


def _unfinished(conn: sqlite3.Connection) -> set[CCD]:
    """The CCDs of which a run has not come to its end."""
    settings = _settings(conn, "main")
    if not settings or not settings[2]:
        return set()
    table = "photometry_unfinished" if settings[2] == _SEE_TABLE else "todolist"
    return set(conn.execute(f"SELECT DISTINCT sector, camera, ccd FROM {table}"))


def _settings(conn: sqlite3.Connection, schema: str) -> tuple[str, int, int] | None:
    """Output folder as named, version, and whether a run has not ended; None where nothing was run."""
    if "photometry_settings" not in _tables(conn, schema):
        return None
    return conn.execute(f"SELECT output, version, unfinished FROM {schema}.photometry_settings").fetchone()


def _tables(conn: sqlite3.Connection, schema: str) -> list[str]:
    query = f"SELECT name FROM {schema}.sqlite_master WHERE type = 'table' AND {_NOT_SQLITES_OWN}"
    return [name for (name,) in conn.execute(query)]


def _columns(conn: sqlite3.Connection, schema: str, table: str) -> list[str]:
    return [row[1] for row in conn.execute(f'PRAGMA {schema}.table_info("{table}")')]


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """SQLite's errors as one line for the user."""
    try:
        yield
    except sqlite3.Error as error:
        raise explain(path, error) from None


@contextlib.contextmanager
def _new_file(path: Path) -> Iterator[sqlite3.Connection]:
    """A database that takes the place of `path`, whole, if nothing goes wrong."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with contextlib.ExitStack() as stack:
            stack.callback(temporary.unlink, missing_ok=True)
            temporary.unlink(missing_ok=True)
            conn = stack.enter_context(
                contextlib.closing(
                    sqlite3.connect(temporary.resolve().as_uri(), uri=True, isolation_level=None)
                )
            )
            conn.executescript("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF")
            yield conn
            conn.close()
            _sync(temporary)
            # A journal that a killed run left behind belongs to the old file: applied to the new one it would
            # destroy it.
            path.with_name(path.name + "-journal").unlink(missing_ok=True)
            os.replace(temporary, path)
            _sync(path.parent)
    except (sqlite3.Error, OSError) as error:
        raise InputError(f"{path}: cannot be written ({error}); check the disk space") from None


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _attached(conn: sqlite3.Connection, path: Path) -> Iterator[None]:
    """The work list at `path` as the schema ``other`` of a connection, unchanged while it is attached."""
    # Undoes what a killed run left half done, and says what is wrong with the file.
    open_todo(path).close()
    conn.execute("ATTACH ? AS other", (f"{path.resolve().as_uri()}?mode=ro",))
    try:
        conn.execute("BEGIN")
        yield
        conn.execute("COMMIT")
    finally:
        if conn.in_transaction:
            conn.execute("ROLLBACK")
        conn.execute("DETACH other")


def split_todo(folder: str | os.PathLike[str], overwrite: bool = False) -> list[ShardSummary]:
    """Make the shards of a folder's work list that are not there yet.

    Parameters
    ----------
    folder : path-like
        Holds ``todo.sqlite``; gets the shards.
    overwrite : bool, optional
        Make all shards anew from the list; what was done in them and not merged is forgotten.

    Returns
    -------
    list of ShardSummary
        All shards, in order of sector, camera and CCD.

    Raises
    ------
    MissingInput, InputError
        If there is no work list, a shard is of another one, or a run is using one that is to be replaced.
    """
    todo = Path(folder) / TODO_NAME
    open_todo(todo).close()
    with (
        lock_todo(todo),
        contextlib.closing(open_todo(todo, write=True)) as conn,
        contextlib.ExitStack() as stack,
    ):
        with _explained(todo):
            ccds = [summary.ccd for summary in _summaries(conn, todo)]
            unfinished = _unfinished(conn)
        there = find_shards(folder)
        strays = [path for ccd, path in there.items() if ccd not in ccds]
        if strays and not overwrite:
            raise InputError(f"{strays[0]}: {todo} has no such CCD; remove it if it is of an older list")
        for ccd in ccds:
            if ccd in there and overwrite:
                stack.enter_context(lock_todo(there[ccd]))
            elif ccd in there:
                _check_shard(conn, todo, there[ccd])
        for ccd in ccds:
            path = Path(folder, shard_name(*ccd))
            if ccd not in there or overwrite:
                _make_shard(todo, path, ccd, ccd in unfinished)
        for path in strays:
            with lock_todo(path):
                _remove(path)
        return [summary for ccd in ccds for summary in summarise_shard(Path(folder, shard_name(*ccd)))]


def _make_shard(todo: Path, path: Path, ccd: CCD, unfinished: bool) -> None:
    """Write the shard of one CCD, of which a run may be unfinished."""
    with _new_file(path) as conn, _attached(conn, todo):
        schema = conn.execute(
            "SELECT sql FROM other.sqlite_master WHERE type IN ('table', 'index') AND sql IS NOT NULL"
            f" AND {_NOT_SQLITES_OWN} ORDER BY type DESC"
        ).fetchall()
        for (statement,) in schema:
            conn.execute(statement)
        conn.execute(
            "INSERT INTO main.todolist SELECT * FROM other.todolist"
            " WHERE sector = ? AND camera = ? AND ccd = ?",
            ccd,
        )
        for table in _tables(conn, "other"):
            if table == "todolist" or table in _APART:
                continue
            _copy_rows(conn, table)
        conn.execute("INSERT INTO main.photometry_settings SELECT * FROM other.photometry_settings")
        conn.execute("UPDATE main.photometry_settings SET unfinished = ?", (int(unfinished),))
        conn.execute("DROP TABLE IF EXISTS main.photometry_unfinished")


def _copy_rows(conn: sqlite3.Connection, table: str) -> None:
    """Copy what the other list holds of the stars that both have."""
    columns = _columns(conn, "other", table)
    if "priority" not in columns:
        return
    names = ", ".join(f'"{name}"' for name in columns)
    conn.execute(
        f'INSERT INTO main."{table}" ({names}) SELECT {names} FROM other."{table}"'
        " WHERE priority IN (SELECT priority FROM main.todolist)"
    )


def _check_shard(conn: sqlite3.Connection, todo: Path, path: Path) -> list[ShardSummary]:
    """Raise InputError unless the rows of the shard are exactly those that the list has of its CCDs."""
    found = summarise_shard(path)
    sectors = {row[0] for row in conn.execute("SELECT DISTINCT sector FROM todolist")}
    for summary in found:
        if summary.ccd[0] not in sectors:
            known = ", ".join(map(str, sorted(sectors)))
            raise InputError(
                f"{path}: of sector {summary.ccd[0]}, {todo} is of sector {known}; merge it where it belongs"
            )
    if not found:
        raise InputError(f"{path}: no stars in it; remove it")
    different = " OR ".join(f"m.{name} IS NOT s.{name}" for name in _COLUMNS)
    with _explained(path), _attached(conn, path):
        stray = conn.execute(
            "SELECT s.starid FROM other.todolist s LEFT JOIN main.todolist m ON m.priority = s.priority"
            f" WHERE {different} LIMIT 1"
        ).fetchone()
        counts = [
            conn.execute(
                "SELECT COUNT(*) FROM main.todolist WHERE sector = ? AND camera = ? AND ccd = ?", summary.ccd
            ).fetchone()[0]
            for summary in found
        ]
    if stray or counts != [summary.stars for summary in found]:
        what = f"TIC {stray[0]} is another row there" if stray else "the list has more stars of its CCD"
        raise InputError(
            f"{path}: not a shard of this {todo} ({what}); `tasoc-mpi split --overwrite` makes it anew"
        )
    return found


def merge_shards(
    folder: str | os.PathLike[str],
    shards: Sequence[str | os.PathLike[str]] | None = None,
    remove: bool = False,
    overwrite: bool = False,
) -> list[ShardSummary]:
    """Bring the results of shards into the folder's work list: all of them, or none.

    Parameters
    ----------
    folder : path-like
        Holds ``todo.sqlite``.
    shards : sequence of path-like, optional
        Default: all in the folder. Runs may be writing them.
    remove : bool, optional
        Delete those that are finished and not in use.
    overwrite : bool, optional
        Also accept a shard that has fewer results than the list.

    Returns
    -------
    list of ShardSummary
        What was merged, in order of sector, camera and CCD.

    Raises
    ------
    MissingInput, InputError
        If there is no work list or no shard; if a shard is not of this list, is given twice, has fewer
        results than the list, or was run with another version or output folder than the others. Nothing is
        merged then.
    """
    folder = Path(folder)
    todo = folder / TODO_NAME
    paths = list(find_shards(folder).values()) if shards is None else [Path(path) for path in shards]
    open_todo(todo).close()
    if not paths:
        raise MissingInput(
            f"{folder}: no shards (todo_sector*.sqlite) to merge; `tasoc-mpi split` makes them"
        )
    with lock_todo(todo), contextlib.ExitStack() as stack:
        free = {path for path in paths if remove and _try_lock(stack, path)}
        conn = stack.enter_context(contextlib.closing(open_todo(todo, write=True)))
        found = _check_all(conn, todo, paths, overwrite)
        settings, unfinished = _merged_settings(conn, todo, paths, found)
        with _new_file(todo) as new:
            conn.backup(new)
            for path in paths:
                with _attached(new, path):
                    _replace_rows(new, path)
            _write_settings(new, settings, unfinished)
        for path in free:
            if all(summary.finished for summary in found if summary.path == path):
                _remove(path)
    return found


def _try_lock(stack: contextlib.ExitStack, path: Path) -> bool:
    """Be the only user of a shard until the stack ends; False where a run uses it."""
    open_todo(path).close()
    try:
        stack.enter_context(lock_todo(path))
    except InputError:
        return False
    return True


def _remove(path: Path) -> None:
    """Delete a shard that we have locked, with what belongs to it."""
    for name in (path.name, f"{path.name}-journal", f"{path.name}.lock"):
        path.with_name(name).unlink(missing_ok=True)


def _check_all(
    conn: sqlite3.Connection, todo: Path, paths: Iterable[Path], overwrite: bool
) -> list[ShardSummary]:
    """What the shards hold; raises InputError if they do not belong to the list, or not together."""
    before = {summary.ccd: summary for summary in _summaries(conn, todo)}
    found: dict[CCD, ShardSummary] = {}
    for path in paths:
        for summary in _check_shard(conn, todo, path):
            if summary.ccd in found:
                name = "sector {} camera {} CCD {}".format(*summary.ccd)
                raise InputError(f"{path}: {name} is also in {found[summary.ccd].path}; merge one of the two")
            if summary.done < before[summary.ccd].done and not overwrite:
                raise InputError(
                    f"{path}: has results of {summary.done} stars, {todo} of {before[summary.ccd].done}; "
                    "finish it first, or lose the difference with --overwrite"
                )
            found[summary.ccd] = summary
    return [found[ccd] for ccd in sorted(found)]


def _merged_settings(
    conn: sqlite3.Connection, todo: Path, paths: Iterable[Path], found: Sequence[ShardSummary]
) -> tuple[tuple[str, int] | None, set[CCD]]:
    """Output folder and version of the merged list, and its CCDs that are not finished.

    Raises InputError where folders or versions differ.
    """
    source = todo.parent.resolve()
    covered = {summary.ccd for summary in found}
    known: dict[tuple[Path, int], Path] = {}
    unfinished = _unfinished(conn) - covered
    for path in paths:
        with contextlib.closing(open_todo(path)) as shard, _explained(path):
            settings = _settings(shard, "main")
            unfinished |= _unfinished(shard)
        if settings:
            known.setdefault(((path.parent.resolve() / settings[0]).resolve(), settings[1]), path)
    own = _settings(conn, "main")
    if own and any(summary.done for summary in _summaries(conn, todo) if summary.ccd not in covered):
        known.setdefault(((source / own[0]).resolve(), own[1]), todo)
    if len(known) > 1:
        (first, second), words = list(known.items())[:2], "version {1} in {0}"
        raise InputError(
            f"{second[1]}: its light curves are {words.format(*second[0])}, those of {first[1]} "
            f"{words.format(*first[0])}; run one of them again to match"
        )
    if not known:
        return (own[:2] if own else None), unfinished
    output, version = next(iter(known))
    # As a run names it: below the input folder relatively, so that both can be moved together.
    return (str(output.relative_to(source) if output.is_relative_to(source) else output), version), unfinished


def _write_settings(conn: sqlite3.Connection, settings: tuple[str, int] | None, unfinished: set[CCD]) -> None:
    """What `_merged_settings` found, as the list's own."""
    conn.execute("DROP TABLE IF EXISTS photometry_unfinished")
    conn.execute("DELETE FROM photometry_settings")
    if settings:
        conn.execute(
            "INSERT INTO photometry_settings VALUES (?, ?, ?)", (*settings, _SEE_TABLE if unfinished else 0)
        )
    if unfinished:
        conn.execute("CREATE TABLE photometry_unfinished (sector INTEGER, camera INTEGER, ccd INTEGER)")
        conn.executemany("INSERT INTO photometry_unfinished VALUES (?, ?, ?)", sorted(unfinished))


def _replace_rows(conn: sqlite3.Connection, path: Path) -> None:
    """Put what the attached shard holds in place of all that the list holds of its stars."""
    ours = {table: _columns(conn, "main", table) for table in _tables(conn, "main")}
    tables = [table for table in _tables(conn, "other") if table not in _APART and table != "todolist"]
    for table in tables:
        if not set(_columns(conn, "other", table)) <= set(ours.get(table, ())):
            raise InputError(
                f"{path}: of another version of the program (`{table}`); run it again with this one"
            )
    for table, columns in ours.items():
        if table not in _APART and table != "todolist" and "priority" in columns:
            conn.execute(
                f'DELETE FROM main."{table}" WHERE priority IN (SELECT priority FROM other.todolist)'
            )
    for table in tables:
        _copy_rows(conn, table)
    conn.execute(
        "UPDATE main.todolist SET status ="
        " (SELECT status FROM other.todolist o WHERE o.priority = todolist.priority)"
        " WHERE priority IN (SELECT priority FROM other.todolist)"
    )
