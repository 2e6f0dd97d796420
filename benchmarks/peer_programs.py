"""Light curves by other programs, each in an environment of its own: `peers.py` starts it for each.

Each program gets the same calibrated frames with their sky, the positions of the stars in each frame, and
fluxes of the catalog to begin with, as a user of the program would give it. What a program needs once a field
(an effective PSF, a background) is counted apart from what it needs for each star.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

#: Side of the cut-outs for lightkurve, and of the windows for tglc, which is that of its full frame images.
CUT, WINDOW = 11, 150


class Field:
    """The frames and stars of a field, from the file that `peers.py` writes.

    flux, error: shape (T, R, C), e-/s with sky; time: days; good: shape (T,); places: shape (T, N, 2), row
    and column of all stars; catalog: shape (N,), e-/s; tmag: shape (N,); chosen: the stars to measure.
    """

    def __init__(self, path: Path) -> None:
        with np.load(path) as file:
            for name in file.files:
                setattr(self, name, file[name])
        self.middle = np.median(self.places, axis=0)


class Result(NamedTuple):
    """What a program measured."""

    fluxes: np.ndarray  #: Shape (stars, T), e-/s; NaN for stars that it does not measure
    seconds: float  #: Of processor time for a star's T frames
    once: float  #: Of processor time for the field's T frames


def _cut_out(field: Field, star: int) -> Any:
    """A target pixel file of a star in memory."""
    from astropy.io import fits

    half = CUT // 2
    row, column = np.round(field.middle[star]).astype(int)
    window = np.s_[:, row - half : row + half + 1, column - half : column + half + 1]
    flux, error = field.flux[window], field.error[window]
    kinds = {"TIME": ("D", field.time), "CADENCENO": ("J", np.arange(len(flux)))}
    kinds |= {"QUALITY": ("J", np.where(field.good, 0, 128))}
    cells = f"{CUT * CUT}E"
    zero = np.zeros_like(flux)
    for name, values in (("FLUX", flux), ("FLUX_ERR", error), ("FLUX_BKG", zero), ("FLUX_BKG_ERR", zero)):
        kinds[name] = (cells, values)
    columns = [
        fits.Column(name, kind, dim=f"({CUT},{CUT})" if kind == cells else None, array=values)
        for name, (kind, values) in kinds.items()
    ]
    table = fits.BinTableHDU.from_columns(columns, name="PIXELS")
    table.header["1CRV5P"], table.header["2CRV5P"] = int(column) - half, int(row) - half
    primary = fits.PrimaryHDU()
    primary.header["TELESCOP"], primary.header["OBJECT"] = "TESS", str(star)
    primary.header["CAMERA"], primary.header["CCD"], primary.header["SECTOR"] = 4, 1, 1
    return fits.HDUList([primary, table, fits.ImageHDU(np.ones((CUT, CUT), "i4"), name="APERTURE")])


def lightkurve_aperture(field: Field) -> Result:
    """Threshold masks around the star, less the mean of the faint pixels in each frame."""
    from lightkurve import TessTargetPixelFile

    fluxes, seconds = [], []
    for star in field.chosen:
        file = _cut_out(field, star)
        start = time.process_time()
        pixels = TessTargetPixelFile(file, quality_bitmask="none")
        mask = pixels.create_threshold_mask(threshold=3, reference_pixel="center")
        sky = ~pixels.create_threshold_mask(threshold=0.001, reference_pixel=None)
        light = pixels.to_lightcurve(aperture_mask=mask)
        level = pixels.to_lightcurve(aperture_mask=sky) / sky.sum()
        values = (light - level * mask.sum()).flux.value
        seconds.append(time.process_time() - start)
        fluxes.append(np.asarray(values, "f8") if mask.any() else np.full(len(field.time), np.nan))
    # The first star loads what the others find.
    return Result(np.array(fluxes), float(np.mean(seconds[1:])), 0.0)


def lightkurve_prf(field: Field) -> Result:
    """Its PRF photometry."""
    from lightkurve import TessTargetPixelFile

    pixels = TessTargetPixelFile(_cut_out(field, field.chosen[0]), quality_bitmask="none")
    start = time.process_time()
    curve = pixels.to_lightcurve(method="prf")
    return Result(np.array([curve.flux.value]), time.process_time() - start, 0.0)


def photutils_psf(field: Field) -> Result:
    """An effective PSF from isolated stars of the median frame; positions free within a pixel."""
    from astropy.nddata import NDData
    from astropy.table import Table
    from photutils.background import Background2D
    from photutils.psf import EPSFBuilder, PSFPhotometry, SourceGrouper, extract_stars

    start = time.process_time()
    median = np.median(field.flux[field.good], axis=0)
    median = median - Background2D(median, 64, exclude_percentile=50).background
    distance = np.hypot(*(field.middle[:, None] - field.middle[None]).transpose(2, 0, 1))
    light = np.where((distance > 0) & (distance < 6), field.catalog[None], 0.0).sum(axis=1)
    inside = ((field.middle > 8) & (field.middle < np.array(median.shape) - 9)).all(axis=1)
    alone = inside & (light < 0.02 * field.catalog) & (field.tmag > 7.5) & (field.tmag < 13)
    stars = Table({"x": field.middle[alone, 1], "y": field.middle[alone, 0]})
    cuts = extract_stars(NDData(median), stars, size=11)
    response = EPSFBuilder(oversampling=2, maxiters=10, progress_bar=False)(cuts)
    response = getattr(response, "epsf", response[0] if isinstance(response, tuple) else response)
    once = time.process_time() - start
    near = np.flatnonzero((distance[field.chosen] < 6).any(axis=0))
    of = {int(star): k for k, star in enumerate(near)}
    fit = PSFPhotometry(response, (5, 5), grouper=SourceGrouper(4), aperture_radius=3, xy_bounds=1.0)
    fluxes = np.full((len(field.chosen), len(field.flux)), np.nan)
    spent = 0.0
    for t in np.flatnonzero(field.good):
        start = time.process_time()
        image = field.flux[t] - Background2D(field.flux[t], 64, exclude_percentile=50).background
        rows, columns = field.places[t, near].T
        begin = Table({"x": columns, "y": rows, "flux": field.catalog[near]})
        found = fit(image, error=field.error[t], init_params=begin)
        spent += time.process_time() - start
        found.sort("id")
        fluxes[:, t] = np.asarray(found["flux_fit"])[[of[int(star)] for star in field.chosen]]
    # Neighbours are measured with the stars and count as stars.
    return Result(fluxes, spent / len(near), once)


def tglc_epsf(field: Field) -> Result:
    """Its effective PSF of each frame and window and its fit of each star, with the defaults of `epsf`."""
    from astropy.table import Table
    from tglc.effective_psf import fit_lc, fit_psf, get_psf

    fluxes = np.full((len(field.chosen), len(field.flux)), np.nan)
    once, seconds = 0.0, []
    # Positions are from 0 in the window; a halo of stars around it counts, too.
    for first in np.ndindex(*(side // WINDOW for side in field.flux.shape[1:])):
        corner = WINDOW * np.array(first)
        places = field.middle - corner
        near = np.flatnonzero(((places > -5.5) & (places < WINDOW + 4.5)).all(axis=1))
        near = near[np.argsort(field.tmag[near])]
        light = field.catalog[near]
        catalog = Table(
            {
                "tess_flux_ratio": light / light.max(),
                "sector_1_x": places[near, 1],
                "sector_1_y": places[near, 0],
            }
        )
        window = np.s_[:, corner[0] : corner[0] + WINDOW, corner[1] : corner[1] + WINDOW]
        source = SimpleNamespace(
            size=WINDOW, sector=1, gaia=catalog, flux=field.flux[window], time=field.time,
            mask=np.ma.masked_array(np.ones((WINDOW, WINDOW)), mask=False),
        )  # fmt: skip
        start = time.process_time()
        matrix, stars, size, columns, rows = get_psf(source)
        response = np.array(
            [fit_psf(matrix, source, size, power=1.4, time=t) for t in range(len(field.time))]
        )
        once += time.process_time() - start
        for k, star in enumerate(field.chosen):
            found = np.flatnonzero(near == star)
            if not len(found) or (places[star] < 2.5).any() or (places[star] > WINDOW - 3.5).any():
                continue
            (i,) = found.tolist()
            start = time.process_time()
            fluxes[k] = fit_lc(matrix, source, stars, columns[i], rows[i], i, e_psf=response)[1]
            seconds.append(time.process_time() - start)
    return Result(fluxes, float(np.mean(seconds)), once)


PROGRAMS: dict[str, Callable[[Field], Result]] = {
    function.__name__: function
    for function in (lightkurve_aperture, lightkurve_prf, photutils_psf, tglc_epsf)
}


def main() -> int:
    """NAME FIELD OUTPUT: measure, and write the result."""
    name, field, output = sys.argv[1:]
    warnings.simplefilter("ignore")
    np.savez(output, **PROGRAMS[name](Field(Path(field)))._asdict())
    return 0


if __name__ == "__main__":
    sys.exit(main())
