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

from ..core.errors import InputError, MissingInput
from ..core.settings import load_settings
from ..core.version import creator
from ..kernels.background_model import BackgroundModel
from .cube_background import PixelBackground
from .frame_wcs import MAX_ORDER, FrameWCS
from .hdf5_read import HDF5Reader

__all__ = [
    "ATTRIBUTES",
    "FORMAT_VERSION",
    "SERIES",
    "BackgroundModel",
    "Cube",
    "PixelBackground",
    "allocate_cube",
    "describe_cube",
    "finish_cube",
    "open_cube",
    "read_attributes",
    "write_background",
    "write_wcs",
]

FORMAT = "tasoc-mpi cube"
FORMAT_VERSION = 1
#: Start of the large datasets in the file: a multiple of the page size of every common machine.
_ALIGNMENT = 65536

#: Attributes of `images` that every cube has.
ATTRIBUTES = (
    *("SECTOR", "CAMERA", "CCD", "CADENCE", "DATA_REL", "PROCVER", "NUM_FRM", "NREADOUT"),
    *("CRMITEN", "CRBLKSZ", "CRSPOC", "PIXEL_OFFSET_ROW", "PIXEL_OFFSET_COLUMN", "TIME_OFFSET_CORRECTED"),
)
#: The smallest and the largest value of those that the program counts with.
_LIMITS = {"SECTOR": (1, 9999), "CAMERA": (1, 4), "CCD": (1, 4), "CADENCE": (1, 9999), "DATA_REL": (0, 9999)}
#: Rows and columns of a full frame image.
_ROWS, _COLUMNS = 2078, 2136
#: Datasets of one number a frame, and their types.
SERIES = {
    "time": "f8",
    "timecorr": "f8",
    "time_start": "f8",
    "time_stop": "f8",
    "cadenceno": "i4",
    "quality": "i4",
}
#: Attributes `units` (of astropy; '' for none) and `long_name` of datasets.
_DESCRIPTIONS = {
    "images": ("electron / s", "flux without background"),
    "images_err": ("electron / s", "one-sigma error of the flux"),
    "pixel_flags": ("", "pixel flags: 1 not used for the background, 2 left out, 4 background shenanigans"),
    "backgrounds": ("electron / s", "background"),
    "time": ("d", "middle of the exposure, BJD (TDB) - 2457000 at the centre of the CCD"),
    "time_start": ("d", "start of the exposure, BJD (TDB) - 2457000 at the centre of the CCD"),
    "time_stop": ("d", "end of the exposure, BJD (TDB) - 2457000 at the centre of the CCD"),
    "timecorr": ("d", "barycentric correction in the times"),
    "cadenceno": ("", "cadence number"),
    "quality": ("", "quality flags of the frame"),
    "sumimage": ("electron / s", "mean of the images of good quality"),
    "backgrounds_pixels_used": ("", "1 where a pixel was used for the background in most frames"),
    "frames": ("", "file names of the frames"),
    # Light-days, for which astropy has no name.
    "ephemeris": (
        "25902068371200 m",
        "barycentric ICRS position of TESS (x, y, z) at time - timecorr, light-days",
    ),
    "movement_kernel": ("", "image movement against the reference frame"),
    "wcs/headers": ("", "world coordinates as FITS cards, for pixels counted from 1"),
    "wcs/crval": ("deg", "right ascension and declination of the reference pixel"),
    "wcs/crpix": ("pixel", "column and row of the reference pixel, counted from 1"),
    "wcs/cd": ("deg / pixel", "matrix CD of the world coordinates"),
    "wcs/sip_a": ("", "SIP distortion of columns"),
    "wcs/sip_b": ("", "SIP distortion of rows"),
    "wcs/good": ("", "1 where the world coordinates can be used"),
    "background/mesh": (
        "electron / s",
        "B-spline coefficients of the background",
    ),
    "background/radial": ("electron / s", "glow at nodes in distance from the centre of the camera"),
}
#: In the file, for those who read it without this program.
_BACKGROUND_NOTE = """\
The background of the pixel in row r, column c (from 0) of frame t is a cubic B-spline surface and a profile.
Surface: y = (r + 0.5) / box - 0.5, i = floor(y), f = y - i. The weights of mesh[i-1:i+3, :, t] along rows are
(1-f)^3/6, (4-6f^2+3f^3)/6, (4-6(1-f)^2+3(1-f)^3)/6, f^3/6; likewise along columns. The background is the sum
of the coefficients times both weights. Beyond the first and the last coefficient they go on as a line:
m[-k] = (1+k) m[0] - k m[1].
Profile, where radial has rows: d is the distance of (r + PIXEL_OFFSET_ROW, c + PIXEL_OFFSET_COLUMN) from
centre; radial[:, t] interpolated linearly at (d - radial_first) / radial_step, and 0 outside of the nodes.
In Python: cube = tasoc_mpi.products.cube.open_cube(path); cube.background.stamp(r0, r1, c0, c1)
"""


