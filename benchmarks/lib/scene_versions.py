"""Bytes of one version or preset of ``scene`` at the quality of another; rows are those of ``scene_rate.py``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from .clips import clip_name
from .markdown import read, table
from .rate_comparison import Point, chain, fewest_bytes
from .results import Row


def needed(rows: Sequence[Row], key: str, wanted_db: float) -> float:
    """Bytes a frame at ``wanted_db``, their logarithm interpolated, and continued beyond the ends, over ``rows``."""
    line = sorted((row[key], math.log(row["bytes_per_frame"])) for row in rows)
    at = min(max(sum(db <= wanted_db for db, _ in line), 1), len(line) - 1)
    (low, a), (high, b) = line[at - 1], line[at]
    return math.exp(a + (b - a) * (wanted_db - low) / (high - low))


def compared(new: Sequence[Row], old: Sequence[Row], weight: float) -> list[tuple[str, float, float]]:
    """Name, ratio at equal frame PSNR and ratio at equal object PSNR of every row of ``new``."""
    out = []
    for row in new:
        line = [r for r in old if r["clip"] == row["clip"] and r["object_weight"] == weight]
        ratios = (row["bytes_per_frame"] / needed(line, key, row[key]) for key in ("frame_db", "object_db"))
        out.append((row["clip"], *ratios))
    return out


def scene_best(results: Path) -> str:
    """What the preset ``best`` saves over ``balanced`` at default quality, clip by clip."""
    best = read(results / "scene_rate_best.json")["rows"]
    plain = {r["clip"]: r for r in read(results / "scene_rate.json")["rows"]}
    curves: dict[str, list[Point]] = {}
    for r in read(results / "rate_distortion.json")["rows"]:
        if r["series"] == "scene":
            point = Point(r["bytes_per_frame"], r["frame_db"], r["object_db"], r["options"])
            curves.setdefault(r["clip"], []).append(point)
    rows = []
    for row in best:
        before, pairs = plain[row["clip"]], chain(curves[row["clip"]])
        asked = (row["object_db"], row["frame_db"])
        wanted = ((-math.inf, asked[1]), (asked[0], -math.inf), asked)
        rows.append(
            (
                clip_name(row["clip"]),
                *(f"{r['bytes_per_frame']:,.0f}" for r in (before, row)),
                *(_less(row["bytes_per_frame"], fewest_bytes(pairs, *dbs)) for dbs in wanted),
                *(f"{r['encode_cpu_s_per_frame']:.2f}" for r in (before, row)),
            )
        )
    return table(_BEST, rows)


def _less(size: float, needed_bytes: float | None) -> str:
    return "-" if needed_bytes is None else f"{100 * (size / needed_bytes - 1):+.1f} %"


_BEST = (
    "clip", "`balanced`, B/frame", "`best`, B/frame", "same frame PSNR", "same object PSNR", "both at least",
    "`balanced`, CPU s/frame", "`best`, CPU s/frame",
)  # fmt: skip
