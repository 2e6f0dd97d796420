"""Functions that only kernels call: Python has no way into them, and would crash."""

from __future__ import annotations

import ast
import os
import subprocess
import sys

import numpy as np
import pytest
from house import ROOT

from tasoc_mpi.kernels import jit


def decorators(node: ast.AST) -> set[str]:
    """Names of the decorators of a function, without their arguments."""
    if not isinstance(node, ast.FunctionDef):
        return set()
    return {ast.unparse(one).split("(")[0] for one in node.decorator_list}


def called_by_python(sources: dict[str, str]) -> set[str]:
    """Helpers, as module.name, that something else than a compiled function names; sources by module."""
    helpers = {
        (module, node.name)
        for module, text in sources.items()
        # To parse all of them takes seconds.
        if "@helper" in text
        for node in ast.parse(text).body
        if "helper" in decorators(node)
    }
    found = set()
    for module, text in sources.items():
        # A name is the module's own, or in a statement with that of its module.
        if not any(name in text and (of == module or of in text) for of, name in helpers):
            continue
        tree = ast.parse(text)
        known = {name: (of, name) for of, name in helpers if of == module}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                of = (node.module or "").split(".")[-1]
                known |= {
                    one.asname or one.name: (of, one.name) for one in node.names if (of, one.name) in helpers
                }
        for part in tree.body:
            if decorators(part) & {"kernel", "helper"}:
                continue
            found |= {
                ".".join(known[node.id])
                for node in ast.walk(part)
                if isinstance(node, ast.Name) and node.id in known
            }
    return found


def test_only_compiled_functions_call_helpers():
    sources = {}
    for part in ("src", "worker", "scheduler", "tests", "benchmarks"):
        for path in (ROOT / part).rglob("*.py"):
            # Modules of kernels have names that no other module has.
            sources[path.stem if path.parent.name == "kernels" else str(path)] = path.read_text()
    assert called_by_python(sources) == set()


def python_functions(tree: ast.AST) -> set[int]:
    """Lines that use the ``.py_func`` of a kernel otherwise than for its attributes, such as its name."""
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return {
        node.lineno
        for node in ast.walk(tree)
        if (isinstance(node, ast.Attribute) and node.attr == "py_func" and id(node) not in inner)
        or (isinstance(node, ast.Constant) and node.value == "py_func")
    }


def test_nothing_calls_the_python_function_of_a_kernel():
    """It would call helpers from Python."""
    found = {
        (str(path), line)
        for part in ("src", "worker", "scheduler", "benchmarks")
        for path in (ROOT / part).rglob("*.py")
        if "py_func" in (text := path.read_text())
        for line in python_functions(ast.parse(text))
    }
    assert found == set()
    uses = "f = k.py_func\nk.py_func(1)\ng(k.py_func)\ngetattr(k, 'py_func')\nk.py_func.__name__\n"
    assert python_functions(ast.parse(uses)) == {1, 2, 3, 4}


def test_a_helper_refuses_a_call_from_python():
    @jit.helper
    def twice(a):
        return 2 * a

    @jit.helper(fastmath=True)
    def more(a):
        return twice(a) + 1

    @jit.kernel(cache=False)
    def total(a):
        return more(a)

    assert total(np.float64(3)) == 7
    for call in (twice, more, total.py_func):
        with pytest.raises(TypeError, match=r"test_jit\.(twice|more): only compiled functions can call it"):
            call(np.float64(3))


def test_a_helper_that_python_calls_is_found():
    sums = (
        "@helper\ndef _add(a):\n    return a\n\n\n@kernel(fastmath=True)\ndef total(a):\n    return _add(a)\n"
    )
    assert called_by_python({"sums": sums}) == set()
    assert called_by_python({"sums": sums + "\n\ndef python():\n    return _add(1)\n"}) == {"sums._add"}
    assert called_by_python({"sums": sums, "x": "from .sums import _add\nprint(_add(1))\n"}) == {"sums._add"}


def test_kernels_are_decorated_with_kernel_or_helper():
    """`numba.njit` alone would compile what nothing uses."""
    for path in (ROOT / "src").rglob("*.py"):
        if path.parent.name != "kernels" or path.name not in ("jit.py", "parts.py"):
            assert "njit" not in path.read_text(), path


def compiled_functions() -> dict[tuple[str, str], ast.FunctionDef]:
    """The kernels and helpers of the program by module and name."""
    texts = {path: path.read_text("utf-8") for path in (ROOT / "src").rglob("*.py")}
    return {
        (path.stem, node.name): node
        for path, text in texts.items()
        if "@helper" in text or "@kernel" in text
        for node in ast.parse(text).body
        if isinstance(node, ast.FunctionDef) and decorators(node) & {"kernel", "helper"}
    }


def test_kernels_that_reorder_sums_are_parts_of_their_callers():
    """Else their last bits depend on what a process compiles, and what it loads from the cache."""
    functions = compiled_functions()
    calls: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for (module, name), node in functions.items():
        names = {one.id for one in ast.walk(node) if isinstance(one, ast.Name)} - {name}
        own = {key for key in functions if key[0] == module and key[1] in names}
        taken = {key[1] for key in own}
        calls[module, name] = own | {key for key in functions if key[1] in names - taken}
    options = {key: ast.unparse(node.decorator_list[0]) for key, node in functions.items()}
    reorder = {key for key, text in options.items() if "fastmath" in text}
    assert len(reorder) > 10
    while more := {key for key, called in calls.items() if called & reorder} - reorder:
        reorder |= more
    # Helpers have no machine code of their own.
    called = {key for key in reorder & set().union(*calls.values()) if options[key].startswith("kernel")}
    assert len(called) > 2
    assert not {key for key in called if "forceinline=True" not in options[key]}


def test_a_numba_of_which_no_parts_can_be_made(tmp_path):
    """What a later numba may have no more saves time; results are the same without it."""
    script = (
        "import sys\n"
        "if sys.argv[1]: sys.modules[sys.argv[1]] = None\n"
        "import numpy as np\n"
        "from tasoc_mpi.kernels.jit import helper\n"
        "from tasoc_mpi.kernels.median import median\n"
        "print(median(np.random.default_rng(1).normal(size=50)))\n"
        "print(helper.__module__)\n"
    )
    # Kernels of its own: those in the cache were compiled in the other way.
    outputs = [
        subprocess.run(
            [sys.executable, "-c", script, missing],
            env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / (missing or "all"))},
            capture_output=True,
            text=True,
            check=True,
            timeout=100,
        ).stdout
        for missing in ("", "tasoc_mpi.kernels.parts")
    ]
    (median, way), (other, other_way) = (output.split() for output in outputs)
    assert median == other
    assert (way, other_way) == ("tasoc_mpi.kernels.parts", "functools")
