"""The run under every MPI that is here (see `mpi_launch`): always the same result, and no hang."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mpi_launch import environment, kind, launch, mpiexec
from mpi_program import PROGRAM, REAL
from run_program import content, fresh

from tasoc_mpi.core.mpi import _find_mpiexec

STARS, CCDS = 150, 3

pytestmark = pytest.mark.timeout(200)


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
    launcher, blank, expected, tmp_path, ranks, options, variables
):
    """Statuses, skips, diagnostics and files."""
    folder = fresh(blank, tmp_path)
    done = launch(PROGRAM, str(folder), *options, **variables, ranks=ranks, launcher=launcher)
    assert done.returncode == 0, done.stderr
    assert content(folder) == expected


def test_a_message_of_the_wrong_size_ends_the_job(launcher, blank, tmp_path):
    folder = fresh(blank, tmp_path)
    done = launch(PROGRAM, str(folder), MPI_PROGRAM_CUT="1", ranks=4, launcher=launcher)
    assert done.returncode not in (0, None)
    # All workers send such messages; only rank 0 speaks.
    (line,) = [line for line in done.stderr.splitlines() if "ends the run" in line]
    assert "rank 0 ends the run: error: a message of results has " in line
    assert " bytes instead of " in line
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("command", "message"), [("run", "no room here"), ("cbv", "no light curves")])
def test_a_rank_without_a_folder_for_kernels_leaves_nobody_waiting(
    launcher, blank, tmp_path, command, message
):
    """The one of rank 1 cannot be used, as on a node whose disk is full."""
    (tmp_path / "sitecustomize.py").write_text(
        "from tasoc_mpi.core import compiled, errors, logs\n"
        "def fail(package): raise errors.InputError('no room here')\n"
        "if logs.rank_name() == '1': compiled.provide_cache = fail\n"
    )
    folder = fresh(blank, tmp_path)
    (folder / "output").mkdir(exist_ok=True)
    program = [sys.executable, "-m", "tasoc_mpi.cli", command]
    done = launch(program, str(folder), PYTHONPATH=str(tmp_path), ranks=2, launcher=launcher)
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line.startswith(f"tasoc-mpi {command}: ")]
    assert lines
    assert all(message in line for line in lines)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_fault_of_the_program_on_one_rank_ends_all(launcher, blank, tmp_path, rank):
    """Between the start of MPI and the first message, in which the others would wait for it."""
    (tmp_path / "sitecustomize.py").write_text(
        "from tasoc_mpi.core import compiled, logs\n"
        "def fail(*_): raise RuntimeError('a fault')\n"
        f"if logs.rank_name() == '{rank}': compiled.compile_first = fail\n"
    )
    folder = fresh(blank, tmp_path)
    program = [sys.executable, "-m", "tasoc_mpi.cli", "run"]
    done = launch(program, str(folder), PYTHONPATH=str(tmp_path), ranks=2, launcher=launcher, seconds=60)
    assert done.returncode == 1
    assert f"tasoc-mpi run: rank {rank} ends the run: Traceback" in done.stderr
    assert "RuntimeError: a fault" in done.stderr


@pytest.mark.parametrize("ranks", [1, 4])
def test_a_user_s_error_is_said_once_and_ends_all_ranks(launcher, blank, tmp_path, ranks):
    folder = fresh(blank, tmp_path)
    done = launch(PROGRAM, str(folder), "--starid", "3", ranks=ranks, launcher=launcher)
    assert done.returncode == 1
    assert done.stderr.count("none of its 150 rows fulfils the filters") == 1


@pytest.mark.parametrize(
    ("ranks", "options", "shuffle"),
    [(2, ["--batch", "100"], None), (4, ["--batch", "1"], "5")],
)
def test_same_light_curves_byte_for_byte(
    launcher, real_blank, real_expected, tmp_path, ranks, options, shuffle
):
    """The photometry of the package, with the date of files given from outside."""
    folder = fresh(real_blank, tmp_path, link=True)
    variables = {**REAL, **({"MPI_PROGRAM_SHUFFLE": shuffle} if shuffle else {})}
    done = launch(PROGRAM, str(folder), *options, **variables, ranks=ranks, launcher=launcher)
    assert done.returncode == 0, done.stderr
    assert content(folder) == real_expected


def test_same_psf_light_curves_byte_for_byte(launcher, real_blank, tmp_path):
    """Each star is fitted by itself: it does not matter which worker has it, and what it had before."""
    found = []
    for ranks in (1, 3):
        folder = fresh(real_blank, tmp_path / f"{ranks}", link=True)
        options = [
            str(folder),
            "--photometry",
            "psf",
            "--output",
            str(folder / "output"),
            "--datasource",
            "ffi",
        ]
        done = launch(PROGRAM, *options, **REAL, ranks=ranks, launcher=launcher)
        assert done.returncode == 0, done.stderr
        found.append(content(folder, todo="todo-psf.sqlite"))
    assert found[0] == found[1]
    assert len(found[0]["files"]) > 10


@pytest.mark.timeout(200)
def test_workers_share_the_cube(launcher, real_blank, tmp_path):
    """Another worker adds little to a node's memory; see benchmarks/bench_memory.py for a large cube."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
    try:
        from bench_memory import run_and_measure
    finally:
        sys.path.pop(0)
    peaks = {}
    for ranks in (2, 4):
        folder = fresh(real_blank, tmp_path / f"{ranks}", link=True)
        command = [*mpiexec(ranks, launcher), *PROGRAM, str(folder)]
        variables = {**environment(launcher), **REAL}
        peaks[ranks] = run_and_measure(command, variables, timeout=120).peak
    growth = (peaks[4] - peaks[2]) / 2
    assert 0 < growth < 250e6


@pytest.mark.parametrize("ranks", [2, 3, 5])
def test_ranks_that_the_program_starts_itself(launcher, real_blank, real_expected, tmp_path, ranks):
    """`--ranks N`, as a user types it: as root or not, and with more ranks than cores."""
    given = environment(launcher)
    # Of what the tests tell Open MPI only where it is: the rest is to be known by the program.
    variables = {**os.environ, **{k: v for k, v in given.items() if k == "MPI4PY_LIBMPI"}}
    variables["PATH"] = f"{Path(launcher).parent}{os.pathsep}{variables['PATH']}"
    if kind(launcher) == "openmpi" and "MPI4PY_LIBMPI" not in variables:
        pytest.skip("which MPI mpi4py loads is not known")
    folder = fresh(real_blank, tmp_path, link=True)
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


def test_an_error_of_ranks_that_the_program_started_is_said_once(launcher, blank, tmp_path):
    given = environment(launcher)
    variables = {**os.environ, **{k: v for k, v in given.items() if k == "MPI4PY_LIBMPI"}}
    folder = fresh(blank, tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "tasoc_mpi.cli", "run", str(folder), "--ranks", "3", "--starid", "3"],
        env=variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.count("none of its 150 rows fulfils the filters") == 1


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
