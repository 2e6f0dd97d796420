"""Site files, batch scripts and plans, without a SLURM: what is asked of it, and what is said without one."""

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from run_program import call, make_input

from tasoc_mpi import cli
from tasoc_mpi.core.errors import InputError, MissingInput
from tasoc_mpi.slurm.chain import plan, scripts, submit
from tasoc_mpi.slurm.jobs import SubmittedJob, queue_lines, queue_table, read_jobs, write_jobs
from tasoc_mpi.slurm.scripts import render
from tasoc_mpi.slurm.site import STEPS, examples, load_site
from tasoc_mpi.slurm.slurm import Slurm
from tasoc_mpi.worklist.schema import TODO_DTYPE
from tasoc_mpi.worklist.todo_file import create_todo

SITE = {
    "launch": "srun-pmi2",
    "steps": {
        "prepare": {"time": "4:00:00", "memory": "32G"},
        "run": {"time": "2-12:00:00", "memory": "0", "ranks": "16", "nodes": "2"},
    },
}


def write(folder: Path, text: str | dict) -> Path:
    path = folder / "site.yaml"
    path.write_text(text if isinstance(text, str) else yaml.safe_dump(text))
    return path


def changed(**changes) -> dict:
    """The site's settings with some changed, or removed where None."""
    return {key: value for key, value in {**SITE, **changes}.items() if value is not None}


