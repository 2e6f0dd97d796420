"""Target pixel files as the mission writes them: stamps of single stars at 120 s."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.errors import UsageError
from ..core.quality import TESSQualityFlags
from ..products.fits_bytes import CardTuple, hdu_bytes
from ..products.frame_wcs import FrameWCS
from . import mission_cards as c
from . import tpf_cards as tpfcards
from .options import SimulationOptions
from .render import FULL_WELL, add_cosmics, add_noise, add_sky_series
from .response import Response, draw
from .sky import sky_levels, sky_patterns
from .stars import Stars, Variability, j2000
from .timeline import DAY, Exposures

__all__ = ["Observation", "Stamp", "choose_stamps", "tpf_bytes", "tpf_name", "tpf_size"]

#: Side of a stamp, pixels, and of a star that is too bright for it.
SIDE = 11
#: Stars brighter than this overflow their pixels.
SATURATED_TMAG = 6.8
#: Magnitudes that stars with a target pixel file have; if there are too few, the second range.
TMAG_RANGE, TMAG_RANGE_WIDE = (5.0, 13.0), (5.0, 15.5)
#: Rows above and below the stamp of a saturated star that are simulated with it.
SATURATED_PADDING = 60


@dataclass(frozen=True)
class Stamp:
    """One star's stamp.

    Attributes
    ----------
    star : int
        Place in `Stars`.
    row, column : int
        Full frame image pixel of the stamp's first pixel, 0-based.
    rows, columns : int
    """

    star: int
    row: int
    column: int
    rows: int
    columns: int


@dataclass(frozen=True)
class Observation:
    """What all target pixel files have in common.

    Attributes
    ----------
    exposures : Exposures
        At 120 s.
    wcs : FrameWCS
        Of every exposure.
    position : ndarray, shape (T, 3)
        Of TESS, barycentric, light-days.
    sector_start : float
        Spacecraft time of a perigee.
    reference : FrameWCS
        One frame: where the catalog's positions belong to.
    epoch : float
        Its time as a Julian year.
    """

    exposures: Exposures
    wcs: FrameWCS
    position: NDArray[np.float64]
    sector_start: float
    reference: FrameWCS
    epoch: float


def tpf_name(options: SimulationOptions, starid: int, date: str) -> str:
    """File name of the target pixel file of a star; `date` is the UTC date of the first exposure."""
    from datetime import datetime

    begin = datetime.fromisoformat(date.rstrip("Z"))
    name = f"tess{begin:%Y%j%H%M%S}-s{options.sector:04d}-{starid:016d}-{c.SCCONFIG:04d}-s_tp.fits"
    return f"{name}.gz" if options.gzip else name


def tpf_size(exposures: int, pixels: int = SIDE * SIDE) -> int:
    """Bytes of a file before compression."""
    return exposures * (28 + 20 * pixels) + 40000


def choose_stamps(options: SimulationOptions, stars: Stars, variability: Variability) -> list[Stamp]:
    """Stars with a target pixel file, brightest first: a third of them variables, the others by lot.

    Raises
    ------
    UsageError
        If there are too few stars whose stamp fits.
    """
    if options.tpfs == 0:
        return []
    rng = np.random.default_rng([options.seed, options.sector, options.camera, options.ccd, 4])
    (bright,) = np.nonzero(stars.tmag < SATURATED_TMAG)
    low, high = TMAG_RANGE_WIDE
    (asked,) = np.nonzero((stars.tmag >= low) & (stars.tmag <= high))
    found = {int(k): _stamp(options, stars, int(k), bright) for k in asked}
    stamps = {k: stamp for k, stamp in found.items() if stamp is not None}
    for low, high in (TMAG_RANGE, TMAG_RANGE_WIDE):
        able = np.array([k for k in stamps if low <= stars.tmag[k] <= high], dtype="i8")
        if len(able) >= options.tpfs:
            break
    else:
        raise UsageError(
            f"--tpfs {options.tpfs}: only {len(able)} stars of the region can have a target pixel file; "
            "ask for fewer, or for more --rows and --columns"
        )
    vary = able[np.isin(able, variability.star)]
    chosen = rng.choice(vary, min(len(vary), -(-options.tpfs // 3)), replace=False)
    others = np.setdiff1d(able, chosen)
    chosen = np.concatenate([chosen, rng.choice(others, options.tpfs - len(chosen), replace=False)])
    return [stamps[int(k)] for k in np.sort(chosen)]


def _stamp(options: SimulationOptions, stars: Stars, k: int, bright: NDArray[np.int64]) -> Stamp | None:
    """The stamp of a star, or None where it does not fit or another of the `bright` stars bleeds into it."""
    row0, column0, n_rows, n_columns = options.science
    rows = SIDE
    if stars.tmag[k] < SATURATED_TMAG:
        # The overflowing charge fills both directions alike; an odd number keeps the star in the middle.
        rows += 2 * math.ceil(0.6 * stars.flux[k] / FULL_WELL)
    row, column = round(float(stars.row[k])) - rows // 2, round(float(stars.column[k])) - SIDE // 2
    if row < row0 or column < column0 or row + rows > row0 + n_rows or column + SIDE > column0 + n_columns:
        return None
    bleeds = np.abs(stars.column[bright] - stars.column[k]) < SIDE
    bleeds &= np.abs(stars.row[bright] - stars.row[k]) < stars.flux[bright] / FULL_WELL + rows
    return None if (bleeds & (bright != k)).any() else Stamp(k, row, column, rows, SIDE)


def tpf_bytes(
    options: SimulationOptions,
    stars: Stars,
    variability: Variability,
    response: Response,
    observation: Observation,
    stamp: Stamp,
) -> bytes:
    """The whole file, uncompressed, with valid checksums."""
    table, correction = _table(options, stars, variability, response, observation, stamp)
    aperture, facts = _aperture(stars, response, stamp, table)
    begin = observation.exposures.begin
    end = begin + observation.exposures.seconds / DAY
    (quiet,) = np.nonzero(~observation.exposures.gap)
    first, last = quiet[0], quiet[-1]
    target = tpfcards.Target(
        options=options,
        starid=int(stars.starid[stamp.star]),
        tmag=float(stars.tmag[stamp.star]),
        teff=float(stars.teff[stamp.star]),
        position=(float(stars.ra[stamp.star]), float(stars.decl[stamp.star])),
        position_j2000=tuple(j2000(stars, observation.epoch)[stamp.star].tolist()),
        motion=(float(stars.pm_ra[stamp.star]), float(stars.pm_decl[stamp.star])),
        span=(float(begin[first]), float(end[last])),
        correction=(float(correction[first]), float(correction[last])),
        exposures=len(quiet),
        seconds=observation.exposures.seconds,
        corner=(stamp.row, stamp.column),
        shape=(stamp.rows, stamp.columns),
        wcs=tuple(_local_wcs(stars, stamp, observation.reference)),
        aperture=facts,
    )
    return b"".join(
        [
            hdu_bytes(tpfcards.primary(target)),
            hdu_bytes(tpfcards.pixels(target, table.dtype.itemsize, len(table)), table.tobytes()),
            hdu_bytes(tpfcards.aperture(target), aperture.astype(">i4").tobytes()),
            hdu_bytes(tpfcards.cosmic_rays()),
        ]
    )


def _table(
    options: SimulationOptions,
    stars: Stars,
    variability: Variability,
    response: Response,
    observation: Observation,
    stamp: Stamp,
) -> tuple[NDArray[np.void], NDArray[np.float64]]:
    """The rows of the PIXELS table, and the barycentric correction of each in days."""
    exposures = observation.exposures
    shape = (stamp.rows, stamp.columns)
    table = np.zeros(len(exposures.begin), dtype=_dtype(shape))
    rng = np.random.default_rng(
        [options.seed, options.sector, options.camera, options.ccd, 5, int(stars.starid[stamp.star])]
    )
    images, sky, where = _expected(options, stars, variability, response, observation, stamp)
    _, used = c.reads(exposures.seconds)
    exposure = used * c.INT_TIME
    if options.cosmics:
        # One long image: a track may run from one exposure into the next, which does no harm.
        add_cosmics(images.reshape(-1, stamp.columns), rng, exposures.seconds, exposure)
    flat = images.reshape(-1, stamp.columns)
    error = add_noise(flat, rng if options.noise else None, exposure, used, c.READ_NOISE).reshape(
        images.shape
    )

    correction = observation.position @ _unit(stars.ra[stamp.star], stars.decl[stamp.star])
    reference = observation.reference.positions(stars.ra[stamp.star], stars.decl[stamp.star])[0]
    table["TIME"] = exposures.middle + correction
    table["TIMECORR"] = correction
    table["CADENCENO"] = exposures.cadenceno
    table["RAW_CNTS"] = np.rint(c.fixed_offset(exposures.seconds) + images * (exposure / c.GAIN))
    table["FLUX"] = images - sky
    table["FLUX_ERR"] = error
    table["FLUX_BKG"] = sky
    table["FLUX_BKG_ERR"] = 0.01 * np.sqrt(np.maximum(sky, 0.0) + 1.0)
    table["QUALITY"] = exposures.quality
    table["POS_CORR1"] = where[:, 0] - reference[0]
    table["POS_CORR2"] = where[:, 1] - reference[1]
    gap = exposures.gap
    for name in (
        "TIME",
        "TIMECORR",
        "FLUX",
        "FLUX_ERR",
        "FLUX_BKG",
        "FLUX_BKG_ERR",
        "POS_CORR1",
        "POS_CORR2",
    ):
        table[name][gap] = np.nan
    table["RAW_CNTS"][gap] = -1
    return table, correction


def _expected(
    options: SimulationOptions,
    stars: Stars,
    variability: Variability,
    response: Response,
    observation: Observation,
    stamp: Stamp,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]:
    """Images without noise and their sky, shape (T, R, C), and the star's (column, row), shape (T, 2)."""
    exposures = observation.exposures
    padding = SATURATED_PADDING if stars.tmag[stamp.star] < SATURATED_TMAG else 0
    row, rows = stamp.row - padding, stamp.rows + 2 * padding
    near = (stars.row > row - stars.radius - 1) & (stars.row < row + rows + stars.radius)
    near &= stars.column > stamp.column - stars.radius - 1
    near &= stars.column < stamp.column + stamp.columns + stars.radius
    (members,) = np.nonzero(near)
    n = len(exposures.begin)
    places = np.empty((n, len(members), 2))
    fluxes = np.tile(stars.flux[members], (n, 1))
    for i, k in enumerate(members):
        places[:, i] = observation.wcs.positions(stars.ra[k], stars.decl[k])
        (v,) = np.nonzero(variability.star == k)
        if len(v):
            own = exposures.middle + observation.position @ _unit(stars.ra[k], stars.decl[k])
            fluxes[:, i] *= variability.factor(int(v[0]), own)
    images = np.zeros((n, rows, stamp.columns), dtype="f4")
    patterns = sky_patterns(options, row + np.arange(rows), stamp.column + np.arange(stamp.columns))
    levels = sky_levels(options, exposures.middle, observation.sector_start)
    for t in range(n):
        draw(response, members, images[t], (row, stamp.column), places[t], fluxes[t])
    add_sky_series(images, patterns, levels, FULL_WELL)
    inner = slice(padding, padding + stamp.rows)
    sky = np.einsum("tk,krc->trc", levels, patterns[:, inner].astype("f8")).astype("f4")
    (own_place,) = np.nonzero(members == stamp.star)
    return np.ascontiguousarray(images[:, inner]), sky, places[:, own_place[0]]


