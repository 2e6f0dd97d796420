"""Batch scripts from templates: texts with places ``{{name}}`` to be filled in."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

from ..core.errors import InputError, MissingInput
from ..core.methods import METHODS
from .jobs import find_system
from .site import LAUNCHES, Site

__all__ = ["ARRAYS", "SCRIPT_FOLDER", "render"]

#: Below the input folder: scripts as they were submitted, and the jobs' logs.
SCRIPT_FOLDER = "slurm"

#: The steps with a task for each CCD.
ARRAYS = ("prepare", "run")
#: The steps that are of one method where one computes all stars.
_OF_METHOD = ("run", "publish", "cbv", "correct", "report")

#: The steps whose kernels are compiled by a line of their own.
_KERNELS = ("prepare", "run", "cbv", "correct")

_PLACE = re.compile(r"\{\{(\w+)\}\}")
#: Seconds before the time limit at which a task asks for a requeue, even if its ranks still save.
_RESERVE = 20


def render(
    site: Site,
    step: str,
    folder: Path,
    output: Path,
    version: int,
    ccds: Sequence[tuple[int, int, int]] = (),
    photometry: str = "",
) -> str:
    """The batch script of one step.

    Parameters
    ----------
    site : Site
    step : str
        One of `STEPS`.
    folder, output : Path
        Input folder and folder of light curves, absolute.
    version : int
        Of the light curves.
    ccds : sequence of (int, int, int)
        Sector, camera and CCD of each task of an array.
    photometry : str, optional
        The method that computes all stars. Default: the work list chooses.

    Raises
    ------
    MissingInput, InputError
        If the site's own template is not there or has a place that cannot be filled; if a path has a line
        break.
    """
    for path in (folder, output, photometry):
        if re.search(r"[\x00-\x1f\"]", str(path)):
            raise InputError(f"{str(path)!r}: not a name for a batch script; move it to a plain one")
    system, asks = find_system(site), site.steps[step]
    launch = ""
    if asks.nodes * asks.ranks > 1:
        extra = shlex.join(site.launch_options)
        launch = f"{LAUNCHES[site.launch]} -n {system.ranks} {extra}".rstrip() + " "
    options = [*asks.options, *(("--photometry", photometry) if photometry and step in _OF_METHOD else ())]
    values = {
        "directives": "\n".join(
            system.directives(site, step, folder / SCRIPT_FOLDER, len(ccds) if step in ARRAYS else None)
        ),
        "setup": _setup(site),
        "grace": str(max(site.warning - _RESERVE, site.warning // 2)),
        "restarts": str(site.restarts),
        "ccds": " ".join(f'"{sector} {camera} {ccd}"' for sector, camera, ccd in ccds),
        "launch": launch,
        "command": shlex.join(site.command or (sys.executable, "-m", "tasoc_mpi.cli")),
        "compile": "",
        "input": shlex.quote(str(folder)),
        "output": shlex.quote(str(output)),
        "version": str(version),
        "cube": f"--cube {site.cube}" + (f" --scratch {_scratch(site.scratch)}" if site.scratch else ""),
        "options": shlex.join(options),
    }
    if step in _KERNELS:
        kernels = photometry if photometry in METHODS else "aperture"
        values["compile"] = (
            "# Once for an installation; jobs that begin at the same time share it.\n"
            f"{values['command']} compile --only {kernels if step == 'run' else step}"
        )
    values["common"] = _fill(site, site.system, values) + _fill(site, "common", values)
    values["fresh"] = _fill(site, "fresh", values) if launch.startswith("srun") else ""
    script = _fill(site, step, values)
    # Without the lines that stayed empty.
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]+$", "", script, flags=re.MULTILINE))


def _fill(site: Site, name: str, values: Mapping[str, str]) -> str:
    """A template with its places filled; a template of the site's own goes before the packaged one."""
    text, where = None, f"{name}.sh"
    if site.template_folder is not None:
        path = site.template_folder / f"{name}.sh"
        if not site.template_folder.is_dir():
            raise MissingInput(f"{site.template_folder}: no such folder, `templates` of {site.path} names it")
        if path.is_file():
            text, where = path.read_text("utf-8"), str(path)
    if text is None:
        text = (resources.files(__package__) / "templates" / f"{name}.sh").read_text("utf-8")

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise InputError(f"{where}: nothing known for {match[0]}; known are {', '.join(sorted(values))}")
        return values[match[1]]

    return _PLACE.sub(value, text).rstrip("\n") + "\n"


def _setup(site: Site) -> str:
    lines = []
    if not site.command:
        # mpiexec of an MPI from PyPI; a module's goes before it.
        lines.append(f'export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"')
    lines += [f"module load {shlex.quote(module)}" for module in site.modules]
    return "\n".join((*lines, *site.setup))


def _scratch(name: str) -> str:
    """A folder, in which environment variables are filled in on the node."""
    return '"' + re.sub(r'([`"\\])', r"\\\1", name).replace("$(", r"\$(") + '"'
