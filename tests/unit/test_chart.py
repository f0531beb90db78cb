"""Axes of the report's figures."""

from __future__ import annotations

from matplotlib.figure import Figure

from rinr_flower.report.chart import log_axis, styled
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
