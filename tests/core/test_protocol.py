"""Messages come back as they were sent, and what is not a message is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasoc_mpi.core.messages import (
    DIAGNOSTICS,
    RESULT_DTYPE,
    TASK_DTYPE,
    ProtocolError,
    Results,
    pack_number,
    pack_results,
    pack_tasks,
    unpack_number,
    unpack_results,
    unpack_tasks,
)

INT64 = st.integers(-(2**63), 2**63 - 1)
INT32 = st.integers(-(2**31), 2**31 - 1)
TEXT = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@st.composite
def results(draw) -> Results:
    n = draw(st.integers(0, 5))
    numbers = np.zeros(n, RESULT_DTYPE)
    skips = []
    for row in numbers:
        row["priority"], row["status"] = draw(INT64), draw(INT32)
        for name in ("elaptime", "worker_wait_time", *DIAGNOSTICS):
            row[name] = draw(st.floats())
        mine = draw(st.lists(INT64, max_size=4))
        row["skip_count"] = len(mine)
        skips += mine
    texts = [[draw(TEXT) for _ in range(n)] for _ in range(3)]
    return Results(numbers, *texts, np.array(skips, dtype=np.int64))


@given(results())
def test_results_round_trip(sent):
    got = unpack_results(pack_results(sent))
    for name in ("priority", "status", "elaptime", "worker_wait_time", "skip_count", *DIAGNOSTICS):
        np.testing.assert_array_equal(got.numbers[name], sent.numbers[name])
    assert list(got.lightcurve) == list(sent.lightcurve)
    assert list(got.method_used) == list(sent.method_used)
    assert list(got.errors) == list(sent.errors)
    np.testing.assert_array_equal(got.skips, sent.skips)


@given(results(), st.data())
def test_results_of_another_length_are_refused(sent, data):
    message = pack_results(sent)
    cut = data.draw(st.integers(0, len(message) - 1))
    with pytest.raises(ProtocolError):
        unpack_results(message[:cut])
    with pytest.raises(ProtocolError):
        unpack_results(message + b"\0")


@given(results().filter(lambda r: len(r) > 0), st.integers(0, 31), st.integers(1, 255))
def test_results_with_a_damaged_head_are_refused(sent, place, change):
    message = bytearray(pack_results(sent))
    message[place] ^= change
    with pytest.raises(ProtocolError):
        unpack_results(message)


def test_results_whose_lengths_do_not_add_up_are_refused():
    numbers = np.zeros(1, RESULT_DTYPE)
    sent = bytearray(pack_results(Results(numbers, ["a"], ["b"], ["c"], np.zeros(0, np.int64))))
    at = 32 + RESULT_DTYPE.fields["errors_size"][1]
    sent[at : at + 4] = np.int32(7).tobytes()
    with pytest.raises(ProtocolError, match="add up"):
        unpack_results(sent)
    numbers["skip_count"] = 2
    with pytest.raises(ProtocolError, match="counts differ"):
        pack_results(Results(numbers, ["a"], ["b"], ["c"], np.zeros(0, np.int64)))


def test_a_lone_surrogate_is_escaped():
    numbers = np.zeros(1, RESULT_DTYPE)
    sent = Results(numbers, [None], ["aperture"], ["no file \udcff"], np.zeros(0, np.int64))
    assert unpack_results(pack_results(sent)).errors == ["no file \\udcff"]


@given(st.lists(st.tuples(INT64, INT64, INT32, INT32, INT32, INT32), max_size=5), st.integers(0, 9999999999))
def test_tasks_round_trip(rows, starid):
    sent = np.zeros(len(rows), TASK_DTYPE)
    for task, row in zip(sent, rows, strict=True):
        for name, value in zip(TASK_DTYPE.names, row, strict=False):
            task[name] = value
    sent["datasource"] = f"tpf:{starid}"
    message = pack_tasks(sent)
    got = unpack_tasks(message)
    assert got.dtype == TASK_DTYPE
    assert (got == sent).all()
    with pytest.raises(ProtocolError):
        unpack_tasks(message[:-1])
    with pytest.raises(ProtocolError):
        unpack_tasks(b"")


def test_the_longest_datasource_fits():
    # TIC ids have at most eleven digits in file names; a 64-bit number has nineteen.
    longest = f"tpf:{2**63 - 1}"
    tasks = np.zeros(1, TASK_DTYPE)
    tasks["datasource"] = longest
    assert unpack_tasks(pack_tasks(tasks))["datasource"][0].decode() == longest


@pytest.mark.parametrize("exit_status", [0, 1, 2, 130])
def test_stop_carries_the_exit_status(exit_status):
    assert unpack_number(pack_number(exit_status)) == exit_status
    with pytest.raises(ProtocolError):
        unpack_number(pack_number(exit_status)[:-8])
    with pytest.raises(ProtocolError):
        unpack_number(b"\0" * 32)
