"""The frames of a CCD: their files, their geometry, and their pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..products.ffi import FFIInfo, read_rows
from .frame_series import FrameSeries
from .sky_geometry import SkyGeometry, sky_geometry

__all__ = ["Frames"]


@dataclass(frozen=True)
class Frames:
    """T frames of a CCD; other ranks get it as a pickle."""

    infos: tuple[FFIInfo, ...]  #: The files, and the places of the pixels in them
    background_applied: bool  #: The background is already taken out of the frames
    excluded: NDArray[np.int32]  #: Shape (T,): first column that is left out by hand

    @classmethod
    def of(cls, series: FrameSeries) -> Frames:
        """The frames of a series."""
        return cls(series.infos, series.background_applied, series.excluded)

    def __len__(self) -> int:
        return len(self.infos)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.infos[0].shape

    @property
    def compressed(self) -> bool:
        """Whether some of the files are unpacked from their beginning whenever pixels are read."""
        return any(info.compressed for info in self.infos)

    @property
    def geometry(self) -> SkyGeometry:
        """The boxes and rings of the background."""
        info = self.infos[0]
        return sky_geometry(info.shape, (info.row_offset, info.column_offset), info.camera, info.ccd)

    def flux(
        self, t: int, first: int = 0, last: int | None = None, out: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Some rows of frame `t`, e-/s, in `out` if that is given; default: all."""
        last = self.shape[0] if last is None else last
        flux, _ = read_rows(self.infos[t], first, last, errors=False, out=(out, None))
        return flux
