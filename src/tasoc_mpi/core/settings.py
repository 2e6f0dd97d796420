"""Constants and thresholds of the pipeline: one table with defaults, ranges and reasons.

A file that the environment variable ``TESSPHOT_SETTINGS`` names overrides single values; it is checked as a
whole when it is read.
"""

from __future__ import annotations

import configparser
import functools
import html
import os
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import Any

from .errors import InputError
from .methods import method_file
from .one_setting import Setting
from .settings_file import read_settings

__all__ = [
    "SETTINGS",
    "Setting",
    "Settings",
    "default",
    "input_folder",
    "load_settings",
    "mag2flux",
    "output_folder",
]

_TMAG = (-10.0, 40.0)
#: All settings, by section.
SETTINGS = (
    Setting(
        "todo", "faint_limit", 15.0, *_TMAG,
        "Stars have to be brighter than this to be processed from full frame images (TESS magnitude).",
    ),
    Setting(
        "todo", "halo_tmag_limit", 2.0, *_TMAG,
        "Full frame image stars at least this bright start with halo photometry (TESS magnitude).",
    ),
    Setting(
        "photometry", "zero_point", 20.451, 15.0, 25.0,
        "The expected flux of a star of magnitude m is 10**(-0.4*(m - zero_point)) e-/s (TASOC data "
        "release 5).",
    ),
    Setting(
        "photometry", "catalog_buffer", 5.0, 0.0, 100.0,
        "Stars up to this far outside the stamp are in its catalog (pixels): their light reaches into it.",
    ),
    Setting(
        "photometry", "max_resizes", 5, 0, 100,
        "How often a stamp may grow: a mask that needs more is that of a crowd, and no star's.",
    ),
    Setting(
        "photometry", "max_resizes_bright", 10, 0, 100,
        "How often the stamp of a star brighter than bright_tmag may grow: its bleed columns are long.",
    ),
    Setting("photometry", "bright_tmag", 6.0, *_TMAG, "See max_resizes_bright (TESS magnitude)."),
    Setting(
        "photometry", "resize_step", 10, 1, 1000,
        "By how many pixels a stamp grows on a side that its mask touches.",
    ),
    Setting(
        "haloswitch", "tmag_limit", 6.0, *_TMAG,
        "Stars at least this bright may be switched to halo photometry (TESS magnitude) ...",
    ),
    Setting(
        "haloswitch", "flux_limit", 0.01, 0.0, 1.0,
        "... where the flux of the mask on the edge of the stamp exceeds this fraction of the expected flux.",
    ),
    Setting(
        "halo", "objective", "tv", 0, 0,
        "What the weights of the pixels minimise: the mean absolute difference of the light curve (tv), "
        "that of second differences (tv_o2), the square root of the mean square (l2v) or the cube root of "
        "the mean cube (l3v) of differences.",
        ("tv", "tv_o2", "l2v", "l3v"),
    ),
    Setting(
        "halo", "lag", 5.0, 0.0, 100.0,
        "Time between the points of a difference (hours; at least one cadence). Over hours the motion of the "
        "star changes more than from one frame to the next.",
    ),
    Setting(
        "halo", "noise_weight", 1.0, 0.0, 1000.0,
        "The objective of the expected noise is added with this factor, with a larger one where the pixels "
        "outnumber a sixth of the frames. Without it (0) the noise of hundreds of pixels is used to cancel "
        "the variations of the star.",
    ),
    Setting("halo", "max_iterations", 101, 1, 10000, "Iterations of the optimiser in each segment."),
    Setting(
        "halo", "radius", 20.0, 3.0, 200.0,
        "Radius of the mask (pixels); 5 pixels more for each magnitude that a star is brighter than Tmag 2.",
    ),
    Setting(
        "halo", "saturation", 50000.0, 1.0, 1e9,
        "Pixels of the sum image from here on count as saturated (e-/s); the full well is some 100,000 e-/s.",
    ),
    Setting(
        "halo", "saturated", 1, 0, 1,
        "Whether the sum of the saturated pixels of the star is used (1) where all of them are there.",
    ),
    Setting(
        "halo", "min_flux", -100.0, -1e9, 0.0,
        "Pixels that are below this in a good frame are left out (e-/s).",
    ),
    Setting(
        "halo", "neighbour_share", 0.01, 0.0, 1.0,
        "Pixels with a larger share of light of other stars are left out: their variations would be in the "
        "light curve.",
    ),
    Setting("halo", "min_pixels", 10, 2, 10000, "Fewest pixels: with fewer there is little to choose from."),
    Setting(
        "halo", "min_frames", 30, 10, 100000,
        "Fewest good frames of a segment; a shorter one gets the weights of its neighbour.",
    ),
    Setting("halo", "gap", 0.5, 0.01, 100.0, "Longer gaps without good frames begin a new segment (days)."),
    Setting(
        "k2p2", "threshold", 0.8, 0.0, 100.0,
        "Significance of a pixel over the mode of the sum image, in robust standard deviations.",
    ),
    Setting("k2p2", "min_pixels", 4, 1, 1000, "Fewest pixels of a mask."),
    Setting(
        "k2p2", "min_cluster", 4, 1, 1000,
        "DBSCAN: fewest significant pixels, itself one of them, in the radius of a core pixel.",
    ),
    Setting("k2p2", "cluster_radius", 2.0**0.5, 1.0, 10.0, "DBSCAN: that radius (pixels)."),
    Setting(
        "k2p2", "watershed_blur", 0.5, 0.0, 10.0,
        "Sigma of the Gaussian in front of the search for markers of the watershed (pixels).",
    ),
    Setting(
        "k2p2", "marker_distance", 2.0 * 2.0**0.5, 0.0, 100.0,
        "A star takes a local maximum as its marker up to this distance (pixels) ...",
    ),
    Setting(
        "k2p2", "marker_distance_saturated", 5.0 * 2.0**0.5, 0.0, 100.0,
        "... and a star that may be saturated up to this one.",
    ),
    Setting(
        "k2p2", "saturation_tmag", 7.0, *_TMAG,
        "Stars and masks at least this bright may be saturated (TESS magnitude).",
    ),
    Setting(
        "k2p2", "saturation_ratio", 0.01, 0.0, 1.0,
        "A column is flat, thus saturated, if the median step along it is below this part of its maximum.",
    ),
    Setting(
        "k2p2", "saturation_flux", 70000.0, 1.0, 1e9,
        "Values of the sum image from here on are left out of its density estimate (e-/s) ...",
    ),
    Setting(
        "k2p2", "trim", 0.15, 0.0, 0.99,
        "... after this fraction of the positive pixels, the brightest.",
    ),
    Setting(
        "psf", "likelihood", "gaussian", 0, 0,
        "Likelihood of the method psf: gaussian with the variance of the data, gaussian-model with that of "
        "the model, or poisson. They differ where electrons are few (faint stars at 20 s).",
        ("gaussian", "gaussian-model", "poisson"),
    ),
    Setting(
        "psf", "free_stars", 1, 1, 5,
        "Stars to which the method psf gives positions of their own in every frame: the target and those "
        "closest to it. More than the target make the fluxes of blended stars noisy.",
    ),
    Setting(
        "psf", "offset_error", 0.01, 1e-6, 1.0,
        "How far from its usual place among the stars of the stamp the method psf expects the target in a "
        "frame (pixels). A larger value makes fluxes of blended stars noisy. Not used with more free_stars.",
    ),
    Setting(
        "download", "archive", "https://archive.stsci.edu", 0, 0,
        "Where tasoc-mpi download finds lists of files, the TIC, PRF files and SPICE kernels; or a "
        "mirror of it.",
    ),
    Setting(
        "download", "mast", "https://mast.stsci.edu", 0, 0,
        "Where it finds frames and target pixel files (--from mast).",
    ),
    Setting(
        "download", "cloud", "https://stpubdata.s3.amazonaws.com", 0, 0,
        "Where it finds the public bucket (--from cloud, and frames of TICA).",
    ),
    Setting(
        "download", "timeout", 60.0, 0.1, 3600.0,
        "Seconds without an answer, or without a byte, after which a transfer is begun again where it "
        "stopped.",
    ),
    Setting(
        "download", "retries", 8, 0, 1000,
        "How often a transfer is begun again without one more byte before its file counts as failed. The "
        "waits in between grow from 1 s to 60 s: 8 of them bridge four minutes.",
    ),
    Setting(
        "run", "target_timeout", 300.0, 0.1, 1e7,
        "Seconds that a star may take before it is ended as an ABORT (--target-timeout). A star takes some "
        "ms, the brightest of a sector at 200 s a few seconds, and a file system that is overloaded may hold "
        "one for a minute.",
    ),
    Setting(
        "run", "stop_timeout", 10.0, 0.0, 1e7,
        "Seconds that stars in hand get when the run is told to end (SIGTERM, SIGUSR1, Ctrl-C); then they "
        "are left for the next run. A star takes some ms, and batch systems send SIGKILL 30 s (SLURM's "
        "KillWait) after SIGTERM, in which results are written, too.",
    ),
    Setting(
        "files", "origin", "TASOC/Aarhus", 0, 0,
        "ORIGIN of the files: the institution that makes them. lightkurve.read recognises light curves of "
        "this form by the default.",
    ),
)  # fmt: skip
#: Sections that no value of a light curve depends on.
_WITHOUT_EFFECT = ("run", "files", "download")

