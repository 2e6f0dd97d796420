"""What is done with the frames of a CCD, piece by piece, by any rank: fits, flags, movements, rows.

A piece is a frame (`first`; `last` is one more) or some rows. The same pieces give the same bytes whoever
computes them, and other pieces of rows the same bytes in the file.
"""

from __future__ import annotations

import functools
import json
import os
import struct
import zlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.quality import PixelQualityFlags
from ..kernels import blocks
from ..products.cube import BackgroundModel
from ..products.ffi import read_rows
from .buffers import Space
from .checkpoint import FITTED, LEFT_OUT, NO_SKY, write_at, writing
from .fit_background import FLUX_CUTOFF, background_model, fit_background, subtract_background, usable_pixels
from .frame_headers import frame_facts
from .frame_pixels import Frames
from .sky_geometry import BOX, SkyGeometry, sky_geometry
from .star_image import median_rows

__all__ = [
    "KINDS",
    "FitStep",
    "FlagsStep",
    "HeadersStep",
    "MovementStep",
    "RowsStep",
    "StarsStep",
    "Unpacked",
    "unpack_fit",
    "warm_up",
]

#: The median filter's window reaches so far to each side: 15 x 15 pixels.
_HALF = 7
#: e-/s.
_LIMIT = 40.0
#: Frames that are put in their place at once: 16 float32 are one line of the processor's cache.
CHUNK = 16

Unpacked = tuple[int, NDArray[np.float32] | None, NDArray[np.float32] | None]


@dataclass(frozen=True)
class HeadersStep:
    """The headers of some frames.

    Attributes
    ----------
    paths : list of str
    """

    paths: list[str]

    def compute(self, frames: Any, first: int, last: int, poll: Callable[[], None]) -> bytes:
        """Their `FrameFacts`, packed, as JSON."""
        return json.dumps([frame_facts(Path(path)).pack() for path in self.paths[first:last]]).encode()


