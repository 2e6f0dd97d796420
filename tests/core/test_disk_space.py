"""Disk space that is reserved before a file is written."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from tasoc_mpi.core.disk_space import reserve

#: Reserves a megabyte in a file system of a namespace of its own, and prints what became of the file.
_IN_NAMESPACE = """
import os, subprocess, sys
from tasoc_mpi.core.disk_space import reserve
kind, options, folder = sys.argv[1:]
subprocess.run(["mount", "-t", kind, *options.split(), "none", folder], check=True)
with open(os.path.join(folder, "file"), "wb") as file:
    try:
        reserve(file.fileno(), 0, 1 << 20)
        print(os.fstat(file.fileno()).st_size)
    except OSError as error:
        print(error.errno)
"""


def in_namespace(kind: str, options: str, folder: Path) -> int:
    command = ["unshare", "-rm", sys.executable, "-c", _IN_NAMESPACE, kind, options, str(folder)]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("needs unshare")
    if result.returncode:
        pytest.skip(f"needs a namespace with a {kind}: {result.stderr.strip().splitlines()[-1]}")
    return int(result.stdout)


def test_the_range_is_on_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    with open(path, "r+b") as file:
        reserve(file.fileno(), 1 << 16, 1 << 20)
    assert path.stat().st_size == (1 << 16) + (1 << 20)
    assert path.stat().st_blocks * 512 >= 1 << 20
    assert path.read_bytes()[:8] == b"content\0"


def test_errors_of_the_system_are_raised(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    with open(path, "rb") as file, pytest.raises(OSError, match="Bad file descriptor"):
        reserve(file.fileno(), 0, 1)


def test_too_little_space(tmp_path: Path) -> None:
    assert in_namespace("tmpfs", "-o size=64k", tmp_path) == errno.ENOSPC


def test_nothing_is_written_where_space_cannot_be_reserved(tmp_path: Path) -> None:
    assert in_namespace("ramfs", "", tmp_path) == 0
