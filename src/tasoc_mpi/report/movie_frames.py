"""The pictures of a movie: frames of a cube, binned, with their backgrounds and pixel flags beside them.

Pixels are binned to the size of the picture while the cube is read once from its beginning to its end. All
colours come from one palette, so that frames are indices into it and equal values look the same throughout.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.progress import progress
from ..core.quality import TESSQualityFlags
from ..products.cube import Cube, PixelBackground

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Binned", "bin_cube", "draw_frames"]

#: Frames of a movie for which no step is given.
_MOST_FRAMES = 200
#: Pixels between and around the panels; heights of the text above and below them, and of the diagram; width
#: that the texts of a panel need.
_GAP, _TOP, _BOTTOM, _STRIP, _TEXT = 12, 62, 30, 66, 196
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
    """Frames of a cube, binned."""

    cube: Cube
    frames: NDArray[np.intp]  #: Shape (N,): which of the cube's frames
    #: images, backgrounds: shape (N, R, C), means over the pixels of a bin, e-/s; NaN where there are none.
    images: NDArray[np.float32]
    backgrounds: NDArray[np.float32]
    #: Shape (N, R, C, 3): part of the pixels of a bin with flag 1, 2 and 4; 255 for all.
    flags: NDArray[np.uint8]

    @functools.cached_property
    def level(self) -> NDArray[np.float64]:
        """Median background of every frame, shape (N,), e-/s; NaN where there is none."""
        known = (image[np.isfinite(image)] for image in self.backgrounds)
        return np.array([np.median(values) if values.size else np.nan for values in known])


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
    background = cube.background
    for i in progress(range(shape[1]), shape[1], f"{cube.path.name}: reading", "rows of bins"):
        here = np.s_[i * side : (i + 1) * side]
        images[:, i] = _bins(cube.images[here][..., frames], side)
        flag = cube.pixel_flags[here][..., frames]
        for k, (bit, *_) in enumerate(_FLAGS):
            flags[:, i, :, k] = np.rint(255 * _bins((flag & bit != 0).astype("f4"), side))
        if isinstance(background, PixelBackground):
            backgrounds[:, i] = _bins(background.pixels[here][..., frames], side)
    if not isinstance(background, PixelBackground):
        for k, t in enumerate(frames):
            model = background.frame((rows, columns), int(t))
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
    from PIL import Image, ImageDraw

    layout = _layout(binned, size)
    (width, height), canvas = layout.panel, layout.canvas
    zoom = width // binned.images.shape[2]
    palette = _palette()
    for k in range(len(binned.frames)):
        pixels = np.full(canvas[::-1], _BLACK, dtype="u1")
        panels = (
            _scaled(_stretched(binned.images[k], layout.image_limits), (0.0, 1.0), 0, _GREYS),
            _scaled(binned.backgrounds[k], layout.sky_limits, _GREYS, _COLOURS),
            _flag_colours(binned.flags[k]),
        )
        for panel, left in zip(panels, layout.lefts, strict=True):
            large = panel[::-1].repeat(zoom, axis=0).repeat(zoom, axis=1)
            pixels[_TOP : _TOP + height, left : left + width] = large
        picture = Image.fromarray(pixels)
        picture.putpalette(palette)
        draw = ImageDraw.Draw(picture)
        _write_texts(draw, binned, k, layout)
        _draw_strip(draw, binned, k, canvas)
        yield picture


@dataclass(frozen=True)
class _Layout:
    """Sizes in pixels of the picture, as (width, height), and the limits of its colours, e-/s."""

    panel: tuple[int, int]
    canvas: tuple[int, int]
    image_limits: tuple[float, float]
    sky_limits: tuple[float, float]

    @property
    def lefts(self) -> list[int]:
        """First column of each panel."""
        return [_GAP + i * (max(self.panel[0], _TEXT) + _GAP) for i in range(3)]


def _layout(binned: Binned, size: int) -> _Layout:
    zoom = max(1, size // max(binned.images.shape[1:]))
    height, width = (zoom * n for n in binned.images.shape[1:])
    canvas = 3 * max(width, _TEXT) + 4 * _GAP, _TOP + height + _BOTTOM + _STRIP + _GAP
    return _Layout(
        (width, height),
        # The format of the video needs even sides.
        (canvas[0] // 2 * 2, canvas[1] // 2 * 2),
        _limits(binned.images, 5.0, 99.5),
        _limits(binned.backgrounds, 0.0, 100.0),
    )


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
    level = np.clip((values - limits[0]) / (limits[1] - limits[0]), 0, 1) * (count - 1)
    return np.where(np.isfinite(level), first + np.nan_to_num(level), _BLACK).astype("u1")


def _flag_colours(flags: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The most important flag of a bin, brighter the more of its pixels have it."""
    out = np.full(flags.shape[:2], _FLAGS_AT, dtype="u1")
    for k in range(len(_FLAGS)):
        part = flags[..., k]
        shade = 3 + np.rint(part / 255 * (_SHADES - 4)).astype("u1")
        out = np.where(part > 0, _FLAGS_AT + k * _SHADES + shade, out).astype("u1")
    return out


