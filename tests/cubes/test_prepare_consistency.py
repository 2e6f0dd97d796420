"""One frame a cadence, and headers that cannot be true, told by the frames around them."""

from __future__ import annotations

import csv
import gzip
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.time import Time
from ffi_files import START, STEP, ffi_name, wcs_cards, write_ffi
from hypothesis import given
from hypothesis import strategies as st

from tasoc_mpi import cli
from tasoc_mpi.core.errors import InputError
from tasoc_mpi.cubes.consistency import majority, one_a_cadence, times_that_do_not_fit
from tasoc_mpi.cubes.frame_headers import FrameFacts, frame_facts
from tasoc_mpi.cubes.frame_series import read_series
from tasoc_mpi.cubes.prepare import prepare_folder
from tasoc_mpi.models.barycentre import earth_position, light_time
from tasoc_mpi.products.cube import open_cube
from tasoc_mpi.products.ffi import find_ffis, name_time
from tasoc_mpi.products.processing import file_rank, processing
from tasoc_mpi.stars.footprints import find_fields

PIXELS = np.ones((20, 30))


def frames(folder: Path, count: int = 15, **cards) -> list[Path]:
    return [write_ffi(folder, t, PIXELS, **cards) for t in range(count)]


def replace_frame(folder: Path, t: int, **cards) -> Path:
    """Frame `t` with other cards."""
    (folder / ffi_name(t)).unlink()
    return write_ffi(folder, t, PIXELS, **cards)


def found(folder: Path) -> list[Path]:
    (paths,) = find_ffis(folder).values()
    return paths


# One frame a cadence


@pytest.mark.parametrize(
    ("newer", "older"),
    [
        ({"DATA_REL": 43}, {"DATA_REL": 42, "DATE": "2030-01-01", "PROCVER": "spoc-9.9.9-20300101"}),
        ({"PROCVER": "spoc-5.0.10-20210101"}, {"PROCVER": "spoc-5.0.9-20211231", "DATE": "2030-01-01"}),
        ({"DATE": "2021-02-03"}, {"DATE": "2021-02-02"}),
        ({"DATE": "2021-02-03"}, {"DATE": None}),
        ({"DATE": "2021-02-03"}, {"DATE": "unknown"}),
        ({"DATE": "2021-02-03T01:02:03"}, {"DATE": "2021-02-03"}),
    ],
)
@pytest.mark.parametrize("newer_first", [True, False])
def test_the_newest_processing_is_taken(tmp_path: Path, caplog, newer, older, newer_first) -> None:
    """In a later data release, of a later version, made at a later date, in this order."""
    first, second = (newer, older) if newer_first else (older, newer)
    for t in range(4):
        write_ffi(tmp_path / "a", t, PIXELS, primary=first)
        write_ffi(tmp_path / "b", t, PIXELS, primary=second)
    series = read_series(found(tmp_path))
    taken, left = ("a", "b") if newer_first else ("b", "a")
    assert [info.path.parent.name for info in series.infos] == [taken] * 4
    assert series.cadenceno.tolist() == [700000 + t for t in range(4)]
    assert f"/{left}/{ffi_name(0)}: left out, {tmp_path}/{taken}/{ffi_name(0)} is of the same" in caplog.text


def test_copies_are_taken_once(tmp_path: Path, caplog) -> None:
    """Plain beside packed, in other folders, linked, and listed twice."""
    paths = frames(tmp_path / "x", 4)
    (tmp_path / "deeper" / "copies").mkdir(parents=True)
    shutil.copy(paths[0], tmp_path / "deeper" / "copies")
    (tmp_path / "x" / f"{paths[1].name}.gz").write_bytes(gzip.compress(paths[1].read_bytes()))
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / paths[2].name).symlink_to(paths[2])
    hidden = tmp_path / "x" / ".ipynb_checkpoints"
    hidden.mkdir()
    shutil.copy(paths[3], hidden)
    series = read_series(found(tmp_path))
    assert [info.path.name for info in series.infos] == [path.name for path in paths]
    assert [info.path for info in series.infos][:2] == paths[:2]
    assert len(series.left_out) == 3
    assert ".ipynb_checkpoints" not in caplog.text
    twice = read_series([*paths, *paths])
    assert [info.path for info in twice.infos] == paths


