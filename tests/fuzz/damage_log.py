"""Damage to logs of results: their records and messages, with checksums that are right all the same."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from random import Random

from .damage import Damage, integers

__all__ = ["damage_log"]

#: Bytes of the header and of the head of a record (docs/formats.md).
_HEADER, _HEAD = 72, 24


def _records(data: bytes) -> list[bytearray]:
    """The records of a good log, heads included."""
    found, place = [], _HEADER
    while place + _HEAD <= len(data):
        (size,) = struct.unpack_from("<I", data, place + 16)
        found.append(bytearray(data[place : place + _HEAD + size]))
        place += _HEAD + size
    return found


def _seal(record: bytearray) -> None:
    """Give a record its size and checksum."""
    struct.pack_into("<I", record, 16, len(record) - _HEAD)
    struct.pack_into("<I", record, 20, zlib.crc32(bytes(record[:20]) + bytes(record[_HEAD:])))


def _change_payload(rng: Random, record: bytearray) -> str:
    size = len(record) - _HEAD
    place = _HEAD + rng.randrange(max(size, 1))
    kind = rng.choice(["number", "number", "bytes", "cut", "longer", "empty", "flip"])
    if kind == "number":
        place = _HEAD + (place - _HEAD) // 4 * 4
        record[place : place + 8] = struct.pack("<q", integers(rng) % 2**63)[: len(record) - place]
    elif kind == "bytes":
        record[place : place + 8] = rng.randbytes(8)[: len(record) - place]
    elif kind == "cut":
        del record[place:]
    elif kind == "longer":
        record += rng.randbytes(rng.choice([1, 8, 1000]))
    elif kind == "empty":
        del record[_HEAD:]
    elif place < len(record):
        record[place] ^= 1 << rng.randrange(8)
    _seal(record)
    return f"{kind} at byte {place - _HEAD} of {size} of its payload"


def _change_record(rng: Random, records: list[bytearray]) -> str:
    i = rng.randrange(len(records))
    kind = rng.choice(["payload"] * 6 + ["kind", "time", "head", "drop", "twice", "reset", "swap"])
    if kind == "payload":
        kind = _change_payload(rng, records[i])
    elif kind == "kind":
        struct.pack_into("<I", records[i], 4, integers(rng) % 2**32)
        _seal(records[i])
    elif kind == "time":
        struct.pack_into("<d", records[i], 8, rng.choice([float("nan"), float("inf"), -1e300, 0.0, 1e18]))
        _seal(records[i])
    elif kind == "head":
        records[i][rng.randrange(_HEAD)] ^= 1 << rng.randrange(8)
    elif kind == "drop":
        del records[i]
    elif kind == "twice":
        records.insert(i, bytearray(records[i]))
    elif kind == "reset":
        head = bytearray(records[i][:_HEAD]) + struct.pack("<qq", 6, integers(rng) % 2**63)
        struct.pack_into("<I", head, 4, 2)
        _seal(head)
        records.append(head)
    else:
        records[0], records[i] = records[i], records[0]
    return f"record {i}: {kind}"


def damage_log(rng: Random, path: Path) -> Damage:
    """One to three changes of the header or of the records of a log."""
    data = path.read_bytes()
    header, records = bytearray(data[:_HEADER]), _records(data)
    done = []
    for _ in range(rng.choice([1, 1, 2, 3])):
        if rng.random() < 0.2 or not records:
            place = rng.randrange(_HEADER - 4)
            header[place] ^= 1 << rng.randrange(8)
            struct.pack_into("<I", header, _HEADER - 4, zlib.crc32(header[: _HEADER - 4]))
            done.append(f"byte {place} of the header")
        else:
            done.append(_change_record(rng, records))
    path.write_bytes(bytes(header) + b"".join(records))
    return Damage("; ".join(done))
