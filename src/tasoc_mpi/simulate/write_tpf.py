"""Target pixel files as the mission writes them: stamps of single stars at 120 or 20 s."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..core.quality import TESSQualityFlags
from ..core.sphere import unit_vectors
from ..products.fits_bytes import CardTuple, hdu_bytes
from ..products.frame_wcs import FrameWCS
from . import mission_cards as mission
from . import tpf_cards
from .options import SimulationOptions
from .render import FULL_WELL, add_cosmics, add_noise, add_sky, bleed
from .response import draw
from .scene import Observation, Scene
from .sky import sky_levels, sky_patterns
from .stamps import SATURATED_TMAG, SIDE, Stamp
from .systematics import scattered_pattern

__all__ = ["tpf_bytes", "tpf_name", "tpf_size"]

#: Rows above and below the stamp of a saturated star that are simulated with it.
SATURATED_PADDING = 60
#: Images that get sky, and bleed, at once.
_AT_ONCE = 1000


def tpf_name(options: SimulationOptions, starid: int, date: str) -> str:
    """File name of the target pixel file of a star; `date` is the UTC date of the first exposure."""
    date = mission.file_date(date)
    kind = "a_fast-tp" if options.tpf_cadence == 20 else "s_tp"
    name = f"tess{date}-s{options.sector:04d}-{starid:016d}-{mission.SCCONFIG:04d}-{kind}.fits"
    return f"{name}.gz" if options.gzip else name


def tpf_size(exposures: int) -> int:
    """Bytes of a file before compression."""
    return exposures * (28 + 20 * SIDE * SIDE) + 40000


def tpf_bytes(scene: Scene, observation: Observation, stamp: Stamp) -> bytes:
    """The whole file, uncompressed, with valid checksums.

    Parameters
    ----------
    scene : Scene
    observation : Observation
        At the cadence of the files.
    stamp : Stamp
    """
    stars, k = scene.stars, stamp.star
    reference = scene.frames.wcs.take([scene.reference])
    correction = observation.position @ unit_vectors(stars.ra[k], stars.decl[k])
    table = _table(scene, observation, stamp, correction, reference)
    aperture, facts = _aperture(scene, stamp, table)
    wcs = tuple(_local_wcs(float(stars.ra[k]), float(stars.decl[k]), stamp, reference))
    target = tpf_cards.Target(scene, observation.exposures, stamp, correction, wcs, facts)
    return b"".join(
        [
            hdu_bytes(tpf_cards.primary(target)),
            hdu_bytes(tpf_cards.pixels(target, len(table)), table.tobytes()),
            hdu_bytes(tpf_cards.aperture(target), aperture.astype(">i4").tobytes()),
            hdu_bytes(tpf_cards.cosmic_rays()),
        ]
    )


def _table(
    scene: Scene,
    observation: Observation,
    stamp: Stamp,
    correction: NDArray[np.float64],
    reference: FrameWCS,
) -> NDArray[np.void]:
    """The rows of the PIXELS table."""
    options, stars, exposures = scene.options, scene.stars, observation.exposures
    table = np.zeros(len(exposures.begin), dtype=tpf_cards.table_dtype((stamp.rows, stamp.columns)))
    rng = options.rng(5, int(stars.starid[stamp.star]))
    images, sky, positions = _expected(scene, observation, stamp)
    _, used = mission.reads(exposures.seconds)
    exposure = used * mission.INT_TIME
    # One long image: a track of a cosmic ray may run from one exposure into the next, which does no harm.
    flat = images.reshape(-1, stamp.columns)
    if options.cosmics:
        add_cosmics(flat, rng, exposures.seconds, exposure)
    error = add_noise(flat, rng if options.noise else None, exposure, used, mission.READ_NOISE)
    there = reference.positions(stars.ra[stamp.star], stars.decl[stamp.star])[0]
    table["TIME"] = exposures.middle + correction
    table["TIMECORR"] = correction
    table["CADENCENO"] = exposures.cadenceno
    table["RAW_CNTS"] = np.rint(mission.fixed_offset(exposures.seconds) + images * (exposure / mission.GAIN))
    table["FLUX"] = images - sky
    table["FLUX_ERR"] = error.reshape(images.shape)
    table["FLUX_BKG"] = sky
    table["FLUX_BKG_ERR"] = 0.01 * np.sqrt(np.maximum(sky, 0.0) + 1.0)
    table["QUALITY"] = exposures.quality
    table["POS_CORR1"], table["POS_CORR2"] = (positions - there).T
    for name in table.dtype.names or ():
        if table.dtype[name].base.kind == "f":
            table[name][exposures.gap] = np.nan
    table["RAW_CNTS"][exposures.gap] = -1
    return table


def _expected(
    scene: Scene, observation: Observation, stamp: Stamp
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]:
    """Images without noise and their sky, shape (T, R, C); the star's 0-based (column, row), shape (T, 2)."""
    stars, variability, middle = scene.stars, scene.variability, observation.exposures.middle
    padding = SATURATED_PADDING if stars.tmag[stamp.star] < SATURATED_TMAG else 0
    row, rows = stamp.row - padding, stamp.rows + 2 * padding
    radius = scene.response.radius
    near = (stars.row > row - radius - 1) & (stars.row < row + rows + radius)
    first, last = stamp.column, stamp.column + stamp.columns
    near &= (stars.column > first - radius - 1) & (stars.column < last + radius)
    # Wings reach everywhere.
    (members,) = np.nonzero(near | (scene.response.wings > 0))
    n = len(middle)
    positions = np.empty((n, len(members), 2))
    systematics = observation.exposures.systematics
    fluxes = stars.flux[members] * systematics.sensitivity[:, None]
    for i, k in enumerate(members):
        positions[:, i] = observation.wcs.positions(stars.ra[k], stars.decl[k]) + systematics.shift
        (v,) = np.nonzero(variability.star == k)
        if len(v):
            time = middle + observation.position @ unit_vectors(stars.ra[k], stars.decl[k])
            fluxes[:, i] *= variability.factor(int(v[0]), time)
    images = np.zeros((n, rows, stamp.columns), dtype="f4")
    patterns = sky_patterns(scene.options, row + np.arange(rows), stamp.column + np.arange(stamp.columns))
    levels = sky_levels(scene.options, middle, scene.timeline.sector_start)
    if scene.options.systematics:
        pixels = row + np.arange(rows), stamp.column + np.arange(stamp.columns)
        images += systematics.scattered[:, None, None].astype("f4") * scattered_pattern(*pixels)
    for t in range(n):
        focus = observation.exposures.focus[t]
        draw(scene.response, members, images[t], (row, stamp.column), positions[t], fluxes[t], focus)
    for first in range(0, n, _AT_ONCE):
        some = slice(first, first + _AT_ONCE)
        add_sky(images[some], patterns, levels[some])
        bleed(images[some], FULL_WELL)
    inner = slice(padding, padding + stamp.rows)
    sky = np.einsum("tk,krc->trc", levels, patterns[:, inner].astype("f8")).astype("f4")
    return np.ascontiguousarray(images[:, inner]), sky, positions[:, np.searchsorted(members, stamp.star)]


