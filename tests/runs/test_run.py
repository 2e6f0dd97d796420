"""The run, with a photometry that takes no time: the result does not depend on how it was computed."""

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mpi_launch import environment, launch, launchers, mpiexec
from run_program import (
    PROGRAM,
    call,
    content,
    everything_below,
    forked,
    fresh,
    make_input,
    reported,
    wait_for_results,
)

from tasoc_mpi.core.locks import holder
from tasoc_mpi.core.status import STATUS
from tasoc_mpi.worklist.publish import publish

STARS = 120


def test_files_are_those_of_the_stars_that_have_a_light_curve(expected):
    listed = {row[1] for row in expected["diagnostics"] if row[1]}
    assert listed == set(expected["files"])
    published = {row[0] for row in expected["todolist"] if row[9] in (1, 3)}
    assert published == {row[0] for row in expected["diagnostics"] if row[1]}
    assert expected["version"] == [(6,)]


def test_statuses_follow_from_the_results(expected):
    """Diagnostics of a star come from its own photometry, and a failed one says why."""
    starid = {row[0]: row[1] for row in expected["todolist"]}
    status = {row[0]: row[9] for row in expected["todolist"]}
    for priority, lightcurve, *_ in expected["diagnostics"]:
        assert status[priority] in (1, 2, 3)
        if lightcurve:
            assert f"tess{starid[priority]:011d}" in lightcurve
            assert expected["files"][lightcurve] == f"light curve of {starid[priority]}".encode()
    errors = [row[-1] for row in expected["diagnostics"] if status[row[0]] == 2]
    assert any("is bad" in text and "Traceback" in text for text in errors)
    assert any(text.startswith("chance") for text in errors)


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("batch", ["1", "100", None])
def test_same_result_on_any_number_of_ranks(blank, expected, tmp_path, ranks, batch):
    folder = fresh(blank, tmp_path)
    done = launch(PROGRAM, str(folder), *(["--batch", batch] if batch else []), ranks=ranks)
    assert done.returncode == 0, done.stderr
    assert content(folder) == expected
    summary = json.loads((folder / "output" / "summary.json").read_text())
    assert summary["numtasks"] == STARS
    # Stars that brighter ones claim before their turn comes are not computed.
    assert STARS - len(expected["skipped"]) <= summary["tasks_run"] <= STARS
    assert summary["SKIPPED"] == len(expected["skipped"])


def test_one_rank_under_mpiexec(blank, expected, tmp_path):
    folder = fresh(blank, tmp_path)
    if not launchers():
        pytest.skip("no mpiexec here (pip install tasoc-mpi[mpich])")
    done = launch(PROGRAM, str(folder), launcher=launchers()[0])
    assert done.returncode == 0, done.stderr
    assert content(folder) == expected


@pytest.mark.parametrize("batch", ["1", "100"])
def test_same_result_of_any_batch_size(blank, expected, tmp_path, batch):
    folder = fresh(blank, tmp_path)
    assert call([str(folder), "--batch", batch]) == 0
    assert content(folder) == expected


def test_more_ranks_than_stars(tmp_path):
    for ranks in (1, 4):
        make_input(tmp_path / f"{ranks}", 2)
        assert launch(PROGRAM, str(tmp_path / f"{ranks}"), ranks=ranks).returncode == 0
    assert content(tmp_path / "1") == content(tmp_path / "4")


