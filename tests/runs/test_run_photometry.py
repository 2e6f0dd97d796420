"""`run --photometry`: one method for all stars, its own results beside the others', and users' classes."""

import contextlib
import re
import shutil
import sqlite3
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from mpi_launch import launch

from tasoc_mpi import cli, tessphot
from tasoc_mpi.core.errors import InputError, MissingInput, UsageError
from tasoc_mpi.core.status import STATUS
from tasoc_mpi.photometry.method_class import photometry_class
from tasoc_mpi.scheduler.taskmanager import TaskManager
from tasoc_mpi.simulate.truth_file import read_truth

DOCS = Path(__file__).parents[2] / "docs" / "own_method.md"
PROGRAM = [sys.executable, "-m", "tasoc_mpi.cli"]

#: Does something else with each star, by its place in the list.
NONSENSE = """
import os
import numpy as np
from tasoc_mpi import STATUS, BasePhotometry

CASES = os.environ["NONSENSE"].split(",")


class Nonsense(BasePhotometry):
    def do_photometry(self):
        mask = self.sumimage >= self.sumimage.max()
        sums = self.sum_mask(mask)
        self.lightcurve["flux"], self.lightcurve["flux_err"] = sums.flux, sums.flux_err
        self.final_phot_mask = mask
        case = CASES.index(str(self.starid)) if str(self.starid) in CASES else -1
        if case == 0:
            raise ValueError("a surrogate \\udc80 and\\nanother line")
        if case == 1:
            return "fine"
        if case == 2:
            return STATUS.SKIPPED
        if case == 3:
            self.final_phot_mask = mask.astype(int)
        if case == 4:
            self.lightcurve["flux"] = np.full((len(sums.flux), 2), 1j)
        if case == 5:
            self.lightcurve["flux"] = np.inf
        if case == 6:
            self.result = None
        if case == 7:
            self.additional_headers["TICID"] = (1, "")
        if case == 8:
            self.save_lightcurve = lambda: "/etc/passwd"
        if case == 9:
            self.result.errors.append(3)
            self.result.method_used = 5
        return STATUS.OK
"""
#: What the messages of these cases hold; the others are OK.
REASONS = (
    "ValueError: a surrogate ? and", "returned 'fine' instead of a final status", "ended with SKIPPED",
    "final_phot_mask: an array of bool", "column flux of the light curve", "infinite values",
    "AttributeError", "header card 'TICID'", "save_lightcurve returned", None,
)  # fmt: skip


def table(folder: Path, name: str = "todo.sqlite") -> list[tuple]:
    """Starid, status, method_used, light curve and messages of each star."""
    with contextlib.closing(sqlite3.connect(folder / name)) as conn:
        return conn.execute(
            "SELECT starid, datasource, status, method_used, lightcurve, errors"
            " FROM todolist LEFT JOIN diagnostics USING (priority) ORDER BY priority"
        ).fetchall()


def run(folder: Path, *options: str) -> int:
    return cli.main(["--quiet", "run", str(folder), *options])


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """The class of the documentation, as FILE.py:CLASS."""
    (code, *_) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    path = tmp_path_factory.mktemp("methods") / "gauss.py"
    path.write_text(code)
    return f"{path}:GaussPhotometry"


@pytest.fixture(scope="module")
def computed(simulated, example, tmp_path_factory):
    """A folder with the results of the work list's methods, and then of the example on three ranks."""
    folder = simulated.copy(tmp_path_factory.mktemp("beside"))
    assert run(folder) == 0
    before = (folder / "todo.sqlite").read_bytes()
    done = launch([*PROGRAM, "--quiet", "run", str(folder)], "--photometry", example, ranks=3)
    assert done.returncode == 0, done.stderr
    assert (folder / "todo.sqlite").read_bytes() == before
    return folder


def test_results_of_methods_lie_beside_each_other(computed):
    ours, theirs = table(computed, "todo-gauss.sqlite"), table(computed)
    assert [row[:2] for row in ours] == [row[:2] for row in theirs]
    assert {row[2:4] for row in ours} == {(STATUS.OK, "gauss")}
    # Neighbours are separated, and not skipped.
    assert STATUS.SKIPPED in {row[2] for row in theirs}
    assert {row[3] for row in theirs if row[4]} == {"aperture"}
    for row in ours:
        with fits.open(computed / "output-gauss" / row[4], checksum=True) as hdus:
            assert hdus[0].header["PHOTMET"] == "gauss"
            assert hdus[-1].name == "RESIDUAL"
            assert hdus[0].header["GAU_NUM"] >= 1
    assert (computed / "output-gauss" / "results" / "photometry").read_text() == "gauss\n"
    assert not (computed / "output" / "results" / "photometry").exists()


