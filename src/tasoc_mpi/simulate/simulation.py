"""The simulation of one CCD, from options to files."""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.atomic import write_whole
from ..core.errors import InputError, TasocError
from ..core.input_files import InputFile
from ..core.names import catalog_name, truth_name
from ..core.quality import TESSQualityFlags
from ..kernels import prf
from ..products.ccd_outline import CAMERA_CENTRES
from ..products.frame_wcs import FrameWCS
from ..products.star_catalog import STAR_DTYPE, CatalogSettings, write_catalog
from . import mission_cards as cards
from .options import SimulationOptions, SimulationPaths
from .pointing import Pointing, load_pointing, moved_wcs
from .render import FULL_WELL, add_cosmics, add_noise, add_sky, bleed
from .response import Response, draw, make_response
from .sky import SKY_PARTS, sky_levels, sky_patterns
from .stars import KINDS, MARGIN, Stars, Variability, j2000, make_stars, make_variability
from .timeline import DAY, Exposures, Timeline, frame_times, make_timeline, stamp_times, tess_position
from .truth_file import write_truth
from .write_ffi import BTC_PIXEL, FrameFacts, facts_of, ffi_bytes, ffi_name, ffi_size, sip_cards
from .write_tpf import Observation, Stamp, choose_stamps, tpf_bytes, tpf_name, tpf_size

__all__ = ["run"]

logger = logging.getLogger(__name__)

#: Moments within a frame at which a variable star's flux is taken.
SUBSAMPLES = 5
#: Standard deviation of the collateral pixels, e-/s.
COLLATERAL_NOISE = 0.3
#: Rows and columns between the nodes at which the truth keeps the sky.
SKY_STEP = 16

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Scene:
    """Everything that is drawn before the first frame is made."""

    options: SimulationOptions
    pointing: Pointing
    timeline: Timeline
    frames: Exposures
    wcs: FrameWCS
    position: NDArray[np.float64]
    barycorr: NDArray[np.float64]
    reference: int
    reference_time: float
    stars: Stars
    variability: Variability
    response: Response

    @property
    def epoch(self) -> float:
        """The reference time as a Julian year."""
        return 2000.0 + (self.reference_time - 2451545.0) / 365.25


def run(
    folder: str | os.PathLike[str], options: SimulationOptions, progress: Progress | None = None
) -> SimulationPaths:
    """Write the simulated observation; see `tasoc_mpi.simulate.simulate`."""
    options.check()
    folder = Path(folder)
    earlier = list(_earlier(folder, options))
    if earlier and not options.overwrite:
        raise InputError(
            f"{earlier[0]}: of an earlier simulation; --overwrite replaces it, or take another folder"
        )
    scene = _scene(options)
    stamps = choose_stamps(options, scene.stars, scene.variability)
    _check_disk(folder, scene, len(stamps))
    for path in earlier:
        path.unlink()
    written: list[Path] = []
    try:
        return _write(folder, scene, stamps, written, progress or _silent)
    except BaseException:
        # Half of a simulation would look like a whole one.
        for path in written:
            path.unlink(missing_ok=True)
        raise


def _silent(what: str, done: int, total: int) -> None:
    pass


