"""The house: which part may import which, and what an import costs."""

from __future__ import annotations

import ast
import graphlib
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from house import ROOT, modules

#: Each part imports only from parts of a lower number; parts of one number do not import each other.
FLOORS = {
    "core": 0,
    "data": 0,
    "kernels": 1,
    "products": 2,
    "worklist": 2.5,
    "models": 3,
    "photometry": 4,
    "correction": 4,
    "cubes": 4,
    "simulate": 4,
    "stars": 5,
    "download": 5,
    "imports": 5,
    "report": 5,
    "one_star": 5.5,
    "scheduler": 5,
    "worker": 5,
    "slurm": 5,
    "commands": 6,
    "cli": 7,
}


def imports(name: str, path: Path) -> set[str]:
    """Names below tasoc_mpi, of modules and things in them, that a module imports, wherever in its code."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            if node.level:
                base = package[: len(package) - node.level + 1]
            elif (node.module or "").split(".")[0] == "tasoc_mpi":
                base = (node.module or "").split(".")[1:]
                node.module = None
            else:
                continue
            target = base + (node.module.split(".") if node.module else [])
            found |= {".".join([*target, alias.name]) for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {
                a.name.removeprefix("tasoc_mpi.") for a in node.names if a.name.startswith("tasoc_mpi.")
            }
    return found


@pytest.mark.parametrize("name", sorted(modules()))
def test_floors(name):
    part = name.split(".")[0]
    assert part in FLOORS, f"{part} has no floor"
    for imported in imports(name, modules()[name]):
        other = imported.split(".")[0]
        if other not in (part, "") and other in FLOORS:
            assert FLOORS[other] < FLOORS[part], f"{name} imports {imported}"


@pytest.mark.parametrize("name", sorted(n for n in modules() if n.startswith("kernels.")))
def test_kernels_know_nothing_of_ours_but_kernels(name):
    assert all(i.split(".")[0] == "kernels" for i in imports(name, modules()[name]))


def test_no_modules_import_each_other():
    """Directly or by way of others; imports within functions and for type checkers count."""
    known = modules()
    graph = {
        name: {i if i in known else i.rpartition(".")[0] for i in imports(name, path)} & known.keys() - {name}
        for name, path in known.items()
    }
    assert sum(map(len, graph.values())) > 2 * len(graph)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"a circle of imports: {' <- '.join(error.args[1])}")


#: Commands are named as the modules that do their work; `options` and `launch` hold those of a room.
SAME_NAMES = {
    "launch": {"scheduler", "worker"},
    "movie": {"commands", "report"},
    "options": {"cubes", "simulate"},
    "prepare": {"commands", "cubes"},
    "publish": {"commands", "worklist"},
    "summary": {"commands", "report"},
}


def test_modules_of_one_name_mean_the_same():
    folders: dict[str, set[str]] = {}
    for name, path in modules().items():
        if path.name != "__init__.py":
            folders.setdefault(path.stem, set()).add(name.rpartition(".")[0])
    assert {name: where for name, where in folders.items() if len(where) > 1} == SAME_NAMES


@pytest.mark.parametrize("name", sorted(modules()))
def test_modules_are_short(name):
    most = 80 if name.startswith("commands.") else 450
    assert len(modules()[name].read_text().splitlines()) < most


def test_functions_are_short():
    lines = {
        f"{name}:{node.lineno} {node.name}": node.end_lineno - node.lineno + 1
        for name, path in modules().items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert not {name: count for name, count in lines.items() if count >= 80}
    assert statistics.quantiles(lines.values(), n=20)[-1] < 45


def test_no_test_imports_a_test():
    """What tests share is in `tests/helpers`. Code in strings, which tests run in other processes, counts."""
    tests = {path.stem for path in (ROOT / "tests").rglob("test_*.py")}
    for path in (ROOT / "tests").rglob("*.py"):
        found = set(re.findall(r"\b(?:from|import)\s+[\w.]*?(test_\w+)", path.read_text()))
        assert not found & tests, f"{path} imports {found & tests}"


def loaded_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return set(run.stdout.split())


def _names(path: Path) -> set[str]:
    """The names that a module defines or imports outside of its functions and classes."""
    found = set()
    todo: list[ast.AST] = list(ast.parse(path.read_text()).body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        else:
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.id)
            todo += ast.iter_child_nodes(node)
    return found


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.stem)
def test_benchmarks_import_names_that_are_there(path):
    files = {f"tasoc_mpi.{name}".removesuffix("."): file for name, file in modules().items()}
    files |= {file.stem: file for file in (ROOT / "benchmarks").glob("*.py")}
    missing = [
        f"{node.module}.{alias.name}"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (file := files.get(node.module or "")) is not None
        for alias in node.names
        if alias.name not in _names(file) and f"{node.module}.{alias.name}" not in files
    ]
    assert missing == []


def test_importing_the_package_loads_nothing_heavy():
    heavy = {"numba", "matplotlib", "astropy", "scipy", "h5py", "mpi4py", "numpy"}
    assert not heavy & loaded_after("import tasoc_mpi")


def test_the_command_line_parses_without_anything_heavy():
    heavy = {"numba", "matplotlib", "astropy", "scipy", "h5py", "mpi4py"}
    statement = "from tasoc_mpi import cli; cli.parse(['run', 'folder'])"
    assert not heavy & loaded_after(statement)


def test_the_scheduler_stays_small():
    names = [n for n in modules() if n.startswith("scheduler")]
    loaded = loaded_after("; ".join(f"import tasoc_mpi.{name}" for name in names))
    assert not {"numba", "matplotlib", "astropy", "scipy", "h5py"} & loaded


def test_public_names_are_there():
    import tasoc_mpi

    for name in tasoc_mpi.__all__:
        assert getattr(tasoc_mpi, name) is not None
    assert callable(tasoc_mpi.tessphot)
    assert tasoc_mpi.STATUS(3).name == "WARNING"
