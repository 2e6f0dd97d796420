"""Comparison of light curves with the truth of the simulation that they are of.

- Noise: `rms_hour` of constant, isolated stars over the photon, sky and read noise of the star's own mask
  (`report.noise`), by half a magnitude, and the excess in quadrature. The sky is that of each cadence: near
  perigee it is brighter, and noisier. The same with the true sky in place of the fitted background separates
  the two causes of an excess. The ratio of the two noises is more certain than either: noise measured in a
  few hundred hours is uncertain by 7% for a star, most of which is the same in both.
- Flux: median flux over the true flux, of the same stars; also less the contamination known from the catalog.
- Variables: periods from a blind search, and the amplitude or depth at the injected times.

A star is isolated where no star within `ISOLATION` pixels is brighter than its own magnitude + `FAINTER`, no
variable star within `FAR` pixels than its own + `FAINTER_VARIABLE`, and the edge of the simulated region is
at least `FAR` pixels away. Only full frame images are compared.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.names import truth_name
from ..core.quality import TESSQualityFlags
from ..core.status import STATUS
from ..kernels.statistics import light_curve_statistics
from ..simulate.truth_file import Truth, read_truth
from .noise import FRAME_TIME, mixture_sigma, noise_parts
from .recovery import RECOVERY_DTYPE, recover
from .results import Curve, ccds_of, read_curve, read_run

__all__ = ["STAR_DTYPE", "TruthComparison", "compare", "isolated_stars"]

#: Pixels and magnitudes of the definition of an isolated star.
ISOLATION, FAINTER = 6.0, 3.0
FAR, FAINTER_VARIABLE = 8.0, 6.0
#: One star that is OK. Noise in one hour relative to the star's flux (with the true sky: NaN for stars that
#: are not isolated); `ratio` of flux to true flux.
STAR_DTYPE = np.dtype(
    [("starid", "i8"), ("tmag", "f8"), ("isolated", "?"), ("own_pixel", "?"), ("mask_size", "i4")]
    + [(name, "f8") for name in ("noise", "noise_true_sky", "expected", "ratio", "contamination")]
)


@dataclass(frozen=True)
class TruthComparison:
    """The comparison of one CCD, or of several put together."""

    truth: Path
    jitter: bool  #: Whether the motion of the spacecraft was simulated
    stars: NDArray[np.void]  #: Of STAR_DTYPE, all stars of full frame images that are OK
    variables: NDArray[np.void]  #: Of RECOVERY_DTYPE

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
    position = np.stack([row, column], axis=-1)
    alone = (stars["kind"] == 0) & ((position - low >= FAR) & (high - position >= FAR)).all(axis=1)
    pairs = cKDTree(position).query_pairs(FAR, output_type="ndarray")
    star, other = np.concatenate([pairs, pairs[:, ::-1]]).T
    near = np.hypot(*(position[star] - position[other]).T) <= ISOLATION
    disturbs = near & (tmag[other] < tmag[star] + FAINTER)
    disturbs |= (stars["kind"][other] != 0) & (tmag[other] < tmag[star] + FAINTER_VARIABLE)
    alone[star[disturbs]] = False
    return alone


def compare(
    input_folder: str | os.PathLike[str], output_folder: str | os.PathLike[str] | None = None
) -> TruthComparison:
    """Compare the light curves of a simulated CCD with its truth.

    Parameters
    ----------
    input_folder : path-like
        With the work list, the truth and the catalog.
    output_folder : path-like, optional
        Folder of the light curves. Default: where the run put them.

    Returns
    -------
    TruthComparison

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
    ccds, _ = ccds_of(ffi)
    if len(ccds) != 1:
        raise InputError(f"{run.path}: stars of {len(ccds)} CCDs in full frame images; compare one CCD")
    truth = read_truth(folder / truth_name(*ccds[0]))
    done = ffi[(ffi["status"] == STATUS.OK) & (ffi["lightcurve"] != "")]
    if not len(done):
        raise InputError(f"{run.path}: no star is OK, there is nothing to compare; run tasoc-mpi run")
    index = {int(starid): i for i, starid in enumerate(truth.stars["starid"])}
    isolated = isolated_stars(truth)
    sky = _TrueSky(truth)
    stars, variables = np.zeros(len(done), STAR_DTYPE), []
    for k, star in enumerate(done):
        i = index.get(int(star["starid"]))
        if i is None:
            raise InputError(
                f"{truth.path}: no TIC {star['starid']}; it is of another simulation than {run.path}"
            )
        curve = read_curve(run.file(star))
        stars[k] = _compare_star(star, curve, truth, i)
        stars[k]["isolated"] = isolated[i]
        if isolated[i]:
            stars[k]["noise_true_sky"] = _hour_noise(curve, curve.flux_background - sky.total(curve))
        if truth.stars["kind"][i] != 0:
            variables.append(recover(curve, truth, int(star["starid"]), float(star["contamination"])))
    return TruthComparison(
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
    good = TESSQualityFlags.filter(curve.quality)
    return float(light_curve_statistics(curve.time, curve.flux + correction, curve.flux_err, good)[2])


def _compare_star(star: np.void, curve: Curve, truth: Truth, i: int) -> tuple[Any, ...]:
    """One row of `STAR_DTYPE`, of the star with index `i` in the truth."""
    flux = float(np.median(curve.flux[curve.good])) if curve.good.any() else float("nan")
    pixels = int(curve.mask.sum())
    known = curve.good & np.isfinite(curve.flux_background)
    sky = curve.flux_background[known] / max(pixels, 1)
    a = truth.attributes
    kept = float(a["READS"]) * FRAME_TIME / float(a["CADENCE"])
    parts = noise_parts(flux, pixels, sky, read_noise=float(a["READ_NOISE"]), kept=kept)
    row = round(float(truth.stars["row"][i])) - curve.corner[0]
    column = round(float(truth.stars["column"][i])) - curve.corner[1]
    inside = 0 <= row < curve.mask.shape[0] and 0 <= column < curve.mask.shape[1]
    own = inside and bool(curve.mask[row, column])
    ratio = flux / float(truth.stars["flux"][i])
    noise = (star["rms_hour"], np.nan, mixture_sigma(parts.total))
    return (star["starid"], star["tmag"], False, own, pixels, *noise, ratio, star["contamination"])