@dataclass(frozen=True)
class Cube:
    """A finished cube, open for reading. Small arrays are in memory, large ones mapped when first used."""

    path: Path
    attributes: Mapping[str, Any]  #: The attributes of `images` (SECTOR, CAMERA, CCD, CADENCE, ...).
    shape: tuple[int, int, int]  #: Rows, columns, frames
    #: time, timecorr, time_start, time_stop: shape (T,), BJD - 2457000 in days at the CCD centre, and its
    #: barycentric correction in days.
    time: NDArray[np.float64]
    timecorr: NDArray[np.float64]
    time_start: NDArray[np.float64]
    time_stop: NDArray[np.float64]
    cadenceno: NDArray[np.int32]  #: Shape (T,)
    quality: NDArray[np.int32]  #: Shape (T,)
    sumimage: NDArray[np.float32]  #: Shape (R, C)
    backgrounds_pixels_used: NDArray[np.bool_]  #: Shape (R, C)
    frames: tuple[str, ...]  #: File names of the frames
    wcs: FrameWCS
    ref_frame: int  #: The reference frame, whose WCS gives the catalog's positions
    ref_header: str  #: FITS header of its WCS
    background: BackgroundModel | PixelBackground  #: The model where there is one, else the pixels
    #: Shape (T, 3): barycentric ICRS position of TESS in light-days at `time - timecorr` (TDB).
    ephemeris: NDArray[np.float64]
    ephemeris_source: str  #: What the ephemeris was computed from
    #: Shape (T, n): image movement kernels, if they were computed, of the kind `warpmode`.
    movement_kernel: NDArray[np.float64] | None
    warpmode: str
    offsets: Mapping[str, int] = field(repr=False)

    @functools.cached_property
    def row_offset(self) -> int:
        """0-based full frame image row of the first row."""
        return int(self.attributes["PIXEL_OFFSET_ROW"])

    @functools.cached_property
    def column_offset(self) -> int:
        """0-based full frame image column of the first column."""
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
    def never_shenanigans(self) -> NDArray[np.bool_]:
        """For `kernels.sums.flagged_frames`: pixels that never have `BackgroundShenanigans`, shape (R, C)."""
        return np.zeros(self.shape[:2], dtype=bool)

    @functools.cached_property
    def backgrounds(self) -> NDArray[np.float32] | None:
        """The background as pixels, e-/s, shape (R, C, T); mapped, read-only; None if it is not stored so."""
        return self._map("backgrounds", np.float32) if "backgrounds" in self.offsets else None

    def _map(self, name: str, dtype: type) -> NDArray[Any]:
        return np.asarray(np.memmap(self.path, dtype, "r", self.offsets[name], self.shape))


