"""The settings of a site: one YAML file with the resources of each step and the way to ask for them."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import Any

from ..core.errors import InputError, MissingInput, UsageError, one_line
from ..core.yaml_file import read_yaml

__all__ = ["LAUNCHES", "STEPS", "Resources", "Site", "example_text", "examples", "find_site", "load_site"]

#: The steps of a sector, in their order.
STEPS = ("prepare", "todo", "run", "publish", "cbv", "correct", "report")
#: The steps that may have several ranks.
_PARALLEL = ("prepare", "run", "cbv", "correct")

#: How ranks are started, by the value of `launch`.
LAUNCHES = {
    "srun-pmi2": "srun --mpi=pmi2 --kill-on-bad-exit=1",
    "srun-pmix": "srun --mpi=pmix --kill-on-bad-exit=1",
    "srun": "srun --kill-on-bad-exit=1",
    "mpiexec": "mpiexec",
}

_TIME = re.compile(r"\d+|\d+:\d\d|\d+:\d\d:\d\d|\d+-\d+(:\d\d){0,2}")
_MEMORY = re.compile(r"\d+[KMGT]?", re.IGNORECASE)
#: What to do about a damaged file.
_WAY_OUT = "correct it, or begin with an example (mpiexec, srun, staged)"
_WORD = re.compile(r"[\w.,+-]+")
_MODULE = re.compile(r"[\w./+-]+")


def _key(default: Any = None, pattern: re.Pattern[str] | None = None, example: str = "", **more: Any) -> Any:
    """A key of a site file: a text like `example`, a list of lines, a number in `limits`; None: required."""
    return field(default=default, metadata={"pattern": pattern, "example": example, **more})


@dataclass(frozen=True)
class Resources:
    """The resources of a step."""

    time: str = _key(None, _TIME, "2:00:00")  #: Limit, as SLURM writes it: ``2:00:00``
    memory: str = _key(None, _MEMORY, "64G")  #: Of a node, ``64G``; ``0`` is all of it
    nodes: int = _key(1, limits=(1, 100_000))  #: Nodes of a task
    ranks: int = _key(1, limits=(1, 100_000))  #: Ranks on each node
    partition: str = _key("", _WORD, "normal")  #: In place of the site's
    options: tuple[str, ...] = _key(())  #: More options for the command of the step


#: The resources of the small steps, which take minutes on one core.
_SMALL = {"time": "1:00:00", "memory": "8G"}


@dataclass(frozen=True)
class Site:
    """The settings of a site; `docs/slurm.md` has their meaning."""

    path: Path  #: The file
    steps: Mapping[str, Resources]  #: From names of steps to `Resources`
    launch: str = _key(None, None, "srun-pmi2", choices=tuple(LAUNCHES))
    system: str = _key("slurm", _WORD, "slurm")
    partition: str = _key("", _WORD, "normal")
    account: str = _key("", _WORD, "project1")
    qos: str = _key("", _WORD, "normal")
    launch_options: tuple[str, ...] = _key(())
    command: tuple[str, ...] = _key(())
    modules: tuple[str, ...] = _key((), _MODULE, "mpich/4.2")
    setup: tuple[str, ...] = _key(())
    sbatch: tuple[str, ...] = _key((), re.compile(r"--[a-z][\w-]*(=.*)?"), "--constraint=fast")
    cube: str = _key("mapped", choices=("mapped", "staged", "shared"))
    scratch: str = _key("")
    warning: int = _key(300, limits=(10, 65535))
    restarts: int = _key(10, limits=(0, 1000))
    at_once: int = _key(16, limits=(1, 100_000))
    templates: str = _key("")

    @property
    def template_folder(self) -> Path | None:
        """The site's own templates, whose path counts from its file."""
        return self.path.parent / self.templates if self.templates else None


def examples() -> dict[str, Path]:
    """The site files that come with the program, by name."""
    with resources.as_file(resources.files(__package__) / "sites") as folder:
        return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def example_text(name: str) -> str:
    """The content of a site file that comes with the program; raises UsageError if there is none."""
    if name not in examples():
        raise UsageError(f"--example {name}: is none of {', '.join(examples())}")
    return examples()[name].read_text(encoding="utf-8")


def find_site(name: str | None, folder: Path) -> Site:
    """Settings of the site for a folder of data.

    Parameters
    ----------
    name : str, optional
        As of `load_site`. Default: TESSPHOT_SITE, else ``site.yaml`` in the folder.
    folder : Path

    Raises
    ------
    UsageError, MissingInput, InputError
        If there are none, or as `load_site`.
    """
    name = name or os.environ.get("TESSPHOT_SITE")
    if not name and not (folder / "site.yaml").is_file():
        raise UsageError(
            f"no settings of a site: give --site FILE (`submit --example NAME` prints one:"
            f" {', '.join(examples())})"
        )
    return load_site(name or folder / "site.yaml")


