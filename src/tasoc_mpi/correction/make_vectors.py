"""The co-trending basis vectors of every area of a run, made from its light curves (`tasoc-mpi cbv`)."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, TasocError
from ..core.input_files import warn_each
from ..core.locks import exclusive
from ..core.names import CBV_FOLDER, Choice, cbv_name, cbv_pictures, is_chosen
from ..core.ranks import Ranks, Step
from ..core.resources import one_blas_thread
from ..core.tables import counted, size_text
from ..products.cbv_file import USES, Vectors, vectors_source, write_vectors
from ..products.cbv_fits import write_fits
from .candidates import FEWEST_STARS, Area, areas_to_join, digest, quiet_stars, read_areas
from .components import Components, clean_components, smooth_noise, split_spikes
from .star_matrix import (
    BLOCK,
    FACTS,
    CountFrames,
    FitCurves,
    Multiply,
    NormaliseCurves,
    ReadCurves,
    pieces,
    read_listed,
    read_rows,
)

__all__ = ["COUNT", "VectorOptions", "make_vectors"]

logger = logging.getLogger(__name__)

#: Number of vectors.
COUNT = 16
#: Number of leading vectors by whose share of a light curve the better half of the stars is chosen.
LEADING = 8
#: A frame is good if this share of the quiet stars has it; a star is used if it has this share of the frames.
FRAME_SHARE, STAR_SHARE = 0.5, 0.8
#: A new orbit begins after a gap of so many days; shorter stretches of good frames than this have no vectors.
ORBIT_GAP, FEWEST_FRAMES = 0.5, 20
#: Light curves whose cadence numbers are compared.
SAMPLE = 20
#: Bytes of a process without any data.
_BASE = 250e6


@dataclass(frozen=True)
class _Request:
    """What to make vectors of; `stars` are those of `areas`, of which the first is the one they are for."""

    todo: Path
    output: Path
    areas: list[Area]
    stars: NDArray[np.void]
    eligible: NDArray[np.bool_]
    quiet: NDArray[np.bool_]
    source: str

    @property
    def path(self) -> Path:
        area = self.areas[0]
        return self.output / CBV_FOLDER / cbv_name(area.sector, area.cadence, area.number)


@dataclass(frozen=True)
class VectorOptions:
    """Which vectors to make, and how."""

    sector: Choice = None  #: Only of this one, as `camera` and `ccd`
    camera: Choice = None
    ccd: Choice = None
    overwrite: bool = False  #: Make anew what is up to date
    partial: bool = False  #: Take the light curves that there are of areas that are not finished
    version: int | None = None  #: Of the light curves; by default there may be only one
    memory: float | None = None  #: Bytes for all ranks of a node; None for half of what is free


def make_vectors(
    todo: Path, output: Path, ranks: Ranks, options: VectorOptions = VectorOptions()
) -> list[Path]:
    """Make the vectors of all areas; to be called on rank 0.

    Parameters
    ----------
    todo : Path
        The work list.
    output : Path
        Folder of its light curves. The vectors are written to `CBV_FOLDER` in it.
    ranks : Ranks
        Those that share the work.
    options : VectorOptions, optional

    Returns
    -------
    list of Path
        The HDF5 files, also those that were up to date.

    Raises
    ------
    MissingInput, InputError
        If there are no light curves, an area is not finished, the memory does not suffice, or no area has
        enough stars and frames.
    """
    areas = read_areas(todo, options.version)
    chosen = _chosen(todo, areas, options)
    folder = output / CBV_FOLDER
    folder.mkdir(exist_ok=True)
    made, failed = [], []
    with exclusive(folder / "cbv"), one_blas_thread():
        for area in chosen:
            try:
                made.append(_make(_request(todo, output, area, areas), ranks, options))
            except _NoVectors as error:
                failed.append(str(error) + _remove_vectors(folder, area, error.unread))
    warn_each(failed)
    if not made:
        raise InputError(
            f"{output}: no area has enough stars and frames for vectors; the light curves stay as they are"
        )
    return made


def _chosen(todo: Path, areas: list[Area], options: VectorOptions) -> list[Area]:
    """The areas that are asked for; InputError if there are none, or one is not finished."""
    which = options.sector, options.camera, options.ccd
    chosen = [a for a in areas if is_chosen((a.sector, a.camera, a.ccd), *which)]
    if not chosen:
        raise InputError(f"{todo}: no light curves of such a CCD; loosen --sector, --camera or --ccd")
    if not options.partial and (names := [_name(area) for area in chosen if area.unfinished]):
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise InputError(
            f"{todo}: not finished: {', '.join(names[:3])}{more}; run `tasoc-mpi run` again, or take the"
            " light curves that there are with --partial"
        )
    return chosen


#: What follows where an area has too few stars or frames.
_OTHERWISE = (
    "`tasoc-mpi correct` uses vectors of a longer cadence if there are any, otherwise FLUX_CORR stays NaN"
)
_WITHOUT = f"but vectors need {FEWEST_STARS}; {_OTHERWISE}"


def _remove_vectors(folder: Path, area: Area, unread: int) -> str:
    """Delete vectors that an area had, unless light curves are `unread` today; what is to be said of it."""
    path = folder / cbv_name(area.sector, area.cadence, area.number)
    if not path.exists():
        return ""
    if unread:
        return f"; {unread:,} of its light curves cannot be read: its vectors stay as they are"
    for file in (path, path.with_suffix(".fits"), *cbv_pictures(path).values()):
        file.unlink(missing_ok=True)
    return "; its vectors, of more stars than it has now, are deleted"


class _NoVectors(InputError):
    """There are no vectors of an area, of which some light curves may have been unreadable."""

    def __init__(self, message: str, unread: int = 0) -> None:
        super().__init__(message)
        self.unread = unread


def _name(area: Area) -> str:
    return f"area {area.number} of sector {area.sector} at {area.cadence} s"


def _request(todo: Path, output: Path, area: Area, areas: list[Area]) -> _Request:
    """An area, with neighbours joined until there are enough quiet stars."""
    joined = [area]
    others = areas_to_join(area, areas)
    while True:
        stars = np.concatenate([a.stars for a in joined])
        eligible, quiet = quiet_stars(stars)
        if quiet.sum() >= FEWEST_STARS or not others:
            break
        joined.append(others.pop(0))
    return _Request(todo, output, joined, stars, eligible, quiet, digest(joined))


def _make(request: _Request, ranks: Ranks, options: VectorOptions) -> Path:
    """The vectors of one area; those that are up to date are kept."""
    path, area = request.path, request.areas[0]
    if not options.overwrite and path.exists() and path.with_suffix(".fits").exists():
        try:
            if vectors_source(path) == request.source:
                logger.info("%s: up to date; --overwrite makes it anew", path)
                return path
        except TasocError as error:
            logger.warning("%s", error)
    if request.quiet.sum() < FEWEST_STARS:
        raise _NoVectors(
            f"{request.todo}: {_name(area)} and its neighbours have "
            f"{counted(request.quiet.sum(), 'usable star')}, {_WITHOUT}"
        )
    if len(request.areas) > 1:
        others = ", ".join(str(a.number) for a in request.areas[1:])
        logger.warning("%s has too few usable stars; those of area %s are joined", _name(area), others)
    with ExitStack() as stack:
        matrix, normal = (stack.enter_context(_scratch(path, kind)) for kind in ("curves", "normal"))
        vectors = _Maker(request, ranks, matrix, normal, options.memory).make()
    for picture in cbv_pictures(path).values():
        # Of the vectors before.
        picture.unlink(missing_ok=True)
    write_vectors(path, vectors, request.source)
    write_fits(path.with_suffix(".fits"), vectors)
    logger.info(
        "%s: %d frames, %d of %d stars, %.1f%% of their variance explained, %s above the noise",
        path, vectors.good.sum(), (vectors.use == 0).sum(), len(vectors.use),
        100 * vectors.explained.sum(), counted(int(vectors.significant), "vector"),
    )  # fmt: skip
    return path


@contextmanager
def _scratch(path: Path, kind: str) -> Iterator[str]:
    """An empty file of this program's own beside the vectors, which is deleted at the end."""
    name = path.with_name(f".{path.stem}.{kind}.tmp")
    name.unlink(missing_ok=True)
    name.touch()
    try:
        yield str(name)
    finally:
        name.unlink(missing_ok=True)


