"""Bytes against quality of every codec on any clips, at equal quality against each other.

    python benchmarks/rate_distortion.py [--data otb100:PATH ...] [--clips 'Crossing'] [--codecs 'scene,av1,roi_*']

Without --data: everything under the folder named by RINR_DATA, else the generated sample. Each result is a line of
OUT.jsonl as soon as it is there; a run that was stopped goes on where it was, and only what is missing is run. OUT.json
holds the comparisons, the folder OUT a plot for each clip. ``--codecs 'jpeg,rapid_inr*,nerv*'`` is the figure of the
Residual-INR paper: BS, BE, DE, RE, QRE and JPEG.
"""

from __future__ import annotations

import argparse
import logging
import math
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import rate_records as records
from clips import benchmark_clips, default_specs
from machine import describe
from operating_points import SERIES
from rate_comparison import FLOOR_DB, compare, fewest_bytes
from rate_plots import plot_clip
from result_file import write_result
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from rinr_flower.cli import parse_frames
from rinr_flower.errors import ConfigError, RinrError

log = logging.getLogger("rate_distortion")
console = Console(width=None if sys.stdout.isatty() else 160)


def chosen_series(text: str) -> list[str]:
    """Series that match a comma-separated list of names or patterns, in the order of SERIES."""
    patterns = [p.strip() for p in text.split(",") if p.strip()]
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in SERIES):
            raise ConfigError(f"--codecs {pattern!r} matches none of: {', '.join(SERIES)}")
    return [name for name in SERIES if not patterns or any(fnmatch(name, p) for p in patterns)]


def run(options: argparse.Namespace, series: Sequence[str], lines: Path) -> None:
    """Run every operating point that ``lines`` does not hold yet."""
    done = records.read(lines)
    if options.redo:
        again = chosen_series(options.redo)
        done = {k: r for k, r in done.items() if r["series"] not in again}
        records.write(lines, done.values())
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bars:
        warm = False
        for name, clip in benchmark_clips(options.data, parse_frames(options.frames), options.clips):
            todo = []
            for s in series:
                for point in SERIES[s]:
                    key = records.key_of(name, s, point, options.frames, options.seed)
                    if key not in done:
                        todo.append((s, point))
            if todo and not warm:
                records.warm_up(clip, ["jpeg", "webp", "avif", "av1", "x264"])
                warm = True
            all_points = bars.add_task(name, total=len(todo))
            for s, point in todo:
                one = bars.add_task(f"  {s}", total=1.0)
                try:
                    result = records.run_point(
                        clip, point, options.seed, lambda f, task=one: bars.update(task, completed=f)
                    )
                except RinrError as error:
                    log.warning("%s, %s %s: %s", name, s, point, error)
                else:
                    head = {
                        "clip": name, "series": s, "options": dict(point),
                        "frames": options.frames, "seed": options.seed,
                    }  # fmt: skip
                    records.append(lines, {**head, **result})
                bars.remove_task(one)
                bars.advance(all_points)


def comparisons(rows: Sequence[records.Record], against: str, at: str) -> list[dict[str, Any]]:
    """``against`` compared with every other series on every clip."""
    found = []
    for clip, by_series in records.points_of(rows, at).items():
        for rival, points in by_series.items():
            if rival != against and against in by_series:
                result = asdict(compare(by_series[against], points))
                found.append({"clip": clip, "rival": rival, "points": len(points), **result})
    return found


