"""How well pairs of stars are told apart: separation, difference and magnitude, linpsf and an aperture.

Pairs are drawn with the response of a simulated field (`psf_truth.py` makes one), which is that of TESS's PRF
files; they are measured with the response that `tasoc-mpi prf` has learnt from the field's images. Each pair
lies at many places in the pixel, in frames with jitter and photon noise.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from psf_truth import TrueResponse

from tasoc_mpi.core.names import truth_name
from tasoc_mpi.kernels.prf_table import add_table_stars
from tasoc_mpi.photometry.k2p2 import K2P2Parameters, k2p2_masks
from tasoc_mpi.photometry.linpsf import fit_linear
from tasoc_mpi.photometry.psf_scene import Pixels, make_scene
from tasoc_mpi.products.prf_file import read_prf
from tasoc_mpi.report.figures import COLOURS, new_figure, save_figure
from tasoc_mpi.simulate.truth_file import read_truth

SEPARATIONS, DIFFERENCES, TMAGS = (0.5, 1.0, 2.0, 3.0, 5.0), (0.0, 2.0, 4.0), (8.0, 10.0, 13.0, 16.0)
#: Seconds of light, sky (e-/s), read noise squared (e-/s)^2, and jitter (pixels).
EXPOSURE, SKY, READ, JITTER = 1425.6, 100.0, 720 * 100 / 1425.6**2, 0.03
SIZE, ZERO = 25, 20.451
#: Amplitude of the neighbour's signal.
SIGNAL = 0.1


def pair(rng, table, separation, difference, tmag, frames):
    """Places and fluxes of a pair, its frames and errors, and its shifts; the neighbour varies."""
    angle = rng.uniform(0, 2 * np.pi)
    place = 12 + rng.uniform(-0.5, 0.5, 2)
    places = np.stack([place, place + separation * np.array([np.sin(angle), np.cos(angle)])])
    flux = 10 ** (-0.4 * (np.array([tmag, tmag + difference]) - ZERO))
    shift = JITTER * rng.standard_normal((frames, 2))
    signal = SIGNAL * np.sin(np.arange(frames) * 0.7)
    images = np.zeros((SIZE, SIZE, frames))
    for t in range(frames):
        image = np.zeros((SIZE, SIZE))
        moved = places + shift[t]
        add_table_stars(
            image,
            table,
            9,
            moved[:, 0].copy(),
            moved[:, 1].copy(),
            flux * np.array([1.0, 1 + signal[t]]),
            20.0,
        )
        images[:, :, t] = image
    errors = np.sqrt((images + SKY) / EXPOSURE + READ)
    return places, flux, signal, shift, images + errors * rng.standard_normal(images.shape), errors


def bound(table, places, error):
    """Cramer-Rao bound of the target's flux, both fluxes and the background being free."""
    design = np.zeros((3, SIZE, SIZE))
    design[2] = 1.0
    for image, place in zip(design, places, strict=False):
        add_table_stars(image, table, 9, place[:1].copy(), place[1:].copy(), np.ones(1), 20.0)
    box = design[:, 7:18, 7:18].reshape(3, -1)
    return np.sqrt(np.linalg.inv((box / error[7:18, 7:18].ravel() ** 2) @ box.T)[0, 0])


def leak(series, signal):
    """Amplitude of the signal in a light curve, e-/s."""
    return np.polyfit(signal / SIGNAL, series, 1)[0]


def cell(rng, table, response, separation, difference, tmag, options):
    """Bias, noise over bound, pull, leak of both methods, means over pairs."""
    found = []
    for _ in range(options.pairs):
        places, flux, signal, shift, images, errors = pair(
            rng, table, separation, difference, tmag, options.frames
        )
        middle = np.rint(places[0]).astype(int)
        box = np.s_[middle[0] - 5 : middle[0] + 6, middle[1] - 5 : middle[1] + 6]
        mean = images.mean(axis=2)
        pixels = Pixels(
            images[box].astype("f4"), errors[box].astype("f4"), mean[box], np.ones((11, 11), bool),
            np.ones(options.frames, bool),
        )  # fmt: skip
        catalog = flux * 10 ** (0.4 * rng.normal(0, 0.05, 2))
        still = shift.mean(axis=0)
        scene = make_scene(
            pixels, places + still - (middle - 5), catalog, 0, response, np.ones((options.frames, 1)),
            shift - still, np.zeros((options.frames, 2, 2)), False,
        )  # fmt: skip
        ours, error = fit_linear(scene).results[:, :2].T
        quiet = ours - leak(ours, signal) * signal / SIGNAL
        crb = bound(table, places, errors.mean(axis=2))
        aperture = np.nan, np.nan
        masks = k2p2_masks(
            mean.astype("f4"), places[:, 0], places[:, 1], -2.5 * np.log10(flux) + ZERO, K2P2Parameters()
        )
        labels = masks.labels_at(*middle)
        if labels:
            sums = images[masks.mask(labels[0])].sum(axis=0)
            aperture = np.median(sums) / flux[0] - 1, leak(sums, signal)
        found.append(
            (
                abs(np.median(ours) / flux[0] - 1), quiet.std() / crb, quiet.std() / np.median(error),
                abs(leak(ours, signal)) / (SIGNAL * flux[1]),
                abs(aperture[0]), abs(aperture[1]) / (SIGNAL * flux[1]),
            )
        )  # fmt: skip
    return np.nanmedian(found, axis=0)


