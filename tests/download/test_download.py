"""tasoc-mpi download against a server on this host: all kinds, all ways to fail, and what stays."""

from __future__ import annotations

import gzip
import hashlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from archive_server import Archive, add_frames, fits_bytes, frame_name, serving, spoil

from tasoc_mpi import cli
from tasoc_mpi.core.errors import InputError
from tasoc_mpi.core.settings import load_settings
from tasoc_mpi.download import web
from tasoc_mpi.download.listing import strip_range
from tasoc_mpi.download.remote_file import Choice, place
from tasoc_mpi.download.transfer_state import STATE_NAME
from tasoc_mpi.download.verify import check_fits

pytest.importorskip("requests")

#: Bytes that are received at once; half of a frame has one of them and a part.
BLOCK = 1 << 16
NAMES = [frame_name(number) for number in range(4)]
URI = "/api/v0.1/Download/file?uri=mast:TESS/product/"


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """A server with four frames; the settings name it."""
    with serving(Archive()) as served:
        add_frames(served, NAMES)
        settings = tmp_path / "settings.ini"
        addresses = "".join(f"{key} = {served.address}\n" for key in ("archive", "mast", "cloud"))
        settings.write_text(f"[download]\n{addresses}timeout = 0.4\nretries = 3\n")
        monkeypatch.setenv("TESSPHOT_SETTINGS", str(settings))
        monkeypatch.setattr(web, "_FIRST_WAIT", 0.01)
        load_settings.cache_clear()
        yield served
    load_settings.cache_clear()


def run(folder: Path, *options: str) -> int:
    return cli.main(["--quiet", "download", str(folder), "--sector", "1", "--jobs", "2", *options])


def frames(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "ffi").rglob("*")) if path.is_file()}


def expected(archive: Archive) -> dict[str, bytes]:
    return {name: archive.files[URI + name] for name in NAMES}


@pytest.mark.parametrize("source", ["mast", "cloud"])
def test_frames_of_a_ccd_and_nothing_the_second_time(archive, tmp_path, capsys, source):
    add_frames(archive, [*NAMES, frame_name(0, camera=2)])
    folder = tmp_path / "in"
    assert run(folder, "--from", source, "--camera", "1,3", "--ccd", "1", "--ccd", "2") == 0
    assert frames(folder) == expected(archive)
    size = len(archive.files[URI + NAMES[0]])
    printed = capsys.readouterr().out
    assert f"ffi: 4 files, {'about ' if source == 'mast' else ''}{4 * size} bytes" in printed
    assert "4 files fetched" in printed
    before = len(archive.requests)
    assert run(folder, "--from", source, "--camera", "1", "--ccd", "1") == 0
    assert len(archive.requests) == before + 1
    assert "0 of 4 files to fetch, 0 bytes; 4 are there" in capsys.readouterr().out
    from tasoc_mpi.products.ffi import find_ffis

    assert [path.name for path in find_ffis(folder)[1, 1, 1]] == NAMES


def test_dry_run_and_lists_write_no_file(archive, tmp_path, capsys):
    folder = tmp_path / "in"
    assert run(folder, "--dry-run") == 0
    assert "4 of 4 files to fetch" in capsys.readouterr().out
    assert run(folder, "--list", "aria2") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [f"{archive.address}{URI}{NAMES[0]}", f"  out=ffi/1-1/{NAMES[0]}"]
    assert run(folder, "--list", "urls") == 0
    assert capsys.readouterr().out.splitlines() == [f"{archive.address}{URI}{name}" for name in NAMES]
    assert not folder.exists()
    assert run(folder, "--list", "curl") == 0
    script = capsys.readouterr().out
    assert script.splitlines()[0].startswith("curl -f -L -C - --retry 8 --create-dirs -o ffi/1-1/")
    if shutil.which("curl"):
        folder.mkdir()
        subprocess.run(["sh", "-e"], input=script.encode(), cwd=folder, check=True, capture_output=True)
        # Files that another program has fetched are compared, and taken.
        assert run(folder) == 0
        assert "0 files fetched" in capsys.readouterr().out
        assert frames(folder) == expected(archive)


