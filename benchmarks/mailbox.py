"""What a message costs rank 0 in MPI: receiving one that is there, and sending one, by its size.

    mpiexec -n 2 python benchmarks/mailbox.py

Prints JSON: sizes in bytes and seconds. The best of several rounds, as other programs are not to count.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

from tasoc_mpi.core.mpi import Mailbox, receive, world

SIZES = (32, 1_000, 4_000, 10_000, 20_000, 40_000, 100_000)
#: Messages of a round: few enough that MPI takes them all without its receiver.
MESSAGES = 16
ROUNDS = 40


def measure(comm: Any, box: Mailbox, size: int) -> tuple[float, float]:
    """Seconds for receiving and for sending a message, on rank 0; what the other rank needs for it."""
    receiving, sending = [], []
    message = bytes(size)
    for _ in range(ROUNDS):
        comm.Barrier()
        if comm.Get_rank() == 0:
            # Time for the other rank's messages to arrive.
            time.sleep(0.02)
            receiving.append(_seconds(lambda: _receive_all(box)))
            sending.append(_seconds(lambda: [box.send(1, 1, message) for _ in range(MESSAGES)]))
            box.wait()
        else:
            requests = [comm.Isend(message, 0, 1) for _ in range(MESSAGES)]
            for _ in range(MESSAGES):
                receive(comm, 0)
            for request in requests:
                request.Wait()
    return min(receiving, default=0.0), min(sending, default=0.0)


def _receive_all(box: Mailbox) -> None:
    left = MESSAGES
    while left:
        left -= len(box.receive(left))


def _seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return (time.perf_counter() - start) / MESSAGES


def main() -> int:
    comm = world()
    if comm is None:
        print("run it under `mpiexec -n 2`", file=sys.stderr)
        return 1
    box = Mailbox(comm)
    found = [measure(comm, box, size) for size in SIZES]
    if comm.Get_rank() == 0:
        receiving, sending = zip(*found, strict=True)
        print(json.dumps({"size": SIZES, "receive": receiving, "send": sending}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
