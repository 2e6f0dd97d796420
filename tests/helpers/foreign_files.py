"""Files of other programs for tests and benchmarks: HDF5 as the TASOC pipeline writes it, astrocut's FITS."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from astropy.io import fits
from ffi_files import wcs_cards
from numpy.typing import NDArray

from tasoc_mpi.products.ffi import find_ffis

ATTRIBUTES = {
    "SECTOR": 30,
    "CAMERA": 1,
    "CCD": 2,
    "CADENCE": 600,
    "DATA_REL": 43,
    "PROCVER": "spoc-5.0.20",
    "NUM_FRM": 300,
    "NREADOUT": 240,
    "CRMITEN": True,
    "CRBLKSZ": 10,
    "CRSPOC": False,
    "PIXEL_OFFSET_ROW": 0,
    "PIXEL_OFFSET_COLUMN": 44,
    "TIME_OFFSET_CORRECTED": False,
}


def pixels(frames: int, shape: tuple[int, int], seed: int = 0) -> dict[str, NDArray[Any]]:
    """Values of every kind, shape (T, R, C), with NaN, infinities and negative zeros among them."""
    rng = np.random.default_rng(seed)
    images = rng.normal(0, 10, (frames, *shape)).astype("f4")
    images[:, 3, 5] = np.nan
    images[0, 2, :2] = np.inf, -0.0
    return {
        "images": images,
        "images_err": np.abs(images) + 1,
        "backgrounds": (100 + images / 7).astype("f4"),
        "pixel_flags": rng.integers(0, 8, images.shape).astype("u1"),
    }


def header(t: int = 0) -> str:
    """A frame's WCS as the pipeline stores it: one string of cards, in full frame image pixels."""
    cards = fits.Header()
    cards.update(wcs_cards((1045.0, 1001.0), t))
    cards["CRVAL1"] = (60.0 + 5e-5 * t, "[deg] RA / a comment's slash")
    return cards.tostring()


def write_tasoc(
    path: Path,
    values: dict[str, NDArray[Any]],
    *,
    single_header: bool = False,
    no_wcs: tuple[int, ...] = (),
    chunk: int = 64,
    warpmode: str | None = None,
    attributes: dict[str, Any] | None = None,
) -> dict[str, NDArray[Any]]:
    """Write the file; returns the arrays that are not pixels."""
    n = len(values["images"])
    shape = values["images"].shape[1:]
    time = 2115.9 + np.arange(n) * 600 / 86400
    rng = np.random.default_rng(n)
    arrays = {
        "time": time + 0.002,
        "timecorr": 0.002 + 1e-6 * np.arange(n),
        "time_start": time + 0.002 - 300 / 86400,
        "time_stop": time + 0.002 + 300 / 86400,
        "cadenceno": np.arange(n, dtype="i4") + 700000,
        "quality": np.where(np.arange(n) == 1, 32, 0).astype("i4"),
        "sumimage": rng.normal(0, 1, shape).astype("f4"),
        "backgrounds_pixels_used": rng.random(shape) < 0.5,
    }
    with h5py.File(path, "w") as file:
        for name, array in values.items():
            group = file.create_group(name)
            for t in range(n):
                chunks = tuple(min(chunk, side) for side in shape)
                group.create_dataset(f"{t:04d}", data=array[t], chunks=chunks, compression="lzf")
        file["images"].attrs.update({**ATTRIBUTES, **(attributes or {})})
        for name, array in arrays.items():
            file.create_dataset(name, data=array)
        names = [f"/somewhere/tess{t:013d}-s0030-1-2-0195-s_ffic.fits.gz".encode() for t in range(n)]
        file.create_dataset("imagespaths", data=np.array(names))
        if single_header:
            file.create_dataset("wcs", data=header())
        else:
            group = file.create_group("wcs")
            for t in range(n):
                group.create_dataset(f"{t:04d}", data="" if t in no_wcs else header(t))
            group.attrs["ref_frame"] = n // 2
        if warpmode is not None:
            arrays["movement_kernel"] = rng.normal(0, 1e-2, (n, {"translation": 2, "affine": 6}[warpmode]))
            file.create_dataset("movement_kernel", data=arrays["movement_kernel"])
            file["movement_kernel"].attrs["warpmode"] = warpmode
    return arrays


def make_mast_cube(frames: Path, path: Path, sector: int = 1) -> Path:
    """Let astrocut make the cube of a folder's frames, as MAST does."""
    import astrocut

    files = [str(p) for paths in find_ffis(frames).values() for p in paths]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        astrocut.CubeFactory().make_cube(files, cube_file=str(path), sector=sector, verbose=False)
    return path


def make_cutout(cube: Path, ra: float, dec: float, size: tuple[int, int]) -> Path:
    """Let astrocut cut out (columns, rows) pixels around a position of a cube of MAST's, as TESSCut does."""
    import astrocut

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = astrocut.TessCubeCutout(str(cube), f"{ra} {dec}", size)
        path = Path(made.write_as_tpf(str(cube.parent))[0])
        (cut,) = made.cutouts_by_file.values()
        with fits.open(path, mode="update") as hdus:
            if "1CRV4P" not in hdus[1].header:
                # Versions about 1.4 forget it.
                for axis in (1, 2):
                    hdus[1].header[f"{axis}CRV4P"] = int(cut.cutout_lims[axis - 1, 0]) + 1
    return path
