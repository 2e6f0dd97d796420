"""Aperture photometry: which mask is used, how the stamp grows, and what is reported."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.table import MaskedColumn

from tasoc_mpi.core.names import truth_name
from tasoc_mpi.core.settings import mag2flux
from tasoc_mpi.core.status import STATUS
from tasoc_mpi.kernels.sums import sum_pixels
from tasoc_mpi.one_star import wants_halo
from tasoc_mpi.photometry import AperturePhotometry, BasePhotometry
from tasoc_mpi.photometry.aperture import contamination, minimal_mask, stars_in_mask, touched_sides
from tasoc_mpi.photometry.base import STAMP_STAR_DTYPE
from tasoc_mpi.photometry.columns import Columns
from tasoc_mpi.photometry.result import PhotometryResult
from tasoc_mpi.photometry.stamp import _HEIGHT, _TMAG, _WIDTH, default_size
from tasoc_mpi.photometry.stamp_pixels import StampPixels
from tasoc_mpi.products.cube import PixelBackground
from tasoc_mpi.simulate.truth_file import read_truth

#: Full frame image (row, column) of the first pixel of the small worlds below.
ORIGIN = (100, 144)
FRAMES = 5


class SmallWorld(AperturePhotometry):
    """Aperture photometry in an image, without files. The first star (row, column, tmag) is the target."""

    def __init__(self, image, stars, datasource="ffi", size=None, collected=None, listed=True, origin=ORIGIN):
        catalog = np.zeros(len(stars), dtype=STAMP_STAR_DTYPE)
        catalog["starid"] = 1000 - np.arange(len(stars))
        catalog["row"], catalog["column"], catalog["tmag"] = np.array(stars, dtype=float).T
        catalog["row"] += origin[0]
        catalog["column"] += origin[1]
        cube = np.repeat(np.asarray(image, dtype="f4")[:, :, None], FRAMES, axis=2)
        cube *= 1 + 0.01 * np.arange(FRAMES, dtype="f4")
        images_err, background = np.full_like(cube, 2.0), PixelBackground(np.full_like(cube, 7.0))
        source = SimpleNamespace(
            images=cube,
            images_err=images_err,
            background=background,
            sum_pixels=lambda *mask: (*sum_pixels(cube, images_err, *mask), background.total(*mask)),
            sumimage=np.asarray(image, dtype="f4"),
            collected=np.ones(image.shape, dtype="i4") if collected is None else collected.astype("i4"),
            origin=origin,
            is_tpf=datasource != "ffi",
            catalog=SimpleNamespace(only_targets=False),
        )
        self._catalog = catalog if listed else catalog[1:]
        self._size = size
        self.datasource = datasource
        self.target = {"starid": 1000, "tmag": float(catalog["tmag"][0])}
        self.logger = logging.getLogger("tasoc_mpi.tests")
        self.additional_headers = {}
        self.contamination = float("nan")
        self.halo_advised = False
        self.result = PhotometryResult()
        columns = {name: np.full(FRAMES, np.nan) for name in ("flux", "flux_err", "flux_background")}
        self._columns = Columns({**columns, "pos_centroid": np.full((FRAMES, 2), np.nan)})
        StampPixels.__init__(
            self, source, 1000, catalog["row"][0].item(), catalog["column"][0].item(), "basic"
        )

    def default_stamp(self):
        return self._size or (15, 15)

    @property
    def stamp_stars(self):
        stars = self._catalog.copy()
        stars["row_stamp"] = stars["row"] - self.stamp[0]
        stars["column_stamp"] = stars["column"] - self.stamp[2]
        return stars


def sky(shape, seed=1):
    return np.random.default_rng(seed).normal(0, 1, shape)


def add_star(image, row, column, flux, width=1.0):
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    image += flux / (2 * np.pi * width**2) * np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * width**2))
    return image


def bar(length, rows=60, columns=400):
    """A faint streak to both sides of a star in the middle; `length` pixels each."""
    image = sky((rows, columns))
    r, c = rows // 2, columns // 2
    image[r - 1 : r + 2, c - length : c + length + 1] += 100
    return add_star(image, r, c, 20000), (r, c)


def test_one_star():
    image = add_star(sky((40, 40)), 20.2, 18.7, 8000)
    pho = SmallWorld(image, [(20.2, 18.7, 10.7)])
    assert pho.do_photometry() == STATUS.OK
    mask = pho.final_phot_mask
    assert mask.shape == (15, 15)
    np.testing.assert_array_equal(mask, pho.final_position_mask)
    assert mask[round(pho.target_pos_row_stamp), round(pho.target_pos_column_stamp)]
    inside = np.zeros(image.shape, dtype=bool)
    inside[13:28, 12:27] = mask
    scale = 1 + 0.01 * np.arange(FRAMES)
    np.testing.assert_allclose(pho._columns.arrays["flux"], image[inside].sum() * scale, rtol=1e-6)
    assert pho._columns.arrays["flux"][0] == pytest.approx(8000, rel=0.02)
    np.testing.assert_allclose(pho._columns.arrays["flux_err"], 2 * np.sqrt(mask.sum()), rtol=1e-6)
    np.testing.assert_allclose(pho._columns.arrays["flux_background"], 7 * mask.sum(), rtol=1e-6)
    # Published positions are (column, row), and count pixels from 1.
    expected = [18.7 + ORIGIN[1] + 1, 20.2 + ORIGIN[0] + 1]
    np.testing.assert_allclose(pho._columns.arrays["pos_centroid"], [expected] * FRAMES, atol=0.03)
    assert pho.contamination == 0
    assert pho.result.skip_targets == []
    assert pho.result.errors == []
    assert pho._resizes == 0
    assert not pho.halo_advised
    assert pho.k2p2.labels.shape == mask.shape


def test_headers():
    pho = SmallWorld(add_star(sky((40, 40)), 20, 20, 8000), [(20, 20, 10.7), (21, 21, 14.0)])
    pho.do_photometry()
    cards = {key: value for key, (value, comment) in pho.additional_headers.items() if comment}
    assert cards == {
        "KP_THRES": 0.8,
        "KP_MIPIX": 4,
        "KP_MICLS": 4,
        "KP_CLSRA": pytest.approx(2**0.5),
        "KP_WS": True,
        "KP_WSBLR": 0.5,
        "KP_WSTHR": 0,
        "KP_WSFOT": 3,
        "KP_EX": True,
        "AP_CONT": pytest.approx(1 - 1 / (1 + 10 ** (-0.4 * 3.3))),
    }
    # As an 80 character card of FITS.
    assert all(len(comment) <= 47 for _, comment in pho.additional_headers.values())


def test_company_in_the_mask():
    image = add_star(sky((40, 40)), 20, 20, 8000)
    stars = [(20, 20, 11.0), (21.4, 20, 13.5), (20, 18.6, 14.0), (33, 33, 12), (19, 21, 16), (50, 50, 9)]
    pho = SmallWorld(image, stars)
    assert pho.do_photometry() == STATUS.OK
    flux = 10 ** (-0.4 * np.array([11.0, 13.5, 14.0, 16]))
    assert pho.contamination == pytest.approx(1 - flux[0] / flux.sum())
    assert pho.result.skip_targets == [996, 998, 999]
    # The light of one of them is not known, and so the share of the others is not.
    pho = SmallWorld(image, [*stars[:2], (20, 18.6, np.nan)])
    assert pho.do_photometry() == STATUS.OK
    assert np.isnan(pho.contamination)
    assert pho.result.skip_targets == [998, 999]


def test_a_star_that_is_not_seen_gets_the_pixels_next_to_it(caplog):
    image = add_star(sky((40, 40)), 14, 14, 8000)
    pho = SmallWorld(image, [(20.3, 20.0, 14.9), (14, 14, 10.7)])
    assert pho.do_photometry() == STATUS.WARNING
    rows, columns = np.nonzero(pho.final_phot_mask)
    assert sorted({r + pho.stamp[0] - ORIGIN[0] for r in rows}) == [20, 21]
    assert sorted({c + pho.stamp[2] - ORIGIN[1] for c in columns}) == [19, 20, 21]
    assert len(rows) == 6
    assert pho.contamination == 0
    assert pho.result.skip_targets == []
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    assert "the 6 pixels next to it" in caplog.text


def test_pixels_that_were_not_collected_are_in_no_mask():
    image = add_star(sky((11, 11)), 5, 5, 8000)
    collected = np.ones(image.shape, dtype=bool)
    collected[:, 6:] = False
    pho = SmallWorld(image, [(5, 5, 10.7)], "tpf", collected=collected)
    assert pho.do_photometry() == STATUS.OK
    assert pho.final_phot_mask[5, 5]
    assert not pho.final_phot_mask[:, 6:].any()
    # None of the pixels next to the star.
    collected[:, 3:] = False
    pho = SmallWorld(image, [(5, 5, 10.7)], "tpf", collected=collected)
    assert pho.do_photometry() == STATUS.ERROR
    assert "none of the pixels next to it was collected" in pho.result.errors[0]
    assert pho.final_phot_mask is None


@pytest.mark.parametrize(
    ("length", "tmag", "resizes"),
    [(5, 9, 0), (7, 9, 1), (30, 9, 3), (56, 9, 5), (56, 5.9, 5), (100, 5.9, 10)],
)
def test_the_stamp_grows_until_the_mask_fits(length, tmag, resizes):
    image, place = bar(length)
    pho = SmallWorld(image, [(*place, tmag)])
    before = pho.stamp
    assert pho.do_photometry() == STATUS.OK
    assert pho._resizes == resizes
    grown = np.subtract(pho.stamp, before)
    assert grown.tolist() == [0, 0, -10 * resizes, 10 * resizes]
    assert pho.final_phot_mask.any(axis=0).sum() >= 2 * length + 1
    assert not touched_sides(pho.final_phot_mask)


@pytest.mark.parametrize(
    ("length", "tmag", "halo"), [(60, 9, False), (60, 6.01, False), (60, 6.0, True), (110, 5.9, True)]
)
def test_the_stamp_does_not_grow_for_ever(length, tmag, halo):
    image, place = bar(length)
    pho = SmallWorld(image, [(*place, tmag)])
    assert pho.do_photometry() == STATUS.ERROR
    assert pho.result.errors == ["Too many stamp resizes."]
    assert pho._resizes == (10 if tmag < 6 else 5)
    assert pho.halo_advised is halo
    assert np.isnan(pho._columns.arrays["flux"]).all()
    assert pho.final_phot_mask is None


@pytest.mark.parametrize(
    ("side", "place"), [("down", (4, 30)), ("up", (55, 30)), ("left", (30, 4)), ("right", (30, 55))]
)
def test_grows_on_the_side_that_is_touched(side, place):
    image = add_star(sky((60, 60)), *place, 8000, width=1.2)
    pho = SmallWorld(image, [(*place, 10.0)], size=(5, 15) if side in ("down", "up") else (15, 5))
    pho.resize_stamp(**{side: 9})
    limit = {"down": 0, "up": 1, "left": 2, "right": 3}
    before = pho.stamp
    assert pho.do_photometry() == STATUS.OK
    changed = [name for name, k in limit.items() if pho.stamp[k] != before[k]]
    assert changed == [{"down": "up", "up": "down", "left": "right", "right": "left"}[side]]


def test_at_the_edge_of_the_ccd_a_star_is_used_as_it_is():
    image = add_star(sky((60, 60)), 0.3, 30, 8000)
    pho = SmallWorld(image, [(0.3, 30, 9.0)])
    assert pho.do_photometry() == STATUS.OK
    assert touched_sides(pho.final_phot_mask) == {"down"}
    assert pho.stamp[0] == ORIGIN[0]
    assert pho._resizes == 0
    assert not pho.halo_advised


def test_growth_that_meets_the_edge_of_the_ccd():
    """On one side four pixels are left; on the other the stamp goes on growing."""
    image, (row, column) = bar(40)
    image = image[:, column - 11 :]
    pho = SmallWorld(image, [(row, 11, 9.0)])
    assert pho.do_photometry() == STATUS.OK
    assert pho.stamp == (ORIGIN[0] + row - 7, ORIGIN[0] + row + 8, ORIGIN[1], ORIGIN[1] + 59)
    assert touched_sides(pho.final_phot_mask) == {"left"}
    assert pho._resizes == 4


@pytest.mark.parametrize(
    ("tmag", "share", "datasource", "origin", "status"),
    [
        (5.0, 0.02, "ffi", (0, 44), STATUS.ERROR),
        (6.0, 0.02, "ffi", (0, 1000), STATUS.ERROR),
        (5.0, 0.005, "ffi", (0, 44), STATUS.OK),
        (6.1, 0.02, "ffi", (0, 44), STATUS.OK),
        # Above the edge of a cut-out there are more pixels on the CCD.
        (5.0, 0.02, "ffi", (1, 44), STATUS.OK),
        (5.0, 0.02, "tpf", (0, 44), STATUS.OK),
        (5.0, 0.02, "tpf:77", (0, 44), STATUS.OK),
    ],
)
def test_a_very_bright_star_cut_off_by_the_ccd(tmag, share, datasource, origin, status):
    expected = mag2flux(tmag)
    image = add_star(sky((17, 17)), 4, 8, 0.9 * expected, width=0.8)
    image[0, 7:10] = share * expected / 3
    image[1:4, 7:10] += share * expected / 3
    pho = SmallWorld(image, [(4, 8, tmag)], datasource, origin=origin)
    pho.result.status = pho.do_photometry()
    assert pho.result.status == status
    assert pho.halo_advised is (status == STATUS.ERROR)
    # At the edge of a target pixel file halo photometry may do better; at that of a cut-out it has no more.
    assert wants_halo(pho) is (status == STATUS.ERROR or (datasource == "tpf" and share > 0.01))
    if status == STATUS.ERROR:
        assert "edge of the CCD" in pho.result.errors[0]
    else:
        assert "down" in touched_sides(pho.final_phot_mask)


def test_sides_at_which_a_cutout_ends():
    image = add_star(sky((17, 17)), 8, 8, 8000)
    for origin, datasource, sides in (
        ((0, 44), "ffi", {"up", "right"}),
        ((2048 - 17, 2092 - 17), "ffi", {"down", "left"}),
        ((5, 50), "ffi", {"up", "right", "down", "left"}),
        ((5, 50), "tpf", set()),
    ):
        pho = SmallWorld(image, [(8, 8, 10.0)], datasource, size=(17, 17), origin=origin)
        assert pho.cut_sides == sides
    assert SmallWorld(sky((40, 40)), [(20, 20, 10.0)]).cut_sides == set()


def test_a_target_in_two_masks_is_an_error():
    image = np.random.default_rng(0).uniform(0.5, 1.5, (30, 20))
    y, x = np.mgrid[:30, :20]
    image += 20000 * np.exp(-(((y - 8.0) / 5) ** 4) - (x - 8.0) ** 2 / 1.5)
    image[1:16, 8] = 60000 + 30 * (np.arange(15) % 3)
    image[16:22, 8] = 40000
    image += 30000 * np.exp(-((y - 25.0) ** 2 + (x - 8.0) ** 2))
    pho = SmallWorld(image, [(25.0, 8.0, 9.0), (10.0, 8.0, 5.0)], "tpf")
    assert pho.do_photometry() == STATUS.ERROR
    assert pho.result.errors == ["The target's pixel is in 2 masks."]


def test_a_mask_without_a_star_is_an_error():
    image = add_star(sky((40, 40)), 20, 20, 8000)
    pho = SmallWorld(image, [(20, 20, 10.7)], listed=False)
    assert pho.do_photometry() == STATUS.ERROR
    assert pho.result.errors == ["No star of the catalog is in the mask."]


def test_stars_without_a_known_magnitude():
    image = add_star(sky((40, 40)), 20, 20, 8000)
    pho = SmallWorld(image, [(20, 20, np.nan), (21, 20, 12.0)])
    assert pho.do_photometry() in (STATUS.OK, STATUS.WARNING)
    assert np.isnan(pho.contamination)
    assert pho.additional_headers["AP_CONT"][0] is None


def test_contamination_is_not_known_without_a_catalog_of_the_field():
    image = add_star(sky((40, 40)), 20, 20, 8000)
    pho = SmallWorld(image, [(20, 20, 10.7)])
    pho._source.catalog.only_targets = True
    assert pho.do_photometry() == STATUS.OK
    assert np.isnan(pho.contamination)
    assert pho.additional_headers["AP_CONT"][0] is None


def test_pieces():
    assert contamination(np.array([10.0]), np.array([True])) == 0
    assert contamination(np.array([np.nan]), np.array([True])) == 0
    assert contamination(np.array([10.0, 10.0]), np.array([True, False])) == pytest.approx(0.5)
    assert np.isnan(contamination(np.array([10.0, np.nan]), np.array([True, False])))
    assert contamination(np.array([10.0]), np.array([False])) == 1

    aperture = np.ones((5, 6), dtype="i4")
    aperture[2, 2] = 32
    mask = minimal_mask(aperture, 2.0, 3.0)
    assert mask.sum() == 8
    assert not mask[2, 2]
    assert minimal_mask(aperture, 3.5, -0.4).sum() == 2
    assert not minimal_mask(aperture, 9.0, 3.0).any()

    stars = np.zeros(4, dtype=STAMP_STAR_DTYPE)
    stars["row_stamp"], stars["column_stamp"] = [2.4, 2.6, -0.6, np.nan], [3.0, 3.0, 0.0, 1.0]
    mask = np.zeros((5, 6), dtype=bool)
    mask[2, 3] = mask[-1, 0] = True
    assert stars_in_mask(stars, mask).tolist() == [True, False, False, False]
    assert touched_sides(mask) == {"up", "left"}
    assert touched_sides(np.ones((1, 1), dtype=bool)) == {"down", "up", "left", "right"}


# --- With files ----------------------------------------------------------------------------------------


def open_star(simulated, tmp_path, starid, **kwargs):
    where = {"sector": simulated.sector, "camera": simulated.camera, "ccd": simulated.ccd}
    return AperturePhotometry(starid, simulated.folder, tmp_path, **where, **kwargs)


def test_every_star_of_a_simulated_ccd(simulated, tmp_path):
    truth = read_truth(simulated.folder / truth_name(1, 1, 1))
    stars = truth.stars
    row0, column0 = truth.attributes["ROW0"], truth.attributes["COLUMN0"]
    row, column = stars["row"] - row0, stars["column"] - column0
    inside = (row > 1) & (row < 94) & (column > 1) & (column < 94) & (stars["tmag"] < 15)
    assert inside.sum() > 20
    captured = []
    for k in np.flatnonzero(inside):
        with open_star(simulated, tmp_path, int(stars["starid"][k])) as pho:
            pho.photometry()
            result, mask = pho.result, pho.final_phot_mask
            assert result.status in (STATUS.OK, STATUS.WARNING)
            assert (result.status == STATUS.OK) == (not result.errors)
            assert mask[round(pho.target_pos_row_stamp), round(pho.target_pos_column_stamp)]
            known = pho.stamp_stars["starid"][stars_in_mask(pho.stamp_stars, mask)]
            assert sorted([*result.skip_targets, pho.starid]) == sorted(known)
            assert 0 <= result.contamination < 1
            if stars["tmag"][k] < 13 and not touched_sides(mask):
                light = stars["flux"][np.isin(stars["starid"], known)].sum()
                captured.append(result.mean_flux / light)
    assert len(captured) >= 3
    assert np.median(captured) == pytest.approx(
        0.98, abs=0.04
    )  # the wings of faint stars are lost in the sky


def test_the_same_star_twice_is_the_same(simulated, tmp_path):
    stars = read_truth(simulated.folder / truth_name(1, 1, 1)).stars
    inside = np.flatnonzero(stars["tmag"] < 13)
    curves = []
    for _ in range(2):
        with open_star(simulated, tmp_path, int(stars["starid"][inside[0]]), cache="none") as pho:
            pho.photometry()
            curves.append(np.asarray(pho.lightcurve["flux"]).tobytes())
    assert curves[0] == curves[1]


@pytest.mark.real
def test_real_target_pixel_file(real, tmp_path):
    """WASP-126: the mask holds SPOC's, whose pixels are those with most signal, and so more light."""
    folder = tmp_path / "input"
    folder.mkdir()
    source = real / "tpf" / "tess25155310-s01-first-cadences.fits.gz"
    name = "tess2018206045859-s0001-0000000025155310-0120-s_tp.fits.gz"
    (folder / name).write_bytes(source.read_bytes())
    with AperturePhotometry(25155310, folder, tmp_path, datasource="tpf") as pho:
        assert isinstance(pho, BasePhotometry)
        pho.photometry()
        assert pho.result.status == STATUS.OK
        from astropy.io import fits

        with fits.open(source) as hdus:
            spoc = (hdus[2].data & 2) > 0
        assert pho.final_phot_mask[spoc].all()
        assert 8000 < pho.result.mean_flux < 1.15 * 9267
        # Without a catalog of the field its neighbours are not known; five cadences are one hour's.
        assert np.isnan(pho.result.contamination)
        assert np.isnan(pho.result.rms_hour)
        header = fits.getheader(pho.save_lightcurve())
        assert "AP_CONT" not in header


def test_stamps_between_the_magnitudes_of_the_table():
    for tmag in np.append(np.linspace(-2.0, 16.0, 361), _TMAG).tolist():
        sizes = (max(15, int(np.ceil(np.interp(tmag, _TMAG, side)))) for side in (_HEIGHT, _WIDTH))
        assert default_size(tmag) == tuple(sizes)


def test_columns_that_a_method_replaces_stay():
    columns = Columns({"flux": np.full(3, np.nan), "quality": np.zeros(3, "i4")})
    columns.table["quality"] = np.array([1, 2, 3], "i4")
    columns.fill(flux=np.ones(3))
    assert columns.arrays["quality"].tolist() == [1, 2, 3]
    assert columns.table["quality"].tolist() == [1, 2, 3]
    columns.table["flux"] = MaskedColumn([1.0, 2.0, 3.0], mask=[False, True, False])
    columns.table["quality"] = MaskedColumn(np.array([4, 5, 6], "i4"), mask=[False, True, False])
    assert np.isnan(columns.arrays["flux"]).tolist() == [False, True, False]
    assert columns.arrays["quality"].tolist() == [4, 0, 6]