def _dtype(shape: tuple[int, int]) -> np.dtype[np.void]:
    scalar = [("TIME", ">f8"), ("TIMECORR", ">f4"), ("CADENCENO", ">i4")]
    pixels = [("RAW_CNTS", ">i4", shape)]
    pixels += [(name, ">f4", shape) for name in ("FLUX", "FLUX_ERR", "FLUX_BKG", "FLUX_BKG_ERR")]
    return np.dtype([*scalar, *pixels, ("QUALITY", ">i4"), ("POS_CORR1", ">f4"), ("POS_CORR2", ">f4")])


def _unit(ra: float, dec: float) -> NDArray[np.float64]:
    a, d = math.radians(ra), math.radians(dec)
    return np.array([math.cos(d) * math.cos(a), math.cos(d) * math.sin(a), math.sin(d)])


def _aperture(
    stars: Stars, response: Response, stamp: Stamp, table: NDArray[np.void]
) -> tuple[NDArray[np.int32], tpfcards.ApertureFacts]:
    """The mask with the best signal to noise of the star, and what it holds."""
    shape = (stamp.rows, stamp.columns)
    own = np.zeros(shape, dtype="f4")
    k = np.array([stamp.star])
    place = np.stack([stars.column[k], stars.row[k]], axis=-1)
    draw(response, k, own, (stamp.row, stamp.column), place, stars.flux[k])
    good = TESSQualityFlags.filter(table["QUALITY"])
    if not good.any():
        good[:] = True
    mean = np.nanmean(table["FLUX"][good], axis=0, dtype="f8")
    error = np.nanmean(table["FLUX_ERR"][good], axis=0, dtype="f8")
    # Overflowing charge is the star's own, wherever it went.
    signal = np.maximum(mean, own) if stars.tmag[stamp.star] < SATURATED_TMAG else own
    order = np.argsort(-(signal / np.maximum(error, 1e-3)).ravel(), kind="stable")
    ratio = np.cumsum(signal.ravel()[order]) / np.sqrt(np.cumsum(error.ravel()[order] ** 2))
    mask = np.zeros(shape, dtype=bool)
    mask.ravel()[order[: int(np.argmax(ratio)) + 1]] = True
    aperture = 1 + np.tile(c.output_bit(stamp.column + np.arange(stamp.columns)), (stamp.rows, 1))
    aperture[mask] |= 2 | 8
    aperture[~mask & (mean < np.median(mean))] |= 4
    flux = signal[mask].sum()
    total = mean[mask].sum()
    facts = tpfcards.ApertureFacts(
        int(mask.sum()),
        float(np.clip(flux / total, 0.0, 1.0)) if total > 0 else 1.0,
        float(np.clip(flux / stars.flux[stamp.star], 0.0, 1.0)),
    )
    return aperture.astype("i4"), facts


