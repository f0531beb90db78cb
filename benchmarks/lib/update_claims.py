"""The published claim, checked on measured points: bytes needed at the full update's accuracy less one point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from .update_methods import CODED

ALLOWANCE = 0.01
OURS = ("factorised", "quantised")
"""Series of this library's own making; all others are compressors as their papers or programs have them."""
Row = Mapping[str, Any]


def claims(rows: Sequence[Row]) -> dict[str, Any]:
    """Compare the points of each scenario.

    A setting reaches the accuracy if its mean *validation* score is within a point of the full update's; of those, the
    one of the fewest bytes stands for its series, with its test score. ``inside`` tells whether the sweep goes on
    below it, so that fewer bytes are known not to do. ``share`` is our bytes over those of the best of a group:
    everything as published, or all, those with our coding too.
    """
    result: dict[str, Any] = {}
    for scenario in dict.fromkeys(r["scenario"] for r in rows):
        points = [r for r in rows if r["scenario"] == scenario]
        full = next(r for r in points if r["series"] == "full")
        wanted = mean(full["validation"]) - ALLOWANCE
        series = {name: _needed([r for r in points if r["series"] == name], wanted) for name in _names(points)}
        reached = {name: found for name, found in series.items() if found is not None}
        others = {n: f["bytes"] for n, f in reached.items() if n not in OURS}
        published = {n: size for n, size in others.items() if not n.endswith(CODED)}
        ours = {n: reached[n]["bytes"] if n in reached else None for n in OURS}
        result[scenario] = {
            "seeds": len(full["validation"]),
            "full_test": mean(full["test"]),
            "needed": series,
            **{
                f"{name}_against_{group}": _against(ours[name], rivals, allowed)
                for name in OURS
                for group, rivals, allowed in (("published", published, 0.5), ("all", others, 0.9))
            },
        }
    return result


def _names(points: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(r["series"] for r in points))


def _needed(points: Sequence[Row], wanted: float) -> dict[str, Any] | None:
    """The setting of the fewest mean bytes that reaches ``wanted`` on validation data."""
    reaching = [r for r in points if mean(r["validation"]) >= wanted]
    if not reaching:
        return None
    best = min(reaching, key=lambda r: mean(r["bytes"]))
    return {
        "bytes": mean(best["bytes"]),
        "options": best["options"],
        "test": mean(best["test"]),
        "test_stdev": stdev(best["test"]) if len(best["test"]) > 1 else 0.0,
        "inside": any(mean(r["bytes"]) < mean(best["bytes"]) for r in points),
    }


def _against(ours: float | None, others: Mapping[str, float], allowed: float) -> dict[str, Any]:
    """The best of ``others``, our share of its bytes, and whether that is at most ``allowed``."""
    if not others:
        return {"best": None, "share": None, "allowed": allowed, "holds": ours is not None}
    best = min(others, key=others.__getitem__)
    share = None if ours is None else ours / others[best]
    return {"best": best, "share": share, "allowed": allowed, "holds": share is not None and share <= allowed}
