"""A figure with tooltips: PNG and SVG files, and SVG inside a page."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.ticker import FuncFormatter
from matplotlib.transforms import Bbox

from rinr_flower.report.html import Html

OWN = "#1457c4"
JPEG = "#6b7280"
RIVALS = ("#d1690f", "#0f8a6d", "#a83f8c", "#b08900", "#3f8fc4", "#8a4b2a", "#5b5fc7", "#7a8c1f", "#c2416b", "#2f6f7e")
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
_TITLE_IN = 0.3
_PAGE_COLOURS = {
    "#000000": "--ink",
    "#111827": "--ink",
    "#374151": "--soft",
    "#6b7280": "--soft",
    "#9ca3af": "--faint",
    "#e5e7eb": "--line",
    "#ffffff": "--card",
    "#1457c4": "--own",
    "#7fb0f5": "--own-light",
}
"""Colours of figures that follow the page's, which has a dark form."""


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
        """Write ``NAME.png`` (200 dpi) and ``NAME.svg`` under the chart's title; returns the file names."""
        width, height = self.figure.get_size_inches()
        with styled():
            self.figure.set_size_inches(width, height + _TITLE_IN)
            self._head(self.title)
            self.figure.savefig(folder / f"{self.name}.png", dpi=200, metadata={"Software": None})
            self.figure.savefig(folder / f"{self.name}.svg", metadata={"Date": None, "Creator": None})
            self._head("")  # the page has it as a heading
            self.figure.set_size_inches(width, height)
        return [f"{self.name}.png", f"{self.name}.svg"]

    def _head(self, text: str) -> None:
        """Put a title over the figure, as the legend's where one stands at the top; an empty text takes it away."""
        if self.figure.legends:
            self.figure.legends[0].set_title(text, prop=FontProperties(size=10, weight="bold"))
        else:
            self.figure.suptitle(text, fontsize=10, fontweight="bold").set_in_layout(bool(text))

    def inline(self) -> Html:
        """The figure as an SVG element: ids of its own, the page's neutral colours, marks with text as ``<title>``."""
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
        for colour, variable in _PAGE_COLOURS.items():
            svg = re.sub(rf"(fill|stroke): {colour}\b", rf"\1: var({variable}, {colour})", svg)
        label = escape(self.title, quote=True)
        return Html(svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1))


def colours(codecs: Sequence[str], own: str) -> dict[str, str]:
    """One colour a codec, the same in every figure."""
    others = sorted({c for c in codecs if c not in (own, "jpeg")})
    return {"jpeg": JPEG} | {c: RIVALS[i % len(RIVALS)] for i, c in enumerate(others)} | {own: OWN}


def log_axis(axis: Any, text_of: Callable[[float], str], *, between: str = "") -> None:
    """Scale an axis logarithmically. ``text_of`` writes the powers of ten, and the multiples of them whose digit is in
    ``between``; other ticks have no label."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    axis.set_major_formatter(FuncFormatter(lambda v, _: text_of(v)))
    axis.set_minor_formatter(FuncFormatter(lambda v, _: text_of(v) if f"{v:.0e}"[0] in between else ""))


def place_labels(axes: Any, points: Sequence[tuple[float, float, str, str, bool]]) -> None:
    """Write every point's name beside it, clear of other labels, marks and upright lines as far as there is room.

    A thin line leads from the name to its point. Call it last: it measures texts and axes as they are drawn.
    """
    figure = axes.figure
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()
    frame = axes.get_window_extent(renderer)
    pixels = figure.dpi / 72
    centres = [axes.transData.transform((x, y)) for x, y, *_ in points]
    taken = [Bbox.from_extents(x - 5, y - 5, x + 5, y + 5) for x, y in centres]
    lines = [line.get_window_extent(renderer) for line in axes.lines]
    taken += [box.padded(2) for box in lines if box.width < 1 < box.height]
    for (x, y, name, colour, bold), centre in zip(points, centres, strict=True):
        label = axes.annotate(
            name, (x, y), (0, 0), textcoords="offset points", fontsize=8, color=colour,
            fontweight="bold" if bold else "normal",
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.6, "shrinkA": 0, "shrinkB": 2},
        )  # fmt: skip
        label.arrow_patch.set_visible(False)  # it would count as part of the text's size
        size = label.get_window_extent(renderer)

        def cost(side: tuple[int, int, int], size: Bbox = size, centre: Any = centre) -> float:
            """Area that the label would cover, and what of it would lie outside; nearer sides first."""
            left, bottom = _corner(side, size, centre, pixels)
            box = Bbox.from_bounds(left, bottom, size.width, size.height)
            covered = sum(o.width * o.height for b in taken if (o := Bbox.intersection(box, b)) is not None)
            inside = Bbox.intersection(box, frame)
            outside = size.width * size.height - (inside.width * inside.height if inside is not None else 0.0)
            return float(covered + outside + 0.1 * side[2])

        left, bottom = _corner(min(_SIDES, key=cost), size, centre, pixels)
        label.set_position(((left - centre[0]) / pixels, (bottom - centre[1]) / pixels))
        label.arrow_patch.set_visible(True)
        taken.append(Bbox.from_bounds(left, bottom, size.width, size.height))


_NEAR_PT = 7
_SIDES = tuple((dx, dy, far) for far in (_NEAR_PT, 14, 22, 34) for dx, dy in (
    (1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1)
))  # fmt: skip


def _corner(side: tuple[int, int, int], size: Bbox, centre: Any, pixels: float) -> tuple[float, float]:
    """Lower left corner, in pixels, of a label of ``size`` on one side of ``centre``."""
    dx, dy, far = side
    x = centre[0] + dx * far * pixels - (0.5 - 0.5 * dx) * size.width
    y = centre[1] + dy * far * pixels - (0.5 - 0.5 * dy) * size.height
    return float(x), float(y)
