"""Plots of the rate-distortion benchmark: bytes a frame (logarithmic) against frame, background and object PSNR."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

REGIONS = ("frame", "background", "object")
_MARKS = "osD^vP*Xh<>"
_TOP_DB = 46  # above it two pictures look the same, and the camera's own quantiser gives any figure


def plot_clip(records: Sequence[Mapping[str, Any]], path: Path, ours: str, at: str = "at_640") -> None:
    """One clip's three panels as a file (SVG or PNG by its suffix), the series ``ours`` in black."""
    mpl.rcParams["svg.hashsalt"] = "rinr"  # same records, same file
    figure = Figure(figsize=(15, 5), layout="constrained")
    for axes, region in zip(figure.subplots(1, 3), REGIONS, strict=True):
        _panel(axes, records, region, ours, at)
        axes.set_title(region)
    figure.axes[0].set_ylabel("PSNR, dB")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize="small")
    size = records[0]["size"]
    figure.suptitle(f"{records[0]['clip']}, {records[0]['count']} frames of {size[0]}x{size[1]}")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _panel(axes: Axes, records: Sequence[Mapping[str, Any]], region: str, ours: str, at: str) -> None:
    marks = cycle(_MARKS)
    colours = mpl.colormaps["tab20"].colors  # type: ignore[attr-defined]
    for number, series in enumerate(dict.fromkeys(r["series"] for r in records)):
        rows = [r for r in records if r["series"] == series and r[at][f"{region}_db"] is not None]
        if series == "camera":
            axes.axvline(
                rows[0]["bytes_per_frame"], color="grey", ls="--", lw=1, label="camera's JPEG"
            ) if rows else None
            continue
        front = pareto([(r["bytes_per_frame"], r[at][f"{region}_db"]) for r in rows])
        first = series == ours
        colour = "black" if first else colours[number % len(colours)]
        style = {"color": colour, "marker": next(marks), "markersize": 5, "zorder": 4 if first else 3}
        axes.plot(*zip(*front, strict=True), label=series, lw=2.4 if first else 1.2, **style) if front else None
        rest = [(r["bytes_per_frame"], r[at][f"{region}_db"]) for r in rows]
        rest = [p for p in rest if p not in front]
        axes.plot(*zip(*rest, strict=True), ls="", alpha=0.3, **style) if rest else None
    axes.set_xscale("log")
    axes.set_ylim(top=min(axes.get_ylim()[1], _TOP_DB))
    axes.set_xlabel("bytes a frame")
    axes.grid(alpha=0.3, which="both")


def pareto(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no cheaper point equals, cheapest first."""
    front: list[tuple[float, float]] = []
    for size, psnr in sorted(points):
        if not front or psnr > front[-1][1]:
            front.append((size, psnr))
    return front
