"""Mutated payloads and updates of every format, under limits of memory and time.

    python benchmarks/fuzz.py --count 1000000 --seed 0 --out benchmarks/results/fuzz.json

``--keep DIR`` writes the input of every finding there; ``--only N`` repeats input N alone. ``--out FILE`` is written
anew after every 20,000 inputs, and ``--resume`` goes on from where that file stops. Exit code 1 if there are findings.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from lib import fuzzing
from rich.console import Console


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="repeat this one input")
    parser.add_argument("--keep", type=Path, help="folder for the inputs of findings")
    parser.add_argument("--out", type=Path, help="write the report here as JSON, and while the run lasts what is known")
    parser.add_argument("--resume", action="store_true", help="go on from where the report in --out stops")
    options = parser.parse_args()
    out: Path | None = options.out
    single = options.only is not None
    report = fuzzing.run(
        1 if single else options.count,
        options.seed,
        first=options.only if single else 0,
        before=fuzzing.saved(out) if out is not None and options.resume else None,
        checkpoint=None if out is None else lambda found: fuzzing.save(found, out),
    )
    if options.keep is not None:
        fuzzing.keep(report, options.keep)
    if out is not None:
        fuzzing.save(report, out)
    console = Console()
    totals: Counter[str] = Counter()
    for row in report["outcomes"].values():
        totals.update(row)
    console.print(f"{report['done']:,} inputs, seed {report['seed']}, {report['cpu_seconds']} s: {dict(totals)}")
    for finding in report["findings"][:50]:
        console.print("{number:>9,} {seed} ({layer}): {what}".format(**finding), markup=False)
    return 1 if report["findings"] else 0


if __name__ == "__main__":
    sys.exit(main())
