"""Standard streams that are closed, full or without a reader: the program computes all the same."""

from __future__ import annotations

import fcntl
import os
import select
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from faulty import PROGRAM
from mpi_launch import mpiexec
from run_program import content

HELPERS = str(Path(__file__).parents[1] / "helpers")

pytestmark = pytest.mark.timeout(120)

STARS = 30


CLOSED = ("2>&-", ">&-", ">&- 2>&-", "<&- >&- 2>&-")
USELESS = ("2>/dev/full", ">/dev/full", "2> >(exec true)", "> >(exec true)")


@pytest.mark.parametrize("streams", [*CLOSED, *USELESS])
def test_a_run_does_not_need_its_streams(blank, undisturbed, tmp_path, streams):
    folder = Path(shutil.copytree(blank, tmp_path / "input"))
    command = " ".join([*PROGRAM, str(folder), streams])
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert content(folder) == undisturbed
    assert (folder / "output" / "summary.json").exists()
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    if streams == ">/dev/full":
        assert "standard output: No space left on device; `tasoc-mpi status` shows" in done.stderr


@pytest.mark.parametrize("streams", ["2>&-", "<&- >&- 2>&-"])
def test_ranks_that_the_program_starts_do_not_need_them_either(blank, undisturbed, tmp_path, streams):
    mpiexec(2)
    folder = Path(shutil.copytree(blank, tmp_path / "input"))
    command = f"{sys.executable} -m tasoc_mpi.cli run {folder} --ranks 2 {streams}"
    done = subprocess.run(["bash", "-c", command], timeout=60, check=False)
    # Without cubes every star is an ERROR, which is a result.
    assert done.returncode in (0, 1)
    found = content(folder)
    assert [row[9] for row in found["todolist"]] == [2] * STARS


def test_messages_that_nobody_reads_hold_nothing_up(blank, undisturbed, tmp_path):
    """Neither rank 0 nor a compute process, whose star would then be over its time limit."""
    folder = Path(shutil.copytree(blank, tmp_path / "input"))
    reads, writes = os.pipe()
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        fcntl.fcntl(writes, fcntl.F_SETPIPE_SZ, 4096)
    while select.select([], [writes], [], 0)[1]:
        os.write(writes, b"x" * 100)
    code = (
        f"import sys, logging; sys.path.insert(0, {HELPERS!r}); import faulty\n"
        "def photometry(**options):\n"
        "    logging.getLogger('star').error('x' * 10_000)\n"
        "    return faulty.photometry(**options)\n"
    )
    (tmp_path / "talking.py").write_text(code)
    program = (
        f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {HELPERS!r}]; import faulty;"
        " faulty.NAME = 'talking:photometry'; sys.exit(faulty.call(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, "run", str(folder), "--target-timeout", "20"]
    done = subprocess.run(command, stderr=writes, stdout=subprocess.DEVNULL, timeout=90, check=False)
    os.close(reads)
    os.close(writes)
    assert done.returncode == 0
    found = content(folder)
    assert (found["todolist"], found["files"]) == (
        undisturbed["todolist"],
        undisturbed["files"],
    )


def test_closed_streams_are_not_given_to_data_files(tmp_path):
    """A message for standard error would be written into the file that got its number."""
    code = (
        "from tasoc_mpi.core.streams import secure_streams; secure_streams()\n"
        f"import os, sys; fd = os.open({str(tmp_path / 'data')!r}, os.O_WRONLY | os.O_CREAT)\n"
        "print('a message', file=sys.stderr, flush=True); os.write(2, b'another')\n"
        "print('more', flush=True)\n"
        "sys.exit(fd)\n"
    )
    done = subprocess.run(
        ["bash", "-c", f'{sys.executable} -c "$0" <&- >&- 2>&-', code], timeout=60, check=False
    )
    assert done.returncode > 2
    assert (tmp_path / "data").read_bytes() == b""


@pytest.mark.parametrize("name", [b"\xff\xfe", "übung".encode(), b"a b"])
@pytest.mark.parametrize("locale", ["C", "POSIX", "C.UTF-8"])
def test_names_are_written_as_they_are(tmp_path, name, locale):
    folder = os.path.join(os.fsencode(tmp_path), name)
    code = (
        "import sys, os; from tasoc_mpi.core.streams import secure_streams; secure_streams()\n"
        "print(sys.argv[1]); print(sys.argv[1], file=sys.stderr); print('\\u2265 1')"
    )
    plain = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"} if locale != "C.UTF-8" else {}
    done = subprocess.run(
        [sys.executable, "-c", code, folder],
        env={**os.environ, "LC_ALL": locale, **plain},
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines()[0] == folder
    assert done.stderr.splitlines()[0] == folder
    assert done.stdout.splitlines()[1] in ("\u2265 1".encode(), b"\\u2265 1")


def test_what_cannot_be_printed_is_an_error_of_commands_that_print(blank):
    command = f"{sys.executable} -m tasoc_mpi.cli status {blank} >/dev/full"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("tasoc-mpi status: error: ")
    assert "standard output" in done.stderr
    assert "No space left on device" in done.stderr