def test_many_copies_are_counted(tmp_path: Path, caplog) -> None:
    for path in frames(tmp_path / "a", 12):
        (tmp_path / "b").mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / "b")
    assert len(read_series(found(tmp_path))) == 12
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 6
    assert "and 7 more like these, 12 in all" in caplog.text


def test_a_frame_with_a_wcs_is_taken_before_a_newer_one_without(tmp_path: Path) -> None:
    frames(tmp_path / "a", 4)
    write_ffi(tmp_path / "b", 1, PIXELS, primary={"DATE": "2030-01-01"}, CTYPE1=None)
    series = read_series(found(tmp_path))
    assert [info.path.parent.name for info in series.infos] == ["a"] * 4
    assert series.wcs.good.all()


def test_half_of_the_frames_in_a_newer_release_are_still_an_error(tmp_path: Path) -> None:
    """The frames of a cube are of one processing."""
    frames(tmp_path / "a", 5)
    write_ffi(tmp_path / "b", 1, PIXELS, primary={"DATA_REL": 43})
    with pytest.raises(InputError, match=f"/b/{ffi_name(1)}: DATA_REL is 43, but 42 in"):
        read_series(found(tmp_path))


@given(st.lists(st.integers(0, 40), min_size=1, max_size=30), st.integers(0, 2**32))
def test_one_of_every_cadence_in_order_of_time(cadences: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    mid = 2000 + np.array(cadences) / 48 + rng.uniform(-2, 2, len(cadences)) / 86400
    ranks = rng.permutation(len(cadences))
    chosen, others = one_a_cadence(mid, 1800.0, lambda t: (int(ranks[t]),))
    assert [cadences[t] for t in chosen] == sorted(set(cadences))
    assert sorted([*chosen, *others]) == list(range(len(cadences)))
    for t, best in others.items():
        assert cadences[t] == cadences[best]
        assert ranks[t] < ranks[best]


def test_order_of_files_of_one_processing() -> None:
    order = [
        "b/tess2018256185940-s0002-1-1-0121-s_ffic.fits.gz",
        "z/x/tess2018256185940-s0002-1-1-0121-s_ffic.fits",
        "b/tess2018256185940-s0002-1-1-0121-s_ffic.fits",
        "a/tess2018256185940-s0002-1-1-0121-s_ffic.fits",
        "b/tess2018256185941-s0002-1-1-0120-s_ffic.fits.gz",
        "b/tess2018256185941-s0002-1-1-0121-s_ffic.fits.gz",
    ]
    assert sorted(order[3:] + order[:3], key=lambda path: file_rank(Path(path))) == order


def test_what_a_header_says_of_the_processing() -> None:
    assert processing({"DATA_REL": 1, "PROCVER": "spoc-3.3.31-20180902", "DATE": "2018-09-05"}) == (
        1,
        (3, 3, 31, 20180902),
        "2018-09-05",
    )
    assert processing({}) == (-1, (), "")
    assert processing({"DATA_REL": True, "PROCVER": 5, "DATE": 7}) == (-1, (5,), "")


@pytest.mark.real
def test_real_frames_that_are_there_twice(real: Path, caplog) -> None:
    """298 frames of sector 2 are in the public bucket twice, on every CCD."""
    facts = real_facts(real, "0002")
    assert len(facts) == 1543
    series = read_series([], facts)
    assert len(series) == len(facts) - 298 == 1245
    step = np.diff(series.time - series.timecorr) * 86400
    assert step.min() > 1790
    assert np.diff(series.cadenceno).min() == 1
    # Of names a second apart the later one is taken.
    left, taken = (info.name for info in series.left_out[0])
    assert left == "tess2018256185940-s0002-1-1-0121-s_ffic.fits"
    assert taken == "tess2018256185941-s0002-1-1-0121-s_ffic.fits"
    assert "and 293 more like these, 298 in all" in caplog.text
    assert "BARYCORR" not in caplog.text


@pytest.mark.real
@pytest.mark.parametrize("sector", ["0002", "0058"])
def test_real_times_and_corrections_are_believed(real: Path, caplog, sector: str) -> None:
    """What can be told from names, starts and BARYCORR of 1,543 and 11,704 frames."""
    facts = real_facts(real, sector)
    series = read_series([], facts)
    assert "BARYCORR" not in caplog.text
    given = {fact.info.name: fact.numbers[2] for fact in facts}
    assert series.timecorr.tolist() == [given[info.name] for info in series.infos]


def real_facts(real: Path, sector: str) -> list[FrameFacts]:
    """Headers of the frames of camera 1, CCD 1 as far as the catalog of the public bucket has them."""
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [
        row
        for row in parquet.read_table(real / f"names/tess-s{sector}-spoc-ffi-catalog.parquet").to_pylist()
        if (row["camera"], row["ccd"]) == (1, 1)
    ]
    crop = next((real / "ffi").glob("*.fits"))
    template = frame_facts(crop.parent / crop.name) if crop.name.endswith("ffic.fits") else None
    if template is None:
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder, crop.name.replace(".crop", ""))
            copy.symlink_to(crop)
            template = frame_facts(copy)
    start, stop = (
        Time([row[key] for row in rows], scale="utc").tdb.jd - 2457000 for key in ("start", "stop")
    )
    cadence = 1800 if sector == "0002" else 200
    # Any direction with these corrections will do: that of the camera, from the change of the correction.
    settings = {**template.settings, "SECTOR": int(sector), "CADENCE": cadence}
    cards = {**template.wcs_cards, **best_direction(start, np.array([row["barycorr"] for row in rows]))}
    facts = []
    for t, row in enumerate(rows):
        name = row["path"].rsplit("/", 1)[1]
        info = replace(template.info, path=Path("/data") / name, sector=int(sector))
        index = np.nan if sector == "0002" else 1000 + round((start[t] - start[0]) * 86400 / cadence)
        numbers = (start[t], stop[t], row["barycorr"], index, float(row["quality"]))
        facts.append(replace(template, info=info, settings=settings, numbers=numbers, wcs_cards=cards))
    return facts


