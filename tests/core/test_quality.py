"""Quality flags: bits, names and masks."""

import numpy as np
import pytest

from tasoc_mpi.core.quality import TESSQualityFlags, exposures_reached

#: The mission's bits (TESS Science Data Products Description Document; from 8192 on, data release notes).
BITS = {
    1: "Attitude tweak",
    2: "Safe mode",
    4: "Spacecraft in coarse point",
    8: "Spacecraft in Earth point",
    16: "Reaction wheel zero crossing",
    32: "Reaction wheel desaturation event",
    64: "Cosmic ray in optimal aperture pixel",
    128: "Manual exclude",
    256: "Sudden sensitivity dropout",
    512: "Impulsive outlier",
    1024: "Cosmic ray in collateral data",
    2048: "Earth, Moon or other planet in camera field of view",
    4096: "Scattered light",
    8192: "Planet search exclude",
    16384: "Bad calibration exclude",
    32768: "Insufficient targets for error correction",
}


def test_every_bit_of_the_mission_has_a_name():
    assert TESSQualityFlags.STRINGS == BITS
    assert TESSQualityFlags.decode(2**16 - 1) == list(BITS.values())
    assert TESSQualityFlags.decode(16384 | 8) == [BITS[8], BITS[16384]]
    assert TESSQualityFlags.decode(0) == []


@pytest.mark.parametrize(
    ("mask", "bits"),
    [
        (TESSQualityFlags.DEFAULT_BITMASK, {1, 2, 4, 8, 32, 64, 128, 4096, 16384}),
        (TESSQualityFlags.HARD_BITMASK, {1, 2, 4, 8, 32, 64, 128, 4096, 16384, 256, 1024}),
        (TESSQualityFlags.FFI_RELEVANT_BITMASK, {1, 2, 4, 8, 32, 2048, 16384}),
        (TESSQualityFlags.FFI_RELEVANT_IF_COMMON_BITMASK, {4096}),
    ],
)
def test_masks(mask, bits):
    assert {bit for bit in BITS if mask & bit} == bits
    assert mask == sum(bits)
    values = np.array(list(BITS))
    assert TESSQualityFlags.filter(values, mask).tolist() == [bit not in bits for bit in BITS]


def test_cadences_reach_into_the_exposures_around_their_ends():
    """Exposures of 200 s with a gap of 100 s after the second; cadences of 120 s."""
    start = np.array([0.0, 200.0, 500.0]) / 86400
    stop = start + 200 / 86400
    middle = np.array([60.0, 180.0, 300.0, 420.0, 457.0, 660.0, 900.0, -200.0]) / 86400
    first, last = exposures_reached(start, stop, middle, 120 / 86400)
    reached = [list(range(a, b)) for a, b in zip(first, last, strict=True)]
    assert reached == [[0], [0, 1], [1], [1], [2], [2], [], []]
    # 3 s of a cadence in an exposure are the uncertainty of their times.
    first, last = exposures_reached(start, stop, np.array([137.0 + 6, 137.0 + 8]) / 86400, 120 / 86400)
    assert (first.tolist(), last.tolist()) == ([0, 0], [1, 2])
