"""The report's figures, drawn once and kept as PNG, as SVG, and as SVG with tooltips for the page."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from rinr_flower.bandwidth import model
from rinr_flower.bandwidth.report.html import Html
from rinr_flower.bandwidth.report.units import bytes_text, decibel_text, number, ratio_text, share_text

OWN = "#1457c4"
JPEG = "#6b7280"
RIVALS = ("#d1690f", "#0f8a6d", "#a83f8c", "#b08900", "#3f8fc4", "#8a4b2a", "#5b5fc7", "#7a8c1f")
PARTS = (
    ("up_bytes", "up to the fog", "#1457c4"),
    ("down_bytes", "down from the fog", "#7fb0f5"),
    ("across_bytes", "device to device", "#d1690f"),
    ("overhead_bytes", "message overhead", "#111827"),
)
STYLE = {
    "font.size": 9,
    "font.family": "DejaVu Sans",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e5e7eb",
    "axes.edgecolor": "#9ca3af",
    "xtick.color": "#374151",
    "ytick.color": "#374151",
    "svg.hashsalt": "rinr_flower",
    "svg.fonttype": "path",
    "legend.frameon": False,
    "legend.fontsize": 8,
}
WIDTH_IN = 4.4


@dataclass
class Chart:
    """A figure, its caption, and texts to show over its marks (``tips``: artist id to text)."""

    name: str
    title: str
    caption: str
    figure: Figure
    tips: dict[str, str] = field(default_factory=dict)

    def tip(self, artist: Any, text: str) -> None:
        """Show ``text`` when the pointer is over ``artist``."""
        key = f"tip-{len(self.tips)}"
        artist.set_gid(key)
        self.tips[key] = text

    def save(self, folder: Path) -> list[str]:
        """Write ``NAME.png`` (200 dpi) and ``NAME.svg``; returns the file names."""
        with matplotlib.rc_context(STYLE):
            self.figure.savefig(folder / f"{self.name}.png", dpi=200, metadata={"Software": None})
            self.figure.savefig(folder / f"{self.name}.svg", metadata={"Date": None, "Creator": None})
        return [f"{self.name}.png", f"{self.name}.svg"]

    def inline(self) -> Html:
        """The figure as an SVG element: ids are this figure's own, marks carry their text as ``<title>``."""
        buffer = io.StringIO()
        with matplotlib.rc_context(STYLE):
            self.figure.savefig(
                buffer, format="svg", metadata={"Date": None, "Creator": None, "Type": None, "Format": None}
            )
        svg = buffer.getvalue()
        svg = svg[svg.index("<svg") :]
        svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
        for key, text in self.tips.items():
            mark = f'<g id="{key}">'
            svg = svg.replace(mark, f'<g id="{key}" class="mark" tabindex="0"><title>{escape(text)}</title>')
        svg = re.sub(r'\bid="([^"]+)"', rf'id="{self.name}-\1"', svg)
        svg = re.sub(r'href="#([^"]+)"', rf'href="#{self.name}-\1"', svg)
        svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{self.name}-\1)", svg)
        svg = re.sub(r'<svg ([^>]*?)width="[^"]+"', r"<svg \1", svg, count=1)
        svg = re.sub(r'<svg ([^>]*?)height="[^"]+"', r"<svg \1", svg, count=1)
        label = escape(self.title, quote=True)
        return Html(svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1))


def charts_of(summary: Mapping[str, Any]) -> list[Chart]:
    """Every figure that the summary has data for."""
    with matplotlib.rc_context(STYLE):
        charts = [
            bytes_by_scheme(summary),
            *(quality(summary, key, what) for key, what in QUALITIES),
            accuracy(summary),
            crossover(summary),
            bytes_by_kind(summary),
        ]
    return [c for c in charts if c is not None]


def colours(codecs: Sequence[str], own: str) -> dict[str, str]:
    """One colour a codec, the same in every figure."""
    others = sorted({c for c in codecs if c not in (own, "jpeg")})
    return {"jpeg": JPEG} | {c: RIVALS[i % len(RIVALS)] for i, c in enumerate(others)} | {own: OWN}


def bytes_by_scheme(summary: Mapping[str, Any]) -> Chart | None:
    """Stacked bars: where each scheme's bytes go, fewest first."""
    rows = sorted(summary["schemes"], key=lambda s: float(s["message_bytes"]), reverse=True)
    if not rows:
        return None
    figure = Figure((WIDTH_IN, 0.9 + 0.27 * len(rows)), layout="constrained")
    axes = figure.subplots()
    chart = Chart(
        "bytes_by_scheme",
        "Bytes by way of sharing",
        "Image data that crosses the links if the same captures are shared in each way. The number behind a bar is how "
        "many times fewer bytes than serverless JPEG.",
        figure,
    )
    left = np.zeros(len(rows))
    for key, label, colour in PARTS:
        widths = np.array([float(r[key]) for r in rows])
        if not widths.any():
            continue
        bars = axes.barh(range(len(rows)), widths, left=left, color=colour, label=label, height=0.7)
        for bar, row, width in zip(bars, rows, widths, strict=True):
            if width:
                chart.tip(bar, f"{scheme_label(row)}: {bytes_text(width)} {label}")
        left += widths
    for index, row in enumerate(rows):
        text = f" {bytes_text(row['message_bytes'])}  {ratio_text(row['gain'])}"
        axes.text(left[index], index, text, va="center", fontsize=8, fontweight="bold" if row["own"] else "normal")
    axes.set_yticks(range(len(rows)), [scheme_label(r) for r in rows])
    for tick, row in zip(axes.get_yticklabels(), rows, strict=True):
        tick.set_fontweight("bold" if row["own"] else "normal")
    axes.set_xlim(0, left.max() * 1.32)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: bytes_text(v)))
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(4))
    axes.grid(axis="y", visible=False)
    figure.legend(loc="outside upper center", ncols=2)
    return chart


