"""Records of the rate-distortion benchmark: one JSON line per clip, series and operating point."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from operating_points import Options, build
from rate_comparison import Point

from rinr_flower.bitstream.container import Payload
from rinr_flower.codecs import codecs, decode
from rinr_flower.files import append_lines, write_file
from rinr_flower.frames import Clip, Frame
from rinr_flower.quality import Quality, measure

WIDTH_PX = 640
Record = dict[str, Any]


def key_of(clip: str, series: str, options: Options, frames: str, seed: int) -> str:
    """What makes a record: the same key is not run twice."""
    return json.dumps([clip, series, options, frames, seed], sort_keys=True)


def read(path: Path) -> dict[str, Record]:
    """Records by key; a half-written last line (a killed run) is left out."""
    records = {}
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        key = key_of(record["clip"], record["series"], record["options"], record["frames"], record["seed"])
        records[key] = record
    return records


def write(path: Path, records: Iterable[Record]) -> None:
    """All records, one a line."""
    write_file(path, b"".join(map(_line, records)))


def append(path: Path, record: Record) -> None:
    """One more record, on disk when this returns."""
    append_lines(path, _line(record))


def _line(record: Record) -> bytes:
    return json.dumps(record, sort_keys=True).encode() + b"\n"


def run_point(clip: Clip, options: Options, seed: int, progress: Callable[[float], None]) -> Record:
    """Encode and decode one clip: sizes, processor seconds over all threads, PSNR at 640 wide and at full size."""
    codec = build(options)
    start = time.process_time()
    data = codec.encode(clip, seed=seed, progress=progress)
    encoded = time.process_time()
    decoded = decode(data)
    ended = time.process_time()
    return {
        "size": [clip.width, clip.height],
        "count": len(clip),
        "camera_bytes_per_frame": clip.file_bytes() / len(clip) or None,
        "bytes_per_frame": len(data) / len(clip),
        "bytes_by_part": Payload.from_bytes(data).bytes_by_part(),
        "at_640": _plain(measure(clip, decoded, max_width=WIDTH_PX)),
        "at_full_size": _plain(measure(clip, decoded)),
        "encode_cpu_s": round(encoded - start, 3),
        "decode_cpu_s": round(ended - encoded, 3),
    }


def warm_up(clip: Clip, names: Iterable[str]) -> None:
    """Load what codecs load on first use, so that it is in nobody's time."""
    frame = clip.frames[0]
    small = Clip("warm-up", (Frame(frame.image[:64, :64].copy()),))
    for name in names:
        decode(codecs.create(name).encode(small))


def points_of(records: Iterable[Record], at: str) -> dict[str, dict[str, list[Point]]]:
    """Points by clip and series; ``at`` is ``at_640`` or ``at_full_size``. Clips without boxes have none."""
    points: dict[str, dict[str, list[Point]]] = {}
    for r in records:
        if r[at]["object_db"] is not None:
            point = Point(r["bytes_per_frame"], r[at]["frame_db"], r[at]["object_db"], r["options"])
            points.setdefault(r["clip"], {}).setdefault(r["series"], []).append(point)
    return points


def _plain(quality: Quality) -> dict[str, float | None]:
    """Rounded for JSON: None where a region is empty, 100 dB where nothing was lost."""
    return {k: None if math.isnan(v) else round(min(v, 100.0), 3) for k, v in asdict(quality).items()}
