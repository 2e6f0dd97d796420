"""The pixel response of simulated stars: PRF files blended over the CCD, wings, and focus drift."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from astropy.io import fits
from prf_folder import write_prf_folder

from tasoc_mpi.kernels.prf_table import add_table_stars
from tasoc_mpi.models.prf_files import find_folder, read_grid
from tasoc_mpi.simulate import SimulationOptions, simulate
from tasoc_mpi.simulate.response import draw, make_response, place_on_grid, whole_tables
from tasoc_mpi.simulate.stars import Stars
from tasoc_mpi.simulate.truth_file import read_truth


def test_prf_files_are_blended_over_the_ccd(tmp_path):
    """A star's response is bilinear between those of the files, holds all of its light, and is wider with the
    focus drift."""
    folder = find_folder(write_prf_folder(tmp_path), 5, 2, 3)
    grid = read_grid(folder, 2, 3)
    place = 700.3, 1300.8
    corners, shares = place_on_grid(grid, np.array([place[0]]), np.array([place[1]]))
    blend = np.tensordot(shares[0], whole_tables(grid)[corners[0]], 1)
    np.testing.assert_allclose(blend[63:-63, 63:-63], grid.table(*place), atol=2e-3 * blend.max())
    options = SimulationOptions(sector=5, camera=2, ccd=3, prf=tmp_path, focus=0.1)
    star = Stars(**{field.name: np.ones(1) for field in fields(Stars)})
    star = replace(star, row=np.array([place[0]]), column=np.array([place[1]]))
    response = make_response(options, star)
    origin, widths = (685, 1285), []
    expected = np.zeros((32, 32))
    where = (np.array([x - o]) for x, o in zip(place, origin, strict=True))
    add_table_stars(expected, blend, 9, *where, np.ones(1), 20.0)
    for focus in (0.0, 1.0):
        image = np.zeros((32, 32), dtype="f4")
        draw(response, np.array([0]), image, origin, np.array([place[::-1]]), np.ones(1), focus)
        if not focus:
            np.testing.assert_allclose(image, expected, atol=1e-6)
        assert image.sum(dtype="f8") == pytest.approx(1, abs=1e-5)
        y, x = np.mgrid[:32, :32] - np.array(place)[:, None, None] + np.array(origin)[:, None, None]
        widths.append((image * (x**2 + y**2)).sum())
    # The second moment grows by 2 sigma^2 (1.1^2 - 1).
    assert widths[1] - widths[0] == pytest.approx(2 * 0.7**2 * 0.21, rel=0.02)


def test_focus_drifts_in_every_orbit(tmp_path):
    size = {"rows": 24, "columns": 24, "frames": 24, "first_frame": 620, "tpfs": 0}
    parts = {"noise": False, "cosmics": False, "variables": False, "jitter": False, "sky": 0.0}
    options = SimulationOptions(**size, **parts, density=3.0, focus=0.1)
    still = simulate(tmp_path / "still", replace(options, focus=0.0))
    paths = simulate(tmp_path / "drift", options)
    truth = read_truth(paths.truth)
    assert truth.attributes["FOCUS"] == 0.1
    focus = truth.frames["focus"]
    # The gap, and the perigee in it, lie after frame 632.
    jump = int(np.argmax(np.diff(focus)))
    assert focus[jump] < 0.05
    assert focus[jump + 1] > 0.8
    assert np.all(np.delete(np.diff(focus), jump) < 0)
    peaks = [[np.max(fits.getdata(path, 1)) for path in p.ffis] for p in (still, paths)]
    relative = np.divide(*peaks[::-1])
    assert relative[jump] > 0.98
    assert 0.8 < relative[jump + 1] < 0.93
