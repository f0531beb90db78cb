"""Bytes that ten devices save by sharing through the fog, against JPEG to each other, clip by clip.

    RINR_DATA=DIR python benchmarks/sharing.py [--frames 16,32] [--codec scene] [--data SPEC ...]

Ten devices that each capture the first frames of a clip and all share with each other. Sizes are those of real
payloads; the bytes of a round follow by the closed form (docs/bandwidth.md) with r = 9: D_i are the camera's files
alone, u and alpha are payloads with their boxes and headers. Ways of sharing:

- through the fog, which encodes what was uploaded as ``jpeg`` (the camera's files), ``roi_jpeg`` ("layers", also with
  one key frame in 16, and with the coarse layer of every fourth frame alone) or ``roi_x264`` ("video"):
  G = r / (u + alpha r);
- without a fog, in a codec that the devices run themselves, among them H.264 and AV1: G = 1 / alpha.

A clip that is shorter than the capture is taken whole. PSNR is against the
decoded camera files, whatever was uploaded; how well detectors learn is measured by benchmarks/accuracy.py.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lib.accuracy_codecs import parse_codec
from lib.clips import benchmark_clips, default_specs
from lib.code_hash import code_of
from lib.results import FOLDER, write_result
from rich.console import Console
from rich.progress import track
from rich.table import Table

from rinr_flower.bandwidth.model import gain
from rinr_flower.codecs import codecs, decode
from rinr_flower.frames import Clip
from rinr_flower.quality import measure

DEVICES = 10
UPLOADS = ("jpeg", "roi_jpeg", "roi_jpeg:key_every=16", "roi_jpeg:coarse_every=4", "roi_x264")
SERVERLESS = ("roi_jpeg", "avif", "x264", "av1", "roi_x264", "roi_av1")


def fog_row(clip: Clip, codec: str, upload: str) -> dict[str, Any]:
    """Through the fog: it decodes what was uploaded, encodes that, and sends it to the others."""
    uploaded = parse_codec(upload).encode(clip)
    payload = codecs.create(codec).encode(decode(uploaded))
    u, alpha = len(uploaded) / clip.file_bytes(), len(payload) / clip.file_bytes()
    row = {"way": "fog", "upload": upload, "codec": codec, "u": u, "alpha": alpha}
    return row | {"gain": float(gain(DEVICES - 1, alpha=alpha, u=u))} | psnr(clip, payload)


def serverless_row(clip: Clip, codec: str) -> dict[str, Any]:
    """Without a fog: devices send each other what they encode themselves."""
    payload = codecs.create(codec).encode(clip)
    alpha = len(payload) / clip.file_bytes()
    return {"way": "serverless", "upload": None, "codec": codec, "u": 0.0, "alpha": alpha, "gain": 1 / alpha} | psnr(
        clip, payload
    )


def psnr(clip: Clip, payload: bytes) -> dict[str, float]:
    quality = measure(clip, decode(payload), max_width=640)
    return {"frame_db": round(quality.frame_db, 2), "object_db": round(quality.object_db, 2)}


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Median, best and worst clip of every way and number of frames, against the bars."""
    result = []
    for key in dict.fromkeys((r["frames"], r["way"], r["upload"], r["codec"]) for r in rows):
        mine = sorted(
            (r for r in rows if (r["frames"], r["way"], r["upload"], r["codec"]) == key), key=lambda r: r["gain"]
        )
        frames, way, upload, codec = key
        row: dict[str, Any] = {"frames": frames, "way": way, "upload": upload, "codec": codec, "clips": len(mine)}
        row |= {"median": statistics.median(r["gain"] for r in mine)}
        row |= {"best": mine[-1]["gain"], "best_clip": mine[-1]["clip"]}
        row |= {"worst": mine[0]["gain"], "worst_clip": mine[0]["clip"]}
        row |= {f"median_{k}": statistics.median(r[k] for r in mine) for k in ("frame_db", "object_db")}
        result.append(row)
    return result


def show(rows: Sequence[dict[str, Any]]) -> None:
    table = Table("frames", "way", "upload", "codec", "median", "best", "worst", "frame dB", "object dB")
    for r in rows:
        gains = [f"{r['median']:.1f}", f"{r['best']:.1f} {r['best_clip']}", f"{r['worst']:.1f} {r['worst_clip']}"]
        table.add_row(
            str(r["frames"]), r["way"], r["upload"] or "-", r["codec"], *gains,
            *(f"{r[f'median_{k}']:.1f}" for k in ("frame_db", "object_db")),
        )  # fmt: skip
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=None, metavar="SPEC", help="data sets; default: RINR_DATA, sample")
    parser.add_argument("--clips", nargs="+", default=[], metavar="NAME", help="only clips of these names or patterns")
    parser.add_argument("--frames", default="16,32", help="frames that a device captures")
    parser.add_argument("--codec", default="scene", help="what the fog encodes with")
    parser.add_argument("--out", type=Path, default=FOLDER / "sharing.json")
    options = parser.parse_args()
    counts = [int(count) for count in options.frames.split(",")]
    found = list(benchmark_clips(options.data or default_specs(), slice(0, max(counts)), options.clips))
    clips = [(name, clip) for name, clip in found if all(f.file for f in clip.frames)]
    rows: list[dict[str, Any]] = []
    for name, clip in track(clips, description="encoding"):
        made: dict[int, list[dict[str, Any]]] = {}
        for count in counts:
            taken = clip[:count]
            if len(taken) not in made:
                made[len(taken)] = [fog_row(taken, options.codec, upload) for upload in UPLOADS]
                made[len(taken)] += [serverless_row(taken, codec) for codec in SERVERLESS]
            facts = {"clip": name, "frames": count, "taken": len(taken), "camera_bytes": taken.file_bytes()}
            rows += [facts | row for row in made[len(taken)]]
    write_result(
        options.out,
        command=f"RINR_DATA=DIR python benchmarks/sharing.py --frames {options.frames} --codec {options.codec}",
        code=sorted({m for spec in (options.codec, *UPLOADS, *SERVERLESS) for m in code_of(parse_codec(spec))}),
        settings={
            "devices": DEVICES,
            "without_camera_files": [name for name, clip in found if not all(f.file for f in clip.frames)],
        },
        rows=rows,
        summary=summary(rows),
    )
    show(summary(rows))


if __name__ == "__main__":
    main()
