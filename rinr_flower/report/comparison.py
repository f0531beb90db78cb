"""Several runs side by side."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from rinr_flower.files import write_text
from rinr_flower.report.chart import OWN, RIVALS, WIDTH_IN, Chart, styled
from rinr_flower.report.html import element, join
from rinr_flower.report.page import charts, missing_note, page, section
from rinr_flower.report.record import RunRecord, to_json
from rinr_flower.report.summary import SCHEMA_VERSION, summarise
from rinr_flower.report.tables import Column, table
from rinr_flower.report.units import (
    bytes_text,
    count_text,
    decibel_text,
    number,
    ratio_text,
    seconds_text,
    share_text,
)


def write_comparison(records: Sequence[RunRecord], folder: Path) -> Path:
    """Write comparison.html, comparison.json and figures; returns the page."""
    folder.mkdir(parents=True, exist_ok=True)
    summaries = [summarise(record) for record in records]
    rows = [comparison_row(summary) for summary in summaries]
    figures = [c for c in (bytes_against_accuracy(rows),) if c is not None]
    for figure in figures:
        figure.save(folder)
    values = {"schema": "rinr_flower.comparison", "version": SCHEMA_VERSION, "runs": to_json(rows)}
    write_text(folder / "comparison.json", json.dumps(values, indent=1, allow_nan=False))
    columns = [
        Column("run", "run"),
        Column("sharing", "scheme"),
        Column("seed", "seed"),
        Column("bytes", "bytes", bytes_text),
        Column("gain", "gain", ratio_text),
        Column("overhead", "overhead_bytes", bytes_text),
        Column("link time", "link_seconds", seconds_text),
        Column("object", "object_db", decibel_text),
        Column("frame", "frame_db", decibel_text),
        Column("mAP50", "map50", share_text),
        Column("mAP50-95", "map50_95", share_text),
        Column("failures", "failures", count_text),
    ]
    notes = [
        f"{row['run']}: {text}" for row, summary in zip(rows, summaries, strict=True) for text in summary["missing"]
    ]
    target = folder / "comparison.html"
    content = page(
        "Comparison of runs",
        element("h1", f"Comparison of {len(rows)} runs"),
        element("p", verdict(rows), class_="lead"),
        missing_note(notes),
        join(charts(*figures), table(columns, rows)),
        section("What differs between the runs", table(*differences(summaries, rows))),
    )
    write_text(target, content)
    return target


def comparison_row(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of one run that are compared."""
    own: Mapping[str, Any] = next((s for s in summary["schemes"] if s["own"]), {})
    codec: Mapping[str, Any] = next((c for c in summary["codecs"] if c["own"]), {})
    head = summary["headline"]
    return {
        "run": summary["title"],
        "scheme": own.get("name", ""),
        "seed": summary["scenario"].get("seed", ""),
        "bytes": own.get("payload_bytes"),
        "overhead_bytes": own.get("overhead_bytes"),
        "gain": own.get("gain"),
        "link_seconds": own.get("link_seconds"),
        "object_db": codec.get("object_db"),
        "frame_db": codec.get("frame_db"),
        "map50": head.get("map50"),
        "map50_95": head.get("map50_95"),
        "failures": len(summary["failures"]),
    }


def verdict(rows: Sequence[Mapping[str, Any]]) -> str:
    """Who sent least and who learned most."""
    sent = [r for r in rows if r["bytes"]]
    learned = [r for r in rows if math.isfinite(number(r["map50_95"]))]
    texts = []
    if sent:
        least = min(sent, key=lambda r: float(r["bytes"]))
        texts.append(f"{least['run']} sent the fewest bytes ({bytes_text(least['bytes'])}, {least['scheme']}).")
    if learned:
        best = max(learned, key=lambda r: float(r["map50_95"]))
        texts.append(f"{best['run']} reached the highest mAP50-95 ({share_text(best['map50_95'])}, {best['scheme']}).")
    return " ".join(texts) or "None of these runs holds a payload or an accuracy."


def differences(
    summaries: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]
) -> tuple[list[Column], list[dict[str, Any]]]:
    """Scenario keys and versions whose values are not the same in all runs."""
    found = []
    for part in ("scenario", "environment"):
        for key in dict.fromkeys(k for s in summaries for k in s[part]):
            values = [json.dumps(s[part].get(key)) for s in summaries]
            if len(set(values)) > 1:
                found.append({"key": key, **{str(i): value.strip('"') for i, value in enumerate(values)}})
    columns = [Column("key", "key"), *(Column(str(row["run"]), str(i), long=True) for i, row in enumerate(rows))]
    return columns, found


def bytes_against_accuracy(rows: Sequence[Mapping[str, Any]]) -> Chart | None:
    """mAP50-95 against bytes, one mark a run."""
    known = [r for r in rows if r["bytes"] and math.isfinite(number(r["map50_95"]))]
    if not known:
        return None
    with styled():
        figure = Figure((WIDTH_IN, 3.5), layout="constrained")
        axes = figure.subplots()
        chart = Chart(
            "bytes_against_accuracy",
            "Accuracy against bytes",
            "mAP50-95 after the last round against the image data of the whole run; further left and higher is better.",
            figure,
        )
        schemes = list(dict.fromkeys(r["scheme"] for r in known))
        palette = dict(zip(schemes, (OWN, *RIVALS * len(schemes)), strict=False))
        for scheme in schemes:
            points = [r for r in known if r["scheme"] == scheme]
            for index, row in enumerate(points):
                x, y = float(row["bytes"]), number(row["map50_95"])
                (mark,) = axes.plot(
                    [x], [y], "o", ms=8, mec="white", color=palette[scheme], label=scheme if index == 0 else None
                )
                chart.tip(mark, f"{row['run']}, {scheme}: {bytes_text(x)}, mAP50-95 {share_text(y)}")
        axes.set_xscale("log")
        axes.set_xlabel("bytes sent (log)")
        axes.set_ylabel("mAP50-95")
        axes.margins(0.2)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: bytes_text(v)))
        axes.xaxis.set_minor_formatter(FuncFormatter(lambda v, _: ""))
        figure.legend(loc="outside upper center", ncols=2)
    return chart
