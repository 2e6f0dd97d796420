"""The modules of the package, wherever their folders lie."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]


def modules() -> dict[str, Path]:
    """Files of all modules by their names below `tasoc_mpi`."""
    found = {}
    for folder, prefix in (
        ("src/tasoc_mpi", ""),
        ("scheduler", "scheduler."),
        ("worker", "worker."),
        ("slurm", "slurm."),
    ):
        for path in (ROOT / folder).rglob("*.py"):
            name = prefix + ".".join(path.relative_to(ROOT / folder).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    found.pop("__init__")
    return found