def test_the_example_measures_fluxes(computed):
    truth = read_truth(computed / "truth_sector001_camera1_ccd1.hdf5").stars
    flux = dict(zip(truth["starid"].tolist(), truth["flux"].tolist(), strict=True))
    with contextlib.closing(sqlite3.connect(computed / "todo-gauss.sqlite")) as conn:
        rows = conn.execute(
            "SELECT starid, mean_flux FROM todolist JOIN diagnostics USING (priority) WHERE tmag < 13.5"
        ).fetchall()
    ratio = np.array([mean / flux[starid] for starid, mean in rows])
    assert 0.85 < np.median(ratio) < 1.05


def test_a_script_and_a_run_continue_each_other_to_the_same_bytes(
    computed, simulated, example, tmp_path, monkeypatch, capsys
):
    """The script of the documentation with `TaskManager`; the run writes a pack."""
    folder = tmp_path / "sector1"
    folder.mkdir()
    simulated.copy(folder)
    shutil.copy(example.rpartition(":")[0], tmp_path)
    (script,) = re.findall(r"```python\n(import time.*?)```", DOCS.read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(script.replace("tmag_max=10", "tmag_max=12.9"), "script", "exec"), {})
    first = {row[:2] for row in table(folder, "todo-gauss.sqlite") if row[4]}
    assert run(folder, "--photometry", "gauss.py:GaussPhotometry", "--packed", "--tmag-max", "13.5") == 0
    # The work list itself has no result, and computes its own.
    assert {row[2] for row in table(folder)} == {None}
    assert cli.main(["--quiet", "unpack", str(folder / "output-gauss")]) == 0
    done = [row for row in table(folder, "todo-gauss.sqlite") if row[4]]
    assert 3 <= len(first) < len(done) < 38
    files = {row[:2]: row[4] for row in table(computed, "todo-gauss.sqlite")}
    for row in done:
        name = files[row[:2]]
        assert (row[2], row[3]) == (STATUS.OK, "gauss")
        assert row[4].startswith("packed/") == (row[:2] not in first)
        assert (folder / "output-gauss" / name).read_bytes() == (
            computed / "output-gauss" / name
        ).read_bytes()
    # Neither gets into the results of the other.
    with pytest.raises(InputError, match="holds the light curves of --photometry gauss"):
        TaskManager(folder, folder / "output-gauss")
    with pytest.raises(UsageError, match="MODULE:CLASS or"):
        TaskManager(folder, photometry="gauss")


def test_all_commands_find_them(computed, example, tmp_path, capsys):
    assert cli.main(["status", str(computed), "--photometry", "gauss"]) == 0
    assert re.search(r"^gauss +38 ", capsys.readouterr().out, re.MULTILINE)
    assert cli.main(["status", str(computed)]) == 0
    assert "gauss" not in capsys.readouterr().out
    assert cli.main(["summary", str(computed), "--photometry", example]) == 0
    assert "38 OK" in capsys.readouterr().out
    published = (computed / "todo-gauss.sqlite").read_bytes(), (computed / "todo.sqlite").read_bytes()
    assert cli.main(["publish", str(computed), "--photometry", "gauss"]) == 0
    assert published == (
        (computed / "todo-gauss.sqlite").read_bytes(),
        (computed / "todo.sqlite").read_bytes(),
    )
    assert f"published from {computed / 'output-gauss'}" in capsys.readouterr().out
    for output in ("output", "output-gauss"):
        to = tmp_path / output
        assert cli.main(["unpack", str(computed / output), "--photometry", "gauss", "--to", str(to)]) == 0
        assert len(list(to.rglob("*.fits.gz"))) == 38
    assert cli.main(["unpack", str(computed / "output-gauss"), "--to", str(tmp_path / "own")]) == 0
    assert len(list((tmp_path / "own").rglob("*.fits.gz"))) == 38
    assert run(computed, "--photometry", example, "--dry-run", "--overwrite") == 0
    assert "38 of 38 rows" in capsys.readouterr().out


