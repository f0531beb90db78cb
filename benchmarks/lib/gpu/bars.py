"""The bars for one H200, and the tables at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from ..results import Row

SIZE = "640x360"
_OWN = ("part", "case", "subject", "took_s", "trace", "settings", "machine", "code", "all_s", "size", "batch")
_MARKS = {"not_here": "not here", "left_out": "left out", "failed": "FAILED"}


@dataclass(frozen=True)
class Bar:
    """A figure that is asked for, and the one measured; None if it was not measured."""

    name: str
    asked: float
    got: float | None

    @property
    def met(self) -> bool:
        return self.got is not None and self.got >= self.asked


def bars(rows: Sequence[Row]) -> list[Bar]:
    """What a GPU is asked to do, from the rows of all parts."""
    rates = _best_rates(rows)
    epochs = {row["case"]: row.get("frames_per_s") for row in rows if row["part"] == "train"}
    fits = {row["case"]: row.get("seconds_per_frame") for row in rows if row["part"] == "encode"}

    def ratio(above: float | None, below: float | None) -> float | None:
        return above / below if above and below else None

    payloads = epochs.get("yolov8n, payloads of scene, cache off")
    two, ram = (epochs.get(f"yolov8n, JPEG, {way}") for way in ("2 workers, cache off", "8 workers, cache ram"))
    found = [
        Bar(f"scene, warm frames/s at {SIZE}", 10_000, rates.get("scene")),
        Bar(f"residual 28x10 and objects, warm frames/s at {SIZE}", 2_000, rates.get("residual")),
        Bar("an epoch from payloads, times JPEG with 2 workers", 4, ratio(payloads, two)),
        Bar("an epoch from payloads, times JPEG in RAM with 8 workers", 1, ratio(payloads, ram)),
    ]
    for name in ("scene", "rapid_inr", "residual"):
        faster = ratio(rates.get(name), rates.get(f"{name}, plain torch"))
        found.append(Bar(f"{name}, fused over plain torch", 3, faster))
    for name in ("rapid_inr", "residual"):
        faster = ratio(fits.get(f"{name}, two threads"), fits.get(f"{name}, many clips"))
        found.append(Bar(f"{name}, fits over two threads", 50, faster))
    return found


def _best_rates(rows: Sequence[Row]) -> dict[str, float]:
    """Warm frames a second of each subject at SIZE, at its fastest batch."""
    best: dict[str, float] = {}
    for row in rows:
        if row.get("size") == SIZE and "warm_frames_per_s" in row:
            best[row["subject"]] = max(best.get(row["subject"], 0.0), row["warm_frames_per_s"])
    return best


def show(rows: Sequence[Row], console: Console, *, cuda: bool) -> None:
    """Print what was measured, part by part, and on CUDA the bars."""
    for part in dict.fromkeys(row["part"] for row in rows):
        mine = [row for row in rows if row["part"] == part]
        table = Table("case", "result", "s", title=part)
        for case in dict.fromkeys(row["case"] for row in mine if row["subject"] == ""):
            lines = [_line(row) for row in mine if row["case"] == case]
            table.add_row(case, "\n".join(lines), f"{next(r['took_s'] for r in mine if r['case'] == case):.1f}")
        console.print(table)
        for size in dict.fromkeys(row["size"] for row in mine if row["subject"]):
            console.print(_pivot([row for row in mine if row["subject"] and row["size"] == size], size))
    if cuda:
        table = Table("bar", "asked", "got", "", title="bars")
        for bar in bars(rows):
            got = "not measured" if bar.got is None else f"{bar.got:,.1f}"
            table.add_row(bar.name, f"{bar.asked:,.0f}", got, "met" if bar.met else "MISSED")
        console.print(table)


def _pivot(rows: Sequence[Row], size: str) -> Table:
    """Frames a second: a line for each subject, a column for each batch."""
    batches = sorted({row["batch"] for row in rows if "batch" in row})
    columns = ["first, ms", "cold", *(f"batch {b}" for b in batches), "share of copy", "share of products"]
    table = Table("frames/s", *columns, title=f"decode, {size}")
    for subject in dict.fromkeys(row["subject"] for row in rows):
        mine = [row for row in rows if row["subject"] == subject]
        cold = next((row for row in mine if "first_ms" in row), {})
        warm = {row["batch"]: row for row in mine if "batch" in row}
        best = max(warm.values(), key=lambda row: row.get("warm_frames_per_s", 0.0), default={})
        table.add_row(
            subject,
            *(_shown(cold.get(key)) for key in ("first_ms", "cold_frames_per_s")),
            *(_shown(warm.get(b, {}).get("warm_frames_per_s")) for b in batches),
            *(_shown(best.get(key)) for key in ("share_of_copy", "share_of_products")),
        )
    return table


def _line(row: Row) -> str:
    for key, mark in _MARKS.items():
        if key in row:
            return f"{mark}: {row[key]}"
    figures = ", ".join(f"{key} {_shown(value)}" for key, value in row.items() if key not in (*_OWN, "ok"))
    return f"WRONG: {figures}" if row.get("ok") is False else figures


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(_shown, value))
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return "-" if value is None else str(value)
