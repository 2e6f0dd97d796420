"""Input files: which are found in a folder, which are opened, and what is said of the others."""

from __future__ import annotations

import errno
import gzip
import io
import os
import socket
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unprivileged import unprivileged

from tasoc_mpi.core.errors import InputError, MissingInput, one_line, system_error
from tasoc_mpi.core.input_files import InputFile, check_folder, files_below


def names(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in files_below(folder)]


def test_found_below_a_folder_but_not_in_hidden_ones(tmp_path: Path) -> None:
    for name in ("b", "a/c", "a/.ipynb_checkpoints/c", ".trash/x", "z/.hidden"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    assert names(tmp_path) == ["b", "a/c", "z/.hidden"]
    # A hidden folder that the user names is searched.
    assert names(tmp_path / ".trash") == ["x"]


def test_links_are_followed_and_no_folder_is_searched_twice(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "one").write_text("x")
    folder = tmp_path / "input"
    folder.mkdir()
    (folder / "linked").symlink_to(tmp_path / "archive", target_is_directory=True)
    (folder / "linked again").symlink_to(tmp_path / "archive", target_is_directory=True)
    (folder / "circle").symlink_to(folder, target_is_directory=True)
    (folder / "file").symlink_to(tmp_path / "archive" / "one")
    (folder / "lost").symlink_to(tmp_path / "nothing")
    assert sorted(names(folder)) == ["file", "linked/one", "lost"]
    with InputFile(folder / "file") as file:
        assert file.read() == b"x"
    with pytest.raises(MissingInput, match=r"lost: a link to .*/nothing, which is not there"):
        InputFile(folder / "lost")


def test_names_that_are_no_text(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/\xff\xfe"
    os.mkdir(name)
    Path(os.fsdecode(name), "x").write_text("1")
    (found,) = files_below(tmp_path)
    assert os.fsencode(found) == name + b"/x"
    with InputFile(found) as file:
        assert file.read() == b"1"


@pytest.mark.timeout(20)
def test_what_is_no_regular_file_is_neither_found_nor_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        (tmp_path / "to a pipe").symlink_to(tmp_path / "pipe")
        assert names(tmp_path) == []
        for name, kind in (
            ("pipe", "a named pipe"),
            ("to a pipe", "a named pipe"),
            ("socket", "a socket"),
            ("folder", "a folder"),
        ):
            with pytest.raises(InputError, match=f"/{name}: {kind}, not a file with data; remove it"):
                InputFile(tmp_path / name)
    with pytest.raises(InputError, match="/dev/zero: a device"):
        InputFile("/dev/zero")


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match="x: no such file"):
        InputFile(tmp_path / "x")
    with pytest.raises(MissingInput, match="x: no such folder; name the one that holds frames"):
        check_folder(tmp_path / "x", "frames")
    with pytest.raises(InputError, match="not the name of a file"):
        InputFile("a\0b")
    with pytest.raises(InputError, match="File name too long"):
        InputFile(tmp_path / ("x" * 300))
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    with pytest.raises(InputError, match="circle: cannot be read"):
        InputFile(tmp_path / "circle")


@unprivileged
def test_permissions(tmp_path: Path, caplog) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "file").write_text("x")
    for name in ("closed", "file"):
        (tmp_path / name).chmod(0)
    try:
        assert names(tmp_path) == ["file"]
        assert "closed: cannot be read (Permission denied); what is in it is left out" in caplog.text
        with pytest.raises(InputError, match=r"file: cannot be read .*; change its permissions"):
            InputFile(tmp_path / "file")
        with pytest.raises(InputError, match=r"closed: cannot be read .*; change its permissions"):
            names(tmp_path / "closed")
    finally:
        (tmp_path / "closed").chmod(0o700)


def test_folder_that_goes_away_while_it_is_searched(tmp_path: Path, caplog) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text("x")
    found = files_below(tmp_path)
    next(found)
    (tmp_path / "b" / "x").unlink()
    (tmp_path / "b").rmdir()
    assert list(found) == []
    assert "/b: cannot be read" in caplog.text


