"""Stars that crash, hang or eat memory, and killed processes: the run ends, and the rest is right."""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import faulty
import pytest
from run_program import content, make_input

STARS = 120
PROGRAM = [sys.executable, faulty.__file__]

#: What a star does, what becomes of it, and what its errors say. Stars that no other one claims.
FAULTS = {
    "segfault": (1011, 4, "SIGSEGV"),
    "hang": (1032, 4, "no result after 4 s"),
    "stuck": (1045, 4, "no result after 4 s"),
    "think_to_be_a_rank": (1049, 2, "I am rank None"),
    "raise": (1056, 2, "a star that raises"),
    "eat": (1072, 2, "MemoryError"),
    "abort": (1090, 4, "SIGABRT"),
    "leave": (1101, 4, "exit status 3"),
    "write_and_crash": (1111, 4, "again when it ran alone"),
}


def mpiexec(ranks: int) -> list[str]:
    """The start of a command line under MPI; skips where there is none."""
    name = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if name is None:
        pytest.skip("no mpiexec here (pip install tasoc-mpi[mpich])")
    return [name, "-n", str(ranks)] if ranks > 1 else []


def faults() -> str:
    return " ".join(f"{name}:{starid}" for name, (starid, _, _) in FAULTS.items())


def fresh(blank: Path, parent: Path) -> Path:
    shutil.rmtree(parent / "input", ignore_errors=True)
    return Path(shutil.copytree(blank, parent / "input"))


@pytest.fixture(scope="module")
def blank(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("blank") / "input"
    make_input(folder, STARS)
    return folder


@pytest.fixture(scope="module")
def without(blank, tmp_path_factory) -> dict:
    """What becomes of the others if the faulty stars are known to fail: all of them raise."""
    folder = fresh(blank, tmp_path_factory.mktemp("without"))
    stars = ",".join(str(starid) for starid, _, _ in FAULTS.values())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAULTY_STARS", f"raise:{stars}")
        assert faulty.call(["--quiet", "run", str(folder)]) == 0
    return content(folder)


def without_faulty(found: dict) -> dict:
    """A run's content without what it says of the faulty stars themselves."""
    stars = {starid for starid, _, _ in FAULTS.values()}
    rows = {row[0] for row in found["todolist"] if row[1] in stars}
    kept = {name: [row for row in found[name] if row[0] not in rows] for name in ("todolist", "diagnostics")}
    return {**found, **kept}


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("ranks", [1, 3])
def test_faulty_stars_hurt_nobody_else(blank, without, tmp_path, ranks):
    folder = fresh(blank, tmp_path)
    options = ["--target-timeout", "4", "--memory-limit", "1"]
    environment = {**os.environ, "FAULTY_STARS": faults()}
    command = [*mpiexec(ranks), *PROGRAM, str(folder), *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    found = content(folder)
    by_star = {row[1]: row for row in found["todolist"]}
    errors = {row[0]: row[-1] for row in found["diagnostics"]}
    for starid, status, text in FAULTS.values():
        row = by_star[starid]
        assert row[9] == status, (starid, errors[row[0]])
        assert text in errors[row[0]]
    assert without_faulty(found) == without_faulty(without)
    listed = {row[1] for row in found["diagnostics"] if row[1]}
    assert set(found["files"]) == listed


def test_a_crash_that_does_not_come_again_is_forgotten(blank, tmp_path, monkeypatch):
    folder = fresh(blank, tmp_path)
    assert faulty.call(["--quiet", "run", str(folder)]) == 0
    expected = content(folder)
    folder = fresh(blank, tmp_path)
    monkeypatch.setenv("FAULTY_STARS", "once:1007,1008,1060")
    assert faulty.call(["--quiet", "run", str(folder)]) == 0
    assert len(list(tmp_path.rglob("crashed-*"))) == 3
    assert content(folder) == expected


#: Variables of MPICH and Open MPI.
RANK = (b"PMI_RANK=", b"OMPI_COMM_WORLD_RANK=")


def processes() -> dict[int, tuple[int, list[str]]]:
    """Parent and command line of every process."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                line = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                found[int(entry.name)] = (parent, line)
    return found


def below(pid: int, known: dict[int, tuple[int, list[str]]]) -> list[int]:
    """All processes that a process started, and theirs."""
    direct = [child for child, (parent, _) in known.items() if parent == pid]
    return direct + [more for child in direct for more in below(child, known)]


def victims(job: int) -> dict[str, list[int]]:
    """The processes of a job by what they are."""
    known = processes()
    found: dict[str, list[int]] = {"mpiexec": [job], "rank 0": [], "worker": [], "child": []}
    for pid in below(job, known):
        with contextlib.suppress(OSError):
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            ranks = {text.partition(b"=")[2] for text in environment if text.startswith(RANK)}
            if "tasoc_mpi.worker.child" in known[pid][1]:
                found["child"].append(pid)
            elif ranks:
                found["rank 0" if ranks == {b"0"} else "worker"].append(pid)
    return found


def wait_for_end(pids: list[int], seconds: float = 20) -> None:
    """Until none of the processes is there, or only as a zombie."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        states = []
        for pid in pids:
            with contextlib.suppress(OSError):
                states.append(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0])
        if all(state in "ZX" for state in states):
            return
        time.sleep(0.02)
    raise AssertionError(f"{len(states)} of {len(pids)} processes outlived their job")


def break_off(job: subprocess.Popen) -> None:
    """End a run whose last kill it has survived."""
    job.kill()
