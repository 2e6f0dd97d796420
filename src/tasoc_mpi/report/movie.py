"""The frames of a CCD as a movie: images, their backgrounds and pixel flags, to look at a sector quickly.

Pixels are binned to the size of the picture while the cube is read once from its beginning to its end. All
colours come from one palette, so that frames are indices into it and equal values look the same throughout.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.atomic import replacing
from ..core.errors import InputError, MissingInput, UsageError
from ..core.names import find_cubes
from ..core.progress import progress
from ..core.quality import TESSQualityFlags
from ..products.cube import Cube, StoredBackground, open_cube

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Binned", "bin_cube", "draw_frames", "make_movie", "make_movies"]

#: Frames of a movie for which no step is given.
_MOST_FRAMES = 200
#: Pixels between and around the panels; heights of the text above and below them, and of the diagram.
_GAP, _TOP, _BOTTOM, _STRIP = 12, 62, 30, 66
_SIZES = (64, 1024)
#: Indices into the palette: 96 greys of the image, 96 colours of the background, 16 shades of each flag, and
#: the colours of text and lines.
_GREYS, _COLOURS, _SHADES = 96, 96, 16
_FLAGS_AT = _GREYS + _COLOURS
_BLACK, _WHITE, _DIM, _RED, _BLUE = range(_FLAGS_AT + 3 * _SHADES, _FLAGS_AT + 3 * _SHADES + 5)
#: Dark blue over green to yellow, equal steps of brightness.
_MAP = np.array([(68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37)])
#: Flags of pixels, from the least to the most important: bit, colour and name.
_FLAGS = (
    (1, (110, 110, 110), "not sky"),
    (2, (70, 130, 255), "left out"),
    (4, (255, 60, 40), "shenanigans"),
)


@dataclass(frozen=True)
class Binned:
    """Frames of a cube, binned.

    Attributes
    ----------
    cube : Cube
    frames : ndarray of int, shape (N,)
        Which of the cube's frames.
    images, backgrounds : ndarray of float32, shape (N, R, C)
        Means over the pixels of a bin, e-/s; NaN where there are none.
    flags : ndarray of uint8, shape (N, R, C, 3)
        Part of the pixels of a bin with flag 1, 2 and 4; 255 for all.
    """

    cube: Cube
    frames: NDArray[np.intp]
    images: NDArray[np.float32]
    backgrounds: NDArray[np.float32]
    flags: NDArray[np.uint8]

    @functools.cached_property
    def level(self) -> NDArray[np.float64]:
        """Median background of every frame, shape (N,), e-/s; NaN where there is none."""
        known = (image[np.isfinite(image)] for image in self.backgrounds)
        return np.array([np.median(values) if values.size else np.nan for values in known])


def make_movies(
    folder: str | os.PathLike[str],
    sector: int | None = None,
    camera: int | None = None,
    ccd: int | None = None,
    output: Path | None = None,
    step: int | None = None,
    size: int = 320,
    rate: float = 10.0,
) -> list[Path]:
    """Make a movie of every CCD with a cube in a folder.

    Parameters
    ----------
    folder : path-like
    sector, camera, ccd : int, optional
        Only these.
    output : Path, optional
        A ``.gif`` or ``.mp4`` file, for one CCD. Default: ``movie_sectorSSS_cameraC_ccdD.gif`` in the folder.
    step : int, optional
        Every how many frames. Default: such that there are at most 200.
    size : int
        Longer side of a panel, pixels.
    rate : float
        Frames of the movie a second.

    Returns
    -------
    list of Path

    Raises
    ------
    MissingInput
        If there is no such folder or no such cube.
    UsageError
        If an option has an impossible value.
    InputError
        If a cube cannot be read, Pillow or (for ``.mp4``) ffmpeg is missing, or the file cannot be written.
    """
    if step is not None and step < 1:
        raise UsageError(f"--step {step}: give 1 or more")
    if not _SIZES[0] <= size <= _SIZES[1]:
        raise UsageError(f"--size {size}: give {_SIZES[0]} to {_SIZES[1]} pixels")
    if not 0.1 <= rate <= 50:
        raise UsageError(f"--rate {rate}: give 0.1 to 50 frames a second")
    if output is not None and output.suffix not in (".gif", ".mp4"):
        raise UsageError(f"--output {output}: give a file that ends in .gif or .mp4")
    folder = Path(folder)
    wanted = (sector, camera, ccd)
    cubes = {
        key: path
        for key, path in find_cubes(folder).items()
        if all(want in (None, have) for want, have in zip(wanted, key, strict=True))
    }
    if not cubes:
        raise MissingInput(f"{folder}: no cube in it that was asked for; tasoc-mpi prepare makes them")
    if output is not None and len(cubes) > 1:
        raise UsageError(
            f"--output {output}: {len(cubes)} CCDs have cubes in {folder}; name one (--sector ...)"
        )
    made = []
    for path in cubes.values():
        target = output or path.with_name(f"movie_{path.stem}.gif")
        make_movie(open_cube(path), target, step, size, rate)
        made.append(target)
    return made


def make_movie(
    cube: Cube, target: Path, step: int | None = None, size: int = 320, rate: float = 10.0
) -> None:
    """Make the movie of one cube; parameters and errors are those of `make_movies`."""
    _pillow()
    encoder = None
    if target.suffix == ".mp4":
        encoder = shutil.which("ffmpeg")
        if encoder is None:
            raise InputError(
                f"{target}: mp4 needs ffmpeg, which is not on the path; name a .gif file instead"
            )
    if not target.parent.is_dir():
        raise MissingInput(f"{target.parent}: no such folder; make it, or name another one with --output")
    binned = bin_cube(cube, step, size)
    pictures = draw_frames(binned, size)
    try:
        with replacing(target, durable=False) as part:
            if encoder is None:
                options = {"duration": round(1000 / rate), "loop": 0, "optimize": False}
                next(pictures).save(part, "GIF", save_all=True, append_images=pictures, **options)
            else:
                _encode(encoder, pictures, part, target, rate)
    except OSError as error:
        raise InputError(
            f"{target}: cannot be written ({error}); make room, or name another --output"
        ) from None


def _pillow() -> Any:
    try:
        import PIL.Image
    except ImportError:
        raise InputError("movies need Pillow: pip install 'tasoc-mpi[plot]'") from None
    return PIL.Image


# --- Binning -------------------------------------------------------------------------------------------


def bin_cube(cube: Cube, step: int | None = None, size: int = 320) -> Binned:
    """Read some of the frames, in bins of so many pixels that they fit into a square of the given size.

    Parameters
    ----------
    cube : Cube
    step : int, optional
        Every how many frames. Default: such that there are at most 200.
    size : int

    Returns
    -------
    Binned
    """
    rows, columns, n_time = cube.shape
    frames = np.arange(0, n_time, step or -(-n_time // _MOST_FRAMES))
    side = max(1, -(-max(rows, columns) // size))
    shape = (len(frames), -(-rows // side), -(-columns // side))
    images, backgrounds = np.empty(shape, dtype="f4"), np.empty(shape, dtype="f4")
    flags = np.empty((*shape, len(_FLAGS)), dtype="u1")
    stored = cube.background if isinstance(cube.background, StoredBackground) else None
    for i in progress(range(shape[1]), shape[1], f"{cube.path.name}: reading", "rows of bins"):
        here = np.s_[i * side : (i + 1) * side]
        images[:, i] = _bins(cube.images[here][..., frames], side)
        flag = cube.pixel_flags[here][..., frames]
        for k, (bit, *_) in enumerate(_FLAGS):
            flags[:, i, :, k] = np.rint(255 * _bins((flag & bit != 0).astype("f4"), side))
        if stored is not None:
            backgrounds[:, i] = _bins(stored.pixels[here][..., frames], side)
    if stored is None:
        for k, t in enumerate(frames):
            model = cube.background.frame((rows, columns), int(t))
            for i in range(shape[1]):
                backgrounds[k, i] = _bins(model[i * side : (i + 1) * side, :, None], side)[0]
    return Binned(cube, frames, images, backgrounds, flags)


def _bins(pixels: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Means of finite values in bins of some rows: from shape (r, C, N) to (N, ceil(C / side))."""
    starts = np.arange(0, pixels.shape[1], side)
    finite = np.isfinite(pixels)
    count = np.add.reduceat(finite.sum(axis=0), starts, axis=0)
    total = np.add.reduceat(np.where(finite, pixels, 0).sum(axis=0, dtype="f8"), starts, axis=0)
    with np.errstate(invalid="ignore"):
        return (total / count).T.astype("f4")


