"""Options that all commands have, and the documentation of every option."""

from __future__ import annotations

import argparse
import json
import re
import sqlite3

import pytest

from tasoc_mpi import cli
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
    """`status`, `summary` and `publish` print the same counts for programs."""
    folder = simulated.copy(tmp_path)
    assert cli.main(["-q", "run", str(folder), "--tmag-max", "11"]) == 0
    capsys.readouterr()
    found = {}
    for command in ("status", "summary", "publish"):
        assert cli.main(["-q", command, str(folder), "--json"]) == 0
        found[command] = json.loads(capsys.readouterr().out)
    assert found["status"]["counts"] == found["summary"]["counts"] == found["publish"]["counts"]
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
    assert cli.main(["status", str(tmp_path), "--log-file", str(tmp_path / "no" / "log")]) == 1


def test_the_list_of_kernels_is_that_of_the_program():
    """The kernels of every method are listed, and those of a run with apertures are there.

    `python benchmarks/record_kernels.py` writes the list.
    """
    from tasoc_mpi.core.methods import METHODS
    from tasoc_mpi.worker.kernel_list import kernels_of

    for name in ("simulate", "prepare", *METHODS):
        assert kernels_of([name])
    names = {kernel.py_func.__name__ for kernel, _ in kernels_of(["aperture"])}
    assert {"sum_pixels", "sky_to_pixel_frames", "light_curve_statistics"} <= names
