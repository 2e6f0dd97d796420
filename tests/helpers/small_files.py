"""Small target pixel files and cubes for tests, all on one made-up sky."""

from pathlib import Path

import h5py
import numpy as np
from astropy.io import fits

from tasoc_mpi.core.names import cube_name
from tasoc_mpi.photometry.header import TIME_CARDS
from tasoc_mpi.products.cube import BackgroundModel, allocate_cube, finish_cube, write_background, write_wcs
from tasoc_mpi.products.frame_wcs import FrameWCS
from tasoc_mpi.products.lightcurve import LightCurve

#: A TAN projection for full frame image pixels: north is up, 20 arcsec a pixel, across RA = 0.
SKY = {
    "CTYPE1": "RA---TAN",
    "CTYPE2": "DEC--TAN",
    "CRVAL1": 0.01,
    "CRVAL2": -30.0,
    "CRPIX1": 1069.0,
    "CRPIX2": 1025.0,
    "CDELT1": -20 / 3600,
    "CDELT2": 20 / 3600,
    "PC1_1": 1.0,
    "PC1_2": 0.0,
    "PC2_1": 0.0,
    "PC2_2": 1.0,
}


def sky(column: float, row: float) -> tuple[float, float]:
    """(ra, dec) of a full frame image pixel position."""
    ra, dec = FrameWCS.from_headers([SKY]).sky(np.array([column]), np.array([row]), 0)[0]
    return float(ra), float(dec)


def tpf_name(starid: int, sector: int = 1, fast: bool = False, time: str = "2018206045859") -> str:
    """File name of the mission."""
    return f"tess{time}-s{sector:04d}-{starid:016d}-0120-{'a_fast-tp' if fast else 's_tp'}.fits"


