"""`TaskManager`: star by star over the same file as the run, to the same end."""

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from run_program import Photometry, call, content, make_input

from tasoc_mpi.core.errors import InputError, UsageError
from tasoc_mpi.core.messages import unpack_results
from tasoc_mpi.core.status import STATUS
from tasoc_mpi.scheduler import run_results
from tasoc_mpi.scheduler.taskmanager import TaskManager
from tasoc_mpi.worklist.result_log import LogWriter


@pytest.fixture
def folder(tmp_path):
    make_input(tmp_path / "input", 120)
    return tmp_path / "input"


def compute(task, output):
    """A result of the stand-in photometry, as a dictionary."""
    result = {"priority": task["priority"], "starid": task["starid"], "time": 0.01, "method_used": "aperture"}
    try:
        pho = Photometry(
            **{k: v for k, v in task.items() if k not in ("priority", "tmag", "datasource")},
            output_folder=str(output),
            version=6,
        )
    except ValueError as error:
        return {**result, "status": STATUS.ERROR, "details": {"errors": [str(error)]}}
    status = STATUS(pho.result.status)
    if status.has_lightcurve:
        pho.save_lightcurve()
    details = {
        "errors": pho.result.errors,
        "skip_targets": pho.result.skip_targets,
        "mean_flux": pho.result.mean_flux,
        "filepath_lightcurve": pho.path,
    }
    return {**result, "status": status, "details": details}


@pytest.mark.parametrize("order", ["first", "random"])
def test_the_same_statuses_as_the_run(folder, tmp_path, order):
    with TaskManager(folder) as manager:
        while task := manager.get_task() if order == "first" else manager.get_random_task():
            manager.start_task(task["priority"])
            manager.save_result(compute(task, manager.output))
        assert manager.get_number_tasks() == 0
    make_input(tmp_path / "other", 120)
    assert call([str(tmp_path / "other")]) == 0
    ours, theirs = content(folder), content(tmp_path / "other")
    for name in ("todolist", "skipped", "tables", "version", "files"):
        assert ours[name] == theirs[name], name
    summary = json.loads((folder / "output" / "summary.json").read_text())
    assert summary["SKIPPED"] == len(theirs["skipped"])
    # A run finds nothing to do.
    assert call([str(folder)]) == 0
    assert content(folder)["todolist"] == ours["todolist"]


def test_constraints_and_started_stars(folder):
    with TaskManager(folder) as manager:
        every = manager.get_number_tasks()
        assert every == 120
        assert manager.get_number_tasks(ccd=1) + manager.get_number_tasks(ccd=2) == every
        assert manager.get_number_tasks(ccd=[1, 2]) == every
        assert manager.get_number_tasks(method="aperture") == 24
        assert manager.get_task(starid=3) is None
        task = manager.get_task(ccd=2)
        assert task["ccd"] == 2
        assert task["datasource"] == "ffi"
        manager.start_task(task["priority"])
        assert manager.get_task(ccd=2)["priority"] > task["priority"]
        assert manager.get_number_tasks() == every - 1
        assert manager.get_task(priority=task["priority"]) is None
    # What was started and not saved is to do again.
    with TaskManager(folder) as manager:
        assert manager.get_number_tasks() == every


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("tmag_max", "bright", "tmag_max 'bright': a magnitude"),
        ("tmag_min", float("nan"), "tmag_min nan: a magnitude"),
        ("starid", 1.5, "starid 1.5: a whole number"),
        ("camera", [1, "x"], "camera 'x': a whole number"),
        ("datasource", "cube", "datasource 'cube': ffi, tpf or tpf:STARID"),
        ("method", 5, "method 5: the name of a method"),
        ("tmag", 5, "no filter 'tmag'; a task is chosen by sector,"),
    ],
)
def test_a_task_that_no_star_can_be_is_not_none(folder, name, value, reason):
    """A loop over tasks would end at once, as if all were done."""
    with TaskManager(folder) as manager:
        for find in (manager.get_task, manager.get_number_tasks):
            with pytest.raises(UsageError, match=reason):
                find(**{name: value})
        assert manager.get_task(ccd="2")["ccd"] == manager.get_task(ccd=2.0)["ccd"] == 2


