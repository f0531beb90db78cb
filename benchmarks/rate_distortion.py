"""Bytes against quality of every codec on any clips, and against each other at equal quality.

    RINR_DATA=DIR python benchmarks/rate_distortion.py
    python benchmarks/rate_distortion.py --data otb100:PATH --clips Crossing --codecs 'scene,av1,roi_*'
    RINR_DATA=DIR python benchmarks/rate_distortion.py --redo stale --codecs scene

Without --data: everything under the folder named by RINR_DATA, else the generated sample. Without --codecs: all series
of several points, and not the published fits, which take days on a CPU. Each result is in the file as soon as it is
there; a run that was stopped goes on where it was, and only what is missing is run. ``--redo stale`` runs again what
was measured with other code, ``--redo all`` everything, of the series and clips that are asked for; other rows stay. A
background that several codecs have is fitted once and counts in the time of each. The rule of comparison is in
``lib/rate_comparison.py``.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from lib.clips import benchmark_clips, default_specs, named
from lib.code_hash import code_of, digest_of
from lib.command import command
from lib.rate_points import SERIES, UNASKED, build
from lib.rate_records import KEY, WIDTH_PX, Backgrounds, at_most, run_point, summary, warm_up
from lib.results import FOLDER, ResultFile, Row
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from rinr_flower.cli import parse_frames
from rinr_flower.errors import ConfigError, RinrError

log = logging.getLogger("rate_distortion")
console = Console(width=None if sys.stdout.isatty() else 160)


def chosen_series(text: str) -> list[str]:
    """Series that match a comma-separated list of names or patterns, in the order of SERIES; UNASKED without any."""
    patterns = [p.strip() for p in text.split(",") if p.strip()]
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in SERIES):
            raise ConfigError(f"{pattern!r} matches none of: {', '.join(SERIES)}")
    return [name for name in SERIES if any(fnmatch(name, p) for p in patterns)] if patterns else list(UNASKED)


def run(options: argparse.Namespace, series: Sequence[str], file: ResultFile) -> None:
    """Run every operating point of ``series`` that ``file`` does not hold yet."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bars:
        for name, clip in benchmark_clips(options.data, parse_frames(options.frames), options.clips):
            whole, small = Backgrounds(clip, options.seed), Backgrounds(at_most(clip, WIDTH_PX), options.seed)
            coded = {s: small if SERIES[s].reduced else whole for s in SERIES}
            done = [
                (r["series"], build(r["options"]))
                for r in file.rows
                if r["clip"] == name and r["series"] in SERIES and r["size"][0] == coded[r["series"]].clip.width
            ]
            points = [(s, dict(p)) for s in series for p in (SERIES[s].curve if options.curves else SERIES[s].points)]
            missing = [(s, point) for s, point in points if (s, build(point)) not in done]
            if missing:
                warm_up(clip, ["jpeg", "webp", "avif", "av1", "x264"])
            all_points = bars.add_task(name, total=len(missing))
            for s, point in missing:
                one = bars.add_task(f"  {s}", total=1.0)
                try:
                    codec = build(point)
                    row = run_point(coded[s], codec, lambda f, task=one: bars.update(task, completed=f))
                    file.add({"clip": name, "series": s, "options": point, **row}, code_of(codec), key=KEY)
                except RinrError as error:
                    log.warning("%s, %s %s: %s", name, s, point, error)
                bars.remove_task(one)
                bars.advance(all_points)


def forget(file: ResultFile, redo: str, series: Sequence[str], clips: Sequence[str]) -> None:
    """Drop all rows of ``series`` on ``clips`` (patterns; all without any), or those measured with other code."""

    def again(row: Row) -> bool:
        asked = row["series"] in series and (not clips or named(row["clip"], clips))
        return asked and (redo == "all" or row.get("code") != digest_of(code_of(build(row["options"]))))

    if redo:
        file.keep(lambda row: row["series"] in SERIES and not again(row))


def show(rows: Sequence[Row], against: str) -> None:
    """Medians over the clips of the bytes of ``against`` over those of each rival; below 1 it takes fewer."""
    table = Table(
        "rival", "at our points", "won", "at its points", "won", "BD-rate", "won", "best of all settings", "won",
        title=f"bytes of {against} / bytes of the rival, medians over clips, 640 wide",
    )  # fmt: skip
    for r in summary(rows, against)["rivals"]:
        cells = []
        for key in ("at_our_points", "at_its_points", "bd_rate_percent", "envelope"):
            median, form = r[key]["median"], "{:+.0f} %" if key == "bd_rate_percent" else "{:.2f}"
            cells += ["-" if median is None else form.format(median), f"{r[key]['won']} of {r[key]['of']}"]
        table.add_row(r["rival"], *cells)
    console.print(table)


def show_points(rows: Sequence[Row]) -> None:
    """Every operating point."""
    table = Table("clip", "codec", "setting", "B/frame", "frame dB", "background", "object", "encode s", "decode s")
    for r in rows:
        quality = (r[f"{k}_db"] for k in ("frame", "background", "object"))
        setting = " ".join(f"{k}={v}" for k, v in r["options"].items() if k not in ("name", "sizes"))
        table.add_row(
            r["clip"], r["series"], setting, f"{r['bytes_per_frame']:,.0f}",
            *("-" if q is None else f"{q:.1f}" for q in quality),
            f"{r['encode_cpu_s']:.2f}", f"{r['decode_cpu_s']:.2f}",
        )  # fmt: skip
    console.print(table)


@command
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=None, metavar="SPEC", help="data sets, as for flower-simulation")
    parser.add_argument("--clips", nargs="+", default=[], metavar="NAME", help="only clips of these names or patterns")
    parser.add_argument("--codecs", default="", help=f"only these series, comma-separated: {', '.join(SERIES)}")
    parser.add_argument("--curves", action="store_true", help="only defaults with the quality knob, no grids")
    parser.add_argument("--frames", default="0:32", metavar="A:B", help="frames of every clip (default 0:32)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--against", default="scene", help="the series that the others are compared with")
    parser.add_argument(
        "--redo",
        choices=["", "stale", "all"],
        default="",
        help="drop rows of --codecs and --clips first: of other code, or all",
    )
    parser.add_argument(
        "--take",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="take over rows of runs with another --out first",
    )
    parser.add_argument("--summary", action="store_true", help="run nothing; compare what is there")
    parser.add_argument("--out", type=Path, default=FOLDER / "rate_distortion.json")
    options = parser.parse_args()
    options.data = options.data or default_specs()
    logging.basicConfig(
        level=logging.INFO, format="%(message)s", handlers=[RichHandler(console=console, show_path=False)]
    )
    series = chosen_series(options.codecs)
    if options.against not in SERIES:
        raise ConfigError(f"--against {options.against!r} is none of: {', '.join(SERIES)}")
    file = ResultFile(
        options.out,
        command="RINR_DATA=DIR python benchmarks/rate_distortion.py",
        settings={"frames": options.frames, "seed": options.seed},
    )
    for other in options.take:
        file.take(other, key=KEY)
    forget(file, options.redo, series, options.clips)
    if not options.summary:
        run(options, series, file)
    file.write(summary(file.rows, options.against))
    show_points([r for r in file.rows if r["series"] in series])
    show(file.rows, options.against)


if __name__ == "__main__":
    sys.exit(main())
