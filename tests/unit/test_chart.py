"""Axes of the report's figures."""

from __future__ import annotations

import pytest
from matplotlib.figure import Figure

from rinr_flower.report.bars import scheme_bars
from rinr_flower.report.chart import OWN, log_axis, styled
from rinr_flower.report.units import bytes_text


def test_ticks_of_a_logarithmic_axis_are_written_by_the_function_that_is_given() -> None:
    with styled():
        figure = Figure()
        axes = figure.subplots()
        axes.bar([0, 1], [6_000, 33_200])
        log_axis(axes.yaxis, bytes_text, between="25")
        axes.set_ylim(5_500, 90_000)
        figure.draw_without_rendering()
    written = {label.get_text() for label in axes.get_yticklabels(which="both")}
    assert {"10 KB", "20 KB", "50 KB"} < written
    assert written <= {"", "2 KB", "5 KB", "1 KB", "10 KB", "20 KB", "50 KB", "100 KB", "200 KB"}


@pytest.mark.parametrize("text", ["1 MB  0.9×", "≈ 123.4 MB  1,234.5×"])
def test_the_text_behind_every_bar_lies_inside(text: str) -> None:
    rows = [{"own": size < 1e6, "codec": "av1", "route": "fog", "bytes": size} for size in (8e6, 7.9e6, 2e4, 0.0)]
    with styled():
        chart = scheme_bars("bytes", "", "", rows, [("bytes", "all", OWN)], lambda size: f"{size:g}", lambda row: text)
        chart.figure.draw_without_rendering()
        (axes,) = chart.figure.axes
        frame = axes.get_window_extent()
        ends = [label.get_window_extent().x1 for label in axes.texts]
    assert len(ends) == 4
    assert frame.x0 + 0.8 * frame.width < max(ends) <= frame.x1, "inside, and no more room than it takes"
