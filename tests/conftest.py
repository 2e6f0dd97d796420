"""Fixtures that every test may use."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

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
