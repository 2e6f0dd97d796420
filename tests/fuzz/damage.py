"""Damage that every file can suffer: to its bytes, and to its place in the folder."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

__all__ = ["Damage", "Damager", "choose", "damage_bytes", "damage_place", "integers", "numbers"]


@dataclass(frozen=True)
class Damage:
    """What was done to a file.

    Attributes
    ----------
    text : str
    harmless : bool
        The command has to give the same result as for the good file.
    """

    text: str
    harmless: bool = False


#: Damages a file, chosen by the random numbers, and tells how.
Damager = Callable[[Random, Path], Damage]


def choose(rng: Random, damagers: tuple[tuple[float, Damager], ...]) -> Damager:
    """One of some damagers by their weights."""
    return rng.choices([d for _, d in damagers], [w for w, _ in damagers])[0]


def integers(rng: Random, value: int = 0) -> int:
    """An integer at a limit of a type, or near a value."""
    limits = [0, 1, -1, 2, 3, 99, 999, 10**6]
    limits += [2**7, 2**8, 2**15, 2**16, 2**31 - 1, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64, 10**30]
    return rng.choice([*limits, *(-x for x in limits), value - 1, value + 1, 2 * value, 10 * value, -value])


def numbers(rng: Random, value: float = 0.0) -> float:
    """A float at a limit, or near a value."""
    limits = [0.0, 1.0, 1e-300, 5e-324, 1e10, 1e19, 1e38, 1e39, 1e300, float("inf"), float("nan")]
    return rng.choice([*limits, *(-x for x in limits), value * 1.01, value * 10, value + 90, -value])


def damage_bytes(rng: Random, path: Path) -> Damage:
    """Truncate, flip, overwrite, insert, remove or repeat bytes."""
    data = bytearray(path.read_bytes())
    size = len(data)
    # Half of the places are near the beginning, where headers are.
    place = rng.randrange(min(size, 4096) if rng.random() < 0.5 else size) if size else 0
    length = min(rng.choice([1, 4, 80, 512, 2880, 4096, size // 10 + 1]), max(size - place, 1))
    kind = rng.choice(
        ["truncate", "empty", "flip", "overwrite", "zeros", "insert", "remove", "repeat", "append"]
    )
    if kind == "truncate":
        del data[place:]
    elif kind == "empty":
        data.clear()
    elif kind == "flip" and size:
        count = rng.choice([1, 1, 3, 30])
        for _ in range(count):
            near = min(size - 1, max(0, place + rng.randint(-500, 500)))
            data[near] ^= 1 << rng.randrange(8)
    elif kind == "overwrite":
        data[place : place + length] = rng.randbytes(length)
    elif kind == "zeros":
        data[place : place + length] = rng.choice([b"\0", b"\xff"]) * length
    elif kind == "insert":
        data[place:place] = rng.randbytes(length)
    elif kind == "remove":
        del data[place : place + length]
    elif kind == "repeat":
        data[place:place] = data[place : place + length]
    else:
        data += rng.choice([b"\0" * length, rng.randbytes(length), data[:length]])
    path.write_bytes(data)
    return Damage(f"{kind}: {length} bytes at {place} of {size}")


def damage_place(rng: Random, path: Path) -> Damage:
    """Put something else in the place of the file."""
    kind = rng.choice(
        [
            "folder",
            "FIFO",
            "dangling link",
            "link to itself",
            "missing",
            "link",
            "gzip",
            "damaged gzip",
            "device",
        ]
    )
    moved = path.with_name("moved-away")
    if kind == "gzip":
        path.write_bytes(gzip.compress(path.read_bytes(), 1))
    elif kind == "damaged gzip":
        data = bytearray(gzip.compress(path.read_bytes(), 1))
        if rng.random() < 0.5:
            del data[rng.randrange(len(data)) :]
        else:
            data[rng.randrange(10, len(data))] ^= 0x55
        path.write_bytes(data)
    elif kind == "link":
        # Beside the folder of the case, which is called so.
        elsewhere = next(p for p in path.parents if p.name == "case").with_name("moved")
        elsewhere.mkdir()
        shutil.move(path, elsewhere / path.name)
        path.symlink_to(elsewhere / path.name)
        return Damage("a link to the file elsewhere", harmless=True)
    else:
        path.unlink()
        if kind == "folder":
            path.mkdir()
        elif kind == "FIFO":
            os.mkfifo(path)
        elif kind == "dangling link":
            path.symlink_to(moved)
        elif kind == "link to itself":
            path.symlink_to(path)
        elif kind == "device":
            path.symlink_to(rng.choice(["/dev/zero", "/dev/null"]))
    return Damage(f"in its place: {kind}")
