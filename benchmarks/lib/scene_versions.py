"""Bytes of one version or preset of ``scene`` at the quality of another; rows are those of ``scene_rate.py``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from .clips import clip_name
from .markdown import read, table
from .results import Row

_DEFAULT = (52.0, 11.0)  # quality and object weight


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
    balanced, best = (read(results / f"{name}.json")["rows"] for name in ("scene_rate", "scene_rate_best"))
    plain = {r["clip"]: r for r in balanced if (r["quality"], r["object_weight"]) == _DEFAULT}
    rows = [
        (
            clip_name(row["clip"]),
            f"{plain[row['clip']]['bytes_per_frame']:,.0f}",
            f"{row['bytes_per_frame']:,.0f}",
            f"{100 * (frame - 1):+.1f} %",
            f"{100 * (inside - 1):+.1f} %",
            f"{plain[row['clip']]['encode_cpu_s_per_frame']:.2f}",
            f"{row['encode_cpu_s_per_frame']:.2f}",
        )
        for row, (_, frame, inside) in zip(best, compared(best, balanced, _DEFAULT[1]), strict=True)
    ]
    return table(_BEST, rows)


_BEST = (
    "clip", "`balanced`, B/frame", "`best`, B/frame", "at equal frame PSNR", "at equal object PSNR",
    "`balanced`, CPU s/frame", "`best`, CPU s/frame",
)  # fmt: skip
