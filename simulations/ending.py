"""The three lines with which a run ends: bytes, accuracy, and where the report is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rinr_flower.report import RunRecord
from rinr_flower.report.answer import scheme_words
from rinr_flower.report.units import bytes_text
from rinr_flower.report.write import summarise


def ending(record: RunRecord) -> list[str]:
    """What the run saved, what the devices have learnt, and the report's path."""
    summary = summarise(record)
    return [_saved(summary["headline"]), _learnt(record), f"Report: {record.folder}/report.html"]


def _saved(head: Mapping[str, Any]) -> str:
    if not head.get("bytes"):
        return "Nothing was shared."
    own, jpeg = float(head["bytes"]), float(head["baseline_bytes"])
    times = f"{jpeg / own:.1f} times fewer" if jpeg >= own else f"{own / jpeg:.1f} times more"
    said = (
        f"Shared in {bytes_text(own)} of data, {times} than the {bytes_text(jpeg)} of devices that send each other "
        "their JPEG files"
    )
    winner = head.get("winner")
    if not winner or winner["name"] == head["scheme"]:
        return f"{said}."
    return f"{said}; {scheme_words(winner['name'])} needs only {bytes_text(winner['bytes'])} at no worse quality."


def _learnt(record: RunRecord) -> str:
    last = max((row.round for row in record.accuracy), default=0)
    start, end = (
        [row.map50_95 for row in record.accuracy if row.round == number and not math.isnan(row.map50_95)]
        for number in (0, last)
    )
    if not last or not end:
        return "No device has evaluated a trained detector."
    before = f"{sum(start) / len(start):.3f} before, " if start else ""
    return (
        f"mAP50-95 on frames that were held back: {before}{sum(end) / len(end):.3f} after round {last} "
        f"(mean of {len(end)} devices, from {min(end):.3f} to {max(end):.3f})."
    )