def draw(rows, path):
    """Draw bias, noise and leak against the separation, a line for each difference of magnitudes."""
    figure = new_figure(11, 10)
    axes = figure.subplots(len(TMAGS), 3, sharex=True)
    titles = "|bias| (%)", "noise of a frame / bound", "leak of the neighbour's signal (%)"
    colours = [COLOURS[name] for name in ("blue", "orange", "green")]
    for line, tmag in zip(axes, TMAGS, strict=True):
        for difference, colour in zip(DIFFERENCES, colours, strict=True):
            own = np.array([row for row in rows if row[2] == tmag and row[1] == difference])
            label = f"{difference:g} mag fainter" if difference else "equal"
            for panel, ours, aperture in zip(line, (3, 4, 6), (7, None, 8), strict=True):
                factor = 1.0 if panel is line[1] else 100.0
                panel.plot(own[:, 0], factor * own[:, ours], "o-", color=colour, label=label)
                if aperture:
                    panel.plot(own[:, 0], factor * own[:, aperture], "--", color=colour)
        line[0].set_ylabel(f"Tmag {tmag:g}")
        for panel, limit in zip(line, ((0.02, 150), (0.7, 4), (0.02, 300)), strict=True):
            panel.set(yscale="log", ylim=limit)
        line[1].axhline(1.0, color=COLOURS["grey"], lw=0.8)
    for panel, title in zip(axes[0], titles, strict=True):
        panel.set_title(title)
    for panel in axes[-1]:
        panel.set_xlabel("separation (pixels)")
    axes[0][0].legend(title="linpsf; aperture dashed", fontsize=8)
    save_figure(figure, path)


def main() -> None:
    """Print the table of docs/psf.md and draw its figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="that psf_truth.py has made; its first field is used")
    parser.add_argument("prf", type=Path, help="folder of the TESS PRF files that it was drawn with")
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--figure", type=Path, default=Path("docs/figures/psf_pairs.png"))
    options = parser.parse_args()
    path = min(options.folder.glob("seed*/prf_*.hdf5"), default=None)
    if path is None:
        parser.error(f"{options.folder}: no field of psf_truth.py")
    prf = read_prf(path)
    options.camera, options.ccd = prf.camera, prf.ccd
    truth = read_truth(path.parent / truth_name(prf.sector, prf.camera, prf.ccd))
    # Between the nodes, where the response is least known.
    place = prf.node_rows.mean(), prf.node_columns.mean()
    table = np.ascontiguousarray(TrueResponse(options, truth).table(*place))
    response = prf.at(*place)[:1]
    rows = []
    print("| px | dmag | Tmag | bias | noise / bound | scatter / error | leak | aperture: bias | leak |")
    print("|" + "---|" * 9)
    for tmag in TMAGS:
        for difference in DIFFERENCES:
            for separation in SEPARATIONS:
                rng = np.random.default_rng([int(10 * separation), int(difference), int(tmag)])
                b, n, p, k, a, m = cell(rng, table, response, separation, difference, tmag, options)
                rows.append((separation, difference, tmag, b, n, p, k, a, m))
                line = f"| {separation} | {difference:g} | {tmag:g} | {100 * b:.2f}% | {n:.2f} | {p:.2f} "
                print(line + f"| {100 * k:.1f}% | {100 * a:.1f}% | {100 * m:.0f}% |", flush=True)
    draw(rows, options.figure)


if __name__ == "__main__":
    main()
