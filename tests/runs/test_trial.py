"""The trial of a dry run: a few stars are computed where no results tell the time of a star."""

import json
import math
import os
import signal
import subprocess
import sys
import time

import faulty
import pytest
from run_program import make_input

from tasoc_mpi import cli
from tasoc_mpi.worker import trial

BROKEN = """
from tasoc_mpi import BasePhotometry

class BrokenPhotometry(BasePhotometry):
    def do_photometry(self):
        raise ValueError("no star is good enough")
"""


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """TMPDIR, in which nothing is left."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


def dry_run(capsys, folder, *options) -> dict:
    """The time that a dry run gives; nothing of the folder changes."""
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert cli.main(["-q", "run", str(folder), "--dry-run", "--json", *map(str, options)]) == 0
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    return json.loads(capsys.readouterr().out)["time"]


@pytest.mark.parametrize("options", [[], ["--packed", "--plot", "--photometry", "linpsf"]], ids=len)
def test_stars_of_every_kind_are_computed(simulated, scratch, capsys, options):
    found = dry_run(capsys, simulated.folder, *options)
    assert [(kind["source"], kind["cadence"]) for kind in found["kinds"]] == [("ffi", 1800), ("tpf", 120)]
    for kind in found["kinds"]:
        assert kind["method"] == ("linpsf" if options else "aperture")
        assert kind["trial"]
        assert 2 <= kind["measured"] + kind["failed"] <= 10
        assert 1e-4 < kind["seconds"] < 1
    total = sum(kind["rows"] * kind["seconds"] for kind in found["kinds"])
    assert found["core_seconds"] == pytest.approx(total)
    assert found["rows_of_unknown_time"] == 0


def test_kinds_without_results_are_tried(simulated, tmp_path, scratch, capsys):
    (tmp_path / "input").mkdir()
    folder = simulated.copy(tmp_path / "input")
    assert cli.main(["-q", "run", str(folder), "--tmag-max", "11", "--datasource", "ffi"]) == 0
    capsys.readouterr()
    found = dry_run(capsys, folder)
    assert {kind["source"]: kind["trial"] for kind in found["kinds"]} == {"ffi": False, "tpf": True}


def test_stars_that_fail_are_said(simulated, tmp_path, scratch, capsys):
    (tmp_path / "broken.py").write_text(BROKEN)
    options = ["--photometry", f"{tmp_path / 'broken.py'}:BrokenPhotometry", "--datasource", "ffi"]
    found = dry_run(capsys, simulated.folder, *options)
    assert found["seconds"] is None
    assert found["rows_of_unknown_time"] == found["kinds"][0]["rows"] > 20
    assert "ValueError: no star is good enough" in found["note"]
    assert cli.main(["-q", "run", str(simulated.folder), "--dry-run", *options]) == 0
    out = capsys.readouterr().out
    assert "time: not known\n  images at 1800 s, broken: not known (all failed of a trial of 20 stars)" in out


def test_a_trial_ends_with_a_star_that_does_not(tmp_path, scratch, monkeypatch, capsys):
    """One never returns; those before it count."""
    make_input(tmp_path / "input", 12, ccds=1)
    monkeypatch.setattr(trial, "_SECONDS", 2.0)
    monkeypatch.setenv("FAULTY_STARS", "hang:1005")
    words = ["-q", "run", str(tmp_path / "input"), "--dry-run", "--json"]
    assert faulty.run.main(cli.parse(words), faulty.NAME) == 0
    (kind,) = json.loads(capsys.readouterr().out)["time"]["kinds"]
    assert 1 <= kind["measured"] < 12
    assert math.isfinite(kind["seconds"])


def test_an_interrupt_ends_a_dry_run_at_once(simulated, tmp_path, scratch):
    method = tmp_path / "slow.py"
    method.write_text(BROKEN.replace("raise", "import time; time.sleep(60); raise").replace("Broken", "Slow"))
    words = ["run", str(simulated.folder), "--dry-run", "--photometry", f"{method}:SlowPhotometry"]
    command = [sys.executable, "-m", "tasoc_mpi.cli", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not os.listdir(scratch):
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert error.splitlines()[-1] == "tasoc-mpi run: interrupted"
