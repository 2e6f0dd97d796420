"""Compiling in advance: everything that is used, once, by processes that share a cache."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

from tasoc_mpi import cli
from tasoc_mpi.commands.correct import CORRECT_STAR
from tasoc_mpi.core import compiled
from tasoc_mpi.core.methods import METHODS
from tasoc_mpi.worker.check_method import kernels_of_run
from tasoc_mpi.worker.kernel_list import kernels_of

pytestmark = pytest.mark.timeout(300)


def test_what_a_step_uses_is_compiled_before_it(simulated, tmp_path):
    """Whatever numba compiles or loads for a step stands in the list of `tasoc-mpi compile`."""
    (tmp_path / "input").mkdir()
    folder = simulated.copy(tmp_path / "input")
    (folder / "ffi").symlink_to(simulated.folder / "ffi")
    script = Path(__file__).parents[2] / "benchmarks" / "record_kernels.py"
    names = ["prepare", "aperture", "linpsf", "halo", "cbv", "correct"]
    # Functions that a kernel calls are not seen any more when it comes from the cache.
    subprocess.run([sys.executable, "-m", "tasoc_mpi.worker.kernel_list", "30", *names], check=True)
    call = [sys.executable, str(script), "--use", str(folder), *names]
    done = subprocess.run(call, capture_output=True, text=True, check=False, timeout=250)
    assert done.returncode == 0, done.stderr
    listed = json.loads((resources.files("tasoc_mpi.data") / "kernels.json").read_text("utf-8"))
    for name, kernels in json.loads(done.stdout.splitlines()[-1]).items():
        assert kernels
        assert not [kernel for kernel in kernels if kernel not in listed[name]], name


def test_a_correction_asks_for_its_kernels():
    """`correct` compiles them before its first star, whatever function corrects one."""
    args = cli.parse(["correct", "nowhere"])
    for function in (CORRECT_STAR, len):
        assert kernels_of_run("correct", args, function) == ["correct"]


def test_processes_that_begin_cold_compile_each_kernel_once(tmp_path):
    variables = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_DEBUG_CACHE": "1"}
    call = [sys.executable, "-m", "tasoc_mpi.worker.kernel_list", "20", "correct"]
    pipe = subprocess.PIPE
    ranks = [subprocess.Popen(call, env=variables, stdout=pipe, stderr=pipe, text=True) for _ in range(3)]
    texts, errors = zip(*[rank.communicate(timeout=200) for rank in ranks], strict=True)
    assert not any(rank.returncode for rank in ranks), errors
    saved = re.findall(r"data saved to '(.*)'", "".join(texts))
    assert len(saved) == len(set(saved)) >= 8, texts
    # Each of them had the rest from the others.
    assert all("data loaded from" in text for text in texts), texts


def test_kernels_are_compiled_again_when_a_function_in_another_file_has_changed(tmp_path):
    """Numba looks at the file of a kernel alone."""
    variables = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_DEBUG_CACHE": "1"}
    call = [sys.executable, "-m", "tasoc_mpi.worker.kernel_list", "30", "simulate"]

    def compiled_now() -> int:
        done = subprocess.run(call, env=variables, capture_output=True, text=True, timeout=100, check=True)
        return done.stdout.count("data saved to")

    count = compiled_now()
    assert count >= 2
    assert compiled_now() == 0
    for path in tmp_path.rglob("*.nbi"):
        os.utime(path, (1e9, 1e9))
    assert compiled_now() == count


def test_ranks_wait_for_those_that_compile(tmp_path, monkeypatch):
    """With one processor one process compiles, and another begins when it is over."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    monkeypatch.setattr(compiled, "_compile", lambda _: pytest.fail("compiles beside another process"))
    marker = compiled.marker_path("aperture")

    def finish(_):
        marker.touch()

    monkeypatch.setattr(compiled.time, "sleep", finish)
    with contextlib.ExitStack() as other:
        assert compiled._take_processor(other)
        compiled.compile_first("aperture")
    assert marker.exists()


def test_the_list_names_kernels_of_the_program():
    """`python benchmarks/record_kernels.py` writes the list."""
    for name in ("simulate", "prepare", *METHODS, "prf", "cbv", "correct"):
        # A simulation is numpy's work but for stars and their positions.
        assert len(kernels_of([name])) > (1 if name == "simulate" else 3)
    names = {kernel.py_func.__name__ for kernel, _ in kernels_of(["aperture"])}
    assert {"sum_pixels", "sky_to_pixel", "light_curve_numbers"} <= names
    listed = json.loads((resources.files("tasoc_mpi.data") / "kernels.json").read_text("utf-8"))
    assert {name: len(kernels_of([name])) for name in listed} == {name: len(listed[name]) for name in listed}
