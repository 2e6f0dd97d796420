"""SPICE kernels are looked at before SPICE, which ends the process where one is damaged."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tasoc_mpi.core.errors import InputError
from tasoc_mpi.models.barycentre import spice_position
from tasoc_mpi.products.spk import check_kernel

spiceypy = pytest.importorskip("spiceypy")

#: TJD of the states, and seconds from J2000.
TIME = np.linspace(2110.0, 2120.0, 250)
SECONDS = (TIME + 2457000.0 - 2451545.0) * 86400.0


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    """TESS goes round the Earth: states of segment type 9."""
    path = tmp_path / "tess.bsp"
    angle = (TIME - 2110.0) * 2 * np.pi / 13.7
    position = np.stack([2.4e5 * np.cos(angle), 2.4e5 * np.sin(angle), 1e5 + 0 * angle], axis=-1)
    states = np.hstack([position, np.gradient(position, SECONDS, axis=0)])
    handle = spiceypy.spkopn(str(path), "test", 0)
    first, last = SECONDS[0], SECONDS[-1]
    spiceypy.spkw09(handle, -95, 399, "J2000", first, last, "TESS", 7, len(TIME), states, SECONDS)
    spiceypy.spkcls(handle)
    return path


def refused(path: Path, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        spice_position(np.array([2115.0]), path.parent)
    assert str(path) in str(caught.value) or str(path.parent) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "; fetch" in str(caught.value) or "; remove" in str(caught.value)


def test_a_good_kernel(kernel: Path) -> None:
    check_kernel(kernel)
    assert np.linalg.norm(spice_position(np.array([2115.0]), kernel.parent)) == pytest.approx(
        499 / 86400, rel=0.05
    )


def test_types_of_segments(tmp_path: Path) -> None:
    path = tmp_path / "types.bsp"
    handle = spiceypy.spkopn(str(path), "test", 0)
    states = np.tile([1e5, 0.0, 0.0, 0.0, 1.0, 0.0], (250, 1)) + np.arange(250)[:, None]
    first, last = SECONDS[0], SECONDS[-1] - 1.0
    step = SECONDS[1] - SECONDS[0]
    body = (-95, 399, "J2000")
    spiceypy.spkw02(handle, *body, first, first + 20, "2", 10.0, 2, 2, np.ones((2, 9)).ravel(), first)
    spiceypy.spkw03(handle, *body, first, first + 20, "3", 10.0, 2, 2, np.ones((2, 18)).ravel(), first)
    spiceypy.spkw05(handle, *body, first, last, "5", 398600.4, len(states), states, SECONDS)
    spiceypy.spkw08(handle, *body, first, last, "8", 7, len(states), states, first, step)
    spiceypy.spkw09(handle, *body, first, last, "9", 7, len(states), states, SECONDS)
    spiceypy.spkw12(handle, *body, first, last, "12", 7, len(states), states, first, step)
    spiceypy.spkw13(handle, *body, first, last, "13", 7, len(states), states, SECONDS)
    spiceypy.spkcls(handle)
    check_kernel(path)


@pytest.mark.real
def test_the_real_kernel(real: Path) -> None:
    check_kernel(real / "spice" / "earth_sun_moon_tess.bsp")


@pytest.mark.parametrize("word", [-1, -2, 7 * 100])
@pytest.mark.parametrize("value", [np.nan, -2130.0, 1e300, 3.5])
def test_numbers_that_contradict_each_other(kernel: Path, word: int, value: float) -> None:
    """The last two words of the segment are its degree and its number of states."""
    data = bytearray(kernel.read_bytes())
    begin, end = np.frombuffer(data, "<i4", 2, 1024 + 24 + 16 + 16)
    place = 8 * (end + word) if word < 0 else 8 * (begin - 1 + 6 * 250 + 100)
    data[place : place + 8] = np.array([value], "<f8").tobytes()
    kernel.write_bytes(data)
    refused(kernel, "cannot be read as a SPICE kernel")


@pytest.mark.parametrize("place", [76, 1024, 1024 + 16, 1024 + 24 + 16 + 16, 1024 + 24 + 16 + 20])
def test_records_that_lead_elsewhere(kernel: Path, place: int) -> None:
    data = bytearray(kernel.read_bytes())
    data[place : place + 8] = b"\x7f" * 7 + b"\x40" if place in (1024, 1040) else b"\x7f" * 8
    kernel.write_bytes(data)
    refused(kernel, "cannot be read as a SPICE kernel")


@pytest.mark.parametrize("size", [0, 500, 1024, 2048, 5000])
def test_truncated(kernel: Path, size: int) -> None:
    os.truncate(kernel, size)
    refused(kernel, "cannot be read as a SPICE kernel")


def test_no_file_of_its_kind(kernel: Path) -> None:
    kernel.unlink()
    os.mkfifo(kernel)
    refused(kernel, "a named pipe")