def best_direction(time: np.ndarray, barycorr: np.ndarray) -> dict[str, float]:
    """CRVAL of the direction whose light times from the Earth are the given ones, by least squares."""
    x, *_ = np.linalg.lstsq(earth_position(time - barycorr), barycorr, rcond=None)
    x /= np.linalg.norm(x)
    return {
        "CRVAL1": float(np.rad2deg(np.arctan2(x[1], x[0])) % 360),
        "CRVAL2": float(np.rad2deg(np.arcsin(x[2]))),
    }


def test_a_cube_of_frames_that_are_there_twice(tmp_path: Path, caplog) -> None:
    """Names and starts as in the public bucket: six cadences of sector 2, each of them twice."""
    stamps = ["185940", "185941", "192940", "192941", "195940", "195941"]
    stamps += ["202940", "202941", "205940", "205941", "212940", "212941"]
    rng = np.random.default_rng(0)
    for k, stamp in enumerate(stamps):
        begin = START + (k // 2) / 48 + 0.8 * (k % 2) / 86400
        cards = {"NUM_FRM": 900, "TSTART": begin + 0.002, "TSTOP": begin + 1 / 48 + 0.002, "BARYCORR": 0.002}
        path = write_ffi(
            tmp_path,
            k,
            100 + rng.normal(0, 1, (64, 64)),
            sector=2,
            primary={"FFIINDEX": None},
            **cards,
        )
        path.rename(tmp_path / f"tess2018256{stamp}-s0002-1-1-0121-s_ffic.fits")
    assert cli.main(["prepare", str(tmp_path)]) == 0
    cube = open_cube(tmp_path / "sector002_camera1_ccd1.hdf5")
    assert [name[11:17] for name in cube.frames] == stamps[1::2]
    assert np.diff(cube.cadenceno).tolist() == [1] * 5
    assert caplog.text.count("left out, ") == 5
    assert "and 1 more like these, 6 in all" in caplog.text
    with open(tmp_path / "sector002_camera1_ccd1.frames.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["decision"].startswith("left out: same cadence as tess2018256") for row in rows] == (
        [False] * 6 + [True] * 6
    )


# Times


@pytest.mark.parametrize("t", [0, 1, 7, 13, 14])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"TSTOP": 0.0}, "TSTOP 0 is not after TSTART"),
        ({"TSTART": 0.0, "TSTOP": STEP}, "TSTART 0 is no time at which TESS observed"),
        ({"TSTART": START - 662, "TSTOP": START - 662 + STEP}, "do not fit together"),
        ({"TSTART": START + 300, "TSTOP": START + 300 + STEP}, "do not fit together"),
        ({"TSTOP": START + 9}, "s from TSTART to TSTOP, but 600.0 s in other frames"),
        ({"TSTOP": 1e300}, "no time at which TESS observed"),
        ({"primary": {"FFIINDEX": 3}}, "FFIINDEX 3 do not fit together"),
        ({"primary": {"FFIINDEX": 700000 + 40}}, "do not fit together"),
        ({"primary": {"FFIINDEX": 2**40}}, "FFIINDEX = 1099511627776 in its header, not an integer"),
        ({"primary": {"FFIINDEX": "many"}}, "no number in header card FFIINDEX"),
        ({"primary": {"FFIINDEX": 700000.5}}, "not an integer"),
        ({"DQUALITY": 2**31}, "DQUALITY = 2147483648 in its header, not an integer"),
        ({"DQUALITY": -1}, "DQUALITY = -1"),
        ({"DQUALITY": 1.5}, "DQUALITY = 1.5"),
        ({"NUM_FRM": 10**12}, "NUM_FRM = 1000000000000"),
        ({"NUM_FRM": 0}, "a cadence of 0 s"),
        ({"FRAMETIM": 1e9}, "a cadence of"),
        ({"NREADOUT": 2**40}, "NREADOUT"),
        ({"primary": {"DATA_REL": -3}}, "DATA_REL = -3"),
        ({"primary": {"CRBLKSZ": 1e30}}, "CRBLKSZ = 1e"),
    ],
)
def test_headers_that_cannot_be_true_are_named(tmp_path: Path, t: int, change, words: str) -> None:
    """The file that is wrong is the one that is named, wherever it is in the series."""
    paths = frames(tmp_path)
    replace_frame(tmp_path, t, **change)
    with pytest.raises(InputError) as error:
        read_series(paths)
    message = str(error.value)
    assert message.startswith(f"{paths[t]}: ")
    assert words in message
    assert "\n" not in message
    assert message.endswith("remove it")


