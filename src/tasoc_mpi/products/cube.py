"""The image cubes of one CCD: one HDF5 file whose large arrays can be mapped into memory.

`images`, `images_err` (float32, e-/s) and `pixel_flags` (uint8) are contiguous, unfiltered datasets of
shape (rows, columns, times): a pixel's time series is one run of bytes at a known place in the file. The
background is kept as its model. `docs/formats.md` lists every dataset and attribute.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, MissingInput
from ..kernels import background as kernel
from .framewcs import FrameWCS

__all__ = [
    "FORMAT_VERSION",
    "BackgroundModel",
    "Cube",
    "StoredBackground",
    "allocate_cube",
    "cube_name",
    "finish_cube",
    "open_cube",
    "write_background",
    "write_wcs",
]

FORMAT = "tasoc-mpi cube"
FORMAT_VERSION = 1
#: Start of the large datasets in the file: a multiple of the page size of every common machine.
_ALIGNMENT = 65536

#: Attributes of `images` that every cube has.
ATTRIBUTES = (
    "SECTOR",
    "CAMERA",
    "CCD",
    "CADENCE",
    "DATA_REL",
    "PROCVER",
    "NUM_FRM",
    "NREADOUT",
    "CRMITEN",
    "CRBLKSZ",
    "CRSPOC",
    "PIXEL_OFFSET_ROW",
    "PIXEL_OFFSET_COLUMN",
    "TIME_OFFSET_CORRECTED",
)


def cube_name(sector: int, camera: int, ccd: int) -> str:
    """File name of a CCD's cube."""
    return f"sector{sector:03d}_camera{camera:d}_ccd{ccd:d}.hdf5"


