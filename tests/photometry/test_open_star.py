"""One star: from a file of any name or from a folder to a light curve that shows itself."""

import itertools
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from matplotlib.figure import Figure
from small_files import tpf_name, write_tpf
from todo_rows import load_todo

import tasoc_mpi
from tasoc_mpi import cli
from tasoc_mpi.core.errors import InputError, MissingInput, UsageError
from tasoc_mpi.core.quality import TESSQualityFlags
from tasoc_mpi.core.status import STATUS
from tasoc_mpi.photometry import BasePhotometry
from tasoc_mpi.photometry.aperture import AperturePhotometry
from tasoc_mpi.photometry.header import exposure_seconds


@pytest.fixture(scope="module")
def tpf(simulated, tmp_path_factory) -> Path:
    """A target pixel file with the name of nothing, far from its catalog."""
    path = tmp_path_factory.mktemp("elsewhere") / "my star"
    shutil.copy(sorted((simulated.folder / "tpf").iterdir())[0], path)
    return path


@pytest.fixture(scope="module")
def pho(tpf):
    with tasoc_mpi.open_star(tpf) as pho:
        yield pho


def test_a_file_of_any_name_gives_what_the_folder_gives(simulated, tpf, pho, caplog):
    starid = pho.starid
    with tasoc_mpi.open_star(starid, input_folder=simulated.folder) as other:
        # Here the neighbours are known.
        assert not other.stars_unknown
        np.testing.assert_array_equal(other.sumimage, pho.sumimage)
    with caplog.at_level(logging.WARNING), tasoc_mpi.open_star(str(tpf)) as again:
        assert again.status == STATUS.OK
        assert np.isnan(again.result.contamination)
    words = (
        "contamination is unknown; put catalog_sector001_camera1_ccd1.sqlite beside the file (`tasoc-mpi cat"
    )
    assert words in caplog.text
    assert "contamination is unknown" in again.result.errors[-1]
    # The name of another star's file does not count.
    misnamed = tpf.parent / "tess2018206192942-s0009-0000000000000007-0120-s_tp.fits"
    shutil.copy(tpf, misnamed)
    with tasoc_mpi.open_star(misnamed) as again:
        assert (again.starid, again.sector) == (starid, 1)


def test_a_catalog_beside_the_file_or_above_it_is_taken(simulated, tmp_path):
    name = "catalog_sector001_camera1_ccd1.sqlite"
    (tmp_path / "tpf").mkdir()
    file = shutil.copy(sorted((simulated.folder / "tpf").iterdir())[0], tmp_path / "tpf" / "x.fits")
    shutil.copy(simulated.folder / name, tmp_path / name)
    with tasoc_mpi.open_star(file) as pho:
        assert not pho.stars_unknown
        assert np.isfinite(pho.result.contamination)


def test_a_star_of_full_frame_images_by_its_number(simulated):
    todo = load_todo(simulated.folder / "todo.sqlite")
    starid = int(todo["starid"][todo["datasource"] == "ffi"][-1])
    with tasoc_mpi.open_star(starid, "linpsf", input_folder=simulated.folder) as pho:
        assert (pho.starid, pho.datasource, pho.method) == (starid, "ffi", "linpsf")
        assert pho.status.has_lightcurve


def test_what_is_missing_is_named_with_its_pattern(simulated, tmp_path):
    with pytest.raises(MissingInput, match=r"no\.fits: no such file"):
        tasoc_mpi.open_star(tmp_path / "no.fits")
    names = r"tess\*-s0001-0000000000000012-\*_tp.fits\[.gz\].*catalog_sectorSSS_cameraC_ccdD"
    with pytest.raises(MissingInput, match=names) as caught:
        tasoc_mpi.open_star(12, input_folder=simulated.folder, sector=1)
    assert str(caught.value).startswith(f"{simulated.folder}: ")
    with pytest.raises(MissingInput, match=r"TIC 12 in sector 1 \(tess\*-s0001-0000000000000012-"):
        AperturePhotometry(12, simulated.folder, tmp_path, datasource="tpf", sector=1)
    text = tmp_path / "text"
    text.write_text("no FITS")
    with pytest.raises(InputError, match="text: "):
        tasoc_mpi.open_star(text)
    with pytest.raises(MissingInput, match="nowhere: no such folder"):
        tasoc_mpi.TaskManager(tmp_path / "nowhere")


