"""Packed light curves: the same files after unpacking, and nothing lost when a writer is killed."""

import contextlib
import gzip
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
import zlib
from pathlib import Path

import h5py
import numpy as np
import pack_program
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpi_launch import launch
from run_program import PROGRAM, call, content, forked, fresh

from tasoc_mpi import cli
from tasoc_mpi.core.errors import InputError, MissingInput
from tasoc_mpi.core.names import lightcurve_name
from tasoc_mpi.products.lightcurve import below
from tasoc_mpi.products.packed import PACK_FOLDER, PackReader, PackWriter, split_name
from tasoc_mpi.report.results import read_curve, read_run
from tasoc_mpi.worklist.listed_lightcurves import read_lightcurve, unpack

STARS = 60


def packs(output: Path) -> list[Path]:
    return sorted((output / PACK_FOLDER).iterdir())


# --- The file ------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.binary(min_size=1, max_size=2000), st.booleans()), min_size=1, max_size=20))
def test_what_was_flushed_is_read_while_the_file_is_written(tmp_path_factory, records):
    output = tmp_path_factory.mktemp("pack")
    writer = PackWriter(output)
    durable, waiting = {}, {}
    for number, (data, flush) in enumerate(records):
        listed = writer(f"c0120/{number}.fits.gz", data)
        waiting[listed] = data
        if flush:
            writer.flush()
            durable.update(waiting)
        for name, expected in durable.items():
            assert read_lightcurve(below(output, name)) == expected
    writer.close()
    for name, expected in {**durable, **waiting}.items():
        assert read_lightcurve(below(output, name)) == expected


def test_bytes_that_look_like_a_heap_of_texts_are_data(tmp_path):
    writer = PackWriter(tmp_path)
    data = b"GCOL\x01" + bytes(20)
    listed = writer("a", data)
    writer.close()
    assert read_lightcurve(below(tmp_path, listed)) == data


def test_other_programs_read_a_pack(tmp_path):
    """As the documentation says: a row of the index says where a file is in the stream."""
    writer = PackWriter(tmp_path)
    writer("a", b"first")
    writer("b", b"second one")
    writer.close()
    (path,) = packs(tmp_path)
    with h5py.File(path) as file:
        for (offset, size, crc32, name), expected in zip(
            file["index"][:].tolist(), ((b"a", b"first"), (b"b", b"second one")), strict=True
        ):
            data = file["data"][offset : offset + size].tobytes()
            assert (name, data) == expected
            assert crc32 == zlib.crc32(data)


def test_every_process_has_a_pack_of_its_own(tmp_path):
    """Also a child of one that has begun; and one that is there is not touched."""
    writer = PackWriter(tmp_path)
    first, _ = split_name(writer("a", b"parent"))
    writer.flush()
    before = (tmp_path / first).read_bytes()
    child = forked_call(lambda: (writer("b", b"child"), writer.flush()))
    assert (tmp_path / first).read_bytes() == before
    (other,) = [path for path in packs(tmp_path) if path.name != Path(first).name]
    assert f"-{child}-" in other.name
    assert read_lightcurve(below(tmp_path, f"{PACK_FOLDER}/{other.name}#b")) == b"child"
    # A process of the same number, as after a restart.
    second, _ = split_name(PackWriter(tmp_path)("a", b"again"))
    assert second != first
    assert f"-{os.getpid()}-" in second
    writer.close()
    assert read_lightcurve(below(tmp_path, f"{first}#a")) == b"parent"


def forked_call(function) -> int:
    """Run a function in a child; its process number."""
    code = "fork"
    import warnings

    with warnings.catch_warnings():
        # Of idle threads of numerical libraries; the child uses none.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            function()
            code = 0
        finally:
            os._exit(0 if code == 0 else 1)
    assert os.waitpid(child, 0)[1] == 0
    return child


