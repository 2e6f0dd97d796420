"""The run under every MPI that is here (see `mpi_launch`): always the same result, and no hang."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import mpi_program
import pytest
from mpi_launch import environment, kind, launchers
from run_program import call, content, make_input

from tasoc_mpi import cli
from tasoc_mpi.core.mpi import _find_mpiexec

STARS = 150

pytestmark = pytest.mark.timeout(200)


@pytest.fixture(scope="module", params=launchers() or [None], ids=lambda path: kind(path) if path else "none")
def mpiexec(request) -> str:
    """The mpiexec of one MPI."""
    if request.param is None:
        pytest.skip("no mpiexec here (pip install tasoc-mpi[mpich], or see TASOC_MPI_MPIEXEC)")
    return request.param


def launch(mpiexec: str, ranks: int, *options: str, **variables: str) -> subprocess.CompletedProcess:
    """Run the program; a hang is a failure."""
    return subprocess.run(
        [mpiexec, "-n", str(ranks), sys.executable, mpi_program.__file__, *options],
        env={**environment(mpiexec), "SOURCE_DATE_EPOCH": "0", **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def blank(tmp_path_factory) -> Path:
    """A work list in which nothing is done."""
    folder = tmp_path_factory.mktemp("blank") / "input"
    make_input(folder, STARS, ccds=3)
    return folder


@pytest.fixture(scope="module")
def expected(blank, tmp_path_factory) -> dict:
    """What one process makes of it, without MPI."""
    folder = Path(shutil.copytree(blank, tmp_path_factory.mktemp("expected") / "input"))
    assert call([str(folder)]) == 0
    found = content(folder)
    assert {1, 2, 3, 5} == {row[9] for row in found["todolist"]}
    return found


@pytest.mark.parametrize(
    ("ranks", "options", "variables"),
    [
        (1, [], {}),
        (2, ["--batch", "1"], {}),
        (2, ["--batch", "100"], {"MPI_PROGRAM_SHUFFLE": "1"}),
        (4, ["--batch", "1"], {"MPI_PROGRAM_SHUFFLE": "2"}),
        (4, ["--batch", "100"], {}),
        (4, [], {"MPI_PROGRAM_SHUFFLE": "3"}),
    ],
)
def test_same_result_in_any_order_on_any_number_of_ranks(
    mpiexec, blank, expected, tmp_path, ranks, options, variables
):
    """Statuses, skips, diagnostics and files."""
    folder = Path(shutil.copytree(blank, tmp_path / "input"))
    done = launch(mpiexec, ranks, str(folder), *options, **variables)
    assert done.returncode == 0, done.stderr
    assert content(folder) == expected


def test_a_message_of_the_wrong_size_ends_the_job(mpiexec, blank, tmp_path):
    folder = Path(shutil.copytree(blank, tmp_path / "input"))
    done = launch(mpiexec, 4, str(folder), MPI_PROGRAM_CUT="1")
    assert done.returncode not in (0, None)
    # All workers send such messages; only rank 0 speaks.
    (line,) = [line for line in done.stderr.splitlines() if "ends the run" in line]
    assert "rank 0 ends the run: error: a message of results has " in line
    assert " bytes instead of " in line
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("ranks", [1, 4])
def test_a_user_s_error_is_said_once_and_ends_all_ranks(mpiexec, blank, tmp_path, ranks):
    folder = Path(shutil.copytree(blank, tmp_path / "input"))
    done = launch(mpiexec, ranks, str(folder), "--starid", "3")
    assert done.returncode == 1
    assert done.stderr.count("none of its 150 stars fulfils the filters") == 1


@pytest.fixture(scope="module")
def real_blank(tmp_path_factory) -> Path:
    """A simulated CCD with target pixel files."""
    folder = tmp_path_factory.mktemp("ccd") / "input"
    size = ["--frames", "30", "--rows", "70", "--columns", "70", "--tpfs", "2", "--density", "4"]
    for options in (["simulate", str(folder), *size], ["prepare", str(folder)], ["todo", str(folder)]):
        assert cli.main(["--quiet", *options]) == 0
    shutil.rmtree(folder / "ffi", ignore_errors=True)
    return folder


def copy(blank: Path, folder: Path) -> Path:
    """A copy of the input; what is only read is linked."""
    return Path(shutil.copytree(blank, folder, copy_function=_link))


def _link(source: str, target: str) -> None:
    (shutil.copy2 if Path(source).name.startswith("todo") else os.link)(source, target)


@pytest.fixture(scope="module")
def real_expected(real_blank, tmp_path_factory) -> dict:
    folder = copy(real_blank, tmp_path_factory.mktemp("expected_ccd") / "input")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "0")
        assert cli.main(["--quiet", "run", str(folder)]) == 0
    found = content(folder)
    assert len(found["files"]) > 15
    return found


@pytest.mark.parametrize(
    ("ranks", "options", "shuffle"),
    [(2, ["--batch", "100"], None), (4, ["--batch", "1"], "5")],
)
def test_same_light_curves_byte_for_byte(
    mpiexec, real_blank, real_expected, tmp_path, ranks, options, shuffle
):
    """The photometry of the package, with the date of files given from outside."""
    folder = copy(real_blank, tmp_path / "input")
    variables = {"MPI_PROGRAM_REAL": "1", **({"MPI_PROGRAM_SHUFFLE": shuffle} if shuffle else {})}
    done = launch(mpiexec, ranks, str(folder), *options, **variables)
    assert done.returncode == 0, done.stderr
    assert content(folder) == real_expected


@pytest.mark.timeout(200)
def test_workers_share_the_cube(mpiexec, real_blank, tmp_path):
    """Another worker adds little to a node's memory; see benchmarks/bench_memory.py for a large cube."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
    try:
        from bench_memory import run_and_measure
    finally:
        sys.path.pop(0)
    peaks = {}
    for ranks in (2, 4):
        folder = copy(real_blank, tmp_path / f"{ranks}")
        command = [mpiexec, "-n", str(ranks), sys.executable, mpi_program.__file__, str(folder)]
        variables = {**environment(mpiexec), "MPI_PROGRAM_REAL": "1"}
        peaks[ranks] = run_and_measure(command, variables, timeout=120).peak
    growth = (peaks[4] - peaks[2]) / 2
    assert 0 < growth < 250e6


