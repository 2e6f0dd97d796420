"""A sector of two CCDs through a real SLURM: the same result as that of one run, whatever happens to jobs."""

import contextlib
import getpass
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import yaml
from run_program import content
from slurm_cluster import Cluster, missing_programs
from todo_rows import load_todo

from tasoc_mpi import cli
from tasoc_mpi.core.methods import method_file
from tasoc_mpi.slurm.chain import plan
from tasoc_mpi.slurm.jobs import queue_lines, queue_table, read_jobs
from tasoc_mpi.slurm.slurm import Slurm
from tasoc_mpi.worklist.ccd_status import WorkListStatus
from tasoc_mpi.worklist.work_list import load_worklist

PROGRAM = [sys.executable, str(Path(__file__).parents[1] / "helpers" / "slurm_program.py")]
SITE = {
    "launch": "srun-pmi2",
    "partition": "tiny",
    "command": PROGRAM,
    "warning": "30",
    "restarts": "3",
    "setup": [f"export PATH={Path(sys.executable).parent}:$PATH"],
    "steps": {
        "prepare": {"time": "10", "memory": "1G"},
        "run": {"time": "10", "memory": "1G", "ranks": "2"},
    },
}
CCDS = [(1, 1, 1), (1, 1, 2)]


@pytest.fixture(scope="module")
def cluster():
    """A SLURM of our own."""
    missing = missing_programs()
    if missing:
        message = f"SLURM is not installed here (no {', '.join(missing)}); Debian: slurm-wlm and munge"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    # Not pytest's folder: its names are too long for sockets.
    with tempfile.TemporaryDirectory(prefix="slurm") as folder:
        cluster = Cluster(Path(folder))
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop()


@pytest.fixture(autouse=True)
def environment(cluster, monkeypatch):
    """SLURM's commands talk to ours; files are the same whenever they are made."""
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    for name in set(os.environ) - set(cluster.environment):
        monkeypatch.delenv(name)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    yield
    # Nothing of a test that failed is left to the next.
    if "slurmd" not in cluster.processes:
        cluster.start_node()
    if cluster.command("squeue", "-h").stdout.strip():
        cluster.command("scancel", "--user", getpass.getuser(), check=False)
        wait(cluster, 60)


@pytest.fixture(scope="module")
def frames(tmp_path_factory) -> Path:
    """The frames and catalogs of two CCDs."""
    folder = tmp_path_factory.mktemp("frames")
    size = [
        "--rows",
        "64",
        "--columns",
        "64",
        "--frames",
        "24",
        "--tpfs",
        "1",
        "--density",
        "2",
        "--seed",
        "7",
    ]
    for ccd in ("1", "2"):
        assert cli.main(["--quiet", "simulate", str(folder), "--camera", "1", "--ccd", ccd, *size]) == 0
    return folder


