"""Tables and checksums of FITS files, word by word: numbers are big-endian, and sums are of 32-bit words."""

from __future__ import annotations

import numpy as np

from .jit import helper, kernel

__all__ = ["load_column", "sign_hdus", "store_columns", "sum_words"]

#: Bytes from the end of a header's other cards to the digits of DATASUM, and to those of CHECKSUM behind it.
_DATASUM, _CHECKSUM = 11, 91
#: Rows of a table that are filled one column behind the other: so many stay in the fastest memory.
_ROWS = 256


@helper
def _swapped(word):
    """A 32-bit word with its bytes in the opposite order."""
    # numba's shifts have 64 bits.
    return np.uint32(
        (word >> np.uint32(24))
        | ((word >> np.uint32(8)) & np.uint32(0xFF00))
        | ((word & np.uint32(0xFF00)) << np.uint32(8))
        | (word << np.uint32(24))
    )


@helper
def _swapped_long(word):
    """A 64-bit word with its bytes in the opposite order."""
    bytes_, pairs = np.uint64(0x00FF00FF00FF00FF), np.uint64(0x0000FFFF0000FFFF)
    word = ((word & bytes_) << np.uint64(8)) | ((word >> np.uint64(8)) & bytes_)
    word = ((word & pairs) << np.uint64(16)) | ((word >> np.uint64(16)) & pairs)
    return (word << np.uint64(32)) | (word >> np.uint64(32))


@kernel
def store_columns(rows, halves, doubles, double_places, singles, single_places):
    """Write columns into the rows of a table.

    Parameters
    ----------
    rows : ndarray of uint64, shape (T, W)
        The table, big-endian. Changed.
    halves : ndarray of uint32, shape (T, 2 W)
        The same memory. (Views are arguments because each kind of them takes 0.1 s to compile.)
    doubles : tuple of ndarray of uint64, shape (T * P,)
        Bits of columns of doubles; P columns of an array lie side by side.
    double_places : tuple of int
        Where each of them begins in a row, as a multiple of 8 bytes.
    singles : tuple of ndarray of uint32, shape (T,)
        Bits of columns of integers and of floats of single precision.
    single_places : tuple of int
        As a multiple of 4 bytes.
    """
    n = rows.shape[0]
    for first in range(0, n, _ROWS):
        last = min(first + _ROWS, n)
        for k in range(len(doubles)):
            width = doubles[k].size // n
            for p in range(width):
                values = doubles[k][first * width + p : last * width : width]
                column = rows[first:last, double_places[k] + p]
                for t in range(column.size):
                    column[t] = _swapped_long(values[t])
        for k in range(len(singles)):
            words, place = singles[k][first:last], halves[first:last, single_places[k]]
            for t in range(place.size):
                place[t] = _swapped(words[t])


@kernel
def load_column(words, width, place, keep, out, start):
    """Append a column of some rows of a table to an array.

    Parameters
    ----------
    words : ndarray of uint32, shape (N * width,)
        The rows, big-endian.
    width : int
        32-bit words of a row.
    place : int
        Where the column begins in a row, as a multiple of 4 bytes.
    keep : ndarray of bool, shape (N,)
        The rows that are appended.
    out : ndarray of uint32, shape (T, P), C-contiguous
        Bits of the array. Changed from row `start` on.
    start : int
    """
    for t in range(keep.size):
        if keep[t]:
            first = t * width + place
            row, values = words[first : first + out.shape[1]], out[start]
            for p in range(values.size):
                values[p] = _swapped(row[p])
            start += 1


@helper
def _sum(words, first, last):
    """Ones' complement sum of big-endian words (FITS standard 4.0, appendix J)."""
    total = np.uint64(0)
    part = words[first:last]
    for i in range(part.size):
        total += np.uint64(_swapped(part[i]))
    while total >> np.uint64(32):
        total = (total & np.uint64(0xFFFFFFFF)) + (total >> np.uint64(32))
    return total


@kernel
def sum_words(words):
    """Ones' complement sum of the big-endian 32-bit words of a file.

    Parameters
    ----------
    words : ndarray of uint32, shape (N,)

    Returns
    -------
    uint64
        Below 2**32.

    Examples
    --------
    >>> int(sum_words(np.frombuffer(bytes([0, 0, 1, 2, 255, 255, 255, 255]), dtype=np.uint32)))
    258
    """
    return _sum(words, 0, words.size)


@kernel
def sign_hdus(content, words, hdus):
    """Fill in DATASUM and CHECKSUM of the HDUs of a file.

    Parameters
    ----------
    content : ndarray of uint8, shape (N,)
        The file, N a multiple of 4, with the cards of `products.fits_bytes.unsigned_header`. Changed.
    words : ndarray of uint32, shape (N / 4,)
        The same memory.
    hdus : ndarray of int64, shape (H, 4)
        Of each HDU the first byte of the header, the end of the cards before DATASUM, and first and last byte
        (half open) of the data.
    """
    for h in range(hdus.shape[0]):
        start, cards, data, end = hdus[h]
        total = _sum(words, data >> 2, end >> 2)
        _write_digits(content, cards + _DATASUM, total)
        total += _sum(words, start >> 2, data >> 2)
        total = (total & np.uint64(0xFFFFFFFF)) + (total >> np.uint64(32))
        _write_complement(content, cards + _CHECKSUM, np.uint64(0xFFFFFFFF) - total)


@helper
def _write_digits(content, place, value):
    """Write a number as a word of FITS, whose quote is at least 8 characters behind the first."""
    n = 1
    rest = value // np.uint64(10)
    while rest > np.uint64(0):
        rest //= np.uint64(10)
        n += 1
    # The quote stands behind the place of 8 characters, and moves.
    content[place + 8] = 32
    for i in range(n - 1, -1, -1):
        content[place + i] = np.uint8(48 + value % np.uint64(10))
        value //= np.uint64(10)
    for i in range(n, 8):
        content[place + i] = 32
    content[place + max(n, 8)] = 39


@helper
def _write_complement(content, place, value):
    """Write a 32-bit number as 16 characters without punctuation (FITS standard 4.0, appendix J)."""
    for k in range(4):
        byte = np.int64((value >> np.uint64(24 - 8 * k)) & np.uint64(0xFF))
        # Two pairs of characters, each of which keeps its sum.
        first = byte // 4 + 48 + byte % 4
        second = third = fourth = byte // 4 + 48
        while _excluded(first) or _excluded(second) or _excluded(third) or _excluded(fourth):
            if _excluded(first) or _excluded(second):
                first += 1
                second -= 1
            if _excluded(third) or _excluded(fourth):
                third += 1
                fourth -= 1
        # The characters are rotated by one.
        content[place + k + 1] = first
        content[place + k + 5] = second
        content[place + k + 9] = third
        content[place + (k + 13) % 16] = fourth


@helper
def _excluded(character):
    """Whether a character is punctuation between digits, capitals and small letters."""
    return 0x3A <= character <= 0x40 or 0x5B <= character <= 0x60
