"""Damage to HDF5 files: their objects, attributes, links and values."""

from __future__ import annotations

import contextlib
from pathlib import Path
from random import Random
from typing import Any

import h5py
import numpy as np

from .damage import Damage, integers, numbers

__all__ = ["damage_hdf5"]

#: Bytes of a dataset that is not read here.
_LARGE = 1 << 24


def _odd_attribute(rng: Random, old: Any) -> Any:
    if isinstance(old, int | np.integer | float | np.floating) and rng.random() < 0.6:
        if rng.random() < 0.5:
            value = integers(rng, int(old) if np.isfinite(old) and abs(old) < 1e18 else 0)
            return value if -(2**63) <= value < 2**64 else float(value)
        return numbers(rng, float(old))
    odd = [
        "text",
        "",
        "\x1b[31m",
        np.bytes_(b"\xff\xfe"),
        float("nan"),
        -1,
        0,
        True,
        [1, 2, 3],
        [],
        "x" * 5000,
    ]
    odd += [
        h5py.Empty("f8"),
        h5py.Empty("S1"),
        np.zeros((2, 2)),
        1 + 2j,
        ["a", "b"],
        np.float32(1e30),
        "../../x",
    ]
    return rng.choice(odd)


def _change_attribute(rng: Random, file: h5py.File, names: list[str]) -> str | None:
    having = [name for name in names if len(file[name].attrs)]
    if not having:
        return None
    name = rng.choice(having)
    attributes = file[name].attrs
    key = rng.choice(sorted(attributes))
    if rng.random() < 0.25:
        del attributes[key]
        return f"{name}: attribute {key} deleted"
    value = _odd_attribute(rng, attributes[key])
    del attributes[key]
    attributes[key] = value
    return f"{name}: attribute {key} = {str(value)[:60]!r}"


def _change_values(rng: Random, dataset: h5py.Dataset) -> str:
    values = dataset[()]
    if not isinstance(values, np.ndarray) or values.size == 0 or values.dtype.kind not in "fiu":
        return "values as they were"
    first = rng.randrange(values.size) if rng.random() < 0.6 else 0
    last = min(values.size, first + rng.choice([1, 10, 1000, values.size]))
    flat = values.reshape(-1)
    kind = rng.choice(["odd", "odd", "constant", "reversed", "shuffled"])
    if kind == "odd":
        value = (
            numbers(rng, float(flat[first])) if values.dtype.kind == "f" else integers(rng, int(flat[first]))
        )
        if values.dtype.kind != "f":
            value = min(max(value, np.iinfo(values.dtype).min), np.iinfo(values.dtype).max)
        with np.errstate(over="ignore"):
            flat[first:last] = value
        kind = f"= {value}"
    elif kind == "constant":
        flat[:] = flat[first]
    elif kind == "reversed":
        flat[:] = flat[::-1].copy()
    else:
        flat[:] = flat[np.random.default_rng(rng.getrandbits(32)).permutation(flat.size)]
    dataset[...] = values
    return f"values {first}:{last} {kind}"