def allocate_cube(
    path: Path, shape: tuple[int, int, int], attributes: Mapping[str, Any], backgrounds: bool = False
) -> None:
    """Make an unfinished cube file with its three large arrays, for which the disk has not reserved room yet.

    Parameters
    ----------
    path : Path
        A new file.
    shape : (int, int, int)
        Rows, columns, frames.
    attributes : mapping
        The attributes of `images`, all of `ATTRIBUTES`; None for unknown ones.
    backgrounds : bool
        Also store the background pixel by pixel.

    Raises
    ------
    KeyError
        If an attribute is missing.
    OSError
        If the file cannot be written.
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
            value = attributes[key]
            file["images"].attrs[key] = h5py.Empty("?") if value is None else value
        if attributes.get("SIMULATD"):
            file["images"].attrs["SIMULATD"] = True
        file.attrs["CREATOR"] = creator()
        file.attrs["SETTINGS"] = "\n".join(load_settings().unusual())


def write_wcs(file: h5py.File, wcs: FrameWCS, headers: list[str], ref_frame: int) -> None:
    """Store the world coordinates of every frame in a cube open for writing."""
    group = file.create_group("wcs")
    for name in ("crval", "cd", "crpix", "sip_a", "sip_b"):
        group.create_dataset(name, data=getattr(wcs, name))
    group.create_dataset("good", data=wcs.good.astype("u1"))
    group.create_dataset("headers", data=np.array(headers, dtype=object), dtype=h5py.string_dtype())
    group.attrs["ref_frame"] = ref_frame


def write_background(file: h5py.File, model: BackgroundModel) -> None:
    """Store the background model in a cube open for writing."""
    group = file.create_group("background")
    group.create_dataset("mesh", data=model.mesh)
    group.create_dataset("radial", data=model.radial)
    group.attrs["box"] = model.box
    group.attrs["radial_first"] = model.radial_first
    group.attrs["radial_step"] = model.radial_step
    group.attrs["centre"] = model.centre


def describe_cube(file: h5py.File) -> None:
    """Give the datasets of a cube open for writing their attributes `units` and `long_name`."""
    for name, (unit, meaning) in _DESCRIPTIONS.items():
        if name in file:
            if unit:
                file[name].attrs["units"] = unit
            file[name].attrs["long_name"] = meaning
    if "background" in file:
        file["background"].attrs["note"] = _BACKGROUND_NOTE


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
    if not os.path.lexists(path):
        raise MissingInput(f"{path}: no such cube; tasoc-mpi prepare makes it")
    with HDF5Reader(path, "a cube", "remove it and run tasoc-mpi prepare") as reader:
        _check(reader)
        return _read(reader)


def _check(reader: HDF5Reader) -> None:
    """Whether the file is a finished cube of this version."""
    path = reader.path
    if not reader.is_format(FORMAT):
        if isinstance(reader.find("images"), h5py.Group):
            raise InputError(
                f"{path}: one dataset a frame, as the TASOC pipeline writes it; tasoc-mpi import converts it"
            )
        raise reader.fail("not a cube")
    reader.check_version("cube", FORMAT_VERSION)
    if reader.attribute("", "COMPLETE") is not True:
        raise InputError(f"{path}: unfinished; run tasoc-mpi prepare again, it continues where it stopped")


def _read(reader: HDF5Reader) -> Cube:
    shape = reader.dataset("images").shape
    if len(shape) != 3 or 0 in shape:
        raise reader.fail(f"images has shape {shape}")
    attributes = read_attributes(reader, shape)
    backgrounds = reader.find("backgrounds") is not None
    types = {"images": "<f4", "images_err": "<f4", "pixel_flags": "|u1"}
    types |= {"backgrounds": "<f4"} if backgrounds else {}
    offsets = {name: _offset(reader, name, dtype, shape) for name, dtype in types.items()}
    times = shape[2:]
    wcs = FrameWCS(
        crval=reader.read("wcs/crval", "f8", (*times, 2)),
        cd=reader.read("wcs/cd", "f8", (*times, 2, 2)),
        crpix=reader.read("wcs/crpix", "f8", (*times, 2)),
        sip_a=(sip := reader.read("wcs/sip_a", "f8", (*times, None, None))),
        sip_b=reader.read("wcs/sip_b", "f8", sip.shape),
        good=reader.read("wcs/good", "u1", times) > 0,
    )
    if sip.shape[1] != sip.shape[2] or not 2 <= sip.shape[1] <= MAX_ORDER + 1:
        raise reader.fail(f"wcs/sip_a has shape {sip.shape}")
    ref_frame = reader.integer("wcs", "ref_frame", 0, shape[2] - 1)
    if not all(np.isfinite(part[wcs.good]).all() for part in (wcs.crval, wcs.cd, wcs.crpix, sip, wcs.sip_b)):
        raise reader.fail("the WCS of a good frame has values that are not finite")
    if not wcs.good[ref_frame]:
        raise reader.fail(f"its reference frame {ref_frame} has no WCS")
    movement = reader.find("movement_kernel") is not None
    return Cube(
        path=reader.path,
        attributes=attributes,
        shape=shape,
        **{name: reader.read(name, dtype, times) for name, dtype in SERIES.items()},
        sumimage=reader.read("sumimage", "f4", shape[:2]),
        backgrounds_pixels_used=reader.read("backgrounds_pixels_used", "u1", shape[:2]) > 0,
        frames=tuple(reader.texts("frames", times)),
        wcs=wcs,
        ref_frame=ref_frame,
        ref_header=reader.texts("wcs/headers", times, slice(ref_frame, ref_frame + 1))[0],
        background=(
            _background_model(reader, attributes, shape)
            if reader.find("background") is not None
            else _stored(reader, offsets, shape)
        ),
        ephemeris=reader.read("ephemeris", "f8", (*times, 3)),
        ephemeris_source=str(reader.attribute("ephemeris", "source")),
        movement_kernel=reader.read("movement_kernel", "f8", (*times, None)) if movement else None,
        warpmode=str(reader.attribute("movement_kernel", "warpmode")) if movement else "wcs",
        offsets=offsets,
    )


def read_attributes(
    reader: HDF5Reader, shape: tuple[int, ...], missing: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The attributes of `images`, those that the program counts with checked.

    Parameters
    ----------
    reader : HDF5Reader
    shape : tuple of int
        Rows and columns of the images, which lie on the CCD; more are ignored.
    missing : mapping, optional
        Values of attributes that may be missing or empty. Default: none may.

    Returns
    -------
    dict

    Raises
    ------
    InputError
        If one is missing or beyond its limits.
    """
    missing = missing or {}
    found = {}
    for key in dict.fromkeys((*ATTRIBUTES, *reader.attributes("images"))):
        if key in ("units", "long_name"):
            continue
        absent = key in missing and not reader.has_attribute("images", key)
        value = None if absent else reader.attribute("images", key)
        found[key] = missing.get(key) if value is None else value
    offsets = {"PIXEL_OFFSET_ROW": (0, _ROWS - shape[0]), "PIXEL_OFFSET_COLUMN": (0, _COLUMNS - shape[1])}
    for key, limits in {**_LIMITS, **offsets}.items():
        if key not in missing or found[key] != missing[key]:
            found[key] = reader.integer("images", key, *limits)
    return found


