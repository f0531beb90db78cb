"""The accuracy benchmark's rows over the seeds: one summary for each settings and codec."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from rinr_flower.bandwidth.model import gain

from .results import Row

CAMERA = "jpeg"
"""The codec that the others are compared with: the camera's own files."""
RECEIVERS = 9
"""Of each capture, where ten devices share all with all."""


def summary(rows: Sequence[Row]) -> list[Row]:
    """Summaries of all settings, with the position of each."""
    return [
        {"settings": position, **row}
        for position in sorted({r["settings"] for r in rows})
        for row in summarise([r for r in rows if r["settings"] == position])
    ]


def spread(values: Sequence[float]) -> dict[str, float | None]:
    """Mean, sample standard deviation (None of one value), least and greatest."""
    return {
        "mean": statistics.fmean(values),
        "std": statistics.stdev(values) if len(values) > 1 else None,
        "min": min(values),
        "max": max(values),
    }


def summarise(records: Sequence[Row]) -> list[Row]:
    """One row for each codec, over its seeds; differences are to CAMERA over the seeds that both have.

    ``ten_devices`` is how many times fewer bytes ten devices need than when they send each other the camera's files:
    of all clips together, and of each clip alone the least, the median and the greatest.
    """
    camera = {r["seed"]: r for r in records if r["codec"] == CAMERA}
    rows = []
    for codec in dict.fromkeys(r["codec"] for r in records):
        mine = [r for r in records if r["codec"] == codec]
        pairs = [(r, camera[r["seed"]]) for r in mine if r["seed"] in camera]
        last = mine[-1]
        alone = [_fewer_bytes(c) for c in last["clips"].values()]
        clips = {
            name: {
                "map50_95": _mean([r["clips"][name]["map50_95"] for r in mine]),
                "minus_camera": _mean([_minus(r["clips"][name], c["clips"][name]) for r, c in pairs]),
            }
            for name in last["clips"]
        }
        known = {name: c["minus_camera"] for name, c in clips.items() if c["minus_camera"] is not None}
        worst = min(known, key=lambda name: known[name]) if known else None
        rows.append(
            {
                "codec": codec,
                "seeds": sorted(r["seed"] for r in mine),
                **{k: last[k] for k in ("bytes_per_frame", "upload_bytes_per_frame", "camera_bytes_per_frame")},
                "camera_over_bytes": last["camera_bytes_per_frame"] / last["bytes_per_frame"],
                "ten_devices": {
                    "all": _fewer_bytes(last),
                    "min": min(alone),
                    "median": statistics.median(alone),
                    "max": max(alone),
                },
                "map50_95": spread([r["map50_95"] for r in mine]),
                "map50": spread([r["map50"] for r in mine]),
                "map50_95_minus_camera": spread([_minus(r, c) for r, c in pairs]) if pairs else None,
                "worst_clip": None if worst is None else {"name": worst, "minus_camera": known[worst]},
                "clips": clips,
            }
        )
    return rows


def _fewer_bytes(entry: Mapping[str, Any]) -> float:
    camera = entry["camera_bytes_per_frame"]
    u, alpha = entry["upload_bytes_per_frame"] / camera, entry["bytes_per_frame"] / camera
    return float(gain(RECEIVERS, alpha=alpha, u=u))


def _minus(entry: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """Difference of mAP50-95; NaN where a clip has no box to find."""
    a, b = entry["map50_95"], other["map50_95"]
    return math.nan if a is None or b is None else a - b


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None and not math.isnan(v)]
    return statistics.fmean(known) if known else None


def table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """The summary for people; mAP in points (hundredths)."""
    shown = Table(
        "codec", "seeds", "B/frame", "fewer", "u", "10 devices", "mAP50-95", "least..most", "against the files",
        "mAP50", "worst clip", title="trained on decoded frames, tested on the camera's later frames",
    )  # fmt: skip
    for row in rows:
        strict, difference, worst = row["map50_95"], row["map50_95_minus_camera"], row["worst_clip"]
        shown.add_row(
            row["codec"],
            str(len(row["seeds"])),
            f"{row['bytes_per_frame']:,.0f}",
            f"{row['camera_over_bytes']:.1f}x",
            f"{row['upload_bytes_per_frame'] / row['camera_bytes_per_frame']:.2f}",
            f"{row['ten_devices']['all']:.1f}x",
            _points(strict["mean"]) + (f" ±{_points(strict['std'])}" if strict["std"] is not None else ""),
            f"{_points(strict['min'])}..{_points(strict['max'])}",
            "-" if difference is None else f"{100 * difference['mean']:+.1f}",
            _points(row["map50"]["mean"]),
            "-" if worst is None else f"{worst['name']} {100 * worst['minus_camera']:+.1f}",
        )
    return shown


def _points(value: float) -> str:
    return f"{100 * value:.1f}"
