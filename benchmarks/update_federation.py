"""Accuracy against all bytes sent, over the rounds of a federation that compresses updates both ways.

Writes ``benchmarks/results/update_federation.json`` and goes on where it stopped. Every method has two settings, of
which validation data decide, and the same learning rate.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from statistics import mean, stdev
from typing import Any

import torch
from lib.results import FOLDER, ResultFile, Row
from lib.update_federation import BATCH, CONDITIONS, DEVICES, RATE, ROUNDS, STEPS, federate, schemes

logger = logging.getLogger("update_federation")
CODE = ("rinr_flower.updates",)
KEY = ("condition", "series", "options", "seed")
ALLOWANCE = 0.01


def run(file: ResultFile, seeds: int) -> None:
    """Measure what the file lacks."""
    for seed in range(seeds):
        for condition in CONDITIONS:
            for scheme in schemes():
                key = {"condition": condition, "series": scheme.series, "options": scheme.up, "seed": seed}
                if any({k: r[k] for k in KEY} == key for r in file.rows):
                    continue
                rounds = federate(scheme, condition, seed=seed)
                last = rounds[-1]
                row = {
                    "sent": [r.sent for r in rounds],
                    "start": last.start,
                    "validation": [round(r.validation, 4) for r in rounds],
                    "test": [round(r.test, 4) for r in rounds],
                }
                file.add({**key, **row}, CODE, key=KEY)
                logger.info("%s, seed %d, %s: %d bytes, %.4f", condition, seed, scheme.series, last.sent, last.test)


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
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    settings = {"devices": DEVICES, "rounds": ROUNDS, "steps": STEPS, "batch": BATCH, "learning_rate": RATE}
    command = "python benchmarks/update_federation.py"
    file = ResultFile(FOLDER / "update_federation.json", command=command, settings=settings)
    run(file, options.seeds)
    file.write(summary(file.rows))


if __name__ == "__main__":
    main()
