"""How right linpsf and psf are, and how their cost grows: stars drawn and fitted with the same response.

What is measured is the methods alone; `psf_truth.py` and `psf_pairs.py` add the error of a response that is
learnt. World coordinates are right to a given error in each frame, which linpsf has to take for the truth.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from tasoc_mpi.kernels.newton_psf import draw_with_slopes
from tasoc_mpi.kernels.spline_prf import draw_star
from tasoc_mpi.models.effective_prf import from_table
from tasoc_mpi.models.prf_files import SAMPLES, analytic_table
from tasoc_mpi.photometry.linpsf import fit_linear
from tasoc_mpi.photometry.psf_fit import fit_positions
from tasoc_mpi.photometry.psf_scene import Pixels, Scene, make_scene

EXPOSURE, SKY, READ, ZERO = 1425.6, 100.0, 720 * 100 / 1425.6**2, 20.451
RESPONSE = from_table(analytic_table(1000.0, 1000.0, 1, 1), SAMPLES)
#: Separation in pixels and difference in magnitudes of a neighbour; none for an isolated star.
NEIGHBOURS = (None, (3.0, 0.0), (2.0, 0.0), (2.0, 2.0), (1.0, 0.0), (1.0, 2.0))


def draw(places, fluxes, moved, size, rng):
    """Frames of stars, shape (R, C, T), and their errors."""
    images = np.zeros((len(moved), size, size))
    for image, shift in zip(images, moved, strict=True):
        for place, flux in zip(places, fluxes, strict=True):
            draw_star(RESPONSE, *(place + shift), 0.0, 0.0, flux, image)
    errors = np.sqrt((images + SKY) / EXPOSURE + READ)
    images += errors * rng.standard_normal(images.shape)
    return (np.ascontiguousarray(np.moveaxis(x, 0, -1), dtype="f4") for x in (images, errors))


def scene(places, fluxes, frames, size, pointing, rng) -> Scene:
    """Frames of stars whose world coordinates are wrong by `pointing` pixels, ready to be fitted."""
    jitter = 0.03 * rng.standard_normal((frames, 2))
    images, errors = draw(places, fluxes, jitter, size, rng)
    pixels = Pixels(
        images, errors, images.mean(axis=2, dtype="f8"), np.ones((size, size), bool), np.ones(frames, bool)
    )
    seen = jitter + pointing * rng.standard_normal(jitter.shape)
    still = seen.mean(axis=0)
    catalog = fluxes * 10 ** (0.4 * rng.normal(0, 0.05, len(fluxes)))
    made = make_scene(
        pixels, places + still, catalog, 0, RESPONSE[None], np.ones((frames, 1)), seen - still,
        np.zeros((frames, 2, 2)), False,
    )  # fmt: skip
    assert made is not None
    return made


def psf(made: Scene):
    """The fit of psf with its defaults."""
    return fit_positions(made, "gaussian", 1, 0.01, EXPOSURE)[0]


def bounds(places, fluxes, errors):
    """Cramer-Rao bounds of the target's flux with all fluxes and the background free, and a shift, too."""
    size = errors.shape[0]
    stars = np.empty((len(places), 3, size * size))
    for star, place in zip(stars, places, strict=True):
        draw_with_slopes(RESPONSE, *place, size, size, star)
    slopes = np.tensordot(fluxes, stars[:, 1:], 1)
    weight = 1 / errors.mean(axis=2, dtype="f8").ravel() ** 2
    fixed = np.concatenate([stars[:, 0], np.ones((1, size * size))])
    return [
        np.sqrt(np.linalg.inv((design * weight) @ design.T)[0, 0])
        for design in (fixed, np.concatenate([fixed, slopes]))
    ]


def accuracy(options: argparse.Namespace) -> None:
    """Print bias, noise and pulls of both methods."""
    names = (
        "neighbour",
        "Tmag",
        "bound, shift free",
        "linpsf: bias",
        "noise",
        "pull",
        "psf: bias",
        "noise",
        "pull",
    )
    print("| " + " | ".join(names) + " |\n" + "|" + "---|" * len(names))
    for neighbour in NEIGHBOURS:
        for tmag in (10.0, 13.0, 15.0):
            rng = np.random.default_rng([int(tmag), NEIGHBOURS.index(neighbour)])
            found = []
            for _ in range(options.pairs):
                places, fluxes = [5 + rng.uniform(-0.5, 0.5, 2)], [10 ** (-0.4 * (tmag - ZERO))]
                if neighbour:
                    angle = rng.uniform(0, 2 * np.pi)
                    places.append(places[0] + neighbour[0] * np.array([np.sin(angle), np.cos(angle)]))
                    fluxes.append(fluxes[0] * 10 ** (-0.4 * neighbour[1]))
                where, light = np.array(places), np.array(fluxes)
                made = scene(where, light, options.frames, 11, options.pointing, rng)
                fixed, free = bounds(where, light, made.pixels.errors)
                row = [free / fixed]
                for fit in (fit_linear(made), psf(made)):
                    flux, error = fit.results[:, :2].T
                    left = (flux - light[0]) / light[0]
                    row += [abs(left.mean()), np.std(flux) / fixed, np.std((flux - light[0]) / error)]
                found.append(row)
            f, b, n, p, c, m, q = np.median(found, axis=0)
            kind = "none" if neighbour is None else f"{neighbour[0]:g} px, {neighbour[1]:g} mag"
            line = f"| {kind} | {tmag:g} | {f:.2f} | {100 * b:.3f}% | {n:.2f} | {p:.2f} "
            print(line + f"| {100 * c:.3f}% | {m:.2f} | {q:.2f} |", flush=True)


def cost(options: argparse.Namespace) -> None:
    """Print the processor time of both methods by the numbers of stars, frames and pixels."""
    print("| stars fitted | stars subtracted | frames | pixels | linpsf, ms | psf, ms |\n" + "|" + "---|" * 6)
    cases = (
        *((k, 10, 1282, 11) for k in (1, 2, 4, 8, 15)),
        *((4, m, 1282, 11) for m in (0, 100)),
        *((4, 10, n, 11) for n in (320, 3846)),
        *((4, 10, 1282, s) for s in (7, 15, 21)),
    )
    for stars, faint, frames, size in cases:
        rng = np.random.default_rng(1)
        middle = (size - 1) / 2
        places = np.concatenate([[[middle, middle]], rng.uniform(-0.5, size - 0.5, (stars - 1 + faint, 2))])
        fluxes = np.concatenate([[1000.0], rng.uniform(100, 800, stars - 1), np.full(faint, 0.01)])
        made = scene(places, fluxes, frames, size, 0.0, rng)
        times = []
        for fit in (fit_linear, psf):
            fit(made)
            start = time.process_time()
            for _ in range(options.repeat):
                fit(made)
            times.append(1e3 * (time.process_time() - start) / options.repeat)
        numbers = len(made.choice.fitted), len(made.subtracted), frames, f"{size} x {size}"
        print("| " + " | ".join(map(str, numbers)) + f" | {times[0]:.1f} | {times[1]:.1f} |", flush=True)


def main() -> None:
    """Print the tables of docs/psf.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=12, help="places in the pixel (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--pointing", type=float, nargs="+", default=[0.0, 0.02], help="errors, pixels")
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    for pointing in options.pointing:
        print(f"World coordinates wrong by {pointing:g} pixels in a frame:")
        accuracy(argparse.Namespace(**{**vars(options), "pointing": pointing}))
    cost(options)


if __name__ == "__main__":
    main()
