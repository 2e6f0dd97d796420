"""`BasePhotometry`: one star's pixels, positions, times and catalog, for a method to work on."""

from __future__ import annotations

import functools
import logging
import math
import numbers
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import UsageError, one_line
from ..core.methods import method_name
from ..core.quality import TESSQualityFlags
from ..core.status import STATUS
from ..core.whole import whole
from ..products.extra_hdu import ExtraHDU
from ..products.lightcurve import LightCurve, Writer
from ..products.lightcurve_file import write_lightcurve
from ..products.star_values import LARGEST_STARID
from .columns import check_columns, corrector_flags
from .header import primary_cards, table_cards, wcs_cards
from .measurements import edge_flux, fill_statistics
from .result import MessageCollector, PhotometryResult
from .shown_star import ShownStar
from .stamp import Stamp
from .stamp_stars import STAMP_STAR_DTYPE

__all__ = ["STAMP_STAR_DTYPE", "BasePhotometry"]

#: `logging.getLogger` takes a lock each time.
_logger = functools.cache(logging.getLogger)


class BasePhotometry(ShownStar):
    """Photometry of one star; a method is a subclass with a `do_photometry`.

    Parameters
    ----------
    starid : int
        TIC number of the star.
    input_folder, output_folder : path-like
        Where the cubes, catalogs and target pixel files are, and where light curves go. The input folder may
        also be a target pixel file, of any name, for the datasource ``'tpf'``.
    datasource : str
        ``'ffi'`` for full frame images, ``'tpf'`` for the star's own target pixel file, ``'tpf:STARID'``
        for the file of another star.
    sector, camera, ccd : int, optional
        Needed for ``'ffi'``. For target pixel files the sector is needed where there are several.
    cadence : int, optional
        Seconds. Not used for ``'ffi'``.
    plot : bool
        Make `plot_folder`, into which `tessphot` draws pictures of the star.
    cache : {'none', 'basic', 'full'}
        ``'basic'`` keeps the source of a CCD and the pixels of the current stamp in memory;
        ``'none'`` reads everything when it is asked for; ``'full'`` holds the whole CCD in memory.
    version : int
        Version of the light curves, in their headers and file names, 0 to 99.

    Attributes
    ----------
    starid, sector, camera, ccd, cadence, data_rel, n_readout, version : int
    input_folder, output_folder, plot_folder : str
        `plot_folder` is None where nothing is plotted.
    datasource, method : str
        The method's name, from the name of the class.
    header : mapping
        Primary header of the target pixel file, or the attributes of the cube.
    target : dict
        The star's row of the catalog: starid, ra, decl (at the time of observation), ra_J2000, decl_J2000
        (degrees), pm_ra, pm_decl (mas/yr), tmag, teff (K).
    target_pos_column, target_pos_row : float
        Reference position on the CCD, 0-based full frame image pixels.
    target_pos_column_stamp, target_pos_row_stamp : float
        The same relative to the stamp.
    final_phot_mask, final_position_mask : ndarray of bool or None
        Pixels of the stamp that were used for the flux and for the positions.
    additional_headers : dict
        Further cards of the primary header: keyword to (value, comment).
    additional_hdus : dict
        Further HDUs of the light curve file by their names; see `add_hdu`.
    contamination : float
        Set by methods that know it: the fraction of light in the mask that is not the target's.
    failed_frames : ndarray of bool, shape (T,), or None
        Set by methods that find no solution in some frames, which get bit 1 of QUALITY.
    halo_advised : bool
        Set by methods that find that halo photometry would do better.
    skips_neighbours : bool
        Of the class: whether stars that `report_details` lists need no light curve of their own. False for
        methods that separate neighbours.

    Raises
    ------
    InputError
        A ValueError: on an invalid `datasource` or `cache`, without the sector, camera and CCD for
        ``'ffi'``, if the star is not in the catalog or outside of the pixels, or if a file cannot be used.
    MissingInput
        A FileNotFoundError: if a cube, catalog or target pixel file is not there.

    Examples
    --------
    A method is a subclass; its name is that of the class:

    >>> class BoxPhotometry(BasePhotometry):
    ...     def do_photometry(self):
    ...         return STATUS.OK
    >>> BoxPhotometry(25155310, "in", "out", datasource="tpf")
    Traceback (most recent call last):
        ...
    tasoc_mpi.core.errors.MissingInput: in: no such folder; name the one that holds the data
    """

    skips_neighbours = True

    def __init__(
        self,
        starid: int,
        input_folder: str | os.PathLike[str],
        output_folder: str | os.PathLike[str],
        datasource: str = "ffi",
        sector: int | None = None,
        camera: int | None = None,
        ccd: int | None = None,
        cadence: int | None = None,
        plot: bool = False,
        cache: str = "basic",
        version: int = 6,
    ) -> None:
        if cache not in ("none", "basic", "full"):
            raise UsageError(f"cache {cache!r}: none, basic or full")
        super().__init__(starid, input_folder, datasource, (sector, camera, ccd, cadence), cache)
        self.output_folder = os.fspath(output_folder)
        self.datasource = datasource
        self.plot = bool(plot)
        self.version = whole(version, "version", 0, 99)
        self.logger = _logger(f"tasoc_mpi.photometry.{type(self).__name__}")
        self.method = method_name(type(self).__name__)

        self.additional_headers: dict[str, tuple[Any, str]] = {}
        self.additional_hdus: dict[str, ExtraHDU] = {}
        self.contamination, self.halo_advised = float("nan"), False
        self.failed_frames: NDArray[np.bool_] | None = None
        self.result = PhotometryResult(method_used=self.method)
        #: The stamp of the photometry that can be saved, and whether it is too late for that.
        self._measured: Stamp | None = None
        self._closed = False
        #: Keeps the light curve in another way than as a file of its own; set by the worker.
        self.lightcurve_writer: Writer | None = None
        self.plot_folder = self._make_plot_folder() if plot else None

    def _make_plot_folder(self) -> str:
        name = f"plots/{self.starid:011d}-s{self.sector:03d}-{self.camera}-{self.ccd}-c{self.cadence:04d}"
        folder = os.path.join(self.output_folder, name)
        os.makedirs(folder, exist_ok=True)
        return folder

    def __enter__(self) -> BasePhotometry:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the pixels of this star; its light curve cannot be saved any more."""
        self._closed = True
        self.clear_cache()

    def delete_plots(self) -> None:
        """Delete the pictures of this star, if it makes any."""
        if self.plot_folder is not None:
            for path in Path(self.plot_folder).iterdir():
                if path.is_file():
                    path.unlink()

    @property
    def status(self) -> STATUS:
        """The status of the photometry."""
        return self.result.status

    # --- Photometry ----------------------------------------------------------------------------------

    def corrector_quality(self) -> NDArray[np.int32]:
        """Flags of `CorrectorQualityFlags` for the stamp as it is now, shape (T,)."""
        time = self._columns.arrays["time"] - self._columns.arrays["timecorr"]
        return corrector_flags(self._source, self.stamp, time, self.failed_frames)

    def do_photometry(self) -> STATUS:
        """Fill the light curve. To be written by every method.

        Returns
        -------
        STATUS

        Raises
        ------
        NotImplementedError
            Here.
        """
        raise NotImplementedError(f"{type(self).__name__} has no do_photometry")

    def photometry(self, *args: Any, **kwargs: Any) -> None:
        """Run `do_photometry`, check the light curve, and compute the diagnostics into `result`.

        Raises
        ------
        ValueError
            If `do_photometry` gives no final status, its light curve or errors are all NaN, infinite or no
            numbers of the right shape, or its masks do not fit to the stamp.
        """
        if self.result.status != STATUS.UNKNOWN:
            # The numbers of an earlier call are not those of this one.
            self.result = PhotometryResult(method_used=self.method)
        self._measured = None
        messages = MessageCollector()
        package = _logger("tasoc_mpi")
        package.addHandler(messages)
        try:
            self.result.status = STATUS.ERROR  # until proven otherwise
            status = self.do_photometry(*args, **kwargs)
            if status not in (STATUS.OK, STATUS.WARNING, STATUS.ERROR, STATUS.ABORT, STATUS.SKIPPED):
                raise ValueError(
                    f"{type(self).__name__}.do_photometry returned {status!r} instead of a final status"
                )
            if status in (STATUS.OK, STATUS.WARNING):
                status = self._diagnose(STATUS(status))
                self._measured = self._stamp
            self.result.status = STATUS(status)
        finally:
            package.removeHandler(messages)
            self.result.errors.extend(messages.lines)
            if not self.skips_neighbours:
                self.result.skip_targets = []
            row_min, row_max, col_min, col_max = self._stamp
            self.result.stamp_height, self.result.stamp_width = row_max - row_min, col_max - col_min
            self.result.stamp_resizes = self._resizes

    def _diagnose(self, status: STATUS) -> STATUS:
        columns, result = self._columns.arrays, self.result
        check_columns(columns, len(self._source.time))
        self._check_masks()
        good = TESSQualityFlags.filter(columns["quality"])
        time, flux, error = columns["time"], columns["flux"], columns["flux_err"]
        fill_statistics(result, time, flux, error, columns["pos_centroid"], good)
        if not isinstance(self.contamination, numbers.Real) or math.isinf(self.contamination):
            raise UsageError(f"contamination {one_line(repr(self.contamination))[:60]}: a share, or NaN")
        result.contamination = float(self.contamination)
        if self.final_phot_mask is not None:
            result.mask_size = int(np.count_nonzero(self.final_phot_mask))
            result.edge_flux = edge_flux(self.sumimage, self.final_phot_mask)
        if not result.mean_flux > 0:
            text = "TIC %d: the median flux is %.4g e-/s: there is no relative light curve"
            self.logger.warning(text, self.starid, result.mean_flux)
            return STATUS.WARNING
        return status

    def _check_masks(self) -> None:
        """Raise ValueError unless the masks are those of the stamp and of the frames."""
        stamp, frames = self.sumimage.shape, (len(self._source.time),)
        shapes = {"final_phot_mask": stamp, "final_position_mask": stamp, "failed_frames": frames}
        for name, shape in shapes.items():
            mask = getattr(self, name)
            if mask is None:
                continue
            if not isinstance(mask, np.ndarray) or mask.dtype != bool or mask.shape != shape:
                raise ValueError(f"{name}: an array of bool of shape {shape} is needed")

    def report_details(
        self, error: str | Exception | None = None, skip_targets: Iterable[int] | None = None
    ) -> None:
        """Add to the report that goes to the scheduler.

        Parameters
        ----------
        error : str or exception, optional
            A message for the diagnostics.
        skip_targets : list of int, optional
            Stars that need no light curve of their own; of no effect for a class whose `skips_neighbours`
            is False.

        Raises
        ------
        UsageError
            If the stars are no numbers.
        """
        if error is not None:
            self.result.errors.append(error if isinstance(error, str) else one_line(error))
        if skip_targets is not None:
            if isinstance(skip_targets, str) or not isinstance(skip_targets, Iterable):
                raise UsageError(
                    f"skip_targets {one_line(repr(skip_targets))}: a list of TIC numbers is needed"
                )
            self.result.skip_targets = [
                whole(starid, "skip_targets: TIC", 0, LARGEST_STARID) for starid in skip_targets
            ]

    def add_hdu(
        self,
        name: str,
        data: NDArray[Any],
        header: Mapping[str, tuple[Any, str]] | None = None,
        units: Mapping[str, str] | None = None,
    ) -> None:
        """Add an image or a table to the light curve file, behind APERTURE; one of the same name is replaced.

        Parameters
        ----------
        name : str
            EXTNAME: capital letters, digits and underscores.
        data : ndarray
            Numbers or bool of shape (..., R, C) become an image, a structured array of shape (N,) a table
            whose fields are numbers or arrays of numbers. It is copied, masked numbers as NaN. An image of
            the shape of the stamp gets the world coordinates of the stamp.
        header : mapping, optional
            Further cards: keyword to (value, comment).
        units : mapping, optional
            Units of the fields of a table by their names; of an image its BUNIT by the name ''. Those of the
            FITS standard: e-/s are ``ct/s`` there. A Quantity and a Table of astropy have their own.

        Raises
        ------
        UsageError
            If a name, a value or the data do not fit into a FITS file, or the name is one of the file's own.

        Examples
        --------
        In `do_photometry`:

        >>> def keep(pho, residual):
        ...     pho.add_hdu("RESIDUAL", residual, {"NPIX": (residual.size, "pixels")}, {"": "ct/s"})
        """
        hdu = ExtraHDU(name, data, header or {}, units or {})
        self.additional_hdus[hdu.name] = hdu

    def save_lightcurve(
        self, output_folder: str | os.PathLike[str] | None = None, version: int | None = None
    ) -> str:
        """Write the light curve file.

        Parameters
        ----------
        output_folder : path-like, optional
            Default: the attribute `output_folder`.
        version : int, optional
            Default: the attribute `version`.

        Returns
        -------
        str
            Path of the file. `result.lightcurve` is its path relative to the output folder.

        Raises
        ------
        UsageError
            Without a photometry that ended with OK or WARNING, if the stamp has changed since, and after
            `close`.
        OSError
            If it cannot be written.
        """
        self._check_saving()
        folder = self.output_folder if output_folder is None else os.fspath(output_folder)
        file = self._lightcurve_file(self.version if version is None else whole(version, "version", 0, 99))
        self.result.lightcurve = write_lightcurve(folder, file, self.lightcurve_writer)
        return os.path.join(folder, self.result.lightcurve)

    def _lightcurve_file(self, version: int) -> LightCurve:
        source, columns = self._source, self._columns.arrays
        for name, hdu in self.additional_hdus.items():
            if not isinstance(hdu, ExtraHDU):
                raise UsageError(f"additional_hdus[{name!r}]: {type(hdu).__name__}; add it by add_hdu()")
        cards = primary_cards(source, self.target, self.method, version, self.additional_headers)
        aperture = self.aperture.copy()
        for mask, bit in ((self.final_phot_mask, 2), (self.final_position_mask, 8)):
            if mask is not None:
                np.bitwise_or(aperture, bit, out=aperture, where=mask)
        return LightCurve(
            starid=self.starid,
            sector=self.sector,
            camera=self.camera,
            ccd=self.ccd,
            cadence=self.cadence,
            data_rel=self.data_rel,
            version=version,
            columns={**columns, "corrector_quality": self.corrector_quality()},
            sumimage=self.sumimage,
            aperture=aperture,
            primary_cards=cards,
            table_cards=table_cards(source, columns),
            wcs_cards=wcs_cards(source, self.stamp),
            extra_hdus=list(self.additional_hdus.values()),
        )

    def _check_saving(self) -> None:
        """Raise UsageError unless there is a light curve that belongs to the stamp as it is."""
        status = self.result.status
        if self._closed:
            reason = "is closed; save its light curve before close()"
        elif status == STATUS.UNKNOWN or (status.has_lightcurve and self._measured is None):
            reason = "has no photometry yet; call photometry() before save_lightcurve()"
        elif not status.has_lightcurve:
            reason = f"has no light curve to be saved: its photometry ended with {status.name}"
        elif self._measured != self.stamp:
            reason = "has another stamp than at its photometry; call photometry() again"
        else:
            return
        raise UsageError(f"{self.star_name}: {reason}")
