"""Constants and thresholds of the pipeline, each with the reason for its default."""

from __future__ import annotations

import configparser
import functools
import os
from importlib import resources
from pathlib import Path

from .errors import InputError

__all__ = ["input_folder", "load_settings", "mag2flux", "output_folder"]

#: TESS magnitude of 1 e-/s (TASOC data release 5).
ZERO_POINT_TMAG = 20.451


@functools.cache
def load_settings() -> configparser.ConfigParser:
    """Settings of the pipeline.

    The defaults are packaged (`data/settings.ini`, which says why each is what it is). A file
    named by the environment variable ``TESSPHOT_SETTINGS`` overrides any of them.

    Returns
    -------
    configparser.ConfigParser
        The same object at every call.

    Raises
    ------
    InputError
        If the file named by ``TESSPHOT_SETTINGS`` cannot be read or has an unknown key.
    """
    settings = configparser.ConfigParser(inline_comment_prefixes=(";",))
    settings.read_string((resources.files("tasoc_mpi.data") / "settings.ini").read_text("utf-8"))
    path = os.environ.get("TESSPHOT_SETTINGS")
    if path:
        override = configparser.ConfigParser(inline_comment_prefixes=(";",))
        try:
            override.read_string(Path(path).read_text("utf-8"), source=path)
        except (OSError, UnicodeDecodeError, configparser.Error) as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"{path}: cannot be read as settings ({reason}); see TESSPHOT_SETTINGS"
            ) from None
        for section in override.sections():
            for key, value in override.items(section):
                if not settings.has_option(section, key):
                    raise InputError(
                        f"{path}: no setting [{section}] {key}; TESSPHOT_SETTINGS names the file"
                    )
                settings.set(section, key, value)
    return settings


def mag2flux(tmag: float) -> float:
    """Expected flux in e-/s of a star of TESS magnitude `tmag` (scalar or array)."""
    return 10.0 ** (-0.4 * (tmag - ZERO_POINT_TMAG))


def input_folder(argument: str | os.PathLike[str] | None) -> Path:
    """The input folder: the argument, else ``TESSPHOT_INPUT``.

    Raises
    ------
    InputError
        If neither names a folder.
    """
    name = argument or os.environ.get("TESSPHOT_INPUT")
    if not name:
        raise InputError("no input folder: give one, or set TESSPHOT_INPUT")
    return Path(name)


def output_folder(argument: str | os.PathLike[str] | None, default: Path) -> Path:
    """The output folder: the argument, else ``TESSPHOT_OUTPUT``, else `default`."""
    return Path(argument or os.environ.get("TESSPHOT_OUTPUT") or default)
