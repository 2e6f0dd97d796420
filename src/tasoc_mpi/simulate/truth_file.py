"""The truth of a simulation: one HDF5 file a CCD, `truth_sectorSSS_cameraC_ccdD.hdf5` (docs/formats.md)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import MissingInput
from ..products.hdf5_read import HDF5Reader
from .stars import KINDS, Variability

__all__ = ["FORMAT", "FORMAT_VERSION", "VARIABILITY", "Truth", "read_truth"]

FORMAT, FORMAT_VERSION = "tasoc-mpi truth", 1
#: The numbers of the group `variability` beside the star's, as `Variability` has them.
VARIABILITY = ("kind", "period", "epoch", "duration", "depth", "depth2", "frequency", "amplitude", "phase")
#: Datasets that every truth has, by group.
_NAMES = {
    "stars": ("starid", "tmag", "flux", "row", "column", "kind"),
    "variability": ("starid", *VARIABILITY),
    "frames": ("name", "cadenceno", "sky_levels"),
    "sky": ("patterns", "rows", "columns"),
    "tpfs": ("name", "starid", "corner"),
}
#: One number a star.
_OF_STARS = frozenset((*_NAMES["stars"], *VARIABILITY[:6]))
_INTEGERS = frozenset({"starid", "kind", "cadenceno", "quality", "corner"})


@dataclass(frozen=True)
class Truth:
    """A truth file in memory; its groups are those of docs/formats.md."""

    path: Path
    attributes: Mapping[str, Any]
    stars: Mapping[str, NDArray[Any]]  #: This and the others: names to arrays; names of files are str
    variability: Mapping[str, NDArray[Any]]
    frames: Mapping[str, NDArray[Any]]
    sky: Mapping[str, NDArray[Any]]
    tpfs: Mapping[str, NDArray[Any]]

    def variable(self, starid: int) -> tuple[Variability, int] | None:
        """The variability model and the star's index in it, or None for a constant star."""
        (index,) = np.nonzero(self.variability["starid"] == starid)
        if not len(index):
            return None
        columns = (self.variability[name] for name in VARIABILITY)
        return Variability(self.variability["starid"], *columns), int(index[0])


def read_truth(path: str | os.PathLike[str]) -> Truth:
    """Read a truth file.

    Raises
    ------
    MissingInput
        If there is no such file.
    InputError
        If it is not a truth file, or one of another version.
    """
    path = Path(path)
    if not os.path.lexists(path):
        raise MissingInput(f"{path}: no such truth; tasoc-mpi simulate makes it")
    with HDF5Reader(path, "a truth", "simulate again") as reader:
        if not reader.is_format(FORMAT):
            raise reader.fail("cannot be read as a truth (not one of this program)")
        reader.check_version("truth", FORMAT_VERSION)
        with reader.guard():
            attributes = dict(reader.file.attrs)
        for key in ("CADENCE", "ROW0", "COLUMN0", "ROWS", "COLUMNS", "JITTER"):
            attributes[key] = reader.integer("", key)
        groups = {name: _group(reader, name) for name in _NAMES}
    for name in ("stars", "variability"):
        kinds = groups[name]["kind"]
        if len(kinds) and not 0 <= kinds.min() <= kinds.max() < len(KINDS):
            raise reader.fail(f"{name}/kind has numbers of kinds that are not known")
    return Truth(path, attributes, **groups)


def _group(reader: HDF5Reader, group: str) -> dict[str, NDArray[Any]]:
    """The arrays of a group; all of one length, but for the patterns of the sky."""
    missing = set(_NAMES[group]) - set(reader.names(group))
    if missing:
        raise reader.fail(f"no dataset {group}/{min(missing)}")
    out: dict[str, NDArray[Any]] = {}
    for name in reader.names(group):
        path = f"{group}/{name}"
        dataset = reader.dataset(path, "fiubOS")
        if dataset.dtype.kind in "OS":
            out[name] = np.array(reader.texts(path, (None,)), dtype=str)
        else:
            integer = name in _INTEGERS
            out[name] = reader.read(path, "i8" if integer else dataset.dtype)
    for name, array in out.items():
        if array.dtype.kind == "U" and name != "name":
            raise reader.fail(f"{group}/{name} holds texts, not numbers")
        if array.ndim != 1 and name in _OF_STARS:
            raise reader.fail(f"{group}/{name} has shape {array.shape}, not one number a star")
    lengths = {len(array) if array.ndim else -1 for array in out.values()}
    if group != "sky" and (len(lengths) != 1 or -1 in lengths):
        raise reader.fail(f"the arrays of {group} differ in length")
    if group == "sky" and out["patterns"].shape[1:] != (out["rows"].size, out["columns"].size):
        raise reader.fail(f"sky/patterns has shape {out['patterns'].shape}")
    return out
