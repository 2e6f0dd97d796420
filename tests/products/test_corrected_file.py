"""Light curve files with a correction: what changes, and that nothing else does."""

import gzip
import io
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from small_files import make_lightcurve

from tasoc_mpi.core.errors import InputError
from tasoc_mpi.core.quality import CorrectorQualityFlags
from tasoc_mpi.products.corrected_file import LightCurveTable, checksums_hold, corrected_bytes
from tasoc_mpi.products.lightcurve_file import lightcurve_bytes

RAW = lightcurve_bytes(make_lightcurve())
_CARDS = st.lists(
    st.tuples(
        st.from_regex(r"(CBV_|CORR)[A-Z0-9]{1,4}", fullmatch=True),
        st.one_of(
            st.integers(-(2**31), 2**31),
            st.floats(allow_nan=False, allow_infinity=False),
            st.booleans(),
            st.text("abcXYZ '", max_size=100),
        ),
        st.text("abc de", max_size=20),
    ),
    max_size=40,
    unique_by=lambda one: one[0],
)


def correct(content: bytes, seed: int = 1, cards=()) -> bytes:
    """Some correction of a file."""
    table = LightCurveTable(Path("file"), content)
    rng = np.random.default_rng(seed)
    flux, error = rng.normal(size=(2, table.rows.size)) * 100
    flux[seed % 7] = np.nan
    return corrected_bytes(table, flux, error, rng.choice([0, 1, 4, 128], table.rows.size), cards)


@given(_CARDS, st.integers(0, 100))
@settings(max_examples=25, deadline=None)
def test_astropy_sees_the_correction_and_everything_else_unchanged(cards, seed):
    with (
        fits.open(io.BytesIO(RAW)) as old,
        fits.open(
            io.BytesIO(correct(RAW, seed, cards)),
            checksum=True,  # a wrong checksum is a warning, hence an error
        ) as new,
    ):
        new.verify("exception")
        assert [hdu.name for hdu in old] == [hdu.name for hdu in new]
        for one, other in zip(old, new, strict=True):
            added = {key for key, _, _ in cards} if one.name == "LIGHTCURVE" else set()
            sums = {"DATASUM", "CHECKSUM"}
            kept = [c.image for c in other.header.cards if c.keyword not in added | sums]
            assert kept == [c.image for c in one.header.cards if c.keyword not in sums]
            assert other.verify_datasum() == other.verify_checksum() == 1
        for key, value, _ in cards:
            assert new[1].header[key] == (value.rstrip() if isinstance(value, str) else value)
        for name in old[1].columns.names:
            if name not in ("FLUX_CORR", "FLUX_CORR_ERR", "QUALITY"):
                assert new[1].data[name].tobytes() == old[1].data[name].tobytes()
        bits = new[1].data["QUALITY"] ^ old[1].data["QUALITY"]
        assert bits.any()
        assert not (bits & ~CorrectorQualityFlags.CORRECTION).any()
        assert np.isnan(new[1].data["FLUX_CORR"]).sum() == 1


@given(_CARDS, _CARDS)
@settings(max_examples=20, deadline=None)
def test_a_correction_replaces_the_one_before(cards, others):
    """And without one the bytes are those of the photometry again."""
    once = correct(RAW, 3, cards)
    assert correct(correct(RAW, 5, others), 3, cards) == once
    assert correct(once, 3, cards) == once
    assert corrected_bytes(LightCurveTable(Path("file"), once)) == RAW


def test_files_of_astropy(tmp_path):
    """Without checksums, without the rest of the last block, with columns of texts, and in another order."""
    rows = 7
    table = fits.BinTableHDU.from_columns(
        [
            fits.Column("QUALITY", "J", array=np.full(rows, 256 + 4)),
            fits.Column("NOTE", "5A", array=["abc"] * rows),
            fits.Column("FLUX_CORR_ERR", "D", array=np.full(rows, np.nan)),
            fits.Column("PAIR", "2E", array=np.ones((rows, 2))),
            fits.Column("FLUX_CORR", "D", array=np.full(rows, np.nan)),
        ],
        name="LIGHTCURVE",
    )
    table.header["CBV_OLD"] = "x" * 100
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(tmp_path / "a.fits")
    content = (tmp_path / "a.fits").read_bytes()
    content = content[: len(content) - 2000]
    with fits.open(io.BytesIO(correct(content)), checksum=True) as found:
        assert found[1].verify_datasum() == 1
        assert "CBV_OLD" not in found[1].header
        assert "CONTINUE" not in found[1].header
        assert (found[1].data["QUALITY"] & 256 == 256).all()
        assert found[1].data["NOTE"].tolist() == ["abc"] * rows
        assert (found[1].data["PAIR"] == 1).all()
        assert np.isfinite(found[1].data["FLUX_CORR_ERR"]).all()


def test_only_cards_and_bits_of_a_correction():
    table = LightCurveTable(Path("file"), RAW)
    with pytest.raises(ValueError, match="TIMEREF"):
        corrected_bytes(table, cards=[("TIMEREF", "x", "")])
    with pytest.raises(ValueError, match="QUALITY"):
        corrected_bytes(table, quality=256)


def whole_hdus() -> list[int]:
    """Where the HDUs of the file end."""
    with fits.open(io.BytesIO(RAW)) as found:
        return [hdu.fileinfo()["datLoc"] + hdu.fileinfo()["datSpan"] for hdu in found]


def test_damaged_files_are_named():
    for content, words in (
        (RAW[:-20000], "truncated"),
        (RAW[:2880], "no table LIGHTCURVE"),
        (RAW.replace(b"'FLUX_CORR'", b"'FLUX_CURR'"), "no column FLUX_CORR"),
        (b"", "no table"),
        (RAW[: whole_hdus()[-2]], "2 extensions, unlike NEXTEND"),
        (gzip.compress(RAW), "not a FITS file"),
    ):
        with pytest.raises(InputError, match=rf"^a\.fits: .*{words}"):
            LightCurveTable(Path("a.fits"), content)


def test_the_checksums_of_a_written_file_hold():
    assert checksums_hold(RAW)
    assert checksums_hold(RAW[:-2] if RAW.endswith(b"\0\0") else RAW + b"\0\0")


# The first call may compile.
@settings(deadline=None)
@given(st.integers(0, len(RAW) - 1), st.integers(1, 255))
def test_any_changed_byte_is_seen_in_the_checksums(place, change):
    damaged = bytearray(RAW)
    damaged[place] ^= change
    assert not checksums_hold(bytes(damaged))
