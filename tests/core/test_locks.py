"""The one lock, between processes and within one, and files that appear whole or not at all."""

import contextlib
import errno
import fcntl
import os
import subprocess
import sys

import pytest

from tasoc_mpi.core.atomic import replacing, write_whole
from tasoc_mpi.core.errors import InputError
from tasoc_mpi.core.locks import Locked, exclusive, holder, lock_path

HOLDER = """
import sys
from tasoc_mpi.core.locks import exclusive
with exclusive(sys.argv[1]):
    print("ready", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def other_process(path):
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"ready\n"
        yield other
        other.kill()


def test_another_process_is_named_and_its_lock_falls_with_it(tmp_path):
    path = tmp_path / "file"
    with other_process(path) as other:
        with pytest.raises(Locked, match=rf"{path}: in use by process {other.pid} on \S+; wait for it"):
            exclusive(path, 0.1).__enter__()
        assert holder(path).startswith(f"process {other.pid} on ")
        other.kill()
        other.wait()
        assert holder(path) is None
        with exclusive(path):
            pass
    assert holder(tmp_path / "nothing") is None
    assert not lock_path(tmp_path / "nothing").exists()


def test_two_users_in_one_process_exclude_each_other(tmp_path):
    """And the end of one of them never frees the lock of the other."""
    path = tmp_path / "file"
    with exclusive(path):
        for _ in range(2):
            with pytest.raises(Locked, match=f"process {os.getpid()} "):
                exclusive(path, 0).__enter__()
        # Opening and closing the lock file sets a POSIX record lock free, but not this one.
        lock_path(path).read_text()
        done = subprocess.run([sys.executable, "-c", HOLDER, str(path)], capture_output=True, check=False)
        assert done.returncode == 1
        assert b"Locked" in done.stderr
    with exclusive(path, 0):
        pass


def test_a_lock_file_that_is_deleted_is_made_anew(tmp_path):
    path = tmp_path / "file"
    with exclusive(path):
        lock_path(path).unlink()
        with exclusive(path, 0):
            assert lock_path(path).exists()


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    lock_path(tmp_path / "file").symlink_to(precious)
    with pytest.raises(InputError, match=r"file.lock: cannot be used as a lock \(a link\)"):
        exclusive(tmp_path / "file").__enter__()
    assert precious.read_text() == "mine"


@pytest.mark.parametrize("kind", ["fifo", "folder"])
def test_what_is_no_file_is_refused(tmp_path, kind):
    lock = lock_path(tmp_path / "file")
    os.mkfifo(lock) if kind == "fifo" else lock.mkdir()
    with pytest.raises(InputError, match=r"file.lock: cannot be used as a lock") as caught:
        exclusive(tmp_path / "file").__enter__()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_a_file_system_without_locks_is_named_with_a_way_out(tmp_path, monkeypatch, number):
    """As Lustre without `flock` and NFS without a lock daemon answer."""
    flock = fcntl.flock
    (tmp_path / "locks").mkdir()

    def refuse(descriptor, operation):
        if "locks" not in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(number, os.strerror(number))
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(InputError, match=r"file.lock: this file system has no locks .*--lock-folder"):
        exclusive(tmp_path / "file").__enter__()
    monkeypatch.setenv("TESSPHOT_LOCKS", str(tmp_path / "locks"))
    with exclusive(tmp_path / "file"):
        assert [p.parent.name for p in tmp_path.rglob("file-*.lock")] == ["locks"]
        with pytest.raises(Locked):
            exclusive(tmp_path / "." / "file", 0).__enter__()
        # A file of the same name elsewhere is another one.
        with exclusive(tmp_path / "elsewhere" / "file", 0):
            pass


def test_a_file_is_whole_or_as_it_was(tmp_path):
    path = tmp_path / "file"
    write_whole(path, b"first")

    def interrupted():
        with replacing(path) as temporary:
            temporary.write_bytes(b"sec")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"first"
    write_whole(path, b"second")
    assert path.read_bytes() == b"second"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_links_are_replaced_and_not_followed(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    path = tmp_path / "file"
    path.symlink_to(precious)
    (tmp_path / f".file.{os.getpid()}.tmp").symlink_to(precious)
    write_whole(path, b"new")
    assert precious.read_text() == "mine"
    assert path.read_bytes() == b"new"
    assert not path.is_symlink()


def test_a_folder_that_is_not_there_is_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "nowhere" / "file", b"")
