"""Run cases: ``python -m tests.fuzz`` all kinds, ``python -m tests.fuzz KIND --seed S --case N`` one case."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))


def _serve(bases: list, args: argparse.Namespace, folder: Path, job: int) -> None:
    """Run every so manieth case of all kinds and write the results."""
    from .case import run_case

    with open(folder / f"results-{job}.jsonl", "w", buffering=1) as out:
        for number in range(args.first + job, args.first + args.cases, args.jobs):
            for base in bases:
                result = run_case(base, args.seed, number, folder / "cases")
                out.write(json.dumps(asdict(result)) + "\n")


def _report(folder: Path, jobs: int) -> int:
    """Print a table of the kinds and the cases that failed."""
    from tasoc_mpi.core.tables import text_table

    results = [json.loads(line) for job in range(jobs) for line in (folder / f"results-{job}.jsonl").open()]
    kinds = sorted({r["kind"] for r in results})
    heads = ("cases", "ended 0", "ended 1", "failed", "cpu ms", "max s", "max MB")
    rows: list[tuple[object, ...]] = [("kind", *heads)]
    for kind in kinds:
        mine = [r for r in results if r["kind"] == kind]
        status = Counter(r["status"] for r in mine)
        failed = sum(bool(r["problems"]) for r in mine)
        cpu = 1000 * sum(r["cpu"] for r in mine) / len(mine)
        memory = max(r["memory"] for r in mine) / 1e6
        seconds = max(r["seconds"] for r in mine)
        numbers = (f"{cpu:.0f}", f"{seconds:.1f}", f"{memory:.0f}")
        rows.append((kind, len(mine), status[0], status[1] + status[2], failed, *numbers))
    print("\n".join(text_table(rows, left=1)))
    failures = [r for r in results if r["problems"]]
    groups: dict[tuple[str, str], list[dict]] = {}
    for r in failures:
        groups.setdefault((r["kind"], r["problems"][0][:70]), []).append(r)
    for (kind, problem), found in sorted(groups.items()):
        print(f"\n{kind}: {problem}   [{len(found)} cases: {', '.join(str(r['number']) for r in found[:8])}]")
        for r in found[:2]:
            print(f"    {r['number']}: {r['damage'][:200]}")
            print(f"    $ {r['command'][:200]}\n    {r['message'][-300:]}")
    print(f"\n{len(results)} cases, {len(failures)} failed; files of those: {folder / 'cases'}")
    return 1 if failures else 0


def main() -> int:
    """Run cases."""
    from .case import make_base, run_case
    from .kinds import KINDS

    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"default: all ({', '.join(KINDS)})")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--cases", type=int, default=100, metavar="N", help="cases of each kind; default: 100"
    )
    parser.add_argument("--first", type=int, default=0, metavar="N", help="number of the first case")
    parser.add_argument("--case", type=int, metavar="N", help="only this case, and keep its files")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--folder", type=Path, help="for the files, good ones of an earlier time included; default: new"
    )
    args = parser.parse_args()
    unknown = set(args.kinds) - set(KINDS)
    if unknown:
        parser.error(f"no kind {', '.join(unknown)}")
    folder = args.folder or Path(tempfile.mkdtemp(prefix="tasoc-mpi-fuzz-"))
    folder.mkdir(parents=True, exist_ok=True)
    # The same input gives the same bytes.
    os.environ.setdefault("SOURCE_DATE_EPOCH", "0")
    start = time.monotonic()
    bases = [make_base(name, folder) for name in args.kinds or KINDS]
    print(f"good files: {time.monotonic() - start:.0f} s", flush=True)
    if args.case is not None:
        failed = False
        for base in bases:
            result = run_case(base, args.seed, args.case, folder / "cases", keep=True)
            print(json.dumps(asdict(result), indent=2))
            print("files:", folder / "cases" / f"{base.kind}-{args.seed}-{args.case}")
            failed |= bool(result.problems)
        return int(failed)
    pids = []
    for job in range(args.jobs):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                _serve(bases, args, folder, job)
                status = 0
            except BaseException:  # noqa: BLE001 - the edge of the process
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                os._exit(status)
        pids.append(pid)
    ended = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    failed = _report(folder, args.jobs)
    if any(ended):
        print(f"the fuzzer itself failed: exit statuses {ended}")
    print(f"{time.monotonic() - start:.0f} s, of them {sum(os.times()[:4]):.0f} s of processors")
    if not any(ended) and not failed and args.folder is None:
        shutil.rmtree(folder)
    return 1 if any(ended) else failed


if __name__ == "__main__":
    sys.exit(main())