@given(st.binary(max_size=3000), st.booleans(), st.integers(0, 4000), st.integers(0, 4000))
def test_content_is_the_same_packed_and_plain_whatever_the_name(
    tmp_path_factory, content: bytes, packed: bool, start: int, size: int
) -> None:
    path = tmp_path_factory.mktemp("file") / ("plain.fits" if packed else "packed.fits.gz")
    path.write_bytes(gzip.compress(content) if packed else content)
    if not packed and content.startswith(b"\x1f\x8b"):
        return
    with InputFile(path) as file:
        assert file.packed is packed
        assert file.size >= len(content)
        assert file.read_at(start, size) == content[start : start + size]
        assert file.read_at(0, len(content)) == content
        file.seek(min(start, len(content)))
        assert file.read() == content[start:]
        assert file.tell() == len(content)
    with io.TextIOWrapper(io.BufferedReader(InputFile(path)), "latin-1", newline="") as text:
        assert text.read() == content.decode("latin-1")


@pytest.mark.parametrize("how", ["truncated", "checksum", "length", "garbage behind", "bits"])
def test_damaged_gzip(tmp_path: Path, how: str) -> None:
    data = np.random.default_rng(0).integers(0, 20, 50000, dtype="u1").tobytes()
    whole = gzip.compress(data)
    path = tmp_path / "x"
    path.write_bytes(
        {
            "truncated": whole[:-20],
            "checksum": whole[:-8] + bytes(4) + whole[-4:],
            "length": whole[:-4] + bytes(4),
            "garbage behind": whole + b"x" * 50,
            "bits": whole[:200] + bytes(b ^ 255 for b in whole[200:240]) + whole[240:],
        }[how]
    )
    with InputFile(path) as file, pytest.raises(InputError, match="x: cannot be unpacked") as error:
        file.read()
    assert "\n" not in str(error.value)


def test_content_can_be_limited(tmp_path: Path) -> None:
    """10 kB that unpack to 10 MB."""
    path = tmp_path / "bomb"
    path.write_bytes(zlib.compress(bytes(10_000_000), wbits=31))
    with InputFile(path, most=1_000_000) as file, pytest.raises(InputError, match="bomb: more than 1 MB"):
        file.read()
    with InputFile(path, most=10_000_000) as file:
        assert len(file.read()) == 10_000_000


@pytest.mark.parametrize(
    ("number", "name", "path", "expected"),
    [
        (
            errno.ENAMETOOLONG,
            "/x/" + "a" * 300,
            None,
            "/x/" + "a" * 300 + ": File name too long; take another name",
        ),
        (errno.EFBIG, "/x/a.fits", None, "/x/a.fits: File too large; raise the limit of files (`ulimit -f`)"),
        (errno.ENOSPC, None, "/x/a.fits", "/x/a.fits: No space left on device; make room and run again"),
        (errno.EROFS, "/x/.a.png.12.part", None, "/x: Read-only file system; change its permissions, or"),
        (errno.EACCES, b"/x/a\xff\n.fits", None, "/x/a? .fits: Permission denied; change its permissions"),
        (errno.EIO, None, None, "Input/output error; look after the disk, and run again"),
    ],
)
def test_errors_of_the_system_have_a_file_and_a_way_out(number, name, path, expected):
    error = OSError(number, os.strerror(number), name)
    assert system_error(error, path).startswith(expected)
    assert system_error(OSError("words of a library")) == "words of a library"


def test_words_of_a_damaged_file_stay_in_one_line():
    assert one_line("a\x1b[31m\nb\0c") == "a?[31m b?c"
    assert len(one_line("x" * 10**6)) < 1100


def test_a_disk_without_inodes_is_told_from_a_full_one(tmp_path: Path) -> None:
    program = (
        "import subprocess, sys; from pathlib import Path; from tasoc_mpi.core.errors import system_error\n"
        "folder, options = Path(sys.argv[1]), sys.argv[2]\n"
        "subprocess.run(['mount', '-t', 'tmpfs', '-o', options, 'none', folder], check=True)\n"
        "try:\n"
        "    for n in range(100): (folder / str(n)).write_bytes(bytes(50_000))\n"
        "except OSError as error: print(system_error(error))"
    )
    for options, words in (("size=200k", "make room"), ("nr_inodes=9", "for no more files; remove files")):
        try:
            done = subprocess.run(
                ["unshare", "-rm", sys.executable, "-c", program, str(tmp_path), options],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        except FileNotFoundError:
            pytest.skip("needs unshare")
        if done.returncode:
            pytest.skip(f"needs a namespace with a tmpfs: {done.stderr.strip().splitlines()[-1]}")
        assert words in done.stdout
