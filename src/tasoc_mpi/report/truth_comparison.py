"""Light curves against the truth of the simulation that they are of.

- Noise: `rms_hour` of constant, isolated stars over what photons of the star and of the sky and the read-out
  give in the star's own mask (`report.noise`), by half a magnitude, and the excess in quadrature. The sky is
  that of each cadence: near perigee it is brighter, and noisier. Also with the sky's true brightness in
  place of the fitted background, which tells the two causes of an excess apart, and the one over the other:
  noise measured in a few hundred hours is uncertain by 7% for a star, most of which is the same in both.
- Flux: median flux over the true flux, of the same stars; also less the contamination known from the catalog.
- Variables: periods found without any knowledge, and the amplitude or depth at the injected times.

A star is isolated where no star within `ISOLATION` pixels is brighter than its own magnitude + `FAINTER`, no
variable star within `FAR` pixels than its own + `FAINTER_VARIABLE`, and the edge of the simulated region is
at least `FAR` pixels away. Only full frame images are compared.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.names import truth_name
from ..core.quality import TESSQualityFlags
from ..core.status import STATUS
from ..core.tables import number, text_table
from ..kernels.statistics import light_curve_statistics
from ..photometry.plots import COLOURS, new_figure, save_figure
from ..simulate.truth_file import Truth, read_truth
from .noise import mixture_sigma, noise_parts
from .recovery import RECOVERY_DTYPE, recover
from .results import Curve, read_curve, read_run

__all__ = ["STAR_DTYPE", "TruthReport", "compare", "draw_report", "isolated_stars", "report_lines"]

#: Pixels and magnitudes of the definition of an isolated star.
ISOLATION, FAINTER = 6.0, 3.0
FAR, FAINTER_VARIABLE = 8.0, 6.0
#: Magnitudes over which noise and flux are compared.
NOISE_RANGE, FLUX_RANGE = (9.0, 14.0), (7.0, 12.0)
#: Flux within this fraction of the true one counts as recovered.
FLUX_TOLERANCE = 0.03

#: One star that is OK. Noise in one hour relative to the star's flux (with the true sky: NaN for stars that
#: are not isolated); `ratio` of flux to true flux.
STAR_DTYPE = np.dtype(
    [("starid", "i8"), ("tmag", "f8"), ("isolated", "?"), ("own_pixel", "?"), ("mask_size", "i4")]
    + [(name, "f8") for name in ("noise", "noise_true_sky", "expected", "ratio", "contamination")]
)


@dataclass(frozen=True)
class TruthReport:
    """The comparison of one CCD.

    Attributes
    ----------
    truth : Path
    jitter : bool
        Whether the spacecraft's motion was simulated.
    stars : ndarray of STAR_DTYPE
        All stars of full frame images that are OK.
    variables : ndarray of RECOVERY_DTYPE
    """

    truth: Path
    jitter: bool
    stars: NDArray[np.void]
    variables: NDArray[np.void]

    @property
    def without_own_pixel(self) -> list[int]:
        """Stars that are OK although their mask does not hold their own pixel; there should be none."""
        return [int(starid) for starid in self.stars["starid"][~self.stars["own_pixel"]]]


def isolated_stars(truth: Truth) -> NDArray[np.bool_]:
    """Which stars of a truth are isolated and constant; see the module's description."""
    from scipy.spatial import cKDTree

    stars, attributes = truth.stars, truth.attributes
    row, column, tmag = stars["row"], stars["column"], stars["tmag"]
    low = np.array([attributes["ROW0"], attributes["COLUMN0"]]) - 0.5
    high = low + np.array([attributes["ROWS"], attributes["COLUMNS"]])
    place = np.stack([row, column], axis=-1)
    alone = (stars["kind"] == 0) & ((place - low >= FAR) & (high - place >= FAR)).all(axis=1)
    pairs = cKDTree(place).query_pairs(FAR, output_type="ndarray")
    return alone & ~_disturbed(place, tmag, stars["kind"], pairs)


