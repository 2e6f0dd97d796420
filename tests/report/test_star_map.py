"""Where the maps of a report show stars and cells."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from tasoc_mpi.report.report_stills import _map
from tasoc_mpi.report.results import RESULT_DTYPE
from tasoc_mpi.report.star_map import CELL, map_cells, map_points


@pytest.fixture
def stars() -> np.ndarray:
    """One with a centroid, from 1, in the first tile, and one without a result in the second."""
    stars = np.zeros(2, RESULT_DTYPE)
    stars["starid"], stars["tmag"], stars["status"] = [11, 12], 10.0, [1, 0]
    stars["pos_column"], stars["pos_row"] = [45.0, np.nan], [1.0, np.nan]
    stars["tile"] = [0, 1]
    return stars


def test_points_are_where_their_centroids_are(stars):
    columns = map_points(stars, np.ones(2))
    assert columns["x"].tolist() == [45.0, 45.0 + CELL + (CELL - 1) / 2]
    assert columns["y"].tolist() == [1.0, 1.0 + (CELL - 1) / 2]


def test_cells_reach_from_the_first_science_pixel(stars):
    cells = map_cells(stars, np.ones(2))
    assert (cells["x"] - CELL / 2).tolist() == [44.5, 44.5 + CELL]
    assert (cells["y"] - CELL / 2).tolist() == [0.5, 0.5]


@pytest.mark.parametrize("several", [False, True])
def test_still_pictures_show_cells_in_their_places(stars, several):
    figure = pytest.importorskip("matplotlib.figure").Figure()
    cells = map_cells(stars, np.ones(2))
    axes = figure.subplots()
    _map(axes, SimpleNamespace(ccds=[(1, 1, 1)], cells=[cells]), "status", several)
    (image,) = axes.images
    left, right, bottom, top = image.get_extent()
    shown = np.argwhere(np.isfinite(np.ma.filled(image.get_array(), np.nan)))
    rows, columns = image.get_array().shape
    x = left + (shown[:, 1] + 0.5) * (right - left) / columns
    y = bottom + (shown[:, 0] + 0.5) * (top - bottom) / rows
    assert x.tolist() == cells["x"].tolist()
    assert y.tolist() == cells["y"].tolist()
