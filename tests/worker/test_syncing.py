"""Results wait for their light curves to be on the disk, and nothing else waits for them."""

from __future__ import annotations

import threading
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np
import pytest

from tasoc_mpi.core.errors import InputError
from tasoc_mpi.core.messages import RESULT_DTYPE, Results
from tasoc_mpi.worker import syncing
from tasoc_mpi.worker.syncing import Syncing


def _results(priority: int, name: str) -> Results:
    numbers = np.zeros(1, RESULT_DTYPE)
    numbers["priority"] = priority
    return Results(numbers, [name], ["aperture"], [None], np.array([], dtype=np.int64))


def _taken(waiting: Syncing, count: int) -> list[int]:
    found: list[int] = []
    while len(found) < count and wait([waiting.ready], 20):
        while (results := waiting.take()) is not None:
            found += results.numbers["priority"].tolist()
    return found


def test_results_come_in_order_when_their_files_are_on_the_disk(tmp_path: Path, monkeypatch):
    """A disk that others keep busy syncs all that has come meanwhile at once."""
    disk, steps, make_durable = threading.Event(), [], syncing.make_durable

    def slow(output, names):
        disk.wait(20)
        steps.append(names)
        make_durable(output, names)

    monkeypatch.setattr(syncing, "make_durable", slow)
    (tmp_path / "c1800").mkdir()
    waiting = Syncing(str(tmp_path))
    names = [f"c1800/{i}" for i in range(4)]
    for i, name in enumerate(names):
        waiting.add(_results(i, name))
    assert waiting.count == 4
    assert waiting.take() is None
    disk.set()
    assert _taken(waiting, 4) == [0, 1, 2, 3]
    assert waiting.count == 0
    assert [name for step in steps for name in step] == names
    assert len(steps) <= 2
    waiting.close()


def test_a_disk_that_takes_nothing_is_an_error_of_the_run(tmp_path: Path):
    waiting = Syncing(str(tmp_path / "gone"))
    waiting.add(_results(0, "c1800/x"))
    with pytest.raises(InputError, match="light curves cannot be written"):
        _taken(waiting, 1)
    waiting.close()


def test_it_ends_with_its_rank(tmp_path: Path):
    before = threading.active_count()
    waiting = Syncing(str(tmp_path))
    waiting.add(_results(0, ""))
    assert _taken(waiting, 1) == [0]
    waiting.close()
    for thread in threading.enumerate()[before:]:
        thread.join(20)
    assert threading.active_count() == before
