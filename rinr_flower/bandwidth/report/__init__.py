"""Reports: ``report.html``, ``report.json``, ``ledger.csv`` and the figures of a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from rinr_flower.bandwidth.report.examples import example_rows
from rinr_flower.bandwidth.report.figures import charts_of
from rinr_flower.bandwidth.report.page import report_page
from rinr_flower.bandwidth.report.summary import summarise
from rinr_flower.bandwidth.run import RunRecord

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
    (folder / "report.json").write_text(json.dumps(summary, indent=1, allow_nan=False), encoding="utf-8")
    (folder / "report.html").write_text(report_page(summary, charts, examples), encoding="utf-8")
    if not (folder / "ledger.csv").exists() and len(record.ledger):
        record.ledger.copy_to(folder / "ledger.csv")
        written.append(folder / "ledger.csv")
    if progress is not None:
        progress(1.0)
    return [folder / "report.html", folder / "report.json", *written]
