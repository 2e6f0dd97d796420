"""The kinds of files, each with its base, its damage and the commands that read it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from . import bases
from .damage import Damager, damage_bytes, damage_place
from .damage_fits import damage_fits
from .damage_hdf5 import damage_hdf5
from .damage_log import damage_log
from .damage_sqlite import damage_sqlite
from .damage_table import damage_parquet
from .damage_text import damage_ini, damage_text, damage_text_or_bytes, damage_yaml

__all__ = ["KINDS", "Kind"]


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes
    ----------
    base : callable
        Makes a folder of good files.
    files : tuple of str
        Patterns of the files, one of which is damaged.
    damage : callable
        Damage that knows the format.
    commands : tuple of tuple of str
        Command lines, of which a case runs one; ``{case}`` is its folder and ``{file}`` the damaged file.
    environment : mapping
        Variables, likewise.
    removed : tuple of str
        Patterns of files that are removed from the base before the command: its own results.
    keeps : str
        Regular expression of names of files that the command may leave behind where it fails: what it
        continues from.
    blames : tuple of str
        Words of which one may be in the message in place of the file's name.
    links : bool
        Whether a link to the file is as good as the file.
    rewrites : bool
        Whether the command may write the file anew where the damage does not concern it.
    """

    base: Callable[[Path], None]
    files: tuple[str, ...]
    damage: Damager
    commands: tuple[tuple[str, ...], ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    removed: tuple[str, ...] = ()
    keeps: str = ""
    blames: tuple[str, ...] = ()
    links: bool = True
    rewrites: bool = False

    @property
    def damagers(self) -> tuple[tuple[float, Damager], ...]:
        """All kinds of damage with their weights."""
        return (0.65, self.damage), (0.25, damage_bytes), (0.1, damage_place)


_STATE = r".*\.hdf5\.(part|state)"
_RUN = ("run", "{case}", "--overwrite")

KINDS: dict[str, Kind] = {
    "ffi": Kind(bases.frames, ("*_ffic.fits",), damage_fits, (("prepare", "{case}"),), keeps=_STATE),
    "tica": Kind(
        bases.tica,
        ("hlsp_tica*.fits",),
        damage_fits,
        (("prepare", "{case}"),),
        keeps=_STATE,
    ),
    "state": Kind(
        bases.unfinished,
        ("*.state", "*.part"),
        damage_bytes,
        (("prepare", "{case}"),),
        keeps=_STATE,
        links=False,
    ),
    "tpf": Kind(
        bases.ccd,
        ("**/*_tp.fits",),
        damage_fits,
        (
            ("todo", "{case}", "--overwrite"),
            (*_RUN, "--datasource", "tpf"),
            ("catalog", "{case}", "--from", "headers", "--overwrite"),
        ),
    ),
    "cube": Kind(
        bases.ccd,
        ("sector*.hdf5",),
        damage_hdf5,
        (
            (*_RUN, "--datasource", "ffi"),
            ("todo", "{case}", "--overwrite"),
            ("run", "{case}", "--dry-run"),
            ("prepare", "{case}"),
            ("movie", "{case}", "--size", "64"),
        ),
    ),
    "catalog": Kind(
        bases.ccd,
        ("catalog_*.sqlite",),
        damage_sqlite,
        (_RUN, ("todo", "{case}", "--overwrite")),
    ),
    "todo": Kind(
        bases.ccd,
        ("todo.sqlite",),
        damage_sqlite,
        (
            ("status", "{case}"),
            ("run", "{case}"),
            ("summary", "{case}"),
            ("run", "{case}", "--dry-run"),
            ("publish", "{case}"),
            ("submit", "{case}", "--site", "mpiexec", "--dry-run", "--resume"),
            _RUN,
        ),
    ),
    "packs": Kind(
        bases.packed,
        ("output/packed/*.hdf5",),
        damage_hdf5,
        (
            ("unpack", "{case}/output"),
            ("summary", "{case}"),
            ("run", "{case}"),
            ("unpack", "{case}/output", "--to", "{case}/to"),
        ),
    ),
    "packed-todo": Kind(
        bases.packed,
        ("todo.sqlite",),
        damage_sqlite,
        (("unpack", "{case}/output"), ("run", "{case}", "--packed")),
    ),
    "logs": Kind(
        bases.ccd,
        ("output/results/*.log",),
        damage_log,
        (
            ("publish", "{case}"),
            ("run", "{case}"),
            ("status", "{case}"),
            ("run", "{case}", "--dry-run"),
            ("summary", "{case}"),
            ("unpack", "{case}/output", "--to", "{case}/to"),
        ),
        links=False,
    ),
    "lightcurve": Kind(
        bases.ccd,
        ("output/**/*_lc.fits.gz",),
        damage_fits,
        (*[("summary", "{case}")] * 19, ("summary", "{case}", "--pictures")),
    ),
    "truth": Kind(
        bases.ccd,
        ("truth_*.hdf5",),
        damage_hdf5,
        (*[("variables", "{case}")] * 19, ("summary", "{case}", "--pictures")),
    ),
    "tasoc": Kind(
        bases.tasoc, ("foreign/*.hdf5",), damage_hdf5, (("import", "{case}", "{file}"),), keeps=_STATE
    ),
    "mast": Kind(
        bases.mast, ("foreign/*-cube.fits",), damage_fits, (("import", "{case}", "{file}"),), keeps=_STATE
    ),
    "tesscut": Kind(
        bases.cutout,
        ("foreign/*_astrocut.fits",),
        damage_fits,
        (("import", "{case}", "{file}"),),
        keeps=_STATE,
    ),
    "prf": Kind(bases.prf, ("**/*-prf-*.fits",), damage_fits, (("psf", "{case}"),), blames=("cam2_ccd3",)),
    "response": Kind(
        bases.response, ("prf_*.hdf5",), damage_hdf5, ((*_RUN, "--method", "linpsf"),), removed=("output",)
    ),
    "vectors": Kind(
        bases.vectors,
        ("output/cbv/*.hdf5",),
        damage_hdf5,
        (("correct", "{case}"), ("correct", "{case}", "--method", "cbv")),
    ),
    "uncorrected": Kind(
        bases.vectors,
        ("output/**/*_lc.fits.gz",),
        damage_fits,
        (("correct", "{case}"),),
        rewrites=True,
    ),
    "curves": Kind(bases.curves, ("output/**/*_lc.fits.gz",), damage_fits, (("cbv", "{case}"),)),
    "csv": Kind(
        bases.tables, ("tic.csv",), damage_text, (("catalog", "{case}", "--from", "{file}", "--overwrite"),)
    ),
    "ecsv": Kind(
        bases.tables,
        ("tic.ecsv",),
        damage_text,
        (("catalog", "{case}", "--from", "{file}", "--overwrite"),),
    ),
    "fits-table": Kind(
        bases.tables, ("tic.fits",), damage_fits, (("catalog", "{case}", "--from", "{file}", "--overwrite"),)
    ),
    "parquet": Kind(
        bases.tables,
        ("tic.parquet",),
        damage_parquet,
        (("catalog", "{case}", "--from", "{file}", "--overwrite"),),
    ),
    "strips": Kind(
        bases.tables,
        ("tic/*.csv",),
        damage_text,
        (("catalog", "{case}", "--from", "{case}/tic", "--overwrite"),),
    ),
    "download": Kind(
        bases.downloads,
        ("download.state", "ffi/1-1/*.part"),
        damage_text_or_bytes,
        (("download", "{case}"),),
        keeps=r".*\.part",
        links=False,
    ),
    "lists": Kind(
        bases.lists,
        ("exclude.txt", "methods.txt"),
        damage_text,
        (
            (
                "todo",
                "{case}",
                "--overwrite",
                "--exclude",
                "{case}/exclude.txt",
                "--methods",
                "{case}/methods.txt",
            ),
        ),
    ),
    "settings": Kind(
        bases.lists,
        ("settings.ini",),
        damage_ini,
        ((*_RUN, "--tmag-max", "10"), ("todo", "{case}", "--overwrite")),
        environment={"TESSPHOT_SETTINGS": "{file}"},
        # A faint limit that leaves no star is a setting like others.
        blames=("no star brighter than",),
    ),
    "site": Kind(
        bases.lists, ("*.yaml",), damage_yaml, (("submit", "{case}", "--site", "{file}", "--dry-run"),)
    ),
    "spice": Kind(
        bases.spice,
        ("spice/*.bsp",),
        damage_bytes,
        (("prepare", "{case}"),),
        keeps=_STATE,
        blames=("spice",),
    ),
}
