"""The simulation of one CCD, from options to files."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.atomic import write_whole
from ..core.errors import InputError, TasocError
from ..core.names import catalog_name, truth_name
from ..core.progress import progress
from ..core.sphere import unit_vectors
from ..core.tables import size_text
from ..core.times import DAY
from ..products.ccd_outline import CAMERA_CENTRES
from ..products.star_catalog import STAR_DTYPE, CatalogSettings, write_catalog
from ..products.tpf import tpf_ccd
from . import mission_cards as mission
from .options import SimulationOptions, SimulationPaths
from .render import FULL_WELL, add_cosmics, add_noise, add_sky, bleed
from .response import draw
from .scene import Scene, make_scene, observe
from .sky import sky_levels, sky_patterns
from .stamps import Stamp, choose_stamps
from .stars import MARGIN, j2000
from .systematics import scattered_pattern
from .timeline import STEP, stamp_times
from .write_ffi import ffi_bytes, ffi_name, ffi_size
from .write_tpf import tpf_bytes, tpf_name, tpf_size
from .write_truth import write_truth

__all__ = ["run"]

logger = logging.getLogger(__name__)

#: Moments within a frame at which a variable star's flux is taken.
SUBSAMPLES = 5
#: Standard deviation of the collateral pixels, e-/s.
COLLATERAL_NOISE = 0.3


def run(folder: str | os.PathLike[str], options: SimulationOptions) -> SimulationPaths:
    """Write the simulated observation; see `tasoc_mpi.simulate.simulate`."""
    options.check()
    folder = Path(folder)
    earlier = list(_earlier(folder, options))
    if earlier and not options.overwrite:
        raise InputError(
            f"{earlier[0]}: of an earlier simulation; --overwrite replaces it, or take another folder"
        )
    scene = make_scene(options)
    stamps = choose_stamps(options, scene.stars, scene.variability)
    _check_disk(folder, scene, len(stamps))
    for path in earlier:
        path.unlink()
    written: list[Path] = []
    try:
        return _write(folder, scene, stamps, written)
    except BaseException:
        # Half of a simulation would look like a whole one.
        for path in written:
            path.unlink(missing_ok=True)
        raise


def _write(folder: Path, scene: Scene, stamps: list[Stamp], written: list[Path]) -> SimulationPaths:
    """Write all files; the path of each is in `written` before the file is begun."""
    options = scene.options
    for name in ("ffi", "tpf"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    catalog = folder / catalog_name(options.sector, options.camera, options.ccd)
    written.append(catalog)
    write_catalog(catalog, _settings(scene), _catalog(scene))
    ffis, cosmics, overflow = _write_ffis(folder / "ffi", scene, written)
    tpfs = _write_tpfs(folder / "tpf", scene, stamps, written)
    truth = folder / truth_name(options.sector, options.camera, options.ccd)
    written.append(truth)
    write_truth(truth, scene, stamps, ffis, tpfs, cosmics, overflow)
    return SimulationPaths(folder, tuple(ffis), tuple(tpfs), catalog, truth)


def _write_ffis(
    folder: Path, scene: Scene, written: list[Path]
) -> tuple[list[Path], NDArray[np.int64], NDArray[np.float64]]:
    """Write the frames; returns their paths, numbers of cosmic rays, and charge lost at the edges."""
    options, stars, frames = scene.options, scene.stars, scene.frames
    row0, column0, rows, columns = options.science
    patterns = sky_patterns(options, row0 + np.arange(rows), column0 + np.arange(columns))
    residual = scattered_pattern(row0 + np.arange(rows), column0 + np.arange(columns))
    levels = sky_levels(options, frames.exposures.middle, scene.timeline.sector_start)
    systematics = frames.exposures.systematics
    factors = _factors(scene)
    _, used = mission.reads(options.cadence)
    exposure = used * mission.INT_TIME
    n = len(levels)
    cosmics, overflow = np.zeros(n, dtype="i8"), np.zeros(n)
    paths = []
    for t in progress(range(n), n, "full frame images", "frames"):
        rng = options.rng(6, t)
        flux = stars.flux * systematics.sensitivity[t]
        flux[scene.variability.star] *= factors[:, t]
        image = np.zeros((rows, columns), dtype="f4")
        positions = frames.wcs.stars(stars.ra, stars.decl, t) + systematics.shift[t]
        focus = frames.exposures.focus[t]
        draw(scene.response, np.arange(len(stars)), image, (row0, column0), positions, flux, focus)
        add_sky(image, patterns, levels[t])
        if options.systematics:
            image += np.float32(systematics.scattered[t]) * residual
        overflow[t] = bleed(image, FULL_WELL)
        if options.cosmics:
            cosmics[t] = add_cosmics(image, rng, options.cadence, exposure)
        error = add_noise(image, rng if options.noise else None, exposure, used, mission.READ_NOISE)
        if options.full_frame:
            image, error = _with_collateral(options, rng, image, error)
        paths.append(folder / ffi_name(scene, t))
        _write_file(paths[-1], ffi_bytes(scene, t, image, error), written)
    return paths, cosmics, overflow


def _factors(scene: Scene) -> NDArray[np.float64]:
    """Relative flux of the variable stars, mean over each frame, shape (V, T)."""
    exposures, stars = scene.frames.exposures, scene.stars
    offsets = ((np.arange(SUBSAMPLES) + 0.5) / SUBSAMPLES - 0.5) * exposures.seconds / DAY
    out = np.ones((len(scene.variability), len(exposures.begin)))
    for i, k in enumerate(scene.variability.star):
        time = exposures.middle + scene.frames.position @ unit_vectors(stars.ra[k], stars.decl[k])
        out[i] = scene.variability.factor(i, time[:, None] + offsets).mean(axis=1)
    return out


def _with_collateral(
    options: SimulationOptions,
    rng: np.random.Generator,
    image: NDArray[np.float32],
    error: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Put the science pixels into a full frame image with collateral pixels that saw no light."""
    shape = options.image_shape
    row0, column0, rows, columns = options.science
    if options.noise:
        full = rng.standard_normal(shape, dtype=np.float32) * np.float32(COLLATERAL_NOISE)
    else:
        full = np.zeros(shape, dtype="f4")
    full_error = np.full(shape, COLLATERAL_NOISE, dtype="f4")
    science = np.s_[row0 : row0 + rows, column0 : column0 + columns]
    full[science], full_error[science] = image, error
    return full, full_error


