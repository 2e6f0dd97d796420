"""SPK kernels, looked at before SPICE opens them: it ends the process, or never ends, where one is damaged.

The layout is that of NAIF's "SPK Required Reading" and "DAF Required Reading".
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.input_files import InputFile

__all__ = ["check_kernel"]

_RECORD = 1024
_WAY_OUT = "fetch it again, or remove it"
#: Numbers of a summary: two times, and six integers in three of their size.
_SUMMARY = 5
#: Degree of an interpolation at most.
_MAX_DEGREE = 27


def check_kernel(path: Path) -> None:
    """Refuse a kernel whose records contradict each other.

    Parameters
    ----------
    path : Path

    Raises
    ------
    MissingInput, InputError
        If it is not there, cannot be read, or is damaged.
    """
    with InputFile(path) as file:
        head = file.read_at(0, _RECORD)
        order = {b"LTL-IEEE": "<", b"BIG-IEEE": ">"}.get(head[88:96])
        if len(head) < _RECORD or not head.startswith((b"DAF/SPK ", b"NAIF/DAF")) or order is None:
            raise _damaged(path, "its first record is not one of an SPK file")
        if file.packed:
            raise InputError(f"{path}: packed; unpack it with gunzip, SPICE reads it where it is")
        kinds = tuple(int(n) for n in np.frombuffer(head, f"{order}i4", 2, 8))
        first = int(np.frombuffer(head, f"{order}i4", 1, 76)[0])
        if kinds != (2, 6):
            raise _damaged(path, f"summaries of {kinds[0]} numbers and {kinds[1]} integers")
        # Records are chained; no chain is longer than the file.
        records, record, seen = file.size // _RECORD, first, 0
        while record:
            if not 1 < record <= records or seen > records:
                raise _damaged(path, f"record {record} of {records} in its chain of summaries")
            data = file.read_at((record - 1) * _RECORD, _RECORD)
            values = np.frombuffer(data, f"{order}f8")
            count, seen = values[2], seen + 1
            if not 0 <= count <= (len(values) - 3) // _SUMMARY or not 0 <= values[0] <= records:
                raise _damaged(path, f"{count:g} summaries in record {record}, next record {values[0]:g}")
            for i in range(int(count)):
                place = 8 * (3 + i * _SUMMARY)
                numbers = np.frombuffer(data, f"{order}i4", 6, place + 16)
                times = np.frombuffer(data, f"{order}f8", 2, place)
                _check_segment(file, path, order, numbers, times)
            record = int(values[0])
        if not seen:
            raise _damaged(path, "no summaries in it")


def _check_segment(
    file: InputFile, path: Path, order: str, numbers: NDArray[np.int32], times: NDArray[np.float64]
) -> None:
    """One segment: (target, centre, frame, type, first, last word) and its times."""
    kind, begin, end = (int(n) for n in numbers[3:])
    length = end - begin + 1
    if not (0 < begin < end <= file.size // 8 and np.isfinite(times).all() and times[0] <= times[1]):
        raise _damaged(path, f"a segment from word {begin} to {end} of {file.size // 8}")
    last = np.frombuffer(file.read_at(8 * (end - 4), 32), f"{order}f8")
    if len(last) < 4 or not np.isfinite(last[3]) or not 1 <= last[3] <= length:
        raise _damaged(path, f"a segment of type {kind} without its last numbers")
    count, whole = int(last[3]), True
    degree = float(last[2]).is_integer() and 1 <= last[2] <= _MAX_DEGREE
    if kind in (2, 3):
        # Intervals of Chebyshev coefficients: begin, length, size of a record.
        whole = last[1] > 0 and last[2] * count + 4 == length
    elif kind in (8, 12):
        # States in equal steps: begin, step, degree.
        whole = last[1] > 0 and degree and 6 * count + 4 == length
    elif kind in (5, 9, 13):
        # States, their epochs, every hundredth epoch.
        whole = 7 * count + (count - 1) // 100 + 2 == length and (kind == 5 or degree)
        epochs = np.frombuffer(file.read_at(8 * (begin - 1 + 6 * count), 8 * count), f"{order}f8")
        whole = whole and bool(np.isfinite(epochs).all() and (np.diff(epochs) > 0).all())
    elif kind == 1:
        # Records of modified differences, their epochs, every hundredth epoch.
        whole = 72 * count + count // 100 + 1 == length
    elif kind == 21:
        # The same with records of any size.
        whole = last[2] >= 1 and (4 * last[2] + 12) * count + count // 100 + 2 == length
    if not whole:
        raise _damaged(
            path, f"a segment of type {kind} of {length} words, with the last ones {last.tolist()}"
        )


def _damaged(path: Path, what: str) -> InputError:
    return InputError(f"{path}: cannot be read as a SPICE kernel ({what}); {_WAY_OUT}")