@dataclass(frozen=True)
class BackgroundModel:
    """The smooth background of every frame: a B-spline mesh plus a radial profile.

    Attributes
    ----------
    mesh : ndarray of float32, shape (M, N, T)
        Cubic B-spline coefficients, e-/s; NaN for a frame without a background.
    box : int
        Side of a mesh box, pixels.
    radial : ndarray of float32, shape (K, T)
        Values at nodes in distance from the camera centre, linear between them; K = 0 for none.
    radial_first, radial_step : float
        Distance of the first node and between nodes, pixels.
    centre : (float, float)
        Full frame image (row, column) of the camera centre.
    origin : (int, int)
        Full frame image (row, column) of the first pixel.
    """

    mesh: NDArray[np.float32]
    box: int
    radial: NDArray[np.float32]
    radial_first: float
    radial_step: float
    centre: tuple[float, float]
    origin: tuple[int, int]

    def _radii(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.hypot(
            rows + (self.origin[0] - self.centre[0]), columns + (self.origin[1] - self.centre[1])
        ).astype("f8")

    def frame(self, shape: tuple[int, int], t: int) -> NDArray[np.float32]:
        """The model of frame `t` in all pixels, shape (rows, columns)."""
        return kernel.model_frame(
            (int(shape[0]), int(shape[1])),
            (float(self.origin[0]), float(self.origin[1])),
            (float(self.centre[0]), float(self.centre[1])),
            self.box,
            np.ascontiguousarray(self.mesh[:, :, t]),
            np.ascontiguousarray(self.radial[:, t]),
            self.radial_first,
            self.radial_step,
        )

    def stamp(self, row_min: int, row_max: int, col_min: int, col_max: int) -> NDArray[np.float32]:
        """The model in a stamp of array pixels (half open), shape (rows, columns, T)."""
        rows, columns = np.mgrid[row_min:row_max, col_min:col_max].astype("i8")
        values = kernel.model_pixels(
            rows.ravel(),
            columns.ravel(),
            self._radii(rows.ravel(), columns.ravel()),
            self.box,
            self.mesh,
            self.radial,
            self.radial_first,
            self.radial_step,
        )
        return values.reshape(*rows.shape, -1)

    def total(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
        """Sum of the model over pixels of the arrays, in every frame, shape (T,), e-/s."""
        weights = kernel.mesh_weights(rows, columns, self.box, self.mesh.shape[:2])
        used = np.nonzero(weights)
        total = weights[used] @ self.mesh[used].astype("f8")
        if len(self.radial):
            w = kernel.radial_weights(
                self._radii(rows, columns), self.radial_first, self.radial_step, len(self.radial)
            )
            (used_radial,) = np.nonzero(w)
            total = total + w[used_radial] @ self.radial[used_radial].astype("f8")
        return total


@dataclass(frozen=True)
class StoredBackground:
    """A background that is stored pixel by pixel, shape (R, C, T), e-/s; mapped when first used."""

    path: Path
    offset: int
    shape: tuple[int, int, int]

    @functools.cached_property
    def pixels(self) -> NDArray[np.float32]:
        """All of it; mapped, read-only."""
        return np.asarray(np.memmap(self.path, np.float32, "r", self.offset, self.shape))

    def frame(self, shape: tuple[int, int], t: int) -> NDArray[np.float32]:
        """Frame `t`, the first pixels in both directions, shape (rows, columns)."""
        return np.array(self.pixels[: shape[0], : shape[1], t])

    def stamp(self, row_min: int, row_max: int, col_min: int, col_max: int) -> NDArray[np.float32]:
        """In a stamp of array pixels (half open), shape (rows, columns, T)."""
        return np.array(self.pixels[row_min:row_max, col_min:col_max])

    def total(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
        """Sum over pixels of the arrays, in every frame, shape (T,), e-/s."""
        return self.pixels[rows, columns].sum(axis=0, dtype="f8")


@dataclass(frozen=True)
class Cube:
    """A finished cube, open for reading. Small arrays are in memory, large ones mapped when first used.

    Attributes
    ----------
    path : Path
    attributes : mapping
        The attributes of `images` (SECTOR, CAMERA, CCD, CADENCE, ...).
    shape : (int, int, int)
        Rows, columns, frames.
    time, timecorr, time_start, time_stop : ndarray, shape (T,)
        BJD - 2457000 in days at the CCD centre, and its barycentric correction in days.
    cadenceno, quality : ndarray of int32, shape (T,)
    sumimage : ndarray of float32, shape (R, C)
    backgrounds_pixels_used : ndarray of bool, shape (R, C)
    frames : tuple of str
        File names of the frames.
    wcs : FrameWCS
    ref_frame : int
        The reference frame, whose WCS gives the catalog's positions.
    ref_header : str
        FITS header of its WCS.
    background : BackgroundModel or StoredBackground
        The model where there is one, else the pixels.
    ephemeris : ndarray, shape (T, 3)
        Barycentric ICRS position of TESS in light-days at `time - timecorr` (TDB).
    ephemeris_source : str
        What the ephemeris was computed from.
    movement_kernel : ndarray or None, shape (T, n)
        Image movement kernels, if they were computed, of the kind `warpmode`.
    warpmode : str
    """

    path: Path
    attributes: Mapping[str, Any]
    shape: tuple[int, int, int]
    time: NDArray[np.float64]
    timecorr: NDArray[np.float64]
    time_start: NDArray[np.float64]
    time_stop: NDArray[np.float64]
    cadenceno: NDArray[np.int32]
    quality: NDArray[np.int32]
    sumimage: NDArray[np.float32]
    backgrounds_pixels_used: NDArray[np.bool_]
    frames: tuple[str, ...]
    wcs: FrameWCS
    ref_frame: int
    ref_header: str
    background: BackgroundModel | StoredBackground
    ephemeris: NDArray[np.float64]
    ephemeris_source: str
    movement_kernel: NDArray[np.float64] | None
    warpmode: str
    offsets: Mapping[str, int] = field(repr=False)

    @property
    def row_offset(self) -> int:
        """Full frame image row of the first row."""
        return int(self.attributes["PIXEL_OFFSET_ROW"])

    @property
    def column_offset(self) -> int:
        """Full frame image column of the first column."""
        return int(self.attributes["PIXEL_OFFSET_COLUMN"])

    @property
    def wcs_headers(self) -> tuple[str, ...]:
        """FITS header of each frame's WCS; empty where it cannot be used. Read each time: 6 kB a frame."""
        with h5py.File(self.path, "r") as file:
            return tuple(file["wcs"]["headers"].asstr()[()])

    @functools.cached_property
    def images(self) -> NDArray[np.float32]:
        """Background-subtracted flux, e-/s, shape (R, C, T); mapped, read-only."""
        return self._map("images", np.float32)

    @functools.cached_property
    def images_err(self) -> NDArray[np.float32]:
        """One-sigma error of the flux, e-/s, shape (R, C, T); mapped, read-only."""
        return self._map("images_err", np.float32)

    @functools.cached_property
    def pixel_flags(self) -> NDArray[np.uint8]:
        """Pixel quality flags, shape (R, C, T); mapped, read-only."""
        return self._map("pixel_flags", np.uint8)

    @functools.cached_property
    def backgrounds(self) -> NDArray[np.float32] | None:
        """The background as pixels, e-/s, shape (R, C, T); mapped, read-only; None if it is not stored so."""
        return self._map("backgrounds", np.float32) if "backgrounds" in self.offsets else None

    def _map(self, name: str, dtype: type) -> NDArray[Any]:
        return np.asarray(np.memmap(self.path, dtype, "r", self.offsets[name], self.shape))


def allocate_cube(
    path: Path, shape: tuple[int, int, int], attributes: Mapping[str, Any], backgrounds: bool = False
) -> None:
    """Make an unfinished cube file with room for its three large arrays.

    Parameters
    ----------
    path : Path
        A new file.
    shape : (int, int, int)
        Rows, columns, frames.
    attributes : mapping
        The attributes of `images`, all of `ATTRIBUTES`.
    backgrounds : bool
        Make room for a background that is stored pixel by pixel, too.

    Raises
    ------
    KeyError
        If an attribute is missing.
    OSError
        If there is no room on the disk.
    """
    with h5py.File(path, "w", alignment_threshold=_ALIGNMENT // 16, alignment_interval=_ALIGNMENT) as file:
        file.attrs["FORMAT"] = FORMAT
        file.attrs["FORMAT_VERSION"] = FORMAT_VERSION
        file.attrs["COMPLETE"] = False
        datasets = {"images": "<f4", "images_err": "<f4", "pixel_flags": "u1"}
        if backgrounds:
            datasets["backgrounds"] = "<f4"
        for name, dtype in datasets.items():
            create = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            create.set_layout(h5py.h5d.CONTIGUOUS)
            create.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
            create.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
            # The same input gives the same bytes.
            create.set_obj_track_times(False)
            space = h5py.h5s.create_simple(shape)
            h5py.h5d.create(file.id, name.encode(), h5py.h5t.py_create(np.dtype(dtype)), space, create)
        for key in ATTRIBUTES:
            file["images"].attrs[key] = attributes[key]
    size = path.stat().st_size
    with open(path, "r+b") as raw:
        # A sparse file would fail with a bus error when the disk fills up: ask for the blocks now.
        os.posix_fallocate(raw.fileno(), 0, size)


def write_wcs(file: h5py.File, wcs: FrameWCS, headers: list[str], ref_frame: int) -> None:
    """Store the world coordinates of every frame in a cube open for writing."""
    group = file.require_group("wcs")
    for name in ("crval", "cd", "crpix", "sip_a", "sip_b"):
        _replace(group, name, getattr(wcs, name))
    _replace(group, "good", wcs.good.astype("u1"))
    _replace(group, "headers", np.array(headers, dtype=object), dtype=h5py.string_dtype())
    group.attrs["ref_frame"] = ref_frame


def write_background(file: h5py.File, model: BackgroundModel) -> None:
    """Store the background model in a cube open for writing."""
    group = file.require_group("background")
    _replace(group, "mesh", model.mesh)
    _replace(group, "radial", model.radial)
    group.attrs["box"] = model.box
    group.attrs["radial_first"] = model.radial_first
    group.attrs["radial_step"] = model.radial_step
    group.attrs["centre"] = model.centre


def _replace(group: h5py.Group, name: str, data: Any, dtype: Any = None) -> None:
    if name in group:
        del group[name]
    group.create_dataset(name, data=data, dtype=dtype)


def finish_cube(file: h5py.File) -> None:
    """Mark a cube open for writing as whole."""
    file.attrs["COMPLETE"] = True


def open_cube(path: str | os.PathLike[str]) -> Cube:
    """Open a finished cube for reading.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    Cube

    Raises
    ------
    MissingInput
        If there is no such file.
    InputError
        If the file is not a cube, is unfinished, truncated, or of another format version.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingInput(f"{path}: no such cube; tasoc-mpi prepare makes it")
    try:
        with h5py.File(path, "r") as file:
            _check(path, file)
            return _read(path, file)
    except InputError:
        raise
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path}: cannot be read as a cube ({reason}); remove it and run tasoc-mpi prepare"
        ) from None


def _check(path: Path, file: h5py.File) -> None:
    if file.attrs.get("FORMAT") != FORMAT:
        if "images" in file and isinstance(file["images"], h5py.Group):
            raise InputError(
                f"{path}: one dataset a frame, as the TASOC pipeline writes it; tasoc-mpi import converts it"
            )
        raise InputError(f"{path}: not a cube; remove it and run tasoc-mpi prepare")
    version = int(file.attrs["FORMAT_VERSION"])
    if version != FORMAT_VERSION:
        raise InputError(
            f"{path}: cube format {version}, this program reads {FORMAT_VERSION}; "
            "remove it and run tasoc-mpi prepare, or use the program that wrote it"
        )
    if not file.attrs["COMPLETE"]:
        raise InputError(f"{path}: unfinished; run tasoc-mpi prepare again, it continues where it stopped")


def _read(path: Path, file: h5py.File) -> Cube:
    images = file["images"]
    offsets = {}
    for name in ("images", "images_err", "pixel_flags", *(["backgrounds"] if "backgrounds" in file else [])):
        dataset = file[name]
        offset = dataset.id.get_offset()
        if offset is None:
            raise InputError(f"{path}: {name} is not stored in one piece; run tasoc-mpi prepare again")
        if dataset.shape != images.shape:
            raise InputError(f"{path}: {name} has another shape than images; run tasoc-mpi prepare again")
        if offset + dataset.nbytes > path.stat().st_size:
            raise InputError(f"{path}: truncated; remove it and run tasoc-mpi prepare")
        offsets[name] = int(offset)
    attributes = {key: _plain(images.attrs[key]) for key in images.attrs}
    wcs = file["wcs"]
    movement = file.get("movement_kernel")
    return Cube(
        path=path,
        attributes=attributes,
        shape=images.shape,
        **{name: file[name][()] for name in ("time", "timecorr", "time_start", "time_stop")},
        cadenceno=file["cadenceno"][()].astype("i4"),
        quality=file["quality"][()].astype("i4"),
        sumimage=file["sumimage"][()],
        backgrounds_pixels_used=file["backgrounds_pixels_used"][()].astype(bool),
        frames=tuple(file["frames"].asstr()[()]),
        wcs=FrameWCS(
            **{name: wcs[name][()] for name in ("crval", "cd", "crpix", "sip_a", "sip_b")},
            good=wcs["good"][()].astype(bool),
        ),
        ref_frame=int(wcs.attrs["ref_frame"]),
        ref_header=wcs["headers"].asstr()[int(wcs.attrs["ref_frame"])],
        background=(
            _background_model(file["background"], attributes)
            if "background" in file
            else StoredBackground(path, offsets["backgrounds"], images.shape)
        ),
        ephemeris=file["ephemeris"][()],
        ephemeris_source=str(file["ephemeris"].attrs["source"]),
        movement_kernel=None if movement is None else movement[()],
        warpmode="wcs" if movement is None else str(movement.attrs["warpmode"]),
        offsets=offsets,
    )


def _background_model(group: h5py.Group, attributes: Mapping[str, Any]) -> BackgroundModel:
    return BackgroundModel(
        mesh=group["mesh"][()],
        box=int(group.attrs["box"]),
        radial=group["radial"][()],
        radial_first=float(group.attrs["radial_first"]),
        radial_step=float(group.attrs["radial_step"]),
        centre=(float(group.attrs["centre"][0]), float(group.attrs["centre"][1])),
        origin=(int(attributes["PIXEL_OFFSET_ROW"]), int(attributes["PIXEL_OFFSET_COLUMN"])),
    )


def _plain(value: Any) -> Any:
    """An HDF5 attribute as a Python value."""
    return value.item() if isinstance(value, np.generic) else value
