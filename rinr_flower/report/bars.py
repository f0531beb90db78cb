"""Stacked horizontal bars, one a way of sharing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from rinr_flower.report.chart import WIDTH_IN, Chart
from rinr_flower.report.units import number, scheme_label


def scheme_bars(
    name: str,
    title: str,
    caption: str,
    rows: Sequence[Mapping[str, Any]],
    parts: Sequence[tuple[str, str, str]],
    text_of: Callable[[float], str],
    total: Callable[[Mapping[str, Any]], str],
) -> Chart:
    """One bar a row, from the bottom up, the run's own in bold.

    Parameters
    ----------
    parts : (key of the row, label, colour) of each piece of a bar; what is not a finite number counts as nothing.
    text_of : writes a piece's size.
    total : writes what stands behind a row's bar.
    """
    figure = Figure((WIDTH_IN, 0.9 + 0.27 * len(rows)), layout="constrained")
    axes = figure.subplots()
    chart = Chart(name, title, caption, figure)
    left = np.zeros(len(rows))
    for key, label, colour in parts:
        widths = np.nan_to_num([number(row[key]) for row in rows])
        if not widths.any():
            continue
        bars = axes.barh(range(len(rows)), widths, left=left, color=colour, label=label, height=0.7)
        for bar, row, width in zip(bars, rows, widths, strict=True):
            if width:
                chart.tip(bar, f"{scheme_label(row)}: {text_of(width)} {label}")
        left += widths
    texts = []
    for index, row in enumerate(rows):
        weight = "bold" if row["own"] else "normal"
        texts.append(axes.text(left[index], index, f" {total(row)}", va="center", fontsize=8, fontweight=weight))
    axes.set_yticks(range(len(rows)), [scheme_label(row) for row in rows])
    for tick, row in zip(axes.get_yticklabels(), rows, strict=True):
        tick.set_fontweight("bold" if row["own"] else "normal")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: text_of(value) if value else "0"))
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.grid(axis="y", visible=False)
    figure.legend(loc="outside upper center", ncols=2)
    _make_room(figure, axes, left, texts)
    return chart


def _make_room(figure: Figure, axes: Axes, ends: NDArray[np.float64], texts: Sequence[Text]) -> None:
    """Extend the axis until the text behind each bar, which ends at ``ends``, lies inside; measures what is drawn."""
    for text in texts:
        text.set_in_layout(False)  # the axis makes room for it, not the layout
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()
    room = axes.get_window_extent(renderer).width
    shares = [min(text.get_window_extent(renderer).width / room + 0.02, 0.9) for text in texts]
    axes.set_xlim(0, max(end / (1 - share) for end, share in zip(ends, shares, strict=True)) or 1)
