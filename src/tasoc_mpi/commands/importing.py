"""Make image cubes from the TASOC pipeline's HDF5 files, MAST's FITS cubes and cut-outs of TESSCut."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import compile_for

HELP = "make image cubes from other programs' cubes and cut-outs"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add = parser.add_argument
    add("input", type=Path, metavar="INPUT", help="folder that gets the cubes")
    files = "sectorSSS_cameraC_ccdD.hdf5 of the TASOC pipeline, tess-sSSSS-C-D-cube.fits of MAST, or "
    add("files", type=Path, nargs="+", metavar="FILE", help=files + "*_astrocut.fits of TESSCut")
    add("--memory", type=float, metavar="GB", help="memory to use (default: half of the free memory)")
    spice = "SPICE kernels of the orbit of TESS (default: INPUT/spice, if there is one)"
    add("--spice", type=Path, metavar="FOLDER", help=spice)
    add("--overwrite", action="store_true", help="make finished cubes anew")


def main(args: argparse.Namespace) -> int:
    """Run the command."""
    from ..cubes.prepare import PrepareOptions
    from ..imports.convert import import_files

    options = PrepareOptions(memory=args.memory, overwrite=args.overwrite, spice=args.spice)
    compile_for("prepare", args.files[0])
    import_files(args.input, args.files, options)
    return 0