def test_times_are_compared_with_names_where_there_are_no_numbers() -> None:
    """Sectors before the sixth have no FFIINDEX."""
    mid = 1355.0 + np.arange(30) / 48
    none = np.full(30, np.nan)
    clock = mid - 1000
    assert not times_that_do_not_fit(mid, [none, clock], 1800).any()
    wrong = mid.copy()
    wrong[[4, 20]] += [0.5, -662]
    assert np.flatnonzero(times_that_do_not_fit(wrong, [none, clock], 1800)).tolist() == [4, 20]
    assert not times_that_do_not_fit(mid, [none, none], 1800).any()
    # A clock that does not run tells nothing, whatever it is.
    assert not times_that_do_not_fit(mid, [none, np.arange(30) * 1e-5], 1800).any()


def test_a_restart_of_the_instrument_is_no_error() -> None:
    """After a gap, cadences need not begin at multiples of those before."""
    number = np.concatenate([np.arange(100), np.arange(150, 300)])
    mid = 1400 + number / 48
    mid[100:] += 700 / 86400
    assert not times_that_do_not_fit(mid, [number / 48], 1800).any()


def test_times_in_names() -> None:
    first = name_time("tess2018256185940-s0002-1-1-0121-s_ffic.fits")
    second = name_time("tess2018257185941-s0002-1-1-0121-s_ffic.fits.gz")
    assert (second - first) * 86400 == pytest.approx(86401)
    assert np.isnan(name_time("tess9999999999999-s0002-1-1-0121-s_ffic.fits"))
    assert np.isnan(name_time("hlsp_tica_tess_ffi_s0027-o1-00116470-cam1-ccd1_tess_v01_img.fits"))