def _offset(reader: HDF5Reader, name: str, dtype: str, shape: tuple[int, ...]) -> int:
    """Where in the file one of the large datasets is, which is in one piece."""
    item = reader.find(name)
    if not isinstance(item, h5py.Dataset) or item.dtype != np.dtype(dtype):
        raise reader.fail(f"no dataset {name} of type {np.dtype(dtype)}")
    with reader.guard():
        offset = None if item.is_virtual or item.external else item.id.get_offset()
    if offset is None or item.chunks is not None:
        raise reader.fail(f"{name} is not stored in one piece")
    if item.shape != shape:
        raise reader.fail(f"{name} has another shape than images")
    if offset + item.nbytes > reader.path.stat().st_size:
        raise reader.fail("truncated")
    return int(offset)


def _stored(reader: HDF5Reader, offsets: Mapping[str, int], shape: tuple[int, int, int]) -> PixelBackground:
    """The background that is stored as pixels; mapped, read-only."""
    if "backgrounds" not in offsets:
        raise reader.fail("neither a group background nor a dataset backgrounds")
    pixels = np.memmap(reader.path, np.float32, "r", offsets["backgrounds"], shape)
    return PixelBackground(np.asarray(pixels))


def _background_model(
    reader: HDF5Reader, attributes: Mapping[str, Any], shape: tuple[int, int, int]
) -> BackgroundModel:
    box = reader.integer("background", "box", 1, 10_000)
    mesh = reader.read("background/mesh", "f4", (None, None, shape[2]))
    if any(boxes * box < side for boxes, side in zip(mesh.shape, shape[:2], strict=False)):
        raise reader.fail(f"background/mesh of shape {mesh.shape} does not reach over the pixels")
    step = reader.number("background", "radial_step")
    if not step > 0:
        raise reader.fail(f"attribute radial_step of background is {step}")
    centre = reader.numbers("background", "centre", 2)
    return BackgroundModel(
        mesh=mesh,
        box=box,
        radial=reader.read("background/radial", "f4", (None, shape[2])),
        radial_first=reader.number("background", "radial_first"),
        radial_step=step,
        centre=(centre[0], centre[1]),
        origin=(int(attributes["PIXEL_OFFSET_ROW"]), int(attributes["PIXEL_OFFSET_COLUMN"])),
    )