@pytest.mark.parametrize("ranges", [True, False])
def test_what_passes_is_tried_again_and_continued(archive, tmp_path, ranges):
    archive.ranges = ranges
    # The first request of the first, second and last file is that for its size.
    faults = ([200, "cut", 503], [200, "stall", 429, "cut"], [500, 502, "cut"], [200, "page", 504])
    archive.faults = {URI + name: list(fault) for name, fault in zip(NAMES, faults, strict=True)}
    assert run(tmp_path / "in") == 0
    assert frames(tmp_path / "in") == expected(archive)
    half = len(archive.files[URI + NAMES[0]]) // 2
    # All of an answer that ended is kept, the whole blocks of one that stopped coming.
    for name, kept in zip(NAMES, (half, BLOCK, half), strict=False):
        assert f"bytes={kept}-" in archive.asked(name)
    assert archive.asked(NAMES[3])[-1] is None


@pytest.mark.parametrize("fault", [404, 403, "damaged", "endless"])
def test_what_does_not_pass_fails_alone(archive, tmp_path, caplog, fault):
    if fault == "damaged":
        archive.files[URI + NAMES[2]] = spoil(archive.files[URI + NAMES[2]])
    else:
        archive.faults[URI + NAMES[2]] = [503] * 99 if fault == "endless" else [fault] * 9
    assert run(tmp_path / "in") == 1
    whole = {name: content for name, content in expected(archive).items() if name != NAMES[2]}
    assert frames(tmp_path / "in") == whole
    words = {404: "HTTP status 404", 403: "HTTP status 403", "damaged": "CHECKSUM of HDU 1", "endless": "503"}
    [line] = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert line.startswith("1 file: ")
    assert words[fault] in line
    assert NAMES[2] in line
    # As soon as the server has it, the next start fetches it alone.
    archive.faults.clear()
    archive.files[URI + NAMES[2]] = fits_bytes(2)
    before = len(archive.asked(NAMES[0]))
    assert run(tmp_path / "in") == 0
    assert frames(tmp_path / "in") == expected(archive)
    assert len(archive.asked(NAMES[0])) == before


PACKED = gzip.compress(fits_bytes(0))
#: An answer to the request for a frame, and the words of the message.
ODD = {
    "redirected to no address": (
        (302, {"Location": "http://[::1/", "Content-Length": "0"}, b""),
        "no address",
    ),
    "redirected to bytes": ((302, {"Location": "http://\xff/", "Content-Length": "0"}, b""), "no address"),
    "empty": ((200, {"Content-Length": "0"}, b""), "the answer is empty"),
    "empty range": ((416, {"Content-Length": "0", "Content-Range": "bytes */0"}, b""), "the answer is empty"),
    "huge range": ((206, {"Content-Range": f"bytes 0-1/{'9' * 5000}"}, b"a"), "other bytes"),
    "packed": ((200, {"Content-Encoding": "gzip", "Content-Length": str(len(PACKED))}, PACKED), "packs it"),
    "no HTTP": ((200, {"Transfer-Encoding": "chunked"}, b"zz\r\nab"), "not HTTP"),
}


@pytest.mark.parametrize("odd", ODD)
def test_odd_answers_are_one_line_of_a_file_that_is_not_there(archive, tmp_path, caplog, odd):
    answer, words = ODD[odd]
    # Asked for its size, too.
    archive.faults[URI + NAMES[1]] = [answer] * 9
    folder = tmp_path / "in"
    assert run(folder, "--camera", "1") == 1
    (message,) = [r.getMessage() for r in caplog.records if NAMES[1] in r.getMessage()]
    assert words in message
    assert frames(folder).keys() - {f"{NAMES[1]}.part"} == set(NAMES) - {NAMES[1]}
    archive.faults.clear()
    assert run(folder, "--camera", "1") == 0
    assert frames(folder) == expected(archive)


@pytest.mark.parametrize("digits", [30, 5000])
def test_a_size_of_many_digits_is_as_good_as_none(archive, tmp_path, digits):
    content = archive.files[URI + NAMES[1]]
    archive.faults[URI + NAMES[1]] = [(200, {"Content-Length": "9" * digits}, content)]
    folder = tmp_path / "in"
    assert run(folder, "--camera", "1") == 0
    assert frames(folder) == expected(archive)