def test_a_star_whose_skipping_star_is_skipped_later_keeps_its_light_curve(blank, expected, tmp_path):
    """1067 skips 1064, until a brighter star turns out to skip 1067."""
    status = {row[1]: row[9] for row in expected["todolist"]}
    assert (status[1067], status[1064]) == (STATUS.SKIPPED, STATUS.OK)
    folder = fresh(blank, tmp_path)
    for starid in ("1067", "1064"):
        assert call([str(folder), "--starid", starid]) == 0
    assert call([str(folder)]) == 0
    assert content(folder) == expected


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_same_result_of_any_sequence_of_parts(blank, expected, tmp_path, data):
    """Filters choose what is computed first; what they leave comes later, to the same end."""
    folder = fresh(blank, tmp_path)
    starids = [row[1] for row in expected["todolist"]]
    for _ in range(data.draw(st.integers(1, 3))):
        some = data.draw(st.lists(st.sampled_from(starids), min_size=1, max_size=STARS, unique=True))
        again = ["--overwrite"] if data.draw(st.booleans()) else []
        # 1: none of these has a light curve.
        assert call([str(folder), *again, "--starid", ",".join(map(str, some))]) in (0, 1)
        # At any time, what is listed is there; and else only light curves of stars that are skipped, which
        # may be wanted after all when others have their results.
        now = content(folder)
        listed = {row[1] for row in now["diagnostics"] if row[1]}
        skipped = {row[1] for row in now["todolist"] if row[9] == STATUS.SKIPPED}
        assert listed <= set(now["files"])
        assert {int(Path(name).name[4:15]) for name in set(now["files"]) - listed} <= skipped
    assert call([str(folder)]) == 0
    assert content(folder) == expected


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("overwrite", [False, True])
def test_same_result_after_a_kill_at_any_step(tmp_path, overwrite):
    """Between any two changes of the work list and of the files."""
    start = tmp_path / "blank"
    make_input(start, 45)
    assert call([str(fresh(start, tmp_path))]) == 0
    expected = content(tmp_path / "input")
    if overwrite:
        start = Path(shutil.move(tmp_path / "input", tmp_path / "done"))
    step = 0
    killed = True
    while killed:
        # Steps of saved light curves are many and alike: not each of them.
        step += 1 if step < 8 else 4
        folder = fresh(start, tmp_path)
        killed = forked([str(folder), *["--overwrite"] * overwrite], step)
        if overwrite:
            # Of what is computed again, each light curve is there, the old one or the new one.
            left = everything_below(folder / "output")
            files = expected["files"].items()
            assert all(left[folder / "output" / name] == data for name, data in files)
            publish(folder / "todo.sqlite", folder / "output")
            assert content(folder)["files"].keys() >= expected["files"].keys()
        assert call([str(folder)]) == 0
        assert content(folder) == expected, f"killed at step {step}"
    assert step > 30