# Barycentric correction


@pytest.mark.parametrize("value", [9.0, -0.002, 0.0, None, "soon", 0.002 + 30 / 86400, 0.002 + 4 / 86400])
@pytest.mark.parametrize("t", [0, 6, 14])
def test_barycorr_comes_from_the_neighbours_and_the_ephemeris(tmp_path: Path, caplog, value, t) -> None:
    paths = true_frames(tmp_path)
    truth = read_series(paths).timecorr.copy()
    assert "BARYCORR" not in caplog.text
    name = ffi_name(t)
    with fits.open(tmp_path / name, mode="update") as hdus:
        if value is None:
            del hdus[1].header["BARYCORR"]
        else:
            hdus[1].header["BARYCORR"] = value
    series = read_series(paths)
    np.testing.assert_allclose(series.timecorr * 86400, truth * 86400, rtol=0, atol=0.002)
    assert f"{name}: its BARYCORR is missing or cannot be true" in caplog.text
    np.testing.assert_array_equal(np.delete(series.timecorr, t), np.delete(truth, t))


def test_no_frame_with_barycorr_has_it_from_the_earth(tmp_path: Path, caplog) -> None:
    paths = true_frames(tmp_path)
    truth = read_series(paths).timecorr.copy()
    for path in paths:
        fits.delval(path, "BARYCORR", 1)
    series = read_series(paths)
    np.testing.assert_allclose(series.timecorr * 86400, truth * 86400, rtol=0, atol=1.6)
    assert "15 in all" in caplog.text


def true_frames(folder: Path) -> list[Path]:
    """Frames with the corrections of their times, and half a second of a spacecraft that moves away."""
    ra, dec = 60.0, -30.0
    start = START + np.arange(15) * STEP
    corr = light_time(earth_position(start + STEP / 2), ra, dec) + (0.5 + 0.001 * np.arange(15)) / 86400
    paths = []
    for t in range(15):
        cards = {"TSTART": start[t] + corr[t], "TSTOP": start[t] + STEP + corr[t], "BARYCORR": corr[t]}
        # The place that the correction is for is the reference pixel.
        path = write_ffi(folder, t, PIXELS, CRVAL1=ra, BTC_PIX1=1045.0, BTC_PIX2=1001.0, **cards)
        paths.append(path)
    return paths


# World coordinates


@pytest.mark.parametrize("t", [0, 7, 14])
@pytest.mark.parametrize(
    ("cards", "words"),
    [
        ({"CTYPE1": None}, "CTYPE1 is missing"),
        ({"CTYPE2": None}, "CTYPE2 is missing"),
        ({"CTYPE1": fits.card.UNDEFINED}, "its projection is None, DEC--TAN-SIP"),
        ({"CTYPE2": "DEC--ZEA"}, "its projection is RA---TAN-SIP, DEC--ZEA"),
        ({"CTYPE2": "DEC--TAN"}, "its projection is"),
        ({"CRPIX1": fits.card.UNDEFINED}, "CRPIX is undefined or not finite"),
        ({"CRPIX2": "1001"}, "a card holds no number"),
        ({"CRVAL1": fits.card.UNDEFINED}, "CRVAL is undefined or not finite"),
        ({"CRVAL2": 91.0}, "CRVAL2 is 91"),
        ({"CRVAL2": None}, "CRVAL2 is missing"),
        ({"CD1_1": fits.card.UNDEFINED}, "CD is undefined or not finite"),
        ({"CD1_1": None}, "CD1_1 is missing"),
        ({"CD2_1": None}, "CD2_1 is missing"),
        ({"CD1_1": 0.0, "CD1_2": 0.0}, "its CD matrix cannot be inverted"),
        ({"CD1_1": 1e200, "CD2_2": 1e200}, "its CD matrix cannot be inverted"),
        ({"A_ORDER": 99}, "A_ORDER is 99"),
        ({"A_ORDER": None}, "A_ORDER is missing"),
        ({"B_ORDER": None}, "B_ORDER is missing"),
        ({"B_ORDER": -1}, "B_ORDER is -1"),
        ({"A_ORDER": "two"}, "A_ORDER is two"),
        ({"A_2_0": 1e-2, "B_0_2": -1e-2}, "it cannot be inverted"),
        ({"A_1_1": 1e300}, "it cannot be inverted"),
        ({"CRVAL1": 63.0}, "degrees away from those of the other frames"),
        ({"CRVAL2": 40.0}, "degrees away from those of the other frames"),
        ({"CRPIX1": 1e5}, "degrees away from those of the other frames"),
        ({"CD1_1": -0.0054, "CD2_2": -0.0055}, "degrees away from those of the other frames"),
    ],
)
def test_a_wcs_that_cannot_be_used(tmp_path: Path, caplog, t: int, cards, words: str) -> None:
    """The frame is treated like one without, and named with the reason."""
    paths = frames(tmp_path)
    replace_frame(tmp_path, t, **{**wcs_cards((1001.0, 1001.0), t), **cards})
    series = read_series(paths)
    assert np.flatnonzero(~series.wcs.good).tolist() == [t]
    assert [k for k, text in enumerate(series.wcs_headers) if not text] == [t]
    assert np.isnan(series.wcs.crval[t]).all()
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"{paths[t]}: its WCS is not used: ")
    assert words in line


