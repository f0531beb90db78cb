"""Rows of the rate-distortion benchmark: one clip at one operating point; and what they say together."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image

from rinr_flower.bitstream.container import Payload
from rinr_flower.codecs import Codec, Nerv, RapidInr, Residual, codecs, decode
from rinr_flower.frames import Clip, Frame
from rinr_flower.quality import measure

from .clips import once
from .rate_comparison import Point, bd_rate_percent, envelope_ratio, matched
from .rate_points import SERIES, build, curve_of
from .results import Row

WIDTH_PX = 640
KEY = ("clip", "series", "options")
_CPU = torch.device("cpu")


class Backgrounds:
    """Encodes one clip; a network that several codecs have as their background, or that is one of them, is fitted once.

    Attributes
    ----------
    clip : what is encoded.
    seed : of every fit.
    """

    def __init__(self, clip: Clip, seed: int) -> None:
        self.clip, self.seed = clip, seed
        self._known: dict[Codec, tuple[Mapping[str, bytes], float]] = {}

    def encode(self, codec: Codec, progress: Callable[[float], None]) -> tuple[bytes, float]:
        """The payload, and the processor seconds, over all threads, that everything in it took."""
        background = codec.background if isinstance(codec, Residual) else codec
        start = time.process_time()
        if not isinstance(background, RapidInr | Nerv):
            return codec.encode(self.clip, seed=self.seed, progress=progress), time.process_time() - start
        over = codec if isinstance(codec, Residual) else Residual(background=background)
        if background not in self._known:
            parts = over.encode_backgrounds([self.clip], seed=self.seed, device=_CPU, progress=progress)[0]
            self._known[background] = parts, time.process_time() - start
        parts, seconds = self._known[background]
        if isinstance(codec, Residual):
            start = time.process_time()
            parts = codec.encode_objects([self.clip], [parts], seed=self.seed, device=_CPU, progress=progress)[0]
            seconds += time.process_time() - start
        return Payload.of_clip(codec.name, self.clip, parts).to_bytes(), seconds


def at_most(clip: Clip, width_px: int) -> Clip:
    """The clip reduced to ``width_px`` as :func:`measure` reduces it, without camera files; itself if no wider."""
    scale = width_px / clip.width
    if scale >= 1:
        return clip
    size = (width_px, round(clip.height * scale))
    images = (Image.fromarray(f.image).resize(size, Image.Resampling.BOX) for f in clip.frames)
    frames = (
        replace(f, image=np.asarray(image), boxes=f.boxes * np.float32(scale), file=b"")
        for f, image in zip(clip.frames, images, strict=True)
    )
    return replace(clip, frames=tuple(frames))


def run_point(backgrounds: Backgrounds, codec: Codec, progress: Callable[[float], None]) -> Row:
    """Encode and decode one clip: sizes, processor seconds over all threads, PSNR at 640 wide."""
    clip = backgrounds.clip
    data, seconds = backgrounds.encode(codec, progress)
    encoded = time.process_time()
    decoded = decode(data)
    ended = time.process_time()
    quality = measure(clip, decoded, max_width=WIDTH_PX)
    return {
        "size": [clip.width, clip.height],
        "count": len(clip),
        "camera_bytes_per_frame": clip.file_bytes() / len(clip) or None,
        "bytes_per_frame": len(data) / len(clip),
        "frame_db": _plain(quality.frame_db),
        "background_db": _plain(quality.background_db),
        "object_db": _plain(quality.object_db),
        "encode_cpu_s": round(seconds, 3),
        "decode_cpu_s": round(ended - encoded, 3),
    }


def _plain(psnr_db: float) -> float | None:
    """Rounded for JSON: None where a region is empty, 100 dB where nothing was lost."""
    return None if math.isnan(psnr_db) else round(min(psnr_db, 100.0), 3)


def warm_up(clip: Clip, names: Iterable[str]) -> None:
    """Load what codecs load on first use, so that it is in nobody's time."""
    frame = clip.frames[0]
    small = Clip("warm-up", (Frame(frame.image[:64, :64].copy()),))
    for name in names:
        decode(codecs.create(name).encode(small))


def points_by_clip(rows: Sequence[Row]) -> dict[str, dict[str, list[tuple[Codec, Point]]]]:
    """Codec and point of every row, by clip and series; clips whose frames have no boxes are left out."""
    clips: dict[str, dict[str, list[tuple[Codec, Point]]]] = {}
    for r in rows:
        if r["object_db"] is not None and r["series"] in SERIES:
            codec = build(r["options"])
            options = {name: repr(value) for name, value in vars(codec).items()}
            point = Point(r["bytes_per_frame"], r["frame_db"], r["object_db"], options)
            clips.setdefault(r["clip"], {}).setdefault(r["series"], []).append((codec, point))
    return clips


def on_curve(series: str, points: Sequence[tuple[Codec, Point]]) -> list[Point]:
    """The points that lie on the curve of ``series``."""
    return [point for codec, point in points if codec in curve_of(series)]


def comparisons(rows: Sequence[Row], against: str) -> list[Row]:
    """The series ``against`` compared with every other on every clip whose frames have boxes."""
    found = []
    for clip, by_series in points_by_clip(rows).items():
        every = {s: [p for _, p in points] for s, points in by_series.items()}
        curves = {s: on_curve(s, points) for s, points in by_series.items()}
        for rival in curves:
            if rival == against or against not in curves:
                continue
            ours, theirs = matched(curves[against], curves[rival]), matched(curves[rival], curves[against])
            found.append(
                {
                    "clip": clip,
                    "rival": rival,
                    "at_our_points": ours.ratio,
                    "our_points": [ours.points, ours.of],
                    "at_its_points": 1 / theirs.ratio if theirs.ratio else None,
                    "its_points": [theirs.points, theirs.of],
                    "bd_rate_percent": bd_rate_percent(curves[against], curves[rival]),
                    "envelope": envelope_ratio(every[against], every[rival]),
                }
            )
    return found


def by_rival(found: Sequence[Row]) -> list[Row]:
    """Per rival: medians over the recordings, on how many of how many our bytes are fewer, and how many of how many
    points were compared."""
    result = []
    for rival in dict.fromkeys(f["rival"] for f in found):
        mine = once([f for f in found if f["rival"] == rival])
        row: Row = {"rival": rival, "clips": len(mine)}
        for key in ("our_points", "its_points"):
            row[key] = [sum(f[key][i] for f in mine) for i in (0, 1)]
        for key, even in (("at_our_points", 1), ("at_its_points", 1), ("bd_rate_percent", 0), ("envelope", 1)):
            known = [f[key] for f in mine if f[key] is not None]
            row[key] = {
                "median": statistics.median(known) if known else None,
                "won": sum(v < even for v in known),
                "of": len(known),
            }
        result.append(row)
    return result


def summary(rows: Sequence[Row], against: str) -> dict[str, Any]:
    """``clips``: every comparison; ``rivals``: over all clips."""
    found = comparisons(rows, against)
    return {"against": against, "rivals": by_rival(found), "clips": found}


def default_point(series: str, rows: Sequence[Row]) -> list[Row]:
    """The rows of a codec at all its defaults, one a clip."""
    default = codecs.create(series)
    return [r for r in rows if r["series"] == series and build(r["options"]) == default]
