"""Geometry on the sky, beside astropy's and in places where it is hard: poles, RA = 0, opposite points."""

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tasoc_mpi.core.errors import InputError
from tasoc_mpi.core.sphere import (
    SkyIndex,
    cone_centres,
    convex_hull,
    directions,
    from_tangent_plane,
    in_polygon,
    meridian_turn,
    separation,
    unit_vectors,
)

SQUARE = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])

right_ascensions = st.floats(0, 359.999)
declinations = st.floats(-90, 90)


@given(ra=right_ascensions, dec=declinations)
def test_unit_vectors_are_those_of_astropy(ra, dec):
    vector = unit_vectors(ra, dec)
    np.testing.assert_allclose(vector, SkyCoord(ra, dec, unit="deg").cartesian.xyz.value, atol=1e-15)
    back = directions(3.0 * vector)
    assert SkyCoord(*back, unit="deg").separation(SkyCoord(ra, dec, unit="deg")).deg < 1e-12
    assert 0 <= back[0] < 360


@given(ra=right_ascensions, dec=declinations, angle=st.floats(0, 360), distance=st.floats(1e-9, 180))
def test_separations_are_those_of_astropy(ra, dec, angle, distance):
    here = SkyCoord(ra, dec, unit="deg")
    there = here.directional_offset_by(angle * units.deg, distance * units.deg)
    vectors = unit_vectors(ra, dec), 2.0 * unit_vectors(there.ra.deg, there.dec.deg)
    # Coordinates in degrees are rounded to some 1e-13 degrees.
    np.testing.assert_allclose(separation(*vectors), here.separation(there).deg, atol=2e-13)


@settings(deadline=None)
@given(ra=right_ascensions, dec=declinations, xi=st.floats(-0.5, 0.5), eta=st.floats(-0.5, 0.5))
def test_tangent_planes_are_those_of_astropy(ra, dec, xi, eta):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [ra, dec], [1.0, 1.0]
    # At the pole the default of FITS is another one.
    wcs.wcs.lonpole = 180.0
    expected = SkyCoord(*wcs.wcs_pix2world([np.rad2deg([xi, eta])], 0)[0], unit="deg")
    found = SkyCoord(*np.ravel(from_tangent_plane(np.array([xi]), np.array([eta]), ra, dec)), unit="deg")
    assert found.separation(expected).deg < 1e-11


@settings(deadline=None)
@given(ra=right_ascensions, dec=st.floats(-89, 89), angle=st.floats(0, 360), distance=st.floats(0.01, 60))
def test_the_turn_of_the_meridian_is_that_of_the_position_angles(ra, dec, angle, distance):
    here = SkyCoord(ra, dec, unit="deg")
    there = here.directional_offset_by(angle * units.deg, distance * units.deg)
    assume(abs(there.dec.deg) < 89)
    # A great circle has the same direction at both ends, but north has not.
    change = there.position_angle(here).rad + np.pi - here.position_angle(there).rad
    turn = meridian_turn(ra, dec, [there.ra.deg], [there.dec.deg])[0]
    assert abs((turn + change + np.pi) % (2 * np.pi) - np.pi) < 1e-9


def winding(ra, dec, corners):
    """Reference: how often the polygon goes around each star, by the angles seen from it."""
    inside = []
    for star in unit_vectors(ra, dec):
        east = np.cross([0.0, 0.0, 1.0], star)
        east /= np.linalg.norm(east)
        north = np.cross(star, east)
        seen = unit_vectors(*np.asarray(corners).T)
        angle = np.arctan2(seen @ east, seen @ north)
        turn = np.diff(np.append(angle, angle[0]))
        inside.append(abs(np.sum((turn + np.pi) % (2 * np.pi) - np.pi)) > np.pi)
    return np.array(inside)


@pytest.mark.parametrize(
    "corners",
    [
        SQUARE * 5,
        [[350, 80], [80, 85], [170, 84], [260, 82]],  # around the north pole
        [[10, -84], [100, -83], [200, -85]],
        [[355, -3], [5, -2], [4, 6], [358, 7]],
    ],
)
def test_polygon_agrees_with_the_winding_number(corners):
    rng = np.random.default_rng(5)
    around = unit_vectors(*np.asarray(corners, dtype=float).T).sum(axis=0)
    points = around / np.linalg.norm(around) + rng.normal(0, 0.1, (500, 3))
    points /= np.linalg.norm(points, axis=1)[:, None]
    ra, dec = np.rad2deg(np.arctan2(points[:, 1], points[:, 0])), np.rad2deg(np.arcsin(points[:, 2]))
    inside = in_polygon(ra, dec, corners)
    assert 20 < inside.sum() < 480
    np.testing.assert_array_equal(inside, winding(ra, dec, corners))


angles = st.floats(0, 2 * np.pi)
seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=80, deadline=None)
@given(
    a=angles,
    b=angles,
    c=angles,
    buffer=st.floats(0, 3),
    width=st.floats(0.1, 15),
    seed=st.integers(0, 2**32 - 1),
)
def test_selection_does_not_change_when_the_sphere_is_turned(a, b, c, buffer, width, seed):
    def rotation(angle, i, j):
        matrix = np.eye(3)
        matrix[i, i] = matrix[j, j] = np.cos(angle)
        matrix[i, j], matrix[j, i] = -np.sin(angle), np.sin(angle)
        return matrix

    turn = rotation(a, 0, 1) @ rotation(b, 1, 2) @ rotation(c, 0, 1)
    rng = np.random.default_rng(seed)
    corners = SQUARE * [width, width * 0.7] / 2
    ra, dec = rng.uniform(-20, 20, 300), rng.uniform(-20, 20, 300)
    # Where the answer is a matter of rounding there is nothing to compare.
    sure = in_polygon(ra, dec, corners, buffer + 1e-7) == in_polygon(ra, dec, corners, max(buffer - 1e-7, 0))

    def turned(ra, dec):
        x, y, z = turn @ unit_vectors(ra, dec).T
        return np.rad2deg(np.arctan2(y, x)) % 360, np.rad2deg(np.arctan2(z, np.hypot(x, y)))

    expected = in_polygon(ra, dec, corners, buffer)
    after = in_polygon(*turned(ra, dec), np.stack(turned(*corners.T), axis=-1), buffer)
    np.testing.assert_array_equal(after[sure], expected[sure])