class _Maker:
    """The steps from the light curves of an area to its vectors.

    Parameters
    ----------
    request : _Request
    ranks : Ranks
    matrix, normal : str
        Empty files for the matrix of the light curves and for its normalised rows.
    memory : float or None
    """

    def __init__(
        self, request: _Request, ranks: Ranks, matrix: str, normal: str, memory: float | None
    ) -> None:
        self.request, self.ranks, self.matrix, self.normal = request, ranks, matrix, normal
        self.area = request.areas[0]
        self.time, self.timecorr, self.cadenceno = self._times()
        frames = len(self.cadenceno)
        need = _BASE + 8.0 * frames * (3 * BLOCK + 6 * (COUNT + 8) + 300)
        free = ranks.memory(memory)
        if need > free:
            raise InputError(
                f"{request.path}: needs {need / 1e9:.2f} GB of memory for each rank, there are "
                f"{free / 1e9:.2f} GB; use fewer ranks on a node, or raise --memory"
            )
        logger.info(
            "%s: %d stars x %d frames, %s of memory for each rank and %s of disk",
            request.path, len(request.stars), frames, size_text(need),
            size_text(8.0 * len(request.stars) * frames),
        )  # fmt: skip

    def _times(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int32]]:
        """Times and cadence numbers that the light curves have."""
        names = self.request.stars["lightcurve"].tolist()
        picked = np.unique(np.linspace(0, len(names) - 1, SAMPLE).astype(int))
        times: dict[int, tuple[float, float]] = {}
        first = ""
        for i in picked:
            try:
                curve = read_listed(str(self.request.output), names[i])
            except InputError as error:
                # Those that cannot be read are named when all are read.
                first = first or f" ({str(error).partition('; ')[0]})"
                continue
            known = zip(curve.time.tolist(), curve.timecorr.tolist(), strict=True)
            for number, both in zip(curve.cadenceno.tolist(), known, strict=True):
                if np.isfinite(both).all():
                    times.setdefault(number, both)
        numbers = sorted(times)
        if not numbers:
            raise InputError(
                f"{self.request.output}: no light curve of {_name(self.area)} can be read{first}; "
                "compute them again"
            )
        pairs = np.array([times[n] for n in numbers])
        return pairs[:, 0].copy(), pairs[:, 1].copy(), np.array(numbers, dtype=np.int32)

    def _share(self, step: Step, count: int) -> list[Any]:
        """Results of all blocks of rows, in the order of the blocks."""
        blocks = pieces(count)
        results: dict[int, Any] = {}

        def note(first: int, last: int, result: Any) -> None:
            results[first] = result

        self.ranks.share(step, blocks, note)
        return [results[first] for first, _ in blocks]

    def make(self) -> Vectors:
        """All steps."""
        request, frames = self.request, len(self.cadenceno)
        names = tuple(request.stars["lightcurve"].tolist())
        read = self._share(
            ReadCurves(str(request.output), names, self.matrix, self.cadenceno), len(request.stars)
        )
        problems = [problem for _, some in read for problem in some]
        warn_each(problems)
        facts = dict(zip(FACTS, np.concatenate([facts for facts, _ in read]).T, strict=True))
        use = np.full(len(request.stars), USES.index("of another method or status"))
        use[request.eligible] = USES.index("variable")
        use[request.quiet] = USES.index("used")
        use[~(facts["level"] > 0)] = USES.index("no flux, or too few points")
        self.orbit = self._orbits(np.flatnonzero(use == 0), frames)
        good = np.flatnonzero(self.orbit >= 0)
        if (use == 0).sum() >= FEWEST_STARS and not len(good):
            raise _NoVectors(
                f"{request.todo}: {_name(self.area)} has too few frames ({frames}): in no orbit has half"
                f" of the stars {FEWEST_FRAMES} good ones; {_OTHERWISE}",
                len(problems),
            )
        use[(use == 0) & (facts["points"] < STAR_SHARE * len(good))] = USES.index(
            "no flux, or too few points"
        )
        stars = np.flatnonzero(use == 0)
        if len(stars) < FEWEST_STARS:
            raise _NoVectors(
                f"{request.todo}: {_name(self.area)} has {len(stars)} stars with enough points, {_WITHOUT}",
                len(problems),
            )
        step = NormaliseCurves(
            self.matrix, self.normal, stars, frames, good, self.time[good], self.orbit[good]
        )
        normal_facts = np.concatenate(self._share(step, len(stars)))
        half, components = self._components(stars, normal_facts[:, 1], use)
        return self._vectors(facts, use, stars[half], components, normal_facts[half])

    def _orbits(self, stars: NDArray[np.int64], frames: int) -> NDArray[np.int32]:
        """Number of the orbit of each frame, -1 for bad ones."""
        if not len(stars):
            return np.full(frames, -1, dtype=np.int32)
        counts = np.sum(self._share(CountFrames(self.matrix, stars, frames), len(stars)), axis=0)
        (good,) = np.nonzero(counts >= FRAME_SHARE * len(stars))
        orbit = np.full(frames, -1, dtype=np.int32)
        times = (self.time - self.timecorr)[good]
        number = 0
        for part in np.split(good, np.flatnonzero(np.diff(times) > ORBIT_GAP) + 1):
            if len(part) >= FEWEST_FRAMES:
                orbit[part] = number
                number += 1
        return orbit

    def _components(
        self, stars: NDArray[np.int64], squares: NDArray[np.float64], use: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], Components]:
        """The half of the stars that the leading vectors explain best, and its components."""
        every = np.arange(len(stars))
        first = self._clean(every, min(LEADING, len(stars) // 3))
        use[stars[first.removed]] = USES.index("dominated a vector")
        explained = (first.weights**2).sum(axis=1) / np.maximum(squares, 1e-300)
        explained[first.removed] = -1.0
        # The first of equals: the order of the stars is that of the work list.
        order = np.argsort(-explained, kind="stable")[: len(stars) - len(first.removed)]
        half = np.sort(order[: max(FEWEST_STARS, len(order) // 2)])
        out = np.setdiff1d(np.setdiff1d(every, half), first.removed)
        use[stars[out]] = USES.index("less of it explained than of the others")
        components = self._clean(half, min(COUNT, len(half) // 2))
        use[stars[half[components.removed]]] = USES.index("dominated a vector")
        return half, components

    def _clean(self, rows: NDArray[np.int64], count: int) -> Components:
        frames = int((self.orbit >= 0).sum())

        def products(q: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            found = self._share(Multiply(self.normal, rows, q), len(rows))
            total = found[0][0].copy()
            for product, _ in found[1:]:
                total += product
            return total, np.concatenate([weights for _, weights in found])

        def row(number: int) -> NDArray[np.float64]:
            return read_rows(self.normal, rows[number : number + 1], frames)[0].astype(np.float64)

        return clean_components(products, row, frames, count)

    def _vectors(
        self,
        facts: dict[str, NDArray[np.float64]],
        use: NDArray[np.int64],
        stars: NDArray[np.int64],
        components: Components,
        normal_facts: NDArray[np.float64],
    ) -> Vectors:
        """Vectors with the coefficients of the stars; `stars` are those of the rows of the components."""
        request, area = self.request, self.area
        frames, total, count = len(self.cadenceno), len(request.stars), components.vectors.shape[1]
        (good,) = np.nonzero(self.orbit >= 0)
        kept = np.ones(len(stars), dtype=bool)
        kept[components.removed] = False
        weights = np.where(kept[:, None], components.weights, 0.0)
        # The noise of a vector, of which the standard deviation is 1, from that of its light curves.
        spread = ((weights * normal_facts[:, :1]) ** 2).sum(axis=0) / components.variances**2
        noise = np.sqrt(spread * len(good))
        scaled = components.vectors * np.sqrt(len(good))
        slow, spikes = np.zeros((frames, count)), np.zeros((frames, count))
        slow[good], spikes[good] = split_spikes(scaled, self.orbit[good], area.cadence)
        slow[good] = smooth_noise(slow[good], noise, self.orbit[good], area.cadence)
        all_weights = np.zeros((total, count))
        all_weights[stars] = weights
        vectors = Vectors(
            sector=area.sector, camera=area.camera, ccd=area.ccd, cadence=area.cadence, area=area.number,
            areas=np.array([a.number for a in request.areas]),
            time=self.time, timecorr=self.timecorr, cadenceno=self.cadenceno, orbit=self.orbit,
            slow=slow, spikes=spikes,
            explained=components.variances / normal_facts[kept, 1].sum(),
            entropy=components.entropies, noise=noise,
            starid=request.stars["starid"], tmag=request.stars["tmag"], row=facts["row"],
            column=facts["column"], use=use.astype(np.int32), weights=all_weights,
            coefficients=np.empty((total, 0)), coefficient_errors=np.empty((total, 0)),
            left=np.zeros((2, frames), np.float32),
        )  # fmt: skip
        return self._with_coefficients(vectors, use)

    def _with_coefficients(self, vectors: Vectors, use: NDArray[np.int64]) -> Vectors:
        """Vectors with the coefficients of the stars, and with what their correction leaves in common."""
        total, frames = len(use), len(self.cadenceno)
        fitted = self._share(FitCurves(self.matrix, np.arange(total), use == 0, vectors), total)
        coefficients = np.concatenate([values for values, _ in fitted])
        # Stars that are no examples of systematics alone are none for others.
        example = np.isin(use, [USES.index("used"), USES.index("less of it explained than of the others")])
        coefficients[~example] = np.nan
        sums = np.zeros((2, 2, frames))
        for _, part in fitted:
            sums += part
        left = np.divide(sums[:, 0], sums[:, 1], out=np.zeros((2, frames)), where=sums[:, 1] > 0)
        return dataclasses.replace(
            vectors,
            coefficients=coefficients[:, 0],
            coefficient_errors=coefficients[:, 1],
            left=left.astype(np.float32),
        )
