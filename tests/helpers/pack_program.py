"""Writes light curves to a pack without an end, and says which of them are durable: to be killed by tests.

``pack_program.py OUTPUT [BYTES]``: no file may be larger than that many bytes.
"""

import random
import resource
import sys
import zlib

from tasoc_mpi.core.errors import InputError
from tasoc_mpi.products.packed import PackWriter


def blob(number: int) -> bytes:
    """A light curve's bytes, a function of its number."""
    source = random.Random(number)
    return source.randbytes(source.choice((1, 500, 30_000, 300_000)))


def main() -> None:
    if len(sys.argv) > 2:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
    writer = PackWriter(sys.argv[1])
    waiting = []
    try:
        for number in range(1_000_000):
            data = blob(number)
            waiting.append((writer(f"c1800/{number}.fits.gz", data), zlib.crc32(data)))
            if random.random() < 0.5:
                writer.flush(sync=random.random() < 0.1)
                print("\n".join(f"{name} {crc}" for name, crc in waiting), flush=True)
                waiting = []
    except (OSError, InputError) as error:
        print(f"failed: {error}", flush=True)
    try:
        writer.flush()
    except InputError as error:
        print(f"failed: {error}", flush=True)


if __name__ == "__main__":
    main()
