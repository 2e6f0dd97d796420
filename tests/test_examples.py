"""The examples in docstrings: all of them run."""

from __future__ import annotations

import doctest
import importlib
import inspect
import re

import pytest
from house import modules

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
