"""From a folder with frames, cubes or target pixel files, and a table of stars, to catalogs."""

import shutil
import sqlite3

import numpy as np
import pytest
from astropy.io import fits
from small_files import sky, tpf_name, write_cube, write_tpf

from tasoc_mpi.core.errors import InputError, MissingInput, UsageError
from tasoc_mpi.core.names import catalog_name
from tasoc_mpi.products.ccd_outline import CAMERA_CENTRES
from tasoc_mpi.products.star_catalog import STAR_DTYPE, open_catalog
from tasoc_mpi.stars.footprints import find_fields
from tasoc_mpi.stars.make_catalogs import CatalogOptions, make_catalogs, select_stars

SQUARE = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])


def test_stars_that_move_into_the_field_are_selected():
    stars = np.zeros(2, dtype=STAR_DTYPE)
    stars["starid"] = [1, 2]
    # 0.05 degrees outside, moving in; just inside, moving out.
    stars["ra_J2000"], stars["pm_ra"] = [-1.05, -0.99], [10_000, -10_000]
    selected = select_stars(stars, SQUARE, 0.0, 2020.0)
    assert selected["starid"].tolist() == [1]


@pytest.fixture
def real_ffi_folder(real, tmp_path):
    (source,) = (real / "ffi").glob("*.crop.fits")
    shutil.copy(source, tmp_path / source.name.replace(".crop", ""))
    return tmp_path


@pytest.mark.real
def test_real_frame_has_the_published_pointing(real_ffi_folder):
    (field,) = find_fields(real_ffi_folder)
    assert (field.sector, field.camera, field.ccd) == (1, 1, 4)
    # The mission's pointing table: sector 1, camera 1 at RA 324.5670, Dec -33.1730.
    np.testing.assert_allclose(field.centre, (324.5670, -33.1730), atol=0.002)
    # The mid time of the frame, 2018-07-25 19:54 TDB in the spacecraft's frame and 0.004 d later here.
    assert abs(field.reference_time - 2458325.329) < 0.001


@pytest.mark.real
def test_catalog_of_a_real_frame(real_ffi_folder):
    (field,) = find_fields(real_ffi_folder)
    table = real_ffi_folder / "stars.csv"
    ra, dec = field.corners.mean(axis=0)
    table.write_text(f"ID,ra,dec,pmRA,pmDEC,Tmag,Teff\n1,{ra},{dec},100,0,9,\n2,{ra},{dec + 5},0,0,9,\n")
    (made,) = make_catalogs(real_ffi_folder, CatalogOptions(source=str(table)))
    catalog = open_catalog(made.path)
    assert catalog.stars["starid"].tolist() == [1]
    assert abs(catalog.settings.epoch - 2018.563) < 0.001
    shift = (catalog.stars["ra"][0] - ra) * np.cos(np.deg2rad(dec)) * 3.6e6
    np.testing.assert_allclose(shift, 100 * (catalog.settings.epoch - 2000), rtol=1e-4)


def star_csv(path, positions) -> str:
    rows = [f"{i + 1},{ra},{dec},10" for i, (ra, dec) in enumerate(positions)]
    path.write_text("\n".join(["ID,ra,dec,Tmag", *rows]) + "\n")
    return str(path)


def test_catalog_of_a_cube_across_ra_zero(tmp_path):
    write_cube(tmp_path, (900, 900), (300, 400))
    # Buffer 0.2 degrees = 36 pixels of 20 arcsec.
    pixels = [(900, 900), (1299, 1199), (1100, 1050), (870, 1000), (850, 1000), (1000, 1230), (1000, 1240)]
    source = star_csv(tmp_path / "stars.csv", [sky(*pixel) for pixel in pixels])
    (made,) = make_catalogs(tmp_path, CatalogOptions(source=source))
    catalog = open_catalog(made.path)
    assert catalog.stars["starid"].tolist() == [1, 2, 3, 4, 6]
    assert made.path.name == catalog_name(1, 2, 3)
    assert catalog.settings.reference_time == 2457000.0 + 1325.02
    assert catalog.settings.footprint.count(";") == 3
    np.testing.assert_allclose(
        (catalog.settings.camera_centre_ra, catalog.settings.camera_centre_dec),
        sky(*CAMERA_CENTRES[2, 3][::-1]),
    )
    assert catalog.stars["ra"].max() > 359
    assert catalog.stars["ra"].min() < 1


def test_a_catalog_is_only_replaced_when_asked(tmp_path):
    write_cube(tmp_path, (900, 900), (300, 400))
    source = star_csv(tmp_path / "stars.csv", [sky(1000, 1000)])
    list(make_catalogs(tmp_path, CatalogOptions(source=source)))
    with pytest.raises(InputError, match="is there already; --overwrite"):
        list(make_catalogs(tmp_path, CatalogOptions(source=source)))
    (made,) = make_catalogs(tmp_path, CatalogOptions(source=source, overwrite=True, reference_time=2459000.5))
    assert open_catalog(made.path).settings.reference_time == 2459000.5


