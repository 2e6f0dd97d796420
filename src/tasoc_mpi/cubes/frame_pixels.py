"""The frames of a CCD as all ranks know them: where they are, and how to read their pixels."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..products.ffi import FFIInfo, read_rows
from .frame_headers import pack_info, sendable, unpack_info
from .frame_series import FrameSeries
from .sky_geometry import SkyGeometry, sky_geometry

__all__ = ["Frames"]


@dataclass(frozen=True)
class Frames:
    """T frames of a CCD, in a form that can be sent to other ranks.

    Attributes
    ----------
    paths : list of str
    shape : (int, int)
        Rows and columns.
    origin : (int, int)
        0-based full frame image (row, column) of the first pixel.
    camera, ccd : int
    background_applied : bool
        The background is already taken out of the frames.
    excluded : ndarray of int32, shape (T,)
        First column that is left out by hand.
    compressed : bool
        Some of the files are unpacked from their beginning whenever pixels are read.
    places : list
        Where in the files the pixels are (`headers.pack_info`); empty where other ranks cannot read them.
    infos : sequence of FFIInfo or None
        The same, where it is known without `places`.
    """

    paths: list[str]
    shape: tuple[int, int]
    origin: tuple[int, int]
    camera: int
    ccd: int
    background_applied: bool
    excluded: NDArray[np.int32]
    compressed: bool = False
    places: list[Any] = field(default_factory=list)
    infos: Sequence[FFIInfo] | None = field(default=None, metadata={"local": True})

    @classmethod
    def of(cls, series: FrameSeries) -> Frames:
        """The frames of a series."""
        return cls(
            paths=[str(info.path) for info in series.infos],
            shape=series.shape,
            origin=series.origin,
            camera=int(series.attributes["CAMERA"]),
            ccd=int(series.attributes["CCD"]),
            background_applied=series.background_applied,
            excluded=series.excluded,
            compressed=any(info.compressed for info in series.infos),
            places=[pack_info(info) for info in series.infos] if all(map(sendable, series.infos)) else [],
            infos=series.infos,
        )

    def __len__(self) -> int:
        return len(self.paths)

    @functools.cached_property
    def geometry(self) -> SkyGeometry:
        """Where boxes and rings lie."""
        rows, columns = self.shape
        return sky_geometry((rows, columns), (self.origin[0], self.origin[1]), self.camera, self.ccd)

    @functools.cached_property
    def _unpacked(self) -> dict[int, FFIInfo]:
        return {}

    def info(self, t: int) -> FFIInfo:
        """What is needed to read frame `t`."""
        if self.infos is not None:
            return self.infos[t]
        if t not in self._unpacked:
            self._unpacked[t] = unpack_info(self.paths[t], self.places[t])
        return self._unpacked[t]

    def flux(self, t: int, first: int = 0, last: int | None = None) -> NDArray[np.float32]:
        """Some rows of frame `t`, e-/s; default: all."""
        flux, _ = read_rows(self.info(t), first, self.shape[0] if last is None else last, errors=False)
        return flux