def _stars(step: FitStep | FlagsStep, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The image of the stars, read once from the state file, where the flags of all frames follow it."""
    if "stars" not in step._images:
        rows, columns = shape
        image = np.fromfile(step.path, "<f4", count=rows * columns, offset=step.stars_at)
        step._images["stars"] = image.reshape(rows, columns)
    return step._images["stars"]


@dataclass(frozen=True)
class FitStep:
    """The background of a frame.

    Attributes
    ----------
    path : str
        State file, which holds the image of the stars.
    stars_at : int
        Where it is; -1 for a fit to the frame as it is.
    """

    path: str
    stars_at: int

    @functools.cached_property
    def _images(self) -> dict[str, NDArray[np.float32]]:
        return {}

    def compute(self, frames: Frames, first: int, last: int, poll: Callable[[], None]) -> bytes:
        """The verdict, and levels and profile if there are any; see `unpack_fit`."""
        image = frames.flux(first)
        if not np.any(np.isfinite(image) & (image != 0)):
            return _packed_fit(LEFT_OUT)
        geometry = frames.geometry
        if frames.background_applied:
            zeros = np.zeros(geometry.mesh_shape, "f4"), np.zeros(len(geometry.nodes), "f4")
            return _packed_fit(FITTED, *zeros)
        usable = usable_pixels(image, int(frames.excluded[first]))
        starless = self.stars_at >= 0
        if starless:
            image -= _stars(self, image.shape)
        poll()
        fitted = fit_background(image, usable, geometry, poll, starless)
        return _packed_fit(NO_SKY) if fitted is None else _packed_fit(FITTED, *fitted)


def _packed_fit(verdict: int, *parts: NDArray[np.float32]) -> bytes:
    return struct.pack("<I", verdict) + b"".join(part.astype("<f4").tobytes() for part in parts)


def unpack_fit(result: bytes, geometry: SkyGeometry) -> Unpacked:
    """Verdict, levels (M, N) and profile (K,) of a `FitStep`; None for both where there are none."""
    (verdict,) = struct.unpack_from("<I", result)
    if verdict != FITTED:
        return verdict, None, None
    m, n = geometry.mesh_shape
    values = np.frombuffer(result, "<f4", offset=4)
    return verdict, values[: m * n].reshape(m, n), values[m * n :]


def _model(frames: Frames, mesh: NDArray[np.float32], radial: NDArray[np.float32]) -> BackgroundModel:
    geometry = frames.geometry
    return BackgroundModel(
        mesh=mesh,
        box=BOX,
        radial=radial,
        radial_first=geometry.radial_first,
        radial_step=geometry.radial_step,
        centre=geometry.centre,
        origin=geometry.origin,
    )


@dataclass(frozen=True)
class StarsStep:
    """Rows of the image of the stars, written to the state file.

    Attributes
    ----------
    path : str
    stars_at : int
    chosen : ndarray of int64, shape (K,)
        Frames that it is made of.
    mesh, radial : ndarray of float32, shapes (M, N, K) and (nodes, K)
        Their backgrounds.
    """

    path: str
    stars_at: int
    chosen: NDArray[np.int64]
    mesh: NDArray[np.float32]
    radial: NDArray[np.float32]

    @functools.cached_property
    def _space(self) -> Space:
        return Space()

    def compute(self, frames: Frames, first: int, last: int, poll: Callable[[], None]) -> bytes:
        """Write rows `first` to `last`; the checksum of each."""
        model = _model(frames, self.mesh, self.radial)
        excluded = frames.excluded[self.chosen]
        rows = median_rows(frames.flux, self.chosen, excluded, model, first, last, poll, self._space)
        _write(self.path, self.stars_at + 4 * first * frames.shape[1], rows)
        return np.array([zlib.crc32(row.tobytes()) for row in rows], dtype="<u4").tobytes()


@dataclass(frozen=True)
class FlagsStep:
    """Pixels of a frame whose neighbourhood is for a time far above or below its usual level.

    By definition: where the 15 x 15 median of (image - sum image) is more than 40 e-/s from its own median
    over time. What is usual, sum image and median over time together, is the image of the stars: a median
    over time itself. A median is above a limit where more than half of its window is, so no median is
    computed.

    Attributes
    ----------
    path : str
        State file.
    stars_at, masks_at, mask_bytes : int
        See `State`.
    mesh, radial : ndarray of float32
        Backgrounds of all frames, averaged in time.
    """

    path: str
    stars_at: int
    masks_at: int
    mask_bytes: int
    mesh: NDArray[np.float32]
    radial: NDArray[np.float32]

    @functools.cached_property
    def _images(self) -> dict[str, NDArray[np.float32]]:
        return {}

    def compute(self, frames: Frames, first: int, last: int, poll: Callable[[], None]) -> bytes:
        """Number of flagged pixels, and the checksum of the flags, which are in the file if there are any."""
        image = frames.flux(first)
        # Of damaged pixels both may be infinite.
        with np.errstate(invalid="ignore", over="ignore"):
            image -= _stars(self, image.shape)
        model = _model(frames, self.mesh[:, :, first : first + 1], self.radial[:, first : first + 1])
        subtract_background(image[None], frames.excluded[first : first + 1], model)
        flags = blocks.window_flags(image, _HALF, _LIMIT)
        count, mask = int(np.count_nonzero(flags)), 0
        if count:
            bits = np.packbits(flags, axis=1)
            mask = zlib.crc32(bits.tobytes())
            _write(self.path, self.masks_at + first * self.mask_bytes, bits)
        return struct.pack("<II", count, mask)


@dataclass(frozen=True)
class MovementStep:
    """How far the images have moved.

    Attributes
    ----------
    warpmode : str
    ref_frame : int
    usable : ndarray of bool, shape (T,)
        Frames with pixels; the others have no kernel.
    mesh, radial : ndarray of float32
        Backgrounds of all frames, averaged in time.
    """

    warpmode: str
    ref_frame: int
    usable: NDArray[np.bool_]
    mesh: NDArray[np.float32]
    radial: NDArray[np.float32]

    @functools.cached_property
    def _kernels(self) -> dict[str, Any]:
        return {}

    def _image(self, frames: Frames, t: int) -> NDArray[np.float32]:
        flux = frames.flux(t)
        flux -= _model(frames, self.mesh, self.radial).frame(frames.shape, t)
        flux[:, frames.excluded[t] :] = np.nan
        return flux

    def compute(self, frames: Frames, first: int, last: int, poll: Callable[[], None]) -> bytes:
        """The parameters as float64; NaN where there are none."""
        from ..models.motion import ImageMovementKernel

        if "kernel" not in self._kernels:
            row, column = frames.origin
            self._kernels["kernel"] = ImageMovementKernel(
                warpmode=self.warpmode,
                image_ref=self._image(frames, self.ref_frame),
                origin=(float(column), float(row)),
            )
        kernel = self._kernels["kernel"]
        if not self.usable[first]:
            return np.full(kernel.n_params, np.nan).tobytes()
        return np.asarray(kernel.calc_kernel(self._image(frames, first)), dtype="<f8").tobytes()


@dataclass(frozen=True)
class RowsStep:
    """Rows of the cube, written to the unfinished file.

    Attributes
    ----------
    path : str
        The unfinished cube.
    offsets : dict of int
        First byte of images, images_err, pixel_flags, sumimage, backgrounds_pixels_used and, if the
        background is to be stored as pixels too, backgrounds.
    state : str
        State file.
    masks_at, mask_bytes : int
        See `State`.
    mesh, radial : ndarray of float32
        Backgrounds of all frames, averaged in time.
    excluded : ndarray of int32, shape (T,)
        First column left out by hand; 0 for frames that are left out.
    good : ndarray of bool, shape (T,)
        Frames whose mean is the sum image.
    flagged : ndarray of bool, shape (T,)
        Frames with flags in the state file.
    """

    path: str
    offsets: dict[str, int]
    state: str
    masks_at: int
    mask_bytes: int
    mesh: NDArray[np.float32]
    radial: NDArray[np.float32]
    excluded: NDArray[np.int32]
    good: NDArray[np.bool_]
    flagged: NDArray[np.bool_]

    @functools.cached_property
    def _disk(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(1)

    @functools.cached_property
    def _space(self) -> Space:
        return Space()

    @functools.cached_property
    def _before(self) -> list[Future[bytes]]:
        """The block before, on its way to the disk."""
        return []

    def compute(self, frames: Frames, first: int, last: int, poll: Callable[[], None]) -> Future[bytes]:
        """Write rows `first` to `last`; they are on the disk when the result is there."""
        block = _read_block(frames, first, last, "backgrounds" in self.offsets, self._space, poll)
        model = _model(frames, self.mesh, self.radial)
        blocks.subtract(
            block["images"],
            block["pixel_flags"],
            block.get("backgrounds", np.empty((0, 0, 0), dtype="f4")),
            self.excluded,
            FLUX_CUTOFF,
            first,
            (float(model.origin[0]), float(model.origin[1])),
            (float(model.centre[0]), float(model.centre[1])),
            model.box,
            model.mesh,
            model.radial,
            model.radial_first,
            model.radial_step,
        )
        poll()
        self._flag(block["pixel_flags"], first)
        block["sumimage"], used = blocks.means(block["images"], block["pixel_flags"], self.good)
        block["backgrounds_pixels_used"] = (2 * used > len(frames)).astype("u1")
        poll()
        # No more than one block is ever written in vain.
        wait(self._before)
        with writing(Path(self.path)):
            descriptor = os.open(self.path, os.O_RDWR)
            try:
                for name, offset in self.offsets.items():
                    rows = block[name]
                    write_at(descriptor, offset + first * (rows.nbytes // len(rows)), rows)
            except BaseException:
                os.close(descriptor)
                raise
        # The disk works while the next block is computed.
        self._before[:] = [self._disk.submit(_sync, self.path, descriptor)]
        return self._before[0]

    def _flag(self, flags: NDArray[np.uint8], first: int) -> None:
        """Take over the flags of the frames."""
        n_rows, columns, _ = flags.shape
        width = -(-columns // 8)
        with open(self.state, "rb", buffering=0) as file:
            for t in np.flatnonzero(self.flagged):
                place = self.masks_at + int(t) * self.mask_bytes + first * width
                bits = np.frombuffer(os.pread(file.fileno(), n_rows * width, place), "u1")
                row, column = np.nonzero(np.unpackbits(bits.reshape(n_rows, width), axis=1, count=columns))
                flags[row, column, t] |= PixelQualityFlags.BackgroundShenanigans


def _read_block(
    frames: Frames, first: int, last: int, backgrounds: bool, space: Space, poll: Callable[[], None]
) -> dict[str, NDArray[Any]]:
    """Rows of all frames, time last, by the names of the cube's datasets."""
    shape = (last - first, frames.shape[1], len(frames))
    kinds = {"images": "f4", "images_err": "f4", "pixel_flags": "u1"}
    if backgrounds:
        kinds["backgrounds"] = "f4"
    block = {name: space.array(name, shape, dtype) for name, dtype in kinds.items()}
    flux, error = (space.array(name, (CHUNK, *shape[:2]), "f4") for name in ("flux", "error"))
    for t0 in range(0, len(frames), CHUNK):
        t1 = min(t0 + CHUNK, len(frames))
        for t in range(t0, t1):
            flux[t - t0], error[t - t0] = read_rows(frames.info(t), first, last)
        blocks.scatter(flux[: t1 - t0], block["images"], t0)
        blocks.scatter(error[: t1 - t0], block["images_err"], t0)
        poll()
    return block


def _write(path: str, place: int, data: NDArray[Any]) -> None:
    """Write to a file that other ranks, perhaps on other nodes, read when they are told that it is there."""
    with writing(Path(path)):
        descriptor = os.open(path, os.O_RDWR)
        try:
            write_at(descriptor, place, data)
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)


def _sync(path: str, descriptor: int) -> bytes:
    with writing(Path(path)):
        try:
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
    return b""


def warm_up() -> None:
    """Load the kernels: half a second that a rank has while rank 0 looks for frames."""
    corner = sky_geometry((BOX, BOX), (0, 44), 1, 1)
    pixels = np.linspace(90, 110, BOX * BOX, dtype="f4").reshape(BOX, BOX)
    levels, radial = fit_background(pixels, usable_pixels(pixels), corner) or (None, None)
    if levels is not None and radial is not None:
        model = background_model(corner, levels[:, :, None], radial[:, None])
        none = np.full(1, BOX, dtype="i4")
        median_rows(lambda t, a, b: pixels[a:b], np.zeros(1, dtype="i8"), none, model, 0, BOX)
    blocks.window_flags(pixels, _HALF, _LIMIT)


_STEPS = (HeadersStep, FitStep, StarsStep, FlagsStep, MovementStep, RowsStep)
#: What can be sent to other ranks, by name.
KINDS: dict[str, type] = {kind.__name__: kind for kind in (Frames, *_STEPS)}