QUALITIES = (("object_db", "object"), ("background_db", "background"), ("frame_db", "whole frame"))


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
    axes.set_xscale("log")
    for row in rows:
        x, y = float(row["bytes_per_frame"]), number(row[key])
        (mark,) = axes.plot(
            [x], [y], "D" if row["own"] else "o", ms=8 if row["own"] else 6, color=palette[row["name"]], mec="white"
        )
        chart.tip(mark, f"{row['name']}: {bytes_text(x)} a frame, {decibel_text(y)} in the {what}")
    place_labels(
        axes, [(float(r["bytes_per_frame"]), number(r[key]), r["name"], palette[r["name"]], r["own"]) for r in rows]
    )
    axes.set_xlabel("bytes per frame (log)")
    axes.set_ylabel(f"PSNR of the {what}, dB")
    axes.margins(0.18, 0.15)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: bytes_text(v)))
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda v, _: bytes_text(v) if f"{v:.0e}"[0] in "25" else ""))
    axes.tick_params(axis="x", which="minor", labelsize=7)
    return chart


def place_labels(axes: Any, points: Sequence[tuple[float, float, str, str, bool]]) -> None:
    """Write every point's name beside it, on the first of four sides where no other label or mark is."""
    taken: list[tuple[float, float, float, float]] = []
    xs, ys = np.log10([p[0] for p in points]), np.array([p[1] for p in points])
    wide, high = max(float(np.ptp(xs)), 0.3) * 1.36, max(float(np.ptp(ys)), 1.0) * 1.3
    marks = [((x - xs.min()) / wide, (y - ys.min()) / high) for x, y in zip(xs, ys, strict=True)]
    for (x, y, name, colour, bold), (mx, my) in zip(points, marks, strict=True):
        w, h = 0.019 * len(name), 0.055
        sides = {
            (7, 0, "left", "center"): (mx + 0.02, my - h / 2),
            (-7, 0, "right", "center"): (mx - 0.02 - w, my - h / 2),
            (0, 7, "center", "bottom"): (mx - w / 2, my + 0.03),
            (0, -7, "center", "top"): (mx - w / 2, my - 0.03 - h),
        }

        def clashes(corner: tuple[float, float], w: float = w, h: float = h, mx: float = mx, my: float = my) -> int:
            cx, cy = corner
            boxes = sum(cx < bx + bw and bx < cx + w and cy < by + bh and by < cy + h for bx, by, bw, bh in taken)
            dots = sum(cx < px < cx + w and cy < py < cy + h for px, py in marks if (px, py) != (mx, my))
            return int(boxes + dots)

        (dx, dy, ha, va), corner = min(sides.items(), key=lambda side: clashes(side[1]))
        taken.append((*corner, w, h))
        axes.annotate(
            name,
            (x, y),
            (dx, dy),
            textcoords="offset points",
            ha=ha,
            va=va,
            fontsize=8,
            color=colour,
            fontweight="bold" if bold else "normal",
        )


def accuracy(summary: Mapping[str, Any]) -> Chart | None:
    """mAP by round for the run's own training and whatever else was trained."""
    rows = summary["accuracy"]
    if not rows:
        return None
    figure = Figure((WIDTH_IN, 3.5), layout="constrained")
    axes = figure.subplots()
    own = next((r["name"] for r in summary["codecs"] if r["own"]), "this run")
    chart = Chart(
        "accuracy",
        "Detection accuracy by round",
        "mAP on frames held back from training, mean over devices; round 0 is before training.",
        figure,
    )
    schemes = sorted({r["scheme"] for r in rows})
    palette = colours([s for s in schemes if s], own)
    for scheme in schemes:
        points = [r for r in rows if r["scheme"] == scheme]
        label = scheme or own
        for key, text, style in (("map50", "mAP50", "--"), ("map50_95", "mAP50-95", "-")):
            xs, ys = [r["round"] for r in points], [number(r[key]) for r in points]
            axes.plot(xs, ys, style, color=palette.get(label, OWN), lw=1.6, label=f"{text}, {label}")
            for x, y in zip(xs, ys, strict=True):
                (mark,) = axes.plot([x], [y], "o", ms=6, color=palette.get(label, OWN), mec="white")
                chart.tip(mark, f"{label}, round {x}: {text} {share_text(y)}")
    axes.set_xlabel("round")
    axes.set_ylabel("mAP")
    axes.set_ylim(0, 1)
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
    figure.legend(loc="outside upper center", ncols=2)
    return chart


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
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("receivers of each capture, r (log)")
    axes.set_ylabel("gain over serverless JPEG (log)")
    plain = FuncFormatter(lambda v, _: f"{v:g}")
    axes.xaxis.set_major_formatter(plain)
    axes.yaxis.set_major_formatter(plain)
    axes.yaxis.set_minor_formatter(FuncFormatter(lambda v, _: f"{v:g}" if f"{v:.0e}"[0] in "25" else ""))
    figure.legend(loc="outside upper center", ncols=3)
    return chart


def bytes_by_kind(summary: Mapping[str, Any]) -> Chart | None:
    """What this run's messages carried, payload and overhead."""
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
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(4))
    axes.grid(axis="y", visible=False)
    figure.legend(loc="outside upper center", ncols=2)
    return chart


def scheme_label(row: Mapping[str, Any]) -> str:
    """``residual via fog``, ``jpeg device to device``."""
    return f"{row['codec']} {'via fog' if row['route'] == 'fog' else 'device to device'}"
