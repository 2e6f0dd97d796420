"""Times, cadence numbers, exclusions by hand, quality flags and checks of a series of frames."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from ffi_files import write_ffi
from hypothesis import given
from hypothesis import strategies as st
from small_files import tpf_name, write_tpf

from tasoc_mpi.core.errors import InputError
from tasoc_mpi.cubes.frame_headers import frame_facts
from tasoc_mpi.cubes.frame_series import excluded_from, read_series, reference_frame
from tasoc_mpi.cubes.frame_times import cadence_number, correct_times, time_offset
from tasoc_mpi.cubes.prepare import prepare_folder
from tasoc_mpi.cubes.tpf_quality import flags_inside, tpf_quality
from tasoc_mpi.products.cube import open_cube
from tasoc_mpi.products.ffi import scan_ffi
from tasoc_mpi.products.tpf_files import TPFInfo


def test_cadence_numbers_before_sector_6() -> None:
    """The frame of sector 1 whose cadence number is known, others a number of half hours away."""
    mid = (1325.317007851970 + 1325.337841177751) / 2 - 3.9072474e-03
    assert cadence_number(None, mid, 1800, 1) == 4697
    assert cadence_number(None, mid + 100 / 48 + 1e-4, 1800, 2) == 4797
    assert cadence_number(None, mid - 7 / 48 - 1e-4, 1800, 1) == 4690
    assert cadence_number(12345, mid, 1800, 1) == 12345
    for sector, cadence in ((6, 1800), (30, 600), (1, 600)):
        with pytest.raises(InputError, match="FFIINDEX"):
            cadence_number(None, mid, cadence, sector)
    with pytest.raises(InputError, match="FFIINDEX"):
        cadence_number("many", mid, 1800, 1)


@pytest.mark.parametrize(
    ("data_rel", "procver", "camera", "ccd", "expected"),
    [
        (1, "spoc-3.3.31-20180902", 1, 1, (-1.969, -1.979, -1.989)),
        (26, None, 2, 1, (-0.469, -0.479, -0.489)),
        (5, None, 3, 2, (-1.449, -1.459, -1.469)),
        (26, "anything", 4, 4, (-0.909, -0.919, -0.929)),
        (27, "spoc-4.0.14-20200108", 1, 4, (-1.909, -1.919, -1.929)),
        (27, "spoc-4.0.15-20200114", 2, 3, (-0.429, -0.439, -0.449)),
        (27, "spoc-4.0.17-20200130", 1, 1, (-1.969, -1.979, -1.989)),
        (29, "spoc-4.0.17-20200130", 4, 4, (-1.969, -1.979, -1.989)),
        (29, "spoc-4.0.20-20200220", 2, 2, (-1.969, -1.979, -1.989)),
        (29, "spoc-4.0.21-20200227", 3, 1, (-1.969, -1.979, -1.989)),
        (27, "spoc-4.0.27-20200401", 2, 2, None),
        (29, "spoc-4.0.30-20200415", 2, 2, None),
        (28, None, 2, 2, None),
        (28, "spoc-4.0.17-20200130", 2, 2, None),
        (30, None, 2, 2, None),
        (42, "spoc-5.0.0", 2, 2, None),
    ],
)
def test_time_offsets_of_early_releases(data_rel, procver, camera, ccd, expected) -> None:
    offset = time_offset(data_rel, procver, camera, ccd)
    if expected is None:
        assert offset is None
    else:
        np.testing.assert_allclose(offset, expected, rtol=0, atol=1e-12)
    times = tuple(np.array([1000.0, 2000.0]) + k for k in (-0.01, 0.0, 0.01))
    *corrected, done = correct_times(*times, data_rel, procver, camera, ccd)
    assert done == (expected is not None)
    for before, after, seconds in zip(times, corrected, expected or (0, 0, 0), strict=True):
        np.testing.assert_allclose((after - before) * 86400, seconds, rtol=0, atol=1e-4)


@pytest.mark.parametrize("data_rel", [27, 29])
@pytest.mark.parametrize("procver", [None, ""])
def test_release_without_version(data_rel: int, procver: str | None) -> None:
    with pytest.raises(InputError, match="without PROCVER"):
        time_offset(data_rel, procver, 1, 1)


def test_real_times_are_those_of_the_later_release() -> None:
    """Sector 1, camera 1, CCD 4: published mid times of release 42 are 1.969 s earlier, after the stagger."""
    offset = time_offset(1, "spoc-3.3.31-20180902", 1, 4)
    assert offset[1] - 0.06 == pytest.approx(-1.969, abs=0.0101)


def test_left_out_by_hand(tmp_path: Path) -> None:
    info = scan_ffi(write_ffi(tmp_path, 0, np.ones((4, 50)), first=(1560, 0)))
    cadence = np.array([4724, 4725, 4725, 11353, 11354, 11366, 11367, 20000])
    start = np.array([1330.0, 1325.88, 1325.89, 1463.9, 1464.3, 1464.5, 1464.6, 1464.0])
    time = np.array([1330.0, 1325.9, 1325.9, 1464.0, 1464.4, 1464.6, 1464.7, 1464.0158778])
    # Science column 1536 is full frame image column 1580, here the 20th.
    mars = [20, 20, 50, 50, 50, 50, 50, 50]
    earth = [50, 50, 50, 50, 0, 0, 50, 0]
    assert excluded_from(1, 4, cadence, start, time, info).tolist() == np.minimum(mars, earth).tolist()
    assert excluded_from(1, 1, cadence, start, time, info).tolist() == earth
    assert excluded_from(2, 4, cadence, start, time, info).tolist() == [50] * 8
    last = scan_ffi(write_ffi(tmp_path / "last", 0, np.ones((4, 50)), first=(1700, 0)))
    assert excluded_from(1, 4, cadence[:1], start[:1], time[:1], last).tolist() == [0]


def test_reference_frame() -> None:
    time = np.arange(10.0)
    good, wcs = np.ones(10, bool), np.ones(10, bool)
    assert reference_frame(time, good, wcs, 3.2) == 3
    assert reference_frame(time, good, wcs, None) == 4
    assert reference_frame(time, good, wcs, -50.0) == 0
    wcs[3] = good[4] = False
    assert reference_frame(time, good, wcs, 3.2) == 2
    assert reference_frame(time, np.zeros(10, bool), wcs, 3.2) == 4


@given(st.data())
def test_flags_of_cadences_that_reach_into_exposures(data) -> None:
    # Multiples of 10 s, so that no overlap is about as long as the 4 s that do not count.
    edges = np.cumsum(data.draw(st.lists(st.integers(1, 300), min_size=2, max_size=12))) * 10.0
    start, stop = edges[:-1], edges[1:] - 10.0 * (np.diff(edges) > 10)
    times = data.draw(st.lists(st.integers(-10, 4000), max_size=30))
    time = 10.0 * np.array(times, dtype="f8")
    length = data.draw(st.sampled_from([20.0, 120.0]))
    bits = st.lists(st.integers(0, 2**16 - 1), min_size=len(times), max_size=len(times))
    quality = np.array(data.draw(bits), dtype="i4")
    flags, covered = flags_inside(start / 86400, stop / 86400, time / 86400, length / 86400, quality)
    for k, (a, b) in enumerate(zip(start, stop, strict=True)):
        overlap = np.minimum(b, time + length / 2) - np.maximum(a, time - length / 2)
        assert covered[k] == (overlap > 5).any()
        assert flags[k] == np.bitwise_or.reduce(quality[overlap > 5], initial=0)


def short_tpf(folder: Path, starid: int, quality: dict[int, int], gap: int | None = None) -> TPFInfo:
    """A target pixel file of 15 cadences of 120 s from 1325.0 on: quality by cadence, one without a time."""
    path = write_tpf(folder / tpf_name(starid), starid, (500, 600), times=15)
    with fits.open(path, mode="update") as hdus:
        table = hdus[1].data
        table["TIME"] = 1325.0 + (np.arange(15) + 0.5) / 720 + 0.001  # TIMECORR is 0.001
        table["QUALITY"] = [quality.get(k, 0) for k in range(15)]
        if gap is not None:
            table["TIME"][gap] = np.nan
    return TPFInfo(path, starid, 1, 120)


def test_flags_of_target_pixel_files(tmp_path: Path) -> None:
    """Frames of 200 s: 120 s cadences reach across their ends."""
    start = 1325.0 + np.arange(9) * 200 / 86400
    stop = start + 200 / 86400
    every = 2**16 - 1
    files = [
        # Cadence 1, from 120 s to 240 s, reaches into the frames 0 and 1; cadence 4, from 480 s, into 2.
        short_tpf(tmp_path, 1, {1: 32, 4: every & ~4096, 10: 4096, 13: 4096}),
        short_tpf(tmp_path, 2, {7: 16384, 10: 4096}, gap=13),
        short_tpf(tmp_path, 3, {10: 4096}, gap=13),
    ]
    quality = tpf_quality(files, (1, 2, 3), start, stop)
    relevant = 1 | 2 | 4 | 8 | 32 | 2048 | 16384
    # Cadence 7 is from 840 s to 960 s, 10 from 1200 s to 1320 s. 13, from 1560 s to 1680 s, reaches into the
    # frames 7 and 8, in which the other files have cadences without the flag.
    assert quality.tolist() == [32, 32, relevant, 0, 16384, 0, 4096, 0, 0]
    # Of one file alone scattered light is that of all files looked at.
    assert tpf_quality(files[:1], (1, 2, 3), start, stop).tolist() == [
        32,
        32,
        relevant,
        0,
        0,
        0,
        4096,
        4096,
        4096,
    ]


def frames(folder: Path, count: int = 4, **cards) -> list[Path]:
    return [write_ffi(folder, t, np.ones((20, 30)), **cards) for t in range(count)]


def test_a_damaged_target_pixel_file_does_not_stop_the_cube(tmp_path: Path, caplog) -> None:
    """Of other files no more headers are read than are needed."""
    (tmp_path / "ffi").mkdir()
    frames(tmp_path / "ffi", camera=2, ccd=3)
    files = [
        write_tpf(tmp_path / tpf_name(starid, 30), starid, (5, 60), cards={"SECTOR": 30})
        for starid in range(1, 9)
    ]
    files[0].write_bytes(b"no FITS")
    files[7].write_bytes(b"no FITS")
    prepare_folder(tmp_path)
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        message for message in caplog.messages if files[0].name in message and "are not used" in message
    ]
    assert files[7].name not in caplog.text


def test_series(tmp_path: Path) -> None:
    paths = frames(tmp_path)
    series = read_series(paths)
    assert len(series) == 4
    assert series.shape == (20, 30)
    assert series.origin == (0, 44)
    np.testing.assert_allclose(np.diff(series.time) * 86400, 600, atol=0.1)
    np.testing.assert_allclose(series.time, (series.time_start + series.time_stop) / 2, atol=1e-9)
    assert series.timecorr.tolist() == [0.002 + 1e-6 * t for t in range(4)]
    assert series.cadenceno.tolist() == [700000, 700001, 700002, 700003]
    assert series.btc_pixel == (1067.0, 1023.0)
    assert series.attributes == {
        "SECTOR": 30,
        "CAMERA": 1,
        "CCD": 1,
        "CADENCE": 600,
        "DATA_REL": 42,
        "PROCVER": "spoc-5.0.0",
        "NUM_FRM": 300,
        "NREADOUT": 240,
        "CRMITEN": True,
        "CRBLKSZ": 10,
        "CRSPOC": False,
        "PIXEL_OFFSET_ROW": 0,
        "PIXEL_OFFSET_COLUMN": 44,
        "TIME_OFFSET_CORRECTED": False,
        "SIMULATD": False,
    }


def test_facts_can_be_sent(tmp_path: Path) -> None:
    """As pickles, and nothing is lost; headers stay here."""
    paths = frames(tmp_path, DQUALITY=32)
    alone = read_series(paths)
    facts = [frame_facts(path) for path in paths]
    got = pickle.loads(pickle.dumps(facts))
    assert got == facts
    there = read_series([], got)
    assert there.infos == alone.infos
    assert there.wcs_headers == alone.wcs_headers
    assert there.attributes == alone.attributes
    for name in ("time", "timecorr", "cadenceno", "quality", "excluded"):
        np.testing.assert_array_equal(getattr(there, name), getattr(alone, name))
    np.testing.assert_array_equal(there.wcs.cd, alone.wcs.cd)


def test_early_release_is_corrected_once_for_all(tmp_path: Path) -> None:
    paths = frames(tmp_path, primary={"DATA_REL": 26}, camera=1)
    series = read_series(paths)
    assert series.attributes["TIME_OFFSET_CORRECTED"] is True
    header = scan_ffi(paths[0]).header
    assert (series.time_start[0] - header["TSTART"]) * 86400 == pytest.approx(-1.969, abs=1e-4)
    assert (series.time_stop[0] - header["TSTOP"]) * 86400 == pytest.approx(-1.989, abs=1e-4)
    mid = (header["TSTART"] + header["TSTOP"]) / 2
    assert (series.time[0] - mid) * 86400 == pytest.approx(-1.979, abs=1e-4)


def test_unknown_settings_stay_unknown(tmp_path: Path) -> None:
    """A header without the card does not say that cosmic rays were left in."""
    unknown = {"CRMITEN": None, "CRSPOC": None}
    frames(tmp_path, 3, primary=unknown)
    (summary,) = prepare_folder(tmp_path)
    attributes = open_cube(summary.path).attributes
    assert {key: attributes[key] for key in unknown} == unknown


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"NUM_FRM": 900}, "CADENCE is 1800"),
        ({"NREADOUT": 300}, "NREADOUT is 300"),
        ({"BACKAPP": True}, "BACKAPP is True"),
        ({"primary": {"DATA_REL": 43}}, "DATA_REL is 43"),
        ({"primary": {"PROCVER": "spoc-6.0.0"}}, "PROCVER is spoc-6.0.0"),
        ({"primary": {"CRMITEN": False}}, "CRMITEN is False"),
        ({"primary": {"CRMITEN": None}}, "CRMITEN is missing, but True in tess"),
        ({"primary": {"CRBLKSZ": 5}}, "CRBLKSZ is 5"),
        ({"primary": {"CRSPOC": True}}, "CRSPOC is True"),
        ({"first": (45, 0)}, r"from \(column, row\) \(45, 0\) on"),
        ({"first": (44, 3)}, r"from \(column, row\) \(44, 3\) on"),
        ({"TSTART": 2115.9}, "1973.0 s from TSTART to TSTOP, but 600.0 s in other frames"),
        ({"TSTART": None, "primary": {"TSTART": None}}, "TSTART"),
        ({"DQUALITY": None}, "DQUALITY"),
        ({"NUM_FRM": None}, "NUM_FRM"),
        ({"primary": {"FFIINDEX": None}}, "FFIINDEX"),
    ],
)
def test_foreign_frame_is_named(tmp_path: Path, change, words) -> None:
    paths = frames(tmp_path, 3)
    paths[2].unlink()
    write_ffi(tmp_path, 2, np.ones((20, 30)), **change)
    with pytest.raises(InputError, match=words) as error:
        read_series(paths)
    assert "\n" not in str(error.value)
    assert str(paths[2]) in str(error.value)


def test_frame_of_another_size_is_named(tmp_path: Path) -> None:
    paths = [*frames(tmp_path, 2), write_ffi(tmp_path, 2, np.ones((21, 30)))]
    with pytest.raises(InputError, match="21 x 30 pixels") as error:
        read_series(paths)
    assert str(paths[2]) in str(error.value)


def test_out_of_order(tmp_path: Path) -> None:
    """Names in order, times not: frames are taken in the order of their times."""
    paths = frames(tmp_path, 4)
    paths[1].rename(tmp_path / "x")
    paths[2].rename(paths[1])
    (tmp_path / "x").rename(paths[2])
    series = read_series(paths)
    assert [info.path for info in series.infos] == [paths[0], paths[2], paths[1], paths[3]]
    assert series.cadenceno.tolist() == [700000, 700001, 700002, 700003]


@pytest.mark.parametrize(
    "cards",
    [
        {"CD1_1": 0.0, "CD1_2": 0.0},
        {"CRVAL1": None},
        {"CRPIX2": None},
        {"CTYPE1": None},
        {"A_2_0": 1e-2, "B_0_2": -1e-2},
    ],
)
def test_wcs_that_does_not_invert(tmp_path: Path, caplog, cards) -> None:
    paths = frames(tmp_path, 3)
    paths[1].unlink()
    write_ffi(tmp_path, 1, np.ones((20, 30)), **cards)
    series = read_series(paths)
    assert series.wcs.good.tolist() == [True, False, True]
    assert [bool(text) for text in series.wcs_headers] == [True, False, True]
    assert paths[1].name in caplog.text
    for path in paths:
        path.unlink()
    with pytest.raises(InputError, match="neither it nor another of the 3 frames"):
        read_series(frames(tmp_path, 3, **cards))
