"""The frames of a CCD as a movie, to look at a sector quickly."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.atomic import replacing
from ..core.errors import InputError, MissingInput, UsageError
from ..core.names import Choice, find_cubes, is_chosen
from ..products.cube import Cube, open_cube
from .movie_frames import bin_cube, draw_frames

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["make_movie", "make_movies"]

#: Smallest and largest side of a panel, pixels.
_SIZES = (64, 1024)


def make_movies(
    folder: str | os.PathLike[str],
    sector: Choice = None,
    camera: Choice = None,
    ccd: Choice = None,
    output: Path | None = None,
    format: str = "gif",
    step: int | None = None,
    size: int = 320,
    rate: float = 10.0,
) -> list[Path]:
    """Make a movie of every CCD with a cube in a folder.

    Parameters
    ----------
    folder : path-like
    sector, camera, ccd : int or collection of int, optional
        Only these.
    output : Path, optional
        Folder that gets ``movie_sectorSSS_cameraC_ccdD.gif``. Default: that of the cubes.
    format : str
        ``"gif"`` or ``"mp4"``.
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
    folder = Path(folder)
    cubes = {key: path for key, path in find_cubes(folder).items() if is_chosen(key, sector, camera, ccd)}
    if not cubes:
        raise MissingInput(f"{folder}: no cube of a chosen CCD in it; `tasoc-mpi prepare` makes them")
    made = []
    for path in cubes.values():
        target = (output or folder) / f"movie_{path.stem}.{format}"
        make_movie(open_cube(path), target, step, size, rate)
        made.append(target)
    return made


def make_movie(
    cube: Cube, target: Path, step: int | None = None, size: int = 320, rate: float = 10.0
) -> None:
    """Make the movie of one cube; parameters and errors are those of `make_movies`."""
    if importlib.util.find_spec("PIL") is None:
        raise InputError("movies need Pillow: pip install 'tasoc-mpi[plot]'")
    encoder = shutil.which("ffmpeg") if target.suffix == ".mp4" else None
    if target.suffix == ".mp4" and encoder is None:
        raise InputError(f"{target}: mp4 needs ffmpeg, which is not on the path; --format gif does not")
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


def _encode(encoder: str, pictures: Iterator[Image], part: Path, target: Path, rate: float) -> None:
    """Make the video with ffmpeg, which reads the pictures from a pipe."""
    first = next(pictures)
    options = ["-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    options += ["-s", f"{first.width}x{first.height}", "-r", f"{rate:g}", "-i", "-"]
    options += ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-movflags", "+faststart", "-f", "mp4", str(part)]
    with subprocess.Popen([encoder, *options], stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        # If ffmpeg stops reading, the reason is on its standard error.
        with contextlib.suppress(BrokenPipeError):
            for picture in itertools.chain([first], pictures):
                process.stdin.write(picture.convert("RGB").tobytes())
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        reason = " ".join(process.stderr.read().decode("utf-8", "replace").split())
    if process.returncode != 0:
        raise InputError(f"{target}: ffmpeg failed ({reason[-300:]}); name a .gif file instead")
