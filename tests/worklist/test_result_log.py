"""The log of results: what is read is what was appended, whatever a kill or a disk has done to its end."""

import contextlib
import os
import shutil
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from todo_rows import read_logs

from tasoc_mpi.core.errors import InputError
from tasoc_mpi.core.messages import DIAGNOSTICS, RESULT_DTYPE, Results, pack_results
from tasoc_mpi.worklist.last_results import LastResults
from tasoc_mpi.worklist.result_log import (
    _HEADER,
    RESET,
    RESULTS,
    LogReader,
    LogWriter,
    Reset,
    damaged_path,
    log_path,
    pack_record,
    reset_payload,
)
from tasoc_mpi.worklist.schema import TODO_DTYPE
from tasoc_mpi.worklist.todo_file import create_todo
from tasoc_mpi.worklist.work_list import load_worklist

STARS = 40
CCD = (1, 1, 1)


def make_list(folder, **columns):
    """Stars 1000, 1001, ... of two CCDs in turn, brightest first."""
    rows = np.zeros(STARS, TODO_DTYPE)
    rows["priority"], rows["starid"] = np.arange(1, STARS + 1), 1000 + np.arange(STARS)
    rows["tmag"], rows["datasource"], rows["cadence"] = np.linspace(5, 15, STARS), "ffi", 1800
    rows["sector"], rows["camera"], rows["ccd"] = 1, 1, 1 + np.arange(STARS) % 2
    for name, values in columns.items():
        rows[name] = values
    folder.mkdir(exist_ok=True)
    create_todo(folder / "todo.sqlite", rows)
    return load_worklist(folder / "todo.sqlite")


def message(priorities, status=1, skips=None, elapsed=0.5):
    """A message of results; skip lists by priority."""
    numbers = np.zeros(len(priorities), RESULT_DTYPE)
    numbers["priority"], numbers["status"], numbers["elaptime"] = priorities, status, elapsed
    for name in DIAGNOSTICS:
        numbers[name] = numbers["priority"] / 7
    named = [(skips or {}).get(priority, []) for priority in priorities]
    numbers["skip_count"] = [len(stars) for stars in named]
    texts = [f"star {priority}" for priority in priorities]
    skipped = np.array([star for stars in named for star in stars], "i8")
    return pack_results(Results(numbers, texts, ["aperture"] * len(texts), [None] * len(texts), skipped))


def open_writer(rows, output, version=6):
    output.mkdir(exist_ok=True)
    reader = LogReader(log_path(output, CCD), rows, CCD)
    for _ in reader.read():
        pass
    return LogWriter(reader, version)


@pytest.fixture
def rows(tmp_path):
    return make_list(tmp_path)


@pytest.fixture
def written(rows, tmp_path):
    """A log of ten messages, one of them a reset; its bytes, and where each record ends."""
    output = tmp_path / "output"
    with contextlib.closing(open_writer(rows, output)) as writer:
        ends = [_HEADER.size]
        for number in range(10):
            if number == 6:
                writer.reset(np.array([1, 3], "i8"), 7)
            else:
                writer.append([(100.0 + number, message([2 * number + 1, 2 * number + 3]))])
            ends.append(writer._end)
        writer.sync()
    path = log_path(output, CCD)
    return path, path.read_bytes(), ends


def entries(path, rows):
    """What a reader finds: (kind, priorities) of each message, and the reader."""
    reader = LogReader(path, rows, CCD)
    found = []
    for entry in reader.read():
        if isinstance(entry, Reset):
            found.append(("reset", rows.priority[entry.index].tolist()))
            continue
        bounds = zip(entry.bundle.starts.tolist(), entry.bundle.ends.tolist(), strict=True)
        found += [("results", rows.priority[entry.index[a:b]].tolist()) for a, b in bounds]
    return found, reader


@pytest.mark.parametrize("moved", ["results", "results/s001-1-1.log"])
def test_a_log_that_has_been_moved_gets_no_more_results(rows, tmp_path, moved):
    """Light curves are written where it was: it would name those that are not beside it."""
    output = tmp_path / "output"
    with contextlib.closing(open_writer(rows, output)) as writer:
        writer.append([(100.0, message([1]))])
        before = writer.path.read_bytes()
        (output / moved).rename(tmp_path / "elsewhere")
        for another in (False, True):
            if another:
                writer.path.parent.mkdir(exist_ok=True)
                writer.path.write_bytes(before)
            with pytest.raises(InputError, match=r"s001-1-1.log: has been moved or replaced meanwhile"):
                writer.append([(101.0, message([3]))])
        shutil.rmtree(output / moved, ignore_errors=True)
        (output / moved).unlink(missing_ok=True)
        (tmp_path / "elsewhere").rename(output / moved)
        assert writer.path.read_bytes() == before
        writer.append([(102.0, message([3]))])
    assert entries(log_path(output, CCD), rows)[0] == [("results", [1]), ("results", [3])]