def _replacement(rng: Random, file: h5py.File, name: str, values: Any, path: Path) -> str:
    """Something else under the name of a dataset, which is deleted already."""
    array = np.asarray(values)
    kinds = ["nothing", "scalar", "empty", "longer", "shorter", "flat", "deeper", "float64", "int64", "text"]
    kinds += [
        "object",
        "complex",
        "compound",
        "bool",
        "big endian",
        "group",
        "chunked",
        "compressed",
        "huge",
        "wide",
    ]
    kinds += ["external link", "dangling link", "loop", "cycle", "virtual", "external storage", "null", "one"]
    kind = rng.choice(kinds)
    numeric = array.dtype.kind in "fiub"
    changed: dict[str, Any] = {
        "scalar": 1.0,
        "empty": np.zeros((0,) * max(array.ndim, 1), array.dtype if numeric else "f4"),
        "longer": np.concatenate([array, array[-1:]]) if array.ndim and len(array) else array,
        "shorter": array[:-1] if array.ndim else array,
        "flat": array.reshape(-1),
        "deeper": array[..., None],
        "one": array.reshape(-1)[:1],
    }
    with np.errstate(invalid="ignore", over="ignore"):
        if kind in changed:
            data = changed[kind]
            text = np.asarray(data).dtype.kind == "O"
            file.create_dataset(name, data=data, dtype=h5py.string_dtype() if text else None)
        elif kind in ("float64", "int64", "complex", "bool", "big endian") and numeric:
            types = {"float64": "f8", "int64": "i8", "complex": "c16", "bool": "?", "big endian": ">f4"}
            file.create_dataset(name, data=array.astype(types[kind]))
        elif kind == "text":
            file.create_dataset(name, data=np.full(array.shape, b"x", dtype="S3"))
        elif kind == "object":
            file.create_dataset(name, (3,), dtype=h5py.vlen_dtype(np.dtype("i4")))
        elif kind == "compound":
            file.create_dataset(name, array.shape, dtype=[("a", "f4"), ("b", "S3")])
        elif kind == "group":
            file.create_group(name)
        elif kind in ("chunked", "compressed") and array.ndim and array.size and numeric:
            file.create_dataset(
                name, data=array, chunks=True, compression="gzip" if kind == "compressed" else None
            )
        elif kind == "huge":
            file.create_dataset(
                name,
                (2**31, *([2**20] * (max(array.ndim, 1) - 1))),
                dtype="f8",
                chunks=(1 << 10,) * max(array.ndim, 1) if array.ndim < 3 else True,
            )
        elif kind == "wide":
            file.create_dataset(
                name,
                tuple(10 * n for n in array.shape) or (10**9,),
                dtype=array.dtype if numeric else "f8",
                chunks=True,
            )
        elif kind == "external link":
            file[name] = h5py.ExternalLink(rng.choice(["elsewhere.hdf5", str(path), "/dev/zero"]), name)
        elif kind == "dangling link":
            file[name] = h5py.SoftLink("/nowhere")
        elif kind == "loop":
            file[name] = h5py.SoftLink("/" + name)
        elif kind == "cycle":
            file[name] = file["/"]
        elif kind == "virtual":
            layout = h5py.VirtualLayout(array.shape or (1,), "f4")
            layout[...] = h5py.VirtualSource("elsewhere.hdf5", "x", array.shape or (1,))
            file.create_virtual_dataset(name, layout)
        elif kind == "external storage":
            file.create_dataset(name, array.shape, "f4", external=[("elsewhere.bin", 0, h5py.h5f.UNLIMITED)])
        elif kind == "null":
            file.create_dataset(name, data=h5py.Empty("f4"))
    return kind


def _change_object(rng: Random, file: h5py.File, names: list[str], path: Path) -> str:
    name = rng.choice([n for n in names if n != "/"] or names)
    item = file[name]
    if isinstance(item, h5py.Dataset) and item.nbytes > _LARGE:
        # Made so by the change before.
        return f"{name}: as it was"
    if isinstance(item, h5py.Dataset) and rng.random() < 0.4:
        return f"{name}: {_change_values(rng, item)}"
    values = item[()] if isinstance(item, h5py.Dataset) else np.zeros((4, 4), "f4")
    attributes = dict(item.attrs)
    del file[name]
    try:
        kind = _replacement(rng, file, name, values, path)
    except (ValueError, TypeError, OSError, RuntimeError):
        # What HDF5 does not let be written is simply missing.
        kind = "nothing"
        with contextlib.suppress(KeyError):
            del file[name]
    if rng.random() < 0.8 and kind not in ("external link", "cycle"):
        # Links that lead nowhere have no attributes.
        with contextlib.suppress(KeyError, OSError):
            file[name].attrs.update(attributes)
    return f"{name}: replaced by {kind}"


def damage_hdf5(rng: Random, path: Path) -> Damage:
    """One to three changes of the objects of an HDF5 file."""
    done: list[str] = []
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        with h5py.File(path, "r+", libver="latest") as file:
            names: list[str] = ["/"]
            file.visit(names.append)
            attribute = rng.random() < 0.4
            try:
                changed = _change_attribute(rng, file, names) if attribute else None
                done.append(changed or _change_object(rng, file, names, path))
            except (KeyError, OSError, RuntimeError, MemoryError) as error:
                # The change before has made something that HDF5 cannot read.
                done.append(f"not done: {error}")
    return Damage("; ".join(done))