@pytest.mark.parametrize("wrong", [{"version": 100}, {"version": 1.5}, {"photometry": Photometry}])
def test_impossible_versions_and_methods(folder, wrong):
    with pytest.raises(UsageError, match=r"version .*: a whole number|method .*: name it as a text"):
        TaskManager(folder, **wrong)


def test_a_backup_and_a_summary_at_any_time(folder):
    with TaskManager(folder) as manager:
        tasks = [manager.get_task(priority=priority) for priority in (1, 2, 3)]
        manager.save_results({"priority": t["priority"], "status": 2, "time": 1.0} for t in tasks)
        backup = manager.backup()
        with contextlib.closing(sqlite3.connect(backup)) as conn:
            assert conn.execute("SELECT COUNT(*) FROM todolist WHERE status = 2").fetchone() == (3,)
        assert json.loads(manager.write_summary().read_text())["ERROR"] == 3


def test_wrong_results_are_refused(folder):
    with TaskManager(folder) as manager:
        with pytest.raises(InputError, match="no star of priority 999"):
            manager.save_result({"priority": 999, "status": 1})
        with pytest.raises(InputError, match="without 'status'"):
            manager.save_result({"priority": 1})
        for status in (STATUS.SKIPPED, STATUS.STARTED, 0, 17):
            with pytest.raises(InputError, match=f"priority 1 has the status {int(status)};"):
                manager.save_result({"priority": 1, "status": status, "time": 1.0})
        for name in ("time", "worker_wait_time"):
            with pytest.raises(InputError, match=f"priority 1 has the {name} nan;"):
                manager.save_result({"priority": 1, "status": 2, name: float("nan")})
        for wrong, reason in (
            ({"priority": 1.5}, "priority 1.5: a whole number"),
            ({"status": "fine"}, "the status fine;"),
            ({"time": "x"}, "has the time 'x';"),
            ({"details": 5}, r"priority 1 are no mapping \(int\)"),
            ({"details": {"skip_targets": [3.5]}}, "skip_targets: TIC 3.5"),
            ({"details": {"skip_targets": [2**63]}}, "skip_targets: TIC 9223372036854775808: a whole number"),
        ):
            with pytest.raises((InputError, UsageError), match=reason):
                manager.save_result({"priority": 1, "status": 1, **wrong})
        for wrong_task in (None, "x", {"priority": 1.5}, [{"priority": None}]):
            with pytest.raises(UsageError, match=r"priority .*: a whole number is needed"):
                manager.start_task(wrong_task)
        assert manager.get_number_tasks() == 120
        manager.save_result({"priority": 2, "status": 2, "time": 1.0, "worker_wait_time": None})
    with TaskManager(folder) as manager:
        assert manager.get_number_tasks() == 119


def test_the_work_list_has_one_user(folder):
    program = (
        "import sys; from tasoc_mpi.scheduler.taskmanager import TaskManager\nTaskManager(sys.argv[1])\n"
    )
    with TaskManager(folder):
        other = subprocess.run(
            [sys.executable, "-c", program, str(folder)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert other.returncode == 1
    assert f"in use by process {os.getpid()} on " in other.stderr


def test_light_curves_are_on_the_disk_before_a_log_names_them(folder, monkeypatch):
    steps = []
    make_durable, append = run_results.make_durable, LogWriter.append

    def recorded_sync(output, listed):
        assert all((Path(output) / name).is_file() for name in listed)
        make_durable(output, listed)
        steps.append(("synced", sorted(listed)))

    def recorded_append(log, records, *kind):
        append(log, records, *kind)
        names = [name for _, message in records for name in unpack_results(message).lightcurve if name]
        steps.append(("logged", sorted(names)))

    monkeypatch.setattr(run_results, "make_durable", recorded_sync)
    monkeypatch.setattr(LogWriter, "append", recorded_append)
    with TaskManager(folder) as manager:
        for _ in range(5):
            task = manager.get_task(ccd=1)
            manager.start_task(task["priority"])
            manager.save_result(compute(task, manager.output))
        manager.backup()
    logged = [name for what, names in steps for name in names if what == "logged"]
    assert len(logged) >= 2
    for number, (what, names) in enumerate(steps):
        if what == "logged":
            before = {name for what, names in steps[:number] for name in names if what == "synced"}
            assert set(names) <= before
