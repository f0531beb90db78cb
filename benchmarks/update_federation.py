"""Accuracy against all bytes sent, over the rounds of a federation that compresses updates both ways.

Writes ``benchmarks/results/update_federation.json`` and goes on where it stopped. Every method has three settings, and
the better of two learning rates by the validation score of a seed that is not evaluated, on non-IID data.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from statistics import mean, stdev
from typing import Any

import torch
from lib.results import FOLDER, ResultFile, Row
from lib.update_federation import BATCH, CONDITIONS, DEVICES, RATE, ROUNDS, STEPS, Scheme, federate, schemes

logger = logging.getLogger("update_federation")
CODE = ("rinr_flower.updates",)
RATES, SEARCH_SEED, SEARCH_CONDITION = (1.0, 3.0), 1_000, "non-IID"
POINT, SEARCH = ("part", "condition", "series", "options", "rate", "seed"), ("part", "series")
ALLOWANCE = 0.01


def run(file: ResultFile, seeds: int) -> None:
    """Measure what the file lacks."""
    every = list(schemes())
    rates = _chosen(file, every)
    for seed in range(seeds):
        for condition in CONDITIONS:
            for scheme in every:
                rate = rates[scheme.series]
                key = {"part": "point", "condition": condition, "series": scheme.series, "options": scheme.up}
                key |= {"rate": rate, "seed": seed}
                if any({k: r.get(k) for k in POINT} == key for r in file.rows):
                    continue
                rounds = federate(scheme, condition, factor=rate, seed=seed)
                last = rounds[-1]
                row = {
                    "sent": [r.sent for r in rounds],
                    "start": last.start,
                    "validation": [round(r.validation, 4) for r in rounds],
                    "test": [round(r.test, 4) for r in rounds],
                }
                file.add({**key, **row}, CODE, key=POINT)
                logger.info("%s, seed %d, %s: %d bytes, %.4f", condition, seed, scheme, last.sent, last.test)


def _chosen(file: ResultFile, every: Sequence[Scheme]) -> dict[str, float]:
    found = {r["series"]: r["rate"] for r in file.rows if r["part"] == "search"}
    for series in dict.fromkeys(s.series for s in every if s.series not in found):
        members = [s for s in every if s.series == series]
        middle = members[len(members) // 2]
        scores = {r: federate(middle, SEARCH_CONDITION, factor=r, seed=SEARCH_SEED)[-1].validation for r in RATES}
        found[series] = max(RATES, key=lambda rate: scores[rate])
        row = {"part": "search", "series": series, "rate": found[series]}
        file.add({**row, "validation": {str(k): v for k, v in scores.items()}}, CODE, key=SEARCH)
        logger.info("%s: rate %g of %s", series, found[series], scores)
    return found


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """For each condition and series, the setting of the best last validation score and that of the fewest bytes.

    ``reaching`` is the setting and round of the fewest mean bytes at which the mean validation score is within a point
    of FedAvg's last one.
    """
    result: dict[str, Any] = {}
    for condition in dict.fromkeys(r["condition"] for r in rows):
        mine = [r for r in rows if r["condition"] == condition]
        wanted = mean(r["validation"][-1] for r in mine if r["series"] == "FedAvg") - ALLOWANCE
        result[condition] = {}
        for series in dict.fromkeys(r["series"] for r in mine):
            settings: dict[str, list[Row]] = {}
            for row in mine:
                if row["series"] == series:
                    settings.setdefault(str(row["options"]), []).append(row)
            best = max(settings.values(), key=lambda group: mean(r["validation"][-1] for r in group))
            reached = [
                (mean(r["sent"][number] for r in group), number + 1, group[0]["options"])
                for group in settings.values()
                for number in range(ROUNDS)
                if mean(r["validation"][number] for r in group) >= wanted
            ]
            fewest = min(reached, key=lambda item: item[0], default=None)
            tests = [r["test"][-1] for r in best]
            result[condition][series] = {
                "seeds": len(best),
                "options": best[0]["options"],
                "sent": mean(r["sent"][-1] for r in best),
                "start": mean(r["start"] for r in best),
                "test": mean(tests),
                "test_stdev": stdev(tests) if len(tests) > 1 else 0.0,
                "reaching": None if fewest is None else dict(zip(("sent", "round", "options"), fewest, strict=True)),
            }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    settings = {"devices": DEVICES, "rounds": ROUNDS, "steps": STEPS, "batch": BATCH, "learning_rate": RATE}
    command = "python benchmarks/update_federation.py"
    file = ResultFile(FOLDER / "update_federation.json", command=command, settings=settings)
    run(file, options.seeds)
    file.write(summary([r for r in file.rows if r["part"] == "point"]))


if __name__ == "__main__":
    main()
