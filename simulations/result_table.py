"""A run's result in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from rinr_flower.bandwidth import FOG
from rinr_flower.report import RunRecord
from rinr_flower.report.answer import extrapolated_bytes_text, scheme_words, start_model_text, time_text, video_hint
from rinr_flower.report.units import bytes_text, decibel_text, ratio_text, seconds_text, share_text
from rinr_flower.report.write import summarise

_ROUTES = {"fog": "via fog", "serverless": "direct", "training": "trained at fog", "federated": "federated"}


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
    """Every way of sharing, fewest bytes first, in 80 columns; the run in bold, the winner with an asterisk."""
    table = Table(
        title="Ways to share the same captures, fewest bytes first", box=None, pad_edge=False, padding=(0, 1, 0, 0)
    )
    table.add_column("", no_wrap=True)
    for head in ("data", "total", "gain", "link", "trained", "box dB", "frame"):
        table.add_column(head, justify="right", no_wrap=True)
    quality = {row["name"]: row for row in summary["codecs"]}
    winner = summary["headline"].get("winner", {}).get("name")
    for row in sorted(summary["schemes"], key=lambda r: float(r["payload_bytes"])):
        codec = quality.get(row["codec"], {})
        mark = "*" if row["name"] == winner else " "
        table.add_row(
            Text(f"{mark} {row['codec']} {_ROUTES[row['route']]}"),
            extrapolated_bytes_text(row["payload_bytes"], row["coverage"]),
            bytes_text(row["total_bytes"]),
            ratio_text(row["gain"]),
            seconds_text(row["link_seconds"]),
            seconds_text(row["total_seconds"]),
            *(decibel_text(codec.get(key)).removesuffix(" dB") for key in ("object_db", "frame_db")),
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
        f"* Fewest bytes at no worse quality (within 1 dB, boxes and frame): {scheme_words(head['winner']['name'])}.",
        f"Direct: from device to device; gain: over JPEG sent so. Total: with models ({start_model_text(head)}). "
        f"Trained: from capture to trained detector. PSNR over {measured} of {summary['captures']} captures, the same "
        "for all; \u2248: extrapolated from them.",
        time_text(head),
        video_hint(summary),
    ]
    if summary["stored_bytes"]:
        stored = bytes_text(summary["stored_bytes"])
        lines.append(f"The fog's messages, stored at the SuperLink, each object once: {stored}.")
    return [Text(line) for line in lines if line]


def _accuracy(summary: Mapping[str, Any]) -> Table:
    table = Table(title="mAP on held-back frames", box=None, pad_edge=False)
    for head in ("round", "mAP50", "mAP50-95", "mAP50, least of a device"):
        table.add_column(head, justify="right")
    for row in summary["accuracy"]:
        values = (row["map50"], row["map50_95"], row["least_map50"])
        table.add_row(str(row["round"]), *map(share_text, values))
    return table


def _near_zero(summary: Mapping[str, Any]) -> list[Text]:
    names = summary["headline"].get("near_zero") or []
    return [Text(f"finds next to nothing after the last round: {', '.join(names)}", style="red")] if names else []
