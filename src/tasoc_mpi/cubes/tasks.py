"""The steps of making a cube, each of which any rank computes piece by piece: fits, flags, movements, rows.

A piece is a frame (`first`; `last` is one more) or some rows. The bytes that a step writes do not depend on
the rank that computes a piece, nor on how rows are cut into pieces.
"""

from __future__ import annotations

import functools
import gc
import os
import zlib
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.quality import PixelQualityFlags
from ..kernels import blocks
from ..kernels.background_model import BackgroundModel, add_background
from ..models.motion import ImageMovementKernel
from ..products.ffi import read_rows
from .background import FLUX_CUTOFF, fit_background, load_kernels, starless_model, usable_pixels
from .buffers import Buffers
from .checkpoint import FITTED, LEFT_OUT, NO_SKY
from .file_writing import reserve_space, write_at, writing
from .frame_headers import FrameFacts, frame_facts
from .frame_pixels import Frames
from .shared_images import SharedImages
from .star_image import median_rows

__all__ = [
    "CHUNK",
    "FitStep",
    "FlagsStep",
    "HeadersStep",
    "LoadStep",
    "MovementStep",
    "ReserveStep",
    "RowsStep",
    "StarsStep",
]

#: The median filter's window reaches so far to each side: 15 x 15 pixels.
_HALF = 7
#: e-/s.
_LIMIT = 40.0
_LEFT_OUT = int(PixelQualityFlags.NotUsedForBackground | PixelQualityFlags.ManualExclude)
#: Frames that are put in their place at once: 16 float32 are one line of the processor's cache.
CHUNK = 16


@dataclass(frozen=True)
class HeadersStep:
    """The headers of some frames."""

    paths: list[Path]

    def compute(self, first: int, last: int) -> list[FrameFacts]:
        """Read the headers of frames `first` to `last`."""
        return [frame_facts(path) for path in self.paths[first:last]]


@dataclass(frozen=True)
class LoadStep:
    """The kernels of the fits, loaded from the cache of compiled ones: some tenths of a second."""

    def compute(self, first: int, last: int) -> None:
        """Use them once."""
        # All that is made here stays: to look for garbage among it would take half as long again.
        gc.disable()
        try:
            load_kernels()
        finally:
            gc.enable()


@dataclass(frozen=True)
class ReserveStep:
    """The room for an unfinished cube."""

    path: Path

    def compute(self, first: int, last: int) -> None:
        """Take the room for bytes `first` to `last` from the disk."""
        reserve_space(self.path, first, last)


#: Number of flagged pixels of a frame, and the checksum of the flags, which are in the file if there are any.
Flags = tuple[int, int]


def _flag(
    rest: NDArray[np.float32], model: BackgroundModel, t: int, excluded: int, images: SharedImages, frame: int
) -> Flags:
    """Flag and write the pixels whose neighbourhood is for a time far above or below its usual level.

    By definition: where the 15 x 15 median of (image - sum image) is more than 40 e-/s from its own median
    over time. The usual level, sum image and median over time together, is the image of the stars: a median
    over time itself. A median is above a limit where more than half of its window is, so no median is
    computed.

    Parameters
    ----------
    rest : ndarray of float32, shape (R, C)
        A frame less the image of the stars; changed.
    model : BackgroundModel
        Its background is that of frame `t`.
    excluded : int
        First column that is left out by hand.
    images : SharedImages
    frame : int
        Number of the frame in `images`.
    """
    model.subtract(rest[None], t)
    rest[:, excluded:] = np.nan
    flags = blocks.window_flags(rest, _HALF, _LIMIT)
    count = int(np.count_nonzero(flags))
    return count, images.write_mask(frame, flags) if count else 0