def _write_tpfs(folder: Path, scene: Scene, stamps: list[Stamp], written: list[Path]) -> list[Path]:
    if not stamps:
        return []
    observation = observe(
        scene.pointing, scene.timeline, stamp_times(scene.timeline, scene.options.tpf_cadence)
    )
    date = mission.calendar(observation.exposures.begin[:1])[0]
    paths = []
    for stamp in progress(stamps, len(stamps), "target pixel files", "files"):
        paths.append(folder / tpf_name(scene.options, int(scene.stars.starid[stamp.star]), date))
        _write_file(paths[-1], tpf_bytes(scene, observation, stamp), written)
    return paths


def _write_file(path: Path, data: bytes, written: list[Path]) -> None:
    written.append(path)
    if path.suffix == ".gz":
        from isal import igzip

        data = igzip.compress(data, 1, mtime=0)
    write_whole(path, data, durable=False)


def _earlier(folder: Path, options: SimulationOptions) -> Iterator[Path]:
    """Files of an earlier simulation of the same CCD."""
    for name in (truth_name, catalog_name):
        path = folder / name(options.sector, options.camera, options.ccd)
        if path.is_file():
            yield path
    pattern = f"tess*-s{options.sector:04d}-{options.camera}-{options.ccd}-*-s_ffic.fits*"
    yield from sorted((folder / "ffi").glob(pattern))
    for path in sorted((folder / "tpf").glob(f"tess*-s{options.sector:04d}-*tp.fits*")):
        if _tpf_ccd(path) in (None, (options.camera, options.ccd)):
            yield path


def _tpf_ccd(path: Path) -> tuple[int, int] | None:
    """Camera and CCD in the header of a target pixel file, None where they are not there."""
    try:
        return tpf_ccd(path)
    except TasocError:
        return None


def _check_disk(folder: Path, scene: Scene, tpfs: int) -> None:
    options = scene.options
    exposures = len(scene.timeline.roll) * STEP // options.tpf_cadence
    need = options.frames * (ffi_size(options) + 1000) + tpfs * tpf_size(exposures)
    need += 200 * len(scene.stars) + 2_000_000
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    logger.info("%s needs %s; %s are free", folder, size_text(need), size_text(free))
    if need > free:
        raise InputError(
            f"{folder}: {size_text(need)} are needed and {size_text(free)} free; "
            "ask for fewer --frames, --rows, --columns or --tpfs, or take another disk"
        )


def _settings(scene: Scene) -> CatalogSettings:
    options, wcs = scene.options, scene.frames.wcs
    row0, column0, rows, columns = options.science
    low_row, high_row, low, high = row0 - 0.5, row0 + rows - 0.5, column0 - 0.5, column0 + columns - 0.5
    corners = wcs.sky(
        np.array([low, high, high, low]), np.array([low_row, low_row, high_row, high_row]), scene.reference
    )
    centre = CAMERA_CENTRES[options.camera, options.ccd]
    camera = wcs.sky(np.array([centre[1]]), np.array([centre[0]]), scene.reference)[0]
    return CatalogSettings(
        sector=options.sector,
        camera=options.camera,
        ccd=options.ccd,
        ticver="simulated",
        reference_time=scene.reference_time,
        epoch=scene.epoch,
        coord_buffer=MARGIN * 21.0 / 3600.0,
        source="simulation",
        camera_centre_ra=float(camera[0]),
        camera_centre_dec=float(camera[1]),
        footprint=";".join(f"{ra:.8f},{dec:.8f}" for ra, dec in corners),
    )


def _catalog(scene: Scene) -> NDArray[np.void]:
    stars = scene.stars
    out = np.zeros(len(stars), dtype=STAR_DTYPE)
    for name in ("starid", "ra", "decl", "pm_ra", "pm_decl", "tmag", "teff"):
        out[name] = getattr(stars, name)
    out["ra_J2000"], out["decl_J2000"] = j2000(stars, scene.epoch).T
    return out
