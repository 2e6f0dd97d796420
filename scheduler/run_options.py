"""The options of a run: checked, and as the scheduler uses them."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ..core.copy_space import copies_folder
from ..core.errors import UsageError
from ..core.methods import choose_method, method_file
from ..core.settings import input_folder, output_folder
from ..products.lightcurve import creation_date
from ..worklist.constraints import Constraints, is_datasource
from ..worklist.result_files import ResultFiles
from ..worklist.starid_file import read_starids

__all__ = ["RunOptions", "folders", "published_files", "repeat_arguments", "run_options"]

#: Smallest and largest values.
_LIMITS = {
    "batch": (1, 100_000),
    "max_errors": (1, 2**31),
    "version": (0, 99),
    # What libraries need.
    "memory_limit": (0.5, 1e6),
    "target_timeout": (1e-3, 1e9),
    "tmag_min": (-100, 100),
    "tmag_max": (-100, 100),
}


@dataclass(frozen=True)
class RunOptions:
    """The options of a run.

    Attributes
    ----------
    todo : Path
        The work list.
    source, output : Path
        Input and output folder, absolute.
    constraints : Constraints
        Which stars may be computed.
    version : int
        Of the light curves.
    overwrite : bool
        Compute stars again that have a result.
    failed : bool
        Compute again the stars that failed, and no others.
    batch : int or None
        Stars to hand out at once; None: by their cost.
    max_errors : int
        The run ends when so many stars have failed; 0: never.
    dry : bool
        Only print what would be done.
    method : str
        Name of the method that computes all stars; '' where the work list chooses.
    as_json : bool
        Print the plan of a dry run as JSON.
    copies : Path or None
        Folder of the copies of cubes; None where cubes are read in place.
    shown : str
        The arguments with which another command reads the results.
    """

    todo: Path
    source: Path
    output: Path
    constraints: Constraints
    version: int = 6
    overwrite: bool = False
    failed: bool = False
    batch: int | None = None
    max_errors: int = 0
    dry: bool = False
    method: str = ""
    as_json: bool = False
    copies: Path | None = None
    shown: str = ""

    @property
    def again(self) -> bool:
        """Whether stars that have a result are computed."""
        return self.overwrite or self.failed


def published_files(args: argparse.Namespace) -> tuple[Path, Path, Path | None]:
    """The list, the output folder, and the work list of a method's rows: the arguments of `publish`."""
    options = run_options(args)
    path = method_file(options.todo, options.method)
    return path, options.output, options.todo if options.method else None


def repeat_arguments(args: argparse.Namespace, options: RunOptions) -> str:
    """The arguments with which a run uses the files of another one, as they are typed in a shell."""
    more = {
        # The class itself: a run has to find it.
        "photometry": args.photometry,
        "lock_folder": args.lock_folder,
        "version": None if options.version == RunOptions.version else options.version,
    }
    return ResultFiles(options.source, args.todo, options.method).arguments(options.output, **more)


def _constraints(args: argparse.Namespace) -> Constraints:
    """The filters of a command line."""
    filters: dict[str, Any] = {field.name: getattr(args, field.name, None) for field in fields(Constraints)}
    if args.starid_file:
        filters["starid"] = [*(args.starid or ()), *read_starids(args.starid_file)]
    if args.cone:
        _check_cone(*args.cone)
        # It reads FITS files, which rank 0 does not need otherwise.
        from ..worklist.cone import stars_in_cone

        which = args.sector, args.camera, args.ccd
        filters["in_cone"] = stars_in_cone(input_folder(args.input), tuple(args.cone), which)
    filters = {name: tuple(value) if isinstance(value, list) else value for name, value in filters.items()}
    return Constraints(**filters)


def _check_cone(ra: float, dec: float, radius: float) -> None:
    """Raise UsageError for a cone that is not on the sky."""
    if not (-360.0 <= ra <= 360.0 and -90.0 <= dec <= 90.0 and 0.0 < radius <= 180.0):
        raise UsageError(
            f"--cone {ra:g} {dec:g} {radius:g}: a right ascension of -360 to 360, a declination of -90 to 90"
            " and a radius of up to 180, in degrees"
        )


def folders(args: argparse.Namespace, method: str) -> tuple[Path, Path]:
    """Input and output folder."""
    source = input_folder(args.input)
    return source.resolve(), output_folder(args.output, source / "output", method).resolve()


def run_options(args: argparse.Namespace) -> RunOptions:
    """The options of a command line.

    Raises
    ------
    UsageError
        If a value is impossible.
    InputError
        If cubes cannot be copied as they are to be.
    """
    for name, (least, most) in _LIMITS.items():
        value = getattr(args, name, None)
        if value is not None and not least <= value <= most:
            raise UsageError(f"--{name.replace('_', '-')} {value}: must be from {least} to {most}")
    for value in args.datasource or ():
        if not is_datasource(value):
            raise UsageError(f"--datasource {value}: must be ffi, tpf or tpf:STARID")
    if args.tmag_min is not None and args.tmag_max is not None and args.tmag_min > args.tmag_max:
        raise UsageError(
            f"--tmag-min {args.tmag_min} is fainter than --tmag-max {args.tmag_max}: no star is both"
        )
    if getattr(args, "scratch", None) and args.cube != "staged":
        raise UsageError("--scratch is for --cube staged")
    if getattr(args, "json", False) and not args.dry_run:
        raise UsageError("--json is for --dry-run; a run writes summary.json")
    constraints = _constraints(args)
    if getattr(args, "correct", False) and constraints and not constraints.only_ccds:
        raise UsageError("--correct needs all light curves of an area: choose CCDs, and no stars")
    creation_date()  # Raises for all stars at once where the variable for it is wrong.
    method = choose_method(getattr(args, "photometry", None), computes=True).name
    source, output = folders(args, method)
    results = ResultFiles(source, args.todo, method)
    return RunOptions(
        todo=results.path,
        source=source,
        output=output,
        constraints=constraints,
        version=getattr(args, "version", 0),
        overwrite=args.overwrite,
        failed=getattr(args, "failed", False),
        batch=args.batch,
        max_errors=1 if args.fail_fast else args.max_errors or 0,
        dry=args.dry_run,
        method=method,
        as_json=getattr(args, "json", False),
        copies=copies_folder(getattr(args, "cube", "mapped"), getattr(args, "scratch", None)),
        shown=results.arguments(output),
    )
