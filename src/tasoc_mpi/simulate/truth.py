"""The truth behind a simulation: one HDF5 file a CCD, `truth_sectorSSS_cameraC_ccdD.hdf5`.

Attributes of the file: FORMAT "tasoc-mpi truth", FORMAT_VERSION, SECTOR, CAMERA, CCD, CADENCE (s), SEED,
ROW0 and COLUMN0 (0-based full frame image pixel of the first simulated science pixel), ROWS, COLUMNS
(science pixels), FULL_FRAME, EXPOSURE (seconds of light in a frame), READS (reads added up), READ_NOISE
(electrons a read), GAIN, FULL_WELL (e-/s), NOISE, COSMICS, JITTER, VARIABLES (booleans), REF_FRAME (the
frame whose WCS gives `stars/ra` and `decl`), PRF (words), CORE_SIGMA, CORE_WEIGHT, WING_SIGMA,
WING_WEIGHT, PRF_CENTRE (row, column of the camera centre).

`stars/` (N, brightest first): starid, tmag, flux (mean, e-/s), ra, decl (degrees, at the reference frame),
row, column (there, 0-based full frame image pixels), pm_ra, pm_decl (mas/yr), prf_scale (width relative to
the camera centre), kind (index in the attribute KINDS).

`variability/` (V): starid, kind, period, epoch, duration (days; the epoch as the star's own BJD - 2457000),
depth, depth2 (of the secondary eclipse), frequency (1/day), amplitude, phase (radians at BJD - 2457000 = 0),
of shape (V, 8). The relative flux is `Variability.factor`.

`frames/` (T): name, time (spacecraft, middle, TJD TDB), barycorr (days, CCD centre), cadenceno, quality,
shift (T, 2: column, row, pixels), roll (radians), dva_phase, matrix (T, 2, 2), crval, cd (the WCS, as in the
headers), sky_levels (T, K, e-/s), cosmics (hits), overflow (charge that bled over the image's edge, e-/s),
tess_position (T, 3, barycentric ICRS, light-days). A star at the undistorted pixel offset U (column, row)
from the reference pixel of the pointing lies at ``matrix @ U + shift``, near the reference pixel exactly, in
the corners of the CCD to 2% of the shift (a rotation of the sky is not a shift of its tangent plane); crval
and cd are exact everywhere.

`sky/`: patterns (K, R, C) of the parts named by the attribute PARTS at the rows and columns `rows`,
`columns`; the sky of frame t is the sum over k of sky_levels[t, k] * patterns[k].

`tpfs/`: name, starid, corner (row, column of the first pixel).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, MissingInput
from .stars import Variability

__all__ = ["Truth", "read_truth", "truth_name", "write_truth"]

FORMAT, FORMAT_VERSION = "tasoc-mpi truth", 1


@dataclass(frozen=True)
class Truth:
    """A truth file in memory; the groups are as the module's description lists them.

    Attributes
    ----------
    path : Path
    attributes : mapping
    stars, variability, frames, sky, tpfs : mapping
        From names to arrays; names of files are str.
    """

    path: Path
    attributes: Mapping[str, Any]
    stars: Mapping[str, NDArray[Any]]
    variability: Mapping[str, NDArray[Any]]
    frames: Mapping[str, NDArray[Any]]
    sky: Mapping[str, NDArray[Any]]
    tpfs: Mapping[str, NDArray[Any]]

    def variable(self, starid: int) -> tuple[Variability, int] | None:
        """The variability model and the star's place in it, or None for a constant star."""
        (place,) = np.nonzero(self.variability["starid"] == starid)
        if not len(place):
            return None
        v = self.variability
        names = ("kind", "period", "epoch", "duration", "depth", "depth2", "frequency", "amplitude", "phase")
        return Variability(v["starid"], *(v[name] for name in names)), int(place[0])


def truth_name(sector: int, camera: int, ccd: int) -> str:
    """File name of the truth of a CCD."""
    return f"truth_sector{sector:03d}_camera{camera:d}_ccd{ccd:d}.hdf5"


def write_truth(
    path: Path,
    attributes: Mapping[str, Any],
    groups: Mapping[str, Mapping[str, Any]],
    words: Mapping[str, Any],
) -> None:
    """Write a truth file; it appears whole or not at all.

    Parameters
    ----------
    path : Path
    attributes : mapping
        Of the file.
    groups : mapping
        From names of groups to mappings from names to arrays.
    words : mapping
        Lists of str that go into attributes of groups, as ``"group/NAME"``.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with h5py.File(temporary, "w") as file:
            file.attrs["FORMAT"], file.attrs["FORMAT_VERSION"] = FORMAT, FORMAT_VERSION
            for key, value in attributes.items():
                file.attrs[key] = value
            for group, arrays in groups.items():
                for name, data in arrays.items():
                    text = len(data) > 0 and isinstance(data[0], str)
                    kind = h5py.string_dtype() if text or name == "name" else None
                    file.create_dataset(f"{group}/{name}", data=data, dtype=kind)
            for key, value in words.items():
                group, name = key.split("/")
                file[group].attrs[name] = list(value)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


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
    if not path.is_file():
        raise MissingInput(f"{path}: no such truth; tasoc-mpi simulate makes it")
    try:
        with h5py.File(path, "r") as file:
            attributes = dict(file.attrs)
            if attributes.get("FORMAT") != FORMAT or int(attributes["FORMAT_VERSION"]) != FORMAT_VERSION:
                raise ValueError("not a truth of this program")
            groups = {name: _group(file[name]) for name in ("stars", "variability", "frames", "sky", "tpfs")}
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{path}: cannot be read as a truth ({' '.join(str(error).split())}); simulate again"
        ) from None
    return Truth(path, attributes, **groups)


def _group(group: h5py.Group) -> dict[str, NDArray[Any]]:
    out = {}
    for name, data in group.items():
        text = h5py.check_string_dtype(data.dtype) is not None
        out[name] = np.array(data.asstr()[()], dtype=str) if text else data[()]
    return out
