"""A run's result in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from rinr_flower.bandwidth import FOG
from rinr_flower.report import RunRecord
from rinr_flower.report.units import bytes_text, decibel_text, ratio_text, seconds_text
from rinr_flower.report.write import summarise

_CAPTION = "PSNR against the camera's files; the bold row was run, the others are the same captures sent that way"


def show_result(record: RunRecord, console: Console) -> None:
    """Bytes, time and quality of every way to share the run's captures, mAP by round, and what was lost."""
    summary = summarise(record)
    console.print(Group(_schemes(summary), _accuracy(summary)))
    for decision in record.decisions:
        console.print(Text(f"round {decision.round}: {decision.choice}: {decision.reason}"))
    for failure in record.failures:
        what = failure.kind if failure.device == FOG else f"{failure.device} left out ({failure.kind})"
        console.print(Text(f"round {failure.round}: {what}: {failure.reason}"))


def _schemes(summary: Mapping[str, Any]) -> Table:
    table = Table(title="Sharing the same captures (gain: over serverless JPEG)", caption=_CAPTION)
    table.add_column("scheme", no_wrap=True)
    for head in ("bytes sent", "gain", "link time", "frame", "object"):
        table.add_column(head, justify="right", no_wrap=True)
    quality = {row["name"]: row for row in summary["codecs"]}
    for row in summary["schemes"]:
        if row["route"] == "serverless" and row["name"] != "serverless jpeg" and not row["own"]:
            continue
        codec = quality.get(row["codec"], {})
        table.add_row(
            Text(row["name"]),
            bytes_text(row["payload_bytes"]),
            ratio_text(row["gain"]),
            seconds_text(row["link_seconds"]),
            decibel_text(codec.get("frame_db")),
            decibel_text(codec.get("object_db")),
            style="bold" if row["own"] else "",
        )
    return table


def _accuracy(summary: Mapping[str, Any]) -> Table:
    table = Table(title="mAP on held-back frames")
    for head in ("round", "mAP50", "mAP50-95"):
        table.add_column(head, justify="right")
    for row in summary["accuracy"]:
        table.add_row(str(row["round"]), f"{row['map50']:.3f}", f"{row['map50_95']:.3f}")
    return table
