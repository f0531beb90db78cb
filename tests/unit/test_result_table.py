"""A run's result in the terminal: every way of sharing, whoever wins, and what a mean would hide."""

from __future__ import annotations

import dataclasses
import html
import io
import math
from pathlib import Path

from rich.console import Console

from rinr_flower.bandwidth import Entry, Ledger
from rinr_flower.report import AccuracyRecord, RivalRecord, RunRecord, StoredRecord
from rinr_flower.report.answer import answer
from rinr_flower.report.write import summarise
from rinr_flower.simulations.result_table import show_result


def shown(record: RunRecord) -> str:
    text = io.StringIO()
    show_result(record, Console(file=text, width=80))
    return text.getvalue()


def test_a_rival_without_a_fog_is_shown_and_wins(saved_run: Path) -> None:
    record = RunRecord.load(saved_run)
    rivals = [
        RivalRecord("avif", p.clip, p.device, p.round, p.payload_bytes // 2, p.frame_db, p.background_db, p.object_db)
        for p in record.payloads[:2]
    ]
    ledger = Ledger(entries=[*record.ledger, Entry(0, "fog", "south", "start_model", 10**6, 10**6)])
    text = shown(
        dataclasses.replace(
            record, rivals=tuple(rivals), ledger=ledger, stored=(StoredRecord(1, "train", 9_000, 5_000),)
        )
    )
    (line,) = [line for line in text.splitlines() if "avif direct" in line]
    assert "\u2248" in line  # measured on two of three captures
    assert line.startswith("* avif")
    assert max(map(len, text.splitlines())) <= 80
    words = " ".join(text.split())
    for part in (
        "over 2 of 3 captures, the same for all",
        "* Fewest bytes at no worse quality (within 1 dB, boxes and frame): avif device to device.",
        "Total: with models (start model: 1 \u00d7 1 MB = 1 MB).",
        "The fog's messages, stored at the SuperLink, each object once: 5 KB.",
    ):
        assert part in words


def test_a_device_near_zero_is_named(saved_run: Path) -> None:
    record = RunRecord.load(saved_run)
    accuracy = tuple(
        AccuracyRecord(1, d.name, value, value) for d, value in zip(record.devices, (0.9, 0.003, 0.8), strict=True)
    )
    text = shown(dataclasses.replace(record, accuracy=accuracy))
    assert "finds next to nothing after the last round: south" in text
    assert [line.split() for line in text.splitlines() if line.strip().startswith("1 ")] == [
        ["1", "0.568", "0.568", "0.003"]
    ]


def test_an_accuracy_that_is_not_known_is_a_dash(saved_run: Path) -> None:
    record = RunRecord.load(saved_run)
    unknown = tuple(dataclasses.replace(row, map50=math.nan, map50_95=math.nan) for row in record.accuracy)
    assert "nan" not in shown(dataclasses.replace(record, accuracy=unknown)).split("mAP on held-back")[1]


def test_rivals_that_lack_for_want_of_pyav_are_named(saved_run: Path) -> None:
    record = dataclasses.replace(RunRecord.load(saved_run), scenario={"rivals": [{"name": "avif"}]})
    without = dataclasses.replace(record, environment={"flwr": "1.41.0"})
    hint = "pip install 'rinr_flower[video]'"
    assert hint in " ".join(shown(without).split())
    assert hint in html.unescape(answer(summarise(without)))
    for other in ({"environment": {"flwr": "1.41.0", "av": "18.1.0"}}, {"scenario": {"rivals": []}}):
        assert "PyAV" not in shown(dataclasses.replace(without, **other))
