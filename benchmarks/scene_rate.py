"""Bytes of ``scene`` at equal frame and at equal object PSNR against an earlier version, or another preset.

    python benchmarks/scene_rate.py --out new.json [--settings 52,12] [--preset fast] [clip patterns]
    python benchmarks/scene_rate.py --compare new.json --against old.json [--weight 11]

The first form measures every clip (of RINR_DATA, 32 frames) at settings quality,object_weight; run in a checkout of the
earlier version, with more settings around the default, it gives what the second form compares with. A setting's bytes
are compared with those that the other version, interpolated over quality at the default object weight, needs for the
same PSNR of the frame, and for the same PSNR inside the boxes; the worse of both counts.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from lib.clips import benchmark_clips, default_specs
from lib.command import command
from lib.results import write_result
from rich.console import Console
from rich.table import Table

from rinr_flower.bitstream.container import Payload
from rinr_flower.codecs import codecs, decode
from rinr_flower.quality import measure

WIDTH_PX = 640  # at which pictures are compared


def points(settings: list[tuple[float, float]], options: dict[str, Any], patterns: list[str]) -> list[dict[str, Any]]:
    """One row for each clip and setting."""
    rows = []
    for name, clip in benchmark_clips(default_specs(), slice(0, 32), patterns):
        for quality, weight in settings:
            started = time.process_time()
            data = codecs.create("scene", quality=quality, object_weight=weight, **options).encode(clip)
            work = time.process_time() - started
            found = measure(clip, decode(data), max_width=WIDTH_PX)
            rows.append(
                {
                    "clip": name,
                    "quality": quality,
                    "object_weight": weight,
                    "bytes_per_frame": len(data) / len(clip),
                    "frame_db": found.frame_db,
                    "object_db": found.object_db,
                    "encode_cpu_s_per_frame": work / len(clip),
                    "bytes_by_part": Payload.from_bytes(data).bytes_by_part(),
                }
            )
    return rows


def needed(rows: list[dict[str, Any]], key: str, wanted_db: float) -> float:
    """Bytes a frame at ``wanted_db``, their logarithm interpolated, and continued beyond the ends, over ``rows``."""
    line = sorted((row[key], math.log(row["bytes_per_frame"])) for row in rows)
    at = min(max(sum(db <= wanted_db for db, _ in line), 1), len(line) - 1)
    (low, a), (high, b) = line[at - 1], line[at]
    return math.exp(a + (b - a) * (wanted_db - low) / (high - low))


def compared(new: list[dict[str, Any]], old: list[dict[str, Any]], weight: float) -> list[tuple[str, float, float]]:
    """Name, ratio at equal frame PSNR and ratio at equal object PSNR of every row of ``new``."""
    out = []
    for row in new:
        line = [r for r in old if r["clip"] == row["clip"] and r["object_weight"] == weight]
        ratios = (row["bytes_per_frame"] / needed(line, key, row[key]) for key in ("frame_db", "object_db"))
        out.append((row["clip"], *ratios))
    return out


@command
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("patterns", nargs="*")
    parser.add_argument("--settings", nargs="+", default=["52,11"])
    parser.add_argument("--preset", default="balanced")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--compare", type=Path)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--weight", type=float, default=12.0, help="object weight of the other's curve")
    options = parser.parse_args()
    if options.out:
        settings = [(float(q), float(w)) for q, w in (s.split(",") for s in options.settings)]
        with torch.no_grad():
            rows = points(settings, {"preset": options.preset}, options.patterns)
        write_result(
            options.out,
            command="python benchmarks/scene_rate.py",
            code=["rinr_flower.codecs.scene.codec"],
            settings={"preset": options.preset},
            rows=rows,
        )
    if options.compare and options.against:
        new, old = (json.loads(file.read_text())["rows"] for file in (options.compare, options.against))
        found = compared(new, old, options.weight)
        table = Table("clip", "at equal frame PSNR", "at equal object PSNR")
        for name, frame, inside in found:
            table.add_row(name, f"{frame - 1:+.1%}", f"{inside - 1:+.1%}")
        worse = [max(frame, inside) - 1 for _, frame, inside in found]
        Console().print(table)
        Console().print(f"the worse of both: median {statistics.median(worse):+.1%}, most {max(worse):+.1%}")


if __name__ == "__main__":
    sys.exit(main())