def start(output: Path, *options: str) -> subprocess.Popen:
    command = [sys.executable, pack_program.__file__, str(output), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def check_whole(output: Path) -> int:
    """Whatever is in a pack is what its writer put there; returns how much that is."""
    (path,) = packs(output)
    with PackReader(path) as reader:
        for name in reader.names:
            assert reader.read(name) == pack_program.blob(int(Path(name).name.partition(".")[0]))
        return len(reader.names)


@pytest.mark.parametrize("seed", range(6))
def test_everything_reported_outlives_a_kill(tmp_path, seed):
    """Also while somebody reads, and at any moment."""
    with start(tmp_path) as program:
        said = [program.stdout.readline()]
        until = time.monotonic() + 0.1 + random.Random(seed).random() / 2
        while check_whole(tmp_path) < 10 or time.monotonic() < until:
            assert program.poll() is None
        program.kill()
        said += program.stdout.readlines()
    if not said[-1].endswith("\n"):
        said.pop()
    assert len(said) > 3
    with PackReader(packs(tmp_path)[0]) as reader:
        for line in said:
            listed, crc = line.split()
            assert zlib.crc32(reader.read(split_name(listed)[1])) == int(crc)
    assert check_whole(tmp_path) >= len(said)


def test_a_full_disk_is_noticed_and_loses_nothing(tmp_path):
    with start(tmp_path, "4000000") as program:
        said = program.stdout.read().splitlines()
    # Both when it happens, and whenever what was added should be reported.
    assert said[-2].startswith("failed: ")
    assert "File too large" in said[-2]
    assert said[-1].endswith(": File too large; see to its file system and run again")
    assert packs(tmp_path)[0].stat().st_size <= 4_000_000
    assert check_whole(tmp_path) >= len(said) - 2 > 3


_KILLED = """
import os, sys
from tasoc_mpi.core.names import lightcurve_name
from tasoc_mpi.products.packed import PackWriter
writer = PackWriter(sys.argv[1])
writer("a", b"whole")
writer.flush()
os.kill(os.getpid(), 9)
"""


def test_bad_packs_are_said_in_one_line(tmp_path):
    writer = PackWriter(tmp_path)
    listed = writer("c1800/x.fits.gz", bytes(range(256)))
    pack, _ = split_name(listed)
    writer.close()
    path = tmp_path / pack
    good = path.read_bytes()
    cases = {
        "no such pack": (MissingInput, None, listed),
        "cannot be read as a pack": (InputError, b"nothing", listed),
        "is damaged .its checksum": (InputError, good.replace(bytes(range(256)), bytes(256)), listed),
        "as a pack.*": (InputError, good[:300], listed),
        "holds no c1800/y": (MissingInput, good, f"{pack}#c1800/y.fits.gz"),
        "not the name of a light curve": (InputError, good, "../x.hdf5#c1800/x.fits.gz"),
    }
    for message, (kind, data, name) in cases.items():
        path.unlink(missing_ok=True)
        if data is not None:
            path.write_bytes(data)
        with pytest.raises(kind, match=message) as caught:
            read_lightcurve(below(tmp_path, name))
        assert "\n" not in str(caught.value)
    path.write_bytes(good)
    subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path / "killed")], timeout=60, check=False)
    (killed,) = packs(tmp_path / "killed")
    with PackReader(killed) as reader:
        assert reader.names == ["a"]
    killed.write_bytes(killed.read_bytes()[:300])
    start_of_reading = time.monotonic()
    with pytest.raises(InputError, match="cannot be read as a pack"):
        PackReader(killed)
    assert time.monotonic() - start_of_reading < 30
    with h5py.File(path, "r+") as file:
        file.attrs["FORMAT_VERSION"] = 99
    with pytest.raises(InputError, match=r"another version .99."):
        read_lightcurve(below(tmp_path, listed))


def name_of(star: int) -> str:
    return lightcurve_name(star, 1, 1, 1, 1800, 1, 6)


def test_unpacking_stays_in_its_folder_and_goes_on_after_damage(tmp_path):
    writer = PackWriter(tmp_path)
    good = [writer(name_of(number), b"good") for number in range(3)]
    # LightcurveNames that no light curve has: elsewhere, hidden, in the wrong folder, of another kind.
    for evil in (
        "../evil.fits.gz",
        ".bashrc",
        "evil/.bashrc",
        f"../{name_of(1)}",
        f"c1800/../{name_of(1)}",
        name_of(1).replace("/00000/", "/00001/"),
        name_of(1).replace("c1800/", "/c1800/"),
        f"{name_of(1)}.sh",
        name_of(1).replace("-dr01", "-dr1"),
        f"{name_of(1)}\n",
    ):
        listed = writer(evil, b"evil")
        writer.flush()
        with pytest.raises(InputError, match="not the name of a light curve") as caught:
            unpack(tmp_path, [good[0], listed], tmp_path / "to")
        assert "\n" not in str(caught.value)
    writer.close()
    assert not (tmp_path / "to").exists()
    gone = f"packed/gone.hdf5#{name_of(9)}"
    with pytest.raises(InputError, match=r"gone.hdf5: no such pack.*3 light curves were unpacked"):
        unpack(tmp_path, [good[0], gone, *good[1:]], tmp_path / "to")
    assert len(list((tmp_path / "to").rglob("*.gz"))) == 3
    assert not list(tmp_path.rglob("evil*"))


