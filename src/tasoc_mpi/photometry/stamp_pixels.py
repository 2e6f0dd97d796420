"""The pixels of one star's stamp, and the size of the stamp."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, UsageError
from ..core.whole import known_whole, whole
from ..products.ffi import SCIENCE_COLUMNS, SCIENCE_ROWS
from .measurements import SIDES, MaskSums
from .sources import Source
from .stamp import Stamp, clipped, stamp_around

__all__ = ["StampPixels"]


def _frames_of(cube: str) -> property:
    def frames(self: StampPixels) -> Iterator[NDArray[Any]]:
        return iter(np.moveaxis(getattr(self, cube), -1, 0))

    return property(frames, doc=f"Iterator over the frames of `{cube}`, images of shape (rows, columns).")


class StampPixels:
    """A stamp on a CCD or target pixel file, and its pixels.

    All cubes have the shape (rows, columns, times), e-/s. Iterating goes through the frames, and gives
    images of shape (rows, columns).

    Parameters
    ----------
    source : Source
    starid : int
        The star, for messages.
    row, column : float
        Its reference position, 0-based full frame image pixels.
    cache : {'none', 'basic', 'full'}
        Whether the cubes of the stamp are kept once read (all but ``'none'``).
    """

    def __init__(self, source: Source, starid: int, row: float, column: float, cache: str) -> None:
        self._source = source
        self.starid = starid
        self.target_pos_row = row
        self.target_pos_column = column
        self.cache = cache
        self.final_phot_mask: NDArray[np.bool_] | None = None
        self.final_position_mask: NDArray[np.bool_] | None = None
        self._resizes = 0
        self._cached: dict[str, Any] = {}
        self._stamp: Stamp = self._first_stamp()

    def default_stamp(self) -> tuple[int, int]:
        """Rows and columns of the first stamp around the star (full frame images only)."""
        raise NotImplementedError

    def clear_cache(self) -> None:
        """Forget the pixels of the current stamp; they are read again when asked for."""
        self._cached.clear()

    def _get(self, name: str, read: Callable[[], Any]) -> Any:
        """The result of `read`, cached for a stamp."""
        if self.cache == "none":
            return read()
        if name not in self._cached:
            self._cached[name] = read()
        return self._cached[name]

    @property
    def _limits(self) -> Stamp:
        """The pixels that the source has."""
        row, column = self._source.origin
        n_rows, n_columns, _ = self._source.images.shape
        return (row, row + n_rows, column, column + n_columns)

    def _first_stamp(self) -> Stamp:
        size = (1, 1) if self._source.is_tpf else self.default_stamp()
        around = stamp_around(self.target_pos_row, self.target_pos_column, size, self._limits, self.starid)
        return self._limits if self._source.is_tpf else around

    @property
    def stamp(self) -> Stamp:
        """The stamp as (row_min, row_max, col_min, col_max): half open, 0-based full frame image pixels."""
        return self._stamp

    def resize_stamp(
        self,
        down: int | None = None,
        up: int | None = None,
        left: int | None = None,
        right: int | None = None,
        width: int | None = None,
        height: int | None = None,
    ) -> bool:
        """Make the stamp larger (or, with negative numbers, smaller).

        Parameters
        ----------
        down, up, left, right : int, optional
            Pixels to add towards lower rows, higher rows, lower columns, higher columns.
        width, height : int, optional
            Columns and rows around the star; they win over the other four.

        Returns
        -------
        bool
            Whether the stamp changed. It never leaves the pixels of the cube or the target pixel file.

        Raises
        ------
        InputError
            If nothing would be left of the stamp.
        UsageError
            If a number is no whole one.
        """
        down, up, left, right = (
            whole(n or 0, name) for n, name in ((down, "down"), (up, "up"), (left, "left"), (right, "right"))
        )
        row_min, row_max, col_min, col_max = self._stamp
        row_min, row_max = row_min - down, row_max + up
        col_min, col_max = col_min - left, col_max + right
        if (height := known_whole(height, "height")) is not None:
            row_min = round(self.target_pos_row) - height // 2
            row_max = row_min + height
        if (width := known_whole(width, "width")) is not None:
            col_min = round(self.target_pos_column) - width // 2
            col_max = col_min + width
        stamp = clipped((row_min, row_max, col_min, col_max), self._limits)
        if stamp is None:
            raise InputError(f"TIC {self.starid}: nothing would be left of the stamp")
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        self._resizes += 1
        self.final_phot_mask = self.final_position_mask = None
        self.clear_cache()
        return True

    @property
    def cut_sides(self) -> set[str]:
        """Sides on which the stamp ends where a cut-out does, and not the CCD; none for target pixel files.

        Named as the arguments of `resize_stamp`.
        """
        if self._source.is_tpf:
            return set()
        ends = (*SCIENCE_ROWS, *SCIENCE_COLUMNS)
        stamp, limits = self._stamp, self._limits
        return {side for k, side in enumerate(SIDES) if stamp[k] == limits[k] != ends[k]}

    @property
    def _slices(self) -> tuple[slice, slice]:
        row, column = self._source.origin
        return (
            slice(self._stamp[0] - row, self._stamp[1] - row),
            slice(self._stamp[2] - column, self._stamp[3] - column),
        )

    @property
    def target_pos_column_stamp(self) -> float:
        """Reference column of the star relative to the stamp, 0-based."""
        return self.target_pos_column - self._stamp[2]

    @property
    def target_pos_row_stamp(self) -> float:
        """Reference row of the star relative to the stamp, 0-based."""
        return self.target_pos_row - self._stamp[0]

    def get_pixel_grid(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Columns and rows of the stamp's pixels, 1-based, each of shape (rows, columns)."""
        row_min, row_max, col_min, col_max = self._stamp
        columns, rows = np.meshgrid(np.arange(col_min + 1, col_max + 1), np.arange(row_min + 1, row_max + 1))
        return columns, rows

    # --- Pixels --------------------------------------------------------------------------------------

    def _stamp_of(self, array: NDArray[Any]) -> NDArray[Any]:
        return np.array(array[self._slices], order="C")

    @property
    def images_cube(self) -> NDArray[np.float32]:
        """Flux of every frame, the large-scale background subtracted, e-/s."""
        return self._get("images", lambda: self._stamp_of(self._source.images))

    @property
    def images_err_cube(self) -> NDArray[np.float32]:
        """One-sigma errors of the flux, e-/s."""
        return self._get("images_err", lambda: self._stamp_of(self._source.images_err))

    @property
    def backgrounds_cube(self) -> NDArray[np.float32]:
        """The background that was subtracted, e-/s."""
        rows, columns = self._slices
        bounds = (rows.start, rows.stop, columns.start, columns.stop)
        return self._get("backgrounds", lambda: self._source.background.stamp(*bounds))

    @property
    def pixelflags_cube(self) -> NDArray[np.uint8]:
        """Pixel flags on the times of the full frame images, shape (rows, columns, frames).

        Zero, with no frames, for a target pixel file on a CCD without a cube.
        """
        return self._get("pixelflags", self._read_pixelflags)

    def _read_pixelflags(self) -> NDArray[np.uint8]:
        row_min, row_max, col_min, col_max = self._stamp
        cube = self._source.cube
        if cube is None:
            return np.zeros((row_max - row_min, col_max - col_min, 0), dtype=np.uint8)
        row, column = cube.row_offset, cube.column_offset
        return np.array(cube.pixel_flags[row_min - row : row_max - row, col_min - column : col_max - column])

    images = _frames_of("images_cube")
    images_err = _frames_of("images_err_cube")
    backgrounds = _frames_of("backgrounds_cube")
    pixelflags = _frames_of("pixelflags_cube")

    @property
    def sumimage(self) -> NDArray[np.float32]:
        """Mean of the images of good quality, e-/s, shape (rows, columns)."""
        return self._get("sumimage", lambda: self._stamp_of(self._source.sumimage))

    @property
    def aperture(self) -> NDArray[np.int32]:
        """Flags of every pixel, as defined by the TESS data products description, shape (rows, columns).

        1 collected, 4 used for the background, 32, 64, 128, 256 the outputs A to D of the CCD. The bits 2
        (used for the flux) and 8 (for the position) are set in the light curve file.
        """
        return self._get("aperture", lambda: self._stamp_of(self._source.collected))

    def sum_mask(self, mask: NDArray[np.bool_]) -> MaskSums:
        """Sum the pixels of a mask in every frame.

        Parameters
        ----------
        mask : ndarray of bool, shape (rows, columns)
            Pixels of the stamp.

        Returns
        -------
        MaskSums
            NaN in frames in which a pixel of the mask is NaN, or all are zero.

        Raises
        ------
        ValueError
            If the mask is empty, no array of bool or of another shape than the stamp.
        """
        row_min, row_max, col_min, col_max = self._stamp
        shape = (row_max - row_min, col_max - col_min)
        # Weights would be taken for a mask.
        if not isinstance(mask, np.ndarray) or mask.dtype != bool or mask.shape != shape:
            kind = f"{getattr(mask, 'dtype', type(mask).__name__)} of shape {np.shape(mask)}"
            raise UsageError(
                f"TIC {self.starid}: mask: an array of bool of shape {shape} is needed, not {kind}"
            )
        if not mask.any():
            raise UsageError(f"TIC {self.starid}: the mask has no pixel")
        rows, columns = mask.nonzero()
        row, column = self._source.origin
        rows += row_min - row
        columns += col_min - column
        flux, error, mean_column, mean_row, background = self._source.sum_pixels(rows, columns)
        background[np.isnan(flux)] = np.nan
        # Published pixels are counted from 1.
        for mean, first in ((mean_column, column), (mean_row, row)):
            mean += first
            mean += 1
        return MaskSums(flux, error, background, mean_column, mean_row)
