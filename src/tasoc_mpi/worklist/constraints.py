"""Filters of the rows of the work list."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Constraints", "is_datasource"]


@dataclass(frozen=True)
class Constraints:
    """Filters of the rows of the work list; one that is None (or has no values) admits all.

    The magnitudes are inclusive limits, the others hold any number of accepted values. A `datasource` of
    ``tpf`` admits secondary targets (``tpf:STARID``) too; a `method` of ``''`` admits the rows without one.
    `in_cone` are the numbers of the stars in a cone on the sky.
    """

    sector: tuple[int, ...] | None = None
    camera: tuple[int, ...] | None = None
    ccd: tuple[int, ...] | None = None
    cadence: tuple[int, ...] | None = None
    datasource: tuple[str, ...] | None = None
    starid: tuple[int, ...] | None = None
    priority: tuple[int, ...] | None = None
    method: tuple[str, ...] | None = None
    tmag_min: float | None = None
    tmag_max: float | None = None
    in_cone: tuple[int, ...] | None = None

    def mask(self, rows: NDArray[np.void]) -> NDArray[np.bool_]:
        """Which of `rows` (of any dtype with these columns) fulfil all constraints."""
        mask = np.ones(len(rows), dtype=bool)
        for name in ("sector", "camera", "ccd", "cadence", "starid", "priority", "method"):
            accepted = getattr(self, name)
            if accepted:
                mask &= np.isin(rows[name], _comparable(accepted, rows.dtype[name]))
        if self.in_cone:
            mask &= np.isin(rows["starid"], self.in_cone)
        if self.datasource:
            dtype = rows.dtype["datasource"]
            match = np.isin(rows["datasource"], _comparable(self.datasource, dtype))
            if "tpf" in self.datasource:
                match |= np.char.startswith(rows["datasource"], _comparable("tpf:", dtype))
            mask &= match
        if self.tmag_min is not None:
            mask &= rows["tmag"] >= self.tmag_min
        if self.tmag_max is not None:
            mask &= rows["tmag"] <= self.tmag_max
        return mask

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) not in (None, ()) for field in fields(self))

    @property
    def only_ccds(self) -> bool:
        """Whether nothing but sectors, cameras and CCDs is named."""
        named = {field.name for field in fields(self) if getattr(self, field.name) not in (None, ())}
        return bool(named) and named <= {"sector", "camera", "ccd"}


def is_datasource(text: str) -> bool:
    """Whether a row can have this source of its pixels.

    >>> is_datasource("ffi"), is_datasource("tpf:25155310"), is_datasource("tpf:")
    (True, True, False)
    """
    return text in ("ffi", "tpf") or (text.startswith("tpf:") and text[4:].isdecimal())


def _comparable(accepted: object, column: np.dtype[Any]) -> NDArray[Any]:
    """Accepted values as an array of numbers, or of texts of the kind of the column (bytes or str)."""
    if column.kind in "SU":
        texts = np.asarray(accepted, dtype=np.str_)
        return np.char.encode(texts, "utf-8") if column.kind == "S" else texts
    return np.asarray(accepted)