def load_site(name: str | os.PathLike[str]) -> Site:
    """Read and check the settings of a site.

    Parameters
    ----------
    name : path-like
        A file, or the name of one that comes with the program.

    Raises
    ------
    MissingInput
        If there is no such file.
    InputError
        If it is not YAML, or a key is unknown, missing, twice there, or has an impossible value.
    """
    path = Path(name)
    if not path.is_file():
        packaged = examples()
        if str(name) not in packaged:
            what = "a folder, and no site file" if path.is_dir() else "no such site file"
            raise MissingInput(f"{path}: {what}; write one (examples: {', '.join(packaged)})")
        path = packaged[str(name)]
    values = _mapping(path, read_yaml(path, _WAY_OUT), "")
    given = values.pop("steps", "")
    settings = _settings(Site, path, "", values, ("steps",))
    if not given:
        raise _error(
            path, "", "steps", "is missing; give at least `prepare` and `run` with their time and memory"
        )
    site = Site(path, _steps(path, given), **settings)
    if site.cube == "staged" and not site.scratch:
        raise _error(path, "", "scratch", "is missing; `cube: staged` needs a folder on the node's own disk")
    if site.cube != "staged" and site.scratch:
        raise _error(path, "", "scratch", f"is of no use with `cube: {site.cube}`; leave it out")
    return site


def _steps(path: Path, given: Any) -> dict[str, Resources]:
    values = _mapping(path, given, "steps")
    _check_keys(path, "steps.", values, STEPS)
    steps = {}
    for name in STEPS:
        small = name not in ("prepare", "run")
        if not (small or values.get(name)):
            raise _error(path, "steps.", name, "is missing; give its time, memory and ranks")
        asked = {**(_SMALL if small else {}), **_mapping(path, values.get(name) or {}, f"steps.{name}")}
        steps[name] = Resources(**_settings(Resources, path, f"steps.{name}.", asked))
        if name not in _PARALLEL and steps[name].nodes * steps[name].ranks > 1:
            raise _error(
                path, f"steps.{name}.", "ranks", f"and nodes: the {name} step is one process; leave them out"
            )
    return steps


def _error(path: Path, place: str, key: str, problem: str) -> InputError:
    return InputError(f"{path}: `{place}{one_line(key)}` {problem}")


def _check_keys(path: Path, place: str, values: Mapping[str, Any], known: Sequence[str]) -> None:
    for key in (key for key in values if key not in known):
        near = difflib.get_close_matches(key, known, 1)
        hint = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(known)}"
        raise _error(path, place, key, f"is not known; {hint}")


def _settings(
    kind: type, path: Path, place: str, values: Mapping[str, Any], more: Sequence[str] = ()
) -> dict[str, Any]:
    """The values of the keys that a dataclass has, checked; `more` are known, too."""
    keys = [key for key in fields(kind) if key.metadata]
    _check_keys(path, place, values, [*(key.name for key in keys), *more])
    found = {}
    for key in keys:
        value = values.get(key.name, "")
        try:
            found[key.name] = _value(key, "" if value in ("null", "~") else value)
        except ValueError as error:
            raise _error(path, place, key.name, str(error)) from None
    return found


def _value(key: Field[Any], value: Any) -> Any:
    """The value of one key; raises ValueError, with the problem, where it is none."""
    default, pattern, example = key.default, key.metadata["pattern"], key.metadata["example"]
    if value in ("", []):
        if default is None:
            raise ValueError(f"is missing; give it, for example {key.name}: {example}")
        return default
    if isinstance(default, tuple):
        lines = [value] if isinstance(value, str) else value
        if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
            raise ValueError("must be a list of lines, each beginning with `- `")
        for line in lines:
            if pattern and not pattern.fullmatch(line):
                raise ValueError(f"has {line!r}; must be like {example}")
        return tuple(lines)
    if not isinstance(value, str):
        raise ValueError("must be one word or number")
    if isinstance(default, int):
        least, most = key.metadata["limits"]
        if not re.fullmatch(r"-?\d+", value):
            raise ValueError(f"is {value!r}; must be like {default}")
        if not least <= int(value) <= most:
            raise ValueError(f"is {value}; must be from {least} to {most}")
        return int(value)
    choices = key.metadata.get("choices", (value,))
    if value not in choices:
        raise ValueError(f"is {value!r}; must be one of {', '.join(choices)}")
    if "\n" in value or (pattern and not pattern.fullmatch(value)):
        raise ValueError(f"is {value!r}; must be like {example or 'one line'}")
    return value


def _mapping(path: Path, value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        where = f"`{place}` must hold" if place else "must hold"
        raise InputError(f"{path}: {where} lines `key: value`; {_WAY_OUT}")
    return dict(value)