@pytest.mark.parametrize(
    "answer",
    [
        (416, {}, b""),
        (206, {"Content-Range": "bytes 0-1/9"}, b"ab"),
        (200, {}, b""),
        (200, {"Content-Type": "text/html"}, b"<html><a href='/login'>log in</a></html>"),
    ],
)
@pytest.mark.parametrize("source", ["mast", "cloud"])
def test_a_list_that_is_not_whole_is_not_one_without_files(archive, tmp_path, capsys, source, answer):
    for path in archive.files:
        if path.endswith((".sh", ".gz")):
            archive.faults[path] = [answer] * 9
    assert run(tmp_path / "in", "--from", source) == 1
    assert "the archive has no" not in capsys.readouterr().err


@pytest.mark.parametrize("tags", [True, False])
def test_a_file_that_changes_between_two_tries_is_never_a_mixture(archive, tmp_path, tags):
    archive.tags = tags
    path = URI + NAMES[0]
    archive.faults[path] = [200, "cut", *[500] * 9]
    assert run(tmp_path / "in") == 1
    part = tmp_path / "in" / "ffi" / "1-1" / f"{NAMES[0]}.part"
    assert part.stat().st_size == len(archive.files[path]) // 2
    archive.faults.clear()
    archive.files[path] = fits_bytes(99)
    assert run(tmp_path / "in") == 0
    assert frames(tmp_path / "in") == expected(archive)


def test_a_server_that_is_not_there_is_left_alone(archive, tmp_path, capsys):
    for name in NAMES:
        archive.faults[URI + name] = ["stall"] * 3
    archive.closing.set()
    settings = Path(os.environ["TESSPHOT_SETTINGS"])
    settings.write_text(
        settings.read_text().replace(f"mast = {archive.address}", "mast = http://127.0.0.1:9")
    )
    load_settings.cache_clear()
    assert run(tmp_path / "in") == 1
    assert "size unknown" in capsys.readouterr().out
    settings.write_text(settings.read_text().replace(archive.address, "http://127.0.0.1:9"))
    load_settings.cache_clear()
    assert run(tmp_path / "in") == 1
    assert "connection: refused; try again later" in capsys.readouterr().err


def test_something_else_in_the_place_of_a_file_stays(archive, tmp_path, caplog):
    folder = tmp_path / "in" / "ffi" / "1-1"
    folder.mkdir(parents=True)
    (folder / NAMES[0]).write_bytes(b"my notes")
    (folder / NAMES[1]).write_bytes(spoil(archive.files[URI + NAMES[1]]))
    outside = tmp_path / "outside"
    outside.write_bytes(b"mine")
    (folder / f"{NAMES[2]}.part").symlink_to(outside)
    shutil.copy(tmp_path / "settings.ini", folder / "x")
    assert run(tmp_path / "in") == 1
    assert (folder / NAMES[0]).read_bytes() == b"my notes"
    assert (folder / NAMES[1]).read_bytes() == spoil(archive.files[URI + NAMES[1]])
    assert outside.read_bytes() == b"mine"


def test_names_of_a_list_never_become_other_paths(archive, tmp_path):
    script = "/missions/tess/download_scripts/sector/tesscurl_sector_1_ffic.sh"
    evil = ["../../evil.fits", "/etc/evil", f"..%2f{NAMES[0]}", f"../{NAMES[0]}", "-o", f"x;rm {NAMES[0]}"]
    archive.files[script] += "".join(
        f"curl -o x https://x/?uri=mast:TESS/product/{e}\n" for e in evil
    ).encode()
    before = set(tmp_path.rglob("*"))
    assert run(tmp_path / "a" / "in") == 0
    made = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    names = {*NAMES, STATE_NAME, f"{STATE_NAME}.lock"}
    assert {path.name for path in made} == names
    for kind in ("ffi", "tpf", "fast-tpf", "tica", "catalog", "prf", "spice"):
        for name in (*evil, "", ".", "..", "ffi", "tess\u0662018206192942-s0001-1-1-0120-s_ffic.fits"):
            assert place(kind, name, Choice(1)) is None


