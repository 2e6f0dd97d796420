"""Damage to FITS files: their cards, HDUs and pixels."""

from __future__ import annotations

import gzip
import struct
from dataclasses import dataclass
from pathlib import Path
from random import Random

from .damage import Damage, integers, numbers

__all__ = ["damage_fits"]

_BLOCK, _CARD = 2880, 80
#: Cards that say how long the data are and what they are.
_STRUCTURE = (
    "NAXIS",
    "BITPIX",
    "TFIELDS",
    "TFORM",
    "TDIM",
    "PCOUNT",
    "GCOUNT",
    "XTENSION",
    "TTYPE",
    "SIMPLE",
    "THEAP",
)


@dataclass
class _Hdu:
    cards: list[bytes]
    data: bytes


def _value(card: bytes) -> str:
    return card[10:].split(b"/")[0].decode("latin-1").strip()


def _split(content: bytes) -> list[_Hdu]:
    """The HDUs of a good file."""
    hdus, place = [], 0
    while place + _BLOCK <= len(content):
        cards = []
        while True:
            card = content[place : place + _CARD]
            place += _CARD
            if card[:8].rstrip() == b"END" or not card:
                break
            cards.append(card)
        place = -(-place // _BLOCK) * _BLOCK
        values = {card[:8].decode("latin-1").strip(): _value(card) for card in cards if card[8:10] == b"= "}
        axes = [int(values[f"NAXIS{i + 1}"]) for i in range(int(values["NAXIS"]))]
        size = abs(int(values["BITPIX"])) // 8 if axes else 0
        for n in axes:
            size *= n
        size = -(-(size + int(values.get("PCOUNT", 0))) // _BLOCK) * _BLOCK
        hdus.append(_Hdu(cards, content[place : place + size]))
        place += size
    return hdus


def _joined(hdus: list[_Hdu]) -> bytes:
    out = b""
    for hdu in hdus:
        header = b"".join(hdu.cards) + b"END".ljust(_CARD)
        out += header.ljust(-(-len(header) // _BLOCK) * _BLOCK) + hdu.data
    return out


def _card(key: str, value: str) -> bytes:
    return f"{key:<8}= {value:>20}".encode("latin-1", "replace")[:_CARD].ljust(_CARD)


def _odd_value(rng: Random, old: str) -> str:
    """A value in place of another one."""
    if rng.random() < 0.4:
        try:
            number = float(old)
        except ValueError:
            number = 1.0
        if rng.random() < 0.5:
            return str(integers(rng, int(number) if abs(number) < 1e18 else 0))
        return repr(numbers(rng, number)).upper()
    odd = [
        "'text    '",
        "''",
        "'        '",
        "T",
        "F",
        "",
        "1E400",
        "1D5",
        "(1,2)",
        "1 2",
        "1.5",
        "'1'",
        "'abc",
    ]
    odd += [
        "9" * 60,
        "0x10",
        "'" + "x" * 66 + "'",
        "'\x1b[31m\x07'",
        "'tess/../../etc'",
        "'é'",
        "-",
        "1_0",
        "'0D'",
    ]
    odd += ["'999999999D'", "'1PE(5)'", "'(3,3)'", "'RA---SIN'", "'9E'", "'10A'", "'IMAGE   '", "'BINTABLE'"]
    return rng.choice(odd)


def _change_card(rng: Random, hdu: _Hdu, structural: bool) -> str:
    valued = [i for i, card in enumerate(hdu.cards) if card[8:10] == b"= "]
    if structural:
        valued = [i for i in valued if hdu.cards[i].decode("latin-1").startswith(_STRUCTURE)] or valued
    i = rng.choice(valued)
    key, old = hdu.cards[i][:8].decode("latin-1").strip(), _value(hdu.cards[i])
    kind = rng.choice(["value"] * 6 + ["delete"] * 2 + ["twice", "rename", "bytes"])
    if kind == "value":
        new = _odd_value(rng, old)
        hdu.cards[i] = _card(key, new)
        return f"{key} = {new!r} for {old!r}"
    if kind == "delete":
        del hdu.cards[i]
    elif kind == "twice":
        hdu.cards.insert(rng.choice([i, len(hdu.cards)]), _card(key, _odd_value(rng, old)))
    elif kind == "rename":
        hdu.cards[i] = b"X" + hdu.cards[i][1:]
    else:
        hdu.cards[i] = hdu.cards[i][:10] + rng.randbytes(30) + hdu.cards[i][40:]
    return f"{key}: {kind}"


def _change_data(rng: Random, hdu: _Hdu) -> str:
    data = bytearray(hdu.data)
    if not data:
        return "no data to change"
    word = rng.choice(
        [struct.pack(">f", v) for v in (float("nan"), float("inf"), -float("inf"), 3e38, -1e10, 0.0)]
        + [struct.pack(">d", v) for v in (float("nan"), 1e300, -1e300)]
        + [struct.pack(">i", v) for v in (-1, 2**31 - 1, -(2**31))]
    )
    first = rng.randrange(len(data)) // 8 * 8 if rng.random() < 0.6 else 0
    last = min(len(data), first + rng.choice([8, 800, 8000, len(data)]))
    data[first:last] = (word * ((last - first) // len(word) + 1))[: last - first]
    hdu.data = bytes(data)
    return f"data {first}:{last} = {word.hex()}"


def _change_hdus(rng: Random, hdus: list[_Hdu]) -> str:
    i = rng.randrange(len(hdus))
    kind = rng.choice(["drop", "twice", "swap", "no data", "half the data", "no cards", "more data"])
    if kind == "drop":
        del hdus[i]
    elif kind == "twice":
        hdus.insert(i, _Hdu(list(hdus[i].cards), hdus[i].data))
    elif kind == "swap":
        hdus[i], hdus[0] = hdus[0], hdus[i]
    elif kind == "no data":
        hdus[i].data = b""
    elif kind == "half the data":
        hdus[i].data = hdus[i].data[: len(hdus[i].data) // 2]
    elif kind == "no cards":
        hdus[i].cards = hdus[i].cards[:1]
    else:
        hdus[i].data += b"\0" * _BLOCK
    return f"HDU {i}: {kind}"


def damage_fits(rng: Random, path: Path) -> Damage:
    """One to three changes of the cards, HDUs or pixels of a FITS file, plain or gzip."""
    content = path.read_bytes()
    packed = content[:2] == b"\x1f\x8b"
    hdus = _split(gzip.decompress(content) if packed else content)
    done = []
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        if not hdus:
            break
        i = rng.randrange(len(hdus))
        kind = rng.choice(["structure"] * 5 + ["card"] * 5 + ["data"] * 2 + ["hdus"])
        if kind == "hdus":
            done.append(_change_hdus(rng, hdus))
        elif kind == "data":
            done.append(f"HDU {i}: {_change_data(rng, hdus[i])}")
        elif hdus[i].cards:
            done.append(f"HDU {i}: {_change_card(rng, hdus[i], kind == 'structure')}")
    content = _joined(hdus)
    if rng.random() < 0.05:
        content = content.replace(b"END".ljust(_CARD), b"ENDX".ljust(_CARD))
        done.append("no END")
    path.write_bytes(gzip.compress(content, 1) if packed else content)
    return Damage("; ".join(done))
