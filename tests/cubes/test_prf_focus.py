"""The focus in every frame, from the images of a simulation in which it drifts."""

import dataclasses

import numpy as np
import pytest

from tasoc_mpi import cli
from tasoc_mpi.cubes.prf_focus import measure_broadening
from tasoc_mpi.products.cube import open_cube
from tasoc_mpi.products.prf_file import read_prf, write_prf
from tasoc_mpi.products.star_catalog import open_catalog
from tasoc_mpi.simulate import SimulationOptions, simulate
from tasoc_mpi.simulate.truth_file import read_truth


@pytest.fixture(scope="module")
def drifting(tmp_path_factory):
    """Truth, response and cube."""
    folder = tmp_path_factory.mktemp("drift")
    size = {"rows": 96, "columns": 96, "frames": 40, "tpfs": 0}
    paths = simulate(folder, SimulationOptions(**size, density=3.0, focus=0.3, variables=False))
    for command in ("prepare", "prf"):
        assert cli.main(["--quiet", command, str(folder)]) == 0
    cube = open_cube(folder / "sector001_camera1_ccd1.hdf5")
    return read_truth(paths.truth), read_prf(folder / "prf_sector001_camera1_ccd1.hdf5"), cube


def test_the_focus_of_every_frame_is_found(drifting):
    truth, prf, cube = drifting
    good = np.isin(cube.time, prf.frame_times)
    assert len(prf.frame_times) == len(prf.broadening) == good.sum()
    width = 1 + 0.3 * truth.frames["focus"][good]
    # The core, with 85% of the light, has a variance of 0.49 px^2, the wings 2.56.
    expected = (0.85 * 0.49 + 0.15 * 2.56) * width**2
    slope, _ = np.polyfit(expected - expected.mean(), prf.broadening, 1)
    assert 0.5 < slope < 1.3
    assert np.corrcoef(expected, prf.broadening)[0, 1] > 0.99
    assert abs(prf.broadening.mean()) < 0.1 * np.ptp(prf.broadening)


def test_frames_too_few_for_an_epoch_have_a_focus_of_their_own(drifting):
    """They have the response of the epoch next to them, and a zero in common with its frames."""
    _, prf, cube = drifting
    earlier = prf.frame_times[:-5]
    catalog = open_catalog(cube.path.parent / "catalog_sector001_camera1_ccd1.sqlite")
    spans = np.array([[earlier[0], earlier[-1]]])
    frames = np.flatnonzero(np.isin(cube.time, prf.frame_times))
    found = measure_broadening(cube, catalog, dataclasses.replace(prf, spans=spans), frames, 1e5)
    expected = prf.broadening - prf.broadening[:-5].mean()
    assert np.ptp(expected) > 0.05
    np.testing.assert_allclose(found, expected, atol=0.005)


def test_the_focus_is_interpolated(drifting):
    prf = drifting[1]
    middle = 0.5 * (prf.frame_times[3] + prf.frame_times[4])
    assert prf.broadening_at(middle)[0] == pytest.approx(prf.broadening[3:5].mean())
    assert prf.broadening_at([np.nan, 0.0])[0] == 0.0
    assert prf.broadening_at(0.0)[0] == prf.broadening[0]


def test_the_response_is_drawn(drifting, tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "prf_sector001_camera1_ccd1.hdf5"
    write_prf(path, drifting[1])
    (tmp_path / "sector001_camera1_ccd1.hdf5").touch()
    assert cli.main(["--quiet", "prf", str(tmp_path), "--pictures"]) == 0
    picture = path.with_suffix(".png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 20_000
