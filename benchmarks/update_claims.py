"""The published claim, checked on measured records: bytes needed at the full update's accuracy less one point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from update_methods import CODED

ALLOWANCE = 0.01
RIVALS = ("structured_low_rank", "random_mask", "sketched", "top_k", "stc", "qsgd")
"""The federated-learning compressors of the claim. "stc, 5 rounds" counts as published, "random_mask, our coding" does
not: there our own quantiser and entropy coder follow."""
OURS = "factorised"


def claims(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the records of each scenario say about the claim.

    ``bytes_needed`` holds each series' fewest mean bytes at which its mean score is within a point of the full
    update's, or null. The ``share`` values are our bytes over those of the best of the rivals as published, of the
    rivals with our coding added where that helps them, and of every other series.
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
        others = {n: v for n, v in reached.items() if not n.startswith(OURS)}
        rivals = {n: v for n, v in others.items() if n.split(",")[0] in RIVALS}
        published = {n: v for n, v in rivals.items() if not n.endswith(CODED)}
        result[scenario] = {
            "base_score": reference["base_score"],
            "full_score": reference["full_score"],
            "wanted_score": wanted,
            "bytes_needed": needed,
            "against_published_rivals": _against(ours, published, 0.5),
            "against_rivals_with_our_coding": _against(ours, rivals, 0.5),
            "against_all": _against(ours, others, 1.2),
        }
    return result


def _against(ours: float | None, others: dict[str, float], allowed: float) -> dict[str, Any]:
    """The best of ``others``, our share of its bytes, and whether that is at most ``allowed``."""
    if not others:
        return {"best": None, "share": None, "allowed": allowed, "holds": ours is not None}
    best = min(others, key=others.__getitem__)
    share = None if ours is None else ours / others[best]
    return {"best": best, "share": share, "allowed": allowed, "holds": share is not None and share <= allowed}
