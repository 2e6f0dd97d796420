"""Bright stars at given places: wings, signals, bleed columns, and options that cannot be met."""

import numpy as np
import pytest

from tasoc_mpi.core.errors import UsageError
from tasoc_mpi.core.settings import mag2flux
from tasoc_mpi.kernels.prf import add_wings
from tasoc_mpi.simulate import SimulationOptions
from tasoc_mpi.simulate.bright import BrightStar, parse_bright_star
from tasoc_mpi.simulate.render import FULL_WELL, bleed
from tasoc_mpi.simulate.response import draw
from tasoc_mpi.simulate.scene import make_scene
from tasoc_mpi.simulate.stars import KINDS


def test_wings_hold_their_light_and_fall_with_the_third_power():
    image = np.zeros((1001, 1001), dtype="f4")
    add_wings(image, (100.0, 200.0), np.array([600.3]), np.array([699.6]), np.array([1e7]))
    # The share of the light within a radius R is 1 - b / sqrt(b^2 + R^2).
    distance = np.hypot(*(np.indices(image.shape) - np.array([500.3, 499.6])[:, None, None]))
    for radius in (20, 100, 300):
        expected = 1e7 * (1 - 4.0 / np.hypot(4.0, radius))
        assert image[distance <= radius].sum(dtype="f8") == pytest.approx(expected, rel=3e-3)
    at = [float(np.median(image[np.abs(distance - r) < 0.5])) for r in (50, 100)]
    assert at[0] / at[1] == pytest.approx(8, rel=0.05)


REGION = {"rows": 400, "columns": 64, "row0": 800, "column0": 1000}


def scene(*stars):
    return make_scene(SimulationOptions(**REGION, frames=96, tpfs=0, bright=False, bright_stars=stars))


def test_a_very_bright_star_bleeds_over_hundreds_of_pixels():
    made = scene(BrightStar(1000.2, 1031.7, 1.0))
    (k,) = np.flatnonzero(made.stars.tmag == 1.0)
    image = np.zeros((400, 64), dtype="f4")
    place = np.stack([made.stars.column, made.stars.row], axis=-1)
    draw(made.response, np.array([k]), image, (800, 1000), place[[k]], made.stars.flux[[k]])
    light = image.sum(dtype="f8")
    # All of it but the wings beyond the image.
    assert 0.96 < light / mag2flux(1.0) < 1.0
    assert bleed(image, FULL_WELL) == 0
    assert image.sum(dtype="f8") == pytest.approx(light, rel=1e-5)
    assert (image >= 0.999 * FULL_WELL).sum(axis=0).max() > 200


def test_wings_are_there_only_with_bright_stars():
    made = scene(BrightStar(1000.2, 1031.7, 3.0))
    assert (made.response.wings > 0).sum() == (made.stars.tmag < 9).sum() > 0
    assert not scene().response.wings.any()


def test_signals():
    stars = [
        BrightStar(850.0 + 50 * i, 1030.0, 3.0 + i, signal, size)
        for i, (signal, size) in enumerate(
            [
                ("constant", 0.1),
                ("solar-like", 2e-4),
                ("delta-scuti", 3e-3),
                ("transit", 5e-4),
                ("eclipse", 0.1),
            ]
        )
    ]
    made = scene(*stars)
    variability = made.variability
    time = np.linspace(0, 2, 2000) + made.frames.exposures.begin[0]
    kinds = {}
    for star in stars:
        (k,) = np.flatnonzero((made.stars.row == star.row) & (made.stars.column == star.column))
        (v,) = np.nonzero(variability.star == k)
        if star.signal == "constant":
            assert not len(v)
            continue
        kinds[star.signal] = KINDS[variability.kind[v[0]]]
        flux = variability.factor(int(v[0]), time) - 1
        if star.signal in ("transit", "eclipse"):
            assert -flux.min() == pytest.approx(star.size, rel=1e-3)
            assert (flux == 0).mean() > 0.2
        else:
            assert variability.amplitude[v[0]].max() == pytest.approx(star.size, rel=0.2)
            assert 0.5 * star.size < np.abs(flux).max() < 8 * star.size
    assert kinds == {
        "solar-like": "giant", "delta-scuti": "pulsator", "transit": "transit", "eclipse": "eclipse",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2", "write ROW,COLUMN,TMAG"),
        ("1,2,x", "write ROW,COLUMN,TMAG"),
        ("1,2,3,constant,0.1,7", "write ROW,COLUMN,TMAG"),
        ("1000,1030,3,flare", "the signal is one of"),
        ("1000,1030,30", "magnitude is a number from -2 to 15"),
        ("1000,1030,3,transit,2", "size is a number between 0 and 1"),
        ("nan,1030,3", "row and column are numbers"),
    ],
)
def test_stars_that_cannot_be_drawn(text, message):
    with pytest.raises(UsageError, match=message):
        parse_bright_star(text)


def test_a_star_outside_the_region():
    with pytest.raises(UsageError, match="outside the region, whose rows are 800 to 1199"):
        SimulationOptions(**REGION, bright_stars=(BrightStar(700, 1030, 3.0),)).check()