def test_catalog_of_target_pixel_files_alone(tmp_path):
    write_tpf(tmp_path / tpf_name(11), 11, corner=(500, 600))
    (tmp_path / "sub").mkdir()
    write_tpf(tmp_path / "sub" / tpf_name(12), 12, corner=(700, 900))
    pixels = [(606, 505), (906, 705), (750, 600), (750, 900)]
    source = star_csv(tmp_path / "stars.csv", [sky(*pixel) for pixel in pixels])
    (made,) = make_catalogs(tmp_path, CatalogOptions(source=source, buffer=0.05))
    assert open_catalog(made.path).stars["starid"].tolist() == [1, 2, 3]
    assert open_catalog(made.path).settings.source == "table"
    (made,) = make_catalogs(tmp_path, CatalogOptions(source="headers", overwrite=True))
    catalog = open_catalog(made.path)
    assert catalog.stars["starid"].tolist() == [11, 12]
    assert catalog.settings.ticver == "8.2"
    assert catalog.stars["tmag"].tolist() == [10.0, 10.0]
    assert catalog.only_targets
    with sqlite3.connect(made.path) as plain:
        plain.execute("ALTER TABLE settings DROP COLUMN source")
    plain.close()
    # As another program makes it: with all stars, as far as is known.
    assert not open_catalog(made.path).only_targets


def test_fields_can_be_chosen(tmp_path):
    write_cube(tmp_path, (0, 44), (20, 20), ccd=1)
    write_cube(tmp_path, (0, 44), (20, 20), ccd=2)
    assert [f.ccd for f in find_fields(tmp_path)] == [1, 2]
    assert [f.ccd for f in find_fields(tmp_path, sector=1, ccd=2)] == [2]
    with pytest.raises(MissingInput, match="of that sector, camera and CCD"):
        find_fields(tmp_path, camera=4)


def test_wrong_options_and_empty_folders(tmp_path):
    with pytest.raises(MissingInput, match="no such folder"):
        list(make_catalogs(tmp_path / "none", CatalogOptions(source="headers")))
    with pytest.raises(MissingInput, match="no full frame images"):
        list(make_catalogs(tmp_path, CatalogOptions(source="headers")))
    with pytest.raises(UsageError, match="buffer"):
        list(make_catalogs(tmp_path, CatalogOptions(source="headers", buffer=-1)))
    with pytest.raises(UsageError, match="Julian date"):
        list(make_catalogs(tmp_path, CatalogOptions(source="headers", reference_time=1325.0)))
    write_cube(tmp_path, (0, 44), (20, 20))
    source = star_csv(tmp_path / "stars.csv", [(180.0, 30.0)])
    with pytest.raises(InputError, match="no star in the footprint of any CCD"):
        list(make_catalogs(tmp_path, CatalogOptions(source=source)))
    assert not list(tmp_path.glob("catalog*"))


def test_the_command(tmp_path, capsys):
    import argparse

    from tasoc_mpi.commands import catalog as command

    write_cube(tmp_path, (900, 900), (300, 400))
    source = star_csv(tmp_path / "stars.csv", [sky(1000, 1000)])
    parser = argparse.ArgumentParser()
    command.configure(parser)
    assert command.main(parser.parse_args([str(tmp_path), "--from", source])) == 0
    assert capsys.readouterr().out.startswith("sector 1 camera 2 CCD 3: 1 star at epoch 2018.56")
    with pytest.raises(SystemExit) as caught:
        parser.parse_args([str(tmp_path)])
    assert caught.value.code == 2


@pytest.mark.real
def test_a_frame_without_a_wcs_in_the_middle_is_passed_over(real_ffi_folder):
    (whole,) = real_ffi_folder.glob("*.fits")
    names = [whole.name.replace("2018206192942", f"201820{i}000000") for i in (7, 8, 9)]
    for name in names:
        shutil.copy(whole, real_ffi_folder / name)
    whole.unlink()

    def spoil(name):
        (real_ffi_folder / name).chmod(0o644)
        with fits.open(real_ffi_folder / name, mode="update") as hdus:
            for card in ("CD1_1", "CD1_2", "CD2_1", "CD2_2"):
                hdus[1].header[card] = 0.0

    spoil(names[1])
    (field,) = find_fields(real_ffi_folder)
    np.testing.assert_allclose(field.centre, (324.5670, -33.1730), atol=0.002)
    spoil(names[0])
    spoil(names[2])
    with pytest.raises(InputError, match=r"208000000.*neither it nor the other 2 frames"):
        find_fields(real_ffi_folder)