@dataclass(frozen=True)
class FitStep:
    """The background of a frame, and its flags, where these depend on nothing but its background."""

    frames: Frames
    #: Holds the image of the stars that is taken out before the fit; None for a fit to the frame as it is.
    images: SharedImages | None

    @functools.cached_property
    def _stars(self) -> NDArray[np.float32] | None:
        return None if self.images is None else self.images.read_stars()

    @functools.cached_property
    def _buffers(self) -> Buffers:
        return Buffers()

    def compute(
        self, first: int, last: int
    ) -> tuple[int, NDArray[np.float32] | None, NDArray[np.float32] | None, Flags | None]:
        """Verdict, levels (M, N), profile (K,) and flags; None for what there is not."""
        image = self.frames.flux(first, out=self._buffers.array("image", self.frames.shape, "f4"))
        # Row by row: where there is light the first rows have some.
        if not any(np.any(np.isfinite(row) & (row != 0)) for row in image):
            return LEFT_OUT, None, None, None
        geometry = self.frames.geometry
        if self.frames.background_applied:
            return FITTED, np.zeros(geometry.mesh_shape, "f4"), np.zeros(len(geometry.nodes), "f4"), None
        excluded = int(self.frames.excluded[first])
        usable = usable_pixels(image, excluded)
        if self._stars is not None:
            _less_stars(image, self._stars)
        fitted = fit_background(image, usable, geometry, self._stars is not None)
        if fitted is None:
            return NO_SKY, None, None, None
        if self.images is None:
            return FITTED, *fitted, None
        # Without stars the background of a frame does not depend on other frames (`starless_model`).
        model = starless_model(geometry, *fitted)
        return FITTED, *fitted, _flag(image, model, 0, excluded, self.images, first)


def _less_stars(image: NDArray[np.float32], stars: NDArray[np.float32]) -> None:
    """Take the image of the stars out of a frame."""
    # Damaged pixels may be beyond the largest number.
    with np.errstate(invalid="ignore", over="ignore"):
        image -= stars


@dataclass(frozen=True)
class StarsStep:
    """Rows of the image of the stars, written to the checkpoint file."""

    frames: Frames
    images: SharedImages
    chosen: NDArray[np.int64]  #: Shape (K,): frames that it is made of
    model: BackgroundModel  #: Their backgrounds

    @functools.cached_property
    def _buffers(self) -> Buffers:
        return Buffers()

    def compute(self, first: int, last: int) -> list[int]:
        """Write rows `first` to `last`; return the checksum of each."""
        excluded = self.frames.excluded[self.chosen]
        shape = (last - first, self.frames.shape[1])
        rows = median_rows(self.frames.flux, self.chosen, excluded, self.model, first, shape, self._buffers)
        self.images.write_stars(first, rows)
        return [zlib.crc32(row.tobytes()) for row in rows]


@dataclass(frozen=True)
class FlagsStep:
    """The flags of a frame (`_flag`) whose background depends on other frames."""

    frames: Frames
    images: SharedImages
    model: BackgroundModel  #: Averaged in time

    @functools.cached_property
    def _stars(self) -> NDArray[np.float32]:
        return self.images.read_stars()

    @functools.cached_property
    def _buffers(self) -> Buffers:
        return Buffers()

    def compute(self, first: int, last: int) -> Flags:
        """Flag and write the pixels of a frame."""
        image = self.frames.flux(first, out=self._buffers.array("image", self.frames.shape, "f4"))
        _less_stars(image, self._stars)
        return _flag(image, self.model, first, int(self.frames.excluded[first]), self.images, first)


@dataclass(frozen=True)
class MovementStep:
    """The shift of the images against a reference frame."""

    frames: Frames
    warpmode: str
    ref_frame: int
    usable: NDArray[np.bool_]  #: Shape (T,): frames with pixels; the others have no kernel
    model: BackgroundModel  #: Averaged in time

    @functools.cached_property
    def _kernel(self) -> ImageMovementKernel:
        row, column = self.frames.geometry.origin
        origin = float(column), float(row)
        return ImageMovementKernel(self.warpmode, image_ref=self._image(self.ref_frame), origin=origin)

    def _image(self, t: int) -> NDArray[np.float32]:
        flux = self.frames.flux(t)
        self.model.subtract(flux[None], t)
        flux[:, self.frames.excluded[t] :] = np.nan
        return flux

    def compute(self, first: int, last: int) -> NDArray[np.float64]:
        """The parameters of the kernel; NaN where there are none."""
        if not self.usable[first]:
            return np.full(self._kernel.n_params, np.nan)
        return np.asarray(self._kernel.calc_kernel(self._image(first)), dtype="f8")