# --- Drawing -------------------------------------------------------------------------------------------


def _palette() -> list[int]:
    grey = np.linspace(0, 255, _GREYS)[:, None].repeat(3, axis=1)
    at = np.linspace(0, len(_MAP) - 1, _COLOURS)
    colours = np.stack([np.interp(at, np.arange(len(_MAP)), _MAP[:, k]) for k in range(3)], axis=1)
    shades = [
        np.array((25, 25, 30)) + f * (np.array(colour) - (25, 25, 30))
        for _, colour, _ in _FLAGS
        for f in np.linspace(0, 1, _SHADES)
    ]
    lines = [(0, 0, 0), (240, 240, 240), (150, 150, 150), (255, 90, 70), (120, 180, 255)]
    return np.rint(np.concatenate([grey, colours, shades, lines])).astype(int).ravel().tolist()


def draw_frames(binned: Binned, size: int = 320) -> Iterator[Image]:
    """The pictures of a movie.

    Parameters
    ----------
    binned : Binned
    size : int
        Longer side of a panel, pixels; small cubes are drawn with larger pixels.

    Yields
    ------
    PIL.Image.Image
        With a palette; all of one size.
    """
    pil = _pillow()
    zoom = max(1, size // max(binned.images.shape[1:]))
    height, width = (zoom * n for n in binned.images.shape[1:])
    image_limits = _limits(binned.images, 5.0, 99.5)
    sky_limits = _limits(binned.backgrounds, 0.0, 100.0)
    canvas = (3 * width + 4 * _GAP, _TOP + height + _BOTTOM + _STRIP + _GAP)
    # Even sides are needed by the video's format, and a certain width by the texts.
    canvas = (max(canvas[0], 560) // 2 * 2, canvas[1] // 2 * 2)
    palette = _palette()
    for k in range(len(binned.frames)):
        pixels = np.full(canvas[::-1], _BLACK, dtype="u1")
        panels = (
            _scaled(_stretched(binned.images[k], image_limits), (0.0, 1.0), 0, _GREYS),
            _scaled(binned.backgrounds[k], sky_limits, _GREYS, _COLOURS),
            _flag_colours(binned.flags[k]),
        )
        for i, panel in enumerate(panels):
            x = _GAP + i * (width + _GAP)
            pixels[_TOP : _TOP + height, x : x + width] = (
                panel[::-1].repeat(zoom, axis=0).repeat(zoom, axis=1)
            )
        picture = pil.fromarray(pixels, mode=None).convert("L")
        picture = picture.copy()
        picture.putpalette(palette)
        _write_texts(picture, binned, k, (width, height), image_limits, sky_limits)
        yield picture


def _limits(values: NDArray[np.float32], low: float, high: float) -> tuple[float, float]:
    """Percentiles of finite values (of some of them, where they are many), never the same."""
    some = values[:: max(1, len(values) // 50)]
    some = some[np.isfinite(some)]
    if not some.size:
        return 0.0, 1.0
    first, last = (float(x) for x in np.percentile(some, [low, high]))
    return first, last if last > first else first + 1.0


def _stretched(image: NDArray[np.float32], limits: tuple[float, float]) -> NDArray[np.float32]:
    """Brightness between 0 and 1: linear near the sky, logarithmic for stars."""
    soft = 0.02 * (limits[1] - limits[0])
    top = np.arcsinh((limits[1] - limits[0]) / soft)
    return (np.arcsinh((image - limits[0]) / soft) / top).astype("f4")


def _scaled(
    values: NDArray[np.float32], limits: tuple[float, float], first: int, count: int
) -> NDArray[np.uint8]:
    """Indices into a part of the palette; black where there is no value."""
    place = np.clip((values - limits[0]) / (limits[1] - limits[0]), 0, 1) * (count - 1)
    return np.where(np.isfinite(place), first + np.nan_to_num(place), _BLACK).astype("u1")


def _flag_colours(flags: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The most important flag of a bin, brighter the more of its pixels have it."""
    out = np.full(flags.shape[:2], _FLAGS_AT, dtype="u1")
    for k in range(len(_FLAGS)):
        part = flags[..., k]
        shade = 3 + np.rint(part / 255 * (_SHADES - 4)).astype("u1")
        out = np.where(part > 0, _FLAGS_AT + k * _SHADES + shade, out).astype("u1")
    return out


def _write_texts(
    picture: Image,
    binned: Binned,
    k: int,
    panel: tuple[int, int],
    image_limits: tuple[float, float],
    sky_limits: tuple[float, float],
) -> None:
    from PIL import ImageDraw, ImageFont

    draw = ImageDraw.Draw(picture)
    font, small = ImageFont.load_default(15), ImageFont.load_default(12)
    cube, t = binned.cube, int(binned.frames[k])
    words = cube.attributes
    draw.text(
        (_GAP, 6),
        f"sector {words['SECTOR']}  camera {words['CAMERA']}  CCD {words['CCD']}    "
        f"BTJD {cube.time[t]:.4f}    cadence {cube.cadenceno[t]}",
        fill=_WHITE,
        font=font,
    )
    quality = int(cube.quality[t])
    names = ", ".join(TESSQualityFlags.decode(quality)) or ("flags without a name" if quality else "good")
    draw.text((_GAP, 25), f"quality {quality}: {names}", fill=_RED if quality else _DIM, font=small)
    level = binned.level[k]
    sky = "no background" if np.isnan(level) else f"background, median {level:.1f} e-/s"
    below = (
        f"{image_limits[0]:.0f} to {image_limits[1]:.0f} e-/s",
        f"{sky_limits[0]:.0f} to {sky_limits[1]:.0f} e-/s",
    )
    for i, text in enumerate(("image less background", sky, "pixel flags")):
        x = float(_GAP + i * (panel[0] + _GAP))
        draw.text((x, _TOP - 18), text, fill=_WHITE, font=small)
        if i < 2:
            draw.text((x, _TOP + panel[1] + 4), below[i], fill=_DIM, font=small)
    x = float(_GAP + 2 * (panel[0] + _GAP))
    for i, (_, _, name) in enumerate(_FLAGS):
        draw.text((x, _TOP + panel[1] + 4), name, fill=_FLAGS_AT + (i + 1) * _SHADES - 1, font=small)
        x += draw.textlength(name + "  ", font=small)
    _draw_strip(draw, binned, k, picture.size, small)


def _draw_strip(draw: Any, binned: Binned, k: int, canvas: tuple[int, int], font: Any) -> None:
    """The background's median against time, flagged frames in red, and where the movie is."""
    left, right = _GAP, canvas[0] - _GAP
    top, bottom = canvas[1] - _STRIP, canvas[1] - _GAP
    time, level = binned.cube.time, binned.level
    known = np.isfinite(level)
    every = left + (time - time[0]) / max(float(np.ptp(time)), 1e-9) * (right - left)
    draw.line([(left, bottom), (right, bottom)], fill=_DIM)
    # Also of the frames that are not in the movie.
    for place in every[~TESSQualityFlags.filter(binned.cube.quality)]:
        draw.line([(place, bottom - 5), (place, bottom)], fill=_RED)
    x = every[binned.frames]
    if known.any():
        low, high = float(level[known].min()), float(level[known].max())
        y = bottom - 6 - (level - low) / max(high - low, 1e-9) * (bottom - top - 10)
        points = list(zip(x[known].tolist(), y[known].tolist(), strict=True))
        for before, after in itertools.pairwise(points):
            draw.line([before, after], fill=_BLUE)
        draw.text((left, top - 14), f"median background, {low:.0f} to {high:.0f} e-/s", fill=_DIM, font=font)
    draw.line([(x[k], top), (x[k], bottom)], fill=_WHITE)


def _encode(encoder: str, pictures: Iterator[Image], part: Path, target: Path, rate: float) -> None:
    """Let ffmpeg make the video of the pictures."""
    first = next(pictures)
    words = ["-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    words += ["-s", f"{first.width}x{first.height}", "-r", f"{rate:g}", "-i", "-"]
    words += ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-movflags", "+faststart", "-f", "mp4", str(part)]
    with subprocess.Popen([encoder, *words], stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        # Where it stops reading, it says why on standard error.
        with contextlib.suppress(BrokenPipeError):
            for picture in itertools.chain([first], pictures):
                process.stdin.write(picture.convert("RGB").tobytes())
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        reason = " ".join(process.stderr.read().decode("utf-8", "replace").split())
    if process.returncode != 0:
        raise InputError(f"{target}: ffmpeg failed ({reason[-300:]}); name a .gif file instead")
