"""Cards of a header, against astropy."""

from astropy.io import fits

from tasoc_mpi.products.fits_read import header_cards

_CARDS = (
    ("WCSAXES", 2, "number of axes"),
    ("CTYPE1", "RA---TAN-SIP", "projection / distorted"),
    ("CUNIT1", "deg", ""),
    ("OBJECT", "Barnard's / star", "a slash, and a quote"),
    ("EMPTY", "", "no text"),
    ("CRVAL1", 84.29119034, "[deg]"),
    ("A_2_0", -1.5e-05, "SIP"),
    ("FLAG", True, "a / b"),
    ("NOTHING", None, "undefined"),
)


def test_values_and_comments_are_those_that_astropy_finds() -> None:
    header = fits.Header()
    for card in _CARDS:
        header.append(card)
    header.add_comment("no value = here")
    text = header.tostring()
    undefined = fits.card.Undefined
    expected = [
        (card.keyword, None if isinstance(card.value, undefined) else card.value, card.comment)
        for card in fits.Header.fromstring(text).cards
        if card.keyword != "COMMENT"
    ]
    assert list(header_cards(text + "LATER   =                    1")) == expected
    assert [one[:2] for one in expected] == [card[:2] for card in _CARDS]