@dataclass(frozen=True)
class RowsStep:
    """Rows of the cube, written to the unfinished file."""

    frames: Frames
    images: SharedImages  #: Holds the masks of the frames with flags
    path: Path  #: The unfinished cube
    #: First byte of images, images_err, pixel_flags, sumimage, backgrounds_pixels_used and, if the background
    #: is to be stored as pixels too, backgrounds.
    offsets: dict[str, int]
    model: BackgroundModel  #: Averaged in time
    excluded: NDArray[np.int32]  #: Shape (T,): first column left out by hand; 0 for frames that are left out
    good: NDArray[np.bool_]  #: Shape (T,): frames whose mean is the sum image
    flagged: NDArray[np.bool_]  #: Shape (T,): frames with a mask

    @functools.cached_property
    def _disk(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(1)

    @functools.cached_property
    def _buffers(self) -> Buffers:
        return Buffers()

    @functools.cached_property
    def _writing(self) -> list[Future[None]]:
        """The block before this one, while the disk writes it."""
        return []

    def compute(self, first: int, last: int) -> Future[None]:
        """Write rows `first` to `last`; they are on the disk when the result is there."""
        block = self._read(first, last)
        for t in np.flatnonzero(self.flagged).tolist():
            row, column = np.nonzero(self.images.read_mask(t, first, last))
            block["pixel_flags"][row, column, t] |= PixelQualityFlags.BackgroundShenanigans
        # No more than one block is ever written in vain.
        wait(self._writing)
        with writing(self.path):
            descriptor = os.open(self.path, os.O_RDWR)
            try:
                for name, offset in self.offsets.items():
                    rows = block[name]
                    write_at(descriptor, offset + first * (rows.nbytes // len(rows)), rows)
            except BaseException:
                os.close(descriptor)
                raise
        # The disk works while the next block is computed.
        self._writing[:] = [self._disk.submit(_sync, self.path, descriptor)]
        return self._writing[0]

    def _read(self, first: int, last: int) -> dict[str, NDArray[Any]]:
        """Rows of all frames without their backgrounds, time last, by the names of the cube's datasets."""
        shape = (last - first, self.frames.shape[1], len(self.frames))
        kinds = {"images": "f4", "images_err": "f4", "pixel_flags": "u1", "backgrounds": "f4"}
        block = {
            name: self._buffers.array(name, shape, dtype)
            for name, dtype in kinds.items()
            if name in self.offsets
        }
        flux, error = (self._buffers.array(name, (CHUNK, *shape[:2]), "f4") for name in ("flux", "error"))
        total = np.zeros(shape[:2])
        count, used = np.zeros((2, *shape[:2]), "i4")
        for t0 in range(0, len(self.frames), CHUNK):
            n = min(CHUNK, len(self.frames) - t0)
            times = slice(t0, t0 + n)
            for k in range(n):
                read_rows(self.frames.infos[t0 + k], first, last, out=(flux[k], error[k]))
            blocks.scatter(error[:n], block["images_err"], t0)
            # The errors are in the block: their memory is free for the flags.
            flags = self._buffers.array("error", flux.shape, "u1")[:n]
            blocks.flag_pixels(flux[:n], FLUX_CUTOFF, self.excluded[times], _LEFT_OUT, flags)
            blocks.scatter(flags, block["pixel_flags"], t0)
            self.model.subtract(flux[:n], t0, first)
            blocks.add_frames(flux[:n], flags, self.good[times], total, count, used)
            blocks.scatter(flux[:n], block["images"], t0)
            if "backgrounds" in block:
                flux[:n] = 0
                add_background(flux[:n], self.model, t0, (first, 0), 1.0)
                blocks.scatter(flux[:n], block["backgrounds"], t0)
        mean = np.full(shape[:2], np.nan)
        np.divide(total, count, out=mean, where=count > 0)
        block["sumimage"] = mean.astype("f4")
        block["backgrounds_pixels_used"] = (2 * used > len(self.frames)).astype("u1")
        return block


def _sync(path: Path, descriptor: int) -> None:
    with writing(path):
        try:
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
