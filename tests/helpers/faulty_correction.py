"""A correction during which the process ends for one star."""

from __future__ import annotations

import os
import signal
from typing import Any

from tasoc_mpi.correction import corrected_star

#: For `tasoc_mpi.commands.correct.main`.
NAME = "faulty_correction:correct_star"


def correct_star(*, starid: int, **arguments: Any) -> corrected_star.CorrectedStar:
    """As the original, but for the star of FAULTY_STARS."""
    if starid == int(os.environ["FAULTY_STARS"]):
        os.kill(os.getpid(), signal.SIGSEGV)
    return corrected_star.correct_star(starid=starid, **arguments)
