"""Figures of the closed form: from when on each way of sharing pays."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from rinr_flower.bandwidth import model
from rinr_flower.report.bars import scheme_bars
from rinr_flower.report.chart import OWN, WIDTH_IN, Chart, colours, log_axis
from rinr_flower.report.units import bytes_text, number, seconds_text


def crossover(summary: Mapping[str, Any]) -> Chart | None:
    """Gain over serverless JPEG against receivers, by the closed form, for the run's codec and its rivals."""
    values = summary["crossovers"]
    if not values or not number(values["u"]) > 0:
        return None
    figure = Figure((WIDTH_IN, 3.5), layout="constrained")
    axes = figure.subplots()
    u, r_run = number(values["u"]), number(values["receivers"])
    own = next((r["name"] for r in summary["codecs"] if r["own"]), "")
    palette = colours([r["name"] for r in summary["codecs"]], own)
    chart = Chart(
        "crossover",
        "From how many receivers the fog pays",
        f"Gain r / (u + alpha r) over serverless JPEG with this run's uplink (u = {u:.3g}) and each codec's measured "
        "alpha. Above 1 the fog sends less.",
        figure,
    )
    r = np.geomspace(1, 100, 200)
    axes.plot(r, r / u, ":", color="#9ca3af", lw=1.4)
    axes.axhline(1, color="#111827", lw=1)
    for row in sorted(summary["codecs"], key=lambda c: bool(c["own"])):
        alpha = number(row["alpha"])
        if not math.isfinite(alpha):
            continue
        gain = model.gain(r, alpha=alpha, u=u)
        axes.plot(r, gain, color=palette[row["name"]], lw=2.4 if row["own"] else 1.2, label=row["name"])
        here = float(model.gain(max(r_run, 1.0), alpha=alpha, u=u))
        (mark,) = axes.plot(
            [max(r_run, 1.0)], [here], "D" if row["own"] else "o", ms=6, color=palette[row["name"]], mec="white"
        )
        crossing = model.receivers_where_fog_pays(alpha=alpha, u=u)
        pays = f"pays above {crossing:.3g} receivers" if math.isfinite(crossing) else "never pays"
        chart.tip(mark, f"{row['name']}: alpha {alpha:.3g}, {here:.3g}× at {r_run:.3g} receivers; {pays}")
    axes.text(
        3, 3 / u * 1.15, "limit r / u (alpha = 0)", fontsize=8, color="#6b7280", rotation=38, rotation_mode="anchor"
    )
    log_axis(axes.xaxis, "{:g}".format)
    log_axis(axes.yaxis, "{:g}".format, between="25")
    axes.set_xlabel("receivers of each capture, r (log)")
    axes.set_ylabel("gain over serverless JPEG (log)")
    figure.legend(loc="outside upper center", ncols=3)
    return chart


def fog_training(summary: Mapping[str, Any]) -> Chart | None:
    """Frames above which training at the fog sends less than sharing images, against the size of a model update."""
    values = summary["crossovers"]
    if not values or not number(values["receivers"]) > 0:
        return None
    figure = Figure((WIDTH_IN, 3.6), layout="constrained")
    axes = figure.subplots()
    own = next((r["name"] for r in summary["codecs"] if r["own"]), "")
    palette = colours([r["name"] for r in summary["codecs"]], own)
    chart = Chart(
        "fog_training",
        "When to send model updates instead",
        "Frames a device and round above which training at the fog and sending an update to everyone takes fewer bytes "
        "than sharing images in that codec: F = R beta / (N alpha r b). The horizontal line is this run.",
        figure,
    )
    beta = np.geomspace(1e3, 1e8, 60)
    r, frame_bytes = number(values["receivers"]), number(values["frame_bytes"])
    lines = [(row["name"], number(row["alpha"]), bool(row["own"])) for row in summary["codecs"]] + [
        ("jpeg", 1.0, False)
    ]
    for name, alpha, is_own in sorted({line[0]: line for line in lines}.values(), key=lambda line: line[2]):
        if not alpha > 0:
            continue
        frames = [
            model.frames_where_fog_training_pays(
                frame_bytes, r, alpha=alpha, beta=b, devices=values["senders"], receiving=values["receiving"]
            )
            for b in beta
        ]
        axes.plot(beta, frames, color=palette[name], lw=2.4 if is_own else 1.2, label=name)
    here = number(values["frames_per_device_and_round"])
    axes.axhline(here, color="#111827", lw=1)
    for row in values["updates"]:
        x, y = float(row["bytes"]), number(row["frames_where_fog_training_pays"])
        if not math.isfinite(y) or x <= 0:
            continue
        (mark,) = axes.plot([x], [y], "D", ms=6, color=palette.get(own, "#111827"), mec="white")
        chart.tip(mark, f"{row['name']}: {bytes_text(x)} an update; pays above {y:,.3g} frames a device and round")
        label = axes.annotate(
            row["name"], (x, y), (-8, 4), textcoords="offset points", fontsize=8, ha="right", va="bottom", zorder=5
        )
        label.set_path_effects([withStroke(linewidth=3, foreground="white")])  # curves run below it
    log_axis(axes.xaxis, bytes_text)
    log_axis(axes.yaxis, "{:,g}".format)
    axes.set_xlabel("bytes of one model update, beta (log)")
    axes.set_ylabel("frames a device and round (log)")
    axes.set_ylim(bottom=0.5)
    figure.legend(loc="outside upper center", ncols=3)
    return chart


TIMES = (
    ("link_seconds", "on the link", OWN),
    ("encode_seconds", "encoding", "#0f8a6d"),
    ("decode_seconds", "decoding", "#d1690f"),
    ("train_seconds", "training", "#9ca3af"),
)


def time_by_scheme(summary: Mapping[str, Any]) -> Chart | None:
    """Stacked bars: communication, encoding, decoding and training of each scheme with all four, shortest first."""
    rows = [r for r in summary["schemes"] if math.isfinite(number(r["total_seconds"]))]
    if not rows:
        return None
    rows = sorted(rows, key=lambda r: number(r["total_seconds"]), reverse=True)
    return scheme_bars(
        "time_by_scheme",
        "Time from capture to trained detector",
        "All rounds: the scenario's link model, and measured encoding, decoding and training. Ways of which a part was "
        "not measured are in the table alone.",
        rows,
        TIMES,
        seconds_text,
        lambda row: seconds_text(row["total_seconds"]),
    )