@settings(max_examples=60, deadline=None)
@given(distance=st.floats(1e-6, 5), buffer=st.floats(1e-6, 5), sign=st.sampled_from([-1, 1]))
def test_buffer_is_a_distance_on_the_sky_whatever_the_declination(distance, buffer, sign):
    assume(abs(distance - buffer) > 1e-7)
    # A field whose western edge is a meridian, at a declination where a degree of RA is small.
    corners = [[10.0, 75.0], [60.0, 75.0], [60.0, 85.0], [10.0, 85.0]]
    # Along the great circle perpendicular to the meridian RA = 10 at Dec 80.
    start, east = unit_vectors(10.0, 80.0), unit_vectors(100.0, 0.0)
    x, y, z = np.cos(np.deg2rad(distance)) * start + sign * np.sin(np.deg2rad(distance)) * east
    inside = in_polygon([np.rad2deg(np.arctan2(y, x))], [np.rad2deg(np.arcsin(z))], corners, buffer)[0]
    assert inside == (sign > 0 or distance < buffer)


def test_a_buffer_larger_than_the_polygon_does_not_let_in_the_opposite_sky():
    tiny = SQUARE * 1e-3
    ra, dec = [0.0, 180.0, 0.05, 179.95], [0.0, 0.0, 0.05, 0.0]
    assert in_polygon(ra, dec, tiny, 0.2).tolist() == [True, False, True, False]


def test_positions_that_are_not_finite_are_outside():
    assert in_polygon([0.0, np.nan, 0.0], [0.0, 0.0, np.inf], SQUARE).tolist() == [True, False, False]


def test_polygons_that_are_none():
    with pytest.raises(InputError, match="not convex"):
        in_polygon([0], [0], [[0, 0], [4, 0], [1, 1], [0, 4]])
    with pytest.raises(InputError, match="no area"):
        in_polygon([0], [0], [[0, 0], [1, 0], [2, 0]])
    with pytest.raises(InputError, match="no area"):
        convex_hull([[0, 0], [1, 0], [2, 0]])


@settings(max_examples=30, deadline=None)
@given(
    ra=st.floats(0, 360),
    dec=st.floats(-90, 90),
    width=st.floats(0.01, 12),
    buffer=st.sampled_from([0.2, 3.0]),
    seed=st.integers(0, 1000),
)
def test_cones_cover_the_field(ra, dec, width, buffer, seed):
    """And the sky around it, also where that is wider than a cone."""
    middle = SkyCoord(ra, dec, unit="deg")
    corners = middle.directional_offset_by([0, 90, 180, 270] * units.deg, width * units.deg)
    corners = np.stack([corners.ra.deg, corners.dec.deg], axis=-1)
    rng = np.random.default_rng(seed)
    angle, distance = rng.uniform(0, 360, 200), rng.uniform(0, width + 1.5 * buffer, 200)
    points = middle.directional_offset_by(angle * units.deg, distance * units.deg)
    inside = points[in_polygon(points.ra.deg, points.dec.deg, corners, buffer)]
    centres = unit_vectors(*cone_centres(corners, buffer, 1.0).T)
    nearest = (unit_vectors(inside.ra.deg, inside.dec.deg) @ centres.T).max(axis=1)
    assert (nearest >= np.cos(np.deg2rad(1.0))).all()


@pytest.mark.parametrize(("ra", "dec"), [(0.1, 0.0), (359.95, 60.0), (200.0, 89.9), (80.0, -89.95)])
@pytest.mark.parametrize("radius", [0.2, 3.0, 180.0])
def test_a_sky_index_finds_the_positions_within_a_radius(ra, dec, radius):
    rng = np.random.default_rng(4)
    ras, decs = rng.uniform(0, 360, 4000), np.degrees(np.arcsin(rng.uniform(-1, 1, 4000)))
    ras[:500], decs[:500] = ra + rng.normal(0, 1, 500), np.clip(dec + rng.normal(0, 0.3, 500), -90, 90)
    distance = SkyCoord(ras, decs, unit="deg").separation(SkyCoord(ra, dec, unit="deg")).deg
    found = SkyIndex(ras, decs).within(ra, dec, radius)
    assert len(found) > 5
    np.testing.assert_array_equal(found, np.flatnonzero(distance <= radius))


def test_a_search_compares_the_positions_of_its_declinations_alone():
    index = SkyIndex(np.linspace(0, 90, 1000), np.linspace(-45, 45, 1000))
    compared = []

    class Counted(np.ndarray):
        def __getitem__(self, key):
            found = super().__getitem__(key)
            compared.append(len(found))
            return np.asarray(found)

    index._vectors = index._vectors.view(Counted)
    assert len(index.within(45.0, 0.0, 0.2)) == 4
    assert compared == [4]