def test_frames_that_are_there_twice(archive, tmp_path):
    twice = frame_name(2, sector=1).replace("42-s", "43-s")
    add_frames(archive, [*NAMES, twice])
    assert run(tmp_path / "in", "--from", "cloud") == 0
    assert sorted(frames(tmp_path / "in")) == sorted([*NAMES[:2], twice, NAMES[3]])


@pytest.mark.real
def test_the_real_names_of_sector_2_have_298_frames_twice(real):
    parquet = pytest.importorskip("pyarrow.parquet")
    from tasoc_mpi.download.remote_file import RemoteFile, newest_frames

    paths = parquet.read_table(real / "names" / "tess-s0002-spoc-ffi-catalog.parquet")["path"].to_pylist()
    placed = [place("ffi", path.rpartition("/")[2], Choice(2)) for path in paths]
    assert None not in placed
    kept = newest_frames([RemoteFile("ffi", "", path) for path in placed])
    assert len(paths) - len(kept) == 16 * 298


def test_target_pixel_files_of_chosen_stars(archive, tmp_path, capsys, caplog):
    names = [f"tess2018206045859-s0001-{star:016d}-0120-s_tp.fits" for star in (5, 6, 7)]
    script = "/missions/tess/download_scripts/sector/tesscurl_sector_1_tp.sh"
    archive.files[script] = "".join(f"curl {URI}{name}\n" for name in names).encode()
    for name in names:
        archive.files[URI + name] = fits_bytes(1)
    (tmp_path / "stars.txt").write_text("TIC\n7\n99\n")
    assert run(tmp_path / "in", "--starid", "5", "--starid-file", str(tmp_path / "stars.txt")) == 0
    assert sorted(path.name for path in (tmp_path / "in" / "tpf").iterdir()) == [names[0], names[2]]
    assert "sector 1: the archive has no tpf of 1 of 3 chosen stars: TIC 99" in caplog.text
    assert run(tmp_path / "in", "--starid", "99") == 1
    assert "the archive has no tpf of the chosen stars" in capsys.readouterr().err
    assert run(tmp_path / "in", "--what", "fast-tpf") == 1
    assert "the list of sector 1 (fast-tpf) is not there" in capsys.readouterr().err
    for options in (["--starid", "5", "--what", "ffi"], ["--what", "tpf", "--ccd", "1"], ["--what", "all"]):
        assert run(tmp_path / "in", *options) == 2


def test_prf_files_kernels_and_frames_of_tica(archive, tmp_path, real):
    prfs = real / "prf" / "start_s0001" / "cam4_ccd1"
    base = "/missions/tess/models/prf_fitsfiles/start_s0001/cam4_ccd1/"
    names = []
    for path in sorted(prfs.iterdir())[:2]:
        names.append(path.name.removesuffix(".gz"))
        archive.files[base + names[-1]] = gzip.decompress(path.read_bytes())
    archive.files[base] = "".join(f'<a href="{n}">{n}</a>' for n in [*names, "?C=N", "../"]).encode()
    folder = tmp_path / "in"
    assert run(folder, "--what", "prf", "--camera", "4", "--ccd", "1") == 0
    assert sorted(p.name for p in (folder / "prf" / "start_s0001" / "cam4_ccd1").iterdir()) == names

    models = "/missions/tess/models/"
    kernels = {
        "TESS_EPH_DEF_2018106_21.bsp": (real / "spice" / "earth_sun_moon_tess.bsp").read_bytes(),
        "tess2018338154046-41240_naif0012.tls": (real / "spice" / "naif0012.tls").read_bytes(),
        "tess2018236164754-41096_sclk.tsc": (
            real / "spice" / "tess2018236164754-41096_sclk.tsc"
        ).read_bytes(),
        "tess2018136164754-41095_sclk.tsc": b"KPL/SCLK older",
        "readme.txt": b"not wanted",
    }
    for name, content in kernels.items():
        archive.files[models + name] = content
    archive.files[models] = "".join(f"<a href='{name}'>" for name in kernels).encode()
    assert run(folder, "--what", "spice") == 0
    assert {p.name for p in (folder / "spice").iterdir()} == set(list(kernels)[:3])

    tica = "hlsp_tica_tess_ffi_s0001-o1-00116470-cam1-ccd2_tess_v01_img.fits"
    key = f"tess/public/mast/tica/s0001/cam1-ccd2/{tica}"
    archive.files[f"/{key}"] = fits_bytes(5)
    line = f"2018-12-04 10:28:40 {len(fits_bytes(5))} {key}\n"
    archive.files["/tess/public/manifest.txt.gz"] = gzip.compress(line.encode())
    assert run(folder, "--what", "tica") == 0
    assert (folder / "tica" / "1-2" / tica).read_bytes() == fits_bytes(5)


