"""Write the truth of a simulation, which `truth_file` reads."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from ..core.atomic import replacing
from ..kernels import prf
from ..products.ccd_outline import CAMERA_CENTRES
from . import mission_cards as mission
from .options import SimulationOptions
from .render import FULL_WELL
from .scene import Scene
from .sky import SKY_PARTS, sky_levels, sky_patterns
from .stamps import Stamp
from .stars import KINDS, Stars, Variability
from .truth_file import FORMAT, FORMAT_VERSION, VARIABILITY

__all__ = ["write_truth"]

#: Rows and columns between the nodes at which the truth keeps the sky.
SKY_STEP = 16


def write_truth(
    path: Path,
    scene: Scene,
    stamps: list[Stamp],
    ffis: list[Path],
    tpfs: list[Path],
    cosmics: NDArray[np.int64],
    overflow: NDArray[np.float64],
) -> None:
    """Write a truth file; it appears whole or not at all.

    Parameters
    ----------
    path : Path
    scene : Scene
    stamps : list of Stamp
    ffis, tpfs : list of Path
        The files of the frames and of the stamps.
    cosmics, overflow : ndarray, shape (T,)
        Hits of cosmic rays, and charge that bled over the image's edge (e-/s), of each frame.
    """
    groups = {
        "stars": _stars(scene.stars, scene.variability),
        "variability": _variability(scene.stars, scene.variability),
        "frames": _frames(scene, ffis) | {"cosmics": cosmics, "overflow": overflow},
        "sky": _sky(scene.options),
        "tpfs": {
            "name": [path.name for path in tpfs],
            "starid": scene.stars.starid[[stamp.star for stamp in stamps]].astype("i8"),
            "corner": np.array([(stamp.row, stamp.column) for stamp in stamps], dtype="i8").reshape(-1, 2),
        },
    }
    with replacing(path, durable=False) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["FORMAT"], file.attrs["FORMAT_VERSION"] = FORMAT, FORMAT_VERSION
        for key, value in _attributes(scene).items():
            file.attrs[key] = value
        for group, arrays in groups.items():
            for name, data in arrays.items():
                kind = h5py.string_dtype() if name == "name" else None
                file.create_dataset(f"{group}/{name}", data=data, dtype=kind)
        file["stars"].attrs["KINDS"] = list(KINDS)
        file["sky"].attrs["PARTS"] = list(SKY_PARTS)


def _attributes(scene: Scene) -> dict[str, object]:
    o = scene.options
    _, used = mission.reads(o.cadence)
    return {
        **{name.upper(): getattr(o, name) for name in ("sector", "camera", "ccd", "cadence", "seed")},
        **dict(zip(("ROW0", "COLUMN0", "ROWS", "COLUMNS"), o.science, strict=True)),
        "FULL_FRAME": o.full_frame,
        "EXPOSURE": used * mission.INT_TIME,
        "READS": used,
        "READ_NOISE": mission.READ_NOISE,
        "GAIN": mission.GAIN,
        "FULL_WELL": FULL_WELL,
        **{name.upper(): getattr(o, name) for name in ("noise", "cosmics", "jitter", "variables")},
        "REF_FRAME": scene.reference,
        "PRF": scene.response.description,
        "FOCUS": o.widest,
        "CORE_SIGMA": prf.CORE_SIGMA,
        "CORE_WEIGHT": prf.CORE_WEIGHT,
        "WING_SIGMA": prf.WING_SIGMA,
        "WING_WEIGHT": prf.WING_WEIGHT,
        "PRF_CENTRE": CAMERA_CENTRES[o.camera, o.ccd],
    }


def _stars(stars: Stars, variability: Variability) -> dict[str, object]:
    kind = np.zeros(len(stars), dtype="i8")
    kind[variability.star] = variability.kind
    names = ("starid", "tmag", "flux", "ra", "decl", "row", "column", "pm_ra", "pm_decl")
    return {name: getattr(stars, name) for name in names} | {"prf_scale": stars.scale, "kind": kind}


def _variability(stars: Stars, variability: Variability) -> dict[str, object]:
    return {"starid": stars.starid[variability.star]} | {n: getattr(variability, n) for n in VARIABILITY}


def _frames(scene: Scene, paths: list[Path]) -> dict[str, object]:
    exposures, wcs = scene.frames.exposures, scene.frames.wcs
    return {
        "name": [path.name for path in paths],
        "time": exposures.middle,
        "barycorr": scene.barycorr,
        "cadenceno": exposures.cadenceno,
        "quality": exposures.quality,
        "shift": exposures.shift,
        "roll": exposures.roll,
        "dva_phase": exposures.dva_phase,
        "focus": exposures.focus,
        "matrix": exposures.matrix,
        "crval": wcs.crval,
        "cd": wcs.cd,
        **_systematics(scene),
        "sky_levels": sky_levels(scene.options, exposures.middle, scene.timeline.sector_start),
        "tess_position": scene.frames.position,
    }


def _systematics(scene: Scene) -> dict[str, object]:
    """Changes of the instrument that no header and no background contains, where there are any."""
    if not scene.options.systematics:
        return {}
    found = scene.frames.exposures.systematics
    return {f"systematics_{field.name}": getattr(found, field.name) for field in fields(found)}


def _sky(options: SimulationOptions) -> dict[str, object]:
    row0, column0, n_rows, n_columns = options.science
    rows = row0 + np.unique(np.append(np.arange(0, n_rows, SKY_STEP), n_rows - 1))
    columns = column0 + np.unique(np.append(np.arange(0, n_columns, SKY_STEP), n_columns - 1))
    return {"rows": rows, "columns": columns, "patterns": sky_patterns(options, rows, columns)}