def bash(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script as SLURM would."""
    return subprocess.run(
        ["bash"], input=script, text=True, capture_output=True, timeout=60, env={**os.environ, **environment}
    )


@pytest.mark.parametrize("name", ["mpiexec", "srun", "staged"])
def test_examples_are_site_files_that_give_scripts(name, tmp_path):
    assert sorted(examples()) == ["mpiexec", "srun", "staged"]
    site = load_site(name)
    for step in STEPS:
        text = render(site, step, tmp_path, tmp_path / "output", 6, [(1, 2, 3)])
        assert "{{" not in text
        checked = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True)
        assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("name", ["mpiexec", "srun", "staged"])
def test_a_printed_example_is_a_site_file(name, tmp_path, capsys):
    """Without a folder of data, and with no account, partition or path that only another cluster has."""
    assert cli.main(["submit", "--example", name]) == 0
    text = capsys.readouterr().out
    assert text == examples()[name].read_text()
    site = load_site(write(tmp_path, text))
    assert site.launch == load_site(name).launch
    assert {site.account, site.partition, site.qos} <= {"", None}
    assert not any(step.partition for step in site.steps.values())


def test_an_unknown_example(capsys):
    assert cli.main(["submit", "--example", "nowhere"]) == 2
    assert "--example nowhere: is none of mpiexec, srun, staged" in capsys.readouterr().err


def test_times_are_as_they_are_written(tmp_path):
    """YAML itself would read 2:30:00 as 9000 and 010 as 8."""
    steps = {"prepare": "{time: 2:30:00, memory: 010}", "run": "{time: 90, memory: 64G}"}
    text = "launch: srun\nsteps:\n" + "".join(f"  {name}: {value}\n" for name, value in steps.items())
    site = load_site(write(tmp_path, text))
    assert (site.steps["prepare"].time, site.steps["prepare"].memory) == ("2:30:00", "010")
    assert site.steps["run"].time == "90"


BAD = [
    (changed(partion="x"), "`partion` is not known; did you mean `partition`?"),
    (changed(banana="x"), "`banana` is not known; known are "),
    (changed(launch=None), "`launch` is missing; give it, for example launch: srun-pmi2"),
    (changed(launch="aprun"), "`launch` is 'aprun'; must be one of srun-pmi2, srun-pmix, srun, mpiexec"),
    (changed(steps=None), "`steps` is missing"),
    (changed(steps={"prepare": SITE["steps"]["prepare"]}), "`steps.run` is missing"),
    (changed(steps={**SITE["steps"], "fly": {}}), "`steps.fly` is not known"),
    (changed(steps={**SITE["steps"], "run": {"memory": "1G"}}), "`steps.run.time` is missing"),
    (
        changed(steps={**SITE["steps"], "run": {"time": "1", "memory": "much"}}),
        "`steps.run.memory` is 'much'",
    ),
    (changed(steps={**SITE["steps"], "run": {"time": "soon", "memory": "1"}}), "`steps.run.time` is 'soon'"),
    (changed(steps={**SITE["steps"], "publish": {"ranks": "2"}}), "`steps.publish.ranks` and nodes: "),
    (changed(partition="a; rm -rf /"), "`partition` is 'a; rm -rf /'; must be like normal"),
    (changed(modules=["x; y"]), "`modules` has 'x; y'; must be like mpich/4.2"),
    (changed(sbatch=["-p other"]), "`sbatch` has '-p other'; must be like --constraint=fast"),
    (changed(setup={"a": "b"}), "`setup` must be a list of lines"),
    (changed(restarts="many"), "`restarts` is 'many'; must be like"),
    (changed(warning="5"), "`warning` is 5; must be from 10 to 65535"),
    (changed(cube="staged"), "`scratch` is missing"),
    (changed(system="pbs"), "`system` is 'pbs'; must be one of slurm"),
    (changed(cube="fast"), "`cube` is 'fast'; must be one of mapped, staged, shared"),
    ("launch: srun\nlaunch: srun\n", "`launch` is there twice"),
    ("- a\n- b\n", "must hold lines `key: value`"),
    ("launch: [srun\n", "not YAML"),
    ("[" * 500_000, "more than 1000 brackets"),
    ("[" * 900, "not YAML"),
    ("launch: \x1b[31m\n", "not YAML"),
    ("launch: !!python/object/apply:os.system ['false']\n", "`steps` is missing|must be one word"),
]


@pytest.mark.parametrize(("content", "message"), BAD)
def test_bad_site_files_are_named_in_one_line(tmp_path, capsys, content, message):
    path = write(tmp_path, content)
    assert cli.main(["submit", str(tmp_path), "--dry-run"]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"tasoc-mpi submit: error: {path}: ")
    assert any(part in error for part in message.split("|")), error
    assert error.count("\n") == 1


def test_no_site_file(tmp_path, capsys):
    assert cli.main(["submit", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "give --site FILE (`submit --example NAME` prints one: mpiexec, srun, staged)" in error
    assert cli.main(["submit", str(tmp_path), "--site", "nowhere.yaml"]) == 1
    assert "nowhere.yaml: no such site file" in capsys.readouterr().err
    assert cli.main(["submit", str(tmp_path), "--site", str(tmp_path)]) == 1
    assert f"{tmp_path}: a folder, and no site file; write one" in capsys.readouterr().err


def test_what_the_scripts_ask_for(tmp_path):
    site = load_site(write(tmp_path, changed(partition="big", account="p1", sbatch=["--exclusive"])))
    text = render(site, "run", tmp_path, tmp_path / "output", 6, [(1, 1, 1), (1, 1, 2), (56, 4, 3)])
    asked = re.findall(r"^#SBATCH (.*)$", text, re.MULTILINE)
    assert {
        "--nodes=2",
        "--ntasks-per-node=16",
        "--mem=0",
        "--time=2-12:00:00",
        "--partition=big",
        "--account=p1",
        "--array=0-2%16",
        "--requeue",
        "--signal=B:USR1@300",
        "--exclusive",
    } <= set(asked)
    assert 'srun --mpi=pmi2 --kill-on-bad-exit=1 -n "$SLURM_NTASKS"' in text
    small = render(site, "publish", tmp_path, tmp_path / "output", 6)
    assert "--array" not in small
    assert "srun --mpi" not in small


def fake_program(folder: Path, *lines: str) -> list[str]:
    """A program that does the given lines of bash."""
    path = folder / "program"
    path.write_text("#!/bin/bash\n" + "\n".join(lines) + "\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return [str(path)]


def test_names_with_spaces_and_quotes_reach_the_program(tmp_path):
    folder = tmp_path / "it's $HOME; `a`"
    folder.mkdir()
    command = fake_program(tmp_path, 'printf "%s\\n" "$@"')
    site = load_site(
        write(
            tmp_path, changed(command=command, steps={**SITE["steps"], "run": {"time": "1", "memory": "1"}})
        )
    )
    text = render(site, "run", folder, folder / "out put", 6, [(1, 1, 1), (56, 4, 3)])
    done = bash(text, SLURM_JOB_ID="1", SLURM_ARRAY_TASK_ID="1", SLURM_ARRAY_JOB_ID="1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1:16] == [
        "compile",
        "--only",
        "aperture",
        "run",
        str(folder),
        "--sector",
        "56",
        "--camera",
        "4",
        "--ccd",
        "3",
        "--output",
        str(folder / "out put"),
        "--version",
        "6",
    ]


@pytest.mark.parametrize(
    ("status", "restarted", "requeued"),
    [(0, 0, False), (75, 0, True), (1, 2, True), (75, 3, False), (2, 0, False)],
)
def test_who_is_requeued(tmp_path, status, restarted, requeued):
    command = fake_program(tmp_path, f"exit {status}")
    site = load_site(write(tmp_path, changed(command=command, restarts="3")))
    text = render(site, "prepare", tmp_path, tmp_path, 6, [(1, 1, 1)])
    # In place of SLURM's: takes note, and does not end the script.
    text = text.replace("#!/bin/bash", '#!/bin/bash\nscontrol() { echo "scontrol $*"; false; }')
    done = bash(
        text,
        SLURM_JOB_ID="8",
        SLURM_ARRAY_JOB_ID="7",
        SLURM_ARRAY_TASK_ID="0",
        SLURM_RESTART_COUNT=str(restarted),
    )
    assert done.returncode == status
    assert ("scontrol requeue 7_0" in done.stdout) == requeued


def test_the_warning_reaches_the_program(tmp_path):
    """A program that saves ends with its own status; one that does not is left after a while."""
    # The script waits for its program, and sleeps beside it: from then on it passes signals on.
    warn = (
        "until [ $(wc -w < /proc/$PPID/task/$PPID/children) -ge 2 ]; do sleep 0.05; done; kill -USR1 $PPID; "
    )
    until_alone = "for i in {1..300}; do sleep 0.1; kill -0 $PPID || exit; done; echo too late"
    saves = f'trap "echo saved; exit 75" USR1; {warn}{until_alone}'
    # Without the script's output, whose end would be waited for.
    hangs = f'exec > /dev/null 2>&1; trap "" USR1; {warn}{until_alone}'
    for lines, said in ((saves, "saved"), (hangs, "ends with status 75")):
        site = load_site(
            write(tmp_path, changed(command=fake_program(tmp_path, lines), restarts="0", warning="10"))
        )
        text = render(site, "todo", tmp_path, tmp_path, 6).replace("-ge 5", "-ge 2")
        done = bash(text, SLURM_JOB_ID="8")
        assert done.returncode == 75
        assert said in done.stdout
        assert "too late" not in done.stdout.partition("ends with")[0]


@pytest.mark.parametrize(("signal", "status"), [("USR1", 75), ("TERM", 143)])
def test_a_signal_before_the_program_starts(tmp_path, signal, status):
    """SLURM may send its warning up to a minute early: while modules are loaded, or kernels compiled."""
    command = fake_program(tmp_path, "echo here I am")
    site = load_site(write(tmp_path, changed(command=command, setup=[f"kill -{signal} $$"])))
    text = render(site, "publish", tmp_path, tmp_path, 6)
    text = text.replace("#!/bin/bash", '#!/bin/bash\nscontrol() { echo "scontrol $*"; false; }')
    done = bash(text, SLURM_JOB_ID="8")
    assert done.returncode == status
    assert "here I am" not in done.stdout
    assert ("scontrol requeue 8" in done.stdout) == (signal == "USR1")


@pytest.mark.parametrize("status", [0, 75])
def test_a_warning_after_the_program_ended(tmp_path, status):
    """While the task asks for a requeue, or says how it ended."""
    site = load_site(write(tmp_path, changed(command=fake_program(tmp_path, f"exit {status}"))))
    text = render(site, "publish", tmp_path, tmp_path, 6)
    text = text.replace("#!/bin/bash", "#!/bin/bash\nscontrol() { kill -USR1 $$; echo asked; false; }")
    text = text.replace('echo "$(date -u +%FT%TZ) job $job ends', 'kill -USR1 $$; echo "job $job ends')
    done = bash(text, SLURM_JOB_ID="8")
    assert done.returncode == status
    assert ("asked" in done.stdout) == (status == 75)
    assert f"job 8 ends with status {status}" in done.stdout


def test_a_sites_own_templates_go_first(tmp_path):
    (tmp_path / "own").mkdir()
    site = load_site(write(tmp_path, changed(templates="own")))
    before = render(site, "publish", tmp_path, tmp_path, 6)
    (tmp_path / "own" / "publish.sh").write_text("#!/bin/bash\n{{directives}}\nmine {{input}}\n")
    assert f"mine {tmp_path}\n" in render(site, "publish", tmp_path, tmp_path, 6)
    (tmp_path / "own" / "publish.sh").write_text("{{nothing}}")
    with pytest.raises(InputError, match=r"own/publish.sh: nothing known for \{\{nothing\}\}"):
        render(site, "publish", tmp_path, tmp_path, 6)
    (tmp_path / "own" / "publish.sh").unlink()
    assert render(site, "publish", tmp_path, tmp_path, 6) == before
    (tmp_path / "own").rmdir()
    with pytest.raises(MissingInput, match="no such folder"):
        render(site, "publish", tmp_path, tmp_path, 6)


def test_arrays_larger_than_slurm_takes_are_split(tmp_path):
    site = load_site(write(tmp_path, SITE))
    ccds = tuple(
        (sector, camera, ccd) for sector in range(1, 80) for camera in range(1, 5) for ccd in range(1, 5)
    )
    planned = scripts(site, tmp_path, tmp_path, 6, {"run": ccds, "publish": ()}, 1001)
    assert [len(item.ccds) for item in planned] == [1001, 263, 0]
    assert [item.name for item in planned] == ["run-1.sh", "run-2.sh", "publish.sh"]
    assert sum((item.ccds for item in planned), ()) == ccds
    for item in planned[:2]:
        assert f"--array=0-{len(item.ccds) - 1}%16" in item.text
        listed = re.search(r"^ccds=\((.*)\)$", item.text, re.MULTILINE)[1]
        assert [tuple(map(int, words.split())) for words in re.findall(r'"(.*?)"', listed)] == list(item.ccds)


@pytest.fixture
def folder(tmp_path) -> Path:
    """A work list of two CCDs."""
    make_input(tmp_path / "input", 60)
    return tmp_path / "input"


def test_resume_leaves_out_what_is_finished(folder):
    everything = {"todo": (), "run": ((1, 1, 1), (1, 1, 2)), "publish": (), "report": ()}
    assert plan(folder) == plan(folder, resume=True) == everything
    before = (folder / "todo.sqlite").read_bytes()
    assert call([str(folder), "--ccd", "1"]) == 0
    assert plan(folder, resume=True) == {**everything, "run": ((1, 1, 2),)}
    assert plan(folder) == everything
    assert plan(folder, only=("run",), resume=True) == {"run": ((1, 1, 2),)}
    assert call([str(folder), "--ccd", "2"]) == 0
    assert plan(folder, resume=True) == {}
    # As long as it is not published.
    (folder / "todo.sqlite").write_bytes(before)
    assert plan(folder, resume=True) == {"publish": (), "report": ()}
    assert cli.main(["--quiet", "publish", str(folder)]) == 0
    assert plan(folder, resume=True) == {}
    # In another output folder nothing is done.
    assert plan(folder, resume=True, output=folder / "other") == everything


def test_a_method_that_computes_all_stars_has_its_own_steps(folder, tmp_path, capsys):
    everything = {"todo": (), "run": ((1, 1, 1), (1, 1, 2)), "publish": (), "report": ()}
    assert call([str(folder)]) == 0
    assert plan(folder, resume=True) == {}
    assert plan(folder, resume=True, method="linpsf") == everything
    assert call([str(folder), "--photometry", "linpsf", "--ccd", "1"]) == 0
    assert plan(folder, resume=True, method="linpsf") == {**everything, "run": ((1, 1, 2),)}
    assert call([str(folder), "--photometry", "linpsf", "--ccd", "2"]) == 0
    assert plan(folder, resume=True, method="linpsf") == {}
    # The scripts name it; a class is imported on the nodes, wherever they start.
    box = tmp_path / "a box.py"
    box.write_text(
        "from tasoc_mpi import BasePhotometry\nclass Box(BasePhotometry):\n    do_photometry = print\n"
    )
    site = write(tmp_path, SITE)
    spec = f"{box}:Box"
    options = ["submit", str(folder), "--site", str(site), "--photometry", spec, "--dry-run"]
    assert cli.main(options) == 0
    scripts_of = re.split(r"^# -+ (\w+)\.sh -+$", capsys.readouterr().out, flags=re.MULTILINE)
    texts = dict(zip(scripts_of[1::2], scripts_of[2::2], strict=True))
    assert set(texts) == {"todo", "run", "publish", "report"}
    for step, text in texts.items():
        assert (f"--photometry '{spec}'" in text) == (step != "todo")
        assert step == "todo" or f"--output {folder / 'output-box'}" in text
    box.write_text("Box = 3")
    assert cli.main(options) == 1
    assert "no subclass of tasoc_mpi.BasePhotometry" in capsys.readouterr().err


def test_nothing_to_work_on(tmp_path, folder):
    with pytest.raises(MissingInput, match="no full frame images, cubes or target pixel files"):
        plan(tmp_path / "input" / "..")
    other = tmp_path / "frames"
    other.mkdir()
    (other / "tess2018206192942-s0001-1-3-0120-s_ffic.fits").touch()
    with pytest.raises(MissingInput, match="no catalog of stars; make it first, with `tasoc-mpi catalog"):
        plan(other)
    assert plan(other, only=("prepare",)) == {"prepare": ((1, 1, 3),)}


def test_dry_run_prints_and_does_nothing(folder, capsys, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    write(folder, SITE)
    before = sorted(path.name for path in folder.iterdir())
    assert cli.main(["submit", str(folder), "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert re.findall(r"^# -+ (\S+) -+$", text, re.MULTILINE) == [
        "todo.sh",
        "run.sh",
        "publish.sh",
        "report.sh",
    ]
    assert sorted(path.name for path in folder.iterdir()) == before


def test_sbatch_is_not_there(folder, capsys, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    write(folder, SITE)
    assert cli.main(["submit", str(folder)]) == 1
    error = capsys.readouterr().err
    assert (
        error
        == "tasoc-mpi submit: error: scontrol: not found; submit where SLURM's commands are (a login node)\n"
    )
    assert not (folder / "slurm-jobs.json").exists()


def fake_slurm(folder: Path, monkeypatch, **answers: str) -> None:
    """SLURM's commands as one-line bash scripts."""
    place = folder / "bin"
    place.mkdir()
    for name, line in answers.items():
        path = place / name
        path.write_text(f"#!/bin/bash\n{line}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}:/usr/bin:/bin")


def test_the_queue_as_squeue_says_it(tmp_path, monkeypatch):
    assert queue_table(tmp_path) is None
    assert list(queue_lines(tmp_path)) == []
    jobs = [SubmittedJob("run", 12, ((1, 1, 1), (1, 1, 2))), SubmittedJob("publish", 13)]
    write_jobs(tmp_path, jobs)
    assert read_jobs(tmp_path) == jobs
    fake_slurm(tmp_path, monkeypatch, squeue="echo '12|1|RUNNING|1:02|58:58|node7|None'")
    rows = queue_table(tmp_path)
    assert [(row.step, row.job, row.ccd, row.now.state) for row in rows] == [
        ("run", "12_0", (1, 1, 1), "GONE"),
        ("run", "12_1", (1, 1, 2), "RUNNING"),
        ("publish", "13", None, "GONE"),
    ]
    assert rows[1].now[2:5] == ("1:02", "58:58", "node7")
    lines = list(queue_lines(tmp_path))
    assert lines[0].split() == ["queue", "CCD", "job", "state", "time", "left", "node", "rows", "reason"]
    assert lines[2].split() == ["run", "s001-1-2", "12_1", "RUNNING", "1:02", "58:58", "node7"]


def test_a_queue_that_does_not_answer(tmp_path, monkeypatch):
    write_jobs(tmp_path, [SubmittedJob("publish", 13)])
    error = "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1"
    fake_slurm(tmp_path, monkeypatch, squeue=error)
    assert next(queue_lines(tmp_path)).startswith("queue: unknown (squeue: ")
    with pytest.raises(InputError, match="Unable to contact"):
        queue_table(tmp_path)
    # Forgotten jobs are no error.
    (tmp_path / "bin" / "squeue").write_text(
        "#!/bin/bash\necho 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1\n"
    )
    assert [row.now.state for row in queue_table(tmp_path)] == ["GONE"]


@pytest.mark.parametrize("text", ["", "{}", '{"jobs": [{"step": 1, "job": "x", "ccds": []}]}', '{"jobs": 3}'])
def test_a_damaged_list_of_jobs(tmp_path, text):
    (tmp_path / "slurm-jobs.json").write_text(text)
    with pytest.raises(InputError, match=r"slurm-jobs\.json: not a list of jobs"):
        read_jobs(tmp_path)


def test_an_interrupt_takes_back_what_was_submitted(folder, tmp_path, monkeypatch):
    """Jobs are held until all are submitted."""
    site = load_site(write(folder, SITE))
    log = tmp_path / "log"
    number = f'echo "$(basename $0) $*" >> {log}; n=$(grep -c parsable {log}); '
    fake_slurm(
        tmp_path,
        monkeypatch,
        sbatch=number
        + "[[ $n -lt 3 ]] || { echo 'sbatch: error: Batch job submission failed: no' >&2; exit 1; }; echo $n",
        scancel=number,
        scontrol=number,
    )
    planned = scripts(site, folder, folder / "output", 6, plan(folder), 1001)
    with pytest.raises(
        InputError, match=r"refuses the publish step \(sbatch: Batch job submission failed: no\)"
    ):
        submit(site, folder, planned)
    lines = log.read_text().splitlines()
    assert lines[-1] == "scancel 1 2"
    assert "--hold" in next(line for line in lines if "--parsable" in line)
    assert not any("release" in line for line in lines)
    assert json.loads((folder / "slurm-jobs.json").read_text()) == {"jobs": []}


def test_submissions_for_programs(folder, tmp_path, monkeypatch, capsys):
    """`--json` has the scripts that --dry-run prints, and the numbers of the jobs that are submitted."""
    write(folder, SITE)
    assert cli.main(["submit", str(folder), "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert cli.main(["submit", str(folder), "--dry-run", "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert planned["jobs"] == []
    assert [one["step"] for one in planned["scripts"]] == ["todo", "run", "publish", "report"]
    assert all(one["text"] in text and f" {one['name']} " in text for one in planned["scripts"])
    log = tmp_path / "log"
    number = f"echo $* >> {log}; grep -c parsable {log} || true"
    fake_slurm(tmp_path, monkeypatch, sbatch=number, scontrol=number, scancel=number)
    assert cli.main(["submit", str(folder), "--json"]) == 0
    submitted = json.loads(capsys.readouterr().out)
    assert submitted["scripts"] == planned["scripts"]
    jobs = read_jobs(folder)
    assert submitted["jobs"] == [
        {"step": job.step, "job": job.job, "ccds": [list(ccd) for ccd in job.ccds]} for job in jobs
    ]
    assert [job.job for job in jobs] == [1, 2, 3, 4]
    assert cli.main(["submit", str(folder), "--json", "--only", "prepare", "--resume"]) == 0
    assert json.loads(capsys.readouterr().out) == {"scripts": [], "jobs": []}


def test_dependencies(folder, tmp_path, monkeypatch):
    site = load_site(write(folder, SITE))
    log = tmp_path / "log"
    number = f'echo "$(basename $0) $*" >> {log}; n=$(grep -c parsable {log}); '
    fake_slurm(tmp_path, monkeypatch, sbatch=number + 'echo "$n;cluster"', scontrol=number)
    jobs = submit(site, folder, scripts(site, folder, folder / "output", 6, plan(folder), 1))
    assert [(job.step, job.job) for job in jobs] == [
        ("todo", 1),
        ("run", 2),
        ("run", 3),
        ("publish", 4),
        ("report", 5),
    ]
    submitted = [line for line in log.read_text().splitlines() if "--parsable" in line]
    assert [re.findall(r"--hold|--dependency=(\S+)", line) for line in submitted] == [
        [""],
        ["afterok:1"],
        ["afterok:1"],
        ["afterany:2:3"],
        ["afterok:4"],
    ]
    assert log.read_text().splitlines()[-1] == "scontrol release 1"
    assert read_jobs(folder) == jobs


def test_array_size_of_the_cluster(tmp_path, monkeypatch):
    fake_slurm(tmp_path, monkeypatch, scontrol="echo 'MaxArraySize            = 17'")
    assert Slurm().max_array_size() == 17


def test_status_shows_results_before_they_are_published(folder, capsys):
    before = (folder / "todo.sqlite").read_bytes()
    assert call([str(folder), "--ccd", "1"]) == 0
    (folder / "todo.sqlite").write_bytes(before)
    capsys.readouterr()
    assert cli.main(["status", str(folder)]) == 0
    text = capsys.readouterr().out
    assert re.search(r"^s001-1-1 +[1-9]", text, re.MULTILINE)
    assert re.search(r"^s001-1-2 .* 30 +30$", text, re.MULTILINE)


def test_status_before_there_is_a_work_list(tmp_path, capsys, monkeypatch):
    write_jobs(tmp_path, [SubmittedJob("prepare", 3, ((1, 1, 1),))])
    fake_slurm(tmp_path, monkeypatch, squeue="echo '3|0|RUNNING|1:02|58:58|node7|None'")
    assert cli.main(["status", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "RUNNING" in text
    assert "no work list" in text


def test_it_is_all_installed():
    """Templates and examples are found where the package is, wherever that is."""
    place = Path(sys.modules["tasoc_mpi.slurm"].__file__).parent
    assert {path.stem for path in (place / "templates").glob("*.sh")} == {*STEPS, "common", "fresh", "slurm"}


def test_the_same_rows_are_needed(tmp_path):
    """`plan` sees CCDs that only the work list has."""
    rows = np.zeros(2, TODO_DTYPE)
    rows["priority"], rows["starid"], rows["datasource"] = [1, 2], [1, 2], "tpf"
    rows["sector"], rows["camera"], rows["ccd"], rows["cadence"] = [5, 6], 2, 3, 120
    create_todo(tmp_path / "todo.sqlite", rows)
    assert plan(tmp_path, only=("run",)) == {"run": ((5, 2, 3), (6, 2, 3))}


def test_the_correction_is_two_more_jobs(folder, tmp_path, monkeypatch, capsys):
    write(folder, SITE)
    both = {"cbv": (), "correct": ()}
    assert list(plan(folder, correct=True)) == ["todo", "run", "publish", "cbv", "correct", "report"]
    assert plan(folder, only=("cbv", "correct"), correct=True) == both
    assert cli.main(["submit", str(folder), "--only", "cbv,correct", "--dry-run"]) == 0
    text = capsys.readouterr().out
    output = folder / "output"
    for step in both:
        assert f"-m tasoc_mpi.cli {step} {folder} --output {output}\n" in text
        assert f"-m tasoc_mpi.cli compile --only {step}\n" in text
    number = f'n=$(grep -c parsable {tmp_path}/log); echo "$*" >> {tmp_path}/log; '
    fake_slurm(
        tmp_path,
        monkeypatch,
        sbatch=f"touch {tmp_path}/log; {number}" + 'echo "$((n+1));cluster"',
        scontrol=":",
    )
    site = load_site(folder / "site.yaml")
    submit(site, folder, scripts(site, folder, output, 6, plan(folder, correct=True), 100))
    submitted = [line for line in (tmp_path / "log").read_text().splitlines() if "--parsable" in line]
    waits = [re.findall(r"--dependency=(\S+)", line) for line in submitted]
    assert waits == [[], ["afterok:1"], ["afterany:2"], ["afterok:3"], ["afterok:4"], ["afterany:5"]]
