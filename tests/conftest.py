"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest

#: Real TESS files, kept beside the project and not in it.
REAL = Path(os.environ.get("TASOC_MPI_REAL_DATA", Path(__file__).parents[2] / "shared" / "real"))


@pytest.fixture(scope="session")
def real() -> Path:
    """Folder of the real TESS files; skips where it is not there."""
    if not REAL.is_dir():
        pytest.skip("the real TESS files are not here (TASOC_MPI_REAL_DATA names their folder)")
    return REAL
