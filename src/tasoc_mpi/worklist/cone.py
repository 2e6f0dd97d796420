"""Stars that a user chooses by a cone on the sky."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.names import Choice, find_catalogs, is_chosen
from ..core.sphere import separation, unit_vectors
from ..products.star_catalog import catalog_from_tpf, open_catalog
from ..products.tpf import read_tpf
from ..products.tpf_files import find_tpfs

__all__ = ["stars_in_cone"]


def stars_in_cone(
    folder: Path, cone: tuple[float, float, float], which: tuple[Choice, Choice, Choice] = (None, None, None)
) -> list[int]:
    """The stars within a distance of a position, by the catalogs of CCDs.

    Parameters
    ----------
    folder : Path
        The input folder. The headers of target pixel files give the stars of sectors without a catalog.
    cone : (float, float, float)
        Right ascension, declination and radius, degrees.
    which : tuple, optional
        Only these sectors, cameras and CCDs.

    Returns
    -------
    list of int
        TIC numbers, sorted; also of stars that are not in the work list.

    Raises
    ------
    InputError
        If a catalog cannot be read, or no star is there.
    """
    ra, dec, radius = cone
    centre = unit_vectors(ra, dec)
    found: set[int] = set()

    def add_near(stars: NDArray[np.void]) -> None:
        near = separation(unit_vectors(stars["ra"], stars["decl"]), centre) <= radius
        found.update(stars["starid"][near].tolist())

    catalogs = find_catalogs(folder)
    for key, path in catalogs.items():
        if is_chosen(key, *which):
            add_near(open_catalog(path).stars)
    sectors = {sector for sector, _, _ in catalogs}
    for info in find_tpfs(folder):
        if info.sector not in sectors and is_chosen((info.sector, 0, 0), which[0], None, None):
            add_near(catalog_from_tpf(read_tpf(info.path, pixels=False, rows=False)).stars)
    if not found:
        raise InputError(f"{folder}: no star of its catalogs within {radius:g} degrees of {ra:g}, {dec:g}")
    return sorted(found)
