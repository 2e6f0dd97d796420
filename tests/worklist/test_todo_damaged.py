"""Target pixel files whose stars are listed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tasoc_mpi.core.errors import InputError
from tasoc_mpi.products.tpf_files import find_tpfs
from tasoc_mpi.worklist.make_todo import fill_todo


def test_a_damaged_one_is_named(simulated, tmp_path: Path) -> None:
    _, second = (Path(shutil.copy(info.path, tmp_path)) for info in find_tpfs(simulated.folder))
    assert sum(summary.tpf for summary in fill_todo(tmp_path)) == 2
    second.write_bytes(second.read_bytes()[:20000])
    with pytest.raises(InputError, match="fetch it again") as error:
        fill_todo(tmp_path, overwrite=True)
    assert str(second) in str(error.value)