@pytest.mark.parametrize("ranks", [2, 3, 5])
def test_ranks_that_the_program_starts_itself(mpiexec, real_blank, real_expected, tmp_path, ranks):
    """`--ranks N`, as a user types it: as root or not, and with more ranks than cores."""
    given = environment(mpiexec)
    # Of what the tests tell Open MPI only where it is: the rest is to be known by the program.
    variables = {**os.environ, **{k: v for k, v in given.items() if k == "MPI4PY_LIBMPI"}}
    variables["PATH"] = f"{Path(mpiexec).parent}{os.pathsep}{variables['PATH']}"
    if kind(mpiexec) == "openmpi" and "MPI4PY_LIBMPI" not in variables:
        pytest.skip("which MPI mpi4py loads is not known")
    folder = copy(real_blank, tmp_path / "input")
    done = subprocess.run(
        [sys.executable, "-m", "tasoc_mpi.cli", "run", str(folder), "--ranks", str(ranks)],
        env={**variables, "SOURCE_DATE_EPOCH": "0"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"on {ranks - 1} of {ranks} ranks" in done.stderr
    assert content(folder) == real_expected


def test_an_error_of_ranks_that_the_program_started_is_said_once(mpiexec, blank, tmp_path):
    given = environment(mpiexec)
    variables = {**os.environ, **{k: v for k, v in given.items() if k == "MPI4PY_LIBMPI"}}
    folder = Path(shutil.copytree(blank, tmp_path / "input"))
    done = subprocess.run(
        [sys.executable, "-m", "tasoc_mpi.cli", "run", str(folder), "--ranks", "3", "--starid", "3"],
        env=variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.count("none of its 150 stars fulfils the filters") == 1


@pytest.mark.parametrize("form", ["lib", "lib64"])
def test_the_mpiexec_is_that_of_the_library_that_mpi4py_is_told_to_load(tmp_path, monkeypatch, form):
    library, mpiexec = tmp_path / form / "libmpi.so.40", tmp_path / "bin" / "mpiexec"
    monkeypatch.setenv("MPI4PY_LIBMPI", str(library))
    before = _find_mpiexec()
    assert before != str(mpiexec)
    mpiexec.parent.mkdir()
    mpiexec.touch()
    assert _find_mpiexec() == str(mpiexec)
    # A name without a place says nothing of where its mpiexec is.
    monkeypatch.setenv("MPI4PY_LIBMPI", "libmpi.so.40")
    assert _find_mpiexec() == before