def test_bytes_that_are_no_text_in_cards(tmp_path: Path, caplog) -> None:
    paths = frames(tmp_path)
    data = paths[3].read_bytes()
    place = data.index(b"CRVAL1  =")
    paths[3].write_bytes(data[: place + 25] + b"\xff\x00" + data[place + 27 :])
    series = read_series(paths)
    assert np.flatnonzero(~series.wcs.good).tolist() == [3]
    assert "CRVAL1 is missing" in caplog.text


def test_the_odd_one_of_a_series_is_blamed_where_it_is_the_first(tmp_path: Path) -> None:
    for change, words in (
        ({"NREADOUT": 300}, "NREADOUT is 300, but 240 in"),
        ({"primary": {"DATA_REL": 43}}, "DATA_REL is 43, but 42 in"),
        ({"first": (45, 0)}, "unlike"),
    ):
        folder = tmp_path / words[:4]
        paths = frames(folder, 4)
        replace_frame(folder, 0, **change)
        with pytest.raises(InputError, match=words) as error:
            read_series(paths)
        assert str(error.value).startswith(f"{paths[0]}: ")


def test_majority() -> None:
    assert majority([3, 1, 1, 2]) == 1
    assert majority(["b", "a"]) == "b"


def test_wrong_headers_do_not_get_into_the_cube(tmp_path: Path, caplog) -> None:
    """The whole way: a WCS that is elsewhere and a correction of nine days."""
    rng = np.random.default_rng(0)
    for t in range(10):
        cards = {3: {"CRVAL2": 50.0}, 5: {"BARYCORR": 9.0}}.get(t, {})
        write_ffi(tmp_path, t, 100 + rng.normal(0, 1, (64, 64)), **cards)
    prepare_folder(tmp_path)
    cube = open_cube(tmp_path / "sector030_camera1_ccd1.hdf5")
    assert np.flatnonzero(~cube.wcs.good).tolist() == [3]
    assert np.abs(np.diff(cube.timecorr)).max() < 1e-4
    assert f"{ffi_name(3)}: its WCS is not used: it is 79.8" in caplog.text
    assert f"{ffi_name(5)}: its BARYCORR" in caplog.text


def test_the_field_of_a_ccd_is_that_of_most_frames(tmp_path: Path, caplog) -> None:
    """Where the header of the middle frame is wrong, for the catalog too."""
    frames(tmp_path, 9)
    (right,) = find_fields(tmp_path)
    replace_frame(tmp_path, 4, CRVAL2=50.0)
    (field,) = find_fields(tmp_path)
    np.testing.assert_allclose(field.corners, right.corners, atol=0.01)
    assert field.reference_time == right.reference_time
    assert f"{ffi_name(4)}: its WCS is not used" in caplog.text
