"""Accuracy against update bytes, for every compressor, in the scenarios of arXiv 2203.04516.

``python benchmarks/updates.py digits`` (or ``textures``, ``yolo``) writes ``benchmarks/results/updates_NAME.json``,
point by point, and goes on where it stopped. Every method trains equally long, at the best of four learning rates,
chosen on validation data of a seed that is not evaluated. ``--plot`` draws what is in the file.
``zstandard`` (``pip install zstandard``) is needed, and ``NNCODEC_PYTHON`` names an interpreter with ``nncodec``.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

import torch
from lib.code_hash import digest_of
from lib.results import FOLDER, ResultFile
from lib.update_claims import claims
from lib.update_detector import detector_task
from lib.update_images import SCENARIOS, digits_task, textures_task
from lib.update_methods import VECTOR_BITS, Bench, Setting, settings
from lib.update_plots import draw
from lib.update_task import RATES, Task

logger = logging.getLogger("updates")
CODE = ("rinr_flower.updates",)
POINT, SEARCH = ("part", "scenario", "series", "options", "rate"), ("part", "scenario", "series")
SEARCH_SEEDS = (1_000,)


@dataclass(frozen=True)
class Family:
    """A model family: its tasks, and how widely the methods that train are swept."""

    task: Callable[[str, int], Task]
    scenarios: Sequence[str]
    seeds: int
    ranks: Sequence[int]
    fractions: Sequence[float]


RANKS, FRACTIONS = (1, 2, 3, 4, 6, 8, 12, 16), (0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.4)
FAMILIES = {
    "digits": Family(digits_task, SCENARIOS, 10, RANKS, FRACTIONS),
    "textures": Family(textures_task, SCENARIOS, 2, (*RANKS, 24), (*FRACTIONS, 0.7)),
    "yolo": Family(detector_task, ("new sequences",), 3, RANKS, FRACTIONS),
}


def run(family: Family, file: ResultFile, seeds: int) -> None:
    """Measure what the file lacks of that many seeds."""
    sweep = list(settings(family.ranks, family.fractions))
    for seed in range(seeds):
        for scenario in family.scenarios:
            rates = chosen_rates(family, scenario, sweep, file)
            bench: Bench | None = None
            for setting in sweep:
                rate = rates[setting.series] if setting.trains else rates["full"]
                if _done(file, scenario, setting, rate) > seed:
                    continue
                bench = bench or Bench(family.task(scenario, seed), rate=rates["full"], seed=seed)
                _add(file, scenario, setting, rate, bench, seed)


def chosen_rates(family: Family, scenario: str, sweep: Sequence[Setting], file: ResultFile) -> dict[str, float]:
    """The learning rate of every series that trains, and of the full training.

    Of two settings of a series, a third and two thirds into its sweep, the mean validation score decides.
    """
    found = {r["series"]: r["rate"] for r in file.rows if r["part"] == "search" and r["scenario"] == scenario}
    trained: dict[str, list[Setting]] = {}
    for setting in sweep:
        if setting.trains or setting.series == "full":
            trained.setdefault(setting.series, []).append(setting)
    for series in sorted(set(trained) - set(found), key=lambda name: name != "full"):
        members = trained[series]
        spread = [members[i] for i in sorted({len(members) // 3, 2 * len(members) // 3})]
        scores: dict[float, list[float]] = {rate: [] for rate in RATES}
        for seed in SEARCH_SEEDS:
            task = family.task(scenario, seed)
            for rate in RATES:
                bench = Bench(task, rate=rate if series == "full" else found["full"], seed=seed)
                scores[rate] += [bench.measure(setting, rate)[0].validation for setting in spread]
        found[series] = max(RATES, key=lambda rate: mean(scores[rate]))
        row = {"part": "search", "scenario": scenario, "series": series, "rate": found[series]}
        file.add({**row, "validation": {str(r): mean(s) for r, s in scores.items()}}, CODE, key=SEARCH)
        logger.info("%s, %s: rate %g of %s", scenario, series, found[series], scores)
    return found


def _done(file: ResultFile, scenario: str, setting: Setting, rate: float) -> int:
    """How many seeds the file has of a setting."""
    key = {"part": "point", "scenario": scenario, "series": setting.series, "options": _options(setting), "rate": rate}
    return max((len(r["test"]) for r in file.rows if {k: r.get(k) for k in POINT} == key), default=0)


def _options(setting: Setting) -> dict[str, Any]:
    return {k: v for k, v in setting.compressor.items() if k != "name"}


def _add(file: ResultFile, scenario: str, setting: Setting, rate: float, bench: Bench, seed: int) -> None:
    for point in reversed(bench.measure(setting, rate)):  # the setting itself last: it says that all are there
        key = {"part": "point", "scenario": scenario, "series": point.series, "options": point.options, "rate": rate}
        before = next((r for r in file.rows if {k: r.get(k) for k in POINT} == key), {})
        values = {"bytes": point.bytes, "validation": point.validation, "test": point.test}
        row = {name: [*before.get(name, []), round(value, 5)] for name, value in values.items()}
        file.add({**key, **row}, CODE, key=POINT)
        name = f"{point.series} {point.options}"
        logger.info("%s, seed %d, %s: %d bytes, %.4f", scenario, seed, name, point.bytes, point.test)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("family", choices=FAMILIES)
    parser.add_argument("--seeds", type=int, help="how many, if not all")
    parser.add_argument("--plot", action="store_true", help="only draw")
    parser.add_argument("--redo", choices=["", "stale"], default="", help="measure again what is of other code")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    path = FOLDER / f"updates_{options.family}.json"
    command = f"python benchmarks/updates.py {options.family}"
    file = ResultFile(path, command=command, settings={"vector_bits": VECTOR_BITS, "rates": list(RATES)})
    present = digest_of(CODE)
    if options.redo:
        file.keep(lambda row: row.get("code") == present)
    if not options.plot:
        if any(row.get("code") != present for row in file.rows):
            parser.error(f"{path.name} has rows of other code, which more seeds may not join: add --redo stale")
        run(FAMILIES[options.family], file, options.seeds or FAMILIES[options.family].seeds)
    points = [r for r in file.rows if r["part"] == "point"]
    file.write(claims(points))
    draw(points, claims(points), path.with_suffix(""))


if __name__ == "__main__":
    main()
