"""How the fog's encoder scales: clips a second in the fog's own process, over processes of the machine, and over Ray.

    python benchmarks/encode_scale.py [--codec scene] [--workers 1,2] [--clips 8] [--repeats 5] [--data SPEC ...]

Wall time, so the machine must be quiet. Repeats are interleaved (here, 1 worker, 2 workers, here, ...) and medians are
reported; workers are started and have imported everything before the first repeat. Payloads must be the same bytes in
every run, or the command fails. ``efficiency`` is clips/s over those of one worker, divided by the number of workers.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from lib.clips import benchmark_clips, default_specs
from lib.code_hash import code_of
from lib.results import FOLDER, write_result
from rich.console import Console
from rich.progress import track
from rich.table import Table

from rinr_flower.codecs import Codec, codecs
from rinr_flower.strategies.encoding import Encoder, Upload, encode_here, local_encoder, ray_encoder


def timed(encoder: Encoder, codec: Codec, uploads: Sequence[Upload], device: str) -> tuple[float, list[bytes | None]]:
    """Wall seconds, and payloads in order of the uploads."""
    start = time.perf_counter()
    done = {row.index: row.payload for row in encoder(codec, uploads, seed=0, device=device)}
    return time.perf_counter() - start, [done[i] for i in range(len(uploads))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=None, metavar="SPEC", help="data sets; default: RINR_DATA, sample")
    parser.add_argument("--codec", default="scene")
    parser.add_argument(
        "--clips", type=int, default=8, help="clips of a round; data sets with fewer are gone through again"
    )
    parser.add_argument("--frames", type=int, default=16, help="frames of a clip")
    parser.add_argument("--workers", default="1,2")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--gpus", type=float, default=0.0, help="share of a GPU that each task reserves")
    parser.add_argument("--out", type=Path, default=FOLDER / "encode_scale.json")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    source = benchmark_clips(options.data or default_specs(), slice(0, options.frames), ())
    found = [Upload.of(clip) for _, clip in islice(source, options.clips)]
    clips = [found[i % len(found)] for i in range(options.clips)]
    codec = codecs.create(options.codec)
    workers = [int(count) for count in options.workers.split(",")]
    encoders: dict[str, Encoder] = {"here": encode_here}
    encoders |= {f"{count} processes": local_encoder(count) for count in workers}
    # cpus=0: all of them share the one Ray, whatever number of workers it was started for
    encoders |= {f"Ray, {count} workers": ray_encoder(count, cpus=0, gpus=options.gpus) for count in workers}
    for encoder in encoders.values():
        timed(encoder, codec, [found[0]] * max(workers), options.device)
    seconds: dict[str, list[float]] = {name: [] for name in encoders}
    expected: list[bytes | None] | None = None
    for _ in track(range(options.repeats), description="encoding"):
        for name, encoder in encoders.items():
            took, payloads = timed(encoder, codec, clips, options.device)
            seconds[name].append(took)
            if payloads != (expected := expected or payloads):
                raise SystemExit(f"{name}: the payloads are not the bytes of the first run")
    rows = [
        {"encoder": name, "clips_per_s": len(clips) / statistics.median(took), "seconds": took}
        for name, took in seconds.items()
    ]
    for row, count in zip(rows[1:], workers * 2, strict=True):
        one = rows[1 if row in rows[1 : 1 + len(workers)] else 1 + len(workers)]
        row |= {"workers": count, "efficiency": row["clips_per_s"] / one["clips_per_s"] * workers[0] / count}
    write_result(
        options.out,
        command=f"python benchmarks/encode_scale.py --codec {options.codec} --workers {options.workers} "
        f"--clips {options.clips} --frames {options.frames} --repeats {options.repeats} --device {options.device}",
        code=[*code_of(codec), "rinr_flower.strategies.encoding"],
        settings={"frames": [len(clip.payload) for clip in clips]},
        rows=rows,
    )
    table = Table("encoder", "clips/s", "efficiency")
    for row in rows:
        table.add_row(
            row["encoder"], f"{row['clips_per_s']:.2f}", f"{row['efficiency']:.2f}" if "workers" in row else "-"
        )
    Console().print(table)


if __name__ == "__main__":
    main()
