"""The steps of making a cube, each of which any rank computes piece by piece: fits, flags, movements, rows.

A piece is a frame (`first`; `last` is one more) or some rows. The bytes that a step writes do not depend on
the rank that computes a piece, nor on how rows are cut into pieces.
"""

from __future__ import annotations

import functools
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
from .background import fit_background, usable_pixels
from .buffers import Buffers
from .checkpoint import FITTED, LEFT_OUT, NO_SKY
from .file_writing import write_at, writing
from .frame_headers import FrameFacts, frame_facts
from .frame_pixels import Frames
from .shared_images import SharedImages
from .star_image import median_rows

__all__ = ["CHUNK", "FitStep", "FlagsStep", "HeadersStep", "MovementStep", "RowsStep", "StarsStep"]

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
class FitStep:
    """The background of a frame."""

    frames: Frames
    #: Holds the image of the stars that is taken out before the fit; None for a fit to the frame as it is.
    images: SharedImages | None

    @functools.cached_property
    def _stars(self) -> NDArray[np.float32] | None:
        return None if self.images is None else self.images.read_stars()

    def compute(
        self, first: int, last: int
    ) -> tuple[int, NDArray[np.float32] | None, NDArray[np.float32] | None]:
        """Verdict, levels (M, N) and profile (K,); None for both where there are none."""
        image = self.frames.flux(first)
        # Row by row: where there is light the first rows have some.
        if not any(np.any(np.isfinite(row) & (row != 0)) for row in image):
            return LEFT_OUT, None, None
        geometry = self.frames.geometry
        if self.frames.background_applied:
            return FITTED, np.zeros(geometry.mesh_shape, "f4"), np.zeros(len(geometry.nodes), "f4")
        usable = usable_pixels(image, int(self.frames.excluded[first]))
        if self._stars is not None:
            image -= self._stars
        fitted = fit_background(image, usable, geometry, self._stars is not None)
        return (NO_SKY, None, None) if fitted is None else (FITTED, *fitted)


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
        rows = median_rows(self.frames.flux, self.chosen, excluded, self.model, first, last, self._buffers)
        self.images.write_stars(first, rows)
        return [zlib.crc32(row.tobytes()) for row in rows]


@dataclass(frozen=True)
class FlagsStep:
    """Pixels of a frame whose neighbourhood is for a time far above or below its usual level.

    By definition: where the 15 x 15 median of (image - sum image) is more than 40 e-/s from its own median
    over time. The usual level, sum image and median over time together, is the image of the stars: a median
    over time itself. A median is above a limit where more than half of its window is, so no median is
    computed.
    """

    frames: Frames
    images: SharedImages
    model: BackgroundModel  #: Averaged in time

    @functools.cached_property
    def _stars(self) -> NDArray[np.float32]:
        return self.images.read_stars()

    def compute(self, first: int, last: int) -> tuple[int, int]:
        """Number of flagged pixels, and the checksum of the flags, which are in the file if there are any."""
        image = self.frames.flux(first)
        # Of damaged pixels both may be infinite.
        with np.errstate(invalid="ignore", over="ignore"):
            image -= self._stars
        self.model.subtract(image[None], first)
        image[:, self.frames.excluded[first] :] = np.nan
        flags = blocks.window_flags(image, _HALF, _LIMIT)
        count = int(np.count_nonzero(flags))
        return count, self.images.write_mask(first, flags) if count else 0


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
        block["sumimage"], used = blocks.means(block["images"], block["pixel_flags"], self.good)
        block["backgrounds_pixels_used"] = (2 * used > len(self.frames)).astype("u1")
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
        for t0 in range(0, len(self.frames), CHUNK):
            n = min(CHUNK, len(self.frames) - t0)
            for k in range(n):
                flux[k], error[k] = read_rows(self.frames.infos[t0 + k], first, last)
            blocks.scatter(error[:n], block["images_err"], t0)
            # The errors are in the block: their memory is free for the flags.
            flags = self._buffers.array("error", flux.shape, "u1")
            for k in range(n):
                flags[k] = ~usable_pixels(flux[k])
                flags[k][:, self.excluded[t0 + k] :] |= _LEFT_OUT
                flux[k][:, self.excluded[t0 + k] :] = np.nan
            blocks.scatter(flags[:n], block["pixel_flags"], t0)
            self.model.subtract(flux[:n], t0, first)
            blocks.scatter(flux[:n], block["images"], t0)
            if "backgrounds" in block:
                flux[:n] = 0
                add_background(flux[:n], self.model, t0, (first, 0), 1.0)
                blocks.scatter(flux[:n], block["backgrounds"], t0)
        return block


def _sync(path: Path, descriptor: int) -> None:
    with writing(path):
        try:
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
