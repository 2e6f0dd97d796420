"""Where compiled kernels are kept when neither the installation nor the home folder can be written."""

from __future__ import annotations

import logging
import os
import stat
import sys
import tempfile
from pathlib import Path

from .errors import InputError

__all__ = ["provide_cache"]

logger = logging.getLogger(__name__)

_VARIABLE = "NUMBA_CACHE_DIR"


def provide_cache(package: Path) -> None:
    """Give numba a folder for the compiled kernels of a package, where it would find none.

    Numba keeps them beside the package or in the user's cache folder. Where neither can be written they go to
    a folder of this user in TMPDIR, which all processes of this host use; its maker logs a warning.

    Parameters
    ----------
    package : Path
        The folder of the package.

    Raises
    ------
    InputError
        If there is no folder that could be used.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if os.environ.get(_VARIABLE) or any(map(_writable, (package / "__pycache__", Path(cache, "numba")))):
        return
    folder = _own_folder(package)
    # For programs that are started from here, and for numba if it is there already.
    os.environ[_VARIABLE] = str(folder)
    if "numba" in sys.modules:
        sys.modules["numba"].config.CACHE_DIR = str(folder)


def _writable(folder: Path) -> bool:
    """Whether a folder can be written, or made."""
    if not folder.is_absolute():
        # Of a user without a home.
        return False
    while not folder.exists():
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def _own_folder(package: Path) -> Path:
    try:
        folder = Path(tempfile.gettempdir(), f"tasoc-mpi-{os.getuid()}-numba")
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            # Its content is run: it has to be this user's alone.
            status = folder.lstat()
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
                raise InputError(
                    f"{folder}: not a folder that only this user can write; remove it, or set {_VARIABLE}"
                ) from None
        else:
            logger.warning(
                "%s: compiled kernels are kept here, as neither %s nor the home folder can be written; %s"
                " names another folder",
                folder,
                package,
                _VARIABLE,
            )
    except OSError as error:
        raise InputError(
            f"no folder for compiled kernels can be written ({error}); set {_VARIABLE} to one"
        ) from None
    return folder
