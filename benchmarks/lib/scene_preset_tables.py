"""Tables of docs/scene.md: the presets ``best`` and ``fast`` of ``scene`` against ``balanced``."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path

from .clips import clip_name, once
from .markdown import read, table
from .rate_comparison import chain, fewest_bytes
from .rate_records import on_curve, points_by_clip


def scene_best(results: Path) -> str:
    """``best`` against ``balanced``, clip by clip."""
    return _against_balanced("best", results)


def scene_fast(results: Path) -> str:
    """``fast`` against ``balanced``, clip by clip."""
    return _against_balanced("fast", results)


def _against_balanced(preset: str, results: Path) -> str:
    """Bytes and time of a preset at default quality against those of ``balanced``, clip by clip.

    The last row has the medians over the recordings; one that repeats another counts once.
    """
    found = read(results / f"scene_rate_{preset}.json")["rows"]
    plain = {r["clip"]: r for r in read(results / "scene_rate.json")["rows"]}
    measured = points_by_clip(read(results / "rate_distortion.json")["rows"])
    rows, differences = [], {}
    for row in found:
        before, pairs = plain[row["clip"]], chain(on_curve("scene", measured[row["clip"]]["scene"]))
        asked = (row["object_db"], row["frame_db"])
        wanted = ((-math.inf, asked[1]), (asked[0], -math.inf), asked)
        needed = [fewest_bytes(pairs, *dbs) for dbs in wanted]
        frame, box, both = (math.nan if n is None else 100 * (row["bytes_per_frame"] / n - 1) for n in needed)
        differences[row["clip"]] = frame, box, max(frame, box), both
        rows.append(
            (
                clip_name(row["clip"]),
                *(f"{r['bytes_per_frame']:,.0f}" for r in (before, row)),
                *_texts(differences[row["clip"]]),
                *(f"{r['encode_cpu_s_per_frame']:.2f}" for r in (before, row)),
            )
        )
    counted = [differences[row["clip"]] for row in once(found)]
    medians = [statistics.median(d for d in column if not math.isnan(d)) for column in zip(*counted, strict=True)]
    head = (
        "clip", "`balanced`, B/frame", f"`{preset}`, B/frame", "same frame PSNR", "same object PSNR", "worse of these",
        "both at least", "`balanced`, CPU s/frame", f"`{preset}`, CPU s/frame",
    )  # fmt: skip
    return table(head, [*rows, (f"median of {len(counted)}", "", "", *_texts(medians), "", "")])


def _texts(per_cent: Sequence[float]) -> list[str]:
    return ["-" if math.isnan(value) else f"{value:+.1f} %" for value in per_cent]