def _write_texts(draw: Any, binned: Binned, k: int, layout: _Layout) -> None:
    from PIL import ImageFont

    font, small = ImageFont.load_default(15), ImageFont.load_default(12)
    cube, t = binned.cube, int(binned.frames[k])
    ccd = "sector {SECTOR}  camera {CAMERA}  CCD {CCD}".format(**cube.attributes)
    title = f"{ccd}    BTJD {cube.time[t]:.4f}    cadence {cube.cadenceno[t]}"
    draw.text((_GAP, 6), title, fill=_WHITE, font=font)
    quality = int(cube.quality[t])
    names = ", ".join(TESSQualityFlags.decode(quality)) or ("flags without a name" if quality else "good")
    draw.text((_GAP, 25), f"quality {quality}: {names}", fill=_RED if quality else _DIM, font=small)
    level = binned.level[k]
    sky = "no background" if np.isnan(level) else f"background, median {level:.1f} e-/s"
    # An integer has no negative zero.
    limits = (layout.image_limits, layout.sky_limits)
    below = [f"{round(low)} to {round(high)} e-/s" for low, high in limits]
    bottom = _TOP + layout.panel[1] + 4
    texts = ("image less background", sky, "pixel flags")
    for left, above, scale in zip(layout.lefts, texts, [*below, ""], strict=True):
        draw.text((left, _TOP - 18), above, fill=_WHITE, font=small)
        draw.text((left, bottom), scale, fill=_DIM, font=small)
    x = float(layout.lefts[2])
    for i, (_, _, name) in enumerate(_FLAGS):
        draw.text((x, bottom), name, fill=_FLAGS_AT + (i + 1) * _SHADES - 1, font=small)
        x += draw.textlength(name + "  ", font=small)


def _draw_strip(draw: Any, binned: Binned, k: int, canvas: tuple[int, int]) -> None:
    """The median of the background against time, flagged frames in red, and the time of this frame.

    The line above it names its three colours and its times.
    """
    from PIL import ImageFont

    font = ImageFont.load_default(12)
    left, right = _GAP, canvas[0] - _GAP
    top, bottom = canvas[1] - _STRIP, canvas[1] - _GAP
    time, level = binned.cube.time, binned.level
    known = np.isfinite(level)
    all_x = left + (time - time[0]) / max(float(np.ptp(time)), 1e-9) * (right - left)
    draw.line([(left, bottom), (right, bottom)], fill=_DIM)
    # Also of the frames that are not in the movie.
    for flagged in all_x[~TESSQualityFlags.filter(binned.cube.quality)]:
        draw.line([(flagged, bottom - 5), (flagged, bottom)], fill=_RED)
    x = all_x[binned.frames]
    words = [("flagged frames", _RED), ("this frame", _WHITE)]
    if known.any():
        low, high = float(level[known].min()), float(level[known].max())
        y = bottom - 6 - (level - low) / max(high - low, 1e-9) * (bottom - top - 10)
        draw.line(list(zip(x[known].tolist(), y[known].tolist(), strict=True)), fill=_BLUE)
        words = [(f"median background, {low:.0f} to {high:.0f} e-/s", _BLUE), *words]
    draw.line([(x[k], top), (x[k], bottom)], fill=_WHITE)
    place = float(left)
    for text, colour in words:
        draw.text((place, top - 14), text, fill=colour, font=font)
        place += draw.textlength(text + "   ", font=font)
    times = f"BTJD {np.nanmin(time):.1f} to {np.nanmax(time):.1f}"
    draw.text((right - draw.textlength(times, font=font), top - 14), times, fill=_DIM, font=font)