STARS = """\
101,,{ra0},{dec0},,1.5,-2.5,,10.5,5000,
102,,{ra0},{dec1},,,,,19.5,,
103,,{ra0},{dec1},,,,,12.5,,DUPLICATE
104,,{far},{dec0},,,,,9.5,,
"""


def test_catalogs_from_strips_before_there_is_a_frame(archive, tmp_path, capsys):
    from tasoc_mpi.products.star_catalog import open_catalog
    from tasoc_mpi.stars.footprints import declinations, predicted_fields

    field = predicted_fields(1, 1, 1)[0]
    ra, dec = field.corners.mean(axis=0)
    header = b"ID,version,ra,dec,POSflag,pmRA,pmDEC,e_pm,Tmag,Teff,disposition"
    text = STARS.format(ra0=ra, dec0=dec, dec1=dec + 0.01, far=(ra + 180) % 360).encode()
    base = "/missions/tess/catalogs/tic_v82/"
    sums = []
    for south in range(-90, 90, 2):
        name = "tic_dec{:02d}_00{}__{:02d}_00{}.csv".format(
            abs(south),
            "S" if south < 0 else "N",
            abs(south + 2),
            "N" if south + 2 > 0 or south == -2 else "S",
        )
        content = text if south <= dec < south + 2 else text.splitlines(True)[3]
        archive.files[f"{base}{name}.gz"] = packed = gzip.compress(content)
        # As many servers say of packed files, which stay so.
        head = {"Content-Encoding": "x-gzip", "Content-Length": str(len(packed))}
        archive.faults[f"{base}{name}.gz"] = [(200, head, packed)] * 2
        sums.append(f"{hashlib.md5(content).hexdigest()}  {name}\n")
    archive.files[base + "md5sum.txt"] = "".join(sums).encode()
    archive.files[base + "header.csv"] = header
    folder = tmp_path / "in"
    assert run(folder, "--what", "catalog", "--camera", "1", "--ccd", "1") == 0
    fetched = sorted(path.name for path in (folder / "tic").glob("tic_dec*"))
    south, north = declinations([field])
    spans = sorted(strip_range(name) for name in fetched)
    assert spans[0][0] <= south < spans[0][1]
    assert spans[-1][0] <= north <= spans[-1][1]
    assert len(spans) == round((spans[-1][1] - spans[0][0]) / 2)
    options = ["catalog", str(folder), "--from", str(folder / "tic"), "--sector", "1", "--camera", "1"]
    assert cli.main(["--quiet", *options, "--ccd", "1"]) == 0
    catalog = open_catalog(folder / "catalog_sector001_camera1_ccd1.sqlite")
    assert catalog.stars["starid"].tolist() == [101]
    assert catalog.stars["pm_ra"].tolist() == [1.5]
    assert abs(catalog.settings.reference_time - 2458338.5) < 1.5
    # A strip whose content is not that of the archive's sum is not taken.
    archive.faults.clear()
    (folder / "tic" / fetched[0]).unlink()
    archive.files[f"{base}{fetched[0]}"] = gzip.compress(b"1,2\n")
    assert run(folder, "--what", "catalog", "--camera", "1", "--ccd", "1") == 1
    assert not (folder / "tic" / fetched[0]).exists()
    (folder / "tic" / fetched[1]).write_bytes(gzip.compress(b"1,2\n"))
    capsys.readouterr()
    assert cli.main(["--quiet", *options, "--ccd", "1", "--overwrite"]) == 1
    assert "2 values in row 1, but 11 columns in header.csv" in capsys.readouterr().err


