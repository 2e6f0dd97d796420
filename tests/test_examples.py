"""The examples in docstrings: all of them run, and every public name has one."""

from __future__ import annotations

import doctest
import importlib
import inspect
import re

import pytest
from house import modules

import tasoc_mpi

_FINDER = doctest.DocTestFinder(exclude_empty=True)
_FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


@pytest.mark.parametrize("name", ["", *sorted(modules())])
def test_examples(name, tmp_path, monkeypatch, capsys):
    """Each module's, in an empty folder."""
    module = importlib.import_module(f"tasoc_mpi.{name}".rstrip("."))
    monkeypatch.chdir(tmp_path)
    runner = doctest.DocTestRunner(optionflags=_FLAGS)
    for test in _FINDER.find(module):
        runner.run(test)
    assert runner.failures == 0, capsys.readouterr().out
    # None was missed.
    assert runner.tries == len(re.findall(r"^\s*>>> ", inspect.getsource(module), re.MULTILINE))


def has_example(thing: object) -> bool:
    """Whether an object's docstring, or one of its public methods', has an example."""
    texts = [thing, *(value for key, value in vars(thing).items() if not key.startswith("_"))]
    return any(">>>" in (inspect.getdoc(text) or "") for text in texts)


@pytest.mark.parametrize("name", tasoc_mpi.__all__)
def test_every_public_name_has_an_example(name):
    assert has_example(getattr(tasoc_mpi, name)), f"tasoc_mpi.{name} has no example in its docstring"
