"""The options of a simulation and their limits, and the files that it makes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.errors import UsageError
from .bright import BrightStar, check_bright_star
from .systematics import WIDEST

__all__ = [
    "CCD_COLUMNS",
    "CCD_ROWS",
    "FIRST_COLUMN",
    "FRAME_COLUMNS",
    "FRAME_ROWS",
    "SimulationOptions",
    "SimulationPaths",
]

#: Size of a full frame image, and of its science pixels, whose first column is `FIRST_COLUMN`.
FRAME_ROWS, FRAME_COLUMNS = 2078, 2136
CCD_ROWS, CCD_COLUMNS = 2048, 2048
FIRST_COLUMN = 44


@dataclass(frozen=True)
class SimulationOptions:
    """Options of a simulation.

    Attributes
    ----------
    sector, camera, ccd : int
    frames : int
        Number of full frame images.
    rows, columns : int
        Size of the simulated region of the CCD's science pixels.
    row0, column0 : int or None
        0-based full frame image row and column of the region's first pixel (the first science column is 44);
        None puts the region in the middle of the CCD.
    full_frame : bool
        The whole CCD with its collateral pixels, 2078 rows x 2136 columns; `rows` to `column0` are not used.
    tpfs : int
        Number of stars with a target pixel file.
    tpf_cadence : int
        Of target pixel files, seconds: 120 or 20.
    seed : int
        Not negative. The same options give the same files.
    cadence : int
        Seconds: 1800, 600 or 200.
    first_frame : int
        The frame of the sector to begin with.
    tmag_max : float
        Faintest TESS magnitude of a star.
    density : float
        Number of stars relative to a sparse field (20,000 of Tmag < 15 on a CCD).
    bright : bool
        Have at least one saturated star (Tmag 3.5 to 6) in a region of 200 x 200 pixels or more.
    jitter : bool
        Spacecraft jitter and roll, momentum dumps and differential velocity aberration.
    variables : bool
        Variable stars.
    cosmics : bool
        Cosmic rays.
    noise : bool
        Photon and read noise.
    sky : float
        Factor of the sky's brightness; 0 for none.
    gap : float
        Length in days of the gap in the middle of the sector (13.7 days after its beginning), when the
        data are sent down. Frames in it are not taken; `frames` is the number that are.
    prf : Path or None
        Folder of TESS PRF files; None for the analytic model.
    focus : float
        Focus drift: the width of the response is larger by this share at the beginning of each orbit and
        relaxes within days (`timeline.FOCUS_DAYS`).
    systematics : float
        Strength of the systematics: drifts of focus and pointing, scattered light that the background does
        not contain, a step of the sensitivity, and spikes (`simulate.systematics`); 0 for none. With them
        some of the variable stars rotate in 10 days or flare.
    bright_stars : tuple of BrightStar
        Stars at given places in the region. With any of them, all stars brighter than Tmag 9 have wings that
        reach hundreds of pixels.
    gzip : bool
        Write fits.gz.
    overwrite : bool
        Replace an earlier simulation of the same CCD.
    """

    sector: int = 1
    camera: int = 1
    ccd: int = 1
    frames: int = 1282
    rows: int = 512
    columns: int = 512
    row0: int | None = None
    column0: int | None = None
    full_frame: bool = False
    tpfs: int = 20
    tpf_cadence: int = 120
    seed: int = 1
    cadence: int = 1800
    first_frame: int = 0
    tmag_max: float = 18.0
    density: float = 1.0
    bright: bool = True
    jitter: bool = True
    variables: bool = True
    cosmics: bool = True
    noise: bool = True
    sky: float = 1.0
    gap: float = 1.0
    prf: Path | None = None
    focus: float = 0.0
    systematics: float = 0.0
    bright_stars: tuple[BrightStar, ...] = ()
    gzip: bool = False
    overwrite: bool = False

    def check(self) -> None:
        """Raise UsageError with one line for the first option that cannot be met."""
        _within("--sector", self.sector, 1, 9999)
        _within("--camera", self.camera, 1, 4)
        _within("--ccd", self.ccd, 1, 4)
        _within("--frames", self.frames, 1, 100_000)
        _within("--first-frame", self.first_frame, 0, 100_000)
        _within("--tpfs", self.tpfs, 0, 100_000)
        _within("--seed", self.seed, 0, 2**63 - 1)
        _within("--faint-limit", self.tmag_max, 2.5, 22.0)
        _within("--density", self.density, 0.0, 1000.0)
        _within("--sky", self.sky, 0.0, 1000.0)
        _within("--gap", self.gap, 0.0, 20.0)
        _within("--focus", self.focus, 0.0, 0.5)
        _within("--systematics", self.systematics, 0.0, 10.0)
        if self.cadence not in (200, 600, 1800):
            raise UsageError(f"--cadence {self.cadence}: full frame images have 1800, 600 or 200 s")
        if self.tpf_cadence not in (20, 120):
            raise UsageError(f"--tpf-cadence {self.tpf_cadence}: target pixel files have 120 or 20 s")
        if not self.full_frame:
            _within("--rows", self.rows, 16, CCD_ROWS)
            _within("--columns", self.columns, 16, CCD_COLUMNS)
            row0, column0, rows, columns = self.science
            if row0 < 0 or row0 + rows > CCD_ROWS:
                raise UsageError(
                    f"--row0 {row0} with --rows {rows}: outside the CCD, whose science rows "
                    f"are 0 to {CCD_ROWS - 1}"
                )
            last = FIRST_COLUMN + CCD_COLUMNS - 1
            if column0 < FIRST_COLUMN or column0 + columns > last + 1:
                raise UsageError(
                    f"--column0 {column0} with --columns {columns}: outside the CCD, whose science columns "
                    f"are {FIRST_COLUMN} to {last}"
                )
        row0, column0, rows, columns = self.science
        for star in self.bright_stars:
            check_bright_star(star)
            if not (row0 <= star.row < row0 + rows and column0 <= star.column < column0 + columns):
                raise UsageError(
                    f"--bright-star {star.row:g},{star.column:g},{star.tmag:g}: outside the region, whose "
                    f"rows are {row0} to {row0 + rows - 1} and columns {column0} to {column0 + columns - 1}"
                )
        if self.prf is not None and not Path(self.prf).is_dir():
            raise UsageError(f"--prf {self.prf}: no such folder; leave it out for the analytic PRF")

    def rng(self, *part: int) -> np.random.Generator:
        """Random numbers of one part of the simulation: the same for the same seed and CCD.

        >>> SimulationOptions(seed=7).rng(1).random() == SimulationOptions(seed=7).rng(1).random()
        True
        """
        return np.random.default_rng([self.seed, self.sector, self.camera, self.ccd, *part])

    @property
    def widest(self) -> float:
        """Largest relative change of the PRF's width; 0 for none."""
        return self.focus + WIDEST * self.systematics

    @property
    def science(self) -> tuple[int, int, int, int]:
        """First simulated science pixel (0-based full frame image row, column), number of rows and columns.

        >>> SimulationOptions(rows=200, columns=100, row0=0).science
        (0, 1018, 200, 100)
        """
        if self.full_frame:
            return 0, FIRST_COLUMN, CCD_ROWS, CCD_COLUMNS
        row0 = (CCD_ROWS - self.rows) // 2 if self.row0 is None else self.row0
        column0 = FIRST_COLUMN + (CCD_COLUMNS - self.columns) // 2 if self.column0 is None else self.column0
        return row0, column0, self.rows, self.columns

    @property
    def image_shape(self) -> tuple[int, int]:
        """Rows and columns of an image in the files."""
        return (FRAME_ROWS, FRAME_COLUMNS) if self.full_frame else (self.rows, self.columns)

    @property
    def image_origin(self) -> tuple[int, int]:
        """0-based full frame image (row, column) of the first pixel in the files."""
        return (0, 0) if self.full_frame else self.science[:2]


@dataclass(frozen=True)
class SimulationPaths:
    """The files of a simulation.

    Attributes
    ----------
    folder : Path
    ffis, tpfs : tuple of Path
        In order of time, and of the stars' magnitude.
    catalog, truth : Path
    """

    folder: Path
    ffis: tuple[Path, ...]
    tpfs: tuple[Path, ...]
    catalog: Path
    truth: Path


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise UsageError(f"{name} {value}: must be from {low} to {high}")
