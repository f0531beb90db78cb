"""A figure with tooltips: PNG and SVG files, and SVG inside a page."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from rinr_flower.report.html import Html

OWN = "#1457c4"
JPEG = "#6b7280"
RIVALS = ("#d1690f", "#0f8a6d", "#a83f8c", "#b08900", "#3f8fc4", "#8a4b2a", "#5b5fc7", "#7a8c1f")
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
    "text.parse_math": False,  # names of devices and codecs may hold dollar signs
    "legend.frameon": False,
    "legend.fontsize": 8,
}
WIDTH_IN = 4.4


def styled() -> AbstractContextManager[None]:
    """Matplotlib in this report's style, for as long as the context lasts."""
    return matplotlib.rc_context(STYLE)


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
        with styled():
            self.figure.savefig(folder / f"{self.name}.png", dpi=200, metadata={"Software": None})
            self.figure.savefig(folder / f"{self.name}.svg", metadata={"Date": None, "Creator": None})
        return [f"{self.name}.png", f"{self.name}.svg"]

    def inline(self) -> Html:
        """The figure as an SVG element: ids are this figure's own, marks carry their text as ``<title>``."""
        buffer = io.StringIO()
        with styled():
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


def colours(codecs: Sequence[str], own: str) -> dict[str, str]:
    """One colour a codec, the same in every figure."""
    others = sorted({c for c in codecs if c not in (own, "jpeg")})
    return {"jpeg": JPEG} | {c: RIVALS[i % len(RIVALS)] for i, c in enumerate(others)} | {own: OWN}


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
