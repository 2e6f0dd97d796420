"""Fixtures that every test may use."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import faulty
import pytest
from run_program import call, content, fresh, make_input

from tasoc_mpi import cli

#: Real TESS files, kept beside the project and not in it.
REAL = Path(os.environ.get("TASOC_MPI_REAL_DATA", Path(__file__).parents[2] / "shared" / "real"))


@pytest.fixture(scope="session")
def real() -> Path:
    """Folder of the real TESS files; skips where it is not there."""
    if not REAL.is_dir():
        pytest.skip("the real TESS files are not here (TASOC_MPI_REAL_DATA names their folder)")
    return REAL


@dataclass(frozen=True)
class SimulatedCCD:
    """A small simulated CCD, prepared and with its work list. Not to be written to: tests share it."""

    folder: Path
    sector: int = 1
    camera: int = 1
    ccd: int = 1

    def copy(self, folder: Path) -> Path:
        """A copy of the input (without the frames) that a test may change."""
        for path in self.folder.glob("*.*"):
            if path.is_file():
                shutil.copy(path, folder / path.name)
        shutil.copytree(self.folder / "tpf", folder / "tpf")
        return folder


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> SimulatedCCD:
    """96 x 96 pixels, 48 frames, 2 target pixel files."""
    folder = tmp_path_factory.mktemp("simulated")
    where = ["--sector", "1", "--camera", "1", "--ccd", "1", "--seed", "7"]
    size = ["--rows", "96", "--columns", "96", "--frames", "48", "--tpfs", "2"]
    for options in (
        ["simulate", str(folder), *where, *size],
        ["prepare", str(folder)],
        ["todo", str(folder)],
    ):
        assert cli.main(["--quiet", *options]) == 0
    return SimulatedCCD(folder)


@pytest.fixture(scope="module")
def blank(request, tmp_path_factory) -> Path:
    """A work list in which nothing is done, of as many stars as the module's STARS, on CCDS (default: 2)."""
    folder = tmp_path_factory.mktemp("blank") / "input"
    make_input(folder, request.module.STARS, getattr(request.module, "CCDS", 2))
    return folder


@pytest.fixture(scope="module")
def expected(blank, tmp_path_factory) -> dict:
    """The content of `blank` after a run of one process, undisturbed."""
    folder = fresh(blank, tmp_path_factory.mktemp("expected"))
    assert call([str(folder)]) == 0
    found = content(folder)
    status = [row[9] for row in found["todolist"]]
    # The comparison is worth something only if everything happens in it.
    assert {1, 2, 3, 5} == set(status)
    assert status.count(5) == len(found["skipped"]) > 3
    return found


@pytest.fixture(scope="module")
def undisturbed(blank, tmp_path_factory) -> dict:
    """As `expected`, with the photometry of `faulty` in a process of its own, and no star at fault."""
    folder = fresh(blank, tmp_path_factory.mktemp("expected"))
    assert faulty.call(["--quiet", "run", str(folder)]) == 0
    return content(folder)
