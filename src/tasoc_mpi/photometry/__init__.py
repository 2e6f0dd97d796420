"""Photometry of one star: `BasePhotometry` and the methods."""

from ..core.status import STATUS
from .aperture import AperturePhotometry
from .base import BasePhotometry
from .result import PhotometryResult

__all__ = ["STATUS", "AperturePhotometry", "BasePhotometry", "PhotometryResult"]
