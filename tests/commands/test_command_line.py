"""Options that all commands have, and the documentation of every option."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unprivileged import unprivileged

from tasoc_mpi import cli
from tasoc_mpi.core import names
from tasoc_mpi.core.locks import exclusive
from tasoc_mpi.products.star_catalog import open_catalog


def commands() -> dict[str, argparse.ArgumentParser]:
    (action,) = (a for a in cli.build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    return action.choices


@pytest.mark.parametrize("name", [*cli.COMMANDS])
def test_every_option_is_explained_with_its_default(name):
    parser = commands()[name]
    assert parser.description
    for action in parser._actions:
        names = "/".join(action.option_strings) or action.dest
        assert action.help, names
        takes_value = action.nargs != 0
        if action.option_strings and takes_value and not action.required:
            assert "default" in action.help, f"{names}: {action.help}"
        if not action.option_strings:
            assert str(action.metavar or action.dest).isupper(), names
    for number in (0, 1, 2, 130):
        assert re.search(rf"\b{number} \w", parser.epilog)


@pytest.mark.parametrize("name", [*cli.COMMANDS])
def test_the_same_names_everywhere(name):
    """A sector's folder is INPUT, and --output is a folder."""
    options = {option: a for a in commands()[name]._actions for option in a.option_strings}
    places = [a for a in commands()[name]._actions if not a.option_strings]
    if name == "compare":
        # Each is a folder, a work list or light curves.
        assert [a.metavar for a in places] == ["A", "B"]
    elif name == "show":
        assert [a.metavar for a in places] == ["STARID", "INPUT"]
    elif name not in ("unpack", "export", "star"):
        assert not places or (places[0].dest, places[0].metavar) == ("input", "INPUT")
    if "--output" in options:
        assert options["--output"].metavar == "DIR"
    # Magnitudes: the limit of a catalog or list has one name, and those of filters another.
    assert not {"--tmag-max", "--faint-limit"} <= set(options)


def test_common_options_stand_before_or_after_the_command():
    for words in (["-q", "status", "x"], ["status", "-q", "x"], ["status", "x", "--quiet"]):
        assert cli.parse(words).quiet
    assert not cli.parse(["status", "x"]).quiet
    before, after = (cli.parse(words) for words in (["--log-file", "a", "run"], ["run", "--log-file", "a"]))
    assert before.log_file == after.log_file == "a"
    assert cli.parse(["-v", "run"]).verbose


def test_filters_are_lists_and_the_folder_may_follow():
    args = cli.parse(["run", "--camera", "1,2", "--camera", "4", "--datasource", "ffi,tpf", "sector1"])
    assert (args.input, args.camera, args.datasource) == ("sector1", [1, 2, 4], ["ffi", "tpf"])
    assert cli.parse(["prepare", "--sector", "1234,9999", "x"]).sector == [1234, 9999]


@pytest.mark.parametrize("sector", [1, 999, 1000, 9999])
def test_files_of_every_sector_are_found_by_their_names(tmp_path, sector):
    for name in (names.cube_name, names.catalog_name):
        (tmp_path / name(sector, 2, 3)).touch()
    assert list(names.find_cubes(tmp_path)) == list(names.find_catalogs(tmp_path)) == [(sector, 2, 3)]
    vectors = tmp_path / names.cbv_name(sector, 1800, 231)
    vectors.touch()
    assert names.find_cbv(tmp_path, sector, 1800, 231) == (vectors, 1800)
    curve = {"starid": 471011145, "sector": sector, "camera": 2, "ccd": 3, "cadence": 1800}
    curve |= {"data_rel": 1, "version": 6}
    assert names.parse_lightcurve_name(names.lightcurve_name(**curve)) == curve


@settings(max_examples=300, deadline=None)
@given(
    st.integers(0, 10**19 - 1), st.integers(0, 9999), st.integers(0, 99999), st.integers(0, 9999),
    st.integers(0, 120), st.sampled_from(["", "0", "1"]),
)  # fmt: skip
def test_a_path_is_a_light_curve_s_if_its_numbers_give_it(starid, sector, cadence, data_rel, place, digit):
    name = names.lightcurve_name(starid, sector, 2, 3, cadence, data_rel, 6)
    assert names.is_lightcurve_name(name)
    path = name[:place] + digit + name[place:]
    found = names.parse_lightcurve_name(path)
    assert (found is not None) == names.is_lightcurve_name(path)
    assert found is None or names.lightcurve_name(**found) == path
    assert found is not None or path != name