def _aperture(
    scene: Scene, stamp: Stamp, table: NDArray[np.void]
) -> tuple[NDArray[np.int32], tpf_cards.ApertureFacts]:
    """The mask with the best signal to noise of the star, and how much light is in it."""
    stars, shape = scene.stars, (stamp.rows, stamp.columns)
    own = np.zeros(shape, dtype="f4")
    k = np.array([stamp.star])
    position = np.stack([stars.column[k], stars.row[k]], axis=-1)
    draw(scene.response, k, own, (stamp.row, stamp.column), position, stars.flux[k])
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
    aperture = 1 + np.tile(mission.output_bit(stamp.column + np.arange(stamp.columns)), (stamp.rows, 1))
    aperture[mask] |= 2 | 8
    aperture[~mask & (mean < np.median(mean))] |= 4
    flux = signal[mask].sum()
    total = mean[mask].sum()
    facts = tpf_cards.ApertureFacts(
        int(mask.sum()),
        float(np.clip(flux / total, 0.0, 1.0)) if total > 0 else 1.0,
        float(np.clip(flux / stars.flux[stamp.star], 0.0, 1.0)),
    )
    return aperture.astype("i4"), facts


def _local_wcs(ra: float, dec: float, stamp: Stamp, reference: FrameWCS) -> list[CardTuple]:
    """TAN without distortion around the star, in the stamp's pixels, as cards of an image."""
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
