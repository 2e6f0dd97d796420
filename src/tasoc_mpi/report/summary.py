"""A run in a few lines: counts by status, and precision by magnitude beside the expected noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.status import STATUS
from ..core.tables import number, text_table
from ..worklist.work_list import status_counts
from .noise import expected_noise
from .results import Run, sky_level

__all__ = ["MagnitudeBin", "magnitude_bins", "star_groups", "summary_lines", "summary_values"]

#: Order and names of the columns of counts.
_SHOWN = (
    STATUS.OK,
    STATUS.WARNING,
    STATUS.ERROR,
    STATUS.ABORT,
    STATUS.SKIPPED,
    STATUS.STARTED,
    STATUS.UNKNOWN,
)
_NAMES = {**{status: status.name for status in STATUS}, STATUS.UNKNOWN: "to do"}


@dataclass(frozen=True)
class MagnitudeBin:
    """The stars of one magnitude."""

    tmag: float  #: Lower end; NaN for the stars without a magnitude
    counts: dict[STATUS, int]  #: All stars
    #: rms_hour, ptp, expected: medians over the stars that are OK, relative; the 1-hour noise to be expected
    #: of each star's magnitude and mask.
    rms_hour: float
    rms_hour_corr: float  #: Of the corrected light curves
    ptp: float
    expected: float
    mask_size: float  #: Median, pixels
    elaptime: float  #: Median over the stars that were computed, seconds


def magnitude_bins(stars: NDArray[np.void], sky: float) -> list[MagnitudeBin]:
    """Sort stars (of RESULT_DTYPE) into bins of one magnitude, brightest first; `sky` in e-/s a pixel."""
    lower = np.floor(stars["tmag"])
    bins = []
    for tmag in np.unique(lower):  # NaN is one bin, the last
        here = stars[np.isnan(lower) if np.isnan(tmag) else lower == tmag]
        ok = here[here["status"] == STATUS.OK]
        bins.append(
            MagnitudeBin(
                float(tmag),
                {status: int((here["status"] == status).sum()) for status in STATUS},
                _median(ok["rms_hour"]),
                _median(ok["rms_hour_corr"]),
                _median(ok["ptp"]),
                _median(expected_noise(ok["tmag"], ok["mask_size"], sky)),
                _median(ok["mask_size"]),
                _median(here["elaptime"]),
            )
        )
    return bins


def _median(values: NDArray[np.float64]) -> float:
    values = values[np.isfinite(values)]
    return float(np.median(values)) if values.size else float("nan")


def summary_lines(run: Run) -> list[str]:
    """The summary of a run as lines of text, at most 110 characters wide.

    Raises
    ------
    InputError
        If a light curve that the sky's level is read from is damaged.
    """
    stars = run.stars
    lines = [f"{len(stars)} stars in {run.path}: {_counts(stars['status'])}"]
    skies: list[str] = []
    for title, chosen in star_groups(stars):
        group = stars[chosen]
        sky, files = sky_level(run, group[group["status"] == STATUS.OK])
        skies.append(f"{sky:.0f} e-/s a pixel{'' if files else ' (assumed)'}")
        lines += ["", f"{title}: {_counts(group['status'])}", *_bin_table(magnitude_bins(group, sky))]
    elapsed = stars["elaptime"][np.isfinite(stars["elaptime"])]
    lines.append("")
    if elapsed.size:
        lines.append(
            f"time a star: median {1e3 * np.median(elapsed):.1f} ms, mean {1e3 * elapsed.mean():.1f} ms, "
            f"longest {1e3 * elapsed.max():.1f} ms, all {elapsed.sum():.1f} s"
        )
    lines += [
        "1-h noise, point to point (ptp) and mask: medians of the OK stars. Expected: photon, sky and read",
        f"noise of the same magnitudes and masks and a sky of {' and '.join(skies)}.",
        f"light curves: {run.output}" + ("" if run.output.is_dir() else " (not there)"),
    ]
    return lines


def summary_values(run: Run) -> dict[str, Any]:
    """The summary of a run as values, for programs; noise and ptp are relative, times in seconds.

    Raises
    ------
    InputError
        If a light curve that the sky's level is read from is damaged.
    """
    groups = []
    for title, chosen in star_groups(run.stars):
        group = run.stars[chosen]
        sky, files = sky_level(run, group[group["status"] == STATUS.OK])
        bins = [asdict(one) for one in magnitude_bins(group, sky)]
        for one in bins:
            one["counts"] = {status.name: count for status, count in one["counts"].items() if count}
        groups.append({"data": title, "sky": sky, "sky_is_assumed": not files, "magnitudes": bins})
    elapsed = run.stars["elaptime"][np.isfinite(run.stars["elaptime"])]
    return {
        "worklist": run.path,
        "output": run.output,
        "rows": len(run.stars),
        "stars": len(np.unique(run.stars["starid"])),
        "counts": status_counts(run.stars["status"]),
        "seconds_of_photometry": float(elapsed.sum()),
        "groups": groups,
    }


def _counts(status: NDArray[np.int32]) -> str:
    found = [(int((status == s).sum()), _NAMES[s]) for s in _SHOWN]
    return ", ".join(f"{count} {name}" for count, name in found if count) or "none"


def star_groups(stars: NDArray[np.void]) -> list[tuple[str, NDArray[np.bool_]]]:
    """Name and stars of each kind of data and cadence: their precision differs."""
    is_tpf = np.char.startswith(stars["datasource"], "tpf")
    groups = []
    for tpf in (False, True):
        for cadence in np.unique(stars["cadence"][is_tpf == tpf]):
            chosen = (is_tpf == tpf) & (stars["cadence"] == cadence)
            kind = "target pixel files" if tpf else "full frame images"
            groups.append((f"{kind}, {cadence} s", chosen))
    return groups


def _bin_table(bins: Sequence[MagnitudeBin]) -> list[str]:
    shown = [status for status in _SHOWN if any(b.counts[status] for b in bins)]
    # Only where light curves are corrected.
    corrected = ["corrected"] if any(np.isfinite(b.rms_hour_corr) for b in bins) else []
    heads = ["Tmag", *(_NAMES[s] for s in shown), "1-h noise", *corrected, "expected", "ptp", "mask", "time"]
    units = ["", *("" for _ in shown), *("ppm" for _ in (*corrected, *"123")), "px", "ms"]
    rows = [
        [
            "none" if np.isnan(b.tmag) else f"{b.tmag:.0f} - {b.tmag + 1:.0f}",
            *(str(b.counts[s] or ".") for s in shown),
            *(
                number(1e6 * x)
                for x in (b.rms_hour, *(b.rms_hour_corr for _ in corrected), b.expected, b.ptp)
            ),
            number(b.mask_size),
            number(1e3 * b.elaptime, 1),
        ]
        for b in bins
    ]
    return text_table([heads, units, *rows], indent="  ")
