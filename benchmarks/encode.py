"""Encoding speed against the published setting: 10,000 full-batch Adam steps of one SIREN 10 x 28 per frame.

    python benchmarks/encode.py --data otb100:PATH/Crossing [--frames 0:8] [--published-steps 50]
    python benchmarks/encode.py --data sample:sequences=1,frames=32,width=128,height=96 --published-steps 10000 \
        --out benchmarks/results/encode_to_the_end.json

Times ``--published-steps`` steps of the published setting on the clip's first frame, between rounds of encoding with
this package's codecs (medians), and projects 10,000 of them. With ``--published-steps 10000`` the published fit is
really run to its end, and its PSNR on that frame stands in the results beside that of this package's codecs on the same
frame; otherwise it is null. Times are processor seconds of one torch thread, which other work on the machine does not
lengthen.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lib.code_hash import code_of
from lib.results import FOLDER, write_result
from rich.console import Console
from rich.table import Table

from rinr_flower.cli import parse_frames
from rinr_flower.codecs import Codec, codecs, decode
from rinr_flower.codecs.rapid_inr import pixel_points
from rinr_flower.datasets import load
from rinr_flower.frames import Clip
from rinr_flower.inr.siren import SirenShape, forward, initial_bank
from rinr_flower.quality import measure

PUBLISHED_STEPS = 10_000
OURS: dict[str, dict[str, Any]] = {
    "rapid_inr": {"name": "rapid_inr"},
    "residual over rapid_inr": {"name": "residual"},
    "scene fast": {"name": "scene", "preset": "fast"},
    "scene balanced": {"name": "scene", "preset": "balanced"},
    "scene quality 90": {"name": "scene", "quality": 90.0},
}


def published_fit(clip: Clip, steps: int) -> tuple[float, dict[str, float]]:
    """Seconds a step, and the PSNR after the last one, of the published setting on the clip's first frame."""
    frame = clip.frames[0]
    target = torch.from_numpy(np.array(frame.image)).reshape(1, -1, 3).float() / 127.5 - 1
    points = pixel_points(torch.arange(target.shape[1]), frame.width, frame.height)[None]
    tensors = [t.requires_grad_() for t in initial_bank(SirenShape(28, 10), 1, torch.Generator().manual_seed(0))]
    optimiser = torch.optim.Adam(tensors, lr=2e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, PUBLISHED_STEPS)
    start = time.process_time()
    for _ in range(steps):
        optimiser.zero_grad()
        (forward(tensors, points, 30) - target).square().mean().backward()
        optimiser.step()
        schedule.step()
    seconds = (time.process_time() - start) / steps
    with torch.no_grad():
        image = (forward(tensors, points, 30).clamp(-1, 1) * 127.5 + 128).to(torch.uint8).reshape(frame.image.shape)
    fitted = Clip("published", (type(frame)(image.numpy(), frame.boxes, frame.classes),))
    quality = measure(Clip("first", (frame,)), fitted)
    return seconds, {"frame_db": quality.frame_db, "object_db": quality.object_db}


def timed_encode(codec: Codec, clip: Clip) -> tuple[float, bytes]:
    start = time.process_time()
    payload = codec.encode(clip)
    return (time.process_time() - start) / len(clip), payload


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="sample")
    parser.add_argument("--frames", default="0:32")
    parser.add_argument("--published-steps", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--codecs", default=",".join(OURS))
    parser.add_argument("--out", type=Path, default=FOLDER / "encode.json")
    options = parser.parse_args()
    names = options.codecs.split(",")
    torch.set_num_threads(1)
    rows = []
    for clip in load(options.data, frames=parse_frames(options.frames)):
        seconds: dict[str, list[float]] = {name: [] for name in names}
        steps: list[float] = []
        payloads = {}
        for repeat in range(options.repeats):
            if repeat == 0 or options.published_steps < PUBLISHED_STEPS:
                step, published = published_fit(clip, options.published_steps)
                steps.append(step)
            for name in names:
                took, payloads[name] = timed_encode(codecs.create(OURS[name]), clip)
                seconds[name].append(took)
        projected = statistics.median(steps) * PUBLISHED_STEPS
        finished = options.published_steps >= PUBLISHED_STEPS
        for name in names:
            decoded = decode(payloads[name])
            quality, first = measure(clip, decoded), measure(clip[:1], decoded[:1])
            median = statistics.median(seconds[name])
            rows.append(
                {
                    "clip": clip.name,
                    "size": f"{clip.width}x{clip.height}",
                    "codec": name,
                    "bytes_per_frame": len(payloads[name]) / len(clip),
                    "frame_db": quality.frame_db,
                    "object_db": quality.object_db,
                    "first_frame_db": first.frame_db,
                    "first_object_db": first.object_db,
                    "seconds_per_frame": median,
                    "published_seconds_per_frame": projected,
                    "published_is": "measured" if finished else f"projected from {options.published_steps} steps",
                    "published_frame_db": published["frame_db"] if finished else None,
                    "published_object_db": published["object_db"] if finished else None,
                    "times_faster": projected / median,
                }
            )
    settings = {k: getattr(options, k) for k in ("data", "frames", "published_steps", "repeats")}
    code = [*dict.fromkeys(m for name in names for m in code_of(codecs.create(OURS[name])))]
    write_result(options.out, command="python benchmarks/encode.py", code=code, settings=settings, rows=rows)
    show(rows)


def show(rows: list[dict[str, Any]]) -> None:
    table = Table("clip", "codec", "B/frame", "frame dB", "object dB", "s/frame", "published s/frame", "times faster")
    for r in rows:
        psnr = [f"{r[k]:.2f}" if not math.isnan(r[k]) else "-" for k in ("frame_db", "object_db")]
        table.add_row(
            r["clip"], r["codec"], f"{r['bytes_per_frame']:,.0f}", *psnr, f"{r['seconds_per_frame']:.3f}",
            f"{r['published_seconds_per_frame']:,.0f}", f"{r['times_faster']:,.0f}",
        )  # fmt: skip
    Console().print(table)


if __name__ == "__main__":
    main()