def test_a_folder_holds_the_results_of_one_method(computed, example, capsys):
    before = (computed / "todo.sqlite").read_bytes()
    ours, theirs = str(computed / "output-gauss"), str(computed / "output")
    for options, holds in (
        (["run", str(computed), "--output", ours], "--photometry gauss"),
        (["run", str(computed), "--output", ours, "--photometry", "aperture"], "--photometry gauss"),
        (
            ["run", str(computed), "--output", theirs, "--photometry", "linpsf"],
            "the methods in the work list",
        ),
        (["publish", str(computed), "--output", ours], "--photometry gauss"),
        (
            ["publish", str(computed), "--output", theirs, "--photometry", "gauss"],
            "the methods in the work list",
        ),
    ):
        assert cli.main(options) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert f"holds the light curves of {holds}; choose another --output" in line
    assert (computed / "todo.sqlite").read_bytes() == before


def test_rows_of_the_work_list_are_taken_over(computed, example, tmp_path, capsys):
    folder = tmp_path / "input"
    shutil.copytree(computed, folder)
    with contextlib.closing(sqlite3.connect(folder / "todo.sqlite")) as conn, conn:
        conn.execute("UPDATE todolist SET tmag = tmag + 0.5")
    assert run(folder, "--photometry", example) == 0
    assert "Nothing to do: all 38" in capsys.readouterr().out
    query = "SELECT starid, tmag FROM todolist ORDER BY priority"
    rows = []
    for name in ("todo.sqlite", "todo-gauss.sqlite"):
        with contextlib.closing(sqlite3.connect(folder / name)) as conn:
            rows.append(conn.execute(query).fetchall())
    assert rows[0] == rows[1]
    assert {row[2] for row in table(folder, "todo-gauss.sqlite")} == {STATUS.OK}


@pytest.mark.parametrize(
    ("method", "card", "statuses"),
    # These stars are faint for halo photometry: it warns where pixels hold light of others.
    [("psf", "PSF_SRC", [STATUS.OK]), ("halo", "HALO_OBJ", [STATUS.OK, STATUS.WARNING])],
)
def test_method_is_a_filter_and_photometry_computes(simulated, tmp_path, method, card, statuses):
    """Whatever the work list says of the chosen stars."""
    folder = tmp_path / "input"
    folder.mkdir()
    simulated.copy(folder)
    with contextlib.closing(sqlite3.connect(folder / "todo.sqlite")) as conn, conn:
        conn.execute("UPDATE todolist SET method = 'linpsf' WHERE priority IN (5, 9)")
    assert run(folder, "--photometry", method, "--method", "linpsf") == 0
    found = table(folder, f"todo-{method}.sqlite")
    assert [i + 1 for i, row in enumerate(found) if row[3]] == [5, 9]
    for row in (found[4], found[8]):
        assert row[2] in statuses
        assert row[3] == method
        with fits.open(folder / f"output-{method}" / row[4], checksum=True) as hdus:
            assert hdus[0].header["PHOTMET"] == method
            assert card in hdus[0].header
            flux = hdus[1].data["FLUX_RAW"]
        assert np.isfinite(flux).mean() > 0.8
        # No star of this simulation varies by more.
        assert 0 < np.nanstd(flux) < 0.1 * np.nanmedian(flux)
    assert {row[2] for row in table(folder)} == {None}


def test_nonsense_is_the_star_s_error_and_the_rest_goes_on(simulated, tmp_path, monkeypatch):
    path = tmp_path / "nonsense.py"
    path.write_text(NONSENSE)
    folder = tmp_path / "input"
    folder.mkdir()
    simulated.copy(folder)
    starids = [row[0] for row in table(folder) if row[1] == "ffi"]
    cases = starids[3 : 3 + len(REASONS)]
    monkeypatch.setenv("NONSENSE", ",".join(map(str, cases)))
    options = ["--quiet", "run", str(folder), "--photometry", f"{path}:Nonsense", "--datasource", "ffi"]
    assert cli.main(options) == 0
    for starid, source, status, method, lightcurve, errors in table(folder, "todo-nonsense.sqlite"):
        if source != "ffi":
            assert status is None
            continue
        assert method == "nonsense"
        reason = REASONS[cases.index(starid)] if starid in cases else None
        if reason is None:
            assert status == STATUS.OK
            assert lightcurve
        else:
            assert status == STATUS.ERROR
            assert lightcurve is None
            assert reason in errors
    assert not any(Path(tmp_path).rglob("*passwd*"))


