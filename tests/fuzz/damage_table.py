"""Damage to tables of stars in binary formats: their columns and values."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

from .damage import Damage, integers, numbers

__all__ = ["damage_parquet"]


def damage_parquet(rng: Random, path: Path) -> Damage:
    """Change a column of a parquet file: its type, its values, its name."""
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(path)
    name = rng.choice(table.column_names)
    i = table.column_names.index(name)
    values: list[Any] = table[name].to_pylist()
    kind = rng.choice(
        [
            "text",
            "null",
            "list",
            "struct",
            "bytes",
            "bool",
            "value",
            "value",
            "drop",
            "rename",
            "twice",
            "time",
            "decimal",
            "dictionary",
            "no rows",
        ]
    )
    if kind == "value":
        k = rng.randrange(len(values))
        if isinstance(values[0], float):
            values[k] = numbers(rng)
        elif isinstance(values[0], int):
            values[k] = max(min(integers(rng), 2**63 - 1), -(2**63))
        else:
            values[k] = rng.choice(["x", "\0", "\x1b[31m", "nan", "x" * 10_000])
        changed = pyarrow.array(values)
        kind = f"[{k}] = {values[k]}"
    elif kind == "time":
        changed = pyarrow.array(range(len(values)), type=pyarrow.timestamp("us"))
    elif kind == "decimal":
        changed = pyarrow.array([1] * len(values)).cast(pyarrow.decimal128(25, 3))
    elif kind == "dictionary":
        changed = pyarrow.array([str(v) for v in values]).dictionary_encode()
    else:
        odd: dict[str, list[Any]] = {
            "text": [str(v) for v in values],
            "null": [None] * len(values),
            "list": [[v] for v in values],
            "struct": [{"a": v} for v in values],
            "bytes": [b"\xff\xfe"] * len(values),
            "bool": [True] * len(values),
        }
        changed = pyarrow.array(odd.get(kind, values))
    if kind == "drop":
        table = table.drop_columns([name])
    elif kind == "rename":
        table = table.rename_columns([name.swapcase() if n == name else n for n in table.column_names])
    elif kind == "twice":
        table = table.append_column(name, changed)
    elif kind == "no rows":
        table = table.slice(0, 0)
    else:
        table = table.set_column(i, name, changed)
    pyarrow.parquet.write_table(table, path)
    return Damage(f"column {name}: {kind}")