def test_a_full_disk_ends_the_download_and_the_next_continues(archive, tmp_path, capsys):
    folder = tmp_path / "in"
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limit[1]))
        assert run(folder) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    error = capsys.readouterr().err
    assert ".part: File too large" in error
    assert error.count("\n") == 1
    assert run(folder) == 0
    assert frames(folder) == expected(archive)


def test_too_little_room_is_told_before(archive, tmp_path, capsys, monkeypatch):
    manifest = gzip.decompress(archive.files["/tess/public/manifest.txt.gz"])
    size = str(len(archive.files[URI + NAMES[0]])).encode()
    archive.files["/tess/public/manifest.txt.gz"] = gzip.compress(manifest.replace(size, b"9" * 18))
    assert run(tmp_path / "in", "--from", "cloud") == 1
    assert "are free; make room" in capsys.readouterr().err
    assert not (tmp_path / "in").exists()


@pytest.mark.parametrize(("sign", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_after_ctrl_c_or_a_kill_it_continues_where_it_stopped(archive, tmp_path, sign, status):
    archive.pause = 0.15
    folder = tmp_path / "in"
    command = [sys.executable, "-m", "tasoc_mpi.cli", "download", str(folder), "--sector", "1", "--jobs", "1"]

    def ready() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)

    job = subprocess.Popen(command, preexec_fn=ready, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    parts: list[Path] = []
    while time.monotonic() < end and job.poll() is None:
        parts = [p for p in folder.rglob("*.part") if p.exists() and p.stat().st_size >= BLOCK]
        if parts:
            break
        time.sleep(0.02)
    os.kill(job.pid, sign)
    assert job.wait(20) == status
    assert parts
    archive.pause = 0.0
    size = parts[0].stat().st_size
    assert size
    archive.requests.clear()
    assert run(folder) == 0
    assert frames(folder) == expected(archive)
    [wanted] = [r for r in archive.asked(parts[0].name.removesuffix(".part")) if r]
    assert wanted == f"bytes={size}-"


def test_two_downloads_of_a_folder_exclude_each_other(archive, tmp_path, capsys):
    from tasoc_mpi.core.locks import exclusive

    folder = tmp_path / "in"
    folder.mkdir()
    with exclusive(folder / STATE_NAME):
        assert run(folder) == 1
    assert STATE_NAME in capsys.readouterr().err


@pytest.mark.parametrize(
    "content", [b"", b"\xff\0{", b'{"path": 1}\n[]\n{}\n"x"\n', b'{"path": "x", "whole": 3}\n']
)
def test_a_damaged_state_costs_a_comparison_at_most(archive, tmp_path, content):
    folder = tmp_path / "in"
    assert run(folder) == 0
    (folder / STATE_NAME).write_bytes(content)
    before = frames(folder)
    archive.requests.clear()
    assert run(folder) == 0
    assert frames(folder) == before
    assert len(archive.requests) == 1


def test_sums_and_sizes_of_files(tmp_path):
    path = tmp_path / "a.fits"
    content = fits_bytes(3)
    path.write_bytes(content)
    assert check_fits(path) == 2
    (tmp_path / "a.fits.gz").write_bytes(gzip.compress(content))
    assert check_fits(tmp_path / "a.fits.gz") == 2
    # A CHECKSUM that cannot be read is no reason not to compare.
    cards = [
        content.replace(b"CHECKSUM= '", new, 1)
        for new in (b"CHECKSUM= \0", b"CHECKSUM= 1", b"CHECKSUM\xff '")
    ]
    for damaged in (spoil(content), content[:-1], content[:-2880], content + b"\0" * 2880, b"", *cards):
        path.write_bytes(damaged)
        with pytest.raises(InputError):
            check_fits(path)


@pytest.mark.real
def test_a_real_frame_holds_its_checksums(real):
    # A crop has sizes of its own, so its sums are those of the whole frame no longer.
    from tasoc_mpi.products.fits_read import FITSReader

    with FITSReader(real / "ffi" / "tess2018206192942-s0001-1-4-0120-s_ffic.crop.fits") as reader:
        assert all("CHECKSUM" in hdu.cards for hdu in reader.hdus())
