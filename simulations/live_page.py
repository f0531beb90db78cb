"""The page of a run that is going on, made of the report's own parts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rinr_flower.errors import DataError
from rinr_flower.report.answer import tile
from rinr_flower.report.html import Html, element, join
from rinr_flower.report.page import page, section
from rinr_flower.report.rows import accuracy_rows, device_rows, round_rows
from rinr_flower.report.sections import failures_table
from rinr_flower.report.tables import Column, table
from rinr_flower.report.units import bytes_text, count_text, ratio_text, seconds_text, share_text
from rinr_flower.simulations.activity import read_activity
from rinr_flower.simulations.so_far import SoFar, read_so_far
from rinr_flower.trackers import round_metrics

SCRIPT = (Path(__file__).parent / "live.js").read_text(encoding="utf-8")


def live_page(folder: Path) -> str:
    """The whole page; its script asks for :func:`live_content` every two seconds."""
    return page(f"{folder.name}: live", element("div", live_content(folder), id="live"), script=SCRIPT, connects=True)


def live_content(folder: Path) -> Html:
    """The run as its folder tells it now."""
    try:
        so_far = read_so_far(folder)
    except DataError as error:
        return join(element("h1", folder.name), element("div", str(error), class_="warn"))
    record = so_far.record
    metrics = round_metrics(record)
    return join(
        element("h1", folder.name),
        _state(so_far, folder),
        element("div", *_tiles(so_far, metrics), class_="tiles"),
        section("Devices", _devices(so_far)),
        section("Rounds", _rounds(so_far, metrics)),
        section("Failures", failures_table([vars(failure) for failure in record.failures])),
    )


def _state(so_far: SoFar, folder: Path) -> Html:
    """One paragraph: the work of the moment, or where the report is."""
    total = so_far.record.scenario.get("rounds", "?")
    if so_far.finished:
        link = element("a", "report", href="report.html") if (folder / "report.html").is_file() else "no report"
        return element("p", f"Finished after {so_far.rounds} of {total} rounds: ", link, ".", id="state")
    activity = read_activity(folder)
    what = "it has not begun" if activity is None else f"{activity.what}: {activity.done:.0%}"
    bar = None if activity is None else element("progress", value=f"{activity.done:.3f}", max="1")
    return element("p", f"{so_far.rounds} of {total} rounds are done. Now ", what, " ", bar, id="state")


def _tiles(so_far: SoFar, metrics: Mapping[int, Mapping[str, float]]) -> list[Html]:
    record = so_far.record
    last = next((m for _, m in sorted(metrics.items(), reverse=True) if "map50-95" in m), {})
    gain = next((m for _, m in sorted(metrics.items(), reverse=True) if "gain" in m), {})
    return [
        tile(bytes_text(record.ledger.message_bytes), "sent and received so far"),
        tile(ratio_text(gain.get("gain")), "fewer bytes of data than serverless JPEG"),
        tile(share_text(last.get("map50-95")), "mAP50-95 after the last round"),
        tile(count_text(len(record.failures)), "failures", kind="bad" if record.failures else ""),
    ]


def _devices(so_far: SoFar) -> Html | None:
    record = so_far.record
    uploads: dict[str, int] = {}
    for entry in record.ledger:
        if entry.kind in ("upload", "share"):
            uploads[entry.source] = uploads.get(entry.source, 0) + entry.payload_bytes
    rows = [
        {
            **row,
            "captures": len(row["clips"]),
            "uploaded": uploads.get(row["name"], 0),
            "missing": so_far.missing.get(row["name"]),
        }
        for row in device_rows(record)
    ]
    expected = record.scenario.get("num_clients")
    columns = [
        Column("device", "name"),
        Column("clips shared", "captures", count_text),
        Column("uploaded", "uploaded", bytes_text),
        Column("received", "received_bytes", bytes_text),
        Column("clips of others missing", "missing", count_text),
        Column("mAP50-95", "map50_95", share_text),
        Column("failures", "failures", count_text),
    ]
    absent = f"{len(rows)} of {expected} devices have answered so far." if expected else None
    return join(element("p", absent) if absent else None, table(columns, rows) if rows else None)


def _rounds(so_far: SoFar, metrics: Mapping[int, Mapping[str, float]]) -> Html | None:
    accuracy = {row["round"]: row for row in accuracy_rows(so_far.record.accuracy)}
    rows: list[dict[str, Any]] = [
        {
            **row,
            **accuracy.get(row["round"], {}),
            "gain": metrics.get(row["round"], {}).get("gain"),
        }
        for row in round_rows(so_far.record)
    ]
    columns = [
        Column("round", "round", count_text),
        Column("clips", "clips", count_text),
        Column("data", "data_payload_bytes", bytes_text),
        Column("models, control", "other_message_bytes", bytes_text),
        Column("gain so far", "gain", ratio_text),
        Column("mAP50", "map50", share_text),
        Column("mAP50-95", "map50_95", share_text),
        Column("encoding", "encode_seconds", seconds_text),
        Column("training, a device", "train_seconds", seconds_text),
    ]
    return table(columns, rows) if rows else None
