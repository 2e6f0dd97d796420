"""A folder of PRF files of MAST's form."""

from pathlib import Path

import numpy as np
from astropy.io import fits

_ROWS, _COLUMNS = (1, 513, 1025, 1536, 2048), (45, 557, 1069, 1580, 2092)


def _gaussian(sigma_row, sigma_column, row=0.0, column=0.0):
    """A table of the sum 81 that tells rows, columns and directions apart."""
    x = (np.arange(117) - 58) / 9
    table = np.exp(-(((x[:, None] - row) / sigma_row) ** 2) / 2 - ((x - column) / sigma_column) ** 2 / 2)
    return table * 81 / table.sum()


UPPER, LOWER, RIGHT = _gaussian(0.8, 0.8), _gaussian(1.2, 0.8, 0.1), _gaussian(0.8, 1.0, 0.0, 0.2)


def write_prf(path, row, column, **cards):
    """A file of MAST's form; the response changes linearly over the CCD."""
    u, v = (row - 1) / 2047, (column - 45) / 2047
    header = fits.Header(
        {"CAM": 2.0, "CCD": 3.0, "CCD_RREF": float(row), "CCD_CREF": float(column), "NSAMP": 9.0} | cards
    )
    fits.PrimaryHDU(UPPER + u * (LOWER - UPPER) + v * (RIGHT - UPPER), header).writeto(path)


def write_prf_folder(folder: Path) -> Path:
    """Write the 25 files of camera 2, CCD 3 from sector 4 on."""
    inner = folder / "start_s0004" / "cam2_ccd3"
    inner.mkdir(parents=True)
    for row in _ROWS:
        for column in _COLUMNS:
            write_prf(inner / f"tess2019107181902-prf-2-3-row{row:04d}-col{column:04d}.fits", row, column)
    return folder