@pytest.fixture(scope="module")
def prepared(frames, tmp_path_factory) -> Path:
    """With cubes and work list."""
    folder = shutil.copytree(frames, tmp_path_factory.mktemp("prepared") / "input")
    assert cli.main(["--quiet", "prepare", str(folder)]) == 0
    assert cli.main(["--quiet", "todo", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def expected(prepared, tmp_path_factory) -> dict:
    """What one run makes of it."""
    folder = shutil.copytree(prepared, tmp_path_factory.mktemp("expected") / "input")
    found = run_without_slurm(folder)
    assert len(found["files"]) > 50
    assert {row[5] for row in found["todolist"]} == {1, 2}
    assert any(row[3] == "tpf" for row in found["todolist"])
    return found


@pytest.fixture
def folder(prepared, tmp_path) -> Path:
    return shutil.copytree(prepared, tmp_path / "input")


def run_without_slurm(folder: Path, *options: str, method: str = "") -> dict:
    """The result of `tasoc-mpi run` in a process of this machine."""
    command = [sys.executable, "-m", "tasoc_mpi.cli", "--quiet", "run", str(folder), *options]
    subprocess.run(command, check=True, timeout=400, env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"})
    return result(folder, method)


def result(folder: Path, method: str = "") -> dict:
    """The work list's content, times of computation aside, and the bytes of all light curves."""
    todo = method_file(folder / "todo.sqlite", method)
    found = content(folder, method_file(folder / "output", method), todo.name)
    with contextlib.closing(sqlite3.connect(todo)) as conn:
        columns = [row[1] for row in conn.execute("PRAGMA table_info(diagnostics_corr)")]
        if columns:
            kept = ", ".join(name for name in columns if name not in ("elaptime", "worker_wait_time"))
            query = f"SELECT {kept} FROM diagnostics_corr ORDER BY priority"
            found["corrections"] = conn.execute(query).fetchall()
    found["files"] = {name: data for name, data in found["files"].items() if name.endswith(".fits.gz")}
    return found


def write_site(folder: Path, **changes) -> Path:
    """A site file in the input folder."""
    path = folder / "site.yaml"
    path.write_text(yaml.safe_dump({**SITE, **changes}))
    return path


def submit(folder: Path, *options: str) -> dict[str, list]:
    """`tasoc-mpi submit`; returns the jobs by step."""
    assert cli.main(["submit", str(folder), *options]) == 0
    steps: dict[str, list] = {}
    for job in read_jobs(folder):
        steps.setdefault(job.step, []).append(job)
    return steps


def wait(cluster: Cluster, seconds: float, folder: Path | None = None) -> None:
    """Wait until the queue is empty."""
    deadline = time.monotonic() + seconds
    while cluster.command("squeue", "-h").stdout.strip():
        if time.monotonic() > deadline:
            table = "\n".join(queue_lines(folder)) if folder else cluster.command("squeue").stdout
            pytest.fail(f"not over after {seconds} s\n{table}\n{logs(folder)}\n{cluster.logs()}")
        time.sleep(0.5)


def wait_for(condition, seconds: float, what: str, cluster: Cluster) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"no {what} after {seconds} s\n{cluster.command('squeue').stdout}\n{cluster.logs()}")
        time.sleep(0.3)


def logs(folder: Path | None, step: str = "") -> str:
    if folder is None:
        return ""
    paths = sorted((folder / "slurm").glob(f"{step}*.log"))
    return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')}" for path in paths)


def states(folder: Path) -> dict[str, set[str]]:
    """States of the tasks of each step."""
    found: dict[str, set[str]] = {}
    for row in queue_table(folder) or ():
        found.setdefault(row.step, set()).add(row.now.state)
    return found


def restarts(cluster: Cluster, job: str) -> int:
    text = cluster.command("scontrol", "show", "job", job).stdout
    return int(re.search(r"Restarts=(\d+)", text)[1])


@pytest.mark.timeout(400)
def test_a_sector_from_frames_to_report(cluster, frames, expected, tmp_path, capsys):
    """With one command, and with cubes on the node's own disk."""
    folder = shutil.copytree(frames, tmp_path / "input")
    scratch = tmp_path / "node's disk"
    setup = [f'export HERE="{scratch}"', '[ -d "$HERE" ] || { mkdir "$HERE"; touch -d @0 "$HERE"; }']
    # As a user has it: the program that submits also runs.
    write_site(folder, cube="staged", scratch="$HERE", setup=setup, command=[])
    steps = submit(folder)
    assert list(steps) == ["prepare", "todo", "run", "publish", "report"]
    assert [job.ccds for job in steps["run"]] == [tuple(CCDS)]
    # While it is under way.
    assert cli.main(["submit", str(folder)]) == 1
    error = capsys.readouterr().err
    assert "still in the queue" in error
    assert error.count("\n") == 1
    wait(cluster, 350, folder)
    assert set().union(*states(folder).values()) == {"COMPLETED"}, logs(folder)
    assert result(folder) == expected
    assert (folder / "output" / "noise.png").exists()
    text = logs(folder, "run")
    assert "on 1 of 2 ranks" in text
    # There were copies, and they are gone.
    assert scratch.stat().st_mtime > 0
    assert not list(scratch.glob("*.hdf5"))
    # Nothing is left to do; what is done stays as it is.
    before = read_jobs(folder)
    assert cli.main(["submit", str(folder), "--resume"]) == 0
    assert "Nothing to do" in capsys.readouterr().out
    assert read_jobs(folder) == before


@pytest.mark.timeout(400)
def test_one_method_for_all_stars(cluster, frames, prepared, expected, tmp_path):
    """From frames to report, beside the results of the work list's methods."""
    other = shutil.copytree(prepared, tmp_path / "other")
    expected_linpsf = run_without_slurm(other, "--photometry", "linpsf", method="linpsf")
    folder = shutil.copytree(frames, tmp_path / "input")
    write_site(folder)
    steps = submit(folder, "--photometry", "linpsf")
    assert list(steps) == ["prepare", "todo", "run", "publish", "report"]
    wait(cluster, 350, folder)
    assert set().union(*states(folder).values()) == {"COMPLETED"}, logs(folder)
    found = result(folder, "linpsf")
    assert found == expected_linpsf
    assert len(found["files"]) > len(expected["files"])
    assert (folder / "output-linpsf" / "noise.png").exists()
    assert not (folder / "output").exists()
    # The work list's own methods are still to do, and linpsf is not.
    assert plan(folder, resume=True)["run"] == tuple(CCDS)
    assert not plan(folder, resume=True, method="linpsf")


@pytest.mark.timeout(400)
def test_a_sector_with_corrected_light_curves(cluster, tmp_path):
    """The jobs' result is that of `run --correct`."""
    folder = tmp_path / "input"
    size = [
        "--rows",
        "64",
        "--columns",
        "64",
        "--frames",
        "48",
        "--tpfs",
        "1",
        "--density",
        "6",
        "--seed",
        "7",
    ]
    assert cli.main(["--quiet", "simulate", str(folder), "--camera", "1", "--ccd", "1", *size]) == 0
    other = shutil.copytree(folder, tmp_path / "other")
    write_site(folder)
    steps = submit(folder, "--correct")
    assert list(steps) == ["prepare", "todo", "run", "publish", "cbv", "correct", "report"]
    for command in ("prepare", "todo"):
        assert cli.main(["--quiet", command, str(other)]) == 0
    expected_here = run_without_slurm(other, "--correct")
    assert len(expected_here["corrections"]) > 50
    wait(cluster, 350, folder)
    assert set().union(*states(folder).values()) == {"COMPLETED"}, logs(folder)
    assert result(folder) == expected_here
    assert (folder / "output" / "noise.png").exists()


@pytest.mark.timeout(500)
def test_tasks_at_their_time_limit_are_requeued_and_finish(cluster, folder, expected):
    """One of them hangs and is ended; the other saves what it has and ends by itself."""
    setup = [*SITE["setup"], "export SLURM_TEST=hangs:1:slow:2"]
    steps = {**SITE["steps"], "run": {**SITE["steps"]["run"], "time": "1", "options": ["--batch", "1"]}}
    # SLURM looks every 30 s and warns up to 30 s early: after 15 to 45 s here, with some stars done.
    write_site(folder, setup=setup, steps=steps, warning="15")
    job = submit(folder, "--resume")["run"][0].job
    wait(cluster, 450, folder)
    text = logs(folder, "run")
    assert states(folder)["run"] == {"COMPLETED"}, text
    # A later attempt may also be warned.
    assert all(1 <= restarts(cluster, f"{job}_{task}") <= 3 for task in (0, 1))
    hung, slow = (Path(folder, "slurm", f"run-{job}_{task}.log").read_text() for task in (0, 1))
    for log in (hung, slow):
        assert "tasoc-mpi run: SIGUSR1" in log
        assert log.count("status 75: restart 1 of 3") == 1
    assert "told to end by SIGUSR1" not in hung.partition("restarted 1 times")[0]
    assert "told to end by SIGUSR1" in slow.partition("restarted 1 times")[0]
    # It was a continuation: no star was computed again (and some were not wanted any more).
    counts = [int(number) for number in re.findall(r"(\d+) (?:stars|rows) computed", slow)]
    assert len(counts) >= 2
    assert counts[0] > 0
    assert sum(counts) <= int(re.search(r"(\d+) (?:rows of \d+ )?stars of 1 CCD", slow)[1])
    assert result(folder) == expected


@pytest.mark.timeout(500)
def test_a_node_fails_and_comes_back(cluster, folder, expected):
    # What runs goes on when the node's daemon is gone: for longer than SLURM takes to notice.
    steps = {**SITE["steps"], "run": {**SITE["steps"]["run"], "options": ["--batch", "1"]}}
    write_site(folder, setup=[*SITE["setup"], "export SLURM_TEST=slower:1:slower:2"], steps=steps)
    job = submit(folder, "--only", "run,publish")["run"][0].job

    def some_results() -> bool:
        rows = load_worklist(folder / "todo.sqlite")
        status = WorkListStatus(rows, folder / "output")
        return all(one.done for one in status.ccds(status.update()))

    wait_for(some_results, 200, "results", cluster)
    cluster.stop_node()
    wait_for(lambda: cluster.node_state().startswith("down"), 90, "failed node", cluster)
    assert states(folder)["run"] <= {"PENDING", "REQUEUED", "COMPLETING"}
    cluster.start_node()
    wait(cluster, 350, folder)
    assert states(folder) == {"run": {"COMPLETED"}, "publish": {"COMPLETED"}}, logs(folder)
    assert all(restarts(cluster, f"{job}_{task}") >= 1 for task in (0, 1))
    assert result(folder) == expected


@pytest.mark.timeout(500)
def test_a_task_that_fails_is_resumed(cluster, folder, expected, monkeypatch, capsys):
    """It is tried again as often as allowed, the others are published; --resume does the rest, by mpiexec."""
    write_site(folder, restarts="1", setup=[*SITE["setup"], "export SLURM_TEST=exit:2"])
    (folder / "fail").touch()
    # Arrays of one task: as if more CCDs were there than an array can have.
    monkeypatch.setattr(Slurm, "max_array_size", lambda _: 1)
    steps = submit(folder)
    assert [job.ccds for job in steps["run"]] == [(ccd,) for ccd in CCDS]
    wait(cluster, 350, folder)
    found = states(folder)
    assert found["run"] == {"COMPLETED", "FAILED"}, logs(folder)
    assert found["publish"] == found["report"] == {"COMPLETED"}, logs(folder)
    assert restarts(cluster, f"{steps['run'][1].job}_0") == 1
    rows = load_todo(folder / "todo.sqlite")
    assert (rows["status"][rows["ccd"] == 1] > 0).all()
    assert (rows["status"][rows["ccd"] == 2] == 0).any()
    capsys.readouterr()
    assert cli.main(["status", str(folder)]) == 0
    assert re.search(r"run +s001-1-2 +\d+_0 +FAILED.* \d+/\d+ +NonZeroExitCode", capsys.readouterr().out)

    (folder / "fail").unlink()
    write_site(folder, launch="mpiexec")
    steps = submit(folder, "--resume", "--only", "todo,run", "--only", "publish")
    assert list(steps) == ["todo", "run", "publish"]
    assert [job.ccds for job in steps["run"]] == [(CCDS[1],)]
    wait(cluster, 350, folder)
    assert set().union(*states(folder).values()) == {"COMPLETED"}, logs(folder)
    assert "on 1 of 2 ranks" in logs(folder, f"run-{steps['run'][0].job}")
    assert result(folder) == expected


@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"partition": "nowhere"}, "invalid partition specified: nowhere|Invalid partition name"),
        ({"partition": "closed"}, "refuses the prepare step"),
        ({"partition": "short"}, "time limit is invalid"),
        ({"sbatch": ["--gres=nothing:1"]}, "refuses the prepare step"),
    ],
)
def test_nothing_is_submitted_where_slurm_refuses(cluster, frames, tmp_path, capsys, changes, message):
    folder = shutil.copytree(frames, tmp_path / "input")
    path = write_site(folder, **changes)
    assert cli.main(["submit", str(folder)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"tasoc-mpi submit: error: {path}: SLURM refuses the prepare step (sbatch: ")
    assert re.search(message, error)
    assert error.count("\n") == 1
    assert not cluster.command("squeue", "-h").stdout.strip()
    assert not (folder / "slurm-jobs.json").exists()


@pytest.mark.timeout(200)
def test_a_later_step_that_is_refused_takes_the_others_along(cluster, frames, tmp_path, capsys, monkeypatch):
    """Also if SLURM said before that it would take it."""
    folder = shutil.copytree(frames, tmp_path / "input")
    write_site(folder)
    asked = []

    def check(self, script):
        asked.append(script.stem)
        original_check(self, script)

    def submit(self, script, *waits):
        asked.append(script.stem)
        if script.stem == "run":
            script.write_text(script.read_text().replace("--partition=tiny", "--partition=nowhere"))
        return original_submit(self, script, *waits)

    original_check, original_submit = Slurm.check, Slurm.submit
    monkeypatch.setattr(Slurm, "check", check)
    monkeypatch.setattr(Slurm, "submit", submit)
    assert cli.main(["submit", str(folder)]) == 1
    assert "refuses the run step" in capsys.readouterr().err
    assert asked == ["prepare", "todo", "run", "publish", "report", "prepare", "todo", "run"]
    wait(cluster, 100)
    assert not read_jobs(folder)
    assert not (folder / "sector001_camera1_ccd1.hdf5").exists()