@pytest.mark.parametrize(
    ("name", "code", "spec", "reason", "status"),
    [
        ("m.py", "\n\nclass Box(", "m.py:Box", "SyntaxError", 1),
        ("m.py", "import os\nos._exit(4)", "m.py:Box", "its import ends the process (exit status 4)", 1),
        ("m.py", "", "m.py:", "MODULE:CLASS or FILE.py:CLASS", 2),
        ("m.py", "", "m.py:../../Box", "MODULE:CLASS or FILE.py:CLASS", 2),
        ("m.py", "", "m.py:Größe", "needs letters, digits and _", 2),
        ("m.py", "", "m.py:_Box", "needs letters, digits and _", 2),
        ("m.py", "", "m.py:Photometry", "needs letters, digits and _", 2),
        ("m.py", "", "m.py:B" + "o" * 40, "needs letters, digits and _", 2),
        ("m.py", "", "m.py:AperturePhotometry", "a method of the program is called aperture", 2),
        ("m.py", "", "../x:Box", "no name of a module", 2),
        ("m.py", "", "box", "MODULE:CLASS or FILE.py:CLASS", 2),
        ("m.py", "", "../box", "MODULE:CLASS or FILE.py:CLASS", 2),
    ],
)
def test_a_class_that_is_no_method_is_one_line(
    simulated, tmp_path, monkeypatch, capsys, name, code, spec, reason, status
):
    folder = tmp_path / "input"
    folder.mkdir()
    shutil.copy(simulated.folder / "todo.sqlite", folder)
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text(code)
    before = sorted(path for path in folder.rglob("*"))
    assert run(folder, "--photometry", spec) == status
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("tasoc-mpi run: error: ")
    assert reason in line
    assert sorted(path for path in folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("code", "name", "reason"),
    [
        ("class Box: pass", "Box", "no subclass of tasoc_mpi.BasePhotometry"),
        ("from tasoc_mpi import BasePhotometry", "BasePhotometry", "no subclass of tasoc_mpi.BasePhotometry"),
        ("import tasoc_mpi\nclass Box(tasoc_mpi.BasePhotometry): pass", "Box", "has no do_photometry"),
        ("from tasoc_mpi import LinPSFPhotometry", "Other", "no class Other in it; it has LinPSFPhotometry"),
        ("Box = 3", "Box", "no subclass of tasoc_mpi.BasePhotometry"),
        ("import nothing_of_this_name", "Box", "No module named 'nothing_of_this_name', line 1"),
        ("import sys\nsys.exit(4)", "Box", "SystemExit: 4, line 2"),
        ("def f():\n    raise KeyError\nf()", "Box", "KeyError, line 2"),
    ],
)
def test_classes_that_are_refused(tmp_path, code, name, reason):
    path = tmp_path / "refused.py"
    path.write_text(code)
    with pytest.raises(InputError, match=re.escape(reason)):
        photometry_class(f"{path}:{name}")
    with pytest.raises(MissingInput, match="no such file; name the one"):
        photometry_class(f"{tmp_path / 'none.py'}:{name}")
    with pytest.raises(MissingInput, match="no module nothing_of_this_name; install it"):
        photometry_class("nothing_of_this_name.x:Box")


def test_a_file_may_import_its_neighbours(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "neighbour_of_it.py").write_text("WIDTH = 3\n")
    (tmp_path / "wide.py").write_text(
        "import tasoc_mpi\nimport neighbour_of_it\n\n\nclass Wide(tasoc_mpi.BasePhotometry):\n"
        "    width = neighbour_of_it.WIDTH\n    do_photometry = print\n"
    )
    found = photometry_class(f"{tmp_path / 'wide.py'}:Wide")
    assert found.width == 3
    assert photometry_class(found) is found


def test_no_results_of_a_method_yet(simulated, capsys):
    for command in ("status", "summary", "publish"):
        assert cli.main([command, str(simulated.folder), "--photometry", "linpsf"]) == 1
        assert "linpsf" in capsys.readouterr().err
    assert not (simulated.folder / "todo-linpsf.sqlite").exists()


def test_one_star_with_a_class_or_its_name(simulated, example, tmp_path):
    (starid, *_) = next(row for row in table(simulated.folder) if row[1] == "ffi")
    where = {"sector": 1, "camera": 1, "ccd": 1}
    with tessphot(example, starid, simulated.folder, tmp_path, **where) as pho:
        flux = np.asarray(pho.lightcurve["flux"])
        assert pho.result.method_used == "gauss"
    with tessphot(type(pho), starid, simulated.folder, tmp_path, **where) as again:
        np.testing.assert_array_equal(again.lightcurve["flux"], flux)
        assert type(again) is type(pho)
