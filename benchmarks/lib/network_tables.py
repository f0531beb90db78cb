"""How far the papers' networks get: against one for each frame, against JPEG, and shared through the fog."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rinr_flower.bandwidth.model import gain

from .clips import clip_name
from .markdown import read, table
from .rate_comparison import Point, chain, fewest_bytes
from .rate_points import build, curve_of
from .results import Row

_NETWORKS = ("rapid_inr", "residual over rapid_inr", "nerv", "residual over nerv")
_RECEIVERS = 9


def residual_rate(results: Path) -> str:
    """SIRENs that frames share against a whole one for each frame, and against JPEG at quality 20, clip by clip.

    Bytes at equal quality are the fewest with at least as much PSNR over the frame *and* in the boxes; differences of
    PSNR are at the bytes of JPEG, interpolated. A dash stands where the points do not reach.
    """
    every = read(results / "residual_rate.json")["rows"]
    rows = []
    for clip in dict.fromkeys(r["clip"] for r in every):
        mine = [r for r in every if r["clip"] == clip]
        alone = next(r for r in mine if r["series"] == "residual of a network a frame")
        jpeg = next(r for r in mine if r["series"] == "jpeg" and r["options"]["quality"] == 20)
        ours = sorted((r for r in mine if r["series"] == "residual over rapid_inr"), key=_size)
        shown = [alone, *(_setting(ours, **chosen) for chosen in ({"hidden": 45}, {"shared": 2}, {"shared": 1})), jpeg]
        size = fewest_bytes(chain([_point(r) for r in ours]), alone["object_db"], alone["frame_db"])
        rows.append(
            (
                clip_name(clip),
                *(f"{_size(r):,.0f} B: {r['frame_db']:.1f} / {r['object_db']:.1f}" for r in shown),
                "-" if size is None else f"{size / _size(alone):.2f}",
                _at(ours, jpeg),
            )
        )
    head = (
        "clip", "10 x 28, a network a frame", "4 x 45, shared by 4 (default)", "4 x 64, shared by 2",
        "4 x 64, a network a frame", "JPEG q20", "bytes at equal PSNR", "dB over JPEG q20 at its bytes",
    )  # fmt: skip
    return table(head, rows)


def sharing_networks(results: Path) -> str:
    """The papers' networks and ``scene`` at the points of their curves, on the clips that both have: bytes, PSNR, and
    how many times fewer bytes ten devices send through the fog than the camera's files to each other."""
    every = read(results / "rate_distortion.json")["rows"]
    clips = [*dict.fromkeys(r["clip"] for r in every if r["series"] in _NETWORKS)]
    uploads = {r["clip"]: _size(r) for r in every if r["series"] == "camera"}
    rows = []
    for series in (*_NETWORKS, "scene"):
        for codec in curve_of(series):
            mine = {r["clip"]: r for r in every if r["series"] == series and build(r["options"]) == codec}
            options = next(iter(mine.values()))["options"]
            knobs = ", ".join(f"{k.rpartition('.')[2]} {v:g}" for k, v in options.items() if not isinstance(v, str))
            cells = [(mine[clip], uploads[clip], float(mine[clip]["camera_bytes_per_frame"])) for clip in clips]
            rows.append(
                (
                    f"`{series}`",
                    knobs,
                    *(f"{_size(r):,.0f} B: {r['frame_db']:.1f} / {r['object_db']:.1f}" for r, _, _ in cells),
                    *(f"{float(gain(_RECEIVERS, alpha=_size(r) / c, u=u / c)):.1f}x" for r, u, c in cells),
                )
            )
    names = [clip_name(clip) for clip in clips]
    return table(("codec", "size", *names, *(f"ten devices, {name}" for name in names)), rows)


def _setting(rows: Sequence[Row], **options: int) -> Row:
    """The row of a SIREN's options."""
    wanted = {f"background.{key}": value for key, value in options.items()}
    return next(r for r in rows if wanted.items() <= r["options"].items())


def _at(ours: Sequence[Row], rival: Row) -> str:
    """Frame and object PSNR of ``ours`` at the bytes of ``rival``, less its own."""
    sizes = np.log([_size(r) for r in ours])
    if not sizes[0] <= math.log(_size(rival)) <= sizes[-1]:
        return "not reached"
    more = (
        np.interp(math.log(_size(rival)), sizes, [r[k] for r in ours]) - rival[k] for k in ("frame_db", "object_db")
    )
    return " / ".join(f"{d:+.1f}" for d in more)


def _size(row: Row) -> float:
    return float(row["bytes_per_frame"])


def _point(row: Row) -> Point:
    return Point(_size(row), row["frame_db"], row["object_db"], {})


NETWORK_TABLES: Mapping[str, Any] = {f.__name__: f for f in (residual_rate, sharing_networks)}