def _scene(options: SimulationOptions) -> Scene:
    pointing = load_pointing(options.sector, options.camera, options.ccd)
    timeline = make_timeline(options, pointing)
    frames = frame_times(timeline)
    wcs = moved_wcs(pointing, frames.shift, frames.matrix)
    position = tess_position(frames.middle, timeline.sector_start)
    reference_time = 2457000.0 + 0.5 * (frames.middle[0] + frames.middle[-1])
    # The frame that a reader takes for the catalog's positions: the good one closest to their time.
    distance = np.abs(frames.middle + 2457000.0 - reference_time)
    reference = int(np.argmin(np.where(TESSQualityFlags.filter(frames.quality), distance, np.inf)))
    base = moved_wcs(pointing, np.zeros((1, 2)), np.eye(2)[None])
    ra, dec = np.deg2rad(base.sky(np.array([BTC_PIXEL[0] - 1.0]), np.array([BTC_PIXEL[1] - 1.0]), 0)[0])
    centre = np.array([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
    stars = make_stars(options, wcs, reference)
    days = float(frames.begin[-1] - frames.begin[0]) + frames.seconds / DAY
    return Scene(
        options=options,
        pointing=pointing,
        timeline=timeline,
        frames=frames,
        wcs=wcs,
        position=position,
        barycorr=position @ centre,
        reference=reference,
        reference_time=float(reference_time),
        stars=stars,
        variability=make_variability(options, stars, float(frames.begin[0]), days),
        response=make_response(options, stars),
    )


def _write(
    folder: Path,
    scene: Scene,
    stamps: list[Stamp],
    written: list[Path],
    progress: Progress,
) -> SimulationPaths:
    options = scene.options
    for name in ("ffi", "tpf"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    catalog = folder / catalog_name(options.sector, options.camera, options.ccd)
    written.append(catalog)
    write_catalog(catalog, _settings(scene), _catalog(scene))
    facts = facts_of(scene.frames, scene.barycorr, scene.wcs)
    ffis, cosmics, overflow = _write_ffis(folder / "ffi", scene, facts, written, progress)
    tpfs = _write_tpfs(folder / "tpf", scene, stamps, written, progress)
    truth = folder / truth_name(options.sector, options.camera, options.ccd)
    written.append(truth)
    groups = {
        "stars": _star_truth(scene.stars, scene.variability),
        "variability": _variable_truth(scene.stars, scene.variability),
        "frames": _frame_truth(scene, ffis) | {"cosmics": cosmics, "overflow": overflow},
        "sky": _sky_truth(options),
        "tpfs": {
            "name": [path.name for path in tpfs],
            "starid": scene.stars.starid[[s.star for s in stamps]].astype("i8"),
            "corner": np.array([(s.row, s.column) for s in stamps], dtype="i8").reshape(-1, 2),
        },
    }
    words = {"stars/KINDS": KINDS, "sky/PARTS": SKY_PARTS}
    write_truth(truth, _truth_attributes(scene), groups, words)
    return SimulationPaths(folder, tuple(ffis), tuple(tpfs), catalog, truth)


def _write_ffis(
    folder: Path, scene: Scene, facts: list[FrameFacts], written: list[Path], progress: Progress
) -> tuple[list[Path], NDArray[np.int64], NDArray[np.float64]]:
    """Write the frames; returns their paths, numbers of cosmic rays, and charge lost at the edges."""
    options, stars, frames = scene.options, scene.stars, scene.frames
    row0, column0, rows, columns = options.science
    patterns = sky_patterns(options, row0 + np.arange(rows), column0 + np.arange(columns))
    levels = sky_levels(options, frames.middle, scene.timeline.sector_start)
    factors = _factors(scene)
    everyone = np.arange(len(stars))
    sip = sip_cards(scene.pointing)
    _, used = cards.reads(options.cadence)
    exposure = used * cards.INT_TIME
    cosmics, overflow = np.zeros(len(facts), dtype="i8"), np.zeros(len(facts))
    paths = []
    for t, fact in enumerate(facts):
        rng = np.random.default_rng([options.seed, options.sector, options.camera, options.ccd, 6, t])
        place = scene.wcs.stars(stars.ra, stars.decl, t)
        flux = stars.flux.copy()
        flux[scene.variability.star] *= factors[:, t]
        image = np.zeros((rows, columns), dtype="f4")
        draw(scene.response, everyone, image, (row0, column0), place, flux)
        add_sky(image, patterns, levels[t])
        overflow[t] = bleed(image, FULL_WELL)
        if options.cosmics:
            cosmics[t] = add_cosmics(image, rng, options.cadence, exposure)
        error = add_noise(image, rng if options.noise else None, exposure, used, cards.READ_NOISE)
        if options.full_frame:
            image, error = _collateral(options, rng, image, error)
        path = folder / ffi_name(options, fact.dates[0])
        paths.append(path)
        written.append(path)
        _write_file(path, ffi_bytes(options, scene.pointing, sip, fact, image, error))
        progress("full frame images", t + 1, len(facts))
    return paths, cosmics, overflow


def _factors(scene: Scene) -> NDArray[np.float64]:
    """Relative flux of the variable stars, mean over each frame, shape (V, T)."""
    frames, stars = scene.frames, scene.stars
    offsets = ((np.arange(SUBSAMPLES) + 0.5) / SUBSAMPLES - 0.5) * frames.seconds / DAY
    out = np.ones((len(scene.variability), len(frames.begin)))
    for i, k in enumerate(scene.variability.star):
        ra, dec = np.deg2rad([stars.ra[k], stars.decl[k]])
        unit = np.array([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
        time = frames.middle + scene.position @ unit
        out[i] = scene.variability.factor(i, time[:, None] + offsets).mean(axis=1)
    return out


def _collateral(
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


def _write_tpfs(
    folder: Path,
    scene: Scene,
    stamps: list[Stamp],
    written: list[Path],
    progress: Progress,
) -> list[Path]:
    if not stamps:
        return []
    exposures = stamp_times(scene.timeline)
    observation = Observation(
        exposures=exposures,
        wcs=moved_wcs(scene.pointing, exposures.shift, exposures.matrix),
        position=tess_position(exposures.middle, scene.timeline.sector_start),
        sector_start=scene.timeline.sector_start,
        reference=_single(scene),
        epoch=scene.epoch,
    )
    date = cards.calendar(exposures.begin[:1])[0]
    paths = []
    for i, stamp in enumerate(stamps):
        starid = int(scene.stars.starid[stamp.star])
        path = folder / tpf_name(scene.options, starid, date)
        paths.append(path)
        written.append(path)
        _write_file(
            path, tpf_bytes(scene.options, scene.stars, scene.variability, scene.response, observation, stamp)
        )
        progress("target pixel files", i + 1, len(stamps))
    return paths


def _single(scene: Scene) -> FrameWCS:
    """The WCS of the reference frame alone."""
    t = slice(scene.reference, scene.reference + 1)
    w = scene.wcs
    return FrameWCS(w.crval[t], w.cd[t], w.crpix[t], w.sip_a[t], w.sip_b[t], w.good[t])


def _write_file(path: Path, data: bytes) -> None:
    if path.suffix == ".gz":
        from isal import igzip

        data = igzip.compress(data, 1, mtime=0)
    write_whole(path, data, durable=False)


def _earlier(folder: Path, options: SimulationOptions) -> Iterator[Path]:
    """Files of an earlier simulation of the same CCD."""
    names = (
        truth_name(options.sector, options.camera, options.ccd),
        catalog_name(options.sector, options.camera, options.ccd),
    )
    yield from (path for name in names if (path := folder / name).is_file())
    pattern = f"tess*-s{options.sector:04d}-{options.camera}-{options.ccd}-*-s_ffic.fits*"
    yield from sorted((folder / "ffi").glob(pattern))
    for path in sorted((folder / "tpf").glob(f"tess*-s{options.sector:04d}-*-s_tp.fits*")):
        if _tpf_ccd(path) in (None, (options.camera, options.ccd)):
            yield path


def _tpf_ccd(path: Path) -> tuple[int, int] | None:
    """Camera and CCD of a target pixel file, None where it does not say."""
    try:
        with InputFile(path) as file:
            head = file.read_at(0, 5760)
    except TasocError:
        return None
    found = [re.search(rb"%-8b= +(\d) " % key, head) for key in (b"CAMERA", b"CCD")]
    if not all(found):
        return None
    return int(found[0][1]), int(found[1][1])  # type: ignore[index]


def _check_disk(folder: Path, scene: Scene, tpfs: int) -> None:
    options = scene.options
    exposures = len(scene.timeline.roll) * 40 // 120
    need = options.frames * (ffi_size(options) + 1000) + tpfs * tpf_size(exposures)
    need += 200 * len(scene.stars) + 2_000_000
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    logger.info("%s needs %.2f GB; %.1f GB are free", folder, need / 1e9, free / 1e9)
    if need > free:
        raise InputError(
            f"{folder}: {need / 1e9:.2f} GB are needed and {free / 1e9:.2f} GB free; "
            "ask for fewer --frames, --rows, --columns or --tpfs, or take another disk"
        )


def _settings(scene: Scene) -> CatalogSettings:
    options = scene.options
    row0, column0, rows, columns = options.science
    low_row, high_row, low, high = row0 - 0.5, row0 + rows - 0.5, column0 - 0.5, column0 + columns - 0.5
    corners = scene.wcs.sky(
        np.array([low, high, high, low]), np.array([low_row, low_row, high_row, high_row]), scene.reference
    )
    centre = CAMERA_CENTRES[options.camera, options.ccd]
    camera = scene.wcs.sky(np.array([centre[1]]), np.array([centre[0]]), scene.reference)[0]
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


def _truth_attributes(scene: Scene) -> dict[str, object]:
    o = scene.options
    row0, column0, rows, columns = o.science
    _, used = cards.reads(o.cadence)
    return {
        "SECTOR": o.sector,
        "CAMERA": o.camera,
        "CCD": o.ccd,
        "CADENCE": o.cadence,
        "SEED": o.seed,
        "ROW0": row0,
        "COLUMN0": column0,
        "ROWS": rows,
        "COLUMNS": columns,
        "FULL_FRAME": o.full_frame,
        "EXPOSURE": used * cards.INT_TIME,
        "READS": used,
        "READ_NOISE": cards.READ_NOISE,
        "GAIN": cards.GAIN,
        "FULL_WELL": FULL_WELL,
        "NOISE": o.noise,
        "COSMICS": o.cosmics,
        "JITTER": o.jitter,
        "VARIABLES": o.variables,
        "REF_FRAME": scene.reference,
        "PRF": scene.response.words,
        "CORE_SIGMA": prf.CORE_SIGMA,
        "CORE_WEIGHT": prf.CORE_WEIGHT,
        "WING_SIGMA": prf.WING_SIGMA,
        "WING_WEIGHT": prf.WING_WEIGHT,
        "PRF_CENTRE": CAMERA_CENTRES[o.camera, o.ccd],
    }


def _star_truth(stars: Stars, variability: Variability) -> dict[str, object]:
    kind = np.zeros(len(stars), dtype="i8")
    kind[variability.star] = variability.kind
    names = ("starid", "tmag", "flux", "ra", "decl", "row", "column", "pm_ra", "pm_decl")
    return {name: getattr(stars, name) for name in names} | {"prf_scale": stars.scale, "kind": kind}


def _variable_truth(stars: Stars, variability: Variability) -> dict[str, object]:
    names = ("kind", "period", "epoch", "duration", "depth", "depth2", "frequency", "amplitude", "phase")
    return {"starid": stars.starid[variability.star]} | {name: getattr(variability, name) for name in names}


def _frame_truth(scene: Scene, paths: list[Path]) -> dict[str, object]:
    frames = scene.frames
    return {
        "name": [path.name for path in paths],
        "time": frames.middle,
        "barycorr": scene.barycorr,
        "cadenceno": frames.cadenceno,
        "quality": frames.quality,
        "shift": frames.shift,
        "roll": frames.roll,
        "dva_phase": frames.dva_phase,
        "matrix": frames.matrix,
        "crval": scene.wcs.crval,
        "cd": scene.wcs.cd,
        "sky_levels": sky_levels(scene.options, frames.middle, scene.timeline.sector_start),
        "tess_position": scene.position,
    }


def _sky_truth(options: SimulationOptions) -> dict[str, object]:
    row0, column0, n_rows, n_columns = options.science
    rows = row0 + np.unique(np.append(np.arange(0, n_rows, SKY_STEP), n_rows - 1))
    columns = column0 + np.unique(np.append(np.arange(0, n_columns, SKY_STEP), n_columns - 1))
    return {"rows": rows, "columns": columns, "patterns": sky_patterns(options, rows, columns)}