def test_a_file_of_another_kind_is_named_for_what_it_is(simulated, tpf, pho, tmp_path):
    """None of these is damaged, so nobody is told to remove it."""
    lightcurve = pho.save_lightcurve(tmp_path)
    frame = sorted((simulated.folder / "ffi").iterdir())[0]
    for path in (lightcurve, frame):
        with pytest.raises(InputError, match=r"neither a target pixel file nor a cut-out.*name one$"):
            tasoc_mpi.open_star(path)
    with pytest.raises(InputError, match=r": a folder; name a target pixel file"):
        tasoc_mpi.open_star(tpf.parent)
    with pytest.raises(InputError, match=r"not a light curve of tasoc-mpi; lightkurve.read reads"):
        tasoc_mpi.read_lightcurve(tpf)
    cut = tmp_path / "cut"
    cut.write_bytes(tpf.read_bytes()[:30000])
    with pytest.raises(InputError) as caught:
        tasoc_mpi.open_star(cut)
    assert str(caught.value).count("cut: ") == str(caught.value).count("fetch it again") == 1


def test_a_cadence_that_is_not_there_is_refused(simulated, pho):
    """And not replaced by the images."""
    for star in (np.int64(pho.starid), f"TIC {pho.starid}"):
        with pytest.raises(MissingInput, match=r"has a cadence of 1800 s, and TIC \d+ no target"):
            tasoc_mpi.open_star(star, input_folder=simulated.folder, cadence=20)
        with tasoc_mpi.open_star(star, input_folder=simulated.folder, cadence=1800) as one:
            assert one.datasource == "ffi"


def test_objects_show_themselves(pho):
    assert repr(pho) == (
        f"<AperturePhotometry TIC {pho.starid}, Tmag {pho.target['tmag']:.2f}, sector 1, camera 1, CCD 1, "
        f"120 s, {len(pho.lightcurve)} points: OK>"
    )
    page = pho._repr_html_()
    for words in (f"TIC {pho.starid}", f"{int(pho.final_phot_mask.sum())} pixels", "contamination", "<td"):
        assert words in page
    assert pho.psf.source in pho.psf._repr_html_()
    assert "<table" in pho.lightcurve._repr_html_()
    settings = tasoc_mpi.load_settings()
    assert repr(settings) == "Settings(all have their defaults)"
    assert "faint_limit" in settings._repr_html_()


def test_pictures_take_axes_and_give_them_back(pho):
    first, second = Figure().subplots(1, 2)
    assert pho.plot_lightcurve(first) is first
    assert pho.plot_stamp(second) is second
    points = sum(len(line.get_xdata()) for line in first.lines)
    assert points == len(pho.lightcurve)
    names = [[text.get_text() for text in axes.get_legend().get_texts()] for axes in (first, second)]
    good = TESSQualityFlags.filter(pho.lightcurve["quality"])
    assert names[0] == ["good"] + ["flagged"] * (not good.all())
    assert names[1][0] == "mask"
    assert names[1][-1] == "the star"
    assert second.get_xlabel() == "column (full frame image pixel, from 0)"
    assert second.get_xlim() == (pho.stamp[2] - 0.5, pho.stamp[3] - 0.5)
    # A square for each pixel of the mask, around its 0-based place.
    rows, columns = np.nonzero(pho.final_phot_mask)
    places = zip(columns + pho.stamp[2] - 0.5, rows + pho.stamp[0] - 0.5, strict=True)
    corners = sorted(places)
    assert sorted(patch.get_xy() for patch in second.patches) == corners


