"""Many target pixel files at once."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tasoc_mpi.core.errors import InputError
from tasoc_mpi.products.tpf import read_tpf
from tasoc_mpi.products.tpf_files import find_tpfs
from tasoc_mpi.worklist.tpf_apertures import read_stamps


@pytest.mark.parametrize("processes", [1, 2, None])
def test_several_processes_read_what_one_reads(simulated, processes) -> None:
    paths = [info.path for info in find_tpfs(simulated.folder)] * 45
    found = list(read_stamps(paths, processes))
    assert [tpf.path for tpf in found] == paths
    for tpf in found[:2]:
        expected = read_tpf(tpf.path)
        assert (tpf.starid, tpf.stamp, tpf.cadence) == (expected.starid, expected.stamp, expected.cadence)
        np.testing.assert_array_equal(tpf.aperture, expected.aperture)
        np.testing.assert_array_equal(tpf.wcs.cd, expected.wcs.cd)


def test_a_damaged_one_is_named(simulated, tmp_path: Path) -> None:
    first, second = (info.path for info in find_tpfs(simulated.folder))
    broken = Path(shutil.copy(second, tmp_path))
    broken.write_bytes(broken.read_bytes()[:20000])
    with pytest.raises(InputError, match="fetch it again") as error:
        list(read_stamps([first] * 30 + [broken], 2))
    assert str(broken) in str(error.value)
