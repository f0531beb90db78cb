"""Frames a second, cold and warm, of every codec in a FrameStore, against JPEG files decoded by libraries.

    python benchmarks/speed.py decode [--data SPEC] [--clips 2] [--batches 1 4 16 64 256] [--device cpu] [--limit 3]

Clips of 640x360 are drawn at 320x180 and 640x360. Warm: the payloads are resident, the same frames again. Cold: from
payload bytes to the first picture (``first_ms``). JPEG files lie in memory and are decoded, resized and copied to the
device each time, as many at a time as torch has threads. All ways take turns, ``--repeats`` times; medians are written.
A batch that would take longer than ``--limit`` seconds, judged by the one before, is left out and named. Networks are
fitted for five steps only: their speed depends on their shape alone.

``ceiling_share`` is the share of what the machine can do at most, measured here too: of a large matrix product where
the renderer is made of products, else of a large copy, counting only the bytes of the pictures written.

Each clip, size and batch is written to ``--out`` when it is done; what is there already is not run again.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from rinr_flower.codecs import codecs
from rinr_flower.frames import Clip, Frame

from .clips import benchmark_clips, default_specs
from .results import FOLDER, ResultFile, Row
from .speed_subjects import Size, Subject, jpeg_subjects, store_subjects

WIDTH, HEIGHT = 640, 360
SIZES: tuple[Size, ...] = ((180, 320), (360, 640))
KEY = ("clip", "subject", "size", "batch")


def scaled(clip: Clip, frames: int) -> Clip:
    """``frames`` frames of ``clip`` at WIDTH x HEIGHT, played to and fro if it is shorter."""
    ratio = np.array([WIDTH / clip.width, HEIGHT / clip.height] * 2, np.float32)
    there_and_back = [*range(len(clip)), *range(len(clip) - 2, 0, -1)]
    chosen = [clip.frames[there_and_back[i % len(there_and_back)]] for i in range(frames)]

    def at_size(frame: Frame) -> Frame:
        image = np.asarray(Image.fromarray(frame.image).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
        return Frame(image, frame.boxes * ratio, frame.classes)

    return Clip(clip.name, tuple(map(at_size, chosen)), clip.class_names)


def seconds(call: Callable[[], Any], device: torch.device) -> float:
    """Time of ``call`` until its result is there."""
    _wait(device)
    start = time.perf_counter()
    call()
    _wait(device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def ceilings(device: torch.device) -> dict[str, float]:
    """The most that this machine does: operations a second in a matrix product, bytes written a second in a copy."""
    half = device.type == "cuda"  # what the fused kernel multiplies in
    side = 8192 if half else 1024
    a = torch.randn(side, side, device=device, dtype=torch.float16 if half else torch.float32)
    source = torch.empty(2**28, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    products, copies = [], []
    for _ in range(5):
        products.append(seconds(lambda: a @ a, device))
        copies.append(seconds(lambda: target.copy_(source), device))
    return {"operations_per_s": 2 * side**3 / min(products), "bytes_per_s": len(source) / min(copies)}


def draw_case(
    subjects: Sequence[Subject],
    frames: int,
    size: Size,
    batch: int,
    options: argparse.Namespace,
    expected: dict[str, float],
) -> list[Row]:
    """Rows of one size and batch; ``expected`` seconds a frame by subject decide who is left out, and are updated."""
    numbers = [i % frames for i in range(batch)]
    taking_part = [s for s in subjects if expected.get(s.name, 0) * batch <= options.limit]
    times: dict[str, list[float]] = {s.name: [] for s in taking_part}
    for s in taking_part:
        s.draw(numbers[:1], size)  # first use compiles and, where frames are kept, keeps
        if s.name.endswith("kept decoded"):
            s.draw(range(frames), size)
    for _ in range(options.repeats):
        for s in taking_part:
            times[s.name].append(seconds(lambda s=s: s.draw(numbers, size), torch.device(options.device)))
    rows: list[Row] = []
    for s in subjects:
        row: Row = {"subject": s.name, "size": f"{size[1]}x{size[0]}", "batch": batch}
        if s.name not in times:
            rows.append({**row, "left_out": f"about {expected[s.name] * batch:.0f} s a batch"})
            continue
        per_frame = statistics.median(times[s.name]) / batch
        expected[s.name] = per_frame
        rows.append({**row, "warm_frames_per_s": 1 / per_frame, "all_s": times[s.name], "flops": s.flops.get(size, 0)})
    return rows


def arrive_case(subjects: Sequence[Subject], frames: int, size: Size, options: argparse.Namespace) -> list[Row]:
    """From bytes to the first picture, and to all of them."""
    device = torch.device(options.device)
    first: dict[str, list[float]] = {s.name: [] for s in subjects if s.arrive}
    whole: dict[str, list[float]] = {name: [] for name in first}
    for _ in range(options.repeats):
        for s in subjects:
            if s.arrive is None:
                continue
            draws = []
            start = seconds(lambda s=s, draws=draws: draws.append(s.arrive()), device)  # type: ignore[misc]
            start += seconds(lambda draws=draws: draws[0]([0], size), device)
            rest = seconds(lambda draws=draws: draws[0](range(1, frames), size), device)
            first[s.name].append(1000 * start)
            whole[s.name].append(frames / (start + rest))
    return [
        {
            "subject": s.name,
            "size": f"{size[1]}x{size[0]}",
            "payload_bytes": s.payload_bytes,
            "first_ms": statistics.median(first[s.name]),
            "cold_frames_per_s": statistics.median(whole[s.name]),
        }
        for s in subjects
        if s.arrive
    ]


def run_clip(name: str, clip: Clip, options: argparse.Namespace, file: ResultFile) -> dict[str, str]:
    """Every case of one clip that ``file`` does not hold yet; the libraries that are absent, and why."""
    console = Console(stderr=True)
    cases = [(size, batch) for size in SIZES for batch in [0, *options.batches]]
    done = {(r["clip"], r["size"], r["batch"]) for r in file.rows}
    missing = [(s, b) for s, b in cases if (name, f"{s[1]}x{s[0]}", b) not in done]
    device = torch.device(options.device)
    subjects, absent = jpeg_subjects(clip, device, torch.get_num_threads())
    for codec in (options.codecs or codecs.names()) if missing else []:
        console.print(f"{name}: encoding with {codec}")
        subjects += store_subjects(codec, clip, device, SIZES)
    code = {s.name: s.code for s in subjects}
    expected: dict[Size, dict[str, float]] = {size: {} for size in SIZES}
    for size, batch in missing:
        console.print(f"{name}: {size[1]}x{size[0]}, {f'batch {batch}' if batch else 'cold'}")
        if batch:
            rows = draw_case(subjects, len(clip), size, batch, options, expected[size])
        else:
            rows = arrive_case(subjects, len(clip), size, options)
        for row in rows:
            file.add({"clip": name, "batch": batch, **row}, code[row["subject"]], key=KEY)
    return absent


def summary(rows: Sequence[Row], most: dict[str, float]) -> list[Row]:
    """Medians over clips by subject and size: warm at the fastest batch, cold, and the share of the ceilings."""
    lines = []
    for subject, size in dict.fromkeys((r["subject"], r["size"]) for r in rows):
        mine = [r for r in rows if (r["subject"], r["size"]) == (subject, size)]
        by_batch: dict[int, list[Row]] = {}
        for r in mine:
            if "warm_frames_per_s" in r:
                by_batch.setdefault(r["batch"], []).append(r)
        speed = {b: statistics.median(r["warm_frames_per_s"] for r in rs) for b, rs in by_batch.items()}
        if not speed:
            continue
        best = max(speed, key=lambda b: speed[b])
        flops = statistics.median(r["flops"] for r in by_batch[best])
        width, height = map(int, size.split("x"))
        work = (flops, "operations_per_s") if flops else (12 * width * height, "bytes_per_s")
        cold = [r for r in mine if "first_ms" in r]
        lines.append(
            {
                "subject": subject,
                "size": size,
                "warm_frames_per_s": speed[best],
                "best_batch": best,
                "warm_frames_per_s_alone": speed.get(1),
                "first_ms": statistics.median(r["first_ms"] for r in cold) if cold else None,
                "cold_frames_per_s": statistics.median(r["cold_frames_per_s"] for r in cold) if cold else None,
                "ceiling": "matrix product" if flops else "memory",
                "ceiling_share": speed[best] * work[0] / most[work[1]],
            }
        )
    return lines


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        "speed.py decode", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", default=None, help="all of RINR_DATA, or else the sample")
    parser.add_argument("--clips", type=int, default=2)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--codecs", nargs="+", choices=codecs.names(), default=None, help="all")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16, 64, 256])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--limit", type=float, default=3.0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=FOLDER / "speed_decode.json")
    options = parser.parse_args(arguments)
    settings = {
        "data": "RINR_DATA" if options.data is None and os.environ.get("RINR_DATA") else options.data or "sample",
        "frames": options.frames, "repeats": options.repeats, "limit_s": options.limit, "device": options.device,
    }  # fmt: skip
    most, absent = ceilings(torch.device(options.device)), dict[str, str]()
    file = ResultFile(options.out, command="python benchmarks/speed.py decode", settings=settings)
    chosen = benchmark_clips(options.data or default_specs(), slice(0, options.frames), [])
    for _, (name, clip) in zip(range(options.clips), chosen, strict=False):
        absent |= run_clip(name, scaled(clip, options.frames), options, file)
    file.write({"ceilings": most, "absent": absent, "subjects": summary(file.rows, most)})
    table = Table(
        "codec", "size", "warm frames/s", "at batch", "batch 1", "first ms", "cold frames/s", "share of ceiling"
    )
    for line in summary(file.rows, most):
        numbers = (line[k] for k in ("warm_frames_per_s_alone", "first_ms", "cold_frames_per_s"))
        table.add_row(
            line["subject"], line["size"], f"{line['warm_frames_per_s']:,.1f}", str(line["best_batch"]),
            *("-" if n is None else f"{n:,.1f}" for n in numbers),
            f"{100 * line['ceiling_share']:.1f} % ({line['ceiling']})",
        )  # fmt: skip
    Console().print(table)
