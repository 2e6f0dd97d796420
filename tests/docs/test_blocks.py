"""The blocks of commands and Python in the documents: all of them run, or say why not.

A command under `mpiexec -n N` or with `--ranks N` is run as one process here; `tests/runs` compares runs of
any number of ranks. `make package` runs README's blocks in an empty environment and under mpiexec: they are
not run here.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from astropy.table import Table
from documents import Block, blocks, documents
from house import ROOT

from tasoc_mpi import cli

#: Documents that begin with frames; the others find a finished run in `sector1`.
FROM_FRAMES = ("laptop.md", "sector.md")
#: Languages of blocks that are no programs: parts of the page, drawings, settings.
NO_PROGRAM = ("toctree", "eval-rst", "text", "ini", "yaml", "bibtex")
#: The examples are of a star of sector 1, camera 4, CCD 1; the simulation is of camera 1.
STAR = "25155310"


@pytest.fixture(scope="module")
def sectors(tmp_path_factory) -> dict[str, Path]:
    """Two folders of a small simulated sector: frames with a table of stars, and the same after a run.

    The frames have their cube and the response of the pixels, so that `prepare` and `prf` find them finished:
    `make package` makes them from nothing.
    """
    frames, done = tmp_path_factory.mktemp("frames"), tmp_path_factory.mktemp("done")
    size = ["--rows", 64, "--columns", 64, "--frames", 60, "--tpfs", 1, "--seed", 7, "--density", 3]
    call("simulate", frames / "sector1", *size)
    (catalog,) = (frames / "sector1").glob("catalog*.sqlite")
    with contextlib.closing(sqlite3.connect(catalog)) as stars:
        rows = stars.execute("SELECT starid, ra_J2000, decl_J2000, pm_ra, pm_decl, tmag, teff FROM catalog")
        table = Table(rows=rows.fetchall(), names=("ID", "ra", "dec", "pmRA", "pmDEC", "Tmag", "Teff"))
    table.write(frames / "tic.csv")
    shutil.copytree(frames / "sector1" / "tpf", frames / "stars")
    shutil.copy(next((frames / "stars").iterdir()), frames / "star.fits")
    call("prepare", frames / "sector1")
    call("prf", frames / "sector1")
    shutil.copytree(frames, done, copy_function=os.link, dirs_exist_ok=True)
    catalog.unlink()
    for command in ("todo", "run", "cbv"):
        call(command, done / "sector1")
    return {"frames": frames, "done": done}


def call(*words: object) -> None:
    assert cli.main(["--quiet", *map(str, words)]) == 0


@pytest.fixture
def folder(sectors, tmp_path, monkeypatch, request) -> Iterator[Path]:
    """The working folder of a document."""
    begin = "frames" if request.node.callspec.params["path"].name in FROM_FRAMES else "done"
    shutil.copytree(sectors[begin], tmp_path, copy_function=os.link, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    modules = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - modules:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


def as_simulated(text: str, starid: str) -> str:
    """The text of a block for the star and the CCD that there are."""
    return text.replace(STAR, starid).replace("camera=4", "camera=1").replace("--camera 4", "--camera 1")


def run_block(block: Block, starid: str, names: dict) -> None:
    if block.language == "python":
        text = as_simulated(block.text, starid)
        if block.file:
            Path(block.file).write_text(text)
        exec(compile(text, block.place, "exec"), names)
        return
    for words in block.commands:
        if words[0] == "mpiexec":
            words = words[3:]
        assert words[0] == "tasoc-mpi", f"{block.place}: {words[0]} is not run by this test; mark the block"
        options = as_simulated("\n".join(words[1:]), starid).split("\n")
        if "--ranks" in options:
            del options[(n := options.index("--ranks")) : n + 2]
        assert cli.main(options) == 0, f"{block.place}: {' '.join(words)}"


@pytest.mark.parametrize(
    "path", [path for path in documents() if path.name != "README.md"], ids=lambda path: path.name
)
@pytest.mark.filterwarnings("ignore::UserWarning:lightkurve")
def test_blocks(path, folder):
    starid = next(iter(re.findall(r"-0*(\d+)-0120-s_tp", " ".join(os.listdir("stars")))))
    names: dict = {"__name__": "__main__"}
    for block in blocks(path):
        if block.language not in NO_PROGRAM and block.not_run is None:
            assert block.language in ("shell", "python"), f"{block.place}: unknown language"
            run_block(block, starid, names)


def test_most_blocks_are_run():
    runnable = [block for path in documents() for block in blocks(path) if block.language not in NO_PROGRAM]
    assert sum(block.not_run is None for block in runnable) > 0.6 * len(runnable) > 10


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_commands_in_sentences_exist(path):
    names = re.findall(r"`tasoc-mpi ([a-z]\S*?)[ `]", path.read_text())
    assert set(names) <= set(cli.COMMANDS)


def test_the_table_of_commands_is_complete():
    """Every command is in README, in a block or in the table."""
    named = set(re.findall(r"tasoc-mpi ([a-z]+)", (ROOT / "README.md").read_text()))
    assert set(cli.COMMANDS) <= named
