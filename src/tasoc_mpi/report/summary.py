"""A run in a few lines: counts by status, and precision by magnitude beside the expected noise."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.status import STATUS
from ..core.tables import counted, number, text_table
from ..worklist.skip_lines import skip_hint
from ..worklist.work_list import status_counts
from .noise import expected_noise
from .results import Run, sky_level

__all__ = [
    "Group",
    "MagnitudeBin",
    "magnitude_bins",
    "measured_groups",
    "star_groups",
    "summary_lines",
    "summary_values",
]

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
    rms_hour_low: float  #: rms_hour_low, rms_hour_high: 16th and 84th percentile
    rms_hour_high: float
    rms_hour_corr: float  #: Of the corrected light curves
    ptp: float
    expected: float
    mask_size: float  #: Median, pixels
    elaptime: float  #: Median over the stars that were computed, seconds


@dataclass(frozen=True)
class Group:
    """The rows of one kind of data and cadence."""

    title: str
    chosen: NDArray[np.bool_]  #: Of the rows of the run
    stars: int  #: Number of different stars
    sky: float  #: e-/s a pixel
    sky_measured: bool  #: From light curves; else a typical one is assumed
    magnitudes: list[MagnitudeBin]

    @property
    def values(self) -> dict[str, Any]:
        """The group for programs; noise and ptp are relative, times in seconds."""
        bins = [asdict(one) for one in self.magnitudes]
        for one in bins:
            one["counts"] = {status.name: count for status, count in one["counts"].items() if count}
        return {
            "title": self.title,
            "rows": int(self.chosen.sum()),
            "stars": self.stars,
            "sky": self.sky,
            "sky_measured": self.sky_measured,
            "magnitudes": bins,
        }


def measured_groups(run: Run, variables: Collection[int] = ()) -> list[Group]:
    """The groups of a run with their sky and their magnitudes; `variables` as of `magnitude_bins`.

    Raises
    ------
    InputError
        If a light curve that the sky's level is read from is damaged.
    """
    groups = []
    for title, chosen in star_groups(run.stars):
        sky, files = sky_level(run, chosen & run.ok)
        stars = len(np.unique(run.stars["starid"][chosen]))
        bins = magnitude_bins(run.stars, chosen, sky, variables)
        groups.append(Group(title, chosen, stars, sky, files > 0, bins))
    return groups


def magnitude_bins(
    stars: NDArray[np.void], chosen: NDArray[np.bool_], sky: float, variables: Collection[int] = ()
) -> list[MagnitudeBin]:
    """Sort stars into bins of one magnitude, brightest first.

    Parameters
    ----------
    stars : ndarray of RESULT_DTYPE
        Of a run: gigabytes of a few million rows, so only columns are copied.
    chosen : ndarray of bool
        Which of them.
    sky : float
        e-/s a pixel.
    variables : collection of int, optional
        TIC numbers of injected variables, whose variation is no noise: they count, but not in the noise.
    """
    steady = ~np.isin(stars["starid"], list(variables))
    lower = np.floor(stars["tmag"])
    bins = []
    for tmag in np.unique(lower[chosen]):  # NaN is one bin, the last
        here = np.flatnonzero(chosen & (np.isnan(lower) if np.isnan(tmag) else lower == tmag))
        status = stars["status"][here]
        ok = here[(status == STATUS.OK) & steady[here]]
        low, median, high = _quantiles(stars["rms_hour"][ok])
        bins.append(
            MagnitudeBin(
                float(tmag),
                {one: int((status == one).sum()) for one in STATUS},
                median,
                low,
                high,
                _median(stars["rms_hour_corr"][ok]),
                _median(stars["ptp"][ok]),
                _median(expected_noise(stars["tmag"][ok], stars["mask_size"][ok], sky)),
                _median(stars["mask_size"][ok]),
                _median(stars["elaptime"][here]),
            )
        )
    return bins


def _median(values: NDArray[np.float64]) -> float:
    return _quantiles(values)[1]


def _quantiles(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """16th percentile, median and 84th percentile; NaN of no values."""
    values = values[np.isfinite(values)]
    low, median, high = np.percentile(values, [16, 50, 84]) if values.size else (np.nan,) * 3
    return float(low), float(median), float(high)


def summary_lines(run: Run, arguments: str, variables: Collection[int] = ()) -> list[str]:
    """The summary of a run as lines of text, at most 110 characters wide.

    Parameters
    ----------
    run : Run
    arguments : str
        Of a command that reads the same results.
    variables : collection of int, optional
        TIC numbers of injected variables.

    Raises
    ------
    InputError
        If a light curve that the sky's level is read from is damaged.
    """
    stars = run.stars
    count = counted(len(np.unique(stars["starid"])), "star")
    lines = [f"{counted(len(stars), 'row')} of {count} in {run.path}: {_counts(stars['status'])}"]
    skies: list[str] = []
    for group in measured_groups(run, variables):
        skies.append(f"{group.sky:.0f} e-/s a pixel{'' if group.sky_measured else ' (assumed)'}")
        counts = _counts(stars["status"][group.chosen])
        lines += ["", f"{group.title}: {counts}", *_bin_table(group.magnitudes)]
    elapsed = stars["elaptime"][np.isfinite(stars["elaptime"])]
    lines.append("")
    if elapsed.size:
        lines.append(
            f"time a row: median {1e3 * np.median(elapsed):.1f} ms, mean {1e3 * elapsed.mean():.1f} ms, "
            f"longest {1e3 * elapsed.max():.1f} ms, all {elapsed.sum():.1f} s"
        )
    if (stars["status"] == STATUS.SKIPPED).any():
        lines.append(skip_hint(arguments))
    lines += [
        "1-h noise (and its 16% and 84% quantiles), point to point (ptp) and mask: medians of the OK rows.",
        "Expected: photon, sky and read noise of the same magnitudes and masks, and of",
        f"a sky of {' and '.join(dict.fromkeys(skies))}.",
        *_left_out(stars, variables),
        f"light curves: {run.output}" + ("" if run.output.is_dir() else " (not there)"),
    ]
    return lines


def _injected(stars: NDArray[np.void], variables: Collection[int]) -> int:
    return len(np.intersect1d(stars["starid"], list(variables)))


def _left_out(stars: NDArray[np.void], variables: Collection[int]) -> list[str]:
    count = _injected(stars, variables)
    return [f"{count} injected variables do not count in them: their variation is no noise."] if count else []


def summary_values(run: Run, variables: Collection[int] = ()) -> dict[str, Any]:
    """The summary of a run as values, for programs; noise and ptp are relative, times in seconds.

    Parameters
    ----------
    run : Run
    variables : collection of int, optional
        TIC numbers of injected variables.

    Raises
    ------
    InputError
        If a light curve that the sky's level is read from is damaged.
    """
    elapsed = run.stars["elaptime"][np.isfinite(run.stars["elaptime"])]
    return {
        "worklist": run.path,
        "output": run.output,
        "rows": len(run.stars),
        "stars": len(np.unique(run.stars["starid"])),
        "counts": status_counts(run.stars["status"]),
        "injected_variables": _injected(run.stars, variables),
        "seconds_of_photometry": float(elapsed.sum()),
        "groups": [one.values for one in measured_groups(run, variables)],
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
    noise = ["1-h noise", "16%", "84%", *corrected, "expected", "ptp"]
    heads = ["Tmag", *(_NAMES[s] for s in shown), *noise, "mask", "time"]
    units = ["", *("" for _ in shown), *("ppm" for _ in noise), "px", "ms"]
    rows = [
        [
            "none" if np.isnan(b.tmag) else f"{b.tmag:.0f} - {b.tmag + 1:.0f}",
            *(str(b.counts[s] or ".") for s in shown),
            *(
                number(1e6 * x)
                for x in (
                    b.rms_hour,
                    b.rms_hour_low,
                    b.rms_hour_high,
                    *(b.rms_hour_corr for _ in corrected),
                    b.expected,
                    b.ptp,
                )
            ),
            number(b.mask_size),
            number(1e3 * b.elaptime, 1),
        ]
        for b in bins
    ]
    return text_table([heads, units, *rows], indent="  ")
