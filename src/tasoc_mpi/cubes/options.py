"""The options of making cubes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..core.errors import MissingInput, UsageError
from ..core.names import Choice
from ..core.resources import check_gigabytes

__all__ = ["MOVEMENT_KERNELS", "PrepareOptions"]

MOVEMENT_KERNELS = ("translation", "euclidian", "affine")


@dataclass(frozen=True)
class PrepareOptions:
    """The options of making cubes.

    Attributes
    ----------
    sector, camera, ccd : int, collection of int, or None
        Only these; None for all.
    memory : float or None
        Gigabytes for the pixels that are held at once, for all ranks of a node together; None for half of
        what is free.
    overwrite : bool
        Make finished cubes anew.
    movement_kernel : str or None
        Also measure how the images move: 'translation', 'euclidian' or 'affine'.
    backgrounds : bool
        Also store the background as pixels, 4 more bytes for each pixel and frame.
    spice : Path or None
        Folder of SPICE kernels; None for the folder 'spice' beside the cubes, if there is one.
    """

    sector: Choice = None
    camera: Choice = None
    ccd: Choice = None
    memory: float | None = None
    overwrite: bool = False
    movement_kernel: str | None = None
    backgrounds: bool = False
    spice: Path | None = None

    def check(self) -> None:
        """Raise UsageError for impossible values.

        >>> PrepareOptions(memory=-1).check()
        Traceback (most recent call last):
        tasoc_mpi.core.errors.UsageError: --memory -1: give gigabytes, more than 0
        """
        check_gigabytes(self.memory)
        if self.movement_kernel not in (None, *MOVEMENT_KERNELS):
            raise UsageError(
                f"--movement-kernel {self.movement_kernel}: one of {', '.join(MOVEMENT_KERNELS)}"
            )
        if self.spice is not None and not self.spice.is_dir():
            raise MissingInput(f"{self.spice}: no such folder; --spice names one with SPICE kernels")
