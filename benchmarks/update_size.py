"""Accuracy against update bytes, for every compressor, in the scenarios of arXiv 2203.04516.

Run from the project's root: ``python benchmarks/update_size.py digits`` (about twenty minutes on one core), then
``... yolo`` (longer). Each writes ``benchmarks/results/update_size_NAME.json``, after every scenario, and
``python benchmarks/update_plots.py NAME`` draws it.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from statistics import mean, stdev
from typing import Any

import torch
import update_scenarios as digits
import update_sequences as sequences
from lib.results import FOLDER, write_result
from update_claims import claims
from update_methods import VECTOR_BITS, Bench, Method, digits_methods, yolo_methods

SEEDS = (0, 1, 2)
MakeBench = Callable[[str, int], tuple[Bench, dict[str, float]]]
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


def run(name: str, make: MakeBench, methods: Sequence[Method]) -> list[dict[str, Any]]:
    """One record a method: bytes and score of every seed on the scenario, their means and spreads."""
    cells: dict[str, dict[str, Any]] = {}
    references: list[dict[str, float]] = []
    for seed in SEEDS:
        bench, reference = make(name, seed)
        references.append(reference)
        for method in methods:
            sent, score = bench.measure(method, seed)
            cell = cells.setdefault(json.dumps(asdict(method), sort_keys=True), {"bytes": [], "score": []})
            cell["bytes"].append(sent)
            cell["score"].append(score)
            logger.info("%s, seed %d, %s %s: %d bytes, %.4f", name, seed, method.series, method.options, sent, score)
    reference = {key: mean(r[key] for r in references) for key in ("base", "full")}
    return [
        {"scenario": name, "series": "reference", "base_score": reference["base"], "full_score": reference["full"]},
        *({"scenario": name, **json.loads(key), **_spread(cell)} for key, cell in cells.items()),
    ]


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
    parser.add_argument("what", choices=["digits", "yolo"])
    what = parser.parse_args().what
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    records: list[dict[str, Any]] = []
    names, make, chosen = (
        (digits.SCENARIOS, digits_bench, list(digits_methods()))
        if what == "digits"
        else (sequences.SCENARIOS, sequences.bench, list(yolo_methods()))
    )
    for name in names:
        records += run(name, make, chosen)
        write_result(
            FOLDER / f"update_size_{what}.json",
            command=f"python benchmarks/update_size.py {what}",
            code=["rinr_flower.updates", *(["rinr_flower.detection.yolo"] if what == "yolo" else [])],
            settings={"seeds": SEEDS, "vector_bits": VECTOR_BITS},
            rows=records,
            summary=claims(records),
        )
    logger.info("%s", json.dumps(claims(records), indent=1))


if __name__ == "__main__":
    main()
