"""Reads a file of settings, and checks it as a whole."""

from __future__ import annotations

import configparser
import difflib
import re
from collections.abc import Iterable, Mapping

from .errors import InputError, MissingInput
from .one_setting import Setting

__all__ = ["read_settings"]

#: Comments in files of settings, on lines of their own and behind values.
_COMMENTS = (";", "#")
#: A header stands alone on its line: configparser itself drops whatever follows it.
_HEADER = re.compile(r"\[(?P<header>[^\]]+)\]\Z")
_MOST_BYTES = 1 << 20  #: Files of settings have some kB
#: Sections of the settings of the TASOC pipeline (settings.ini), and what they are called here.
_OTHER_NAMES = {"todolist": "todo"}
#: Its correction of the times of early data releases, which this program always applies.
_TIME_OFFSET = ("fixes", "time_offset")


def read_settings(
    path: str, settings: Mapping[str, Mapping[str, Setting]]
) -> list[tuple[Setting, int | float | str]]:
    """Read a file of settings.

    Parameters
    ----------
    path : str
    settings : mapping
        All settings, by section and key.

    Returns
    -------
    list of (Setting, int or float or str)
        Those of the file, with their values.

    Raises
    ------
    InputError
        If the file cannot be read, or has an unknown section or key, a key twice, or an impossible value.
    MissingInput
        If it is not there.
    """
    from .input_files import InputFile

    # No header has the empty name: [DEFAULT] is a section like any other, and not known.
    parser = configparser.ConfigParser(
        interpolation=None, default_section="", comment_prefixes=_COMMENTS, inline_comment_prefixes=_COMMENTS
    )
    parser.SECTCRE = _HEADER
    way_out = "correct it, or the variable TESSPHOT_SETTINGS, which names it"
    try:
        with InputFile(path, _MOST_BYTES) as file:
            text = file.read().decode("utf-8-sig")
        parser.read_string(text, source=path)
    except MissingInput:
        raise MissingInput(f"{path}: no such file of settings; {way_out}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text in UTF-8 (byte {error.start}); {way_out}") from None
    except configparser.Error as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{path}: cannot be read as settings ({reason}); {way_out}") from None
    found: dict[Setting, int | float | str] = {}
    for section in parser.sections():
        if section == _TIME_OFFSET[0]:
            _check_fixes(path, parser)
            continue
        known = settings.get(_OTHER_NAMES.get(section, section))
        if known is None:
            raise InputError(f"{path}: no section [{section}]{_meant(section, settings)}; {way_out}")
        for key, value in parser.items(section):
            if key not in known:
                raise InputError(f"{path}: no setting [{section}] {key}{_meant(key, known)}; {way_out}")
            if known[key] in found:
                home = known[key].section
                names = [name for name in parser.sections() if _OTHER_NAMES.get(name, name) == home]
                raise InputError(f"{path}: {key} is in [{'] and ['.join(names)}], which are one; {way_out}")
            try:
                found[known[key]] = known[key].parse(value)
            except ValueError as error:
                shown = value if len(value) <= 40 else value[:40] + "..."
                problem = f"[{section}] {key} is {shown!r} and not {error}"
                raise InputError(f"{path}: {problem}; {way_out}") from None
    return list(found.items())


def _check_fixes(path: str, parser: configparser.ConfigParser) -> None:
    """The only thing that a section [fixes] can say here."""
    section, known = _TIME_OFFSET
    for key, value in parser.items(section):
        if key != known or value.strip().lower() not in ("true", "yes", "on", "1"):
            raise InputError(
                f"{path}: [{section}] {key} = {value[:40]}: the times of early data releases are "
                "always corrected; remove it, or write time_offset = True"
            )


def _meant(name: str, known: Iterable[str]) -> str:
    """The known name that is most like another."""
    like = difflib.get_close_matches(name, known, 1)
    return f" (is it {like[0]}?)" if like else f" (known: {', '.join(known)})"
