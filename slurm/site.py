"""The settings of a site: one YAML file with the resources of each step and the way to ask for them."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import Any

from ..core.errors import InputError, MissingInput, one_line
from ..core.input_files import InputFile

__all__ = ["LAUNCHES", "STEPS", "Resources", "Site", "examples", "load_site"]

#: The steps of a sector, in their order.
STEPS = ("prepare", "todo", "run", "publish", "report")

#: How ranks are started, by the value of `launch`.
LAUNCHES = {
    "srun-pmi2": "srun --mpi=pmi2 --kill-on-bad-exit=1",
    "srun-pmix": "srun --mpi=pmix --kill-on-bad-exit=1",
    "srun": "srun --kill-on-bad-exit=1",
    "mpiexec": "mpiexec",
}

_TIME = re.compile(r"\d+|\d+:\d\d|\d+:\d\d:\d\d|\d+-\d+(:\d\d){0,2}")
_MEMORY = re.compile(r"\d+[KMGT]?", re.IGNORECASE)
#: Bytes of a file at most, and what to do about a damaged one.
_LARGEST = 1 << 20
_MOST_BRACKETS = 1000
_WAY_OUT = "correct it, or begin with an example (mpiexec, srun, staged)"
_WORD = re.compile(r"[\w.,+-]+")
_MODULE = re.compile(r"[\w./+-]+")


@dataclass(frozen=True)
class Resources:
    """The resources of a step.

    Attributes
    ----------
    time : str
        Limit, as SLURM writes it: ``2:00:00``.
    memory : str
        Of a node, ``64G``; ``0`` is all of it.
    nodes, ranks : int
        Nodes of a task, and ranks on each.
    partition : str
        In place of the site's.
    options : tuple of str
        More options for the command of the step.
    """

    time: str
    memory: str
    nodes: int = 1
    ranks: int = 1
    partition: str = ""
    options: tuple[str, ...] = ()


#: The resources of the small steps, which take minutes on one core.
_SMALL = {"time": "1:00:00", "memory": "8G"}


@dataclass(frozen=True)
class Site:
    """The settings of a site; `docs/slurm.md` has their meaning.

    Attributes
    ----------
    path : Path
        The file.
    """

    path: Path
    launch: str
    steps: Mapping[str, Resources]
    partition: str = ""
    account: str = ""
    qos: str = ""
    launch_options: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()
    sbatch: tuple[str, ...] = ()
    cube: str = "mapped"
    scratch: str = ""
    warning: int = 300
    restarts: int = 10
    at_once: int = 16
    templates: Path | None = None
    system: str = "slurm"


@dataclass
class _Reader:
    """One mapping of the file: gives its values, checked, and raises for those that are left over."""

    path: Path
    place: str
    values: dict[str, Any]
    known: list[str] = field(default_factory=list)

    def fail(self, key: str, problem: str) -> InputError:
        return InputError(f"{self.path}: `{self.place}{one_line(key)}` {problem}")

    def take(self, key: str) -> Any:
        self.known.append(key)
        value = self.values.pop(key, "")
        return "" if value in ("null", "~") else value

    def text(
        self, key: str, pattern: re.Pattern[str] | None = None, example: str = "", default: str = ""
    ) -> str:
        value = self.take(key) or default
        if not isinstance(value, str):
            raise self.fail(key, "must be one word or number")
        if "\n" in value or (value and pattern and not pattern.fullmatch(value)):
            raise self.fail(key, f"is {value!r}; must be like {example}")
        return value

    def required(self, key: str, pattern: re.Pattern[str] | None, example: str) -> str:
        value = self.text(key, pattern, example)
        if not value:
            raise self.fail(key, f"is missing; give it, for example {key}: {example}")
        return value

    def number(self, key: str, default: int, least: int, most: int) -> int:
        value = self.text(key, re.compile(r"-?\d+"), str(default))
        if value and not least <= int(value) <= most:
            raise self.fail(key, f"is {value}; must be from {least} to {most}")
        return int(value) if value else default

    def lines(self, key: str, pattern: re.Pattern[str] | None = None, example: str = "") -> tuple[str, ...]:
        value = self.take(key) or []
        value = [value] if isinstance(value, str) else value
        if not isinstance(value, list) or not all(isinstance(line, str) for line in value):
            raise self.fail(key, "must be a list of lines, each beginning with `- `")
        for line in value:
            if pattern and not pattern.fullmatch(line):
                raise self.fail(key, f"has {line!r}; must be like {example}")
        return tuple(value)

    def end(self) -> None:
        for key in self.values:
            near = difflib.get_close_matches(key, self.known, 1)
            hint = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(self.known)}"
            raise self.fail(key, f"is not known; {hint}")


def examples() -> dict[str, Path]:
    """The site files that come with the program, by name."""
    with resources.as_file(resources.files(__package__) / "sites") as folder:
        return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


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
            raise MissingInput(f"{path}: no such site file; write one (examples: {', '.join(packaged)})")
        path = packaged[str(name)]
    reader = _Reader(path, "", _mapping(path, _read(path), ""))
    steps = _steps(reader)
    launch = reader.required("launch", None, "srun-pmi2")
    if launch not in LAUNCHES:
        raise reader.fail("launch", f"is {launch!r}; must be one of {', '.join(LAUNCHES)}")
    cube = reader.text("cube", default="mapped")
    if cube not in ("mapped", "staged", "shared"):
        raise reader.fail("cube", f"is {cube!r}; must be mapped, staged or shared")
    templates = reader.text("templates")
    site = Site(
        path=path,
        launch=launch,
        steps=steps,
        partition=reader.text("partition", _WORD, "normal"),
        account=reader.text("account", _WORD, "project1"),
        qos=reader.text("qos", _WORD, "normal"),
        launch_options=reader.lines("launch_options"),
        command=reader.lines("command"),
        modules=reader.lines("modules", _MODULE, "mpich/4.2"),
        setup=reader.lines("setup"),
        sbatch=reader.lines("sbatch", re.compile(r"--[a-z][\w-]*(=.*)?"), "--constraint=fast"),
        cube=cube,
        scratch=reader.text("scratch"),
        warning=reader.number("warning", 300, 10, 65535),
        restarts=reader.number("restarts", 10, 0, 1000),
        at_once=reader.number("at_once", 16, 1, 100_000),
        templates=path.parent / templates if templates else None,
        system=reader.text("system", _WORD, "slurm", "slurm"),
    )
    reader.end()
    if cube == "staged" and not site.scratch:
        raise reader.fail("scratch", "is missing; `cube: staged` needs a folder on the node's own disk")
    if cube != "staged" and site.scratch:
        raise reader.fail("scratch", f"is of no use with `cube: {cube}`; leave it out")
    assert {f.name for f in fields(Site)} - {"path"} <= set(reader.known)
    return site


def _steps(reader: _Reader) -> dict[str, Resources]:
    values = reader.take("steps")
    if not values:
        raise reader.fail("steps", "is missing; give at least `prepare` and `run` with their time and memory")
    top = _Reader(reader.path, "steps.", _mapping(reader.path, values, "steps"))
    steps = {}
    for name in STEPS:
        given = top.take(name)
        if not given and name in ("prepare", "run"):
            raise top.fail(name, "is missing; give its time, memory and ranks")
        small = {} if name in ("prepare", "run") else _SMALL
        step = _Reader(
            reader.path, f"steps.{name}.", {**small, **_mapping(reader.path, given or {}, f"steps.{name}")}
        )
        steps[name] = Resources(
            time=step.required("time", _TIME, "2:00:00"),
            memory=step.required("memory", _MEMORY, "64G"),
            nodes=step.number("nodes", 1, 1, 100_000),
            ranks=step.number("ranks", 1, 1, 100_000),
            partition=step.text("partition", _WORD, "normal"),
            options=step.lines("options"),
        )
        if name not in ("prepare", "run") and steps[name].nodes * steps[name].ranks > 1:
            raise step.fail("ranks", f"and nodes: the {name} step is one process; leave them out")
        step.end()
    top.end()
    return steps


def _mapping(path: Path, value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        where = f"`{place}` must hold" if place else "must hold"
        raise InputError(f"{path}: {where} lines `key: value`; {_WAY_OUT}")
    return dict(value)


def _read(path: Path) -> Any:
    """The file as mappings, lists and strings: YAML's own idea of numbers takes 2:00:00 for 7200."""
    import yaml

    class Loader(yaml.BaseLoader):
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            keys = [key.value for key, _ in node.value]
            for key in keys:
                if keys.count(key) > 1:
                    raise InputError(f"{path}: `{key}` is there twice; keep one of them")
            return super().construct_mapping(node, deep)

    try:
        with InputFile(path, most=_LARGEST) as file:
            text = file.read().decode("utf-8")
        if text.count("[") + text.count("{") > _MOST_BRACKETS:
            # The time that YAML takes is the square of how deep they are.
            raise InputError(f"{path}: more than {_MOST_BRACKETS} brackets; {_WAY_OUT}")
        return yaml.load(text, Loader=Loader)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error}); {_WAY_OUT}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{path}: not YAML ({one_line(error)}); {_WAY_OUT}") from None