def _local_wcs(stars: Stars, stamp: Stamp, reference: FrameWCS) -> list[CardTuple]:
    """TAN without distortion around the star, in the stamp's pixels, as cards of an image."""
    ra, dec = float(stars.ra[stamp.star]), float(stars.decl[stamp.star])
    column, row = reference.positions(ra, dec)[0]
    around = reference.sky(column + np.array([0.5, -0.5, 0, 0]), row + np.array([0, 0, 0.5, -0.5]), 0)
    offset = (around - [ra, dec] + 180.0) % 360.0 - 180.0
    offset[:, 0] *= math.cos(math.radians(dec))
    cd = np.stack([offset[0] - offset[1], offset[2] - offset[3]], axis=-1)
    scale = math.sqrt(abs(float(np.linalg.det(cd))))
    pc = cd / np.array([[-scale], [scale]])
    return [
        ("CTYPE1", "RA---TAN", "right ascension coordinate type"),
        ("CTYPE2", "DEC--TAN", "declination coordinate type"),
        ("CRPIX1", float(column) - stamp.column + 1.0, "[pixel] reference pixel along image axis 1"),
        ("CRPIX2", float(row) - stamp.row + 1.0, "[pixel] reference pixel along image axis 2"),
        ("CRVAL1", ra, "[deg] right ascension at reference pixel"),
        ("CRVAL2", dec, "[deg] declination at reference pixel"),
        ("CUNIT1", "deg", "physical unit in column dimension"),
        ("CUNIT2", "deg", "physical unit in row dimension"),
        ("CDELT1", -scale, "[deg] pixel scale in RA dimension"),
        ("CDELT2", scale, "[deg] pixel scale in DEC dimension"),
        ("PC1_1", float(pc[0, 0]), "linear transformation matrix element cos(th)"),
        ("PC1_2", float(pc[0, 1]), "linear transformation matrix element -sin(th)"),
        ("PC2_1", float(pc[1, 0]), "linear transformation matrix element sin(th)"),
        ("PC2_2", float(pc[1, 1]), "linear transformation matrix element cos(th)"),
    ]
