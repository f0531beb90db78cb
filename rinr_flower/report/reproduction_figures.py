"""Figures of the reproduced experiments, in the report's style: the source's figures with rivals beside them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from rinr_flower.codecs.presets import VARIANTS
from rinr_flower.report.bars import scheme_bars
from rinr_flower.report.chart import JPEG, OWN, RIVALS, WIDTH_IN, Chart, log_axis, place_labels
from rinr_flower.report.experiment import BACKGROUNDS
from rinr_flower.report.reproduction_tables import (
    LINE,
    networks_table,
    quality_table,
    transmission_table,
)
from rinr_flower.report.units import bytes_text, decibel_text, number, ratio_text, seconds_text, share_text

_STILLS = ("JPEG q50", "JPEG q20")
_SHADES = ("#9ca3af", "#bfd5f7", "#7fb0f5", "#3f82dd", OWN)


def charts(results: Mapping[str, Any]) -> list[Chart]:
    """Every figure that the results have data for."""
    drawn = [variants(results, background) for background in BACKGROUNDS]
    return [*drawn, one_against_two(results), *accuracy(results), latency(results)]


def variants(results: Mapping[str, Any], background: str) -> Chart:
    """Object PSNR and mean frame size of the variants over one background, beside JPEG."""
    rows = {r["row"]: r for r in quality_table(results)}
    names = [*(f"{background} {v}" for v in VARIANTS), *_STILLS]
    labels = [*VARIANTS, *_STILLS]
    figure = Figure((WIDTH_IN, 4.2), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    chart = Chart(
        f"variants_{BACKGROUNDS[background]}",
        f"The source's variants over {background}",
        "Above: PSNR inside the boxes (points: single clips). Below: mean frame size, logarithmic. BS: one large "
        "network. BE: a small one. DE: with objects as pixels. RE: with objects as residuals. QRE: quantised RE.",
        figure,
    )
    colours = [*_SHADES, JPEG, JPEG]
    for at, (name, label, colour) in enumerate(zip(names, labels, colours, strict=True)):
        row = rows[name]
        for axes, key, write in ((above, "object_db", decibel_text), (below, "bytes_per_frame", bytes_text)):
            (bar,) = axes.bar([at], [number(row[key])], color=colour, width=0.7)
            chart.tip(bar, f"{label}: {write(row[key])}")
            axes.text(at, number(row[key]), write(row[key]).removesuffix(" dB"), ha="center", va="bottom", fontsize=8)
        singles = [number(r["object_db"]) for r in results["clips"] if r["row"] == name]
        above.plot([at] * len(singles), singles, "o", ms=3, color="#111827", alpha=0.6)
    levels = [number(r["object_db"]) for r in results["clips"] if r["row"] in names]
    finite = [v for v in levels if math.isfinite(v)]
    above.set_ylim(min(finite) - 4, max(finite) + 3)
    above.set_ylabel("object PSNR, dB")
    log_axis(below.yaxis, bytes_text, between="25")
    low, high = below.get_ylim()
    below.set_ylim(low, high * 2.5)
    below.set_ylabel("bytes a frame")
    below.set_xticks(range(len(labels)), [label.replace(" ", "\n") for label in labels])
    for axes in (above, below):
        axes.grid(axis="x", visible=False)
    return chart


def one_against_two(results: Mapping[str, Any]) -> Chart:
    """One large network against a small one with an object network: the source's example and our clips."""
    rows = networks_table(results)
    figure = Figure((WIDTH_IN, 3.4), layout="constrained")
    axes = figure.subplots()
    chart = Chart(
        "one_against_two",
        "One network of 45 KB against 24 + 6 KB",
        "Object PSNR of one large Rapid-INR, and of a small one with object networks of the published sizes; the "
        "bytes of a frame stand on the bars.",
        figure,
    )
    for shift, which, colour, label in ((-0.2, "one", _SHADES[0], "one network"), (0.2, "two", OWN, "two networks")):
        levels = [row[f"{which}_object_db"] for row in rows]
        for at, (bar, row) in enumerate(
            zip(
                axes.bar([i + shift for i in range(len(rows))], levels, 0.38, color=colour, label=label),
                rows,
                strict=True,
            )
        ):
            size = bytes_text(row[f"{which}_bytes"])
            chart.tip(bar, f"{row['clip']}, {label}: {decibel_text(levels[at])}, {size} a frame")
            axes.text(
                at + shift,
                levels[at],
                f"{levels[at]:.1f}\n{size}",
                ha="center",
                va="bottom",
                fontsize=7,
                linespacing=1.1,
            )
    known = [row[f"{w}_object_db"] for row in rows for w in ("one", "two") if math.isfinite(row[f"{w}_object_db"])]
    axes.set_ylim(min(known) - 5, max(known) + 4)
    axes.set_xticks(range(len(rows)), [row["clip"].replace(" ", "\n", 1) for row in rows])
    axes.set_ylabel("object PSNR, dB")
    axes.grid(axis="x", visible=False)
    figure.legend(loc="outside upper center", ncols=2)
    return chart