_BY_SECTION: dict[str, dict[str, Setting]] = {}
for _setting in SETTINGS:
    _BY_SECTION.setdefault(_setting.section, {})[_setting.key] = _setting


class Settings(configparser.ConfigParser):
    """Settings of the pipeline, as `load_settings` returns them.

    Examples
    --------
    >>> settings = Settings()
    >>> settings.set("k2p2", "threshold", "1.0")
    >>> settings
    Settings([k2p2] threshold = 1.0; all others have their defaults)
    """

    def __init__(self) -> None:
        super().__init__(interpolation=None)
        self._remembered: dict[Hashable, Any] = {}
        for section, known in _BY_SECTION.items():
            self[section] = {key: setting.shown for key, setting in known.items()}

    def set(self, section: str, option: str, value: str | None = None) -> None:
        """As `configparser.ConfigParser.set`."""
        self._remembered.clear()
        super().set(section, option, value)

    def remembered(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What `make` returns, which depends on settings alone: made again when one is set."""
        if key not in self._remembered:
            self._remembered[key] = make()
        return self._remembered[key]

    def getfloat(self, section: str, option: str, **options: Any) -> float:
        """As `configparser.ConfigParser.getfloat`, which takes 4 us each time."""
        read = functools.partial(super().getfloat, section, option, **options)
        return read() if options else self.remembered((float, section, option), read)

    def getint(self, section: str, option: str, **options: Any) -> int:
        """See `getfloat`."""
        read = functools.partial(super().getint, section, option, **options)
        return read() if options else self.remembered((int, section, option), read)

    def unusual(self) -> tuple[str, ...]:
        """Settings that differ from their defaults and that light curves may depend on.

        Returns
        -------
        tuple of str
            ``'[SECTION] KEY = VALUE'`` of each.
        """
        return self.remembered("unusual", lambda: tuple(self._differing(_WITHOUT_EFFECT)))

    def _differing(self, without: Iterable[str] = ()) -> list[str]:
        found = []
        for setting in SETTINGS:
            text = self.get(setting.section, setting.key)
            differs = text != setting.shown and setting.parse(text) != setting.default
            if differs and setting.section not in without:
                found.append(f"[{setting.section}] {setting.key} = {text}")
        return found

    def __repr__(self) -> str:
        differing = self._differing()
        others = "all others have their defaults" if differing else "all have their defaults"
        return f"Settings({'; '.join([*differing, others])})"

    def _repr_html_(self) -> str:
        """All settings with their defaults and meanings, for notebooks."""
        rows = []
        for setting in SETTINGS:
            value = self.get(setting.section, setting.key)
            shown = value if value == setting.shown else f"<b>{html.escape(value)}</b>"
            cells = (setting.section, setting.key, shown, setting.shown, html.escape(setting.reason))
            rows.append("".join(f'<td style="text-align:left">{cell}</td>' for cell in cells))
        head = "".join(f"<th>{name}</th>" for name in ("section", "setting", "value", "default", "meaning"))
        return f"<table><tr>{head}</tr>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"


def default(section: str, key: str) -> int | float:
    """The default of a setting that is a number.

    Examples
    --------
    >>> default("photometry", "zero_point")
    20.451
    """
    value = _BY_SECTION[section][key].default
    assert not isinstance(value, str)
    return value


@functools.cache
def load_settings() -> Settings:
    """Settings of the pipeline.

    Returns
    -------
    Settings
        A `configparser.ConfigParser`, the same object at every call: the defaults of `SETTINGS`, overridden
        by the file that the environment variable ``TESSPHOT_SETTINGS`` names. All values are checked.

    Raises
    ------
    InputError
        If that file cannot be read, or has an unknown section or key, a key twice, or an impossible value.
    MissingInput
        If it is not there.

    Examples
    --------
    >>> load_settings().getfloat("todo", "faint_limit")
    15.0
    """
    settings = Settings()
    path = os.environ.get("TESSPHOT_SETTINGS")
    if path:
        for found, value in read_settings(path, _BY_SECTION):
            settings.set(found.section, found.key, value if isinstance(value, str) else repr(value))
    return settings


def mag2flux(tmag: float) -> float:
    """Expected flux in e-/s of a star of TESS magnitude `tmag` (scalar or array).

    Examples
    --------
    >>> mag2flux(20.451), round(mag2flux(17.951), 9)
    (1.0, 10.0)
    """
    return 10.0 ** (-0.4 * (tmag - load_settings().getfloat("photometry", "zero_point")))


def input_folder(argument: str | os.PathLike[str] | None) -> Path:
    """The input folder: the argument, else ``TESSPHOT_INPUT``.

    Raises
    ------
    InputError
        If neither names a folder.

    Examples
    --------
    >>> str(input_folder("sector1"))
    'sector1'
    """
    name = argument or os.environ.get("TESSPHOT_INPUT")
    if not name:
        raise InputError("no input folder: give one, or set TESSPHOT_INPUT")
    return Path(name)


def output_folder(argument: str | os.PathLike[str] | None, default: Path, method: str = "") -> Path:
    """The output folder: the argument, else ``TESSPHOT_OUTPUT``, else `default`.

    The last two have the name of a method that was chosen for all stars at their end.

    Examples
    --------
    >>> str(output_folder("lightcurves", Path("sector1/output")))
    'lightcurves'
    """
    return (
        Path(argument)
        if argument
        else method_file(Path(os.environ.get("TESSPHOT_OUTPUT") or default), method)
    )