def test_what_is_appended_is_read(written, rows):
    path, data, ends = written
    found, reader = entries(path, rows)
    assert len(found) == 10
    assert found[0] == ("results", [1, 3])
    assert found[6] == ("reset", [1, 3])
    assert reader.end == ends[-1] == len(data)
    assert (reader.version, reader.versions, reader.damage) == (7, {6, 7}, None)


def test_a_reader_follows_a_writer(rows, tmp_path):
    output = tmp_path / "output"
    reader = LogReader(log_path(output, CCD), rows, CCD)
    assert not list(reader.read())
    with contextlib.closing(open_writer(rows, output)) as writer:
        for priority in (1, 5, 9):
            writer.append([(0.0, message([priority]))])
            (group,) = reader.read()
            assert rows.priority[group.index].tolist() == [priority]
            assert not list(reader.read())


def test_a_log_that_ends_at_any_byte_counts_up_to_its_last_whole_record(written, rows, tmp_path):
    """As a kill or a loss of power leaves it; the next run cuts the rest and goes on."""
    path, data, ends = written
    whole, _ = entries(path, rows)
    for size in range(len(data) + 1):
        path.write_bytes(data[:size])
        if size < _HEADER.size:
            with pytest.raises(
                InputError, match=r"s001-1-1\.log: not a log of results, or damaged"
            ) as caught:
                LogReader(path, rows, CCD)
            assert "\n" not in str(caught.value)
            continue
        found, reader = entries(path, rows)
        count = sum(end <= size for end in ends) - 1
        assert found == whole[:count]
        assert reader.damage is None
        assert reader.end == ends[count]
        if size % 7 == 0:
            with contextlib.closing(open_writer(rows, tmp_path / "output")) as writer:
                writer.append([(0.0, message([39]))])
            assert entries(path, rows)[0] == [*whole[:count], ("results", [39])]
            assert not damaged_path(path).exists()


def test_zeros_at_the_end_are_cut(written, rows):
    """A file whose size was on the disk before its content when power was lost."""
    path, data, ends = written
    path.write_bytes(data[: ends[5]] + bytes(10_000))
    found, reader = entries(path, rows)
    assert (len(found), reader.damage) == (5, None)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_flipped_bits_end_what_counts_and_are_named_once(written, rows, caplog, data):
    path, good, ends = written
    path.write_bytes(good)
    whole, _ = entries(path, rows)
    position = data.draw(st.integers(0, len(good) - 1))
    bad = bytearray(good)
    bad[position] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(bad)
    caplog.clear()
    if position < _HEADER.size:
        with pytest.raises(InputError, match=r"s001-1-1\.log: "):
            entries(path, rows)
        return
    found, reader = entries(path, rows)
    count = sum(end <= position for end in ends) - 1
    assert found == whole[:count]
    if count < 9:
        assert reader.damage == ends[count]
        (record,) = caplog.records
        assert f"s001-1-1.log: damaged at byte {ends[count]}; " in record.getMessage()
    else:
        # The last record: as a torn end.
        assert reader.damage is None


def test_a_damaged_log_is_kept_and_gone_on_with(written, rows, tmp_path):
    path, data, ends = written
    bad = bytearray(data)
    bad[ends[4] + 30] ^= 8
    path.write_bytes(bad)
    with contextlib.closing(open_writer(rows, tmp_path / "output")) as writer:
        writer.append([(0.0, message([39]))])
    assert damaged_path(path).read_bytes() == bad
    found, reader = entries(path, rows)
    assert len(found) == 5
    assert found[-1] == ("results", [39])
    assert reader.damage is None


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"x" * 100,
        message([2]),  # of the other CCD
        message([999]),
        message([1], status=0),
        message([1], status=99),
        message([1], elapsed=np.nan),
        message([1])[:-8],
    ],
)
def test_records_that_no_worker_sends_are_damage(written, rows, payload):
    """Although their checksums are right."""
    path, data, ends = written
    path.write_bytes(data[: ends[3]] + pack_record(RESULTS, 0.0, payload) + payload + data[ends[3] :])
    found, reader = entries(path, rows)
    assert len(found) == 3
    assert reader.damage == ends[3]


@pytest.mark.parametrize(
    "payload", [b"", b"123", reset_payload(6, np.array([2])), reset_payload(1000, np.array([1]))]
)
def test_resets_that_no_run_writes_are_damage(written, rows, payload):
    path, data, ends = written
    path.write_bytes(data[: ends[3]] + pack_record(RESET, 0.0, payload) + payload + data[ends[3] :])
    found, reader = entries(path, rows)
    assert len(found) == 3
    assert reader.damage == ends[3]


