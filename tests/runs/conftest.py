"""Fixtures of the tests of runs under each MPI."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from mpi_launch import kind, launchers
from run_program import content, fresh

from tasoc_mpi import cli


@pytest.fixture(scope="module", params=launchers() or [None], ids=lambda path: kind(path) if path else "none")
def launcher(request) -> str:
    """The mpiexec of one MPI."""
    if request.param is None:
        pytest.skip("no mpiexec here (pip install tasoc-mpi[mpich], or see TASOC_MPI_MPIEXEC)")
    return request.param


@pytest.fixture(scope="module")
def real_blank(tmp_path_factory) -> Path:
    """A simulated CCD with target pixel files."""
    folder = tmp_path_factory.mktemp("ccd") / "input"
    size = ["--frames", "30", "--rows", "70", "--columns", "70", "--tpfs", "2", "--density", "4"]
    for options in (["simulate", str(folder), *size], ["prepare", str(folder)], ["todo", str(folder)]):
        assert cli.main(["--quiet", *options]) == 0
    shutil.rmtree(folder / "ffi", ignore_errors=True)
    return folder


@pytest.fixture(scope="module")
def real_expected(real_blank, tmp_path_factory) -> dict:
    """The content of `real_blank` after a run of one process, with the date of files given from outside."""
    folder = fresh(real_blank, tmp_path_factory.mktemp("expected_ccd"), link=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "0")
        assert cli.main(["--quiet", "run", str(folder)]) == 0
    found = content(folder)
    assert len(found["files"]) > 15
    return found
