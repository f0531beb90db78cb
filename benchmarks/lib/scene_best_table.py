"""Table of docs/scene.md: the preset ``best`` of ``scene`` against ``balanced``."""

from __future__ import annotations

import math
from pathlib import Path

from .clips import clip_name
from .markdown import read, table
from .rate_comparison import chain, fewest_bytes
from .rate_records import on_curve, points_by_clip


def scene_best(results: Path) -> str:
    """Bytes and time of the preset ``best`` at default quality against those of ``balanced``, clip by clip."""
    best = read(results / "scene_rate_best.json")["rows"]
    plain = {r["clip"]: r for r in read(results / "scene_rate.json")["rows"]}
    measured = points_by_clip(read(results / "rate_distortion.json")["rows"])
    rows = []
    for row in best:
        before, pairs = plain[row["clip"]], chain(on_curve("scene", measured[row["clip"]]["scene"]))
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
