"""The published claim, checked on measured records: bytes needed at the full update's accuracy less one point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

ALLOWANCE = 0.01
RIVALS = ("structured_low_rank", "random_mask", "sketched", "top_k", "stc", "qsgd")
"""Federated-learning compressors of the claim; variants of a series ("stc, 5 rounds") count with it."""
OURS = "factorised"


def claims(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the records of each scenario say about the claim.

    ``bytes_needed`` holds each series' fewest mean bytes at which its mean score is within a point of the full
    update's, or null; ``half_of_best_rival`` is the paper's claim, ``within_1_2_of_best`` is against every series.
    """
    result: dict[str, Any] = {}
    for scenario in dict.fromkeys(r["scenario"] for r in records):
        rows = [r for r in records if r["scenario"] == scenario]
        reference = next(r for r in rows if r["series"] == "reference")
        wanted = reference["full_score"] - ALLOWANCE
        needed: dict[str, float | None] = {}
        for row in rows:
            if row["series"] == "reference":
                continue
            before = needed.setdefault(row["series"], None)
            if row["score_mean"] >= wanted and (before is None or row["bytes_mean"] < before):
                needed[row["series"]] = row["bytes_mean"]
        reached = {name: value for name, value in needed.items() if value is not None}
        ours = reached.get(OURS)
        rivals = {n: v for n, v in reached.items() if n.split(",")[0] in RIVALS}
        others = {n: v for n, v in reached.items() if not n.startswith(OURS)}
        best_rival, best = min(rivals, key=rivals.__getitem__), min(others, key=others.__getitem__)
        result[scenario] = {
            "base_score": reference["base_score"],
            "full_score": reference["full_score"],
            "wanted_score": wanted,
            "bytes_needed": needed,
            "best_rival": best_rival,
            "best_of_all": best,
            "share_of_best_rival": None if ours is None else ours / rivals[best_rival],
            "share_of_best_of_all": None if ours is None else ours / others[best],
            "half_of_best_rival": ours is not None and ours <= 0.5 * rivals[best_rival],
            "within_1_2_of_best": ours is not None and ours <= 1.2 * others[best],
        }
    return result
