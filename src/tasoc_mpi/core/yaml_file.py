"""Reads a YAML file of settings as texts, and refuses keys that are there twice."""

from __future__ import annotations

import os
from typing import Any

from .errors import InputError, one_line
from .input_files import InputFile

__all__ = ["read_yaml"]

_LARGEST = 1 << 20  #: Bytes of a file at most
_MOST_BRACKETS = 1000


def read_yaml(path: str | os.PathLike[str], way_out: str) -> Any:
    """The content of a YAML file as mappings, lists and texts; YAML's own numbers have 7200 for 2:00:00.

    Parameters
    ----------
    path : path-like
    way_out : str
        What to do about a damaged file, the end of messages.

    Raises
    ------
    MissingInput
        If there is no such file.
    InputError
        If it cannot be read as YAML, or has a key twice.
    """
    import yaml

    class Loader(yaml.BaseLoader):
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            keys = [key.value for key, _ in node.value]
            for key in keys:
                if keys.count(key) > 1:
                    raise InputError(f"{path}: `{one_line(key)}` is there twice; keep one of them")
            return super().construct_mapping(node, deep)

    try:
        with InputFile(path, most=_LARGEST) as file:
            text = file.read().decode("utf-8")
        if text.count("[") + text.count("{") > _MOST_BRACKETS:
            # The time that YAML takes is the square of how deep they are.
            raise InputError(f"{path}: more than {_MOST_BRACKETS} brackets; {way_out}")
        return yaml.load(text, Loader=Loader)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error}); {way_out}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{path}: not YAML ({one_line(error)}); {way_out}") from None
