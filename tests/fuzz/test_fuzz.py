"""Damaged files of every kind: the first 30 of the cases of `make fuzz`, see `fuzz/`."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzz.case import Base, make_base, run_case
from fuzz.kinds import KINDS

#: Of each kind.
CASES = 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files(kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    base: Base = make_base(kind, folder)
    failed = []
    for number in range(CASES):
        result = run_case(base, 1, number, folder / "cases")
        if result.problems:
            words = (f"{number}: {result.damage}", f"$ {result.command}", *result.problems, result.message)
            failed.append("\n    ".join(words))
    assert not failed, f"\n(python -m tests.fuzz {kind} --case N)\n" + "\n".join(failed)
