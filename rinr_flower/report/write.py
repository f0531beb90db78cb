"""Reports: ``report.html``, ``report.json``, ``ledger.csv`` and the figures of a run."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rinr_flower.files import write_text
from rinr_flower.report.answer import answer, heading, size_text
from rinr_flower.report.chart import Chart, styled
from rinr_flower.report.examples import example_rows
from rinr_flower.report.figures import QUALITIES, accuracy, bytes_by_kind, bytes_by_scheme, quality
from rinr_flower.report.html import Html, element, join
from rinr_flower.report.outlook_figures import crossover, fog_training, time_by_scheme
from rinr_flower.report.page import missing_note, page, section
from rinr_flower.report.record import RunRecord
from rinr_flower.report.sections import (
    accuracy_section,
    bytes_section,
    crossover_section,
    devices_section,
    outlook_section,
    quality_section,
    scenario_section,
    time_section,
)
from rinr_flower.report.summary import summarise

__all__ = ["summarise", "write_report"]


def write_report(
    record: RunRecord, folder: Path, *, title: str = "", progress: Callable[[float], None] | None = None
) -> list[Path]:
    """Write a run's report into ``folder``: report.html, report.json, ledger.csv, and figures as PNG and SVG.

    Returns the files written. Examples are read from the record's own folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    summary = summarise(record, title=title)
    examples = example_rows(record.examples, record.folder or folder, summary["missing"])
    charts = charts_of(summary)
    written = []
    for index, chart in enumerate(charts):
        written += [folder / name for name in chart.save(folder)]
        if progress is not None:
            progress((index + 1) / (len(charts) + 1))
    write_text(folder / "report.json", json.dumps(summary, indent=1, allow_nan=False))
    write_text(folder / "report.html", report_page(summary, charts, examples))
    if not (folder / "ledger.csv").exists() and len(record.ledger):
        record.ledger.copy_to(folder / "ledger.csv")
        written.append(folder / "ledger.csv")
    if progress is not None:
        progress(1.0)
    return [folder / "report.html", folder / "report.json", *written]


def charts_of(summary: Mapping[str, Any]) -> list[Chart]:
    """Every figure that the summary has data for."""
    with styled():
        charts = [
            bytes_by_scheme(summary),
            *(quality(summary, key, what) for key, what in QUALITIES),
            accuracy(summary),
            crossover(summary),
            fog_training(summary),
            time_by_scheme(summary),
            bytes_by_kind(summary),
        ]
    return [c for c in charts if c is not None]


def report_page(summary: Mapping[str, Any], charts: Sequence[Chart], examples: Sequence[Html]) -> str:
    """The page of one run."""
    by_name = {c.name: c for c in charts}
    title = heading(summary)
    sections = [
        answer(summary),
        missing_note(summary["missing"]),
        section("Where the bytes go", bytes_section(summary, by_name)),
        section("What the bytes buy", quality_section(summary, by_name)),
        section("How long it takes, with how much energy", time_section(summary, by_name)),
        section("Does the detector still learn", accuracy_section(summary, by_name)),
        section("What it looks like", join(*examples) if examples else None),
        section("From when on the fog pays", crossover_section(summary, by_name)),
        section("If they shared differently", outlook_section(summary)),
        section("Rounds, devices and failures", devices_section(summary)),
        section("How to repeat it", scenario_section(summary)),
    ]
    return page(title, element("h1", title), element("p", size_text(summary), class_="soft"), *filter(None, sections))