def test_same_result_after_killing_a_whole_job(blank, expected, tmp_path):
    """SIGKILL for mpiexec and all ranks, at some moments of the run."""
    folder = fresh(blank, tmp_path)
    for stars in (10, 30, 50):
        command = [*mpiexec(3), *PROGRAM, str(folder), "--batch", "3"]
        variables = {**environment(), "RUN_PROGRAM_SECONDS": "0.02"}
        with subprocess.Popen(
            command,
            env=variables,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as job:
            wait_for_results(folder, stars, job)
            os.killpg(job.pid, signal.SIGKILL)
        wait_for_lock(folder)
        assert stars <= reported(folder) < STARS
    done = launch(PROGRAM, str(folder), ranks=2)
    assert done.returncode == 0, done.stderr
    assert content(folder) == expected


def wait_for_lock(folder: Path) -> None:
    """Ranks in sessions of their own end by themselves when mpiexec is gone: wait for rank 0."""
    for _ in range(200):
        if not any(holder(path) for path in (folder / "output" / "results").glob("*.log")):
            return
        time.sleep(0.1)
    raise AssertionError("rank 0 outlived mpiexec")


def test_a_rank_that_fails_ends_the_job(blank, tmp_path):
    """Whatever leaves a worker's loop gives a non-zero exit status and no hang."""
    folder = fresh(blank, tmp_path)
    done = launch(PROGRAM, str(folder), "--batch", "2", RUN_PROGRAM_EXIT="1050", ranks=3)
    assert done.returncode != 0
    assert "ends the run" in done.stderr
    assert "SystemExit: 3" in done.stderr


def test_a_rank_that_is_killed_ends_the_job(blank, expected, tmp_path):
    folder = fresh(blank, tmp_path)
    assert launch(PROGRAM, str(folder), "--batch", "2", RUN_PROGRAM_KILL="1050", ranks=3).returncode != 0
    wait_for_lock(folder)
    assert reported(folder) < STARS
    assert launch(PROGRAM, str(folder), ranks=2).returncode == 0
    assert content(folder) == expected


def test_disk_full_ends_the_job_with_its_reason(blank, expected, tmp_path):
    folder = fresh(blank, tmp_path)
    done = launch(PROGRAM, str(folder), RUN_PROGRAM_FULL="1050", ranks=3)
    assert done.returncode == 1
    assert "No space left on device; make room and run again" in done.stderr
    assert call([str(folder)]) == 0
    assert content(folder) == expected


@pytest.mark.parametrize("ranks", [1, 3])
@pytest.mark.parametrize(
    ("options", "exit_status", "message"),
    [
        (["--camera", "5"], 2, "--camera: 5: must be from 1 to 4"),
        (["--tmag-min", "9", "--tmag-max", "8"], 2, "no star is both"),
        (["--starid", "3"], 1, "none of its 120 rows fulfils the filters"),
    ],
)
def test_errors_of_the_user_are_said_once(blank, tmp_path, ranks, options, exit_status, message):
    folder = fresh(blank, tmp_path)
    done = launch(PROGRAM, str(folder), *options, ranks=ranks)
    assert done.returncode == exit_status
    assert done.stderr.count(message) == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert content_status(folder) == {None}


def content_status(folder: Path) -> set:
    return {row[9] for row in content(folder)["todolist"]}


@pytest.mark.parametrize(
    "options",
    [
        ["--batch", "0"],
        ["--datasource", "cube"],
        ["--datasource", "tpf:x"],
        ["--version", "100"],
        ["--sector", "0"],
        ["--starid", "-5"],
        ["--cache", "some"],
        ["--camera", "one"],
    ],
)
def test_wrong_values_are_usage_errors(blank, options, capsys):
    try:
        status = call([str(blank), *options])
    except SystemExit as stop:
        status = stop.code
    assert status == 2
    assert options[0] in capsys.readouterr().err


def test_nothing_to_do(blank, tmp_path, capsys):
    folder = fresh(blank, tmp_path)
    assert call([str(folder)]) == 0
    before = content(folder)
    before_run = times_of_files(folder)
    capsys.readouterr()
    assert call([str(folder)]) == 0
    assert "Nothing to do" in capsys.readouterr().out
    assert content(folder) == before
    assert times_of_files(folder) == before_run
    assert (folder / "output" / "summary.json") in before_run
    # A damaged summary is written anew, and so is one of other counts.
    path = folder / "output" / "summary.json"
    counts = json.loads(path.read_text())
    for text in ("{", json.dumps({**counts, "OK": counts["OK"] + 1}), "[]"):
        path.write_text(text)
        assert call([str(folder)]) == 0
        found = json.loads(path.read_text())
        assert found["OK"] == counts["OK"]
        assert found["tasks_run"] == 0


def times_of_files(folder: Path) -> dict[Path, int]:
    """Times of the light curves, of `summary.json` and of the records of runs."""
    kept = [path for name in ("*.gz", "*.json") for path in (folder / "output").rglob(name)]
    return {path: path.stat().st_mtime_ns for path in kept}


def test_a_ccd_without_stars_is_no_error(blank, tmp_path, capsys):
    """An array has a task for each CCD, whether the list has stars on it or not."""
    folder = fresh(blank, tmp_path)
    assert call([str(folder), "--sector", "1", "--camera", "3", "--ccd", "1"]) == 0
    expected = f"Nothing to do: {folder / 'todo.sqlite'} has no star of this sector, camera or CCD."
    assert expected in capsys.readouterr().out
    assert not (folder / "output").exists()


def test_only_errors_are_an_error(blank, expected, tmp_path, capsys):
    folder = fresh(blank, tmp_path)
    bad = [str(row[1]) for row in expected["todolist"] if row[9] == 2]
    assert call([str(folder), "--starid", ",".join(bad)]) == 1
    said = capsys.readouterr()
    assert f"none of the {len(bad)} computed stars has a light curve" in said.err
    # Failures by cause with their counts; each names a star, and the command computes it again.
    lines = said.out[said.out.index("failures and warnings by cause:") :].splitlines()[1:]
    found = [re.fullmatch(r" *ERROR +(\d+)  TIC (\d+): (.*)", line) for line in lines if "ERROR" in line]
    raised, own = "ValueError: star 0 is bad (run_program.py, line 0)", "chance 0"
    shown = {re.sub(r"\d+", "0", one[3]): int(one[1]) for one in found}
    assert sum(shown.values()) == len(bad)
    assert raised in shown
    assert own in shown
    assert all(one[2] in bad for one in found)
    command = next(line for line in lines if line.startswith("to compute one again: ")).split(": ", 1)[1]
    words = shlex.split(command)
    assert words[:2] == ["tasoc-mpi", "run"]
    assert call(words[2:]) == 1
    assert "the computed star has no light curve" in capsys.readouterr().err
    # Half of them is enough, one of three is not.
    good = [str(row[1]) for row in expected["todolist"] if row[9] == 1]
    assert call([str(folder), "--overwrite", "--starid", f"{bad[0]},{good[0]}"]) == 0
    assert call([str(folder), "--overwrite", "--starid", f"{bad[0]},{bad[1]},{good[0]}"]) == 1
    assert "only 1 of the 3 computed stars have a light curve" in capsys.readouterr().err
    # What has no star to compute is no failure, so that a batch job is not repeated for ever.
    assert call([str(folder), "--starid", ",".join(bad)]) == 0
    assert call([str(folder)]) == 0
    assert content(folder) == expected


def test_a_run_that_has_only_failures_left_is_no_error(blank, expected, tmp_path):
    folder = fresh(blank, tmp_path)
    bad = {row[1] for row in expected["todolist"] if row[9] == 2}
    good = [str(row[1]) for row in expected["todolist"] if row[1] not in bad]
    assert call([str(folder), "--starid", ",".join(good)]) == 0
    assert call([str(folder)]) == 0
    assert content(folder) == expected


def test_filters_choose_the_stars(blank, tmp_path):
    rows = {}
    for number, options in enumerate((["--ccd", "2"], ["--tmag-max", "6"], ["--method", "aperture"])):
        folder = fresh(blank, tmp_path / str(number))
        assert call([str(folder), *options]) == 0
        rows[number] = [row for row in content(folder)["todolist"] if row[9] not in (None, 5)]
    assert {row[5] for row in rows[0]} == {2}
    assert max(row[8] for row in rows[1]) <= 6
    assert {row[7] for row in rows[2]} == {"aperture"}


def test_folders_from_the_environment(blank, tmp_path, monkeypatch):
    folder = fresh(blank, tmp_path)
    monkeypatch.setenv("TESSPHOT_INPUT", str(folder))
    monkeypatch.setenv("TESSPHOT_OUTPUT", str(tmp_path / "elsewhere"))
    assert call(["--tmag-max", "6"]) == 0
    assert content(folder, tmp_path / "elsewhere")["files"]
    assert not (folder / "output").exists()


def test_the_scheduler_stays_small_and_apart():
    """Rank 0 starts without what only photometry needs, and a worker without the scheduler."""
    program = "import sys, tasoc_mpi.{}; print(*sys.modules)"
    modules = {
        name: subprocess.run(
            [sys.executable, "-c", program.format(module)],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout.split()
        for name, module in (("scheduler", "scheduler.dispatcher"), ("worker", "worker.rank"))
    }
    heavy = {"numba", "matplotlib", "astropy", "h5py", "scipy", "mpi4py.MPI", "tasoc_mpi.photometry"}
    assert not heavy & set(modules["scheduler"])
    assert not [name for name in modules["worker"] if name.startswith("tasoc_mpi.scheduler")]


def test_stale_started_rows_are_computed(blank, expected, tmp_path):
    folder = fresh(blank, tmp_path)
    with contextlib.closing(sqlite3.connect(folder / "todo.sqlite")) as conn, conn:
        conn.execute("UPDATE todolist SET status = 6 WHERE priority % 3 = 0")
    assert call([str(folder)]) == 0
    assert content(folder) == expected


def test_overwrite_moves_to_another_version(blank, expected, tmp_path, capsys):
    folder = fresh(blank, tmp_path)
    assert call([str(folder), "--version", "5"]) == 0
    assert call([str(folder)]) == 1
    assert "of version 5" in capsys.readouterr().err
    assert call([str(folder), "--overwrite"]) == 0
    assert content(folder) == expected


def test_every_output_folder_has_its_own_results(blank, expected, tmp_path):
    """The work list tells of the one that was published last; the others stay as they are."""
    folder = fresh(blank, tmp_path)
    assert call([str(folder), "--output", str(tmp_path / "a")]) == 0
    before = everything_below(tmp_path / "a")
    assert call([str(folder), "--output", str(tmp_path / "b"), "--overwrite", "--ccd", "1"]) == 0
    assert everything_below(tmp_path / "a") == before
    found = content(folder, tmp_path / "b")
    assert {row[9] for row in found["todolist"] if row[5] == 2} == {None}
    assert {row[1] for row in found["diagnostics"] if row[1]} == set(found["files"])
    # A folder may be moved, and be the one of the list again.
    (tmp_path / "a").rename(tmp_path / "c")
    assert call([str(folder), "--output", str(tmp_path / "c")]) == 0
    assert content(folder, tmp_path / "c") == expected


def test_a_second_scheduler_is_refused(blank, tmp_path):
    folder = fresh(blank, tmp_path)
    variables = {**os.environ, "RUN_PROGRAM_SECONDS": "0.1"}
    with subprocess.Popen([*PROGRAM, str(folder)], env=variables, stderr=subprocess.PIPE) as first:
        assert b"120 stars" in first.stderr.readline()
        second = launch(PROGRAM, str(folder))
        assert second.returncode == 1
        assert f"in use by process {first.pid} on " in second.stderr
        assert "s001-1-1.log: " in second.stderr
        first.kill()
    # The lock falls with its owner.
    assert launch(PROGRAM, str(folder), "--ccd", "1").returncode == 0


def test_unwritable_output_folder(blank, tmp_path, capsys):
    folder = fresh(blank, tmp_path)
    (tmp_path / "file").write_text("")
    assert call([str(folder), "--output", str(tmp_path / "file")]) == 1
    assert "choose another --output" in capsys.readouterr().err


def test_waiting_ranks_leave_the_core_alone(blank, tmp_path):
    """With workers that sleep through their stars, no rank uses its processor to wait for a message."""
    folder = fresh(blank, tmp_path)
    done = launch(PROGRAM, str(folder), "--batch", "10", RUN_PROGRAM_SECONDS="0.05", ranks=3)
    assert done.returncode == 0
    used = [float(seconds) for seconds in re.findall(r"processor time ([\d.]+)", done.stderr)]
    summary = json.loads((folder / "output" / "summary.json").read_text())
    assert len(used) == 3
    # 120 stars of 50 ms on two ranks.
    assert summary["seconds"] > 2.5
    # A rank that spins uses all of it; here it is a few percent and what the start costs.
    assert max(used) < 0.5 * summary["seconds"]
    # The first batch is waited for, until all ranks have started; the others lie ready.
    assert summary["mean_worker_waittime"] < 0.1 * summary["mean_elaptime"]
