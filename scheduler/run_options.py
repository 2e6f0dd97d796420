"""The options of a run: checked, and as the scheduler uses them."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ..core.errors import UsageError
from ..core.methods import choose_method, method_file
from ..core.settings import input_folder, output_folder
from ..products.lightcurve import creation_date
from ..worklist.constraints import Constraints
from ..worklist.todo_file import TODO_NAME

__all__ = ["RunOptions", "folders", "published_files", "run_options"]

#: Smallest and largest values.
_LIMITS = {
    "sector": (1, 999),
    "camera": (1, 4),
    "ccd": (1, 4),
    "cadence": (1, 9999),
    "starid": (0, 2**63 - 1),
    "priority": (0, 2**63 - 1),
    "batch": (1, 100_000),
    "max_errors": (1, 2**31),
    "version": (0, 99),
    # What libraries need.
    "memory_limit": (0.5, 1e6),
    "target_timeout": (1e-3, 1e9),
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
    batch : int or None
        Stars to hand out at once; None: by their cost.
    max_errors : int
        The run ends when so many stars have failed; 0: never.
    dry : bool
        Only print what would be done.
    method : str
        Name of the method that computes all stars; '' where the work list chooses.
    """

    todo: Path
    source: Path
    output: Path
    constraints: Constraints
    version: int = 6
    overwrite: bool = False
    batch: int | None = None
    max_errors: int = 0
    dry: bool = False
    method: str = ""


def published_files(args: argparse.Namespace) -> tuple[Path, Path, Path | None]:
    """The list, the output folder, and the work list of a method's rows: the arguments of `publish`."""
    options = run_options(args)
    path = method_file(options.todo, options.method)
    return path, options.output, options.todo if options.method else None


def _check_whole(args: argparse.Namespace, constraints: Constraints) -> None:
    """Raise UsageError unless the stars of a run are those of one CCD, camera or sector, or all."""
    several = any(len(getattr(args, name) or ()) > 1 for name in ("sector", "camera", "ccd"))
    if several or (constraints and not constraints.only_ccds):
        raise UsageError(
            "--correct needs all light curves of an area: choose at most one --sector, --camera and --ccd,"
            " and no stars"
        )
    if args.todo:
        raise UsageError("--correct is for the work list of the input folder; leave --todo out")


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
    """
    for name, (least, most) in _LIMITS.items():
        found = getattr(args, name)
        for value in found if isinstance(found, list) else [found]:
            if value is not None and not least <= value <= most:
                option = name.replace("_", "-")
                raise UsageError(f"--{option} {value}: must be from {least} to {most}")
    for value in args.datasource or ():
        if not (value in ("ffi", "tpf") or (value.startswith("tpf:") and value[4:].isdecimal())):
            raise UsageError(f"--datasource {value}: must be ffi, tpf or tpf:STARID")
    if args.tmag_min is not None and args.tmag_max is not None and args.tmag_min > args.tmag_max:
        raise UsageError(
            f"--tmag-min {args.tmag_min} is fainter than --tmag-max {args.tmag_max}: no star is both"
        )
    if args.scratch and args.cube != "staged":
        raise UsageError("--scratch is for --cube staged")
    filters: dict[str, Any] = {field.name: getattr(args, field.name) for field in fields(Constraints)}
    filters = {name: tuple(value) if isinstance(value, list) else value for name, value in filters.items()}
    constraints = Constraints(**filters)
    if getattr(args, "correct", False):
        _check_whole(args, constraints)
    creation_date()  # Raises for all stars at once where the variable for it is wrong.
    method = choose_method(args.photometry, computes=True).name
    source, output = folders(args, method)
    return RunOptions(
        todo=Path(args.todo) if args.todo else source / TODO_NAME,
        source=source,
        output=output,
        constraints=constraints,
        version=args.version,
        overwrite=args.overwrite,
        batch=args.batch,
        max_errors=1 if args.fail_fast else args.max_errors or 0,
        dry=args.dry_run,
        method=method,
    )