def test_light_curve_of_lightkurve_and_astropy(pho, tmp_path):
    series = tasoc_mpi.read_lightcurve(pho.save_lightcurve(tmp_path))
    rate = u.electron / u.s
    assert series["flux_raw"].unit == rate
    np.testing.assert_array_equal(series["flux_raw"].value, pho.lightcurve["flux"])
    btjd = (series.time.jd1 - 2457000) + series.time.jd2
    np.testing.assert_allclose(btjd, pho.lightcurve["time"], atol=1e-9)
    assert (series.time.scale, series.meta["TICID"], series.meta["TIMESYS"]) == ("tdb", pho.starid, "TDB")
    assert series["flux_corr"].unit.to("") == pytest.approx(1e-6)
    assert series["mom_centr1"].unit == u.pix
    pytest.importorskip("lightkurve")
    curve = pho.to_lightkurve()
    known = np.isfinite(pho.lightcurve["flux"])
    np.testing.assert_array_equal(curve.flux.to_value(rate), pho.lightcurve["flux"][known])
    np.testing.assert_allclose(curve.time.btjd, pho.lightcurve["time"][known], atol=1e-9)
    np.testing.assert_array_equal(curve.centroid_col.value, pho.lightcurve["pos_centroid"][known, 0])


def test_nothing_is_drawn_or_saved_before_the_photometry(tpf, tmp_path):
    with tasoc_mpi.open_star(tpf) as done:
        starid = done.starid
    with AperturePhotometry(starid, tpf, tmp_path, datasource="tpf") as pho:
        assert "no photometry yet" in repr(pho)
        for refused in (pho.save_lightcurve, pho.plot_lightcurve, pho.to_lightkurve):
            with pytest.raises(UsageError, match=r"call photometry\(\)"):
                refused()


def test_the_command_writes_a_light_curve_a_table_and_a_picture(tpf, tmp_path, capsys):
    assert cli.main(["star", str(tpf), "--output", str(tmp_path / "out"), "--photometry", "linpsf"]) == 0
    shown = capsys.readouterr().out
    assert "method  linpsf" in shown
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert [name.split("_lc")[1] for name in files] == [".ecsv", ".fits.gz", ".png"]
    assert all(name in shown for name in files)
    assert cli.main(["star", str(tmp_path / "nothing.fits")]) == 1
    assert "nothing.fits: no such file" in capsys.readouterr().err


