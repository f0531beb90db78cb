"""Accuracy against update bytes, for every compressor, in the scenarios of arXiv 2203.04516.

Run from the project's root: ``python benchmarks/update_size.py digits`` (about twenty minutes on one core). It writes
``benchmarks/results/update_size_digits.json``; ``python benchmarks/update_plots.py digits`` draws it.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from dataclasses import asdict
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))
import machine
import update_scenarios as digits
from update_claims import claims
from update_methods import VECTOR_BITS, Bench, methods

RESULTS = Path(__file__).parent / "results"
SEEDS = (0, 1, 2)
logger = logging.getLogger("update_size")


def digits_bench(name: str, seed: int) -> tuple[Bench, dict[str, float]]:
    """Train the base and the full update of one scenario; the scores of both."""
    scenario = digits.scenario(name, seed)
    torch.manual_seed(seed)
    model = digits.network()
    digits.train(model, scenario.before, epochs=digits.EPOCHS, seed=seed)
    base = {k: v.clone() for k, v in model.state_dict().items()}
    before = digits.accuracy(model, scenario.test)
    digits.train(model, scenario.after, epochs=digits.EPOCHS, seed=seed + 1)
    full = {k: v.clone() for k, v in model.state_dict().items()}
    after = digits.accuracy(model, scenario.test)

    def train(network: torch.nn.Module, share: float, rate: float, order: int) -> None:
        epochs = round(digits.EPOCHS * share)
        digits.train(network, scenario.after, epochs=epochs, seed=order, rate=digits.LEARNING_RATE * rate)

    bench = Bench(model, base, full, train, lambda m: digits.accuracy(m, scenario.test))
    return bench, {"base": before, "full": after}


def run(scenarios: tuple[str, ...], make: Any) -> list[dict[str, Any]]:
    """One record a scenario and method: bytes and score of every seed, their means and spreads."""
    records = []
    for name in scenarios:
        cells: dict[str, dict[str, Any]] = {}
        references: list[dict[str, float]] = []
        for seed in SEEDS:
            bench, reference = make(name, seed)
            references.append(reference)
            for method in methods():
                started = time.process_time()
                sent, score = bench.measure(method, seed)
                cell = cells.setdefault(json.dumps(asdict(method), sort_keys=True), {"bytes": [], "score": []})
                cell["bytes"].append(sent)
                cell["score"].append(score)
                logger.info(
                    "%s, seed %d, %s %s: %d bytes, %.4f (%.1f s)",
                    name,
                    seed,
                    method.series,
                    method.options,
                    sent,
                    score,
                    time.process_time() - started,
                )
        for key, cell in cells.items():
            records.append({"scenario": name, **json.loads(key), **_spread(cell)})
        records.append(
            {
                "scenario": name,
                "series": "reference",
                "base_score": mean(r["base"] for r in references),
                "full_score": mean(r["full"] for r in references),
            }
        )
    return records


def _spread(cell: dict[str, list[float]]) -> dict[str, Any]:
    return {
        "bytes": cell["bytes"],
        "score": cell["score"],
        "bytes_mean": mean(cell["bytes"]),
        "score_mean": mean(cell["score"]),
        "score_stdev": stdev(cell["score"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["digits"])
    what = parser.parse_args().what
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    records = run(digits.SCENARIOS, digits_bench)
    result = {
        "machine": machine.describe(),
        "seeds": SEEDS,
        "vector_bits": VECTOR_BITS,
        "epochs": digits.EPOCHS,
        "records": records,
        "claims": claims(records),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"update_size_{what}.json").write_text(json.dumps(result, indent=1) + "\n")
    logger.info("%s", json.dumps(result["claims"], indent=1))


if __name__ == "__main__":
    main()
