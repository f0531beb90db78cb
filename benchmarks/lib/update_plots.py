"""Accuracy against update bytes as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from .update_claims import ALLOWANCE, OURS, Row


def draw(rows: Sequence[Row], claims: Mapping[str, Any], stem: Path) -> None:
    """One panel a scenario, one line a series: the best mean test score at or below each size."""
    figure, axes = plt.subplots(1, len(claims), figsize=(5.6 * len(claims) + 2.6, 5.2), squeeze=False)
    series = list(dict.fromkeys(r["series"] for r in rows))
    colours = {name: plt.cm.tab20(i % 20) for i, name in enumerate(series)} | dict(
        zip(OURS, ("black", "tab:red"), strict=True)
    )
    for axis, (scenario, claim) in zip(axes[0], claims.items(), strict=True):
        for name in series:
            points, best = [], -1.0
            mine = [r for r in rows if r["series"] == name and r["scenario"] == scenario]
            for row in sorted(mine, key=lambda r: mean(r["bytes"])):
                if mean(row["test"]) > best:
                    best = mean(row["test"])
                    points.append((mean(row["bytes"]) / 1000, best))
            if points:
                axis.plot(
                    *zip(*points, strict=True),
                    marker="o",
                    ms=3,
                    lw=2.6 if name in OURS else 1.1,
                    label=name,
                    color=colours[name],
                )
        axis.axhline(claim["full_test"], color="black", lw=0.8)
        axis.axhline(claim["full_test"] - ALLOWANCE, color="black", lw=0.8, ls=":")
        axis.set(xscale="log", xlabel="update, kB", ylabel="test score", title=scenario)
        top = max(mean(r["test"]) for r in rows if r["scenario"] == scenario)
        axis.set_ylim(0.8 * claim["full_test"], top + 0.02 * claim["full_test"])
        axis.grid(alpha=0.3)
    handles, names = axes[0][0].get_legend_handles_labels()
    figure.tight_layout(rect=(0, 0, 1 - 2.5 / figure.get_figwidth(), 1))
    figure.legend(handles, names, fontsize=8, loc="center right")
    figure.savefig(stem.with_suffix(".png"), dpi=110)
    plt.close(figure)
