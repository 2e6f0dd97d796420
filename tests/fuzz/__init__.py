"""A seeded fuzzer of every kind of file that the program reads; `python -m tests.fuzz --help`.

A case is (kind, seed, number). It copies a small folder of good files, damages one of them, and runs a
command that reads it under limits of time and memory. The command has to end with the right result, or with
one line that names the file and the way out, and leave nothing half-written (`verdict.py`).

To add a kind: a function in `bases.py` that makes the good files, and an entry in `kinds.py`.
"""
