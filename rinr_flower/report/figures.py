"""Figures of what was measured: bytes, quality, accuracy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from rinr_flower.report.answer import extrapolated_bytes_text
from rinr_flower.report.bars import scheme_bars
from rinr_flower.report.chart import OWN, RIVALS, WIDTH_IN, Chart, colours, log_axis, place_labels
from rinr_flower.report.units import bytes_text, decibel_text, number, ratio_text, share_text

PARTS = (
    ("up_bytes", "up to the fog", "#1457c4"),
    ("down_bytes", "down from the fog", "#7fb0f5"),
    ("across_bytes", "device to device", "#d1690f"),
    ("overhead_bytes", "message overhead", "#111827"),
)
QUALITIES = (("object_db", "object"), ("background_db", "background"), ("frame_db", "whole frame"))


def bytes_by_scheme(summary: Mapping[str, Any]) -> Chart | None:
    """Stacked bars: where each scheme's bytes go, fewest first."""
    rows = sorted(summary["schemes"], key=lambda s: float(s["message_bytes"]), reverse=True)
    if not rows:
        return None
    return scheme_bars(
        "bytes_by_scheme",
        "Bytes by way of sharing",
        "Data that crosses the links if the same captures are shared in each way, without models; ≈ is extrapolated. "
        "Behind a bar: how many times fewer bytes than serverless JPEG.",
        rows,
        PARTS,
        bytes_text,
        lambda row: f"{extrapolated_bytes_text(row['message_bytes'], row['coverage'])}  {ratio_text(row['gain'])}",
    )


def quality(summary: Mapping[str, Any], key: str, what: str) -> Chart | None:
    """PSNR of one region against bytes per frame, one mark a codec."""
    rows = [r for r in summary["codecs"] if math.isfinite(number(r[key]))]
    if not rows:
        return None
    figure = Figure((WIDTH_IN, 3.5), layout="constrained")
    axes = figure.subplots()
    own = next((r["name"] for r in summary["codecs"] if r["own"]), "")
    palette = colours([r["name"] for r in summary["codecs"]], own)
    chart = Chart(
        f"quality_{key.removesuffix('_db')}",
        f"Quality of the {what} against size",
        f"PSNR inside the {what}, against the decoded camera file; further left and higher is better.",
        figure,
    )
    log_axis(axes.xaxis, bytes_text, between="25")
    for row in rows:
        x, y = float(row["bytes_per_frame"]), number(row[key])
        (mark,) = axes.plot(
            [x], [y], "D" if row["own"] else "o", ms=8 if row["own"] else 6, color=palette[row["name"]], mec="white"
        )
        chart.tip(mark, f"{row['name']}: {bytes_text(x)} a frame, {decibel_text(y)} in the {what}")
    axes.set_xlabel("bytes per frame (log)")
    axes.set_ylabel(f"PSNR of the {what}, dB")
    axes.margins(0.18, 0.15)
    axes.tick_params(axis="x", which="minor", labelsize=7)
    place_labels(
        axes, [(float(r["bytes_per_frame"]), number(r[key]), r["name"], palette[r["name"]], r["own"]) for r in rows]
    )
    return chart


def accuracy(summary: Mapping[str, Any]) -> Chart | None:
    """mAP by round: the mean over devices, and the least mAP50 of a device."""
    rows = summary["accuracy"]
    if not rows:
        return None
    figure = Figure((WIDTH_IN, 3.5), layout="constrained")
    axes = figure.subplots()
    chart = Chart(
        "accuracy",
        "Detection accuracy by round",
        "mAP on frames held back from training; round 0 is before training.",
        figure,
    )
    lines = (
        ("map50", "mAP50, mean", "--", OWN),
        ("map50_95", "mAP50-95, mean", "-", OWN),
        ("least_map50", "mAP50, least of a device", ":", RIVALS[0]),
    )
    for key, text, style, colour in lines:
        xs, ys = [r["round"] for r in rows], [number(r[key]) for r in rows]
        axes.plot(xs, ys, style, color=colour, lw=1.6, label=text)
        for x, y in zip(xs, ys, strict=True):
            (mark,) = axes.plot([x], [y], "o", ms=6, color=colour, mec="white")
            chart.tip(mark, f"round {x}: {text} {share_text(y)}")
    axes.set_xlabel("round")
    axes.set_ylabel("mAP")
    axes.set_ylim(0, 1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside upper center", ncols=2)
    return chart


def bytes_by_kind(summary: Mapping[str, Any]) -> Chart | None:
    """Bars of the run's messages by kind: payload and overhead."""
    rows = summary["kinds"]
    if not rows:
        return None
    figure = Figure((WIDTH_IN, 0.9 + 0.32 * len(rows)), layout="constrained")
    axes = figure.subplots()
    chart = Chart(
        "bytes_by_kind",
        "What this run's messages carried",
        "Every message of the run by kind, from the ledger.",
        figure,
    )
    rows = sorted(rows, key=lambda r: float(r["message_bytes"]))
    for index, row in enumerate(rows):
        payload, message = float(row["payload_bytes"]), float(row["message_bytes"])
        for start, width, colour, what in (
            (0.0, payload, OWN, "payload"),
            (payload, message - payload, "#111827", "message overhead"),
        ):
            (bar,) = axes.barh(
                [index], [width], left=start, color=colour, height=0.65, label=what if index == 0 else None
            )
            chart.tip(bar, f"{row['kind']}: {bytes_text(width)} {what}")
        axes.text(message, index, f" {bytes_text(message)}", va="center", fontsize=8)
    axes.set_yticks(range(len(rows)), [r["kind"] for r in rows])
    axes.set_xlim(0, max(float(r["message_bytes"]) for r in rows) * 1.2 or 1)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: bytes_text(v)))
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.grid(axis="y", visible=False)
    figure.legend(loc="outside upper center", ncols=2)
    return chart
