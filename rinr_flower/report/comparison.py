"""Several runs side by side."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from rinr_flower.files import write_text
from rinr_flower.report.chart import OWN, RIVALS, WIDTH_IN, Chart, log_axis, place_labels, styled
from rinr_flower.report.html import Html, element, join
from rinr_flower.report.page import charts, missing_note, page, section
from rinr_flower.report.record import RunRecord, to_json
from rinr_flower.report.summary import SCHEMA_VERSION, summarise
from rinr_flower.report.tables import Column, table
from rinr_flower.report.units import (
    NONE,
    bytes_text,
    count_text,
    decibel_text,
    number,
    ratio_text,
    seconds_text,
    share_text,
)

SEEDS = (
    Column("sharing", "scheme"),
    Column("seeds", "seeds"),
    Column("data", "bytes"),
    Column("mAP50", "map50"),
    Column("mAP50-95", "map50_95"),
)


def write_comparison(records: Sequence[RunRecord], folder: Path) -> Path:
    """Write comparison.html, comparison.json and figures; returns the page."""
    folder.mkdir(parents=True, exist_ok=True)
    summaries = [summarise(record) for record in records]
    rows = [comparison_row(summary) for summary in summaries]
    seeds = seed_groups(summaries, rows)
    figures = [c for c in (bytes_against_accuracy(rows),) if c is not None]
    for figure in figures:
        figure.save(folder)
    values = {"schema": "rinr_flower.comparison", "version": SCHEMA_VERSION, "runs": to_json(rows)}
    write_text(folder / "comparison.json", json.dumps(values, indent=1, allow_nan=False))
    columns = [
        Column("run", "run"),
        Column("sharing", "scheme"),
        Column("seed", "seed"),
        Column("data", "bytes", bytes_text),
        Column("all together", "total_bytes", bytes_text),
        Column("gain in data", "gain", ratio_text),
        Column("link time", "link_seconds", seconds_text),
        Column("to trained detector", "total_seconds", seconds_text),
        Column("object", "object_db", decibel_text),
        Column("frame", "frame_db", decibel_text),
        Column("mAP50", "map50", share_text),
        Column("mAP50-95", "map50_95", share_text),
        Column("mAP50, least of a device", "least_map50", share_text),
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
        section("Over the seeds: mean, least and most", table(SEEDS, seeds)) if seeds else Html(),
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
        "total_bytes": own.get("total_bytes"),
        "gain": own.get("gain"),
        "link_seconds": own.get("link_seconds"),
        "total_seconds": own.get("total_seconds"),
        "object_db": codec.get("object_db"),
        "frame_db": codec.get("frame_db"),
        "map50": head.get("map50"),
        "map50_95": head.get("map50_95"),
        "least_map50": head.get("least_map50"),
        "failures": len(summary["failures"]),
    }


def verdict(rows: Sequence[Mapping[str, Any]]) -> str:
    """Name the run that sent least and the one that learned most; runs whose figures print alike share a place."""
    texts = []
    if sent := [r for r in rows if r["bytes"]]:
        least = min(float(r["bytes"]) for r in sent)
        texts.append(f"{_holders(sent, 'bytes', least, bytes_text)} sent the fewest bytes ({bytes_text(least)}).")
    if learned := [r for r in rows if math.isfinite(number(r["map50_95"]))]:
        best = max(float(r["map50_95"]) for r in learned)
        holders = _holders(learned, "map50_95", best, share_text)
        texts.append(f"{holders} reached the highest mAP50-95 ({share_text(best)}).")
    return " ".join(texts) or "None of these runs holds a payload or an accuracy."


def _holders(rows: Sequence[Mapping[str, Any]], key: str, value: float, text_of: Callable[[float], str]) -> str:
    """Runs whose value prints as the best one does."""
    names = [f"{r['run']} ({r['scheme']}, seed {r['seed']})" for r in rows if text_of(r[key]) == text_of(value)]
    return f"{' and '.join(names)}, a tie," if len(names) > 1 else names[0]


def seed_groups(summaries: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Runs that differ in nothing but their seed, as one row: mean, least and most of bytes and mAP."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for summary, row in zip(summaries, rows, strict=True):
        scenario = {k: v for k, v in summary["scenario"].items() if k not in ("seed", "command")}
        groups.setdefault(json.dumps(scenario, sort_keys=True), []).append(row)
    found = []
    for runs in groups.values():
        if len({r["seed"] for r in runs}) < 2:
            continue
        group: dict[str, Any] = {"scheme": runs[0]["scheme"], "seeds": ", ".join(str(r["seed"]) for r in runs)}
        for key, text_of in (("bytes", bytes_text), ("map50", share_text), ("map50_95", share_text)):
            values = [v for r in runs if math.isfinite(v := number(r[key]))]
            group[key] = (
                f"{text_of(sum(values) / len(values))} ({text_of(min(values))} to {text_of(max(values))})"
                if values
                else NONE
            )
        found.append(group)
    return found


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
            for index, row in enumerate(r for r in known if r["scheme"] == scheme):
                x, y = float(row["bytes"]), number(row["map50_95"])
                (mark,) = axes.plot(
                    [x], [y], "o", ms=7, mec="white", color=palette[scheme], label=None if index else scheme
                )
                said = f"{row['run']}, {scheme}, seed {row['seed']}"
                chart.tip(mark, f"{said}: {bytes_text(x)}, mAP50-95 {share_text(y)}")
        log_axis(axes.xaxis, bytes_text)
        axes.set_xlabel("bytes sent (log)")
        axes.set_ylabel("mAP50-95")
        axes.margins(0.2)
        figure.legend(loc="outside upper center", ncols=2)
        place_labels(
            axes,
            [
                (float(r["bytes"]), number(r["map50_95"]), f"seed {r['seed']}", palette[r["scheme"]], False)
                for r in known
            ],
        )
    return chart
