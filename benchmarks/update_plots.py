"""Draw accuracy against update bytes from a result file: ``python benchmarks/update_plots.py digits``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

RESULTS = Path(__file__).parent / "results"


def draw(result: dict[str, Any], stem: Path) -> None:
    """One panel a scenario, one line a series: the best mean score at or below each size; bars are spreads."""
    scenarios = list(result["summary"])
    figure, axes = plt.subplots(1, len(scenarios), figsize=(6.4 * len(scenarios), 5.2), squeeze=False)
    series = list(dict.fromkeys(r["series"] for r in result["rows"] if r["series"] != "reference"))
    colours = {name: plt.cm.tab20(i % 20) for i, name in enumerate(series)} | {"factorised": "black"}
    for axis, scenario in zip(axes[0], scenarios, strict=True):
        rows = [r for r in result["rows"] if r["scenario"] == scenario]
        claim = result["summary"][scenario]
        for name in series:
            points, best = [], -1.0
            for row in sorted((r for r in rows if r["series"] == name), key=lambda r: r["bytes_mean"]):
                if row["score_mean"] > best:
                    best = row["score_mean"]
                    points.append((row["bytes_mean"] / 1000, row["score_mean"], row["score_stdev"]))
            x, y, spread = zip(*points, strict=True)
            width = 2.6 if name == "factorised" else 1.1
            axis.errorbar(x, y, spread, marker="o", ms=3, lw=width, elinewidth=0.6, label=name, color=colours[name])
        axis.axhline(claim["full_score"], color="black", lw=0.8)
        axis.axhline(claim["wanted_score"], color="black", lw=0.8, ls=":")
        axis.set(xscale="log", xlabel="update, kB", ylabel="score", title=scenario)
        axis.grid(alpha=0.3)
    axes[0][-1].legend(fontsize=7, loc="lower right")
    figure.tight_layout()
    figure.savefig(stem.with_suffix(".png"), dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["digits", "yolo"])
    stem = RESULTS / f"update_size_{parser.parse_args().what}"
    draw(json.loads(stem.with_suffix(".json").read_text()), stem)


if __name__ == "__main__":
    main()
