"""Places where a program may have to run: what it needs of folders, locales, names and file systems."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from run_program import content, make_input

import tasoc_mpi
from tasoc_mpi.core.compiled import provide_cache
from tasoc_mpi.core.errors import InputError

pytestmark = pytest.mark.timeout(120)


def unprivileged() -> list[str]:
    """The start of a command line that has to obey the permissions of files, as others than root have."""
    if os.geteuid():
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("as root, needs setpriv")
    caps = "-dac_override,-dac_read_search"
    return ["setpriv", f"--bounding-set={caps}", f"--inh-caps={caps}"]


def run(*words: str, folder: Path | None = None, **variables: str) -> subprocess.CompletedProcess:
    """A program of this Python, on a machine of the given variables."""
    return subprocess.run(
        [*unprivileged(), sys.executable, *words],
        env={**os.environ, **variables},
        cwd=folder,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=110,
        check=False,
    )


# --- Compiled kernels


@pytest.fixture
def installation(tmp_path) -> Path:
    """A copy of the program that cannot be written, and a home folder that cannot either."""
    site = tmp_path / "site" / "tasoc_mpi"
    package = Path(tasoc_mpi.__path__[0])
    shutil.copytree(package, site, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("scheduler", "worker", "slurm"):
        place = Path(importlib.import_module(f"tasoc_mpi.{name}").__path__[0])
        shutil.copytree(place, site / name, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    (tmp_path / "home").mkdir()
    (tmp_path / "tmp").mkdir()
    for path in [tmp_path / "home", *site.parent.rglob("*"), site.parent]:
        path.chmod(path.stat().st_mode & ~0o222)
    yield site.parent
    for path in [tmp_path / "home", site.parent, *site.parent.rglob("*")]:
        path.chmod(path.stat().st_mode | 0o200)


def variables(installation: Path) -> dict[str, str]:
    place = installation.parent
    return {
        "PYTHONPATH": str(installation),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": str(place / "home"),
        "XDG_CACHE_HOME": "",
        "NUMBA_CACHE_DIR": "",
        "TMPDIR": str(place / "tmp"),
    }


KERNEL = (
    "import numpy as np; from tasoc_mpi.kernels import interleave, sums; import tasoc_mpi;"
    "print(tasoc_mpi.__file__); import numba; print(numba.config.CACHE_DIR)"
)


def test_kernels_are_kept_in_tmpdir_where_nothing_else_can_be_written(installation):
    given = variables(installation)
    first, second = run("-c", KERNEL, **given), run("-c", KERNEL, **given)
    assert first.returncode == second.returncode == 0, first.stderr
    file, cache = first.stdout.split()
    assert file.startswith(str(installation))
    assert cache == f"{given['TMPDIR']}/tasoc-mpi-{os.geteuid()}-numba"
    assert os.stat(cache).st_mode & 0o777 == 0o700
    # Once, by whoever makes the folder.
    assert first.stderr.count("compiled kernels are kept here") == 1
    assert second.stderr == ""
    assert second.stdout == first.stdout


def test_a_run_from_a_read_only_installation(installation, tmp_path):
    """Kernels are compiled by compute processes: one line for all of them."""
    make_input(tmp_path / "input", 12)
    tests = str(Path(__file__).parents[1] / "helpers")
    (tmp_path / "kernels.py").write_text(
        f"import sys; sys.path.append({tests!r}); import faulty, numpy as np\n"
        "from tasoc_mpi.kernels.median import median\n"
        "def photometry(**options):\n"
        "    assert median(np.arange(5.0)) == 2.0\n"
        "    return faulty.photometry(**options)\n"
    )
    code = (
        f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {tests!r}]; import faulty;"
        " faulty.NAME = 'kernels:photometry'; sys.exit(faulty.call(sys.argv[1:]))"
    )
    done = run("-c", code, "run", str(tmp_path / "input"), **variables(installation))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("compiled kernels are kept here") == 1
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "tmp").rglob("*.nbi"))
    assert 1 in [row[9] for row in content(tmp_path / "input")["todolist"]]


def test_folders_of_others_are_refused(installation, tmp_path):
    given = variables(installation)
    place = Path(given["TMPDIR"], f"tasoc-mpi-{os.geteuid()}-numba")
    place.mkdir(mode=0o777)
    place.chmod(0o777)
    line = f"{place}: not a folder that only this user can write; remove it, or set NUMBA_CACHE_DIR"
    assert line in run("-c", KERNEL, **given).stderr
    place.rmdir()
    place.symlink_to(tmp_path / "elsewhere")
    assert line in run("-c", KERNEL, **given).stderr
    place.unlink()
    place.write_text("")
    assert line in run("-c", KERNEL, **given).stderr


def test_no_folder_at_all_is_one_line(installation, tmp_path):
    """In a command, and in the compute process of a run."""
    make_input(tmp_path / "input", 5)
    given = {**variables(installation), "PATH": os.environ["PATH"]}
    # As if no temporary folder could be written: tempfile tries several.
    (tmp_path / "sitecustomize.py").write_text(
        "import tempfile\n"
        "def nowhere():\n"
        "    raise FileNotFoundError(2, 'No usable temporary directory found')\n"
        "tempfile.gettempdir = nowhere\n"
    )
    given["PYTHONPATH"] += os.pathsep + str(tmp_path)
    done = run("-m", "tasoc_mpi.cli", "run", str(tmp_path / "input"), **given)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "no folder for compiled kernels can be written" in done.stderr
    assert "set NUMBA_CACHE_DIR to one" in done.stderr


def test_a_folder_that_can_be_written_is_left_to_numba(monkeypatch, tmp_path):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    provide_cache(tmp_path / "package")
    assert "NUMBA_CACHE_DIR" not in os.environ
    assert list(tmp_path.iterdir()) == []


# --- Folders and names


PROGRAM = [str(Path(__file__).parents[1] / "helpers" / "faulty.py")]


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> dict:
    """What a run leaves elsewhere."""
    folder = tmp_path_factory.mktemp("plain") / "input"
    make_input(folder, 20)
    assert run(*PROGRAM, str(folder)).returncode == 0
    return content(folder)


@pytest.mark.parametrize("locale", ["C.UTF-8", "POSIX"])
@pytest.mark.parametrize("name", [b"\xff\xfe", "übung \u2265".encode()])
def test_folders_whose_names_are_not_text(tmp_path, name, locale, expected):
    """Input, output, and the messages about them."""
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/in" + name))
    output = Path(os.fsdecode(os.fsencode(tmp_path) + b"/out" + name))
    make_input(folder, 20)
    plain = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"} if locale == "POSIX" else {}
    given = {"LC_ALL": locale, **plain}
    done = run(*PROGRAM, str(folder), "--output", str(output), **given)
    assert done.returncode == 0, done.stderr
    found = content(folder, output)
    assert (found["todolist"], found["files"]) == (expected["todolist"], expected["files"])
    packed = Path(f"{output}-packed")
    done = run(*PROGRAM, str(folder), "--output", str(packed), "--packed", **given)
    assert done.returncode == 0, done.stderr
    done = run("-m", "tasoc_mpi.cli", "unpack", str(packed), "--todo", str(folder / "todo.sqlite"), **given)
    assert done.returncode == 0, done.stderr
    done = run(*PROGRAM, str(folder), "--output", str(output), **given)
    assert done.returncode == 0, done.stderr
    assert os.fsencode(output) in os.fsencode(done.stdout)
    status = run("-m", "tasoc_mpi.cli", "status", str(folder), **given)
    assert status.returncode == 0, status.stderr
    # And a run that continues it finds its light curves.
    again = run(*PROGRAM, str(folder), "--output", str(output), **given)
    assert again.returncode == 0, again.stderr
    assert "Nothing to do" in again.stdout


def test_a_current_folder_that_was_deleted(tmp_path):
    folder = tmp_path / "input"
    make_input(folder, 5)
    gone = tmp_path / "gone"
    script = f'cd {gone}; rmdir {gone}; exec {sys.executable} "$@"'
    for words, status, line in (
        ([*PROGRAM, str(folder)], 0, ""),
        (["-m", "tasoc_mpi.cli", "run", "."], 1, "the current folder has been deleted; go to another one"),
    ):
        gone.mkdir()
        command = ["bash", "-c", script, "bash", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == status, done.stderr
        assert line in done.stderr


def test_a_temporary_folder_that_is_not_there(tmp_path, expected):
    make_input(tmp_path / "input", 20)
    done = run(*PROGRAM, str(tmp_path / "input"), TMPDIR=str(tmp_path / "nowhere"))
    assert done.returncode == 0, done.stderr
    assert content(tmp_path / "input")["todolist"] == expected["todolist"]


@pytest.mark.parametrize("place", ["/proc", "/dev/shm"])
def test_systems_without_proc_and_shared_memory(tmp_path, place, expected):
    """As some containers are."""
    hide = ["unshare", "--mount", "bash", "-c", f'mount -t tmpfs -o ro none {place} && exec "$@"', "bash"]
    if subprocess.run([*hide, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no name space of its own here")
    make_input(tmp_path / "input", 20)
    command = [*hide, sys.executable, *PROGRAM, str(tmp_path / "input")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert content(tmp_path / "input")["todolist"] == expected["todolist"]


def test_an_input_folder_that_cannot_be_written(tmp_path, expected):
    """With the work list and the output elsewhere."""
    folder = tmp_path / "input"
    make_input(folder, 20)
    shutil.copy(folder / "todo.sqlite", tmp_path / "todo.sqlite")
    for path in (*folder.iterdir(), folder):
        path.chmod(0o555 if path.is_dir() else 0o444)
    where = ["--output", str(tmp_path / "output")]
    done = run(*PROGRAM, str(folder), "--todo", str(tmp_path / "todo.sqlite"), *where)
    assert done.returncode == 0, done.stderr
    assert content(tmp_path, tmp_path / "output")["files"] == expected["files"]
    refused = run(*PROGRAM, str(folder), *where)
    folder.chmod(0o755)
    assert refused.returncode == 1
    assert "a run must be able to write it and its folder" in refused.stderr


def test_a_umask_that_lets_nobody_else_in(tmp_path):
    make_input(tmp_path / "input", 20)
    command = [
        "bash",
        "-c",
        'umask 077; exec "$@"',
        "bash",
        sys.executable,
        *PROGRAM,
        str(tmp_path / "input"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    output = tmp_path / "input" / "output"
    assert [path for path in (output, *output.rglob("*")) if path.stat().st_mode & 0o077] == []


def test_copies_on_file_systems_without_locks(tmp_path, monkeypatch):
    """The line names the file, the cause and the way out."""
    import errno
    import fcntl

    from tasoc_mpi.worker import copies

    def refuse(*_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    (tmp_path / "cube.hdf5").write_text("cube")
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(fcntl, "flock", refuse)
    cause, way = r"this file system has no locks \(Function not implemented\)", "choose another --scratch"
    with pytest.raises(InputError, match=rf"{tmp_path}/scratch/.*\.lock: {cause}.*{way}"):
        copies.Copies(tmp_path / "scratch").provide(tmp_path / "cube.hdf5")
