"""Stars that crash, hang or eat memory, and killed processes: the run ends, and the rest is right."""

import faulty
import pytest
from mpi_launch import launch
from run_program import content, fresh

STARS = 120

#: What a star does, what becomes of it, and what its errors say. Stars that no other one claims.
FAULTS = {
    "segfault": (1011, 4, "SIGSEGV"),
    "hang": (1032, 4, "no result after 15 s"),
    "stuck": (1045, 4, "no result after 15 s"),
    "think_to_be_a_rank": (1049, 2, "I am rank None"),
    "raise": (1056, 2, "a star that raises"),
    "eat": (1072, 2, "MemoryError"),
    "abort": (1090, 4, "SIGABRT"),
    "leave": (1101, 4, "exit status 3"),
    "write_and_crash": (1111, 4, "again when it ran alone"),
}


def faults() -> str:
    return " ".join(f"{name}:{starid}" for name, (starid, _, _) in FAULTS.items())


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
@pytest.mark.timeout(300)
@pytest.mark.parametrize("ranks", [1, 3])
def test_faulty_stars_hurt_nobody_else(blank, without, tmp_path, ranks):
    folder = fresh(blank, tmp_path)
    # On a busy machine it takes some seconds to use up a memory of 1 GB.
    options = ["--target-timeout", "15", "--memory-limit", "1"]
    done = launch(faulty.PROGRAM, str(folder), *options, ranks=ranks, seconds=250, FAULTY_STARS=faults())
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


def test_a_crash_that_does_not_come_again_is_forgotten(blank, undisturbed, tmp_path, monkeypatch):
    folder = fresh(blank, tmp_path)
    monkeypatch.setenv("FAULTY_STARS", "once:1007,1008,1060")
    assert faulty.call(["--quiet", "run", str(folder)]) == 0
    assert len(list(tmp_path.rglob("crashed-*"))) == 3
    assert content(folder) == undisturbed