@pytest.mark.real
def test_real_files(real, tmp_path, capsys):
    with tasoc_mpi.open_star(real / "tpf" / "tess25155310-s01-first-cadences.fits.gz") as pho:
        assert (pho.starid, pho.cadence, pho.status) == (25155310, 120, STATUS.OK)
        # SPOC's flux of the same star, 9267 e-/s without neighbours, of which its aperture holds less.
        assert 7900 < pho.result.mean_flux < 10200
    # The header of a cut-out does not name its star: its file name does not either, and is kept.
    (cutout,) = (real / "cutout").glob("*s0018*")
    assert cli.main(["star", str(cutout), "--output", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert f"source  cut-out ({cutout})" in shown
    assert "1 point\n" in shown
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {f"{cutout.name[:-5]}_lc{suffix}" for suffix in (".ecsv", ".fits.gz", ".png")}
    meta = tasoc_mpi.read_lightcurve(tmp_path / "out" / f"{cutout.name[:-5]}_lc.fits.gz").meta
    assert meta["SECTOR"] == 18
    assert "TICID" not in meta
    assert "OBJECT" not in meta
    renamed = shutil.copy(cutout, tmp_path / "cutout.fits")
    with tasoc_mpi.open_star(renamed, starid=5, output_folder=tmp_path) as pho:
        folder = Path(pho.input_folder)
        assert (pho.starid, pho.sector, pho.cadence, pho.datasource) == (5, 18, 1800, "ffi")
        assert np.isnan(pho.target["tmag"])
        assert pho.status == STATUS.OK
        assert pho.final_phot_mask[round(pho.target_pos_row_stamp), round(pho.target_pos_column_stamp)]
        assert folder.is_dir()
        assert Path(pho.save_lightcurve()).is_file()
    del pho
    assert not folder.exists()


class OnesPhotometry(BasePhotometry):
    """A flux of 1."""

    def do_photometry(self):
        self.lightcurve["quality"][:] = 0
        self.lightcurve["flux"] = self.lightcurve["flux_err"] = np.ones(len(self.lightcurve))
        return STATUS.OK


@pytest.mark.parametrize("value", ["text", -3, 1e30])
def test_cards_of_another_kind_are_unknown(tmp_path, value):
    cards = dict.fromkeys(("DATA_REL", "CRBLKSZ", "NUM_FRM", "NREADOUT"), value)
    path = write_tpf(tmp_path / tpf_name(7), 7, (900, 900), cards={**cards, "CRMITEN": True})
    with OnesPhotometry(7, path, tmp_path / "out", datasource="tpf") as pho:
        assert (pho.data_rel, pho.n_readout) == (0, 0)
        assert exposure_seconds(pho._source) == pytest.approx(120 * 0.99)
        pho.photometry()
        with fits.open(pho.save_lightcurve()) as file:
            assert not {"DATA_REL", "CRBLKSZ"} & set(file[0].header)
            assert not {"DEADC", "XPOSURE", "NREADOUT"} & set(file[1].header)
            assert file[1].header["NUM_FRM"] == 60


@pytest.mark.parametrize("cards", [{"TICID": 1e30}, {"TICID": -4}, {"SECTOR": 1e30}])
def test_a_number_that_no_star_or_sector_has(tmp_path, cards):
    path = write_tpf(tmp_path / "star.fits", 7, (900, 900), cards=cards)
    with pytest.raises(InputError, match=r"star\.fits: cannot be read as a target pixel file \(TIC"):
        tasoc_mpi.open_star(path)


@pytest.mark.parametrize("star", [None, "", 3.5, True, [], float("nan")])
def test_what_is_neither_a_file_nor_a_number_is_no_star(star):
    with pytest.raises(UsageError, match="name a target pixel file, a cut-out or a TIC number"):
        tasoc_mpi.open_star(star)


@pytest.mark.parametrize("name", ["starid", "sector", "cadence"])
def test_a_file_has_to_be_of_the_star_that_is_named(tpf, pho, name):
    value = getattr(pho, name)
    with pytest.raises(InputError, match=f"its {name} is {value}, not 7; leave {name} out"):
        tasoc_mpi.open_star(tpf, **{name: 7})
    with pytest.raises(UsageError, match=rf"{name} 1\.5: a whole number is needed"):
        tasoc_mpi.open_star(tpf, **{name: 1.5})
    with tasoc_mpi.open_star(tpf, **{name: np.float64(value)}) as same:
        assert same.starid == pho.starid


def test_two_stars_are_not_one(simulated, pho):
    with pytest.raises(UsageError, match="are two stars"):
        tasoc_mpi.open_star(pho.starid, input_folder=simulated.folder, starid=7)


def test_pictures_need_axes(pho):
    for draw in (pho.plot_lightcurve, pho.plot_stamp):
        with pytest.raises(UsageError, match="matplotlib Axes are needed, not Figure"):
            draw(Figure())


def test_numbers_of_a_short_time_do_not_overlap(pho):
    figure = Figure(figsize=(10, 4))
    axes = pho.plot_lightcurve(figure.subplots(1, 2)[0])
    axes.set_xlim(1325.295, 1325.301)
    figure.draw_without_rendering()
    low, high = axes.get_xlim()
    boxes = [
        label.get_window_extent()
        for label, place in zip(axes.get_xticklabels(), axes.get_xticks(), strict=True)
        if low <= place <= high
    ]
    assert len(boxes) > 1
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))


def test_light_on_the_edge_of_the_stamp_is_shown(pho):
    share = pho.result.edge_flux / pho.result.mean_flux
    assert pho.facts()["flux on the edge"] == f"{pho.result.edge_flux:,.2f} e-/s ({share:.1%})"
    assert "flux on the edge" in pho._repr_html_()