@pytest.mark.parametrize("kind", ["external link", "soft link", "external bytes", "virtual"])
def test_packs_whose_bytes_are_elsewhere_are_refused(tmp_path, kind):
    """A pack must not make a light curve of any other file."""
    (tmp_path / "secret").write_bytes(b"secret" * 100)
    writer = PackWriter(tmp_path)
    listed = writer(name_of(1), b"x" * 600)
    writer.close()
    path = tmp_path / split_name(listed)[0]
    with h5py.File(tmp_path / "other.hdf5", "w") as other:
        other["data"] = np.frombuffer(b"secret" * 100, "u1")
    with h5py.File(path, "r+", libver="latest") as file:
        del file["data"]
        if kind == "external link":
            file["data"] = h5py.ExternalLink(str(tmp_path / "other.hdf5"), "/data")
        elif kind == "soft link":
            file["real"] = np.zeros(600, "u1")
            file["data"] = h5py.SoftLink("/real")
        elif kind == "external bytes":
            file.create_dataset("data", (600,), "u1", external=[(str(tmp_path / "secret"), 0, 600)])
        else:
            layout = h5py.VirtualLayout((600,), "u1")
            layout[:] = h5py.VirtualSource(str(tmp_path / "other.hdf5"), "data", (600,))
            file.create_virtual_dataset("data", layout)
    with pytest.raises(InputError, match=r"link, which is not|values of data lie in another file"):
        read_lightcurve(below(tmp_path, listed))


# --- The run -------------------------------------------------------------------------------------------


def unpacked(folder: Path) -> dict:
    """The content of a packed run's folder, with its light curves unpacked elsewhere."""
    to = folder.parent / "unpacked"
    shutil.rmtree(to, ignore_errors=True)
    assert cli.main(["--quiet", "unpack", str(folder / "output"), "--to", str(to)]) == 0
    found = content(folder)
    # Names of packs hold a process number; the rest of the name is that of the file.
    found["diagnostics"] = [
        tuple(split_name(x)[1] if isinstance(x, str) and ".hdf5#" in x else x for x in row)
        for row in found["diagnostics"]
    ]
    assert {Path(name).parts[0] for name in found["files"]} == {PACK_FOLDER}
    found["files"] = {str(p.relative_to(to)): p.read_bytes() for p in to.rglob("*") if p.is_file()}
    return found


@pytest.mark.parametrize("ranks", [1, 3])
def test_packed_and_unpacked_is_the_same(blank, expected, tmp_path, ranks):
    folder = fresh(blank, tmp_path)
    done = launch(PROGRAM, str(folder), "--packed", "--batch", "4", ranks=ranks)
    assert done.returncode == 0, done.stderr
    assert 1 <= len(packs(folder / "output")) <= max(1, ranks - 1)
    assert unpacked(folder) == expected


def test_same_result_after_kills(blank, expected, tmp_path):
    """Between changes of the work list and stars, again and again; packs that nothing lists go."""
    folder = fresh(blank, tmp_path)
    for step in (2, 9, 13, 17, 30):
        forked([str(folder), "--packed", "--batch", "5"], step)
    assert call([str(folder), "--packed"]) == 0
    assert unpacked(folder) == expected
    assert call([str(folder), "--packed", "--overwrite"]) == 0
    # A pack that a kill left empty may be anybody's.
    assert len([path for path in packs(folder / "output") if PackReader(path).names]) == 1
    assert unpacked(folder) == expected


def test_packs_of_others_are_left_alone(blank, tmp_path):
    """One that is not ours, one that nobody can read, and one in which nothing is yet."""
    folder = fresh(blank, tmp_path)
    other = folder / "output" / PACK_FOLDER
    other.mkdir(parents=True)
    (other / "unreadable.hdf5").write_bytes(b"?")
    writer = PackWriter(folder / "output")
    theirs, _ = split_name(
        writer("c0200/00000/tess00000000001-s001-1-1-c0200-dr01-v06-tasoc_lc.fits.gz", b"x")
    )
    empty = PackWriter(folder / "output")
    empty._create()
    writer.close()
    empty.close()
    assert call([str(folder)]) == 0
    assert call([str(folder), "--overwrite"]) == 0
    assert len(packs(folder / "output")) == 3
    assert (folder / "output" / theirs).exists()


