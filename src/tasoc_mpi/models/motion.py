"""The motion of stars: the change of a position on the CCD from the reference frame to any time.

Positions are (column, row), 0-based, in pixels of the full frame image (column 44 is the first science
column). A kernel maps a position in the reference to the position in a frame.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.errors import InputError, UsageError
from ..products.frame_wcs import FrameWCS
from .align import align, prepare_image

__all__ = ["WARPMODES", "ImageMovementKernel"]

logger = logging.getLogger(__name__)

#: Number of parameters of each kind of kernel.
WARPMODES = {"wcs": 1, "unchanged": 0, "translation": 2, "euclidian": 3, "affine": 6}


class ImageMovementKernel:
    """How the images of a series move relative to a reference.

    Parameters
    ----------
    warpmode : str
        Content of a kernel, in pixels and radians; (x, y) is a position (column, row; 0-based):

        - ``'wcs'``: a world coordinate system a frame; a position is taken to the sky by the one of
          the reference frame and back by the frame's own.
        - ``'unchanged'``: nothing.
        - ``'translation'``: (dx, dy), to x + dx, y + dy.
        - ``'euclidian'``: (dx, dy, angle), to x cos - y sin + dx, x sin + y cos + dy: a rotation
          about pixel (0, 0) of the full frame image, from columns towards rows.
        - ``'affine'``: (a, b, dx, c, d, dy), to a x + b y + dx, c x + d y + dy.
    image_ref : ndarray, shape (R, C), optional
        Reference image of `calc_kernel`.
    wcs_ref : int, optional
        Index of the reference frame in a series of world coordinate systems.
    origin : (float, float)
        0-based (column, row) of the first pixel of `image_ref`, and of the images aligned with it.

    Attributes
    ----------
    n_params : int
        Number of parameters of a kernel.
    series_times : ndarray, shape (T,), or None
        Times of the frames, increasing.
    series_kernels : ndarray, shape (T, n_params), or FrameWCS, or None

    Raises
    ------
    ValueError
        If `warpmode` is not one of these, or `image_ref` no image.

    Examples
    --------
    >>> kernel = ImageMovementKernel("translation")
    >>> kernel.load_series([0.0, 1.0], [[0.0, 0.0], [0.2, -0.1]])
    >>> kernel.jitter([0.5], 100.0, 200.0).round(12).tolist()
    [[0.1, -0.05]]
    """

    def __init__(
        self,
        warpmode: str = "euclidian",
        image_ref: NDArray[Any] | None = None,
        wcs_ref: int | None = None,
        origin: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        if warpmode not in WARPMODES:
            raise UsageError(f"warpmode {warpmode!r}: it is one of {', '.join(WARPMODES)}")
        self.warpmode = warpmode
        self.n_params = WARPMODES[warpmode]
        self.wcs_ref = wcs_ref
        self.origin = (float(origin[0]), float(origin[1]))
        self.series_times: NDArray[np.float64] | None = None
        self.series_kernels: NDArray[np.float64] | FrameWCS | None = None
        self._good: NDArray[np.intp] = np.empty(0, dtype=np.intp)
        #: The times as they were given, to recognise them when they come again.
        self._given: ArrayLike | None = None
        self._reference = None if image_ref is None else prepare_image(image_ref)

    def __repr__(self) -> str:
        frames = 0 if self.series_times is None else len(self.series_times)
        return f"<ImageMovementKernel {self.warpmode}, {frames} frames>"

    def load_series(self, times: ArrayLike, kernels: Any) -> None:
        """Take the kernels of a series of frames.

        Parameters
        ----------
        times : array_like, shape (T,)
            Times of the frames, days, increasing.
        kernels : array_like, shape (T, n_params), or FrameWCS
            A kernel with a NaN, and a frame whose WCS is not good, is interpolated over.

        Raises
        ------
        InputError
            If times and kernels do not match, times do not increase, no kernel is usable, or the
            reference frame's WCS is not good.
        """
        self._given = times
        times = np.array(times, dtype="f8", ndmin=1)
        if times.ndim != 1 or not np.all(np.diff(times) > 0) or not np.all(np.isfinite(times)):
            raise InputError("image movement: frame times have to be known and increase")
        if self.warpmode == "wcs":
            good = self._check_wcs(kernels)
        else:
            if isinstance(kernels, FrameWCS):
                raise ValueError(f"warpmode {self.warpmode!r} takes arrays of parameters, not a FrameWCS")
            kernels = (
                np.array(kernels, dtype="f8").reshape(-1, self.n_params)
                if self.n_params
                else np.empty((len(times), 0))
            )
            good = np.isfinite(kernels).all(axis=1)
        if len(good) != len(times):
            raise InputError(f"image movement: {len(times)} frame times, but {len(good)} kernels")
        if not good.any():
            raise InputError("image movement: not one frame has a usable kernel; take warpmode 'unchanged'")
        self.series_times = times
        self.series_kernels = kernels
        self._good = np.flatnonzero(good)

    def _check_wcs(self, kernels: Any) -> NDArray[np.bool_]:
        if not isinstance(kernels, FrameWCS):
            raise ValueError("warpmode 'wcs' takes a FrameWCS")
        if self.wcs_ref is None or not 0 <= self.wcs_ref < len(kernels):
            raise InputError(f"image movement: no frame {self.wcs_ref} to refer to among {len(kernels)}")
        if not kernels.good[self.wcs_ref]:
            raise InputError(f"image movement: reference frame {self.wcs_ref} has a WCS that does not invert")
        return kernels.good

    @classmethod
    def from_wcs(cls, times: ArrayLike, framewcs: FrameWCS, ref_frame: int) -> ImageMovementKernel:
        """The movement by the frames' world coordinate systems, relative to the frame of an index."""
        self = cls("wcs", wcs_ref=int(ref_frame))
        self.load_series(times, framewcs)
        return self

    @classmethod
    def from_pos_corr(cls, times: ArrayLike, pos_corr: ArrayLike) -> ImageMovementKernel:
        """Translations from the position corrections of a target pixel file.

        A star is where the world coordinates of the file say, plus the correction: the two differ by tenths
        of a pixel between two processings of the same pixels, and their sum by hundredths.

        Parameters
        ----------
        times : array_like, shape (T,)
            Times of the cadences in days; rows without a time are left out.
        pos_corr : array_like, shape (T, 2)
            POS_CORR1 (column) and POS_CORR2 (row), pixels; rows with a NaN are interpolated over.

        Returns
        -------
        ImageMovementKernel
            Of warpmode 'translation', or 'unchanged' (and a warning in the log) where there is no
            correction at all.

        Examples
        --------
        >>> shift = [[0.5, 0.0], [0.7, 0.0]]
        >>> kernel = ImageMovementKernel.from_pos_corr([0.0, 1.0], shift)
        >>> kernel.jitter([0.5], 100.0, 200.0).round(12).tolist()
        [[0.6, 0.0]]
        """
        when = np.array(times, dtype="f8", ndmin=1)
        shift = np.array(pos_corr, dtype="f8").reshape(len(when), 2)
        when, shift = when[np.isfinite(when)], shift[np.isfinite(when)]
        good = np.isfinite(shift).all(axis=1)
        if not good.any():
            logger.warning("No position corrections (POS_CORR): the stars are taken not to move")
            return cls("unchanged")
        self = cls("translation")
        self.load_series(when, shift)
        return self

    def matrices(self, kernels: ArrayLike) -> NDArray[np.float64]:
        """Kernels as matrices that take (column, row, 1) to (column, row).

        Parameters
        ----------
        kernels : array_like, shape (..., n_params)

        Returns
        -------
        ndarray, shape (..., 2, 3)

        Examples
        --------
        >>> ImageMovementKernel("translation").matrices([0.2, -0.1]).tolist()
        [[1.0, 0.0, 0.2], [0.0, 1.0, -0.1]]
        """
        kernels = np.asarray(kernels, dtype="f8")
        if self.n_params > 1 and kernels.shape[-1:] != (self.n_params,):
            raise UsageError(
                f"kernels of shape {kernels.shape}: {self.warpmode} has {self.n_params} parameters"
            )
        out = np.zeros((*kernels.shape[:-1], 2, 3))
        out[..., 0, 0] = out[..., 1, 1] = 1.0
        if self.warpmode == "affine":
            return kernels.reshape(out.shape)
        if self.warpmode in ("translation", "euclidian"):
            out[..., :, 2] = kernels[..., :2]
        if self.warpmode == "euclidian":
            cos, sin = np.cos(kernels[..., 2]), np.sin(kernels[..., 2])
            out[..., 0, 0], out[..., 0, 1], out[..., 1, 0], out[..., 1, 1] = cos, -sin, sin, cos
        return out

    def apply_kernel(self, xy: ArrayLike, kernel: ArrayLike | int) -> NDArray[np.float64]:
        """Positions in a frame of positions in the reference.

        Parameters
        ----------
        xy : array_like, shape (2,) or (N, 2)
            (column, row), 0-based.
        kernel : array_like, shape (n_params,), or int
            Parameters; for warpmode 'wcs' the index of the frame.

        Returns
        -------
        ndarray, of the shape of `xy`
            NaN in a frame without a good WCS.

        Examples
        --------
        >>> quarter_turn = [0.0, 0.0, np.pi / 2]
        >>> ImageMovementKernel("euclidian").apply_kernel((3.0, 0.0), quarter_turn).round(12).tolist()
        [0.0, 3.0]
        """
        xy = _positions(xy)
        if self.warpmode != "wcs":
            m = self.matrices(kernel)
            return xy @ m[:, :2].T + m[:, 2]
        wcs, frame = self._wcs(), int(np.asarray(kernel).item())
        if not wcs.good[frame]:
            return np.full(xy.shape, np.nan)
        sky = wcs.sky(xy.reshape(-1, 2)[:, 0], xy.reshape(-1, 2)[:, 1], self._ref())
        return wcs.stars(sky[:, 0], sky[:, 1], frame).reshape(xy.shape)

    def interpolate(self, time: ArrayLike, xy: ArrayLike) -> NDArray[np.float64]:
        """Changes of positions at given times, relative to the reference.

        Linear in time between the frames with a usable kernel; held at the first and the last of them.

        Parameters
        ----------
        time : float or array_like, shape (T,)
            On the scale of the series. NaN gives NaN.
        xy : array_like, shape (2,) or (N, 2)
            0-based (column, row) in the reference.

        Returns
        -------
        ndarray, shape ``time.shape + xy.shape``
            Changes of (column, row), pixels.

        Raises
        ------
        InputError
            If a time is further outside of the series than its median time step (a ValueError).
        """
        time, xy = np.asarray(time, dtype="f8"), _positions(xy)
        if self.warpmode == "unchanged" or self.series_times is None:
            if self.warpmode != "unchanged":
                raise InputError("image movement: no series of kernels is loaded; see load_series")
            return np.zeros(time.shape + xy.shape)
        if xy.ndim == 1:
            return self._between_frames(time, self._everywhere(xy) - xy)
        self._check_times(time)
        if time.ndim:
            return np.stack([self.interpolate(t, xy) for t in time])
        if np.isnan(time):
            return np.full(xy.shape, np.nan)
        return self._at(float(time), xy) - xy

    def jitter(self, time: ArrayLike, column: float, row: float) -> NDArray[np.float64]:
        """Change of the position of one position with time.

        Parameters
        ----------
        time : float or array_like, shape (T,)
        column, row : float
            Position in the reference.

        Returns
        -------
        ndarray, shape (T, 2)
            Changes of (column, row), pixels; one row for a scalar time.

        Raises
        ------
        InputError
            If a time is further outside of the series than its median time step (a ValueError).
        """
        return self.interpolate(np.atleast_1d(np.asarray(time, dtype="f8")), (float(column), float(row)))

    def calc_kernel(self, image: NDArray[Any], start: ArrayLike | None = None) -> NDArray[np.float64]:
        """Kernel of an image, by alignment with the reference image.

        The enhanced correlation coefficient (Evangelidis & Psarakis 2008, IEEE TPAMI 30, 1858) of the
        Scharr gradient magnitudes of the logarithms of the images is maximised, from no movement or from
        `start`. Movements should be below about two pixels.

        Parameters
        ----------
        image : ndarray, shape (R, C)
            As the reference image: same pixels; NaN where unknown.
        start : array_like, shape (n_params,), optional

        Returns
        -------
        ndarray, shape (n_params,)
            NaN, and a warning in the log, where the images cannot be aligned (an empty image, or no maximum).

        Raises
        ------
        ValueError
            If there is no reference image, the shapes differ, or the warpmode is 'wcs'.
        """
        if self.warpmode == "wcs":
            raise ValueError("warpmode 'wcs': kernels come from headers, not from images")
        if self._reference is None:
            raise ValueError("no reference image: give image_ref")
        if np.shape(image) != self._reference.shape:
            raise ValueError(f"image of {np.shape(image)} pixels, reference of {self._reference.shape}")
        if self.warpmode == "unchanged":
            return np.empty(0)
        first = None if start is None else self.matrices(start)
        matrix = align(self._reference, prepare_image(image), self.warpmode, self.origin, first)
        if matrix is None:
            logger.warning("An image cannot be aligned with the reference; its movement is interpolated")
            return np.full(self.n_params, np.nan)
        if self.warpmode == "affine":
            return matrix.ravel()
        return np.array([matrix[0, 2], matrix[1, 2], np.arctan2(matrix[1, 0], matrix[0, 0])])[: self.n_params]

    def _wcs(self) -> FrameWCS:
        if not isinstance(self.series_kernels, FrameWCS):
            raise InputError("image movement: no world coordinate systems are loaded; see from_wcs")
        return self.series_kernels

    def _ref(self) -> int:
        assert self.wcs_ref is not None  # load_series has checked it
        return self.wcs_ref

    def _check_times(self, time: NDArray[np.float64]) -> None:
        assert self.series_times is not None
        if np.all(np.isnan(time)):
            return
        first, last = self.series_times[0], self.series_times[-1]
        step = float(np.median(np.diff(self.series_times))) if len(self.series_times) > 1 else 0.0
        low, high = np.nanmin(time), np.nanmax(time)
        if low < first - step or high > last + step:
            raise InputError(
                f"image movement: times {low:.5f} to {high:.5f} are outside of the frames' "
                f"{first:.5f} to {last:.5f} by more than a step of {step:.5f} d"
            )

    def follow(
        self,
        time: NDArray[np.float64],
        ra: NDArray[np.float64],
        dec: NDArray[np.float64],
        places: NDArray[np.float64],
    ) -> Iterator[NDArray[np.float64]]:
        """Change of the positions of stars with time: `jitter`, with their directions where that helps.

        Parameters
        ----------
        time : ndarray, shape (T,)
        ra, dec : ndarray, shape (N,)
            Of the stars at the time of observation, degrees; used by warpmode 'wcs' alone.
        places : ndarray, shape (N, 2)
            Their (column, row) in the reference.

        Yields
        ------
        ndarray, shape (T, 2)
            Changes of (column, row) of one star after the other, pixels. Several are computed at once.
        """
        if self.warpmode != "wcs":
            yield from (self.jitter(time, *place) for place in places.tolist())
            return
        all_good = len(self._good) == len(self._wcs())
        for moved, (column, row) in zip(self._wcs().positions_of(ra, dec), places.tolist(), strict=True):
            # One after the other: numpy is slow along axes of two.
            moved[:, 0] -= column
            moved[:, 1] -= row
            yield self._between_frames(time, moved if all_good else moved[self._good])

    def _between_frames(self, time: NDArray[np.float64], change: NDArray[np.float64]) -> NDArray[np.float64]:
        """Changes in every usable frame, shape (G, 2), at given times, shape ``time.shape + (2,)``."""
        assert self.series_times is not None
        placed = np.isfinite(change[:, 0])
        same = time is self._given or np.array_equal(time, self.series_times)
        if same and len(placed) == len(self.series_times) and placed.all():
            return change  # the usual case
        self._check_times(time)
        # A star may have no position in the plane of a frame that is fine for others.
        frames, change = self.series_times[self._good][placed], change[placed]
        if not len(frames):
            return np.full((*time.shape, 2), np.nan)
        return np.stack([np.interp(time, frames, x) for x in change.T], axis=-1)

    def _everywhere(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Position of one position in every usable frame, shape (G, 2)."""
        if self.warpmode == "wcs":
            wcs = self._wcs()
            ra, dec = wcs.sky(xy[:1], xy[1:], self._ref())[0]
            moved = wcs.positions(ra, dec)
            return moved if len(self._good) == len(moved) else moved[self._good]
        kernels = self.series_kernels[self._good]  # type: ignore[index]
        if self.warpmode == "translation":
            return xy + kernels
        m = self.matrices(kernels)
        return m[:, :, :2] @ xy + m[:, :, 2]

    def _at(self, time: float, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Positions of many positions at one time, from the frames before and after it."""
        assert self.series_times is not None
        frames = self.series_times[self._good]
        after = int(np.clip(np.searchsorted(frames, time), 0, len(frames) - 1))
        before = max(after - 1, 0) if time < frames[after] else after
        kernels: Any = range(len(self.series_times)) if self.warpmode == "wcs" else self.series_kernels
        later = self.apply_kernel(xy, kernels[self._good[after]])
        if before == after:
            return later
        weight = (time - frames[before]) / (frames[after] - frames[before])
        return later * weight + self.apply_kernel(xy, kernels[self._good[before]]) * (1.0 - weight)


def _positions(xy: ArrayLike) -> NDArray[np.float64]:
    """Positions (column, row) as an array."""
    places = np.asarray(xy, dtype="f8")
    if places.shape[-1:] != (2,):
        raise UsageError(f"positions of shape {places.shape}: (column, row) of each are needed")
    return places
