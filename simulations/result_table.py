"""A run's result in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from rinr_flower.bandwidth import FOG
from rinr_flower.report import RunRecord
from rinr_flower.report.answer import extrapolated_bytes_text, scheme_words, start_model_text, time_text
from rinr_flower.report.units import bytes_text, decibel_text, number, ratio_text, scheme_label, seconds_text
from rinr_flower.report.write import summarise

_LEAD = "\u2190 fewest bytes"


def show_result(record: RunRecord, console: Console) -> None:
    """Print bytes, time and quality of every way to share the run's captures, mAP by round, and what was lost."""
    summary = summarise(record)
    console.print(Group(_schemes(summary), *_answer(summary), _accuracy(summary), *_near_zero(summary)))
    for decision in record.decisions:
        console.print(Text(f"round {decision.round}: {decision.choice}: {decision.reason}"))
    for failure in record.failures:
        what = failure.kind if failure.device == FOG else f"{failure.device} left out ({failure.kind})"
        console.print(Text(f"round {failure.round}: {what}: {failure.reason}"))


def _schemes(summary: Mapping[str, Any]) -> Table:
    """Every way of sharing, fewest bytes first; the run in bold, the fewest bytes at no worse quality marked."""
    table = Table(title="Ways to share the same captures, fewest bytes first", box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    for head in ("data", "with models", "gain", "link", "to trained", "object", "frame"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    quality = {row["name"]: row for row in summary["codecs"]}
    winner = summary["headline"].get("winner", {}).get("name")
    for row in sorted(summary["schemes"], key=lambda r: float(r["payload_bytes"])):
        codec = quality.get(row["codec"], {})
        table.add_row(
            Text(scheme_label(row)),
            extrapolated_bytes_text(row["payload_bytes"], row["coverage"]),
            bytes_text(row["total_bytes"]),
            ratio_text(row["gain"]),
            seconds_text(row["link_seconds"]),
            seconds_text(row["total_seconds"]),
            decibel_text(codec.get("object_db")),
            decibel_text(codec.get("frame_db")),
            _LEAD if row["name"] == winner else "",
            style="bold" if row["own"] else "",
        )
    return table


def _answer(summary: Mapping[str, Any]) -> list[Text]:
    """The rules behind the table, and the answer in words."""
    head = summary["headline"]
    if "winner" not in head:
        return []
    measured = summary["codecs"][0]["clips"] if summary["codecs"] else 0
    lines = [
        f"Gain: over JPEG from device to device. PSNR against the camera's files over {measured} of "
        f"{summary['captures']} captures, the same for all; \u2248 is extrapolated from them. "
        f"With models: {start_model_text(head)}.",
        f"Fewest bytes at no worse quality (within 1 dB, object and frame): {scheme_words(head['winner']['name'])}.",
        time_text(head),
    ]
    if summary["stored_bytes"]:
        lines.append(f"Stored at the SuperLink: {bytes_text(summary['stored_bytes'])}.")
    return [Text(line) for line in lines if line]


def _accuracy(summary: Mapping[str, Any]) -> Table:
    table = Table(title="mAP on held-back frames", box=None, pad_edge=False)
    for head in ("round", "mAP50", "mAP50-95", "mAP50, least of a device"):
        table.add_column(head, justify="right")
    for row in summary["accuracy"]:
        values = (row["map50"], row["map50_95"], row["least_map50"])
        table.add_row(str(row["round"]), *(f"{number(value):.3f}" for value in values))
    return table


def _near_zero(summary: Mapping[str, Any]) -> list[Text]:
    names = summary["headline"].get("near_zero") or []
    return [Text(f"finds next to nothing after the last round: {', '.join(names)}", style="red")] if names else []
