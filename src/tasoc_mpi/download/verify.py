"""Whether a file has arrived as the archive has it: sizes, checksums, and the form of its kind."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from ..core.errors import InputError
from ..core.input_files import WAY_OUT, InputFile
from ..products.fits_read import FITSReader
from ..products.spk import check_kernel
from .remote_file import RemoteFile

__all__ = ["check_file"]

#: Bytes that are read at once; a multiple of a word.
_AT_ONCE = 1 << 22
_TEXT_KERNELS = {".tls": b"KPL/LSK", ".tsc": b"KPL/SCLK"}
#: Bytes of a header of the TIC's strips at most.
_MOST_HEADER = 1 << 20


def check_file(path: Path, file: RemoteFile) -> None:
    """Compare the content of a file with everything that is known of it.

    Parameters
    ----------
    path : Path
        Where the content is; the name of `file` decides its kind.
    file : RemoteFile

    Raises
    ------
    InputError
        If it is truncated, damaged, or of another kind: such as the page of a server that reports an error.
    """
    if file.md5 is not None:
        _check_md5(path, file.md5)
    elif file.name.endswith((".fits", ".fits.gz")):
        check_fits(path)
    elif file.name.endswith(".bsp"):
        check_kernel(path)
    else:
        with InputFile(path, _MOST_HEADER) as content:
            begin = content.read()
        word = _TEXT_KERNELS.get(Path(file.name).suffix)
        if not (begin.startswith(word) if word else b"ID" in begin and b"<" not in begin):
            raise InputError(f"{path}: not the file that its name promises; {WAY_OUT}")


def check_fits(path: Path) -> int:
    """Compare every HDU that has a CHECKSUM with it, and the size of the file with that of its HDUs.

    The sum of the 32-bit words of such an HDU is 0 modulo 2**32 - 1 (FITS standard 4.0, appendix J).

    Parameters
    ----------
    path : Path
        Plain or gzip.

    Returns
    -------
    int
        How many HDUs have a CHECKSUM.

    Raises
    ------
    InputError
        If the file is truncated, has more than its HDUs, a header is not text, or a sum is wrong.
    """
    start = checked = 0
    with FITSReader(path) as reader:
        for number, hdu in enumerate(reader.hdus()):
            end = reader.end(hdu)
            header = reader.read(start, hdu.start - start).decode("latin-1")
            # A damaged card could be that of the CHECKSUM itself.
            if not (header.isascii() and header.isprintable()):
                raise InputError(f"{path}: the header of HDU {number} is damaged; {WAY_OUT}")
            if "CHECKSUM" in hdu.cards:
                total = 0
                for first in range(start, end, _AT_ONCE):
                    block = reader.read(first, min(_AT_ONCE, end - first))
                    total += int(np.frombuffer(block, ">u4").sum(dtype=np.uint64))
                if total % 0xFFFFFFFF:
                    raise InputError(f"{path}: the CHECKSUM of HDU {number} does not hold; {WAY_OUT}")
                checked += 1
            elif end > start:
                # The padding of the last HDU is a part of the file.
                reader.read(end - 1, 1)
            start = end
        reader.check_end()
        if not start:
            raise InputError(f"{path}: nothing in it; {WAY_OUT}")
        if not reader.compressed and path.stat().st_size != start:
            raise InputError(f"{path}: {path.stat().st_size} bytes, but {start} in its HDUs; {WAY_OUT}")
    return checked


def _check_md5(path: Path, expected: str) -> None:
    digest = hashlib.md5(usedforsecurity=False)
    with InputFile(path) as content:
        buffer = memoryview(bytearray(_AT_ONCE))
        while count := content.readinto(buffer):
            digest.update(buffer[:count])
    if digest.hexdigest() != expected:
        raise InputError(f"{path}: its content has not the MD5 sum that the archive publishes; {WAY_OUT}")
