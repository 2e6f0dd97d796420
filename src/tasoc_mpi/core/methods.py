"""The methods of photometry: the only list of their names."""

__all__ = ["METHODS"]

#: Class of each method as MODULE:CLASS below `tasoc_mpi.photometry`; '' for a name that is reserved.
METHODS = {
    "aperture": "aperture:AperturePhotometry",
    "psf": "psf_fit:PSFPhotometry",
    "linpsf": "linpsf:LinPSFPhotometry",
    "halo": "",
}