def summary(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Per rival: median ratio over the clips, how often it is below 1, and on how many clips it exists."""
    result = []
    for rival in dict.fromkeys(f["rival"] for f in found):
        ratios = [f["ratio"] for f in found if f["rival"] == rival]
        known = [r for r in ratios if r is not None]
        result.append(
            {
                "rival": rival,
                "clips": len(ratios),
                "compared": len(known),
                "median_ratio": statistics.median(known) if known else None,
                "geometric_mean_ratio": math.exp(statistics.fmean(map(math.log, known))) if known else None,
                "share_below_1": sum(r < 1 for r in known) / len(known) if known else None,
                "share_at_most_a_quarter": sum(r <= 0.25 for r in known) / len(known) if known else None,
            }
        )
    return result


def shares_of_camera(rows: Sequence[records.Record], object_db: float, at: str) -> list[dict[str, Any]]:
    """Fewest bytes with at least FLOOR_DB over the frame and ``object_db`` in the boxes, and the camera's over them."""
    camera = {r["clip"]: r["camera_bytes_per_frame"] for r in rows}
    found = []
    for clip, by_series in records.points_of(rows, at).items():
        for series, points in by_series.items():
            size = fewest_bytes(points, object_db, FLOOR_DB)
            times = camera[clip] / size if size and camera[clip] else None
            found.append({"clip": clip, "series": series, "bytes_per_frame": size, "camera_over_it": times})
    return found


def show(found: Sequence[dict[str, Any]], against: str) -> None:
    """Bytes of ``against`` over bytes of each rival at equal object PSNR; below 1 it wins."""
    rivals = list(dict.fromkeys(f["rival"] for f in found))
    cells = {(f["clip"], f["rival"]): f["ratio"] for f in found}
    table = Table("clip", *rivals, title=f"bytes of {against} / bytes of the rival at equal object PSNR, 640 wide")
    for clip in dict.fromkeys(f["clip"] for f in found):
        ratios = [cells.get((clip, rival)) for rival in rivals]
        table.add_row(clip, *("-" if r is None else f"{r:.2f}" for r in ratios))
    medians = {s["rival"]: s["median_ratio"] for s in summary(found)}
    table.add_section()
    table.add_row("median", *("-" if medians[r] is None else f"{medians[r]:.2f}" for r in rivals))
    console.print(table)


def show_points(rows: Sequence[records.Record]) -> None:
    """Every operating point."""
    table = Table("clip", "codec", "setting", "B/frame", "frame dB", "background", "object", "encode s", "decode s")
    for r in rows:
        quality = (r["at_640"][f"{k}_db"] for k in ("frame", "background", "object"))
        setting = " ".join(f"{k}={v}" for k, v in r["options"].items() if k not in ("name", "sizes"))
        table.add_row(
            r["clip"], r["series"], setting, f"{r['bytes_per_frame']:,.0f}",
            *("-" if q is None else f"{q:.1f}" for q in quality),
            f"{r['encode_cpu_s']:.2f}", f"{r['decode_cpu_s']:.2f}",
        )  # fmt: skip
    console.print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=None, metavar="SPEC", help="data sets, as for flower-simulation")
    parser.add_argument("--clips", nargs="+", default=[], metavar="NAME", help="only clips of these names or patterns")
    parser.add_argument("--codecs", default="", help=f"only these series, comma-separated: {', '.join(SERIES)}")
    parser.add_argument("--frames", default="0:32", metavar="A:B", help="frames of every clip (default 0:32)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--against", default="scene", help="the series that the others are compared with")
    parser.add_argument("--redo", default="", metavar="NAMES", help="forget the results of these series first")
    parser.add_argument("--summary", action="store_true", help="run nothing; compare and plot what is there")
    parser.add_argument("--object-db", type=float, default=30.0, help="object PSNR of the camera table (default 30)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "rate_distortion.json")
    options = parser.parse_args()
    options.data = options.data or default_specs()
    logging.basicConfig(
        level=logging.INFO, format="%(message)s", handlers=[RichHandler(console=console, show_path=False)]
    )
    lines = options.out.with_suffix(".jsonl")
    try:
        series = chosen_series(options.codecs)
        if options.against not in SERIES:
            raise ConfigError(f"--against {options.against!r} is none of: {', '.join(SERIES)}")
        if not options.summary:
            run(options, series, lines)
    except RinrError as error:
        console.print(f"error: {error}", style="red", highlight=False)
        return 2
    order = {name: i for i, name in enumerate(SERIES)}
    rows = [r for r in records.read(lines).values() if r["frames"] == options.frames and r["seed"] == options.seed]
    rows = sorted((r for r in rows if r["series"] in order), key=lambda r: (r["clip"], order[r["series"]]))
    result: dict[str, Any] = {"machine": describe(), "frames": options.frames, "against": options.against}
    for at in ("at_640", "at_full_size"):
        found = comparisons(rows, options.against, at)
        camera = shares_of_camera(rows, options.object_db, at)
        result[at] = {
            "summary": summary(found),
            "ratios": found,
            f"at_frame_{FLOOR_DB:g}_object_{options.object_db:g}_db": camera,
        }
    write_result(options.out, result)
    for clip in dict.fromkeys(r["clip"] for r in rows):
        plot = options.out.with_suffix("") / f"{clip.replace('/', '-')}.svg"
        plot_clip([r for r in rows if r["clip"] == clip], plot, options.against)
    show_points([r for r in rows if r["series"] in series])
    if result["at_640"]["ratios"]:
        show(result["at_640"]["ratios"], options.against)
    return 0


if __name__ == "__main__":
    sys.exit(main())
