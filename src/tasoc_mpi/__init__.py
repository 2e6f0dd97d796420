"""Light curves of every star of a TESS sector, from full frame images, on a laptop or under MPI.

`BasePhotometry` is what a method of photometry subclasses; `tessphot` runs one star. They are imported
when first used, so that `import tasoc_mpi` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

__all__ = [
    "PSF",
    "STATUS",
    "AperturePhotometry",
    "BasePhotometry",
    "CorrectorQualityFlags",
    "HaloPhotometry",
    "ImageMovementKernel",
    "LinPSFPhotometry",
    "PSFPhotometry",
    "PixelQualityFlags",
    "TESSQualityFlags",
    "TaskManager",
    "correct",
    "load_settings",
    "open_star",
    "read_lightcurve",
    "show",
    "tessphot",
]

_HOMES = {
    "PSF": "models.psf",
    "STATUS": "core.status",
    "AperturePhotometry": "photometry.aperture",
    "BasePhotometry": "photometry.base",
    "CorrectorQualityFlags": "core.quality",
    "ImageMovementKernel": "models.motion",
    "HaloPhotometry": "photometry.halo",
    "LinPSFPhotometry": "photometry.linpsf",
    "PSFPhotometry": "photometry.psf_fit",
    "PixelQualityFlags": "core.quality",
    "TESSQualityFlags": "core.quality",
    "TaskManager": "scheduler.taskmanager",
    "correct": "correction.fit_star",
    "load_settings": "core.settings",
    "open_star": "one_star",
    "read_lightcurve": "products.read_lightcurve",
    "show": "report.star_page",
    "tessphot": "one_star",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    if name == "__version__":
        return importlib.import_module(".core.version", __name__).program_version()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