def accuracy(results: Mapping[str, Any]) -> list[Chart]:
    """mAP50-95 against the bytes that all devices transmit, with the line of training at the fog; empty without mAP."""
    rows = [r for r in transmission_table(results) if r["codec"] and math.isfinite(number(r.get("map50_95")))]
    if not rows:
        return []
    line = next(r["bytes"] for r in transmission_table(results) if r["row"] == LINE)
    seeds = len(results["experiment"]["seeds"])
    figure = Figure((WIDTH_IN, 3.8), layout="constrained")
    axes = figure.subplots()
    chart = Chart(
        "accuracy_by_bytes",
        "Accuracy against data transmitted",
        f"mAP50-95 on the camera's later frames after training on what was decoded, mean and range over {seeds} seeds, "
        f"against all bytes that {results['experiment']['devices']} devices transmit. Dashed: training at the fog, "
        "with a whole YOLOv8m sent to every device.",
        figure,
    )
    log_axis(axes.xaxis, bytes_text)
    points = []
    for row in rows:
        colour = _colour(row["codec"])
        least, most = number(row["map50_95_least"]), number(row["map50_95_most"])
        axes.plot([row["bytes"]] * 2, [least, most], "-", color=colour, lw=1)
        (mark,) = axes.plot([row["bytes"]], [row["map50_95"]], "o", ms=6, color=colour, mec="white")
        chart.tip(mark, f"{row['row']}: {bytes_text(row['bytes'])}, mAP50-95 {share_text(row['map50_95'])}")
        name = row["codec"] if row["row"].endswith("fog") else f"{row['codec']} (no fog)"
        points.append((float(row["bytes"]), float(row["map50_95"]), name, colour, "ours" in row["codec"]))
    axes.axvline(line, ls="--", color="#111827", lw=1)
    axes.text(
        line,
        axes.get_ylim()[1],
        f"YOLOv8m to every device: {bytes_text(line)} ",
        ha="right",
        va="top",
        fontsize=8,
        rotation=90,
    )
    place_labels(axes, points)
    axes.set_xlabel("bytes transmitted by all devices (log)")
    axes.set_ylabel("mAP50-95")
    axes.margins(0.2, 0.15)
    return [chart]


def latency(results: Mapping[str, Any]) -> Chart:
    """Stacked bars: communication and decoding, summed, the shortest on top."""
    rows = [r for r in transmission_table(results) if r["codec"]]
    rows = [
        {**r, "codec": r["row"].split(",")[0], "own": "ours" in r["codec"],
         "route": "fog" if r["row"].endswith("fog") else "serverless"}
        for r in sorted(rows, key=lambda r: -float(r["latency_seconds"]))
    ]  # fmt: skip
    base = next(r["latency_seconds"] for r in rows if r["row"] == "JPEG, device to device")
    parts: Sequence[tuple[str, str, str]] = (
        ("link_seconds", "communication at 2 MB/s", OWN),
        ("decode_cpu_seconds", "decoding on one core", "#d1690f"),
    )
    return scheme_bars(
        "latency",
        "Communication and decoding latency",
        "All transmissions on one medium, then what one device needs to decode all that it received. The number behind "
        "a bar is their sum, and how many times shorter it is than with JPEG from device to device.",
        rows,
        parts,
        seconds_text,
        lambda row: f"{seconds_text(row['latency_seconds'])}  {ratio_text(base / row['latency_seconds'])}",
    )


def _colour(codec: str) -> str:
    if "ours" in codec:
        return OWN
    if codec.startswith("JPEG"):
        return JPEG
    names = [*(f"{b} {v}" for b in BACKGROUNDS for v in ("BS", "QRE")), "ROI-AV1"]
    return RIVALS[names.index(codec) % len(RIVALS)] if codec in names else RIVALS[-1]