def test_a_log_of_another_list_is_refused_with_both_names(written, tmp_path):
    path, _, _ = written
    other = make_list(tmp_path / "other", starid=5000 + np.arange(STARS))
    with pytest.raises(InputError) as caught:
        LogReader(path, other, CCD)
    text = str(caught.value)
    assert text.startswith(f"{path}: holds results of another work list than {tmp_path}/other/todo.sqlite; ")
    assert "--output" in text
    # What is known of the same stars may change.
    same = make_list(tmp_path / "same", tmag=10.0, method="halo")
    assert len(entries(path, same)[0]) == 10


def test_what_is_no_regular_file_is_refused(rows, tmp_path):
    path = log_path(tmp_path / "output", CCD)
    path.parent.mkdir(parents=True)
    precious = tmp_path / "precious"
    precious.write_text("mine")
    for make in (lambda: os.mkfifo(path), lambda: path.symlink_to(precious), path.mkdir):
        make()
        with pytest.raises(InputError, match=r"s001-1-1\.log: .*move it away") as caught:
            LogReader(path, rows, CCD)
        assert "\n" not in str(caught.value)
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    assert precious.read_text() == "mine"
    path.parent.rmdir()
    (tmp_path / "elsewhere").mkdir()
    path.parent.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"results: not a folder \(a link\?\)"):
        LogReader(path, rows, CCD)


def test_a_huge_file_of_nothing_takes_no_memory(written, rows):
    """A terabyte of a hole behind the records."""
    path, _, ends = written
    with open(path, "r+b") as file:
        file.truncate(1 << 40)
    tracemalloc.start()
    try:
        found, reader = entries(path, rows)
        assert tracemalloc.get_traced_memory()[1] < 1 << 28
    finally:
        tracemalloc.stop()
    assert (len(found), reader.end, reader.damage) == (10, ends[-1], None)


def test_a_full_disk_leaves_the_log_as_it_was(rows, tmp_path, monkeypatch):
    output = tmp_path / "output"
    with contextlib.closing(open_writer(rows, output)) as writer:
        writer.append([(0.0, message([1]))])
        before = log_path(output, CCD).read_bytes()
        pwrite = os.pwrite
        written = []

        def full(descriptor, data, at):
            if written:
                raise OSError(28, os.strerror(28))
            written.append(pwrite(descriptor, data[:50], at))
            return 50

        monkeypatch.setattr(os, "pwrite", full)
        with pytest.raises(InputError, match=r"s001-1-1\.log: cannot be written \(No space left"):
            writer.append([(0.0, message([3]))])
        monkeypatch.undo()
        assert log_path(output, CCD).read_bytes() == before
        writer.append([(0.0, message([3]))])
    assert [found[1] for found in entries(log_path(output, CCD), rows)[0]] == [[1], [3]]


def test_the_last_result_of_a_star_counts_also_within_a_message(rows, tmp_path):
    """Its skip list, too: an earlier one is forgotten."""
    output = tmp_path / "output"
    with contextlib.closing(open_writer(rows, output)) as writer:
        writer.append([(0.0, message([1, 1, 5], skips={1: [1002]}))])
        again = message([1, 5, 1], status=[1, 2, 1])
        writer.append([(0.0, message([3, 3], skips={3: [1004]})), (0.0, again)])
    state = read_logs(rows, output)
    # Star 1 named nobody the last time; star 3 named star 1004 (priority 5) twice.
    assert state.skip_targets()[0].tolist() == [2]
    assert state.skip_targets()[1].tolist() == [1004]
    assert state.own_status[[0, 2, 4]].tolist() == [1, 1, 2]
    assert state.decide().status[4] == 5


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.lists(st.sampled_from(range(1, 40, 2)), min_size=1), st.booleans()), max_size=8))
def test_reading_in_pieces_is_reading_at_once(rows, tmp_path_factory, steps):
    output = tmp_path_factory.mktemp("output")
    followed, reader = LastResults(rows), LogReader(log_path(output, CCD), rows, CCD)
    with contextlib.closing(open_writer(rows, output)) as writer:
        for priorities, reset in steps:
            if reset:
                writer.reset(np.unique(priorities), 6)
            else:
                writer.append([(0.0, message(priorities, skips={priorities[0]: [1000, 1004]}))])
            followed.read(reader)
    at_once = read_logs(rows, output)
    for one, other in zip(vars(followed.decide()).values(), vars(at_once.decide()).values(), strict=True):
        np.testing.assert_array_equal(one, other)
