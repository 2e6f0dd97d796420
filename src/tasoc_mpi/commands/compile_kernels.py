"""Compile the kernels, which every installation does once: a run that needs them does it by itself otherwise.

Several processes that share a folder of compiled kernels (NUMBA_CACHE_DIR) share the work.
"""

from __future__ import annotations

import argparse

from ..core.methods import METHODS
from . import words

HELP = "compile the kernels, once for an installation"

_NAMES = ("simulate", "prepare", *METHODS, "prf", "cbv", "correct")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    help = f"only for these, separated by commas or repeated: {', '.join(_NAMES)} (default: all)"
    parser.add_argument("--only", type=words(_NAMES), action="extend", metavar="NAME", help=help)


def main(args: argparse.Namespace) -> int:
    """Run the command."""
    import time

    from ..core.compiled import cache_folder
    from ..core.logs import rank_name
    from ..worker.kernel_list import compile_kernels

    begin = time.monotonic()
    count = compile_kernels(args.only or list(_NAMES))
    if rank_name() == "0":
        print(f"{count} kernels are compiled in {cache_folder()} ({time.monotonic() - begin:.1f} s)")
    return 0