@pytest.mark.parametrize(
    "words",
    [["run", "--over"], ["run", "--camera", "1,x"], ["run", "--sector", "10000"], ["todo", "--fly"]],
    ids=" ".join,
)
def test_refused_in_one_line(words, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.parse(words)
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("tasoc-mpi")


def test_a_command_that_is_none(capsys):
    for words, found in (
        (["rnu", "folder"], "'rnu' is no command; is it run?"),
        (["x"], "'x' is no command;"),
    ):
        with pytest.raises(SystemExit) as stop:
            cli.parse(words)
        assert stop.value.code == 2
        assert found in capsys.readouterr().err
    for words in ([], ["help"]):
        with pytest.raises(SystemExit) as stop:
            cli.parse(words)
        assert stop.value.code == 0
        assert "summary" in capsys.readouterr().out


def dry_run(capsys, folder, *options) -> dict:
    assert cli.main(["-q", "run", str(folder), "--dry-run", "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)


def test_stars_by_a_file_and_by_a_cone(simulated, tmp_path, capsys):
    folder = simulated.folder
    with sqlite3.connect(folder / "todo.sqlite") as conn:
        query = "SELECT starid, COUNT(*) FROM todolist GROUP BY starid ORDER BY starid LIMIT 3"
        rows = conn.execute(query).fetchall()
    conn.close()
    names = tmp_path / "stars.csv"
    names.write_text("TIC,name\n" + "".join(f"{starid}, x # a star\n\n" for starid, _ in rows[:2]))
    chosen = dry_run(capsys, folder, "--starid-file", str(names))
    assert chosen["chosen"] == rows[0][1] + rows[1][1]
    both = dry_run(capsys, folder, "--starid-file", str(names), "--starid", str(rows[2][0]))
    assert both["chosen"] == sum(count for _, count in rows)
    star = open_catalog(folder / "catalog_sector001_camera1_ccd1.sqlite")
    star = star.stars[star.index(rows[0][0])]
    near = dry_run(capsys, folder, "--cone", str(star["ra"]), str(star["decl"]), "1e-6")
    assert near["chosen"] == rows[0][1]
    everything = dry_run(capsys, folder, "--cone", str(star["ra"]), str(star["decl"]), "20")
    assert everything["chosen"] == everything["rows"]
    for options, word in (
        (["--cone", "10", "-95", "1"], "--cone"),
        (["--cone", str(star["ra"]), str(-star["decl"]), "1"], "no star"),
        (["--starid-file", str(folder / "todo.sqlite")], "todo.sqlite"),
        (["--starid-file", str(tmp_path / "nothing")], "no such file"),
    ):
        assert cli.main(["-q", "run", str(folder), "--dry-run", *options]) in (1, 2)
        assert word in capsys.readouterr().err


def test_json_of_the_results(simulated, tmp_path, capsys):
    """`status`, `summary` and `publish` print the same counts for programs, and `report` its numbers."""
    folder = simulated.copy(tmp_path)
    assert cli.main(["-q", "run", str(folder), "--tmag-max", "11"]) == 0
    capsys.readouterr()
    found = {}
    for command in ("status", "summary", "publish", "report"):
        assert cli.main(["-q", command, str(folder), "--json"]) == 0
        found[command] = json.loads(capsys.readouterr().out)
    assert found["status"]["counts"] == found["summary"]["counts"] == found["publish"]["counts"]
    assert found["report"] == json.loads((folder / "output" / "report.json").read_text())
    assert sum(one["rows"] for one in found["status"]["ccds"]) == found["status"]["rows"]
    assert found["status"]["stars"] <= found["status"]["rows"]


def test_a_log_file_has_times_and_ranks(simulated, tmp_path):
    log = tmp_path / "log"
    assert cli.main(["run", str(simulated.folder), "-q", "--dry-run", "--log-file", str(log)]) == 0
    assert cli.main(["status", str(tmp_path), "--log-file", str(log)]) == 1
    form = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z rank 0 [A-Z]+: .+"
    lines = log.read_text().splitlines()
    assert lines
    assert all(re.fullmatch(form, line) for line in lines)
    assert "todo.sqlite" in lines[-1]
    # In a process of its own: only there no other log is open.
    command = [sys.executable, "-m", "tasoc_mpi.cli", "status", str(tmp_path), "--log-file", "no/log"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("tasoc-mpi status: error: no/log: cannot be written")


@pytest.mark.parametrize("words", ["prepare nowhere", "prf nowhere", "cbv nowhere", "import . nowhere.fits"])
def test_nothing_is_compiled_for_input_that_is_not_there(tmp_path, words):
    command = [sys.executable, "-m", "tasoc_mpi.cli", *words.split()]
    variables = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "nowhere" in line
    assert not list(tmp_path.rglob("*.nbi"))


# --- Completion, and what is asked before a run


def complete(line: str, folder) -> list[str]:
    """What bash offers after a line, by the function that a user's start file makes."""
    script = (
        'eval "$(register-python-argcomplete tasoc-mpi)"; COMP_LINE=$1; COMP_POINT=${#1}; COMP_TYPE=9\n'
        'read -ra COMP_WORDS <<< "$1"; [[ "$1" == *" " ]] && COMP_WORDS+=("")\n'
        "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); function=$(complete -p tasoc-mpi)\n"
        'function=${function##*-F }; ${function%% *} tasoc-mpi "${COMP_WORDS[COMP_CWORD]}"\n'
        "printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", script, "bash", line],
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        cwd=folder, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return [word.strip() for word in done.stdout.splitlines()]


def test_bash_completes_commands_options_values_and_files(tmp_path):
    (tmp_path / "sector1").mkdir()
    assert complete("tasoc-mpi pre", tmp_path) == ["prepare"]
    assert complete("tasoc-mpi run --cube ", tmp_path) == ["mapped", "staged", "shared"]
    assert "--starid-file" in complete("tasoc-mpi run --star", tmp_path)
    assert complete("tasoc-mpi status sec", tmp_path) == ["sector1/"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_scripts_of_other_shells(shell):
    call = [str(Path(sys.executable).with_name("register-python-argcomplete")), "--shell", shell, "tasoc-mpi"]
    script = subprocess.run(call, capture_output=True, text=True, check=True).stdout
    assert "_ARGCOMPLETE" in script
    if program := shutil.which(shell):
        subprocess.run([program, "-n"], input=script, text=True, check=True)


def refusal(capsys, *words) -> str:
    """The one line with which a command ends."""
    capsys.readouterr()
    assert cli.main(["-q", *map(str, words)]) in (1, 2), words
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize(
    "words",
    [
        "run INPUT --tmag-max nan",
        "correct INPUT --tmag-min inf",
        "cbv INPUT --memory nan",
        "cbv INPUT --memory 0",
        "prepare INPUT --memory -1",
        "catalog INPUT --from x.csv --faint-limit nan",
        "catalog INPUT --from x.csv --buffer nan",
        "todo INPUT --overwrite --faint-limit inf",
    ],
)
def test_numbers_that_cannot_be_are_refused_at_once(simulated, capsys, words):
    *_, option, value = words.split()
    line = refusal(capsys, *words.replace("INPUT", str(simulated.folder)).split())
    assert option.strip("-").replace("-", " ") in line.replace("-", " ")
    assert value in line


@unprivileged
def test_a_dry_run_refuses_what_the_run_refuses(simulated, tmp_path, monkeypatch, capsys):
    (tmp_path / "input").mkdir()
    folder = simulated.copy(tmp_path / "input")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    (tmp_path / "file").touch()
    cases = [
        (["--output", closed], "not writable"),
        (["--output", closed / "inner"], "cannot be made"),
        (["--output", tmp_path / "file" / "inner"], "no folder"),
        (["--output", "/proc/x"], "/proc has no room for files"),
        (["--cube", "staged", "--scratch", tmp_path / "nowhere"], "--scratch"),
        (["--version", "100"], "--version"),
        (["--ranks", "1"], "--ranks"),
    ]
    assert cli.main(["-q", "run", str(folder), "--tmag-max", "9"]) == 0
    cases.append((["--version", "7"], "version 6"))
    small = shutil.disk_usage(folder)._replace(free=1000)
    usage = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda p: small if str(p) == "/dev/shm" else usage(p))
    cases.append((["--cube", "shared"], "do not fit"))
    for options, reason in cases:
        lines = [refusal(capsys, "run", folder, *options, *dry) for dry in ((), ("--dry-run",))]
        assert lines[0] == lines[1]
        assert reason in lines[0]
    with exclusive(folder / "output" / "results" / "s001-1-1.log"):
        assert "in use by process" in refusal(capsys, "run", folder, "--dry-run")


def test_who_skips_a_star_is_said(simulated, tmp_path, capsys):
    folder = simulated.copy(tmp_path)
    assert cli.main(["-q", "run", str(folder)]) == 0
    end = capsys.readouterr().out
    assert cli.main(["status", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["skipped"]) == found["counts"]["SKIPPED"] > 0
    assert cli.main(["status", str(folder), "--stars", "100"]) == 0
    status = capsys.readouterr().out
    for text in (end, status):
        assert f"SKIPPED: the light of {len({one['starid'] for one in found['skipped']})} star" in text
        assert re.search(rf"`tasoc-mpi show \d+ {folder}` shows the first", text)
    lines = dict(re.findall(r"  by TIC (\d+) \(Tmag [\d.]+\): (.*)", status))
    for one in found["skipped"]:
        assert str(one["by"]) in lines
    assert any(f"TIC {one['starid']}" in lines[str(one["by"])] for one in found["skipped"])
    rows, stars = found["rows"], found["stars"]
    assert rows > stars
    for command in ("summary", "publish"):
        assert cli.main([command, str(folder)]) == 0
        out = capsys.readouterr().out
        assert re.search(rf"{rows} rows of (the work list, of )?{stars} stars", out)
        assert f"`tasoc-mpi status {folder}` names it" in out
    assert re.search(rf"s001-1-1 .* {rows} +{stars}\n", status)


def test_stars_that_failed_are_computed_again(simulated, tmp_path, monkeypatch, capsys):
    """With the result of a run in which nothing failed."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")

    def result(folder):
        files = (folder / "output").rglob("*.fits.gz")
        with contextlib.closing(sqlite3.connect(folder / "todo.sqlite")) as conn:
            statuses = conn.execute("SELECT status FROM todolist ORDER BY priority").fetchall()
        return {path.name: path.read_bytes() for path in files}, statuses

    folders = [simulated.copy(tmp_path / name) for name in "ab" if not (tmp_path / name).mkdir()]
    assert cli.main(["-q", "run", str(folders[0])]) == 0
    folder = folders[1]
    cube = next(folder.glob("*.hdf5"))
    cube.rename(tmp_path / "away")
    assert cli.main(["-q", "run", str(folder)]) == 1
    failed = [status for (status,) in result(folder)[1]].count(2)
    assert failed > 1
    command = re.search(
        r"^to compute all that failed again: tasoc-mpi (.*)", capsys.readouterr().out, re.MULTILINE
    )[1]
    (tmp_path / "away").rename(cube)
    assert cli.main(["-q", "run", str(folder)]) == 0
    assert "Nothing to do" in capsys.readouterr().out
    assert cli.main(["-q", *shlex.split(command), "--dry-run"]) == 0
    assert f"{failed} of {len(result(folder)[1])} rows ({failed} fulfil" in capsys.readouterr().out
    assert cli.main(["-q", *shlex.split(command)]) == 0
    assert result(folder) == result(folders[0])
    assert cli.main(["-q", *shlex.split(command)]) == 0
    assert "none of the chosen stars is an ERROR or an ABORT" in capsys.readouterr().out


def test_named_commands_find_a_list_and_results_elsewhere(simulated, tmp_path, capsys):
    """Each command that a run, or a command about it, names reads the results of that run."""
    folder = simulated.copy(tmp_path)
    todo, output = tmp_path / "other lists" / "bright.sqlite", tmp_path / "light curves"
    todo.parent.mkdir()
    (folder / "todo.sqlite").rename(todo)
    where = ["--todo", str(todo), "--output", str(output)]
    assert cli.main(["-q", "run", str(folder), *where]) == 0
    named = set()
    for command in ("run", "status", "publish", "summary", "report", "cbv"):
        quiet = ["-q", command] if command == "run" else [command]
        # Too few stars for vectors.
        assert cli.main([*quiet, str(folder), *where]) == (1 if command == "cbv" else 0)
        said = capsys.readouterr()
        named.update(re.findall(r"`tasoc-mpi ((?:show|status|run) [^`]+)`", said.out))
        assert command != "cbv" or "no area has enough stars" in said.err
    page = json.loads((output / "report.json").read_text())
    assert page["show"].startswith("tasoc-mpi show TIC ")
    named.add(page["show"].removeprefix("tasoc-mpi ").replace("TIC", str(page["slowest"][0]["starid"]), 1))
    assert {shlex.split(one)[0] for one in named} == {"show", "status"}
    for one in named:
        assert cli.main(shlex.split(one)) == 0, one
        out = capsys.readouterr().out
        assert "s001-1-1" in out or f"page: {output}" in out
    # The folder of a list that is named is that of the data, where none is given.
    assert cli.main(["status", "--todo", str(todo)]) == 0
    assert str(output) in capsys.readouterr().out


def test_one_rank_says_that_a_command_is_one_process(monkeypatch, capsys):
    for rank in "012":
        monkeypatch.setenv("PMI_RANK", rank)
        assert cli.main(["submit", "--example", "mpiexec"]) == 0
        out, err = capsys.readouterr()
        assert out
        assert ("each rank runs it by itself" in err) == (rank == "1")
