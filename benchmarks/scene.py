"""How the codec ``scene`` scales: encoding, arrival and rendering time over frames and sizes.

    python benchmarks/scene.py [--presets fast balanced] [--out benchmarks/results/scene.json]

Clips come from the generated sample (or ``--data``), scaled to each size; processor seconds and wall-clock seconds are
both given, since other work on the machine lengthens the latter. ``arrive`` is the time from payload bytes to the first
rendered frame in a store that is empty; ``render`` is warm, one frame after another, at the size of the clip.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lib.results import FOLDER, write_result
from PIL import Image
from rich.console import Console
from rich.table import Table

from rinr_flower.codecs import codecs
from rinr_flower.datasets import load
from rinr_flower.decoding import FrameStore
from rinr_flower.frames import Clip, Frame

FRAMES = (8, 16, 32, 64, 128)
SIZES = ((320, 180), (640, 360), (960, 540), (1280, 720))


def scaled(clip: Clip, width: int, height: int, frames: int) -> Clip:
    """``frames`` frames of ``clip``, played to and fro if it is shorter, at ``width`` x ``height``."""
    ratio = np.array([width / clip.width, height / clip.height] * 2, np.float32)
    there_and_back = [*range(len(clip)), *range(len(clip) - 2, 0, -1)]
    cache: dict[int, Frame] = {}
    for index in there_and_back[:frames]:
        frame = clip.frames[index]
        image = np.asarray(Image.fromarray(frame.image).resize((width, height), Image.Resampling.BICUBIC))
        cache[index] = Frame(image, frame.boxes * ratio, frame.classes)
    chosen = tuple(cache[there_and_back[i % len(there_and_back)]] for i in range(frames))
    return Clip(clip.name, chosen, clip.class_names)


def measure_one(clip: Clip, preset: str, repeats: int) -> dict[str, Any]:
    """Times of one clip: a row of the results."""
    codec = codecs.create("scene", preset=preset)
    wall, work = time.perf_counter(), time.process_time()
    payload = codec.encode(clip)
    work, wall = time.process_time() - work, time.perf_counter() - wall
    size = (clip.height, clip.width)
    arrive, rates = [], []
    for _ in range(repeats):
        start = time.perf_counter()
        store = FrameStore([payload])
        store.render([0], size)
        arrive.append(time.perf_counter() - start)
        start = time.perf_counter()
        for index in range(len(clip)):
            store.render([index], size)
        rates.append(len(clip) / (time.perf_counter() - start))
    return {
        "preset": preset,
        "width": clip.width,
        "height": clip.height,
        "frames": len(clip),
        "bytes_per_frame": len(payload) / len(clip),
        "resident_bytes_per_frame": store.resident_bytes / len(clip),
        "encode_cpu_s_per_frame": work / len(clip),
        "encode_s_per_frame": wall / len(clip),
        "arrive_ms": 1000 * statistics.median(arrive),
        "render_frames_per_s": statistics.median(rates),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="sample")
    parser.add_argument("--presets", nargs="+", default=["fast", "balanced"])
    parser.add_argument("--frames", type=int, nargs="+", default=FRAMES)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=FOLDER / "scene.json")
    options = parser.parse_args()
    source = load(options.data)[0]
    console = Console()
    with torch.no_grad():
        codecs.create("scene", preset="fast").encode(scaled(source, 320, 180, 2))  # first use loads what it needs
        rows = []
        for preset in options.presets:
            cases = [(640, 360, n) for n in options.frames] + [(w, h, 32) for w, h in SIZES if (w, h) != (640, 360)]
            for width, height, frames in cases:
                console.print(f"{preset}: {frames} frames of {width}x{height}")
                rows.append(measure_one(scaled(source, width, height, frames), preset, options.repeats))
    write_result(
        options.out,
        command="python benchmarks/scene.py",
        code=["rinr_flower.codecs.scene.codec", "rinr_flower.decoding.store"],
        settings={"data": options.data},
        rows=rows,
    )
    table = Table("preset", "size", "frames", "B/frame", "encode CPU s/frame", "arrive ms", "render frames/s")
    for row in rows:
        table.add_row(
            row["preset"],
            f"{row['width']}x{row['height']}",
            str(row["frames"]),
            f"{row['bytes_per_frame']:.0f}",
            f"{row['encode_cpu_s_per_frame']:.3f}",
            f"{row['arrive_ms']:.0f}",
            f"{row['render_frames_per_s']:.0f}",
        )
    console.print(table)


if __name__ == "__main__":
    main()
