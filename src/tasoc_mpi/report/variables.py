"""The variable stars that the truth of a simulation knows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.names import truth_name
from ..simulate.stars import KINDS
from ..simulate.truth_file import read_truth
from .results import ccds_of

__all__ = ["Variable", "injected_variables"]


@dataclass(frozen=True)
class Variable:
    """An injected variable star: its kind, and its period in days."""

    kind: str
    period: float
    depth: float

    @property
    def text(self) -> str:
        """Words for a picture.

        >>> Variable("transit", 3.5, 0.01).text
        'injected transit, depth 1%'
        """
        depth = f", depth {100 * self.depth:.2g}%" if self.depth > 0 else ""
        return f"injected {self.kind}{depth}"


def injected_variables(folder: Path, stars: NDArray[np.void]) -> dict[int, Variable]:
    """The injected variables of all CCDs of a work list; none where there is no truth, as for real data.

    Parameters
    ----------
    folder : Path
        The input folder.
    stars : ndarray of RESULT_DTYPE

    Raises
    ------
    InputError
        If a truth is there and cannot be used.
    """
    found: dict[int, Variable] = {}
    for sector, camera, ccd in ccds_of(stars)[0]:
        path = folder / truth_name(sector, camera, ccd)
        if path.is_file():
            table = read_truth(path).variability
            for starid, kind, period, depth in zip(
                *(table[name].tolist() for name in ("starid", "kind", "period", "depth")), strict=True
            ):
                found[int(starid)] = Variable(KINDS[kind], float(period), float(depth))
    return found
