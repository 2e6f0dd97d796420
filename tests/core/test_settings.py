"""Settings: the table of them, files that override them, and who checks these files when."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from house import modules
from mpi_launch import launch
from settings_file import settings_text

from tasoc_mpi import cli
from tasoc_mpi.core.errors import InputError, MissingInput
from tasoc_mpi.core.settings import SETTINGS, default, load_settings, mag2flux

ROOT = Path(__file__).parents[2]


@pytest.fixture
def override(tmp_path, monkeypatch):
    """Gives a function that makes a file of settings and loads it."""
    path = tmp_path / "my settings.ini"
    monkeypatch.setenv("TESSPHOT_SETTINGS", str(path))
    load_settings.cache_clear()

    def write(text: str | bytes):
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        load_settings.cache_clear()
        return load_settings()

    write.path = path
    yield write
    load_settings.cache_clear()


def test_defaults_are_possible_values():
    assert len({(s.section, s.key) for s in SETTINGS}) == len(SETTINGS)
    for setting in SETTINGS:
        assert setting.parse(setting.shown) == setting.default
        assert isinstance(setting.default, str) or setting.low < setting.high
        assert setting.reason.endswith((".", "..."))


def test_the_documentation_has_the_table():
    assert f"```ini\n{settings_text()}```\n" in (ROOT / "docs" / "settings.md").read_text()


def test_every_setting_is_read_by_something():
    """Its section and key stand in a call somewhere; those of masks are the fields of their parameters."""
    code = "".join(path.read_text() for name, path in modules().items() if name != "core.settings")
    code += 'getfloat("photometry", "zero_point")'  # settings.mag2flux, tested below
    for setting in SETTINGS:
        call = rf'get(float|int|)\(\s*"{setting.section}", [^)]*"{setting.key}"'
        if setting.section == "k2p2":
            call = rf'default\("k2p2", "{setting.key}"\)'
        assert re.search(call, code), f"[{setting.section}] {setting.key}"


def test_the_text_of_all_settings_is_a_file_of_settings(override):
    settings = override(settings_text())
    for setting in SETTINGS:
        value = settings[setting.section][setting.key]
        assert type(setting.default)(value) == setting.default
        if not isinstance(setting.default, str):
            assert default(setting.section, setting.key) == setting.default


def test_words_are_overridden_and_checked(override):
    assert override("[psf]\nlikelihood = poisson\n").get("psf", "likelihood") == "poisson"
    with pytest.raises(InputError, match=r"\[psf\] likelihood is 'student' and not one of gaussian, "):
        override("[psf]\nlikelihood = student\n")


def test_single_values_are_overridden(override):
    settings = override("\ufeff# mine\r\n[k2p2]\r\nMin_Pixels = 5 ; more\r\n")
    assert settings.getint("k2p2", "min_pixels") == 5
    assert settings.getfloat("k2p2", "threshold") == 0.8


def test_settings_of_the_tasoc_pipeline(override):
    settings = override(
        "[todolist]\nfaint_limit = 16.5\n\n[fixes]\ntime_offset = True\n\n[haloswitch]\ntmag_limit = 5.0\n"
    )
    assert settings.getfloat("todo", "faint_limit") == 16.5
    assert settings.getfloat("haloswitch", "tmag_limit") == 5.0


def test_addresses_are_overridden_and_checked(override):
    address = "http://[::1]:8000/tess/"
    assert override(f"[download]\narchive = {address}\n").get("download", "archive") == address[:-1]


def test_zero_point_is_that_of_the_expected_flux(override):
    override("[photometry]\nzero_point = 20.5\n")
    np.testing.assert_allclose(mag2flux(np.array([20.5, 18.0])), [1.0, 10.0])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[todo]\nfaint_limit = x\n", r"\[todo\] faint_limit is 'x' and not a number from -10 to 40"),
        ("[todo]\nfaint_limit =\n", r"\[todo\] faint_limit is '' and not a number"),
        ("[todo]\nfaint_limit = nan\n", r"\[todo\] faint_limit is 'nan' and not a number"),
        ("[todo]\nfaint_limit = 1e999\n", r"\[todo\] faint_limit is '1e999' and not a number"),
        ("[todo]\nfaint_limit = 15%\n", r"\[todo\] faint_limit is '15%' and not a number"),
        ("[todo]\nfaint_limit = %(x)s\n", r"\[todo\] faint_limit is '%\(x\)s' and not a number"),
        ("[todo]\nfaint_limit = 1_5\n", r"\[todo\] faint_limit is '1_5' and not a number"),
        ("[k2p2]\nmin_pixels = \u0665\n", r"\[k2p2\] min_pixels is '\u0665' and not an integer"),
        ("[todo] faint_limit = 14\n", "no section headers"),
        ("[todo]\rfaint_limit = 14\r", "no section headers"),
        ("[k2p2]\n[todo] faint_limit = 14\n", r"no setting \[k2p2\] \[todo\] faint_limit"),
        ("[todo]\nfaint_limit = 15\n  16\n", r"\[todo\] faint_limit is '15.n16' and not a number"),
        ("[k2p2]\nmin_pixels = 4.5\n", r"\[k2p2\] min_pixels is '4.5' and not an integer from 1 to 1000"),
        ("[k2p2]\nmin_pixels = -4\n", r"\[k2p2\] min_pixels is '-4' and not an integer"),
        (f"[k2p2]\nmin_pixels = {'9' * 400}\n", r"\[k2p2\] min_pixels is '9+.* and not an integer"),
        ("[k2p2]\nmin_pixels = true\n", r"\[k2p2\] min_pixels is 'true' and not an integer"),
        ("[run]\ntarget_timeout = 0\n", r"\[run\] target_timeout is '0' and not a number from 0.1"),
        ("[todo]\nfaintlimit = 15\n", r"no setting \[todo\] faintlimit \(is it faint_limit\?\)"),
        ("[todos]\nfaint_limit = 15\n", r"no section \[todos\] \(is it todo\?\)"),
        ("[nothing]\n", r"no section \[nothing\] \(known: todo, photometry"),
        ("[DEFAULT]\nfaint_limit = 15\n", r"no section \[DEFAULT\]"),
        ("[todo]\nfaint_limit = 15\nfaint_limit = 16\n", "line  ?3.*'faint_limit' in section 'todo' already"),
        ("[todo]\n[todo]\n", "line  ?2.*section 'todo' already exists"),
        ("faint_limit = 15\n", "no section headers"),
        ("[todo]\nfaint_limit\n", r"parsing errors.*\[line  ?2\]"),
        ("[todo\nfaint_limit = 15\n", "no section headers"),
        ("[todo]\nfaint_limit = 15\n[todolist]\nfaint_limit = 15\n", "is in .todo. and .todolist., which"),
        ("[todolist]\nfaint_limit = 15\n[todo]\nfaint_limit = 15\n", "is in .todolist. and .todo., which"),
        ("[fixes]\ntime_offset = False\n", "always corrected; remove it"),
        ("[download]\ncloud = s3://stpubdata\n", "'s3://stpubdata' and not an address that begins"),
        ("[download]\nmast = https://a b\n", "not an address"),
        (b"[todo]\nfaint_limit = 15 ; \xe9\n", "not a text in UTF-8"),
        (b"\xff\xfe[\0t\0", "not a text in UTF-8"),
    ],
)
def test_files_that_are_wrong_are_named(override, text, words):
    with pytest.raises(InputError, match=words) as caught:
        override(text)
    assert str(caught.value).startswith(f"{override.path}: ")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_no_file(override, tmp_path, monkeypatch):
    with pytest.raises(MissingInput, match=f"{re.escape(str(override.path))}: .*TESSPHOT_SETTINGS"):
        load_settings()
    monkeypatch.setenv("TESSPHOT_SETTINGS", str(tmp_path))
    with pytest.raises(InputError, match="a folder"):
        load_settings()


@pytest.mark.parametrize(
    "command", ["simulate", "prepare", "catalog", "import", "todo", "run", "summary", "submit"]
)
def test_settings_are_checked_before_anything_else(override, tmp_path, capsys, command):
    override.path.write_text("[k2p2]\nthreshold = much\n")
    folder = tmp_path / "folder"
    options = {"catalog": ["--from", "mast"], "import": ["x.fits"]}.get(command, [])
    assert cli.main([command, str(folder), *options]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert f"error: {override.path}: [k2p2] threshold is 'much'" in captured.err
    assert not folder.exists()


@pytest.mark.parametrize("command", ["prepare", "run"])
def test_rank_0_alone_names_the_file(override, simulated, command):
    override.path.write_text("[k2p2]\nthreshold = much\n")
    before = sorted(simulated.folder.iterdir())
    ended = launch([sys.executable, "-m", "tasoc_mpi.cli"], command, str(simulated.folder), ranks=3)
    assert ended.returncode == 1
    assert ended.stderr.count("threshold is 'much'") == 1
    assert "Traceback" not in ended.stderr
    assert sorted(simulated.folder.iterdir()) == before