def _disturbed(
    place: NDArray[np.float64], tmag: NDArray[np.float64], kind: NDArray[np.int64], pairs: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Which stars have a neighbour that matters, of pairs that are at most `FAR` apart."""
    both = np.concatenate([pairs, pairs[:, ::-1]])
    star, other = both[:, 0], both[:, 1]
    near = np.hypot(*(place[star] - place[other]).T) <= ISOLATION
    matters = near & (tmag[other] < tmag[star] + FAINTER)
    matters |= (kind[other] != 0) & (tmag[other] < tmag[star] + FAINTER_VARIABLE)
    out = np.zeros(len(tmag), dtype=bool)
    out[star[matters]] = True
    return out


def compare(
    input_folder: str | os.PathLike[str], output_folder: str | os.PathLike[str] | None = None
) -> TruthReport:
    """Compare the light curves of a simulated CCD with its truth.

    Parameters
    ----------
    input_folder : path-like
        With the work list, the truth and the catalog.
    output_folder : path-like, optional
        Folder of the light curves. Default: where the run put them.

    Returns
    -------
    TruthReport

    Raises
    ------
    MissingInput
        If the work list, the truth or a light curve is not there.
    InputError
        If one of them cannot be used, there is more than one CCD, or no star of it is OK.
    """
    folder = Path(input_folder)
    run = read_run(folder, output_folder)
    ffi = run.stars[run.stars["datasource"] == "ffi"]
    ccds = np.unique(ffi[["sector", "camera", "ccd"]])
    if len(ccds) != 1:
        raise InputError(f"{run.path}: stars of {len(ccds)} CCDs in full frame images; compare one CCD")
    truth = read_truth(folder / truth_name(*ccds[0].tolist()))
    done = ffi[(ffi["status"] == STATUS.OK) & (ffi["lightcurve"] != "")]
    if not len(done):
        raise InputError(f"{run.path}: no star is OK, there is nothing to compare; run tasoc-mpi run")
    place = {int(starid): i for i, starid in enumerate(truth.stars["starid"])}
    isolated = isolated_stars(truth)
    sky = _TrueSky(truth)
    stars, variables = np.zeros(len(done), STAR_DTYPE), []
    for k, star in enumerate(done):
        i = place.get(int(star["starid"]))
        if i is None:
            raise InputError(
                f"{truth.path}: no TIC {star['starid']}; it is of another simulation than {run.path}"
            )
        curve = read_curve(run.file(star))
        stars[k] = _compare_star(star, curve, truth, i)
        stars[k]["isolated"] = isolated[i]
        if isolated[i]:
            stars[k]["noise_true_sky"] = _hour_noise(curve, curve.background - sky.total(curve))
        if truth.stars["kind"][i] != 0:
            variables.append(recover(curve, truth, int(star["starid"]), float(star["contamination"])))
    return TruthReport(
        truth.path, bool(truth.attributes["JITTER"]), stars, np.array(variables, dtype=RECOVERY_DTYPE)
    )


class _TrueSky:
    """The simulated sky in masks."""

    def __init__(self, truth: Truth) -> None:
        from scipy.interpolate import RegularGridInterpolator

        axes = (truth.sky["rows"], truth.sky["columns"])
        self._patterns = [
            RegularGridInterpolator(axes, pattern, bounds_error=False, fill_value=None)
            for pattern in truth.sky["patterns"]
        ]
        order = np.argsort(truth.frames["cadenceno"])
        self._cadenceno = truth.frames["cadenceno"][order]
        self._levels = truth.frames["sky_levels"][order]
        self._path = truth.path

    def total(self, curve: Curve) -> NDArray[np.float64]:
        """Sum over the mask of a light curve at its times, e-/s."""
        pixels = np.argwhere(curve.mask) + curve.corner
        sums = np.array([pattern(pixels).sum() for pattern in self._patterns])
        t = np.minimum(np.searchsorted(self._cadenceno, curve.cadenceno), len(self._cadenceno) - 1)
        if (self._cadenceno[t] != curve.cadenceno).any():
            raise InputError(f"{curve.path}: a cadence that {self._path} does not have; compute it again")
        return np.asarray(self._levels[t] @ sums)


def _hour_noise(curve: Curve, correction: NDArray[np.float64]) -> float:
    """The 1-hour noise, as `rms_hour` is defined, of the flux plus a correction."""
    good = TESSQualityFlags.filter(curve.pixel_quality)
    return float(light_curve_statistics(curve.time, curve.flux + correction, curve.error, good)[2])


def _compare_star(star: np.void, curve: Curve, truth: Truth, i: int) -> tuple:
    flux = float(np.median(curve.flux[curve.good])) if curve.good.any() else float("nan")
    pixels = int(curve.mask.sum())
    known = curve.good & np.isfinite(curve.background)
    sky = curve.background[known] / max(pixels, 1)
    a = truth.attributes
    parts = noise_parts(
        flux,
        pixels,
        sky,
        read_noise=float(a["READ_NOISE"]),
        kept=float(a["READS"]) * 2.0 / float(a["CADENCE"]),
    )
    expected = mixture_sigma(parts.total)
    row = round(float(truth.stars["row"][i])) - curve.corner[0]
    column = round(float(truth.stars["column"][i])) - curve.corner[1]
    inside = 0 <= row < curve.mask.shape[0] and 0 <= column < curve.mask.shape[1]
    own = inside and bool(curve.mask[row, column])
    ratio = flux / float(truth.stars["flux"][i])
    return (
        star["starid"], star["tmag"], False, own, pixels, star["rms_hour"], np.nan, expected, ratio,
        star["contamination"],
    )  # fmt: skip


# --- What is printed and drawn -------------------------------------------------------------------------


def report_lines(report: TruthReport) -> list[str]:
    """The comparison as lines of text."""
    jitter = "with" if report.jitter else "without"
    isolated = report.stars["isolated"]
    lines = [
        f"{len(report.stars)} stars OK, {int(isolated.sum())} of them isolated and constant; {jitter} jitter",
        "",
        "1-hour noise of isolated stars: medians, and excess over photon, sky and read noise in their masks;",
        "last columns: the ratio with the true sky in place of the fitted background, and what the fit adds",
        *_noise_table(report.stars[isolated]),
        "",
        "flux over true flux of isolated stars (clean: less the contamination known from the catalog)",
        *_flux_table(report.stars[isolated]),
        "",
        "injected variables: period found blindly; amplitude or depth at the true times over the true one",
        *_variables_table(report.variables),
        "",
    ]
    lost = report.without_own_pixel
    lines.append(f"stars OK without their own pixel in the mask: {', '.join(map(str, lost)) or 'none'}")
    return lines


def _bins(
    stars: NDArray[np.void], span: tuple[float, float], width: float
) -> list[tuple[str, NDArray[np.void]]]:
    """Stars by magnitude, and all of the span."""
    found = []
    for lower in np.arange(*span, width):
        here = stars[(stars["tmag"] >= lower) & (stars["tmag"] < lower + width)]
        found.append((f"{lower:.1f} - {lower + width:.1f}", here))
    found.append(("all", stars[(stars["tmag"] >= span[0]) & (stars["tmag"] < span[1])]))
    return [(name, here) for name, here in found if len(here)]


def _noise_table(stars: NDArray[np.void]) -> list[str]:
    rows = [
        ["Tmag", "stars", "noise", "expected", "ratio", "16%", "84%", "excess", "true sky", "fit/true"],
        ["", "", "ppm", "ppm", "", "", "", "ppm", "ratio", ""],
    ]
    for name, here in _bins(stars[stars["noise"] > 0], NOISE_RANGE, 0.5):
        noise, expected = np.median(here["noise"]), np.median(here["expected"])
        low, ratio, high = np.percentile(here["noise"] / here["expected"], [16, 50, 84])
        excess = np.median(np.sqrt(np.maximum(here["noise"] ** 2 - here["expected"] ** 2, 0.0)))
        values = (f"{1e6 * noise:.0f}", f"{1e6 * expected:.0f}", f"{ratio:.3f}", f"{low:.2f}", f"{high:.2f}")
        true_sky = np.nanmedian(here["noise_true_sky"] / here["expected"])
        fit = np.nanmedian(here["noise"] / here["noise_true_sky"])
        rows.append([name, str(len(here)), *values, f"{1e6 * excess:.0f}", f"{true_sky:.3f}", f"{fit:.3f}"])
    return text_table(rows, indent="  ")


def _flux_table(stars: NDArray[np.void]) -> list[str]:
    heads = ["Tmag", "stars", "median", "16%", "84%", "within 3%", "clean", "within 3%"]
    rows = [heads]
    for name, here in _bins(stars[np.isfinite(stars["ratio"])], FLUX_RANGE, 1.0):
        low, middle, high = np.percentile(here["ratio"], [16, 50, 84])
        clean = here["ratio"] * (1 - here["contamination"])
        clean = clean[np.isfinite(clean)]
        within = np.mean(np.abs(here["ratio"] - 1) <= FLUX_TOLERANCE)
        values = (f"{middle:.4f}", f"{low:.3f}", f"{high:.3f}", f"{100 * within:.0f}%")
        known = ["-", "-"]
        if clean.size:
            within_clean = np.mean(np.abs(clean - 1) <= FLUX_TOLERANCE)
            known = [f"{np.median(clean):.4f}", f"{100 * within_clean:.0f}%"]
        rows.append([name, str(len(here)), *values, *known])
    return text_table(rows, indent="  ")


def _variables_table(variables: NDArray[np.void]) -> list[str]:
    rows = [["TIC", "Tmag", "kind", "period", "found", "", "injected", "size", "+-"]]
    rows.append(["", "", "", "d", "d", "", "%", "", ""])
    for v in np.sort(variables, order=["kind", "tmag"]):
        rows.append(
            [
                str(v["starid"]),
                f"{v['tmag']:.2f}",
                str(v["kind"]),
                f"{v['period']:.4f}",
                number(v["found"], 4),
                str(v["match"]) or "no",
                f"{100 * v['size']:.3g}",
                number(v["scale"], 3),
                number(v["scale_error"], 3),
            ]
        )
    back = int((variables["match"] != "").sum())
    return [*text_table(rows, indent="  "), f"  periods that came back: {back} of {len(variables)}"]


def draw_report(reports: list[TruthReport], path: Path) -> Path:
    """Draw noise over expected noise and flux over true flux against magnitude, one row a report."""
    figure = new_figure(12.0, 0.3 + 3.6 * len(reports))
    grid = figure.subplots(len(reports), 2, squeeze=False)
    for (left, right), report in zip(grid, reports, strict=True):
        stars = report.stars
        alone = stars["isolated"]
        for chosen, colour, size, name in (
            (~alone, "grey", 3, "others"),
            (alone, "blue", 9, "isolated and constant"),
        ):
            here = stars[chosen & (stars["noise"] > 0)]
            left.scatter(
                here["tmag"],
                here["noise"] / here["expected"],
                s=size,
                color=COLOURS[colour],
                linewidths=0,
                label=name,
            )
            right.scatter(
                here["tmag"], here["ratio"], s=size, color=COLOURS[colour], linewidths=0, label=name
            )
        here = stars[alone & (stars["noise"] > 0)]
        left.scatter(
            here["tmag"],
            here["noise_true_sky"] / here["expected"],
            s=9,
            color=COLOURS["red"],
            linewidths=0,
            label="isolated and constant, true sky",
        )
        jitter = "with jitter" if report.jitter else "without jitter"
        left.set_title(f"{jitter}: 1-hour noise over expected noise", fontsize=10)
        right.set_title(f"{jitter}: flux over true flux", fontsize=10)
        left.axhspan(0.85, 1.15, color=COLOURS["green"], alpha=0.2, linewidth=0)
        right.axhspan(1 - FLUX_TOLERANCE, 1 + FLUX_TOLERANCE, color=COLOURS["green"], alpha=0.2, linewidth=0)
        left.set_yscale("log")
        left.set_ylim(0.5, 30)
        left.set_yticks([0.5, 1, 2, 5, 10, 20], ["0.5", "1", "2", "5", "10", "20"])
        right.set_ylim(0.7, 1.3)
        for axes in (left, right):
            axes.axhline(1, color=COLOURS["black"], linewidth=0.8)
            axes.set_xlabel("TESS magnitude")
            axes.legend(fontsize=8, loc="upper left")
    return save_figure(figure, path)