def write_tpf(
    path: Path,
    starid: int,
    corner: tuple[int, int],
    shape: tuple[int, int] = (11, 13),
    times: int = 4,
    cards: dict | None = None,
    aperture: np.ndarray | None = None,
    aperture_wcs: bool = True,
    column_wcs: bool = True,
) -> Path:
    """A target pixel file whose stamp starts at the (row, column) `corner`; its second time is NaN.

    The flux of pixel (r, c) at the t-th time is 100 r + 10 c + t. `cards` replaces (None: removes) cards
    of the primary header.
    """
    rows, columns = shape
    header = fits.Header()
    ra, dec = sky(corner[1] + columns // 2, corner[0] + rows // 2)
    values = {
        "TICID": starid,
        "SECTOR": 1,
        "CAMERA": 2,
        "CCD": 3,
        "RA_OBJ": ra,
        "DEC_OBJ": dec,
        "PMRA": 0.0,
        "PMDEC": 0.0,
        "TESSMAG": 10.0,
        "TEFF": 5000.0,
        "TICVER": "8.2",
    }
    for key, value in {**values, **(cards or {})}.items():
        if value is not None:
            header[key] = value
    r, c, t = np.mgrid[:rows, :columns, :times].astype("f4")
    cube = np.moveaxis(100 * r + 10 * c + t, -1, 0)
    time = 1325.0 + np.arange(times) / 720
    time[1] = np.nan
    kind = {"format": f"{rows * columns}E", "dim": f"({columns},{rows})"}
    table = fits.BinTableHDU.from_columns(
        [
            fits.Column("TIME", "D", array=time),
            fits.Column("TIMECORR", "E", array=np.full(times, 0.001)),
            fits.Column("CADENCENO", "J", array=np.arange(times) + 1000),
            fits.Column("FLUX", array=cube, **kind),
            fits.Column("FLUX_ERR", array=np.sqrt(cube), **kind),
            fits.Column("FLUX_BKG", array=cube / 10, **kind),
            fits.Column("QUALITY", "J", array=2 ** np.arange(times)),
            fits.Column("POS_CORR1", "E", array=np.arange(times) + 0.1),
            fits.Column("POS_CORR2", "E", array=np.arange(times) + 0.2),
        ],
        name="PIXELS",
    )
    table.header["1CRV4P"], table.header["2CRV4P"] = corner[1] + 1, corner[0] + 1
    local = {**SKY, "CRPIX1": SKY["CRPIX1"] - corner[1], "CRPIX2": SKY["CRPIX2"] - corner[0]}
    if column_wcs:
        names = {"CTYPE": "CTYP", "CRVAL": "CRVL", "CRPIX": "CRPX", "CDELT": "CDLT"}
        for key, value in local.items():
            word = f"{key[2]}{key[4]}PC4" if key.startswith("PC") else f"{key[5]}{names[key[:5]]}4"
            table.header[word] = value
    if aperture is None:
        aperture = np.ones(shape, dtype="i4")
    image = fits.ImageHDU(aperture.astype("i4"), name="APERTURE")
    if aperture_wcs:
        image.header.update(local)
    fits.HDUList([fits.PrimaryHDU(header=header), table, image]).writeto(path)
    return path


def write_cube(folder: Path, origin: tuple[int, int], shape: tuple[int, int], ccd: int = 3) -> Path:
    """A finished cube of two frames whose first pixel is the full frame image (row, column) `origin`."""
    path = folder / cube_name(1, 2, ccd)
    attributes = {
        "SECTOR": 1,
        "CAMERA": 2,
        "CCD": ccd,
        "CADENCE": 1800,
        "DATA_REL": 1,
        "PROCVER": "test",
        "NUM_FRM": 900,
        "NREADOUT": 720,
        "CRMITEN": True,
        "CRBLKSZ": 10,
        "CRSPOC": False,
        "PIXEL_OFFSET_ROW": origin[0],
        "PIXEL_OFFSET_COLUMN": origin[1],
        "TIME_OFFSET_CORRECTED": False,
    }
    allocate_cube(path, (*shape, 2), attributes)
    with h5py.File(path, "r+") as file:
        for name in ("time", "timecorr", "time_start", "time_stop"):
            file[name] = np.array([1325.0, 1325.02])
        for name in ("cadenceno", "quality"):
            file[name] = np.zeros(2, dtype="i4")
        file["sumimage"] = np.zeros(shape, dtype="f4")
        file["backgrounds_pixels_used"] = np.ones(shape, dtype="u1")
        file.create_dataset("frames", data=["a", "b"], dtype=h5py.string_dtype())
        file["ephemeris"] = np.zeros((2, 3))
        file["ephemeris"].attrs["source"] = "none"
        write_wcs(file, FrameWCS.from_headers([SKY, SKY]), ["", ""], 0)
        mesh = np.zeros((max(5, -(-shape[0] // 64)), max(5, -(-shape[1] // 64)), 2), dtype="f4")
        model = BackgroundModel(mesh, 64, np.zeros((0, 2), dtype="f4"), 0.0, 1.0, (0.0, 0.0), origin)
        write_background(file, model)
        finish_cube(file)
    return path


def make_lightcurve(n: int = 50) -> LightCurve:
    """A light curve of numbers without meaning."""
    rng = np.random.default_rng(4)
    columns = {
        "time": 1325.3 + np.arange(n) / 48,
        "timecorr": rng.normal(size=n) * 1e-3,
        "cadenceno": np.arange(n) + 4697,
        "flux": rng.normal(1000, 1, n),
        "flux_err": np.ones(n),
        "flux_background": rng.normal(100, 1, n),
        "corrector_quality": np.where(np.arange(n) == 3, 256, 0),
        "quality": np.where(np.arange(n) == 5, 32, 0),
        "pos_centroid": rng.normal(100, 1, (n, 2)),
        "pos_corr": rng.normal(0, 0.1, (n, 2)),
    }
    columns["flux"][7] = np.nan
    return LightCurve(
        starid=25155310,
        sector=1,
        camera=4,
        ccd=1,
        cadence=1800,
        data_rel=1,
        version=6,
        columns=columns,
        sumimage=rng.normal(size=(11, 13)).astype("f4"),
        aperture=rng.integers(0, 500, (11, 13)).astype("i4"),
        primary_cards=[
            ("TELESCOP", "TESS", "telescope"),
            ("TICID", 25155310, "unique TESS target identifier"),
            ("TEFF", None, "[K]"),
        ],
        table_cards=TIME_CARDS,
        wcs_cards=[("CRPIX1", 5.25, "")],
    )
