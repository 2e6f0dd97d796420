"""Photometry of one star: `BasePhotometry`, the methods, and `tessphot`, which chooses one."""

from ..core.status import STATUS
from .aperture import AperturePhotometry
from .base import BasePhotometry
from .methods import tessphot
from .result import PhotometryResult

__all__ = ["STATUS", "AperturePhotometry", "BasePhotometry", "PhotometryResult", "tessphot"]