def test_unpacked_files_follow_the_work_list(blank, expected, tmp_path):
    """They stay as long as they are what is listed, and go when it is something else."""
    folder = fresh(blank, tmp_path)
    output = folder / "output"
    assert call([str(folder), "--packed"]) == 0
    assert cli.main(["--quiet", "unpack", str(output)]) == 0
    files = {str(path.relative_to(output)): path.read_bytes() for path in output.rglob("*.fits.gz")}
    assert files == expected["files"]
    assert call([str(folder), "--packed"]) == 0
    assert len(list(output.rglob("*.fits.gz"))) == len(files)
    old = sorted(files)[3]
    (output / old).write_bytes(b"an older light curve")
    assert call([str(folder), "--packed", "--overwrite", "--ccd", "1"]) == 0
    left = {str(path.relative_to(output)) for path in output.rglob("*.fits.gz")}
    assert left == files.keys() - {old}


def test_unpack_some_stars_and_what_is_wrong(blank, expected, tmp_path, capsys):
    folder = fresh(blank, tmp_path)
    output = folder / "output"
    output.mkdir()
    unpack_it = ["--quiet", "unpack", str(output)]
    assert cli.main(unpack_it) == 1
    assert "has no results" in capsys.readouterr().err
    assert call([str(folder), "--packed"]) == 0
    name = sorted(expected["files"])[0]
    star = str(int(Path(name).name[4:15]))
    assert cli.main([*unpack_it, "--starid", star, "--to", str(tmp_path / "to")]) == 0
    assert [path.name for path in (tmp_path / "to").rglob("*.gz")] == [Path(name).name]
    capsys.readouterr()
    assert cli.main([*unpack_it, "--starid", "3"]) == 1
    assert cli.main(["--quiet", "unpack", str(tmp_path / "to")]) == 1
    assert cli.main(["--quiet", "unpack", str(tmp_path / "nowhere")]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 3
    assert "no light curves of the stars that were asked for" in errors[0]
    assert "name the run's work list with --todo" in errors[1]
    assert "no such folder" in errors[2]
    todo = ["--todo", str(folder / "todo.sqlite")]
    assert cli.main([*unpack_it, *todo, "--to", str(tmp_path / "all")]) == 0
    assert len(list((tmp_path / "all").rglob("*.gz"))) == len(expected["files"])


@pytest.mark.parametrize("name", ["'.bashrc'", "'packed/a.hdf5#.bashrc'", "x'2e'", "'../' || lightcurve"])
def test_a_list_that_names_other_files_is_not_unpacked(blank, tmp_path, capsys, name):
    folder = fresh(blank, tmp_path)
    assert call([str(folder), "--packed", "--tmag-max", "8"]) == 0
    with contextlib.closing(sqlite3.connect(folder / "todo.sqlite")) as conn, conn:
        conn.execute(f"UPDATE diagnostics SET lightcurve = {name} WHERE priority = 1")
    capsys.readouterr()
    assert cli.main(["--quiet", "unpack", str(folder / "output"), "--to", str(tmp_path / "to")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{folder / 'todo.sqlite'}: " in line
    assert "is not the name of a light curve; bring it up to date with `tasoc-mpi publish`" in line
    assert not (tmp_path / "to").exists()


# --- Real light curves ---------------------------------------------------------------------------------


@pytest.mark.timeout(300)
def test_light_curves_are_the_same_byte_for_byte(simulated, tmp_path, monkeypatch):
    """With the date given from outside; and the summary reads packed ones."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    folders = {}
    for name in ("files", "packed"):
        (tmp_path / name).mkdir()
        folders[name] = simulated.copy(tmp_path / name)
        packed = ["--packed"] if name == "packed" else []
        assert cli.main(["--quiet", "run", str(folders[name]), "--tmag-max", "14", *packed]) == 0
    found = {path.name: path for path in (folders["files"] / "output").rglob("*.fits.gz")}
    assert len(found) > 5
    assert b"DATE    = '1970-01-02'" in gzip.decompress(next(iter(found.values())).read_bytes())
    assert (
        cli.main(["--quiet", "unpack", str(folders["packed"] / "output"), "--to", str(tmp_path / "to")]) == 0
    )
    again = {path.name: path for path in (tmp_path / "to").rglob("*.fits.gz")}
    assert found.keys() == again.keys()
    for name, path in found.items():
        assert path.read_bytes() == again[name].read_bytes(), name
    run = read_run(folders["packed"])
    star = run.stars[run.ok][0]
    assert ".hdf5#" in star["lightcurve"]
    curve = read_curve(run.file(star))
    np.testing.assert_array_equal(curve.flux, read_curve(found[Path(str(star["lightcurve"])).name]).flux)
    assert cli.main(["--quiet", "summary", str(folders["packed"])]) == 0


def test_a_wrong_date_is_said_once(blank, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    assert call([str(fresh(blank, tmp_path))]) == 1
    assert capsys.readouterr().err.count("SOURCE_DATE_EPOCH=yesterday: not a number of seconds") == 1
